package agent

import (
	"flag"
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/sreagent/sreagent/sre"
)

// The tests named TestLesson.. are what other agents got wrong; docs/lessons.md
// tells each story. Every one of them is known to fail when the fault is planted:
// see the table in agent/lessons.

// steadily checks a property on a number of random cases that are the same in
// every run, so that a planted fault is either always found or never. It reports
// whether all of them ran: short runs and those near their deadline take fewer.
func steadily(t *testing.T, cases int, property func(*rapid.T)) (whole bool) {
	t.Helper()
	given := func(name, value string) {
		was := flag.Lookup(name).Value.String()
		if err := flag.Set(name, value); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = flag.Set(name, was) })
	}
	given("rapid.checks", fmt.Sprint(cases))
	given("rapid.nofailfile", "true")
	if flag.Lookup("rapid.seed").Value.String() == "0" {
		given("rapid.seed", "20260301")
	}
	ran := 0
	rapid.Check(t, func(rt *rapid.T) {
		ran++
		property(rt)
	})
	return ran >= cases
}

// showsNothing fails a test that never came to what it is about, though all its
// cases ran.
func showsNothing(t *testing.T, whole, came bool, what string) {
	t.Helper()
	if whole && !came {
		t.Errorf("the test shows nothing: never %s", what)
	}
}

// answerTo is an answer of an approver to the question of an incident.
func answerTo(kind sre.InputKind, inc *sre.Incident) sre.Input {
	in := sre.Input{Kind: kind, By: "ann", Role: sre.Approver, Incident: inc.ID}
	if inc.Decision != nil {
		in.Decision = inc.Decision.ID
	}
	return in
}

// first is the incident that people see first, nil where there is none.
func (r *rig) first() *sre.Incident {
	if r.desk.view == nil || len(r.desk.view.Incidents) == 0 {
		return nil
	}
	return &r.desk.view.Incidents[0]
}

// stir lets a random thing happen to a rig's world and people.
func (r *rig) stir(rt *rapid.T) {
	switch rapid.IntRange(0, 9).Draw(rt, "what") {
	case 0:
		r.w.sick = !r.w.sick
	case 1:
		r.w.blind = !r.w.blind && rapid.IntRange(0, 2).Draw(rt, "sight") == 0
	case 2:
		r.mind.confidence.Lower = rapid.SampledFrom([]float64{0.3, 0.8}).Draw(rt, "lower")
	case 3:
		if inc := r.first(); inc != nil {
			kind := rapid.SampledFrom([]sre.InputKind{sre.InputApprove, sre.InputApprove, sre.InputReject, sre.InputUndo, sre.InputClose}).Draw(rt, "input")
			r.desk.queue = append(r.desk.queue, answerTo(kind, inc))
		}
	}
}

// meant lists the durable intents of a purpose, oldest first.
func (r *rig) meant(p sre.Purpose) []sre.Record {
	return slices.DeleteFunc(slices.Clone(r.trail.records), func(rec sre.Record) bool {
		return rec.Intent == nil || rec.Intent.Permit.Purpose != p
	})
}

// acted reports whether an incident ever came to acting.
func (r *rig) acted() bool {
	return slices.ContainsFunc(r.trail.records, func(rec sre.Record) bool {
		return rec.Incident != nil && rec.Incident.State == sre.Acting
	})
}
