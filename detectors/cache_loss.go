package detectors

import (
	"fmt"
	"math"

	"github.com/sreagent/sreagent/sre"
)

// cacheLoss watches for caches that answer less than they did. The backend gets
// what the cache lets through, so its load grows by (1-h)/(1-usual h), at most
// by 1/(1-usual h): a hundredfold behind a cache with 99 % of hits (Bronson et
// al., Metastable Failures in Distributed Systems, HotOS 2021). It speaks of
// the owner of the cache, and of the backend that the herd reaches.
type cacheLoss struct {
	cfg   CacheLossConfig
	busy  float64 // use of the backend from which the surge matters
	v     *vitals
	state []episode // by owner
	herd  []episode // by backend
	worst []int32   // by backend, the edge with the largest surge; -1 for none
}

const (
	leastLoss = .05 // fall of the hit ratio that matters
	leastMiss = .005
)

func newCacheLoss(cfg Config, v *vitals) *cacheLoss {
	return &cacheLoss{cfg: cfg.CacheLoss, busy: cfg.Overload.WarnUse / 2, v: v}
}

// Name returns the name of the detector.
func (*cacheLoss) Name() string { return "cache_loss" }

// Detect appends one precursor per cache that was lost, and one per backend
// that cannot take what comes through.
func (d *cacheLoss) Detect(s *sre.Snapshot, frozen []bool, found []sre.Precursor) []sre.Precursor {
	d.v.observe(s, frozen)
	for len(d.state) < len(s.Graph.Services) {
		d.state, d.herd, d.worst = append(d.state, episode{}), append(d.herd, episode{}), append(d.worst, -1)
	}
	for i := range d.worst {
		d.worst[i] = -1
	}
	for i := range s.Graph.Services {
		surge := d.surge(i)
		d.state[i].push(surge >= d.cfg.WarnSurge, s.At)
		if surge < d.cfg.WarnSurge {
			continue
		}
		e, reach := d.backend(s, i, surge)
		if e >= 0 && reach >= d.cfg.ActUse {
			d.worst[s.Graph.Edges[e].To] = int32(e)
		}
		if d.state[i].on(2, 3) || surge >= 2*d.cfg.WarnSurge && reach >= d.cfg.ActUse {
			found = append(found, d.owner(s, i, e, surge, reach))
		}
	}
	for i := range s.Graph.Services {
		e := int(d.worst[i])
		d.herd[i].push(e >= 0 && d.v.waiting(i), s.At)
		if d.herd[i].on(2, 3) {
			found = append(found, d.behind(s, i, e))
		}
	}
	return found
}

// surge returns misses over the usual ones; 1 where the difference is chance or
// small.
func (d *cacheLoss) surge(i int) float64 {
	p, u := &d.v.now[i], &d.v.usual[i]
	usual := u.cache.value(needed)
	if !known(p.cache) || !known(usual) {
		return 1
	}
	fall := usual - p.cache
	chance := math.Sqrt(usual * (1 - usual) / max(1, or(p.traffic, fewRequests)*d.v.dt))
	if fall < leastLoss || fall < 4*max(chance, gaussian*u.cacheDev.v) {
		return 1
	}
	return (1 - p.cache) / max(leastMiss, 1-usual)
}

// backend finds the callee that gets the misses: the one whose calls per
// request have grown most, or the only one there is. reach is the occupancy
// that the surge means for it; missing where its usual one is not known.
func (d *cacheLoss) backend(s *sre.Snapshot, i int, surge float64) (edge int, reach float64) {
	edge, most := -1, 1.5
	callees := s.Graph.CalleesOf(i)
	for _, e := range callees {
		if rise := d.rise(s, e); rise > most {
			edge, most = e, rise
		}
	}
	if edge < 0 && len(callees) == 1 {
		edge, most = callees[0], surge
	}
	if edge < 0 {
		return edge, missing
	}
	return edge, max(most, 1) * d.usualUse(s.Graph.Edges[edge].To)
}

// usualUse is the occupancy of a healthy service under its usual load.
func (d *cacheLoss) usualUse(i int) float64 {
	u := &d.v.usual[i]
	traffic, capacity := u.traffic.value(needed), u.capacity.value(needed)
	if !known(capacity) || capacity <= 0 {
		return u.pool.value(needed)
	}
	return traffic / capacity
}

// rise returns first attempts per request over the usual ones.
func (d *cacheLoss) rise(s *sre.Snapshot, e int) float64 {
	calls, own := cell(&s.Edge, d.v.edge.traffic, e), d.v.now[s.Graph.Edges[e].From].traffic
	usual := d.v.fanout[e].value(needed)
	if f := s.Graph.Edges[e].Spec.CallsPerRequest; f > 0 {
		usual = f
	}
	if !known(calls) || !known(own) || !known(usual) || own <= 0 || usual <= 0 {
		return missing
	}
	return (calls - or(cell(&s.Edge, d.v.edge.retries, e), 0)) / own / usual
}

func (d *cacheLoss) owner(s *sre.Snapshot, i, e int, surge, reach float64) sre.Precursor {
	name := s.Graph.Services[i].Name
	out := sre.Precursor{
		Detector: d.Name(), Mechanism: sre.CacheLoss, Service: name, Kind: sre.Cache,
		Severity: sre.Warning, Since: d.state[i].since,
	}
	if reach < d.busy {
		out.Severity = sre.Info // the backend has room for all of it
	}
	p, u := &d.v.now[i], &d.v.usual[i]
	terms := []term{{ramp(surge, 1, 2*d.cfg.WarnSurge), sre.Evidence{
		Signal: "hit_ratio", Subject: name, Now: p.cache, Normal: u.cache.v, Unit: sre.Ratio,
		Meaning: fmt.Sprintf("the cache of %s answers %s of lookups (usual %s): %.1f times as many pass through", name, percent(p.cache), percent(u.cache.v), surge),
	}}}
	if known(reach) {
		terms = append(terms, d.reachTerm(s, e, reach))
	}
	if e >= 0 {
		terms = append(terms, d.herdTerm(s.Graph.Edges[e].To, s.Graph.Services[s.Graph.Edges[e].To].Name))
	}
	if t, ok := d.v.harmTerm(i, name, 2*harmless); ok {
		terms = append(terms, t)
	}
	if reach >= d.cfg.ActUse && (d.v.excess(i) > harmless || d.v.waiting(s.Graph.Edges[e].To)) {
		out.Severity = sre.Critical
	}
	return conclude(out, terms)
}

// behind is the sign of the backend under the thundering herd.
func (d *cacheLoss) behind(s *sre.Snapshot, i, e int) sre.Precursor {
	name, from := s.Graph.Services[i].Name, s.Graph.Edges[e].From
	out := sre.Precursor{
		Detector: d.Name(), Mechanism: sre.CacheLoss, Service: name, Kind: sre.Traffic,
		Severity: sre.Warning, Since: d.herd[i].since,
	}
	surge := d.surge(from)
	_, reach := d.backend(s, from, surge)
	terms := []term{d.reachTerm(s, e, reach), d.herdTerm(i, name), {ramp(surge, 1, 2*d.cfg.WarnSurge), sre.Evidence{
		Signal: "hit_ratio", Subject: s.Graph.Services[from].Name, Now: d.v.now[from].cache, Normal: d.v.usual[from].cache.v, Unit: sre.Ratio,
		Meaning: fmt.Sprintf("the cache of %s lets %.1f times as many lookups through to %s", s.Graph.Services[from].Name, surge, name),
	}}}
	if t, ok := d.v.harmTerm(i, name, 2*harmless); ok {
		terms = append(terms, t)
	}
	if d.v.excess(i) > harmless {
		out.Severity = sre.Critical
	}
	return conclude(out, terms)
}

func (d *cacheLoss) reachTerm(s *sre.Snapshot, e int, reach float64) term {
	edge := &s.Graph.Edges[e]
	name := s.Graph.Services[edge.To].Name
	return term{ramp(reach, d.busy, d.cfg.ActUse), sre.Evidence{
		Signal: "backend_load", Subject: name, Now: reach, Normal: d.usualUse(edge.To), Unit: sre.Ratio,
		Meaning: fmt.Sprintf("what passes the cache is %.1f times what %s can serve", reach, name),
	}}
}

// herdTerm is the work that piles up at the backend.
func (d *cacheLoss) herdTerm(i int, name string) term {
	p, usual := &d.v.now[i], or(d.v.usual[i].queue.value(needed), 0)
	return term{ramp(or(p.queue, 0), 2*usual+3, 8*usual+12), sre.Evidence{
		Signal: "backlog", Subject: name, Now: or(p.queue, 0), Normal: usual, Unit: sre.Count,
		Meaning: fmt.Sprintf("%.0f requests are inside %s (usual %.0f)", or(p.queue, 0), name, usual),
	}}
}
