package detectors

import (
	"fmt"

	"github.com/sreagent/sreagent/sre"
)

// decay watches for services that serve less than they could with all workers
// busy: garbage collection, swapping, a throttled processor, a degraded disk.
// Capacity is what is served per unit of occupancy, so less load is no decay.
type decaying struct {
	cfg   DecayConfig
	full  float64 // occupancy from which throughput is capacity
	lost  float64 // share of replicas whose loss is the reason
	slow  float64 // slowness of a callee that is the reason
	v     *vitals
	state []episode
}

func newDecay(cfg Config, v *vitals) *decaying {
	return &decaying{cfg: cfg.Decay, full: cfg.Overload.WarnUse, lost: cfg.Survivor.Lost, slow: cfg.Slow.Rise, v: v}
}

// Name returns the name of the detector.
func (*decaying) Name() string { return "capacity_decay" }

// Detect appends one precursor per service that has lost capacity.
func (d *decaying) Detect(s *sre.Snapshot, frozen []bool, found []sre.Precursor) []sre.Precursor {
	d.v.observe(s, frozen)
	for len(d.state) < len(s.Graph.Services) {
		d.state = append(d.state, episode{})
	}
	for i := range s.Graph.Services {
		loss, ok := d.loss(i)
		climbs, steeply := d.v.filling(i, fadeFrom)
		climbs = climbs && ok && loss >= d.cfg.WarnLoss/2
		d.state[i].push(climbs || ok && d.v.now[i].pool >= d.full && loss >= d.cfg.WarnLoss && d.v.waiting(i), s.At)
		if climbs && steeply || d.state[i].on(2, 3) {
			found = append(found, d.precursor(s, i, loss))
		}
	}
	return found
}

// loss returns the share of a full service's capacity that is gone, unless
// something else explains it.
func (d *decaying) loss(i int) (float64, bool) {
	p, u := &d.v.now[i], &d.v.usual[i]
	capacity := u.capacity.value(needed)
	if !known(capacity) || capacity <= 0 || !known(p.traffic) || !(p.pool >= min(d.full, fadeFrom)) || p.slowest >= d.slow {
		return 0, false
	}
	if n := u.replicas.value(needed); known(n) && p.replicas < (1-d.lost)*n {
		return 0, false
	}
	return clip(1 - p.served()/p.pool/capacity), true
}

func (d *decaying) precursor(s *sre.Snapshot, i int, loss float64) sre.Precursor {
	p, u := &d.v.now[i], &d.v.usual[i]
	name := s.Graph.Services[i].Name
	out := sre.Precursor{
		Detector: d.Name(), Mechanism: sre.CapacityDecay, Service: name, Kind: sre.Pool,
		Severity: sre.Warning, Since: d.state[i].since,
	}
	capacity := u.capacity.value(needed)
	terms := []term{{ramp(loss, d.cfg.WarnLoss, d.cfg.ActLoss), sre.Evidence{
		Signal: "capacity", Subject: name, Now: (1 - loss) * capacity, Normal: capacity, Unit: sre.PerSecond,
		Meaning: fmt.Sprintf("%s is busy and serves only %.0f per second where it could serve %.0f", name, (1-loss)*capacity, capacity),
	}}}
	served := (1 - loss) * capacity
	delay := d.v.delay(i, served)
	timeout := d.v.settings[i].timeout
	if known(delay) && known(timeout) {
		terms = append(terms, term{ramp(delay/timeout, d.cfg.WarnDelay, d.cfg.ActDelay), sre.Evidence{
			Signal: "delay", Subject: name, Now: delay, Unit: sre.Seconds,
			Meaning: fmt.Sprintf("work waits %s in %s; its callers give up after %s", seconds(delay), name, seconds(timeout)),
		}})
	}
	if known(p.offered) && served > 0 {
		terms = append(terms, term{ramp(p.offered/served, 1, 1.2), sre.Evidence{
			Signal: "offered", Subject: name, Now: p.offered, Normal: or(u.traffic.value(needed), 0), Unit: sre.PerSecond,
			Meaning: fmt.Sprintf("%.0f per second are asked of %s, %.1f times what it now serves", p.offered, name, p.offered/served),
		}})
	}
	if t, ok := d.v.harmTerm(i, name, harmless); ok {
		terms = append(terms, t)
	}
	if loss >= d.cfg.ActLoss && d.v.excess(i) > harmless {
		out.Severity = sre.Critical
	}
	return conclude(out, terms)
}
