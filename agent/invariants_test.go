package agent

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/sreagent/sreagent/sre"
)

// These tests are attempts to break what must never happen. Each names the
// promise that it attacks.

var errCut = errors.New("connection cut")

func undo(id string) sre.Input {
	return sre.Input{Kind: sre.InputUndo, By: "bob", Role: sre.Operator, Incident: id}
}

// reverts counts the durable intents to undo.
func (r *rig) intents(p sre.Purpose) (n int) {
	for _, rec := range r.trail.records {
		if rec.Kind == sre.RecordIntent && rec.Intent.Permit.Purpose == p {
			n++
		}
	}
	return n
}

func TestUndoIsTriedOnALeverThatCannotBeRead(t *testing.T) {
	r := newRig(t)
	r.mind.says = func(c sre.Check) (sre.Verdict, bool) { return sre.Inconclusive, c.Expr == "sick" }
	r.w.sick = true
	inc := r.until(sre.Resolved)
	r.lever.probe = func(sre.Action) error { return errCut }
	r.run(15) // renewals look at the lever in vain
	r.desk.queue = []sre.Input{undo(inc.ID)}
	r.run(5)
	if r.intents(sre.ToRevert) != 2 || len(r.lever.effects) != 0 {
		t.Errorf("given up without a try: %v\n%s", r.lever.effects, r.story())
	}
}

func TestAnUndoGoesOnAfterALookThatFailed(t *testing.T) {
	for _, state := range []sre.State{sre.Verifying, sre.Lifting} {
		t.Run(string(state), func(t *testing.T) {
			r := newRig(t)
			r.w.sick = true
			inc := r.until(state)
			if state != sre.Lifting {
				r.desk.queue = []sre.Input{undo(inc.ID)}
			}
			r.lever.revert = func(sre.Action) error { return errCut }
			for r.intents(sre.ToRevert) == 0 {
				r.run(1)
			}
			r.lever.probe = func(sre.Action) error { return errCut }
			r.run(1)
			r.lever.revert, r.lever.probe = nil, nil
			r.run(3)
			if len(r.lever.effects) != 0 {
				t.Errorf("the undo was forgotten: %v\n%s", r.lever.effects, r.story())
			}
		})
	}
}

func TestARequestToUndoIsANewStart(t *testing.T) {
	r := newRig(t, func(r *rig) { r.w.cures, r.lever.stays = 99, true })
	r.lever.revert = func(sre.Action) error { return errCut }
	r.w.sick = true
	inc := r.until(sre.Escalated)
	r.run(3)
	r.lever.revert = nil // mended
	r.desk.queue = []sre.Input{undo(inc.ID)}
	r.run(2) // one step after the other
	if !r.desk.last().Accepted || len(r.lever.effects) != 0 {
		t.Errorf("answer %+v, left in force %v\n%s", r.desk.last(), r.lever.effects, r.story())
	}
}

func TestAnUndoThatWasGivenUpForWantOfSightGoesOnByItself(t *testing.T) {
	r := newRig(t, func(r *rig) { r.w.cures, r.lever.stays = 99, true })
	r.w.sick = true
	inc := r.until(sre.Verifying)
	dead := func(sre.Action) error { return errCut }
	r.lever.revert, r.lever.probe = dead, dead
	r.desk.queue = []sre.Input{undo(inc.ID)}
	inc = r.until(sre.Escalated)
	if len(inc.InForce()) != 2 || inc.Mitigations[0].Phase != sre.Lost {
		t.Fatalf("mitigations %+v", inc.Mitigations)
	}
	renewals := r.intents(sre.ToRenew)
	r.lever.revert, r.lever.probe = nil, nil
	r.w.blind = true // undo needs no eyes
	r.run(5)
	if len(r.lever.effects) != 0 || r.intents(sre.ToRenew) != renewals {
		t.Errorf("left in force %v, %d renewals\n%s", r.lever.effects, r.intents(sre.ToRenew)-renewals, r.story())
	}
}

func TestALeaseEndsAlsoWhereTheEnforcerHoldsNone(t *testing.T) {
	for name, blind := range map[string]bool{"never calm": false, "blind": true} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, func(r *rig) { r.lever.stays = true })
			r.mind.says = func(c sre.Check) (sre.Verdict, bool) { return sre.Inconclusive, c.Expr == "sick" }
			r.w.sick = true
			r.until(sre.Resolved)
			r.w.blind = blind
			r.run(330) // lease 5 min, time to live 20 s
			if len(r.lever.effects) != 0 {
				t.Errorf("in force after the lease: %v\n%s", r.lever.effects, r.story())
			}
		})
	}
}

func TestTwoIncidentsNeverMoveOneLever(t *testing.T) {
	r := newRig(t, func(r *rig) { r.mind.twins = true })
	r.w.sick = true
	r.run(60)
	owner := map[string]string{}
	for _, rec := range r.trail.records {
		if rec.Kind == sre.RecordIntent && rec.Intent.Permit.Purpose == sre.ToApply {
			lever := string(rec.Intent.Action.Kind) + rec.Intent.Action.Target.String()
			if first, taken := owner[lever]; taken && first != rec.IncidentID {
				t.Errorf("%s is moved by %s and %s", lever, first, rec.IncidentID)
			}
			owner[lever] = rec.IncidentID
		}
	}
	if len(owner) == 0 {
		t.Error("nothing was done at all")
	}
}

func TestTheHourlyBudgetCountsWhatTheSameTickStarts(t *testing.T) {
	r := newRig(t, func(r *rig) { r.mind.twins, r.mind.steps, r.cfg.Policy.ActionsPerHour = true, 1, 2 })
	r.w.sick = true
	r.run(30)
	if n := r.intents(sre.ToApply); n != 2 {
		t.Errorf("%d actions in an hour, 2 are allowed", n)
	}
}

func TestATightenedPolicyHoldsAtOnce(t *testing.T) {
	r := newRig(t, lowConfidence)
	r.w.sick = true
	inc := r.until(sre.AwaitingApproval)
	watching := r.cfg
	watching.Policy.Mode = sre.Watch
	r.a.Reconfigure(watching)
	r.desk.queue = []sre.Input{{Kind: sre.InputApprove, By: "ann", Role: sre.Approver, Incident: inc.ID, Decision: inc.Decision.ID}}
	r.run(1)
	if r.desk.last().Accepted || r.lever.touched != 0 {
		t.Errorf("answer %+v, touched %d", r.desk.last(), r.lever.touched)
	}
}

func TestAFaultyPolicyIsNotTakenOver(t *testing.T) {
	r := newRig(t, lowConfidence)
	r.w.sick = true
	inc := r.until(sre.AwaitingApproval)
	for _, mode := range []sre.Stance{"", "yolo"} {
		faulty := r.cfg
		faulty.Policy.Mode = mode
		r.a.Reconfigure(faulty)
		r.run(1)
		if got := r.desk.view.Mode; got != sre.Act {
			t.Errorf("the mode is %q", got)
		}
	}
	if _, _, err := r.a.gate.Clear(r.a.question(&turn{now: r.at}, r.a.book.incidents[inc.ID]), inc.Decision, nil); err == nil {
		t.Error("cleared without an approval")
	}
}

func TestAPreconditionIsCheckedAgainAtTheApproval(t *testing.T) {
	r := newRig(t, lowConfidence, func(r *rig) { r.mind.before, r.mind.steps = "gate", 1 })
	verdict := sre.Pass
	r.mind.says = func(c sre.Check) (sre.Verdict, bool) { return verdict, c.Expr == "gate" }
	r.w.sick = true
	inc := r.until(sre.AwaitingApproval)
	verdict = sre.NoData
	r.desk.queue = []sre.Input{{Kind: sre.InputApprove, By: "ann", Role: sre.Approver, Incident: inc.ID, Decision: inc.Decision.ID}}
	r.run(3)
	if r.desk.last().Accepted || r.lever.touched != 0 {
		t.Errorf("answer %+v, touched %d", r.desk.last(), r.lever.touched)
	}
}

func TestAnApprovedStepTakesTheOneThatMayStartNow(t *testing.T) {
	r := newRig(t, lowConfidence, func(r *rig) { r.mind.before, r.desk.reply = "gate", nil })
	verdict := sre.Pass
	r.mind.says = func(c sre.Check) (sre.Verdict, bool) { return verdict, c.Expr == "gate" }
	r.w.sick = true
	inc := r.until(sre.AwaitingApproval)
	verdict = sre.Fail
	r.desk.queue = []sre.Input{{Kind: sre.InputApprove, By: "ann", Role: sre.Approver, Incident: inc.ID, Decision: inc.Decision.ID}}
	r.run(1)
	for _, e := range r.lever.effects {
		if e.action.Kind != sre.Shed {
			t.Errorf("%s was applied though its precondition fails", e.action.ID)
		}
	}
	if len(r.lever.effects) != 2 {
		t.Errorf("%d effects, want the 2 of the second step", len(r.lever.effects))
	}
}

func TestAPreconditionIsCheckedAgainAtTheApplication(t *testing.T) {
	r := newRig(t, func(r *rig) { r.mind.before, r.mind.steps = "gate", 1 })
	verdict := sre.Pass
	r.mind.says = func(c sre.Check) (sre.Verdict, bool) { return verdict, c.Expr == "gate" }
	r.lever.probe = func(sre.Action) error { return errCut } // so that the first tick cannot apply
	r.w.sick = true
	r.until(sre.Acting)
	r.lever.probe, verdict = nil, sre.Fail
	r.run(3)
	if r.lever.touched != 0 {
		t.Errorf("applied on a precondition that no longer holds:\n%s", r.story())
	}
}

func TestAnApprovalDoesNotOutliveAnOutage(t *testing.T) {
	r := newRig(t, lowConfidence)
	r.w.sick = true
	r.until(sre.AwaitingApproval)
	r.lever.probe = func(sre.Action) error { return errCut }
	r.desk.reply = approving
	r.until(sre.Acting)
	if r.lever.touched != 0 {
		t.Fatal("the rig should not have let it act yet")
	}
	r.lever.probe, r.desk.reply = nil, nil
	r.start()
	r.at = r.at.Add(3 * time.Hour) // the agent was away
	r.run(70)
	if r.lever.touched != 0 {
		t.Errorf("an approval of three hours ago was carried out:\n%s", r.story())
	}
	if s := r.desk.view.Incidents[0].State; s != sre.Escalated {
		t.Errorf("nobody was called: %s", s)
	}
}

func TestAnAnswerThatWaitedTooLongIsNotTaken(t *testing.T) {
	r := newRig(t, lowConfidence)
	r.w.sick = true
	inc := r.until(sre.AwaitingApproval)
	t0 := &turn{now: r.at.Add(5 * time.Minute)}
	in := sre.Input{At: r.at, Decision: inc.Decision.ID}
	if why := r.a.pending(t0, r.a.book.incidents[inc.ID], in); !strings.Contains(why, "stale") {
		t.Errorf("an answer of five minutes ago is taken: %q", why)
	}
}

func TestTicksThatNeverCameAreNotCalm(t *testing.T) {
	r := newRig(t, func(r *rig) { r.w.cures = 1 })
	r.w.sick = true
	r.until(sre.Resolved)
	r.run(1)
	r.at = r.at.Add(20 * time.Minute) // the machine was suspended
	r.run(1)
	if s := r.desk.view.Incidents[0].State; s != sre.Resolved {
		t.Errorf("twenty minutes that nobody saw were taken for calm: %s", s)
	}
}

// relapsed brings a rig to a question about a second attempt, with what the
// first did still in force.
func relapsed(r *rig) {
	r.w.sick = true
	r.until(sre.Resolved)
	r.mind.confidence.Lower = 0.3 // asks from now on
	r.w.sick, r.w.cures = true, 99
	if inc := r.until(sre.AwaitingApproval); len(inc.InForce()) != 2 {
		r.t.Fatalf("the story is another:\n%s", r.story())
	}
}

func TestACauseWithoutARunbookWhileSomethingIsInForceEndsInOrder(t *testing.T) {
	r := newRig(t)
	relapsed(r)
	r.mind.cause, r.mind.unfit = "api", "api"
	r.run(1)
	r.w.sick = false
	r.until(sre.Lifting)
	r.until(sre.Closed)
	if len(r.lever.effects) != 0 {
		t.Errorf("left behind: %v", r.lever.effects)
	}
}

func TestAPlanThatWasNeverStartedIsNeitherPraisedNorBlamed(t *testing.T) {
	r := newRig(t)
	relapsed(r)
	learned := len(r.mind.learned)
	r.w.sick = false // heals by itself
	r.until(sre.Lifting)
	r.until(sre.Closed)
	if len(r.lever.effects) != 0 {
		t.Errorf("left behind: %v", r.lever.effects)
	}
	for _, o := range r.mind.learned[learned:] {
		t.Errorf("a plan that was never started is held to have %s", o.Outcome)
	}
}

func TestACureThatDidNotHelpIsNotTriedAgainWhenItIsReopened(t *testing.T) {
	r := newRig(t, func(r *rig) { r.w.cures = 99 })
	r.w.sick = true
	inc := r.until(sre.Escalated)
	touched := r.lever.touched
	r.desk.queue = []sre.Input{{Kind: sre.InputClose, By: "bob", Role: sre.Operator, Incident: inc.ID}}
	r.run(40)
	if r.lever.touched != touched {
		t.Errorf("the same cure was tried again:\n%s", r.story())
	}
	again := r.desk.view.Incidents
	if len(again) != 1 || again[0].Reopened != 1 || again[0].State != sre.Escalated {
		t.Errorf("%d incidents, want the closed one open again and with people\n%s", len(again), r.story())
	}
}

func TestWhatWasRejectedIsNotDoneWhenItIsReopened(t *testing.T) {
	r := newRig(t, lowConfidence)
	r.w.sick = true
	inc := r.until(sre.AwaitingApproval)
	r.desk.queue = []sre.Input{{Kind: sre.InputReject, By: "ann", Role: sre.Approver, Incident: inc.ID, Decision: inc.Decision.ID}}
	r.run(1)
	r.mind.confidence.Lower = 0.9
	r.desk.queue = []sre.Input{{Kind: sre.InputClose, By: "bob", Role: sre.Operator, Incident: inc.ID}}
	r.run(40)
	if r.lever.touched != 0 {
		t.Errorf("done alone after a human had said no:\n%s", r.story())
	}
}

func TestACureThatDoesNotLastAsksBeforeItLoops(t *testing.T) {
	r := newRig(t)
	asked := false
	for range 5 {
		r.w.sick = true
		for range 100 {
			r.run(1)
			if inc := r.desk.view.Incidents[0]; inc.State == sre.Closed && !r.w.sick {
				break
			} else if inc.State == sre.AwaitingApproval {
				asked = true
			}
		}
	}
	if !asked || r.intents(sre.ToApply) > 4 {
		t.Errorf("asked: %t, %d actions\n%s", asked, r.intents(sre.ToApply), r.story())
	}
}
