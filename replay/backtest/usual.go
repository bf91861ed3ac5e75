package backtest

import (
	"math"
	"slices"
	"time"

	"github.com/sreagent/sreagent/sre"
)

// How a series is compared with its own past, by the plain rules that traces and
// notifications are counted with.
const (
	usualSpan  = 30 * time.Minute
	usualKept  = 60 // readings of it, at equal distances
	fewestKept = 10 // readings without which nothing is said of a series
	relearn    = 6  // ticks after which what is usual of a series is worked out again
)

// usual remembers half an hour of every service signal, and says how far a
// reading is off its median, in robust standard deviations with a floor for its
// kind.
type usual struct {
	every   time.Duration // between kept readings
	last    time.Time
	rows    int
	width   int
	ring    []float64 // [series][usualKept]; NaN for what was not fresh
	next    int
	ticks   int
	median  []float64 // NaN where too little is known
	spread  []float64
	scratch []float64
}

func newUsual(interval time.Duration) *usual {
	return &usual{every: max(interval, usualSpan/usualKept), scratch: make([]float64, 0, usualKept)}
}

// fit makes room for the series of a snapshot; a graph that grows begins anew.
func (u *usual) fit(s *sre.Snapshot) {
	rows, width := len(s.Signals), s.Service.Subjects
	if u.rows == rows && u.width == width {
		return
	}
	n := rows * width
	u.rows, u.width, u.next, u.last = rows, width, 0, time.Time{}
	u.ring, u.median, u.spread = filled(n*usualKept), filled(n), filled(n)
}

func filled(n int) []float64 {
	out := make([]float64, n)
	for i := range out {
		out[i] = math.NaN()
	}
	return out
}

// learn takes the readings of a snapshot. What is usual of each series is worked
// out again every few ticks, in turns.
func (u *usual) learn(s *sre.Snapshot) {
	u.ticks++
	if u.last.IsZero() || s.At.Sub(u.last) >= u.every {
		u.last = s.At
		for i := range u.median {
			x := math.NaN()
			if s.Service.States[i] == sre.Present {
				x = s.Service.Values[i]
			}
			u.ring[i*usualKept+u.next] = x
		}
		u.next = (u.next + 1) % usualKept
	}
	for i := u.ticks % relearn; i < len(u.median); i += relearn {
		u.settle(i)
	}
}

// settle works out median and spread of one series: 1.4826 times the median
// absolute deviation, as for normal noise.
func (u *usual) settle(i int) {
	u.scratch = u.scratch[:0]
	for _, x := range u.ring[i*usualKept : (i+1)*usualKept] {
		if !math.IsNaN(x) {
			u.scratch = append(u.scratch, x)
		}
	}
	if len(u.scratch) < fewestKept {
		u.median[i], u.spread[i] = math.NaN(), math.NaN()
		return
	}
	slices.Sort(u.scratch)
	u.median[i] = quantile(u.scratch, .5)
	for k, x := range u.scratch {
		u.scratch[k] = math.Abs(x - u.median[i])
	}
	slices.Sort(u.scratch)
	u.spread[i] = 1.4826 * quantile(u.scratch, .5)
}

// off is the deviation of a reading in scales; 0 where nothing can be said.
func (u *usual) off(s *sre.Snapshot, row, service int) float64 {
	i := row*u.width + service
	if s.Service.States[i] != sre.Present || math.IsNaN(u.median[i]) {
		return 0
	}
	return deviation(s, row, service, u.median[i], u.spread[i])
}

func deviation(s *sre.Snapshot, row, service int, median, spread float64) float64 {
	sig := s.Signals[row]
	return math.Abs(s.Service.At(row, service).Value-median) / max(spread, leastScale(sig, median, requests(s, sig, service)))
}

// requests is how many of them a ratio of errors speaks of; 0 where unknown.
func requests(s *sre.Snapshot, sig sre.Signal, service int) float64 {
	if sig.Kind != sre.Errors {
		return 0
	}
	r := s.Value(service, sre.Traffic, sre.PerSecond)
	if r.State == sre.Absent {
		return 0
	}
	return r.Value * s.Interval.Seconds()
}

// leastScale is the smallest scale of a signal around a level: what nobody would
// call a deviation, whatever the noise was.
func leastScale(sig sre.Signal, level, requests float64) float64 {
	size := math.Abs(level)
	switch {
	case sig.Unit == sre.Ratio && sig.Kind == sre.Errors:
		floor := .01
		if requests > 0 {
			p := max(size, 1/requests)
			floor = max(floor, math.Sqrt(p/requests))
		}
		return floor
	case sig.Unit == sre.Ratio:
		return .05
	case sig.Unit == sre.Percent:
		return 5
	case sig.Unit == sre.Seconds:
		return max(.1*size, .001)
	case sig.Unit == sre.PerSecond:
		return max(.1*size, .1)
	case sig.Unit == sre.Count:
		return max(.1*size, 1)
	}
	return max(.1*size, 1e-9)
}
