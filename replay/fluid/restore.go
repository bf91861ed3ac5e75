package fluid

// Restore makes service i what it is on a good day, as far as it is its own
// doing: nothing ails it or the network around it, the replicas that are wanted
// are there, no worker is lost, its cache is as full as it gets, breakers before
// it are closed, and nothing waits at it or is about to be tried there again.
// What levers have set stays, and what ails others too. It is what a
// counterfactual needs (was this service the cause?) and nothing that could
// happen: the requests that wait are gone, counted nowhere, so that the laws of
// conservation do not hold across it.
func (m *Model) Restore(i int) {
	v := &m.services[i]
	m.SetCondition(i, Well())
	for k := range m.starts {
		if s := &m.starts[k]; s.service == int32(i) {
			s.replicas = 0
		}
	}
	v.running, v.leaked, v.hit = m.levers[i].Replicas, 0, v.hitMost
	for e := range m.plan.Edges {
		if s := &m.plan.Edges[e]; s.From == i || s.To == i {
			m.SetEdgeCondition(e, EdgeCondition{})
		}
	}
	m.Empty(i)
	m.afflict(i)
}

// Empty takes away what waits at service i, and the retries that its callers have
// planned, as if they had never come. As after Restore, they are counted nowhere.
func (m *Model) Empty(i int) {
	v := &m.services[i]
	for k := v.inLow; k < v.inHigh; k++ {
		m.forget(&m.edges[k], int32(i))
	}
	for t := max(v.head, m.tick-m.slots+1, 0); t <= m.tick; t++ {
		m.cohorts[(t&(m.slots-1))*int64(len(m.services))+int64(i)] = cohort{}
	}
	v.queue, v.pile, v.pileSum, v.stat = 0, 0, 0, 0
	v.head = m.tick + 1
	m.gauge(v)
}

// forget ends what one caller of service i waits for and has planned.
func (m *Model) forget(e *edge, i int32) {
	v := &m.services[i]
	gone := 0.0
	for slot := range m.slots {
		row := m.again[slot*int64(m.classes)+int64(e.off):][:e.retries+1]
		for r, x := range row {
			gone += float64(x)
			row[r] = 0
		}
	}
	for t := max(v.head, e.settled, m.tick-m.slots+1, 0); t <= m.tick; t++ {
		slot := t & (m.slots - 1)
		c := &m.cohorts[slot*int64(len(m.services))+int64(i)]
		if c.left <= 0 {
			continue
		}
		for _, x := range m.waiting[slot*int64(m.classes)+int64(e.off):][:e.retries+1] {
			gone += float64(x) * c.left / c.size
		}
	}
	e.settled, e.lastAgain = m.tick+1, -1
	e.sent, e.taken, e.badEnds = e.fresh, 1, 0
	if e.from < 0 {
		k := &m.crowds[e.index]
		k.outstanding = max(0, k.outstanding-gone)
		return
	}
	m.breakers[e.index], e.tot.Open = breaker{}, 0
}

// Load returns the factor on the rate of a population of clients, and its average
// over about the last half hour, which starts with the first load there was.
func (m *Model) Load(client int) (now, usual float64) {
	k := &m.crowds[client]
	return k.factor, k.usual
}
