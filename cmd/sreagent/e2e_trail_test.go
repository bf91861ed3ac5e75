//go:build e2e

package main

import (
	"testing"

	"github.com/sreagent/sreagent/audit"
	"github.com/sreagent/sreagent/sre"
)

// records reads the trail as far as it goes now.
func (a *running) records(t *testing.T) []sre.Record {
	t.Helper()
	var out []sre.Record
	for r, err := range audit.ReadDir(a.path("audit")) {
		must(t, err)
		out = append(out, r)
	}
	return out
}

// intents returns the intents to apply, in order.
func intents(records []sre.Record) []sre.IntentRecord {
	var out []sre.IntentRecord
	for _, r := range records {
		if r.Kind == sre.RecordIntent && r.Intent.Permit.Purpose == sre.ToApply {
			out = append(out, *r.Intent)
		}
	}
	return out
}

// results returns what became of touches of one purpose, in order.
func results(records []sre.Record, purpose sre.Purpose) []sre.ResultRecord {
	var out []sre.ResultRecord
	for _, r := range records {
		if r.Kind == sre.RecordResult && r.Result.Purpose == purpose {
			out = append(out, *r.Result)
		}
	}
	return out
}

// verified proves the trail with the command line.
func (a *running) verified(t *testing.T) {
	t.Helper()
	code, out, stderr := run(t, "", sreagentBinary(t), "audit", "verify", a.path("audit"), "--key="+a.path("audit/trail.key.pub"))
	if code != exitOK {
		t.Errorf("audit verify: exit %d\n%s%s", code, out, stderr)
	}
}

// appliedOnce checks that no knob was moved by two actions, that no action was
// answered twice with "in effect" by its lever, and that the guards were never
// written with an older epoch.
func appliedOnce(t *testing.T, w *site, records []sre.Record) {
	t.Helper()
	owner := map[string]string{}
	for _, i := range intents(records) {
		knob := string(i.Action.Kind) + " " + i.Action.Target.String()
		if old, moved := owner[knob]; moved && old != i.Action.ID {
			t.Errorf("%s was moved by %s and again by %s", knob, old, i.Action.ID)
		}
		owner[knob] = i.Action.ID
	}
	answered := map[string]int{}
	for _, r := range results(records, sre.ToApply) {
		if r.Phase == sre.InEffect && !r.Probed {
			if answered[r.Action]++; answered[r.Action] > 1 {
				t.Errorf("%s came into effect %d times", r.Action, answered[r.Action])
			}
		}
	}
	epochs, knobs := map[string]uint64{}, map[string]string{}
	for _, did := range w.written() {
		if did.Body.ID == "" {
			continue
		}
		if did.Body.Epoch < epochs[did.Service] {
			t.Errorf("%s was written with epoch %d after %d", did.Service, did.Body.Epoch, epochs[did.Service])
		}
		epochs[did.Service] = did.Body.Epoch
		knob := did.Service + " " + string(did.Body.Kind) + " " + did.Body.Callee
		if old, known := knobs[knob]; known && old != did.Body.ID {
			t.Errorf("%s was written by %s and again by %s", knob, old, did.Body.ID)
		}
		knobs[knob] = did.Body.ID
	}
}
