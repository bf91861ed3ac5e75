package detectors

import (
	"fmt"
	"math"

	"github.com/sreagent/sreagent/sre"
)

// inversion watches calls whose callee may take longer than its caller waits
// (SRE book, chapter 22: deadline propagation). Settings alone are a fault of
// the topology, which CheckTimeouts names; it becomes a precursor when answers
// come near the timeout, because from then on the callee works for callers who
// have left. It speaks of the callee in whose hands the time is lost.
type inversion struct {
	cfg   InversionConfig
	slow  float64
	v     *vitals
	state []episode // by edge
	index []float64 // by edge, of the latest graph
	graph *sre.Graph
}

func newInversion(cfg Config, v *vitals) *inversion {
	return &inversion{cfg: cfg.Inversion, slow: cfg.Slow.Rise, v: v}
}

// Name returns the name of the detector.
func (*inversion) Name() string { return "timeout_inversion" }

// Detect appends one precursor per inverted call that is about to time out.
func (d *inversion) Detect(s *sre.Snapshot, frozen []bool, found []sre.Precursor) []sre.Precursor {
	d.v.observe(s, frozen)
	for len(d.state) < len(s.Graph.Edges) {
		d.state = append(d.state, episode{})
	}
	if d.graph != s.Graph {
		d.graph, d.index = s.Graph, d.index[:0]
		for e := range s.Graph.Edges {
			d.index = append(d.index, inversionOf(s.Graph, e))
		}
	}
	for e := range s.Graph.Edges {
		if !(d.index[e] >= d.cfg.WarnIndex) {
			d.state[e].push(false, s.At)
			continue
		}
		near, dead, at := d.near(s, e), d.dead(s, e), d.place(s, e)
		d.state[e].push(at >= 0 && near >= d.cfg.Near && dead >= deadCalls, s.At)
		if d.state[e].on(2, 3) {
			found = append(found, d.precursor(s, e, at, near, dead))
		}
	}
	return found
}

// deadCalls is the share of calls given up from which work is wasted.
const deadCalls = .02

// inversionOf returns the time that the callee's own calls may take, with every
// retry, over the timeout of the call to it; missing where either is unknown.
// One that makes no calls cannot be inverted.
func inversionOf(g *sre.Graph, e int) float64 {
	timeout := g.Edges[e].Spec.Timeout.Seconds()
	if timeout <= 0 || g.Edges[e].Gone {
		return missing
	}
	var needs float64
	for _, f := range g.CalleesOf(g.Edges[e].To) {
		spec := &g.Edges[f].Spec
		needs += float64(1+max(spec.Retries, 0)) * max(0, spec.Timeout.Seconds())
	}
	if needs <= 0 {
		return missing
	}
	return needs / timeout
}

// near returns how much of the timeout the answers take.
func (d *inversion) near(s *sre.Snapshot, e int) float64 {
	edge := &s.Graph.Edges[e]
	now, _ := d.v.edgeLatency(s, e)
	return max(or(now, 0), or(d.v.now[edge.To].tail, 0)) / edge.Spec.Timeout.Seconds()
}

// dead returns the share of a call's attempts that are given up.
func (d *inversion) dead(s *sre.Snapshot, e int) float64 {
	calls, given := cell(&s.Edge, d.v.edge.traffic, e), cell(&s.Edge, d.v.edge.timeouts, e)
	if known(calls) && known(given) && calls > 0 {
		return clip(given / calls)
	}
	return d.v.now[s.Graph.Edges[e].To].dead()
}

// place returns the call in whose callee the time is lost, with tries that its
// caller's caller does not wait for; -1 where there is none. One that is slow by
// itself, or whose callees are late but within what they may take, is no matter
// of timeouts.
func (d *inversion) place(s *sre.Snapshot, e int) int {
	worst, most := -1, d.slow
	for _, f := range s.Graph.CalleesOf(s.Graph.Edges[e].To) {
		now, base := d.v.edgeLatency(s, f)
		spec := &s.Graph.Edges[f].Spec
		tries := float64(1+max(spec.Retries, 0)) * spec.Timeout.Seconds()
		if tries < d.cfg.WarnIndex*s.Graph.Edges[e].Spec.Timeout.Seconds() || !(d.dead(s, f) >= deadCalls) {
			continue
		}
		if known(now) && known(base) && base > 0 && now/base > most {
			worst, most = f, now/base
		}
	}
	return worst
}

func (d *inversion) precursor(s *sre.Snapshot, e, at int, near, dead float64) sre.Precursor {
	g := s.Graph
	edge := &g.Edges[e]
	caller, callee := g.Services[edge.From].Name, g.Services[edge.To].Name
	call, timeout := caller+"->"+callee, edge.Spec.Timeout.Seconds()
	out := sre.Precursor{
		Detector: d.Name(), Mechanism: sre.TimeoutInversion, Service: g.Services[g.Edges[at].To].Name,
		Kind: sre.Timeouts, Severity: sre.Warning, Since: d.state[e].since,
	}
	if dead >= 5*deadCalls && near >= 1 {
		out.Severity = sre.Critical
	}
	terms := []term{
		{ramp(d.index[e], 1, d.cfg.ActIndex), sre.Evidence{
			Signal: "timeout_inversion", Subject: call, Now: d.index[e], Normal: 1, Unit: sre.Ratio,
			Meaning: fmt.Sprintf("%s waits %s for %s, whose own calls may take %s", caller, seconds(timeout), callee, seconds(d.index[e]*timeout)),
		}},
		{ramp(near, d.cfg.Near/2, d.cfg.Near), sre.Evidence{
			Signal: "timeout_share", Subject: call, Now: near, Unit: sre.Ratio,
			Meaning: fmt.Sprintf("slow answers of %s take %.1f times what %s waits", callee, near, caller),
		}},
		{ramp(dead, 0, 5*deadCalls), sre.Evidence{
			Signal: "dead_work", Subject: call, Now: dead, Unit: sre.Ratio,
			Meaning: fmt.Sprintf("%s of the calls from %s to %s are given up while %s still works on them", percent(dead), caller, callee, callee),
		}},
	}
	if again := cell(&s.Edge, d.v.edge.retries, e); known(again) {
		share := clip(again / math.Max(1, or(cell(&s.Edge, d.v.edge.traffic, e), 1)))
		terms = append(terms, term{ramp(share, 0, .2), sre.Evidence{
			Signal: "retry_share", Subject: call, Now: share, Unit: sre.Ratio,
			Meaning: fmt.Sprintf("%s of the calls from %s to %s are repeated", percent(share), caller, callee),
		}})
	}
	return conclude(out, terms)
}
