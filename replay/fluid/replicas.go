package fluid

// scale brings the replicas of a service towards what is wanted: more come after
// the start delay, fewer leave at once, those still starting first.
func (m *Model) scale(v int32) {
	s := &m.services[v]
	coming, crashed := 0, 0
	for _, x := range m.starts {
		if x.service == v && x.crashed {
			crashed += int(x.replicas)
		} else if x.service == v {
			coming += int(x.replicas)
		}
	}
	more := m.levers[v].Replicas - s.running - coming - crashed
	for i := len(m.starts) - 1; i >= 0 && more < 0; i-- {
		if x := &m.starts[i]; x.service == v {
			n := min(x.replicas, int32(-more))
			x.replicas -= n
			more += int(n)
		}
	}
	switch {
	case more < 0:
		s.leaked *= float64(s.running+more) / float64(s.running)
		s.running += more
	case more > 0 && s.startTicks == 0:
		s.running += more
	case more > 0:
		m.starts = append(m.starts, start{service: v, replicas: int32(more), tick: m.tick + s.startTicks})
	}
}

// replace brings up the replicas that are due and lets those crash that hold too
// much.
func (m *Model) replace() {
	if len(m.starts) > 0 {
		keep := m.starts[:0]
		for _, x := range m.starts {
			if x.replicas > 0 && x.tick > m.tick {
				keep = append(keep, x)
				continue
			}
			m.services[x.service].running += int(x.replicas)
			m.afflict(int(x.service))
		}
		m.starts = keep
	}
	for i := range m.services {
		if v := &m.services[i]; v.heap > 0 && v.usable > 0 && v.queue > v.heap*v.usable {
			m.crash(int32(i))
		}
	}
}

// crash takes one replica with its part of the queue. It starts again by itself
// if it is still wanted.
func (m *Model) crash(i int32) { m.down(i, m.services[i].restartTicks) }

// Restart takes one running replica of a service down with its part of the
// queue, as somebody who restarts it does, for at least as long as a replica
// takes to start. It reports whether there was one.
func (m *Model) Restart(i int) bool {
	v := &m.services[i]
	if v.running <= 0 || v.usable <= 0 {
		return false
	}
	m.down(int32(i), max(v.restartTicks, v.startTicks))
	return true
}

func (m *Model) down(i int32, ticks int64) {
	v := &m.services[i]
	m.lose(i, min(1, 1/v.usable), m.tick-1)
	v.leaked -= v.leaked / float64(v.running)
	v.running--
	v.tot.Crashes++
	m.starts = append(m.starts, start{service: i, replicas: 1, tick: m.tick + ticks, crashed: true})
	m.afflict(int(i))
}

// lose drops a share of a queue, evenly over its age. Callers see the connection
// break: an attempt that failed. The youngest cohort is that of the step last.
func (m *Model) lose(i int32, part float64, last int64) {
	v := &m.services[i]
	v.busy *= 1 - part
	if v.queue <= 0 {
		return
	}
	waited := 0.0
	for t := max(v.head, last-m.slots+1, 0); t <= last; t++ {
		c := &m.cohorts[(t&(m.slots-1))*int64(len(m.services))+int64(i)]
		if c.left <= 0 {
			continue
		}
		gone := c.left * part
		waited += gone * float64(m.tick-t)
		m.refuse(v, c, t, gone)
	}
	waited += part * (v.pile*float64(m.tick) - v.pileSum)
	v.pile *= 1 - part
	v.pileSum *= 1 - part
	v.tot.Dropped += v.queue * part
	v.tot.WaitSeconds += waited * m.dt
	v.queue *= 1 - part
	v.tot.Queue = v.queue
}

// refuse takes a part of a cohort out of its queue unserved; those of its callers
// who still wait are told, and may try again.
func (m *Model) refuse(v *service, c *cohort, t int64, gone float64) {
	row := m.waiting[(t&(m.slots-1))*int64(m.classes):]
	rest := (c.size - gone) / c.size
	for k := v.inLow; k < v.inHigh; k++ {
		e := &m.edges[k]
		for r := range e.retries + 1 {
			x := float64(row[e.off+r])
			if t >= e.settled && x > 0 {
				e.tot.Failed += x * gone / c.size
				m.repeat(e, r, x*gone/c.size, 1+e.backoff)
			}
			row[e.off+r] = float32(x * rest)
		}
	}
	c.dead *= 1 - gone/c.left
	c.size -= gone
	c.left -= gone
}

// evict refuses what waits above the bound of a service, the longest waiting
// first, as the guard does when its bound is lowered.
func (m *Model) evict(i int32) {
	v := &m.services[i]
	excess := v.queue - v.bound
	if excess <= 0 {
		return
	}
	gone, waited, last := 0.0, 0.0, m.tick
	if v.pile > 0 { // dead for every caller
		gone = min(v.pile, excess)
		part := gone / v.pile
		waited = part * (v.pile*float64(m.tick) - v.pileSum)
		v.pileSum *= 1 - part
		v.pile -= gone
	}
	for t := max(v.head, last-m.slots+1, 0); t <= last && gone < excess; t++ {
		c := &m.cohorts[(t&(m.slots-1))*int64(len(m.services))+int64(i)]
		if c.left <= 0 {
			continue
		}
		part := min(c.left, excess-gone)
		waited += part * float64(m.tick-t)
		m.refuse(v, c, t, part)
		gone += part
	}
	v.tot.Dropped += gone
	v.tot.WaitSeconds += waited * m.dt
	v.queue = max(0, v.queue-gone)
	v.tot.Queue = v.queue
}
