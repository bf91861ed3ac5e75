package fluid

import (
	"math"
	"testing"
	"time"
)

// pair is a front that calls a back once per request; the clients never tire.
func pair(change func(b *Blueprint)) Blueprint {
	b := Blueprint{
		Services: []ServiceSpec{
			{Name: "front", Work: 2 * time.Millisecond, Rate: 1000, Workers: 500},
			{Name: "back", Work: 5 * time.Millisecond, Rate: 200, Workers: 50},
		},
		Edges:   []EdgeSpec{{From: 0, To: 1, Calls: 1, Timeout: time.Second, Hard: true}},
		Clients: []ClientSpec{{Name: "users", Rate: 100, Timeout: 10 * time.Second}},
	}
	if change != nil {
		change(&b)
	}
	return b
}

func about(t *testing.T, what string, got, want, part float64) {
	t.Helper()
	if math.Abs(got-want) > part*math.Abs(want)+1e-9 {
		t.Errorf("%s: %g, want %g", what, got, want)
	}
}

func TestCapShedsLowClassesFirst(t *testing.T) {
	b := pair(nil)
	b.Clients[0].Mix = [Classes]float64{1, 1, 1, 1}
	m := mustNew(t, b)
	c := m.DefaultControl(0)
	c.Cap = 60
	c.ClassCap[0] = 20
	m.SetControl(0, c)
	m.Advance(100 * time.Second)
	s := m.Service(0)
	for j, want := range [Classes]float64{2000, 2500, 1500, 0} {
		about(t, "admitted", s.Admitted[j], want, 1e-9)
		about(t, "shed", s.Shed[j], 2500-want, 1e-9)
	}
	about(t, "good", m.Client(0).Good, 6000, 1e-9)
	// The back sees the classes that the front let through.
	k := m.Service(1)
	about(t, "critical calls of the back", k.Arrived[0]/sumOf(k.Arrived), 20.0/60, 0.01)
	if k.Arrived[3] > 0.01*sumOf(k.Arrived) {
		t.Errorf("low calls of the back: %g", k.Arrived[3])
	}
}

func TestKillSwitchEndsOptionalCalls(t *testing.T) {
	m := mustNew(t, pair(func(b *Blueprint) { b.Edges[0].Feature = "extra" }))
	m.SetCondition(1, Condition{Capacity: 1, Errors: 1})
	m.Advance(10 * time.Second)
	if good := over(m, 10*time.Second); good > 0.01 {
		t.Fatalf("goodput %g with a hard callee that only fails", good)
	}
	c := m.DefaultControl(0)
	c.Killed, c.KilledPart = []string{"extra"}, 0.75
	m.SetControl(0, c)
	m.Advance(10 * time.Second)
	calls := m.Edge(0).First
	about(t, "goodput at 75 % killed", over(m, 10*time.Second), 0.75, 0.01)
	about(t, "calls at 75 % killed", m.Edge(0).First-calls, 250, 0.01)
	c.Killed = []string{"another"}
	m.SetControl(0, c)
	m.Advance(10 * time.Second)
	if good := over(m, 10*time.Second); good > 0.01 {
		t.Errorf("goodput %g with another feature killed", good)
	}
}

// What waited for most of its timeout has little left for its service.
func TestAnswersAfterALongWaitAreLate(t *testing.T) {
	b := single(1, ClientSpec{Rate: 200, Timeout: time.Second})
	b.Services[0] = ServiceSpec{Name: "slow", Work: 100 * time.Millisecond, Rate: 1e6, Workers: 10, QueueBound: 80}
	m := mustNew(t, b)
	m.Advance(20 * time.Second)
	before := m.Service(0)
	m.Advance(100 * time.Second)
	s := m.Service(0)
	// The queue of 80 takes 0.8 s at 100/s; 0.2 s are left for a mean of 0.1 s.
	about(t, "wait", s.Wait, 0.8, 0.01)
	about(t, "late", (s.Dead-before.Dead)/(s.Departed-before.Departed), math.Exp(-2), 0.01)
}

// When callees become slow, workers that are free take requests in hand until
// none is left; only then does a queue build up.
func TestFreeWorkersFillBeforeTheQueue(t *testing.T) {
	m := mustNew(t, pair(func(b *Blueprint) {
		b.Services[0].Workers = 50
		b.Edges[0].Timeout = 20 * time.Second
	}))
	m.Advance(10 * time.Second)
	m.SetEdgeCondition(0, EdgeCondition{Delay: 5 * time.Second})
	m.Advance(400 * time.Millisecond)
	s := m.Service(0)
	about(t, "queue after 0.4 s", s.Queue, 0, 0)
	about(t, "busy after 0.4 s", s.Busy, 40, 0.1)
	m.Advance(2 * time.Second)
	s = m.Service(0)
	about(t, "busy after 2.4 s", s.Busy, 50, 0.01)
	if s.Queue < 100 {
		t.Errorf("queue %g after 2.4 s", s.Queue)
	}
}

func TestCallersAreHeldWhileTheyBackOff(t *testing.T) {
	hold := func(backoff time.Duration) float64 {
		m := mustNew(t, pair(func(b *Blueprint) {
			b.Services[1].Rate, b.Edges[0].Retries, b.Edges[0].Backoff = 1000, 2, backoff
		}))
		m.SetCondition(1, Condition{Capacity: 1, Errors: 1})
		m.Advance(time.Minute)
		return m.Service(0).Latency
	}
	about(t, "two pauses of 0.4 s", hold(400*time.Millisecond)-hold(0), 0.8, 0.01)
}

func TestSoftCalleesCostTimeOnly(t *testing.T) {
	m := mustNew(t, pair(func(b *Blueprint) { b.Edges[0].Hard = false }))
	m.Advance(10 * time.Second)
	fast := m.Service(0).Latency
	m.SetCondition(1, Condition{Capacity: 0.3})
	m.Advance(20 * time.Second)
	about(t, "goodput", over(m, 10*time.Second), 1, 1e-3)
	if slow := m.Service(0).Latency; slow < fast+0.9 {
		t.Errorf("latency %g s, was %g s: the timeout of 1 s is not waited for", slow, fast)
	}
}

func TestWeightShiftsTraffic(t *testing.T) {
	m := mustNew(t, pair(nil))
	c := m.DefaultEdgeControl(0)
	c.Weight = 0.4
	m.SetEdgeControl(0, c)
	m.Advance(100 * time.Second)
	about(t, "calls", m.Edge(0).First, 4000, 0.01)
}

func TestRetryBudget(t *testing.T) {
	broken := func(budget float64) EdgeTotals {
		m := mustNew(t, pair(func(b *Blueprint) { b.Edges[0].Retries, b.Services[1].Rate = 3, 1000 }))
		c := m.DefaultEdgeControl(0)
		c.Budget = budget
		m.SetEdgeControl(0, c)
		m.SetCondition(1, Condition{Capacity: 1, Errors: 1})
		m.Advance(100 * time.Second)
		return m.Edge(0)
	}
	about(t, "retries without a budget", broken(math.Inf(1)).Retried, 30000, 0.01)
	some := broken(0.1)
	about(t, "retries with 10 %", some.Retried, 1000, 0.02)
	about(t, "first attempts", some.First, 10000, 0.01)
	// Each of the 11,000 attempts wants a repetition, but those that were
	// refused end there.
	about(t, "suppressed", some.Suppressed, some.First, 0.02)
	if off := broken(0); off.Retried > 0 || off.Suppressed < 9000 {
		t.Errorf("with a budget of 0: retried %g, suppressed %g", off.Retried, off.Suppressed)
	}
}

func TestQueueBoundRejectsAndCallersRepeat(t *testing.T) {
	m := mustNew(t, pair(func(b *Blueprint) { b.Edges[0].Retries = 1 }))
	m.SetCondition(1, Condition{Capacity: 0.25})
	c := m.DefaultControl(1)
	c.QueueBound = 10
	m.SetControl(1, c)
	m.Advance(20 * time.Second)
	before, calls := m.Service(1), m.Edge(0)
	m.Advance(100 * time.Second)
	s, e := m.Service(1), m.Edge(0)
	arrived := sumOf(s.Arrived) - sumOf(before.Arrived)
	about(t, "departed", s.Departed-before.Departed, 5000, 0.01)
	about(t, "queue", s.Queue, 10, 0.01)
	about(t, "rejected", s.Rejected-before.Rejected, arrived-5000, 0.01)
	about(t, "wait", s.Wait, 0.2, 0.05)
	about(t, "arrived", arrived, e.First+e.Retried-calls.First-calls.Retried, 1e-6)
	about(t, "repeated", (e.Retried-calls.Retried)/(e.First-calls.First), s.rejectedShare(before), 0.02)
}

func (s ServiceTotals) rejectedShare(since ServiceTotals) float64 {
	return (s.Rejected - since.Rejected) / (sumOf(s.Arrived) - sumOf(since.Arrived))
}

func TestDeadlinesSpareDeadWork(t *testing.T) {
	run := func(deadlines bool) (*Model, float64) {
		m := mustNew(t, pair(func(b *Blueprint) { b.Services[1].Deadlines = deadlines }))
		m.SetCondition(1, Condition{Capacity: 0.25})
		m.Advance(30 * time.Second)
		return m, over(m, 30*time.Second)
	}
	m, blind := run(false)
	if s := m.Service(1); blind > 0.01 || s.Dropped > 0 || s.Dead < 0.8*s.Departed-100 {
		t.Errorf("without deadlines: goodput %g, dropped %g, dead %g of %g", blind, s.Dropped, s.Dead, s.Departed)
	}
	m, aware := run(true)
	if s := m.Service(1); aware < 0.45 || aware > 0.51 || s.Dropped < 2000 {
		t.Errorf("with deadlines: goodput %g of .5, dropped %g", aware, s.Dropped)
	} else if mean := s.LatencySum / s.Departed; mean > 1.05 {
		t.Errorf("mean latency %g s of what was served within 1 s", mean)
	}
}

func TestBreakerOpensTriesAndCloses(t *testing.T) {
	m := mustNew(t, pair(func(b *Blueprint) {
		b.Edges[0].Breaker = Breaker{FailureRatio: 0.5, MinRequests: 20, Open: 5 * time.Second}
	}))
	m.Advance(20 * time.Second)
	if m.Edge(0).Open != 0 || m.Edge(0).FastFailed != 0 {
		t.Fatalf("open %g in health", m.Edge(0).Open)
	}
	m.SetCondition(1, Condition{Capacity: 1, Errors: 1})
	m.Advance(15 * time.Second)
	if m.Edge(0).Open == 0 {
		t.Fatal("closed though every call fails")
	}
	for m.Edge(0).Open == 1 { // until it tries
		m.Step()
	}
	for m.Edge(0).Open != 1 { // and finds that it should not have
		m.Step()
	}
	for k := range 50 {
		if m.Edge(0).Open != 1 {
			t.Fatalf("open for %d steps, want 5 s", k)
		}
		m.Step()
	}
	about(t, "open share while it tries", m.Edge(0).Open, 0.9, 0)
	calls := m.Edge(0)
	m.Advance(60 * time.Second)
	e := m.Edge(0)
	if refused := (e.FastFailed - calls.FastFailed) / 6000; refused < 0.9 {
		t.Errorf("refused %g of the calls", refused)
	}
	if e.First <= calls.First {
		t.Error("never tries again")
	}
	m.SetCondition(1, Well())
	m.Advance(20 * time.Second)
	about(t, "open share after healing", m.Edge(0).Open, 0, 0)
	about(t, "goodput after healing", over(m, 10*time.Second), 1, 1e-3)
}

// Too few calls to judge a share by still open a breaker that counts failures in
// a row, and scattered ones do not.
func TestBreakerCountsFailuresInARow(t *testing.T) {
	for errors, opens := range map[float64]bool{.2: false, 1: true} {
		m := mustNew(t, pair(func(b *Blueprint) {
			b.Edges[0].Breaker = Breaker{FailureRatio: 1, MinRequests: 1e6, Consecutive: 8, Open: 5 * time.Second}
		}))
		m.SetCondition(1, Condition{Capacity: 1, Errors: errors})
		m.Advance(3 * time.Second)
		if open := m.Edge(0).Open > 0; open != opens {
			t.Errorf("open %t with %.0f %% of failures, want %t", open, 100*errors, opens)
		}
	}
}

func TestCacheLossAndRefill(t *testing.T) {
	build := func(rate float64) *Model {
		return mustNew(t, pair(func(b *Blueprint) {
			b.Services[0].Cache = Cache{HitRatio: 0.9, Keys: 300}
			b.Services[1].Rate = rate
			b.Edges[0].Cached = true
		}))
	}
	m := build(200)
	m.Advance(20 * time.Second)
	about(t, "hit ratio", m.Service(0).HitRatio, 0.9, 1e-9)
	calls := m.Edge(0).First
	m.Advance(10 * time.Second)
	about(t, "calls", m.Edge(0).First-calls, 100, 0.01)
	m.EvictCache(0, 1)
	calls = m.Edge(0).First
	m.Advance(time.Second)
	if surge := m.Edge(0).First - calls; surge < 80 {
		t.Errorf("%g calls in the first second without a cache, want almost 100", surge)
	}
	m.Advance(3 * time.Minute)
	about(t, "hit ratio after the refill", m.Service(0).HitRatio, 0.9, 0.01)

	// A back that is sized for misses alone drowns when the cache is gone, and
	// answers that come too late fill nothing: the loss lasts.
	m = build(30)
	m.Advance(20 * time.Second)
	m.EvictCache(0, 1)
	m.Advance(10 * time.Minute)
	if h := m.Service(0).HitRatio; h > 0.3 {
		t.Errorf("hit ratio %g in ten minutes behind an overloaded back", h)
	}
	about(t, "goodput", over(m, 10*time.Second), m.Service(0).HitRatio, 0.1)
}

func TestNetwork(t *testing.T) {
	m := mustNew(t, pair(nil))
	m.Advance(10 * time.Second)
	fast := m.Service(0).Latency
	m.SetEdgeCondition(0, EdgeCondition{Delay: 300 * time.Millisecond})
	m.Advance(10 * time.Second)
	about(t, "latency of the front", m.Service(0).Latency, fast+0.3, 0.01)
	m.SetEdgeCondition(0, EdgeCondition{Loss: 0.25})
	m.Advance(10 * time.Second)
	before := m.Edge(0)
	about(t, "goodput", over(m, 100*time.Second), 0.75, 0.01)
	about(t, "timed out", m.Edge(0).TimedOut-before.TimedOut, 2500, 0.01)
	about(t, "arrived of all", sumOf(m.Service(1).Arrived), m.Edge(0).First-m.Edge(0).TimedOut, 1e-6)
	about(t, "latency with losses", m.Service(0).Latency, fast+0.25, 0.05)
	m.SetEdgeCondition(0, EdgeCondition{Delay: 2 * time.Second})
	m.Advance(10 * time.Second)
	if good := over(m, 10*time.Second); good > 0.01 {
		t.Errorf("goodput %g over a network slower than the timeout", good)
	}
}

func TestParallelCallsOverlap(t *testing.T) {
	fan := func(parallel bool) float64 {
		b := pair(nil)
		for i := range 3 {
			b.Services = append(b.Services, ServiceSpec{Name: string(rune('a' + i)), Work: 40 * time.Millisecond, Rate: 1000, Workers: 1000})
			b.Edges = append(b.Edges, EdgeSpec{From: 0, To: 2 + i, Calls: 1, Timeout: time.Second, Parallel: parallel})
		}
		m := mustNew(t, b)
		m.Advance(10 * time.Second)
		return m.Service(0).Latency
	}
	one, all := fan(true), fan(false)
	about(t, "two more calls one after the other", all-one, 0.08, 0.02)
}

func TestClientCapHoldsAndLoses(t *testing.T) {
	b := single(100, ClientSpec{Rate: 80, Timeout: 2 * time.Second, Concurrency: 30})
	m := mustNew(t, b)
	m.Advance(20 * time.Second)
	if k := m.Client(0); k.Held > 0 || k.Failed > 0 {
		t.Fatalf("in health %g held, %g failed", k.Held, k.Failed)
	}
	m.SetLoad(0, 2)
	m.Advance(30 * time.Second)
	k := m.Client(0)
	if k.Waiting < 20-1e-9 || k.Waiting > 30 { // ten leave in a step
		t.Errorf("%g outstanding", k.Waiting)
	}
	if s := m.Service(0); s.Queue > 30 {
		t.Errorf("%g in the queue with 30 clients", s.Queue)
	}
	if k.Held < 150 {
		t.Errorf("%g wait outside, want what comes in two seconds beyond 100/s", k.Held)
	}
	about(t, "lost while waiting, in all", k.Failed, 30*60-k.Held, 0.1)
	about(t, "good under overload", over(m, 30*time.Second), 100.0/160, 0.03)
}

func TestDecayCountsAsProcessorTime(t *testing.T) {
	b := single(100, ClientSpec{Rate: 120, Timeout: time.Minute})
	b.Services[0].Decay = Decay{Floor: 0.5, Onset: 100}
	m := mustNew(t, b)
	m.Advance(time.Minute)
	before := m.Service(0)
	m.Advance(10 * time.Second)
	s := m.Service(0)
	about(t, "processor", s.CPUSeconds-before.CPUSeconds, 10, 1e-6)
	about(t, "of it decay", s.DecaySeconds-before.DecaySeconds, 5, 1e-6)
	about(t, "served", s.Departed-before.Departed, 500, 1e-6)
}

// A timeout that a lever lengthens needs longer rings; the world must go on as
// if they had been that long from the start.
func TestLongerTimeoutStretchesTheRings(t *testing.T) {
	build := func(change func(b *Blueprint)) *Model {
		return mustNew(t, pair(func(b *Blueprint) {
			b.Edges[0].Timeout, b.Edges[0].Retries = time.Second, 3
			b.Clients[0].Timeout = time.Second
			change(b)
		}))
	}
	short := build(func(*Blueprint) {})
	long := build(func(b *Blueprint) { b.Clients = append(b.Clients, ClientSpec{Timeout: 60 * time.Second}) })
	if short.slots >= long.slots {
		t.Fatalf("rings of %d and %d", short.slots, long.slots)
	}
	for _, m := range []*Model{short, long} {
		m.SetCondition(1, Condition{Capacity: 0.2})
		m.Advance(8 * time.Second)
		c := m.DefaultEdgeControl(0)
		c.Timeout = 30 * time.Second
		m.SetEdgeControl(0, c)
		m.Advance(20 * time.Second)
		m.SetCondition(1, Well())
		m.Advance(time.Minute)
	}
	// Dead work that left the ring is served by its mean age, so waits may
	// differ, but not what is counted.
	a, b := short.Edge(0), long.Edge(0)
	for _, x := range [][2]float64{{a.First, b.First}, {a.Retried, b.Retried}, {a.TimedOut, b.TimedOut}, {a.Good, b.Good}} {
		about(t, "edge", x[0], x[1], 1e-6)
	}
	about(t, "departed", short.Service(1).Departed, long.Service(1).Departed, 1e-6)
}

func TestNonsenseFromLeversIsTamed(t *testing.T) {
	m := mustNew(t, pair(nil))
	nan := math.NaN()
	m.SetControl(0, ServiceControl{Cap: nan, QueueBound: nan, ClassCap: [Classes]float64{nan, nan, nan, nan}, Replicas: 1, Drained: -3, KilledPart: nan})
	m.SetEdgeControl(0, EdgeControl{Budget: nan, Timeout: -1, Weight: nan})
	m.SetLoad(0, nan)
	m.SetLoad(0, 1)
	m.EvictCache(0, nan)
	m.Advance(10 * time.Second)
	about(t, "goodput", over(m, 10*time.Second), 1, 1e-3)
	m.SetControl(0, ServiceControl{Replicas: 1}) // the zero value closes the door
	m.Advance(10 * time.Second)
	about(t, "goodput behind a cap of 0", over(m, 10*time.Second), 0, 0)
	m.SetCondition(1, Condition{Capacity: -1, Errors: 7, Lost: -2, Leak: -1})
	c := m.Condition(1)
	if c.Capacity != 0 || c.Errors != 1 || c.Lost != 0 || c.Leak != 0 {
		t.Errorf("kept %+v", c)
	}
	m.Advance(10 * time.Second)
}

func TestStepAllocatesNothing(t *testing.T) {
	m := mustNew(t, Fleet(FleetOptions{Services: 100, Retries: 3, ClientRetries: 3, Noise: true}))
	m.Advance(10 * time.Second)
	if n := testing.AllocsPerRun(50, m.Step); n > 0 {
		t.Errorf("%g allocations in a healthy step", n)
	}
	m.SetCondition(busiestLeaf(m.plan), Condition{Capacity: 0.1})
	m.Advance(30 * time.Second)
	if n := testing.AllocsPerRun(50, m.Step); n > 0 {
		t.Errorf("%g allocations in a step of collapse", n)
	}
}

// TestHearsayIsOfATime finds that how fast a caller learns that its calls fail is
// a matter of seconds, not of steps.
func TestHearsayIsOfATime(t *testing.T) {
	want := 1 - math.Pow(0.8, 10)
	for _, step := range []time.Duration{20 * time.Millisecond, 50 * time.Millisecond, 100 * time.Millisecond} {
		m := mustNew(t, pair(func(b *Blueprint) { b.Step = step }))
		m.Advance(time.Minute)
		ill := Well()
		ill.Errors = 1
		m.SetCondition(1, ill)
		m.Advance(time.Second)
		e := &m.edges[m.edgeAt[0]]
		if got := e.badEnds / (e.goodEnds + e.badEnds); math.Abs(got-want) > 1e-9 {
			t.Errorf("steps of %s: after a second %.4f of the calls are known to fail, want %.4f", step, got, want)
		}
	}
}
