package agent

import (
	"fmt"
	"time"

	"github.com/sreagent/sreagent/sre"
)

// relapseTicks in a row that say "the trouble is back" are believed.
const relapseTicks = 2

// patienceDoublings bounds how often the calm that lifting needs is doubled.
const patienceDoublings = 3

// patience stretches a time of calm: each relapse shows that the last one was
// not long enough.
func patience(inc *sre.Incident, calm time.Duration) time.Duration {
	return calm << min(max(inc.Recurrences, 0), patienceDoublings)
}

// hold is the calm needed before mitigations are lifted.
func hold(inc *sre.Incident) time.Duration { return patience(inc, inc.Plan.Hold) }

// relapsed counts the ticks in a row that say that the trouble is back; a check
// without data neither says so nor lets anything be lifted.
func (a *Agent) relapsed(t *turn, inc *sre.Incident) (back, calm bool) {
	f := a.facts(t, inc)
	f.Cause, f.Anywhere = inc.Plan.Cause, inc.Plan.Anywhere // also while a new plan is sought
	verdict, _ := a.mind.library.Evaluate(inc.Plan.Relapse, f)
	t.trouble[inc.ID] = verdict != sre.Fail
	switch verdict {
	case sre.Pass:
		inc.BadTicks++
		inc.GoodSince = time.Time{}
		return inc.BadTicks >= relapseTicks, false
	case sre.Fail:
		inc.BadTicks = 0
		if len(inc.InForce()) > 0 && lasting(t, inc) != "" { // held down, not gone
			inc.GoodSince = time.Time{}
			return false, false
		}
		if inc.GoodSince.IsZero() {
			inc.GoodSince = t.now
		}
		return false, true
	case sre.Inconclusive, sre.NoData:
	}
	inc.GoodSince = time.Time{}
	return false, false
}

// calmAgain reports whether an incident that came back may be lifted without
// another cure. That no sign is left is not enough: the check that has said that
// the trouble is back must have said for as long as ever that it is not.
func (a *Agent) calmAgain(t *turn, inc *sre.Incident) bool {
	if inc.Plan == nil { // nothing says what a relapse would be
		return true
	}
	_, calm := a.relapsed(t, inc)
	return calm && t.now.Sub(inc.GoodSince) >= hold(inc)
}

// lasting names the sign that the cause itself is still there although its harm
// is held down: a serious sign at the plan's cause, of a kind that a mitigation
// does not bring about itself. Turning work away makes errors and takes traffic
// off, so neither of these counts.
func lasting(t *turn, inc *sre.Incident) string {
	for _, p := range t.signs {
		if !serious(p) || p.Service != inc.Plan.Cause || p.Caller != "" || p.Kind == sre.Errors {
			continue
		}
		if p.Kind == sre.Traffic && (len(p.Evidence) == 0 || p.Evidence[0].Now <= p.Evidence[0].Normal) {
			continue
		}
		return fmt.Sprintf("%s of %s", p.Kind, p.Service)
	}
	return ""
}

func (a *Agent) recur(t *turn, inc *sre.Incident) bool {
	inc.Recurrences++
	inc.Attempt++
	if inc.Outcome == "" {
		a.learn(t, inc, sre.Unchanged)
	}
	inc.Outcome = ""
	return a.fire(t, inc, evRecur)
}

func (a *Agent) whileResolved(t *turn, inc *sre.Incident) bool {
	back, calm := a.relapsed(t, inc)
	if back {
		return a.recur(t, inc)
	}
	if a.another(t, inc) {
		return true
	}
	if !calm {
		return false
	}
	if len(inc.InForce()) > 0 {
		if t.now.Sub(inc.GoodSince) >= hold(inc) {
			return a.fire(t, inc, evLift)
		}
		return false
	}
	if t.now.Sub(inc.GoodSince) < a.cfg.Timing.CloseAfter {
		return false
	}
	if inc.Outcome == "" {
		a.learn(t, inc, sre.Improved)
	}
	return a.fire(t, inc, evConclude)
}

// whileLifting takes mitigations back newest first, one kind at a time, with
// calm between.
func (a *Agent) whileLifting(t *turn, inc *sre.Incident) bool {
	back, calm := a.relapsed(t, inc)
	if back {
		return a.recur(t, inc)
	}
	a.giveOver(t, inc)
	if len(inc.InForce()) == 0 {
		return a.fire(t, inc, evLifted)
	}
	for _, m := range inc.Mitigations {
		switch m.Phase {
		case sre.Lost:
			inc.Escalation = stuck(m)
			return a.fire(t, inc, evUndo)
		case sre.Undoing:
			return false // keep goes on with it
		case sre.NotStarted, sre.Intended, sre.InEffect, sre.Undone, sre.Failed, sre.Released, sre.Lapsed, sre.Simulated:
		}
	}
	if calm && a.calmEnough(t, inc) {
		a.wantLift(t, inc)
	}
	return false
}

// giveOver hands what must not be taken back to the people who own it: lifting a
// rollback would roll the bad version out again.
func (a *Agent) giveOver(t *turn, inc *sre.Incident) {
	for i := range inc.Mitigations {
		if m := &inc.Mitigations[i]; m.Phase == sre.InEffect && m.Action.Kind == sre.Rollback && inc.Order == nil {
			a.result(t, inc, m, sre.ResultRecord{
				Action: m.Action.ID, Purpose: m.Permit.Purpose, Phase: sre.Released, State: sre.TargetState{Current: m.Action.Params},
				Err: "the former version stays until people roll out a mended one",
			})
		}
	}
}

// calmEnough reports whether it has been calm for as long as the next lift needs.
func (a *Agent) calmEnough(t *turn, inc *sre.Incident) bool {
	return !inc.GoodSince.IsZero() && t.now.Sub(inc.GoodSince) >= a.liftGap(inc)
}

// liftGap is the calm needed before the next lift; the first needs none, since
// the hold has just passed.
func (a *Agent) liftGap(inc *sre.Incident) time.Duration {
	for _, m := range inc.Mitigations {
		if m.Phase == sre.Undone {
			return patience(inc, inc.Plan.LiftGap)
		}
	}
	return 0
}

// wantLift takes back what is next to be lifted. What a control law leads there in
// steps is taken back when the law is done, and the calm goes on counting until
// then.
func (a *Agent) wantLift(t *turn, inc *sre.Incident) {
	for _, m := range nextToLift(inc) {
		if a.ledBack(m) && a.mayComeBack(t, m) && a.hasRoom(t, inc, m) {
			a.wantRevert(t, inc, m, "calm for long enough")
			inc.GoodSince = t.now
		}
	}
}

// nextToLift lists what is lifted next: of the newest mitigation in effect all of
// its kind in its step, newest first.
func nextToLift(inc *sre.Incident) []*sre.Mitigation {
	var out []*sre.Mitigation
	for i := len(inc.Mitigations) - 1; i >= 0; i-- {
		m := &inc.Mitigations[i]
		if m.Phase == sre.InEffect && (out == nil || m.Step == out[0].Step && m.Action.Kind == out[0].Action.Kind) {
			out = append(out, m)
		}
	}
	return out
}

func (a *Agent) wantRevert(t *turn, inc *sre.Incident, m *sre.Mitigation, by string) {
	t.wants = append(t.wants, want{
		inc: inc, action: m.Action.ID, purpose: sre.ToRevert, permit: a.gate.PermitRevert(t.now, *m, by),
	})
}

// whileEscalated closes what needs nobody any more: trouble that went away by
// itself after the usual calm, trouble that levers were moved for once the time
// to watch what they did is over. With a lever in force it waits for a human.
func (a *Agent) whileEscalated(t *turn, inc *sre.Incident) bool {
	if a.another(t, inc) {
		return true
	}
	switch {
	case len(inc.InForce()) > 0:
		return false
	case !touched(inc):
		return a.subside(t, inc)
	}
	return quiet(t, inc, max(a.cfg.Timing.EscalatedFor, a.calm(inc))) && a.fire(t, inc, evConclude)
}
