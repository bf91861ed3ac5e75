package diagnosis_test

import (
	"math"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sreagent/sreagent/detectors"
	"github.com/sreagent/sreagent/diagnosis"
	"github.com/sreagent/sreagent/sre"
)

// run drives detectors and diagnosis as the agent does: findings open
// incidents, and services of an open incident are frozen.
type run struct {
	bank   *detectors.Bank
	engine *diagnosis.Engine
	open   []sre.Incident
}

func newRun() *run {
	return &run{bank: detectors.New(detectors.DefaultConfig()), engine: diagnosis.New(diagnosis.DefaultConfig())}
}

func (r *run) step(s *sre.Snapshot) ([]sre.Precursor, []sre.Finding) {
	frozen := make([]bool, len(s.Graph.Services))
	for _, inc := range r.open {
		for _, name := range inc.Diagnosis.Affected {
			if i, ok := s.Graph.Index(name); ok {
				frozen[i] = true
			}
		}
	}
	ps := r.bank.Detect(s, frozen)
	if r.bank.WarmUp() < 1 {
		return nil, nil
	}
	fs := r.engine.Diagnose(s, ps, r.open)
	for _, f := range fs {
		if f.Incident == "" {
			r.open = append(r.open, sre.Incident{ID: "inc-" + f.Fingerprint, OpenedAt: s.At, State: sre.Suspected, Diagnosis: f.Diagnosis})
			continue
		}
		for i := range r.open {
			if r.open[i].ID == f.Incident {
				r.open[i].Diagnosis = f.Diagnosis
			}
		}
	}
	return ps, fs
}

// cutLedger takes away a share of the ledger's speed for some seconds.
func cutLedger(start, length float64) func(float64, string) float64 {
	return func(at float64, s string) float64 {
		if s == "ledger" && at > start && at <= start+length {
			return .4
		}
		return 1
	}
}

func TestRetryStormIsOneFindingWithTheLeafAsItsCause(t *testing.T) {
	for _, c := range []struct {
		name     string
		interval time.Duration
		window   float64
		start    float64
		cut      float64
		within   int // ticks to the first finding
		act      int // ticks to the action level
	}{
		{"every second", time.Second, 15, 120, 8, 3, 5},
		{"every ten seconds", 10 * time.Second, 60, 600, 20, 3, 4},
		{"every fifteen seconds", 15 * time.Second, 60, 900, 30, 3, 4},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := shop()
			w.interval, w.window = c.interval, c.window
			w.cut = cutLedger(c.start, c.cut)
			r := newRun()
			first, act, silent := -1, -1, 0
			ticks := int(c.start/c.interval.Seconds()) + 60
			for range ticks {
				w.advance()
				_, fs := r.step(w.snapshot())
				since := int((w.t - c.start) / c.interval.Seconds())
				if w.t <= c.start {
					if len(fs) > 0 {
						t.Fatalf("%.0f s: a finding before the fault: %+v", w.t, fs[0].Diagnosis.Precursors)
					}
					continue
				}
				if first < 0 && len(fs) > 0 {
					first = since
				}
				if first >= 0 && len(fs) != 1 {
					silent++
				}
				for _, f := range fs {
					checkStorm(t, w, f, since == first)
					if act < 0 && f.Severity == sre.Critical {
						act = since
					}
				}
			}
			if first < 0 || first > c.within {
				t.Errorf("first finding after %d ticks, want at most %d", first, c.within)
			}
			if act < 0 || act > c.act {
				t.Errorf("critical after %d ticks, want at most %d", act, c.act)
			}
			if silent > 0 {
				t.Errorf("%d ticks of the storm without exactly one finding", silent)
			}
			if len(r.open) != 1 {
				t.Errorf("%d incidents for one fault", len(r.open))
			}
			if w.entryFailures() < .4 {
				t.Errorf("the world has recovered by itself (%.2f fail): the test proves nothing", w.entryFailures())
			}
		})
	}
}

// checkStorm holds a finding against the story. At the first tick nothing may
// show yet but how slow the leaf is.
func checkStorm(t *testing.T, w *world, f sre.Finding, first bool) {
	t.Helper()
	top := f.Diagnosis.Top()
	early := first && top.Mechanism == sre.SlowDependency
	if top.Service != "ledger" || top.Mechanism != sre.RetryStorm && !early {
		t.Errorf("%.0f s: top cause is %s (%s), want ledger (retry_storm)", w.t, top.Service, top.Mechanism)
	}
	if top.Probability < .8 {
		t.Errorf("%.0f s: probability of the true cause is %.2f", w.t, top.Probability)
	}
	if slices.Contains(f.Diagnosis.Affected, "gateway") && !cmp.Equal(top.Path, []string{"ledger", "cart", "checkout", "gateway"}) {
		t.Errorf("%.0f s: path is %v", w.t, top.Path)
	}
	if f.Diagnosis.Blast.EntryShare != 1 || !cmp.Equal(f.Diagnosis.Blast.Entries, []string{"gateway"}) {
		t.Errorf("%.0f s: blast radius is %+v", w.t, f.Diagnosis.Blast)
	}
	if f.Diagnosis.DataQuality != 1 {
		t.Errorf("%.0f s: data quality is %.2f", w.t, f.Diagnosis.DataQuality)
	}
}

func TestSignsEndWithTheCure(t *testing.T) {
	w := shop()
	w.cut = cutLedger(120, 8)
	r := newRun()
	for w.t < 150 {
		w.advance()
		r.step(w.snapshot())
	}
	if len(r.open) != 1 {
		t.Fatalf("%d incidents, want 1", len(r.open))
	}
	w.ratio, w.bound = .1, 30
	last := 0.
	for w.t < 400 {
		w.advance()
		if _, fs := r.step(w.snapshot()); len(fs) > 0 {
			last = w.t
		}
	}
	if w.entryFailures() > .01 {
		t.Fatalf("the cure does not cure: %.2f fail", w.entryFailures())
	}
	if last == 0 || last > 270 {
		t.Errorf("last finding at %.0f s, want signs to end within two minutes of the cure at 150 s", last)
	}
	if len(r.open) != 1 {
		t.Errorf("%d incidents for one fault and its cure", len(r.open))
	}
}

func TestNoFindingInNoiseWithADailySwing(t *testing.T) {
	w := shop()
	w.interval, w.window, w.dt, w.noise = 15*time.Second, 60, .5, .05
	w.load = func(at float64) float64 { return 50 + 25*math.Sin(2*math.Pi*at/86400) }
	r := newRun()
	for k := range 10000 {
		w.advance()
		ps, fs := r.step(w.snapshot())
		if len(fs) > 0 {
			t.Fatalf("tick %d: finding in a healthy shop: %+v", k, fs[0].Diagnosis.Precursors)
		}
		for _, p := range ps {
			if p.Severity == sre.Critical {
				t.Fatalf("tick %d: act-level sign in a healthy shop: %+v", k, p)
			}
		}
	}
}

func TestFlashCrowdInsideCapacityIsNotActedOn(t *testing.T) {
	for _, interval := range []time.Duration{time.Second, 10 * time.Second} {
		w := shop()
		w.interval = interval
		w.load = func(at float64) float64 {
			return 40 + 75*math.Max(0, math.Min(1, (at-600)/30)) // three times the load in half a minute, 80 % of capacity
		}
		r := newRun()
		surge := false
		for w.t < 1200 {
			w.advance()
			ps, _ := r.step(w.snapshot())
			for _, p := range ps {
				surge = surge || p.Kind == sre.Traffic
				if p.Severity == sre.Critical {
					t.Errorf("%v: act-level sign at %.0f s: %s %s %v", interval, w.t, p.Detector, p.Service, p.Evidence)
				}
			}
		}
		if !surge {
			t.Errorf("%v: the crowd was not even noted", interval)
		}
	}
}

func TestFlashCrowdBeyondCapacityWithoutRetriesIsOverload(t *testing.T) {
	calls := shopCalls()
	for i := range calls {
		calls[i].retries = 0
		calls[i].timeout = 30 * time.Second
	}
	w := newShop([]string{"gateway", "storefront", "checkout", "cart", "payments", "ledger"}, calls)
	w.load = func(at float64) float64 {
		if at > 300 {
			return 220
		}
		return 60
	}
	r := newRun()
	var last sre.Finding
	for w.t < 360 {
		w.advance()
		if _, fs := r.step(w.snapshot()); len(fs) > 0 {
			last = fs[0]
		}
	}
	top := last.Diagnosis.Top()
	if top.Mechanism != sre.Overload || top.Service != "gateway" {
		t.Errorf("top cause is %s (%s), want the load at the gateway: %+v", top.Service, top.Mechanism, last.Diagnosis.Hypotheses)
	}
}

// verdict is what must not change under a change of names' order or of time.
type verdict struct {
	Tick                  int
	Severity              sre.Severity
	Service               string
	Mechanism             sre.Mechanism
	Probability           float64
	Affected, Path        []string
	Fingerprint, Incident string
}

func verdicts(w *world) []verdict {
	r := newRun()
	var out []verdict
	for k := range 200 {
		w.advance()
		_, fs := r.step(w.snapshot())
		for _, f := range fs {
			top := f.Diagnosis.Top()
			out = append(out, verdict{
				k, f.Severity, top.Service, top.Mechanism, top.Probability,
				f.Diagnosis.Affected, top.Path, f.Fingerprint, f.Incident,
			})
		}
	}
	return out
}

func TestVerdictsDoNotDependOnOrderOrDate(t *testing.T) {
	storm := func(names []string, calls []call, at time.Duration) []verdict {
		w := newShop(names, calls)
		w.at = w.at.Add(at)
		w.cut = cutLedger(120, 8)
		return verdicts(w)
	}
	names := []string{"gateway", "storefront", "checkout", "cart", "payments", "ledger"}
	want := storm(names, shopCalls(), 0)
	if len(want) == 0 {
		t.Fatal("no finding to compare")
	}
	mixed, calls := []string{"cart", "ledger", "gateway", "payments", "storefront", "checkout"}, shopCalls()
	slices.Reverse(calls)
	for _, c := range []struct {
		name string
		got  []verdict
	}{
		{"again", storm(names, shopCalls(), 0)},
		{"a week later", storm(names, shopCalls(), 7*24*time.Hour)},
		{"services in another order", storm(mixed, shopCalls(), 0)},
		{"calls in another order", storm(names, calls, 0)},
	} {
		near := cmp.Comparer(func(a, b float64) bool { return math.Abs(a-b) < 1e-6 })
		if diff := cmp.Diff(want, c.got, near); diff != "" {
			t.Errorf("%s:\n%s", c.name, diff)
		}
	}
}

// TestStormSeenThroughRequestsErrorsAndLatencyOnly: without queues, pools and
// retry counters the leaf is found all the same, through the traffic on its
// edges and its latency.
func TestStormSeenThroughRequestsErrorsAndLatencyOnly(t *testing.T) {
	w := shop()
	w.only = map[sre.SignalKind]bool{sre.Traffic: true, sre.Errors: true, sre.Latency: true}
	w.interval, w.window = 10*time.Second, 30
	w.cut = cutLedger(600, 20)
	r := newRun()
	found := 0
	for w.t < 900 {
		w.advance()
		_, fs := r.step(w.snapshot())
		if w.t <= 600 {
			if len(fs) > 0 {
				t.Fatalf("%.0f s: finding before the fault: %+v", w.t, fs[0])
			}
			continue
		}
		if w.t < 660 {
			continue
		}
		if len(fs) != 1 {
			t.Fatalf("%.0f s: %d findings", w.t, len(fs))
		}
		found++
		if top := fs[0].Diagnosis.Top(); top.Service != "ledger" || top.Probability < .5 {
			t.Errorf("%.0f s: top is %s (%s) at %.2f", w.t, top.Service, top.Mechanism, top.Probability)
		}
	}
	if found == 0 || len(r.open) != 1 {
		t.Errorf("%d findings, %d incidents", found, len(r.open))
	}
}

// TestStormsOfManyKinds draws load, size and length of the cut, and the noise:
// the leaf must be the first cause, of one incident, whenever the shop stays
// down.
func TestStormsOfManyKinds(t *testing.T) {
	draw := &world{seed: 11}
	between := func(lo, hi float64) float64 { return lo + (hi-lo)*(draw.rand()+1)/2 }
	stuck := 0
	for n := range 25 {
		w := shop()
		w.seed = uint64(n) + 100
		load, left, length := between(55, 85), between(.2, .6), between(3, 12)
		w.load = func(float64) float64 { return load }
		w.cut = func(at float64, s string) float64 {
			if s == "ledger" && at > 120 && at <= 120+length {
				return left
			}
			return 1
		}
		r := newRun()
		var last []sre.Finding
		for w.t < 240 {
			w.advance()
			_, last = r.step(w.snapshot())
			if w.t <= 120 && len(last) > 0 {
				t.Fatalf("case %d: finding before the fault: %+v", n, last[0])
			}
		}
		if w.entryFailures() < .3 {
			continue // healed by itself
		}
		stuck++
		if len(last) != 1 || len(r.open) != 1 {
			t.Errorf("case %d: %d findings, %d incidents for one fault", n, len(last), len(r.open))
			continue
		}
		if top := last[0].Diagnosis.Top(); top.Service != "ledger" || top.Mechanism != sre.RetryStorm || last[0].Severity != sre.Critical {
			t.Errorf("case %d: %s, top is %s (%s)", n, last[0].Severity, top.Service, top.Mechanism)
		}
	}
	if stuck < 10 {
		t.Errorf("only %d of 25 shops stayed down: the draw proves little", stuck)
	}
}
