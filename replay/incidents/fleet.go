package incidents

import (
	"math"
	"time"

	"github.com/sreagent/sreagent/replay/fluid"
)

// fleet is a generated blueprint with its flows, made to be changed in parts.
// Calls lead from lower to higher indices only, as fluid.Fleet has it.
type fleet struct {
	b         *fluid.Blueprint
	into, out [][]int
	flow      []float64 // requests per second of each service at a load of 1
	reach     []float64 // share of the requests of some entry that fail with the service
}

func newFleet(b *fluid.Blueprint) *fleet {
	f := &fleet{b: b, into: make([][]int, len(b.Services)), out: make([][]int, len(b.Services))}
	for i, e := range b.Edges {
		f.into[e.To] = append(f.into[e.To], i)
		f.out[e.From] = append(f.out[e.From], i)
	}
	f.measure()
	return f
}

// calls is how often a relation is called per request, with a full cache.
func (f *fleet) calls(e *fluid.EdgeSpec) float64 {
	if e.Cached {
		return e.Calls * (1 - f.b.Services[e.From].Cache.HitRatio)
	}
	return e.Calls
}

// measure works out flow and reach.
func (f *fleet) measure() {
	f.flow, f.reach = make([]float64, len(f.b.Services)), make([]float64, len(f.b.Services))
	for _, c := range f.b.Clients {
		f.flow[c.Entry] += c.Rate
		f.reach[c.Entry] = 1
	}
	for v := range f.b.Services {
		for _, i := range f.out[v] {
			e := &f.b.Edges[i]
			f.flow[e.To] += f.flow[v] * f.calls(e)
			if e.Hard {
				f.reach[e.To] = max(f.reach[e.To], f.reach[v]*min(1, f.calls(e)))
			}
		}
	}
}

// A service is felt when enough of some entry's requests need it, and it has so
// much to do that less of it is noticed.
const (
	leastReach = .2
	leastFlow  = 80
)

// leastRate is the capacity in requests per second that even a service with next
// to no load has, as fluid.Fleet gives it: with less, the waits of chance alone
// would be longer than timeouts.
const leastRate = 100

// pick draws one of the services that satisfy a wish, and have callers, and are
// felt; the most felt one where there is none.
func (f *fleet) pick(d *Dice, wish func(v int) bool) int {
	var fit []int
	best := -1
	for v := range f.b.Services {
		if len(f.into[v]) == 0 || wish != nil && !wish(v) {
			continue
		}
		if f.reach[v] >= leastReach && f.flow[v] >= leastFlow {
			fit = append(fit, v)
		}
		if best < 0 || f.reach[v]*f.flow[v] > f.reach[best]*f.flow[best] {
			best = v
		}
	}
	if len(fit) > 0 {
		return fit[d.Below(len(fit))]
	}
	return best
}

func (f *fleet) capacity(v int) float64 {
	s := &f.b.Services[v]
	return s.Rate * float64(s.Replicas)
}

// size gives a service that much capacity over its load.
func (f *fleet) size(v int, headroom float64) {
	s := &f.b.Services[v]
	s.Rate = max(leastRate, f.flow[v]*headroom) / float64(s.Replicas)
}

// left is the capacity that a service is left with when it can serve only a
// share of its load, as a factor on what it has.
func (f *fleet) left(v int, share float64) float64 { return share * f.flow[v] / f.capacity(v) }

// patience is the shortest time that a caller waits for a service.
func (f *fleet) patience(v int) time.Duration {
	shortest := time.Minute
	for _, i := range f.into[v] {
		shortest = min(shortest, f.b.Edges[i].Timeout)
	}
	return shortest
}

// staff gives a service workers for a time per request, so that its pool is not
// what breaks.
func (f *fleet) staff(v int, each time.Duration) {
	s := &f.b.Services[v]
	s.Workers = max(s.Workers, int(math.Ceil(f.flow[v]*each.Seconds()/float64(s.Replicas))))
}

// callers does something to every call of a service.
func (f *fleet) callers(v int, do func(e *fluid.EdgeSpec)) {
	for _, i := range f.into[v] {
		do(&f.b.Edges[i])
	}
}
