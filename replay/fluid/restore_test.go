package fluid

import (
	"testing"
	"time"
)

// TestRestore gives a service all that can ail it and a queue, and takes it back.
func TestRestore(t *testing.T) {
	b := Fleet(FleetOptions{Services: 12, Layers: 3, Clients: 2, Seed: 3, Retries: 2, ClientRetries: 2})
	sick := b.Edges[0].To
	b.Services[sick].Cache = Cache{HitRatio: .5, Keys: 100}
	for e := range b.Edges {
		if b.Edges[e].From == sick {
			b.Edges[e].Cached = true
		}
	}
	m, err := New(b)
	if err != nil {
		t.Fatal(err)
	}
	m.Advance(30 * time.Second)
	calm := m.Service(sick)
	m.SetCondition(sick, Condition{Capacity: .05, Slow: time.Second, Errors: .5, Lost: 1, Leak: 1, Bad: &BadVersion{Share: 1, Errors: 1}})
	m.SetEdgeCondition(0, EdgeCondition{Loss: .5})
	m.EvictCache(sick, 1)
	m.Advance(60 * time.Second)
	if m.Service(sick).Queue < 10 {
		t.Fatalf("nothing waits: %+v", m.Service(sick))
	}
	for i := range b.Services {
		m.Empty(i)
	}
	m.Restore(sick)
	now := m.Service(sick)
	if now.Queue != 0 || m.Condition(sick) != Well() || m.EdgeCondition(0) != (EdgeCondition{}) {
		t.Errorf("still ill: queue %v, %+v, %+v", now.Queue, m.Condition(sick), m.EdgeCondition(0))
	}
	for c := range b.Clients {
		if k := m.Client(c); k.Waiting < 0 {
			t.Errorf("client %d has %v outstanding", c, k.Waiting)
		}
	}
	before := make([]ClientTotals, len(b.Clients))
	m.Advance(20 * time.Second)
	for c := range before {
		before[c] = m.Client(c)
	}
	m.Advance(20 * time.Second)
	for c := range before {
		k := m.Client(c)
		if good := (k.Good - before[c].Good) / (k.Offered - before[c].Offered); good < .999 {
			t.Errorf("client %d: goodput %v, want it well", c, good)
		}
	}
	if now := m.Service(sick); now.Workers != calm.Workers || now.HitRatio < calm.HitRatio-1e-9 || now.Ready != calm.Ready {
		t.Errorf("workers %v, cache %v, replicas %v; were %v, %v, %v", now.Workers, now.HitRatio, now.Ready, calm.Workers, calm.HitRatio, calm.Ready)
	}
}

// TestUsualLoad: a surge of minutes is not usual, the first load is.
func TestUsualLoad(t *testing.T) {
	m, err := New(Fleet(FleetOptions{Services: 6, Layers: 2, Clients: 1}))
	if err != nil {
		t.Fatal(err)
	}
	m.SetLoad(0, 2)
	m.Advance(10 * time.Minute)
	if now, usual := m.Load(0); now != 2 || usual != 2 {
		t.Errorf("load %v, usual %v, want 2", now, usual)
	}
	m.SetLoad(0, 8)
	m.Advance(2 * time.Minute)
	if now, usual := m.Load(0); now != 8 || usual < 2 || usual > 2.5 {
		t.Errorf("after a surge of two minutes load %v, usual %v", now, usual)
	}
}
