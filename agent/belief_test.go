package agent

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sreagent/sreagent/runbooks"
	"github.com/sreagent/sreagent/sre"
)

// scaling has plans whose later steps scale.
type scaling struct{ *fakeMind }

func (s scaling) Match(f runbooks.Facts) (*sre.Plan, []sre.Rejection) {
	p, rejected := s.fakeMind.Match(f)
	for i := 1; p != nil && i < len(p.Steps); i++ {
		for k := range p.Steps[i].Actions {
			p.Steps[i].Actions[k].Kind = sre.Scale
		}
	}
	return p, rejected
}

// The first step of a plan bounds what feeds the trouble and is taken alone; the
// second scales, and the cause could be one that is not seen.
func TestAStructuralStepIsNotTakenAloneWhereTheCauseIsNotClear(t *testing.T) {
	for _, clear := range []bool{true, false} {
		r := newRig(t, func(r *rig) {
			r.w.sick, r.w.cures = true, 99 // so that the second step is wanted
			r.mind.confidence.Suspects = []sre.Suspect{{Service: "db", Possible: true}, {Possible: !clear}}
		})
		r.a.mind.library = scaling{r.mind}
		inc := r.until(sre.Escalated)
		scaled := strings.Contains(r.story(), "intent apply fake/web "+inc.ID+".0.1.0")
		if scaled != clear || !clear && !strings.Contains(inc.Escalation, "cause_set") && !strings.Contains(inc.Escalation, "one that is not seen") {
			t.Errorf("clear %v: scaled %v; %s\n%s", clear, scaled, inc.Escalation, r.story())
		}
		if !strings.Contains(r.story(), "intent apply fake/web "+inc.ID+".0.0.0") {
			t.Errorf("clear %v: the first step was not taken\n%s", clear, r.story())
		}
	}
}

func TestSuspectsAddUpByService(t *testing.T) {
	d := sre.Diagnosis{Hypotheses: []sre.Hypothesis{
		{Service: "a", Probability: .3}, {Service: "b", Probability: .25, Mechanism: sre.Overload}, {Probability: .25}, {Service: "b", Probability: .2},
	}}
	want := []sre.Suspect{{Service: "b", Probability: .45}, {Service: "a", Probability: .3}, {Probability: .25}}
	if diff := cmp.Diff(want, suspects(d)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestOnlyACureAtTheCauseBlamesIt(t *testing.T) {
	inc := &sre.Incident{Plan: &sre.Plan{Cause: "a"}, Confidence: sre.Confidence{Suspects: []sre.Suspect{{Service: "a", Probability: .7}}}}
	if p := blamed(inc, sre.Improved); p == nil || *p != .7 {
		t.Errorf("a cure that worked blames %v", p)
	}
	if blamed(inc, sre.Unchanged) != nil {
		t.Error("a cure that failed blames somebody")
	}
	inc.Plan.Anywhere = true
	if blamed(inc, sre.Improved) != nil {
		t.Error("a plan that needs no cause blames somebody")
	}
}

func TestASignatureNamesWhatIsSeenAndNoService(t *testing.T) {
	at := time.Date(2026, 3, 1, 3, 0, 0, 0, time.UTC)
	r := newRig(t)
	r.run(1)
	snap, err := r.w.Observe(t.Context(), at)
	if err != nil {
		t.Fatal(err)
	}
	inc := &sre.Incident{Attempt: 1, Diagnosis: sre.Diagnosis{
		Onset: at.Add(-time.Minute), Affected: []string{"api"}, Blast: sre.BlastRadius{EntryShare: .5},
		Hypotheses: []sre.Hypothesis{{Service: "db", Mechanism: sre.RetryStorm, Probability: 1}},
		Precursors: []sre.Precursor{
			{Mechanism: sre.RetryStorm, Service: "db", Kind: sre.Queue, Score: .9, Evidence: []sre.Evidence{{Now: 50, Normal: 2}}},
			{Mechanism: sre.SlowDependency, Service: "db", Caller: "api", Kind: sre.Latency, Score: .6},
			{Mechanism: sre.CacheLoss, Service: "api", Kind: sre.Cache, Score: .1, Severity: sre.Info},
		},
	}}
	marks := signature(&turn{now: at, snap: snap}, inc)
	for _, want := range []string{"cause:retry_storm", "sign:retry_storm", "root:queue:far", "calls:latency", "sign:slow_dependency", "again", "age:young", "behind:part"} {
		if !slices.Contains(marks, want) {
			t.Errorf("%q is missing in %q", want, marks)
		}
	}
	if slices.ContainsFunc(marks, func(m string) bool { return strings.Contains(m, "api") || strings.Contains(m, "db") }) || slices.Contains(marks, "sign:cache_loss") {
		t.Errorf("more than is to be said: %q", marks)
	}
	if !slices.IsSorted(marks) || len(slices.Compact(slices.Clone(marks))) != len(marks) {
		t.Errorf("not sorted, each once: %q", marks)
	}
	many := *inc
	for range 3 {
		for _, m := range sre.Mechanisms() {
			for _, k := range []sre.SignalKind{sre.Errors, sre.Pool, sre.Retries, sre.Saturation, sre.Timeouts, sre.Traffic} {
				many.Diagnosis.Precursors = append(many.Diagnosis.Precursors, sre.Precursor{Mechanism: m, Service: "db", Kind: k, Score: 1, Evidence: []sre.Evidence{{Now: 1, Normal: 2}}},
					sre.Precursor{Mechanism: m, Service: "db", Caller: "api", Kind: k, Score: 1})
			}
		}
	}
	if n := len(signature(&turn{now: at, snap: snap}, &many)); n > keepMarks {
		t.Errorf("%d marks", n)
	}
}
