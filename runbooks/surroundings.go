package runbooks

import (
	"slices"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"

	"github.com/sreagent/sreagent/sre"
)

// What an expression and a selector may know beside readings: the graph around
// a service, the change that is suspected, the levers at hand.

// others are the services of the hypotheses about another one than root.
func others(d *sre.Diagnosis, root string) (out []string) {
	for _, h := range d.Hypotheses {
		if h.Service != "" && h.Service != root && !slices.Contains(out, h.Service) {
			out = append(out, h.Service)
		}
	}
	return out
}

func (s *scene) changeKind() string {
	if s.change == nil {
		return ""
	}
	return string(s.change.Kind)
}

func (s *scene) changeService() string {
	if s.change == nil {
		return ""
	}
	return s.change.Service
}

// suspect is the service of the suspected change; for a flag with its name,
// which is the change's ID.
func (s *scene) suspect(callee string) []sre.Target {
	if s.change == nil || s.change.Service == "" {
		return nil
	}
	t := sre.Target{Service: s.change.Service, Callee: callee}
	if s.change.Kind == sre.Flag {
		t.Name = s.change.ID
	}
	return []sre.Target{t}
}

// callsOf are the root's calls to its callees, by name.
func (s *scene) callsOf() (out []sre.Target) {
	if snap := s.facts.Snapshot; snap != nil && snap.Graph != nil {
		for _, callee := range snap.Graph.Callees(s.root) {
			if callee != s.root {
				out = append(out, sre.Target{Service: s.root, Callee: callee})
			}
		}
	}
	return slices.Compact(out)
}

// nobody says why a selector stands for no service.
func (s *scene) nobody(selector string) string {
	switch selector {
	case selectSuspect:
		return "no change is suspected of being the cause at " + s.root
	case selectCallees:
		return s.root + " calls nobody"
	}
	return s.root + " has no callers"
}

// neighbours lists services of the graph by name. A service that the graph does
// not know is no data: an empty list would say that nobody calls it.
func (r *readings) neighbours(name string, list func(*sre.Graph, string) []string) cel.LateBoundFunction {
	return func(_ string, args ...ref.Val) ref.Val {
		service := string(args[0].(types.String))
		if _, known := r.index(service); !known {
			return r.miss(name+"("+service+")", notInGraph)
		}
		return types.DefaultTypeAdapter.NativeToValue(slices.Compact(list(r.snap.Graph, service)))
	}
}

// upstream are all services from which work comes to a service, by name.
func upstream(g *sre.Graph, service string) []string {
	i, _ := g.Index(service)
	out := []string{}
	for _, j := range g.Upstream(i) {
		out = append(out, g.Services[j].Name)
	}
	slices.Sort(out)
	return out
}

func (r *readings) isEntry(_ string, args ...ref.Val) ref.Val {
	service := string(args[0].(types.String))
	i, known := r.index(service)
	if !known {
		return r.miss("is_entry("+service+")", notInGraph)
	}
	return types.Bool(slices.Contains(r.snap.Graph.Entries(), i))
}

// needs reports whether a caller fails when what it calls does, as the topology
// says. Where that calls nothing hard it is not known, and all calls count as needed.
func (r *readings) needs(_ string, args ...ref.Val) ref.Val {
	caller, callee := string(args[0].(types.String)), string(args[1].(types.String))
	i, known := r.index(caller)
	j, knows := r.index(callee)
	if !known || !knows {
		return r.miss("needs("+caller+", "+callee+")", notInGraph)
	}
	edges := r.snap.Graph.Edges
	for _, e := range r.snap.Graph.CallersOf(j) {
		if edges[e].From == i && edges[e].Spec.Hard {
			return types.True
		}
	}
	return types.Bool(!slices.ContainsFunc(edges, func(e sre.Edge) bool { return e.Spec.Hard }))
}

// can reports whether some lever at hand has the kind and can move the root.
// Whether a lever answers now shows when it is touched.
func (r *readings) can(_ string, args ...ref.Val) ref.Val {
	kind := sre.ActionKind(args[0].(types.String))
	for _, c := range r.scene.facts.Levers {
		if _, has := c.Kind(kind); has && (len(c.Targets) == 0 || slices.Contains(c.Targets, r.scene.root)) {
			return types.True
		}
	}
	return types.False
}

// changeAge is how long ago the suspected change was made, in seconds; no data
// where none is suspected, or it has not been dated.
func (r *readings) changeAge(string, ...ref.Val) ref.Val {
	c := r.scene.change
	switch {
	case c == nil:
		return r.miss("change_age()", "asks about a change, and none is suspected")
	case r.snap == nil || c.At.IsZero():
		return r.miss("change_age()", "asks about a change whose time is not known")
	}
	return types.Double(r.snap.At.Sub(c.At).Seconds())
}
