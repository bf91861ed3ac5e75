package diagnosis

import (
	"slices"
	"time"

	"github.com/sreagent/sreagent/sre"
)

// How much of the past is kept. Snapshots are immutable and kept by reference,
// so that this bounds the memory whatever happens.
const (
	pastKept    = 20               // snapshots of the time before,
	pastSpan    = 30 * time.Minute // spread over this,
	recentTicks = 5                // and the latest ones
	freshFor    = 5                // ticks for which an onset before those is still fresh
)

// past is what the engine remembers of earlier snapshots: a few, far apart, for
// what is usual, and the latest, for what is now.
type past struct {
	usual, recent []*sre.Snapshot
}

// keep takes one snapshot. In trouble the usual ones age much slower, so that an
// incident that lasts is still compared with the time before it.
func (p *past) keep(s *sre.Snapshot, trouble bool) {
	if !s.Health.Up {
		return
	}
	if n := len(p.recent); n > 0 && !s.At.After(p.recent[n-1].At) {
		p.usual, p.recent = nil, nil // time went back: another story
	}
	p.recent = append(p.recent, s)
	if late := len(p.recent) - recentTicks; late > 0 {
		p.recent = slices.Delete(p.recent, 0, late)
	}
	every := pastSpan / pastKept
	if trouble {
		every = pastSpan
	}
	if n := len(p.usual); n > 0 && s.At.Sub(p.usual[n-1].At) < every {
		return
	}
	p.usual = append(p.usual, s)
	if late := len(p.usual) - pastKept; late > 0 {
		p.usual = slices.Delete(p.usual, 0, late)
	}
}

// split returns the snapshots from before an onset and the latest ones since.
// The onset is an estimate: the snapshot just before it counts as neither. Long
// after the onset there are none since: what is seen then is how the trouble has
// spread and what it left behind, and says little of where it began.
func (p *past) split(onset time.Time) (before, after []*sre.Snapshot) {
	for _, s := range p.usual {
		if s.At.Before(onset.Add(-s.Interval)) {
			before = append(before, s)
		}
	}
	if len(p.recent) > 0 && onset.Before(p.recent[0].At.Add(-freshFor*p.recent[0].Interval)) {
		return before, nil
	}
	for _, s := range p.recent {
		if !s.At.Before(onset) {
			after = append(after, s)
		}
	}
	return before, after
}

// fewBefore is how many snapshots of normal operation a comparison needs.
const fewBefore = 5

// compared holds what the windows before and after the onset say of a group.
type compared struct {
	w      *window
	scores map[int]float64
	signs  map[int][]sign
}

// look compares the time before a group's onset with now, over the group, what
// it calls and who calls it directly. It returns nil where too little is
// remembered.
func (e *Engine) look(s *sre.Snapshot, g group) *compared {
	before, after := e.past.split(g.onset())
	if len(before) < fewBefore || len(after) == 0 || after[len(after)-1] != s {
		return nil
	}
	c := &compared{
		w:      newWindow(before, after, e.region(s.Graph, g)),
		scores: map[int]float64{}, signs: map[int][]sign{},
	}
	for _, i := range c.w.services {
		signs := c.w.signs(i)
		c.signs[i], c.scores[i] = signs, c.w.score(i, signs, 0)
	}
	return c
}

// region is the part of the graph that a cause of a group's trouble can lie in,
// with the direct callers, sorted.
func (e *Engine) region(g *sre.Graph, grp group) []int {
	in := map[int]bool{}
	for _, n := range grp.nodes {
		in[n.index] = true
		for _, j := range calledBy(g, n.index, e.cfg.MaxDistance) {
			in[j] = true
		}
		for _, edge := range g.CallersOf(n.index) {
			in[g.Edges[edge].From] = true
		}
	}
	out := make([]int, 0, len(in))
	for i := range in {
		out = append(out, i)
	}
	slices.Sort(out)
	return out
}

// Remember takes a snapshot of the past, of a warm-up say, in time order, so
// that there is something to compare the first incident with.
func (e *Engine) Remember(s *sre.Snapshot) { e.past.keep(s, false) }
