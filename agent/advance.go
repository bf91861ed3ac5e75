package agent

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/sreagent/sreagent/agent/gate"
	"github.com/sreagent/sreagent/learner"
	"github.com/sreagent/sreagent/runbooks"
	"github.com/sreagent/sreagent/sre"
)

// movesPerTick bounds how far one incident goes in one tick: from suspicion to
// acting is four moves.
const movesPerTick = 5

// advance moves every open incident as far as it goes this tick. While the
// agent is blind nothing advances but what undoes.
func (a *Agent) advance(t *turn) {
	a.explained = nil
	for _, inc := range a.book.open() {
		for range movesPerTick {
			if !a.move(t, inc) {
				break
			}
		}
		a.call(t, inc)
		a.explain(t, inc)
	}
	a.explainWatch(t)
}

// move takes at most one transition; it reports whether there was one.
func (a *Agent) move(t *turn, inc *sre.Incident) bool {
	if inc.State == sre.Reverting {
		return a.whileReverting(t, inc)
	}
	if inc.State == sre.Escalated && a.owed(inc) {
		return a.fire(t, inc, evUndo)
	}
	if inc.Order != nil {
		return a.whileOrdered(t, inc) // with or without sight
	}
	if inc.MergedInto != "" && !mustUndo(inc) && a.book.machines[inc.ID].can(evMerge) {
		delete(a.alone, inc.ID)
		return a.fire(t, inc, evMerge)
	}
	if !t.seeing {
		return false
	}
	if inc.MergedInto != "" {
		return a.whileMerged(t, inc)
	}
	switch inc.State {
	case sre.Suspected:
		return a.whileSuspected(t, inc)
	case sre.Diagnosed:
		return a.whileDiagnosed(t, inc)
	case sre.Planned:
		return a.whilePlanned(t, inc)
	case sre.AwaitingApproval:
		return a.whileAwaiting(t, inc)
	case sre.Acting:
		return a.whileActing(t, inc)
	case sre.Verifying:
		return a.whileVerifying(t, inc)
	case sre.Resolved:
		return a.whileResolved(t, inc)
	case sre.Lifting:
		return a.whileLifting(t, inc)
	case sre.Escalated:
		return a.whileEscalated(t, inc)
	case sre.Reverting, sre.Closed:
	}
	return false
}

// quiet reports whether an incident has had no sign of trouble for d.
func quiet(t *turn, inc *sre.Incident, d time.Duration) bool {
	return t.now.Sub(inc.LastSeen) >= d
}

// calm is how long an incident must be without a sign to be over: twice as long
// for one that was closed too early twice, so that what comes and goes stays one
// open incident. Never longer: an incident that waits swallows the next fault.
func (a *Agent) calm(inc *sre.Incident) time.Duration {
	if inc.Reopened >= 2 {
		return 2 * a.cfg.Timing.SubsideAfter
	}
	return a.cfg.Timing.SubsideAfter
}

// subside ends an incident whose signs are gone by themselves.
func (a *Agent) subside(t *turn, inc *sre.Incident) bool {
	over := quiet(t, inc, a.calm(inc))
	if len(inc.InForce()) > 0 {
		return a.calmAgain(t, inc) && over && a.fire(t, inc, evLift)
	}
	if !over {
		return false
	}
	return a.fire(t, inc, evSubside)
}

func (a *Agent) whileSuspected(t *turn, inc *sre.Incident) bool {
	if _, fresh := t.news[inc.ID]; fresh && t.now.Sub(inc.StateSince) >= a.cfg.Timing.SuspectFor {
		return a.fire(t, inc, evDiagnose)
	}
	return a.subside(t, inc)
}

func (a *Agent) whileDiagnosed(t *turn, inc *sre.Incident) bool {
	if _, fresh := t.news[inc.ID]; !fresh {
		return a.subside(t, inc)
	}
	plan, rejected := a.mind.library.Match(a.facts(t, inc))
	if plan != nil {
		plan.Rejected = rejected
		inc.Plan, inc.Rejected, inc.Step, inc.Decision, inc.Approval = plan, nil, 0, nil, nil
		inc.Confidence = a.confidence(t, inc)
		return a.fire(t, inc, evPlan)
	}
	a.passOver(t, inc, rejected)
	if inc.Severity == sre.Critical && t.now.Sub(inc.StateSince) >= a.cfg.Timing.SuspectFor {
		inc.Escalation, inc.GaveUp = "no runbook fits: "+rejections(rejected), true
		return a.fire(t, inc, evEscalate)
	}
	return false
}

func rejections(rejected []sre.Rejection) string {
	if len(rejected) == 0 {
		return "none is written for this mechanism"
	}
	parts := make([]string, len(rejected))
	for i, r := range rejected {
		parts[i] = r.Runbook + ": " + r.Reason
	}
	return strings.Join(parts, "; ")
}

// rethink goes back to the drawing board when the cause is no longer the one
// that the plan was made for.
func (a *Agent) rethink(t *turn, inc *sre.Incident) bool {
	if _, fresh := t.news[inc.ID]; !fresh || inc.Plan.Anywhere || inc.Diagnosis.Top().Service == inc.Plan.Cause {
		return false
	}
	inc.Decision, inc.Approval = nil, nil
	if len(inc.InForce()) == 0 { // else lifting goes by it
		inc.Plan = nil
	}
	inc.Attempt++ // a new plan needs new action IDs
	inc.Mitigations = slices.DeleteFunc(inc.Mitigations, func(m sre.Mitigation) bool { return m.Phase == sre.NotStarted })
	return a.fire(t, inc, evRethink)
}

func (a *Agent) whilePlanned(t *turn, inc *sre.Incident) bool {
	if _, fresh := t.news[inc.ID]; !fresh {
		return a.subside(t, inc)
	}
	if a.rethink(t, inc) {
		return true
	}
	inc.Confidence = a.confidence(t, inc)
	inc.Step, _ = a.startable(t, inc, 0)
	a.decide(t, inc)
	switch inc.Decision.Stance {
	case sre.Act:
		clearance, _, err := a.gate.Clear(a.question(t, inc), inc.Decision, nil)
		if err != nil {
			return false
		}
		return a.clear(t, inc, pass{clearance: clearance, now: t.now})
	case sre.Ask:
		return a.fire(t, inc, evAsk)
	case sre.Watch:
	}
	if why := shortOfAsking(inc.Decision); why != "" && inc.Severity == sre.Critical &&
		t.now.Sub(inc.StateSince) >= a.cfg.Timing.SuspectFor {
		inc.Escalation = why
		return a.fire(t, inc, evEscalate)
	}
	return false
}

// shortOfAsking says that confidence alone keeps the agent from asking.
func shortOfAsking(d *sre.Decision) string {
	why := ""
	for _, r := range d.Reasons {
		if r.Allows != sre.Watch {
			continue
		}
		if r.Guard != "confidence" {
			return ""
		}
		why = r.Text
	}
	return why
}

// decide weighs the plan and remembers the decision when it says something new.
func (a *Agent) decide(t *turn, inc *sre.Incident) {
	fresh := a.gate.Decide(a.question(t, inc))
	if inc.Decision == nil || !sameDecision(*inc.Decision, fresh) {
		a.note(t, sre.Record{Kind: sre.RecordDecision, IncidentID: inc.ID, Decision: &fresh})
		a.meter.decision(fresh)
	}
	inc.Decision = &fresh
}

func sameDecision(x, y sre.Decision) bool {
	return x.Stance == y.Stance && x.Runbook == y.Runbook && slices.EqualFunc(x.Reasons, y.Reasons, func(r, s sre.Reason) bool {
		return r.Guard == s.Guard && r.Allows == s.Allows
	})
}

func (a *Agent) whileAwaiting(t *turn, inc *sre.Incident) bool {
	if rejected(inc) { // by an answer that a crash cut off from what follows of it
		return a.deny(t, inc)
	}
	if a.subside(t, inc) {
		return true
	}
	if a.rethink(t, inc) {
		return true
	}
	if t.now.After(inc.Decision.ExpiresAt) {
		inc.Approval = &sre.Approval{Decision: inc.Decision.ID, Response: sre.Expired, At: t.now}
		a.note(t, sre.Record{Kind: sre.RecordApproval, IncidentID: inc.ID, Approval: inc.Approval})
		inc.Escalation = "nobody answered in time"
		return a.fire(t, inc, evExpire)
	}
	return false
}

// clear enters acting with the plan's current step.
func (a *Agent) clear(t *turn, inc *sre.Incident, p pass) bool {
	return a.enter(t, inc, evClear, inc.Step, p)
}

// enter fires an event into acting and enlists the step's actions.
func (a *Agent) enter(t *turn, inc *sre.Incident, e event, step int, p pass) bool {
	before, listed := inc.Step, len(inc.Mitigations)
	inc.Step, inc.Trouble, inc.OwnTrouble = step, 1, 1 // what is not known cannot have got worse
	if ratio, known := trouble(t); known {
		inc.Trouble = ratio
	}
	if ratio, known := ownTrouble(t, inc); known {
		inc.OwnTrouble = ratio
	}
	a.resettle(t, inc, step, p)
	for _, action := range inc.Plan.Steps[step].Actions {
		if m := find(inc, action.ID); m == nil {
			inc.Mitigations = append(inc.Mitigations, sre.Mitigation{Action: action, Step: step})
		} else if m.Phase == sre.NotStarted {
			m.Action = action // as it is settled now, not as it was shown
		}
	}
	began, called := inc.PlanBegan, inc.CalledAt
	if e == evClear {
		inc.PlanBegan, inc.CalledAt, inc.PlanTrouble = t.now, time.Time{}, inc.Trouble
	}
	if a.fire(t, inc, e, p) {
		return true
	}
	inc.Step, inc.Mitigations = before, inc.Mitigations[:listed]
	inc.PlanBegan, inc.CalledAt = began, called
	return false
}

// withinMandate leaves out what has joined a step since it was weighed, where the
// policy would not let the agent act on it alone.
func (a *Agent) withinMandate(t *turn, inc *sre.Incident, step int, settled []sre.Action) []sre.Action {
	q := a.question(t, inc)
	wider := *inc.Plan
	wider.Steps = slices.Clone(wider.Steps)
	wider.Steps[step].Actions = settled
	q.Plan = &wider
	if a.gate.Decide(q).Stance == sre.Act {
		return settled
	}
	return slices.DeleteFunc(settled, func(x sre.Action) bool {
		_, weighed := actionNamed(inc.Plan.Steps[step].Actions, x.ID)
		return !weighed
	})
}

// heldBefore reports of an action whether its knob is held already: by another
// step of the incident, or where the plan is for the whole fleet by anybody. What is held down stays
// with who holds it.
func (a *Agent) heldBefore(t *turn, inc *sre.Incident) func(x sre.Action) bool {
	type knob struct {
		kind   sre.ActionKind
		target sre.Target
	}
	held := map[knob]bool{}
	for _, h := range a.question(t, inc).Held {
		if inc.Plan.Anywhere || h.Incident == inc.ID {
			held[knob{h.Kind, h.Target}] = true
		}
	}
	return func(x sre.Action) bool { return held[knob{x.Kind, x.Target}] }
}

func actionNamed(list []sre.Action, id string) (sre.Action, bool) {
	for _, x := range list {
		if x.ID == id {
			return x, true
		}
	}
	return sre.Action{}, false
}

// resettle brings the settings of a step up to date where the agent goes on to it
// alone. What a person has approved stays as it was shown to them, but for what a
// control law moves from its first tick on anyway.
func (a *Agent) resettle(t *turn, inc *sre.Incident, step int, p pass) {
	planned := inc.Plan.Steps[step].Actions
	begun := func(x sre.Action) bool { m := find(inc, x.ID); return m != nil && m.Phase != sre.NotStarted }
	if t.snap == nil || inc.Order != nil || slices.ContainsFunc(planned, begun) {
		return
	}
	plan := *inc.Plan // views and records hold the old one
	plan.Steps = slices.Clone(plan.Steps)
	settled := a.mind.library.Settle(inc.Plan, step, a.facts(t, inc))
	settled = slices.DeleteFunc(settled, a.heldBefore(t, inc))
	switch joined := func(x sre.Action) bool { _, known := actionNamed(planned, x.ID); return !known }; {
	case !slices.ContainsFunc(settled, joined):
	case p.clearance.Alone(): // more than was weighed
		settled = a.withinMandate(t, inc, step, settled)
	case !plan.Anywhere: // more than a person has approved
		settled = slices.DeleteFunc(settled, joined)
	}
	plan.Steps[step].Actions = settled
	for i := range plan.Steps[step].Actions {
		x := &plan.Steps[step].Actions[i]
		if x.Law == "" && !p.clearance.Alone() {
			if was, known := actionNamed(planned, x.ID); known {
				x.Params = was.Params
			}
		}
	}
	inc.Plan = &plan
}

// trouble is the error ratio over the entry services, weighted by traffic, and
// whether there is any reading to tell it by.
func trouble(t *turn) (ratio float64, known bool) {
	if t.snap == nil {
		return 0, false
	}
	var failed, all float64
	for _, e := range t.snap.Graph.Entries() {
		errors, load := t.snap.ErrorRatio(e), t.snap.Value(e, sre.Traffic, sre.PerSecond)
		if errors.OK() && load.OK() && isFinite(errors.Value*load.Value) && isFinite(load.Value) {
			failed += errors.Value * load.Value
			all += load.Value
		}
	}
	if all <= 0 || !isFinite(failed/all) {
		return 0, false
	}
	return failed / all, true
}

// facts is what runbooks may look at. Once a plan is made its cause stays the
// subject, whatever else comes to light.
func (a *Agent) facts(t *turn, inc *sre.Incident) runbooks.Facts {
	f := runbooks.Facts{
		Snapshot: t.snap, Diagnosis: &inc.Diagnosis, Confidence: inc.Confidence, Incident: inc.ID,
		Attempt: inc.Attempt, Tried: inc.Tried, Levers: a.caps, Changes: a.changes,
	}
	if inc.Plan != nil && inc.State != sre.Diagnosed {
		f.Cause, f.Anywhere = inc.Plan.Cause, inc.Plan.Anywhere
	}
	return f
}

// startable is the first step from a given one on whose precondition holds. A
// precondition without data does not hold.
func (a *Agent) startable(t *turn, inc *sre.Incident, from int) (step int, blocked string) {
	for i := from; i < len(inc.Plan.Steps); i++ {
		s := inc.Plan.Steps[i]
		if s.Before.Expr == "" {
			return i, ""
		}
		verdict, why := a.mind.library.Evaluate(s.Before, a.facts(t, inc))
		if verdict == sre.Pass {
			return i, ""
		}
		blocked = fmt.Sprintf("step %q may not start: %s", s.Name, why)
	}
	if blocked == "" {
		blocked = "no step is left"
	}
	return from, blocked
}

func (a *Agent) confidence(t *turn, inc *sre.Incident) sre.Confidence {
	top := inc.Diagnosis.Top()
	c := a.mind.experience.Confidence(learner.Question{
		Runbook: inc.Plan.Runbook, Mechanism: top.Mechanism, Service: top.Service, Class: class(t.snap, top.Service),
		Probability: top.Probability, DataQuality: inc.Diagnosis.DataQuality, At: t.now, Signature: signature(t, inc),
		Suspects: suspects(inc.Diagnosis),
	})
	c.P, c.Lower, c.Raw, c.Prior = sre.Finite(c.P), sre.Finite(c.Lower), sre.Finite(c.Raw), sre.Finite(c.Prior)
	for i := range c.Factors {
		f := &c.Factors[i]
		f.Value, f.After = sre.Finite(f.Value), sre.Finite(f.After)
	}
	inc.Against = top.Mechanism
	return c
}

// question gathers what the gate may look at. What other incidents are about to
// start this tick counts as started.
func (a *Agent) question(t *turn, inc *sre.Incident) gate.Question {
	q := gate.Question{
		Now: t.now, Incident: inc, Plan: inc.Plan, SourceUp: t.seeing, WarmUp: a.warm, Services: a.fleet,
		Pauses: a.book.pauses, Held: a.book.held(), LastHour: a.book.lastHour(t.now), Levers: a.caps, Simulated: a.exec.DryRun(),
	}
	q.Started = slices.Clone(a.book.started(t.now))
	for _, w := range t.wants {
		if w.inc == inc {
			continue
		}
		action := w.permit.Action()
		q.Held = append(q.Held, gate.Held{Incident: w.inc.ID, Kind: action.Kind, Target: action.Target})
		if w.purpose == sre.ToApply {
			q.LastHour++
			q.Started = append(q.Started, gate.Started{At: t.now, Kind: action.Kind, Target: action.Target})
		}
	}
	q.Standing = a.book.earned.Standing
	q.Arbitration = a.arbitrate(t, inc, q.Held)
	if inc.Plan != nil && (inc.State == sre.Planned || inc.State == sre.AwaitingApproval) {
		_, q.Blocked = a.startable(t, inc, 0)
	}
	return q
}
