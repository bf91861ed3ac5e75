package detectors_test

import (
	"math"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/sreagent/sreagent/detectors"
	"github.com/sreagent/sreagent/sre"
)

func TestRisks(t *testing.T) {
	ev := func(signal string, weight float64) sre.Evidence { return sre.Evidence{Signal: signal, Weight: weight} }
	got := detectors.Risks([]sre.Precursor{
		{Detector: "golden_signal", Service: "db"},
		{Detector: "b", Mechanism: sre.Overload, Service: "api", Risk: .5},
		{Detector: "a", Mechanism: sre.RetryStorm, Service: "api", Risk: .8, Evidence: []sre.Evidence{ev("d", .1), ev("a", .4), ev("b", .3), ev("c", .2)}},
		{Detector: "c", Mechanism: sre.Overload, Service: "api", Risk: .4},
		{Detector: "s", Mechanism: sre.SlowDependency, Service: "api", Caller: "web", Risk: .95},
	})
	want := []sre.Risk{
		{Service: "api", Caller: "web", Probability: .95, Mechanism: sre.SlowDependency},
		{Service: "api", Probability: .9, Mechanism: sre.RetryStorm, Evidence: []sre.Evidence{ev("a", .4), ev("b", .3), ev("c", .2)}},
	}
	near := cmp.Comparer(func(a, b float64) bool { return math.Abs(a-b) < 1e-12 })
	if diff := cmp.Diff(want, got, near); diff != "" {
		t.Error(diff)
	}
	if got := detectors.Risks(nil); len(got) > 0 {
		t.Errorf("the risk of nothing is %+v", got)
	}
}

// TestRisksAgainstTheTwin: at least the highest, at most the sum, whatever the
// order, and never lower for one sign more.
func TestRisksAgainstTheTwin(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		sign := rapid.Custom(func(t *rapid.T) sre.Precursor {
			return sre.Precursor{
				Service:   rapid.SampledFrom([]string{"a", "b"}).Draw(t, "service"),
				Caller:    rapid.SampledFrom([]string{"", "web"}).Draw(t, "caller"),
				Mechanism: rapid.SampledFrom(sre.Mechanisms()).Draw(t, "mechanism"),
				Risk:      rapid.Float64Range(0, 1).Draw(t, "risk"),
			}
		})
		ps := rapid.SliceOfN(sign, 0, 12).Draw(t, "signs")
		risks := detectors.Risks(ps)
		for k, r := range risks {
			var top, sum float64
			for _, p := range ps {
				if p.Service == r.Service && p.Caller == r.Caller {
					top, sum = max(top, p.Risk), sum+p.Risk
				}
			}
			if r.Probability < top-1e-12 || r.Probability > min(1, sum)+1e-12 {
				t.Fatalf("risk is %v, the highest sign %v, their sum %v", r.Probability, top, sum)
			}
			if k > 0 && risks[k-1].Probability < r.Probability {
				t.Fatal("not the likeliest first")
			}
		}
		more := detectors.Risks(append(ps, sign.Draw(t, "more")))
		for _, r := range risks {
			for _, m := range more {
				if m.Service == r.Service && m.Caller == r.Caller && m.Probability < r.Probability-1e-12 {
					t.Fatalf("one sign more, and the risk of %s falls from %v to %v", r.Service, r.Probability, m.Probability)
				}
			}
		}
	})
}

// TestOneMechanismLeads: a storm with lost replicas, full workers and a slow
// answer is one storm; the others stay below it, as warnings.
func TestOneMechanismLeads(t *testing.T) {
	w := newTown()
	edges := append([]sre.Edge(nil), w.graph.Edges...)
	edges[0].Spec.Retries = 3
	w.graph = sre.NewGraph(w.graph.Services, edges)
	w.tick(60, 0, nil)
	ps := w.but(reading{
		"api replicas": 2, "api pool": 1, "api queue": 400, "api traffic": 180, "api retries": 120, "api errors": .7, "api latency": 2,
		"web->api calls": 180, "web->api call_retries": 120,
	}).tick(4, 0, nil)
	lead := leader(ps, "api")
	if lead.Mechanism != sre.RetryStorm || lead.Severity != sre.Critical {
		t.Fatalf("%s leads: %+v", lead.Mechanism, lead)
	}
	others := 0
	for _, p := range ps {
		if p.Service != "api" || p.Detector == "golden_signal" || p.Mechanism == sre.RetryStorm || p.Severity == sre.Info {
			continue
		}
		others++
		if p.Severity != sre.Warning || p.Score >= lead.Score || p.Risk >= lead.Risk {
			t.Errorf("beside the storm: %+v", p)
		}
	}
	if others == 0 {
		t.Error("nobody else speaks: the test shows nothing")
	}
}

// TestNoiseIsNoMechanism: a town that only wavers is left alone, whatever its
// size, from the first tick on.
func TestNoiseIsNoMechanism(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w, g := newTown(), lcg(rapid.Uint64().Draw(t, "seed"))
		scale := rapid.Float64Range(.5, 200).Draw(t, "scale")
		w = w.scaled(scale)
		if rapid.Bool().Draw(t, "cache") {
			w = w.but(reading{"api cache": .9})
		}
		for k := range 80 {
			for _, p := range w.tick(1, .04, &g) {
				if p.Detector != "golden_signal" && p.Severity != sre.Info {
					t.Fatalf("tick %d: %+v", k, p)
				}
			}
		}
	})
}

// scaled returns the town with all rates and backlogs times a factor.
func (w *town) scaled(factor float64) *town {
	out := w.but(nil)
	for name, r := range out.services {
		out.services[name] = r.but(reading{"traffic": factor * r["traffic"], "queue": factor * r["queue"], "retries": factor * r["retries"], "timeouts": factor * r["timeouts"]})
	}
	for name, r := range out.calls {
		out.calls[name] = r.but(reading{"calls": factor * r["calls"], "call_retries": factor * r["call_retries"], "call_timeouts": factor * r["call_timeouts"]})
	}
	return out
}

// TestMechanismsDoNotDependOnSize: a hundred times the traffic with a hundred
// times the capacity gives the same signs.
func TestMechanismsDoNotDependOnSize(t *testing.T) {
	for name, change := range map[string]reading{
		"slow":     {"db latency": .6, "api->db call_latency": .6, "api latency": .62, "api queue": 40},
		"survivor": {"api replicas": 2, "api queue": 60},
		"decay":    {"api pool": 1, "api traffic": 40, "api queue": 60},
		"failing":  {"api traffic": 90, "web->api calls": 90, "api errors": .8, "api pool": 1},
	} {
		t.Run(name, func(t *testing.T) {
			var first map[string]sre.Severity
			for _, factor := range []float64{1, 10, 1000} {
				w := newTown()
				w.scaled(factor).tick(60, 0, nil)
				got := map[string]sre.Severity{}
				for _, p := range w.but(change).scaled(factor).tick(4, 0, nil) {
					if p.Detector != "golden_signal" {
						got[p.Detector+" "+p.Caller+" "+p.Service] = p.Severity
					}
				}
				if len(got) == 0 {
					t.Fatal("nothing is found: the test shows nothing")
				}
				if first == nil {
					first = got
				}
				if diff := cmp.Diff(first, got); diff != "" {
					t.Errorf("at %v times the size:\n%s", factor, diff)
				}
			}
		})
	}
}
