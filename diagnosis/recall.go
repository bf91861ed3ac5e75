package diagnosis

import (
	"fmt"
	"math"
	"time"

	"github.com/sreagent/sreagent/sre"
)

// recallFades is the time constant with which a cause that shows nothing any more
// loses its weight.
const recallFades = 20 * time.Minute

// follow notes for how long the trouble of each node has been growing, and what
// each looked like at its worst.
func (e *Engine) follow(s *sre.Snapshot, nodes []*node) {
	for len(e.rises) < len(s.Graph.Services) {
		e.rises = append(e.rises, rise{})
	}
	suspects := map[string]bool{}
	for _, held := range e.held {
		for name, p := range held {
			suspects[name] = suspects[name] || p >= thinkable
		}
	}
	for i := range e.rises {
		r := &e.rises[i]
		if r.worst != nil && s.At.Sub(r.seen) > time.Duration(e.cfg.MergeWindow) && !suspects[r.worst.name] {
			*r = rise{}
		}
	}
	for _, nd := range nodes {
		if nd.serious {
			e.rises[nd.index].grow(s.At, nd)
		}
	}
}

// grow takes the node of one tick into what is remembered of its service.
func (r *rise) grow(now time.Time, nd *node) {
	level := nd.level()
	switch {
	case r.worst == nil || r.worst.name != nd.name:
		*r = rise{level: level, at: nd.onset}
	case level > growth*r.level:
		r.level, r.at = level, now
	}
	r.seen = now
	if r.at.After(nd.until) {
		nd.until = r.at
	}
	onset := nd.onset
	if r.worst != nil && r.worst.onset.Before(onset) {
		onset = r.worst.onset
	}
	if r.worst == nil || nd.strength() >= r.worst.strength() {
		copied := *nd
		r.worst = &copied
	}
	r.worst.onset = onset
}

// recalled is the group with its suspects as they were at their worst. What the
// cause is does not change because its own signs calm while its victims still
// suffer: without it the victims would be left unexplained, and one of them would
// be taken for the cause. What a suspect shows no more weighs less with time, so
// that in the end something else may speak up.
func (e *Engine) recalled(s *sre.Snapshot, g group) group {
	inc := e.book.byID[g.incident]
	if inc == nil || inc.State == sre.Suspected {
		return g
	}
	held := e.held[g.incident]
	ghosts := map[int]*node{}
	for i := range e.rises {
		r := &e.rises[i]
		if r.worst == nil || held[r.worst.name] < thinkable {
			continue
		}
		ghost := *r.worst
		ghost.recalled, ghost.now = true, g.node(i)
		ghost.silent, ghost.until = s.At.Sub(r.seen), r.at
		ghosts[i] = &ghost
	}
	nodes := make([]*node, 0, len(g.nodes)+len(ghosts))
	for _, nd := range g.nodes {
		if ghosts[nd.index] == nil {
			nodes = append(nodes, nd)
		}
	}
	for _, ghost := range ghosts { // a group sorts its nodes
		nodes = append(nodes, ghost)
	}
	out := newGroup(nodes)
	out.parts, out.incident, out.merges, out.splitFrom, out.storm = g.parts, g.incident, g.merges, g.splitFrom, g.storm
	return out
}

// present is the node as it is now, nil for one that is recalled and shows
// nothing of weight any more.
func (n *node) present() *node {
	if !n.recalled {
		return n
	}
	if n.now == nil || !n.now.serious {
		return nil
	}
	return n.now
}

// fading is the weight of what a node shows: 1 now, less the longer it is silent.
func (n *node) fading() float64 {
	return math.Exp(-n.silent.Seconds() / recallFades.Seconds())
}

// dated tells of evidence that is no longer so.
func (n *node) dated(ev sre.Evidence) sre.Evidence {
	if n.silent > 0 {
		ev.Meaning += fmt.Sprintf("; so it was %.0f s ago", n.silent.Seconds())
	}
	return ev
}
