package detectors

import (
	"fmt"
	"math"
	"time"

	"github.com/sreagent/sreagent/sre"
)

// exhaustion estimates when a bounded resource will be full: an exponentially
// weighted line through its recent use, and where that line meets the limit.
type exhaustion struct {
	cfg   ExhaustionConfig
	need  int32
	start time.Time
	last  time.Time
	rows  []trendRow
}

type trendRow struct {
	sig    sre.Signal
	trends []trend
}

// trend is a weighted regression of value on time, kept as centred moments so
// that it stays exact over long runs.
type trend struct {
	first      float64 // time of the first sample
	w, t, x    float64 // weight, mean time, mean value
	tt, tx, xx float64 // centred sums
	last       float64 // value at the tick before
	recent     mean    // slope over the last minute or so
	n          int32
	hits       recent
	since      time.Time
	calm       int
}

// full is the occupancy from which a pool has nothing left to forecast.
const full = .95

func newExhaustion(cfg Config) *exhaustion {
	return &exhaustion{cfg: cfg.Exhaustion, need: int32(cfg.MinSamples)}
}

// Name returns the name of the detector.
func (*exhaustion) Name() string { return "exhaustion" }

// limitOf returns the full mark of a signal, where it has one.
func limitOf(sig sre.Signal) (float64, bool) {
	if sig.Kind != sre.Saturation && sig.Kind != sre.Pool {
		return 0, false
	}
	switch sig.Unit {
	case sre.Ratio:
		return 1, true
	case sre.Percent:
		return 100, true
	case sre.Bytes, sre.Count, sre.Seconds, sre.PerSecond:
	}
	return 0, false
}

// Detect appends one precursor per resource that is about to be full. A trend
// is not a baseline, so it follows frozen services too.
func (d *exhaustion) Detect(s *sre.Snapshot, _ []bool, found []sre.Precursor) []sre.Precursor {
	if d.start.IsZero() {
		d.start, d.last = s.At, s.At.Add(-s.Interval)
	}
	now, dt := s.At.Sub(d.start).Seconds(), s.At.Sub(d.last).Seconds()
	d.last = s.At
	d.fit(s)
	for r := range d.rows {
		row := &d.rows[r]
		limit, bounded := limitOf(row.sig)
		if !bounded {
			continue
		}
		for i := range s.Graph.Services {
			x := s.Service.At(r, i)
			if !x.OK() {
				continue
			}
			t := &row.trends[i]
			t.add(now, x.Value, dt, time.Duration(d.cfg.Span).Seconds())
			left := d.left(t, now, x.Value, limit)
			if row.sig.Kind == sre.Pool && x.Value >= full*limit {
				left = math.Inf(1) // no longer a forecast: the overload detector speaks
			}
			t.mark(left < time.Duration(d.cfg.WarnWithin).Seconds(), s.At)
			if t.hits.of(3, 5) && left < time.Duration(d.cfg.WarnWithin).Seconds() {
				found = append(found, d.precursor(s, row.sig, t, i, x.Value, limit, left))
			}
		}
	}
	return found
}

func (d *exhaustion) fit(s *sre.Snapshot) {
	same := len(d.rows) == len(s.Signals)
	for i := 0; same && i < len(s.Signals); i++ {
		same = d.rows[i].sig == s.Signals[i]
	}
	if !same {
		rows := make([]trendRow, len(s.Signals))
		for i, sig := range s.Signals {
			rows[i].sig = sig
			for _, old := range d.rows {
				if old.sig == sig {
					rows[i].trends = old.trends
				}
			}
		}
		d.rows = rows
	}
	for i := range d.rows {
		if _, bounded := limitOf(d.rows[i].sig); !bounded {
			continue
		}
		if more := len(s.Graph.Services) - len(d.rows[i].trends); more > 0 {
			d.rows[i].trends = append(d.rows[i].trends, make([]trend, more)...)
		}
	}
}

func (t *trend) add(now, x, dt, span float64) {
	keep := 1 - decay(dt, span)
	t.w = t.w*keep + 1
	dtm, dx := now-t.t, x-t.x
	if t.n == 0 {
		dtm, dx, t.first, t.t, t.x = 0, 0, now, now, x
	}
	t.t += dtm / t.w
	t.x += dx / t.w
	t.tt = t.tt*keep + dtm*(now-t.t)
	t.tx = t.tx*keep + dtm*(x-t.x)
	t.xx = t.xx*keep + dx*(x-t.x)
	if t.n > 0 && dt > 0 {
		t.recent.add((x-t.last)/dt, decay(dt, max(span/5, 2*dt)))
	}
	t.last = x
	t.n++
}

func (t *trend) mark(sign bool, at time.Time) {
	t.hits.push(sign)
	if sign {
		t.calm = 0
		if t.since.IsZero() {
			t.since = at
		}
		return
	}
	if t.calm++; t.calm >= calmTicks {
		t.since = time.Time{}
	}
}

// straight is the share of the variation that the line must explain. A step
// tilts the line too, but a line explains no more than three quarters of it.
const straight = .8

// leastRise is the share of the limit by which a resource must rise within the
// span to be worth a forecast.
const leastRise = .05

// left returns the seconds until the resource is full, or infinity where there
// is no such trend or where its latest minute no longer rises.
func (d *exhaustion) left(t *trend, now, x, limit float64) float64 {
	if t.n < d.need || now-t.first < time.Duration(d.cfg.Span).Seconds()/2 || x < d.cfg.From*limit || t.tt <= 0 {
		return math.Inf(1)
	}
	slope := t.tx / t.tt
	if slope*time.Duration(d.cfg.Span).Seconds() < leastRise*limit || t.recent.v < slope/2 {
		return math.Inf(1)
	}
	rest := max(0, t.xx-slope*t.tx) / t.w
	if slope < d.cfg.Certainty*math.Sqrt(rest/t.tt) || slope*t.tx < straight*t.xx {
		return math.Inf(1)
	}
	return max(0, limit-x) / slope
}

func (d *exhaustion) precursor(s *sre.Snapshot, sig sre.Signal, t *trend, i int, x, limit, left float64) sre.Precursor {
	warn, act := time.Duration(d.cfg.WarnWithin).Seconds(), time.Duration(d.cfg.ActWithin).Seconds()
	name := s.Graph.Services[i].Name
	p := sre.Precursor{
		Detector:  d.Name(),
		Mechanism: sre.CapacityDecay,
		Service:   name,
		Kind:      sig.Kind,
		Severity:  sre.Warning,
		Score:     .35 + .4*ramp(-left, -warn, -act),
		Since:     t.since,
	}
	if sig.Kind == sre.Pool {
		p.Mechanism, p.Score = sre.PoolExhaustion, min(p.Score, .5)
	}
	// A pool fills and empties with load; memory, disks and handles do not
	// empty by themselves.
	if sig.Kind == sre.Saturation && left < act && x > .8*limit {
		p.Severity, p.Score = sre.Critical, .8
	}
	p.Evidence = []sre.Evidence{{
		Signal: "time_to_full", Subject: name, Now: left, Normal: warn, Unit: sre.Seconds, Weight: .6,
		Meaning: fmt.Sprintf("%s of %s will be full in about %s", sig.Name, name, span(left)),
	}, {
		Signal: sig.Name, Subject: name, Now: x, Normal: t.x, Unit: sig.Unit, Weight: .4,
		Meaning: fmt.Sprintf("%s of %s is at %s", sig.Name, name, percent(x/limit)),
	}}
	return p
}

// span writes a number of seconds for people.
func span(seconds float64) string {
	if seconds < 120 {
		return fmt.Sprintf("%.0f s", seconds)
	}
	return fmt.Sprintf("%.0f min", seconds/60)
}
