package agent

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/sreagent/sreagent/agent/executor"
	"github.com/sreagent/sreagent/agent/gate"
	"github.com/sreagent/sreagent/sre"
)

// want is one lever that should be touched this tick.
type want struct {
	inc     *sre.Incident
	action  string
	purpose sre.Purpose
	permit  gate.Permit
	intent  sre.IntentRecord
	adrift  bool // an apply that an earlier run sent may arrive yet
}

// preview reads what stands at the levers of a plan that a human is about to be
// asked about, so that the question shows old and new values. It only reads.
func (a *Agent) preview(ctx context.Context, t *turn) {
	for _, inc := range a.book.open() {
		if inc.State != sre.AwaitingApproval || !inc.StateSince.Equal(t.now) {
			continue
		}
		var actions []sre.Action
		for i, step := range inc.Plan.Steps {
			for _, action := range step.Actions {
				if find(inc, action.ID) == nil {
					inc.Mitigations = append(inc.Mitigations, sre.Mitigation{Action: action, Step: i})
					actions = append(actions, action)
				}
			}
		}
		for i, found := range a.exec.Probe(ctx, actions) {
			if found.Err == nil {
				find(inc, actions[i].ID).Before = found.State.Current
			}
		}
		a.remember(t, inc, "preview")
	}
}

// settle finds out what became of levers whose state is not known: those in
// flight when the last agent ended, and those that answered "unknown". It only
// reads.
func (a *Agent) settle(ctx context.Context, t *turn) {
	type open struct {
		inc *sre.Incident
		m   *sre.Mitigation
	}
	var asked []open
	var actions []sre.Action
	for _, inc := range a.book.open() {
		for i := range inc.Mitigations {
			m := &inc.Mitigations[i]
			unsure := m.Phase == sre.Intended || m.Phase == sre.Undoing || m.Phase == sre.Lost
			if unsure || m.Phase == sre.InEffect && m.Moving != nil || a.book.unsettled[m.Action.ID] && m.Phase.Live() {
				asked = append(asked, open{inc, m})
				actions = append(actions, m.Action)
			}
		}
	}
	for i, found := range a.exec.Probe(ctx, actions) {
		a.settleOne(t, asked[i].inc, asked[i].m, found)
	}
}

func (a *Agent) settleOne(t *turn, inc *sre.Incident, m *sre.Mitigation, found executor.Found) {
	id, restarted := m.Action.ID, a.book.unsettled[m.Action.ID]
	if found.Err != nil {
		a.book.doubts[id]++
		return
	}
	phase, why := m.Phase, ""
	switch m.Phase {
	case sre.Intended:
		phase, why = a.settleIntended(inc, m, found.State, restarted)
	case sre.Undoing, sre.Lost:
		delete(a.book.doubts, id) // it was read
		switch {
		case !found.State.InEffect && found.State.Foreign:
			phase, why = gone(m, found.State)
		case !found.State.InEffect && !mayArrive(m, t.now):
			phase = sre.Undone
		case found.State.InEffect && m.Phase == sre.Lost && !a.exhausted(m):
			phase = sre.InEffect
		}
	case sre.InEffect:
		if !found.State.InEffect {
			phase, why = gone(m, found.State)
		}
		t.overdue[id] = found.State.InEffect && t.now.After(m.Expires)
	case sre.NotStarted, sre.Undone, sre.Failed, sre.Released, sre.Lapsed, sre.Simulated:
	}
	delete(a.book.unsettled, id)
	moving := m.Phase == sre.InEffect && m.Moving != nil
	if phase == m.Phase && !restarted && !moving {
		return
	}
	delete(a.book.doubts, id)
	purpose := m.Permit.Purpose
	if moving {
		purpose = sre.ToAdjust
	}
	a.result(t, inc, m, sre.ResultRecord{Action: id, Purpose: purpose, Phase: phase, Err: why, State: found.State, Probed: true})
}

// settleIntended decides on an apply whose answer never came. After a restart,
// "not in effect" means that it can start afresh: the new epoch fences what may
// still be on its way. Within one run it is first given time to arrive; what
// does not is undone, since it may arrive yet.
func (a *Agent) settleIntended(inc *sre.Incident, m *sre.Mitigation, s sre.TargetState, restarted bool) (sre.Phase, string) {
	switch {
	case s.InEffect:
		return sre.InEffect, ""
	case restarted && inc.State == sre.Acting:
		return sre.NotStarted, ""
	}
	a.book.doubts[m.Action.ID]++
	return sre.Intended, m.Err
}

// mayArrive reports whether an apply that was never seen in effect may come into
// effect yet. Past its expiry an enforcer refuses it.
func mayArrive(m *sre.Mitigation, now time.Time) bool {
	return m.AppliedAt.IsZero() && !now.After(m.Expires)
}

func gone(m *sre.Mitigation, s sre.TargetState) (sre.Phase, string) {
	if s.Foreign {
		return sre.Released, strings.TrimSuffix("somebody else moved the lever: "+stranger(m, s), ": ")
	}
	return sre.Lapsed, "the enforcer let it lapse"
}

// result notes what is known of a lever and moves the mitigation.
func (a *Agent) result(t *turn, inc *sre.Incident, m *sre.Mitigation, r sre.ResultRecord) {
	arrived := r.Phase == sre.InEffect && m.Phase != sre.InEffect
	if f, theirs := a.book.overwritten(m, r, t.now); theirs {
		r.Err += fmt.Sprintf(" (before %v, ours %v, theirs %v); it is left alone for %s",
			f.Old, f.Ours, f.Theirs, time.Duration(a.gate.Policy().Arbitration.Freeze))
		a.meter.foreign.WithLabelValues(string(m.Action.Kind)).Inc()
	}
	a.book.stayed(m, r, t.now)
	settle(inc, m, r, t.now)
	a.note(t, sre.Record{Kind: sre.RecordResult, IncidentID: inc.ID, Result: &r})
	a.meter.action(m.Action.Kind, r)
	a.drilled(inc, r)
	if arrived {
		a.supersede(t, inc, m.Action)
	}
}

// keep looks after leases: it moves what has a control law, renews what is in
// force, takes back what should have lapsed and did not, and goes on with undos
// that have begun.
func (a *Agent) keep(t *turn) {
	for _, inc := range a.book.open() {
		if inc.State == sre.Reverting {
			continue
		}
		for i := range inc.Mitigations {
			m := &inc.Mitigations[i]
			switch {
			case wanted(t, m.Action):
			case m.Phase == sre.InEffect && a.steer(t, inc, m):
			case m.Phase == sre.InEffect && inc.Order != nil: // one lease, from the first to the last
			case m.Phase == sre.InEffect:
				a.renew(t, inc, m)
			case m.Phase == sre.Undoing && a.exhausted(m):
				inc.Escalation = stuck(*m)
				a.fire(t, inc, evUndo)
			case m.Phase == sre.Undoing && a.dueAgain(t, m):
				a.wantRevert(t, inc, m, "undo")
			}
		}
	}
}

// renew keeps a mitigation from lapsing, at half of its time to live. What the
// gate does not permit to be renewed lapses by itself, or is taken back where
// the enforcer does not let it lapse. An undo that was begun is not renewed.
func (a *Agent) renew(t *turn, inc *sre.Incident, m *sre.Mitigation) {
	if m.Expires.Sub(t.now) > m.Action.TTL/2 {
		return
	}
	permit, err := a.gate.PermitRenew(gate.Question{Now: t.now, Incident: inc, SourceUp: t.seeing}, *m)
	switch {
	case err == nil && m.Attempts == 0:
		t.wants = append(t.wants, want{inc: inc, action: m.Action.ID, purpose: sre.ToRenew, permit: permit})
	case !t.now.After(m.Expires):
	case t.overdue[m.Action.ID]:
		a.wantRevert(t, inc, m, "the lease is over")
	default:
		a.book.unsettled[m.Action.ID] = true // probed at the next tick: lapsed, or not
	}
}

// wanted reports whether the action's lever is touched this tick already: one
// order per lever and tick, so that none overtakes another.
func wanted(t *turn, a sre.Action) bool {
	return slices.ContainsFunc(t.wants, func(w want) bool {
		other := w.permit.Action()
		return other.Kind == a.Kind && other.Target == a.Target
	})
}

// survey reads what stands at the targets, and turns what may go on into
// intents. It touches nothing.
func (a *Agent) survey(ctx context.Context, t *turn) {
	actions := make([]sre.Action, len(t.wants))
	for i, w := range t.wants {
		actions[i] = w.permit.Action()
		if w.purpose == sre.ToAdjust {
			actions[i] = find(w.inc, w.action).Action // as it is, not as it is to be
		}
	}
	kept := t.wants[:0]
	for i, f := range a.exec.Probe(ctx, actions) {
		if w := t.wants[i]; a.mayGoOn(t, w, f) {
			kept = append(kept, a.intend(t, w, f.State))
		}
	}
	t.wants = kept
}

// mayGoOn settles without a touch what the survey has already answered.
func (a *Agent) mayGoOn(t *turn, w want, f executor.Found) bool {
	m := find(w.inc, w.action)
	r := sre.ResultRecord{Action: w.action, Purpose: w.purpose, State: f.State, Probed: true}
	switch {
	case w.purpose == sre.ToRevert:
		// Undo needs no look and is stopped by no error; only what somebody else
		// has moved since is theirs.
		if f.Err != nil || f.State.InEffect || !f.State.Foreign || m.Phase == sre.Intended {
			return true
		}
		r.Phase, r.Err = gone(m, f.State)
	case f.Err != nil:
		a.book.doubts[w.action]++
		m.Err = f.Err.Error()
		code := sre.CodeOf(f.Err)
		if keeps(w.purpose) || code == sre.CodeUnknown && a.book.doubts[w.action] < a.cfg.Timing.ReapplyProbe {
			return false // looked at again next tick; nothing was touched
		}
		r.Phase, r.Code, r.Err = sre.Failed, code, "the target cannot be read: "+m.Err
	case keeps(w.purpose) && (!f.State.InEffect || f.State.Foreign):
		r.Phase, r.Err = gone(m, f.State)
	case w.purpose == sre.ToApply && f.State.InEffect:
		r.Phase = sre.InEffect // applied before a crash, under another epoch
		if m.Before == nil {
			m.Before = f.State.Default
		}
		m.Permit, m.Expires, m.Epoch = w.permit.Record(), f.State.Expires, a.epoch
		a.result(t, w.inc, m, r)
		a.remember(t, w.inc, "adopt") // no intent carries its permit and its undo
		return false
	case a.seized(t, w, f.State):
		r.State.Foreign = true
		r.Phase, r.Err = gone(m, r.State)
	case f.State.Foreign && f.State.Owner != "" && find(w.inc, f.State.Owner) == nil:
		r.Phase, r.Code, r.Err = sre.Failed, sre.CodeRefused, "the lever is held by "+f.State.Owner
	default:
		delete(a.book.doubts, w.action)
		return true
	}
	a.result(t, w.inc, m, stillAfloat(r, afloat(m)))
	return false
}

// stillAfloat does not take an apply for failed, nor a lever for somebody else's,
// while the one that an earlier run sent may arrive yet: only an undo fences that
// off.
func stillAfloat(r sre.ResultRecord, adrift bool) sre.ResultRecord {
	if adrift && (r.Phase == sre.Failed || r.Phase == sre.Released && r.Purpose == sre.ToApply) {
		r.Phase = sre.Intended
	}
	return r
}

// keeps reports whether a purpose is about what is in force already.
func keeps(p sre.Purpose) bool { return p == sre.ToRenew || p == sre.ToAdjust }

// intend notes that a lever is about to be touched.
func (a *Agent) intend(t *turn, w want, s sre.TargetState) want {
	m := find(w.inc, w.action)
	action := w.permit.Action()
	w.adrift = w.purpose == sre.ToApply && afloat(m)
	w.intent = sre.IntentRecord{
		Action: action, Permit: w.permit.Record(), Epoch: a.epoch, Before: m.Before, DryRun: a.exec.DryRun(),
		Detail: s.Detail,
	}
	if w.purpose != sre.ToRevert {
		w.intent.Expires = t.now.Add(action.TTL)
		if w.inc.Order != nil {
			w.intent.Expires = w.inc.Order.Until
		}
	}
	if keeps(w.purpose) {
		w.intent.Control = m.Control
	}
	if w.purpose == sre.ToRevert {
		delete(a.book.doubts, w.action) // what could not be read before says nothing of the undo
	}
	if w.purpose == sre.ToApply {
		w.intent.Before = s.Current
		if older := superseded(w.inc, action); older != nil {
			w.intent.Before = older.Before // the undo leads back to before the first
		}
	}
	r := sre.Record{Kind: sre.RecordIntent, At: t.now, IncidentID: w.inc.ID, Intent: &w.intent}
	if err := a.book.intend(r); err != nil {
		a.log.Error("intent", "incident", w.inc.ID, "err", err)
	}
	a.note(t, r)
	return w
}

// superseded is the incident's own earlier mitigation in force on the same
// lever.
func superseded(inc *sre.Incident, action sre.Action) *sre.Mitigation {
	for i := range inc.Mitigations {
		m := &inc.Mitigations[i]
		if m.Action.ID == action.ID {
			return nil
		}
		if m.Phase.Live() && m.Action.Kind == action.Kind && m.Action.Target == action.Target {
			return m
		}
	}
	return nil
}

// act touches the levers, after everything was recorded, and notes the results.
func (a *Agent) act(ctx context.Context, t *turn) {
	if len(t.wants) == 0 {
		return
	}
	orders := make([]executor.Order, len(t.wants))
	for i, w := range t.wants {
		a.book.seq++
		orders[i] = executor.Order{
			Permit: w.permit, Purpose: w.purpose, Epoch: a.epoch, Seq: a.book.seq,
			Expires: w.intent.Expires, Restore: w.intent.Before, Unseen: mayArrive(find(w.inc, w.action), t.now),
		}
	}
	for i, r := range a.exec.Carry(ctx, t.now, orders) {
		w := t.wants[i]
		m := find(w.inc, w.action)
		if w.purpose == sre.ToAdjust && r.Code == "" {
			a.meter.adjustment(m, w.intent.Action.Params)
		}
		r = stillAfloat(r, w.adrift)
		a.result(t, w.inc, m, r)
		a.log.Info("lever touched", "incident", w.inc.ID, "action", w.action, "purpose", string(w.purpose),
			"phase", string(r.Phase), "target", m.Action.Target.String(), "reason", r.Err)
	}
	a.arrive(t)
}

// supersede lets go of the incident's older mitigation on the same lever: the
// new one carries its undo.
func (a *Agent) supersede(t *turn, inc *sre.Incident, action sre.Action) {
	if older := superseded(inc, action); older != nil {
		a.result(t, inc, older, sre.ResultRecord{
			Action: older.Action.ID, Purpose: sre.ToApply, Phase: sre.Released, Err: fmt.Sprintf("replaced by %s", action.ID),
		})
	}
}

// arrive moves incidents on whose step has just come into effect, so that
// verification starts with the next snapshot and not one tick later.
func (a *Agent) arrive(t *turn) {
	seen := map[string]bool{}
	for _, w := range t.wants {
		if w.purpose == sre.ToApply && !seen[w.inc.ID] && w.inc.State == sre.Acting {
			seen[w.inc.ID] = true
			a.whileActing(t, w.inc)
		}
	}
}
