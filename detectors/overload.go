package detectors

import (
	"fmt"
	"time"

	"github.com/sreagent/sreagent/sre"
)

// overload watches for services that run out of room without a retry storm:
// workers are all taken, or work waits. What holds the room names the
// mechanism: slow callees, lost replicas, lost speed, or plain load.
type overload struct {
	cfg   OverloadConfig
	quiet float64 // amplification from which the retry-storm detector speaks
	v     *vitals
	state []overloadState
}

type overloadState struct {
	hits  recent
	since time.Time
	calm  int
}

func newOverload(cfg Config, v *vitals) *overload {
	return &overload{cfg: cfg.Overload, quiet: cfg.RetryStorm.WarnAmplification, v: v}
}

// Name returns the name of the detector.
func (*overload) Name() string { return "overload" }

// Detect appends one precursor per service that is short of room.
func (d *overload) Detect(s *sre.Snapshot, frozen []bool, found []sre.Precursor) []sre.Precursor {
	d.v.observe(s, frozen)
	for len(d.state) < len(s.Graph.Services) {
		d.state = append(d.state, overloadState{})
	}
	for i := range s.Graph.Services {
		st := &d.state[i]
		use := d.use(i)
		tight := use >= d.cfg.WarnUse && d.waiting(i)
		st.hits.push(tight)
		switch {
		case tight:
			st.calm = 0
			if st.since.IsZero() {
				st.since = s.At
			}
		case st.calm < calmTicks:
			st.calm++
		default:
			st.since = time.Time{}
		}
		if tight && st.hits.of(3, 5) && or(d.v.now[i].amplification, 1) < d.quiet {
			found = append(found, d.precursor(s, i, use, st))
		}
	}
	return found
}

// use returns the occupancy of a service, 0 to 1, or the waiting time as a
// share of the configured bound where that is more: occupancy is a rate and
// lags by its window, a backlog is seen at once.
func (d *overload) use(i int) float64 {
	byDelay := or(d.delay(i), 0) / time.Duration(d.cfg.QueueDelay).Seconds()
	return max(or(d.v.now[i].pool, 0), min(1, byDelay))
}

// delay is the time that work waits before it is begun, in seconds.
func (d *overload) delay(i int) float64 {
	p, u := &d.v.now[i], &d.v.usual[i]
	if known(p.delay) {
		return p.delay
	}
	capacity, assumed := d.v.capacity(i)
	if known(p.queue) && known(capacity) && !assumed {
		return max(0, p.queue-or(u.queue.value(needed), 0)) / capacity
	}
	return missing
}

// waiting reports whether work is held up: full workers alone are thrift.
func (d *overload) waiting(i int) bool {
	p, u := &d.v.now[i], &d.v.usual[i]
	if q := u.queue.value(needed); known(q) && p.queue > 2*q+3 {
		return true
	}
	if l := u.latency.value(needed); known(l) && p.latency > 2*l && p.latency > l+.005 {
		return true
	}
	if known(p.delay) && p.delay > time.Duration(d.cfg.QueueDelay).Seconds() {
		return true
	}
	return or(p.errors, 0) > or(u.errors.value(needed), 0)+d.cfg.ErrorExcess
}

func (d *overload) precursor(s *sre.Snapshot, i int, use float64, st *overloadState) sre.Precursor {
	p, u := &d.v.now[i], &d.v.usual[i]
	name := s.Graph.Services[i].Name
	harm := max(0, or(p.errors, 0)-or(u.errors.value(needed), 0))
	out := sre.Precursor{
		Detector:  d.Name(),
		Mechanism: d.mechanism(i),
		Service:   name,
		Kind:      sre.Pool,
		Severity:  sre.Warning,
		Score:     .4 + .2*ramp(use, d.cfg.WarnUse, d.cfg.ActUse) + .35*ramp(harm, 0, 4*d.cfg.ErrorExcess),
		Since:     st.since,
	}
	if use >= d.cfg.ActUse && harm > d.cfg.ErrorExcess {
		out.Severity = sre.Critical
	}
	if known(p.pool) {
		meaning := fmt.Sprintf("%s of the workers of %s are taken", percent(p.pool), name)
		if out.Mechanism == sre.PoolExhaustion {
			meaning += fmt.Sprintf(", and its callee %s is %.1f times slower than usual", s.Graph.Services[p.slowestCallee].Name, p.slowest)
		}
		out.Evidence = append(out.Evidence, sre.Evidence{
			Signal: "occupancy", Subject: name, Now: p.pool, Normal: or(d.usualUse(i), 0), Unit: sre.Ratio, Weight: .5, Meaning: meaning,
		})
	} else {
		out.Kind = sre.Queue
	}
	if known(p.queue) {
		usual := or(u.queue.value(needed), 0)
		out.Evidence = append(out.Evidence, sre.Evidence{
			Signal: "backlog", Subject: name, Now: p.queue, Normal: usual, Unit: sre.Count, Weight: .3,
			Meaning: fmt.Sprintf("%.0f requests are inside %s (usual %.0f)", p.queue, name, usual),
		})
	}
	if known(p.errors) && harm > 0 {
		usual := or(u.errors.value(needed), 0)
		out.Evidence = append(out.Evidence, sre.Evidence{
			Signal: "error_ratio", Subject: name, Now: p.errors, Normal: usual, Unit: sre.Ratio, Weight: .2,
			Meaning: fmt.Sprintf("%s of requests to %s fail (usual %s)", percent(p.errors), name, percent(usual)),
		})
	}
	return out
}

func (d *overload) usualUse(i int) float64 {
	u := &d.v.usual[i]
	traffic, capacity := u.traffic.value(needed), u.capacity.value(needed)
	if !known(capacity) || capacity <= 0 {
		return missing
	}
	return traffic / capacity
}

// mechanism asks, in this order: are replicas gone, is a callee slow, is there
// more load, has the service itself become slow.
func (d *overload) mechanism(i int) sre.Mechanism {
	p, u := &d.v.now[i], &d.v.usual[i]
	if n := u.replicas.value(needed); known(n) && p.replicas < .85*n {
		return sre.SurvivorOverload
	}
	if p.slowest >= 2 {
		return sre.PoolExhaustion
	}
	if t := u.traffic.value(needed); known(t) && p.traffic > 1.3*t {
		return sre.Overload
	}
	if c := u.capacity.value(needed); known(c) && p.pool > 0 && p.traffic/p.pool < .7*c {
		return sre.CapacityDecay
	}
	return sre.Overload
}
