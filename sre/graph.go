package sre

import (
	"slices"
	"time"
)

// Service is one node of the dependency graph.
type Service struct {
	Name     string  `json:"name"`
	Entry    bool    `json:"entry,omitempty"`    // takes traffic from outside
	Weight   float64 `json:"weight,omitempty"`   // business weight; 0 means 1
	External bool    `json:"external,omitempty"` // seen only as a callee, not measured itself
}

// EdgeSpec is what is known of a call's settings, from a topology file or from
// the caller's configuration. Zero fields are unknown.
type EdgeSpec struct {
	CallsPerRequest float64       `json:"calls_per_request,omitempty"`
	Timeout         time.Duration `json:"timeout,omitempty"` // nanoseconds in JSON
	Retries         int           `json:"retries,omitempty"` // attempts after the first
	HasRetries      bool          `json:"has_retries,omitempty"`
	Hard            bool          `json:"hard,omitempty"` // the caller fails when the callee does
}

// Edge is one dependency: the service at index From calls the one at index To.
type Edge struct {
	From, To            int
	Spec                EdgeSpec
	FirstSeen, LastSeen time.Time
	Gone                bool // not seen for long: keeps its index, and is nobody's caller or callee
}

// Graph is the dependency graph at one instant. It is immutable. A service's
// index is its position in Services; a source only ever appends services and
// edges, so indices stay valid for the life of the process and a larger graph
// extends a smaller one.
type Graph struct {
	Services []Service
	Edges    []Edge

	byName  map[string]int
	byPair  map[[2]int]int
	callers [][]int // edge indices by callee
	callees [][]int // edge indices by caller
}

// NewGraph indexes services and edges. Edges that name an index outside
// services, or that repeat a pair, are dropped: the first one holds.
func NewGraph(services []Service, edges []Edge) *Graph {
	g := &Graph{
		Services: slices.Clone(services),
		byName:   make(map[string]int, len(services)),
		byPair:   make(map[[2]int]int, len(edges)),
		callers:  make([][]int, len(services)),
		callees:  make([][]int, len(services)),
	}
	for i, s := range g.Services {
		if _, taken := g.byName[s.Name]; !taken {
			g.byName[s.Name] = i
		}
	}
	for _, e := range edges {
		if e.From < 0 || e.To < 0 || e.From >= len(services) || e.To >= len(services) {
			continue
		}
		pair := [2]int{e.From, e.To}
		if _, taken := g.byPair[pair]; taken {
			continue
		}
		i := len(g.Edges)
		g.byPair[pair] = i
		g.Edges = append(g.Edges, e)
		if e.Gone {
			continue
		}
		g.callees[e.From] = append(g.callees[e.From], i)
		g.callers[e.To] = append(g.callers[e.To], i)
	}
	return g
}

// Index returns the index of the named service.
func (g *Graph) Index(name string) (int, bool) {
	i, ok := g.byName[name]
	return i, ok
}

// EdgeIndex returns the index of the edge between two services.
func (g *Graph) EdgeIndex(from, to int) (int, bool) {
	i, ok := g.byPair[[2]int{from, to}]
	return i, ok
}

// CallersOf returns the indices of the edges into service i. The slice is the
// graph's own and must not be changed.
func (g *Graph) CallersOf(i int) []int { return g.callers[i] }

// CalleesOf returns the indices of the edges out of service i. The slice is the
// graph's own and must not be changed.
func (g *Graph) CalleesOf(i int) []int { return g.callees[i] }

// Callers returns the names of the direct callers of a service, sorted.
func (g *Graph) Callers(name string) []string {
	i, ok := g.byName[name]
	if !ok {
		return nil
	}
	names := make([]string, 0, len(g.callers[i]))
	for _, e := range g.callers[i] {
		names = append(names, g.Services[g.Edges[e].From].Name)
	}
	slices.Sort(names)
	return names
}

// Callees returns the names of the direct callees of a service, sorted.
func (g *Graph) Callees(name string) []string {
	i, ok := g.byName[name]
	if !ok {
		return nil
	}
	names := make([]string, 0, len(g.callees[i]))
	for _, e := range g.callees[i] {
		names = append(names, g.Services[g.Edges[e].To].Name)
	}
	slices.Sort(names)
	return names
}

// Upstream returns the indices of every service that calls i, directly or
// through others, without i itself, in breadth-first order.
func (g *Graph) Upstream(i int) []int {
	return g.reach(i, g.callers, func(e Edge) int { return e.From })
}

// Downstream returns the indices of every service that i calls, directly or
// through others, without i itself, in breadth-first order.
func (g *Graph) Downstream(i int) []int {
	return g.reach(i, g.callees, func(e Edge) int { return e.To })
}

func (g *Graph) reach(start int, next [][]int, end func(Edge) int) []int {
	seen := make([]bool, len(g.Services))
	seen[start] = true
	order := []int{start}
	for head := 0; head < len(order); head++ {
		for _, e := range next[order[head]] {
			if j := end(g.Edges[e]); !seen[j] {
				seen[j] = true
				order = append(order, j)
			}
		}
	}
	return order[1:]
}

// Entries returns the indices of the services that take traffic from outside:
// those marked so, else those that nobody calls.
func (g *Graph) Entries() []int {
	var marked, roots []int
	for i, s := range g.Services {
		if s.Entry {
			marked = append(marked, i)
		}
		if len(g.callers[i]) == 0 && len(g.callees[i]) > 0 {
			roots = append(roots, i)
		}
	}
	if len(marked) > 0 {
		return marked
	}
	return roots
}

// BlastRadius is what stands behind one service: everything that depends on it.
type BlastRadius struct {
	Services   []string `json:"services"`          // upstream services, sorted, the service itself first
	Entries    []string `json:"entries"`           // entry services among them, sorted
	EntryShare float64  `json:"entry_share"`       // share of entry traffic behind the service, 0 to 1
	Impacts    []Impact `json:"impacts,omitempty"` // worst first, at most 20
	Basis      string   `json:"basis,omitempty"`   // of the impacts: ByGraph or ByModel
}

// BlastRadius returns what stands behind the service at index i. traffic gives
// the current load of a service; entries of unknown load count as 1.
func (g *Graph) BlastRadius(i int, traffic func(service int) Reading) BlastRadius {
	behind := append([]int{i}, g.Upstream(i)...)
	hit := make(map[int]bool, len(behind))
	var up []string
	for _, j := range behind {
		hit[j] = true
		if j != i {
			up = append(up, g.Services[j].Name)
		}
	}
	slices.Sort(up)
	b := BlastRadius{Services: append([]string{g.Services[i].Name}, up...)}
	var total, reached float64
	for _, e := range g.Entries() {
		load := 1.0
		if r := traffic(e); r.State != Absent && r.Value > 0 {
			load = r.Value
		}
		total += load
		if hit[e] {
			reached += load
			b.Entries = append(b.Entries, g.Services[e].Name)
		}
	}
	slices.Sort(b.Entries)
	if total > 0 {
		b.EntryShare = reached / total
	}
	return b
}
