package detectors

import "math"

const (
	// tailShare is the quantile from which on the tail is modelled.
	tailShare = .96
	// tailSamples is the memory of a tail. It is long: a burst of trouble must
	// not make trouble usual.
	tailSamples = 4000
	// tailThinnest keeps a tail from looking thinner than a few samples prove.
	tailThinnest = .15
)

// tail learns how a positive statistic is distributed in the long run and
// rates new values by it: a running quantile of its logarithm, and above it a
// Pareto tail whose index is the mean excess (Hill's estimate).
type tail struct {
	N      int64
	Mean   float64 // of the logarithm
	Spread float64 // mean absolute deviation of the logarithm
	Border float64 // the quantile tailShare of the logarithm
	Index  float64 // mean excess over the border
}

// rate returns minus the decimal logarithm of the chance of a value as large
// as r, 0 before enough were seen.
func (t *tail) rate(r float64, need int64) float64 {
	if r <= 0 || t.N < need {
		return 0
	}
	excess := math.Log(r) - t.Border
	base := -math.Log10(1 - tailShare)
	if excess <= 0 {
		return base * math.Exp(excess/max(t.Spread, .1))
	}
	return base + excess/max(t.Index, tailThinnest)/math.Ln10
}

// learn takes in one value of the statistic.
func (t *tail) learn(r float64) {
	x := math.Log(max(r, 1e-9))
	t.N++
	if t.N == 1 {
		// A guess that the next samples soon outvote.
		*t = tail{N: 1, Mean: x, Border: x + 1, Spread: .5, Index: .3}
		return
	}
	n := float64(t.N)
	weight := max(1/n, 1./tailSamples)
	off := x - t.Mean
	t.Mean += weight * off
	t.Spread += weight * (min(math.Abs(off), 5) - t.Spread)
	step := 2 * max(t.Spread, .05) * max(2/n, 12./tailSamples)
	if x <= t.Border {
		t.Border -= step * (1 - tailShare)
		return
	}
	above := max(1/(1+n*(1-tailShare)), 1./(tailSamples*(1-tailShare)))
	t.Index += above * (min(x-t.Border, 3) - t.Index)
	t.Border += step * tailShare
}
