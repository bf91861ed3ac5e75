package detectors

import (
	"math"
	"math/bits"
)

// missing marks a quantity that is not known at this tick.
var missing = math.NaN()

func known(x float64) bool { return !math.IsNaN(x) }

// or returns x where it is known, else the other value.
func or(x, other float64) float64 {
	if known(x) {
		return x
	}
	return other
}

// clip bounds x to 0 and 1.
func clip(x float64) float64 { return max(0, min(1, x)) }

// ramp maps warn to 0 and act to 1.
func ramp(x, warn, act float64) float64 {
	if act <= warn {
		if x >= act {
			return 1
		}
		return 0
	}
	return clip((x - warn) / (act - warn))
}

// mean is an exponentially weighted mean. While it is young it is the plain
// mean, so that it is right after few samples.
type mean struct {
	v float64
	n int32
}

func (m *mean) add(x, alpha float64) {
	if m.n < math.MaxInt32 {
		m.n++
	}
	m.v += max(alpha, 1/float64(m.n)) * (x - m.v)
}

// value returns the mean, or missing before enough samples were seen.
func (m *mean) value(need int32) float64 {
	if m.n < need {
		return missing
	}
	return m.v
}

// decay returns the weight of one sample after dt seconds for the time
// constant tau seconds.
func decay(dt, tau float64) float64 { return 1 - math.Exp(-dt/tau) }

// recent remembers the truth of a condition at the latest eight ticks.
type recent uint8

func (r *recent) push(b bool) {
	*r <<= 1
	if b {
		*r |= 1
	}
}

// of reports whether the condition held at no fewer than k of the latest n
// ticks, n at most 8.
func (r recent) of(k, n int) bool { return bits.OnesCount8(uint8(r)&(1<<n-1)) >= k }

// wilson returns the lower end of the 95 % Wilson interval of a share p seen in
// n trials, 0 without trials.
func wilson(p, n float64) float64 {
	if n <= 0 {
		return 0
	}
	const z = 1.96
	p = clip(p)
	centre := p + z*z/(2*n)
	spread := z * math.Sqrt(p*(1-p)/n+z*z/(4*n*n))
	return max(0, (centre-spread)/(1+z*z/n))
}
