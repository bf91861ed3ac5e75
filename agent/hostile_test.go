package agent

import (
	"context"
	"encoding/json"
	"iter"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sreagent/sreagent/sre"
)

// More attempts to break what must never happen: levers that lie, numbers that
// are none, switches thrown in the middle, trails of another time.

func TestADryRunSwitchedOnInTheMiddleNeitherTouchesNorPretends(t *testing.T) {
	r := newRig(t, func(r *rig) { r.lever.stays = true })
	r.w.sick = true
	r.until(sre.Verifying)
	dry := r.cfg
	dry.Policy.DryRun = true
	r.a.Reconfigure(dry)
	touched := r.lever.touched
	inc := r.until(sre.Escalated)
	if r.lever.touched != touched {
		t.Errorf("touched in a dry run:\n%s", r.story())
	}
	if len(r.lever.effects) != len(inc.InForce()) {
		t.Errorf("%d in force, %d shown", len(r.lever.effects), len(inc.InForce()))
	}
	if page := r.pager.notices[len(r.pager.notices)-1]; !strings.Contains(page.Text, "Undo by hand") {
		t.Errorf("nobody was told how to undo it: %s", page.Text)
	}
}

func TestADryRunSwitchedOffInTheMiddleIsNotCarriedOnForReal(t *testing.T) {
	r := newRig(t, func(r *rig) { r.cfg.Policy.DryRun = true })
	r.w.sick = true
	r.until(sre.Verifying)
	wet := r.cfg
	wet.Policy.DryRun = false
	r.a.Reconfigure(wet)
	inc := r.until(sre.Escalated)
	if r.lever.touched != 0 || len(r.mind.learned) != 0 {
		t.Errorf("touched %d times, learned %v: %s", r.lever.touched, r.mind.learned, inc.Escalation)
	}
}

func TestARestartWithoutTheLeverCallsAHumanAndCanBeClosed(t *testing.T) {
	for _, state := range []sre.State{sre.Verifying, sre.Resolved} {
		t.Run(string(state), func(t *testing.T) {
			r := newRig(t)
			r.w.sick = true
			r.until(state)
			delete(r.a.ports.Levers, "fake")
			ports := r.a.ports
			a, err := newWith(r.cfg, ports, r.a.mind)
			if err != nil {
				t.Fatal(err)
			}
			if err := a.Restore(r.trail.all()); err != nil {
				t.Fatal(err)
			}
			r.a = a
			inc := r.until(sre.Escalated)
			if page := r.pager.notices[len(r.pager.notices)-1]; !page.NeedsYou || !strings.Contains(page.Text, "Undo by hand") {
				t.Errorf("page %+v", page)
			}
			if n := len(inc.InForce()); n == 0 {
				t.Error("it pretends that nothing is in force")
			}
			r.desk.queue = []sre.Input{{Kind: sre.InputClose, By: "bob", Role: sre.Operator, Incident: inc.ID}}
			r.run(1)
			if s := r.desk.view.Incidents[0].State; s != sre.Closed || !strings.Contains(r.desk.last().Reason, "is yours") {
				t.Errorf("state %s, answer %+v", s, r.desk.last())
			}
		})
	}
}

func TestWhatMayBeInForceCannotBeClosed(t *testing.T) {
	r := newRig(t, func(r *rig) {
		r.w.cures, r.lever.stays = 99, true
		r.lever.revert = func(sre.Action) error { return errCut }
	})
	r.w.sick = true
	inc := r.until(sre.Escalated)
	r.desk.queue = []sre.Input{{Kind: sre.InputClose, By: "bob", Role: sre.Operator, Incident: inc.ID}}
	r.run(2)
	if r.desk.last().Accepted || r.desk.view.Incidents[0].State == sre.Closed {
		t.Errorf("closed with %d levers seen in force: %+v", len(r.lever.effects), r.desk.last())
	}
}

func TestWhatSomebodyElseMovedIsReleasedAndNotUndone(t *testing.T) {
	r := newRig(t)
	r.w.sick = true
	inc := r.until(sre.Verifying)
	touched := r.lever.touched
	r.lever.foreign = true
	r.desk.queue = []sre.Input{undo(inc.ID)}
	inc = r.until(sre.Escalated)
	if r.lever.touched != touched || inc.Mitigations[0].Phase != sre.Released {
		t.Errorf("touched %d times, phase %s", r.lever.touched-touched, inc.Mitigations[0].Phase)
	}
}

func TestAnUnknownApplyIsFencedByItsUndo(t *testing.T) {
	for name, blindLever := range map[string]bool{"not shown": false, "not readable": true} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			r.lever.apply = func(sre.Action) error {
				if blindLever {
					r.lever.probe = func(sre.Action) error { return errCut }
				}
				return errCut
			}
			r.w.sick = true
			r.until(sre.Escalated)
			if a, u := r.intents(sre.ToApply), r.intents(sre.ToRevert); a != 2 || u != 2 {
				t.Errorf("%d applies and %d reverts, want 2 and 2: what is on its way may arrive yet\n%s", a, u, r.story())
			}
		})
	}
}

func TestACrashWhileUndoingAnUnknownApplyStillUndoesIt(t *testing.T) {
	r := newRig(t)
	r.lever.apply = func(sre.Action) error { return errCut }
	r.w.sick = true
	inc := r.until(sre.Acting)
	r.trail.breakAt = r.trail.appends + 2 // the tick of the undo ends before its results
	r.desk.queue = []sre.Input{undo(inc.ID)}
	var err error
	for err == nil {
		err = r.tick()
	}
	cut := r.trail.records
	for i, rec := range cut { // and before its intents
		if rec.Kind == sre.RecordIntent && rec.Intent.Permit.Purpose == sre.ToRevert {
			r.trail.records = cut[:i]
			break
		}
	}
	r.trail.breakAt = 0
	r.start()
	r.until(sre.Escalated)
	if r.intents(sre.ToRevert) != 2 {
		t.Errorf("%d undos, want 2\n%s", r.intents(sre.ToRevert), r.story())
	}
}

// cutAtTheTouch brings a rig to a restart after its intents were durable and
// before anything was seen at the levers.
func cutAtTheTouch(r *rig) {
	r.lever.apply = func(sre.Action) error { return errCut } // on its way
	r.w.sick = true
	for r.intents(sre.ToApply) == 0 {
		r.run(1)
	}
	for i, rec := range r.trail.records {
		if rec.Result != nil {
			r.trail.records = r.trail.records[:i]
			break
		}
	}
	r.lever.apply = nil
	r.start()
}

func TestWhatAnEarlierRunSentIsFencedWhenItIsNotWantedAnyMore(t *testing.T) {
	r := newRig(t)
	cutAtTheTouch(r)
	r.desk.queue = []sre.Input{{Kind: sre.InputPause, By: "bob", Role: sre.Operator, Name: "sale"}}
	inc := r.until(sre.Escalated)
	if r.intents(sre.ToRevert) != 2 || r.intents(sre.ToApply) != 2 {
		t.Errorf("%d reverts: what is on its way may arrive yet: %s", r.intents(sre.ToRevert), inc.Escalation)
	}
}

func TestWhatArrivesFromAnEarlierRunIsAdoptedWithItsUndo(t *testing.T) {
	r := newRig(t)
	cutAtTheTouch(r)
	inc := r.a.book.open()[0]
	sent := inc.Mitigations[0].Action
	looks := 0
	r.lever.probe = func(sre.Action) error {
		if looks++; looks == 3 { // after the two looks at what was in flight
			r.lever.effects[sent.ID] = effect{action: sent, expires: r.w.now.Add(20 * time.Second)}
		}
		return nil
	}
	r.run(1)
	adopted := slices.ContainsFunc(r.trail.records, func(rec sre.Record) bool {
		return rec.Change == "adopt" && find(rec.Incident, sent.ID).Before != nil && find(rec.Incident, sent.ID).Permit.ID != ""
	})
	if !adopted || r.lever.fresh[sent.ID] != 0 {
		t.Errorf("adopted %t, applied again %d times\n%s", adopted, r.lever.fresh[sent.ID], r.story())
	}
}

func TestAnUndoStopsWhatIsAboutToBegin(t *testing.T) {
	r := newRig(t)
	r.lever.probe = func(sre.Action) error { return errCut } // nothing can be applied yet
	r.w.sick = true
	inc := r.until(sre.Acting)
	r.lever.probe = nil
	r.desk.queue = []sre.Input{undo(inc.ID)}
	r.run(5)
	if !r.desk.last().Accepted || r.lever.touched != 0 {
		t.Errorf("answer %+v, touched %d times\n%s", r.desk.last(), r.lever.touched, r.story())
	}
}

func TestANoHoldsThoughACrashCutItOff(t *testing.T) {
	r := newRig(t, lowConfidence)
	r.w.sick = true
	inc := r.until(sre.AwaitingApproval)
	r.desk.queue = []sre.Input{{Kind: sre.InputReject, By: "ann", Role: sre.Approver, Incident: inc.ID, Decision: inc.Decision.ID}}
	r.run(1)
	for i, rec := range r.trail.records {
		if rec.Approval != nil {
			r.trail.records = r.trail.records[:i+1] // the no is durable, what follows of it is not
			break
		}
	}
	r.start()
	r.desk.reply = approving
	r.run(10)
	if r.lever.touched != 0 || r.desk.view.Incidents[0].State != sre.Escalated {
		t.Errorf("a no was forgotten: %s, touched %d times", r.desk.view.Incidents[0].State, r.lever.touched)
	}
}

func TestAnUndoOfWhatMayArriveYetIsNotBelievedWithoutAnAnswer(t *testing.T) {
	r := newRig(t)
	r.lever.apply = func(sre.Action) error { return errCut } // on its way
	r.w.sick = true
	r.until(sre.Acting)
	r.lever.revert = func(sre.Action) error { return errCut } // lost
	r.until(sre.Reverting)
	r.lever.revert = nil
	r.run(3)
	for _, m := range r.desk.view.Incidents[0].Mitigations[:2] {
		if m.Attempts < 2 {
			t.Errorf("%s counts as undone after an undo that nobody answered\n%s", m.Action.ID, r.story())
		}
	}
}

func TestReadingsThatAreNoNumbersStopNothing(t *testing.T) {
	for name, v := range map[string]float64{"NaN": math.NaN(), "Inf": math.Inf(1)} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			r.w.sick, r.w.odd = true, v
			r.until(sre.Verifying)
			if _, err := json.Marshal(r.trail.records); err != nil {
				t.Fatal(err)
			}
			r.mind.confidence = sre.Confidence{P: v, Lower: math.NaN()}
			r.run(3)
			if _, err := json.Marshal(r.trail.records); err != nil {
				t.Fatal(err)
			}
		})
	}
}

func TestABlastRadiusThatIsNoNumberCountsAsAll(t *testing.T) {
	d := recordable(sre.Diagnosis{Blast: sre.BlastRadius{EntryShare: math.NaN()}})
	if d.Blast.EntryShare != 1 {
		t.Errorf("entry share %v", d.Blast.EntryShare)
	}
}

func TestTroubleThatCouldNotBeReadAtTheStartIsNotBlamedOnTheStep(t *testing.T) {
	r := newRig(t, func(r *rig) { r.w.cures = 99 })
	r.w.sick, r.w.entryGone = true, true
	r.until(sre.Verifying)
	r.w.entryGone = false
	inc := r.until(sre.Escalated)
	if inc.Outcome == sre.Worsened {
		t.Errorf("learned %v: %s", r.mind.learned, inc.Escalation)
	}
}

func TestAnIncidentThatLacksItsPlanIsRefusedAndDoesNotCrash(t *testing.T) {
	r := newRig(t)
	r.w.sick = true
	r.until(sre.Lifting)
	for i := range r.trail.records {
		if rec := &r.trail.records[i]; rec.Incident != nil && rec.Incident.State == sre.Lifting {
			rec.Incident.Plan = nil
		}
	}
	a, err := newWith(r.cfg, r.a.ports, r.a.mind)
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Restore(r.trail.all()); err == nil || !strings.Contains(err.Error(), "without a plan") {
		t.Errorf("restored: %v", err)
	}
}

// oneTick is a clock that ends within its first tick.
type oneTick struct {
	at   time.Time
	stop context.CancelFunc
}

func (c oneTick) Ticks(context.Context, time.Duration) iter.Seq[time.Time] {
	return func(yield func(time.Time) bool) { yield(c.at) }
}

// picky is a trail that refuses a context that is over, as real ones do.
type picky struct{ *memory }

func (p picky) Append(ctx context.Context, rs []sre.Record) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return p.memory.Append(ctx, rs)
}

func TestAStopInTheMiddleOfATickIsNoAccident(t *testing.T) {
	r := newRig(t)
	r.w.sick = true
	for r.desk.view == nil || r.desk.view.Incidents[0].State != sre.Suspected || r.at.Sub(r.desk.view.Incidents[0].OpenedAt) < time.Second {
		r.run(1)
	}
	ctx, cancel := context.WithCancel(context.Background())
	r.lever.apply = func(sre.Action) error { cancel(); return nil } // the order to stop comes now
	r.a.ports.Trail = picky{r.trail}
	r.a.ports.Clock = oneTick{at: r.at.Add(time.Second), stop: cancel}
	if err := r.a.Run(ctx); err != nil {
		t.Fatal(err)
	}
	if ctx.Err() == nil || len(r.lever.effects) != 2 {
		t.Fatalf("the story is another: %v\n%s", r.lever.effects, r.story())
	}
	if n := len(r.pager.notices); n > 0 && r.pager.notices[n-1].Incident == "sreagent-trail" {
		t.Error("people were paged for an orderly stop")
	}
	last := r.trail.records[len(r.trail.records)-1]
	if last.Kind != sre.RecordStop {
		t.Errorf("the trail ends with %s", last.Kind)
	}
}

func TestWhatAnEarlierRunSentIsFencedWhenItsRepetitionFails(t *testing.T) {
	r := newRig(t)
	cutAtTheTouch(r)
	r.lever.apply = func(sre.Action) error { return sre.Failedf("500") }
	r.until(sre.Escalated)
	if n := r.intents(sre.ToRevert); n != 2 {
		t.Errorf("%d reverts, want 2: what is on its way may arrive yet\n%s", n, r.story())
	}
}
