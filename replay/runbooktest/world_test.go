package runbooktest

import (
	"context"
	"errors"
	"io/fs"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sreagent/sreagent/replay/scenario"
	"github.com/sreagent/sreagent/runbooks"
)

const rush = `tests:
  - name: a rush
    world:
      text: |
        title More users than the checkout can serve
        seed 18
        run 6m
        service gateway work=2ms rate=3000 workers=4000
        service checkout work=10ms rate=300 workers=64 queue=3000
        call gateway -> checkout timeout=3s hard
        client users -> gateway rate=220 timeout=4s
        truth checkout overload
        at 1m load users 2 for 2m
        expect off goodput_min < 0.05
        expect on action scale
      expect:
        - recovered within 150s
        - action queue_bound on checkout
        - harmful = 0
        - no action restart on gateway
`

// bound bounds the queue of whatever is overloaded.
const bound = `apiVersion: sreagent/v1
kind: Runbook
metadata: {name: bound, owner: web, description: The queue is bounded.}
spec:
  match: {mechanisms: [overload], when: traffic(root) > 0.0}
  risk: low
  steps:
    - name: bound the queue
      actions:
        - {kind: queue_bound, lever: guard, target: root, params: {length: 450}, ttl: 60s}
      verify: {expr: "latency(root) < 3.0", within: 45s, held_for: 10s}
      lease: 30m
  hold: 1m
  relapse: latency(root) > 3.0
`

func own(t *testing.T) *runbooks.Library {
	t.Helper()
	l, err := runbooks.LoadTexts(runbooks.Text{File: "bound.yaml", Content: []byte(bound)})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// stories has one that is called rush.scenario.
func stories(name string) ([]byte, string, error) {
	if name != "rush.scenario" {
		return nil, "", fs.ErrNotExist
	}
	_, rest, _ := strings.Cut(rush, "text: |\n")
	text, _, _ := strings.Cut(rest, "      expect:\n")
	return []byte(strings.ReplaceAll(text, "        ", "")), name, nil
}

func inWorld(t *testing.T, text string, l *runbooks.Library) []Result {
	t.Helper()
	f, err := Parse("t.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	results, err := f.Run(t.Context(), Bench{Library: l, Keep: all, Scenario: stories})
	if err != nil {
		t.Fatal(err)
	}
	return results
}

func TestAStoryIsPlayedWithTheRunbooksOfTheTest(t *testing.T) {
	for _, x := range inWorld(t, rush, own(t))[0].Failures {
		t.Errorf("line %d: expected %s, found %s", x.Line, x.Expected, x.Found)
	}
	// The shipped runbook adds replicas too.
	text := strings.Replace(rush, "- action queue_bound on checkout", "- no action scale", 1)
	got := inWorld(t, text, shipped(t))[0].Failures
	if len(got) != 1 || got[0].Line != 18 || got[0].Expected != "no action scale" || !strings.Contains(got[0].Found, "scale on checkout") {
		t.Errorf("with the shipped runbooks: %+v", got)
	}
}

// What a story expects itself counts where the test says nothing, with the agent only.
func TestAStoryHasExpectationsOfItsOwn(t *testing.T) {
	text, _, _ := strings.Cut(rush, "      expect:\n")
	want := []Failure{{Line: 4, What: "in the world", Expected: "action scale", Found: "queue_bound on checkout, queue_bound on gateway"}}
	for _, text := range []string{text, "tests:\n  - name: a rush\n    world:\n      scenario: rush.scenario\n"} {
		if diff := cmp.Diff(want, inWorld(t, text, own(t))[0].Failures); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	}
}

func TestStoriesAreSkippedWhereNobodyAsksForThem(t *testing.T) {
	f, err := Parse("t.yaml", []byte(rush))
	if err != nil {
		t.Fatal(err)
	}
	got, err := f.Run(t.Context(), Bench{Library: own(t), Keep: all})
	if err != nil || len(got) != 1 || !got[0].Skipped {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestAStoryIsStopped(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	f, err := Parse("t.yaml", []byte(rush))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Run(ctx, Bench{Library: own(t), Keep: all, Scenario: stories}); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func TestMistakesInWorldsAreTold(t *testing.T) {
	for change, want := range map[string]string{
		"text: |/story: |": `t.yaml:4: unknown field "story"; allowed: expect, scenario, seed, text`,
		"- name: a rush/- name: a rush\n    given: {root: web}":      `t.yaml:2: test "a rush" has a world, whose story says all that happens; allowed: name and world`,
		"      text: |/      scenario: rush.scenario\n      text: |": `t.yaml:4: the world of test "a rush" needs one story; allowed: scenario: NAME, or text: |`,
		"- harmful = 0/- {harmful: 0}":                               "t.yaml:19: this is no line of text",
		"service checkout work=10ms/service checkout warp=10ms":      `t.yaml:9: unknown option "warp"`,
		"truth checkout/truth basket":                                `t.yaml:12: no service is called "basket"; allowed: gateway, checkout`,
		"- no action restart on gateway/- no action on basket":       `t.yaml:20: no service is called "basket"; allowed: gateway, checkout`,
		"- recovered within 150s/- well within 150s":                 `t.yaml:17: unknown claim "well within 150s"; allowed: [not] recovered`,
		"- recovered within 150s/- off recovered":                    `t.yaml:17: unknown claim "off recovered"`,
	} {
		from, to, _ := strings.Cut(change, "/")
		f, err := Parse("t.yaml", []byte(strings.Replace(rush, from, to, 1)))
		if err == nil {
			_, err = f.Run(t.Context(), Bench{Library: own(t), Keep: all, Scenario: stories})
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", to, err, want)
		}
	}
	f, err := Parse("t.yaml", []byte("tests:\n  - name: a\n    world: {scenario: none}\n"))
	if err != nil {
		t.Fatal(err)
	}
	const want = "t.yaml:3: file does not exist; allowed: the name of a shipped scenario"
	if _, err := f.Run(t.Context(), Bench{Library: own(t), Keep: all, Scenario: stories}); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("got %v, want %q", err, want)
	}
}

// Claims are judged like those of the story's own file.
func TestAClaimIsThatOfAScenario(t *testing.T) {
	s, err := scenario.Parse("x.scenario", []byte("title x\nrun 1m\nservice a rate=9\nclient u -> a rate=1\nexpect on actions = 0\n"))
	if err != nil {
		t.Fatal(err)
	}
	if ok, found := s.Expect[0].Holds(&scenario.Result{}); !ok || found != "0" {
		t.Errorf("%v, found %s", ok, found)
	}
}
