package fluid

import "math"

// breakerWindow is the time in seconds over which a breaker forgets.
const breakerWindow = 10

// Of the calls of a breaker that tries whether its callee is back.
const halfOpen = 0.9

// breaker is the state of a caller's breaker.
type breaker struct {
	bad, all float64 // of the attempts of the window
	until    int64   // step at which it leaves the state, unless it is closed
	trial    bool    // half open
}

// watch moves the breaker of a call relation. It is one breaker for all callers'
// replicas, which open and close together.
func (m *Model) watch(e *edge) {
	b, set := &m.breakers[e.index], &m.edgeLevers[e.index].Breaker
	b.bad = b.bad*m.decay + e.failNow
	b.all = b.all*m.decay + e.failNow + e.goodNow
	failing := b.bad >= set.FailureRatio*b.all
	switch {
	case e.tot.Open == 0:
		if b.all > 0 && b.all >= set.MinRequests && failing || b.inARow(set.Consecutive) {
			m.trip(e)
		}
	case m.tick < b.until:
	case !b.trial:
		*b = breaker{trial: true, until: m.tick + e.patience + int64(math.Ceil(1/m.dt))}
		e.tot.Open = halfOpen
	case failing && b.all > 0, b.all == 0 && e.fresh > 1e-9:
		m.trip(e)
	default:
		*b = breaker{}
		e.tot.Open = 0
	}
}

// inARow reports whether n failures in a row are to be expected among the calls of
// the window, each of which fails by chance.
func (b *breaker) inARow(n float64) bool {
	return n > 0 && b.all >= n && b.all*math.Pow(b.bad/b.all, n) >= 1
}

func (m *Model) trip(e *edge) {
	m.breakers[e.index] = breaker{until: m.tick + max(1, m.ticks(m.edgeLevers[e.index].Breaker.Open))}
	e.tot.Open = 1
}
