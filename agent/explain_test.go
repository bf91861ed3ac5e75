package agent

import (
	"encoding/json"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sreagent/sreagent/sre"
)

func note(service string, score float64) sre.Precursor {
	return sre.Precursor{
		Detector: "golden_signal", Service: service, Kind: sre.Latency, Severity: sre.Info, Score: score, Mechanism: sre.Unknown,
		Evidence: []sre.Evidence{{Signal: "p95", Now: 0.12, Normal: 0.1, Unit: sre.Seconds}},
	}
}

// watch is the explanation of what belongs to no incident, which comes last.
func (r *rig) watch() sre.Explained { return r.desk.view.Explain[len(r.desk.view.Explain)-1] }

func TestEveryTickSaysWhatWasWatchedAndWhyNothingWasDone(t *testing.T) {
	warning := note("db", 0.8)
	warning.Severity = sre.Warning
	stranger := note("ghost", 0.8)
	stranger.Severity = sre.Critical
	cases := []struct {
		name    string
		change  func(*rig)
		summary string
		reasons []string // how each begins
	}{
		{"nothing", func(*rig) {}, "nothing suspicious: 3 services watched, 6 of 6 series fresh, baselines warm", nil},
		{
			"notes", func(r *rig) {
				r.mind.notes = []sre.Precursor{note("db", 0.4), note("api", 0.3), note("web", 0.2), note("web", 0.1)}
			},
			"4 notes, none serious: 3 services watched",
			[]string{"golden_signal at db: latency, info, score 0.40; p95 is 0.12, normally 0.1 seconds", "golden_signal at api", "golden_signal at web", "an incident is opened when one"},
		},
		{
			"a serious sign that diagnosis lets lie", func(r *rig) { r.mind.notes = []sre.Precursor{warning, note("api", 0.3)} },
			"1 serious sign in no incident, 1 note: ", []string{"golden_signal at db: latency, warning", "golden_signal at api", "an incident is opened when diagnosis"},
		},
		{
			"a service that the graph does not know", func(r *rig) { r.mind.notes = []sre.Precursor{stranger} },
			"1 serious sign in no incident, 0 notes: ", []string{"golden_signal at ghost", "ghost is not in the graph"},
		},
		{"all in an incident", func(r *rig) { r.w.sick = true }, "1 sign, all in incidents: 3 services", nil},
		{
			"some aside", func(r *rig) { r.w.sick, r.mind.notes = true, []sre.Precursor{note("api", 0.3)} },
			"1 note, none serious: ", []string{"golden_signal at api", "an incident is opened when one"},
		},
		{"blind", func(r *rig) { r.w.blind = true }, "blind: nothing is known of this tick: connection refused", nil},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t, c.change)
			r.run(1)
			e := r.watch()
			if e.Incident != "" || e.Stance != sre.Watch || !strings.HasPrefix(e.Summary, c.summary) {
				t.Errorf("%+v, want %q", e, c.summary)
			}
			if len(e.Reasons) != len(c.reasons) {
				t.Fatalf("reasons %+v", e.Reasons)
			}
			for i, want := range c.reasons {
				if !strings.HasPrefix(e.Reasons[i].Text, want) {
					t.Errorf("reason %q, want %q", e.Reasons[i].Text, want)
				}
			}
		})
	}
}

func TestTheViewShowsSignsRisksAndBurningBudgets(t *testing.T) {
	r := newRig(t, func(r *rig) {
		for range keepSigns + 10 {
			r.mind.notes = append(r.mind.notes, note("db", math.Inf(1)))
		}
		r.mind.risks = func(ps []sre.Precursor) []sre.Risk {
			return slices.Repeat([]sre.Risk{{Service: ps[0].Service, Probability: math.NaN(), Evidence: []sre.Evidence{{Now: math.Inf(1)}}}}, 30)
		}
		r.mind.burns = slices.Repeat([]sre.Burn{{Service: "web", LongRate: math.Inf(1), Short: time.Minute}}, keepBurns+1)
	})
	r.run(1)
	v := r.desk.view
	if len(v.Signs) != keepSigns || len(v.Risks) != keepRisks || len(v.Burns) != keepBurns {
		t.Errorf("%d signs, %d risks, %d burns", len(v.Signs), len(v.Risks), len(v.Burns))
	}
	if _, err := json.Marshal(v); err != nil {
		t.Errorf("the view cannot be shown: %v", err)
	}
	if !math.IsInf(r.mind.notes[0].Score, 1) || !math.IsInf(r.mind.burns[0].LongRate, 1) {
		t.Error("the detectors' own findings were changed")
	}
	r.w.blind = true
	r.run(1)
	if v := r.desk.view; len(v.Signs)+len(v.Risks)+len(v.Burns) != 0 {
		t.Error("signs of the last tick are shown while blind")
	}
	if got := v.Signs[0].Score; got != math.MaxFloat64 {
		t.Errorf("an old view has changed: %v", got)
	}
}
