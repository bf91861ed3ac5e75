package diagnosis

import (
	"slices"

	"github.com/sreagent/sreagent/sre"
)

// findAliases finds names that stand for another service: the address of a load
// balancer, as its callers see it, in front of a service that is measured under
// its own name. Such a name is called and calls nobody, one of its callers also
// calls the other or is the other's equal, and its usual latency and traffic fit.
// Where both suffer, the other one accounts for it: a real leaf would not make
// its sibling ill. What has resources of its own is no mere name.
func (w *window) findAliases() {
	w.aliases = make([][]int, len(w.g.Services))
	row, ok := w.shape.Signal(sre.Latency, sre.Seconds)
	if !ok {
		return
	}
	for _, i := range w.services {
		mine := w.own[row][i]
		if len(w.g.CalleesOf(i)) > 0 || !mine.seen || w.measures(resources, i) || slices.Contains(w.entries, i) {
			continue
		}
		for _, e := range w.g.CallersOf(i) {
			from := w.g.Edges[e].From
			for _, f := range w.g.CalleesOf(from) {
				j := w.g.Edges[f].To
				theirs := w.own[row][j]
				if j == i || j == from || len(w.g.CalleesOf(j)) == 0 || !theirs.seen || slices.Contains(w.aliases[i], j) {
					continue
				}
				if w.alike(mine.normal, theirs.normal) && !(w.traffic[i] > w.traffic[j]) {
					w.aliases[i] = append(w.aliases[i], j)
				}
			}
		}
	}
}

// alike reports whether two usual latencies may be of one service under two names:
// what is between them takes time too.
func (w *window) alike(a, b float64) bool { return a <= w.c.likeness*b && b <= w.c.likeness*a }

// behind is the rise that the services behind an alias account for. They may
// serve others too, so that what is slow on average for the alias is slow for a
// few of theirs.
func (w *window) behind(r, i int) float64 {
	var most float64
	for _, j := range w.aliases[i] {
		more := 1.
		if w.traffic[i] > 0 && w.traffic[j] > w.traffic[i] {
			more = w.traffic[j] / w.traffic[i]
		}
		most = max(most, more*w.deepest(r, j))
	}
	return most
}
