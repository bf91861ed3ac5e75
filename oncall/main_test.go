package oncall

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/sreagent/sreagent/sre"
)

var rewrite = flag.Bool("rewrite", false, "write the golden files anew")

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// noon is the instant of all tests.
var noon = time.Date(2026, 3, 14, 12, 0, 0, 0, time.UTC)

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *rewrite {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(want, got) {
		t.Errorf("%s differs (-want +got), -rewrite accepts it:\n%s", path, cmp.Diff(string(want), string(got)))
	}
}

// storm is an incident that asks: a retry storm at checkout.
func storm() sre.Incident {
	act := sre.Action{
		ID: "inc-7/0/0", Kind: sre.RetryBudget, Target: sre.Target{Lever: "guard", Service: "web", Callee: "checkout"},
		Params: sre.Params{"ratio": 0.1}, TTL: time.Minute,
	}
	shed := sre.Action{
		ID: "inc-7/1/0", Kind: sre.Shed, Target: sre.Target{Lever: "guard", Service: "checkout"},
		Params: sre.Params{"rps": 120.0, "low": 0.0}, TTL: time.Minute,
	}
	blast := sre.BlastRadius{Services: []string{"checkout", "mobile-gateway", "web"}, Entries: []string{"mobile-gateway", "web"}, EntryShare: 0.64}
	return sre.Incident{
		ID: "inc-7", Fingerprint: "checkout/retry_storm", State: sre.AwaitingApproval, Severity: sre.Critical,
		OpenedAt: noon.Add(-4 * time.Minute), UpdatedAt: noon.Add(-time.Minute), StateSince: noon.Add(-time.Minute), LastSeen: noon,
		Confidence: sre.Confidence{P: 0.81, Lower: 0.62, Basis: "5 of 6 similar, data 92% fresh"},
		Diagnosis: sre.Diagnosis{
			At: noon, Onset: noon.Add(-5 * time.Minute),
			Hypotheses: []sre.Hypothesis{
				{Service: "checkout", Mechanism: sre.RetryStorm, Probability: 0.7, Path: []string{"checkout", "web"}, Evidence: []sre.Evidence{
					{Signal: "retries", Subject: "web->checkout", Now: 212.4, Normal: 3, Unit: sre.PerSecond, Weight: 0.5, Meaning: "Seven in ten calls are repeats, so the load feeds itself."},
					{Signal: "errors", Subject: "checkout", Now: 0.38, Normal: 0.002, Unit: sre.Ratio, Weight: 0.3},
					{Signal: "latency_p99", Subject: "checkout", Now: 2.4, Normal: 0.18, Unit: sre.Seconds, Weight: 0.2},
				}},
				{Service: "payments", Mechanism: sre.SlowDependency, Probability: 0.2},
				{Mechanism: sre.Unknown, Probability: 0.1},
			},
			Affected: []string{"checkout", "web"}, Blast: blast, DataQuality: 0.92,
		},
		Plan: &sre.Plan{
			Runbook: "retry-storm", Risk: sre.MediumRisk, Cause: "checkout", Reason: "retries are most of the load",
			Steps: []sre.Step{
				{Name: "clamp retries", Actions: []sre.Action{act}, Verify: sre.Check{Expr: "retries('checkout') < 0.2 * traffic('checkout')"}, Lease: 10 * time.Minute, Reversible: true, OnFail: sre.NextStep},
				{Name: "cap the entry", Actions: []sre.Action{shed}, Verify: sre.Check{Expr: "errors('checkout') < 0.02"}, Lease: 10 * time.Minute, Reversible: true},
			},
			Rejected: []sre.Rejection{{Runbook: "rollback", Reason: "no change of checkout within 6h"}},
		},
		Decision: &sre.Decision{
			ID: "inc-7/d2", Incident: "inc-7", At: noon.Add(-time.Minute), ValidUntil: noon.Add(time.Minute), Stance: sre.Ask, Runbook: "retry-storm",
			Confidence: sre.Confidence{P: 0.81, Lower: 0.62, Basis: "5 of 6 similar, data 92% fresh"},
			Reasons: []sre.Reason{
				{Guard: "confidence", Allows: sre.Ask, Text: "62% is below the 85% that medium risk needs to act alone"},
				{Guard: "blast_radius", Allows: sre.Act, Text: "3 of 12 services, at most 4"},
			},
			Blast: blast, ExpiresAt: noon.Add(4 * time.Minute),
		},
		Mitigations: []sre.Mitigation{{Action: act, Before: sre.Params{"ratio": 3.0}}},
	}
}

// over is the same incident after it was answered, cured and closed.
func over() sre.Incident {
	inc := storm()
	inc.State, inc.StateSince, inc.ClosedAt, inc.Outcome = sre.Closed, noon.Add(-10*time.Second), noon.Add(-10*time.Second), sre.Improved
	inc.Approval = &sre.Approval{Decision: "inc-7/d2", Response: sre.Approved, By: "ada", Role: sre.Approver, At: noon.Add(-40 * time.Second), Comment: "go"}
	inc.Mitigations[0].Phase = sre.Undone
	inc.Diagnosis.Hypotheses[0].Change = &sre.Change{Kind: sre.Deploy, Service: "checkout", From: "v41", To: "v42", By: "ci", At: noon.Add(-20 * time.Minute)}
	return inc
}

// trail is what was recorded about it.
func trail() []sre.Record {
	inc := over()
	at := func(s int) time.Time { return noon.Add(time.Duration(s-240) * time.Second) }
	opened := storm()
	opened.State = sre.Suspected
	return []sre.Record{
		{Seq: 3, At: at(0), Kind: sre.RecordIncident, IncidentID: inc.ID, Incident: &opened, Change: "open"},
		{Seq: 4, At: at(180), Kind: sre.RecordDecision, IncidentID: inc.ID, Decision: inc.Decision},
		{Seq: 5, At: at(181), Kind: sre.RecordNotice, IncidentID: inc.ID, Notice: &sre.Notice{Incident: inc.ID, Title: "retry storm at checkout: may I act?"}},
		{Seq: 6, At: at(200), Kind: sre.RecordApproval, IncidentID: inc.ID, Approval: inc.Approval},
		{Seq: 7, At: at(200), Kind: sre.RecordIntent, IncidentID: inc.ID, Intent: &sre.IntentRecord{Action: inc.Mitigations[0].Action, Permit: sre.Permit{Purpose: sre.ToApply, By: "ada"}}},
		{Seq: 8, At: at(201), Kind: sre.RecordResult, IncidentID: inc.ID, Result: &sre.ResultRecord{Action: "inc-7/0/0", Purpose: sre.ToApply, Phase: sre.InEffect, Probed: true}},
		{Seq: 9, At: at(220), Kind: sre.RecordOperator, IncidentID: inc.ID, Operator: &sre.OperatorRecord{Command: sre.InputUndo, By: "bob", Role: sre.Operator, Reason: "drill"}},
		{Seq: 10, At: at(229), Kind: sre.RecordOutcome, IncidentID: inc.ID, Outcome: &sre.OutcomeRecord{Outcome: sre.Improved}},
		{Seq: 11, At: at(230), Kind: sre.RecordIncident, IncidentID: inc.ID, Incident: &inc, Change: "close"},
	}
}

// view is a picture with one open question, one quiet incident and one that is
// closed.
func view() *sre.View {
	closed := over()
	closed.ID = "inc-5"
	quiet := sre.Incident{ID: "inc-6", State: sre.Suspected, Severity: sre.Warning, OpenedAt: noon.Add(-90 * time.Second), StateSince: noon.Add(-90 * time.Second),
		Diagnosis: sre.Diagnosis{Hypotheses: []sre.Hypothesis{{Mechanism: sre.Unknown, Probability: 1}}}}
	return &sre.View{
		At: noon, Tick: 42, Epoch: 3, Interval: 15 * time.Second, Mode: sre.Act, Ready: true, WarmUp: 1,
		Source:    sre.SourceHealth{Up: true, Queries: 9},
		Incidents: []sre.Incident{storm(), quiet, closed},
		Switches: []sre.Switch{{
			Name: "shop/checkout/recs", Scope: "feature", Service: "shop", Level: 1, Role: sre.Operator, Duration: 10 * time.Minute,
			Targets: []sre.Target{{Lever: "flags", Service: "shop", Name: "shop/checkout/recs"}},
		}},
		Services: 12, Edges: []sre.ViewEdge{{From: "web", To: "checkout"}, {From: "checkout", To: "payments"}},
		Explain: []sre.Explained{{At: noon, Incident: "inc-7", Stance: sre.Ask, Summary: "waiting for an answer", Reasons: []sre.Reason{{Guard: "confidence", Allows: sre.Ask, Text: "62%"}}}},
	}
}
