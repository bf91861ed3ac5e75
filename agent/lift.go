package agent

import (
	"fmt"
	"time"

	"github.com/sreagent/sreagent/sre"
)

// relapseTicks in a row that say "the trouble is back" are believed.
const relapseTicks = 2

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
		if inc.GoodSince.IsZero() {
			inc.GoodSince = t.now
		}
		return false, true
	case sre.Inconclusive, sre.NoData:
	}
	inc.GoodSince = time.Time{}
	return false, false
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
		if t.now.Sub(inc.GoodSince) >= inc.Plan.Hold {
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
	for i := range inc.Mitigations {
		m := &inc.Mitigations[i]
		if m.Phase == sre.Lost || m.Attempts >= a.cfg.Timing.UndoAttempts && m.Phase == sre.Undoing {
			inc.Escalation = fmt.Sprintf("%s on %s cannot be taken back: %s", m.Action.Kind, m.Action.Target, m.Err)
			return a.fire(t, inc, evUndo)
		}
		if m.Phase == sre.Undoing {
			if a.book.doubts[m.Action.ID] == 0 {
				a.wantRevert(t, inc, m, "calm for long enough")
			}
			return false
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
			return inc.Plan.LiftGap
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

// whileReverting undoes everything that is, or may be, in effect, newest first.
// It needs no eyes: undo is never blocked.
func (a *Agent) whileReverting(t *turn, inc *sre.Incident) bool {
	left, lost := 0, 0
	for i := len(inc.Mitigations) - 1; i >= 0; i-- {
		m := &inc.Mitigations[i]
		switch m.Phase {
		case sre.InEffect, sre.Intended, sre.Undoing:
			left++
			if max(m.Attempts, a.book.doubts[m.Action.ID]) >= a.cfg.Timing.UndoAttempts {
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
		case sre.NotStarted, sre.Undone, sre.Failed, sre.Released, sre.Lapsed, sre.Simulated:
		}
	}
	if left == 0 {
		return a.fire(t, inc, evReverted)
	}
	return left == lost && a.fire(t, inc, evLose)
}

func (a *Agent) whileEscalated(t *turn, inc *sre.Incident) bool {
	if len(inc.InForce()) == 0 && quiet(t, inc, a.cfg.Timing.EscalatedFor) {
		return a.fire(t, inc, evConclude)
	}
	return false
}
