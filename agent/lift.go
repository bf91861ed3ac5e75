package agent

import (
	"fmt"
	"slices"
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
	verdict, _ := a.mind.library.Evaluate(inc.Plan.Relapse, a.facts(t, inc))
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
	if calm && t.now.Sub(inc.GoodSince) >= a.liftGap(inc) {
		inc.GoodSince = t.now
		a.wantLift(t, inc)
	}
	return false
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

func (a *Agent) wantLift(t *turn, inc *sre.Incident) {
	var newest *sre.Mitigation
	for i := len(inc.Mitigations) - 1; i >= 0; i-- {
		m := &inc.Mitigations[i]
		if m.Phase != sre.InEffect {
			continue
		}
		if newest == nil {
			newest = m
		}
		if m.Step == newest.Step && m.Action.Kind == newest.Action.Kind {
			a.wantRevert(t, inc, m, "calm for long enough")
		}
	}
}

func (a *Agent) wantRevert(t *turn, inc *sre.Incident, m *sre.Mitigation, by string) {
	t.wants = append(t.wants, want{
		inc: inc, action: m.Action.ID, purpose: sre.ToRevert, permit: a.gate.PermitRevert(t.now, *m, by),
	})
}

func stuck(m sre.Mitigation) string {
	return fmt.Sprintf("%s on %s cannot be taken back: %s", m.Action.Kind, m.Action.Target, m.Err)
}

// exhausted reports whether the undo of a mitigation was tried often enough, or
// what came of it could not be read for long enough.
func (a *Agent) exhausted(m *sre.Mitigation) bool {
	tries := m.Attempts
	if m.Phase == sre.Undoing {
		tries = max(tries, a.book.doubts[m.Action.ID])
	}
	return tries >= max(a.cfg.Timing.UndoAttempts, 1)
}

// afloat reports whether an apply that an earlier run sent may arrive yet: it
// was not seen in effect, and nothing newer has fenced it off.
func afloat(m *sre.Mitigation) bool { return m.Phase == sre.NotStarted && m.Epoch > 0 }

// owed reports whether an undo that was given up can go on: the lever has
// become readable again, and shows what should be gone.
func (a *Agent) owed(inc *sre.Incident) bool {
	return slices.ContainsFunc(inc.Mitigations, func(m sre.Mitigation) bool {
		return m.Phase == sre.InEffect && m.Attempts > 0 && !a.exhausted(&m)
	})
}

// whileReverting undoes everything that is, or may be, in effect, newest first.
// It needs no eyes: undo is never blocked.
func (a *Agent) whileReverting(t *turn, inc *sre.Incident) bool {
	left, lost := 0, 0
	for i := len(inc.Mitigations) - 1; i >= 0; i-- {
		m := &inc.Mitigations[i]
		if wanted(t, m.Action) && (m.Phase.Live() || afloat(m)) {
			left++ // after the newer one on the same lever
			continue
		}
		switch m.Phase {
		case sre.InEffect, sre.Intended, sre.Undoing:
			left++
			if a.exhausted(m) {
				a.lose(t, inc, m)
				lost++
				continue
			}
			if m.Phase != sre.Undoing || a.book.doubts[m.Action.ID] == 0 { // never again without a look
				a.wantRevert(t, inc, m, "undo")
			}
		case sre.Lost:
			left++
			lost++
		case sre.NotStarted:
			if afloat(m) {
				left++
				a.wantRevert(t, inc, m, "undo")
			}
		case sre.Undone, sre.Failed, sre.Released, sre.Lapsed, sre.Simulated:
		}
	}
	if left == 0 {
		return a.fire(t, inc, evReverted)
	}
	return left == lost && a.fire(t, inc, evLose)
}

// whileEscalated closes what needs nobody any more: trouble that went away by
// itself after the usual calm, trouble that levers were moved for once the time
// to watch what they did is over. With a lever in force it waits for a human.
func (a *Agent) whileEscalated(t *turn, inc *sre.Incident) bool {
	switch {
	case len(inc.InForce()) > 0:
		return false
	case !touched(inc):
		return a.subside(t, inc)
	}
	return quiet(t, inc, max(a.cfg.Timing.EscalatedFor, a.calm(inc))) && a.fire(t, inc, evConclude)
}
