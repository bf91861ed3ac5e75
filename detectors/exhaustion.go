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
	v     *vitals
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
	episode
}

// full is the occupancy from which a pool has nothing left to forecast.
const full = .95

func newExhaustion(cfg Config, v *vitals) *exhaustion {
	return &exhaustion{cfg: cfg.Exhaustion, need: int32(cfg.MinSamples), v: v}
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
func (d *exhaustion) Detect(s *sre.Snapshot, frozen []bool, found []sre.Precursor) []sre.Precursor {
	d.v.observe(s, frozen)
	if d.start.IsZero() {
		d.start, d.last = s.At, s.At.Add(-s.Interval)
	}
	now, dt := s.At.Sub(d.start).Seconds(), s.At.Sub(d.last).Seconds()
	d.last = s.At
	d.fit(s)
	keep, alpha := trendWeights(dt, time.Duration(d.cfg.Span).Seconds())
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
			t.take(now, x.Value, dt, keep, alpha)
			left := d.left(t, now, x.Value, limit)
			if row.sig.Kind == sre.Pool && x.Value >= full*limit {
				left = math.Inf(1) // no longer a forecast: the overload detector speaks
			}
			t.push(left < time.Duration(d.cfg.WarnWithin).Seconds(), s.At)
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

// trendWeights returns what is left of the weight of the past after dt seconds,
// and the weight of the latest slope: once for all trends of a tick.
func trendWeights(dt, span float64) (keep, alpha float64) {
	return 1 - decay(dt, span), decay(dt, max(span/5, 2*dt))
}

// add takes in one sample, dt seconds after the one before.
func (t *trend) add(now, x, dt, span float64) {
	keep, alpha := trendWeights(dt, span)
	t.take(now, x, dt, keep, alpha)
}

func (t *trend) take(now, x, dt, keep, alpha float64) {
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
		t.recent.add((x-t.last)/dt, alpha)
	}
	t.last = x
	t.n++
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
		p.Mechanism, p.Score = d.filledBy(i), min(p.Score, .5)
	}
	// A pool fills and empties with load; memory, disks and handles do not
	// empty by themselves.
	if sig.Kind == sre.Saturation && left < act && x > .8*limit {
		p.Severity, p.Score = sre.Critical, .8
	}
	terms := []term{{ramp(-left, -warn, -act), sre.Evidence{
		Signal: "time_to_full", Subject: name, Now: left, Normal: warn, Unit: sre.Seconds,
		Meaning: fmt.Sprintf("%s of %s will be full in about %s", sig.Name, name, span(left)),
	}}, {ramp(x/limit, d.cfg.From, 1), sre.Evidence{
		Signal: sig.Name, Subject: name, Now: x, Normal: t.x, Unit: sig.Unit,
		Meaning: fmt.Sprintf("%s of %s is at %s", sig.Name, name, percent(x/limit)),
	}}}
	p.Risk = weigh(terms)
	p.Evidence = []sre.Evidence{terms[0].ev, terms[1].ev}
	return p
}

// filledBy names what fills a pool: load, where there is as much more of it as
// of occupancy, else work that is held for longer or never given back.
func (d *exhaustion) filledBy(i int) sre.Mechanism {
	p, u := &d.v.now[i], &d.v.usual[i]
	traffic, use := u.traffic.value(needed), u.pool.value(needed)
	if known(traffic) && known(use) && traffic > 0 && use > 0 && p.traffic/traffic > 1+(p.pool/use-1)/2 {
		return sre.Overload
	}
	return sre.PoolExhaustion
}

// span writes a number of seconds for people.
func span(seconds float64) string {
	if seconds < 120 {
		return fmt.Sprintf("%.0f s", seconds)
	}
	return fmt.Sprintf("%.0f min", seconds/60)
}
