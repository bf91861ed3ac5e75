package agent

import (
	"context"
	"fmt"
	"iter"
	"log/slog"
	"math"
	"testing"
	"time"

	"github.com/sreagent/sreagent/agent/gate"
	"github.com/sreagent/sreagent/detectors"
	"github.com/sreagent/sreagent/diagnosis"
	"github.com/sreagent/sreagent/learner"
	"github.com/sreagent/sreagent/runbooks"
	"github.com/sreagent/sreagent/sre"
)

// fleet is a healthy fleet in layers, each service calling two of the next.
type fleet struct {
	graph   *sre.Graph
	signals []sre.Signal
	edges   []sre.Signal
	n       int
}

func newFleet(services int) *fleet {
	f := &fleet{
		signals: []sre.Signal{
			{Name: "traffic", Kind: sre.Traffic, Unit: sre.PerSecond}, {Name: "errors", Kind: sre.Errors, Unit: sre.Ratio},
			{Name: "latency", Kind: sre.Latency, Unit: sre.Seconds}, {Name: "p99", Kind: sre.Latency, Unit: sre.Seconds},
			{Name: "queue", Kind: sre.Queue, Unit: sre.Count}, {Name: "pool", Kind: sre.Pool, Unit: sre.Ratio},
			{Name: "cpu", Kind: sre.Saturation, Unit: sre.Ratio}, {Name: "memory", Kind: sre.Saturation, Unit: sre.Bytes},
			{Name: "retries", Kind: sre.Retries, Unit: sre.PerSecond}, {Name: "timeouts", Kind: sre.Timeouts, Unit: sre.PerSecond},
		},
		edges: []sre.Signal{{Name: "calls", Kind: sre.Traffic, Unit: sre.PerSecond, Edge: true}},
	}
	list := make([]sre.Service, services)
	var edges []sre.Edge
	width := max(1, services/10)
	for i := range list {
		list[i] = sre.Service{Name: fmt.Sprintf("service-%05d", i), Entry: i < width}
		if next := (i/width + 1) * width; next+width <= services {
			for k := range 2 {
				edges = append(edges, sre.Edge{From: i, To: next + (i*7+k*13)%width, Spec: sre.EdgeSpec{Timeout: time.Second, Retries: 2, HasRetries: true}})
			}
		}
	}
	f.graph = sre.NewGraph(list, edges)
	return f
}

func (f *fleet) Observe(_ context.Context, at time.Time) (*sre.Snapshot, error) {
	f.n++
	s := &sre.Snapshot{
		At: at, Interval: 10 * time.Second, Graph: f.graph, Signals: f.signals, EdgeSignals: f.edges,
		Service: sre.NewMatrix(len(f.signals), len(f.graph.Services)), Edge: sre.NewMatrix(len(f.edges), len(f.graph.Edges)),
		Health: sre.SourceHealth{Up: true},
	}
	base := []float64{200, 0.001, 0.02, 0.05, 4, 0.3, 0.4, 2e9, 0.2, 0.01}
	for row := range f.signals {
		for i := range f.graph.Services {
			wobble := 1 + 0.02*math.Sin(float64(f.n*(i%13+1)+row))
			s.Service.Set(row, i, sre.Reading{Value: base[row] * wobble, State: sre.Present})
		}
	}
	for e := range f.graph.Edges {
		s.Edge.Set(0, e, sre.Reading{Value: 100, State: sre.Present})
	}
	return s, nil
}

func (f *fleet) History(context.Context, time.Time, time.Time, time.Duration) iter.Seq2[*sre.Snapshot, error] {
	return func(func(*sre.Snapshot, error) bool) {}
}

// BenchmarkTick is one tick of the whole agent over a healthy fleet, without
// the time of the metric store and of the disk.
func BenchmarkTick(b *testing.B) {
	for _, services := range []int{1_000, 10_000} {
		b.Run(fmt.Sprintf("services=%d/signals=10", services), func(b *testing.B) {
			library, err := runbooks.Load(runbooks.Shipped(), ".")
			if err != nil {
				b.Fatal(err)
			}
			f := newFleet(services)
			a, err := New(Config{
				Interval: 10 * time.Second, Policy: gate.DefaultPolicy(), Timing: DefaultTiming(), Runbooks: library,
				Detection: detectors.DefaultConfig(), Diagnosis: diagnosis.DefaultConfig(), Learner: learner.DefaultConfig(),
			}, Ports{
				Clock: noClock{}, Source: f, Trail: &memory{}, Desk: &person{}, Pager: &pages{}, Log: slog.New(slog.DiscardHandler),
			})
			if err != nil {
				b.Fatal(err)
			}
			at := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
			for range 100 { // past the warm-up
				at = at.Add(10 * time.Second)
				if err := a.Tick(context.Background(), at); err != nil {
					b.Fatal(err)
				}
			}
			snapshots := make([]*sre.Snapshot, 16) // made beforehand: making them is the source's work
			for i := range snapshots {
				snapshots[i], _ = f.Observe(context.Background(), at)
			}
			a.ports.Source = canned{f, snapshots}
			b.ReportAllocs()
			b.ResetTimer()
			for range b.N {
				at = at.Add(10 * time.Second)
				if err := a.Tick(context.Background(), at); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// canned serves snapshots that were made before.
type canned struct {
	*fleet
	snapshots []*sre.Snapshot
}

func (c canned) Observe(_ context.Context, at time.Time) (*sre.Snapshot, error) {
	c.n++
	s := *c.snapshots[int(at.Unix()/10)%len(c.snapshots)]
	s.At = at
	return &s, nil
}
