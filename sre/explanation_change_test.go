package sre

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestAGuardSaysItselfWhatWouldChangeIt(t *testing.T) {
	inc := stormy()
	inc.State, inc.Plan = Planned, &Plan{Runbook: "retry-storm"}
	inc.Decision.Reasons = []Reason{
		{Guard: "budget", Allows: Ask, Text: "3 of 3", Change: "the oldest leaves the window at 03:21"},
		{Guard: "mode", Allows: Ask, Text: "the policy's mode is ask"},
		{Guard: "freeze", Allows: Watch, Text: "sale", Change: "the freeze ends at 04:00"},
		{Guard: "odd", Allows: Watch, Text: "no"},
		{Guard: "law_aimd", Allows: Watch, Text: "wants more"},
	}
	v := stormyView()
	v.Incidents = []Incident{inc}
	e, _ := Explain(v, inc.ID)
	want := []string{
		"freeze: the freeze ends at 04:00", // the most limiting first
		"a finding of odd that allows it",
		"budget: the oldest leaves the window at 03:21",
		"policy.mode act: this agent may at most ask",
	}
	if diff := cmp.Diff(want, e.Decision.WouldMove); diff != "" {
		t.Error(diff)
	}
}

func TestWhatWouldChangeTheStateOfAnIncident(t *testing.T) {
	for name, c := range map[string]struct {
		change func(inc *Incident)
		want   string // how one of them begins
	}{
		"escalated": {func(inc *Incident) { inc.State = Escalated }, "nothing that the agent sees: people have it"},
		"gave up":   {func(inc *Incident) { inc.State, inc.GaveUp = Escalated, true }, "a runbook that fits and was not tried"},
		"one yes of two": {func(inc *Incident) {
			inc.State, inc.Approval = AwaitingApproval, &Approval{Response: Approved, By: "ann", Need: 2}
		}, "the yes of 1 more of 2 people: `sreagent approve"},
		"undone": {func(inc *Incident) { inc.State, inc.Decision = Reverting, nil }, "nothing, as it is reverting"},
	} {
		inc := stormy()
		c.change(&inc)
		v := stormyView()
		v.Incidents = []Incident{inc}
		e, _ := Explain(v, inc.ID)
		if text := "\n" + strings.Join(e.Decision.WouldMove, "\n"); !strings.Contains(text, "\n"+c.want) {
			t.Errorf("%s: %q", name, e.Decision.WouldMove)
		}
	}
}

// A diagnosis that no runbook fits is where people ask most what else there was.
func TestWithoutAPlanTheOtherRunbooksAreStillNamed(t *testing.T) {
	inc := stormy()
	inc.Decision = nil
	inc.Rejected = []Rejection{{"bad-deploy", "no change"}, {"overload", "made for overload"}}
	v := stormyView()
	v.Incidents = []Incident{inc}
	e, _ := Explain(v, inc.ID)
	if diff := cmp.Diff(inc.Rejected, e.Decision.Rejected); diff != "" || !strings.Contains(e.Decision.Summary, "none of 2 runbooks fits") {
		t.Errorf("%s\n%s", e.Decision.Summary, diff)
	}
	now := []Rejection{{"bad-deploy", "the change is too old"}}
	v.Explain = []Explained{{Incident: inc.ID, Rejected: now}}
	if e, _ = Explain(v, inc.ID); cmp.Diff(now, e.Decision.Rejected) != "" {
		t.Errorf("not as this tick has it: %+v", e.Decision.Rejected)
	}
}

// While nothing is seen, what was found before is no reason of this tick.
func TestABlindAgentHasNoOtherReason(t *testing.T) {
	blind := Reason{Guard: "source", Allows: Watch, Text: "the metric store does not answer: refused", Change: "the metric store answers"}
	for _, state := range []State{Suspected, Diagnosed, Planned, AwaitingApproval, Verifying} {
		inc := stormy()
		inc.State, inc.Plan, inc.Decision.Stance = state, &Plan{Runbook: "retry-storm"}, Act
		v := stormyView()
		v.Source, v.Incidents = SourceHealth{Err: "refused"}, []Incident{inc}
		v.Explain = []Explained{{Incident: inc.ID, Stance: Watch, Reasons: []Reason{blind}}}
		e, _ := Explain(v, inc.ID)
		if diff := cmp.Diff([]Reason{blind}, e.Decision.Against); diff != "" || len(e.Decision.For) > 0 || e.Decision.Verdict != Watch {
			t.Errorf("%s: %s %s", state, e.Decision.Verdict, diff)
		}
		if !strings.Contains(e.Decision.Summary, "the metric store does not answer") || strings.Contains(e.Decision.Summary, "because of warm") {
			t.Errorf("%s: %s", state, e.Decision.Summary)
		}
	}
	// The trail has no reasons of the tick: it says why itself.
	inc := stormy()
	v := stormyView()
	v.Source, v.Incidents = SourceHealth{Err: "refused"}, []Incident{inc}
	e, _ := Explain(v, inc.ID)
	if diff := cmp.Diff([]Reason{blind}, e.Decision.Against); diff != "" {
		t.Error(diff)
	}
}

func TestTheStoryNamesWhoElseKeepsTheTarget(t *testing.T) {
	records := record()
	for i := range records {
		if in := records[i].Intent; in != nil {
			in.Detail = "argocd application shop is paused"
		}
	}
	e, _ := ExplainTrailAt(records, stormy().ID, time.Time{})
	want := "about to apply retry budget at guard/cart: ratio 0.1 (was 3); argocd application shop is paused"
	for _, m := range e.Timeline {
		if m.Text == want {
			return
		}
	}
	t.Errorf("%+v", e.Timeline)
}

func TestATickSaysWithNumbersWhyNothingWasDone(t *testing.T) {
	v := stormyView()
	v.Incidents, v.Burns = nil, nil
	v.Explain = []Explained{{Stance: Watch, Summary: "2 notes, none serious: 6 services watched, 6 of 6 series fresh, baselines warm", Reasons: []Reason{
		{Guard: "sign", Allows: Watch, Text: "anomaly at store"},
		{Guard: "what_would_change", Allows: Watch, Text: "an incident is opened when one of them grows to a warning"},
	}}}
	e := ExplainTick(v)
	if !strings.Contains(e.Decision.Summary, "6 services watched, 6 of 6 series fresh") || cmp.Diff([]string{"an incident is opened when one of them grows to a warning"}, e.Decision.WouldMove) != "" {
		t.Errorf("%+v", e.Decision)
	}
}
