package agent

import (
	"errors"
	"flag"
	"os"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/sreagent/sreagent/agent/gate"
	"github.com/sreagent/sreagent/sre"
)

var rewrite = flag.Bool("rewrite", false, "rewrite golden files")

const diagramFile = "../docs/lifecycle.mmd"

func allEvents() []event {
	var out []event
	for _, t := range transitions {
		if e := event(t.Name); !slices.Contains(out, e) {
			out = append(out, e)
		}
	}
	return out
}

// walk visits every state that can be reached from one, firing every event with
// the given arguments.
func walk(t *testing.T, from sre.State, args ...any) map[sre.State]bool {
	t.Helper()
	seen := map[sre.State]bool{from: true}
	for queue := []sre.State{from}; len(queue) > 0; queue = queue[1:] {
		for _, e := range allEvents() {
			l, err := newLifecycle("i", queue[0])
			if err != nil {
				t.Fatal(err)
			}
			if !l.can(e) || l.fire(e, args...) != nil || seen[l.state()] {
				continue
			}
			seen[l.state()] = true
			queue = append(queue, l.state())
		}
	}
	return seen
}

func TestNoPathLeadsToActingWithoutAClearance(t *testing.T) {
	stale := pass{clearance: clearanceFor(t, "i", time.Unix(100, 0)), now: time.Unix(100_000, 0)}
	others := pass{clearance: clearanceFor(t, "j", time.Unix(100, 0)), now: time.Unix(100, 0)}
	for name, args := range map[string][]any{
		"nothing":                 nil,
		"a zero clearance":        {pass{now: time.Unix(100, 0)}},
		"a stale one":             {stale},
		"another incident's":      {others},
		"something else entirely": {"please"},
	} {
		for _, from := range sre.States() {
			if from == sre.Acting {
				continue
			}
			if walk(t, from, args...)[sre.Acting] {
				t.Errorf("with %s, acting is reached from %s", name, from)
			}
		}
	}
	good := pass{clearance: clearanceFor(t, "i", time.Unix(100, 0)), now: time.Unix(100, 0)}
	if !walk(t, sre.Suspected, good)[sre.Acting] {
		t.Error("even with a clearance, acting is not reached")
	}
}

// clearanceFor asks a real gate: there is no other way to get one.
func clearanceFor(t *testing.T, incident string, now time.Time) gate.Clearance {
	t.Helper()
	policy := gate.DefaultPolicy()
	policy.Mode, policy.InForce = sre.Act, sre.Limit{Percent: 100, Number: 10}
	g := gate.New(policy)
	q := gate.Question{
		Now: now, SourceUp: true, WarmUp: 1, Services: 3,
		Incident: &sre.Incident{ID: incident, Confidence: sre.Confidence{P: 1, Lower: 1}, Diagnosis: sre.Diagnosis{At: now, DataQuality: 1}},
		Plan:     &sre.Plan{Runbook: "r", Risk: sre.LowRisk, Steps: []sre.Step{{Name: "s", Reversible: true}}},
	}
	d := g.Decide(q)
	c, _, err := g.Clear(q, &d, nil)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestEveryStateCanReachClosedAndOutOfItLeadsOneWay(t *testing.T) {
	for _, from := range sre.States() {
		if !walk(t, from)[sre.Closed] {
			t.Errorf("%s cannot reach closed", from)
		}
	}
	for _, e := range allEvents() {
		l, err := newLifecycle("i", sre.Closed)
		if err != nil {
			t.Fatal(err)
		}
		if l.can(e) != (e == evReopen) {
			t.Errorf("closed can %s: %t", e, l.can(e))
		}
		if e == evReopen && (l.fire(e) != nil || l.state() != sre.Suspected) {
			t.Errorf("%s leads to %s: what is back must be looked at from the start", e, l.state())
		}
	}
}

func TestRandomEventsKeepTheStateKnown(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l, err := newLifecycle("i", sre.Suspected)
		if err != nil {
			t.Fatal(err)
		}
		for range rapid.IntRange(1, 60).Draw(t, "moves") {
			e := rapid.SampledFrom(allEvents()).Draw(t, "event")
			before := l.state()
			err := l.fire(e)
			if err != nil && l.state() != before {
				t.Fatalf("%s failed in %s and moved to %s", e, before, l.state())
			}
			if !l.state().Valid() {
				t.Fatalf("unknown state %s", l.state())
			}
			if l.state() == sre.Acting {
				t.Fatal("acting without a clearance")
			}
		}
	})
}

func TestARefusedEventLeavesTheMachineUsable(t *testing.T) {
	l, err := newLifecycle("i", sre.Planned)
	if err != nil {
		t.Fatal(err)
	}
	if err := l.fire(evClear); !errors.Is(err, errNotCleared) {
		t.Errorf("got %v, want %v", err, errNotCleared)
	}
	if err := l.fire(evAsk); err != nil {
		t.Errorf("the next event is refused: %v", err)
	}
}

func TestAnUnknownStateFromATrailIsAnError(t *testing.T) {
	if _, err := newLifecycle("i", "dreaming"); err == nil {
		t.Error("an unknown state was taken")
	}
}

func TestTheDiagramInTheDocsIsTheTable(t *testing.T) {
	want, err := Diagram()
	if err != nil {
		t.Fatal(err)
	}
	if *rewrite {
		if err := os.WriteFile(diagramFile, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(diagramFile)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != want {
		t.Errorf("%s is not what the table draws; run go test ./agent -rewrite", diagramFile)
	}
}
