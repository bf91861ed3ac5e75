package detectors

import (
	"math"
	"time"

	"github.com/sreagent/sreagent/sre"
)

// anomaly compares every golden signal with its own past: a robust residual
// with a floor that fits the kind of signal, a CUSUM for small lasting shifts,
// a jump test for large ones, and persistence against single bad samples.
// Edges are watched only where the callee is not measured itself.
type anomaly struct {
	cfg    AnomalyConfig
	need   int32
	memory float64 // seconds
	window float64 // seconds
	v      *vitals
	svc    grid
	edge   grid
}

// grid holds the series of one matrix, row by row.
type grid struct {
	rows []gridRow
}

type gridRow struct {
	sig    sre.Signal
	coarse bool // a second latency signal: a tail quantile jumps between buckets
	series []series
}

// series is the running state of one signal of one subject.
type series struct {
	level, dev     mean
	up, down       float64 // CUSUM sums
	failed, asked  float64 // decayed counts of the last minutes, for little traffic
	worst          float64 // largest deviation of the running or the last episode
	onset          time.Time
	quietUntil     time.Time
	hits           recent
	active, lowing bool // lowing: the episode is a fall, not a rise
	muted          bool // a repeat, and no worse than the episode before it
	calm           uint8
}

// pooling is the time constant, in seconds, over which errors are pooled where
// one window holds too few requests.
const pooling = 300

// fewPooled is the number of pooled requests below which nothing is said.
const fewPooled = 5

// longest deviation that counts, in scales: beyond it, more is no surer.
const longest = 50

func newAnomaly(cfg Config, v *vitals) *anomaly {
	return &anomaly{
		cfg:    cfg.Anomaly,
		need:   int32(cfg.MinSamples),
		memory: time.Duration(cfg.Memory).Seconds(),
		window: time.Duration(cfg.Window).Seconds(),
		v:      v,
	}
}

// Name returns the name of the detector.
func (*anomaly) Name() string { return "golden_signal" }

// Detect appends one precursor per series that is off its own past.
func (d *anomaly) Detect(s *sre.Snapshot, frozen []bool, found []sre.Precursor) []sre.Precursor {
	d.v.observe(s, frozen)
	g := s.Graph
	d.svc.fit(s.Signals, len(g.Services))
	d.edge.fit(s.EdgeSignals, len(g.Edges))
	step := d.step(s)
	for r := range d.svc.rows {
		row := &d.svc.rows[r]
		for i := range g.Services {
			x := s.Service.At(r, i)
			if !x.OK() {
				continue
			}
			sub := subject{value: x.Value, traffic: d.v.now[i].traffic, coarse: row.coarse, frozen: isFrozen(frozen, i)}
			if d.push(&row.series[i], row.sig, sub, step) {
				found = append(found, d.precursor(s, row.sig, &row.series[i], sub, i, -1))
			}
		}
	}
	for r := range d.edge.rows {
		row := &d.edge.rows[r]
		for e := range g.Edges {
			to := g.Edges[e].To
			x := s.Edge.At(r, e)
			if !g.Services[to].External || !x.OK() {
				continue
			}
			traffic := cell(&s.Edge, d.v.edge.traffic, e)
			sub := subject{value: x.Value, traffic: traffic, coarse: row.coarse, frozen: isFrozen(frozen, to)}
			if d.push(&row.series[e], row.sig, sub, step) {
				found = append(found, d.precursor(s, row.sig, &row.series[e], sub, to, g.Edges[e].From))
			}
		}
	}
	return found
}

// subject is one reading with what is needed to judge it.
type subject struct {
	value   float64
	traffic float64 // requests per second behind the reading; missing where unknown
	coarse  bool    // as of its row
	frozen  bool
}

// step is what all series share at one tick.
type step struct {
	at     time.Time
	dt     float64
	alpha  float64
	weight float64 // of one sample in the CUSUM: samples closer than the reference overlap
	window float64 // seconds of requests behind one reading
}

func (d *anomaly) step(s *sre.Snapshot) step {
	ref := time.Duration(d.cfg.Reference).Seconds()
	return step{
		at:     s.At,
		dt:     d.v.dt,
		alpha:  decay(d.v.dt, d.memory),
		weight: min(1, d.v.dt/ref),
		window: max(d.window, s.Interval.Seconds()),
	}
}

// fit makes room for the snapshot's signals and subjects. Rows follow their
// signal by name when a reload changes the set.
func (g *grid) fit(signals []sre.Signal, subjects int) {
	if !g.matches(signals) {
		rows := make([]gridRow, len(signals))
		for i, sig := range signals {
			rows[i].sig = sig
			for _, before := range signals[:i] {
				rows[i].coarse = rows[i].coarse || sig.Kind == sre.Latency && before.Kind == sig.Kind && before.Unit == sig.Unit
			}
			for _, old := range g.rows {
				if old.sig == sig {
					rows[i].series = old.series
				}
			}
		}
		g.rows = rows
	}
	for i := range g.rows {
		if grow := subjects - len(g.rows[i].series); grow > 0 {
			g.rows[i].series = append(g.rows[i].series, make([]series, grow)...)
		}
	}
}

func (g *grid) matches(signals []sre.Signal) bool {
	if len(g.rows) != len(signals) {
		return false
	}
	for i := range signals {
		if g.rows[i].sig != signals[i] {
			return false
		}
	}
	return true
}

// push takes in one reading and reports whether the series is off.
func (d *anomaly) push(a *series, sig sre.Signal, sub subject, t step) bool {
	if sig.Kind == sre.Errors {
		d.pool(a, sig, sub, t)
	}
	if a.level.n < d.need {
		if !sub.frozen {
			d.learn(a, sub.value, d.floor(sig, a.level.v, sub, t), t)
		}
		a.onset = t.at
		return false
	}
	floor := d.floor(sig, a.level.v, sub, t)
	z := (sub.value - a.level.v) / a.scale(floor, t)
	a.accumulate(z, d.cfg.Slack, d.cfg.Threshold, t)
	up, down := directions(sig.Kind)
	rise := up && (z > d.cfg.Jump || a.up > d.cfg.Threshold) && d.credible(a, sig, sub)
	fall := down && (z < -d.cfg.Jump || a.down > d.cfg.Threshold)
	a.hits.push(rise || fall)
	if !sub.frozen {
		d.learn(a, sub.value, floor, t)
	}
	d.episode(a, z, rise, fall, t)
	return a.active
}

// accumulate runs the two-sided CUSUM. Sums are bounded so that an episode ends
// soon after the cause of it.
func (a *series) accumulate(z, slack, threshold float64, t step) {
	bounded := max(-6, min(6, z))
	a.up = min(2*threshold, max(0, a.up+t.weight*(bounded-slack)))
	a.down = min(2*threshold, max(0, a.down+t.weight*(-bounded-slack)))
	if a.up == 0 && a.down == 0 && !a.active {
		a.onset = t.at
	}
}

// episode starts after three bad samples of five and ends after five calm ones.
func (d *anomaly) episode(a *series, z float64, rise, fall bool, t step) {
	switch {
	case !a.active && a.hits.of(3, 5):
		a.muted = t.at.Before(a.quietUntil)
		if !a.muted {
			a.worst = 0
		}
		a.active, a.calm, a.lowing = true, 0, fall && !rise
	case a.active && math.Abs(z) < 1.5*d.cfg.Slack:
		// Back at the usual level: what the CUSUM still holds is history.
		if a.calm++; a.calm >= calmTicks {
			a.active, a.up, a.down, a.hits = false, 0, 0, 0
			a.onset = t.at
			a.quietUntil = t.at.Add(time.Duration(d.cfg.Refractory))
		}
	case a.active && !rise && !fall:
		if a.calm++; a.calm >= 2*calmTicks {
			a.active, a.hits = false, 0
			a.quietUntil = t.at.Add(time.Duration(d.cfg.Refractory))
		}
	case a.active:
		a.calm, a.lowing = 0, fall && !rise
	}
}

// scale is how far the series wanders by itself. A baseline that has seen only a
// few windows of the sources does not know its own wandering yet, so it counts
// as wider.
func (a *series) scale(floor float64, t step) float64 {
	windows := float64(a.level.n) * t.dt / t.window
	return max(gaussian*a.dev.v, floor) * math.Sqrt(1+youth/max(windows, 1))
}

// youth is the number of windows after which a baseline is grown up.
const youth = 3

// gaussian turns a mean absolute deviation into a standard deviation.
const gaussian = 1.2533

// learn moves the baseline by a bounded step, so that trouble does not become
// usual before somebody freezes it.
func (d *anomaly) learn(a *series, x, floor float64, t step) {
	if a.level.n == 0 {
		a.level.add(x, t.alpha)
		return
	}
	e := x - a.level.v
	if a.level.n >= calmTicks {
		limit := d.cfg.Clip * a.scale(floor, t)
		e = max(-limit, min(limit, e))
	}
	a.dev.add(math.Abs(e), t.alpha)
	a.level.add(a.level.v+e, t.alpha)
}
