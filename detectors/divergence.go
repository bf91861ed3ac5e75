package detectors

import (
	"fmt"

	"github.com/sreagent/sreagent/sre"
)

// divergence watches for services that are asked for more and answer less well:
// the criterion of congestion collapse (RFC 2914). It asks for load and loss
// against the usual at the same time, so neither a surge that is served nor an
// outage without load counts. Where workers are free it is only a note: then
// the answers fail for another reason, and what comes more are repeated calls.
type divergence struct {
	cfg   DivergenceConfig
	room  float64
	v     *vitals
	state []episode
	good  []mean // good answers per second while well
}

func newDivergence(cfg Config, v *vitals) *divergence {
	return &divergence{cfg: cfg.Divergence, room: cfg.Overload.WarnUse, v: v}
}

// Name returns the name of the detector.
func (*divergence) Name() string { return "goodput_divergence" }

// Detect appends one precursor per service whose goodput falls under more load.
func (d *divergence) Detect(s *sre.Snapshot, frozen []bool, found []sre.Precursor) []sre.Precursor {
	d.v.observe(s, frozen)
	for len(d.state) < len(s.Graph.Services) {
		d.state, d.good = append(d.state, episode{}), append(d.good, mean{})
	}
	for i := range s.Graph.Services {
		p, u := &d.v.now[i], &d.v.usual[i]
		good := p.traffic * (1 - or(p.errors, 0) - p.dead())
		load, usual := u.traffic.value(needed), d.good[i].value(needed)
		rise, loss := p.offered/load-1, 1-good/usual
		sign := load > 0 && usual > 0 && p.offered*d.v.dt >= fewRequests && rise >= d.cfg.Load && loss >= d.cfg.WarnLoss
		if p.healthy && !isFrozen(frozen, i) && known(good) {
			d.good[i].add(good, d.v.alpha)
		}
		d.state[i].push(sign, s.At)
		if d.state[i].on(3, 5) {
			found = append(found, d.precursor(s, i, rise, clip(loss)))
		}
	}
	return found
}

func (d *divergence) precursor(s *sre.Snapshot, i int, rise, loss float64) sre.Precursor {
	p, u := &d.v.now[i], &d.v.usual[i]
	name := s.Graph.Services[i].Name
	out := sre.Precursor{
		Detector: d.Name(), Mechanism: sre.Overload, Service: name, Kind: sre.Traffic,
		Severity: sre.Warning, Since: d.state[i].since,
	}
	switch {
	case p.pool < d.room:
		out.Severity = sre.Info
	case loss >= d.cfg.ActLoss:
		out.Severity = sre.Critical
	}
	usual := d.good[i].v
	terms := []term{
		{ramp(rise, d.cfg.Load/2, 2*d.cfg.Load), sre.Evidence{
			Signal: "offered", Subject: name, Now: p.offered, Normal: u.traffic.v, Unit: sre.PerSecond,
			Meaning: fmt.Sprintf("%.0f per second are asked of %s (usual %.0f)", p.offered, name, u.traffic.v),
		}},
		{ramp(loss, d.cfg.WarnLoss, d.cfg.ActLoss), sre.Evidence{
			Signal: "goodput", Subject: name, Now: (1 - loss) * usual, Normal: usual, Unit: sre.PerSecond,
			Meaning: fmt.Sprintf("%s answers only %.0f per second well (usual %.0f), while more is asked of it", name, (1-loss)*usual, usual),
		}},
	}
	if known(p.pool) {
		terms = append(terms, term{ramp(p.pool, d.room, 1), sre.Evidence{
			Signal: "occupancy", Subject: name, Now: p.pool, Normal: or(u.pool.value(needed), 0), Unit: sre.Ratio,
			Meaning: fmt.Sprintf("%s of the workers of %s are taken", percent(p.pool), name),
		}})
	}
	return conclude(out, terms)
}
