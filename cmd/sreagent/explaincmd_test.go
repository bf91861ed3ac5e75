package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"log/slog"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sreagent/sreagent/agent/gate"
	"github.com/sreagent/sreagent/audit"
	"github.com/sreagent/sreagent/oncall"
	"github.com/sreagent/sreagent/replay"
	"github.com/sreagent/sreagent/sre"
)

var rewrite = flag.Bool("rewrite", false, "write the golden files anew")

// lived is one recorded incident as a recording, as the trail of the agent that
// lived through it, and as that agent's API.
type lived struct {
	bundle, trail, url string
	id                 string
	records            []sre.Record
}

func live(t *testing.T) lived {
	t.Helper()
	l := lived{bundle: writeBundle(t, t.TempDir(), "cart"), trail: t.TempDir()}
	b, err := openBundle(l.bundle)
	if err != nil {
		t.Fatal(err)
	}
	cfg, err := rehearsalConfig("")
	if err != nil {
		t.Fatal(err)
	}
	r, err := rehearse(t.Context(), b, cfg, t.TempDir(), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	desk := oncall.NewDesk(oncall.DeskOptions{})
	r.Watch = func(tick replay.Tick) error {
		desk.Publish(tick.View, nil)
		return nil
	}
	line, err := r.Run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := r.close(); err != nil {
		t.Fatal(err)
	}
	l.records, l.id = line.Records, line.Incidents()[0].ID
	trail, err := audit.Open(audit.Options{Dir: l.trail, Now: func() time.Time { return recordedFrom }})
	if err != nil {
		t.Fatal(err)
	}
	if err := trail.Append(t.Context(), l.records); err != nil {
		t.Fatal(err)
	}
	if err := trail.Close(); err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(oncall.NewAPI(desk, oncall.APIOptions{
		AllowAnonymous: true, Records: func(ctx context.Context, id string) ([]sre.Record, error) { return recordsOf(ctx, l.trail, id) },
	}))
	t.Cleanup(server.Close)
	l.url = server.URL
	return l
}

// explainJSON asks for one explanation as a document.
func explainJSON(t *testing.T, args ...string) sre.Explanation {
	t.Helper()
	code, out, errs := cli(t, append([]string{"explain", "-o", "json"}, args...)...)
	var e sre.Explanation
	if err := json.Unmarshal([]byte(out), &e); code != exitOK || err != nil {
		t.Fatalf("%v: exit %d, %v\n%s%s", args, code, err, out, errs)
	}
	return e
}

// TestThreeSourcesExplainTheSame holds the agent, its trail and a recording of
// the same incident to one story.
func TestThreeSourcesExplainTheSame(t *testing.T) {
	l := live(t)
	prefix := l.id[:6]
	bundle := explainJSON(t, "--bundle", l.bundle, prefix)
	trail := explainJSON(t, "--trail", l.trail, prefix)
	daemon := explainJSON(t, "--url", l.url, prefix)
	if bundle.Incident != l.id || !strings.Contains(bundle.Headline, "cart is the") || len(bundle.Evidence) == 0 || len(bundle.Timeline) < 3 {
		t.Errorf("%+v", bundle)
	}
	for name, e := range map[string]sre.Explanation{"trail": trail, "daemon": daemon} {
		for what, pair := range map[string][2]any{
			"time line": {bundle.Timeline, e.Timeline}, "actions": {bundle.Actions, e.Actions},
			"state": {bundle.State, e.State}, "cause": {bundle.Causes[0].Service, e.Causes[0].Service},
		} {
			if diff := cmp.Diff(pair[0], pair[1]); diff != "" {
				t.Errorf("%s, %s (-bundle):\n%s", name, what, diff)
			}
		}
	}
	if notes := strings.Join(trail.Quality.Notes, "; "); !strings.Contains(notes, "read from the trail alone") || !strings.Contains(notes, "the trail verifies") {
		t.Error(notes)
	}
	// And of a quiet minute, before anything happened.
	quiet := recordedFrom.Add(8 * time.Minute).Format(time.RFC3339)
	for _, args := range [][]string{{"--bundle", l.bundle, "--at", quiet}, {"--bundle", l.bundle, "--at", "-12m"}, {"--url", l.url, "--at", quiet}} {
		if e := explainJSON(t, args...); len(e.Incidents) != 0 || !strings.HasPrefix(e.Decision.Summary, "did nothing: ") || e.At.Format(time.RFC3339) != quiet || e.Quality.Services != 2 {
			t.Errorf("%v: %s; %s", args, e.Headline, e.Decision.Summary)
		}
	}
	if e := explainJSON(t, "--trail", l.trail, "--at", quiet); e.Headline != "no incident was open at 05:08:00" {
		t.Error(e.Headline)
	}
	// Without an ID, a recording tells what there was.
	if e := explainJSON(t, "--bundle", l.bundle); len(e.Incidents) == 0 || e.Incidents[0].ID != l.id {
		t.Errorf("%+v", e.Incidents)
	}
	// As it was between its beginning and its end.
	opened := l.at(sre.Suspected)
	for _, args := range [][]string{{"--bundle", l.bundle}, {"--trail", l.trail}, {"--url", l.url}} {
		if e := explainJSON(t, append(args, "--at", opened.Format(time.RFC3339), l.id)...); e.State != sre.Suspected || !e.At.Equal(opened) {
			t.Errorf("%v: %s at %s", args, e.State, e.At)
		}
	}
}

// at is when the incident came into a state.
func (l lived) at(s sre.State) time.Time {
	for _, r := range l.records {
		if r.Incident != nil && r.Incident.ID == l.id && r.Incident.State == s {
			return r.At
		}
	}
	return time.Time{}
}

// written is a trail of a retry storm that was asked about, cured and closed, and
// does not depend on what detectors say.
func written(t *testing.T) string {
	t.Helper()
	at := func(s int) time.Time { return recordedFrom.Add(time.Duration(s) * time.Second) }
	act := sre.Action{ID: "db-1/0/0", Kind: sre.RetryBudget, Target: sre.Target{Lever: "guard", Service: "cart", Callee: "db"}, Params: sre.Params{"ratio": 0.1}}
	inc := sre.Incident{
		ID: "db-1", State: sre.Suspected, Severity: sre.Critical, OpenedAt: at(0), StateSince: at(0),
		Diagnosis: sre.Diagnosis{
			At: at(0), Onset: at(-20), Affected: []string{"cart", "db", "gateway"}, DataQuality: 1,
			Hypotheses: []sre.Hypothesis{
				{Service: "db", Mechanism: sre.RetryStorm, Probability: .72, Path: []string{"db", "cart", "gateway"}, WhatIf: &sre.WhatIf{AsIs: .61, Healed: .98}, Evidence: []sre.Evidence{
					{Signal: "retries", Subject: "cart->db", Now: 212, Normal: 3, Unit: sre.PerSecond, Weight: .6, Meaning: "Seven in ten calls are repeats."},
					{Signal: "latency_p99", Subject: "db", Now: 2.4, Normal: .18, Unit: sre.Seconds, Weight: .4},
				}},
				{Mechanism: sre.Unknown, Probability: .28},
			},
			Blast: sre.BlastRadius{Services: []string{"db", "cart", "gateway"}, Entries: []string{"gateway"}, EntryShare: .62, Basis: sre.ByGraph, Impacts: []sre.Impact{{Service: "gateway", Entry: true, Lost: .4, After: 30 * time.Second}}},
		},
	}
	var records []sre.Record
	add := func(second int, r sre.Record) {
		r.Seq, r.At, r.IncidentID = uint64(len(records)), at(second), inc.ID
		records = append(records, r)
	}
	state := func(second int, s sre.State, change string) {
		next := inc
		next.State, next.StateSince = s, at(second)
		add(second, sre.Record{Kind: sre.RecordIncident, Incident: &next, Change: change})
	}
	add(-60, sre.Record{Kind: sre.RecordStart, Start: &sre.StartRecord{Version: "1", Epoch: 1}})
	records[0].IncidentID = ""
	state(0, sre.Suspected, "open")
	inc.Confidence = sre.Confidence{P: .81, Lower: .62, Basis: "5 of 6 similar"}
	inc.Plan = &sre.Plan{Runbook: "retry-storm", Risk: sre.LowRisk, Reason: "retries are most of the load", Steps: []sre.Step{{Name: "clamp retries", Actions: []sre.Action{act}, Lease: 10 * time.Minute, Reversible: true}}}
	inc.Decision = &sre.Decision{ID: "d1", Incident: inc.ID, At: at(30), Stance: sre.Ask, Runbook: "retry-storm", Confidence: inc.Confidence, Reasons: []sre.Reason{
		{Guard: "mode", Allows: sre.Act, Text: "the policy's mode is act"},
		{Guard: "confidence", Allows: sre.Ask, Text: "confidence 0.81, at least 0.62; 0.85 is needed to act alone", Change: "the lower bound reaches 0.85"},
	}}
	add(30, sre.Record{Kind: sre.RecordDecision, Decision: inc.Decision})
	state(30, sre.AwaitingApproval, "ask")
	inc.Approval = &sre.Approval{Decision: "d1", Response: sre.Approved, By: "ada", Role: sre.Approver, At: at(50), Comment: "go"}
	add(50, sre.Record{Kind: sre.RecordApproval, Approval: inc.Approval})
	add(50, sre.Record{Kind: sre.RecordIntent, Intent: &sre.IntentRecord{Action: act, Permit: sre.Permit{Purpose: sre.ToApply, By: "ada"}, Before: sre.Params{"ratio": 3.0}}})
	add(51, sre.Record{Kind: sre.RecordResult, Result: &sre.ResultRecord{Action: act.ID, Purpose: sre.ToApply, Phase: sre.InEffect}})
	inc.Mitigations = []sre.Mitigation{{Action: act, Phase: sre.Undone, Before: sre.Params{"ratio": 3.0}, AppliedAt: at(51)}}
	inc.Outcome, inc.ClosedAt = sre.Improved, at(600)
	state(600, sre.Closed, "conclude")
	dir := t.TempDir()
	trail, err := audit.Open(audit.Options{Dir: dir, Now: func() time.Time { return recordedFrom }})
	if err != nil {
		t.Fatal(err)
	}
	if err := trail.Append(t.Context(), records); err != nil {
		t.Fatal(err)
	}
	if err := trail.Close(); err != nil {
		t.Fatal(err)
	}
	return dir
}

// TestExplainIsGolden holds the pages and the document of an incident while it
// asks, after it is over, and of a quiet tick.
func TestExplainIsGolden(t *testing.T) {
	dir := written(t)
	for name, args := range map[string][]string{
		"explain-asks.txt":   {"db", "--at", "2026-03-04T05:00:40Z"},
		"explain-over.txt":   {"db-1"},
		"explain-quiet.txt":  {"--at", "2026-03-04T04:59:30Z"},
		"explain-asks.json":  {"db", "--at", "2026-03-04T05:00:40Z", "-o", "json"},
		"explain-quiet.json": {"--at", "2026-03-04T04:59:30Z", "-o", "json"},
	} {
		var want string
		for range 2 { // the same question has the same answer
			code, out, errs := cli(t, append([]string{"explain", "--trail", dir}, args...)...)
			if code != exitOK || errs != "" || want != "" && out != want {
				t.Fatalf("%s: exit %d %s", name, code, errs)
			}
			want = out
		}
		path := filepath.Join("testdata", name)
		if *rewrite {
			if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
				t.Fatal(err)
			}
			continue
		}
		have, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(have), want); diff != "" {
			t.Errorf("%s differs, -rewrite accepts it:\n%s", path, diff)
		}
	}
}

func TestExplainSaysWhatIsWrong(t *testing.T) {
	l := live(t)
	empty := t.TempDir()
	for _, c := range []struct {
		args string
		code int
		want string
	}{
		{"--trail TRAIL nonsense", exitFailed, `no incident "nonsense"; there is ` + l.id},
		{"--bundle BUNDLE nonsense", exitFailed, `no incident "nonsense"; there is ` + l.id},
		{"--url URL nonsense", exitFailed, `no incident "nonsense"; there is ` + l.id},
		{"--bundle BUNDLE --at -2h", exitFailed, "is outside of the recording; allowed: 2026-03-04T05:00:00Z to 2026-03-04T05:20:00Z"},
		{"--trail TRAIL --at 2026-03-04T01:00:00Z", exitFailed, "is before the trail; allowed: from 2026-03-04T05:00:00Z"},
		{"--trail TRAIL --at 2026-03-04T05:01:00Z " + l.id, exitFailed, "there was no incident"},
		{"--url URL --at 2026-03-04T01:00:00Z", exitFailed, "allowed: 2026-03-04T05:00:00Z to 2026-03-04T05:20:00Z"},
		{"--trail TRAIL --bundle BUNDLE", exitUsage, "exclude each other"},
		{"--config x.yaml", exitUsage, "go with --bundle"},
		{"--at tomorrow --bundle BUNDLE", exitUsage, `--at "tomorrow" is no time; allowed: RFC 3339`},
		{"--trail TRAIL/missing", exitUsage, "no trail here"},
		{"--trail EMPTY", exitFailed, "holds no records"},
		{"--bundle EMPTY", exitFailed, "incident.yaml"},
		{"--bundle BUNDLE --config EMPTY/missing.yaml", exitFailed, "missing.yaml"},
		{"--url http://127.0.0.1:1", exitUsage, "connection refused"},
		{"one two", exitUsage, "unexpected two"},
		{"-o xml", exitUsage, "text,json"},
	} {
		args := strings.Fields(strings.NewReplacer("TRAIL", l.trail, "BUNDLE", l.bundle, "URL", l.url, "EMPTY", empty).Replace(c.args))
		code, _, errs := cli(t, append([]string{"explain"}, args...)...)
		if code != c.code || !strings.Contains(errs, c.want) {
			t.Errorf("%s: exit %d, want %d, and %q in %s", c.args, code, c.code, c.want, errs)
		}
	}
}

// TestAChangedTrailIsExplainedWithAWarning keeps what may be the only witness
// readable, and says that it is not to be trusted.
func TestAChangedTrailIsExplainedWithAWarning(t *testing.T) {
	l := live(t)
	var segment string
	err := filepath.WalkDir(l.trail, func(path string, _ os.DirEntry, err error) error {
		if strings.HasSuffix(path, ".jsonl") {
			segment = path
		}
		return err
	})
	if err != nil || segment == "" {
		t.Fatal(segment, err)
	}
	text, err := os.ReadFile(segment)
	if err != nil {
		t.Fatal(err)
	}
	changed := strings.Replace(string(text), `"severity":"critical"`, `"severity":"warning"`, 1)
	if changed == string(text) {
		changed = strings.Replace(string(text), `"severity":"warning"`, `"severity":"critical"`, 1)
	}
	if err := os.WriteFile(segment, []byte(changed), 0o600); err != nil {
		t.Fatal(err)
	}
	code, out, errs := cli(t, "explain", "--trail", l.trail, l.id)
	if code != exitOK || !strings.Contains(strings.Join(strings.Fields(out), " "), "does not verify") {
		t.Errorf("exit %d %s\n%s", code, errs, out)
	}
}

func TestExplainKeepsTheTerminalSafe(t *testing.T) {
	const evil = "ca\x1b[2Jrt\u202e"
	desk := oncall.NewDesk(oncall.DeskOptions{})
	desk.Publish(&sre.View{
		At: recordedFrom, Source: sre.SourceHealth{Up: true}, Signs: []sre.Precursor{{Detector: evil, Service: evil}},
		Edges: []sre.ViewEdge{{From: evil, To: "db"}}, Incidents: []sre.Incident{{ID: evil, Diagnosis: sre.Diagnosis{Hypotheses: []sre.Hypothesis{{Service: evil, Path: []string{evil, "db"}}}}}},
	}, nil)
	server := httptest.NewServer(oncall.NewAPI(desk, oncall.APIOptions{AllowAnonymous: true}))
	defer server.Close()
	for _, args := range [][]string{{}, {"-o", "json"}, {"ca"}, {"nonsense"}} {
		_, out, errs := cli(t, append([]string{"explain", "--url", server.URL}, args...)...)
		if said := out + errs; strings.ContainsAny(said, "\x1b\u202e") || !strings.Contains(said, "ca") {
			t.Errorf("%v: %q", args, said)
		}
	}
}

// Every guard of the gate has its remedy in an explanation, and no other has.
func TestExplanationsKnowTheGuards(t *testing.T) {
	g := gate.New(gate.DefaultPolicy())
	var guards []string
	for _, r := range g.Decide(gate.Question{Incident: &sre.Incident{}}).Reasons {
		guards = append(guards, r.Guard)
	}
	known := map[string]bool{}
	for _, name := range sre.Guards() {
		known[name] = true
	}
	for _, name := range guards {
		if !known[name] {
			t.Errorf("guard %s has no remedy", name)
		}
		delete(known, name)
	}
	if len(known) != 0 {
		t.Errorf("remedies of no guard: %s", fmt.Sprint(known))
	}
}

// The page that docs/explain.md shows is the one that is rendered, with "..."
// where lines are left out.
func TestTheShownExplanationIsTheRenderedOne(t *testing.T) {
	rendered, err := os.ReadFile(filepath.Join("testdata", "explain-asks.txt"))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(pages(t)["docs/explain.md"], "an incident while it asks:\n\n```\n")
	shown, _, ok := strings.Cut(rest, "```\n")
	if !ok {
		t.Fatal("no page is shown")
	}
	left := string(rendered)
	for part := range strings.SplitSeq(shown, "...\n") {
		_, after, ok := strings.Cut(left, part)
		if !ok {
			t.Errorf("not rendered, or not in this order:\n%s", part)
		}
		left = after
	}
}
