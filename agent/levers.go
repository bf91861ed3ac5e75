package agent

import (
	"context"
	"fmt"
	"slices"
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
			if unsure || a.book.unsettled[m.Action.ID] && m.Phase.Live() {
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
		if a.book.doubts[id] == a.cfg.Timing.ReapplyProbe && m.Phase == sre.Intended {
			a.lose(t, inc, m)
		}
		return
	}
	phase, why := m.Phase, ""
	switch m.Phase {
	case sre.Intended:
		phase, why = a.settleIntended(m, found.State, restarted)
	case sre.Undoing, sre.Lost:
		if !found.State.InEffect {
			phase = sre.Undone
		} else if m.Phase == sre.Lost {
			phase = sre.InEffect
		}
	case sre.InEffect:
		if !found.State.InEffect {
			phase, why = gone(found.State)
		}
	case sre.NotStarted, sre.Undone, sre.Failed, sre.Released, sre.Lapsed, sre.Simulated:
	}
	delete(a.book.unsettled, id)
	if phase == m.Phase && !restarted {
		return
	}
	delete(a.book.doubts, id)
	a.result(t, inc, m, sre.ResultRecord{Action: id, Purpose: m.Permit.Purpose, Phase: phase, Err: why, State: found.State, Probed: true})
}

// settleIntended decides on an apply whose answer never came. After a restart,
// "not in effect" means that it can start afresh: the new epoch fences what may
// still be on its way. Within one run it is first given time to arrive.
func (a *Agent) settleIntended(m *sre.Mitigation, s sre.TargetState, restarted bool) (sre.Phase, string) {
	switch {
	case s.InEffect:
		return sre.InEffect, ""
	case restarted:
		return sre.NotStarted, ""
	}
	a.book.doubts[m.Action.ID]++
	if a.book.doubts[m.Action.ID] < a.cfg.Timing.ReapplyProbe {
		return sre.Intended, m.Err
	}
	return sre.Failed, "the lever never showed it: " + m.Err
}

func gone(s sre.TargetState) (sre.Phase, string) {
	if s.Foreign {
		return sre.Released, "somebody else moved the lever: " + s.Owner
	}
	return sre.Lapsed, "the enforcer let it lapse"
}

// lose gives a lever up to a human, with the exact command.
func (a *Agent) lose(t *turn, inc *sre.Incident, m *sre.Mitigation) {
	if a.ports.Manual != nil {
		m.Manual = a.ports.Manual(m.Action, m.Before)
	}
	a.result(t, inc, m, sre.ResultRecord{
		Action: m.Action.ID, Purpose: sre.ToRevert, Phase: sre.Lost, Code: sre.CodeUnknown, Err: m.Err, Probed: true,
	})
}

// result notes what is known of a lever and moves the mitigation.
func (a *Agent) result(t *turn, inc *sre.Incident, m *sre.Mitigation, r sre.ResultRecord) {
	settle(m, r, t.now)
	if r.Phase == sre.InEffect && r.Purpose != sre.ToRevert && m.RenewTill.IsZero() {
		m.RenewTill = t.now.Add(a.lease(inc, m))
	}
	a.note(t, sre.Record{Kind: sre.RecordResult, IncidentID: inc.ID, Result: &r})
	a.meter.action(m.Action.Kind, r)
}

func (a *Agent) lease(inc *sre.Incident, m *sre.Mitigation) time.Duration {
	if inc.Plan == nil || m.Step >= len(inc.Plan.Steps) {
		return m.Action.TTL
	}
	return max(inc.Plan.Steps[m.Step].Lease, m.Action.TTL)
}

// renew keeps what is in force from lapsing, at half of its time to live. What
// the gate does not permit to be renewed lapses by itself.
func (a *Agent) renew(t *turn) {
	for _, inc := range a.book.open() {
		if inc.State == sre.Reverting {
			continue
		}
		for i := range inc.Mitigations {
			m := &inc.Mitigations[i]
			if m.Phase != sre.InEffect || m.Expires.Sub(t.now) > m.Action.TTL/2 || wanted(t, m.Action.ID) {
				continue
			}
			permit, err := a.gate.PermitRenew(a.question(t, inc), *m)
			if err != nil {
				if t.now.After(m.Expires) {
					a.book.unsettled[m.Action.ID] = true // probed at the next tick: lapsed, or not
				}
				continue
			}
			t.wants = append(t.wants, want{inc: inc, action: m.Action.ID, purpose: sre.ToRenew, permit: permit})
		}
	}
}

func wanted(t *turn, action string) bool {
	return slices.ContainsFunc(t.wants, func(w want) bool { return w.action == action })
}

// survey reads what stands at the targets of new and renewed mitigations, and
// turns what may go on into intents. It touches nothing.
func (a *Agent) survey(ctx context.Context, t *turn) {
	actions := make([]sre.Action, 0, len(t.wants))
	for _, w := range t.wants {
		if w.purpose != sre.ToRevert {
			actions = append(actions, w.permit.Action())
		}
	}
	found := a.exec.Probe(ctx, actions)
	kept := t.wants[:0]
	for _, w := range t.wants {
		if w.purpose == sre.ToRevert {
			kept = append(kept, a.intend(t, w, sre.TargetState{}))
			continue
		}
		f := found[0]
		found = found[1:]
		if a.mayGoOn(t, w, f) {
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
	case f.Err != nil:
		a.book.doubts[w.action]++
		m.Err = f.Err.Error()
		code := sre.CodeOf(f.Err)
		if w.purpose == sre.ToRenew || code == sre.CodeUnknown && a.book.doubts[w.action] < a.cfg.Timing.ReapplyProbe {
			return false // looked at again next tick; nothing was touched
		}
		r.Phase, r.Code, r.Err = sre.Failed, code, "the target cannot be read: "+m.Err
	case w.purpose == sre.ToRenew && !f.State.InEffect:
		r.Phase, r.Err = gone(f.State)
	case w.purpose == sre.ToApply && f.State.InEffect:
		r.Phase = sre.InEffect // applied before a crash, under another epoch
		if m.Before == nil {
			m.Before = f.State.Default
		}
		m.Permit, m.Expires = w.permit.Record(), f.State.Expires
	case f.State.Foreign && f.State.Owner != "" && find(w.inc, f.State.Owner) == nil:
		r.Phase, r.Code, r.Err = sre.Failed, sre.CodeRefused, "the lever is held by "+f.State.Owner
	default:
		delete(a.book.doubts, w.action)
		return true
	}
	a.result(t, w.inc, m, r)
	return false
}

// intend notes that a lever is about to be touched.
func (a *Agent) intend(t *turn, w want, s sre.TargetState) want {
	m := find(w.inc, w.action)
	action := w.permit.Action()
	w.intent = sre.IntentRecord{
		Action: action, Permit: w.permit.Record(), Epoch: a.epoch, Before: m.Before, DryRun: a.exec.DryRun(),
	}
	if w.purpose != sre.ToRevert {
		w.intent.Expires = t.now.Add(action.TTL)
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

// superseded is the incident's own mitigation in force on the same lever.
func superseded(inc *sre.Incident, action sre.Action) *sre.Mitigation {
	for i := range inc.Mitigations {
		m := &inc.Mitigations[i]
		if m.Action.ID != action.ID && m.Phase.Live() && m.Action.Kind == action.Kind && m.Action.Target == action.Target {
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
			Expires: w.intent.Expires, Restore: w.intent.Before,
		}
	}
	for i, r := range a.exec.Carry(ctx, t.now, orders) {
		w := t.wants[i]
		m := find(w.inc, w.action)
		if w.purpose == sre.ToApply && r.Phase == sre.InEffect {
			a.supersede(t, w.inc, m.Action)
		}
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
