package remediators

import (
	"slices"
	"sync"
	"time"
)

// clock is the present moment of a subject, which its test moves.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func newClock() *clock { return &clock{now: testTime()} }

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) advance(d time.Duration) time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
	return c.now
}

// wakingClock also calls what has asked to be woken, in order and before its
// advance returns.
type wakingClock struct {
	*clock
	mu     sync.Mutex
	alarms []*alarm
}

type alarm struct {
	at time.Time
	f  func()
}

func (c *wakingClock) AfterFunc(d time.Duration, f func()) func() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	a := &alarm{at: c.Now().Add(d), f: f}
	c.alarms = append(c.alarms, a)
	return func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		before := len(c.alarms)
		c.alarms = slices.DeleteFunc(c.alarms, func(other *alarm) bool { return other == a })
		return len(c.alarms) < before
	}
}

// due takes out the first alarm that rings by end.
func (c *wakingClock) due(end time.Time) *alarm {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.alarms) == 0 {
		return nil
	}
	next := slices.MinFunc(c.alarms, func(a, b *alarm) int { return a.at.Compare(b.at) })
	if next.at.After(end) {
		return nil
	}
	c.alarms = slices.DeleteFunc(c.alarms, func(other *alarm) bool { return other == next })
	return next
}

func (c *wakingClock) advance(d time.Duration) {
	end := c.Now().Add(d)
	for next := c.due(end); next != nil; next = c.due(end) {
		c.clock.advance(next.at.Sub(c.Now()))
		next.f()
	}
	c.clock.advance(end.Sub(c.Now()))
}
