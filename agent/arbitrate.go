package agent

import (
	"fmt"
	"strings"
	"time"

	"github.com/sreagent/sreagent/agent/arbiter"
	"github.com/sreagent/sreagent/agent/gate"
	"github.com/sreagent/sreagent/sre"
)

// arbitrate asks the arbiter about the step of a plan that would start next.
// Orders of people do not come here: they go before the agent.
func (a *Agent) arbitrate(t *turn, inc *sre.Incident, held []gate.Held) sre.Reason {
	if inc.Plan == nil || inc.Order != nil {
		return sre.Reason{}
	}
	next, wanted := upNext(inc)
	c := arbiter.Case{
		Now: t.now, Incident: inc.ID, Cause: inc.Plan.Cause, Tick: a.cfg.Interval,
		Wanted: wanted, Held: a.claims(held), Structural: structuralSteps(inc),
		Touched: a.touched(t, inc), Services: a.fleet,
	}
	if len(wanted) > 0 {
		c.Ahead, c.Cheaper = inc.Plan.Steps[next].Ahead, inc.Plan.Cheaper(next)
	}
	if t.snap != nil {
		c.Graph = t.snap.Graph
	}
	return arbiter.Judge(a.gate.Policy().Arbitration, a.book.ledger, c)
}

// touched are the services that were acted on of late, or are about to be in this
// tick for another incident.
func (a *Agent) touched(t *turn, inc *sre.Incident) []string {
	var out []string
	for _, s := range a.book.applied {
		if arbiter.Touches(s.Kind) && t.now.Sub(s.At) < arbiter.TouchedFor {
			out = append(out, s.Target.Service)
		}
	}
	for _, w := range t.wants {
		if action := w.permit.Action(); w.inc != inc && w.purpose == sre.ToApply && arbiter.Touches(action.Kind) {
			out = append(out, action.Target.Service)
		}
	}
	return out
}

// upNext are the first step that has actions which are not started yet, and those.
func upNext(inc *sre.Incident) (step int, actions []sre.Action) {
	started := map[string]bool{}
	for i := range inc.Mitigations {
		started[inc.Mitigations[i].Action.ID] = inc.Mitigations[i].Phase != sre.NotStarted
	}
	for i := inc.Step; i < len(inc.Plan.Steps); i++ {
		var out []sre.Action
		for _, action := range inc.Plan.Steps[i].Actions {
			if !started[action.ID] {
				out = append(out, action)
			}
		}
		if len(out) > 0 {
			return i, out
		}
	}
	return 0, nil
}

// structuralSteps counts the steps with a structural action that an incident has
// seen, plans that were given up included. One step on many services is one.
func structuralSteps(inc *sre.Incident) int {
	seen := map[string]bool{}
	for i := range inc.Mitigations {
		m := &inc.Mitigations[i]
		if m.Action.Kind.Structural() && !m.AppliedAt.IsZero() {
			seen[m.Action.ID[:max(0, strings.LastIndexByte(m.Action.ID, '.'))]] = true // incident, attempt and step
		}
	}
	return len(seen)
}

// claims adds to what is held since when and until when it is.
func (a *Agent) claims(held []gate.Held) []arbiter.Claim {
	live := map[gate.Held]*sre.Mitigation{}
	for _, inc := range a.book.open() {
		for i := range inc.Mitigations {
			if m := &inc.Mitigations[i]; m.Phase.Live() {
				live[gate.Held{Incident: inc.ID, Kind: m.Action.Kind, Target: m.Action.Target}] = m
			}
		}
	}
	out := make([]arbiter.Claim, 0, len(held))
	for _, h := range held {
		claim := arbiter.Claim{Incident: h.Incident, Knob: arbiter.Knob{Kind: h.Kind, Target: h.Target}}
		if m := live[h]; m != nil {
			claim.Step, claim.Since, claim.Until = m.Step, m.AppliedAt, m.RenewTill
		}
		out = append(out, claim)
	}
	return out
}

// overwritten notes a knob that somebody else has moved, and returns what was
// noted. What another action of the agent's took over is not foreign.
func (b *book) overwritten(m *sre.Mitigation, r sre.ResultRecord, at time.Time) (arbiter.Foreign, bool) {
	if r.Phase != sre.Released || !r.State.Foreign {
		return arbiter.Foreign{}, false
	}
	knob := arbiter.KnobOf(m.Action)
	f := arbiter.Foreign{At: at, By: stranger(m, r.State), Old: m.Before, Ours: m.Action.Params, Theirs: r.State.Current}
	if m.Phase == sre.NotStarted { // found before anything was sent: what an earlier action left there is what they moved
		f.Old, f.Ours, _ = b.ledger.Strange(knob, r.State.Current, time.Time{})
	} else if b.ours(f.By) {
		return arbiter.Foreign{}, false
	}
	b.ledger.Overwritten(knob, f)
	return f, true
}

// stranger names who has moved the lever of a mitigation; empty where the lever
// only knows whose lease was broken: the mitigation's own.
func stranger(m *sre.Mitigation, s sre.TargetState) string {
	if s.Owner == m.Action.ID {
		return ""
	}
	return s.Owner
}

// ours reports whether the last writer of a lever is an action of the agent's.
func (b *book) ours(owner string) bool {
	for _, inc := range b.incidents {
		if find(inc, owner) != nil {
			return true
		}
	}
	return false
}

// seized reports whether somebody else has set a knob since the agent last moved
// it, as found just before an apply. A setting that goes back to its default by
// itself is nobody's; a person who was shown the setting and said yes, or who
// gave an order, goes before it.
func (a *Agent) seized(t *turn, w want, s sre.TargetState) bool {
	action, shown := w.permit.Action(), find(w.inc, w.action).Before
	found := s.Current
	switch {
	case w.purpose != sre.ToApply || w.inc.Order != nil || action.Kind == sre.Restart: // a restart sets nothing
		return false
	case w.permit.Person() != "" && shown != nil && shown.Near(found) && found.Near(shown):
		return false
	case !s.Foreign && a.book.ours(s.Owner):
		return false
	case !s.Foreign && s.Owner == "" && len(s.Default) > 0:
		found = s.Default
	}
	since := t.now.Add(-relapseWithin)
	if w.inc.OpenedAt.Before(since) {
		since = w.inc.OpenedAt
	}
	_, _, strange := a.book.ledger.Strange(arbiter.KnobOf(action), found, since)
	return strange
}

// stayed takes a move back that a lever is known not to have made.
func (b *book) stayed(m *sre.Mitigation, r sre.ResultRecord, at time.Time) {
	if !r.Probed && (r.Code == sre.CodeInvalid || r.Code == sre.CodeRefused || r.Code == sre.CodeFailed) {
		b.ledger.Stayed(arbiter.KnobOf(m.Action), at)
	}
}

// came notes for the ledger what the actions of a plan came to.
func (b *book) came(inc *sre.Incident, o sre.Outcome, at time.Time) {
	if inc == nil || inc.Plan == nil || inc.Order != nil {
		return
	}
	for _, step := range inc.Plan.Steps {
		for _, action := range step.Actions {
			if m := find(inc, action.ID); m == nil || m.AppliedAt.IsZero() {
				continue
			}
			b.ledger.Came(arbiter.Cure{Cause: inc.Plan.Cause, Knob: arbiter.KnobOf(action)}, o, at)
		}
	}
}

// takenOver words the levers of an incident that somebody else has moved.
func takenOver(inc *sre.Incident) string {
	var text strings.Builder
	for i := range inc.Mitigations {
		if m := &inc.Mitigations[i]; m.Phase == sre.Released && m.Err != "" {
			fmt.Fprintf(&text, "\n%s on %s: %s", m.Action.Kind, m.Action.Target, m.Err)
		}
	}
	return text.String()
}
