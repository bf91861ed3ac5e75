package incidents

import (
	"math"
	"time"
)

// Dice draws numbers from a seed: splitmix64 (Steele, Lea and Flood, OOPSLA
// 2014).
type Dice struct{ state uint64 }

// NewDice returns dice that always fall the same way for a seed.
func NewDice(seed uint64) *Dice { return &Dice{state: seed} }

func (d *Dice) next() uint64 {
	d.state += 0x9e3779b97f4a7c15
	return mixed(d.state)
}

func mixed(x uint64) uint64 {
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// Float is in [0, 1).
func (d *Dice) Float() float64 { return float64(d.next()>>11) / (1 << 53) }

// Between is in [low, high).
func (d *Dice) Between(low, high float64) float64 { return low + (high-low)*d.Float() }

// Below is a whole number from 0, less than n.
func (d *Dice) Below(n int) int { return int(d.Float() * float64(n)) }

// Coin is true with a probability.
func (d *Dice) Coin(p float64) bool { return d.Float() < p }

// Span is a whole number of seconds.
func (d *Dice) Span(low, high time.Duration) time.Duration {
	return time.Duration(d.Between(low.Seconds(), high.Seconds())) * time.Second
}

// Spread is between low and high with equal chances for every factor.
func (d *Dice) Spread(low, high int) int {
	if high <= low {
		return low
	}
	return min(high, int(math.Round(float64(low)*math.Pow(float64(high)/float64(low), d.Float()))))
}
