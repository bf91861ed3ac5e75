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
// A cascade hides its origin: minutes later everybody waits for everybody. A
// fault that grows slowly shows late. So the question is put to stages of the
// later list, all of it, half of it, a quarter, down to its first snapshot, and
// the probabilities are the mean of what the stages say; a stage in which nothing
// is seen yet says so and leaves the answer to the others.
//
// The most probable service comes first. Probabilities sum to 1 with one
// hypothesis of an empty service among them, the cause that is not seen. It
// returns nil where after is empty.
func RankWindow(before, after []*sre.Snapshot, changes []sre.Change) []sre.Hypothesis {
	if len(after) == 0 {
		return nil
	}
	return rankWindow(plainCoefficients(), before, after, changes)
}

func rankWindow(c coefficients, before, after []*sre.Snapshot, changes []sre.Change) []sre.Hypothesis {
	w := windowWith(c, before, after, nil)
	changed := w.suspects(changes)
	v := w.judge(changed)
	stages := 1.
	for n := len(after) / 2; n > 0; n /= 2 {
		w.stage(after[:n])
		stages++
		for k, x := range w.judge(changed).probabilities {
			v.probabilities[k] += x
		}
	}
	for k := range v.probabilities {
		v.probabilities[k] /= stages
	}
	return w.hypotheses(v, changed)
}

// newWindow compares the two lists for the services of a region, all of them
// where it is nil. The later list must not be empty.
func newWindow(before, after []*sre.Snapshot, region []int) *window {
	return windowWith(plainCoefficients(), before, after, region)
}

func windowWith(c coefficients, before, after []*sre.Snapshot, region []int) *window {
	w := &window{c: c, before: before, shape: after[len(after)-1]}
	w.g = w.shape.Graph
	w.enclose(region)
	w.entry = make([]bool, len(w.g.Services))
	for _, i := range w.entries {
		w.entry[i] = true
	}
	w.usual = make([][]usual, len(w.shape.Signals))
	w.usualCalls = make([][]usual, len(w.shape.EdgeSignals))
	w.stage(after)
	return w
}

// stage compares the earlier list with another later one, of the same graph or a
// smaller one that it extends.
func (w *window) stage(after []*sre.Snapshot) {
	w.after, w.series = after, 0
	w.measure()
	w.findAliases()
	w.holds()
	w.reach()
	w.victims()
}

// enclose sets the services and calls that are looked at. Where no entry is
// among them, those stand for it that nobody of the region calls.
func (w *window) enclose(region []int) {
	if region == nil {
		for i := range w.g.Services {
			w.services = append(w.services, i)
		}
		for e := range w.g.Edges {
			w.calls = append(w.calls, e)
		}
		w.entries = w.g.Entries()
		return
	}
	w.services = region
	in := make([]bool, len(w.g.Services))
	for _, i := range region {
		in[i] = true
	}
	called := make([]bool, len(w.g.Services))
	for _, i := range region {
		for _, e := range w.g.CalleesOf(i) {
			if j := w.g.Edges[e].To; in[j] {
				w.calls = append(w.calls, e)
				called[j] = called[j] || j != i
			}
		}
	}
	for _, i := range w.g.Entries() {
		if in[i] {
			w.entries = append(w.entries, i)
		}
	}
	if len(w.entries) > 0 {
		return
	}
	for _, i := range region {
		if !called[i] {
			w.entries = append(w.entries, i)
		}
	}
}

// coefficients are the numbers of RankWindow. They are round, set by what they
// mean and not by a fit; a test moves each of them by a third.
type coefficients struct {
	resource   float64 // what is short points to a cause, not to a symptom
	traffic    float64 // more or less load is rarely a fault of the service that gets it
	second     float64 // the second best family of signs
	support    float64 // the suffering has a way up to an entry
	cover      float64 // it accounts for all that the entries suffer
	change     float64 // it was changed just before
	silent     float64 // of a caller's trouble, what a callee that does not measure it accounts for
	mute       float64 // weight of a family that the entries hardly show
	noteworthy float64 // deviation from which a shift may explain another one
	entryHurts float64 // deviation from which an entry says what kind of trouble it is
	several    float64 // requests of a callee for one of its caller's before their percentiles cannot be compared
	likeness   float64 // factor by which the usual latencies of two names of one service may differ
}

func plainCoefficients() coefficients {
	return coefficients{
		resource: 1.3, traffic: .5, second: .5, support: .6, cover: 2, change: .5, silent: .7, mute: .5,
		noteworthy: noteworthy, entryHurts: 3, several: 2, likeness: 3,
	}
}

// noteworthy is the deviation, in robust standard deviations, from which a
// shift may explain another one.
const noteworthy = 2

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
	scale       float64 // of one standard deviation
	seen        bool
}

// rise is how far the series went up.
func (s shift) rise() float64 { return max(0, s.now-s.normal) }

// weight is the logarithm of a deviation, so that a signal that hardly ever
// moves does not drown the others, for the share of it that is left.
func (s shift) weight(left float64) float64 { return left * math.Log1p(min(s.z, 1e4)) }

// window is one question of RankWindow with all that is computed on the way.
type window struct {
	c             coefficients
	g             *sre.Graph
	before, after []*sre.Snapshot
	shape         *sre.Snapshot // names the signals

	services []int // that are looked at
	calls    []int // between them

	usual      [][]usual // by signal and service, of the earlier list
	usualCalls [][]usual // by edge signal and edge

	own     [][]shift // by signal and service
	edge    [][]shift // by edge signal and edge
	traffic []float64 // requests per second by service, NaN where not known
	growth  []float64 // relative change of traffic by service, 0 where not known
	hold    []hold    // by service
	entries []int
	entry   []bool
	aliases [][]int             // other names' targets by service: see alias.go
	series  int                 // that were compared
	way     []float64           // how well a trail of symptoms leads up to an entry
	mute    [families]float64   // weight of each family by what the entries suffer
	harm    [][families]float64 // share of the entries' harm that a service accounts for
}

func ofServices(s *sre.Snapshot) *sre.Matrix { return &s.Service }
func ofCalls(s *sre.Snapshot) *sre.Matrix    { return &s.Edge }

// measure compares every series of the two windows.
func (w *window) measure() {
	n := len(w.g.Services)
	w.traffic, w.growth = make([]float64, n), make([]float64, n)
	for i := range w.traffic {
		w.traffic[i] = math.NaN()
	}
	w.own = make([][]shift, len(w.shape.Signals))
	for r, sig := range w.shape.Signals {
		if sig.Kind == sre.Traffic {
			w.own[r] = w.compareRow(ofServices, sig, r, w.services, n, &w.usual[r])
			w.noteTraffic(w.own[r])
		}
	}
	for r, sig := range w.shape.Signals {
		if sig.Kind != sre.Traffic {
			w.own[r] = w.compareRow(ofServices, sig, r, w.services, n, &w.usual[r])
		}
	}
	w.edge = make([][]shift, len(w.shape.EdgeSignals))
	for r, sig := range w.shape.EdgeSignals {
		sig.Edge = true
		w.edge[r] = w.compareRow(ofCalls, sig, r, w.calls, len(w.g.Edges), &w.usualCalls[r])
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
func (w *window) compareRow(
	of func(*sre.Snapshot) *sre.Matrix, sig sre.Signal, r int, subjects []int, all int, kept *[]usual,
) []shift {
	out := make([]shift, all)
	c := comparison{sig: sig}
	if *kept == nil {
		*kept = make([]usual, all)
		for _, i := range subjects {
			c.before = cells(c.before[:0], w.before, of, r, i)
			(*kept)[i] = c.usually()
		}
	}
	var alive bool
	var gone []int
	for _, i := range subjects {
		u := (*kept)[i]
		c.after = cells(c.after[:0], w.after, of, r, i)
		alive = alive || len(c.after) > 0
		if len(c.after) == 0 && 2*u.n > len(w.before) && sig.Kind == sre.Traffic {
			gone = append(gone, i)
		}
		if u.n == 0 || len(c.after) == 0 {
			continue
		}
		slices.Sort(c.after)
		out[i] = c.compare(u, w.requests(sig, i))
		if out[i].z >= w.c.noteworthy {
			c.before = cells(c.before[:0], w.before, of, r, i)
			out[i] = c.confirm(out[i], u)
		}
		w.series++
	}
	for _, i := range gone {
		if alive {
			c.before, c.after = cells(c.before[:0], w.before, of, r, i), append(c.after[:0], 0)
			out[i] = c.confirm(c.compare((*kept)[i], math.NaN()), (*kept)[i])
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

// usual is what is known of one series in normal operation.
type usual struct {
	normal float64 // the median
	spread float64 // robust standard deviation, more where samples are few
	n      int     // samples
}

// comparison is room to compare the samples of one signal in.
type comparison struct {
	sig           sre.Signal
	before, after []float64 // in order of time; sorted
	room          []float64
	strays        []float64
}

// usually sums up the earlier samples.
func (c *comparison) usually() usual {
	n := len(c.before)
	if n == 0 {
		return usual{}
	}
	c.room = append(c.room[:0], c.before...)
	slices.Sort(c.room)
	spread := (quartile(c.room, .75) - quartile(c.room, .25)) / 1.349
	return usual{normal: quartile(c.room, .5), spread: spread * ignorance(n), n: n}
}

// ignorance is the factor by which the spread of n samples is widened.
func ignorance(n int) float64 { return math.Sqrt(1 + 4/float64(n)) }

// compare measures how far the later samples lie from what is usual. They are
// judged by their worse quartile: one wild sample is not a fault, and a fault
// need not last all the window.
func (c *comparison) compare(u usual, requests float64) shift {
	now, diff := worse(c.sig, u.normal, c.after)
	scale := max(u.spread, leastScale(c.sig, u.normal, requests*float64(len(c.after))))
	return shift{normal: u.normal, now: now, seen: true, z: max(0, diff) / scale, scale: scale}
}

// confirm measures a deviation by how far as long a stretch of the earlier
// samples strays, where that is more than their spread. What does not deviate by
// the spread needs no such look, which costs most of the time.
func (c *comparison) confirm(s shift, u usual) shift {
	if stray := c.usualStray(u.normal, len(c.after)) * ignorance(u.n); stray > s.scale {
		s.z *= s.scale / stray
		s.scale = stray
	}
	return s
}

// worse returns the quartile of a sorted sample that is worse for a signal, and
// how far it lies from normal in the bad direction. Failures are counted over
// the whole sample: a few in each part of it are many.
func worse(sig sre.Signal, normal float64, sorted []float64) (now, diff float64) {
	high, low := quartile(sorted, .75), quartile(sorted, .25)
	kind := sig.Kind
	switch {
	case counted(sig):
		var sum float64
		for _, x := range sorted {
			sum += x / float64(len(sorted))
		}
		return sum, sum - normal
	case kind == sre.Cache || kind == sre.Replicas:
		return low, normal - low
	case kind == sre.Traffic && normal-low > high-normal:
		return low, normal - low
	case kind == sre.Saturation && high < normal/2:
		return high, normal - high // what held it has died or begun anew
	}
	return high, high - normal
}

// counted reports whether a signal is the share of requests that failed.
func counted(sig sre.Signal) bool {
	return sig.Kind == sre.Errors && (sig.Unit == sre.Ratio || sig.Unit == sre.Percent)
}

// The stretches of normal operation that a window is compared with.
const (
	fewStretches = 8  // fewer say nothing of a tail
	usualTail    = .9 // share of them that stray less than noteworthy
)

// usualStray returns the scale by which one stretch in ten of normal operation,
// as long as the window, would be noteworthy. It is what tells a series with a
// heavy tail, or one that wanders, from one that was hit.
func (c *comparison) usualStray(normal float64, length int) float64 {
	length = min(length, len(c.before)/4)
	if length < 1 {
		return 0
	}
	step := max(1, length/2)
	if (len(c.before)-length)/step+1 < fewStretches {
		return 0
	}
	c.strays = c.strays[:0]
	for from := 0; from+length <= len(c.before); from += step {
		c.room = append(c.room[:0], c.before[from:from+length]...)
		slices.Sort(c.room)
		_, diff := worse(c.sig, normal, c.room)
		c.strays = append(c.strays, max(0, diff))
	}
	slices.Sort(c.strays)
	return quartile(c.strays, usualTail) / noteworthy
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
