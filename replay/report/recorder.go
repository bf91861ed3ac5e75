package report

import (
	"math"
	"time"

	"github.com/sreagent/sreagent/replay"
	"github.com/sreagent/sreagent/sre"
)

// Series is one line of a chart. Times ascend and run beside Values, which are
// in Unit; NaN is a gap.
type Series struct {
	Name    string
	Unit    sre.Unit
	Service string // or "caller->callee"
	Why     string // why it is shown, in a few words
	Times   []time.Time
	Values  []float64
}

const (
	// maxPoints bounds a series; a screen has hardly more columns.
	maxPoints = 600
	// maxColumns bounds what a Recorder holds: about 5 kB each.
	maxColumns = 20_000
)

// Recorder collects the readings of a rehearsal tick by tick, to be chosen from
// when it is over and the suspects are known. It holds at most 600 points per
// series, as pairs of the least and the greatest of a span, and at most 20,000
// series beside those of the entry services. The zero value is ready. It is not safe for concurrent use.
type Recorder struct {
	stride   int // ticks per span
	inSpan   int // ticks in the newest span
	spans    []time.Time
	interval time.Duration
	columns  int

	graph       *sre.Graph
	signals     []sre.Signal
	edgeSignals []sre.Signal
	service     [][]*column // by signal, then subject
	edge        [][]*column
}

// column is one series: the extremes of each span since its first reading.
type column struct {
	first  int // index of the span in which it begins
	lo, hi []float32
	falls  []bool // the greatest came before the least
}

// Watch takes the readings of one tick. It fits Rehearsal.Watch and never fails.
func (r *Recorder) Watch(t replay.Tick) error {
	r.advance(t.At)
	if t.Snapshot == nil {
		return nil
	}
	s := t.Snapshot
	r.graph, r.signals, r.edgeSignals, r.interval = s.Graph, s.Signals, s.EdgeSignals, s.Interval
	entries := map[int]bool{}
	if r.columns >= maxColumns || len(s.Signals)*s.Service.Subjects > maxColumns {
		for _, e := range s.Graph.Entries() {
			entries[e] = true
		}
	}
	r.service = r.take(r.service, len(s.Signals), &s.Service, entries)
	r.edge = r.take(r.edge, len(s.EdgeSignals), &s.Edge, nil)
	return nil
}

// Graph returns the dependency graph as it last was; nil before the first tick.
func (r *Recorder) Graph() *sre.Graph { return r.graph }

func (r *Recorder) advance(at time.Time) {
	if r.stride == 0 {
		r.stride = 1
	}
	if len(r.spans) > 0 && r.inSpan < r.stride {
		r.inSpan++
		return
	}
	// A span of one tick is one point, a longer one is two; two points are left for
	// the span that follows.
	if r.stride == 1 && len(r.spans) == maxPoints-2 || r.stride > 1 && len(r.spans) == maxPoints/2 {
		r.halve()
		if r.inSpan < r.stride {
			r.inSpan++
			return
		}
	}
	r.spans = append(r.spans, at)
	r.inSpan = 1
}

// halve joins every two spans into one.
func (r *Recorder) halve() {
	if len(r.spans)%2 == 0 {
		r.inSpan += r.stride
	}
	r.stride *= 2
	kept := r.spans[:0]
	for i := 0; i < len(r.spans); i += 2 {
		kept = append(kept, r.spans[i])
	}
	r.spans = kept
	for _, grid := range [][][]*column{r.service, r.edge} {
		for _, row := range grid {
			for _, c := range row {
				if c != nil {
					c.halve()
				}
			}
		}
	}
}

// take adds the readings of one matrix. The subjects in always get a series even
// where there are too many.
func (r *Recorder) take(grid [][]*column, signals int, m *sre.Matrix, always map[int]bool) [][]*column {
	for len(grid) < signals {
		grid = append(grid, nil)
	}
	for row := range signals {
		for len(grid[row]) < m.Subjects {
			grid[row] = append(grid[row], nil)
		}
		for subject := range m.Subjects {
			reading := m.At(row, subject)
			if !reading.OK() || !drawable(reading.Value) {
				continue
			}
			c := grid[row][subject]
			if c == nil {
				if r.columns >= maxColumns && !always[subject] {
					continue
				}
				r.columns++
				c = &column{first: len(r.spans) - 1}
				grid[row][subject] = c
			}
			c.add(len(r.spans)-1, float32(reading.Value))
		}
	}
	return grid
}

// drawable tells numbers that a chart can show from those that it must leave
// out, since their differences would not be finite.
func drawable(v float64) bool { return !math.IsNaN(v) && math.Abs(v) < 1e30 }

var gap = float32(math.NaN())

func (c *column) add(span int, v float32) {
	for c.first+len(c.lo) <= span {
		c.lo, c.hi, c.falls = append(c.lo, gap), append(c.hi, gap), append(c.falls, false)
	}
	i := span - c.first
	switch {
	case c.lo[i] != c.lo[i]:
		c.lo[i], c.hi[i] = v, v
	case v < c.lo[i]:
		c.lo[i], c.falls[i] = v, true
	case v > c.hi[i]:
		c.hi[i], c.falls[i] = v, false
	}
}

func (c *column) halve() {
	n := (c.first + len(c.lo) + 1) / 2
	half := column{first: c.first / 2}
	for span := half.first; span < n; span++ {
		lo, hi, falls := c.joined(2*span-c.first, 2*span+1-c.first)
		half.lo, half.hi, half.falls = append(half.lo, lo), append(half.hi, hi), append(half.falls, falls)
	}
	*c = half
}

// joined returns the extremes of two neighbouring spans, of which one may be
// outside or a gap.
func (c *column) joined(i, j int) (lo, hi float32, falls bool) {
	a := i >= 0 && i < len(c.lo) && c.lo[i] == c.lo[i]
	b := j >= 0 && j < len(c.lo) && c.lo[j] == c.lo[j]
	switch {
	case !a && !b:
		return gap, gap, false
	case !b:
		return c.lo[i], c.hi[i], c.falls[i]
	case !a:
		return c.lo[j], c.hi[j], c.falls[j]
	}
	lo, hi = min(c.lo[i], c.lo[j]), max(c.hi[i], c.hi[j])
	loFirst, hiFirst := c.lo[i] <= c.lo[j], c.hi[i] >= c.hi[j]
	if loFirst == hiFirst { // both extremes lie in the same half
		if loFirst {
			return lo, hi, c.falls[i]
		}
		return lo, hi, c.falls[j]
	}
	return lo, hi, hiFirst
}

// series writes a column out as points: one per span where it is one tick or
// flat, else two.
func (r *Recorder) series(c *column, name string, unit sre.Unit, subject, why string) Series {
	s := Series{Name: name, Unit: unit, Service: subject, Why: why}
	for i := range c.lo {
		at := r.spans[c.first+i]
		later := at.Add(time.Duration(r.stride) * r.interval / 2)
		lo, hi := float64(c.lo[i]), float64(c.hi[i])
		if c.falls[i] {
			lo, hi = hi, lo
		}
		s.Times, s.Values = append(s.Times, at), append(s.Values, lo)
		if r.stride > 1 && hi == hi {
			s.Times, s.Values = append(s.Times, later), append(s.Values, hi)
		}
	}
	return s
}
