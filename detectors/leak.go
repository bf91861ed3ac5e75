package detectors

import (
	"fmt"
	"math"
	"time"

	"github.com/sreagent/sreagent/sre"
)

// leak watches for pools whose members are taken and not given back. By
// Little's law the members at work are traffic times latency, whatever the load
// is; over the occupancy that gives the size that is left. A leak makes it
// shrink in a straight line long before anything is slow, and where the line
// meets the members at work the pool is empty.
type leak struct {
	cfg   ExhaustionConfig
	need  int32
	v     *vitals
	state []drain
}

type drain struct {
	trend
	size  mean // members that are left, in requests at work per unit of occupancy
	stuck bool // the pool that shrank is now full
}

const (
	// slowly is by how much what the size was is remembered longer than other
	// usual values: a leak takes longer than a surge.
	slowly = 6

	// shrunk is the share of its size that a pool must have lost, and risen the
	// rise of its occupancy, before a leak is called one.
	shrunk = .2
	risen  = 1.2

	// brimming is the occupancy from which waiting hides how far it shrinks.
	brimming = .9

	// drainSpans is by how much the line is shorter than that of other resources:
	// where another reading covers the pool's at first, the line has a knee.
	drainSpans = 12

	// drainTicks is the least number of ticks that a line is drawn through.
	drainTicks = 3
)

func newLeak(cfg Config, v *vitals) *leak {
	return &leak{cfg: cfg.Exhaustion, need: int32(cfg.MinSamples), v: v}
}

// Name returns the name of the detector.
func (*leak) Name() string { return leakName }

const leakName = "pool_leak"

// Detect appends one precursor per pool that shrinks.
func (d *leak) Detect(s *sre.Snapshot, frozen []bool, found []sre.Precursor) []sre.Precursor {
	d.v.observe(s, frozen)
	for len(d.state) < len(s.Graph.Services) {
		d.state = append(d.state, drain{})
	}
	now, warn := s.At.Sub(d.v.start).Seconds(), time.Duration(d.cfg.WarnWithin).Seconds()
	for i := range s.Graph.Services {
		t, p := &d.state[i], &d.v.now[i]
		size := p.traffic * p.latency / p.members
		if !known(size) || math.IsInf(size, 0) || size <= 0 {
			t.push(false, s.At)
			continue
		}
		left := math.Inf(1)
		if base := t.size.value(d.need); known(base) {
			left = d.left(i, t, now, size/base)
		}
		if !isFrozen(frozen, i) && (p.healthy || t.size.n < d.need) {
			t.size.add(size, d.v.alpha/slowly)
		}
		t.stuck = p.members >= brimming && (t.stuck || t.hits.of(3, 5))
		t.push(left < warn || t.stuck, s.At)
		if t.on(3, 5) {
			found = append(found, d.precursor(s, i, t, size, left))
		}
	}
	return found
}

// left returns the seconds until the pool is empty, or infinity where it does
// not shrink.
func (d *leak) left(i int, t *drain, now, share float64) float64 {
	p, usual := &d.v.now[i], d.usual(i, t)
	t.add(now, share, d.v.dt, max(time.Duration(d.cfg.Span).Seconds()/drainSpans, drainTicks*d.v.dt))
	if t.n < d.need || t.tt <= 0 || share > 1-shrunk || !known(usual) || p.members < risen*usual {
		return math.Inf(1)
	}
	slope := t.tx / t.tt
	rest := max(0, t.xx-slope*t.tx) / t.w
	if slope >= 0 || t.recent.v > slope/2 || -slope < d.cfg.Certainty*math.Sqrt(rest/t.tt) || slope*t.tx < straight*t.xx {
		return math.Inf(1)
	}
	return share * max(0, 1-p.members) / -slope
}

// usual is the occupancy of the whole pool under the usual load.
func (d *leak) usual(i int, t *drain) float64 {
	u := &d.v.usual[i]
	return clip(u.traffic.value(needed) * u.latency.value(needed) / t.size.v)
}

func (d *leak) precursor(s *sre.Snapshot, i int, t *drain, size, left float64) sre.Precursor {
	p := &d.v.now[i]
	name := s.Graph.Services[i].Name
	warn, act := time.Duration(d.cfg.WarnWithin).Seconds(), time.Duration(d.cfg.ActWithin).Seconds()
	out := sre.Precursor{
		Detector: d.Name(), Mechanism: sre.PoolExhaustion, Service: name, Kind: sre.Pool,
		Severity: sre.Warning, Since: t.since,
	}
	meaning := fmt.Sprintf("the pool of %s will be empty in about %s", name, span(left))
	if t.stuck {
		left, meaning = 0, fmt.Sprintf("hardly anything of the pool of %s is left", name)
	}
	if left < act && p.members > .8 {
		out.Severity = sre.Critical
	}
	left = min(left, warn)
	usual := or(d.usual(i, t), 0)
	terms := []term{
		{ramp(-left, -warn, -act), sre.Evidence{Signal: "time_to_full", Subject: name, Now: left, Normal: warn, Unit: sre.Seconds, Meaning: meaning}},
		{ramp(p.members, usual, full), sre.Evidence{
			Signal: "occupancy", Subject: name, Now: p.members, Normal: usual, Unit: sre.Ratio,
			Meaning: fmt.Sprintf("%s of the pool of %s are taken (usual %s), with no more work than usual", percent(p.members), name, percent(usual)),
		}},
	}
	if !t.stuck {
		terms = append(terms, term{ramp(1-size/t.size.v, 0, .5), sre.Evidence{
			Signal: "pool_size", Subject: name, Now: size, Normal: t.size.v, Unit: sre.Count,
			Meaning: fmt.Sprintf("only %s of the pool of %s are left: members are taken and not given back", percent(size/t.size.v), name),
		}})
	}
	return conclude(out, terms)
}
