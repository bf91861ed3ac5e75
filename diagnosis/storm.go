package diagnosis

import (
	"slices"
	"time"

	"github.com/sreagent/sreagent/sre"
)

// A storm is trouble in more than this share of the measured services, and in no
// fewer than stormLeast, at once: to tell faults apart in it is guesswork, and a
// page for each part of it is noise. It is over at half of either.
const (
	stormShare = .1
	stormLeast = 10
)

// stormy reports whether so much of the fleet is in trouble that all of it is
// one incident.
func stormy(g *sre.Graph, nodes []*node, open []sre.Incident) bool {
	serious, measured := 0, 0
	for _, nd := range nodes {
		if nd.serious {
			serious++
		}
	}
	for i := range g.Services {
		if !g.Services[i].External {
			measured++
		}
	}
	scale := 1.
	for i := range open {
		if open[i].Storm && open[i].State != sre.Closed {
			scale = .5
		}
	}
	return float64(serious) > scale*stormShare*float64(measured) && float64(serious) >= scale*stormLeast
}

// storm makes one group of everything. It is news of the storm that is open, or
// of the incident that survives a merge of all that it swallows.
func storm(nodes []*node, b *book) group {
	g := newGroup(slices.Clone(nodes))
	g.storm = true
	g.parts = [][]*node{nodes}
	for _, inc := range b.open {
		if !inc.Storm && !shares(nodes, b.members[inc.ID]) {
			continue
		}
		if g.incident == "" || inc.Storm && !b.byID[g.incident].Storm {
			if g.incident != "" {
				g.merges = append(g.merges, g.incident)
			}
			g.incident = inc.ID
			continue
		}
		g.merges = append(g.merges, inc.ID)
	}
	slices.Sort(g.merges)
	return g
}

func shares(nodes []*node, members map[string]bool) bool {
	for _, nd := range nodes {
		if nd.serious && members[nd.name] {
			return true
		}
	}
	return false
}

// rise remembers how far the trouble of one service has grown.
type rise struct {
	level    float64
	at, seen time.Time // of the latest growth, and of the latest sign
	worst    *node     // as it was at its strongest, with its first onset; nil for a service at peace
}

// growth is how much worse than ever before a service must be to count as still
// growing.
const growth = 1.05

// level is how grave the gravest sign is, with the risk that it is given.
func (n *node) level() float64 {
	var worst float64
	for _, p := range n.signs {
		if grave(p) {
			worst = max(worst, (p.Score+p.Risk)*float64(p.Severity.Rank()))
		}
	}
	return worst
}
