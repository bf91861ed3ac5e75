package agent

import (
	"fmt"
	"slices"
	"time"

	"github.com/sreagent/sreagent/sre"
)

// byAgent is who stands behind what the agent does to its own mandate.
const byAgent = "policy"

// longestPause bounds a pause that ends by itself.
const longestPause = 30 * 24 * time.Hour

func (a *Agent) hearPause(t *turn, in sre.Input) {
	if !a.mayOperate(t, in, sre.Operator) {
		return
	}
	switch {
	case in.Name == sre.StopName:
		a.answer(t, in, false, fmt.Sprintf("the name %q is the global stop's: use stop and start", in.Name))
		return
	case in.For < 0 || in.For > longestPause:
		a.answer(t, in, false, fmt.Sprintf("it cannot pause for %s; allowed: up to %s, or no end", in.For, longestPause))
		return
	}
	p := sre.Pause{Name: in.Name, By: in.By, Reason: in.Reason, Since: t.now}
	words := "paused: nothing new is started, undo goes on"
	if in.For > 0 {
		p.Until = t.now.Add(in.For)
		words += "; it ends by itself at " + p.Until.UTC().Format(time.DateTime)
	}
	a.book.pause(p)
	a.commandUntil(t, in, p.Until)
	a.answer(t, in, true, words)
}

// commandUntil notes a command that holds until an instant.
func (a *Agent) commandUntil(t *turn, in sre.Input, until time.Time) {
	a.note(t, sre.Record{Kind: sre.RecordOperator, Operator: &sre.OperatorRecord{
		Command: in.Kind, Name: in.Name, By: in.By, Role: in.Role, Reason: in.Reason, Until: until, Revert: in.Revert,
	}})
}

func (a *Agent) hearResume(t *turn, in sre.Input) {
	if !a.mayOperate(t, in, sre.Operator) {
		return
	}
	if in.Name == sre.StopName {
		a.answer(t, in, false, "the global stop is lifted by start, which needs the role approver")
		return
	}
	a.lift(t, in, "resumed")
}

// lift takes back the pause that an input names.
func (a *Agent) lift(t *turn, in sre.Input, done string) {
	if !a.book.resume(in.Name) {
		a.answer(t, in, false, fmt.Sprintf("no pause named %q", in.Name))
		return
	}
	a.command(t, in)
	if n := len(a.book.pauses); n > 0 {
		a.answer(t, in, true, fmt.Sprintf("this pause is lifted, %d others hold", n))
		return
	}
	a.answer(t, in, true, done)
}

// expirePauses takes back the pauses whose time is over, on record, so that a
// clock that is set back does not bring one back.
func (a *Agent) expirePauses(t *turn) {
	for _, p := range slices.Clone(a.book.pauses) {
		if p.Until.IsZero() || t.now.Before(p.Until) {
			continue
		}
		a.book.resume(p.Name)
		a.note(t, sre.Record{Kind: sre.RecordOperator, Operator: &sre.OperatorRecord{
			Command: sre.InputResume, Name: p.Name, By: byAgent, Reason: "its time is over: it was to hold until " + p.Until.UTC().Format(time.DateTime),
		}})
	}
}

// hearStop stops all automation, until an approver lifts it. With revert, what
// the agent has in force is undone from this tick on.
func (a *Agent) hearStop(t *turn, in sre.Input) {
	in.Name = sre.StopName
	if !a.mayOperate(t, in, sre.Operator) {
		return
	}
	p := sre.Pause{Name: in.Name, By: in.By, Reason: in.Reason, Since: t.now, Stop: true}
	a.book.pause(p)
	a.commandUntil(t, in, time.Time{})
	words := "stopped: nothing new is started until an approver gives the command start"
	if in.Revert {
		words += fmt.Sprintf("; %d incidents are being undone", a.revertAll(t, in.By))
	}
	a.answer(t, in, true, words)
}

func (a *Agent) hearStart(t *turn, in sre.Input) {
	in.Name = sre.StopName
	if in.Role.Rank() < sre.Approver.Rank() {
		t.answers = append(t.answers, sre.Answer{
			Input: in.ID, Forbidden: true, Reason: fmt.Sprintf("role %s is needed to lift the stop, %q has %q", sre.Approver, in.By, in.Role),
		})
		return
	}
	if !slices.ContainsFunc(a.book.pauses, func(p sre.Pause) bool { return p.Stop }) {
		a.answer(t, in, false, "the agent is not stopped")
		return
	}
	a.lift(t, in, "started")
}

// revertAll undoes everything that the agent has in force, and counts the
// incidents. What people have ordered in their own name stays theirs.
func (a *Agent) revertAll(t *turn, by string) int {
	n := 0
	for _, inc := range a.book.open() {
		if inc.Order == nil && a.undoNow(t, inc, "undone by the global stop of "+by) {
			n++
		}
	}
	return n
}

// undoNow begins the undo of an incident, or gives it a new start; false where
// there is nothing to undo.
func (a *Agent) undoNow(t *turn, inc *sre.Incident, why string) bool {
	under := inc.State == sre.Reverting              // then it gets a new start
	some := mustUndo(inc) || inc.State == sre.Acting // about to begin is begun
	if !some || !under && !a.book.machines[inc.ID].can(evUndo) {
		return false
	}
	inc.Escalation, inc.GaveUp = why, false // it is people's now: no other cure is tried
	for i := range inc.Mitigations {        // whatever was tried before
		if m := &inc.Mitigations[i]; m.Phase.Live() {
			m.Attempts = 0
			if m.Phase == sre.Lost {
				m.Phase = sre.Undoing
			}
			delete(a.book.doubts, m.Action.ID)
		}
	}
	if under {
		a.remember(t, inc, string(evUndo))
		return true
	}
	return a.fire(t, inc, evUndo)
}
