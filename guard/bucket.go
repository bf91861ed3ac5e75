package guard

import (
	"math"
	"time"
)

// Never is the wait for more than a limit ever grants at once.
const Never = time.Duration(math.MaxInt64)

// meter is one algorithm over the slots of its keys. Moments are nanoseconds
// since the limit began, and never go back. The caller holds the slot's lock.
type meter interface {
	// ask says whether n pass now; if not, how long until they would if nobody
	// else came. It takes nothing.
	ask(slot int, now, n int64, p Priority) (ok bool, wait time.Duration)
	// take takes what ask granted. It returns when the slot will be blank again
	// and how long the request must be held back.
	take(slot int, now, n int64, p Priority) (blank int64, delay time.Duration)
	// giveBack returns what was taken at the moment since.
	giveBack(slot int, since, now, n int64)
	reset(slot int)
}

// gauge is a bucket's level in whole numbers: a token weighs as much as the
// window has nanoseconds, and rate drains each nanosecond. So no boundary
// depends on rounding. It is the generic cell rate algorithm (ITU-T I.371) in
// its continuous-state form.
type gauge struct {
	rate, weight, size int64
}

type level struct {
	debt, at int64 // debt is what was taken and has not yet drained, at the moment at
}

func newGauge(rate, window, burst int64) gauge {
	return gauge{rate: rate, weight: window, size: burst * window}
}

// debt returns what remains of l at now.
func (g gauge) debt(l level, now int64) int64 {
	elapsed := now - l.at
	switch {
	case elapsed <= 0:
		return l.debt
	case elapsed >= g.drained(l.debt):
		return 0
	default:
		return l.debt - elapsed*g.rate
	}
}

// drained returns how long debt takes to drain, rounded up.
func (g gauge) drained(debt int64) int64 {
	if debt <= 0 {
		return 0
	}
	return (debt-1)/g.rate + 1
}

// fits asks for n above a reserve of so many hundredths of the size.
func (g gauge) fits(l level, now, n, reserved int64) (bool, time.Duration) {
	free := g.size - g.size/100*reserved
	if n > free/g.weight {
		return false, Never
	}
	excess := g.debt(l, now) + n*g.weight - free
	return excess <= 0, time.Duration(g.drained(excess))
}

// bucket is a token bucket or, where it shapes, a leaky bucket by key.
type bucket struct {
	gauge
	levels  []level
	reserve bool // by class
	shape   bool
}

func (b *bucket) ask(slot int, now, n int64, p Priority) (bool, time.Duration) {
	reserved := int64(0)
	if b.reserve {
		reserved = int64(reserve[p]) * 10
	}
	return b.fits(b.levels[slot], now, n, reserved)
}

func (b *bucket) take(slot int, now, n int64, _ Priority) (int64, time.Duration) {
	l := &b.levels[slot]
	now = max(now, l.at)
	before := b.debt(*l, now)
	*l = level{debt: before + n*b.weight, at: now}
	return now + b.drained(l.debt), b.delay(before)
}

// giveBack gives back no more than what cannot have drained since: a level that
// reached zero in between would otherwise gain a token.
func (b *bucket) giveBack(slot int, since, now, n int64) {
	l := &b.levels[slot]
	now = max(now, l.at)
	debt := b.debt(*l, now)
	if elapsed := now - since; elapsed < b.drained(n*b.weight) {
		debt = max(0, debt-(n*b.weight-elapsed*b.rate))
	}
	*l = level{debt: debt, at: now}
}

func (b *bucket) reset(slot int) { b.levels[slot] = level{} }
