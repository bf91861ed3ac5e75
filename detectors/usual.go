package detectors

import (
	"math"
	"time"

	"github.com/sreagent/sreagent/sre"
)

// harmless is the rise of the error ratio up to which a service is healthy.
const harmless = .05

// sustained is the time constant of the served rate that counts as proven.
const sustained = 30

// brim is the occupancy from which nobody is well, however usual it is, and
// bustle the rise of it that is still usual.
const (
	brim   = .98
	bustle = .03
)

func (v *vitals) isHealthy(p *pulse, u *usual) bool {
	busy := max(v.cfg.RetryStorm.Busy, min(brim, or(u.pool.value(needed), 0)+bustle))
	return p.anything &&
		or(p.errors, 0) < or(u.errors.value(needed), 0)+harmless &&
		or(p.pool, 0) < busy &&
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
	wander(&u.latencyDev, p.latency, &u.latency, v.alpha)
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
		u.errorDev.add(math.Abs(x-u.errors.v), v.alpha)
	}
	u.errors.add(x, v.alpha)
}

// learnBounds follows occupancy and cache hits in small steps, of unhealthy
// services too: one that always runs at nine tenths is well in its way, and a
// cache that was lost must not become the usual one before anybody is told.
func (v *vitals) learnBounds(p *pulse, u *usual) {
	if known(p.pool) {
		x := p.pool
		if u.pool.n >= needed {
			x = min(x, u.pool.v+bustle)
			u.poolDev.add(math.Abs(x-u.pool.v), v.alpha)
		}
		u.pool.add(x, v.alpha)
	}
	if known(p.cache) {
		x := p.cache
		if u.cache.n >= needed {
			x = max(x, u.cache.v-bustle)
			u.cacheDev.add(math.Abs(x-u.cache.v), v.alpha)
		}
		u.cache.add(x, v.alpha)
	}
}

// troubled reports whether a service shows what its callers feel: failures, or
// answers that take twice as long as usual, more of either than its own ups and
// downs and than so few requests can prove.
func (v *vitals) troubled(i int) bool {
	return v.excess(i) >= max(harmless, wild*gaussian*v.usual[i].errorDev.v) || v.late(i)
}

// late reports whether a service takes twice as long as usual to answer.
func (v *vitals) late(i int) bool {
	p, u := &v.now[i], &v.usual[i]
	return !v.few(i) && muchLater(p.latency, u.latency.value(needed), &u.latencyDev)
}

// few reports whether so few requests came that a mean over them is chance.
func (v *vitals) few(i int) bool {
	t := v.now[i].traffic
	return known(t) && t*max(v.dt, time.Duration(v.cfg.Window).Seconds()) < fewRequests
}

// shortest is a rise of latency that nobody feels, in seconds; wild is the
// number of standard deviations that are no chance.
const (
	shortest = .005
	wild     = 4
)

// muchLater reports whether a latency is twice the usual one, beyond what it
// wanders by itself. False where either is unknown.
func muchLater(now, base float64, dev *mean) bool {
	return now > 2*base && now > base+shortest && math.Log(now/base) > wild*gaussian*dev.v
}

// wander learns how far the logarithm of a latency is from that of its mean.
func wander(dev *mean, x float64, m *mean, alpha float64) {
	if m.n >= needed && x > 0 && m.v > 0 {
		dev.add(math.Abs(math.Log(x/m.v)), alpha)
	}
}

// markOnset keeps when the trouble of a service began.
func (v *vitals) markOnset(i int) {
	p := &v.now[i]
	switch {
	case !p.anything:
	case !v.troubled(i):
		v.onset[i] = missing
	case !known(v.onset[i]):
		v.onset[i] = v.at.Sub(v.start).Seconds()
	}
}

// excess returns the rise of the error ratio over the usual one, 0 to 1: that
// which the number of requests proves (Wilson, 1927).
func (v *vitals) excess(i int) float64 {
	p := &v.now[i]
	errors := or(p.errors, 0)
	if known(p.traffic) {
		errors = min(errors, wilson(errors, p.traffic*max(v.dt, time.Duration(v.cfg.Window).Seconds())))
	}
	return max(0, errors-or(v.usual[i].errors.value(needed), 0))
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
			wander(&v.edgeDev[e], x, &v.edgeLat[e], v.alpha)
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
