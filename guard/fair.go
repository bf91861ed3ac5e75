package guard

import "time"

// fairRounds is how many times in a window the fair share is measured anew.
const fairRounds = 10

const fairGain = 0.25

// fair shares one cap between clients so that the rates admitted approach the
// max-min fair ones: nobody who asks for less than the water level is refused,
// and nobody gets more than it while others want more (Bertsekas and Gallager,
// Data Networks, 6.5.2). As in core-stateless fair queueing (Stoica, Shenker
// and Zhang, SIGCOMM 1998) the level is found from totals alone, so a request
// costs the same however many clients there are: each round the level moves to
// where the capacity meets what would be admitted at it, which is a concave
// function of the level whose slope is the number of clients that it holds back.
//
// No token is lost while anybody is refused: above its share a client still
// takes tokens from the upper half of what its class may use, which fills only
// while the shares together leave room. Classes are strict: each leaves its
// reserve to those above it, and has a level of its own in what they leave.
type fair struct {
	gauge
	level   level
	reserve bool
	round   int64 // in nanoseconds
	current int64 // number of the round
	perTurn float64
	classes [priorities]fairClass
	clients []fairClient
	weight  func(slot int) float64
}

// fairClass is the state of a class. Amounts are of the present round.
type fairClass struct {
	level   float64 // share of a client of weight 1 in a round
	within  float64 // asked for within the shares
	taken   float64
	limited float64 // weight of the clients that used up their share
}

type fairClient struct {
	credit  float64
	round   int64
	limited int64 // the round, plus one, in which it last used up its share
}

func newFair(rate, window, burst int64, keys int, byClass bool) *fair {
	f := &fair{
		gauge: newGauge(rate, window, burst), reserve: byClass, round: window / fairRounds,
		perTurn: float64(rate) / fairRounds, clients: make([]fairClient, keys),
		weight: func(int) float64 { return 1 },
	}
	for p := range f.classes {
		f.classes[p].level = f.perTurn
	}
	return f
}

// class is the share of work that p belongs to: without a reserve there is one.
func (f *fair) class(p Priority) Priority {
	if f.reserve {
		return p
	}
	return Normal
}

func (f *fair) ask(slot int, now, n int64, p Priority) (bool, time.Duration) {
	f.turn(now)
	class := &f.classes[f.class(p)]
	within := f.credit(slot, class) >= float64(n)
	reserved := int64(0)
	if f.reserve {
		reserved = int64(reserve[p]) * 10
	}
	if !within {
		f.limit(slot, class)
		reserved += (100 - reserved) / 2
	}
	ok, wait := f.fits(f.level, now, n, reserved)
	if !ok && within { // the level is too high; what was asked for counts against it
		f.clients[slot].credit -= float64(n)
		class.within += float64(n)
	}
	return ok, wait
}

func (f *fair) take(slot int, now, n int64, p Priority) (int64, time.Duration) {
	now = max(now, f.level.at)
	f.level = level{debt: f.debt(f.level, now) + n*f.gauge.weight, at: now}
	class := &f.classes[f.class(p)]
	class.taken += float64(n)
	if f.credit(slot, class) >= float64(n) {
		f.clients[slot].credit -= float64(n)
		class.within += float64(n)
	}
	return now + fairRounds*f.round, 0 // an idle window makes a client new
}

// giveBack leaves the share as it is: it is a measure, the tokens are the limit.
func (f *fair) giveBack(_ int, since, now, n int64) {
	now = max(now, f.level.at)
	debt := f.debt(f.level, now)
	if elapsed := now - since; elapsed < f.drained(n*f.gauge.weight) {
		debt = max(0, debt-(n*f.gauge.weight-elapsed*f.rate))
	}
	f.level = level{debt: debt, at: now}
}

func (f *fair) reset(slot int) { f.clients[slot] = fairClient{round: f.current - 1} }

// credit returns what the client may still take within its share. Unused share
// is kept for five rounds, so that a client that is not even is not cut short.
func (f *fair) credit(slot int, class *fairClass) float64 {
	c := &f.clients[slot]
	share := class.level * f.weight(slot)
	if rounds := f.current - c.round; rounds > 0 {
		c.credit = min(max(1, 5*share), c.credit+share*float64(rounds))
		c.round = f.current
	}
	return c.credit
}

func (f *fair) limit(slot int, class *fairClass) {
	if c := &f.clients[slot]; c.limited != f.current+1 {
		c.limited = f.current + 1
		class.limited += f.weight(slot)
	}
}

// turn closes the round when now is in a later one.
func (f *fair) turn(now int64) {
	round := now / f.round
	if round <= f.current {
		return
	}
	left := f.perTurn
	for _, p := range [...]Priority{Critical, High, Normal, Low} {
		c := &f.classes[p]
		c.level = min(f.perTurn, max(f.perTurn*1e-6, c.next(left)))
		left = max(0, left-c.taken)
		c.within, c.taken, c.limited = 0, 0, 0
	}
	f.current = round
}

// next is a damped step of Newton's method. Damping averages over the rounds,
// in which few requests make the measure uneven; the bounds hold where clients
// become limited, or cease to be, within the step.
func (c *fairClass) next(capacity float64) float64 {
	switch {
	case c.limited > 0:
		step := fairGain * (capacity - c.within) / c.limited
		return min(2*c.level, max(c.level/2, c.level+step))
	case c.within > capacity:
		return c.level * capacity / c.within
	default:
		return 2 * c.level
	}
}
