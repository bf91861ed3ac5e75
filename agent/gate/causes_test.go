package gate

import (
	"slices"
	"testing"

	"github.com/sreagent/sreagent/sre"
)

func TestStructuralActionsNeedACause(t *testing.T) {
	suspects := func(n int, unknown bool) []sre.Suspect {
		var out []sre.Suspect
		for i := range n {
			out = append(out, sre.Suspect{Service: string(rune('a' + i)), Possible: true})
		}
		if unknown {
			out = append(out, sre.Suspect{Possible: true})
		}
		return append(out, sre.Suspect{Service: "z"}) // not possible, so it does not count
	}
	for _, kind := range sre.ActionKinds() {
		hard := slices.Contains([]sre.ActionKind{sre.Rollback, sre.Scale, sre.Restart, sre.Drain, sre.TrafficShift, sre.KillSwitch}, kind)
		for name, c := range map[string]struct {
			suspects []sre.Suspect
			anywhere bool
			asks     bool
		}{
			"none weighed":    {},
			"three":           {suspects: suspects(3, false)},
			"four":            {suspects: suspects(4, false), asks: true},
			"one and unseen":  {suspects: suspects(1, true), asks: true},
			"four, no cause":  {suspects: suspects(4, false), anywhere: true},
			"unseen, neither": {suspects: suspects(1, true), anywhere: true},
		} {
			q := Question{
				Incident: &sre.Incident{Confidence: sre.Confidence{Suspects: c.suspects}},
				Plan: &sre.Plan{Anywhere: c.anywhere, Steps: []sre.Step{
					{Actions: []sre.Action{{Kind: sre.RetryBudget}}}, {Actions: []sre.Action{{Kind: kind}}},
				}},
			}
			if got := weighCauses(Policy{}, q); got.Allows != sre.Act {
				t.Errorf("%s, %s later: %+v", kind, name, got)
			}
			q.Next = 1
			got := weighCauses(Policy{}, q)
			if asks := got.Allows == sre.Ask; asks != (c.asks && hard) || asks && got.Change == "" {
				t.Errorf("%s, %s: %+v", kind, name, got)
			}
		}
	}
}
