package sre

import "testing"

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
