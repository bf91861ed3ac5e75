package detectors

import (
	"fmt"
	"math"
	"time"

	"github.com/sreagent/sreagent/sre"
)

// badChange watches every change for a while and compares the changed service
// with its own past and with peers that nobody changed: difference in
// differences (Card and Krueger 1994; for deployments, SRE workbook, chapter
// 16, canarying releases). What the peers suffer as well, what a callee explains
// and what more load explains is not the change's doing. It stays silent where
// the trouble began before the change.
type badChange struct {
	cfg    BadChangeConfig
	slow   float64
	v      *vitals
	watch  []trial
	recent []after // by service
	until  []float64
}

// after is what a service shows lately, against its usual: short means, so that
// one wild sample says little.
type after struct {
	errors, latency mean // rise of the error ratio; logarithm of latency over the usual
}

// trial is one change under watch. What is usual is kept as it was when the
// change was made, because baselines move.
type trial struct {
	change  sre.Change
	service int
	at      float64 // seconds since the start of the vitals
	errors  float64 // usual at the change, 0 to 1; missing where unknown
	latency float64 // usual at the change, seconds; missing where unknown
	traffic float64 // usual at the change, per second
	ill     bool    // in trouble already
	tests   episode
}

// mostTrials bounds the changes under watch; the oldest are let go.
const mostTrials = 256

func newBadChange(cfg Config, v *vitals) *badChange {
	return &badChange{cfg: cfg.BadChange, slow: cfg.Slow.Rise, v: v}
}

// Name returns the name of the detector.
func (*badChange) Name() string { return "bad_change" }

// Detect appends one precursor per change that does harm.
func (d *badChange) Detect(s *sre.Snapshot, frozen []bool, found []sre.Precursor) []sre.Precursor {
	d.v.observe(s, frozen)
	for len(d.recent) < len(s.Graph.Services) {
		d.recent, d.until = append(d.recent, after{}), append(d.until, missing)
	}
	now := s.At.Sub(d.v.start).Seconds()
	d.begin(s, now)
	d.end(now)
	if len(d.watch) == 0 {
		return found
	}
	alpha := decay(d.v.dt, time.Duration(d.cfg.Settle).Seconds())
	for i := range s.Graph.Services {
		d.recent[i].follow(&d.v.now[i], &d.v.usual[i], alpha)
	}
	for k := range d.watch {
		t := &d.watch[k]
		x := d.test(s, t)
		t.tests.push(x.bad, s.At)
		if t.tests.on(3, 5) {
			found = append(found, d.precursor(s, t, x))
		}
	}
	return found
}

// follow takes in one sample. Wild values are bounded: an outage of one window
// must not last in the mean.
func (a *after) follow(p *pulse, u *usual, alpha float64) {
	if base := u.errors.value(needed); known(p.errors) && known(base) {
		a.errors.add(p.errors-base, alpha)
	}
	if base := u.latency.value(needed); known(base) && base > 0 && p.latency > 0 {
		a.latency.add(min(math.Log(p.latency/base), 5), alpha)
	}
}

// begin takes new changes under watch. A service that is in trouble already is
// watched too, and its change is never blamed.
func (d *badChange) begin(s *sre.Snapshot, now float64) {
	for _, c := range s.Changes {
		i, ok := s.Graph.Index(c.Service)
		age := s.At.Sub(c.At).Seconds()
		if !ok || age > time.Duration(d.cfg.Watch).Seconds() {
			continue
		}
		at := now - max(0, age)
		d.until[i] = now + time.Duration(d.cfg.Watch).Seconds()
		u := &d.v.usual[i]
		if len(d.watch) == mostTrials {
			copy(d.watch, d.watch[1:])
			d.watch = d.watch[:mostTrials-1]
		}
		d.watch = append(d.watch, trial{
			change: c, service: i, at: at,
			errors: u.errors.value(needed), latency: u.latency.value(needed), traffic: u.traffic.value(needed),
			ill: d.v.onset[i] < at,
		})
		d.recent[i] = after{}
	}
}

// end lets go of changes whose time is over.
func (d *badChange) end(now float64) {
	kept := d.watch[:0]
	for _, t := range d.watch {
		if now-t.at <= time.Duration(d.cfg.Watch).Seconds() {
			kept = append(kept, t)
		}
	}
	d.watch = kept
}

// verdict is what one test of a change says.
type verdict struct {
	bad                 bool
	errors, peersErrors float64 // rise of the error ratio, of the changed service and of its peers
	latency, peersLog   float64 // logarithm of latency over that before
	z                   float64 // of the rise of errors
	peers               int
}

// rises are the differences in differences.
func (x *verdict) rises() (errors, latency float64) {
	return x.errors - max(0, x.peersErrors), x.latency - max(0, x.peersLog)
}

// test compares the service after the change with itself before and with its
// peers. It measures against what was usual at the change, so that a baseline
// that follows the new version does not hide it.
func (d *badChange) test(s *sre.Snapshot, t *trial) verdict {
	var x verdict
	i := t.service
	p, a := &d.v.now[i], &d.recent[i]
	if t.ill || !known(p.traffic) || a.errors.n < 3 && a.latency.n < 3 {
		return x
	}
	x.errors = a.errors.v + d.v.usual[i].errors.v - or(t.errors, 0)
	if known(t.latency) && t.latency > 0 {
		x.latency = a.latency.v + math.Log(max(d.v.usual[i].latency.v, 1e-9)/t.latency)
	}
	d.comparePeers(s, t, &x)
	n := p.traffic * max(time.Duration(d.cfg.Settle).Seconds(), d.v.dt)
	spread := math.Sqrt(max(or(t.errors, 0), 1/max(n, 1)) / max(n, 1))
	errors, latency := x.rises()
	x.z = errors / spread
	// What the peers suffer as well must not be most of it.
	byErrors := errors >= max(d.cfg.WarnErrors, x.errors/2) && x.z >= d.cfg.Certainty && n*x.errors >= 5 && !d.calleeFails(s, i, x.errors)
	byLatency := latency >= max(math.Log(d.cfg.WarnLatency), x.latency/2) && n >= fewRequests && d.slowItself(i, t)
	if t.traffic > 0 && or(p.first, p.traffic) > crowd*t.traffic {
		byErrors, byLatency = byErrors && p.pool < d.v.cfg.Overload.WarnUse, false // more load explains the rest
	}
	x.bad = byErrors || byLatency
	return x
}

// comparePeers averages over the services that share a caller with the changed
// one and that nobody changed of late.
func (d *badChange) comparePeers(s *sre.Snapshot, t *trial, x *verdict) {
	now := s.At.Sub(d.v.start).Seconds()
	for _, in := range s.Graph.CallersOf(t.service) {
		for _, e := range s.Graph.CalleesOf(s.Graph.Edges[in].From) {
			j := s.Graph.Edges[e].To
			if j == t.service || now <= d.until[j] || !d.v.now[j].anything || d.behind(s, j, t.service) {
				continue
			}
			x.peers++
			x.peersErrors += d.recent[j].errors.v
			x.peersLog += d.recent[j].latency.v
		}
	}
	if x.peers > 0 {
		x.peersErrors /= float64(x.peers)
		x.peersLog /= float64(x.peers)
	}
}

// behind reports whether one service calls another: then it suffers with it and
// is no peer.
func (d *badChange) behind(s *sre.Snapshot, caller, callee int) bool {
	_, ok := s.Graph.EdgeIndex(caller, callee)
	return ok
}

// calleeFails reports whether what a service's callees fail explains its rise.
func (d *badChange) calleeFails(s *sre.Snapshot, i int, rise float64) bool {
	for _, e := range s.Graph.CalleesOf(i) {
		calls := cell(&s.Edge, d.v.edge.traffic, e)
		failed := max(or(d.v.edge.errorRatio(&s.Edge, e, calls), 0), d.v.excess(s.Graph.Edges[e].To))
		share := 1.
		if own := d.v.now[i].traffic; known(calls) && own > 0 {
			share = min(1, calls/own)
		}
		if failed*share >= rise/2 {
			return true
		}
	}
	return false
}

// slowItself reports whether most of the added latency is the service's own.
func (d *badChange) slowItself(i int, t *trial) bool {
	p := &d.v.now[i]
	more := p.latency - t.latency
	return more > shortest && p.traffic > 0 && p.held/p.traffic < more/2
}

func (d *badChange) precursor(s *sre.Snapshot, t *trial, x verdict) sre.Precursor {
	name := s.Graph.Services[t.service].Name
	errors, latency := x.rises()
	p := sre.Precursor{
		Detector: d.Name(), Mechanism: sre.BadChange, Service: name, Kind: sre.Errors,
		Severity: sre.Warning, Since: t.tests.since,
	}
	if errors < d.cfg.WarnErrors {
		p.Kind = sre.Latency
	}
	if errors >= d.cfg.ActErrors {
		p.Severity = sre.Critical
	}
	what := "its " + string(t.change.Kind)
	if t.change.ID != "" {
		what += " " + t.change.ID
	}
	against := "no service that shares its callers can be compared"
	if x.peers > 0 {
		against = fmt.Sprintf("the %d services that share its callers: %+.1f points", x.peers, 100*x.peersErrors)
	}
	base := or(t.errors, 0)
	return conclude(p, []term{
		{ramp(errors, 0, d.cfg.WarnErrors), sre.Evidence{
			Signal: "errors_after_change", Subject: name, Now: base + x.errors, Normal: base, Unit: sre.Ratio,
			Meaning: fmt.Sprintf("%s of requests to %s fail since %s (before %s; %s)", percent(max(0, base+x.errors)), name, what, percent(base), against),
		}},
		{ramp(errors, d.cfg.WarnErrors, d.cfg.ActErrors), sre.Evidence{
			Signal: "change", Subject: name, Now: s.At.Sub(t.change.At).Seconds(), Unit: sre.Seconds,
			Meaning: fmt.Sprintf("%s was made %s ago, before the trouble, which no callee and no load explains", what, span(s.At.Sub(t.change.At).Seconds())),
		}},
		{ramp(latency, math.Log(d.cfg.WarnLatency)/2, math.Log(d.cfg.ActLatency)), sre.Evidence{
			Signal: "latency_after_change", Subject: name, Now: or(t.latency, 0) * math.Exp(x.latency), Normal: or(t.latency, 0), Unit: sre.Seconds,
			Meaning: fmt.Sprintf("%s answers in %s since %s (before %s)", name, seconds(or(t.latency, 0)*math.Exp(x.latency)), what, seconds(or(t.latency, 0))),
		}},
	})
}
