package diagnosis

import (
	"cmp"
	"slices"
	"time"

	"github.com/sreagent/sreagent/sre"
)

// sets is a union-find over nodes.
type sets []int

func newSets(n int) sets {
	s := make(sets, n)
	for i := range s {
		s[i] = i
	}
	return s
}

func (s sets) find(i int) int {
	for s[i] != i {
		s[i] = s[s[i]]
		i = s[i]
	}
	return i
}

// join keeps the lower index as the representative, so that the outcome does
// not depend on the order of joining.
func (s sets) join(a, b int) {
	a, b = s.find(a), s.find(b)
	if a > b {
		a, b = b, a
	}
	s[b] = a
}

// parts returns the nodes of each set, in the order of the nodes.
func (s sets) parts(nodes []*node) [][]*node {
	at := make(map[int]int, len(nodes))
	var out [][]*node
	for k, nd := range nodes {
		root := s.find(k)
		p, ok := at[root]
		if !ok {
			p = len(out)
			at[root] = p
			out = append(out, nil)
		}
		out[p] = append(out[p], nd)
	}
	return out
}

// joiner connects the nodes of one tick.
type joiner struct {
	e     *Engine
	g     *sre.Graph
	nodes []*node
	at    []int // by service index: position in nodes plus 1, 0 for a silent service
	sets  sets
	walk  walker
}

// connect splits the nodes into connected parts: by calls and onset, by a
// dependency that nobody measures, and by a common change.
func (e *Engine) connect(g *sre.Graph, nodes []*node) [][]*node {
	j := joiner{e: e, g: g, nodes: nodes, at: make([]int, len(g.Services)), sets: newSets(len(nodes)), walk: newWalker(g)}
	for k, nd := range nodes {
		j.at[nd.index] = k + 1
	}
	for k := range nodes {
		j.below(k)
		j.above(k)
	}
	j.blind()
	j.changed()
	return j.sets.parts(nodes)
}

func (j *joiner) node(service int) *node {
	if k := j.at[service]; k > 0 {
		return j.nodes[k-1]
	}
	return nil
}

// gap is the time between two spans of growing trouble, 0 where they overlap. A
// slow cascade may reach the next service long after it began, for as long as it
// grows.
func gap(a, b *node) time.Duration {
	return max(0, a.onset.Sub(b.until), b.onset.Sub(a.until))
}

// related reports whether the signs of a caller and of one of its callees can
// have one cause: harm goes up the call, load goes down it.
func (e *Engine) related(caller, callee *node) bool {
	if gap(caller, callee) > time.Duration(e.cfg.MergeWindow) {
		return false
	}
	return callee.hurts() && caller.hurts() || caller.loads() && (callee.loads() || callee.hurts())
}

// below joins a node with what it calls, through services that show nothing.
func (j *joiner) below(k int) {
	nd := j.nodes[k]
	j.walk.from(nd.index, j.e.cfg.MaxDistance, false, func(i int) bool {
		other := j.node(i)
		open := !hub(j.g, i) || other != nil && ownEvidence(other, nd)
		if open && other != nil && j.e.related(nd, other) {
			j.sets.join(k, j.at[i]-1)
		}
		return open
	})
}

// above joins a service that runs out of room with everything that suffers
// anywhere above it: such trouble passes through services that show nothing.
func (j *joiner) above(k int) {
	nd := j.nodes[k]
	if !nd.short() {
		return
	}
	j.walk.from(nd.index, len(j.g.Services), true, func(i int) bool {
		if other := j.node(i); other != nil && other.serious && j.e.related(other, nd) {
			j.sets.join(k, j.at[i]-1)
		}
		return true
	})
}

// blind joins callers of a service that nobody measures: the graph cannot show
// the sign that links them. A dependency of a large part of the fleet must show
// something of its own.
func (j *joiner) blind() {
	callers := map[int][]int{}
	var order []int
	for k, nd := range j.nodes {
		if !nd.serious {
			continue
		}
		for _, e := range j.g.CalleesOf(nd.index) {
			callee := j.g.Edges[e].To
			if !j.g.Services[callee].External || hub(j.g, callee) {
				continue
			}
			if callers[callee] == nil {
				order = append(order, callee)
			}
			callers[callee] = append(callers[callee], k)
		}
	}
	for _, callee := range order {
		j.chain(callers[callee])
	}
}

// changed joins services that one change touched shortly before they suffered.
func (j *joiner) changed() {
	touched := map[string][]int{}
	for i := range j.e.changes {
		c := &j.e.changes[i]
		s, ok := j.g.Index(c.Service)
		if !ok || c.ID == "" || j.at[s] == 0 {
			continue
		}
		nd := j.nodes[j.at[s]-1]
		since := nd.onset.Sub(c.At)
		if nd.serious && since >= 0 && since <= time.Duration(j.e.cfg.MergeWindow) && !slices.Contains(touched[c.ID], j.at[s]-1) {
			touched[c.ID] = append(touched[c.ID], j.at[s]-1)
		}
	}
	for _, ks := range touched { // the order of joining is nothing
		j.chain(ks)
	}
}

// chain joins nodes whose spans lie close enough in time.
func (j *joiner) chain(ks []int) {
	slices.SortFunc(ks, func(a, b int) int { return cmp.Or(j.nodes[a].onset.Compare(j.nodes[b].onset), cmp.Compare(a, b)) })
	last := 0
	for i := 1; i < len(ks); i++ {
		if gap(j.nodes[ks[last]], j.nodes[ks[i]]) <= time.Duration(j.e.cfg.MergeWindow) {
			j.sets.join(ks[last], ks[i])
		}
		if j.nodes[ks[i]].until.After(j.nodes[ks[last]].until) {
			last = i
		}
	}
}

// A hub is a service that more than this share of the fleet calls, and no fewer
// than hubLeast: it lies between any two services, and proves nothing.
const (
	hubShare = .3
	hubLeast = 10
)

func hub(g *sre.Graph, i int) bool {
	n := len(g.CallersOf(i))
	return n >= hubLeast && float64(n) > hubShare*float64(len(g.Services))
}

// ownEvidence reports whether a hub was in trouble first, or is loaded by this
// caller: else every fault among its callers would look like its doing.
func ownEvidence(hub, caller *node) bool {
	return hub.serious && (hub.onset.Sub(caller.onset) <= late || caller.loads())
}

// walker goes through the graph breadth first without forgetting its memory.
type walker struct {
	g     *sre.Graph
	seen  []int // by service: the number of the walk that saw it last
	n     int
	queue []int
}

func newWalker(g *sre.Graph) walker { return walker{g: g, seen: make([]int, len(g.Services))} }

// from visits every service at most limit calls away from start, callers if up
// is set and callees else. A visit tells whether the walk passes through.
func (w *walker) from(start, limit int, up bool, visit func(int) bool) {
	w.n++
	w.seen[start] = w.n
	w.queue = append(w.queue[:0], start)
	head := 0
	for range limit {
		end := len(w.queue)
		if head == end {
			return
		}
		for ; head < end; head++ {
			edges := w.g.CalleesOf(w.queue[head])
			if up {
				edges = w.g.CallersOf(w.queue[head])
			}
			for _, e := range edges {
				i := w.g.Edges[e].To
				if up {
					i = w.g.Edges[e].From
				}
				if w.seen[i] == w.n {
					continue
				}
				w.seen[i] = w.n
				if visit(i) {
					w.queue = append(w.queue, i)
				}
			}
		}
	}
}

// calledBy returns the services that i calls, directly or through others, at
// most limit calls away.
func calledBy(g *sre.Graph, i, limit int) []int {
	seen := map[int]bool{i: true}
	frontier, out := []int{i}, []int(nil)
	for range limit {
		var next []int
		for _, j := range frontier {
			for _, e := range g.CalleesOf(j) {
				if to := g.Edges[e].To; !seen[to] {
					seen[to] = true
					next = append(next, to)
				}
			}
		}
		out = append(out, next...)
		frontier = next
	}
	return out
}
