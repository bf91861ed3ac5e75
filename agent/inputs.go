package agent

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/sreagent/sreagent/agent/gate"
	"github.com/sreagent/sreagent/sre"
)

// hear takes in what people asked since the last tick. Operators' commands take
// effect at once; answers to questions wait until the evidence is fresh.
func (a *Agent) hear(t *turn) {
	for _, in := range a.ports.Desk.Drain(t.now) {
		switch in.Kind {
		case sre.InputPause:
			a.hearPause(t, in)
		case sre.InputResume:
			a.hearResume(t, in)
		case sre.InputApprove, sre.InputReject, sre.InputClose, sre.InputUndo:
			t.replies = append(t.replies, in)
		case sre.InputSwitch:
			a.hearSwitch(t, in)
		case sre.InputStop:
			a.hearStop(t, in)
		case sre.InputStart:
			a.hearStart(t, in)
		case sre.InputMandate:
			a.hearMandate(t, in)
		default:
			a.answer(t, in, false, fmt.Sprintf("unknown input %q", in.Kind))
		}
	}
}

func (a *Agent) answer(t *turn, in sre.Input, ok bool, why string) {
	t.answers = append(t.answers, sre.Answer{Input: in.ID, Accepted: ok, Reason: why})
}

func (a *Agent) mayOperate(t *turn, in sre.Input, need sre.Role) bool {
	if in.Role.Rank() >= need.Rank() {
		return true
	}
	a.answer(t, in, false, fmt.Sprintf("role %s is needed, %q has %q", need, in.By, in.Role))
	return false
}

func (a *Agent) command(t *turn, in sre.Input) {
	a.note(t, sre.Record{Kind: sre.RecordOperator, IncidentID: in.Incident, Operator: &sre.OperatorRecord{
		Command: in.Kind, Name: in.Name, By: in.By, Role: in.Role, Reason: in.Reason,
	}})
}

// reply answers what concerns one incident, on the tick's fresh evidence.
func (a *Agent) reply(t *turn) {
	for _, in := range t.replies {
		inc, ok := a.book.incidents[in.Incident]
		if !ok {
			a.answer(t, in, false, fmt.Sprintf("no incident %q", in.Incident))
			continue
		}
		switch in.Kind {
		case sre.InputApprove:
			a.hearApproval(t, inc, in)
		case sre.InputReject:
			a.hearRejection(t, inc, in)
		case sre.InputClose:
			a.hearClose(t, inc, in)
		case sre.InputUndo:
			a.hearUndo(t, inc, in)
		case sre.InputPause, sre.InputResume, sre.InputSwitch, sre.InputStop, sre.InputStart, sre.InputMandate:
		}
	}
}

// pending says why an answer to a question cannot be taken, or nothing.
func (a *Agent) pending(t *turn, inc *sre.Incident, in sre.Input) string {
	oldest := t.now.Add(-time.Duration(a.gate.Policy().EvidenceMaxAge))
	switch {
	case inc.MergedInto != "":
		return fmt.Sprintf("incident %s is part of %s now: no answer is awaited", inc.ID, inc.MergedInto)
	case inc.State != sre.AwaitingApproval || inc.Decision == nil:
		return fmt.Sprintf("incident %s is %s: no answer is awaited", inc.ID, inc.State)
	case rejected(inc):
		return "the plan was rejected by " + inc.Approval.By
	case in.Decision != inc.Decision.ID:
		return fmt.Sprintf("decision %q is stale: the question is now %q", in.Decision, inc.Decision.ID)
	case in.At.After(inc.Decision.ExpiresAt):
		return "the question has expired"
	case in.At.Before(oldest):
		return "the answer is stale: it waited too long for the agent"
	}
	return ""
}

func (a *Agent) hearApproval(t *turn, inc *sre.Incident, in sre.Input) {
	if !a.mayOperate(t, in, sre.Approver) {
		return
	}
	if why := a.pending(t, inc, in); why != "" {
		a.answer(t, in, false, why)
		return
	}
	if _, fresh := t.news[inc.ID]; !fresh {
		a.answer(t, in, false, "the evidence is stale: no sign of this incident at the last tick, nothing was done")
		return
	}
	if !inc.Plan.Anywhere && inc.Plan.Cause != inc.Diagnosis.Top().Service {
		a.answer(t, in, false, fmt.Sprintf("the evidence has changed: the cause is now %s, the plan was for %s",
			inc.Diagnosis.Top().Service, inc.Plan.Cause))
		return
	}
	step, blocked := a.startable(t, inc, 0)
	if blocked != "" {
		a.answer(t, in, false, "the evidence has changed: "+blocked)
		return
	}
	inc.Step = step // the one that may start now, not when the question was put
	approval := a.approval(t, in, sre.Approved)
	if why := a.second(inc, approval); why != "" {
		a.answer(t, in, false, why)
		return
	}
	clearance, _, err := a.gate.Clear(a.question(t, inc), inc.Decision, approval)
	if errors.Is(err, gate.ErrMoreNeeded) {
		a.halfway(t, inc, in, approval)
		return
	}
	if err != nil {
		a.answer(t, in, false, err.Error())
		return
	}
	inc.Approval = approval
	a.note(t, sre.Record{Kind: sre.RecordApproval, IncidentID: inc.ID, Approval: approval})
	a.clear(t, inc, pass{clearance: clearance, now: t.now})
	a.answer(t, in, true, "approved: acting")
}

func (a *Agent) hearRejection(t *turn, inc *sre.Incident, in sre.Input) {
	if !a.mayOperate(t, in, sre.Approver) {
		return
	}
	if why := a.pending(t, inc, in); why != "" {
		a.answer(t, in, false, why)
		return
	}
	inc.Approval = a.approval(t, in, sre.Rejected)
	a.note(t, sre.Record{Kind: sre.RecordApproval, IncidentID: inc.ID, Approval: inc.Approval})
	a.deny(t, inc)
	a.answer(t, in, true, "rejected: nothing was done")
}

// deny ends an attempt that a human has rejected.
func (a *Agent) deny(t *turn, inc *sre.Incident) bool {
	inc.Tried = append(inc.Tried, cureKey(inc))
	inc.Escalation = "the plan was rejected by " + inc.Approval.By
	return a.fire(t, inc, evDeny)
}

// rejected reports whether the pending question has been answered with no.
func rejected(inc *sre.Incident) bool {
	return inc.Approval != nil && inc.Approval.Response == sre.Rejected && inc.Approval.Decision == inc.Decision.ID
}

func (a *Agent) approval(t *turn, in sre.Input, r sre.Response) *sre.Approval {
	return &sre.Approval{Decision: in.Decision, Response: r, By: in.By, Role: in.Role, At: t.now, Comment: in.Reason}
}

func (a *Agent) hearClose(t *turn, inc *sre.Incident, in sre.Input) {
	if !a.mayOperate(t, in, sre.Operator) {
		return
	}
	for _, m := range inc.InForce() {
		if m.Phase != sre.Lost || a.book.doubts[m.Action.ID] < max(a.cfg.Timing.UndoAttempts, 1) {
			a.answer(t, in, false, fmt.Sprintf("%s on %s is %s: undo it first", m.Action.Kind, m.Action.Target, m.Phase))
			return
		}
	}
	e := evConclude
	if !a.book.machines[inc.ID].can(e) {
		e = evSubside
	}
	if !a.book.machines[inc.ID].can(e) {
		a.answer(t, in, false, fmt.Sprintf("incident %s is %s", inc.ID, inc.State))
		return
	}
	a.command(t, in)
	yours := []string{"closed"}
	for i := range inc.Mitigations { // unreadable to the last: the human answers for them
		if m := &inc.Mitigations[i]; m.Phase == sre.Lost {
			a.result(t, inc, m, sre.ResultRecord{
				Action: m.Action.ID, Purpose: m.Permit.Purpose, Phase: sre.Released, Err: "given over to " + in.By, Probed: true,
			})
			yours = append(yours, fmt.Sprintf("%s on %s is yours", m.Action.Kind, m.Action.Target))
		}
	}
	a.fire(t, inc, e)
	a.answer(t, in, true, strings.Join(yours, "; "))
}

func (a *Agent) hearUndo(t *turn, inc *sre.Incident, in sre.Input) {
	if !a.mayOperate(t, in, sre.Operator) {
		return
	}
	under := inc.State == sre.Reverting
	some := mustUndo(inc) || inc.State == sre.Acting // about to begin is begun
	if !some || !under && !a.book.machines[inc.ID].can(evUndo) {
		a.answer(t, in, false, fmt.Sprintf("incident %s is %s: nothing is in force", inc.ID, inc.State))
		return
	}
	a.command(t, in)
	a.undoNow(t, inc, "undone on request of "+in.By)
	a.answer(t, in, true, "undoing")
}
