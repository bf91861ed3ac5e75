package diagnosis

import (
	"cmp"
	"slices"
	"time"

	"github.com/sreagent/sreagent/sre"
)

// node is one service with all its signs.
type node struct {
	index   int
	name    string
	signs   []sre.Precursor // as they came: strongest first
	serious bool            // at least one sign is more than a note
	worst   sre.Severity
	onset   time.Time // earliest of the serious signs, else of all
}

// group is one fault's worth of nodes, by service index.
type group struct {
	nodes    []*node
	incident string
}

// collect sorts the signs by service. Services that the graph does not know
// cannot be placed and are left out.
func collect(g *sre.Graph, ps []sre.Precursor) []*node {
	byIndex := map[int]*node{}
	var nodes []*node
	for _, p := range ps {
		i, ok := g.Index(p.Service)
		if !ok {
			continue
		}
		nd := byIndex[i]
		if nd == nil {
			nd = &node{index: i, name: p.Service}
			byIndex[i] = nd
			nodes = append(nodes, nd)
		}
		nd.take(p)
	}
	slices.SortFunc(nodes, func(a, b *node) int { return cmp.Compare(a.name, b.name) })
	return nodes
}

func (n *node) take(p sre.Precursor) {
	n.signs = append(n.signs, p)
	if p.Severity.Rank() > n.worst.Rank() {
		n.worst = p.Severity
	}
	grave := p.Severity.Rank() > sre.Info.Rank()
	switch {
	case n.onset.IsZero(), grave && !n.serious, grave == n.serious && p.Since.Before(n.onset):
		n.onset = p.Since
	}
	n.serious = n.serious || grave
}

func (n *node) has(kind sre.SignalKind) bool {
	return slices.ContainsFunc(n.signs, func(p sre.Precursor) bool {
		return p.Kind == kind && p.Severity.Rank() > sre.Info.Rank()
	})
}

// hurts reports whether the node shows what callers feel: slow, failing or
// full. That travels from the callee to its callers.
func (n *node) hurts() bool { return n.serious }

// loads reports whether the node shows more load, which travels from the caller
// to its callees.
func (n *node) loads() bool {
	return slices.ContainsFunc(n.signs, func(p sre.Precursor) bool {
		return surge(p) || p.Kind == sre.Retries && p.Severity.Rank() > sre.Info.Rank()
	})
}

// short reports whether a physics detector says that the node runs out of room.
func (n *node) short() bool {
	return slices.ContainsFunc(n.signs, func(p sre.Precursor) bool {
		return p.Detector != goldenSignal && p.Severity.Rank() > sre.Info.Rank()
	})
}

// surge reports whether a sign is about more traffic than usual.
func surge(p sre.Precursor) bool {
	return p.Kind == sre.Traffic && len(p.Evidence) > 0 && p.Evidence[0].Now > p.Evidence[0].Normal
}

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

// groups splits the nodes into faults: by graph and onset, then by the open
// incidents that they touch. Groups without a serious sign are dropped.
func (e *Engine) groups(s *sre.Snapshot, nodes []*node, open []sre.Incident) []group {
	at := make(map[int]int, len(nodes))
	for k, nd := range nodes {
		at[nd.index] = k
	}
	u := newSets(len(nodes))
	for k, nd := range nodes {
		for _, i := range calledBy(s.Graph, nd.index, e.cfg.MaxDistance) {
			if other, ok := at[i]; ok && e.related(nd, nodes[other]) {
				u.join(k, other)
			}
		}
	}
	e.joinBlind(s.Graph, nodes, at, u)
	e.joinAbove(s.Graph, nodes, at, u)
	owner := owners(nodes, u, open)
	byKey := map[string]*group{}
	var order []string
	for k, nd := range nodes {
		root := u.find(k)
		key := "group " + nodes[root].name
		if id := owner[root]; id != "" {
			key = "incident " + id
		}
		g := byKey[key]
		if g == nil {
			g = &group{incident: owner[root]}
			byKey[key] = g
			order = append(order, key)
		}
		g.nodes = append(g.nodes, nd)
	}
	var out []group
	for _, key := range order {
		if slices.ContainsFunc(byKey[key].nodes, func(n *node) bool { return n.serious }) {
			out = append(out, *byKey[key])
		}
	}
	return out
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

// related reports whether the signs of a caller and of one of its callees can
// have one cause: harm goes up the call, load goes down it.
func (e *Engine) related(caller, callee *node) bool {
	gap := caller.onset.Sub(callee.onset).Abs()
	if gap > time.Duration(e.cfg.MergeWindow) {
		return false
	}
	return callee.hurts() && caller.hurts() || caller.loads() && (callee.loads() || callee.hurts())
}

// joinBlind joins callers of a service that nobody measures: the graph cannot
// show the sign that links them.
func (e *Engine) joinBlind(g *sre.Graph, nodes []*node, at map[int]int, u sets) {
	for k, nd := range nodes {
		if !nd.serious {
			continue
		}
		for _, out := range g.CalleesOf(nd.index) {
			callee := g.Edges[out].To
			if !g.Services[callee].External {
				continue
			}
			for _, in := range g.CallersOf(callee) {
				other, ok := at[g.Edges[in].From]
				if ok && other != k && nodes[other].serious &&
					nd.onset.Sub(nodes[other].onset).Abs() <= time.Duration(e.cfg.MergeWindow) {
					u.join(k, other)
				}
			}
		}
	}
}

// joinAbove joins a service that runs out of room with everything that suffers
// anywhere above it: such trouble passes through services that show nothing.
func (e *Engine) joinAbove(g *sre.Graph, nodes []*node, at map[int]int, u sets) {
	for k, nd := range nodes {
		if !nd.short() {
			continue
		}
		for _, i := range g.Upstream(nd.index) {
			if other, ok := at[i]; ok && nodes[other].serious && e.related(nodes[other], nd) {
				u.join(k, other)
			}
		}
	}
}

// owners names the open incident that each set belongs to: the one with which
// it shares most services. A set that shares none, but has services behind the
// cause of an incident that is still at large, is how that incident spreads.
func owners(nodes []*node, u sets, open []sre.Incident) map[int]string {
	known := slices.Clone(open)
	slices.SortStableFunc(known, func(a, b sre.Incident) int {
		return cmp.Or(a.OpenedAt.Compare(b.OpenedAt), cmp.Compare(a.ID, b.ID))
	})
	owner := claims(known, nodes, u, func(inc *sre.Incident) []string {
		if inc.State == sre.Closed {
			return nil
		}
		return append(slices.Clone(inc.Diagnosis.Affected), inc.Diagnosis.Top().Service)
	})
	behind := claims(known, nodes, u, func(inc *sre.Incident) []string {
		if !spreading(inc.State) {
			return nil
		}
		return inc.Diagnosis.Blast.Services
	})
	for root, id := range behind {
		if owner[root] == "" {
			owner[root] = id
		}
	}
	return owner
}

// claims names, for every set, the incident with which it shares most of the
// named services; the older incident where several share as many.
func claims(open []sre.Incident, nodes []*node, u sets, names func(*sre.Incident) []string) map[int]string {
	owner, best := map[int]string{}, map[int]int{}
	for i := range open {
		theirs := names(&open[i])
		shared := map[int]int{}
		for k, nd := range nodes {
			if nd.serious && slices.Contains(theirs, nd.name) {
				shared[u.find(k)]++
			}
		}
		for k := range nodes {
			if root := u.find(k); shared[root] > best[root] {
				owner[root], best[root] = open[i].ID, shared[root]
			}
		}
	}
	return owner
}

// spreading reports whether an incident in this state is still at large.
func spreading(s sre.State) bool {
	switch s {
	case sre.Suspected, sre.Diagnosed, sre.Planned, sre.AwaitingApproval, sre.Acting, sre.Verifying, sre.Escalated:
		return true
	case sre.Resolved, sre.Lifting, sre.Reverting, sre.Closed:
	}
	return false
}

func (g *group) node(index int) *node {
	for _, n := range g.nodes {
		if n.index == index {
			return n
		}
	}
	return nil
}

func (g *group) onset() time.Time {
	var first time.Time
	for _, n := range g.nodes {
		if n.serious && (first.IsZero() || n.onset.Before(first)) {
			first = n.onset
		}
	}
	return first
}

func (g *group) affected() []string {
	var names []string
	for _, n := range g.nodes {
		if n.serious {
			names = append(names, n.name)
		}
	}
	slices.Sort(names)
	return names
}

func (g *group) precursors() []sre.Precursor {
	var out []sre.Precursor
	for _, n := range g.nodes {
		out = append(out, n.signs...)
	}
	slices.SortStableFunc(out, func(a, b sre.Precursor) int {
		return cmp.Or(
			cmp.Compare(b.Score, a.Score), cmp.Compare(a.Service, b.Service), cmp.Compare(a.Caller, b.Caller),
			cmp.Compare(a.Detector, b.Detector), cmp.Compare(a.Kind, b.Kind),
		)
	})
	return out
}

// strongest returns the serious node with the highest score.
func (g *group) strongest() *node {
	var best *node
	for _, n := range g.nodes {
		if n.serious && (best == nil || n.signs[0].Score > best.signs[0].Score) {
			best = n
		}
	}
	return best
}

// erring reports whether any sign of the group is about failed or late answers.
func (g *group) erring() bool {
	return slices.ContainsFunc(g.nodes, func(n *node) bool {
		return n.has(sre.Errors) || n.has(sre.Timeouts) || n.has(sre.Retries) || n.has(sre.Latency)
	})
}
