package detectors

import (
	"fmt"

	"github.com/sreagent/sreagent/sre"
)

// slow watches for callees whose late answers hold their callers' workers: the
// slow dependency of Nygard, Release It!, chapter 4. It speaks of the callee
// where most of its callers suffer and it measures slow itself, else of the one
// call that is slow: then the time is lost between the two.
type slow struct {
	cfg    SlowConfig
	quiet  float64 // use from which the callee's own lack of room is the reason
	v      *vitals
	state  []episode // by edge
	worst  []int32   // by service, the slowest edge into it; -1 for none
	late   []int32   // by service, how many callers find it slow
	hurt   []int32   // by service, how many of those suffer
	callee []episode // by service
}

func newSlow(cfg Config, v *vitals) *slow {
	return &slow{cfg: cfg.Slow, quiet: cfg.Overload.WarnUse, v: v}
}

// Name returns the name of the detector.
func (*slow) Name() string { return "slow_dependency" }

// Detect appends one precursor per slow service or slow call.
func (d *slow) Detect(s *sre.Snapshot, frozen []bool, found []sre.Precursor) []sre.Precursor {
	d.v.observe(s, frozen)
	for len(d.state) < len(s.Graph.Edges) {
		d.state = append(d.state, episode{})
	}
	for len(d.callee) < len(s.Graph.Services) {
		d.callee = append(d.callee, episode{})
		d.worst, d.late, d.hurt = append(d.worst, -1), append(d.late, 0), append(d.hurt, 0)
	}
	for i := range s.Graph.Services {
		d.worst[i], d.late[i], d.hurt[i] = -1, 0, 0
	}
	for e := range s.Graph.Edges {
		d.count(s, e)
	}
	for i := range s.Graph.Services {
		e := int(d.worst[i])
		own := e >= 0 && d.slowItself(i)
		d.callee[i].push(own && d.hurt[i] > 0, s.At)
		if own && (d.callee[i].on(2, 3) || d.callee[i].on(1, 1) && d.blatant(s, e)) {
			found = append(found, d.precursor(s, e, true))
		}
	}
	for e := range s.Graph.Edges {
		to := s.Graph.Edges[e].To
		if d.state[e].on(2, 3) && !d.slowItself(to) && d.between(s, e) {
			found = append(found, d.precursor(s, e, false))
		}
	}
	return found
}

// count takes in one call.
func (d *slow) count(s *sre.Snapshot, e int) {
	edge := &s.Graph.Edges[e]
	now, base := d.v.edgeLatency(s, e)
	late := !edge.Gone && now >= d.cfg.Rise*base && d.later(s, e)
	if t := edge.Spec.Timeout.Seconds(); t > 0 && now < d.cfg.Patience*t && !(d.v.now[edge.From].pool >= d.quiet) {
		late = false
	}
	hurt := late && d.suffers(edge.From)
	d.state[e].push(hurt, s.At)
	if !late {
		return
	}
	d.late[edge.To]++
	if hurt {
		d.hurt[edge.To]++
	}
	if w := d.worst[edge.To]; w < 0 || now > d.latencyOf(s, int(w)) {
		d.worst[edge.To] = int32(e)
	}
}

// blatant reports a call that takes so long that one tick is enough.
func (d *slow) blatant(s *sre.Snapshot, e int) bool {
	now, base := d.v.edgeLatency(s, e)
	return now >= 2*d.cfg.Rise*base
}

// later reports whether a call takes longer than its own ups and downs explain.
func (d *slow) later(s *sre.Snapshot, e int) bool {
	now, base := d.v.edgeLatency(s, e)
	dev := &d.v.edgeDev[e]
	if !known(cell(&s.Edge, d.v.edge.latency, e)) {
		dev = &d.v.usual[s.Graph.Edges[e].To].latencyDev
	}
	return !d.v.few(s.Graph.Edges[e].To) && muchLater(now, base, dev)
}

func (d *slow) latencyOf(s *sre.Snapshot, e int) float64 {
	now, _ := d.v.edgeLatency(s, e)
	return now
}

// suffers reports whether a caller shows that it waits.
func (d *slow) suffers(i int) bool {
	p, u := &d.v.now[i], &d.v.usual[i]
	return d.v.troubled(i) || known(p.queue) && known(u.queue.value(needed)) && u.backlogged(p.queue)
}

// slowItself reports whether the time is spent in the service and not in its
// callees, with room left: a service without room waits for itself.
func (d *slow) slowItself(i int) bool {
	p, u := &d.v.now[i], &d.v.usual[i]
	base := u.latency.value(needed)
	if !known(p.latency) || !known(base) {
		return !p.anything // nobody measures it: the callers' word is all there is
	}
	more := p.latency - base
	if p.latency < d.cfg.Rise*base || !d.v.late(i) || p.pool >= d.quiet {
		return false
	}
	if t := u.traffic.value(needed); !known(p.pool) && known(t) && p.traffic > crowd*t {
		return false
	}
	return !(p.traffic > 0) || p.held/p.traffic < more/2
}

// crowd is the rise of traffic that is a reason by itself.
const crowd = 1.3

// between reports whether most of a call's time is spent outside the callee.
func (d *slow) between(s *sre.Snapshot, e int) bool {
	now, base := d.v.edgeLatency(s, e)
	p, u := &d.v.now[s.Graph.Edges[e].To], &d.v.usual[s.Graph.Edges[e].To]
	usual := u.latency.value(needed)
	return known(cell(&s.Edge, d.v.edge.latency, e)) && known(p.latency) && known(usual) && p.latency-usual < (now-base)/2
}

func (d *slow) precursor(s *sre.Snapshot, e int, whole bool) sre.Precursor {
	edge := &s.Graph.Edges[e]
	name, caller := s.Graph.Services[edge.To].Name, s.Graph.Services[edge.From].Name
	p := sre.Precursor{
		Detector: d.Name(), Mechanism: sre.SlowDependency, Service: name, Kind: sre.Latency,
		Severity: sre.Warning, Since: d.callee[edge.To].since,
	}
	if !whole {
		p.Caller, p.Since = caller, d.state[e].since
	}
	terms := d.terms(s, e, whole)
	full := 0
	for _, t := range terms {
		if t.x >= 1 {
			full++
		}
	}
	if full >= 2 && len(terms) > 2 && d.v.excess(edge.From) > harmless {
		p.Severity = sre.Critical
	}
	return conclude(p, terms)
}

func (d *slow) terms(s *sre.Snapshot, e int, whole bool) []term {
	edge := &s.Graph.Edges[e]
	name, caller := s.Graph.Services[edge.To].Name, s.Graph.Services[edge.From].Name
	call := caller + "->" + name
	now, base := d.v.edgeLatency(s, e)
	meaning := fmt.Sprintf("calls from %s to %s take %s (usual %s)", caller, name, seconds(now), seconds(base))
	if !whole {
		meaning += fmt.Sprintf(", while %s itself answers in %s: the time is lost between them", name, seconds(d.v.now[edge.To].latency))
	}
	terms := []term{{ramp(now/base, d.cfg.Rise, 2*d.cfg.Rise), sre.Evidence{
		Signal: "call_latency", Subject: call, Now: now, Normal: base, Unit: sre.Seconds, Meaning: meaning,
	}}}
	if t := edge.Spec.Timeout.Seconds(); t > 0 {
		tail := now
		if whole {
			tail = max(now, or(d.v.now[edge.To].tail, 0))
		}
		terms = append(terms, term{ramp(tail/t, d.cfg.Patience, d.cfg.ActTimeout), sre.Evidence{
			Signal: "timeout_share", Subject: call, Now: tail / t, Normal: base / t, Unit: sre.Ratio,
			Meaning: fmt.Sprintf("slow answers of %s take %s of the %s that %s waits", name, percent(tail/t), seconds(t), caller),
		}})
	}
	terms = append(terms, d.callerTerm(edge.From, caller))
	if n := len(s.Graph.CallersOf(edge.To)); whole && n > 1 {
		share := float64(d.hurt[edge.To]) / float64(n)
		terms = append(terms, term{ramp(share, d.cfg.WarnShare, d.cfg.ActShare), sre.Evidence{
			Signal: "callers_hurt", Subject: name, Now: share, Unit: sre.Ratio,
			Meaning: fmt.Sprintf("%d of the %d callers of %s suffer with it", d.hurt[edge.To], n, name),
		}})
	}
	return terms
}

// callerTerm is what the slowness does to the caller: occupied workers, or
// requests that pile up in it, or failures, whichever is worst.
func (d *slow) callerTerm(i int, name string) term {
	p, u := &d.v.now[i], &d.v.usual[i]
	usual := or(u.queue.value(needed), 0)
	byQueue := 0.
	if known(p.queue) {
		byQueue = ramp(p.queue, 2*usual+3, 8*usual+12)
	}
	byPool, byErrors := 0., ramp(d.v.excess(i), 0, 2*harmless)
	if known(p.pool) {
		byPool = ramp(p.pool, d.quiet, 1)
	}
	if byErrors > byQueue && byErrors > byPool {
		t, _ := d.v.harmTerm(i, name, 2*harmless)
		return t
	}
	if byPool > byQueue {
		return term{byPool, sre.Evidence{
			Signal: "occupancy", Subject: name, Now: p.pool, Normal: or(u.pool.value(needed), 0), Unit: sre.Ratio,
			Meaning: fmt.Sprintf("%s of the workers of %s are taken", percent(p.pool), name),
		}}
	}
	return term{byQueue, sre.Evidence{
		Signal: "backlog", Subject: name, Now: or(p.queue, 0), Normal: usual, Unit: sre.Count,
		Meaning: fmt.Sprintf("%.0f requests are inside %s (usual %.0f)", or(p.queue, 0), name, usual),
	}}
}

// seconds writes a time for people.
func seconds(s float64) string {
	switch {
	case s < .9995:
		return fmt.Sprintf("%.0f ms", 1000*s)
	case s < 10:
		return fmt.Sprintf("%.1f s", s)
	}
	return span(s)
}
