package backtest

import (
	"slices"
	"time"

	"github.com/sreagent/sreagent/replay"
	"github.com/sreagent/sreagent/sre"
)

// Notifications compares how often people would have been called by one alert
// per series with how often the agent called them, on the same readings.
type Notifications struct {
	PerSeries int     `json:"per_series"` // series more than 5 robust deviations off for 3 samples, each episode once
	OwnSigns  int     `json:"own_signs"`  // the same for the agent's own signs of single signals, were each told
	Incidents int     `json:"incidents"`  // that people were told of
	Reduction float64 `json:"reduction"`  // 1 - incidents / per_series; 0 where there were none
	// LostSLO counts the faults during which the objective of an entry burned, or
	// of which the world says that users felt them, without an incident that
	// people were told of.
	LostSLO int `json:"lost_slo_incidents"`
}

func (n *Notifications) add(o Notifications) {
	n.PerSeries += o.PerSeries
	n.OwnSigns += o.OwnSigns
	n.Incidents += o.Incidents
	n.LostSLO += o.LostSLO
}

func (n *Notifications) finish() {
	n.Reduction = 0
	if n.PerSeries > 0 {
		n.Reduction = 1 - float64(n.Incidents)/float64(n.PerSeries)
	}
}

// The rule per series, as monitoring systems have it: off by so many scales for
// so many samples, and over after as many calm ones.
const (
	seriesOff = 5
	seriesFor = 3
)

// quietFor is how long a sign of the agent must be gone to be another one.
const quietFor = 3 * time.Minute

// burning is the error ratio of an entry, above its usual, at which an objective
// of 99 % would be burning twice as fast as it may.
const burning = .02

// clerk counts, for one run, what per-series alerts would have told, and which
// faults left a trace.
type clerk struct {
	usual  *usual
	bad    []uint8 // samples in a row, by series; seriesFor is an alert
	good   []uint8
	count  Notifications
	signs  map[sign]time.Time // when a sign of the agent was seen last
	traces []*trace
	begun  int
}

type sign struct{ service, caller, signal string }

func newClerk(interval time.Duration) *clerk {
	return &clerk{usual: newUsual(interval), signs: map[sign]time.Time{}}
}

// watch takes one tick of a run with its faults in order of time.
func (c *clerk) watch(t replay.Tick, faults []*span) {
	s := t.Snapshot
	if s == nil || !s.Health.Up {
		return
	}
	c.usual.fit(s)
	if n := len(c.usual.median); len(c.bad) != n {
		c.bad, c.good = make([]uint8, n), make([]uint8, n)
	}
	for c.begun < len(faults) && s.At.After(faults[c.begun].InjectedAt) {
		c.traces = append(c.traces, newTrace(faults[c.begun], c.usual, s))
		c.begun++
	}
	for _, tr := range c.traces {
		tr.watch(s)
	}
	for row := range s.Signals {
		for i := range c.usual.width {
			c.series(s, row, i)
		}
	}
	c.own(t)
	c.usual.learn(s)
}

func (c *clerk) series(s *sre.Snapshot, row, service int) {
	i := row*c.usual.width + service
	if s.Service.States[i] != sre.Present {
		return
	}
	if c.usual.off(s, row, service) > seriesOff {
		c.good[i] = 0
		if c.bad[i] < seriesFor {
			if c.bad[i]++; c.bad[i] == seriesFor {
				c.count.PerSeries++
			}
		}
		return
	}
	if c.bad[i] < seriesFor {
		c.bad[i] = 0
	} else if c.good[i]++; c.good[i] >= seriesFor {
		c.bad[i], c.good[i] = 0, 0
	}
}

// goldenSignal names the detector of single series.
const goldenSignal = "golden_signal"

// own counts the agent's signs of single series, as far as it shows them.
func (c *clerk) own(t replay.Tick) {
	if t.View == nil {
		return
	}
	c.see(t.At, t.View.Signs)
	for i := range t.View.Incidents {
		if inc := &t.View.Incidents[i]; inc.State != sre.Closed && inc.Diagnosis.At.Equal(t.At) {
			c.see(t.At, inc.Diagnosis.Precursors)
		}
	}
}

func (c *clerk) see(at time.Time, signs []sre.Precursor) {
	for i := range signs {
		p := &signs[i]
		if p.Detector != goldenSignal || p.Severity.Rank() < sre.Warning.Rank() || len(p.Evidence) == 0 {
			continue
		}
		key := sign{p.Service, p.Caller, p.Evidence[0].Signal}
		if seen, known := c.signs[key]; !known || at.Sub(seen) > quietFor {
			c.count.OwnSigns++
		}
		c.signs[key] = at
	}
}

// A fault has left a trace when a series is off by traceOff in traceTwice
// samples, or by traceOnce in one.
const (
	traceOff   = 5
	traceTwice = 2
	traceOnce  = 8
)

// trace looks for what a fault did to its services and to the entries, compared
// with the half hour before it.
type trace struct {
	fault   *span
	series  []traced
	left    bool
	burns   int
	burned  bool
	entries []traced // error ratios
}

type traced struct {
	row, service   int
	median, spread float64
	hits           int
}

func newTrace(f *span, u *usual, s *sre.Snapshot) *trace {
	t := &trace{fault: f}
	entries := s.Graph.Entries()
	for i := range s.Graph.Services {
		entry := slices.Contains(entries, i)
		if !entry && !slices.Contains(f.Services, s.Graph.Services[i].Name) {
			continue
		}
		for row, sig := range s.Signals {
			u.settle(row*u.width + i)
			one := traced{row: row, service: i, median: u.median[row*u.width+i], spread: u.spread[row*u.width+i]}
			if one.median != one.median {
				continue
			}
			t.series = append(t.series, one)
			if entry && sig.Kind == sre.Errors && sig.Unit == sre.Ratio {
				t.entries = append(t.entries, one)
			}
		}
	}
	return t
}

func (t *trace) watch(s *sre.Snapshot) {
	if s.At.After(t.fault.ends) {
		return
	}
	for i := range t.series {
		one := &t.series[i]
		if t.left || one.service >= s.Service.Subjects || !s.Service.At(one.row, one.service).OK() {
			continue
		}
		if z := deviation(s, one.row, one.service, one.median, one.spread); z > traceOff {
			one.hits++
			t.left = z > traceOnce || one.hits >= traceTwice
		}
	}
	burns := false
	for _, one := range t.entries {
		if one.service < s.Service.Subjects {
			r := s.Service.At(one.row, one.service)
			burns = burns || r.OK() && r.Value > one.median+burning
		}
	}
	if !burns {
		t.burns = 0
	} else if t.burns++; t.burns >= seriesFor {
		t.burned = true
	}
}

// of returns the trace of a fault, nil where the run ended before it.
func (c *clerk) of(f *span) *trace {
	for _, t := range c.traces {
		if t.fault == f {
			return t
		}
	}
	return nil
}

// counted returns the notifications of a run that has ended, of which the
// faults have been judged.
func (o *Observer) counted(faults []Fault) Notifications {
	n := o.clerk.count
	n.Incidents = len(o.alarms)
	for _, f := range o.faults {
		t, judged := o.clerk.of(f), &faults[f.order]
		burned := t != nil && t.burned
		if judged.Harm != nil {
			burned = judged.Harm.Felt
		}
		if burned && judged.DetectedAt == nil {
			n.LostSLO++
		}
	}
	n.finish()
	return n
}

func (p *page) notifications(n Notifications) {
	p.line("  %-22s %d per series, %d own signs, %d incidents", "notifications", n.PerSeries, n.OwnSigns, n.Incidents)
	p.line("  %-22s %.1f %% fewer, %d lost that users felt", "", 100*n.Reduction, n.LostSLO)
}
