package agent

import (
	"encoding/json"
	"errors"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sreagent/sreagent/sre"
)

func TestItActsVerifiesAndLifts(t *testing.T) {
	r := newRig(t)
	r.run(3)
	r.w.sick = true
	r.until(sre.Verifying)
	if len(r.lever.effects) != 2 {
		t.Fatalf("%d levers moved, want the 2 of the first step:\n%s", len(r.lever.effects), r.story())
	}
	r.until(sre.Lifting)
	inc := r.until(sre.Closed)
	if len(r.lever.effects) != 0 || len(inc.InForce()) != 0 {
		t.Errorf("%d effects and %d mitigations left behind", len(r.lever.effects), len(inc.InForce()))
	}
	if inc.Outcome != sre.Improved || len(r.mind.learned) != 1 {
		t.Errorf("outcome %q, learned %v", inc.Outcome, r.mind.learned)
	}
	last := r.pager.notices[len(r.pager.notices)-1]
	if !last.Resolved || last.Incident != inc.ID {
		t.Errorf("the last page is %+v, want the incident resolved", last)
	}
}

func TestTheSecondStepFollowsWhenTheFirstDoesNotHelp(t *testing.T) {
	r := newRig(t, func(r *rig) { r.w.kind = sre.Shed })
	r.w.sick = true
	inc := r.until(sre.Closed)
	if inc.Step != 1 || inc.Outcome != sre.Improved {
		t.Errorf("ended at step %d with %q:\n%s", inc.Step, inc.Outcome, r.story())
	}
	if len(r.lever.effects) != 0 {
		t.Errorf("left behind: %v", r.lever.effects)
	}
}

func TestWhatDoesNotHelpIsUndoneAndEscalated(t *testing.T) {
	r := newRig(t, func(r *rig) { r.w.cures = 99 })
	r.w.sick = true
	inc := r.until(sre.Escalated)
	if len(r.lever.effects) != 0 {
		t.Errorf("left behind: %v", r.lever.effects)
	}
	if inc.Outcome != sre.Unchanged || !strings.Contains(inc.Escalation, "did not help") {
		t.Errorf("outcome %q, escalation %q", inc.Outcome, inc.Escalation)
	}
	r.run(10)
	if n := len(r.lever.fresh); n != 4 {
		t.Errorf("%d different actions were applied, want the 4 of one attempt", n)
	}
}

func TestWhatMakesItWorseIsUndoneEarly(t *testing.T) {
	r := newRig(t, func(r *rig) { r.w.cures, r.w.worsened = 99, true })
	r.w.sick = true
	inc := r.until(sre.Escalated)
	if inc.Outcome != sre.Worsened || len(r.lever.effects) != 0 {
		t.Errorf("outcome %q with %d effects left:\n%s", inc.Outcome, len(r.lever.effects), r.story())
	}
}

func lowConfidence(r *rig) { r.mind.confidence = sre.Confidence{P: 0.5, Lower: 0.3, Basis: "1 of 2"} }

func TestBelowTheThresholdAHumanIsAsked(t *testing.T) {
	r := newRig(t, lowConfidence)
	r.w.sick = true
	inc := r.until(sre.AwaitingApproval)
	r.run(5)
	if r.lever.touched != 0 {
		t.Fatal("a lever was touched before the answer")
	}
	if m := r.desk.view.Incidents[0].Mitigations; len(m) != 4 || m[0].Before["ratio"] != 3.0 {
		t.Errorf("the question does not show what stands at the levers now: %+v", m)
	}
	notice := r.pager.notices[len(r.pager.notices)-1]
	if !notice.NeedsYou {
		t.Errorf("nobody was called: %+v", notice)
	}
	r.desk.queue = []sre.Input{{Kind: sre.InputApprove, By: "ann", Role: sre.Approver, Incident: inc.ID, Decision: inc.Decision.ID}}
	inc = r.until(sre.Closed)
	if !r.desk.answers[0].Accepted || inc.Approval.By != "ann" {
		t.Errorf("answer %+v, approval %+v", r.desk.answers[0], inc.Approval)
	}
	for _, m := range inc.Mitigations {
		if m.Phase != sre.NotStarted && m.Permit.By != "ann" {
			t.Errorf("%s was permitted by %q", m.Action.ID, m.Permit.By)
		}
	}
}

func TestSilenceAndNoLeaveEverythingAlone(t *testing.T) {
	for name, reply := range map[string]func(*sre.View) []sre.Input{
		"silence": nil,
		"no": func(v *sre.View) []sre.Input {
			in := approving(v)
			for i := range in {
				in[i].Kind = sre.InputReject
			}
			return in
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, lowConfidence, func(r *rig) {
				r.desk.reply = reply
				r.cfg.Policy.ApprovalTimeout = 30_000_000_000
			})
			r.w.sick = true
			r.until(sre.AwaitingApproval)
			inc := r.until(sre.Escalated)
			r.run(5)
			if r.lever.touched != 0 {
				t.Errorf("touched %d times", r.lever.touched)
			}
			if inc.Escalation == "" {
				t.Error("no reason for the escalation")
			}
		})
	}
}

func TestAStaleOrUnfitAnswerIsRefusedWithTheReason(t *testing.T) {
	cases := map[string]struct {
		spoil func(r *rig, in *sre.Input)
		want  string
	}{
		"another decision": {func(_ *rig, in *sre.Input) { in.Decision = "older" }, "stale"},
		"evidence gone":    {func(r *rig, _ *sre.Input) { r.w.sick = false }, "stale"},
		"a viewer":         {func(_ *rig, in *sre.Input) { in.Role = sre.Viewer }, "role approver is needed"},
		"an operator":      {func(_ *rig, in *sre.Input) { in.Role = sre.Operator }, "role approver is needed"},
		"paused":           {func(r *rig, _ *sre.Input) { r.a.book.pause(sre.Pause{Name: "x", By: "bob", Reason: "sale"}) }, "paused by bob"},
		"blind":            {func(r *rig, _ *sre.Input) { r.w.blind = true }, "stale"},
		"another incident": {func(_ *rig, in *sre.Input) { in.Incident = "other" }, "no incident"},
		"cause changed":    {func(r *rig, _ *sre.Input) { r.mind.cause = "api" }, "evidence has changed"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, lowConfidence)
			r.w.sick = true
			inc := r.until(sre.AwaitingApproval)
			in := sre.Input{Kind: sre.InputApprove, By: "ann", Role: sre.Approver, Incident: inc.ID, Decision: inc.Decision.ID}
			c.spoil(r, &in)
			r.desk.queue = []sre.Input{in}
			r.run(1)
			if got := r.desk.last(); got.Accepted || !strings.Contains(got.Reason, c.want) {
				t.Errorf("answer %+v, want a refusal with %q", got, c.want)
			}
			if r.lever.touched != 0 {
				t.Error("a lever was touched")
			}
		})
	}
}

func TestANewCauseAsksANewQuestion(t *testing.T) {
	r := newRig(t, lowConfidence)
	r.w.sick = true
	first := r.until(sre.AwaitingApproval).Decision.ID
	r.mind.cause = "api"
	r.run(2)
	inc := r.desk.view.Incidents[0]
	if inc.State != sre.AwaitingApproval || inc.Plan.Cause != "api" || inc.Decision.ID == first {
		t.Errorf("state %s, cause %s, decision %s (was %s)", inc.State, inc.Plan.Cause, inc.Decision.ID, first)
	}
}

func TestAPauseStopsNewThingsAndNotUndo(t *testing.T) {
	r := newRig(t)
	r.w.sick = true
	r.until(sre.Verifying)
	r.desk.queue = []sre.Input{
		{Kind: sre.InputPause, By: "bob", Role: sre.Operator, Name: "sale", Reason: "big sale"},
		{Kind: sre.InputUndo, By: "bob", Role: sre.Operator, Incident: r.desk.view.Incidents[0].ID},
	}
	r.until(sre.Escalated)
	if len(r.lever.effects) != 0 {
		t.Errorf("undo did not pass the pause: %v", r.lever.effects)
	}
	touched := r.lever.touched
	r.w.sick = true
	r.run(60)
	if r.lever.touched != touched {
		t.Errorf("something new was started while paused:\n%s", r.story())
	}
	r.desk.queue = []sre.Input{{Kind: sre.InputResume, By: "bob", Role: sre.Operator, Name: "sale"}}
	r.run(1)
	if !r.desk.last().Accepted || len(r.desk.view.Pauses) != 0 {
		t.Errorf("resume: %+v", r.desk.last())
	}
}

func TestBlindItStartsNothingAndLetsLeasesLapse(t *testing.T) {
	r := newRig(t, func(r *rig) { r.w.sticky = false })
	r.w.sick = true
	r.until(sre.Verifying)
	r.w.blind = true
	touched := r.lever.touched
	r.run(40)
	if r.lever.touched != touched {
		t.Errorf("a lever was touched while blind:\n%s", r.story())
	}
	if r.desk.view.Ready || len(r.desk.view.NotReady) == 0 {
		t.Error("it says that it is ready")
	}
	if n := len(r.desk.view.Incidents[0].InForce()); n != 0 {
		t.Errorf("%d leases are still held to be in force", n)
	}
	r.w.blind = false
	r.run(1)
	if !r.desk.view.Ready {
		t.Error("it did not come back")
	}
}

func TestAnAnswerThatIsLostIsProbedAndNotRepeated(t *testing.T) {
	r := newRig(t, func(r *rig) { r.lever.lateBy = true })
	r.w.sick = true
	r.until(sre.Verifying)
	if r.lever.touched != 2 {
		t.Errorf("touched %d times, want once for each of 2 actions", r.lever.touched)
	}
}

func TestAnUnknownThatNeverShowsIsUndoneAndEscalated(t *testing.T) {
	r := newRig(t, func(r *rig) {
		r.lever.apply = func(sre.Action) error { return errors.New("timeout") }
	})
	r.w.sick = true
	inc := r.until(sre.Escalated)
	applies := 0
	for _, rec := range r.trail.records {
		if rec.Kind == sre.RecordIntent && rec.Intent.Permit.Purpose == sre.ToApply {
			applies++
		}
	}
	if applies != 2 {
		t.Errorf("%d applies, want 2: unknown is never retried blindly\n%s", applies, r.story())
	}
	if !strings.Contains(inc.Escalation, "never showed") {
		t.Errorf("escalation %q", inc.Escalation)
	}
}

func TestARefusalEscalatesWithoutARetry(t *testing.T) {
	r := newRig(t, func(r *rig) {
		r.lever.apply = func(a sre.Action) error {
			if a.Target.Service == "api" {
				return sre.Refusedf("403 Forbidden")
			}
			return nil
		}
	})
	r.w.sick = true
	inc := r.until(sre.Escalated)
	if len(r.lever.effects) != 0 {
		t.Errorf("the other half of the step was left in force: %v", r.lever.effects)
	}
	if !strings.Contains(inc.Escalation, "403") || r.lever.touched != 3 {
		t.Errorf("escalation %q after %d touches, want apply, apply, revert", inc.Escalation, r.lever.touched)
	}
}

func TestAnUndoThatFailsEndsWithTheCommandForAHuman(t *testing.T) {
	r := newRig(t, func(r *rig) {
		r.w.cures = 99
		r.lever.revert = func(sre.Action) error { return errors.New("timeout") }
	})
	r.w.sick = true
	inc := r.until(sre.Escalated)
	if len(inc.InForce()) == 0 {
		t.Fatal("the lock was not kept")
	}
	page := r.pager.notices[len(r.pager.notices)-1]
	if !page.NeedsYou || !strings.Contains(page.Text, "undo "+inc.Mitigations[0].Action.ID) {
		t.Errorf("the page has no command: %s", page.Text)
	}
}

func TestARelapseWhileLiftingIsTakenUpAgain(t *testing.T) {
	r := newRig(t, func(r *rig) { r.w.sticky = false })
	r.w.sick = true
	r.until(sre.Lifting)
	r.run(8)
	inc := r.desk.view.Incidents[0]
	if inc.Recurrences == 0 {
		t.Fatalf("no recurrence noticed:\n%s", r.story())
	}
	r.w.sick = false
	r.until(sre.Closed)
	if len(r.lever.effects) != 0 {
		t.Errorf("left behind: %v\n%s", r.lever.effects, r.story())
	}
}

func TestATrailThatCannotBeWrittenStopsTheAgentBeforeItActs(t *testing.T) {
	probe := newRig(t)
	probe.w.sick = true
	probe.until(sre.Closed)
	for at := 1; at <= probe.trail.appends; at++ {
		r := newRig(t, func(r *rig) { r.trail.breakAt = at })
		r.w.sick = true
		before := 0
		for range 200 {
			before = r.lever.touched
			if err := r.tick(); err != nil {
				if !errors.Is(err, errDisk) {
					t.Fatal(err)
				}
				break
			}
		}
		intents := 0
		for _, rec := range r.trail.records {
			if rec.Kind == sre.RecordIntent {
				intents++
			}
		}
		if r.lever.touched > intents {
			t.Errorf("append %d: %d touches, %d durable intents (before the tick: %d)", at, r.lever.touched, intents, before)
		}
		if n := len(r.pager.notices); n == 0 || r.pager.notices[n-1].Incident != "sreagent-trail" {
			t.Errorf("append %d: nobody was told", at)
		}
	}
}

func TestACrashAtEveryRecordEndsTheSame(t *testing.T) {
	for name, change := range map[string]func(*rig){"acting alone": func(*rig) {}, "approved": lowConfidence} {
		t.Run(name, func(t *testing.T) {
			prepare := func(r *rig) { change(r); r.desk.reply = approving }
			whole := newRig(t, prepare)
			whole.w.sick = true
			whole.until(sre.Closed)
			for at := 1; at <= 2*whole.trail.appends; at++ {
				r := newRig(t, prepare, func(r *rig) { r.trail.breakAt, r.trail.torn = (at+1)/2, at%2 == 0 })
				r.w.sick = true
				for range 200 {
					if r.tick() != nil {
						break
					}
				}
				r.trail.breakAt = 0
				r.start() // what was not durable is forgotten, what was done stays done
				inc := r.until(sre.Closed)
				if len(r.lever.effects) != 0 || len(inc.InForce()) != 0 {
					t.Errorf("append %d: left behind %v\n%s", at, r.lever.effects, r.story())
				}
				for id, n := range r.lever.fresh {
					if n > 1 {
						t.Errorf("append %d: %s was applied %d times\n%s", at, id, n, r.story())
					}
				}
			}
		})
	}
}

func TestTheStateIsTheFoldOfTheTrail(t *testing.T) {
	r := newRig(t, lowConfidence, func(r *rig) { r.desk.reply = approving })
	r.w.sick = true
	for range 60 {
		r.run(1)
		twin := newRig(t)
		if err := twin.a.Restore(r.trail.all()); err != nil {
			t.Fatal(err)
		}
		for _, inc := range r.a.book.open() {
			got := twin.a.book.incidents[inc.ID]
			if got == nil {
				t.Fatalf("incident %s is not in the trail", inc.ID)
			}
			if diff := cmp.Diff(hard(*inc), hard(*got)); diff != "" {
				t.Fatalf("at %s (-live +fold):\n%s\n%s", r.at, diff, r.story())
			}
		}
	}
}

// hard keeps what must survive a restart.
func hard(i sre.Incident) any {
	type lever struct {
		ID            string
		Phase         sre.Phase
		Before        sre.Params
		Epoch         uint64
		By            string
		Expires, Till time.Time
		Params        sre.Params
		Moving        sre.Params
		Tried         time.Time
		Manual        string
	}
	var levers []lever
	for _, m := range i.Mitigations {
		levers = append(levers, lever{m.Action.ID, m.Phase, m.Before, m.Epoch, m.Permit.By, m.Expires, m.RenewTill, m.Action.Params, m.Moving, m.TriedAt, m.Manual})
	}
	return []any{i.ID, i.State, i.Step, i.Attempt, i.Plan, i.Approval, i.Tried, i.MergedInto, i.Reopened, i.Recurrences, i.Rekeys, levers}
}

func TestNumbersThatJSONCannotCarryDoNotStopTheTrail(t *testing.T) {
	r := newRig(t)
	r.mind.evidence = []sre.Evidence{{Signal: "time_to_full", Now: math.Inf(1), Normal: math.NaN(), Weight: math.Inf(-1)}}
	r.w.sick = true
	inc := r.until(sre.Closed)
	if _, err := json.Marshal(r.trail.records); err != nil {
		t.Fatal(err)
	}
	if e := inc.Diagnosis.Top().Evidence[0]; e.Now != math.MaxFloat64 || e.Normal != 0 || e.Weight != -math.MaxFloat64 {
		t.Errorf("evidence %+v", e)
	}
	if !math.IsNaN(r.mind.evidence[0].Normal) {
		t.Error("the detector's own evidence was changed")
	}
}

func TestThePastIsReadOnceSightIsThere(t *testing.T) {
	r := newRig(t, func(r *rig) { r.w.blind, r.cfg.WarmUp = true, 5*time.Second })
	r.run(3)
	if len(r.mind.looked) != 0 {
		t.Fatalf("looked at %v while blind", r.mind.looked)
	}
	r.w.blind = false
	r.run(2)
	if n := len(r.mind.looked); n != 7 || !slices.IsSortedFunc(r.mind.looked, time.Time.Compare) {
		t.Errorf("looked at %v, want 5 instants of the past and 2 ticks, in order", r.mind.looked)
	}
}

func TestADryRunGoesAllTheWayAndTouchesNothing(t *testing.T) {
	r := newRig(t, func(r *rig) { r.cfg.Policy.DryRun = true })
	r.w.sick = true
	inc := r.until(sre.Escalated)
	intents := 0
	for _, rec := range r.trail.records {
		if rec.Kind == sre.RecordIntent && rec.Intent.DryRun {
			intents++
		}
	}
	if r.lever.touched != 0 || intents != 4 || len(r.mind.learned) != 0 {
		t.Errorf("touched %d times, %d intents, learned %v", r.lever.touched, intents, r.mind.learned)
	}
	if len(inc.InForce()) != 0 || !r.desk.view.DryRun {
		t.Error("a dry run is shown as real")
	}
}

func TestTheSameInputsGiveTheSameBytes(t *testing.T) {
	run := func() string {
		r := newRig(t, lowConfidence, func(r *rig) { r.desk.reply = approving; r.w.kind = sre.Shed })
		r.w.sick = true
		r.until(sre.Closed)
		text, err := json.Marshal(r.trail.records)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	if first, second := run(), run(); first != second {
		t.Error("two runs differ")
	}
}

func TestARestartTellsReceiversAgainWhatIsOpen(t *testing.T) {
	r := newRig(t, lowConfidence)
	r.w.sick = true
	inc := r.until(sre.AwaitingApproval)
	r.start()
	before := len(r.pager.notices)
	r.run(3)
	if n := len(r.pager.notices) - before; n != 1 || r.pager.notices[before].Incident != inc.ID {
		t.Errorf("%d notices after the restart, want the open incident once", n)
	}
}

func TestARestartAnswersPendingQuestionsOnlyWithFreshEvidence(t *testing.T) {
	r := newRig(t, lowConfidence)
	r.w.sick = true
	inc := r.until(sre.AwaitingApproval)
	r.start()
	r.at = r.at.Add(5 * time.Minute) // the agent was away
	r.w.sick = false
	r.desk.queue = []sre.Input{{Kind: sre.InputApprove, By: "ann", Role: sre.Approver, Incident: inc.ID, Decision: inc.Decision.ID}}
	r.run(1)
	if r.desk.last().Accepted || r.lever.touched != 0 {
		t.Errorf("an answer to old evidence was taken: %+v", r.desk.last())
	}
}
