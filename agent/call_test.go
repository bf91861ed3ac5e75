package agent

import (
	"strings"
	"testing"
	"time"

	"github.com/sreagent/sreagent/runbooks"
	"github.com/sreagent/sreagent/sre"
)

// patient gives every plan of a rig's mind another end: what does not help stays.
type patient struct{ *fakeMind }

func (m patient) Match(f runbooks.Facts) (*sre.Plan, []sre.Rejection) {
	p, rejected := m.fakeMind.Match(f)
	if p != nil {
		p.Steps[len(p.Steps)-1].OnFail = sre.KeepAndEscalate
		p.CallAfter, p.CallText = 7*time.Second, "look at the database"
	}
	return p, rejected
}

// keeping is a rig whose plans keep what did not help and call people.
func keeping(t *testing.T) *rig {
	r := newRig(t, func(r *rig) { r.w.cures = 99 })
	r.a.mind.library = patient{r.mind}
	r.w.sick = true
	return r
}

func TestAStepThatKeepsIsInForceUntilItsLeaseEnds(t *testing.T) {
	r := keeping(t)
	inc := r.until(sre.Escalated)
	if inc.Outcome != sre.Unchanged || !strings.Contains(inc.Escalation, "stays in force") {
		t.Errorf("outcome %q, escalation %q", inc.Outcome, inc.Escalation)
	}
	if n := len(inc.InForce()); n != 4 {
		t.Errorf("%d mitigations in force, want the 4 of both steps:\n%s", n, r.story())
	}
	last := r.pager.notices[len(r.pager.notices)-1]
	if !last.NeedsYou {
		t.Errorf("nobody is called: %+v", last)
	}
	began := r.at
	for len(r.lever.effects) > 0 && r.at.Sub(began) < r.mind.lease+20*time.Second {
		r.run(1)
	}
	if len(r.lever.effects) > 0 {
		t.Errorf("in force after the lease:\n%s", r.story())
	}
}

func TestPeopleAreCalledOnceWhenThePlanTakesLong(t *testing.T) {
	r := keeping(t)
	began := r.until(sre.Verifying).PlanBegan
	r.until(sre.Escalated)
	var called []sre.Notice
	for _, n := range r.pager.notices {
		if n.State == sre.Verifying && strings.Contains(n.Text, "look at the database") {
			called = append(called, n)
		}
	}
	if len(called) == 0 || !called[0].NeedsYou {
		t.Fatalf("nobody was called: %+v", r.pager.notices)
	}
	records := 0
	for _, rec := range r.trail.records {
		if rec.Change == "call" {
			if records++; rec.At.Sub(began) != 7*time.Second {
				t.Errorf("called %s after the start", rec.At.Sub(began))
			}
		}
	}
	if records != 1 {
		t.Errorf("called %d times", records)
	}
}

func TestNobodyIsCalledForWhatIsOverInTime(t *testing.T) {
	r := keeping(t)
	r.w.cures = 0
	r.until(sre.Verifying)
	r.w.sick = false
	r.until(sre.Closed)
	for _, rec := range r.trail.records {
		if rec.Change == "call" {
			t.Fatalf("called at %s:\n%s", rec.At, r.story())
		}
	}
}
