package fluid

import (
	"math"
	"slices"
	"time"
)

// Well is the condition of health.
func Well() Condition { return Condition{Capacity: 1} }

// DefaultControl is the control of service i when no lever is pulled.
func (m *Model) DefaultControl(i int) ServiceControl {
	c := ServiceControl{Cap: math.Inf(1), QueueBound: math.Inf(1), Replicas: max(1, m.plan.Services[i].Replicas)}
	for j := range c.ClassCap {
		c.ClassCap[j] = math.Inf(1)
	}
	return c
}

// DefaultEdgeControl is the control of edge e when no lever is pulled.
func (m *Model) DefaultEdgeControl(e int) EdgeControl {
	s := &m.plan.Edges[e]
	c := EdgeControl{Budget: math.Inf(1), Timeout: s.Timeout, Breaker: s.Breaker, Weight: 1}
	if s.Budget > 0 {
		c.Budget = s.Budget
	}
	return c
}

// Control returns what levers have set on service i.
func (m *Model) Control(i int) ServiceControl {
	c := m.levers[i]
	c.Killed = slices.Clone(c.Killed)
	return c
}

// SetControl sets the levers of service i from the next step on. Values that
// make no sense (negative, not a number) count as 0, but a cap or bound that is
// not a number counts as none.
func (m *Model) SetControl(i int, c ServiceControl) {
	v := &m.services[i]
	c.Killed = slices.Clone(c.Killed)
	c.Replicas, c.Drained = max(0, c.Replicas), max(0, c.Drained)
	c.KilledPart = clamp(c.KilledPart)
	c.Cap, c.QueueBound = limit(c.Cap), limit(c.QueueBound)
	v.capped = !math.IsInf(c.Cap, 1)
	for j := range c.ClassCap {
		c.ClassCap[j] = limit(c.ClassCap[j])
		v.capped = v.capped || !math.IsInf(c.ClassCap[j], 1)
	}
	if c.RolledBack && !m.levers[i].RolledBack {
		v.leaked = 0 // other processes take over
	}
	switched := c.KilledPart != m.levers[i].KilledPart || !slices.Equal(c.Killed, m.levers[i].Killed)
	m.levers[i] = c
	v.bound = c.QueueBound
	if b := m.plan.Services[i].QueueBound; b > 0 {
		v.bound = min(v.bound, float64(b))
	}
	m.evict(int32(i))
	m.scale(int32(i))
	m.afflict(i)
	if !switched {
		return
	}
	for e := range m.edges {
		if m.edges[e].from == int32(i) {
			m.route(&m.edges[e])
		}
	}
}

// EdgeControl returns what levers have set on edge e.
func (m *Model) EdgeControl(e int) EdgeControl { return m.edgeLevers[e] }

// SetEdgeControl sets the levers of edge e from the next step on. A timeout that
// is not above 0 is the blueprint's; a longer one than any before costs memory.
func (m *Model) SetEdgeControl(e int, c EdgeControl) {
	d := &m.edges[m.edgeAt[e]]
	if c.Timeout <= 0 {
		c.Timeout = m.plan.Edges[e].Timeout
	}
	c.Timeout = min(c.Timeout, maxPatience)
	c.Budget, c.Weight = limit(c.Budget), max(0, c.Weight)
	if math.IsNaN(c.Weight) || math.IsInf(c.Weight, 0) {
		c.Weight = 1
	}
	if c.Breaker != m.edgeLevers[e].Breaker {
		m.breakers[e], d.tot.Open = breaker{}, 0
	}
	m.edgeLevers[e] = c
	d.budget, d.guarded = c.Budget, c.Breaker.FailureRatio > 0
	m.setTimeout(d, c.Timeout)
	m.route(d)
	m.stretch(c.Timeout + m.plan.Edges[e].Backoff)
}

func (m *Model) setTimeout(e *edge, d time.Duration) {
	e.timeout = d.Seconds()
	e.patience = max(1, m.ticks(d))
}

// Condition returns what ails service i.
func (m *Model) Condition(i int) Condition {
	c := m.faults[i]
	if c.Bad != nil {
		bad := *c.Bad
		c.Bad = &bad
	}
	return c
}

// SetCondition makes service i ill, or well again, from the next step on.
func (m *Model) SetCondition(i int, c Condition) {
	v := &m.services[i]
	if c.Bad != nil {
		bad := *c.Bad
		bad.Share, bad.Errors = clamp(bad.Share), clamp(bad.Errors)
		bad.Capacity, bad.Slow = max(0, bad.Capacity), max(0, bad.Slow)
		c.Bad = &bad
	}
	c.Capacity, c.Slow, c.Errors = max(0, c.Capacity), max(0, c.Slow), clamp(c.Errors)
	c.Lost, c.Leak = max(0, c.Lost), max(0, c.Leak)
	lost := c.Lost - m.faults[i].Lost
	if up := v.running - min(v.running, m.faults[i].Lost); lost > 0 && up > 0 {
		m.lose(int32(i), min(1, float64(lost)/float64(up)), m.tick)
	}
	m.faults[i] = c
	v.leak = c.Leak
	m.afflict(i)
}

// EdgeCondition returns what ails the network of edge e.
func (m *Model) EdgeCondition(e int) EdgeCondition { return m.edgeFaults[e] }

// SetEdgeCondition makes the network of edge e ill, or well again.
func (m *Model) SetEdgeCondition(e int, c EdgeCondition) {
	d := &m.edges[m.edgeAt[e]]
	c.Delay, c.Loss = max(0, c.Delay), clamp(c.Loss)
	m.edgeFaults[e], d.delay, d.loss = c, c.Delay.Seconds(), c.Loss
}

// SetLoad makes a population of clients want factor times its rate.
func (m *Model) SetLoad(client int, factor float64) {
	if !atLeastZero(factor) {
		factor = 0
	}
	m.crowds[client].factor = factor
}

// EvictCache takes share of what the cache of service i holds, at once.
func (m *Model) EvictCache(i int, share float64) {
	m.services[i].hit *= 1 - clamp(share)
}

// afflict works out what conditions and versions make of a service's rate, work
// and errors.
func (m *Model) afflict(i int) {
	v := &m.services[i]
	c, ctl := &m.faults[i], &m.levers[i]
	v.kappa, v.extra, v.errs, v.badCut = c.Capacity, c.Slow.Seconds(), c.Errors, 0
	if bad := c.Bad; bad != nil && !ctl.RolledBack {
		v.badCut = bad.Share
		v.kappa *= 1 - bad.Share + bad.Share*bad.Capacity
		v.extra += bad.Share * bad.Slow.Seconds()
		v.errs = 1 - (1-v.errs)*(1-bad.Share*bad.Errors)
	}
	v.usable = float64(max(0, v.running-c.Lost-ctl.Drained))
	v.tot.Ready = float64(max(0, v.running-c.Lost))
	v.tot.Wanted, v.tot.BadCut = float64(ctl.Replicas), v.badCut
}

// route works out how many calls an edge gets per request of its caller.
func (m *Model) route(e *edge) {
	c, s := &m.levers[e.from], &m.plan.Edges[e.index]
	e.calls = s.Calls * m.edgeLevers[e.index].Weight
	if s.Feature != "" && slices.Contains(c.Killed, s.Feature) {
		e.calls *= 1 - c.KilledPart
	}
}

// stretch lengthens the rings so that they reach d.
func (m *Model) stretch(d time.Duration) {
	n := m.slotsFor(d)
	if n <= m.slots {
		return
	}
	s, c := int64(len(m.services)), int64(m.classes)
	cohorts, waiting, again := make([]cohort, n*s), make([]float32, n*c), make([]float32, n*c)
	for t := max(0, m.tick-m.slots+1); t <= m.tick; t++ {
		from, to := t&(m.slots-1), t&(n-1)
		copy(cohorts[to*s:(to+1)*s], m.cohorts[from*s:(from+1)*s])
		copy(waiting[to*c:(to+1)*c], m.waiting[from*c:(from+1)*c])
	}
	for t := m.tick + 1; t < m.tick+m.slots; t++ {
		from, to := t&(m.slots-1), t&(n-1)
		copy(again[to*c:(to+1)*c], m.again[from*c:(from+1)*c])
	}
	m.slots, m.cohorts, m.waiting, m.again = n, cohorts, waiting, again
	m.pieces = make([]piece, 0, n+1)
}

// limit reads a cap or bound: negative is 0, not a number is none.
func limit(x float64) float64 {
	if math.IsNaN(x) {
		return math.Inf(1)
	}
	return max(0, x)
}

func clamp(x float64) float64 {
	if math.IsNaN(x) {
		return 0
	}
	return min(1, max(0, x))
}
