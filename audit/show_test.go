package audit

import (
	"errors"
	"iter"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sreagent/sreagent/sre"
)

// story has one record of every kind.
func story() []sre.Record {
	at := func(s int) time.Time { return epoch.Add(time.Duration(s) * time.Second) }
	target := sre.Target{Lever: "guard", Service: "checkout"}
	action := sre.Action{ID: "inc-1/0/1", Kind: sre.Shed, Target: target, Params: sre.Params{"rps": 120.0, "normal": 60.0}}
	return []sre.Record{
		{Seq: 0, At: at(0), Kind: sre.RecordStart, Start: &sre.StartRecord{Version: "v1.2.0", Epoch: 7, Config: "sha256:ab12"}},
		{Seq: 1, At: at(10), Kind: sre.RecordSource, Source: &sre.SourceHealth{Err: "connection refused"}},
		{Seq: 2, At: at(20), Kind: sre.RecordSource, Source: &sre.SourceHealth{Up: true, Queries: 12, Failed: []string{"latency", "queue"}}},
		{Seq: 3, At: at(30), Kind: sre.RecordIncident, IncidentID: "inc-1", Change: "diagnose", Incident: &sre.Incident{
			State: sre.Diagnosed, Severity: sre.Critical, Confidence: sre.Confidence{P: 0.91, Lower: 0.84},
			Diagnosis: sre.Diagnosis{Hypotheses: []sre.Hypothesis{{Service: "checkout", Mechanism: sre.RetryStorm, Probability: 0.88}}}}},
		{Seq: 4, At: at(30), Kind: sre.RecordDecision, IncidentID: "inc-1", Decision: &sre.Decision{
			ID: "d1", Stance: sre.Ask, Runbook: "tame-retry-storm", Confidence: sre.Confidence{Lower: 0.84}, ValidUntil: at(90),
			Reasons: []sre.Reason{{Guard: "budget", Allows: sre.Act}, {Guard: "freshness", Allows: sre.Act},
				{Guard: "confidence", Allows: sre.Ask, Text: "0.84 is below 0.90"}}}},
		{Seq: 5, At: at(50), Kind: sre.RecordApproval, IncidentID: "inc-1", Approval: &sre.Approval{Decision: "d1", Response: sre.Approved, By: "ada", Role: sre.Approver, Comment: "go on."}},
		{Seq: 6, At: at(60), Kind: sre.RecordIntent, IncidentID: "inc-1", Intent: &sre.IntentRecord{Action: action, Permit: sre.Permit{Purpose: sre.ToApply, By: "ada"}, Epoch: 7, Expires: at(180), Before: sre.Params{"rps": 500.0}}},
		{Seq: 7, At: at(60), Kind: sre.RecordResult, IncidentID: "inc-1", Result: &sre.ResultRecord{Action: action.ID, Purpose: sre.ToApply, Phase: sre.Intended, Code: sre.CodeUnknown, Err: "deadline exceeded"}},
		{Seq: 8, At: at(70), Kind: sre.RecordResult, IncidentID: "inc-1", Result: &sre.ResultRecord{Action: action.ID, Purpose: sre.ToApply, Phase: sre.InEffect, Probed: true, State: sre.TargetState{Current: sre.Params{"rps": 120.0}}}},
		{Seq: 9, At: at(200), Kind: sre.RecordOutcome, IncidentID: "inc-1", Outcome: &sre.OutcomeRecord{Runbook: "tame-retry-storm", Mechanism: sre.RetryStorm, Service: "checkout", Outcome: sre.Improved, Predicted: 0.84}},
		{Seq: 10, At: at(200), Kind: sre.RecordNotice, IncidentID: "inc-1", Notice: &sre.Notice{Severity: sre.Critical, State: sre.Resolved, Title: "checkout is well again", Resolved: true}},
		{Seq: 11, At: at(210), Kind: sre.RecordOperator, Operator: &sre.OperatorRecord{Command: sre.InputPause, By: "bob", Role: sre.Operator, Reason: "freeze"}},
		{Seq: 12, At: at(220), Kind: sre.RecordStop},
	}
}

func all(recs []sre.Record) iter.Seq2[sre.Record, error] {
	return func(yield func(sre.Record, error) bool) {
		for _, r := range recs {
			if !yield(r, nil) {
				return
			}
		}
	}
}

func show(t *testing.T, recs []sre.Record, o ShowOptions) string {
	t.Helper()
	var b strings.Builder
	if err := Show(&b, all(recs), o); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestShow(t *testing.T) {
	want := `2026-03-01T12:00:00Z  #0      start     -  Agent v1.2.0 took over with epoch 7 and configuration sha256:ab12.
2026-03-01T12:00:10Z  #1      source    -  The sources went down, because: connection refused; the agent only watches.
2026-03-01T12:00:20Z  #2      source    -  The sources answer, but 2 of 12 queries failed: latency, queue.
2026-03-01T12:00:30Z  #3      incident  inc-1  Incident is diagnosed (diagnose): critical retry_storm at checkout, probability 88 %, confidence 91 % (at least 84 %).
2026-03-01T12:00:30Z  #4      decision  inc-1  Decided to ask on runbook tame-retry-storm, confidence at least 84 %; for it: budget, freshness; against it: confidence allows only ask (0.84 is below 0.90); valid until 2026-03-01T12:01:30Z.
2026-03-01T12:00:50Z  #5      approval  inc-1  ada (approver) approved decision d1, because: go on.
2026-03-01T12:01:00Z  #6      intent    inc-1  About to apply shed on guard/checkout normal=60 rps=120, found before: rps=500, to lapse at 2026-03-01T12:03:00Z, permitted by ada, epoch 7, action inc-1/0/1.
2026-03-01T12:01:00Z  #7      result    inc-1  The target of action inc-1/0/1 answered after apply: intended, unknown, because: deadline exceeded.
2026-03-01T12:01:10Z  #8      result    inc-1  The target of action inc-1/0/1 was probed after apply: in_effect, now: rps=120.
2026-03-01T12:03:20Z  #9      outcome   inc-1  Runbook tame-retry-storm against retry_storm at checkout: improved; the chance that it would help was put at 84 %.
2026-03-01T12:03:20Z  #10     notice    inc-1  People were told (critical, resolved): checkout is well again; resolved.
2026-03-01T12:03:30Z  #11     operator  -  bob (operator) gave the command pause, because: freeze.
2026-03-01T12:03:40Z  #12     stop      -  The agent stopped in good order.
`
	if diff := cmp.Diff(want, show(t, story(), ShowOptions{})); diff != "" {
		t.Fatal(diff)
	}
}

func TestStoryHasEveryKind(t *testing.T) {
	for _, kind := range sre.RecordKinds() {
		i := slices.IndexFunc(story(), func(r sre.Record) bool { return r.Kind == kind })
		if i < 0 || strings.Contains(Sentence(story()[i]), "without the content") {
			t.Errorf("kind %s has no sentence of its own", kind)
		}
		if kind != sre.RecordStop && !strings.Contains(Sentence(sre.Record{Kind: kind}), "without the content") {
			t.Errorf("an empty record of kind %s pretends to say something", kind)
		}
	}
}

func TestShowChooses(t *testing.T) {
	count := func(o ShowOptions) int { return strings.Count(show(t, story(), o), "\n") }
	for _, tt := range []struct {
		name string
		opts ShowOptions
		want int
	}{
		{"incident", ShowOptions{Incident: "inc-1"}, 8},
		{"no such incident", ShowOptions{Incident: "inc"}, 0},
		{"kind", ShowOptions{Kind: sre.RecordResult}, 2},
		{"since", ShowOptions{Since: epoch.Add(200 * time.Second)}, 4},
		{"all together", ShowOptions{Incident: "inc-1", Kind: sre.RecordResult, Since: epoch.Add(70 * time.Second)}, 1},
	} {
		if got := count(tt.opts); got != tt.want {
			t.Errorf("%s: %d lines, want %d", tt.name, got, tt.want)
		}
	}
}

func TestShowJSONIsTheTrail(t *testing.T) {
	o := options(t.TempDir())
	trail := open(t, o)
	mustAppend(t, trail, story())
	mustClose(t, trail)
	var b strings.Builder
	if err := Show(&b, ReadDir(o.Dir), ShowOptions{JSON: true}); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(read(t, newSegment(o.Dir, 0).path)), b.String()); diff != "" {
		t.Fatal(diff)
	}
}

func TestShowIsSafeForTerminals(t *testing.T) {
	out := show(t, []sre.Record{{Kind: sre.RecordOperator, IncidentID: "a\x1b[2Jb",
		Operator: &sre.OperatorRecord{By: "eve\x07", Reason: "two\nlines \u202e and more", Command: "pause"}}}, ShowOptions{})
	if strings.Count(out, "\n") != 1 || strings.ContainsAny(out, "\x1b\x07\u202e") {
		t.Fatalf("%q", out)
	}
	if !strings.Contains(out, `a\x1b[2Jb`) || !strings.Contains(out, `two lines \u202e and more`) {
		t.Fatalf("%q", out)
	}
}

func TestShowErrors(t *testing.T) {
	broken := errors.New("broken")
	var b strings.Builder
	err := Show(&b, func(yield func(sre.Record, error) bool) {
		_ = yield(story()[0], nil) && yield(sre.Record{}, broken)
	}, ShowOptions{})
	if !errors.Is(err, broken) || !strings.Contains(b.String(), "took over") {
		t.Fatalf("%v after %q", err, b.String())
	}
	if err := Show(fullDisk{}, all(story()), ShowOptions{}); !errors.Is(err, errFull) {
		t.Fatalf("full disk: %v", err)
	}
}

var errFull = errors.New("no space")

type fullDisk struct{}

func (fullDisk) Write([]byte) (int, error) { return 0, errFull }

func TestSentenceVariants(t *testing.T) {
	for _, tt := range []struct {
		rec  sre.Record
		want string
	}{
		{sre.Record{Kind: sre.RecordStart, Start: &sre.StartRecord{DryRun: true}}, "Agent of unknown version took over with epoch 0 and configuration unknown, in dry run."},
		{sre.Record{Kind: sre.RecordSource, Source: &sre.SourceHealth{Up: true, Queries: 3}}, "The sources answer all 3 queries."},
		{sre.Record{Kind: sre.RecordApproval, Approval: &sre.Approval{Decision: "d", Response: sre.Expired}}, "Nobody answered decision d in time."},
		{sre.Record{Kind: sre.RecordIntent, Intent: &sre.IntentRecord{DryRun: true, Permit: sre.Permit{Purpose: sre.ToRevert}, Action: sre.Action{ID: "a", Kind: sre.Drain}}},
			"Would revert (dry run) drain on /, permitted by nobody, epoch 0, action a."},
		{sre.Record{Kind: sre.RecordIntent, Intent: &sre.IntentRecord{Detail: "kept by x", Permit: sre.Permit{Purpose: sre.ToApply}, Action: sre.Action{ID: "a", Kind: sre.Scale}}},
			"About to apply scale on /, kept by x, permitted by nobody, epoch 0, action a."},
		{sre.Record{Kind: sre.RecordResult, Result: &sre.ResultRecord{Action: "a", Purpose: sre.ToRenew, Phase: sre.Released, State: sre.TargetState{Foreign: true}}},
			"The target of action a answered after renew: released, moved by somebody else."},
		{sre.Record{Kind: sre.RecordNotice, Notice: &sre.Notice{Text: "look", NeedsYou: true}}, "People were told (unrated, no state): look; an answer is wanted."},
		{sre.Record{Kind: sre.RecordDecision, Decision: &sre.Decision{}}, "Decided to watch on no runbook, confidence at least 0 %."},
		{sre.Record{Kind: sre.RecordIncident, Incident: &sre.Incident{Outcome: sre.Improved, Escalation: "undo failed.", Mitigations: []sre.Mitigation{{Phase: sre.InEffect}}}},
			"Incident is in no state: unrated unknown, probability 0 %, confidence 0 % (at least 0 %), 1 mitigations in force, outcome improved, because: undo failed."},
		{sre.Record{Kind: "later"}, `A record of kind "later" without the content that this version knows.`},
	} {
		if got := Sentence(tt.rec); got != tt.want {
			t.Errorf("got  %s\nwant %s", got, tt.want)
		}
	}
}
