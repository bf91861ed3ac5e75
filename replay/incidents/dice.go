package incidents

import (
	"math"
	"time"
)

// dice draws numbers from a seed: splitmix64 (Steele, Lea and Flood, OOPSLA
// 2014).
type dice struct{ state uint64 }

func (d *dice) next() uint64 {
	d.state += 0x9e3779b97f4a7c15
	return mixed(d.state)
}

func mixed(x uint64) uint64 {
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// float is in [0, 1).
func (d *dice) float() float64 { return float64(d.next()>>11) / (1 << 53) }

func (d *dice) between(low, high float64) float64 { return low + (high-low)*d.float() }

func (d *dice) below(n int) int { return int(d.float() * float64(n)) }

// coin is true with a probability.
func (d *dice) coin(p float64) bool { return d.float() < p }

// span is a whole number of seconds.
func (d *dice) span(low, high time.Duration) time.Duration {
	return time.Duration(d.between(low.Seconds(), high.Seconds())) * time.Second
}

// spread is between low and high with equal chances for every factor.
func (d *dice) spread(low, high int) int {
	if high <= low {
		return low
	}
	return min(high, int(math.Round(float64(low)*math.Pow(float64(high)/float64(low), d.float()))))
}
