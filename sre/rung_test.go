package sre

import (
	"fmt"
	"testing"
)

func TestTheOrderOfCures(t *testing.T) {
	order := []ActionKind{RetryBudget, Shed, KillSwitch, Rollback, Scale, TrafficShift, Restart}
	for i, k := range order {
		if k.Rung() != i+1 || k.Structural() != (i >= 3) {
			t.Errorf("%s: rung %d, structural %t", k, k.Rung(), k.Structural())
		}
	}
	for _, k := range ActionKinds() {
		if r := k.Rung(); r < 1 || r > 7 {
			t.Errorf("%s has rung %d", k, r)
		}
	}
	if ActionKind("new").Rung() != 7 {
		t.Error("a kind that nobody knows is not the last")
	}
}

func TestCheaperIsWhatLaterStepsHaveAndNobodyTried(t *testing.T) {
	step := func(kinds ...ActionKind) Step {
		var s Step
		for _, k := range kinds {
			s.Actions = append(s.Actions, Action{Kind: k})
		}
		return s
	}
	p := &Plan{Steps: []Step{step(QueueBound), step(Scale, QueueBound), step(Shed, QueueBound, RetryBudget, Restart), step(Rollback)}}
	for i, want := range []string{"[]", "[shed retry_budget rollback]", "[rollback]", "[]"} {
		kinds := []ActionKind{}
		for _, a := range p.Cheaper(i) {
			kinds = append(kinds, a.Kind)
		}
		if got := fmt.Sprint(kinds); got != want {
			t.Errorf("step %d: %s, want %s", i, got, want)
		}
	}
}
