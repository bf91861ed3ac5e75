package agent

import (
	"testing"

	"github.com/sreagent/sreagent/sre"
)

// What a step is when it starts, some time after its plan was made.

// halved is what readings of now make of a plan: half of the ratio at one
// service, and nothing to do at the other.
func halved(actions []sre.Action) []sre.Action {
	actions[0].Params = sre.Params{"ratio": 0.05}
	return actions[:1]
}

func (r *rig) sent() (out []sre.Action) {
	for _, rec := range r.trail.records {
		if rec.Intent != nil && rec.Intent.Permit.Purpose == sre.ToApply {
			out = append(out, rec.Intent.Action)
		}
	}
	return out
}

func TestAStepIsBroughtUpToDateWhenItStarts(t *testing.T) {
	r := newRig(t, func(r *rig) { r.mind.settles, r.w.cures = halved, 1 })
	r.w.sick = true
	r.until(sre.Verifying)
	sent := r.sent()
	if len(sent) != 1 || sent[0].Params["ratio"] != 0.05 {
		t.Errorf("sent %+v, want one action as of now", sent)
	}
	for _, rec := range r.trail.records {
		if rec.Incident != nil && rec.Incident.State == sre.Planned && len(rec.Incident.Plan.Steps[0].Actions) != 2 {
			t.Error("the record of the plan was changed after it was made")
		}
	}
	r.start() // a new agent goes on with what was recorded
	r.run(3)
	if again := r.sent(); len(again) != 1 {
		t.Errorf("after a restart %d applies", len(again))
	}
}

func TestWhatAPersonApprovedStaysAsItWasShown(t *testing.T) {
	for law, want := range map[string]float64{"": 0.1, "overload": 0.05} {
		r := newRig(t, func(r *rig) {
			r.mind.settles, r.mind.law, r.cfg.Policy.Mode, r.w.cures = halved, law, sre.Ask, 1
		})
		r.w.sick = true
		inc := r.until(sre.AwaitingApproval)
		r.desk.queue = append(r.desk.queue, sre.Input{Kind: sre.InputApprove, By: "ann", Role: sre.Approver, Incident: inc.ID, Decision: inc.Decision.ID})
		r.until(sre.Verifying)
		if sent := r.sent(); len(sent) != 1 || sent[0].Params["ratio"] != want {
			t.Errorf("law %q: sent %+v, want ratio %v", law, sent, want)
		}
	}
}

func TestAPlanThatNeedsNoCauseIsNotMadeAnew(t *testing.T) {
	r := newRig(t, func(r *rig) {
		r.mind.anywhere, r.cfg.Policy.Mode = true, sre.Ask
	})
	r.w.sick = true
	inc := r.until(sre.AwaitingApproval)
	decided := inc.Decision.ID
	r.mind.cause = "api"
	r.run(3)
	now := r.desk.view.Incidents[0]
	if now.State != sre.AwaitingApproval || now.Attempt != inc.Attempt {
		t.Errorf("%s at attempt %d after suspicion moved; the story:\n%s", now.State, now.Attempt, r.story())
	}
	r.desk.queue = append(r.desk.queue, sre.Input{Kind: sre.InputApprove, By: "ann", Role: sre.Approver, Incident: inc.ID, Decision: decided})
	r.until(sre.Verifying)
}

func TestWhatJoinsAStepNeedsTheMandateToo(t *testing.T) {
	joins := func(actions []sre.Action) []sre.Action {
		more := actions[0]
		more.ID, more.Target.Service = more.ID+"0", "db"
		return append(actions, more)
	}
	for allowed, want := range map[int]int{2: 2, 3: 3} {
		r := newRig(t, func(r *rig) {
			r.mind.settles, r.w.cures = joins, 1
			r.cfg.Policy.InForce = sre.Limit{Percent: 100, Number: allowed}
		})
		r.w.sick = true
		r.until(sre.Verifying)
		if got := len(r.sent()); got != want {
			t.Errorf("%d services may be touched: %d actions, want %d", allowed, got, want)
		}
	}
}
