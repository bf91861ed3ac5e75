package agent

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sreagent/sreagent/sre"
)

// of returns an incident by the start of its ID, in the latest view.
func (r *rig) of(prefix string) *sre.Incident {
	r.t.Helper()
	for i := range r.desk.view.Incidents {
		if inc := &r.desk.view.Incidents[i]; strings.HasPrefix(inc.ID, prefix) {
			return inc
		}
	}
	r.t.Fatalf("no incident %s; the trail:\n%s", prefix, r.story())
	return nil
}

// settled ticks until no incident is open.
func (r *rig) settled() {
	r.t.Helper()
	for range 300 {
		r.run(1)
		if len(r.a.book.open()) == 0 {
			return
		}
	}
	r.t.Fatalf("never settled; the trail:\n%s", r.story())
}

func (r *rig) lastPage(incident string) sre.Notice {
	r.t.Helper()
	for _, n := range slices.Backward(r.pager.notices) {
		if n.Incident == incident {
			return n
		}
	}
	r.t.Fatalf("nobody was told of %s", incident)
	return sre.Notice{}
}

func TestWhatComesBackSoonIsTheSameIncident(t *testing.T) {
	r := newRig(t)
	r.w.sick = true
	first := *r.until(sre.Closed)
	r.at = r.at.Add(20 * time.Minute)
	r.w.sick = true
	r.run(1)
	again := r.of(first.ID)
	switch {
	case len(r.desk.view.Incidents) != 1:
		t.Fatalf("%d incidents, want one\n%s", len(r.desk.view.Incidents), r.story())
	case again.State != sre.Suspected || again.Reopened != 1 || again.Recurrences != 1 || !again.ClosedAt.IsZero():
		t.Errorf("state %s, re-opened %d times, recurred %d times, closed at %s", again.State, again.Reopened, again.Recurrences, again.ClosedAt)
	case again.Plan != nil || again.Decision != nil || again.Approval != nil || again.Outcome != "":
		t.Errorf("the old plan was kept: %+v", again.Plan)
	}
	done := *r.until(sre.Closed)
	if done.Attempt == first.Attempt || len(r.lever.fresh) != 4 {
		t.Errorf("attempt %d after %d, applied %v: a new attempt needs new IDs", done.Attempt, first.Attempt, r.lever.fresh)
	}
	if p := r.lastPage(first.ID); !p.Resolved {
		t.Errorf("the page stands: %+v", p)
	}
}

func TestWhatComesBackLateIsANewIncident(t *testing.T) {
	r := newRig(t)
	r.w.sick = true
	r.until(sre.Closed)
	r.at = r.at.Add(40 * time.Minute)
	r.w.sick = true
	r.run(1)
	if n := len(r.desk.view.Incidents); n != 2 || r.desk.view.Incidents[0].Recurrences != 1 {
		t.Errorf("%d incidents, the newest recurred %d times", n, r.desk.view.Incidents[0].Recurrences)
	}
}

func TestAReopenedIncidentSurvivesARestart(t *testing.T) {
	r := newRig(t)
	r.w.sick = true
	first := r.until(sre.Closed).ID
	r.w.sick = true
	r.run(1)
	r.start()
	r.run(1)
	if inc := r.of(first); inc.Reopened != 1 || len(r.desk.view.Incidents) != 1 {
		t.Errorf("re-opened %d times, %d incidents", inc.Reopened, len(r.desk.view.Incidents))
	}
	r.until(sre.Closed)
	if len(r.lever.effects) != 0 {
		t.Errorf("left behind: %v", r.lever.effects)
	}
}

func TestAReopenedIncidentKeepsItsBaselinesFromLearning(t *testing.T) {
	r := newRig(t)
	r.w.sick = true
	r.until(sre.Closed)
	s, _ := r.w.Observe(t.Context(), r.at.Add(25*time.Minute))
	if slices.Contains(r.a.frozenAt(s), true) {
		t.Error("a closed incident freezes baselines")
	}
	inc := r.a.book.incidents[r.desk.view.Incidents[0].ID]
	inc.OpenedAt = inc.OpenedAt.Add(-2 * freezeFor) // a long story
	r.at = r.at.Add(25 * time.Minute)
	r.w.sick = true
	r.run(1)
	s, _ = r.w.Observe(t.Context(), r.at.Add(time.Second))
	if f := r.a.frozenAt(s); !slices.Contains(f, true) {
		t.Errorf("frozen %v: the trouble would be learned as normal", f)
	}
}

func TestTwoThatAreOneEndAsOne(t *testing.T) {
	for _, state := range []sre.State{sre.Suspected, sre.Planned, sre.AwaitingApproval, sre.Escalated} {
		t.Run(string(state), func(t *testing.T) {
			r := newRig(t, lowConfidence, func(r *rig) { r.mind.twins, r.mind.apart = true, true })
			if state == sre.Planned {
				r.mind.confidence.Lower, r.cfg.Policy.Mode = 0.9, sre.Watch
				r.a.Reconfigure(r.cfg)
			}
			if state == sre.Escalated {
				r.mind.unfit = "db"
			}
			r.w.sick = true
			for r.desk.view == nil || len(r.desk.view.Incidents) < 2 || r.of("beef").State != state {
				r.run(1)
			}
			r.mind.joined = true
			r.run(1)
			gone, stays := r.of("beef"), r.of("f00d")
			if gone.State != sre.Closed || gone.MergedInto != stays.ID || stays.State == sre.Closed {
				t.Fatalf("%s into %q, the other %s\n%s", gone.State, gone.MergedInto, stays.State, r.story())
			}
			if state == sre.Suspected { // nobody was told yet
				return
			}
			if p := r.lastPage(gone.ID); !p.Resolved || !strings.Contains(p.Text, stays.ID) {
				t.Errorf("page %+v, want it resolved with a pointer to %s", p, stays.ID)
			}
			if p := r.lastPage(stays.ID); p.Resolved {
				t.Errorf("no page is left: %+v", p)
			}
		})
	}
}

func TestWhatWasMergedIsNotReopened(t *testing.T) {
	r := newRig(t, lowConfidence, func(r *rig) { r.mind.twins, r.mind.apart = true, true })
	r.w.sick = true
	r.until(sre.AwaitingApproval)
	r.mind.joined = true
	r.run(1)
	gone := r.of("beef").ID
	r.mind.joined, r.mind.split = false, true // two after all
	r.run(1)
	var newer *sre.Incident
	for i := range r.desk.view.Incidents {
		if inc := &r.desk.view.Incidents[i]; strings.HasPrefix(inc.ID, "beef") && inc.ID != gone {
			newer = inc
		}
	}
	if newer == nil || r.of(gone).State != sre.Closed || newer.SplitFrom != r.of("f00d").ID {
		t.Fatalf("incidents %+v\n%s", newer, r.story())
	}
	r.run(3)
	if p := r.lastPage(newer.ID); p.Resolved {
		t.Errorf("nobody is told of the one that was split off: %+v", p)
	}
}

func TestTheSurvivorKnowsWhatWasTriedAndHowBadItIs(t *testing.T) {
	r := newRig(t, lowConfidence, func(r *rig) { r.mind.twins, r.mind.apart = true, true })
	r.w.sick = true
	r.until(sre.AwaitingApproval)
	beef := r.of("beef")
	r.desk.queue = []sre.Input{{Kind: sre.InputReject, By: "ann", Role: sre.Approver, Incident: beef.ID, Decision: beef.Decision.ID}}
	r.run(1)
	r.mind.joined = true
	r.run(1)
	if tried := r.of("f00d").Tried; !slices.Contains(tried, "storm/db") {
		t.Errorf("what ann rejected is unknown to the survivor: %v", tried)
	}
	twin := newRig(t)
	if err := twin.a.Restore(r.trail.all()); err != nil {
		t.Fatal(err)
	}
	if tried := twin.a.book.incidents[r.of("f00d").ID].Tried; !slices.Contains(tried, "storm/db") {
		t.Errorf("and after a restart: %v", tried)
	}
}

func TestAnswersToAMergedIncidentAreRefused(t *testing.T) {
	r := newRig(t, func(r *rig) { r.mind.twins, r.mind.apart, r.w.cures = true, true, 99 })
	bothAtWork(r)
	r.mind.joined = true
	r.run(1)
	inc := r.a.book.incidents[r.of("beef").ID]
	if why := r.a.pending(&turn{now: r.at}, inc, sre.Input{}); !strings.Contains(why, "part of") {
		t.Errorf("an answer is refused with %q", why)
	}
}

// bothAtWork brings a rig to two incidents that both hold levers.
func bothAtWork(r *rig) {
	r.t.Helper()
	r.w.sick = true
	for range 40 {
		r.run(1)
		if len(r.desk.view.Incidents) == 2 && len(r.of("beef").InForce()) == 2 && len(r.of("f00d").InForce()) == 2 {
			return
		}
	}
	r.t.Fatalf("the story is another:\n%s", r.story())
}

func TestTheOneThatHoldsLeversSurvives(t *testing.T) {
	r := newRig(t, func(r *rig) { r.mind.twins, r.w.cures = true, 99 })
	r.w.sick = true
	r.until(sre.Verifying)
	holder, other := r.of("f00d").ID, r.of("beef").ID // the levers are the same: one waits
	if len(r.of("beef").InForce()) > 0 {
		holder, other = other, holder
	}
	findings := []sre.Finding{{Fingerprint: other[:4], Incident: other, Merges: []string{holder}, Severity: sre.Critical,
		Diagnosis: r.of(other).Diagnosis}}
	r.a.mind.reasoning = scripted{findings}
	touched := r.lever.touched
	r.run(1)
	if h, o := r.of(holder), r.of(other); h.State != sre.Verifying || o.MergedInto != holder || o.State != sre.Closed {
		t.Errorf("%s is %s, %s is %s into %q\n%s", holder, h.State, other, o.State, o.MergedInto, r.story())
	}
	if r.lever.touched != touched {
		t.Error("a merge touched a lever")
	}
}

// scripted finds what it is told, under the open incident of its fingerprint
// where it names none.
type scripted struct{ findings []sre.Finding }

func (s scripted) Diagnose(snap *sre.Snapshot, _ []sre.Precursor, open []sre.Incident) []sre.Finding {
	out := slices.Clone(s.findings)
	for i := range out {
		out[i].Diagnosis.At = snap.At
		if out[i].Incident == "" {
			out[i].Incident = openAs(open, out[i].Fingerprint)
		}
	}
	return out
}

func TestAPageStandsUntilTheSurvivorHasItsOwn(t *testing.T) {
	r := newRig(t, lowConfidence)
	r.w.sick = true
	known := *r.until(sre.AwaitingApproval)
	r.a.mind.reasoning = scripted{[]sre.Finding{{Fingerprint: "cafe", Merges: []string{known.ID}, Severity: sre.Warning, Diagnosis: known.Diagnosis}}}
	paged := false
	for range 6 {
		r.run(1)
		open := slices.ContainsFunc(r.desk.view.Incidents, func(inc sre.Incident) bool {
			n, told := r.a.book.told[inc.ID]
			return told && !n.Resolved
		})
		paged = paged || r.of("cafe").State == sre.AwaitingApproval
		if !open {
			t.Fatalf("a tick without a page:\n%s", r.story())
		}
	}
	if inc := r.of(known.ID); inc.State != sre.Closed || inc.MergedInto != r.of("cafe").ID || !paged || r.of("cafe").Severity != sre.Critical {
		t.Errorf("%s into %q; the survivor is %s, %s", inc.State, inc.MergedInto, r.of("cafe").State, r.of("cafe").Severity)
	}
}

func TestAMergedIncidentKeepsWhatItHoldsUntilItIsTakenBack(t *testing.T) {
	r := newRig(t, func(r *rig) { r.mind.twins, r.mind.apart, r.w.cures = true, true, 99 })
	bothAtWork(r)
	r.mind.joined = true
	r.run(1)
	if inc := r.of("beef"); inc.MergedInto != r.of("f00d").ID || inc.State == sre.Closed || len(inc.InForce()) != 2 {
		t.Fatalf("%s into %q with %d levers\n%s", inc.State, inc.MergedInto, len(inc.InForce()), r.story())
	}
	if p := r.lastPage(r.of("beef").ID); !p.Resolved || !strings.Contains(p.Text, "2 mitigations") {
		t.Errorf("page %+v", p)
	}
	r.w.cures = 4
	r.settled()
	if len(r.lever.effects) != 0 || r.of("beef").MergedInto == "" {
		t.Errorf("left behind %v, merged into %q", r.lever.effects, r.of("beef").MergedInto)
	}
}

func TestAMergedIncidentThatDidNotHelpTakesNoSecondStep(t *testing.T) {
	r := newRig(t, func(r *rig) { r.mind.twins, r.mind.apart, r.w.cures = true, true, 99 })
	bothAtWork(r)
	r.mind.joined = true
	r.ended("beef")
	for _, e := range r.trail.records {
		if e.Intent != nil && strings.HasPrefix(e.IncidentID, "beef") && e.Intent.Permit.Purpose == sre.ToApply && e.Intent.Action.Kind == sre.Shed {
			t.Errorf("a second step was taken:\n%s", r.story())
		}
	}
	if o := r.of("beef").Outcome; o != sre.Unchanged {
		t.Errorf("outcome %q, want what its check found", o)
	}
	for id := range r.lever.effects {
		if strings.HasPrefix(id, "beef") {
			t.Errorf("left in force: %s", id)
		}
	}
}

// ended ticks until one incident is closed.
func (r *rig) ended(prefix string) {
	r.t.Helper()
	for range 300 {
		r.run(1)
		if r.of(prefix).State == sre.Closed {
			return
		}
	}
	r.t.Fatalf("%s never closed; the trail:\n%s", prefix, r.story())
}

func TestAMergeThatWasNoneIsTakenBack(t *testing.T) {
	r := newRig(t, func(r *rig) { r.mind.twins, r.mind.apart, r.w.cures = true, true, 99 })
	bothAtWork(r)
	r.mind.joined = true
	r.run(1)
	r.mind.joined = false
	r.run(1)
	r.mind.joined = true
	r.run(1)
	r.mind.joined = false
	r.run(1)
	if r.of("beef").MergedInto == "" {
		t.Errorf("one tick of doubt took it back:\n%s", r.story())
	}
	r.run(1)
	if inc := r.of("beef"); inc.MergedInto != "" || inc.State == sre.Closed {
		t.Errorf("%s, still part of %q", inc.State, inc.MergedInto)
	}
	if p := r.lastPage(r.of("beef").ID); p.Resolved {
		t.Errorf("its page was not taken up again: %+v", p)
	}
}

func TestACrashAtEveryRecordOfAMergeLosesNoLever(t *testing.T) {
	prepare := func(r *rig) { r.mind.twins, r.mind.apart, r.w.cures = true, true, 99 }
	story := func(r *rig, ticks int) (err error) {
		r.w.sick = true
		for i := range ticks {
			if r.mind.joined = i >= 6; i == 8 {
				r.w.cures = 4
			}
			if err = r.tick(); err != nil {
				return err
			}
		}
		return nil
	}
	whole := newRig(t, prepare)
	if err := story(whole, 60); err != nil {
		t.Fatal(err)
	}
	if len(whole.a.book.open()) != 0 || whole.of("beef").MergedInto == "" {
		t.Fatalf("the story is another:\n%s", whole.story())
	}
	for at := 1; at <= 2*whole.trail.appends; at++ {
		r := newRig(t, prepare, func(r *rig) { r.trail.breakAt, r.trail.torn = (at+1)/2, at%2 == 0 })
		_ = story(r, 60)
		r.trail.breakAt, r.mind.joined, r.w.sick = 0, true, false
		r.start()
		r.run(1)
		r.settled()
		if len(r.lever.effects) != 0 {
			t.Errorf("append %d: left behind %v\n%s", at, r.lever.effects, r.story())
		}
		for id, n := range r.lever.fresh {
			if n > 1 {
				t.Errorf("append %d: %s was applied %d times\n%s", at, id, n, r.story())
			}
		}
	}
}

func TestAnotherFirstCauseIsToldAndKeepsTheIncident(t *testing.T) {
	r := newRig(t, lowConfidence)
	r.w.sick = true
	id := r.until(sre.AwaitingApproval).ID
	r.mind.cause = "api"
	r.run(1)
	inc := r.of(id)
	want := sre.Rekey{At: r.at, From: "db retry_storm", To: "api retry_storm", Why: "retry_storm of api overtook retry_storm of db: 0.90 to 0.00"}
	if len(inc.Rekeys) != 1 || inc.Rekeys[0] != want {
		t.Errorf("re-keyed %+v, want %+v", inc.Rekeys, want)
	}
	pages := len(r.pager.notices)
	r.run(1)
	if p := r.lastPage(id); !strings.Contains(p.Title, "api") || len(r.pager.notices) != pages {
		t.Errorf("page %q, %d more", p.Title, len(r.pager.notices)-pages)
	}
	for i := range 30 {
		r.mind.cause = []string{"db", "api"}[i%2]
		r.run(1)
	}
	if n := len(r.of(id).Rekeys); n != keepRekeys {
		t.Errorf("%d changes of the cause are kept, want %d", n, keepRekeys)
	}
}

func TestAStormIsMarked(t *testing.T) {
	r := newRig(t, func(r *rig) { r.mind.storm = true })
	r.w.sick = true
	r.run(2)
	r.mind.storm = false // it ebbs away, and stays what it was
	r.run(1)
	if !r.desk.view.Incidents[0].Storm {
		t.Error("the storm is not marked")
	}
}

func TestTheLatestClosedAreRememberedNotTheLatestOpened(t *testing.T) {
	r := newRig(t)
	r.run(1)
	for i := range keepClosed + 5 {
		inc := sre.Incident{ID: fmt.Sprintf("i%02d", i), State: sre.Closed, OpenedAt: r.at.Add(time.Duration(-i) * time.Hour), ClosedAt: r.at.Add(time.Duration(i) * time.Second)}
		if err := r.a.book.put(inc); err != nil {
			t.Fatal(err)
		}
	}
	r.run(1)
	if r.a.book.incidents["i00"] != nil || r.a.book.incidents["i24"] == nil {
		t.Error("the one that was closed last was forgotten first")
	}
}
