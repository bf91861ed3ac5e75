package oncall

import (
	"context"
	"net/http"
	"slices"
	"strings"
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
	Reasoning       []sre.Explained  `json:"reasoning"` // of the latest tick, "did nothing" too
}

func newStatus(v *sre.View, now time.Time) Status {
	ready := readiness(v, now)
	s := Status{
		At: v.At, Tick: v.Tick, Epoch: v.Epoch, IntervalSeconds: v.Interval.Seconds(), DryRun: v.DryRun, Mode: v.Mode,
		Ready: ready.Ready, NotReady: ready.Reasons, WarmUp: v.WarmUp, Source: v.Source, Pauses: orEmpty(v.Pauses),
		Services: v.Services, Edges: len(v.Edges), Reasoning: orEmpty(v.Explain),
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

// Graph is the dependency graph as the agent sees it, with its trouble.
type Graph struct {
	At       time.Time      `json:"at"`
	Services int            `json:"services"` // all, those without calls too
	Nodes    []GraphNode    `json:"nodes"`    // services with calls or trouble, by name
	Edges    []sre.ViewEdge `json:"edges"`
}

// GraphNode is one service of the graph and the open incidents that concern it.
type GraphNode struct {
	Name       string   `json:"name"`
	Causes     []string `json:"causes"`      // incidents whose first suspect it is
	AffectedBy []string `json:"affected_by"` // incidents that show at it
}

func newGraph(v *sre.View) Graph {
	nodes := make(map[string]*GraphNode)
	node := func(name string) *GraphNode {
		n, ok := nodes[name]
		if !ok {
			n = &GraphNode{Name: name, Causes: []string{}, AffectedBy: []string{}}
			nodes[name] = n
		}
		return n
	}
	for _, e := range v.Edges {
		node(e.From)
		node(e.To)
	}
	for i := range v.Incidents {
		inc := &v.Incidents[i]
		if inc.State == sre.Closed {
			continue
		}
		if cause := inc.Diagnosis.Top().Service; cause != "" {
			n := node(cause)
			n.Causes = append(n.Causes, inc.ID)
		}
		for _, name := range inc.Diagnosis.Affected {
			n := node(name)
			n.AffectedBy = append(n.AffectedBy, inc.ID)
		}
	}
	g := Graph{At: v.At, Services: v.Services, Nodes: make([]GraphNode, 0, len(nodes)), Edges: orEmpty(v.Edges)}
	for _, n := range nodes {
		g.Nodes = append(g.Nodes, *n)
	}
	slices.SortFunc(g.Nodes, func(x, y GraphNode) int { return strings.Compare(x.Name, y.Name) })
	return g
}

// Explanation is the whole reasoning about one incident: the incident carries
// the diagnosis with its evidence and alternatives, the decision with each
// reason, the approval, the actions and the outcome; the records say how it
// came to that.
type Explanation struct {
	Incident     sre.Incident    `json:"incident"`
	Reasoning    []sre.Explained `json:"reasoning"` // of the latest tick
	Records      []sre.Record    `json:"records"`   // oldest first
	RecordsError string          `json:"records_error,omitempty"`
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

func (a *api) graph(*http.Request) (any, error) {
	v, err := a.view()
	if err != nil {
		return nil, err
	}
	return newGraph(v), nil
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

func (a *api) explain(r *http.Request) (any, error) {
	v, err := a.view()
	if err != nil {
		return nil, err
	}
	id := r.PathValue("id")
	out := Explanation{Reasoning: []sre.Explained{}, Records: []sre.Record{}}
	if a.o.Records != nil {
		ctx, cancel := context.WithTimeout(r.Context(), recordsTimeout)
		defer cancel()
		records, err := a.o.Records(ctx, id)
		if err != nil {
			// The reasoning of the moment is worth showing without its past.
			a.o.Log.Error("reading the trail for an explanation", "incident", id, "err", err)
			out.RecordsError = "the trail could not be read"
		}
		out.Records = orEmpty(records)
	}
	inc, ok := findIncident(v, id)
	if !ok {
		inc, ok = lastIncident(out.Records)
	}
	switch {
	case !ok && out.RecordsError != "":
		return nil, refuse(Unavailable, "incident %q is not open, and %s", id, out.RecordsError)
	case !ok:
		return nil, refuse(NotFound, "no incident %q", id)
	}
	out.Incident = inc
	for _, e := range v.Explain {
		if e.Incident == id {
			out.Reasoning = append(out.Reasoning, e)
		}
	}
	return out, nil
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

// lastIncident finds in the trail what has left the view.
func lastIncident(records []sre.Record) (sre.Incident, bool) {
	for _, r := range slices.Backward(records) {
		if r.Incident != nil {
			return *r.Incident, true
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
