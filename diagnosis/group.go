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
	signs   []sre.Precursor // strongest first
	burns   []sre.Precursor // of the error budget
	serious bool            // at least one sign is more than a note
	worst   sre.Severity    // without the error budget: a page about a victim does not make it a cause
	onset   time.Time       // earliest of the serious signs, else of all
	until   time.Time       // since when its trouble has not grown; the onset, or later

	recalled bool          // this is the service at its worst, and not at this tick
	now      *node         // of one that is recalled: as it is at this tick, nil without a sign
	silent   time.Duration // of one that is recalled: since it was last in trouble
}

// group is one fault's worth of nodes, by name.
type group struct {
	nodes     []*node
	at        map[int]*node // by service index
	began     time.Time     // earliest serious onset
	suffering []string      // names of the serious nodes, sorted
	parts     [][]*node     // the connected parts of which it is made
	incident  string        // the open incident that it is news of
	merges    []string      // other open incidents that are the same fault
	splitFrom string        // the incident for which it was taken until now
	storm     bool
}

func newGroup(nodes []*node) group {
	g := group{nodes: nodes, at: make(map[int]*node, len(nodes))}
	slices.SortFunc(g.nodes, byName)
	for _, n := range nodes {
		g.at[n.index] = n
		if !n.serious {
			continue
		}
		g.suffering = append(g.suffering, n.name)
		if g.began.IsZero() || n.onset.Before(g.began) {
			g.began = n.onset
		}
	}
	return g
}

func byName(a, b *node) int { return cmp.Compare(a.name, b.name) }

// burnRate is the detector that tells how much users suffer, and nothing of why.
const burnRate = "burn_rate"

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
		if p.Detector == burnRate {
			nd.burns = append(nd.burns, p)
			continue
		}
		nd.take(p)
		nd.worst = graverOf(nd.worst, p.Severity)
	}
	for _, nd := range nodes {
		nd.settle()
	}
	slices.SortFunc(nodes, byName)
	return nodes
}

// settle orders the signs, so that the order in which they came is nothing. An
// error budget tells who suffers and not why: in the search for a cause it
// stands for a note, and only where the service shows nothing else.
func (n *node) settle() {
	slices.SortStableFunc(n.signs, byStrength)
	slices.SortStableFunc(n.burns, byStrength)
	if !n.serious && len(n.burns) > 0 {
		for _, p := range n.burns {
			p.Score *= noteShare
			n.take(p)
			if grave(p) {
				n.worst = sre.Warning
			}
		}
		slices.SortStableFunc(n.signs, byStrength)
	}
	n.until = n.onset
}

func (n *node) take(p sre.Precursor) {
	n.signs = append(n.signs, p)
	switch {
	case n.onset.IsZero(), grave(p) && !n.serious, grave(p) == n.serious && p.Since.Before(n.onset):
		n.onset = p.Since
	}
	n.serious = n.serious || grave(p)
}

// grave reports whether a sign is more than a note.
func grave(p sre.Precursor) bool { return p.Severity.Rank() > sre.Info.Rank() }

func graverOf(a, b sre.Severity) sre.Severity {
	if b.Rank() > a.Rank() {
		return b
	}
	return a
}

// byStrength orders signs: strongest first, and never by how they came.
func byStrength(a, b sre.Precursor) int {
	return cmp.Or(
		cmp.Compare(b.Score, a.Score), cmp.Compare(a.Service, b.Service), cmp.Compare(a.Caller, b.Caller),
		cmp.Compare(a.Detector, b.Detector), cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Mechanism, b.Mechanism),
		cmp.Compare(b.Severity.Rank(), a.Severity.Rank()), a.Since.Compare(b.Since), cmp.Compare(firstSignal(a), firstSignal(b)),
	)
}

func firstSignal(p sre.Precursor) string {
	if len(p.Evidence) == 0 {
		return ""
	}
	return p.Evidence[0].Signal
}

func (n *node) has(kind sre.SignalKind) bool {
	of := func(p sre.Precursor) bool { return p.Kind == kind && grave(p) }
	return slices.ContainsFunc(n.signs, of) || slices.ContainsFunc(n.burns, of)
}

// hurts reports whether the node shows what callers feel: slow, failing or
// full. That travels from the callee to its callers.
func (n *node) hurts() bool { return n.serious }

// loads reports whether the node shows more load, which travels from the caller
// to its callees.
func (n *node) loads() bool {
	return slices.ContainsFunc(n.signs, func(p sre.Precursor) bool {
		return surge(p) || p.Kind == sre.Retries && grave(p)
	})
}

// short reports whether a physics detector says that the node runs out of room.
func (n *node) short() bool {
	return slices.ContainsFunc(n.signs, func(p sre.Precursor) bool {
		return p.Detector != goldenSignal && p.Detector != burnRate && grave(p)
	})
}

// surge reports whether a sign is about more traffic than usual.
func surge(p sre.Precursor) bool {
	return p.Kind == sre.Traffic && len(p.Evidence) > 0 && p.Evidence[0].Now > p.Evidence[0].Normal
}

// node returns the group's node of a service, nil where it has no sign.
func (g *group) node(index int) *node { return g.at[index] }

// isSerious reports whether any node shows more than a note.
func isSerious(nodes []*node) bool {
	return slices.ContainsFunc(nodes, func(n *node) bool { return n.serious })
}

func (g *group) onset() time.Time { return g.began }

func (g *group) affected() []string { return g.suffering }

func (g *group) precursors() []sre.Precursor {
	var out []sre.Precursor
	for _, n := range g.nodes {
		for _, p := range n.signs {
			if p.Detector != burnRate {
				out = append(out, p)
			}
		}
		out = append(out, n.burns...)
	}
	slices.SortStableFunc(out, byStrength)
	return out
}

// onlyBurns reports whether nothing but error budgets is more than a note.
func (g *group) onlyBurns() bool {
	return !slices.ContainsFunc(g.nodes, func(n *node) bool {
		return slices.ContainsFunc(n.signs, func(p sre.Precursor) bool { return p.Detector != burnRate && grave(p) })
	})
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
