package diagnosis

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/sreagent/sreagent/sre"
)

// mostEvidence is how many pieces of evidence a tired reader gets.
const mostEvidence = 5

// suspicious is the suspicion from which a change names the mechanism where the
// signs do not.
const suspicious = .5

// hypotheses writes the candidates down, with everything that is not named in
// the unknown cause, so that the probabilities sum to 1.
func (e *Engine) hypotheses(s *sre.Snapshot, g group, cs []candidate, callers []string) []sre.Hypothesis {
	rest := 1.
	var out []sre.Hypothesis
	for i := range cs {
		if i == e.cfg.MaxCauses {
			break
		}
		c := &cs[i]
		rest -= c.p
		out = append(out, sre.Hypothesis{
			Service:     c.name,
			Mechanism:   c.mechanism(),
			Probability: c.p,
			Evidence:    c.evidence(g),
			Path:        path(s.Graph, g, c),
			Change:      c.suspect,
		})
	}
	out = append(out, sre.Hypothesis{Mechanism: sre.Unknown, Probability: max(0, rest), Callers: callers})
	slices.SortStableFunc(out, func(a, b sre.Hypothesis) int { return cmp.Compare(b.Probability, a.Probability) })
	return out
}

// mechanism is that of the candidate's signs. A fresh change explains what
// physics does not, if neither more load nor the services below account for it
// and the candidate's own signs began no earlier than the change. It is unknown
// for a cause that is well again: there is nothing left of it to cure.
func (c *candidate) mechanism() sre.Mechanism {
	m := sre.Unknown
	if c.node != nil {
		n := c.node.present()
		if n == nil {
			return m
		}
		m = n.mechanism()
	}
	if c.pushes {
		m = sre.Overload
	}
	if c.guilty() && (m == sre.Unknown || m == sre.SlowDependency) {
		return sre.BadChange
	}
	return m
}

func (c *candidate) guilty() bool {
	if c.change < suspicious {
		return false
	}
	n := c.node
	return n == nil || n.surging() == 0 && c.left >= c.raw/2 && !n.onset.Before(c.suspect.At.Add(-signsBegin))
}

// signsBegin is how much too early the onset of a sign may be estimated.
const signsBegin = 30 * time.Second

// evidence returns the five pieces that weigh most, with weights that sum to 1.
func (c *candidate) evidence(g group) []sre.Evidence {
	var all []sre.Evidence
	if c.node != nil {
		for _, p := range c.node.signs {
			share := p.Score
			if p.Severity.Rank() <= sre.Info.Rank() {
				share *= noteShare
			}
			for _, ev := range p.Evidence {
				ev.Weight *= share
				all = append(all, c.node.dated(ev))
			}
		}
	}
	if c.node == nil || !c.node.serious {
		for _, ev := range evidenceOf(c.signs) {
			ev.Weight *= noteShare
			all = append(all, ev)
		}
	}
	if c.suspect != nil {
		all = append(all, changeEvidence(*c.suspect, g.onset(), c.change))
	}
	if n := len(g.affected()); n > 1 {
		all = append(all, sre.Evidence{
			Signal: "coverage", Subject: c.name, Now: c.coverage, Unit: sre.Ratio, Weight: c.coverage / 4,
			Meaning: fmt.Sprintf("%s can have harmed %.0f of the %d affected services", c.name, c.coverage*float64(n), n),
		})
	}
	slices.SortStableFunc(all, func(a, b sre.Evidence) int {
		return cmp.Or(cmp.Compare(b.Weight, a.Weight), cmp.Compare(a.Signal, b.Signal), cmp.Compare(a.Subject, b.Subject))
	})
	all = distinct(all)
	if len(all) > mostEvidence {
		all = all[:mostEvidence]
	}
	var sum float64
	for _, ev := range all {
		sum += ev.Weight
	}
	for i := range all {
		if sum > 0 {
			all[i].Weight /= sum
		}
	}
	return all
}

// distinct keeps the first of several pieces about the same quantity.
func distinct(all []sre.Evidence) []sre.Evidence {
	var out []sre.Evidence
	for _, ev := range all {
		if !slices.ContainsFunc(out, func(o sre.Evidence) bool { return o.Signal == ev.Signal && o.Subject == ev.Subject }) {
			out = append(out, ev)
		}
	}
	return out
}

func changeEvidence(c sre.Change, onset time.Time, weight float64) sre.Evidence {
	before := onset.Sub(c.At)
	what := []string{string(c.Kind)}
	if c.From != "" || c.To != "" {
		what = append(what, fmt.Sprintf("(%s to %s)", c.From, c.To))
	}
	if c.By != "" {
		what = append(what, "by "+c.By)
	}
	when := fmt.Sprintf("%.0f s before the onset", before.Seconds())
	if before < 0 {
		when = "at the onset"
	}
	return sre.Evidence{
		Signal: "change", Subject: c.Service, Now: max(0, before.Seconds()), Unit: sre.Seconds, Weight: weight,
		Meaning: fmt.Sprintf("%s of %s, %s", strings.Join(what, " "), c.Service, when),
	}
}

// path is the shortest way from the cause to its most important victim: up the
// calls for harm, down for load. It keeps to affected services where it can.
func path(g *sre.Graph, grp group, c *candidate) []string {
	next := func(i int) []int { return ends(g, g.CallersOf(i), true) }
	if c.pushes {
		next = func(i int) []int { return ends(g, g.CalleesOf(i), false) }
	}
	affected := func(i int) bool {
		n := grp.node(i)
		return n != nil && n.serious
	}
	from, dist := walk(g, c.index, next, func(int) bool { return true })
	victim := worstVictim(g, grp, c.index, dist)
	if victim < 0 {
		return []string{c.name}
	}
	if near, d := walk(g, c.index, next, affected); d[victim] > 0 {
		from = near
	}
	var names []string
	for i := victim; i >= 0; i = from[i] {
		names = append(names, g.Services[i].Name)
	}
	slices.Reverse(names)
	return names
}

// ends returns the other ends of edges, by name, so that the order of the graph
// does not choose.
func ends(g *sre.Graph, edges []int, callers bool) []int {
	out := make([]int, 0, len(edges))
	for _, e := range edges {
		i := g.Edges[e].To
		if callers {
			i = g.Edges[e].From
		}
		out = append(out, i)
	}
	slices.SortFunc(out, func(a, b int) int { return cmp.Compare(g.Services[a].Name, g.Services[b].Name) })
	return out
}

// walk goes breadth first and returns where each service was reached from (-1
// for the start) and at which distance (0 for not reached).
func walk(g *sre.Graph, start int, next func(int) []int, pass func(int) bool) (from, dist []int) {
	from, dist = make([]int, len(g.Services)), make([]int, len(g.Services))
	from[start] = -1
	order := []int{start}
	for head := 0; head < len(order); head++ {
		i := order[head]
		for _, j := range next(i) {
			if j == start || dist[j] > 0 || !pass(j) {
				continue
			}
			from[j], dist[j] = i, dist[i]+1
			order = append(order, j)
		}
	}
	return from, dist
}

// worstVictim prefers entry services, then the far end of the spread, then the
// strongest signs; -1 where nobody else is affected.
func worstVictim(g *sre.Graph, grp group, start int, dist []int) int {
	entry := map[int]bool{}
	for _, i := range g.Entries() {
		entry[i] = true
	}
	var best *node
	better := func(a, b *node) bool {
		if entry[a.index] != entry[b.index] {
			return entry[a.index]
		}
		if dist[a.index] != dist[b.index] {
			return dist[a.index] > dist[b.index]
		}
		return a.signs[0].Score > b.signs[0].Score
	}
	for _, n := range grp.nodes {
		if n.serious && n.index != start && dist[n.index] > 0 && (best == nil || better(n, best)) {
			best = n
		}
	}
	if best == nil {
		return -1
	}
	return best.index
}
