package fluid

import "math"

// send makes this step's attempts of a caller: the first ones of new requests,
// and those whose time to be repeated has come. It adds them to what arrived, by
// the class of the caller's requests, and returns the repeated ones.
func (m *Model) send(e *edge, arrived *[Classes]float64) float64 {
	var fresh float64
	mix := m.mix(e)
	if e.from < 0 {
		fresh = m.wish(e)
	} else {
		u := &m.services[e.from]
		fresh = u.started * e.calls
		if e.cached && u.caching {
			fresh *= 1 - u.hit
		}
	}
	open := e.tot.Open
	first := fresh * (1 - open)
	m.now[e.off] = first
	e.used = 1
	repeated, refused := 0.0, fresh-first
	if m.tick <= e.lastAgain {
		var fast float64
		repeated, fast = m.recall(e, first, open)
		refused += fast
	} else if !math.IsInf(e.budget, 1) {
		m.earn(e, first)
	}
	e.tot.First += first
	e.tot.Retried += repeated
	e.tot.FastFailed += refused
	e.badNow += refused
	sum := first + repeated
	e.sent += m.calm * (sum - e.sent)
	e.fresh += m.calm * (fresh - e.fresh)
	if e.loss > 0 {
		for r := range e.used {
			x := m.now[e.off+r] * e.loss
			m.now[e.off+r] -= x
			m.giveUp(e, r, x, e.patience+e.backoff)
		}
		sum *= 1 - e.loss
		repeated *= 1 - e.loss
	}
	for j := range arrived {
		arrived[j] += sum * mix[j]
	}
	return repeated
}

// mix is the priority classes of a caller's requests, as shares.
func (m *Model) mix(e *edge) *[Classes]float64 {
	if e.from < 0 {
		return &m.crowds[e.index].mix
	}
	return &m.services[e.from].mix
}

// earn adds a step's tokens to a retry budget, of which ten seconds' worth can
// be kept.
func (m *Model) earn(e *edge, first float64) {
	e.tokens = min(e.tokens+e.budget*first, e.budget*e.fresh*10/m.dt)
}

// recall makes the attempts that were planned for this step, as far as budget
// and breaker allow. It returns those that were sent and those that the breaker
// refused.
func (m *Model) recall(e *edge, first, open float64) (repeated, refused float64) {
	row := m.again[(m.tick&(m.slots-1))*int64(m.classes)+int64(e.off):][:e.retries+1]
	want := 0.0
	for _, x := range row[1:] {
		want += float64(x)
	}
	e.used = e.retries + 1
	now := m.now[e.off:][:e.retries+1]
	keep := 1.0
	if !math.IsInf(e.budget, 1) {
		m.earn(e, first)
		if want > e.tokens {
			keep = e.tokens / want
		}
		e.tokens = max(0, e.tokens-want*keep)
	}
	for r := 1; r < len(row); r++ {
		x := float64(row[r])
		row[r] = 0
		now[r] = x * keep * (1 - open)
		repeated += now[r]
		refused += x * keep * open
	}
	spared := want * (1 - keep)
	e.tot.Suppressed += spared
	e.badNow += spared
	return repeated, refused
}

// expire gives up the attempts of a caller whose timeout has come while they
// waited at service i.
func (m *Model) expire(e *edge, i int32) float64 {
	v := &m.services[i]
	last := m.tick - e.patience
	sum := 0.0
	for t := max(e.settled, v.head, m.tick-m.slots); t <= last; t++ {
		slot := t & (m.slots - 1)
		c := &m.cohorts[slot*int64(len(m.services))+int64(i)]
		if c.left <= 0 {
			continue
		}
		part := c.left / c.size
		gone := 0.0
		for r, x := range m.waiting[slot*int64(m.classes)+int64(e.off):][:e.retries+1] {
			if x > 0 {
				gone += float64(x) * part
				m.giveUp(e, int32(r), float64(x)*part, max(1, e.backoff))
			}
		}
		c.dead = min(c.left, c.dead+gone)
		sum += gone
	}
	e.settled = max(e.settled, last+1)
	return sum
}

// giveUp books attempts that took too long.
func (m *Model) giveUp(e *edge, r int32, x float64, delay int64) {
	e.tot.TimedOut += x
	e.tot.LatencySum += x * e.timeout
	m.repeat(e, r, x, delay)
}

// repeat plans the next attempt of requests whose attempt r failed, or ends
// them. Crumbs are ended, lest they live for ever.
func (m *Model) repeat(e *edge, r int32, x float64, delay int64) {
	e.failNow += x
	if r >= e.retries || x < 1e-12 {
		e.badNow += x
		return
	}
	t := m.tick + min(max(1, delay), m.slots-1)
	m.again[(t&(m.slots-1))*int64(m.classes)+int64(e.off+r+1)] += float32(x)
	e.lastAgain = max(e.lastAgain, t)
}

// settle tells a caller what became of its attempts: which the service did not
// admit, and which of those that left the queue are answered well, answered with
// an error, or late. It returns the late ones, which cost work all the same.
func (m *Model) settle(e *edge, v *service, part float64, waits bool) float64 {
	now := m.now[e.off:][:e.used]
	if part != 1 || e.taken != 1 {
		m.turnAway(e, now, part)
	}
	if waits {
		row := m.waiting[(m.tick&(m.slots-1))*int64(m.classes)+int64(e.off):][:e.retries+1]
		clear(row)
		for r, x := range now {
			row[r] = float32(x)
		}
	}
	late := 0.0
	for _, p := range m.pieces {
		switch {
		case p.tick == m.tick:
			for r, x := range now {
				late += m.answer(e, v, int32(r), x*p.share, 0)
			}
		case p.tick >= e.settled:
			for r, x := range m.waiting[(p.tick&(m.slots-1))*int64(m.classes)+int64(e.off):][:e.retries+1] {
				if x > 0 {
					late += m.answer(e, v, int32(r), float64(x)*p.share, m.tick-p.tick)
				}
			}
		}
	}
	return late
}

// turnAway fails at once what the service did not admit.
func (m *Model) turnAway(e *edge, now []float64, part float64) {
	e.taken += m.calm * (part - e.taken)
	if e.taken > 1-1e-9 {
		e.taken = 1
	}
	if part == 1 {
		return
	}
	for r, x := range now {
		now[r] = x * part
		e.tot.Failed += x - now[r]
		m.repeat(e, int32(r), x-now[r], 1+e.backoff)
	}
}

// answer settles x attempts that were taken in hand after waiting age steps.
func (m *Model) answer(e *edge, v *service, r int32, x float64, age int64) float64 {
	rest := v.stat + v.hold
	waited := float64(age)*m.dt + e.delay
	left := e.timeout - waited
	p := tardy(left, rest)
	late := x * p
	bad := (x - late) * v.fail
	good := x - late - bad
	e.goodNow += good
	e.tot.Good += good
	v.tot.Good += good
	e.tot.LatencySum += (x-late)*waited + x*rest*(1-p)
	if late > 0 {
		e.tot.TimedOut += late
		e.tot.LatencySum += late * waited
		v.tot.Abandoned += late
		m.repeat(e, r, late, int64(max(0, left)/m.dt+0.5)+e.backoff)
	}
	if bad > 0 {
		e.tot.Failed += bad
		v.tot.Failed += bad
		m.repeat(e, r, bad, int64(max(0, min(rest, left))/m.dt+0.5)+e.backoff)
	}
	return late
}

// conclude folds a step into the averages of a caller.
func (m *Model) conclude(e *edge) {
	good, bad := e.goodNow, e.badNow
	if e.from < 0 {
		k := &m.crowds[e.index]
		k.outstanding = max(0, k.outstanding-good-bad)
		k.failed += bad
	} else {
		e.goodEnds = m.fade*e.goodEnds + good
		if e.badEnds = m.fade*e.badEnds + bad; e.badEnds < 1e-12 {
			e.badEnds = 0
		}
		if e.cached {
			m.services[e.from].filled += good
		}
		if e.guarded {
			m.watch(e)
		}
	}
	e.goodNow, e.badNow, e.failNow = 0, 0, 0
}
