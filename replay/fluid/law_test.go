package fluid

import (
	"fmt"
	"math"
	"reflect"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func anyBlueprint(t *rapid.T) Blueprint {
	n := rapid.IntRange(1, 6).Draw(t, "services")
	ms := func(low, high int, name string) time.Duration {
		return time.Duration(rapid.IntRange(low, high).Draw(t, name)) * time.Millisecond
	}
	some := func(name string) bool { return rapid.IntRange(0, 3).Draw(t, name) == 0 }
	b := Blueprint{
		Step: rapid.SampledFrom([]time.Duration{20 * time.Millisecond, 50 * time.Millisecond, 100 * time.Millisecond}).Draw(t, "step"),
		Seed: rapid.Uint64().Draw(t, "seed"), Noise: rapid.Bool().Draw(t, "noise"),
	}
	for i := range n {
		s := ServiceSpec{
			Name: fmt.Sprint("s", i), Work: ms(1, 300, "work"), Rate: rapid.Float64Range(5, 500).Draw(t, "rate"),
			Workers: rapid.IntRange(1, 60).Draw(t, "workers"), Replicas: rapid.IntRange(0, 4).Draw(t, "replicas"),
			StartDelay: ms(0, 3000, "start"), Restart: ms(0, 3000, "restart"), Deadlines: some("deadlines"),
		}
		if some("bounded") {
			s.QueueBound = rapid.IntRange(1, 500).Draw(t, "bound")
		}
		if some("decays") {
			s.Decay = Decay{Floor: rapid.Float64Range(0.1, 0.9).Draw(t, "floor"), Onset: rapid.Float64Range(1, 300).Draw(t, "onset")}
		}
		if some("caches") {
			s.Cache = Cache{HitRatio: rapid.Float64Range(0.1, 0.99).Draw(t, "hits"), Keys: rapid.Float64Range(10, 1000).Draw(t, "keys")}
		}
		if some("fragile") {
			s.HeapLimit = rapid.Float64Range(5, 300).Draw(t, "heap")
		}
		b.Services = append(b.Services, s)
	}
	for range rapid.IntRange(0, 2*n).Draw(t, "edges") {
		e := EdgeSpec{
			From: rapid.IntRange(0, n-1).Draw(t, "from"), To: rapid.IntRange(0, n-1).Draw(t, "to"),
			Calls: rapid.Float64Range(0, 0.7).Draw(t, "calls"), Timeout: ms(10, 3000, "timeout"),
			Retries: rapid.IntRange(0, MaxRetries).Draw(t, "retries"), Backoff: ms(0, 500, "backoff"),
			Hard: !some("soft"), Parallel: some("parallel"), Cached: some("cached"),
		}
		if some("optional") {
			e.Feature = "extra"
		}
		if some("budgeted") {
			e.Budget = rapid.Float64Range(0.01, 1).Draw(t, "budget")
		}
		if some("breaks") {
			e.Breaker = Breaker{FailureRatio: 0.5, MinRequests: 5, Open: ms(100, 5000, "open")}
		}
		b.Edges = append(b.Edges, e)
	}
	for range rapid.IntRange(1, 3).Draw(t, "clients") {
		c := ClientSpec{
			Entry: rapid.IntRange(0, n-1).Draw(t, "entry"), Rate: rapid.Float64Range(0, 400).Draw(t, "load"),
			Timeout: ms(100, 4000, "patience"), Retries: rapid.IntRange(0, MaxRetries).Draw(t, "again"),
		}
		for j := range c.Mix {
			c.Mix[j] = rapid.Float64Range(0, 1).Draw(t, "mix")
		}
		if some("crowded") {
			c.Concurrency = rapid.Float64Range(1, 500).Draw(t, "concurrency")
		}
		b.Clients = append(b.Clients, c)
	}
	return b
}

// meddle changes something at random: a fault, a lever, the load, a cache.
func meddle(t *rapid.T, m *Model) {
	i := rapid.IntRange(0, len(m.plan.Services)-1).Draw(t, "service")
	unit := func(name string) float64 { return rapid.Float64Range(0, 1).Draw(t, name) }
	switch rapid.IntRange(0, 7).Draw(t, "what") {
	case 0:
		c := Condition{Capacity: unit("capacity"), Errors: unit("errors"), Lost: rapid.IntRange(0, 3).Draw(t, "lost"), Leak: 3 * unit("leak")}
		if rapid.Bool().Draw(t, "deploy") {
			c.Bad = &BadVersion{Share: unit("share"), Capacity: unit("slower"), Slow: 100 * time.Millisecond, Errors: unit("worse")}
		}
		m.SetCondition(i, c)
	case 1:
		m.SetCondition(i, Well())
	case 2:
		c := m.DefaultControl(i)
		c.Cap, c.QueueBound = 300*unit("cap"), 200*unit("queue")
		c.ClassCap[3] = 50 * unit("low")
		c.Replicas, c.Drained = rapid.IntRange(0, 6).Draw(t, "wanted"), rapid.IntRange(0, 2).Draw(t, "drained")
		c.Killed, c.KilledPart, c.RolledBack = []string{"extra"}, unit("part"), rapid.Bool().Draw(t, "back")
		m.SetControl(i, c)
	case 3:
		m.SetControl(i, m.DefaultControl(i))
	case 4:
		m.SetLoad(rapid.IntRange(0, len(m.plan.Clients)-1).Draw(t, "client"), 4*unit("factor"))
	case 5:
		m.EvictCache(i, unit("evicted"))
	case 6:
		if n := len(m.plan.Edges); n > 0 {
			e := rapid.IntRange(0, n-1).Draw(t, "edge")
			m.SetEdgeControl(e, EdgeControl{Budget: unit("allowed"), Timeout: time.Duration(1+6000*unit("timeout")) * time.Millisecond, Weight: unit("weight")})
		}
	case 7:
		if n := len(m.plan.Edges); n > 0 {
			e := rapid.IntRange(0, n-1).Draw(t, "edge")
			m.SetEdgeCondition(e, EdgeCondition{Delay: time.Duration(2000*unit("delay")) * time.Millisecond, Loss: unit("loss")})
		}
	}
}

func near(a, b, scale, part float64) bool {
	return math.Abs(a-b) <= part*(math.Abs(a)+math.Abs(b)+scale)
}

func sumOf(x [Classes]float64) float64 { return x[0] + x[1] + x[2] + x[3] }

// unserved is the age of all that waits at service i, in request seconds.
func unserved(m *Model, i int) float64 {
	v := &m.services[i]
	age := v.pile*float64(m.tick) - v.pileSum
	for t := max(0, v.head, m.tick-m.slots+1); t <= m.tick; t++ {
		age += m.cohorts[(t&(m.slots-1))*int64(len(m.services))+int64(i)].left * float64(m.tick-t)
	}
	return age * m.dt
}

// TestLaws checks, at every step of random worlds under random faults and
// levers, that nothing is lost or made, and that queues obey Little's law: the
// sum of queue lengths over time is the sum of the waits.
func TestLaws(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m, err := New(anyBlueprint(t))
		if err != nil {
			t.Fatal(err)
		}
		area := make([]float64, len(m.services))
		for range rapid.IntRange(1, 8).Draw(t, "acts") {
			meddle(t, m)
			for range rapid.IntRange(1, 60).Draw(t, "steps") {
				for i := range area {
					area[i] += m.Service(i).Queue * m.dt // until the next step all of it waits on
				}
				before := make([]ServiceTotals, len(area))
				for i := range before {
					before[i] = m.Service(i)
				}
				m.Step()
				for i := range area {
					lawful(t, m, i, before[i], area[i])
				}
				lawfulClients(t, m)
			}
		}
	})
}

func lawful(t rapid.TB, m *Model, i int, before ServiceTotals, area float64) {
	s := m.Service(i)
	arrived, admitted, shed := sumOf(s.Arrived), sumOf(s.Admitted), sumOf(s.Shed)
	if !near(arrived, admitted+shed+s.Rejected, 1, 1e-9) {
		t.Fatalf("step %d service %d: arrived %g, admitted %g + shed %g + rejected %g", m.tick, i, arrived, admitted, shed, s.Rejected)
	}
	if !near(admitted, s.Departed+s.Dropped+s.Queue, 1, 1e-9) {
		t.Fatalf("step %d service %d: admitted %g, departed %g + dropped %g + queue %g", m.tick, i, admitted, s.Departed, s.Dropped, s.Queue)
	}
	if !near(s.Departed, s.Good+s.Failed+s.Dead, 1+admitted, 1e-6) { // shares are float32
		t.Fatalf("step %d service %d: departed %g, good %g + failed %g + dead %g", m.tick, i, s.Departed, s.Good, s.Failed, s.Dead)
	}
	if waits := s.WaitSeconds + unserved(m, i); !near(area, waits, 1, 1e-9) {
		t.Fatalf("step %d service %d: queues over time %g, waits %g", m.tick, i, area, waits)
	}
	for slot := range m.slots {
		if c := m.cohorts[slot*int64(len(m.services))+int64(i)]; c.dead > c.left*(1+1e-9) || c.left > c.size*(1+1e-9) {
			t.Fatalf("step %d service %d: a cohort of %+v", m.tick, i, c)
		}
	}
	was, is := reflect.ValueOf(before), reflect.ValueOf(s)
	for f := range is.NumField() {
		name := is.Type().Field(f).Name
		if is.Field(f).Kind() != reflect.Float64 {
			continue
		}
		x := is.Field(f).Float()
		if math.IsNaN(x) || math.IsInf(x, 0) || x < 0 {
			t.Fatalf("step %d service %d: %s is %g", m.tick, i, name, x)
		}
		if !levels[name] && x < was.Field(f).Float() {
			t.Fatalf("step %d service %d: counter %s went from %g to %g", m.tick, i, name, was.Field(f).Float(), x)
		}
	}
	if b := m.services[i].bound; s.Queue > b*(1+1e-9)+1e-6 && s.Queue > before.Queue {
		t.Fatalf("step %d service %d: queue %g grew beyond its bound %g", m.tick, i, s.Queue, b)
	}
}

// TestLawsBeyondTheRings is TestLaws where work waits for much longer than
// anybody waits for it.
func TestLawsBeyondTheRings(t *testing.T) {
	for _, deadlines := range []bool{false, true} {
		b := single(100, ClientSpec{Rate: 80, Timeout: 500 * time.Millisecond, Retries: 2})
		b.Services[0].Deadlines = deadlines
		m := mustNew(t, b)
		area, piled := 0.0, 0.0
		for _, c := range []float64{1, 0.2, 1, 0.01, 20} {
			m.SetCondition(0, Condition{Capacity: c})
			for range 400 {
				area += m.Service(0).Queue * m.dt
				before := m.Service(0)
				m.Step()
				lawful(t, m, 0, before, area)
				piled = max(piled, m.services[0].pile)
			}
		}
		if q := m.Service(0).Queue; q > 0 {
			t.Errorf("deadlines %t: queue %g at last", deadlines, q)
		}
		if (piled > 1000) == deadlines {
			t.Errorf("deadlines %t: at most %g beyond the rings", deadlines, piled)
		}
	}
}

var levels = map[string]bool{
	"Queue": true, "InFlight": true, "Workers": true, "Wait": true, "Latency": true, "Busy": true,
	"Capacity": true, "Ready": true, "Wanted": true, "HitRatio": true, "BadCut": true,
}

func lawfulClients(t *rapid.T, m *Model) {
	for c := range m.plan.Clients {
		k := m.Client(c)
		if !near(k.Offered, k.Good+k.Failed+k.Waiting+k.Held, 1, 1e-6) {
			t.Fatalf("step %d client %d: offered %g, good %g + failed %g + waiting %g + held %g", m.tick, c, k.Offered, k.Good, k.Failed, k.Waiting, k.Held)
		}
		if most := m.plan.Clients[c].Concurrency; most > 0 && k.Waiting > most*(1+1e-9) {
			t.Fatalf("step %d client %d: %g outstanding, cap %g", m.tick, c, k.Waiting, most)
		}
	}
	for e := range m.plan.Edges {
		x := m.Edge(e)
		if ends := x.Good + x.Failed + x.TimedOut; ends > (x.First+x.Retried)*(1+1e-6)+1e-6 {
			t.Fatalf("step %d edge %d: %g attempts ended, %g were made", m.tick, e, ends, x.First+x.Retried)
		}
	}
}

// snapshot is everything that a model shows.
func snapshot(m *Model) []any {
	var all []any
	for i := range m.plan.Services {
		all = append(all, m.Service(i), m.Control(i), m.Condition(i))
	}
	for e := range m.plan.Edges {
		all = append(all, m.Edge(e), m.EdgeControl(e), m.EdgeCondition(e))
	}
	for c := range m.plan.Clients {
		all = append(all, m.Client(c))
	}
	return append(all, m.Elapsed())
}

// TestClonesAreIndependentAndIdentical runs a world, its clone and a second
// world in the same way, and disturbs a third copy meanwhile.
func TestClonesAreIndependentAndIdentical(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := anyBlueprint(t)
		m, err := New(b)
		if err != nil {
			t.Fatal(err)
		}
		again, _ := New(b)
		meddle(t, m)
		for i := range b.Services {
			again.SetControl(i, m.Control(i))
			again.SetCondition(i, m.Condition(i))
			again.services[i].hit = m.services[i].hit
		}
		for e := range b.Edges {
			again.SetEdgeControl(e, m.EdgeControl(e))
			again.SetEdgeCondition(e, m.EdgeCondition(e))
		}
		for c := range b.Clients {
			again.SetLoad(c, m.crowds[c].factor)
		}
		d := time.Duration(rapid.IntRange(0, 5000).Draw(t, "before")) * time.Millisecond
		m.Advance(d)
		again.Advance(d)
		clone, victim := m.Clone(), m.Clone()
		meddle(t, victim)
		d = time.Duration(rapid.IntRange(100, 8000).Draw(t, "after")) * time.Millisecond
		victim.Advance(d)
		m.Advance(d)
		victim.Advance(d)
		clone.Advance(d)
		again.Advance(d)
		if want, got := snapshot(m), snapshot(clone); !reflect.DeepEqual(want, got) {
			t.Fatalf("the clone went another way:\n%+v\n%+v", want, got)
		}
		if want, got := snapshot(m), snapshot(again); !reflect.DeepEqual(want, got) {
			t.Fatalf("the second run went another way:\n%+v\n%+v", want, got)
		}
	})
}

func TestCloneHoldsItsOwnClients(t *testing.T) {
	build := func() *Model {
		m := mustNew(t, single(100, ClientSpec{Rate: 160, Timeout: 2 * time.Second, Concurrency: 30}))
		m.Advance(10 * time.Second)
		return m
	}
	m, alone := build(), build()
	other := m.Clone()
	other.SetLoad(0, 5)
	other.Advance(time.Second)
	m.Advance(10 * time.Second)
	alone.Advance(10 * time.Second)
	if want, got := snapshot(alone), snapshot(m); !reflect.DeepEqual(want, got) {
		t.Errorf("disturbed by its clone:\n%+v\n%+v", want, got)
	}
}
