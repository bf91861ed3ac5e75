//go:build e2e

package main

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sreagent/sreagent/demo"
	"github.com/sreagent/sreagent/sre"
)

// One incident, and the agent is killed and started again at each state of its
// life, and in the two moments that matter most: when an intent is on record
// and its write has not arrived, and when the write has arrived and the agent
// has not heard of it.
func TestE2EACrashNeitherAppliesTwiceNorLosesTheUndo(t *testing.T) {
	w := startWorld(t, worldOptions{})
	a := startAgent(t, w, agentOptions{runbook: "retry-storm.yaml", ttl: "30s", suspectFor: "4s"})
	w.healthy(t, 15)
	w.cut(t)

	inc := a.incident(t, time.Minute, "", sre.Suspected)
	a.killAgain(t)
	inc = a.incident(t, time.Minute, inc.ID, sre.AwaitingApproval)
	a.killAgain(t)
	asked := a.incident(t, time.Minute, inc.ID, sre.AwaitingApproval)
	if asked.Decision.ID != inc.Decision.ID {
		t.Errorf("the question was %s before the crash and is %s now", inc.Decision.ID, asked.Decision.ID)
	}

	struck, mend := w.strike(false, http.MethodPut, a)
	go a.answerYes(inc.ID, inc.Decision.ID) // there will be no answer
	wait(t, struck, "a write that never arrives")
	mend()
	if n := len(intents(a.records(t))); n == 0 || w.inForce(t) > 0 {
		t.Errorf("%d intents on record and %d directives in force, want some and none", n, w.inForce(t))
	}
	struck, mend = w.strike(true, http.MethodPut, a)
	a.startOnly(t)
	wait(t, struck, "a write whose answer never arrives")
	mend()
	if w.inForce(t) == 0 {
		t.Error("no directive is in force after the write")
	}
	a.again(t)

	a.incident(t, time.Minute, inc.ID, sre.Verifying)
	a.killAgain(t)
	a.incident(t, time.Minute, inc.ID, sre.Resolved)
	a.killAgain(t)
	struck, mend = w.strike(true, http.MethodDelete, a)
	wait(t, struck, "an undo whose answer never arrives")
	mend()
	a.again(t)
	a.incident(t, time.Minute, inc.ID, sre.Lifting, sre.Resolved)
	a.killAgain(t)
	closed := a.incident(t, time.Minute, inc.ID, sre.Closed)

	for _, m := range closed.Mitigations {
		if m.Phase != sre.Undone {
			t.Errorf("%s ended as %s", m.Action.Target, m.Phase)
		}
	}
	eventually(t, time.Minute, "guards without a directive", func() bool { return w.inForce(t) == 0 })
	records := a.records(t)
	appliedOnce(t, w, records)
	if n := len(distinct(intents(records))); n != 3 {
		t.Errorf("%d actions were begun, want 3: two callers and the leaf", n)
	}
	starts := 0
	for _, r := range records {
		if r.Kind == sre.RecordStart {
			starts++
		}
	}
	t.Logf("%d starts, %d records", starts, len(records))
	if starts != 9 {
		t.Errorf("%d starts on record, want 9", starts)
	}
	w.healthy(t, 5)
	a.verified(t)
}

func distinct(all []sre.IntentRecord) []string {
	var ids []string
	for _, i := range all {
		if !slices.Contains(ids, i.Action.ID) {
			ids = append(ids, i.Action.ID)
		}
	}
	return ids
}

func wait(t *testing.T, done <-chan struct{}, what string) {
	t.Helper()
	select {
	case <-done:
	case <-time.After(time.Minute):
		t.Fatalf("%s: not within a minute", what)
	}
}

// An agent that is gone for good leaves nothing behind: what it set lapses, and
// the guards go back to their own configuration.
func TestE2EWithoutTheAgentDirectivesLapse(t *testing.T) {
	w := startWorld(t, worldOptions{})
	a := startAgent(t, w, agentOptions{runbook: "retry-storm.yaml", ttl: "5s"})
	w.healthy(t, 15)
	before := w.settings(t)
	w.cut(t)
	inc := a.incident(t, time.Minute, "", sre.AwaitingApproval)
	a.approve(t, inc.ID)
	eventually(t, time.Minute, "a renewal", func() bool {
		puts := map[string]int{}
		for _, did := range w.written() {
			puts[did.Body.ID]++
		}
		return len(puts) == 3 && slices.Min(values(puts)) > 1
	})
	if w.inForce(t) != 3 {
		t.Fatalf("%d directives in force, want 3", w.inForce(t))
	}
	a.kill()
	killed := time.Now()
	eventually(t, time.Minute, "guards that have gone back", func() bool { return w.inForce(t) == 0 })
	t.Logf("all directives were gone %v after the kill", time.Since(killed).Round(time.Millisecond))
	if after := w.settings(t); after != before {
		t.Errorf("settings were\n%s\nand are\n%s", before, after)
	}
}

func values(m map[string]int) []int {
	var out []int
	for _, n := range m {
		out = append(out, n)
	}
	return out
}

// settings are those in force at the guards that the cure moves.
func (w *site) settings(t *testing.T) string {
	t.Helper()
	var out strings.Builder
	for _, name := range []string{"cart", "catalog", demo.Leaf} {
		text, err := json.Marshal(w.guardState(t, name).Settings)
		must(t, err)
		out.WriteString(name + " " + string(text) + "\n")
	}
	return out.String()
}
