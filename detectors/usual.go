package detectors

import (
	"math"

	"github.com/sreagent/sreagent/sre"
)

// harmless is the rise of the error ratio up to which a service is healthy.
const harmless = .05

// sustained is the time constant of the served rate that counts as proven.
const sustained = 30

func (v *vitals) isHealthy(p *pulse, u *usual) bool {
	return p.anything &&
		or(p.errors, 0) < or(u.errors.value(needed), 0)+harmless &&
		or(p.pool, 0) < v.cfg.RetryStorm.Busy &&
		or(p.amplification, 1) < v.cfg.RetryStorm.WarnAmplification &&
		p.dead() < v.cfg.RetryStorm.DeadShare
}

// dead returns the share of arrivals that their callers gave up.
func (p *pulse) dead() float64 {
	if !known(p.timeouts) || !known(p.traffic) || p.traffic <= 0 {
		return 0
	}
	return clip(p.timeouts / p.traffic)
}

func (v *vitals) learn(p *pulse, u *usual) {
	add := func(m *mean, x float64) {
		if known(x) {
			m.add(x, v.alpha)
		}
	}
	add(&u.traffic, p.traffic)
	add(&u.latency, capped(p.latency, &u.latency))
	add(&u.tail, capped(p.tail, &u.tail))
	if known(p.queue) && u.queue.n >= needed {
		u.queueDev.add(math.Abs(capped(p.queue, &u.queue)-u.queue.v), v.alpha)
	}
	add(&u.queue, capped(p.queue, &u.queue))
	add(&u.replicas, p.replicas)
	if known(p.amplification) {
		u.retryShare.add(1-1/p.amplification, v.alpha)
	}
	if known(p.pool) && p.pool > .05 && known(p.traffic) && p.traffic > 0 {
		u.capacity.add(p.traffic/p.pool, v.alpha)
	}
	if known(p.traffic) {
		u.good.add(p.traffic*(1-or(p.errors, 0)), decay(v.dt, sustained))
		if u.good.n >= needed {
			u.peak = max(u.peak, u.good.v)
		}
	}
}

// learnErrors follows the error ratio of unhealthy services too, in small
// steps: one that always fails a tenth of its requests is healthy in its way.
func (v *vitals) learnErrors(p *pulse, u *usual) {
	if !known(p.errors) {
		return
	}
	x := p.errors
	if u.errors.n >= needed {
		x = min(x, u.errors.v+harmless)
	}
	u.errors.add(x, v.alpha)
}

// backlogged reports whether a queue is longer than its usual ups and downs, and
// than chance arrivals make it.
func (u *usual) backlogged(queue float64) bool {
	base := u.queue.value(needed)
	if !known(base) {
		return true
	}
	wander := max(gaussian*u.queueDev.v, math.Sqrt(max(base, 1)))
	return queue > base+4*wander && queue > 1.5*base+2
}

// capped keeps one wild sample from moving a baseline far.
func capped(x float64, m *mean) float64 {
	if m.n < needed {
		return x
	}
	return min(x, 3*m.v+1)
}

func (v *vitals) learnEdges(s *sre.Snapshot, frozen []bool) {
	for e := range s.Graph.Edges {
		edge := &s.Graph.Edges[e]
		if !v.now[edge.From].healthy || isFrozen(frozen, edge.From) || isFrozen(frozen, edge.To) {
			continue
		}
		if to := &v.now[edge.To]; to.anything && !to.healthy {
			continue
		}
		if x := cell(&s.Edge, v.edge.latency, e); known(x) {
			v.edgeLat[e].add(capped(x, &v.edgeLat[e]), v.alpha)
		}
		calls, own := cell(&s.Edge, v.edge.traffic, e), cell(&s.Service, v.svc.traffic, edge.From)
		if known(calls) && known(own) && own > 0 {
			v.fanout[e].add(calls/own, v.alpha)
		}
	}
}

// capacity returns what the service serves per second when it is full and
// well, and whether that is assumed from its best proven rate rather than
// measured; missing before enough was seen.
func (v *vitals) capacity(i int) (perSecond float64, assumed bool) {
	u := &v.usual[i]
	if c := u.capacity.value(needed); known(c) && c > 0 {
		return c, false
	}
	if u.peak > 0 {
		return u.peak, true
	}
	return missing, true
}
