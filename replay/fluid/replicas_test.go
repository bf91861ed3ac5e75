package fluid

import (
	"testing"
	"time"
)

func TestReplicasComeAndGo(t *testing.T) {
	m := mustNew(t, pair(func(b *Blueprint) {
		b.Services[1].Rate, b.Services[1].Replicas, b.Services[1].StartDelay = 100, 2, 30*time.Second
	}))
	c := m.DefaultControl(1)
	ready := func(want float64) {
		t.Helper()
		if got := m.Service(1).Ready; got != want {
			t.Errorf("at %v: %g ready, want %g", m.Elapsed(), got, want)
		}
	}
	ready(2)
	c.Replicas = 5
	m.SetControl(1, c)
	m.Advance(29900 * time.Millisecond)
	ready(2)
	about(t, "wanted", m.Service(1).Wanted, 5, 0)
	m.Advance(100 * time.Millisecond)
	ready(5)
	m.Step()
	about(t, "capacity", m.Service(1).Capacity, 500, 1e-9)
	c.Replicas = 1
	m.SetControl(1, c)
	m.Step()
	ready(1)
	c.Replicas = 4
	m.SetControl(1, c)
	c.Replicas = 2 // two of the three that start are called off
	m.SetControl(1, c)
	m.Advance(time.Minute)
	ready(2)
	c.Drained = 1
	m.SetControl(1, c)
	m.Step()
	about(t, "capacity with one drained", m.Service(1).Capacity, 100, 1e-9)
	m.SetCondition(1, Condition{Capacity: 1, Lost: 2})
	m.Advance(10 * time.Second)
	ready(0)
	if good := over(m, 10*time.Second); good > 0.05 {
		t.Errorf("goodput %g without a replica", good)
	}
	m.SetCondition(1, Well())
	m.SetControl(1, m.DefaultControl(1))
	m.Advance(time.Minute)
	ready(2)
	about(t, "goodput again", over(m, 10*time.Second), 1, 1e-3)
}

func TestOverloadedReplicasCrashAndReturn(t *testing.T) {
	m := mustNew(t, pair(func(b *Blueprint) {
		b.Services[1].Rate, b.Services[1].Replicas = 60, 3
		b.Services[1].HeapLimit, b.Services[1].Restart = 50, 5*time.Second
	}))
	m.Advance(10 * time.Second)
	m.SetCondition(1, Condition{Capacity: 0.3})
	m.Advance(30 * time.Second)
	s := m.Service(1)
	if s.Crashes < 3 || s.Dropped < 100 {
		t.Errorf("%g crashes, %g requests lost", s.Crashes, s.Dropped)
	}
	m.SetCondition(1, Well())
	m.Advance(30 * time.Second)
	if m.Service(1).Ready != 3 {
		t.Errorf("%g ready at last", m.Service(1).Ready)
	}
	about(t, "goodput at last", over(m, 10*time.Second), 1, 1e-3)
}

func TestLostReplicasTakeTheirShareOfEveryAge(t *testing.T) {
	m := mustNew(t, pair(func(b *Blueprint) { b.Services[1].Rate, b.Services[1].Replicas = 50, 4 }))
	m.SetCondition(1, Condition{Capacity: 0.1})
	m.Advance(5 * time.Second)
	before := m.Service(1)
	m.SetCondition(1, Condition{Capacity: 0.1, Lost: 1})
	s := m.Service(1)
	about(t, "queue", s.Queue, before.Queue*0.75, 1e-9)
	about(t, "dropped", s.Dropped, before.Queue*0.25, 1e-9)
	area := s.WaitSeconds + unserved(m, 1)
	for range 100 {
		area += m.Service(1).Queue * m.dt
		last := m.Service(1)
		m.Step()
		lawful(t, m, 1, last, area)
	}
}

func TestLeakExhaustsThePoolUntilRollback(t *testing.T) {
	m := mustNew(t, pair(nil))
	m.SetCondition(1, Condition{Capacity: 1, Leak: 1})
	m.Advance(30 * time.Second)
	about(t, "workers left", m.Service(1).Workers, 20, 0.01)
	m.Advance(30 * time.Second)
	if good := over(m, 10*time.Second); good > 0.01 {
		t.Errorf("goodput %g without workers", good)
	}
	c := m.DefaultControl(1)
	c.RolledBack = true
	m.SetControl(1, c)
	m.SetCondition(1, Well())
	m.Advance(40 * time.Second)
	about(t, "workers after the rollback", m.Service(1).Workers, 50, 0)
	about(t, "goodput after the rollback", over(m, 10*time.Second), 1, 1e-3)
}

func TestACrashTakesItsLeakWithIt(t *testing.T) {
	m := mustNew(t, pair(func(b *Blueprint) { b.Services[1].Replicas, b.Services[1].Restart = 4, 10*time.Second }))
	m.SetCondition(1, Condition{Capacity: 1, Leak: 2})
	m.Advance(20 * time.Second)
	m.SetCondition(1, Well())
	m.Step()
	about(t, "workers of four replicas", m.Service(1).Workers, 4*50-40, 0.01)
	busy := m.services[1].busy
	m.crash(1)
	about(t, "busy of three", m.services[1].busy, busy*0.75, 1e-9)
	m.Step()
	about(t, "workers of three", m.Service(1).Workers, 3*50-30, 0.01)
	m.Advance(10 * time.Second)
	about(t, "workers of four again", m.Service(1).Workers, 4*50-30, 0.01)
}

func TestBadVersion(t *testing.T) {
	m := mustNew(t, pair(nil))
	bad := BadVersion{Share: 0.5, Capacity: 0.5, Slow: 100 * time.Millisecond, Errors: 0.2}
	m.SetCondition(1, Condition{Capacity: 1, Bad: &bad})
	bad.Errors = 1 // the model has its own copy
	m.Advance(20 * time.Second)
	s := m.Service(1)
	about(t, "capacity", s.Capacity, 150, 1e-9)
	about(t, "share", s.BadCut, 0.5, 0)
	about(t, "goodput", over(m, 10*time.Second), 0.9, 1e-3)
	if s.Latency < 0.055 {
		t.Errorf("latency %g s, want the slow half in it", s.Latency)
	}
	c := m.DefaultControl(1)
	c.RolledBack = true
	m.SetControl(1, c)
	m.Advance(10 * time.Second)
	about(t, "goodput after the rollback", over(m, 10*time.Second), 1, 1e-3)
	about(t, "share after the rollback", m.Service(1).BadCut, 0, 0)
	if m.Condition(1).Bad == nil {
		t.Error("the condition is forgotten")
	}
}

// TestALowerBoundTurnsAwayWhoHasWaitedLongest holds that a bound takes effect on
// what waits already, as the guard's does, that callers are told and try again, and
// that no request is lost on the way.
func TestALowerBoundTurnsAwayWhoHasWaitedLongest(t *testing.T) {
	for name, wait := range map[string]time.Duration{"within the rings": 20 * time.Second, "beyond them": 10 * time.Minute} {
		m := mustNew(t, pair(func(b *Blueprint) { b.Services[1].Rate = 100 }))
		m.Advance(10 * time.Second)
		m.SetCondition(1, Condition{Capacity: 0.1})
		m.Advance(wait)
		before := m.Service(1)
		if before.Queue < 200 {
			t.Fatalf("%s: only %g wait", name, before.Queue)
		}
		c := m.DefaultControl(1)
		c.QueueBound = 50
		m.SetControl(1, c)
		after := m.Service(1)
		about(t, name+": queue", after.Queue, 50, 1e-6)
		about(t, name+": dropped", after.Dropped-before.Dropped, before.Queue-50, 1e-6*before.Queue)
		m.SetCondition(1, Well())
		m.Advance(5 * time.Second)
		s := m.Service(1)
		in := 0.0
		for _, x := range s.Admitted {
			in += x
		}
		about(t, name+": admitted, departed, dropped or waiting", in, s.Departed+s.Dropped+s.Queue, 1e-6*in)
		// What was left is young: its callers still wait, and the backlog is gone at once.
		if good := over(m, 5*time.Second); good < 0.99 {
			t.Errorf("%s: goodput %g after the backlog was refused", name, good)
		}
	}
}
