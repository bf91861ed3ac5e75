package agent

import (
	"testing"
	"time"

	"github.com/sreagent/sreagent/sre"
)

// Nobody is needed for trouble that went away by itself, also when somebody was
// called: it closes after the usual calm, long before EscalatedFor.
func TestEscalatedTroubleThatGoesAwayByItselfSubsides(t *testing.T) {
	r := newRig(t, func(r *rig) { r.mind.unfit = "db" })
	r.w.sick = true
	r.until(sre.Escalated)
	gone := r.at
	r.w.sick = false
	inc := r.until(sre.Closed)
	if took := inc.ClosedAt.Sub(gone); took != r.cfg.Timing.SubsideAfter {
		t.Errorf("closed %s after the last sign, want %s", took, r.cfg.Timing.SubsideAfter)
	}
	if !r.lastPage(inc.ID).Resolved {
		t.Error("the page stands")
	}
}

// What the agent had a hand in is watched for longer, since the calm may be of
// its own making.
func TestEscalatedTroubleThatLeversWereMovedForIsWatched(t *testing.T) {
	r := newRig(t, func(r *rig) { r.w.worsened, r.w.cures = true, 99 })
	r.w.sick = true
	if inc := r.until(sre.Escalated); !touched(inc) {
		t.Fatalf("no lever was moved:\n%s", r.story())
	}
	gone := r.at
	r.w.sick = false
	if took := r.until(sre.Closed).ClosedAt.Sub(gone); took != r.cfg.Timing.EscalatedFor {
		t.Errorf("closed %s after the last sign, want %s", took, r.cfg.Timing.EscalatedFor)
	}
}

// A sign that comes and goes is one incident with one page. Closed too early
// twice, it stays open in between.
func TestWhatComesAndGoesIsOneIncidentThatStaysOpen(t *testing.T) {
	r := newRig(t, func(r *rig) { r.mind.unfit = "db" })
	calm := int(r.cfg.Timing.SubsideAfter / time.Second)
	for range 8 {
		r.w.sick = true
		r.run(3)
		r.w.sick = false
		r.run(calm + 2) // just long enough to close it
	}
	open, closed := 0, 0
	for _, rec := range r.trail.records {
		if rec.Incident == nil {
			continue
		}
		switch rec.Change {
		case "open":
			open++
		case string(evSubside):
			closed++
		}
	}
	if inc := r.desk.view.Incidents[0]; open != 1 || closed != 2 || inc.Reopened != 2 || inc.State == sre.Closed {
		t.Errorf("opened %d times, closed %d, re-opened %d, now %s; want 1, 2, 2 and open", open, closed, inc.Reopened, inc.State)
	}
	r.run(2*calm + 1)
	if inc := r.desk.view.Incidents[0]; inc.State != sre.Closed {
		t.Errorf("twice the calm has passed and it is %s", inc.State)
	}
	pages := map[string]bool{}
	for _, n := range r.pager.notices {
		pages[n.Incident] = true
	}
	if len(pages) != 1 {
		t.Errorf("%d pages, want one", len(pages))
	}
}

// A fault that comes back within a sign's absence shorter than the calm never
// closes anything.
func TestASignThatSkipsTicksClosesNothing(t *testing.T) {
	r := newRig(t, func(r *rig) { r.mind.unfit = "db" })
	for range 10 {
		r.w.sick = true
		r.run(1)
		r.w.sick = false
		r.run(int(r.cfg.Timing.SubsideAfter/time.Second) - 1)
	}
	if inc := r.desk.view.Incidents[0]; inc.Reopened != 0 || inc.State == sre.Closed || len(r.desk.view.Incidents) != 1 {
		t.Errorf("%s, re-opened %d times, %d incidents", inc.State, inc.Reopened, len(r.desk.view.Incidents))
	}
}
