package diagnosis

import (
	"github.com/sreagent/sreagent/sre"
)

// fastBurn is the burn rate at which the Workbook's first rule pages.
const fastBurn = 14.4

// wideBlast is the share of the entry traffic behind a cause from which trouble
// counts one level more.
const wideBlast = .2

// severity is critical where people are hurt or will be within the minute: an
// entry of full weight burns its error budget at the rate of a page; it burns at
// all and much traffic stands behind the cause; or a service on which such an
// entry depends is at its action level. Entries of less weight make it critical
// only where all the others burn as well.
func (e *Engine) severity(s *sre.Snapshot, g group, root int, blast float64) sre.Severity {
	behind := map[int]bool{}
	if root >= 0 {
		behind = reach(s.Graph, root, nil)
	}
	entries := s.Graph.Entries()
	var worst, least float64
	least = 1
	for _, i := range entries {
		burn := e.burning(s, &g, i, behind[i])
		least = min(least, burn)
		if w := weight(s.Graph, i); w >= 1 {
			worst = max(worst, w*burn)
		}
	}
	if len(entries) > 0 && least >= 1 {
		worst = max(worst, least)
	}
	if worst >= 1 || worst*fastBurn >= 1 && blast > wideBlast || e.imminent(s.Graph, &g, entries) {
		return sre.Critical
	}
	return sre.Warning
}

func weight(g *sre.Graph, i int) float64 {
	if w := g.Services[i].Weight; w > 0 {
		return w
	}
	return 1
}

// burning returns how fast an entry burns its budget as a share of the rate at
// which the fast rule pages: from its own signs, or from the failures that are
// read where its detectors have not spoken yet.
func (e *Engine) burning(s *sre.Snapshot, g *group, i int, behind bool) float64 {
	nd := g.node(i)
	burn := 0.
	if nd != nil && nd.serious && nd.fails() {
		burn = 1
	}
	if nd != nil {
		burn = max(burn, nd.budget()/fastBurn)
	}
	ratio := s.ErrorRatio(i)
	if (behind || nd != nil) && ratio.OK() && ratio.Value >= e.cfg.EntryErrors && g.erring() {
		burn = max(burn, ratio.Value/e.cfg.EntryErrors)
	}
	return burn
}

// fails reports whether a sign other than the error budget shows failures.
func (n *node) fails() bool {
	for _, p := range n.signs {
		if p.Kind == sre.Errors && p.Detector != burnRate && grave(p) {
			return true
		}
	}
	return false
}

// budget returns the fastest burn rate of the short windows that burn now.
func (n *node) budget() float64 {
	var most float64
	for _, p := range n.burns {
		if grave(p) && len(p.Evidence) > 0 {
			most = max(most, p.Evidence[0].Now)
		}
	}
	return most
}

// imminent reports whether a service at its action level has an entry of full
// weight behind it, or any entry where there is no other.
func (e *Engine) imminent(g *sre.Graph, grp *group, entries []int) bool {
	heavy := map[int]bool{}
	for _, i := range entries {
		if weight(g, i) >= 1 {
			heavy[i] = true
		}
	}
	walk := newWalker(g)
	for _, nd := range grp.nodes {
		if nd.worst != sre.Critical {
			continue
		}
		if len(heavy) == 0 || heavy[nd.index] {
			return true
		}
		found := false
		walk.from(nd.index, len(g.Services), true, func(i int) bool {
			found = found || heavy[i]
			return !found
		})
		if found {
			return true
		}
	}
	return false
}
