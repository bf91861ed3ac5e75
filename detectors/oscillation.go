package detectors

import (
	"fmt"
	"math"
	"time"

	"github.com/sreagent/sreagent/sre"
)

// oscillation watches for controls that swing: breakers that open and close,
// weights that move to and fro, replicas that come and go (Brooker, Circuit
// breakers: what they are modal about; Farahbakhsh et al. 2026: oscillating
// membership). It counts turning points, not values: a zigzag that moves by
// less than a share of the usual value, or than chance moves it, does not turn.
type oscillation struct {
	cfg   OscillationConfig
	v     *vitals
	swing []zigzag // of replicas, by service
	calls []zigzag // of calls per request, by edge
	quiet []float64
}

// byChance is how many standard deviations of a count are no swing.
const byChance = 5

// mostTurns is how many turning points are kept.
const mostTurns = 8

// zigzag finds the turning points of one series.
type zigzag struct {
	episode
	extreme float64 // of the move that is under way
	up      bool
	begun   bool
	turns   [mostTurns]float64 // seconds since the start of the vitals, oldest overwritten
	n       int32              // turning points ever
	harm    float64            // worst rise of errors during the swings, fading
}

func newOscillation(cfg Config, v *vitals) *oscillation {
	return &oscillation{cfg: cfg.Oscillation, v: v}
}

// Name returns the name of the detector.
func (*oscillation) Name() string { return "oscillation" }

// Detect appends one precursor per control that swings.
func (d *oscillation) Detect(s *sre.Snapshot, frozen []bool, found []sre.Precursor) []sre.Precursor {
	d.v.observe(s, frozen)
	for len(d.swing) < len(s.Graph.Services) {
		d.swing, d.quiet = append(d.swing, zigzag{}), append(d.quiet, missing)
	}
	for len(d.calls) < len(s.Graph.Edges) {
		d.calls = append(d.calls, zigzag{})
	}
	now := s.At.Sub(d.v.start).Seconds()
	for _, c := range s.Changes {
		if i, ok := s.Graph.Index(c.Service); ok {
			d.quiet[i] = now // a rollout takes replicas away and brings them back
		}
	}
	for i := range s.Graph.Services {
		if d.replicas(i, now, s.At) {
			found = append(found, d.precursor(s, i, &d.swing[i]))
		}
	}
	for e := range s.Graph.Edges {
		if d.fanout(s, e, now) {
			found = append(found, d.edgePrecursor(s, e))
		}
	}
	return found
}

// replicas follows the number of replicas and reports whether it swings.
func (d *oscillation) replicas(i int, now float64, at time.Time) bool {
	z, p, usual := &d.swing[i], &d.v.now[i], d.v.usual[i].replicas.value(needed)
	span := time.Duration(d.cfg.Span).Seconds()
	if !known(p.replicas) || !known(usual) || now-d.quiet[i] < span {
		z.push(false, at)
		return false
	}
	z.follow(p.replicas, max(1, d.cfg.Swing*usual/2), now)
	z.worsen(d.v.excess(i), d.v.dt, span)
	z.push(z.within(now, span) >= d.cfg.Turns, at)
	return z.on(1, 1)
}

// fanout follows calls per request of the caller and reports whether they swing
// where it hurts: a caller that works in batches swings as well. A caller
// without room calls when a worker comes free, and no control is at work.
func (d *oscillation) fanout(s *sre.Snapshot, e int, now float64) bool {
	z, edge := &d.calls[e], &s.Graph.Edges[e]
	calls, own := cell(&s.Edge, d.v.edge.traffic, e)-or(cell(&s.Edge, d.v.edge.retries, e), 0), d.v.now[edge.From].traffic
	usual := d.v.fanout[e].value(needed)
	span := time.Duration(d.cfg.Span).Seconds()
	n := own * usual * d.v.dt
	if edge.Gone || !known(calls) || !(n >= fewRequests) || d.v.now[edge.From].pool >= d.v.cfg.Overload.WarnUse {
		z.push(false, s.At)
		z.n = 0
		return false
	}
	z.follow(calls/own/usual, max(d.cfg.Swing, byChance/math.Sqrt(n)), now)
	z.worsen(max(d.v.excess(edge.From), d.v.excess(edge.To)), d.v.dt, span)
	z.push(z.within(now, span) >= d.cfg.Turns && z.harm > harmless, s.At)
	return z.on(1, 1)
}

// follow moves the zigzag and notes a turning point when the series has come
// back by least from its latest extreme.
func (z *zigzag) follow(x, least, now float64) {
	if !z.begun {
		z.begun, z.extreme, z.up = true, x, true
		return
	}
	if z.up == (x > z.extreme) && x != z.extreme {
		z.extreme = x
		return
	}
	if back := z.extreme - x; z.up && back < least || !z.up && -back < least {
		return
	}
	z.turns[z.n%mostTurns] = now
	z.n++
	z.extreme, z.up = x, !z.up
}

// worsen keeps the worst harm, which fades over the span.
func (z *zigzag) worsen(harm, dt, span float64) {
	z.harm = max(harm, z.harm*(1-decay(dt, span)))
}

// oneGap is the share of the time between the turning points that the longest
// pause may take. A beginning and an end of one outage turn as often as two
// swings, with the outage between them.
const oneGap = .75

// within returns how many of the latest turning points are younger than span,
// and not more than one where a single pause takes most of the time.
func (z *zigzag) within(now, span float64) int {
	n, gap := 0, 0.
	for ; n < min(int(z.n), mostTurns); n++ {
		at := z.turn(n)
		if now-at > span {
			break
		}
		if n > 0 {
			gap = max(gap, z.turn(n-1)-at)
		}
	}
	if n > 2 && gap > oneGap*(z.turn(0)-z.turn(n-1)) {
		return 1
	}
	return n
}

// turn returns the time of the k-th turning point, the latest first.
func (z *zigzag) turn(k int) float64 { return z.turns[(int(z.n)-1-k)%mostTurns] }

func (d *oscillation) precursor(s *sre.Snapshot, i int, z *zigzag) sre.Precursor {
	name := s.Graph.Services[i].Name
	p := sre.Precursor{
		Detector: d.Name(), Mechanism: sre.Oscillation, Service: name, Kind: sre.Replicas,
		Severity: sre.Warning, Since: z.since,
	}
	if z.harm > harmless {
		p.Severity = sre.Critical
	}
	return conclude(p, d.terms(s, z, name, sre.Evidence{
		Signal: "replicas", Subject: name, Now: d.v.now[i].replicas, Normal: d.v.usual[i].replicas.v, Unit: sre.Count,
		Meaning: fmt.Sprintf("the replicas of %s come and go: %.0f now, usually %.0f", name, d.v.now[i].replicas, d.v.usual[i].replicas.v),
	}))
}

func (d *oscillation) edgePrecursor(s *sre.Snapshot, e int) sre.Precursor {
	edge := &s.Graph.Edges[e]
	caller, name := s.Graph.Services[edge.From].Name, s.Graph.Services[edge.To].Name
	p := sre.Precursor{
		Detector: d.Name(), Mechanism: sre.Oscillation, Service: name, Caller: caller, Kind: sre.Traffic,
		Severity: sre.Critical, Since: d.calls[e].since,
	}
	calls, usual := cell(&s.Edge, d.v.edge.traffic, e), d.v.fanout[e].v*d.v.now[edge.From].traffic
	return conclude(p, d.terms(s, &d.calls[e], caller+"->"+name, sre.Evidence{
		Signal: "calls", Subject: caller + "->" + name, Now: calls, Normal: usual, Unit: sre.PerSecond,
		Meaning: fmt.Sprintf("calls from %s to %s are let through and held back in turn: %.0f per second now, usually %.0f", caller, name, calls, usual),
	}))
}

func (d *oscillation) terms(s *sre.Snapshot, z *zigzag, subject string, ev sre.Evidence) []term {
	span := time.Duration(d.cfg.Span)
	turns := z.within(s.At.Sub(d.v.start).Seconds(), span.Seconds())
	return []term{
		{ramp(float64(turns), float64(d.cfg.Turns)/2, float64(d.cfg.Turns)), sre.Evidence{
			Signal: "turns", Subject: subject, Now: float64(turns), Unit: sre.Count,
			Meaning: fmt.Sprintf("%s has changed direction %d times in %s", subject, turns, span),
		}},
		{1, ev},
		{ramp(z.harm, 0, 2*harmless), sre.Evidence{
			Signal: "error_ratio", Subject: subject, Now: z.harm, Unit: sre.Ratio,
			Meaning: fmt.Sprintf("up to %s of requests failed during the swings", percent(z.harm)),
		}},
	}
}
