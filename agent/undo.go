package agent

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/sreagent/sreagent/sre"
)

// A plan is a saga: its steps are taken one after another, and what was done is
// compensated in the reverse order. The steps run across levers, so that one
// undo waits for another wherever its step came earlier; the actions of one step
// were begun together and are undone together. An undo that fails is tried again
// with a growing pause, a bounded number of times, and is then given to a human
// with the command; its lever stays locked, and the older steps go on.

// maxPause bounds the pause between two tries of an undo, in ticks.
const maxPause = 8

// whileReverting undoes everything that is, or may be, in effect, step by step,
// newest first. It needs no eyes: undo is never blocked.
func (a *Agent) whileReverting(t *turn, inc *sre.Incident) bool {
	left, lost := 0, 0
	var front *sre.Mitigation // the newest that is being undone: what was begun with it is too
	for i := len(inc.Mitigations) - 1; i >= 0; i-- {
		m := &inc.Mitigations[i]
		if !m.Phase.Live() && !afloat(m) {
			continue
		}
		left++
		if m.Phase == sre.Lost {
			lost++
			continue
		}
		if front == nil {
			front = m
		}
		switch {
		case !together(m, front), wanted(t, m.Action): // after the newer one
		case a.exhausted(m):
			a.lose(t, inc, m)
			lost++
		case a.dueAgain(t, m):
			a.wantRevert(t, inc, m, "undo")
		}
	}
	switch left {
	case 0:
		a.meter.saga(sagaCompensated)
		return a.fire(t, inc, evReverted)
	case lost:
		a.meter.saga(sagaByHand)
		return a.fire(t, inc, evLose)
	}
	return false
}

// together reports whether two actions were begun as one step of one plan.
func together(x, y *sre.Mitigation) bool {
	return x.Step == y.Step && x.Permit.Decision == y.Permit.Decision
}

// dueAgain reports whether an undo may be sent now: never again without a look,
// and after each failure twice as late.
func (a *Agent) dueAgain(t *turn, m *sre.Mitigation) bool {
	if m.Phase == sre.Undoing && a.book.doubts[m.Action.ID] > 0 {
		return false
	}
	if m.Attempts == 0 {
		return true
	}
	pause := a.cfg.Interval * time.Duration(min(1<<min(m.Attempts-1, maxPause), maxPause))
	return t.now.Sub(m.TriedAt) >= pause
}

// lose gives a lever up to a human, with the exact command.
func (a *Agent) lose(t *turn, inc *sre.Incident, m *sre.Mitigation) {
	a.result(t, inc, m, sre.ResultRecord{
		Action: m.Action.ID, Purpose: sre.ToRevert, Phase: sre.Lost, Code: sre.CodeUnknown, Err: m.Err, Probed: true,
		Manual: a.manual(m),
	})
}

// manual is what a human does to undo an action: the lever's own command, or the
// settings to go back to where it has none.
func (a *Agent) manual(m *sre.Mitigation) string {
	if a.ports.Manual != nil {
		if command := a.ports.Manual(m.Action, m.Before); command != "" {
			return command
		}
	}
	if len(m.Before) == 0 {
		return fmt.Sprintf("remove what action %s set: %s on %s", m.Action.ID, m.Action.Kind, m.Action.Target)
	}
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(m.Before)) {
		text := fmt.Sprint(m.Before[name])
		if f, numeric := m.Before.Float(name); numeric {
			text = strconv.FormatFloat(f, 'f', -1, 64) // exact: somebody will type it
		}
		parts = append(parts, name+"="+text)
	}
	return fmt.Sprintf("set %s on %s back to %s", m.Action.Kind, m.Action.Target, strings.Join(parts, " "))
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
