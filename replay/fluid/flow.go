package fluid

// flow takes one step of a service: what its callers send, what it admits, what
// it takes from the queue, and what becomes of that. Callers come first, so that
// a request passes a whole chain in one step.
func (m *Model) flow(i int32) {
	v := &m.services[i]
	callers := m.edges[v.inLow:v.inHigh]
	if v.queue > 0 {
		for k := range callers {
			v.tot.Abandoned += m.expire(&callers[k], i)
		}
	}
	var arrived [Classes]float64
	for k := range callers {
		v.tot.Retries += m.send(&callers[k], &arrived)
	}
	can := m.capacity(v)
	admitted, sum, all := m.admit(i, &arrived, can)
	departed, dead := m.serve(i, sum, can)
	waits := m.queued(i)
	for k := range callers {
		e := &callers[k]
		part := 1.0
		if !all {
			part = m.part(e, &arrived, &admitted)
		}
		dead += m.settle(e, v, part, waits)
		m.conclude(e)
	}
	m.account(v, departed, dead, can)
	if sum > 0 {
		for j := range v.mix {
			v.mix[j] += (1 - m.fade) * (admitted[j]/sum - v.mix[j])
		}
	}
	m.gauge(v)
}

// capacity is how many requests can be taken in hand in this step: the processor
// bounds it, and the workers that are free or become so.
func (m *Model) capacity(v *service) float64 {
	pool := v.pool * m.dt / v.hold
	if v.hold > m.dt {
		pool = max(0, v.pool-v.busy+v.busy*m.dt/v.hold)
	}
	return min(v.cpu*m.dt, pool)
}

// admit sheds beyond the caps, low classes first, then rejects what finds the
// queue full. It returns what is let in by class and in sum, and whether that is
// everything.
func (m *Model) admit(i int32, arrived *[Classes]float64, can float64) (admitted [Classes]float64, sum float64, all bool) {
	v := &m.services[i]
	t := &v.tot
	admitted, all = *arrived, true
	if v.capped {
		c := &m.levers[i]
		left := c.Cap * m.dt
		for j, x := range arrived {
			admitted[j] = min(x, c.ClassCap[j]*m.dt, left)
			left = max(0, left-admitted[j])
			t.Shed[j] += x - admitted[j]
			all = all && admitted[j] == x
		}
	}
	for _, x := range admitted {
		sum += x
	}
	room := max(0, v.bound-v.queue+can)
	if v.usable <= 0 {
		room = 0 // nobody listens
	}
	if sum > room {
		keep := room / sum
		before := sum
		sum, all = 0, false
		for j := range admitted {
			admitted[j] *= keep
			sum += admitted[j]
		}
		t.Rejected += before - sum
	}
	for j := range admitted {
		t.Arrived[j] += arrived[j]
		t.Admitted[j] += admitted[j]
	}
	v.lambda += m.calm * (sum/m.dt - v.lambda)
	return admitted, sum, all
}

// part is the share of a caller's attempts that was admitted, by the classes of
// its requests.
func (m *Model) part(e *edge, arrived, admitted *[Classes]float64) float64 {
	part := 0.0
	for j, x := range m.mix(e) {
		if arrived[j] > 0 {
			part += x * admitted[j] / arrived[j]
		}
	}
	return min(1, part)
}

// serve puts sum into the queue of service i and takes up to can from it, oldest
// first, leaving in pieces what went. It returns how many were taken in hand and
// how many of them nobody waits for any more.
func (m *Model) serve(i int32, sum, can float64) (departed, dead float64) {
	v := &m.services[i]
	m.pieces = m.pieces[:0]
	if v.queue == 0 && sum <= can {
		v.head = m.tick + 1
		if sum > 0 {
			m.pieces = append(m.pieces, piece{tick: m.tick, share: 1})
		}
		return sum, 0
	}
	mask, width := m.slots-1, int64(len(m.services))
	c := &m.cohorts[(m.tick&mask)*width+int64(i)]
	if c.left > 0 { // beyond the reach of the ring: dead for every caller
		v.pile += c.left
		v.pileSum += c.left * float64(m.tick-m.slots)
		v.head = max(v.head, m.tick-m.slots+1)
	}
	*c = cohort{size: sum, left: sum}
	departed, dropped, waited := m.clear(v, can)
	dead = departed
	unserved := 0.0 // of waited, by those dropped
	if v.deadlines {
		unserved = waited
	}
	for v.head <= m.tick {
		c := &m.cohorts[(v.head&mask)*width+int64(i)]
		alive := c.left
		if v.deadlines {
			if alive -= c.dead; alive < 1e-6*c.left {
				alive = 0 // what float32 leaves of the callers' shares
			}
		}
		took := 1.0
		if left := can - departed; alive > left {
			took = max(0, left) / alive
		}
		if gone := c.left * took; gone > 0 {
			m.pieces = append(m.pieces, piece{tick: v.head, share: gone / c.size})
			waited += gone * float64(m.tick-v.head)
			if v.deadlines {
				dropped += gone - alive*took
				unserved += (gone - alive*took) * float64(m.tick-v.head)
				departed += alive * took
			} else {
				dead += c.dead * took
				departed += gone
			}
			c.left -= gone
			c.dead -= c.dead * took
		}
		if took < 1 {
			break
		}
		c.left, c.dead = 0, 0
		v.head++
	}
	v.queue = max(0, v.queue+sum-departed-dropped)
	if v.head > m.tick && v.pile == 0 {
		v.queue = 0
	}
	v.tot.Dropped += dropped
	v.tot.WaitSeconds += waited * m.dt
	v.tot.LatencySum += (waited - unserved) * m.dt
	return departed, dead
}

// clear takes from what waits longer than the rings reach back.
func (m *Model) clear(v *service, can float64) (departed, dropped, waited float64) {
	if v.pile == 0 {
		return 0, 0, 0
	}
	gone := v.pile
	if !v.deadlines {
		gone = min(gone, can)
	}
	part := gone / v.pile
	waited = part * (v.pile*float64(m.tick) - v.pileSum)
	v.pileSum -= part * v.pileSum
	v.pile -= gone
	if v.pile <= 0 {
		v.pile, v.pileSum = 0, 0
	}
	if v.deadlines {
		return 0, gone, waited
	}
	return gone, 0, waited
}

// queued says whether part of what was admitted in this step still waits.
func (m *Model) queued(i int32) bool {
	return m.services[i].head <= m.tick
}

// account books a step of a service.
func (m *Model) account(v *service, departed, dead, can float64) {
	t := &v.tot
	v.started = departed
	t.Departed += departed
	t.Dead += dead
	t.LatencySum += departed * (v.stat + v.hold)
	if v.hold > m.dt {
		v.busy = min(max(0, v.busy+departed-v.busy*m.dt/v.hold), max(v.pool, v.busy))
	} else {
		v.busy = departed * v.hold / m.dt
	}
	t.BusySeconds += v.busy * m.dt
	if v.cpu > 0 {
		used := v.usable * departed / v.cpu
		t.CPUSeconds += used
		t.DecaySeconds += used * (1 - v.phi())
	}
	switch {
	case v.queue > 0 || departed >= can:
		t.PoolWaits += departed
	case v.mu > 0 && departed > 0:
		t.PoolWaits += departed * v.stat * v.mu * max(0, 1-v.lambda/v.mu)
	}
	if v.caching {
		t.CacheHits += departed * v.hit
		t.CacheMisses += departed * (1 - v.hit)
		if v.filled > 0 {
			v.hit += (v.hitMost - v.hit) * min(1, v.filled/(v.perMiss*v.keys))
			v.filled = 0
		}
	}
}
