package demo

import (
	"testing"
	"time"

	"github.com/sreagent/sreagent/sre"
)

func TestLiftedIsAboutLeversNotSuspicions(t *testing.T) {
	at := time.Unix(1000, 0)
	undone := []sre.Mitigation{{Phase: sre.Undone, AppliedAt: at}}
	for _, c := range []struct {
		name string
		inc  sre.Incident
		want bool
	}{
		{"over", sre.Incident{State: sre.Closed, Mitigations: undone}, true},
		{"calm", sre.Incident{State: sre.Resolved, Mitigations: undone}, true},
		{"still lifting", sre.Incident{State: sre.Lifting, Mitigations: undone}, false},
		{"left to a human", sre.Incident{State: sre.Escalated, Mitigations: undone}, false},
		{"in force", sre.Incident{State: sre.Resolved, Mitigations: []sre.Mitigation{{Phase: sre.InEffect, AppliedAt: at}}}, false},
		{"perhaps in force", sre.Incident{State: sre.Acting, Mitigations: []sre.Mitigation{{Phase: sre.Intended}}}, false},
		{"suspected only", sre.Incident{State: sre.Suspected}, true},
		{"asked only", sre.Incident{State: sre.AwaitingApproval, Mitigations: []sre.Mitigation{{}}}, true},
	} {
		w := &witness{incidents: []sre.Incident{{State: sre.Closed}, c.inc}}
		if got := w.lifted(); got != c.want {
			t.Errorf("%s: %t, want %t", c.name, got, c.want)
		}
	}
}
