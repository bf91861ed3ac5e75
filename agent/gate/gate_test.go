package gate

import (
	"errors"
	"math"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/sreagent/sreagent/sre"
)

var now = time.Unix(100_000, 0)

func openPolicy() Policy {
	p := DefaultPolicy()
	p.Mode, p.InForce, p.BlastRadius = sre.Act, sre.Limit{Percent: 100, Number: 10}, sre.Limit{Percent: 100, Number: 10}
	return p
}

func easyQuestion() Question {
	a := sre.Action{ID: "i.0.0.0", Kind: sre.Shed, Target: sre.Target{Lever: "guard", Service: "web"}}
	return Question{
		Now: now, SourceUp: true, WarmUp: 1, Services: 10,
		Incident: &sre.Incident{
			ID: "i", Confidence: sre.Confidence{P: 0.9, Lower: 0.85},
			Diagnosis: sre.Diagnosis{At: now, DataQuality: 1, Blast: sre.BlastRadius{Services: []string{"web"}, EntryShare: 0.1}},
		},
		Plan: &sre.Plan{Runbook: "r", Risk: sre.LowRisk, Steps: []sre.Step{{Name: "s", Reversible: true, Actions: []sre.Action{a}}}},
	}
}

func TestEachGuardCanStopIt(t *testing.T) {
	cases := []struct {
		guard string
		spoil func(*Policy, *Question)
		want  sre.Stance
	}{
		{"mode", func(p *Policy, _ *Question) { p.Mode = sre.Watch }, sre.Watch},
		{"mode", func(p *Policy, _ *Question) { p.Mode = sre.Ask }, sre.Ask},
		{"source", func(_ *Policy, q *Question) { q.SourceUp = false }, sre.Watch},
		{"warm_up", func(_ *Policy, q *Question) { q.WarmUp = 0.4 }, sre.Ask},
		{"freshness", func(_ *Policy, q *Question) { q.Incident.Diagnosis.At = now.Add(-time.Hour) }, sre.Watch},
		{"freshness", func(_ *Policy, q *Question) { q.Incident.Diagnosis.At = now.Add(time.Hour) }, sre.Watch},
		{"data_quality", func(_ *Policy, q *Question) { q.Incident.Diagnosis.DataQuality = 0.2 }, sre.Watch},
		{"pause", func(_ *Policy, q *Question) { q.Pauses = []sre.Pause{{By: "bob"}} }, sre.Watch},
		{"plan", func(_ *Policy, q *Question) { q.Plan.Steps[0].Reversible = false }, sre.Ask},
		{"plan", func(_ *Policy, q *Question) { q.Plan = nil }, sre.Watch},
		{"precondition", func(_ *Policy, q *Question) { q.Blocked = "step s: no data" }, sre.Watch},
		{"lock", func(_ *Policy, q *Question) {
			q.Held = []Held{{Incident: "other", Kind: sre.Shed, Target: q.Plan.Steps[0].Actions[0].Target}}
		}, sre.Watch},
		{"confidence", func(_ *Policy, q *Question) { q.Incident.Confidence.Lower = 0.5 }, sre.Ask},
		{"confidence", func(_ *Policy, q *Question) { q.Incident.Confidence.Lower = 0.01 }, sre.Watch},
		{"confidence", func(_ *Policy, q *Question) { q.Plan.Risk, q.Incident.Confidence.Lower = sre.MediumRisk, 0.7 }, sre.Ask},
		{"risk", func(_ *Policy, q *Question) { q.Plan.Risk = sre.HighRisk }, sre.Ask},
		{"protected", func(p *Policy, _ *Question) { p.Protected = []string{"web"} }, sre.Ask},
		{"blast_radius", func(p *Policy, q *Question) { p.BlastRadius.Percent, q.Incident.Diagnosis.Blast.EntryShare = 50, 0.6 }, sre.Ask},
		{"blast_radius", func(p *Policy, _ *Question) { p.BlastRadius.Number = 0 }, sre.Ask},
		{"blast_radius", func(p *Policy, q *Question) { q.Plan.Anywhere, p.BlastRadius.Number = true, 9 }, sre.Ask},
		{"blast_radius", func(p *Policy, q *Question) { q.Plan.Anywhere, p.BlastRadius.Percent = true, 99 }, sre.Ask},
		{"in_force", func(p *Policy, _ *Question) { p.InForce = sre.Limit{Percent: 100, Number: 0} }, sre.Ask},
		{"rate", func(p *Policy, q *Question) { p.ActionsPerHour, q.LastHour = 5, 5 }, sre.Ask},
		{"warm_up", func(_ *Policy, q *Question) { q.WarmUp = math.NaN() }, sre.Ask},
		{"blast_radius", func(_ *Policy, q *Question) { q.Incident.Diagnosis.Blast.EntryShare = math.NaN() }, sre.Ask},
		{"confidence", func(_ *Policy, q *Question) { q.Incident.Confidence.Lower = math.NaN() }, sre.Watch},
		{"data_quality", func(_ *Policy, q *Question) { q.Incident.Diagnosis.DataQuality = math.NaN() }, sre.Watch},
		{"in_force", func(p *Policy, q *Question) { // listed for the question that people see, not started
			p.InForce = sre.Limit{Percent: 100, Number: 0}
			q.Incident.Mitigations = []sre.Mitigation{{Action: q.Plan.Steps[0].Actions[0]}}
		}, sre.Ask},
		{"arbitration", func(_ *Policy, q *Question) { q.Arbitration = sre.Reason{Allows: sre.Watch, Text: "theirs"} }, sre.Watch},
		{"cause_set", func(_ *Policy, q *Question) {
			q.Incident.Confidence.Suspects = []sre.Suspect{{Possible: true}}
			q.Plan.Steps[0].Actions[0].Kind = sre.Scale
		}, sre.Ask},
		{"abstention", func(_ *Policy, q *Question) { q.Incident.Confidence.Abstain = "nothing like it was ever seen" }, sre.Ask},
		{"recurrence", func(_ *Policy, q *Question) { q.Incident.Recurrences = 2 }, sre.Ask},
	}
	if d := New(openPolicy()).Decide(easyQuestion()); d.Stance != sre.Act {
		t.Fatalf("the easy question is answered with %s: %+v", d.Stance, d.Reasons)
	}
	for _, c := range cases {
		t.Run(c.guard+" "+string(c.want), func(t *testing.T) {
			p, q := openPolicy(), easyQuestion()
			c.spoil(&p, &q)
			d := New(p).Decide(q)
			if d.Stance != c.want {
				t.Errorf("stance %s, want %s", d.Stance, c.want)
			}
			for _, r := range d.Reasons {
				if r.Guard == c.guard && r.Allows != c.want {
					t.Errorf("guard %s allows %s: %s", r.Guard, r.Allows, r.Text)
				}
				if r.Text == "" {
					t.Errorf("guard %s says nothing", r.Guard)
				}
			}
		})
	}
}

func TestApprovalOpensOnlyWhatMayBeAsked(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p, q := openPolicy(), easyQuestion()
		p.Mode = rapid.SampledFrom([]sre.Stance{"", "yolo", sre.Watch, sre.Ask, sre.Act}).Draw(t, "mode")
		q.SourceUp = rapid.Bool().Draw(t, "source")
		q.Incident.Confidence.Lower = rapid.Float64Range(0, 1).Draw(t, "lower")
		q.Incident.Diagnosis.At = now.Add(-time.Duration(rapid.IntRange(0, 120).Draw(t, "age")) * time.Second)
		q.Plan.Risk = rapid.SampledFrom([]sre.RiskClass{sre.LowRisk, sre.MediumRisk, sre.HighRisk}).Draw(t, "risk")
		if rapid.Bool().Draw(t, "paused") {
			q.Pauses = []sre.Pause{{Name: "x", By: "bob"}}
		}
		if rapid.Bool().Draw(t, "protected") {
			p.Protected = []string{"web"}
		}
		g := New(p)
		d := g.Decide(q)
		approval := rapid.SampledFrom([]*sre.Approval{
			nil,
			{Decision: d.ID, Response: sre.Approved, By: "ann", Role: sre.Approver, At: now.Add(-time.Minute)},
			{Decision: d.ID, Response: sre.Approved, By: "ann", Role: sre.Approver, At: now.Add(-time.Hour)},
			{Decision: d.ID, Response: sre.Approved, By: "eve", Role: sre.Viewer},
			{Decision: "other", Response: sre.Approved, By: "ann", Role: sre.Approver},
			{Decision: d.ID, Response: sre.Rejected, By: "ann", Role: sre.Approver},
			{Decision: d.ID, Response: sre.Expired},
		}).Draw(t, "approval")
		yes := approval != nil && approval.Response == sre.Approved && approval.Decision == d.ID && approval.Role == sre.Approver &&
			now.Sub(approval.At) < time.Hour
		c, _, err := g.Clear(q, &d, approval)
		want := d.Stance == sre.Act || d.Stance == sre.Ask && yes
		if (err == nil) != want || c.Valid("i", now) != want {
			t.Fatalf("stance %s, approval %+v: %v", d.Stance, approval, err)
		}
		if want && yes != (c.By() == "ann") {
			t.Fatalf("cleared by %s with approval %+v", c.By(), approval)
		}
		if want && (p.Mode.Rank() == sre.Watch.Rank() || !q.SourceUp || len(q.Pauses) > 0) {
			t.Fatal("cleared against a guard that no human may overrule")
		}
	})
}

// What policy allows by itself is not put down to a human whose yes has grown old.
func TestAnOldApprovalIsNobodysClearance(t *testing.T) {
	g, q := New(openPolicy()), easyQuestion()
	d := g.Decide(q)
	if d.Stance != sre.Act {
		t.Fatalf("stance %s: the test shows nothing", d.Stance)
	}
	for age, by := range map[time.Duration]string{time.Minute: "ann", time.Hour: "policy"} {
		c, _, err := g.Clear(q, &d, &sre.Approval{Decision: d.ID, Response: sre.Approved, By: "ann", Role: sre.Approver, At: now.Add(-age)})
		if err != nil || c.By() != by {
			t.Errorf("an approval of %s: cleared by %q, want %q, %v", age, c.By(), by, err)
		}
	}
}

func TestAPermitIsForOneActionOfThePlan(t *testing.T) {
	g, q := New(openPolicy()), easyQuestion()
	d := g.Decide(q)
	c, _, err := g.Clear(q, &d, nil)
	if err != nil {
		t.Fatal(err)
	}
	a := q.Plan.Steps[0].Actions[0]
	if _, err := g.PermitApply(Clearance{}, q, a); !errors.Is(err, ErrNotAllowed) {
		t.Errorf("a zero clearance permits: %v", err)
	}
	stranger := a
	stranger.ID = "i.0.0.7"
	if _, err := g.PermitApply(c, q, stranger); !errors.Is(err, ErrNotAllowed) {
		t.Errorf("an action outside the plan is permitted: %v", err)
	}
	forged := a
	forged.Params = sre.Params{"rps": 0.0}
	permit, err := g.PermitApply(c, q, forged)
	if err != nil {
		t.Fatal(err)
	}
	if permit.Action().Params != nil {
		t.Errorf("other settings than the plan's are permitted: %v", permit.Action().Params)
	}
	if !permit.Allows(sre.ToApply, now) || permit.Allows(sre.ToRevert, now) || permit.Allows(sre.ToApply, now.Add(time.Hour)) {
		t.Errorf("permit %+v allows the wrong things", permit.Record())
	}
	if (Permit{}).Allows(sre.ToApply, now) {
		t.Error("the zero permit permits")
	}
}

func TestUndoIsNeverRefused(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := Policy{Mode: rapid.SampledFrom([]sre.Stance{sre.Watch, sre.Ask, sre.Act}).Draw(t, "mode")}
		m := sre.Mitigation{
			Action: sre.Action{ID: "a"},
			Phase:  rapid.SampledFrom([]sre.Phase{sre.Intended, sre.InEffect, sre.Undoing, sre.Lost}).Draw(t, "phase"),
		}
		if !New(p).PermitRevert(now, m, "test").Allows(sre.ToRevert, now) {
			t.Fatal("undo was refused")
		}
	})
}

func TestRenewalNeedsEyesAndALease(t *testing.T) {
	g, q := New(openPolicy()), easyQuestion()
	m := sre.Mitigation{Action: sre.Action{ID: "a"}, Phase: sre.InEffect, RenewTill: now.Add(time.Minute)}
	if _, err := g.PermitRenew(q, m); err != nil {
		t.Errorf("a good renewal is refused: %v", err)
	}
	blind := q
	blind.SourceUp = false
	if _, err := g.PermitRenew(blind, m); !errors.Is(err, ErrStale) {
		t.Errorf("renewed while blind: %v", err)
	}
	m.RenewTill = now
	if _, err := g.PermitRenew(q, m); !errors.Is(err, ErrNotAllowed) {
		t.Errorf("renewed past its lease: %v", err)
	}
}

func TestPolicyFaultsNameTheFieldAndWhatIsAllowed(t *testing.T) {
	cases := map[string]func(*Policy){
		"mode":                 func(p *Policy) { p.Mode = "yolo" },
		"thresholds.ask":       func(p *Policy) { p.Thresholds.Ask = 0.7 },
		"thresholds.act_low":   func(p *Policy) { p.Thresholds.ActLow = 0.9 },
		"min_data_quality":     func(p *Policy) { p.MinDataQuality = 2 },
		"evidence_max_age":     func(p *Policy) { p.EvidenceMaxAge = 0 },
		"approval_timeout":     func(p *Policy) { p.ApprovalTimeout = -1 },
		"in_force.percent":     func(p *Policy) { p.InForce.Percent = 101 },
		"in_force.number":      func(p *Policy) { p.InForce.Number = -1 },
		"blast_radius.percent": func(p *Policy) { p.BlastRadius.Percent = -1 },
		"actions_per_hour":     func(p *Policy) { p.ActionsPerHour = -1 },
		"max_recurrences":      func(p *Policy) { p.MaxRecurrences = -1 },
		"protected[0]":         func(p *Policy) { p.Protected = []string{""} },
	}
	if f := DefaultPolicy().Validate(); len(f) != 0 {
		t.Fatalf("the default is faulty: %v", f)
	}
	for path, spoil := range cases {
		p := DefaultPolicy()
		spoil(&p)
		f := p.Validate()
		if len(f) != 1 || f[0].Path != path || f[0].Allowed == "" {
			t.Errorf("%s: %v", path, f)
		}
	}
}
