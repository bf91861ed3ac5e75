package runbooktest

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sreagent/sreagent/replay/scenario"
	"github.com/sreagent/sreagent/replay/world"
	"github.com/sreagent/sreagent/runbooks"
	"github.com/sreagent/sreagent/sre"
)

// ladder has two branches, the first of two steps.
const ladder = `apiVersion: sreagent/v1
kind: Runbook
metadata: {name: ladder, owner: web, description: A bound and a cap.}
spec:
  match: {mechanisms: [overload], when: traffic(root) > 0.0}
  risk: medium
  steps:
    - choose:
        - when: queue(root) > 10.0
          steps:
            - name: bound
              actions: [{kind: queue_bound, lever: guard, target: root, params: {length: 450}, ttl: 60s}]
              verify: {expr: latency(root) < 1.0, within: 30s}
              lease: 30m
              on_fail: next
            - name: cap
              actions: [{kind: shed, lever: guard, target: root, params: {rps: 100}, ttl: 60s}]
              verify: {expr: latency(root) < 1.0, within: 30s}
              lease: 30m
        - otherwise: true
          steps:
            - name: cap alone
              actions: [{kind: shed, lever: guard, target: root, params: {rps: 100}, ttl: 60s}]
              verify: {expr: latency(root) < 1.0, within: 30s}
              lease: 30m
  hold: 1m
  relapse: latency(root) > 1.0
`

const climbed = `tests:
  - name: up
    topology: {entries: [web]}
    input_series:
      - {series: 'traffic{service="web"}', values: '9+0x9'}
      - {series: 'queue{service="web"}', values: '99+0x9'}
      - {series: 'latency{service="web"}', values: '2+0x4 0.1+0x4'}
    given: {root: web, mechanism: overload}
    expect:
      - {at: 10s, runbook: ladder, verify: fail}
      - {at: 60s, step: cap, verify: pass}
      - {at: 20s, step: cap, verify: pass}
`

func climb(t *testing.T, c *Coverage) *runbooks.Library {
	t.Helper()
	l, err := runbooks.LoadTexts(runbooks.Text{File: "ladder.yaml", Content: []byte(ladder)})
	if err != nil {
		t.Fatal(err)
	}
	f, err := Parse("t.yaml", []byte(climbed))
	if err != nil {
		t.Fatal(err)
	}
	got, err := f.Run(t.Context(), Bench{Library: l, Levers: world.Capabilities(), Keep: all, Coverage: c})
	if err != nil || len(got[0].Failures) != 1 { // the last expectation is wrong
		t.Fatalf("%+v, %v", got, err)
	}
	return l
}

// What a test expects wrongly covers nothing, and neither does a branch that is not taken.
func TestCoverageIsWhatTestsWentThrough(t *testing.T) {
	var c Coverage
	climb(t, &c)
	climb(t, &c) // another file about the same runbook
	want := []Covered{{Runbook: "ladder", Steps: []CoveredStep{
		{Name: "bound", Planned: true, Failed: true}, {Name: "cap", Planned: true, Helped: true}, {Name: "cap alone"},
	}}}
	if diff := cmp.Diff(want, c.Runbooks()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	climb(t, nil)
}

// A story covers what its trail shows: here a bound that does not help, and what
// on_fail says of each step.
func TestAStoryCoversWhatFollowed(t *testing.T) {
	l := climb(t, nil)
	steps := []sre.Step{{Name: "bound", OnFail: sre.NextStep}, {Name: "cap"}}
	at := func(state sre.State, step int) sre.Record {
		return sre.Record{Incident: &sre.Incident{ID: "a", State: state, Step: step, Plan: &sre.Plan{
			Runbook: "ladder", Version: l.List()[0].Version, Steps: steps,
		}}}
	}
	for name, tc := range map[string]struct {
		trail []sre.Record
		want  string // of bound and cap: planned, helped, failed
	}{
		"next, then undone":          {[]sre.Record{at(sre.Verifying, 0), at(sre.Acting, 1), at(sre.Verifying, 1), at(sre.Reverting, 1)}, "p-f p-f"},
		"resolved at once":           {[]sre.Record{at(sre.Verifying, 0), at(sre.Resolved, 0)}, "ph- p--"},
		"passed over, not verified":  {[]sre.Record{at(sre.Acting, 0), at(sre.Acting, 1)}, "p-- p--"},
		"undone by hand, not failed": {[]sre.Record{at(sre.Verifying, 0), at(sre.Reverting, 0)}, "p-- p--"},
	} {
		var c Coverage
		c.library(l)
		c.story(&scenario.Result{Records: tc.trail})
		var got []string
		for _, s := range c.Runbooks()[0].Steps[:2] {
			word := []byte("---")
			for i, is := range []bool{s.Planned, s.Helped, s.Failed} {
				if is {
					word[i] = "phf"[i]
				}
			}
			got = append(got, string(word))
		}
		if strings.Join(got, " ") != tc.want {
			t.Errorf("%s: got %s, want %s", name, got, tc.want)
		}
	}
}
