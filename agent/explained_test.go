package agent

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/sreagent/sreagent/sre"
)

func said(v *sre.View, incident string) sre.Explained {
	i := slices.IndexFunc(v.Explain, func(e sre.Explained) bool { return e.Incident == incident })
	if i < 0 {
		return sre.Explained{}
	}
	return v.Explain[i]
}

// What was found before the agent went blind is no reason of a blind tick.
func TestABlindTickHasNoOldReasons(t *testing.T) {
	r := newRig(t, func(r *rig) { r.w.sick, r.cfg.Policy.Mode = true, sre.Ask })
	inc := r.until(sre.AwaitingApproval)
	r.w.blind = true
	r.run(1)
	e := said(r.desk.view, inc.ID)
	if e.Stance != sre.Watch || len(e.Reasons) != 1 || e.Reasons[0].Guard != "source" || e.Reasons[0].Change == "" || !strings.Contains(e.Reasons[0].Text, "connection refused") {
		t.Errorf("%+v", e)
	}
}

func TestWhatIsPlannedAndNotSeenIsWeighedAnew(t *testing.T) {
	r := newRig(t, func(r *rig) { r.w.sick, r.cfg.Policy.Mode = true, sre.Watch })
	inc := r.until(sre.Planned)
	r.run(1)
	r.w.sick = false
	r.run(8) // more than the evidence lasts, less than it takes to be over
	for _, reason := range said(r.desk.view, inc.ID).Reasons {
		if reason.Guard == "freshness" && !strings.Contains(reason.Text, "8s old") {
			t.Errorf("a reason of an older tick: %+v", reason)
		}
	}
	if !slices.ContainsFunc(said(r.desk.view, inc.ID).Reasons, func(r sre.Reason) bool { return r.Guard == "freshness" }) {
		t.Errorf("%+v", said(r.desk.view, inc.ID))
	}
}

// Why no runbook was taken is in the picture of every tick, and in the trail and
// the metrics when it changes: not when a number in it moves.
func TestWhyNoRunbookFitsIsRememberedWhenItChanges(t *testing.T) {
	registry := prometheus.NewPedanticRegistry()
	r := newRig(t, func(r *rig) { r.w.sick, r.mind.unfit, r.registry = true, "db", registry })
	r.mind.why = "errors are 0.31, not below 0.2"
	noted := func() (out []string) {
		for _, rec := range r.trail.records {
			if rec.Incident != nil && rec.Change == noRunbook {
				out = append(out, rec.Incident.Rejected[0].Reason)
			}
		}
		return out
	}
	r.a.cfg.Timing.SuspectFor *= 2
	inc := r.until(sre.Diagnosed)
	for i := range 3 {
		r.mind.why = fmt.Sprintf("errors are 0.3%d, not below 0.2", i)
		r.run(1)
		e, _ := sre.Explain(r.desk.view, inc.ID)
		if len(e.Decision.Rejected) != 1 || e.Decision.Rejected[0].Reason != r.mind.why || len(e.Decision.WouldMove) == 0 {
			t.Errorf("%+v", e.Decision)
		}
	}
	if got := noted(); len(got) != 1 {
		t.Errorf("noted %q", got)
	}
	r.mind.why = "no lever moves it"
	r.until(sre.Escalated)
	if got := noted(); len(got) != 2 {
		t.Errorf("noted %q", got)
	}
	e, _ := sre.ExplainTrailAt(r.trail.records, inc.ID, r.at)
	if len(e.Decision.Rejected) != 1 || e.Decision.Rejected[0].Reason != r.mind.why {
		t.Errorf("the trail does not tell: %+v", e.Decision)
	}
	if n := testutil.ToFloat64(r.a.meter.reasons.WithLabelValues("plan")); n != 2 {
		t.Errorf("%v decisions not taken for want of a runbook", n)
	}
}

// The labels are there from the start, and no name that a guard may bear adds one.
func TestLimitsOfDecisionsHaveBoundedLabels(t *testing.T) {
	m := newMetrics(prometheus.NewPedanticRegistry())
	want := len(sre.Guards()) + 1
	if n := testutil.CollectAndCount(m.reasons); n != want {
		t.Errorf("%d labels at the start, want %d", n, want)
	}
	for i := range 100 {
		m.decision(sre.Decision{Stance: sre.Ask, Reasons: []sre.Reason{{Guard: fmt.Sprint("guard ", i), Allows: sre.Ask}, {Guard: "mode", Allows: sre.Ask}, {Guard: "rate", Allows: sre.Act}}})
	}
	if n := testutil.CollectAndCount(m.reasons); n != want {
		t.Errorf("%d labels, want %d", n, want)
	}
	for guard, n := range map[string]float64{otherGuard: 100, "mode": 100, "rate": 0} {
		if got := testutil.ToFloat64(m.reasons.WithLabelValues(guard)); got != n {
			t.Errorf("%s: %v", guard, got)
		}
	}
}
