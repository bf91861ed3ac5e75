package fluid

import (
	"container/heap"
	"math"
	"testing"
	"time"
)

// queueCase is one service that a discrete-event simulation and the model both
// run. Times are seconds.
type queueCase struct {
	name                   string
	servers, retries, room int
	service, timeout       float64
	load                   float64 // requests per second
	spike, from, until     float64 // load factor while from <= t < until
	end, look              float64 // counted from look to end
	within                 float64 // allowed difference of the good share
}

// request is an attempt that arrives at a time.
type request struct {
	at      float64
	attempt int
	born    float64
}

type requests []request

func (r requests) Len() int           { return len(r) }
func (r requests) Less(i, j int) bool { return r[i].at < r[j].at }
func (r requests) Swap(i, j int)      { r[i], r[j] = r[j], r[i] }
func (r *requests) Push(x any)        { *r = append(*r, x.(request)) }
func (r *requests) Pop() any {
	old := *r
	x := old[len(old)-1]
	*r = old[:len(old)-1]
	return x
}

// simulate runs every request on its own: Poisson arrivals, exponential service,
// first come first served, work on requests that nobody waits for any more. As
// waiting is in order, an attempt's fate is known when it arrives.
func (q queueCase) simulate(seed uint64) (good, attempts, wait float64) {
	g := generator{seed: mixed(seed)}
	exponential := func(mean float64) float64 { return -mean * math.Log(1-g.float()) }
	todo := requests{{}}
	free := make([]float64, q.servers)
	var starts []float64 // of what waits
	var offered, admitted float64
	for todo.Len() > 0 {
		x := heap.Pop(&todo).(request)
		if x.at > q.end {
			continue
		}
		counted := x.born >= q.look && x.born < q.end-30
		if x.attempt == 0 {
			rate := q.load
			if x.at >= q.from && x.at < q.until {
				rate *= q.spike
			}
			at := x.at + exponential(1/rate)
			heap.Push(&todo, request{at: at, born: at})
			if counted {
				offered++
			}
		}
		if counted {
			attempts++
		}
		for len(starts) > 0 && starts[0] <= x.at {
			starts = starts[1:]
		}
		again := request{attempt: x.attempt + 1, born: x.born}
		if q.room > 0 && len(starts) >= q.room {
			again.at = x.at + 0.1
		} else {
			first := 0
			for i, t := range free {
				if t < free[first] {
					first = i
				}
			}
			start := max(x.at, free[first])
			free[first] = start + exponential(q.service)
			if start > x.at {
				starts = append(starts, start)
			}
			if counted {
				wait += start - x.at
				admitted++
			}
			if free[first] <= x.at+q.timeout {
				if counted {
					good++
				}
				continue
			}
			again.at = x.at + q.timeout
		}
		if again.attempt <= q.retries {
			heap.Push(&todo, again)
		}
	}
	return good / offered, attempts / offered, wait / max(1, admitted)
}

// model runs the same in the fluid.
func (q queueCase) model(t *testing.T) (good, attempts, wait float64) {
	second := func(x float64) time.Duration { return time.Duration(x * float64(time.Second)) }
	m := mustNew(t, Blueprint{
		Services: []ServiceSpec{{Name: "q", Work: second(q.service), Rate: 1e6, Workers: q.servers, QueueBound: q.room}},
		Clients:  []ClientSpec{{Rate: q.load, Timeout: second(q.timeout), Retries: q.retries}},
	})
	m.Advance(second(q.from))
	if q.spike > 0 {
		m.SetLoad(0, q.spike)
	}
	m.Advance(second(q.until - q.from))
	m.SetLoad(0, 1)
	m.Advance(second(q.look - q.until))
	a := m.Client(0)
	n := 0
	for m.Elapsed() < second(q.end-30) {
		m.Advance(time.Second)
		wait += m.Service(0).Wait
		n++
	}
	z := m.Client(0)
	offered := z.Offered - a.Offered
	return (z.Good - a.Good) / offered, (z.Attempts - a.Attempts) / offered, wait / float64(n)
}

// TestAgainstDiscreteEvents compares the model with a simulation of every single
// request, which shares no code and no equation with it.
func TestAgainstDiscreteEvents(t *testing.T) {
	for _, q := range []queueCase{
		{name: "light load", servers: 4, service: 0.05, timeout: 1, load: 40, look: 100, end: 3000, within: 0.01},
		{name: "tight timeout", servers: 1, service: 0.05, timeout: 0.5, load: 16, look: 200, end: 8000, within: 0.03},
		{name: "tight timeout, many servers", servers: 8, service: 0.2, timeout: 0.6, load: 30, look: 200, end: 4000, within: 0.04},
		{name: "retries of the unlucky", servers: 4, retries: 2, service: 0.1, timeout: 0.2, load: 12, look: 200, end: 6000, within: 0.03},
		{name: "overload, short queue", servers: 2, room: 20, service: 0.05, timeout: 1, load: 60, look: 100, end: 2000, within: 0.03},
		{name: "overload, long queue", servers: 2, room: 80, service: 0.05, timeout: 1, load: 60, look: 100, end: 2000, within: 0.03},
		{name: "spike, then stuck", servers: 1, retries: 5, room: 150, service: 0.1, timeout: 5, load: 5, spike: 3, from: 300, until: 900, look: 1500, end: 3000, within: 0.05},
		{name: "spike, then well", servers: 1, retries: 5, room: 35, service: 0.1, timeout: 5, load: 5, spike: 3, from: 300, until: 900, look: 1500, end: 3000, within: 0.05},
		{name: "spike without retries", servers: 2, service: 0.05, timeout: 1, load: 28, spike: 2, from: 100, until: 130, look: 300, end: 1500, within: 0.03},
	} {
		t.Run(q.name, func(t *testing.T) {
			var good, attempts, wait float64
			const seeds = 4
			for s := range uint64(seeds) {
				g, a, w := q.simulate(s)
				good, attempts, wait = good+g/seeds, attempts+a/seeds, wait+w/seeds
			}
			ours, tries, waits := q.model(t)
			t.Logf("good %.3f | %.3f, attempts per request %.2f | %.2f, wait %.3f s | %.3f s (events | model)", good, ours, attempts, tries, wait, waits)
			if math.Abs(good-ours) > q.within {
				t.Errorf("good share %.3f, by single events %.3f", ours, good)
			}
			if math.Abs(tries-attempts) > 0.1*attempts {
				t.Errorf("attempts %.3f per request, by single events %.3f", tries, attempts)
			}
		})
	}
}
