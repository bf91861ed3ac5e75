package sources

import (
	"math"
	"time"

	"github.com/sreagent/sreagent/sre"
)

// column remembers the last value of every subject for one signal.
type column struct {
	signal sre.Signal
	values []float64
	at     []int64 // when the value was seen, in nanoseconds; never for none
	tick   []int64 // number of the tick that set it
}

const never = math.MinInt64

func (c *column) grow(subjects int) {
	for len(c.values) < subjects {
		c.values = append(c.values, 0)
		c.at = append(c.at, never)
		c.tick = append(c.tick, 0)
	}
}

// set stores what a query said of a subject at a tick. The first query to give
// a number wins. A value that is not a number is an answer too: the store was
// asked and knows none, so nothing older stands for it.
func (c *column) set(subject int, value float64, at, tick int64) {
	if c.tick[subject] == tick && c.at[subject] != never {
		return
	}
	c.tick[subject] = tick
	if math.IsNaN(value) || math.IsInf(value, 0) {
		c.values[subject], c.at[subject] = 0, never
		return
	}
	c.values[subject], c.at[subject] = value, at
}

// reading says what is known of a subject at a tick: present if the tick itself
// set it, stale while it is no older than lookback, absent afterwards.
func (c *column) reading(subject int, at, tick int64, lookback time.Duration) sre.Reading {
	switch {
	case c.at[subject] == never:
		return sre.Reading{}
	case c.tick[subject] == tick:
		return sre.Reading{Value: c.values[subject], State: sre.Present}
	case at-c.at[subject] <= int64(lookback):
		return sre.Reading{Value: c.values[subject], State: sre.Stale}
	}
	return sre.Reading{}
}

func (c *column) forget() {
	for i := range c.at {
		c.at[i], c.values[i], c.tick[i] = never, 0, 0
	}
}

// block is a set of columns over the same subjects.
type block []*column

// fill writes one matrix of all columns and counts the readings by state.
func (b block) fill(subjects int, at, tick int64, lookback time.Duration, count *[3]int) sre.Matrix {
	m := sre.NewMatrix(len(b), subjects)
	for row, c := range b {
		c.grow(subjects)
		for i := range subjects {
			r := c.reading(i, at, tick, lookback)
			count[r.State]++
			m.Set(row, i, r)
		}
	}
	return m
}

func (b block) signals() []sre.Signal {
	out := make([]sre.Signal, len(b))
	for i, c := range b {
		out[i] = c.signal
	}
	return out
}
