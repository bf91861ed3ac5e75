package agent

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sreagent/sreagent/sre"
)

// What comes after a cure that was not enough.

// causes are the causes for which plans were begun, in order.
func (r *rig) causes() (out []string) {
	for _, rec := range r.trail.records {
		if inc := rec.Incident; inc != nil && inc.State == sre.Acting && rec.Change == string(evClear) {
			out = append(out, inc.Plan.Cause)
		}
	}
	return out
}

func TestAnotherCureIsTriedThreeAtMost(t *testing.T) {
	r := newRig(t, func(r *rig) { r.w.cures, r.mind.steps = 99, 1 })
	r.w.sick = true
	for i, cause := range []string{"db", "api", "web", "db2"} {
		r.mind.cause = cause
		r.run(60)
		if inc := r.desk.view.Incidents[0]; inc.State != sre.Escalated || len(inc.InForce()) != 0 {
			t.Fatalf("after cure %d: %s with %d levers\n%s", i+1, inc.State, len(inc.InForce()), r.story())
		}
	}
	if got := r.causes(); !slices.Equal(got, []string{"db", "api", "web"}) {
		t.Errorf("plans for %v, want one for each of three causes", got)
	}
}

func TestTheSameCureIsNotTriedAnew(t *testing.T) {
	r := newRig(t, func(r *rig) { r.w.cures, r.mind.steps = 99, 1 })
	r.w.sick = true
	r.run(150)
	if got := r.causes(); !slices.Equal(got, []string{"db"}) {
		t.Errorf("plans for %v, want one", got)
	}
}

func TestNoOtherCureOnceAPersonHasTakenOver(t *testing.T) {
	r := newRig(t, func(r *rig) { r.w.cures, r.mind.steps = 99, 1 })
	r.w.sick = true
	inc := r.until(sre.Verifying)
	r.desk.queue = []sre.Input{undo(inc.ID)}
	r.until(sre.Escalated)
	r.mind.cause = "api"
	r.run(60)
	if got := r.causes(); !slices.Equal(got, []string{"db"}) {
		t.Errorf("plans for %v after a person has undone the first", got)
	}
}

func TestNoOtherCureWhileUsersAreServed(t *testing.T) {
	r := newRig(t, func(r *rig) { r.w.cures, r.mind.steps = 99, 1 })
	r.w.sick = true
	r.until(sre.Escalated)
	r.mind.cause, r.w.entryErrors = "api", 0.04
	r.mind.notes = nil
	r.run(8)
	if got := r.causes(); !slices.Equal(got, []string{"db"}) {
		t.Errorf("plans for %v although the entries are well", got)
	}
}

// A cure that ended its own cause leaves other trouble behind: that is taken up,
// and the former cure is not praised for it.
func TestTroubleBesideACureIsTakenUp(t *testing.T) {
	r := newRig(t, func(r *rig) { r.w.cures, r.mind.steps = 99, 1 })
	r.mind.says = func(c sre.Check) (sre.Verdict, bool) {
		if c.Expr == "sick" {
			return sre.Fail, true
		}
		return sre.Pass, true
	}
	r.w.sick = true
	r.until(sre.Resolved)
	r.run(4)
	if got := r.causes(); !slices.Equal(got, []string{"db"}) {
		t.Fatalf("plans for %v before another cause is seen", got)
	}
	r.mind.cause = "api"
	r.run(4)
	if got := r.causes(); !slices.Equal(got, []string{"db", "api"}) {
		t.Errorf("plans for %v, want one for the other cause too\n%s", got, r.story())
	}
	for _, rec := range r.trail.records {
		if inc := rec.Incident; inc != nil && rec.Change == string(evAnother) && (len(inc.InForce()) == 0 || inc.Plan == nil) {
			t.Errorf("%d levers are in force under plan %v: lifting would go by nothing", len(inc.InForce()), inc.Plan)
		}
	}
	if len(r.mind.learned) == 0 || r.mind.learned[0].Outcome != sre.InconclusiveOutcome {
		t.Errorf("learned %+v, want that nothing can be said of the first", r.mind.learned)
	}
}

func TestAStepThatIsRefusedIsPassedOver(t *testing.T) {
	r := newRig(t, func(r *rig) {
		r.w.cures, r.mind.steps = 99, 3
		r.mind.kinds, r.mind.ahead = []sre.ActionKind{sre.Scale, sre.Rollback, sre.Shed}, "a reason"
		r.cfg.Policy.Arbitration.Structural = 1
	})
	r.w.sick = true
	r.until(sre.Verifying)
	for range 40 {
		r.run(1)
		if r.desk.view.Incidents[0].Step == 2 {
			break
		}
	}
	inc := r.desk.view.Incidents[0]
	var held []string
	for _, m := range inc.InForce() {
		held = append(held, string(m.Action.Kind))
	}
	if got := strings.Join(held, " "); got != "scale scale shed shed" {
		t.Errorf("in force: %s\n%s", got, r.story())
	}
}

func TestWhatHelpedInPartIsKept(t *testing.T) {
	for name, c := range map[string]struct {
		errors float64
		kept   int
	}{"clearly less fails": {0.45, 2}, "hardly less fails": {0.65, 0}} {
		r := newRig(t, func(r *rig) { r.w.cures, r.mind.steps, r.w.entryErrors = 99, 1, 0.7 })
		r.w.sick = true
		r.until(sre.Verifying)
		r.w.entryErrors = c.errors
		r.run(25)
		inc := r.desk.view.Incidents[0]
		if got := len(inc.InForce()); got != c.kept || inc.State != sre.Escalated {
			t.Errorf("%s: %s with %d levers, want %d\n%s", name, inc.State, got, c.kept, r.story())
		}
		if lease := r.at.Add(r.mind.lease); c.kept > 0 {
			for r.at.Before(lease.Add(10 * time.Second)) {
				r.run(1)
			}
			if got := len(r.desk.view.Incidents[0].InForce()); got != 0 {
				t.Errorf("%s: %d levers in force beyond their lease", name, got)
			}
		}
	}
}
