package agent

import (
	"strings"
	"testing"

	"github.com/sreagent/sreagent/sre"
)

// What an incident without a plan, or without sight, is explained by.

func (r *rig) explained() sre.Explanation {
	r.t.Helper()
	e, ok := sre.Explain(r.desk.view, r.desk.view.Incidents[0].ID)
	if !ok {
		r.t.Fatal("no explanation")
	}
	return e
}

func TestAnIncidentWithoutAPlanSaysWhyEachRunbookIsNotTaken(t *testing.T) {
	r := newRig(t, func(r *rig) { r.mind.unfit = "db" })
	r.w.sick = true
	r.until(sre.Diagnosed)
	r.run(1)
	for range 2 { // the second time after a restart
		d := r.explained().Decision
		if len(d.Rejected) != 1 || d.Rejected[0].Runbook != "storm" || d.Rejected[0].Reason != "did not help before" || len(d.WouldMove) == 0 {
			t.Errorf("%+v", d)
		}
		r.start()
		r.run(1)
	}
	r.mind.unfit = ""
	r.run(30)
	if inc := r.desk.view.Incidents[0]; len(inc.Unfit) != 0 || inc.Plan == nil {
		t.Errorf("with a plan of %v there still is %v", inc.Plan, inc.Unfit)
	}
}

// Reasons of an hour that was seen say nothing of one that is not.
func TestABlindIncidentIsNotExplainedByWhatWasSeenBefore(t *testing.T) {
	r := newRig(t, func(r *rig) { r.cfg.Policy.Mode = sre.Ask })
	r.w.sick = true
	r.until(sre.AwaitingApproval)
	if r.explained().Decision.Against[0].Guard == "source" {
		t.Fatal("not blind yet")
	}
	r.w.blind = true
	r.run(1)
	d := r.explained().Decision
	if len(d.Against) != 1 || d.Against[0].Guard != "source" || len(d.For) != 0 || !strings.Contains(d.Against[0].Text, "connection refused") {
		t.Errorf("against %+v, for %+v", d.Against, d.For)
	}
	if !strings.Contains(strings.Join(d.WouldMove, "\n"), "readings again") {
		t.Errorf("would change: %q", d.WouldMove)
	}
}

// A guard's own words of what would change it have the numbers, and come first.
func TestWhatWouldChangeIsInTheGuardsOwnWords(t *testing.T) {
	r := newRig(t, func(r *rig) { r.cfg.Policy.Mode = sre.Ask })
	r.w.sick = true
	r.until(sre.AwaitingApproval)
	d := r.explained().Decision
	for _, reason := range d.Against {
		if reason.Change == "" || !strings.Contains(strings.Join(d.WouldMove, "\n"), reason.Change) {
			t.Errorf("%s would change by %q, which is not in %q", reason.Guard, reason.Change, d.WouldMove)
		}
	}
	if len(d.Against) == 0 {
		t.Error("nothing speaks against acting alone")
	}
}
