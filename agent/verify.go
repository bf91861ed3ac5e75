package agent

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/sreagent/sreagent/runbooks"
	"github.com/sreagent/sreagent/sre"
)

const (
	// worseBy is the rise of the entries' error ratio that undoes a step, and
	// worseTicks how many ticks in a row must show it.
	worseBy = 0.1

	// betterBy is the fall of that ratio since the plan began from which on it has
	// helped in part.
	betterBy = 0.2

	worseTicks = 3
)

func (a *Agent) whileActing(t *turn, inc *sre.Incident) bool {
	done, bad, live := true, "", false
	for _, action := range inc.Plan.Steps[inc.Step].Actions {
		m := find(inc, action.ID)
		switch m.Phase {
		case sre.InEffect, sre.Simulated:
		case sre.Failed, sre.Released, sre.Lapsed, sre.Lost, sre.Undone, sre.Undoing:
			bad = fmt.Sprintf("%s on %s is %s: %s", action.Kind, action.Target, m.Phase, m.Err)
		case sre.Intended:
			done = false
			if a.book.doubts[action.ID] >= a.cfg.Timing.ReapplyProbe { // its undo fences what may still arrive
				bad = fmt.Sprintf("%s on %s: the lever never showed it: %s", action.Kind, action.Target, m.Err)
			}
		case sre.NotStarted:
			done = false
		}
	}
	live = mustUndo(inc)
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
	if why := a.unfit(t, inc); why != nil {
		return a.notCleared(t, inc, why)
	}
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

// mustUndo reports whether an attempt that ends leaves anything to take back.
func mustUndo(inc *sre.Incident) bool {
	return slices.ContainsFunc(inc.Mitigations, func(m sre.Mitigation) bool { return m.Phase.Live() || afloat(&m) })
}

// unfit says why the current step may not be started now although the gate may
// clear it: its precondition no longer holds, or the plan was begun as a dry run.
func (a *Agent) unfit(t *turn, inc *sre.Incident) error {
	step := inc.Plan.Steps[inc.Step]
	fresh := true
	for _, action := range step.Actions {
		fresh = fresh && find(inc, action.ID).Phase == sre.NotStarted
	}
	if fresh && step.Before.Expr != "" {
		if verdict, why := a.mind.library.Evaluate(step.Before, a.facts(t, inc)); verdict != sre.Pass {
			return fmt.Errorf("step %q may not start: %s", step.Name, why)
		}
	}
	return a.halfSimulated(inc)
}

// halfSimulated refuses to carry on for real what was begun as a dry run.
func (a *Agent) halfSimulated(inc *sre.Incident) error {
	for _, m := range inc.Mitigations {
		if m.Phase == sre.Simulated && !a.exec.DryRun() {
			return errors.New("the plan was begun as a dry run")
		}
	}
	return nil
}

func (a *Agent) notCleared(t *turn, inc *sre.Incident, err error) bool {
	if t.now.Sub(inc.StateSince) <= time.Duration(a.gate.Policy().EvidenceMaxAge) {
		return false
	}
	inc.Escalation = "acting was no longer allowed: " + err.Error()
	if mustUndo(inc) {
		return a.fire(t, inc, evFail)
	}
	return a.fire(t, inc, evRefuse)
}

func (a *Agent) whileVerifying(t *turn, inc *sre.Incident) bool {
	step := inc.Plan.Steps[inc.Step]
	verdict, why := a.mind.library.Evaluate(step.Verify, a.facts(t, inc))
	t.trouble[inc.ID] = verdict != sre.Pass
	if verdict == sre.Pass {
		inc.BadTicks, inc.GoodAt = 0, t.now
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
		if mayGoOn(inc) {
			return a.nextStep(t, inc, "it got worse: "+why)
		}
		return a.giveUp(t, inc, evWorsen, sre.Worsened, "it got worse: "+why)
	}
	if t.now.Sub(inc.StateSince) < step.Verify.Within || a.wavering(t, inc) || a.overshadowed(t, inc) {
		return false
	}
	if step.OnFail == sre.NextStep && inc.Step+1 < len(inc.Plan.Steps) && inc.MergedInto == "" {
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
	if verdict == sre.Fail && a.helpedInPart(t, inc) {
		return a.giveUp(t, inc, evKeep, outcome, "it helped in part, and stays in force until its lease ends: "+why)
	}
	if step.OnFail == sre.KeepAndEscalate && inc.MergedInto == "" {
		return a.giveUp(t, inc, evKeep, outcome, "it did not help in time, and stays in force until its lease ends: "+why)
	}
	return a.giveUp(t, inc, evStall, outcome, "it did not help in time: "+why)
}

// helpedInPart reports whether the entries fail clearly less than when the plan
// began, although its check does not hold: to undo would bring that trouble back.
func (a *Agent) helpedInPart(t *turn, inc *sre.Incident) bool {
	ratio, known := trouble(t)
	return known && inc.MergedInto == "" && len(inc.InForce()) > 0 && ratio < inc.PlanTrouble-betterBy
}

// mayGoOn reports whether trouble that got worse is met with the next step and
// not with an undo: the plan is for trouble that spreads, or has put a former
// version back, and all else that is in force bounds what feeds trouble and takes nothing
// from those who are served in time, so that what got worse is the trouble and not the cure.
func mayGoOn(inc *sre.Incident) bool {
	if !inc.Plan.Anywhere && !backToFormer(inc) || inc.Plan.Steps[inc.Step].OnFail != sre.NextStep || inc.Step+1 >= len(inc.Plan.Steps) || inc.MergedInto != "" {
		return false
	}
	return !slices.ContainsFunc(inc.InForce(), func(m sre.Mitigation) bool {
		return m.Action.Kind != sre.RetryBudget && m.Action.Kind != sre.QueueBound && m.Action.Kind != sre.Rollback
	})
}

// backToFormer reports whether a former version is held in place: to undo that is
// to roll out the suspected one again.
func backToFormer(inc *sre.Incident) bool {
	return slices.ContainsFunc(inc.InForce(), func(m sre.Mitigation) bool { return m.Action.Kind == sre.Rollback })
}

// wavering reports whether the step's check held until a moment ago: it gets the
// time of its hold again before it counts as failed, and twice in all.
func (a *Agent) wavering(t *turn, inc *sre.Incident) bool {
	check := inc.Plan.Steps[inc.Step].Verify
	return !inc.GoodAt.IsZero() && t.now.Sub(inc.GoodAt) <= check.HeldFor &&
		t.now.Sub(inc.StateSince) < check.Within+2*check.HeldFor
}

// rival is another open incident that shows signs now and hurts an entry which
// the cause of this one's plan stands behind too: what is measured there says
// nothing of either cure alone.
func (a *Agent) rival(t *turn, inc *sre.Incident) *sre.Incident {
	root, known := t.snap.Graph.Index(inc.Plan.Cause)
	if !known {
		return nil
	}
	for _, other := range a.book.open() {
		if other == inc || t.news[other.ID] == nil || other.MergedInto == inc.ID || inc.MergedInto == other.ID {
			continue
		}
		theirs, known := t.snap.Graph.Index(other.Diagnosis.Top().Service)
		if !known || theirs == root || !shareEntry(t.snap.Graph, root, theirs) {
			continue
		}
		return other
	}
	return nil
}

func shareEntry(g *sre.Graph, x, y int) bool {
	above := func(i int) map[int]bool {
		set := map[int]bool{i: true}
		for _, j := range g.Upstream(i) {
			set[j] = true
		}
		return set
	}
	a, b := above(x), above(y)
	return slices.ContainsFunc(g.Entries(), func(e int) bool { return a[e] && b[e] })
}

// overshadowed reports whether the step is not given up although its check does
// not hold: the cause is measured, shows nothing any more, and another incident
// hurts the same entries. Its leases bound the wait.
func (a *Agent) overshadowed(t *turn, inc *sre.Incident) bool {
	i, known := t.snap.Graph.Index(inc.Plan.Cause)
	if !known || len(inc.InForce()) == 0 || t.snap.FreshShare(i) == 0 {
		return false
	}
	atCause := func(p sre.Precursor) bool { return serious(p) && p.Service == inc.Plan.Cause }
	return !slices.ContainsFunc(t.signs, atCause) && a.rival(t, inc) != nil
}

// worse reports whether the entries fail clearly more than before the step, and
// go on doing so. It is not asked before half of the step's time is over:
// trouble that was still rising when the step was taken, and rates that look
// back over their window, would be blamed on the step. Where another incident
// hurts the same entries the cause's own errors are the measure.
func (a *Agent) worse(t *turn, inc *sre.Incident) bool {
	early := t.now.Sub(inc.StateSince) < inc.Plan.Steps[inc.Step].Verify.Within/2
	ratio, known := trouble(t)
	before := inc.Trouble
	if known && ratio > before+worseBy && a.rival(t, inc) != nil {
		ratio, known = ownTrouble(t, inc)
		before = inc.OwnTrouble
	}
	if !known {
		return false // neither for nor against
	}
	if early || ratio <= before+worseBy {
		inc.BadTicks = 0
		return false
	}
	inc.BadTicks++
	return inc.BadTicks >= worseTicks
}

// ownTrouble is the error ratio of the plan's cause, and whether it is measured.
func ownTrouble(t *turn, inc *sre.Incident) (ratio float64, known bool) {
	if t.snap == nil {
		return 0, false
	}
	i, ok := t.snap.Graph.Index(inc.Plan.Cause)
	if !ok {
		return 0, false
	}
	r := t.snap.ErrorRatio(i)
	return r.Value, r.OK() && isFinite(r.Value)
}

// nextStep goes on with the first later step that may start and is allowed: one
// that policy refuses, such as a second change of structure, does not keep the agent from the
// milder one behind it.
func (a *Agent) nextStep(t *turn, inc *sre.Incident, why string) bool {
	var refused error
	at := inc.Step
	for from := at + 1; from < len(inc.Plan.Steps); from++ {
		next, blocked := a.startable(t, inc, from)
		if blocked != "" {
			if refused == nil {
				refused = errors.New(blocked)
			}
			break
		}
		inc.Step = next // the question is about this one
		q := a.question(t, inc)
		q.Next = next
		clearance, _, err := a.gate.Clear(q, inc.Decision, inc.Approval)
		inc.Step = at
		if err == nil {
			err = a.halfSimulated(inc)
		}
		if err == nil {
			return a.enter(t, inc, evNext, next, pass{clearance: clearance, now: t.now})
		}
		if refused == nil {
			refused = fmt.Errorf("the next step is not allowed: %w", err)
		}
		from = next
	}
	return a.giveUp(t, inc, evStall, sre.Unchanged, fmt.Sprintf("it did not help in time (%s), and %v", why, refused))
}

// giveUp leaves the incident to a human, and what was done to the event: all but
// evKeep undo it.
func (a *Agent) giveUp(t *turn, inc *sre.Incident, e event, o sre.Outcome, why string) bool {
	inc.Escalation = why
	if a.exec.DryRun() {
		inc.Escalation = "dry run, nothing was touched: " + why
	}
	inc.Tried = append(inc.Tried, cureKey(inc))
	inc.GaveUp = e == evStall || e == evWorsen || e == evKeep
	a.learn(t, inc, o)
	return a.fire(t, inc, e)
}

// cureKey is the recurrence key of a plan: the same cure for the same cause is
// not tried again after it did not help.
func cureKey(inc *sre.Incident) string { return runbooks.TriedKey(inc.Plan.Runbook, inc.Plan.Cause) }

// learn notes what came of the plan. A dry run teaches nothing, and a plan that
// was never started is neither praised nor blamed for what happened by itself.
func (a *Agent) learn(t *turn, inc *sre.Incident, o sre.Outcome) {
	started := false
	for _, step := range inc.Plan.Steps {
		for _, action := range step.Actions {
			m := find(inc, action.ID)
			started = started || m != nil && m.Phase != sre.NotStarted
		}
	}
	if !started {
		return
	}
	inc.Outcome = o
	for _, m := range inc.Mitigations {
		if m.Phase == sre.Simulated {
			return
		}
	}
	if inc.Against == "" { // from a trail that did not say
		inc.Against = inc.Diagnosis.Top().Mechanism
	}
	r := sre.OutcomeRecord{
		Runbook: inc.Plan.Runbook, Mechanism: inc.Against, Service: inc.Plan.Cause,
		Outcome: o, At: t.now, Predicted: inc.Confidence.P,
		Raw: inc.Confidence.Raw, Prior: inc.Confidence.Prior, Class: inc.Confidence.Class,
		Signature: inc.Confidence.Signature, Blamed: blamed(inc, o),
	}
	a.book.came(inc, o, t.now)
	a.note(t, sre.Record{Kind: sre.RecordOutcome, IncidentID: inc.ID, Outcome: &r})
	a.mind.experience.Learn(r)
}
