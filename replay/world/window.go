package world

import (
	"math"
	"time"
)

// lookback is how long Prometheus sees the last sample of a series that did not
// end.
const lookback = 5 * time.Minute

// span is what the scrapes of one target say at an instant: the arithmetic of
// PromQL's rate over the window, and of an instant selector.
type span struct {
	latest      []float64 // the last scrape; nil where it failed or is too old
	first, last []float64 // the ends of the window; nil with fewer than two scrapes in it
	sampled     float64   // seconds between them
	before      float64   // seconds that the window reaches further back than first, as extrapolated
	after       float64   // and ahead of last
	window      float64   // seconds
	edge        int       // index of the first value of the edge that is looked at
}

// look reads a target at an instant. The window is open at its start, as
// PromQL's is.
func (t *target) look(at int64, window time.Duration) span {
	s := span{window: window.Seconds()}
	if t.taken == 0 {
		return s
	}
	start := at - window.Milliseconds()
	first, last := -1, t.taken-1
	for k := last; k >= 0 && k > last-t.slots && t.times[k%t.slots] > start; k-- {
		first = k
	}
	if t.alive && t.times[last%t.slots] > at-lookback.Milliseconds() {
		s.latest = t.values(last)
	}
	if first < 0 || first == last {
		return s
	}
	firstAt, lastAt := t.times[first%t.slots], t.times[last%t.slots]
	s.first, s.last = t.values(first), t.values(last)
	s.sampled = float64(lastAt-firstAt) / 1000
	s.before = float64(firstAt-start) / 1000
	s.after = float64(at-lastAt) / 1000
	between := s.sampled / float64(last-first)
	if s.before >= between*1.1 {
		s.before = between / 2
	}
	if s.after >= between*1.1 {
		s.after = between / 2
	}
	return s
}

func (t *target) values(k int) []float64 {
	at := k % t.slots * t.fields
	return t.ring[at : at+t.fields]
}

// number is a value that may be missing. Not a number is a value.
type number struct {
	v  float64
	ok bool
}

// rate is PromQL's rate of one counter, per second.
func (s *span) rate(field int) number {
	if s.first == nil {
		return number{}
	}
	return number{s.increase(field) * (s.extent(field) / s.sampled / s.window), true}
}

// increase is the growth of a counter between the ends of the window.
func (s *span) increase(field int) float64 { return s.last[field] - s.first[field] }

// extent is the time that the growth stands for: a counter is not taken to have
// grown before it was zero.
func (s *span) extent(field int) float64 {
	before, grown := s.before, s.increase(field)
	if grown > 0 && s.first[field] >= 0 {
		before = min(before, s.sampled*(s.first[field]/grown))
	}
	return s.sampled + before + s.after
}

// rates is the sum of the rates of n neighbouring counters.
func (s *span) rates(field, n int) number {
	sum := number{ok: s.first != nil}
	for i := field; i < field+n && sum.ok; i++ {
		sum.v += s.rate(i).v
	}
	return sum
}

// gauge is the latest value of a field.
func (s *span) gauge(field int) number {
	if s.latest == nil {
		return number{}
	}
	return number{s.latest[field], true}
}

func (a number) over(b number) number { return number{a.v / b.v, a.ok && b.ok} }

func (a number) plus(b number) number { return number{a.v + b.v, a.ok && b.ok} }

// orElse is PromQL's "a > b or b".
func (a number) orElse(b number) number {
	if a.ok && b.ok && a.v > b.v {
		return a
	}
	return b
}

func (a number) atMost(most float64) number {
	if a.v > most {
		a.v = most
	}
	return a
}

// quantile is PromQL's histogram_quantile over the rates of the buckets.
func (s *span) quantile(q float64) number {
	if s.first == nil {
		return number{}
	}
	var counts [len(bounds)]float64
	for i := range counts {
		counts[i] = s.rate(bucket + i).v
		// Extrapolation can leave a bucket a rounding error below its
		// neighbour.
		if i > 0 && (counts[i] < counts[i-1] || almostEqual(counts[i], counts[i-1])) {
			counts[i] = counts[i-1]
		}
	}
	all := counts[len(counts)-1]
	if all == 0 {
		return number{math.NaN(), true}
	}
	rank, b := q*all, 0
	for b < len(counts)-1 && counts[b] < rank {
		b++
	}
	if b == len(counts)-1 {
		return number{bounds[b-1], true}
	}
	low, below := 0.0, 0.0
	if b > 0 {
		low, below = bounds[b-1], counts[b-1]
	}
	return number{low + (bounds[b]-low)*((rank-below)/(counts[b]-below)), true}
}

// almostEqual holds two counts against each other as Prometheus does before it
// takes a quantile.
func almostEqual(a, b float64) bool {
	if a == b {
		return true
	}
	sum, diff := math.Abs(a)+math.Abs(b), math.Abs(a-b)
	const tolerance, smallest = 1e-12, 0x1p-1022
	if a == 0 || b == 0 || sum < smallest {
		return diff < tolerance*smallest
	}
	return diff/min(sum, math.MaxFloat64) < tolerance
}
