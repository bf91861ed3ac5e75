package diagnosis

import (
	"math"
	"slices"

	"github.com/sreagent/sreagent/sre"
)

// hold is what a service's pool of slots says of trouble that it did not make.
type hold struct {
	blocked float64 // share of its slowness that slow callees account for
	flooded float64 // share that more requests from its callers account for
}

// accounts returns the share of delays, failures and queues that the hold
// accounts for.
func (h hold) accounts() float64 { return max(h.blocked, h.flooded) }

// holds finds for every service how much of the room in its pool others took.
// The slots in use are the rate of requests times the time that each is held
// (Little, A Proof for the Queuing Formula, 1961), so that a callee which keeps
// its caller waiting, and a caller which sends more, fill the pool in proportion.
// Once it is full the queue grows without any bound that latencies could
// explain, which is why a queue above a slow service is no fault of its own. It
// says nothing where no pool is measured.
func (w *window) holds() {
	w.hold = make([]hold, len(w.g.Services))
	row, ok := w.shape.Signal(sre.Latency, sre.Seconds)
	if !ok {
		return
	}
	tide := w.tide()
	for _, i := range w.services {
		used := w.used(i)
		if !(used > 0) {
			continue
		}
		room := used / max(1-used, 1e-9) // more work, relative to the usual, over this fills it
		if usual := w.own[row][i].normal; usual > 0 {
			w.hold[i].blocked = min(1, room*w.waiting(row, i)/usual)
		}
		if more := beyond(w.growth[i], tide); more > 0 {
			w.hold[i].flooded = w.sent(i, tide) / more * min(1, room*more)
		}
	}
}

// waiting is how much longer a request of i waits for its callees, in seconds.
func (w *window) waiting(row, i int) float64 {
	var sum float64
	for _, e := range w.g.CalleesOf(i) {
		if j := w.g.Edges[e].To; j != i {
			sum += w.portion(i, j) * w.passed(row, i, j)
		}
	}
	return sum
}

// used is the share of a service's pool that is usually in use, 0 where it is
// not measured.
func (w *window) used(i int) float64 {
	for r, sig := range w.shape.Signals {
		if s := w.own[r][i]; sig.Kind == sre.Pool && s.seen {
			if sig.Unit == sre.Ratio {
				return s.normal
			}
			if sig.Unit == sre.Percent {
				return s.normal / 100
			}
		}
	}
	return 0
}

// heldBySlots reports whether a resource is short because requests take long,
// and not only because it is small.
func heldBySlots(k sre.SignalKind) bool { return k == sre.Queue || k == sre.Pool }

// missed is how much more a service asks of what lies behind its cache, relative
// to the usual, because the cache answers less.
func (w *window) missed(i int) float64 {
	for r, sig := range w.shape.Signals {
		full := 1.
		switch {
		case sig.Kind != sre.Cache || w.own[r][i].z < w.c.noteworthy:
			continue
		case sig.Unit == sre.Percent:
			full = 100
		case sig.Unit != sre.Ratio:
			continue
		}
		s := w.own[r][i]
		return max(0, (full-s.now)/max(full-s.normal, full/100)-1)
	}
	return 0
}

// above returns the share of a change in traffic that comes from the callers:
// from what they get themselves, and from what their caches no longer answer.
func (w *window) above(i int) float64 {
	var most float64
	for _, e := range w.g.CallersOf(i) {
		if from := w.g.Edges[e].From; from != i && w.growth[i] != 0 {
			most = max(most, w.sends(from, 0)/w.growth[i])
		}
	}
	return min(1, most)
}

// sent is how much of the growth of i beyond a tide its callers account for.
func (w *window) sent(i int, tide float64) float64 {
	var most float64
	for _, e := range w.g.CallersOf(i) {
		if from := w.g.Edges[e].From; from != i {
			most = max(most, w.sends(from, tide))
		}
	}
	return min(most, beyond(w.growth[i], tide))
}

// sends is the relative growth of what a service asks of others, beyond a tide.
func (w *window) sends(i int, tide float64) float64 {
	return beyond((1+w.growth[i])*(1+w.missed(i))-1, tide)
}

// beyond is the growth that a tide does not account for.
func beyond(growth, tide float64) float64 { return (1+growth)/(1+tide) - 1 }

// tide is the growth that all entries share. Where the whole world asks for more
// no service is to blame for what it sends, and the one too narrow for it is
// looked for.
func (w *window) tide() float64 {
	var growth []float64
	for _, i := range w.entries {
		if !math.IsNaN(w.traffic[i]) {
			growth = append(growth, w.growth[i])
		}
	}
	if len(growth) == 0 {
		return 0
	}
	slices.Sort(growth)
	return max(0, quartile(growth, .5))
}
