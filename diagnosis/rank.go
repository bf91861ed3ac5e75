package diagnosis

import (
	"cmp"
	"math"
	"slices"
	"time"

	"github.com/sreagent/sreagent/sre"
)

// candidate is one service that may be the cause, with the terms of its score.
type candidate struct {
	index    int
	name     string
	node     *node // nil for a service without a sign of its own
	raw      float64
	left     float64 // raw, less what neighbours explain
	onset    float64 // -1 later than the others, 1 earlier
	change   float64 // 1 a change at the onset, 0 none
	coverage float64 // share of the affected services that it can have harmed
	resource float64 // 1 where a resource of its own is short
	pushes   bool    // it spreads load to its callees
	suspect  *sre.Change
	signs    []sign // what the windows before and after the onset show
	score    float64
	p        float64
}

// strongestSign is the weight of a sign of score 1: ln(1+50), the largest
// deviation that counts.
var strongestSign = math.Log1p(50)

// noteShare is what a sign weighs that is only worth a note.
const noteShare = .3

// familyWeight says how much a kind of sign points to a cause rather than to a
// symptom.
func familyWeight(k sre.SignalKind) float64 {
	switch k {
	case sre.Cache, sre.Replicas:
		return 1.2
	case sre.Saturation:
		return 1.1
	case sre.Latency, sre.Timeouts:
		return .8
	case sre.Traffic:
		return .5
	case sre.Errors, sre.Retries, sre.Queue, sre.Pool:
	}
	return 1
}

// strength adds up the best family of signs and half of the second best.
func (n *node) strength() float64 {
	families := map[sre.SignalKind]float64{}
	for _, p := range n.signs {
		x := p.Score * familyWeight(p.Kind)
		if p.Severity.Rank() <= sre.Info.Rank() {
			x *= noteShare
		}
		families[p.Kind] = max(families[p.Kind], x)
	}
	var best, second float64
	for _, k := range sre.SignalKinds() {
		switch x := families[k]; {
		case x > best:
			best, second = x, best
		case x > second:
			second = x
		}
	}
	return strongestSign * (best + second/2) * n.fading()
}

// surging returns the strength of a rise in traffic.
func (n *node) surging() float64 {
	var best float64
	for _, p := range n.signs {
		if surge(p) {
			best = max(best, p.Score)
		}
	}
	return strongestSign * best * n.fading()
}

// surgeSince is when the traffic first rose, zero where it did not.
func (n *node) surgeSince() time.Time {
	var first time.Time
	for _, p := range n.signs {
		if surge(p) && (first.IsZero() || p.Since.Before(first)) {
			first = p.Since
		}
	}
	return first
}

// uncached returns the strength of the sign that a cache no longer answers, which
// sends what it answered before to the services below.
func (n *node) uncached() float64 {
	var best float64
	for _, p := range n.signs {
		if p.Kind == sre.Cache && grave(p) {
			best = max(best, p.Score)
		}
	}
	return strongestSign * best * n.fading()
}

// driven reports whether the node suffers from load that its callers send and
// not from retries, which come back as load but start at the callee.
func (n *node) driven() bool {
	return n.short() && n.mechanism() == sre.Overload && n.surging() > 0
}

// mechanism is that of the gravest sign; physics goes before a lone golden
// signal, and a known mechanism before an unknown one.
func (n *node) mechanism() sre.Mechanism {
	best, found := sre.Precursor{}, false
	for _, p := range n.signs {
		if !found || graver(p, best) {
			best, found = p, true
		}
	}
	if !found {
		return sre.Unknown
	}
	return best.Mechanism
}

func graver(a, b sre.Precursor) bool {
	rank := func(p sre.Precursor) int {
		r := 8 * p.Severity.Rank()
		if p.Detector != goldenSignal {
			r += 4
		}
		if p.Mechanism != sre.Unknown {
			r += 2
		}
		return r
	}
	if ra, rb := rank(a), rank(b); ra != rb {
		return ra > rb
	}
	return a.Score > b.Score
}

// goldenSignal is the detector whose mechanisms are only a first guess.
const goldenSignal = "golden_signal"

// windowShare is the weight of what the windows before and after the onset show
// beside what the precursors know. Both count in logarithms of deviations, and a
// good part of it twice.
const windowShare = .5

// heldWeight is the weight of what was believed of an incident one tick ago. An
// incident is seen best as it begins; what follows is how it spreads, and often
// outlives the cause.
const heldWeight = 2

// rank scores every candidate of a group and turns scores into probabilities.
// The candidates come most probable first; what is missing to 1 is unknown.
func (e *Engine) rank(s *sre.Snapshot, g group) (cs []candidate, callers []string) {
	cs = e.candidates(s, g)
	middle := medianOnset(g)
	seen := e.look(s, g)
	held := e.held[g.incident]
	for i := range cs {
		c := &cs[i]
		if c.node != nil {
			c.left = e.explain(s, g, c)
			c.onset = earliness(s, middle, c.node)
			c.resource = ownTrouble(c.node)
		}
		c.change, c.suspect = e.blame(s, g, c)
		c.coverage = coverage(s.Graph, g, c)
		w := e.cfg.Weights
		c.score = w.Evidence*c.left + w.Onset*c.onset + w.Change*c.change + w.Coverage*c.coverage + w.Resource*c.resource
		if seen != nil {
			c.score += windowShare * seen.scores[c.index]
			c.signs = seen.signs[c.index]
		}
		c.score += heldWeight * held[c.name]
	}
	callers, unseen := e.unobserved(s.Graph, g, cs)
	e.softmax(cs, unseen)
	slices.SortStableFunc(cs, func(a, b candidate) int {
		return cmp.Or(cmp.Compare(b.score, a.score), cmp.Compare(a.name, b.name))
	})
	return cs, callers
}

// candidates are the services with a sign, and the silent ones that were
// changed within reach below a suffering service.
func (e *Engine) candidates(s *sre.Snapshot, g group) []candidate {
	var cs []candidate
	seen := map[int]bool{}
	for _, n := range g.nodes {
		pushes := n.surging() > 0 && pushing(s.Graph, g, n)
		seen[n.index] = true
		if !n.serious && !pushes {
			continue
		}
		cs = append(cs, candidate{index: n.index, name: n.name, node: n, raw: n.strength(), pushes: pushes})
	}
	for _, n := range g.nodes {
		if !n.serious {
			continue
		}
		for _, j := range calledBy(s.Graph, n.index, e.cfg.MaxDistance) {
			c := candidate{index: j, name: s.Graph.Services[j].Name}
			if share, _ := e.blame(s, g, &c); !seen[j] && share > 0 {
				seen[j] = true
				cs = append(cs, c)
			}
		}
	}
	return cs
}

// pushing reports whether n or a service below it suffers from load. Where a
// retry storm rages below, more load above is its echo and not its cause.
func pushing(g *sre.Graph, grp group, n *node) bool {
	for _, j := range append(g.Downstream(n.index), n.index) {
		if below := grp.node(j); below != nil && below.serious && below.mechanism() == sre.RetryStorm {
			return false
		}
	}
	// Load arrives at once, by way of services that carry more of it themselves:
	// what grew after the trouble below is people who try again.
	began := n.surgeSince()
	queue, seen := []int{n.index}, map[int]bool{n.index: true}
	for head := 0; head < len(queue); head++ {
		below := grp.node(queue[head])
		if below == nil || below.surging() == 0 {
			continue
		}
		if below.driven() && !began.After(below.onset.Add(simultaneous)) {
			return true
		}
		for _, e := range g.CalleesOf(queue[head]) {
			if j := g.Edges[e].To; !seen[j] {
				seen[j] = true
				queue = append(queue, j)
			}
		}
	}
	return false
}

// late is how much later than its caller a callee may show trouble and still be
// the reason for the caller's.
const late = time.Minute

// explain returns what is left of a candidate's evidence after its neighbours'
// trouble is taken off: slow and failing callees for what goes up the call,
// surging callers for load.
func (e *Engine) explain(s *sre.Snapshot, g group, c *candidate) float64 {
	var by float64
	direct := map[int]bool{}
	for _, edge := range s.Graph.CalleesOf(c.index) {
		j := s.Graph.Edges[edge].To
		direct[j] = true
		if n := g.node(j); e.explains(n, c) {
			// Strength grows with the logarithm of a deviation, so a callee that
			// takes part in few requests still explains much.
			by = max(by, math.Sqrt(callShare(s, edge))*n.strength())
		}
	}
	for _, j := range calledBy(s.Graph, c.index, e.cfg.MaxDistance) {
		// Through a callee that shows nothing itself the trouble still passes.
		if n := g.node(j); !direct[j] && j != c.index && e.explains(n, c) {
			by = max(by, e.cfg.ExplainAway*n.strength())
		}
	}
	var load, cold float64
	for _, edge := range s.Graph.CallersOf(c.index) {
		if n := g.node(s.Graph.Edges[edge].From); n != nil && n.index != c.index {
			load = max(load, n.surging())
			if c.node.mechanism() != sre.RetryStorm { // which goes on whatever began it
				cold = max(cold, n.uncached())
			}
		}
	}
	by = max(by, cold)
	if c.node.driven() {
		by = max(by, load)
	}
	left := max(0, c.raw-e.cfg.ExplainAway*by)
	if c.pushes {
		left = max(left, surgeWeight*(c.node.surging()-e.cfg.ExplainAway*load))
	}
	return left
}

// surgeWeight lets a surge that others suffer from stand against the two
// families of signs that those others show.
const surgeWeight = 1.5

func (e *Engine) explains(n *node, c *candidate) bool {
	return n != nil && n.index != c.index && n.serious && n.onset.Sub(c.node.onset) <= late
}

// callShare is the share of the caller's requests that reach the callee, 1
// where it is not known.
func callShare(s *sre.Snapshot, edge int) float64 {
	e := &s.Graph.Edges[edge]
	if e.Spec.CallsPerRequest > 0 {
		return min(1, e.Spec.CallsPerRequest)
	}
	calls, own := s.EdgeValue(edge, sre.Traffic, sre.PerSecond), s.Value(e.From, sre.Traffic, sre.PerSecond)
	if calls.OK() && own.OK() && own.Value > 0 {
		return min(1, calls.Value/own.Value)
	}
	return 1
}

func medianOnset(g group) time.Time {
	var onsets []time.Time
	for _, n := range g.nodes {
		if n.serious {
			onsets = append(onsets, n.onset)
		}
	}
	slices.SortFunc(onsets, time.Time.Compare)
	if len(onsets) == 0 {
		return time.Time{}
	}
	return onsets[(len(onsets)-1)/2]
}

// earliness compares onsets, in units that the sampling can tell apart.
func earliness(s *sre.Snapshot, middle time.Time, n *node) float64 {
	unit := 2 * max(s.Interval, 5*time.Second)
	diff := middle.Sub(n.onset)
	if diff.Abs() < 2*s.Interval {
		return 0
	}
	return max(-1, min(1, diff.Seconds()/unit.Seconds()))
}

// ownTrouble is 1 for a service that is short of something of its own.
func ownTrouble(n *node) float64 {
	if n.has(sre.Saturation) || n.has(sre.Cache) || n.has(sre.Replicas) || n.worst == sre.Critical {
		return 1
	}
	return 0
}

// blame returns how suspicious the latest fitting change of a candidate is.
func (e *Engine) blame(s *sre.Snapshot, g group, c *candidate) (float64, *sre.Change) {
	onset := g.onset()
	var best float64
	var suspect *sre.Change
	for i := range e.changes {
		ch := &e.changes[i]
		before := onset.Sub(ch.At)
		if ch.Service != c.name || before > time.Duration(e.cfg.ChangeWindow) || -before > s.Interval {
			continue
		}
		x := math.Exp(-max(0, before.Seconds()) / time.Duration(e.cfg.ChangeDecay).Seconds())
		if x >= best {
			copied := *ch
			best, suspect = x, &copied
		}
	}
	return best, suspect
}

// coverage is the share of the affected services that the candidate can have
// harmed: those that depend on it, and for load those that it calls.
func coverage(g *sre.Graph, grp group, c *candidate) float64 {
	var all, hit float64
	reach := map[int]bool{c.index: true}
	for _, i := range g.Upstream(c.index) {
		reach[i] = true
	}
	if c.pushes {
		for _, i := range g.Downstream(c.index) {
			reach[i] = true
		}
	}
	for _, n := range grp.nodes {
		if !n.serious {
			continue
		}
		all++
		if reach[n.index] {
			hit++
		}
	}
	if all == 0 {
		return 0
	}
	return hit / all
}

// softmax sets the probabilities, with the unknown cause and its score in the sum.
func (e *Engine) softmax(cs []candidate, unseen float64) {
	w := e.cfg.Weights
	top := unseen
	for i := range cs {
		top = max(top, cs[i].score)
	}
	sum := math.Exp((unseen - top) / w.Temperature)
	for i := range cs {
		cs[i].p = math.Exp((cs[i].score - top) / w.Temperature)
		sum += cs[i].p
	}
	for i := range cs {
		cs[i].p /= sum
	}
}
