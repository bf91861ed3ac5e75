package diagnosis

import (
	"cmp"
	"math"
	"slices"
	"time"

	"github.com/sreagent/sreagent/sre"
)

// RankWindow ranks every service of the graph as the cause of a fault whose time
// is given: before holds snapshots of normal operation, after those from the
// fault on, both in time order and extending one graph. It is how published
// methods for finding root causes are compared, and what a review after an
// incident asks; it reads metrics, the graph and the changes, and no state.
//
// The most probable service comes first. Probabilities sum to 1 with one
// hypothesis of an empty service among them, the cause that is not seen. It
// returns nil where after is empty.
func RankWindow(before, after []*sre.Snapshot, changes []sre.Change) []sre.Hypothesis {
	if len(after) == 0 {
		return nil
	}
	w := &window{before: before, after: after, shape: after[len(after)-1]}
	w.g = w.shape.Graph
	w.measure()
	w.reach()
	w.victims()
	return w.hypotheses(w.suspects(changes))
}

// The coefficients of RankWindow. They are round numbers: any of them moved by a
// third either way gives another first suspect to at most 3 of 68 recorded faults.
const (
	windowResource = 1.3 // what is short points to a cause, not to a symptom
	windowTraffic  = .5  // more or less load is rarely a fault of the service that gets it
	windowSecond   = .5  // the second best family of signs
	windowSupport  = .6  // the suffering has a way up to an entry
	windowCover    = 2.  // it accounts for all that the entries suffer
	windowChange   = .5  // it was changed just before
	windowUnseen   = 1.  // the score of a cause that is not seen
	windowMute     = .5  // weight of a family that the entries hardly show
)

// noteworthy is the deviation, in robust standard deviations, from which a
// shift may explain another one.
const noteworthy = 2

// entryHurts is the deviation from which an entry says what kind of trouble it
// is.
const entryHurts = 3

// family groups the kinds of signals by what they say about a cause.
type family int

const (
	resources family = iota // short of something of its own
	failures
	delays
	load
	families
)

func familyOf(k sre.SignalKind) family {
	switch k {
	case sre.Saturation, sre.Pool, sre.Queue, sre.Cache, sre.Replicas:
		return resources
	case sre.Errors, sre.Timeouts, sre.Retries:
		return failures
	case sre.Latency:
		return delays
	case sre.Traffic:
	}
	return load
}

// shift is how one series moved from the one window to the other.
type shift struct {
	normal, now float64
	z           float64 // in robust standard deviations, in the bad direction; 0 is none
	seen        bool
}

// rise is how far the series went up.
func (s shift) rise() float64 { return max(0, s.now-s.normal) }

// weight is the logarithm of a deviation, so that a signal that hardly ever
// moves does not drown the others.
func (s shift) weight(left float64) float64 { return math.Log1p(min(s.z*left, 1e4)) }

// window is one question of RankWindow with all that is computed on the way.
type window struct {
	g             *sre.Graph
	before, after []*sre.Snapshot
	shape         *sre.Snapshot // names the signals

	own     [][]shift // by signal and service
	edge    [][]shift // by edge signal and edge
	traffic []float64 // requests per second by service, NaN where not known
	growth  []float64 // relative change of traffic by service, 0 where not known
	entries []int
	way     []float64           // how well a trail of symptoms leads up to an entry
	mute    [families]float64   // weight of each family by what the entries suffer
	harm    [][families]float64 // share of the entries' harm that a service accounts for
}

func services(s *sre.Snapshot) *sre.Matrix { return &s.Service }
func calls(s *sre.Snapshot) *sre.Matrix    { return &s.Edge }

// measure compares every series of the two windows.
func (w *window) measure() {
	n := len(w.g.Services)
	w.entries = w.g.Entries()
	w.traffic, w.growth = make([]float64, n), make([]float64, n)
	for i := range w.traffic {
		w.traffic[i] = math.NaN()
	}
	w.own = make([][]shift, len(w.shape.Signals))
	for r, sig := range w.shape.Signals {
		if sig.Kind == sre.Traffic {
			w.own[r] = w.compareRow(services, sig, r, n)
			w.noteTraffic(w.own[r])
		}
	}
	for r, sig := range w.shape.Signals {
		if sig.Kind != sre.Traffic {
			w.own[r] = w.compareRow(services, sig, r, n)
		}
	}
	w.edge = make([][]shift, len(w.shape.EdgeSignals))
	for r, sig := range w.shape.EdgeSignals {
		w.edge[r] = w.compareRow(calls, sig, r, len(w.g.Edges))
	}
}

// noteTraffic keeps the first traffic signal that a service has.
func (w *window) noteTraffic(row []shift) {
	for i, s := range row {
		if s.seen && math.IsNaN(w.traffic[i]) {
			w.traffic[i] = max(s.normal, s.now)
			w.growth[i] = (s.now - s.normal) / max(s.normal, .01)
		}
	}
}

// compareRow compares one signal of every subject. A subject whose traffic was
// seen before and is gone counts as one without requests, provided that the
// signal still speaks for others: else the query has failed.
func (w *window) compareRow(of func(*sre.Snapshot) *sre.Matrix, sig sre.Signal, r, subjects int) []shift {
	out := make([]shift, subjects)
	var alive bool
	var gone []int
	var a, b []float64
	for i := range subjects {
		b, a = cells(b[:0], w.before, of, r, i), cells(a[:0], w.after, of, r, i)
		alive = alive || len(a) > 0
		if len(a) == 0 && 2*len(b) > len(w.before) && sig.Kind == sre.Traffic {
			gone = append(gone, i)
		}
		out[i] = compare(sig, b, a, w.requests(sig, i))
	}
	for _, i := range gone {
		if alive {
			b = cells(b[:0], w.before, of, r, i)
			out[i] = compare(sig, b, []float64{0}, math.NaN())
		}
	}
	return out
}

// requests returns how many requests of a service one sample stands for, NaN
// where that is not known.
func (w *window) requests(sig sre.Signal, i int) float64 {
	if sig.Edge {
		return math.NaN()
	}
	return w.traffic[i] * w.shape.Interval.Seconds()
}

// incredible bounds a reading, so that products and sums of readings stay finite.
const incredible = 1e100

// cells appends the fresh readings of one series.
func cells(out []float64, list []*sre.Snapshot, of func(*sre.Snapshot) *sre.Matrix, r, i int) []float64 {
	for _, s := range list {
		m := of(s)
		if i >= m.Subjects || (r+1)*m.Subjects > len(m.Values) {
			continue // a smaller graph of earlier
		}
		if x := m.At(r, i); x.OK() && math.Abs(x.Value) <= incredible {
			out = append(out, x.Value)
		}
	}
	return out
}

// quartile returns the smallest sample that no less than the share q of the
// sorted samples reaches.
func quartile(sorted []float64, q float64) float64 {
	return sorted[max(0, int(math.Ceil(q*float64(len(sorted))))-1)]
}

// compare sorts both samples. The later window is judged by its worse quartile:
// one wild sample is not a fault, and a fault need not last all the window.
func compare(sig sre.Signal, before, after []float64, requests float64) shift {
	if len(before) == 0 || len(after) == 0 {
		return shift{}
	}
	slices.Sort(before)
	slices.Sort(after)
	normal := quartile(before, .5)
	spread := (quartile(before, .75) - quartile(before, .25)) / 1.349
	scale := max(spread, leastScale(sig, normal, requests))
	scale *= math.Sqrt(1 + 4/float64(len(before))) // few samples know little of the spread
	high, low := quartile(after, .75), quartile(after, .25)
	s := shift{normal: normal, now: high, seen: true}
	falls := sig.Kind == sre.Cache || sig.Kind == sre.Replicas
	if falls || sig.Kind == sre.Traffic && normal-low > high-normal {
		s.now = low
	}
	diff := s.now - normal
	switch {
	case falls:
		diff = -diff
	case sig.Kind == sre.Traffic:
		diff = math.Abs(diff)
	}
	s.z = max(0, diff) / scale
	return s
}

// leastScale is the smallest standard deviation that is believed of a signal:
// without it, one that never moved outranks every real cause.
func leastScale(sig sre.Signal, normal, requests float64) float64 {
	share := .05 * math.Abs(normal)
	failing := sig.Kind == sre.Errors
	switch sig.Unit {
	case sre.PerSecond:
		return max(share, math.Sqrt(max(normal, 0)/60), .01)
	case sre.Ratio, sre.Percent:
		full := 1.
		if sig.Unit == sre.Percent {
			full = 100
		}
		switch {
		case !failing:
			return max(.02*full, share)
		case requests > 0:
			q := (max(0, normal)/full*requests + .5) / (requests + 1)
			return full * max(.002, math.Sqrt(q*(1-min(1, q))/requests))
		}
		return .005 * full
	case sre.Seconds:
		return max(share, .001)
	case sre.Bytes:
		return max(share, 1024)
	case sre.Count:
		return max(1, math.Sqrt(max(normal, 0)))
	}
	if failing {
		return max(share, .01)
	}
	return max(share, .001)
}

// suspects returns how suspicious the latest change of each service is, with the
// change. A change after the fault began cannot have caused it.
func (w *window) suspects(changes []sre.Change) map[string]suspect {
	defaults := DefaultConfig()
	onset := w.after[0].At
	out := map[string]suspect{}
	for _, c := range changes {
		before := onset.Sub(c.At)
		if before < 0 || before > time.Duration(defaults.ChangeWindow) {
			continue
		}
		x := math.Exp(-before.Seconds() / time.Duration(defaults.ChangeDecay).Seconds())
		if old, ok := out[c.Service]; !ok || cmp.Or(cmp.Compare(x, old.weight), cmp.Compare(old.change.ID, c.ID)) > 0 {
			out[c.Service] = suspect{x, c}
		}
	}
	return out
}

// suspect is a change that may be to blame.
type suspect struct {
	weight float64 // 1 at the onset, fading with the time since
	change sre.Change
}
