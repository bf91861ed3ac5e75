package sre

import (
	"cmp"
	"slices"
	"strings"
)

// ExplainedGraph is the part of the dependency graph that an explanation is
// about: every service that it names, and the nearest neighbours of those.
type ExplainedGraph struct {
	Nodes   []ExplainedNode `json:"nodes"` // by name
	Edges   []ExplainedEdge `json:"edges"` // by caller, then callee; both ends are nodes
	Omitted int             `json:"omitted,omitempty"`
}

// ExplainedNode is one service of the graph and its part in the story.
type ExplainedNode struct {
	Name  string   `json:"name"`
	Entry bool     `json:"entry,omitempty"` // takes traffic from outside
	Role  NodeRole `json:"role"`
	Risk  float64  `json:"risk"`           // greatest probability of a cascade at it, 0 to 1
	Sign  string   `json:"sign,omitempty"` // detector of its strongest sign
}

// ExplainedEdge is one call relation; OnPath marks the way that the trouble took.
type ExplainedEdge struct {
	From   string `json:"from"`
	To     string `json:"to"`
	OnPath bool   `json:"on_path,omitempty"`
}

// NodeRole is the part of a service in an incident.
type NodeRole string

// The closed set of node roles.
const (
	Watched     NodeRole = "watched"
	BehindCause NodeRole = "behind" // depends on the cause; may be hit next
	IsAffected  NodeRole = "affected"
	IsCause     NodeRole = "cause"
)

// NodeRoles lists every role from the least to the most involved.
func NodeRoles() []NodeRole { return []NodeRole{Watched, BehindCause, IsAffected, IsCause} }

func (r NodeRole) rank() int { return slices.Index(NodeRoles(), r) }

// mostNodes bounds the neighbours in an explanation's graph; named services are
// never left out.
const mostNodes = 500

// GraphOf returns the whole graph of a view with the part that each service has
// in the open incidents: that of one incident, closed or not, where its ID is
// given.
func GraphOf(v *View, incident string) ExplainedGraph {
	d := newDrawing(v, incident)
	for _, e := range v.Edges {
		d.node(e.From)
		d.node(e.To)
	}
	return d.done(v)
}

// focus draws what an explanation names, and around it as much as fits.
func focus(v *View, e *Explanation) ExplainedGraph {
	d := newDrawing(v, e.Incident)
	d.name(e)
	named := len(d.nodes)
	near := map[string]bool{}
	for name := range d.nodes {
		near[name] = true
	}
	around := func(wanted func(ViewEdge) bool) {
		for _, edge := range v.Edges {
			if wanted(edge) && (len(d.nodes) < mostNodes || d.nodes[edge.From] != nil && d.nodes[edge.To] != nil) {
				d.node(edge.From)
				d.node(edge.To)
			}
		}
	}
	around(func(edge ViewEdge) bool { return near[edge.From] || near[edge.To] })
	if e.Incident == "" || named == 0 {
		around(func(ViewEdge) bool { return true })
	}
	return d.done(v)
}

// drawing is a graph in the making.
type drawing struct {
	nodes map[string]*ExplainedNode
	path  map[[2]string]bool // later and earlier service
}

func newDrawing(v *View, incident string) *drawing {
	d := &drawing{nodes: map[string]*ExplainedNode{}, path: map[[2]string]bool{}}
	for i := range v.Incidents {
		if inc := &v.Incidents[i]; inc.ID == incident || incident == "" && inc.State != Closed {
			d.incident(inc)
		}
	}
	return d
}

// incident gives the services of an incident their parts.
func (d *drawing) incident(inc *Incident) {
	diagnosis := inc.Diagnosis
	d.role(diagnosis.Top().Service, IsCause)
	for _, name := range diagnosis.Affected {
		d.role(name, IsAffected)
	}
	for _, name := range diagnosis.Blast.Services {
		d.role(name, BehindCause)
	}
	for _, name := range diagnosis.Blast.Entries {
		if n := d.role(name, BehindCause); n != nil {
			n.Entry = true
		}
	}
	for _, impact := range diagnosis.Blast.Impacts {
		if n := d.role(impact.Service, BehindCause); n != nil && impact.Entry {
			n.Entry = true
		}
	}
	path := diagnosis.Top().Path // the cause first
	for i := 1; i < len(path); i++ {
		d.node(path[i-1])
		d.node(path[i])
		d.path[[2]string{path[i], path[i-1]}] = true
	}
}

// spread marks the edge between two neighbours on the path, whichever of the two
// calls the other: slowness comes up from callees, load down from callers. Where
// the graph has lost the edge, the later one is drawn as the caller.
func spread(drawn map[[2]string]*ExplainedEdge, later, earlier string) *ExplainedEdge {
	for _, pair := range [][2]string{{later, earlier}, {earlier, later}} {
		if e := drawn[pair]; e != nil {
			e.OnPath = true
			return nil
		}
	}
	return &ExplainedEdge{From: later, To: earlier, OnPath: true}
}

// name adds every service that an explanation speaks of.
func (d *drawing) name(e *Explanation) {
	for _, h := range e.Causes {
		d.node(h.Service)
		d.subjects(h.Evidence)
		for _, name := range h.Path {
			d.node(name)
		}
		for _, name := range h.Callers {
			d.node(name)
		}
		if h.Change != nil {
			d.node(h.Change.Service)
		}
	}
	for _, s := range e.Signs {
		d.node(s.Service)
		d.node(s.Caller)
		d.subjects(s.Evidence)
	}
	for _, r := range e.Risks {
		d.node(r.Service)
		d.node(r.Caller)
		d.subjects(r.Evidence)
	}
	for _, s := range e.Incidents {
		d.node(s.Service)
	}
	d.subjects(e.Evidence)
	for _, b := range e.Burns {
		d.node(b.Service)
	}
	for _, m := range e.Actions {
		d.target(m.Action.Target)
	}
	for _, s := range e.Decision.Steps {
		for _, a := range s.Actions {
			d.target(a.Target)
		}
	}
}

// subjects adds what evidence is about: a service, or "caller->callee".
func (d *drawing) subjects(list []Evidence) {
	for _, e := range list {
		for name := range strings.SplitSeq(e.Subject, "->") {
			d.node(name)
		}
	}
}

func (d *drawing) target(t Target) {
	d.node(t.Service)
	d.node(t.Callee)
}

func (d *drawing) node(name string) *ExplainedNode {
	if name == "" {
		return nil
	}
	n := d.nodes[name]
	if n == nil {
		n = &ExplainedNode{Name: name, Role: Watched}
		d.nodes[name] = n
	}
	return n
}

// role gives a service a part, unless it has a greater one.
func (d *drawing) role(name string, r NodeRole) *ExplainedNode {
	n := d.node(name)
	if n != nil && r.rank() > n.Role.rank() {
		n.Role = r
	}
	return n
}

// done adds signs, risks and edges and puts all in order.
func (d *drawing) done(v *View) ExplainedGraph {
	called, calls, everybody := map[string]bool{}, map[string]bool{}, map[string]bool{}
	g := ExplainedGraph{Nodes: []ExplainedNode{}, Edges: []ExplainedEdge{}}
	drawn := map[[2]string]*ExplainedEdge{}
	for _, e := range v.Edges {
		called[e.To], calls[e.From] = true, true
		everybody[e.From], everybody[e.To] = true, true
		if d.nodes[e.From] != nil && d.nodes[e.To] != nil {
			drawn[[2]string{e.From, e.To}] = &ExplainedEdge{From: e.From, To: e.To}
		}
	}
	for pair := range d.path {
		if d.nodes[pair[0]] != nil && d.nodes[pair[1]] != nil {
			if lost := spread(drawn, pair[0], pair[1]); lost != nil {
				g.Edges = append(g.Edges, *lost)
			}
		}
	}
	for _, e := range drawn {
		g.Edges = append(g.Edges, *e)
	}
	for _, p := range v.Signs { // strongest first
		if n := d.nodes[p.Service]; n != nil && n.Sign == "" {
			n.Sign = p.Detector
		}
	}
	for _, r := range v.Risks {
		if n := d.nodes[r.Service]; n != nil {
			n.Risk = max(n.Risk, Finite(r.Probability))
		}
	}
	for name, n := range d.nodes {
		n.Entry = n.Entry || calls[name] && !called[name]
		delete(everybody, name)
		g.Nodes = append(g.Nodes, *n)
	}
	g.Omitted = len(everybody)
	slices.SortFunc(g.Nodes, func(x, y ExplainedNode) int { return cmp.Compare(x.Name, y.Name) })
	slices.SortFunc(g.Edges, func(x, y ExplainedEdge) int { return cmp.Or(cmp.Compare(x.From, y.From), cmp.Compare(x.To, y.To)) })
	return g
}
