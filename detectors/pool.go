package detectors

import (
	"fmt"

	"github.com/sreagent/sreagent/sre"
)

// pool watches for workers that are taken because each request holds one for
// longer, not because there are more requests: by Little's law the occupancy is
// traffic times hold time over size, so the hold time has grown by as much as
// occupancy per request has. It speaks where a callee that has become slow
// explains that; where nothing does, the service has lost speed itself.
type pool struct {
	cfg   PoolConfig
	v     *vitals
	state []episode
}

func newPool(cfg Config, v *vitals) *pool { return &pool{cfg: cfg.Pool, v: v} }

// Name returns the name of the detector.
func (*pool) Name() string { return "pool_exhaustion" }

// Detect appends one precursor per pool that slow callees hold.
func (d *pool) Detect(s *sre.Snapshot, frozen []bool, found []sre.Precursor) []sre.Precursor {
	d.v.observe(s, frozen)
	for len(d.state) < len(s.Graph.Services) {
		d.state = append(d.state, episode{})
	}
	for i := range s.Graph.Services {
		hold := d.hold(i)
		d.state[i].push(d.v.now[i].pool >= d.cfg.WarnUse && hold >= d.cfg.Hold && d.v.now[i].slowest >= d.cfg.Hold, s.At)
		if d.state[i].on(2, 3) {
			found = append(found, d.precursor(s, i, hold))
		}
	}
	return found
}

// hold returns the time for which one request holds a worker over the usual
// time; missing where either is unknown.
func (d *pool) hold(i int) float64 {
	p := &d.v.now[i]
	capacity := d.v.usual[i].capacity.value(needed)
	if !known(p.pool) || !known(p.traffic) || p.traffic <= 0 || !known(capacity) {
		return missing
	}
	return p.pool / p.traffic * capacity
}

func (d *pool) precursor(s *sre.Snapshot, i int, hold float64) sre.Precursor {
	p, u := &d.v.now[i], &d.v.usual[i]
	name, callee := s.Graph.Services[i].Name, s.Graph.Services[p.slowestCallee].Name
	out := sre.Precursor{
		Detector: d.Name(), Mechanism: sre.PoolExhaustion, Service: name, Kind: sre.Pool,
		Severity: sre.Warning, Since: d.state[i].since,
	}
	if p.pool >= d.cfg.ActUse && d.v.troubled(i) {
		out.Severity = sre.Critical
	}
	terms := []term{
		{ramp(p.pool, d.cfg.WarnUse, d.cfg.ActUse), sre.Evidence{
			Signal: "occupancy", Subject: name, Now: p.pool, Normal: or(u.pool.value(needed), 0), Unit: sre.Ratio,
			Meaning: fmt.Sprintf("%s of the workers of %s are taken (usual %s)", percent(p.pool), name, percent(or(u.pool.value(needed), 0))),
		}},
		{ramp(hold, 1, d.cfg.Hold), sre.Evidence{
			Signal: "hold_time", Subject: name, Now: hold, Normal: 1, Unit: sre.Ratio,
			Meaning: fmt.Sprintf("each request holds a worker of %s %.1f times as long as usual", name, hold),
		}},
		{ramp(p.slowest, 1, d.cfg.Hold), sre.Evidence{
			Signal: "slow_callee", Subject: callee, Now: p.slowest, Normal: 1, Unit: sre.Ratio,
			Meaning: fmt.Sprintf("its callee %s is %.1f times slower than usual", callee, p.slowest),
		}},
	}
	if t, ok := d.v.harmTerm(i, name, harmless); ok {
		terms = append(terms, t)
	}
	return conclude(out, terms)
}
