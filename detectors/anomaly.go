package detectors

import (
	"math"
	"time"

	"github.com/sreagent/sreagent/sre"
)

// anomaly compares every golden signal with its own past. Each series turns its
// deviations into rarities by what it has shown before, a CUSUM gathers them
// against chance, the kinds of signals of one service add up, and what they add
// up to is rated by the service's own past again. A sign passes where that is
// rarer than the budget of false alarms of the whole fleet allows.
//
// The series of a service and those of the calls to it count together: trouble
// shows in several of them at the same tick, noise does not.
type anomaly struct {
	cfg    AnomalyConfig
	need   int32
	memory float64 // seconds
	window float64 // seconds
	v      *vitals
	svc    grid
	edge   grid
	svcs   []standing
	brief  []brief // of the services at this tick
	now    step
}

// brief is what all series of one service share at one tick, packed, since every
// signal walks over all services.
type brief struct {
	traffic float64 // requests per second; missing where unknown
	wide    float64 // factor on scales
	frozen  bool    // nothing is learned
	heard   bool    // a reading came
}

// grid holds the series of one matrix, row by row.
type grid struct {
	rows []gridRow
}

type gridRow struct {
	sig      sre.Signal
	coarse   bool // a second latency signal: a tail quantile jumps between buckets
	up, down bool // directions that count
	errors   bool
	called   bool // of a call it tells what the service itself cannot know
	form     floorForm
	kin      kin
	common   surprise // of all series of the row
	series   []series
}

// kin groups the signals that tell of the same side of a service. Within a
// group the strongest speaks, across groups they add up.
type kin int

const (
	kinLoad kin = iota
	kinFailures
	kinDelays
	kinResources
	kinCallers // what those who call the service see
	kins
)

// standing is how one service stands, over all its signals.
type standing struct {
	evidence [kins]float64 // of this tick, decades
	past     hoard
	hits     recent
	hit      bool  // a bad sample at this tick
	on       bool  // beyond what chance explains
	signs    bool  // some series is in an episode
	changed  int64 // end of the caution after a change, nanoseconds since 1970
	dark     darkness
}

// pooling is the time constant, in seconds, over which errors are pooled where
// one window holds too few requests.
const pooling = 300

// fewPooled is the number of pooled requests below which nothing is said.
const fewPooled = 5

// longest deviation that counts, in scales: beyond it, more is no surer.
const longest = 50

// changeWide is the factor on scales while a change is fresh: a new version may
// differ a little.
const changeWide = 2

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
	d.fit(s)
	d.now = d.step(s)
	t := &d.now
	d.noteChanges(s)
	for i := range d.svcs {
		d.open(i, frozen)
	}
	for r := range d.svc.rows {
		row := &d.svc.rows[r]
		for i := range s.Graph.Services {
			if sub, ok := d.ofService(s, r, i); ok {
				a := &row.series[i]
				d.push(a, row, &sub, t)
				if a.speaks() {
					d.svcs[i].take(a, row.kin)
				}
				d.brief[i].heard = true
			}
		}
	}
	for r := range d.edge.rows {
		row := &d.edge.rows[r]
		for e := range s.Graph.Edges {
			if sub, ok := d.ofEdge(s, r, e); ok {
				a := &row.series[e]
				d.push(a, row, &sub, t)
				if a.speaks() {
					d.svcs[s.Graph.Edges[e].To].take(a, kinCallers)
				}
			}
		}
	}
	for i := range s.Graph.Services {
		found = d.conclude(s, i, found)
	}
	return found
}

// open begins the tick of one service. Shortly after a change the scale is wider
// and nothing is learned.
func (d *anomaly) open(i int, frozen []bool) {
	st, b := &d.svcs[i], &d.brief[i]
	st.evidence, st.hit, st.signs = [kins]float64{}, false, false
	*b = brief{traffic: missing, wide: 1, frozen: isFrozen(frozen, i)}
	if i < len(d.v.now) {
		b.traffic = d.v.now[i].traffic
	}
	if d.now.at < st.changed {
		b.wide, b.frozen = changeWide, true
	}
}

// ofService returns the reading of one series with what is needed to judge it.
func (d *anomaly) ofService(s *sre.Snapshot, r, i int) (subject, bool) {
	x := s.Service.At(r, i)
	if !x.OK() {
		return subject{}, false
	}
	b := &d.brief[i]
	return subject{value: x.Value, traffic: b.traffic, wide: b.wide, coarse: d.svc.rows[r].coarse, frozen: b.frozen}, true
}

// ofEdge is the same for a call. Of calls to a service that is measured itself
// only what it cannot know is watched: how long its callers wait, and how often
// in vain.
func (d *anomaly) ofEdge(s *sre.Snapshot, r, e int) (subject, bool) {
	row := &d.edge.rows[r]
	to := s.Graph.Edges[e].To
	if !row.called && !s.Graph.Services[to].External {
		return subject{}, false
	}
	x := s.Edge.At(r, e)
	if !x.OK() {
		return subject{}, false
	}
	b := &d.brief[to]
	return subject{value: x.Value, traffic: cell(&s.Edge, d.v.edge.traffic, e), wide: b.wide, coarse: row.coarse, frozen: b.frozen}, true
}

// noteChanges remembers which services were changed.
func (d *anomaly) noteChanges(s *sre.Snapshot) {
	for _, c := range s.Changes {
		if i, ok := s.Graph.Index(c.Service); ok {
			d.svcs[i].changed = max(d.svcs[i].changed, c.At.UnixNano()+int64(d.cfg.AfterChange))
		}
	}
}

// speaks reports whether a series has anything to say. Most have not, and their
// service need not be touched.
func (a *series) speaks() bool { return a.gathered > 0 || a.active }

// take adds what one series says.
func (st *standing) take(a *series, k kin) {
	if a.gathered > st.evidence[k] {
		st.evidence[k] = a.gathered
		st.hit = st.hit || a.hits.of(1, 1)
	}
	st.signs = st.signs || a.active
}

// conclude judges one service over all its signals and appends its signs.
func (d *anomaly) conclude(s *sre.Snapshot, i int, found []sre.Precursor) []sre.Precursor {
	st, t := &d.svcs[i], &d.now
	var sum float64
	for _, x := range st.evidence {
		sum += x
	}
	if st.past.over == 0 {
		st.past = newHoard()
	}
	rare := st.past.decades(sum)
	st.hits.push(st.hit)
	begins := rare >= t.bar && st.hits.of(t.needed, 5)
	st.on = begins || st.on && st.signs
	if begins || st.signs {
		found = d.signs(s, i, begins, found)
	}
	if d.brief[i].frozen {
		st.past.forget()
	} else {
		st.past.learn(sum)
	}
	return d.darken(s, i, found)
}

// signs appends the signs of one service; where an episode of the service
// begins, every series that has gathered evidence takes part.
func (d *anomaly) signs(s *sre.Snapshot, i int, begins bool, found []sre.Precursor) []sre.Precursor {
	t := &d.now
	for r := range d.svc.rows {
		row := &d.svc.rows[r]
		if sub, ok := d.ofService(s, r, i); ok && row.series[i].takesPart(begins, t) {
			found = append(found, d.precursor(s, row, &row.series[i], sub, i, -1, t))
		}
	}
	for _, e := range s.Graph.CallersOf(i) {
		for r := range d.edge.rows {
			row := &d.edge.rows[r]
			if sub, ok := d.ofEdge(s, r, e); ok && row.series[e].takesPart(begins, t) {
				found = append(found, d.precursor(s, row, &row.series[e], sub, i, s.Graph.Edges[e].From, t))
			}
		}
	}
	return found
}

// takesPart reports whether a series has a sign, and opens its episode where
// that of its service is on.
func (a *series) takesPart(begins bool, t *step) bool {
	if !a.active && begins && a.gathered >= allowance && a.hits.of(t.needed, 5) {
		a.start(t)
	}
	return a.active
}

func (d *anomaly) step(s *sre.Snapshot) step {
	ref := time.Duration(d.cfg.Reference).Seconds()
	dt := max(d.v.dt, 1e-9)
	patience := time.Duration(d.cfg.Persistence).Seconds()
	samples := math.Ceil(patience/dt - .1) // the slack keeps a tick that jitters from changing the number
	at := s.At.UnixNano()
	level := max(d.memory, leastMemory*dt)
	perDay := 86400 / max(dt, ref) * max(1, float64(len(s.Graph.Services)))
	now := step{
		at:     at,
		before: d.now.at,
		slot:   slot(s.At.Unix(), weekBuckets),
		dt:     dt,
		alpha:  decay(dt, level),
		slow:   decay(dt, slower*level),
		weight: min(1, dt/ref),
		window: max(d.window, s.Interval.Seconds()),
		bar:    math.Log10(perDay * time.Duration(d.cfg.FalseAlarmEvery).Hours() / 24),
		needed: int(max(1, min(3, samples))),
		calm:   uint8(max(1, min(calmTicks, samples+1))),
		refr:   int64(d.cfg.Refractory),
		keep:   1 - decay(dt, pooling),
	}
	now.grown = beyond(100 * youth * now.window / dt)
	now.ripe = beyond(1 / now.alpha)
	now.sober = beyond(3 / (2 * now.slow))
	return now
}

// beyond returns a number of samples that is surely beyond n.
func beyond(n float64) int32 {
	if n < math.MaxInt32-2 {
		return int32(n) + 2
	}
	return math.MaxInt32 // also of what is no number
}

// fit makes room for the snapshot's signals and subjects.
func (d *anomaly) fit(s *sre.Snapshot) {
	d.svc.fit(s.Signals, len(s.Graph.Services))
	d.edge.fit(s.EdgeSignals, len(s.Graph.Edges))
	if grow := len(s.Graph.Services) - len(d.svcs); grow > 0 {
		d.svcs = append(d.svcs, make([]standing, grow)...)
	}
	if grow := len(d.svcs) - len(d.brief); grow > 0 {
		d.brief = append(d.brief, make([]brief, grow)...)
	}
}

// fit makes room for signals and subjects. Rows follow their signal by name
// when a reload changes the set.
func (g *grid) fit(signals []sre.Signal, subjects int) {
	if !g.matches(signals) {
		rows := make([]gridRow, len(signals))
		for i, sig := range signals {
			rows[i] = gridRow{sig: sig, common: newSurprise(kinOf(sig.Kind))}
			rows[i].read()
			for _, before := range signals[:i] {
				rows[i].coarse = rows[i].coarse || sig.Kind == sre.Latency && before.Kind == sig.Kind && before.Unit == sig.Unit
			}
			for _, old := range g.rows {
				if old.sig == sig {
					rows[i].series, rows[i].common = old.series, old.common
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

// read works out, once, what the name, kind and unit of the signal mean.
func (r *gridRow) read() {
	k := r.sig.Kind
	r.kin, r.form, r.errors = kinOf(k), formOf(r.sig), k == sre.Errors
	r.up, r.down = directions(k)
	r.called = k == sre.Latency || k == sre.Errors || k == sre.Timeouts
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

func kinOf(k sre.SignalKind) kin {
	switch k {
	case sre.Traffic:
		return kinLoad
	case sre.Errors, sre.Timeouts, sre.Retries:
		return kinFailures
	case sre.Latency, sre.Queue:
		return kinDelays
	case sre.Saturation, sre.Pool, sre.Cache, sre.Replicas:
	}
	return kinResources
}
