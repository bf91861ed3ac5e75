package diagnosis

import (
	"slices"

	"github.com/sreagent/sreagent/sre"
)

// unobserved looks for a dependency that nobody measures and all of whose
// measured callers, two at least, suffer from nothing else that is seen. It
// returns the callers, sorted, and the score of a cause that is not seen: that
// of an ordinary candidate with what the callers show on average, where it is
// found. Of several the one with the highest score counts.
func (e *Engine) unobserved(g *sre.Graph, grp group, cs []candidate) (callers []string, score float64) {
	score = e.cfg.Weights.Unknown
	left := map[int]*candidate{}
	for i := range cs {
		if n := cs[i].node; n != nil && n.serious && cs[i].left >= cs[i].raw/2 {
			left[cs[i].index] = &cs[i]
		}
	}
	seen := map[int]bool{}
	for _, n := range grp.nodes {
		for _, out := range g.CalleesOf(n.index) {
			j := g.Edges[out].To
			if seen[j] || !g.Services[j].External {
				continue
			}
			seen[j] = true
			names, mean := common(g, j, left)
			if names == nil {
				continue
			}
			w := e.cfg.Weights
			x := w.Evidence*mean + w.Coverage*float64(len(names))/float64(len(grp.affected()))
			if x > score || x == score && callers != nil && slices.Compare(names, callers) < 0 {
				callers, score = names, x
			}
		}
	}
	return callers, score
}

// common returns the callers of a service, sorted, and the mean of what is left
// to explain of each, where all of them suffer and there are at least two.
func common(g *sre.Graph, j int, left map[int]*candidate) (names []string, mean float64) {
	for _, in := range g.CallersOf(j) {
		c := left[g.Edges[in].From]
		if c == nil {
			return nil, 0
		}
		names = append(names, c.name)
		mean += c.left
	}
	if len(names) < 2 {
		return nil, 0
	}
	slices.Sort(names)
	return names, mean / float64(len(names))
}
