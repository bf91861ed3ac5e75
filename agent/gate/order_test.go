package gate

import (
	"strings"
	"testing"
	"time"

	"github.com/sreagent/sreagent/sre"
)

// An order is held against its role, its age and the lock, and against nothing
// that bounds the agent.
func TestOrdersAreHeldAgainstTheirRole(t *testing.T) {
	now := time.Date(2026, 3, 1, 3, 0, 0, 0, time.UTC)
	policy := DefaultPolicy()
	policy.Mode = sre.Watch
	target := sre.Target{Lever: "flags", Service: "web", Name: "shop"}
	plan := &sre.Plan{Runbook: "order", Steps: []sre.Step{{Actions: []sre.Action{{ID: "o.0", Kind: sre.KillSwitch, Target: target}}}}}
	for name, c := range map[string]struct {
		change func(*Question)
		want   string // in the reason against; empty where it is cleared
	}{
		"good":        {func(*Question) {}, ""},
		"paused":      {func(q *Question) { q.Pauses = []sre.Pause{{Name: "freeze"}} }, ""},
		"wrong role":  {func(q *Question) { q.Incident.Order.Role = sre.Operator }, "role approver is needed"},
		"viewer":      {func(q *Question) { q.Incident.Order.Role, q.Incident.Order.Needs = sre.Viewer, "" }, "role operator is needed"},
		"nobody":      {func(q *Question) { q.Incident.Order.By = "" }, "role"},
		"as policy":   {func(q *Question) { q.Incident.Order.By = byPolicy }, "role"},
		"old":         {func(q *Question) { q.Now = now.Add(time.Hour) }, "not carried out"},
		"held":        {func(q *Question) { q.Held = []Held{{Incident: "i", Kind: sre.KillSwitch, Target: target}} }, "held by incident i"},
		"held by own": {func(q *Question) { q.Held = []Held{{Incident: "o", Kind: sre.KillSwitch, Target: target}} }, ""},
	} {
		t.Run(name, func(t *testing.T) {
			q := Question{Now: now, Plan: plan, Incident: &sre.Incident{ID: "o", Order: &sre.Order{By: "ada", Role: sre.Approver, Needs: sre.Approver, At: now}}}
			c.change(&q)
			g := New(policy)
			d := g.Decide(q)
			clearance, _, err := g.Clear(q, &d, nil)
			if c.want != "" {
				if err == nil || !strings.Contains(err.Error(), c.want) || clearance.Valid("o", q.Now) {
					t.Fatalf("%v, want %q", err, c.want)
				}
				return
			}
			permit, failed := g.PermitApply(clearance, q, plan.Steps[0].Actions[0])
			if err != nil || failed != nil || permit.Person() != "ada" || !permit.Allows(sre.ToApply, q.Now) {
				t.Errorf("%v, %v, %+v", err, failed, permit.Record())
			}
		})
	}
}

func TestWhatTakesAPersonIsAlwaysAsked(t *testing.T) {
	target := sre.Target{Lever: "flags", Service: "web", Name: "shop"}
	q := Question{
		Incident: &sre.Incident{}, Levers: []sre.Capability{{Name: "flags", Person: []string{"shop"}}},
		Plan: &sre.Plan{Steps: []sre.Step{{Actions: []sre.Action{{ID: "a", Target: target}}}}},
	}
	if r := weighProtected(DefaultPolicy(), q); r.Allows != sre.Ask || !strings.Contains(r.Text, "shop") {
		t.Errorf("%+v", r)
	}
	q.Plan.Steps[0].Actions[0].Target.Name = "shop/checkout/recs"
	if r := weighProtected(DefaultPolicy(), q); r.Allows != sre.Act {
		t.Errorf("%+v", r)
	}
	if p := mint(q.Plan.Steps[0].Actions[0], sre.ToApply, "d", byPolicy, time.Time{}); p.Person() != "" {
		t.Errorf("the policy is no person: %q", p.Person())
	}
}
