package world

import (
	"context"
	"math"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/sreagent/sreagent/replay/fluid"
	"github.com/sreagent/sreagent/sre"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var start = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func after(d time.Duration) time.Time { return start.Add(d) }

// shop is users -> gateway -> {cart -> db, ads}; cart has a cache, ads is an
// optional feature.
func shop() fluid.Blueprint {
	ms := time.Millisecond
	return fluid.Blueprint{
		Seed: 7,
		Services: []fluid.ServiceSpec{
			{Name: "gateway", Work: 2 * ms, Rate: 400, Workers: 200, Replicas: 2, QueueBound: 500},
			{Name: "cart", Work: 5 * ms, Rate: 150, Workers: 50, Replicas: 2, Cache: fluid.Cache{HitRatio: .5, Keys: 1000}, StartDelay: 20 * time.Second},
			{Name: "db", Work: 10 * ms, Rate: 120, Workers: 20, Replicas: 1, StartDelay: 20 * time.Second},
			{Name: "ads", Work: 5 * ms, Rate: 200, Workers: 20, Replicas: 1},
		},
		Edges: []fluid.EdgeSpec{
			{From: 0, To: 1, Calls: 1, Timeout: time.Second, Retries: 2, Backoff: 100 * ms, Hard: true},
			{From: 1, To: 2, Calls: 1, Timeout: 500 * ms, Retries: 2, Backoff: 50 * ms, Hard: true, Cached: true},
			{From: 0, To: 3, Calls: .5, Timeout: 200 * ms, Feature: "ads", Parallel: true},
		},
		Clients: []fluid.ClientSpec{
			{Name: "web", Entry: 0, Rate: 80, Timeout: 2 * time.Second, Retries: 1, Backoff: 200 * ms, Mix: [fluid.Classes]float64{.1, .2, .5, .2}, Concurrency: 2000},
		},
	}
}

const gateway, cart, db, ads = 0, 1, 2, 3

var inf = math.Inf(1)

func newWorld(t testing.TB, b fluid.Blueprint, change func(*Options)) *World {
	t.Helper()
	o := Options{Start: start, Seed: 1}
	if change != nil {
		change(&o)
	}
	w, err := New(b, o)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func observe(t testing.TB, w *World, at time.Time) *sre.Snapshot {
	t.Helper()
	s, err := w.Source().Observe(context.Background(), at)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// cell returns a reading by names.
func cell(t testing.TB, s *sre.Snapshot, service, signal string) sre.Reading {
	t.Helper()
	i, ok := s.Graph.Index(service)
	if !ok {
		t.Fatalf("no service %q", service)
	}
	for row, sig := range s.Signals {
		if sig.Name == signal {
			return s.Service.At(row, i)
		}
	}
	t.Fatalf("no signal %q", signal)
	return sre.Reading{}
}

func edgeCell(t testing.TB, s *sre.Snapshot, from, to, signal string) sre.Reading {
	t.Helper()
	a, _ := s.Graph.Index(from)
	b, _ := s.Graph.Index(to)
	e, ok := s.Graph.EdgeIndex(a, b)
	if !ok {
		t.Fatalf("no edge %s -> %s", from, to)
	}
	for row, sig := range s.EdgeSignals {
		if sig.Name == signal {
			return s.Edge.At(row, e)
		}
	}
	t.Fatalf("no signal %q", signal)
	return sre.Reading{}
}

// near reports whether two numbers differ by no more than rounding.
func near(a, b float64) bool {
	return a == b || math.Abs(a-b) <= 1e-9*max(math.Abs(a), math.Abs(b), 1e-6)
}

// slowDB makes db a third as fast for a while.
func slowDB(w *World, from, to time.Duration) {
	w.At(after(from), func(m *fluid.Model) {
		c := fluid.Well()
		c.Capacity = .2
		m.SetCondition(db, c)
	})
	w.At(after(to), func(m *fluid.Model) { m.SetCondition(db, fluid.Well()) })
}

// users returns how many requests users have wanted so far, and how many were
// answered well and in time.
func users(w *World) (good, offered float64) {
	for c := range w.plan.Clients {
		t := w.Model().Client(c)
		good += t.Good
		offered += t.Offered
	}
	return good, offered
}
