package rival

import (
	"context"
	"fmt"
	"math"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"

	"github.com/sreagent/sreagent/detectors"
	"github.com/sreagent/sreagent/replay"
	"github.com/sreagent/sreagent/sre"
)

var start = time.Date(2026, 1, 6, 9, 0, 0, 0, time.UTC)

const (
	tick    = 10 * time.Second
	history = 70 * time.Minute // of raw samples before start
	past    = 27 * time.Hour   // of recorded ones
	coarse  = 5 * time.Minute  // between recorded ones; a rule group would store five times as many
)

var signals = []sre.Signal{
	{Name: "traffic", Kind: sre.Traffic, Unit: sre.PerSecond},
	{Name: "errors", Kind: sre.Errors, Unit: sre.Ratio},
	{Name: "latency", Kind: sre.Latency, Unit: sre.Seconds},
	{Name: "pool", Kind: sre.Pool, Unit: sre.Ratio},
}

// fleet is what is measured: levels with a little noise, the same for both.
type fleet struct {
	graph  *sre.Graph
	bumped int // service whose latency is high from start on; -1 for none
}

func newFleet(services, bumped int) fleet {
	list := make([]sre.Service, services)
	for i := range list {
		list[i].Name = fmt.Sprintf("s%04d", i)
	}
	return fleet{graph: sre.NewGraph(list, nil), bumped: bumped}
}

func (f fleet) value(row, service int, at time.Time) float64 {
	k := float64(at.Unix()/10)*0.7 + float64(service*7+row)
	wobble := 1 + .05*math.Sin(k*k)
	switch row {
	case 0:
		return (20 + float64(service%200)) * wobble
	case 1:
		return .01 * wobble
	case 2:
		if service == f.bumped && !at.Before(start) {
			return .5 * wobble
		}
		return .05 * wobble
	}
	return .4 * wobble
}

func (f fleet) snapshot(at time.Time) *sre.Snapshot {
	s := &sre.Snapshot{
		At: at, Interval: tick, Graph: f.graph, Signals: signals,
		Service: sre.NewMatrix(len(signals), len(f.graph.Services)), Health: sre.SourceHealth{Up: true},
	}
	for row := range signals {
		for i := range f.graph.Services {
			s.Service.Set(row, i, sre.Reading{Value: f.value(row, i, at), State: sre.Present})
		}
	}
	return s
}

// store holds an hour of raw samples and a day of what the rules recorded, one
// in four noisy enough for a band.
func (f fleet) store(tb testing.TB) *replay.Store {
	tb.Helper()
	s, err := replay.BuildStore(tb.Context(), tb.TempDir(), past, replay.StoreOptions{}, func(add replay.Add) error {
		for row, sig := range signals {
			for i, service := range f.graph.Services {
				series := func(name string, from time.Duration, every time.Duration, value func(at time.Time) float64) error {
					var ref uint64
					var err error
					ls := labels.FromStrings("__name__", name, "service", service.Name, "signal", sig.Name)
					for at := start.Add(-from); at.Before(start); at = at.Add(every) {
						if ref, err = add(ref, ls, at.UnixMilli(), value(at)); err != nil {
							return err
						}
					}
					return nil
				}
				level := f.value(row, i, start.Add(-time.Hour))
				if err := series(Raw, history, tick, func(at time.Time) float64 { return f.value(row, i, at) }); err != nil {
					return err
				}
				if err := series(Mid, past, coarse, func(time.Time) float64 { return level }); err != nil {
					return err
				}
				if i%4 == 0 {
					if err := series(Noise, past, coarse, func(time.Time) float64 { return level / 10 }); err != nil {
						return err
					}
				}
			}
		}
		return nil
	})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := s.Close(); err != nil {
			tb.Error(err)
		}
	})
	return s
}

// scrape stores the raw samples of an instant.
func (f fleet) scrape(tb testing.TB, s *replay.Store, at time.Time) {
	tb.Helper()
	var samples []replay.Sample
	for row, sig := range signals {
		for i, service := range f.graph.Services {
			m := replay.Sample{Value: f.value(row, i, at), Metric: model.Metric{"__name__": Raw, "service": model.LabelValue(service.Name), "signal": model.LabelValue(sig.Name)}}
			samples = append(samples, m)
		}
	}
	if err := s.Append(at, samples); err != nil {
		tb.Fatal(err)
	}
}

func TestRulesTellOfWhatLasts(t *testing.T) {
	f := newFleet(8, 5)
	s, g := f.store(t), NewGroup()
	var told []string
	var first time.Duration
	for since := time.Duration(0); since <= 8*time.Minute; since += time.Minute {
		for at := start.Add(max(0, since-50*time.Second)); !at.After(start.Add(since)); at = at.Add(tick) {
			f.scrape(t, s, at)
		}
		got, err := g.Evaluate(context.Background(), s, start.Add(since))
		if err != nil {
			t.Fatal(err)
		}
		if len(got) > 0 && told == nil {
			told, first = got, since
		}
	}
	if diff := cmp.Diff([]string{"s0005 latency"}, told); diff != "" || first != Lasting {
		t.Errorf("told after %s (want %s): %s", first, Lasting, diff)
	}
}

func TestRulesAreQuietInCalm(t *testing.T) {
	f := newFleet(8, -1)
	s, g := f.store(t), NewGroup()
	for since := time.Duration(0); since <= 6*time.Minute; since += time.Minute {
		f.scrape(t, s, start.Add(since))
		got, err := g.Evaluate(context.Background(), s, start.Add(since))
		if err != nil || len(got) > 0 {
			t.Fatalf("told of %v, %v", got, err)
		}
	}
}

func TestEvaluateNamesTheRuleThatFails(t *testing.T) {
	s := newFleet(2, -1).store(t)
	g := &Group{rules: []Rule{{Record: "broken", Expr: "avg_over_time("}}}
	if _, err := g.Evaluate(context.Background(), s, start); err == nil {
		t.Error("a rule that does not parse passes")
	}
}

// race evaluates the rules and our own detectors over the same samples, turn by
// turn, and returns what each took a tick. The storing of what the rules record
// is in their time, that of the measurements in nobody's.
func race(tb testing.TB, services int, more func() bool) (rules, ours []time.Duration) {
	tb.Helper()
	f := newFleet(services, -1)
	s, g, bank := f.store(tb), NewGroup(), detectors.New(detectors.DefaultConfig())
	for at := start.Add(-20 * time.Minute); at.Before(start); at = at.Add(tick) {
		bank.Detect(f.snapshot(at), nil)
	}
	for at := start; more(); at = at.Add(tick) {
		f.scrape(tb, s, at)
		snap := f.snapshot(at)
		began := time.Now()
		if _, err := g.Evaluate(tb.Context(), s, at); err != nil {
			tb.Fatal(err)
		}
		rules = append(rules, time.Since(began))
		began = time.Now()
		bank.Detect(snap, nil)
		ours = append(ours, time.Since(began))
	}
	return rules, ours
}

func middle(x []time.Duration) float64 {
	slices.Sort(x)
	return float64(x[len(x)/2])
}

// BenchmarkRulesVsBank reports, for a thousand services, the median time of a
// tick of either and how many times as long the rules take.
func BenchmarkRulesVsBank(b *testing.B) {
	rules, ours := race(b, 1000, b.Loop)
	b.ReportMetric(middle(rules)/1e3, "rules-us/tick")
	b.ReportMetric(middle(ours)/1e3, "bank-us/tick")
	b.ReportMetric(middle(rules)/middle(ours), "ratio")
}

// TestRulesTakeLonger holds a quarter of the ratio that is aimed at, which other
// work on the machine does not turn round.
func TestRulesTakeLonger(t *testing.T) {
	rounds := 0
	rules, ours := race(t, 40, func() bool { rounds++; return rounds <= 7 })
	if ratio := middle(rules) / middle(ours); ratio < 5 {
		t.Errorf("the rules take %.1f times as long", ratio)
	}
}
