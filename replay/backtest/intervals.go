package backtest

import (
	"math"
	"slices"
)

// z95 is the two-sided 95 % quantile of the normal distribution.
const z95 = 1.959963984540054

// resamples is how often a bootstrap draws.
const resamples = 2000

// Wilson returns the proportion of hits in n with its 95 % Wilson interval. Of
// nothing, nothing is known: 0 with the interval from 0 to 1.
func Wilson(hits float64, n int) Share {
	if n == 0 {
		return Share{High: 1}
	}
	k := float64(n)
	p := hits / k
	centre := (p + z95*z95/(2*k)) / (1 + z95*z95/k)
	half := z95 / (1 + z95*z95/k) * math.Sqrt(p*(1-p)/k+z95*z95/(4*k*k))
	return Share{Value: p, Low: max(0, centre-half), High: min(1, centre+half), N: n}
}

// dice is splitmix64: a bootstrap must come out the same on every run.
type dice uint64

func (d *dice) below(n int) int {
	*d += 0x9e3779b97f4a7c15
	x := uint64(*d)
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	x ^= x >> 31
	return int(x>>11) % n
}

// bootstrap returns the 95 % percentile interval of a statistic over samples
// that are drawn again and again, with a fixed seed.
func bootstrap(n int, statistic func(drawn []int) float64) (low, high float64) {
	d := dice(1)
	drawn := make([]int, n)
	values := make([]float64, resamples)
	for r := range values {
		for i := range drawn {
			drawn[i] = d.below(n)
		}
		values[r] = statistic(drawn)
	}
	slices.Sort(values)
	return quantile(values, .025), quantile(values, .975)
}

// Bootstrap returns the 95 % percentile interval of a statistic over a sample of
// n that is drawn again and again. It comes out the same on every run.
func Bootstrap(n int, statistic func(drawn []int) float64) (low, high float64) {
	return bootstrap(n, statistic)
}

// meanOf returns the mean of values between 0 and 1 with its interval: Wilson's
// where all are 0 or 1, or all the same, from which a bootstrap would conclude
// that nothing is uncertain; else a bootstrap's.
func meanOf(values []float64) Share {
	var sum float64
	whole, same := true, true
	for _, v := range values {
		sum += v
		whole = whole && (v == 0 || v == 1)
		same = same && v == values[0]
	}
	s := Wilson(sum, len(values))
	if whole || same {
		return s
	}
	s.Low, s.High = bootstrap(len(values), func(drawn []int) float64 {
		var total float64
		for _, i := range drawn {
			total += values[i]
		}
		return total / float64(len(drawn))
	})
	return s
}

// quantile interpolates between sorted values, as most tools do.
func quantile(sorted []float64, q float64) float64 {
	if len(sorted) == 0 {
		return 0
	}
	x := q * float64(len(sorted)-1)
	i := int(x)
	if i+1 >= len(sorted) {
		return sorted[len(sorted)-1]
	}
	return sorted[i] + (x-float64(i))*(sorted[i+1]-sorted[i])
}

// SpreadOf returns the quartiles of a sample; of nothing, zero.
func SpreadOf(values []float64) Spread {
	sorted := slices.Sorted(slices.Values(values))
	return Spread{N: len(sorted), Median: quantile(sorted, .5), P25: quantile(sorted, .25), P75: quantile(sorted, .75)}
}
