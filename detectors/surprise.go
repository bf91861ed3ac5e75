package detectors

import "math"

const (
	// borderShare is the share of samples that a border keeps below itself.
	borderShare = .96
	// borderDecades is the rarity of the border: -log10(1 - borderShare).
	borderDecades = 1.398
	// leastBorder is that of Gaussian noise, in scales: a series that is
	// steadier than its floor is judged by the floor.
	leastBorder = 2.05
	// leastExcess keeps a tail from looking thinner than a few samples prove.
	leastExcess = .15
	// firstExcess is assumed of a series without a past, with the weight of
	// firstOver samples beyond the border.
	firstExcess, firstOver = .3, 10
	// mostOver bounds the memory of a tail. It is long: a burst of trouble must
	// not make trouble usual.
	mostOver = 160
	// wildest is the largest excess, in e-folds, that a tail learns from.
	wildest = 3
)

// surprise learns how often a series is how far off, and rates new deviations
// by that: below the border (a running quantile) a parabola, above it a Pareto
// tail with Hill's estimate of the index (Annals of Statistics 3, 1975). A
// series that leaps every hour thereby takes no alarm for its leaps.
type surprise struct {
	border   float64 // in scales
	n        int32
	over     uint8   // samples beyond the border, the assumed ones included
	run      uint8   // samples beyond the border until now
	failures bool    // the excess that is believed is that of failures
	excess   float64 // mean logarithm of the excess over the border
	peak     float64 // largest sample of the run, in scales
}

// heaviest is the largest mean excess that is believed of a series; of failures
// it is less, since the chance in them is that of counting, which the floor
// covers already: what lies far beyond is trouble, however often it comes.
const (
	heaviest         = 2
	heaviestFailures = .5
	failuresExcess   = .2
)

func newSurprise(k kin) surprise {
	s := surprise{border: leastBorder, excess: firstExcess, over: firstOver}
	if k == kinFailures {
		s.excess, s.failures = failuresExcess, true
	}
	return s
}

// heaviest is the largest mean excess that is believed.
func (s *surprise) heaviest() float64 {
	if s.failures {
		return heaviestFailures
	}
	return heaviest
}

// decades returns minus the decimal logarithm of the chance of a deviation of
// at least d scales.
func (s *surprise) decades(d float64) float64 {
	if d <= s.border {
		q := d / s.border
		return borderDecades * q * q
	}
	return borderDecades + math.Log(d/s.border)/(min(max(s.excess, leastExcess), s.heaviest())*math.Ln10)
}

// learn takes in one deviation, in scales. What lies beyond the border is learned
// when it is over, a run of samples as one event (peaks over a threshold, with
// runs as clusters: Coles, An Introduction to Statistical Modeling of Extreme
// Values, 5.3), so that trouble cannot make itself usual while it lasts.
func (s *surprise) learn(d float64) {
	s.n = min(s.n+1, mostSeen)
	if d > s.border {
		s.run, s.peak = min(s.run+1, longestRun), max(s.peak, d)
		return
	}
	if s.run == 0 && s.border <= leastBorder {
		return
	}
	step := max(.02, 4/(float64(s.n)+20))
	if s.run > 0 {
		s.over = min(s.over+1, mostOver)
		s.excess += (min(math.Log(s.peak/s.border), wildest) - s.excess) / float64(s.over)
		s.border *= 1 + step*borderShare*float64(s.run)
		s.forget()
	}
	if s.border > leastBorder {
		s.border = max(leastBorder, s.border*(1-step*(1-borderShare)))
	}
}

// forget drops a run that was trouble: somebody has named it so.
func (s *surprise) forget() { s.run, s.peak = 0, 0 }

// mostSeen is where the count of samples stops.
const mostSeen = 1e9

// longestRun bounds how many samples of a run raise the border.
const longestRun = 10

// hoard is the same for the summed evidence of a service, which is in decades
// already, so that its tail is an exponential one.
type hoard struct {
	border, excess, over float64
	n, run, peak         float64
}

// leastHoard and leastGain are the border and the mean excess of evidence that
// pure chance leaves: a CUSUM of decades with an allowance of one exceeds h with
// a chance of 10^(-.863 h) (Lundberg's exponent of an exponential step).
const (
	leastHoard = borderDecades / .863
	leastGain  = 1 / (.863 * math.Ln10)
)

func newHoard() hoard { return hoard{border: leastHoard, excess: leastGain, over: firstOver} }

// decades rates summed evidence by the service's own past.
func (h *hoard) decades(sum float64) float64 {
	if sum <= h.border {
		return borderDecades * sum / h.border
	}
	return borderDecades + (sum-h.border)/(max(h.excess, leastGain)*math.Ln10)
}

// mostGain bounds what one tick of trouble teaches, in decades.
const mostGain = 4

func (h *hoard) learn(sum float64) {
	h.n = min(h.n+1, 1e9)
	if sum > h.border {
		h.run, h.peak = min(h.run+1, longestRun), max(h.peak, sum)
		return
	}
	step := leastHoard * max(.02, 4/(h.n+20))
	if h.run > 0 {
		h.over = min(h.over+1, mostOver)
		h.excess += (min(h.peak-h.border, mostGain) - h.excess) / h.over
		h.border += step * borderShare * h.run
		h.forget()
	}
	h.border = max(leastHoard, h.border-step*(1-borderShare))
}

// forget drops a run that was trouble.
func (h *hoard) forget() { h.run, h.peak = 0, 0 }
