package oncall

import (
	"net/http"
	"time"

	"github.com/sreagent/sreagent/sre"
)

// Status is the agent at a glance.
type Status struct {
	At              time.Time        `json:"at"` // of the latest tick
	Tick            uint64           `json:"tick"`
	Epoch           uint64           `json:"epoch"`
	IntervalSeconds float64          `json:"interval_seconds"`
	DryRun          bool             `json:"dry_run"`
	Mode            sre.Stance       `json:"mode"` // the most that policy lets the agent do
	Ready           bool             `json:"ready"`
	NotReady        []string         `json:"not_ready"`
	WarmUp          float64          `json:"warm_up"` // 0 to 1
	Source          sre.SourceHealth `json:"source"`
	Pauses          []sre.Pause      `json:"pauses"`
	Services        int              `json:"services"`
	Edges           int              `json:"edges"`
	OpenIncidents   int              `json:"open_incidents"`
	AwaitingAnswer  int              `json:"awaiting_answer"`
	InForce         int              `json:"mitigations_in_force"`
	Off             []SwitchState    `json:"switched_off"` // kill switches that hold something off
	Reasoning       []sre.Explained  `json:"reasoning"`    // of the latest tick, "did nothing" too
}

func newStatus(v *sre.View, now time.Time) Status {
	ready := readiness(v, now)
	s := Status{
		At: v.At, Tick: v.Tick, Epoch: v.Epoch, IntervalSeconds: v.Interval.Seconds(), DryRun: v.DryRun, Mode: v.Mode,
		Ready: ready.Ready, NotReady: ready.Reasons, WarmUp: v.WarmUp, Source: v.Source, Pauses: orEmpty(v.Pauses),
		Services: v.Services, Edges: len(v.Edges), Reasoning: orEmpty(v.Explain),
	}
	s.Off = []SwitchState{}
	for _, k := range v.Switches {
		if state := switchState(k, v.Incidents); state.Incident != "" {
			s.Off = append(s.Off, state)
		}
	}
	for i := range v.Incidents {
		inc := &v.Incidents[i]
		if inc.State != sre.Closed {
			s.OpenIncidents++
		}
		if waitsForAnswer(inc) {
			s.AwaitingAnswer++
		}
		s.InForce += len(inc.InForce())
	}
	return s
}

// Graph is the dependency graph as the agent sees it, with its trouble: all of
// it, or what one incident is about.
type Graph struct {
	At       time.Time           `json:"at"`
	Incident string              `json:"incident,omitempty"`
	Services int                 `json:"services"` // all, those without calls too
	Nodes    []GraphNode         `json:"nodes"`    // by name
	Edges    []sre.ExplainedEdge `json:"edges"`
	Omitted  int                 `json:"omitted,omitempty"` // services with calls that are not drawn
}

// GraphNode is one service of the graph, its part in the trouble, and the open
// incidents that concern it.
type GraphNode struct {
	sre.ExplainedNode
	Causes     []string `json:"causes"`      // incidents whose first suspect it is
	AffectedBy []string `json:"affected_by"` // incidents that show at it
}

func newGraph(v *sre.View, drawn sre.ExplainedGraph) Graph {
	g := Graph{At: v.At, Services: v.Services, Nodes: make([]GraphNode, len(drawn.Nodes)), Edges: drawn.Edges, Omitted: drawn.Omitted}
	nodes := make(map[string]*GraphNode, len(drawn.Nodes))
	for i, n := range drawn.Nodes {
		g.Nodes[i] = GraphNode{ExplainedNode: n, Causes: []string{}, AffectedBy: []string{}}
		nodes[n.Name] = &g.Nodes[i]
	}
	for i := range v.Incidents {
		inc := &v.Incidents[i]
		if inc.State == sre.Closed {
			continue
		}
		if n := nodes[inc.Diagnosis.Top().Service]; n != nil {
			n.Causes = append(n.Causes, inc.ID)
		}
		for _, name := range inc.Diagnosis.Affected {
			if n := nodes[name]; n != nil {
				n.AffectedBy = append(n.AffectedBy, inc.ID)
			}
		}
	}
	return g
}

// view returns the current view, or the refusal while there is none.
func (a *api) view() (*sre.View, error) {
	if v := a.desk.View(); v != nil {
		return v, nil
	}
	return nil, refuse(Unavailable, "no tick has finished yet")
}

func (a *api) status(*http.Request) (any, error) {
	v, err := a.view()
	if err != nil {
		return nil, err
	}
	return newStatus(v, a.o.Now()), nil
}

func (a *api) graph(r *http.Request) (any, error) {
	v, err := a.view()
	if err != nil {
		return nil, err
	}
	given := r.URL.Query().Get("incident")
	if given == "" {
		return newGraph(v, sre.GraphOf(v, "")), nil
	}
	id, err := sre.MatchIncident(incidentIDs(v), given)
	if err != nil {
		return nil, refuse(NotFound, "%v", err)
	}
	e, _ := sre.Explain(v, id)
	g := newGraph(v, e.Graph)
	g.Incident = id
	return g, nil
}

func (a *api) incidents(r *http.Request) (any, error) {
	v, err := a.view()
	if err != nil {
		return nil, err
	}
	switch state := r.URL.Query().Get("state"); state {
	case "all":
		return orEmpty(v.Incidents), nil
	case "", "open":
		open := []sre.Incident{}
		for _, inc := range v.Incidents {
			if inc.State != sre.Closed {
				open = append(open, inc)
			}
		}
		return open, nil
	default:
		return nil, refuse(BadData, "state is %q; allowed: open, all", state)
	}
}

func (a *api) incident(r *http.Request) (any, error) {
	v, err := a.view()
	if err != nil {
		return nil, err
	}
	inc, ok := findIncident(v, r.PathValue("id"))
	if !ok {
		return nil, refuse(NotFound, "no incident %q", r.PathValue("id"))
	}
	return inc, nil
}

func (a *api) approvals(*http.Request) (any, error) {
	v, err := a.view()
	if err != nil {
		return nil, err
	}
	prompts := []Prompt{}
	for i := range v.Incidents {
		if p, ok := NewPrompt(v.Incidents[i]); ok {
			prompts = append(prompts, p)
		}
	}
	return prompts, nil
}

func findIncident(v *sre.View, id string) (sre.Incident, bool) {
	for i := range v.Incidents {
		if v.Incidents[i].ID == id {
			return v.Incidents[i], true
		}
	}
	return sre.Incident{}, false
}

// orEmpty makes lists encode as [] and never as null.
func orEmpty[T any](s []T) []T {
	if s == nil {
		return []T{}
	}
	return s
}
