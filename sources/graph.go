package sources

import (
	"slices"
	"time"

	"github.com/sreagent/sreagent/sre"
)

// edgesPerService bounds the edges of the graph: this many times max_services.
const edgesPerService = 10

// seenEvery is how exact an edge's LastSeen is in the graph that is handed out.
// Rebuilding the indexes of a large graph at every tick, only to move those
// times, would cost more than all readings together.
const seenEvery = time.Minute

// growth is the dependency graph as it grows. Services and edges are only ever
// appended, so that an index means the same thing for the life of the process.
// An edge that is gone keeps its place with an old LastSeen.
type growth struct {
	maxServices int
	forgetAfter time.Duration // 0 forgets nothing

	services []sre.Service
	byName   map[string]int
	measured []bool // has had a reading of its own
	calls    []bool // is the caller of some edge
	called   []bool // is the callee of some edge

	edges  []sre.Edge
	byPair map[[2]int]int

	file    *declarations
	built   *sre.Graph
	builtAt time.Time
	changed bool
	dropped int // since last asked
	gone    int // edges that are forgotten
}

func newGrowth(maxServices int, forgetAfter time.Duration, t *Topology) *growth {
	return &growth{
		forgetAfter: forgetAfter,
		maxServices: maxServices,
		byName:      make(map[string]int),
		byPair:      make(map[[2]int]int),
		file:        t.declarations(),
		changed:     true,
	}
}

// add appends what names and seen hold beyond the graph, services first, each
// in sorted order, and notes when the edges were seen.
func (g *growth) add(names []string, seen []sighting) {
	fresh := make([]string, 0, 8)
	note := func(name string) {
		if _, known := g.byName[name]; !known {
			fresh = append(fresh, name)
		}
	}
	for _, name := range names {
		note(name)
	}
	for _, s := range seen {
		note(s.from)
		note(s.to)
	}
	slices.Sort(fresh)
	for _, name := range slices.Compact(fresh) {
		g.addService(name)
	}
	if !slices.IsSortedFunc(seen, sighting.compare) {
		seen = slices.Clone(seen)
		slices.SortStableFunc(seen, sighting.compare)
	}
	for _, s := range seen {
		g.addEdge(s)
	}
}

func (g *growth) addService(name string) {
	if len(g.services) >= g.maxServices {
		g.dropped++
		return
	}
	s := sre.Service{Name: name, Entry: g.file.entries[name], Weight: g.file.weights[name]}
	g.byName[name] = len(g.services)
	g.services = append(g.services, s)
	g.measured = append(g.measured, false)
	g.calls = append(g.calls, false)
	g.called = append(g.called, false)
	g.changed = true
}

func (g *growth) addEdge(s sighting) {
	from, ok := g.byName[s.from]
	to, ok2 := g.byName[s.to]
	if !ok || !ok2 || from == to {
		return
	}
	i, known := g.byPair[[2]int{from, to}]
	if !known {
		if len(g.edges) >= edgesPerService*g.maxServices {
			g.dropped++
			return
		}
		i = len(g.edges)
		g.byPair[[2]int{from, to}] = i
		g.edges = append(g.edges, sre.Edge{From: from, To: to, FirstSeen: s.at, LastSeen: s.at})
		g.calls[from], g.called[to] = true, true
		g.changed = true
	}
	g.touch(i, s.at)
	if e := &g.edges[i]; s.declared && e.Spec != s.spec {
		e.Spec, g.changed = s.spec, true
	}
}

// touch notes that an edge was seen.
func (g *growth) touch(edge int, at time.Time) {
	if e := &g.edges[edge]; at.After(e.LastSeen) {
		e.LastSeen = at
	}
}

// measure notes that a service has a reading of its own.
func (g *growth) measure(service int) {
	if !g.measured[service] {
		g.measured[service], g.changed = true, true
	}
}

// edge returns the index of the edge between two named services.
func (g *growth) edge(from, to string) (int, bool) {
	f, ok := g.byName[from]
	t, ok2 := g.byName[to]
	if !ok || !ok2 {
		return 0, false
	}
	i, ok := g.byPair[[2]int{f, t}]
	return i, ok
}

// graph returns the graph as of an instant. The same pointer is returned until
// something changed.
func (g *growth) graph(at time.Time) *sre.Graph {
	if g.built != nil && !g.changed && at.Sub(g.builtAt) < seenEvery && !at.Before(g.builtAt) {
		return g.built
	}
	g.forget(at)
	for i := range g.services {
		// A service is external while it is known only as somebody's callee.
		g.services[i].External = g.called[i] && !g.calls[i] && !g.measured[i] && !g.services[i].Entry
	}
	g.built, g.builtAt, g.changed = sre.NewGraph(g.services, g.edges), at, false
	return g.built
}

// forget marks the edges that nobody has seen for long, which keep their index
// and nothing else, and takes back those that were seen again.
func (g *growth) forget(at time.Time) {
	g.gone = 0
	for i := range g.edges {
		e := &g.edges[i]
		e.Gone = g.forgetAfter > 0 && at.Sub(e.LastSeen) > g.forgetAfter
		if e.Gone {
			g.gone++
		}
	}
}
