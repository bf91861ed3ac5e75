package world

import (
	"math"
	"time"

	"github.com/sreagent/sreagent/replay/fluid"
)

// The values of one scrape of a service, in this order; those of the calls that
// it makes follow, edgeFields for each.
const (
	codeOK        = iota // requests by answer, counted when they end
	codeError            // answered with an error
	codeAbandoned        // worked on, or dropped, after the caller had given up
	codeRefused          // turned away by a cap or a full queue
	retriesEnded         // repeated attempts among all of these
	durationSum
	durationCount
	inFlight
	queueDepth
	poolSize
	poolInUse
	poolWaits
	poolBusy
	cpuSeconds
	cpuCores
	gcSeconds
	replicasWanted
	replicasReady
	restarts
	overflow // turned away by a full queue
	cacheHits
	cacheMisses
	received // by class, counted when they arrive

	shed          = received + fluid.Classes // turned away by a cap, by class
	bucket        = shed + fluid.Classes     // of durations, cumulative
	serviceFields = bucket + 15
)

// The values of one call relation, in the scrape of the caller.
const (
	attempts = iota
	attemptsAgain
	attemptsOK
	attemptsFailed
	attemptsTimedOut
	attemptsFast // refused by an open breaker
	retriesSuppressed
	attemptSeconds
	breakerState
	edgeFields
)

// bounds are the upper bounds of the duration buckets in seconds.
var bounds = [serviceFields - bucket]float64{.0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, math.Inf(1)}

// target is one service as something to scrape.
type target struct {
	calls  []relation
	fields int

	count    counters
	slots    int
	ring     []float64 // the last successful scrapes, slots of fields each
	times    []int64   // their instants in milliseconds
	taken    int       // successful scrapes since the start
	alive    bool      // the last scrape succeeded
	silent   time.Time // no scrape succeeds before
	version  string
	previous string // version whose series ends with the next scrape
}

// relation is one edge of the graph and what it is in the blueprint, which may
// list the same pair more than once.
type relation struct {
	edge  int
	parts []int
}

// counters is what a service counts itself between two scrapes, beyond what the
// model counts.
type counters struct {
	at       time.Time
	past     fluid.ServiceTotals
	buckets  [len(bounds)]float64
	retries  float64                // repeated attempts that have ended
	pending  float64                // requests that have arrived and not ended
	repeated float64                // repeated attempts among them
	demand   [fluid.Classes]float64 // arrivals per second between the last two scrapes
}

// lay makes the targets and spreads their scrapes over the period.
func (w *World) lay() {
	w.targets = make([]target, len(w.plan.Services))
	for g, edge := range w.graph.Edges {
		t := &w.targets[edge.From]
		t.calls = append(t.calls, relation{edge: g, parts: w.between(edge.From, edge.To)})
	}
	slots := int(w.o.Window/w.o.Scrape) + 2
	widest := 0
	w.offset = make([][]int32, w.period)
	for i := range w.targets {
		t := &w.targets[i]
		t.fields = serviceFields + edgeFields*len(t.calls)
		t.slots = slots
		t.ring = make([]float64, slots*t.fields)
		t.times = make([]int64, slots)
		t.version = "v1"
		t.count.at = w.o.Start
		widest = max(widest, t.fields)
		k := int64(0)
		if !w.o.Aligned {
			k = int64(draw(w.o.Seed, uint64(i)) * float64(w.period))
		}
		w.offset[k] = append(w.offset[k], int32(i))
	}
	w.scratch = make([]float64, widest)
}

// draw returns a number in [0, 1) that is fixed for its arguments (splitmix64).
func draw(seed uint64, keys ...uint64) float64 {
	x := seed
	for _, k := range keys {
		x = mix(x + 0x9e3779b97f4a7c15 + mix(k+0x9e3779b97f4a7c15))
	}
	return float64(x>>11) / (1 << 53)
}

func mix(x uint64) uint64 {
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// scrape takes what is due at the present step.
func (w *World) scrape() {
	due := w.offset[w.now%w.period]
	if len(due) == 0 {
		return
	}
	at := w.clock()
	w.samples = w.samples[:0]
	for _, i := range due {
		t := &w.targets[i]
		values := w.scratch[:t.fields]
		w.measure(int(i), values, &t.count, at)
		was := t.alive
		t.alive = !at.Before(w.silent) && !at.Before(t.silent) && !w.lost(int(i))
		if t.alive {
			slot := t.taken % t.slots
			copy(t.ring[slot*t.fields:], values)
			t.times[slot] = at.UnixMilli()
			t.taken++
		}
		if w.o.Scraped != nil {
			w.expose(int(i), values, was)
		}
		if t.alive {
			t.previous = "" // its end was told
		}
	}
	if w.o.Scraped != nil {
		w.o.Scraped(at, w.samples)
	}
}

// lost reports whether the scrape of a target at the present step fails by
// chance.
func (w *World) lost(target int) bool {
	return w.o.ScrapeLoss > 0 && draw(w.o.Seed, uint64(target), uint64(w.now)) < w.o.ScrapeLoss
}

// measure writes what a service would answer to a scrape at the present step,
// and moves its own counters on.
func (w *World) measure(i int, v []float64, c *counters, at time.Time) {
	now := w.model.Service(i)
	spec := &w.plan.Services[i]
	c.advance(&now, at, (spec.Work + w.model.Condition(i).Slow).Seconds())
	v[codeOK] = now.Good
	v[codeError] = now.Failed
	v[codeAbandoned] = now.Dead + now.Dropped
	v[codeRefused] = total(&now.Shed) + now.Rejected
	v[retriesEnded] = c.retries
	v[durationSum], v[durationCount] = now.LatencySum, now.Departed
	v[inFlight], v[queueDepth] = max(0, now.InFlight-now.Queue), now.Queue
	v[poolSize], v[poolInUse] = now.Workers, now.Busy
	v[poolWaits], v[poolBusy] = now.PoolWaits, now.BusySeconds
	v[cpuSeconds], v[cpuCores] = now.CPUSeconds, now.Ready
	v[gcSeconds] = now.DecaySeconds
	v[replicasWanted], v[replicasReady] = now.Wanted, now.Ready
	v[restarts] = now.Crashes
	v[overflow] = now.Rejected
	v[cacheHits], v[cacheMisses] = now.CacheHits, now.CacheMisses
	copy(v[received:], now.Arrived[:])
	copy(v[shed:], now.Shed[:])
	copy(v[bucket:], c.buckets[:])
	for n := range w.targets[i].calls {
		w.measureEdge(w.targets[i].calls[n].parts, v[serviceFields+n*edgeFields:])
	}
}

func (w *World) measureEdge(parts []int, v []float64) {
	clear(v[:edgeFields])
	for _, e := range parts {
		now := w.model.Edge(e)
		v[attempts] += now.First + now.Retried
		v[attemptsAgain] += now.Retried
		v[attemptsOK] += now.Good
		v[attemptsFailed] += now.Failed
		v[attemptsTimedOut] += now.TimedOut
		v[attemptsFast] += now.FastFailed
		v[retriesSuppressed] += now.Suppressed
		v[attemptSeconds] += now.LatencySum
		v[breakerState] = max(v[breakerState], now.Open)
	}
}

func total(classes *[fluid.Classes]float64) float64 {
	sum := 0.0
	for _, x := range classes {
		sum += x
	}
	return sum
}

// advance counts what happened since the last time. Durations are spread over
// the buckets as a shifted exponential around their mean, the shift being the
// time that a request takes at least. A request is counted when it ends, so a
// repeated attempt is too: what has ended is taken to hold as many of them as
// what was waiting.
func (c *counters) advance(now *fluid.ServiceTotals, at time.Time, least float64) {
	dt := at.Sub(c.at).Seconds()
	past := &c.past
	if n := now.Departed - past.Departed; n > 0 {
		mean := (now.LatencySum - past.LatencySum) / n
		shift := min(mean, least)
		for i, bound := range bounds {
			switch {
			case math.IsInf(bound, 1) || bound >= shift && mean <= shift:
				c.buckets[i] += n
			case bound > shift:
				c.buckets[i] -= n * math.Expm1(-(bound-shift)/(mean-shift))
			}
		}
	}
	ended := endedOf(now) - endedOf(past)
	c.pending += total(&now.Arrived) - total(&past.Arrived)
	c.repeated += now.Retries - past.Retries
	if ended > 0 && c.pending > 0 {
		r := c.repeated * min(1, ended/c.pending)
		c.retries += r
		c.repeated -= r
	}
	c.pending -= ended
	if dt > 0 {
		for i := range c.demand {
			c.demand[i] = (now.Arrived[i] - past.Arrived[i]) / dt
		}
	}
	c.past, c.at = *now, at
}

func endedOf(s *fluid.ServiceTotals) float64 {
	return s.Good + s.Failed + s.Dead + s.Dropped + s.Rejected + total(&s.Shed)
}
