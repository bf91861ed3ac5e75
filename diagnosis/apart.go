package diagnosis

import (
	"cmp"
	"slices"
	"time"

	"github.com/sreagent/sreagent/sre"
)

// selfMade reports whether some service of a part is in trouble of its own.
func (e *Engine) selfMade(s *sre.Snapshot, part []*node) bool {
	g := newGroup(slices.Clone(part))
	return slices.ContainsFunc(part, func(nd *node) bool { return e.ownCause(s, &g, nd) })
}

// split takes from an incident those parts that its first cause does not explain
// and another cause does.
func (e *Engine) split(s *sre.Snapshot, whole group) []group {
	g := s.Graph
	if whole.incident == "" || len(whole.parts) < 2 {
		return []group{whole}
	}
	root, known := g.Index(e.book.byID[whole.incident].Diagnosis.Top().Service)
	if !known {
		return []group{whole}
	}
	theirs := reach(g, root, whole.node(root))
	shown := map[int]bool{root: true}
	if nd := whole.node(root); nd != nil {
		shown = e.felt(s, &whole, nd)
	}
	var rest, out []group
	var kept [][]*node
	for _, part := range whole.parts {
		second, share := secondRoot(g, part)
		within := theirs
		if e.selfMade(s, part) {
			within = shown // where a part has a cause of its own, a way through the graph is not enough
		}
		if !isSerious(part) || explained(part, within) >= foreign || share < owned ||
			e.again("split "+whole.incident+" "+second.name) < agreed {
			kept = append(kept, part)
			continue
		}
		ng := newGroup(slices.Clone(part))
		ng.parts, ng.splitFrom = [][]*node{part}, whole.incident
		rest = append(rest, ng)
	}
	if len(rest) == 0 || !slices.ContainsFunc(kept, isSerious) {
		return []group{whole} // what is left of an incident is that incident
	}
	left := newGroup(slices.Concat(kept...))
	left.parts, left.incident, left.merges = kept, whole.incident, whole.merges
	return append(append(out, left), rest...)
}

// reach marks the services that trouble of one service can harm: everything
// above it, and below it where it spreads load.
func reach(g *sre.Graph, i int, nd *node) map[int]bool {
	out := map[int]bool{i: true}
	for _, j := range g.Upstream(i) {
		out[j] = true
	}
	if nd != nil && nd.loads() {
		for _, j := range g.Downstream(i) {
			out[j] = true
		}
	}
	return out
}

// explained is the share of a part's serious nodes that lie in a reach.
func explained(part []*node, within map[int]bool) float64 {
	all, hit := 0., 0.
	for _, nd := range part {
		if nd.serious {
			all++
			if within[nd.index] {
				hit++
			}
		}
	}
	return hit / max(1, all)
}

// secondRoot returns the node that explains most of a part, with the share.
func secondRoot(g *sre.Graph, part []*node) (*node, float64) {
	var best *node
	most := 0.
	for _, nd := range part {
		if !nd.serious {
			continue
		}
		share := explained(part, reach(g, nd.index, nd))
		if best == nil || share > most || share == most && nd.level() > best.level() {
			best, most = nd, share
		}
	}
	return best, most
}

// mostSources bounds how many faults are told apart in one connected part. More
// than that is not insight.
const mostSources = 8

// simultaneous is how close two onsets may lie before one unseen cause is
// likelier than two faults.
const simultaneous = 30 * time.Second

// apart divides connected parts in which several services are in trouble of
// their own: faults that meet in a common victim are not one fault. A victim goes
// to the earliest of them.
func (e *Engine) apart(s *sre.Snapshot, parts [][]*node) [][]*node {
	var out [][]*node
	for _, part := range parts {
		sources := e.sources(s, part)
		if len(sources) < 2 {
			out = append(out, part)
			continue
		}
		at := make(map[int]int, len(part)) // by service: which source has it, plus 1
		whole := newGroup(slices.Clone(part))
		for k, nd := range sources {
			for i := range e.felt(s, &whole, nd) {
				if at[i] == 0 {
					at[i] = k + 1
				}
			}
		}
		divided := make([][]*node, len(sources))
		for _, nd := range part {
			k := max(0, at[nd.index]-1)
			divided[k] = append(divided[k], nd)
		}
		out = append(out, divided...)
	}
	return out
}

// sources returns the services of a part that are in trouble of their own and
// not of each other's, the earliest first; no more than one where a common cause
// is thinkable.
func (e *Engine) sources(s *sre.Snapshot, part []*node) []*node {
	var all []*node
	g := newGroup(slices.Clone(part))
	for _, nd := range part {
		if e.ownCause(s, &g, nd) {
			all = append(all, nd)
		}
	}
	if len(all) < 2 || len(all) > mostSources {
		return nil
	}
	slices.SortFunc(all, func(a, b *node) int { return cmp.Or(a.onset.Compare(b.onset), byName(a, b)) })
	out := all[:1:1]
	for _, nd := range all[1:] {
		alone := !slices.ContainsFunc(out, func(o *node) bool { return e.common(s, &g, o, nd) })
		if alone && e.again("apart "+out[0].name+" "+nd.name) >= agreed {
			out = append(out, nd)
		}
	}
	return out
}

// ownCause reports whether a service is short of something, or was changed, and
// neither what it calls nor what calls it explains that.
func (e *Engine) ownCause(s *sre.Snapshot, g *group, nd *node) bool {
	own := nd.short() && nd.mechanism() != sre.Unknown && !nd.driven()
	if !nd.serious || !own && len(e.changesOf(nd)) == 0 {
		return false
	}
	for _, i := range calledBy(s.Graph, nd.index, e.cfg.MaxDistance) {
		if below := g.node(i); below != nil && below.serious && below.onset.Sub(nd.onset) <= late {
			return false
		}
	}
	for _, edge := range s.Graph.CallersOf(nd.index) {
		if above := g.node(s.Graph.Edges[edge].From); above != nil && above.loads() && nd.loads() && above.onset.Sub(nd.onset) <= late {
			return false
		}
	}
	return true
}

// changesOf returns the IDs of the changes made to a service just before its
// trouble.
func (e *Engine) changesOf(nd *node) []string {
	var ids []string
	for i := range e.changes {
		c := &e.changes[i]
		if since := nd.onset.Sub(c.At); c.Service == nd.name && since >= 0 && since <= time.Duration(e.cfg.MergeWindow) {
			ids = append(ids, c.ID)
		}
	}
	return ids
}

// felt marks the services of a group that the signs themselves lead to from one
// node: up the calls from one suffering service to the next one within reach that
// did not suffer before it, and down them for load. Services that nobody measures
// do not count as a step.
func (e *Engine) felt(s *sre.Snapshot, g *group, from *node) map[int]bool {
	out := map[int]bool{from.index: true}
	queue := []*node{from}
	for head := 0; head < len(queue); head++ {
		here := queue[head]
		step := func(caller, callee *node, other *node) {
			if !out[other.index] && here.onset.Sub(other.onset) <= late && e.related(caller, callee) {
				out[other.index] = true
				queue = append(queue, other)
			}
		}
		e.near(s, here.index, true, func(i int) {
			if above := g.node(i); above != nil && above.serious {
				step(above, here, above)
			}
		})
		if here.loads() {
			e.near(s, here.index, false, func(i int) {
				if below := g.node(i); below != nil {
					step(here, below, below)
				}
			})
		}
	}
	return out
}

// near visits the services at most MaxDistance calls away, and those beyond a
// service that nobody measures.
func (e *Engine) near(s *sre.Snapshot, start int, up bool, visit func(int)) {
	seen := map[int]bool{start: true}
	frontier := []int{start}
	for distance := 0; len(frontier) > 0 && distance < e.cfg.MaxDistance; distance++ {
		var next []int
		for head := 0; head < len(frontier); head++ {
			for _, i := range ends(s.Graph, neighbours(s.Graph, frontier[head], up), up) {
				if seen[i] {
					continue
				}
				seen[i] = true
				visit(i)
				if unmeasured(s, i) {
					frontier = append(frontier, i)
				} else {
					next = append(next, i)
				}
			}
		}
		frontier = next
	}
}

func neighbours(g *sre.Graph, i int, up bool) []int {
	if up {
		return g.CallersOf(i)
	}
	return g.CalleesOf(i)
}

func unmeasured(s *sre.Snapshot, i int) bool {
	return s.Graph.Services[i].External || s.FreshShare(i) == 0
}

// common reports whether one cause may stand behind two services: they began at
// once, the signs lead from one to the other, they lie close together, one change
// touched both, or both depend on something that is not seen.
func (e *Engine) common(s *sre.Snapshot, g *group, a, b *node) bool {
	if b.onset.Sub(a.onset).Abs() < max(simultaneous, 2*s.Interval) {
		return true
	}
	if e.felt(s, g, a)[b.index] || e.felt(s, g, b)[a.index] {
		return true
	}
	neighbour := false
	for _, up := range []bool{true, false} {
		e.near(s, a.index, up, func(i int) { neighbour = neighbour || i == b.index })
	}
	if neighbour {
		return true
	}
	if slices.ContainsFunc(e.changesOf(a), func(id string) bool { return slices.Contains(e.changesOf(b), id) }) {
		return true
	}
	unseen := map[int]bool{}
	for _, i := range calledBy(s.Graph, a.index, e.cfg.MaxDistance) {
		unseen[i] = unmeasured(s, i)
	}
	return slices.ContainsFunc(calledBy(s.Graph, b.index, e.cfg.MaxDistance), func(i int) bool { return unseen[i] })
}
