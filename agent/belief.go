package agent

import (
	"cmp"
	"slices"

	"github.com/sreagent/sreagent/sre"
)

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

// keepSuspects bounds the causes that a decision names.
const keepSuspects = 8

// suspects adds up what a diagnosis says of each service, most probable first.
func suspects(d sre.Diagnosis) []sre.Suspect {
	var out []sre.Suspect
	for _, h := range d.Hypotheses {
		i := slices.IndexFunc(out, func(s sre.Suspect) bool { return s.Service == h.Service })
		if i < 0 {
			i = len(out)
			out = append(out, sre.Suspect{Service: h.Service})
		}
		out[i].Probability += sre.Finite(h.Probability)
	}
	slices.SortStableFunc(out, func(x, y sre.Suspect) int { return cmp.Compare(y.Probability, x.Probability) })
	return out[:min(len(out), keepSuspects)]
}

// blamed is the probability that was given to the cause, where the outcome shows
// which it was: a cure at the cause that worked. A plan that needs no cause shows
// nothing, nor does a cure that failed.
func blamed(inc *sre.Incident, o sre.Outcome) *float64 {
	if o != sre.Improved || inc.Plan.Anywhere {
		return nil
	}
	for _, s := range inc.Confidence.Suspects {
		if s.Service == inc.Plan.Cause {
			return &s.Probability
		}
	}
	return nil
}
