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

const (
	// movesPerTick bounds how far one incident goes in one tick: from suspicion
	// to acting is four moves.
	movesPerTick = 5
	// relapseTicks in a row that say "the trouble is back" are believed.
	relapseTicks = 2
	// worseBy is the rise of the entries' error ratio that undoes a step, and
	// worseTicks how many ticks in a row must show it.
	worseBy    = 0.1
	worseTicks = 3
)

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
		a.explain(t, inc)
	}
}

// move takes at most one transition; it reports whether there was one.
func (a *Agent) move(t *turn, inc *sre.Incident) bool {
	if inc.State == sre.Reverting {
		return a.whileReverting(t, inc)
	}
	if !t.seeing {
		return false
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

func (a *Agent) subside(t *turn, inc *sre.Incident) bool {
	if !quiet(t, inc, a.cfg.Timing.SubsideAfter) {
		return false
	}
	if len(inc.InForce()) > 0 {
		return a.fire(t, inc, evLift)
	}
	return a.fire(t, inc, evSubside)
}

func (a *Agent) whileSuspected(t *turn, inc *sre.Incident) bool {
	if _, fresh := t.news[inc.ID]; fresh && t.now.Sub(inc.OpenedAt) >= a.cfg.Timing.SuspectFor {
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
		inc.Plan, inc.Step, inc.Decision, inc.Approval = plan, 0, nil, nil
		inc.Confidence = a.confidence(t, inc)
		return a.fire(t, inc, evPlan)
	}
	if inc.Severity == sre.Critical && t.now.Sub(inc.StateSince) >= a.cfg.Timing.SuspectFor {
		inc.Escalation = "no runbook fits: " + rejections(rejected)
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
	if _, fresh := t.news[inc.ID]; !fresh || inc.Diagnosis.Top().Service == inc.Plan.Cause {
		return false
	}
	inc.Plan, inc.Decision, inc.Approval = nil, nil, nil
	inc.Attempt++ // a new plan needs new action IDs
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
	inc.Step, inc.Trouble = step, a.trouble(t)
	for _, action := range inc.Plan.Steps[step].Actions {
		if find(inc, action.ID) == nil {
			inc.Mitigations = append(inc.Mitigations, sre.Mitigation{Action: action, Step: step})
		}
	}
	if a.fire(t, inc, e, p) {
		return true
	}
	inc.Step, inc.Mitigations = before, inc.Mitigations[:listed]
	return false
}

// trouble is the error ratio over the entry services, weighted by traffic.
func (a *Agent) trouble(t *turn) float64 {
	var failed, all float64
	for _, e := range t.snap.Graph.Entries() {
		ratio, load := t.snap.ErrorRatio(e), t.snap.Value(e, sre.Traffic, sre.PerSecond)
		if ratio.OK() && load.OK() {
			failed += ratio.Value * load.Value
			all += load.Value
		}
	}
	if all <= 0 {
		return 0
	}
	return failed / all
}

func (a *Agent) whileActing(t *turn, inc *sre.Incident) bool {
	done, bad, live := true, "", false
	for _, action := range inc.Plan.Steps[inc.Step].Actions {
		m := find(inc, action.ID)
		switch m.Phase {
		case sre.InEffect, sre.Simulated:
		case sre.Failed, sre.Released, sre.Lapsed, sre.Lost, sre.Undone, sre.Undoing:
			bad = fmt.Sprintf("%s on %s is %s: %s", action.Kind, action.Target, m.Phase, m.Err)
		case sre.NotStarted, sre.Intended:
			done = false
		}
	}
	live = len(inc.InForce()) > 0
	switch {
	case bad != "" && live:
		inc.Escalation = bad
		return a.fire(t, inc, evFail)
	case bad != "":
		inc.Escalation = bad
		return a.fire(t, inc, evRefuse)
	case done:
		return a.fire(t, inc, evApplied)
	}
	return a.wantApply(t, inc)
}

// wantApply asks the gate for a permit for each action that has not started. A
// gate that refuses for longer than evidence lives ends the attempt.
func (a *Agent) wantApply(t *turn, inc *sre.Incident) bool {
	q := a.question(t, inc)
	clearance, _, err := a.gate.Clear(q, inc.Decision, inc.Approval)
	if err != nil {
		return a.notCleared(t, inc, err)
	}
	for _, action := range inc.Plan.Steps[inc.Step].Actions {
		if find(inc, action.ID).Phase != sre.NotStarted {
			continue
		}
		permit, err := a.gate.PermitApply(clearance, q, action)
		if err != nil {
			return a.notCleared(t, inc, err)
		}
		t.wants = append(t.wants, want{inc: inc, action: action.ID, purpose: sre.ToApply, permit: permit})
	}
	return false
}

func (a *Agent) notCleared(t *turn, inc *sre.Incident, err error) bool {
	if t.now.Sub(inc.StateSince) <= time.Duration(a.gate.Policy().EvidenceMaxAge) {
		return false
	}
	inc.Escalation = "acting was no longer allowed: " + err.Error()
	if len(inc.InForce()) > 0 {
		return a.fire(t, inc, evFail)
	}
	return a.fire(t, inc, evRefuse)
}

func (a *Agent) whileVerifying(t *turn, inc *sre.Incident) bool {
	step := inc.Plan.Steps[inc.Step]
	verdict, why := a.mind.library.Evaluate(step.Verify, a.facts(t, inc))
	if verdict == sre.Pass {
		inc.BadTicks = 0
		if inc.GoodSince.IsZero() {
			inc.GoodSince = t.now
		}
		if t.now.Sub(inc.GoodSince) >= step.Verify.HeldFor {
			return a.fire(t, inc, evImprove)
		}
		return false
	}
	inc.GoodSince = time.Time{}
	if a.worse(t, inc) {
		return a.giveUp(t, inc, evWorsen, sre.Worsened, "it got worse: "+why)
	}
	if t.now.Sub(inc.StateSince) < step.Verify.Within {
		return false
	}
	if step.OnFail == sre.NextStep && inc.Step+1 < len(inc.Plan.Steps) {
		return a.nextStep(t, inc, why)
	}
	outcome := sre.Unchanged
	switch verdict {
	case sre.NoData:
		outcome = sre.NoDataOutcome
	case sre.Inconclusive:
		outcome = sre.InconclusiveOutcome
	case sre.Pass, sre.Fail:
	}
	return a.giveUp(t, inc, evStall, outcome, "it did not help in time: "+why)
}

func (a *Agent) worse(t *turn, inc *sre.Incident) bool {
	if a.trouble(t) <= inc.Trouble+worseBy {
		inc.BadTicks = 0
		return false
	}
	inc.BadTicks++
	return inc.BadTicks >= worseTicks
}

func (a *Agent) nextStep(t *turn, inc *sre.Incident, why string) bool {
	next, blocked := a.startable(t, inc, inc.Step+1)
	if blocked != "" {
		return a.giveUp(t, inc, evStall, sre.Unchanged, fmt.Sprintf("it did not help in time (%s), and %s", why, blocked))
	}
	clearance, _, err := a.gate.Clear(a.question(t, inc), inc.Decision, inc.Approval)
	if err != nil {
		return a.giveUp(t, inc, evStall, sre.Unchanged, fmt.Sprintf("it did not help in time (%s), and the next step is not allowed: %v", why, err))
	}
	return a.enter(t, inc, evNext, next, pass{clearance: clearance, now: t.now})
}

// giveUp undoes everything and leaves the incident to a human.
func (a *Agent) giveUp(t *turn, inc *sre.Incident, e event, o sre.Outcome, why string) bool {
	inc.Escalation = why
	inc.Tried = append(inc.Tried, cureKey(inc))
	a.learn(t, inc, o)
	return a.fire(t, inc, e)
}

// cureKey is the recurrence key of a plan: the same cure for the same cause is
// not tried again after it did not help.
func cureKey(inc *sre.Incident) string { return runbooks.TriedKey(inc.Plan.Runbook, inc.Plan.Cause) }

// learn notes what came of the plan. A dry run teaches nothing.
func (a *Agent) learn(t *turn, inc *sre.Incident, o sre.Outcome) {
	inc.Outcome = o
	for _, m := range inc.Mitigations {
		if m.Phase == sre.Simulated {
			return
		}
	}
	r := sre.OutcomeRecord{
		Runbook: inc.Plan.Runbook, Mechanism: inc.Diagnosis.Top().Mechanism, Service: inc.Plan.Cause,
		Outcome: o, At: t.now, Predicted: inc.Confidence.P,
	}
	a.note(t, sre.Record{Kind: sre.RecordOutcome, IncidentID: inc.ID, Outcome: &r})
	a.mind.experience.Learn(r)
}

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
	switch {
	case left == 0:
		return a.fire(t, inc, evReverted)
	case left == lost:
		return a.fire(t, inc, evLose)
	}
	return false
}

func (a *Agent) whileEscalated(t *turn, inc *sre.Incident) bool {
	if len(inc.InForce()) == 0 && quiet(t, inc, a.cfg.Timing.EscalatedFor) {
		return a.fire(t, inc, evConclude)
	}
	return false
}

// facts is what runbooks may look at. Once a plan is made its cause stays the
// subject, whatever else comes to light.
func (a *Agent) facts(t *turn, inc *sre.Incident) runbooks.Facts {
	f := runbooks.Facts{
		Snapshot: t.snap, Diagnosis: &inc.Diagnosis, Confidence: inc.Confidence, Incident: inc.ID,
		Attempt: inc.Attempt, Tried: inc.Tried, Levers: a.caps,
	}
	if inc.Plan != nil && inc.State != sre.Diagnosed {
		f.Cause = inc.Plan.Cause
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
	return a.mind.experience.Confidence(learner.Question{
		Runbook: inc.Plan.Runbook, Mechanism: top.Mechanism, Service: top.Service,
		Probability: top.Probability, DataQuality: inc.Diagnosis.DataQuality, At: t.now,
	})
}

// question gathers what the gate may look at.
func (a *Agent) question(t *turn, inc *sre.Incident) gate.Question {
	q := gate.Question{
		Now: t.now, Incident: inc, Plan: inc.Plan, SourceUp: t.seeing, WarmUp: a.warm, Services: a.fleet,
		Pauses: a.book.pauses, Held: a.book.held(), LastHour: a.book.lastHour(t.now), Simulated: a.exec.DryRun(),
	}
	if inc.Plan != nil && (inc.State == sre.Planned || inc.State == sre.AwaitingApproval) {
		_, q.Blocked = a.startable(t, inc, 0)
	}
	return q
}
