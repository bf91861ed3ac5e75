package agent

import "github.com/sreagent/sreagent/sre"

// class is the place of a service in the graph, which experience is shared
// within: an entry, a leaf that calls nobody, or one in the middle. Empty for
// a service that the graph does not know.
func class(s *sre.Snapshot, service string) string {
	if s == nil || s.Graph == nil {
		return ""
	}
	i, known := s.Graph.Index(service)
	switch {
	case !known:
		return ""
	case s.Graph.Services[i].Entry:
		return "entry"
	case len(s.Graph.CalleesOf(i)) == 0:
		return "leaf"
	}
	return "middle"
}
