package report

import (
	"fmt"
	"math"
	"time"

	"github.com/sreagent/sreagent/replay"
	"github.com/sreagent/sreagent/replay/backtest"
	"github.com/sreagent/sreagent/replay/bundle"
	"github.com/sreagent/sreagent/replay/scenario"
	"github.com/sreagent/sreagent/sre"
)

var noon = time.Date(2026, 3, 4, 12, 0, 0, 0, time.UTC)

func after(s int) time.Time { return noon.Add(time.Duration(s) * time.Second) }

// shop is the graph of the samples.
func shop() *sre.Graph {
	names := []string{"gateway", "web", "checkout", "cart", "payment", "catalogue", "redis", "postgres", "bank"}
	services := make([]sre.Service, len(names))
	for i, n := range names {
		services[i] = sre.Service{Name: n, Entry: i < 2, External: n == "bank"}
	}
	pairs := [][2]int{{0, 2}, {0, 3}, {0, 5}, {1, 5}, {2, 3}, {2, 4}, {3, 6}, {5, 7}, {4, 8}, {2, 7}, {4, 2}}
	edges := make([]sre.Edge, len(pairs))
	for i, p := range pairs {
		edges[i] = sre.Edge{From: p[0], To: p[1]}
	}
	return sre.NewGraph(services, edges)
}

// wave is a series with a hump between two seconds.
func wave(name string, unit sre.Unit, service, why string, ticks int, base, hump float64, from, to int) Series {
	s := Series{Name: name, Unit: unit, Service: service, Why: why}
	for i := range ticks {
		v := base * (1 + 0.08*math.Sin(float64(i)/3))
		if sec := i * 15; sec >= from && sec < to {
			v += hump * math.Sin(math.Pi*float64(sec-from)/float64(to-from))
		}
		if i > 40 && i < 44 && name == "latency" {
			v = math.NaN()
		}
		s.Times, s.Values = append(s.Times, after(i*15)), append(s.Values, v)
	}
	return s
}

// storm returns the records of one incident that is cured after an approval.
func storm() []sre.Record {
	diagnosis := sre.Diagnosis{
		At: after(375), Onset: after(310), DataQuality: 0.97,
		Hypotheses: []sre.Hypothesis{
			{Service: "payment", Mechanism: sre.RetryStorm, Probability: 0.74, Path: []string{"payment", "checkout", "gateway"},
				Evidence: []sre.Evidence{
					{Signal: "retries", Subject: "checkout->payment", Now: 340, Normal: 4, Unit: sre.PerSecond, Weight: 0.6, Meaning: "Most calls are repeats of calls that failed."},
					{Signal: "latency", Subject: "payment", Now: 1.9, Normal: 0.12, Unit: sre.Seconds, Weight: 0.3},
				},
				Change: &sre.Change{At: after(290), Kind: sre.Deploy, Service: "payment", From: "v41", To: "v42", By: "ci"}},
			{Service: "postgres", Mechanism: sre.SlowDependency, Probability: 0.17},
			{Service: "", Mechanism: sre.Unknown, Probability: 0.09},
		},
		Affected: []string{"checkout", "gateway", "payment"},
		Blast:    sre.BlastRadius{Services: []string{"payment", "checkout", "gateway"}, Entries: []string{"gateway"}, EntryShare: 0.62},
	}
	action := sre.Action{ID: "i1-s0-a0", Kind: sre.RetryBudget, Target: sre.Target{Lever: "mesh", Service: "checkout", Callee: "payment"}, Params: sre.Params{"ratio": 0.1, "burst": 10}, TTL: 2 * time.Minute}
	plan := &sre.Plan{
		Runbook: "retry-storm", Version: "sha256:0f3a9b1c22d4e5f60718", Risk: sre.MediumRisk, Cause: "payment", Reason: "Repeats keep payment busy with work that nobody waits for.",
		Steps: []sre.Step{
			{Name: "clamp retries", Actions: []sre.Action{action}, Verify: sre.Check{Expr: `error_ratio("gateway") < 0.02`, Within: 3 * time.Minute, HeldFor: time.Minute}, Lease: 30 * time.Minute, OnFail: sre.NextStep, Reversible: true},
			{Name: "shed", Actions: []sre.Action{{Kind: sre.Shed, Target: sre.Target{Lever: "mesh", Service: "gateway"}, Params: sre.Params{"low": 200.0}}}, Verify: sre.Check{Expr: `queue("payment") < 50`, Within: 3 * time.Minute}, Lease: 30 * time.Minute},
		},
		Rejected: []sre.Rejection{{Runbook: "rollback", Reason: "The change is one minute older than the onset of another sign."}, {Runbook: "overload", Reason: "Traffic from outside is normal."}},
	}
	inc := func(s sre.State, sec int) *sre.Incident {
		i := &sre.Incident{ID: "inc-1", State: s, Severity: sre.Critical, OpenedAt: after(330), UpdatedAt: after(sec), Diagnosis: diagnosis, Confidence: sre.Confidence{P: 0.74, Lower: 0.61}}
		if sec >= 375 {
			i.Plan = plan
		}
		if s == sre.Resolved || s == sre.Lifting || s == sre.Closed {
			i.Outcome = sre.Improved
		}
		return i
	}
	decision := func(id string, sec int, stance sre.Stance, reasons ...sre.Reason) *sre.Decision {
		return &sre.Decision{ID: id, Incident: "inc-1", At: after(sec), ValidUntil: after(sec + 45), Stance: stance, Runbook: "retry-storm",
			Confidence: sre.Confidence{P: 0.74, Lower: 0.61, Basis: "7 of 8 similar cases, data 97 % fresh"}, Reasons: reasons, Blast: diagnosis.Blast}
	}
	good := sre.Reason{Guard: "freshness", Allows: sre.Act, Text: "All 12 readings are younger than 30 s."}
	ask := sre.Reason{Guard: "confidence", Allows: sre.Ask, Text: "The lower bound 0.61 is below 0.80, which medium risk needs."}
	intent := func(sec int, purpose sre.Purpose, decision string) *sre.IntentRecord {
		return &sre.IntentRecord{Action: action, Permit: sre.Permit{ID: "p", Action: action.ID, Decision: decision, Purpose: purpose, By: "mira"}, Before: sre.Params{"ratio": 1}, Expires: after(sec + 120)}
	}
	result := func(purpose sre.Purpose, phase sre.Phase) *sre.ResultRecord {
		return &sre.ResultRecord{Action: action.ID, Purpose: purpose, Phase: phase}
	}
	events := []struct {
		sec int
		r   sre.Record
	}{
		{0, sre.Record{Kind: sre.RecordStart, Start: &sre.StartRecord{Version: "test"}}},
		{330, sre.Record{Kind: sre.RecordIncident, Incident: inc(sre.Suspected, 330)}},
		{360, sre.Record{Kind: sre.RecordIncident, Incident: inc(sre.Diagnosed, 360)}},
		{360, sre.Record{Kind: sre.RecordDecision, Decision: decision("d0", 360, sre.Watch, good, sre.Reason{Guard: "patience", Allows: sre.Watch, Text: "The sign is 30 s old, wanted are 45 s."})}},
		{375, sre.Record{Kind: sre.RecordIncident, Incident: inc(sre.Planned, 375)}},
		{375, sre.Record{Kind: sre.RecordDecision, Decision: decision("d1", 375, sre.Ask, good, ask)}},
		{375, sre.Record{Kind: sre.RecordIncident, Incident: inc(sre.AwaitingApproval, 375)}},
		{375, sre.Record{Kind: sre.RecordNotice, Notice: &sre.Notice{Incident: "inc-1"}}},
		{465, sre.Record{Kind: sre.RecordApproval, Approval: &sre.Approval{Decision: "d1", Response: sre.Approved, By: "mira", At: after(460), Comment: "go on"}}},
		{465, sre.Record{Kind: sre.RecordDecision, Decision: decision("d2", 465, sre.Act, good, sre.Reason{Guard: "approval", Allows: sre.Act, Text: "mira approved."})}},
		{465, sre.Record{Kind: sre.RecordIncident, Incident: inc(sre.Acting, 465)}},
		{465, sre.Record{Kind: sre.RecordIntent, Intent: intent(465, sre.ToApply, "d2")}},
		{465, sre.Record{Kind: sre.RecordResult, Result: result(sre.ToApply, sre.InEffect)}},
		{480, sre.Record{Kind: sre.RecordIncident, Incident: inc(sre.Verifying, 480)}},
		{600, sre.Record{Kind: sre.RecordIncident, Incident: inc(sre.Resolved, 600)}},
		{840, sre.Record{Kind: sre.RecordIncident, Incident: inc(sre.Lifting, 840)}},
		{840, sre.Record{Kind: sre.RecordIntent, Intent: intent(840, sre.ToRevert, "d2")}},
		{840, sre.Record{Kind: sre.RecordResult, Result: result(sre.ToRevert, sre.Undone)}},
		{960, sre.Record{Kind: sre.RecordIncident, Incident: inc(sre.Closed, 960)}},
	}
	out := make([]sre.Record, len(events))
	for i, e := range events {
		out[i] = e.r
		out[i].Seq, out[i].At = uint64(i), after(e.sec)
		if e.r.Kind != sre.RecordStart {
			out[i].IncidentID = "inc-1"
		}
	}
	return out
}

func sampleReplay() ReplayReport {
	line := &replay.Timeline{Start: noon, End: after(1200), Interval: 15 * time.Second, Ticks: 81, Records: storm()}
	return ReplayReport{
		Incident: bundle.Incident{
			ID: "shop-retry-storm", Title: "Payment slows down and its callers repeat", Source: "shop", Licence: "Apache-2.0", Notes: "Recorded in a test system.",
			Alerts: []bundle.Alert{{Service: "gateway", Signal: "errors", At: after(540)}},
			Truth: bundle.Truth{Faults: []bundle.Fault{{Services: []string{"payment"}, Mechanism: sre.RetryStorm, Fault: "payment answers 15 times slower",
				InjectedAt: after(300), EndsAt: after(700), Remediation: "clamp the retries of checkout"}}},
		},
		Timeline: line, Graph: shop(),
		Series: []Series{
			wave("traffic", sre.PerSecond, "gateway", "entry service", 81, 420, 90, 310, 600),
			wave("errors", sre.Ratio, "gateway", "entry service", 81, 0.002, 0.31, 310, 600),
			wave("latency", sre.Seconds, "gateway", "entry service", 81, 0.14, 1.6, 310, 600),
			wave("retries", sre.PerSecond, "checkout->payment", "suspect, 74 %", 81, 4, 336, 310, 560),
			wave("latency", sre.Seconds, "payment", "suspect, 74 %", 81, 0.12, 1.8, 300, 590),
		},
		Changes: []sre.Change{{ID: "c1", At: after(290), Kind: sre.Deploy, Service: "payment", From: "v41", To: "v42", By: "ci"}},
		Compared: &replay.Comparison{Recorded: 3, Replayed: 3, Same: 1,
			Missing: []replay.Digest{{At: after(360), Cause: "payment", Mechanism: sre.RetryStorm, Verdict: sre.Watch}},
			Extra:   []replay.Digest{{At: after(465), Cause: "payment", Mechanism: sre.RetryStorm, Verdict: sre.Act, Runbook: "retry-storm"}},
			Changed: []replay.Changed{{Recorded: replay.Digest{At: after(375), Verdict: sre.Act}, What: []string{"verdict was act, is ask"},
				Replayed: replay.Digest{At: after(375), Cause: "payment", Verdict: sre.Ask, Runbook: "retry-storm", Actions: []replay.Planned{{Kind: sre.RetryBudget, Target: "checkout->payment", Params: sre.Params{"ratio": 0.1}}}}}},
		},
	}
}

func sampleScenario() ScenarioReport {
	arm := func(agent string, cured bool) *scenario.Result {
		r := &scenario.Result{
			Scenario: "retry-storm-two-hops", Agent: agent, GoodputBefore: 1, GoodputMin: 0.12, GoodputAfter: 0.18, Cascade: true, ServicesAffected: 4, Seed: 7, Start: noon, Graph: shop(),
			Marks: []scenario.Mark{{At: after(300), Text: "slow payment by 15", Ends: after(420)}, {At: after(460), Text: "mira approves"}},
		}
		for i := range 81 {
			m := scenario.Moment{At: after(i * 15), Goodput: 1, Offered: 400, Work: 1.4, Queue: 2, Worst: "payment"}
			if sec := i * 15; sec > 300 {
				depth := min(1, float64(sec-300)/200)
				if cured && sec > 465 {
					depth = max(0, 0.8-float64(sec-465)/200)
				}
				m.Goodput, m.Work, m.Queue = 1-0.88*depth, 1.4+2.6*depth, 2+480*depth
			}
			r.Story = append(r.Story, m)
		}
		return r
	}
	off, on := arm("off", false), arm("on", true)
	sixty := 45.0
	two := 185.0
	on.GoodputMin, on.GoodputAfter, on.Recovered, on.RecoveredAfterSeconds, on.DetectedAfterSeconds = 0.29, 1, true, &two, &sixty
	on.Records = storm()
	on.Actions = []scenario.Moved{{At: after(465), Kind: sre.RetryBudget, Target: "mesh/checkout->payment", Purpose: sre.ToApply, Phase: sre.InEffect}}
	off.Failures = []string{"line 14: expected recovered, got a goodput of 0.18"}
	return ScenarioReport{Title: "A slow callee two hops down turns repeats into an outage that outlives its cause.", Text: "topology shop\nat 5m slow payment 15x for 2m\nexpect on recovered within 10m\n", On: on, Off: off, Series: sampleReplay().Series[:3]}
}

func sampleBacktest(perSource int) (*backtest.Result, *backtest.Comparison) {
	r := &backtest.Result{Summary: map[string]backtest.Summary{}, Config: "sha256:9d1f03aa77cc2211"}
	for si, source := range []string{"online-boutique", "petshop", "sockshop"} {
		found := 0
		for i := range perSource {
			at := after(si*86400 + i*3600)
			delay := float64(30 + 47*i%400)
			seen := at.Add(time.Duration(delay) * time.Second)
			lead := 120 - delay
			f := backtest.Fault{
				Services: []string{"checkout"}, Fault: "network delay", InjectedAt: at, OracleRank: 1 + i%3, OwnRank: 1 + i%4, CandidateCount: 12,
				OracleRanking: []backtest.Suspect{{Service: "checkout", Probability: 0.62}, {Service: "payment", Probability: 0.2}, {Service: "cart", Probability: 0.1}},
			}
			if i%5 != 4 {
				found++
				f.DetectedAt, f.DelaySeconds, f.LeadSeconds = &seen, &delay, &lead
				f.Confidence = &backtest.Confidence{P: 0.55, Lower: 0.4}
				f.Ranking = f.OracleRanking
				for k := range 4 {
					f.Decisions = append(f.Decisions, backtest.Decision{At: seen.Add(time.Duration(k) * time.Minute), Incident: "i", Verdict: []sre.Stance{sre.Watch, sre.Ask, sre.Act}[k%3], Runbook: "slow-dependency",
						Confidence: backtest.Confidence{P: 0.55, Lower: 0.4}, Actions: []backtest.Action{{Kind: sre.Timeout, Target: "mesh/gateway->checkout", Params: sre.Params{"seconds": 0.5}}},
						Reasons: []string{"confidence: 0.40 is below 0.60", "freshness: all readings are fresh", "blast radius: 3 of 12 services"}})
				}
			}
			b := backtest.Bundle{ID: fmt.Sprintf("%s-%02d", source, i), Source: source, FaultFreeSeconds: 7200, FalseAlarms: i % 2, TimeInAlarmRatio: 0.013, RecordingSeconds: 9000, Faults: []backtest.Fault{f}}
			if i%2 == 1 {
				b.FalseAlarmTargets = []backtest.Alarm{{At: at.Add(-time.Hour), Service: "cart"}}
			}
			if i == 3 {
				b.WrongActions = 1
				b.Faults[0].WrongActions = []string{"timeout on gateway->cart: neither cause nor caller of it"}
			}
			r.Bundles = append(r.Bundles, b)
		}
		share := backtest.Share{Value: 0.607, Low: 0.47, High: 0.73, N: perSource}
		ranks := backtest.Ranks{AC1: share, AC3: share, AC5: share, Avg5: share}
		cal := backtest.Calibration{N: 24 + 90*si, Brier: 0.19, BrierSkill: 0.21, ECE: backtest.Share{Value: 0.09, Low: 0.05, High: 0.19, N: 24}, AURC: 0.22, Noise: si == 0}
		for k := range 10 {
			cal.Bins = append(cal.Bins, backtest.Bin{N: 2 + k%3 + si*8, Predicted: 0.08 + 0.09*float64(k), Observed: clamp(0.02 + 0.1*float64(k) + 0.1*math.Sin(float64(k*3)))})
			cal.RiskCoverage = append(cal.RiskCoverage, backtest.RiskCoverage{Coverage: float64(k+1) / 10, Risk: 0.04 * float64(k)})
		}
		r.Summary[source] = backtest.Summary{Bundles: perSource, Faults: perSource, Detected: backtest.Share{Value: float64(found) / float64(max(perSource, 1)), Low: 0.6, High: 0.9, N: perSource},
			DelaySeconds: backtest.Spread{N: found, Median: 124, P25: 61, P75: 240}, LeadSeconds: backtest.Spread{N: found, Median: -12, P25: -60, P75: 40},
			Oracle: ranks, EndToEnd: ranks, FalseAlarms: 3, FalseAlarmsPerDay: 2.4, TimeInAlarmRatio: 0.013, WrongActions: 1, Calibration: cal}
	}
	return r, &backtest.Comparison{A: "sha256:5511", B: "sha256:9d1f", Equal: perSource,
		Summary:     []backtest.Delta{{Source: "petshop", Figure: "false_alarms_per_day", A: 2.1, B: 2.4}},
		Differences: []backtest.Difference{{Bundle: "petshop-03", Fault: "checkout", At: after(400), About: backtest.AboutDecision, Change: backtest.Changed, A: "ask slow-dependency", B: "act slow-dependency"}, {Bundle: "sockshop-01", About: backtest.AboutBundle, Change: backtest.Dropped}}}
}
