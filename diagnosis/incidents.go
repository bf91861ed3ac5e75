package diagnosis

import (
	"cmp"
	"slices"
	"time"

	"github.com/sreagent/sreagent/sre"
)

// ReopenWithin is how long after its end an incident may come back under its own
// ID: the same people are still at it.
const ReopenWithin = 30 * time.Minute

// agreed is at how many ticks in a row something must hold before incidents are
// merged or split for it, so that they do not flap.
const agreed = 2

// thinkable is the probability from which a cause of an incident belongs to it
// though it shows no sign now: causes often recover before their victims do.
const thinkable = .05

// The best cause of an incident that explains less than foreign of a part of it,
// where another explains at least owned, is not the cause of that part.
const (
	foreign = .3
	owned   = .5
)

// book is what is known of the incidents at one tick.
type book struct {
	open     []*sre.Incident // not closed, in the order in which they survive a merge
	closed   []*sre.Incident // lately, the latest first
	byID     map[string]*sre.Incident
	members  map[string]map[string]bool // names of the affected services and of the thinkable causes, by ID
	blast    map[string]map[string]bool // what stands behind the cause of one still at large, by ID
	survivor map[string]string          // by ID of one that turned out to be another
}

func newBook(now time.Time, incidents []sre.Incident) *book {
	b := &book{
		byID: map[string]*sre.Incident{}, members: map[string]map[string]bool{},
		blast: map[string]map[string]bool{}, survivor: map[string]string{},
	}
	for i := range incidents {
		inc := &incidents[i]
		switch {
		case inc.State != sre.Closed:
			b.open = append(b.open, inc)
		case inc.MergedInto != "" || inc.ClosedAt.IsZero() || now.Sub(inc.ClosedAt) > ReopenWithin:
			continue
		default:
			b.closed = append(b.closed, inc)
		}
		b.byID[inc.ID] = inc
		b.members[inc.ID] = setOf(inc.Diagnosis.Affected)
		for _, h := range inc.Diagnosis.Hypotheses {
			if h.Service != "" && h.Probability >= thinkable {
				b.members[inc.ID][h.Service] = true
			}
		}
		if spreading(inc.State) {
			b.blast[inc.ID] = setOf(inc.Diagnosis.Blast.Services)
		}
	}
	slices.SortStableFunc(b.open, survival)
	slices.SortStableFunc(b.closed, func(x, y *sre.Incident) int {
		return cmp.Or(y.ClosedAt.Compare(x.ClosedAt), cmp.Compare(x.ID, y.ID))
	})
	return b
}

func setOf(names []string) map[string]bool {
	out := make(map[string]bool, len(names))
	for _, n := range names {
		out[n] = true
	}
	return out
}

// survival orders incidents by who survives a merge: one that holds levers, then
// the graver, then the older.
func survival(a, b *sre.Incident) int {
	return cmp.Or(
		cmp.Compare(min(1, len(b.InForce())), min(1, len(a.InForce()))),
		cmp.Compare(b.Severity.Rank(), a.Severity.Rank()),
		age(a, b),
	)
}

func age(a, b *sre.Incident) int {
	return cmp.Or(a.OpenedAt.Compare(b.OpenedAt), cmp.Compare(a.ID, b.ID))
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

// again counts at how many ticks in a row the same was said.
func (e *Engine) again(what string) int {
	e.saying[what] = e.said[what] + 1
	return e.saying[what]
}

// groups makes one group of nodes per fault, with the incident that it is news
// of. Groups without a serious sign are dropped.
func (e *Engine) groups(s *sre.Snapshot, nodes []*node, incidents []sre.Incident) []group {
	b := newBook(s.At, incidents)
	e.book, e.saying = b, map[string]int{}
	defer func() { e.said = e.saying }()
	if stormy(s.Graph, nodes, incidents) {
		return []group{storm(nodes, b)}
	}
	parts := e.apart(s, e.connect(s.Graph, nodes))
	e.merge(s, parts, b)
	var out []group
	for _, g := range b.assign(parts, func(part []*node) bool { return e.selfMade(s, part) }) {
		out = append(out, e.split(s, g)...)
	}
	return slices.DeleteFunc(out, func(g group) bool { return !isSerious(g.nodes) })
}

// merge finds open incidents that are one fault: with the same first cause or
// change, or in one connected part with a cause that can have harmed the other.
func (e *Engine) merge(s *sre.Snapshot, parts [][]*node, b *book) {
	for i, later := range b.open {
		for _, first := range b.open[:i] {
			if b.survivor[first.ID] != "" || !e.oneFault(s, parts, b, first, later) {
				continue
			}
			if e.again("merge "+later.ID+" "+first.ID) >= agreed {
				b.survivor[later.ID] = first.ID
				break
			}
		}
	}
}

func (e *Engine) oneFault(s *sre.Snapshot, parts [][]*node, b *book, x, y *sre.Incident) bool {
	tx, ty := x.Diagnosis.Top(), y.Diagnosis.Top()
	if tx.Service != "" && tx.Service == ty.Service || tx.Change != nil && ty.Change != nil && tx.Change.ID != "" && tx.Change.ID == ty.Change.ID {
		return true
	}
	return slices.ContainsFunc(parts, func(part []*node) bool {
		if !shares(part, b.members[x.ID]) || !shares(part, b.members[y.ID]) {
			return false
		}
		return tx.Service == "" || ty.Service == "" || e.harmed(s, part, tx.Service, ty.Service) || e.harmed(s, part, ty.Service, tx.Service)
	})
}

// harmed reports whether the signs lead from one cause up to the other.
func (e *Engine) harmed(s *sre.Snapshot, part []*node, cause, victim string) bool {
	g := newGroup(slices.Clone(part))
	c, known := s.Graph.Index(cause)
	v, also := s.Graph.Index(victim)
	nd := g.node(c)
	return known && also && nd != nil && nd.serious && e.felt(s, &g, nd)[v]
}

// assign gives every part to the open incident that it is news of, and makes one
// group per incident, and one of each part that is new.
func (b *book) assign(parts [][]*node, selfMade func([]*node) bool) []group {
	byID := map[string]int{}
	var out []group
	add := func(id string, part []*node) {
		k, ok := byID[id]
		if !ok || id == "" {
			k = len(out)
			byID[id] = k
			out = append(out, group{incident: id})
		}
		out[k].parts = append(out[k].parts, part)
	}
	for _, part := range parts {
		for _, share := range b.divide(part, selfMade) {
			add(share.id, share.nodes)
		}
	}
	for k := range out {
		g := newGroup(slices.Concat(out[k].parts...))
		g.parts, g.incident = out[k].parts, out[k].incident
		for _, inc := range b.open {
			if g.incident != "" && b.survivor[inc.ID] == g.incident {
				g.merges = append(g.merges, inc.ID)
			}
		}
		slices.Sort(g.merges)
		out[k] = g
	}
	return out
}

// portion is what one incident owns of a part.
type portion struct {
	id    string
	nodes []*node
}

// divide splits a part among the incidents that claim it: each keeps its own
// services, and the strongest claim takes what is new. An unclaimed part with a
// cause of its own is new, and another is how the incident spreads behind which it
// lies.
func (b *book) divide(part []*node, selfMade func([]*node) bool) []portion {
	claims := b.claims(part)
	if len(claims) == 0 && selfMade(part) {
		return []portion{{"", part}}
	}
	if len(claims) == 0 {
		return []portion{{b.behind(part), part}}
	}
	out := make([]portion, len(claims))
	for k, inc := range claims {
		out[k].id = inc.ID
	}
	for _, nd := range part {
		to := slices.IndexFunc(claims, func(inc *sre.Incident) bool { return b.owns(inc, nd) })
		to = max(0, to)
		out[to].nodes = append(out[to].nodes, nd)
	}
	return slices.DeleteFunc(out, func(p portion) bool { return len(p.nodes) == 0 })
}

// owns reports whether a service belongs to an incident or to one that it
// swallows.
func (b *book) owns(inc *sre.Incident, nd *node) bool {
	if b.members[inc.ID][nd.name] {
		return true
	}
	for _, other := range b.open {
		if b.survivor[other.ID] == inc.ID && b.members[other.ID][nd.name] {
			return true
		}
	}
	return false
}

// claims returns the incidents whose news a part is, the strongest claim first:
// those whose cause lies in it, those whose cause is not known, and those that
// had half of it. A part that shares no more than a victim with an old incident
// is another fault.
func (b *book) claims(part []*node) []*sre.Incident {
	serious := 0
	for _, nd := range part {
		if nd.serious {
			serious++
		}
	}
	type claim struct {
		inc    *sre.Incident
		rooted int
		shared int
	}
	var out []claim
	for _, inc := range b.open {
		if b.survivor[inc.ID] != "" {
			continue
		}
		c := claim{inc: inc}
		top := inc.Diagnosis.Top().Service
		for _, nd := range part {
			if nd.serious && b.owns(inc, nd) {
				c.shared++
				if nd.name == top {
					c.rooted = 1
				}
			}
		}
		if c.shared > 0 && (c.rooted > 0 || top == "" || 2*c.shared >= serious) {
			out = append(out, c)
		}
	}
	slices.SortStableFunc(out, func(x, y claim) int {
		return cmp.Or(cmp.Compare(y.rooted, x.rooted), cmp.Compare(y.shared, x.shared), age(x.inc, y.inc))
	})
	incs := make([]*sre.Incident, len(out))
	for k := range out {
		incs[k] = out[k].inc
	}
	return incs
}

// behind names the incident at large behind whose cause at least half of a part
// lies: this is how it spreads. It is empty where there is none.
func (b *book) behind(part []*node) string {
	var best *sre.Incident
	most := 0
	for _, inc := range b.open {
		serious, n := 0, 0
		for _, nd := range part {
			if nd.serious {
				serious++
				if b.blast[inc.ID][nd.name] {
					n++
				}
			}
		}
		if n > 0 && 2*n >= serious && (n > most || n == most && age(inc, best) < 0) {
			best, most = inc, n
		}
	}
	if best == nil {
		return ""
	}
	return cmp.Or(b.survivor[best.ID], best.ID)
}

// reopened names the closed incident that has come back as this finding; empty
// where it is a new fault: the same cause, or mostly the same victims and no
// cause from outside of them.
func (b *book) reopened(d *sre.Diagnosis) string {
	top := d.Top().Service
	for _, inc := range b.closed {
		members := b.members[inc.ID]
		if top != "" && top == inc.Diagnosis.Top().Service {
			return inc.ID
		}
		n := 0
		for _, name := range d.Affected {
			if members[name] {
				n++
			}
		}
		if 2*n >= len(d.Affected) && n > 0 && (top == "" || members[top]) {
			return inc.ID
		}
	}
	return ""
}
