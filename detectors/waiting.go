package detectors

import "time"

// delay returns the seconds that work waits before it is begun: as measured,
// else the backlog over what is served per second. Requests in the hands of
// slow callees are no backlog of the service's own.
func (v *vitals) delay(i int, served float64) float64 {
	p, u := &v.now[i], &v.usual[i]
	if known(p.delay) {
		return p.delay
	}
	if !known(p.queue) || !known(served) || served <= 0 {
		return missing
	}
	return max(0, p.queue-or(u.queue.value(needed), 0)-p.held) / served
}

// waiting reports whether work is held up: full workers alone are thrift.
func (v *vitals) waiting(i int) bool {
	p, u := &v.now[i], &v.usual[i]
	if q := u.queue.value(needed); known(q) && p.queue > 2*q+3 {
		return true
	}
	if v.late(i) {
		return true
	}
	if known(p.delay) && p.delay > time.Duration(v.cfg.Overload.QueueDelay).Seconds() {
		return true
	}
	return v.excess(i) > v.cfg.Overload.ErrorExcess
}

// What a forecast of full workers takes: an occupancy from which the rest is
// soon gone, less of it where the load does not explain the rise; a rise since
// the tick before, and a distance from the usual in its own standard deviations,
// that are no chance even among thousands of services, all the less where one
// tick is enough; and the seconds to full at that pace.
const (
	fillFrom  = .75
	fadeFrom  = .6
	fillRise  = .03
	fillFar   = 4
	fillLeap  = 6
	fillsSoon = 60
)

// filling reports whether the occupancy of a service climbs towards full from an
// occupancy on, and whether so fast that one tick is enough to say so. Callees
// that have slowed down are a reason elsewhere.
func (v *vitals) filling(i int, from float64) (climbs, steeply bool) {
	p, u := &v.now[i], &v.usual[i]
	rise, above := p.pool-p.before, p.pool-u.pool.value(needed)
	if !(p.pool >= from && rise >= fillRise && above >= 2*fillRise) || p.slowest >= v.cfg.Slow.Rise {
		return false, false
	}
	far := above / max(gaussian*u.poolDev.v, leastWander)
	soon := (1 - p.pool) * v.dt / rise
	return far >= fillFar && soon <= fillsSoon, far >= fillLeap && soon <= 2*v.dt && p.pool >= v.cfg.Anomaly.HighUse
}

// leastWander is the least standard deviation that is believed of an occupancy.
const leastWander = .02

// served returns the answers per second that took work: the good ones and those
// for callers who had left. A refusal takes none.
func (p *pulse) served() float64 {
	return p.traffic * clip(1-or(p.errors, 0)+p.dead())
}
