package agent

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/looplab/fsm"

	"github.com/sreagent/sreagent/agent/gate"
	"github.com/sreagent/sreagent/sre"
)

// event moves an incident from state to state.
type event string

const (
	evDiagnose event = "diagnose" // the suspicion has lasted and has a cause
	evSubside  event = "subside"  // the signs are gone by themselves
	evPlan     event = "plan"     // a runbook fits
	evRethink  event = "rethink"  // the cause is another one now
	evEscalate event = "escalate" // nothing fits, and it matters
	evAsk      event = "ask"      // a human must answer
	evClear    event = "clear"    // cleared to act, by policy or by a human
	evDeny     event = "deny"     // a human said no
	evExpire   event = "expire"   // nobody answered in time
	evApplied  event = "applied"  // every action of the step is in effect
	evNext     event = "next"     // cleared to take the next step
	evImprove  event = "improve"  // the step's check has held
	evStall    event = "stall"    // the step did not help in time
	evKeep     event = "keep"     // neither did this one, and people are to find it in force
	evWorsen   event = "worsen"   // it got worse
	evFail     event = "fail"     // an action failed while others are in effect
	evRefuse   event = "refuse"   // an action failed and nothing is in effect
	evLose     event = "lose"     // a lever's state is unknown and stays so
	evLift     event = "lift"     // calm for long enough: take mitigations back
	evLifted   event = "lifted"   // none is left
	evRecur    event = "recur"    // the trouble is back
	evUndo     event = "undo"     // a human wants everything undone
	evReverted event = "reverted" // the first state is back
	evConclude event = "conclude" // the watch period is over, or a human closed it
	evMerge    event = "merge"    // it turned out to be another incident, and nothing of its own is in force
	evAnother  event = "another"  // a cure did not help, and another one fits
	evReopen   event = "reopen"   // it came back soon after it was closed
)

// transitions is the whole lifecycle: what may follow what. docs/lifecycle.mmd
// is drawn from it.
var transitions = fsm.Events{
	{Name: string(evDiagnose), Src: states(sre.Suspected), Dst: string(sre.Diagnosed)},
	{Name: string(evSubside), Src: states(sre.Suspected, sre.Diagnosed, sre.Planned, sre.AwaitingApproval, sre.Escalated), Dst: string(sre.Closed)},
	{Name: string(evPlan), Src: states(sre.Diagnosed), Dst: string(sre.Planned)},
	{Name: string(evRethink), Src: states(sre.Planned, sre.AwaitingApproval), Dst: string(sre.Diagnosed)},
	{Name: string(evEscalate), Src: states(sre.Suspected, sre.Diagnosed, sre.Planned), Dst: string(sre.Escalated)},
	{Name: string(evAsk), Src: states(sre.Planned), Dst: string(sre.AwaitingApproval)},
	{Name: string(evClear), Src: states(sre.Planned, sre.AwaitingApproval), Dst: string(sre.Acting)},
	{Name: string(evDeny), Src: states(sre.AwaitingApproval), Dst: string(sre.Escalated)},
	{Name: string(evExpire), Src: states(sre.AwaitingApproval), Dst: string(sre.Escalated)},
	{Name: string(evApplied), Src: states(sre.Acting), Dst: string(sre.Verifying)},
	{Name: string(evNext), Src: states(sre.Verifying), Dst: string(sre.Acting)},
	{Name: string(evImprove), Src: states(sre.Verifying), Dst: string(sre.Resolved)},
	{Name: string(evStall), Src: states(sre.Acting, sre.Verifying), Dst: string(sre.Reverting)},
	{Name: string(evKeep), Src: states(sre.Verifying), Dst: string(sre.Escalated)},
	{Name: string(evWorsen), Src: states(sre.Verifying), Dst: string(sre.Reverting)},
	{Name: string(evFail), Src: states(sre.Acting), Dst: string(sre.Reverting)},
	{Name: string(evRefuse), Src: states(sre.Acting), Dst: string(sre.Escalated)},
	{Name: string(evLose), Src: states(sre.Reverting), Dst: string(sre.Escalated)},
	{Name: string(evLift), Src: states(sre.Diagnosed, sre.Planned, sre.AwaitingApproval, sre.Resolved), Dst: string(sre.Lifting)},
	{Name: string(evLifted), Src: states(sre.Lifting), Dst: string(sre.Resolved)},
	{Name: string(evRecur), Src: states(sre.Resolved, sre.Lifting), Dst: string(sre.Diagnosed)},
	{Name: string(evUndo), Src: states(sre.Diagnosed, sre.Planned, sre.AwaitingApproval, sre.Acting, sre.Verifying, sre.Resolved, sre.Lifting, sre.Escalated), Dst: string(sre.Reverting)},
	{Name: string(evReverted), Src: states(sre.Reverting), Dst: string(sre.Escalated)},
	{Name: string(evConclude), Src: states(sre.Resolved, sre.Escalated), Dst: string(sre.Closed)},
	{Name: string(evAnother), Src: states(sre.Resolved, sre.Escalated), Dst: string(sre.Diagnosed)},
	{Name: string(evMerge), Src: states(sre.Suspected, sre.Diagnosed, sre.Planned, sre.AwaitingApproval, sre.Acting, sre.Verifying, sre.Resolved, sre.Escalated), Dst: string(sre.Closed)},
	{Name: string(evReopen), Src: states(sre.Closed), Dst: string(sre.Suspected)},
}

// errNotCleared is why acting cannot be entered.
var errNotCleared = errors.New("acting needs a clearance of the gate")

// lifecycle is one incident's state machine. No callback has an effect; the
// only ones there are guard the two ways into acting.
type lifecycle struct {
	machine  *fsm.FSM
	incident string
}

func states(s ...sre.State) []string {
	out := make([]string, len(s))
	for i, state := range s {
		out[i] = string(state)
	}
	return out
}

// newLifecycle returns the machine of an incident in a state, which may come
// from the trail: an unknown one is an error, since the library would take any
// string.
func newLifecycle(incident string, at sre.State) (*lifecycle, error) {
	if !slices.Contains(sre.States(), at) {
		return nil, fmt.Errorf("incident %s: unknown state %q", incident, at)
	}
	l := &lifecycle{incident: incident}
	l.machine = fsm.NewFSM(string(at), transitions, fsm.Callbacks{
		"before_" + string(evClear): l.needClearance,
		"before_" + string(evNext):  l.needClearance,
	})
	return l, nil
}

// pass is what the two guarded events must be fired with.
type pass struct {
	clearance gate.Clearance
	now       time.Time
}

func (l *lifecycle) needClearance(_ context.Context, e *fsm.Event) {
	if len(e.Args) == 1 {
		if p, ok := e.Args[0].(pass); ok && p.clearance.Valid(l.incident, p.now) {
			return
		}
	}
	e.Cancel(errNotCleared)
}

// state returns where the incident stands.
func (l *lifecycle) state() sre.State { return sre.State(l.machine.Current()) }

// can reports whether an event is possible now.
func (l *lifecycle) can(e event) bool { return l.machine.Can(string(e)) }

// fire moves the incident. The context is never one that can be cancelled: a
// cancelled one would wedge the machine for good.
func (l *lifecycle) fire(e event, args ...any) error {
	if err := l.machine.Event(context.WithoutCancel(context.Background()), string(e), args...); err != nil {
		return fmt.Errorf("incident %s: %s while %s: %w", l.incident, e, l.state(), err)
	}
	return nil
}

// Diagram returns the lifecycle as a Mermaid state diagram.
func Diagram() (string, error) {
	m := fsm.NewFSM(string(sre.Suspected), transitions, nil)
	return fsm.VisualizeForMermaidWithGraphType(m, fsm.StateDiagram)
}
