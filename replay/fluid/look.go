package fluid

import "math"

// look works out, callees before callers, how long a request now takes and how
// likely it is to fail, and tells the callers of service i.
func (m *Model) look(i int32) {
	v := &m.services[i]
	own := v.work + v.extra
	v.hold = own + v.serial + v.beside
	v.fail = 1 - (1-v.errs)*v.well
	v.serial, v.beside, v.well = 0, 0, 1
	if v.leak > 0 {
		v.leaked = min(v.leaked+v.leak*m.dt, v.workers*float64(v.running))
	}
	v.cpu = v.rate * v.kappa * v.usable * v.phi()
	v.pool = max(0, v.workers*v.usable-v.leaked)
	v.mu = min(v.cpu, v.pool/v.hold)
	servers := v.pool
	if v.cpu < v.pool/v.hold {
		servers = v.cpu * own // processors, so to speak
	}
	backlog := m.await(v, servers)
	v.wait = backlog + v.stat
	rest := v.stat + v.hold
	for k := v.inLow; k < v.inHigh; k++ {
		e := &m.edges[k]
		left := e.timeout - e.delay - backlog
		e.late = tardy(left, rest)
		e.mean = e.timeout
		if left > 0 {
			e.mean = e.delay + backlog + rest*(1-e.late)
		}
		if e.from >= 0 {
			m.tell(e)
		}
	}
	m.gauge(v)
}

// phi is the share of capacity that a backlog leaves.
func (v *service) phi() float64 {
	if v.floor == 0 || v.queue == 0 {
		return 1
	}
	return 1 - (1-v.floor)*min(1, v.queue/v.onset)
}

// await moves the stochastic wait, that of fluctuations below saturation,
// towards its steady state with the relaxation time of an M/M/1 queue, and
// returns the wait for the backlog. Only what the backlog does not contain
// already counts, be it from overload or from arrivals that were drawn, and only
// as far as the queue has room for it.
func (m *Model) await(v *service, servers float64) float64 {
	if v.mu < 1e-9 {
		v.stat = 0
		if v.queue > 0 || v.usable > 0 {
			return forever
		}
		return 0
	}
	backlog := min(forever, v.queue/v.mu)
	rho := min(fullest, v.lambda/v.mu)
	steady := allBusy(servers, rho) / (v.mu * (1 - rho))
	slack := 1 - math.Sqrt(rho)
	v.stat += (steady - backlog - v.stat) * min(1, m.dt*v.mu*slack*slack)
	v.stat = min(max(0, v.stat), max(0, v.bound-v.queue)/v.mu)
	return backlog
}

// forever is the wait in seconds where nobody serves.
const forever = 1e6

// tell adds to the caller's time in callees, and to its chance of success.
func (m *Model) tell(e *edge) {
	u := &m.services[e.from]
	calls := e.calls
	if e.cached && u.caching {
		calls *= 1 - u.hit
	}
	attempts := 1.0
	if e.fresh > 1e-9 {
		attempts = min(e.sent/e.fresh, float64(e.retries)+1)
	}
	took := attempts * (e.taken*(1-e.loss)*e.mean + e.loss*e.timeout)
	if attempts > 1 {
		took += (attempts - 1) * e.pause
	}
	if e.beside {
		u.beside = max(u.beside, min(1, calls)*took)
	} else {
		u.serial += calls * took
	}
	if e.hard && e.badEnds > 0 {
		u.well *= 1 - min(1, calls)*e.badEnds/(e.goodEnds+e.badEnds)
	}
}

// gauge sets the levels of a service.
func (m *Model) gauge(v *service) {
	t := &v.tot
	t.Queue, t.Busy, t.Workers, t.Capacity = v.queue, v.busy, v.pool, v.mu
	t.InFlight = v.queue + v.busy + v.stat*min(v.lambda, v.mu)
	t.Wait, t.Latency, t.HitRatio = v.wait, v.wait+v.hold, v.hit
	if !v.caching {
		t.HitRatio = 0
	}
}
