package detectors

import (
	"fmt"
	"time"

	"github.com/sreagent/sreagent/sre"
)

// overload watches for services that run out of room: workers are all taken, or
// work waits. It names no reason but the load; detectors that know a better one
// go before it (precedence.go).
type overload struct {
	cfg   OverloadConfig
	quiet float64 // amplification from which the retry-storm detector speaks
	v     *vitals
	state []episode
	rest  unrest
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
		d.state = append(d.state, episode{})
	}
	d.rest.observe(d.v, frozen)
	for i := range s.Graph.Services {
		use := d.use(i)
		climbs, steeply := d.v.filling(i, fillFrom)
		d.state[i].push(climbs || use >= d.cfg.WarnUse && d.v.waiting(i), s.At)
		if (steeply || climbs && d.state[i].on(2, 3) || d.state[i].on(3, 5)) && or(d.v.now[i].amplification, 1) < d.quiet {
			found = append(found, d.precursor(s, i, use))
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

// delay is the time that work waits for a service of measured capacity.
func (d *overload) delay(i int) float64 {
	capacity, assumed := d.v.capacity(i)
	if assumed {
		capacity = missing
	}
	return d.v.delay(i, capacity)
}

func (d *overload) precursor(s *sre.Snapshot, i int, use float64) sre.Precursor {
	p, u := &d.v.now[i], &d.v.usual[i]
	name := s.Graph.Services[i].Name
	out := sre.Precursor{
		Detector: d.Name(), Mechanism: sre.Overload, Service: name, Kind: sre.Pool,
		Severity: sre.Warning, Since: d.state[i].since,
	}
	if use >= d.cfg.ActUse && d.v.excess(i) > d.cfg.ErrorExcess {
		out.Severity = sre.Critical
	}
	var terms []term
	if known(p.pool) {
		terms = append(terms, term{ramp(use, d.cfg.WarnUse, d.cfg.ActUse), sre.Evidence{
			Signal: "occupancy", Subject: name, Now: p.pool, Normal: or(u.pool.value(needed), 0), Unit: sre.Ratio,
			Meaning: fmt.Sprintf("%s of the workers of %s are taken", percent(p.pool), name),
		}})
	} else {
		out.Kind = sre.Queue
	}
	if known(p.queue) {
		usual := or(u.queue.value(needed), 0)
		terms = append(terms, term{ramp(p.queue, 2*usual+3, 8*usual+12), sre.Evidence{
			Signal: "backlog", Subject: name, Now: p.queue, Normal: usual, Unit: sre.Count,
			Meaning: fmt.Sprintf("%.0f requests are inside %s (usual %.0f)", p.queue, name, usual),
		}})
	}
	if t := u.traffic.value(needed); known(t) && known(p.offered) && t > 0 {
		terms = append(terms, term{ramp(p.offered/t, 1.1, crowd), sre.Evidence{
			Signal: "offered", Subject: name, Now: p.offered, Normal: t, Unit: sre.PerSecond,
			Meaning: fmt.Sprintf("%.0f per second are asked of %s (usual %.0f)", p.offered, name, t),
		}})
	}
	if t, ok := d.v.harmTerm(i, name, d.cfg.ErrorExcess); ok {
		terms = append(terms, t)
	}
	out = conclude(out, terms)
	if ev, ok := d.rest.evidence(i, name); ok {
		out.Risk = raise(out.Risk, restWeight)
		out.Evidence = append(out.Evidence, ev)
	}
	return out
}
