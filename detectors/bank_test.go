package detectors_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/sreagent/sreagent/detectors"
	"github.com/sreagent/sreagent/sre"
)

func TestDefaultConfigIsValid(t *testing.T) {
	if f := detectors.DefaultConfig().Validate(); len(f) > 0 {
		t.Error(f)
	}
}

func TestValidateNamesEveryFault(t *testing.T) {
	for _, c := range []struct {
		path string
		edit func(*detectors.Config)
	}{
		{"min_samples", func(c *detectors.Config) { c.MinSamples = 1 }},
		{"memory", func(c *detectors.Config) { c.Memory = 0 }},
		{"window", func(c *detectors.Config) { c.Window = -1 }},
		{"hold", func(c *detectors.Config) { c.Hold = -1 }},
		{"anomaly.false_alarm_every", func(c *detectors.Config) { c.Anomaly.FalseAlarmEvery = 0 }},
		{"anomaly.persistence", func(c *detectors.Config) { c.Anomaly.Persistence = 0 }},
		{"anomaly.after_change", func(c *detectors.Config) { c.Anomaly.AfterChange = -1 }},
		{"anomaly.clip", func(c *detectors.Config) { c.Anomaly.Clip = 0 }},
		{"anomaly.reference", func(c *detectors.Config) { c.Anomaly.Reference = 0 }},
		{"anomaly.refractory", func(c *detectors.Config) { c.Anomaly.Refractory = -1 }},
		{"anomaly.error_excess", func(c *detectors.Config) { c.Anomaly.ErrorExcess = 2 }},
		{"anomaly.latency_rise", func(c *detectors.Config) { c.Anomaly.LatencyRise = 0 }},
		{"anomaly.high_use", func(c *detectors.Config) { c.Anomaly.HighUse = 3 }},
		{"retry_storm.warn_amplification", func(c *detectors.Config) { c.RetryStorm.WarnAmplification = 0 }},
		{"retry_storm.act_amplification", func(c *detectors.Config) { c.RetryStorm.ActAmplification = 1.1 }},
		{"retry_storm.warn_margin", func(c *detectors.Config) { c.RetryStorm.WarnMargin = 0 }},
		{"retry_storm.act_margin", func(c *detectors.Config) { c.RetryStorm.ActMargin = .1 }},
		{"retry_storm.act_within", func(c *detectors.Config) { c.RetryStorm.ActWithin = 0 }},
		{"retry_storm.dead_share", func(c *detectors.Config) { c.RetryStorm.DeadShare = 0 }},
		{"retry_storm.error_excess", func(c *detectors.Config) { c.RetryStorm.ErrorExcess = 0 }},
		{"retry_storm.busy", func(c *detectors.Config) { c.RetryStorm.Busy = 0 }},
		{"retry_storm.assumed_timeout", func(c *detectors.Config) { c.RetryStorm.AssumedTimeout = 0 }},
		{"exhaustion.span", func(c *detectors.Config) { c.Exhaustion.Span = 0 }},
		{"exhaustion.warn_within", func(c *detectors.Config) { c.Exhaustion.WarnWithin = 0 }},
		{"exhaustion.act_within", func(c *detectors.Config) { c.Exhaustion.ActWithin = c.Exhaustion.WarnWithin + 1 }},
		{"exhaustion.from", func(c *detectors.Config) { c.Exhaustion.From = 1 }},
		{"exhaustion.certainty", func(c *detectors.Config) { c.Exhaustion.Certainty = 0 }},
		{"overload.warn_use", func(c *detectors.Config) { c.Overload.WarnUse = 0 }},
		{"overload.act_use", func(c *detectors.Config) { c.Overload.ActUse = .5 }},
		{"overload.queue_delay", func(c *detectors.Config) { c.Overload.QueueDelay = 0 }},
		{"overload.error_excess", func(c *detectors.Config) { c.Overload.ErrorExcess = 0 }},
		{"slow.rise", func(c *detectors.Config) { c.Slow.Rise = 1 }},
		{"slow.patience", func(c *detectors.Config) { c.Slow.Patience = -1 }},
		{"slow.act_timeout", func(c *detectors.Config) { c.Slow.ActTimeout = .05 }},
		{"slow.warn_share", func(c *detectors.Config) { c.Slow.WarnShare = 2 }},
		{"slow.act_share", func(c *detectors.Config) { c.Slow.ActShare = .2 }},
		{"pool.warn_use", func(c *detectors.Config) { c.Pool.WarnUse = 0 }},
		{"pool.act_use", func(c *detectors.Config) { c.Pool.ActUse = .5 }},
		{"pool.hold", func(c *detectors.Config) { c.Pool.Hold = 1 }},
		{"decay.warn_loss", func(c *detectors.Config) { c.Decay.WarnLoss = 0 }},
		{"decay.act_loss", func(c *detectors.Config) { c.Decay.ActLoss = .1 }},
		{"decay.warn_delay", func(c *detectors.Config) { c.Decay.WarnDelay = 0 }},
		{"decay.act_delay", func(c *detectors.Config) { c.Decay.ActDelay = .1 }},
		{"cache_loss.warn_surge", func(c *detectors.Config) { c.CacheLoss.WarnSurge = 1 }},
		{"cache_loss.act_use", func(c *detectors.Config) { c.CacheLoss.ActUse = 0 }},
		{"survivor.lost", func(c *detectors.Config) { c.Survivor.Lost = 1 }},
		{"survivor.warn_load", func(c *detectors.Config) { c.Survivor.WarnLoad = 0 }},
		{"survivor.act_load", func(c *detectors.Config) { c.Survivor.ActLoad = .5 }},
		{"oscillation.turns", func(c *detectors.Config) { c.Oscillation.Turns = 9 }},
		{"oscillation.span", func(c *detectors.Config) { c.Oscillation.Span = 0 }},
		{"oscillation.swing", func(c *detectors.Config) { c.Oscillation.Swing = 0 }},
		{"inversion.warn_index", func(c *detectors.Config) { c.Inversion.WarnIndex = .5 }},
		{"inversion.act_index", func(c *detectors.Config) { c.Inversion.ActIndex = 1 }},
		{"inversion.near", func(c *detectors.Config) { c.Inversion.Near = 0 }},
		{"divergence.load", func(c *detectors.Config) { c.Divergence.Load = 0 }},
		{"divergence.warn_loss", func(c *detectors.Config) { c.Divergence.WarnLoss = 0 }},
		{"divergence.act_loss", func(c *detectors.Config) { c.Divergence.ActLoss = .01 }},
		{"bad_change.watch", func(c *detectors.Config) { c.BadChange.Watch = 0 }},
		{"bad_change.settle", func(c *detectors.Config) { c.BadChange.Settle = 0 }},
		{"bad_change.warn_errors", func(c *detectors.Config) { c.BadChange.WarnErrors = 0 }},
		{"bad_change.act_errors", func(c *detectors.Config) { c.BadChange.ActErrors = .01 }},
		{"bad_change.warn_latency", func(c *detectors.Config) { c.BadChange.WarnLatency = 1 }},
		{"bad_change.act_latency", func(c *detectors.Config) { c.BadChange.ActLatency = 1.2 }},
		{"bad_change.certainty", func(c *detectors.Config) { c.BadChange.Certainty = 0 }},
	} {
		cfg := detectors.DefaultConfig()
		c.edit(&cfg)
		f := cfg.Validate()
		if !slices.ContainsFunc(f, func(f sre.Fault) bool { return f.Path == c.path && f.Allowed != "" }) {
			t.Errorf("%s: faults are %v", c.path, f)
		}
	}
	if f := (detectors.Config{}).Validate(); len(f) < 20 {
		t.Errorf("the zero value has %d faults, want all of them at once:\n%v", len(f), f)
	}
}

func TestWarmUp(t *testing.T) {
	f := newFeed(time.Second, sre.EdgeSpec{})
	if w := f.bank.WarmUp(); w != 0 {
		t.Errorf("at the start: %v", w)
	}
	f.times(5, reading{})
	if w := f.bank.WarmUp(); w != 0 {
		t.Errorf("after snapshots without readings: %v", w)
	}
	f.times(10, healthy())
	if w := f.bank.WarmUp(); w != .5 {
		t.Errorf("after half: %v", w)
	}
	f.times(100, healthy())
	if w := f.bank.WarmUp(); w != 1 {
		t.Errorf("after all: %v", w)
	}
}

func TestNamesOfDetectors(t *testing.T) {
	want := []string{
		"golden_signal", "retry_storm", "overload", "exhaustion", "slow_dependency", "pool_exhaustion", "pool_leak", "capacity_decay",
		"cache_loss", "survivor_overload", "oscillation", "timeout_inversion", "goodput_divergence", "bad_change", "burn_rate",
	}
	if diff := cmp.Diff(want, detectors.New(detectors.DefaultConfig()).Detectors()); diff != "" {
		t.Error(diff)
	}
}

func TestTimeDoesNotGoBack(t *testing.T) {
	f := newFeed(time.Second, sre.EdgeSpec{})
	f.times(60, healthy())
	bad := healthy().but(reading{"errors": .5, "latency": 2})
	if len(f.times(5, bad)) == 0 {
		t.Fatal("nothing found")
	}
	s := f.snapshot(bad)
	s.At = f.at.Add(-time.Second)
	if ps := f.bank.Detect(s, nil); ps != nil {
		t.Errorf("an old snapshot found %+v", ps)
	}
	if ps := f.bank.Detect(f.snapshot(bad), nil); ps != nil {
		t.Errorf("the same instant twice found %+v", ps)
	}
}

func TestOrderOfPrecursors(t *testing.T) {
	f := newFeed(time.Second, threeRetries)
	f.times(60, healthy())
	ps := f.times(5, healthy().but(reading{"errors": .5, "latency": 2, "queue": 500, "pool": 1, "traffic": 200, "retries": 140, "memory": 99}))
	if len(ps) < 5 {
		t.Fatalf("only %d signs", len(ps))
	}
	for i := 1; i < len(ps); i++ {
		a, b := ps[i-1], ps[i]
		if a.Score < b.Score || a.Score == b.Score && strings.Compare(a.Service+a.Caller+a.Detector+string(a.Kind), b.Service+b.Caller+b.Detector+string(b.Kind)) > 0 {
			t.Errorf("%+v stands before %+v", a, b)
		}
	}
}

// TestGraphMayGrow: services that appear later do not disturb the others.
func TestGraphMayGrow(t *testing.T) {
	whole, growing := newFeed(time.Second, threeRetries), newFeed(time.Second, threeRetries)
	services := append(slices.Clone(whole.graph.Services), sre.Service{Name: "late"}, sre.Service{Name: "bank", External: true})
	whole.graph = sre.NewGraph(services, append(slices.Clone(whole.graph.Edges), sre.Edge{From: 2, To: 3}))
	for k := range 90 {
		r := healthy()
		if k > 70 {
			r = r.but(reading{"errors": .4, "queue": 200, "pool": 1})
		}
		if k == 40 {
			growing.graph = whole.graph
		}
		if diff := cmp.Diff(whole.put(r), growing.put(r)); diff != "" {
			t.Fatalf("tick %d:\n%s", k, diff)
		}
	}
}

// TestReloadKeepsBaselinesByName: a new set of signals does not forget the
// series that stay.
func TestReloadKeepsBaselinesByName(t *testing.T) {
	f := newFeed(10*time.Second, sre.EdgeSpec{})
	f.times(60, healthy())
	var ps []sre.Precursor
	for range 5 {
		f.at = f.at.Add(f.interval)
		s := &sre.Snapshot{At: f.at, Interval: f.interval, Graph: f.graph, Health: sre.SourceHealth{Up: true},
			Signals: []sre.Signal{{Name: "new", Kind: sre.Cache, Unit: sre.Ratio}, feedSignals[1]}, Service: sre.NewMatrix(2, 2)}
		s.Service.Set(0, api, sre.Reading{Value: .5, State: sre.Present})
		s.Service.Set(1, api, sre.Reading{Value: .3, State: sre.Present})
		ps = f.bank.Detect(s, nil)
	}
	if _, ok := of(ps, "golden_signal", sre.Errors); !ok {
		t.Errorf("the errors' past was forgotten: %+v", ps)
	}
}

func TestExternalCalleeIsWatchedThroughItsCallers(t *testing.T) {
	g := sre.NewGraph([]sre.Service{{Name: "web"}, {Name: "card-network", External: true}}, []sre.Edge{{From: 0, To: 1}})
	bank := detectors.New(detectors.DefaultConfig())
	at := time.Date(2026, 3, 2, 9, 0, 0, 0, time.UTC)
	put := func(latency float64) []sre.Precursor {
		at = at.Add(10 * time.Second)
		s := &sre.Snapshot{At: at, Interval: 10 * time.Second, Graph: g,
			EdgeSignals: []sre.Signal{{Name: "call_latency", Kind: sre.Latency, Unit: sre.Seconds}},
			Service:     sre.NewMatrix(0, 2), Edge: sre.NewMatrix(1, 1), Health: sre.SourceHealth{Up: true}}
		s.Edge.Set(0, 0, sre.Reading{Value: latency, State: sre.Present})
		return bank.Detect(s, nil)
	}
	for range 40 {
		put(.1)
	}
	var ps []sre.Precursor
	for range 5 {
		ps = put(2)
	}
	p, ok := of(ps, "golden_signal", sre.Latency)
	if !ok || p.Service != "card-network" || p.Caller != "web" || p.Evidence[0].Subject != "web->card-network" {
		t.Errorf("found %+v", ps)
	}
}

// TestAnyReadingsAreSafe feeds what no sane system shows: scores stay within
// bounds, evidence stays finite, and the same feed gives the same answer.
func TestAnyReadingsAreSafe(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := newFeed(time.Second, threeRetries), newFeed(time.Second, threeRetries)
		value := rapid.OneOf(rapid.Float64Range(0, 1), rapid.Float64Range(0, 1e6), rapid.Just(0.))
		for range rapid.IntRange(25, 60).Draw(t, "ticks") {
			r := reading{}
			for _, sig := range feedSignals {
				if rapid.IntRange(0, 9).Draw(t, "there") > 0 {
					r[sig.Name] = value.Draw(t, sig.Name)
				}
			}
			frozen := rapid.SliceOfN(rapid.Bool(), 0, 3).Draw(t, "frozen")
			a.frozen, b.frozen = frozen, frozen
			ps := a.put(r)
			if diff := cmp.Diff(ps, b.put(r)); diff != "" {
				t.Fatalf("not deterministic:\n%s", diff)
			}
			for _, p := range ps {
				if !(p.Score >= 0 && p.Score <= 1) || p.Since.After(a.at) || p.Since.IsZero() || len(p.Evidence) == 0 || p.Severity.Rank() == 0 || !p.Mechanism.Valid() || !p.Kind.Valid() {
					t.Fatalf("precursor is %+v at %v", p, a.at)
				}
				for _, e := range p.Evidence {
					if e.Now != e.Now || e.Normal != e.Normal || e.Weight < 0 || e.Weight > 1 || !e.Unit.Valid() || e.Meaning == "" {
						t.Fatalf("evidence is %+v", e)
					}
				}
			}
		}
	})
}

// fleet makes a snapshot of n healthy services in a tree, with ten signals.
func fleet(n int) (*sre.Snapshot, *lcg) {
	services := make([]sre.Service, n)
	var edges []sre.Edge
	for i := range services {
		services[i] = sre.Service{Name: fmt.Sprintf("service-%05d", i)}
		if i > 0 {
			edges = append(edges, sre.Edge{From: (i - 1) / 3, To: i})
		}
	}
	signals := feedSignals[:10]
	s := &sre.Snapshot{
		At: time.Date(2026, 3, 2, 9, 0, 0, 0, time.UTC), Interval: 15 * time.Second, Graph: sre.NewGraph(services, edges),
		Signals: signals, Service: sre.NewMatrix(len(signals), n), Health: sre.SourceHealth{Up: true},
		EdgeSignals: []sre.Signal{{Name: "calls", Kind: sre.Traffic, Unit: sre.PerSecond}}, Edge: sre.NewMatrix(1, len(edges)),
	}
	g := lcg(9)
	return s, &g
}

func refresh(s *sre.Snapshot, g *lcg) *sre.Snapshot {
	next := *s
	next.At = s.At.Add(s.Interval)
	base := healthy()
	for row, sig := range s.Signals {
		for i := range s.Graph.Services {
			s.Service.Set(row, i, sre.Reading{Value: base[sig.Name] * (1 + .02*(g.next()-.5)), State: sre.Present})
		}
	}
	for e := range s.Graph.Edges {
		s.Edge.Set(0, e, sre.Reading{Value: 60, State: sre.Present})
	}
	return &next
}

func TestSteadyStateAllocatesNothing(t *testing.T) {
	s, g := fleet(50)
	bank := detectors.New(detectors.DefaultConfig())
	for range 60 {
		s = refresh(s, g)
		if ps := bank.Detect(s, nil); len(ps) > 0 {
			t.Fatalf("found %+v", ps)
		}
	}
	next := *s
	if n := testing.AllocsPerRun(50, func() {
		next.At = next.At.Add(next.Interval)
		bank.Detect(&next, nil)
	}); n > 0 {
		t.Errorf("%v allocations per tick", n)
	}
}
