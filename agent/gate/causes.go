package gate

import (
	"fmt"
	"slices"
	"strings"

	"github.com/sreagent/sreagent/sre"
)

// mostCauses is how many services may be the cause for acting alone on what is
// hard to take back.
const mostCauses = 3

// structural are the kinds that move replicas, versions, features or whole
// streams of traffic: at the wrong service each takes away what was well. The
// others bound what feeds trouble, wherever its cause is.
var structural = []sre.ActionKind{sre.Rollback, sre.Scale, sre.Restart, sre.Drain, sre.TrafficShift, sre.KillSwitch}

// weighCauses asks before a structural action where it is not clear enough which
// service is the cause. It looks at the step that is to start: what comes later
// is weighed when it does.
func weighCauses(_ Policy, q Question) sre.Reason {
	n, unknown := q.Incident.Confidence.Possible()
	switch {
	case q.Plan == nil || q.Plan.Anywhere:
		return reason(sre.Act, "the plan needs no cause")
	case n == 0:
		return reason(sre.Act, "no causes were weighed")
	case n <= mostCauses && !unknown:
		return reason(sre.Act, "the cause is one of %d; up to %d are acted on alone", n, mostCauses)
	}
	kinds := structuralIn(q)
	doubt := fmt.Sprintf("the cause could be any of %d", n)
	if unknown {
		doubt = "the cause could be one that is not seen"
	}
	if len(kinds) == 0 {
		return reason(sre.Act, "%s, and the step only bounds what feeds it", doubt)
	}
	return less(sre.Ask, "fewer causes are possible, or a human approves", "%s: %s is not done alone", doubt, strings.Join(kinds, ", "))
}

// structuralIn names the structural kinds of the step that is to start, each
// once.
func structuralIn(q Question) []string {
	step := max(q.Incident.Step, q.Next)
	if step < 0 || step >= len(q.Plan.Steps) {
		return nil
	}
	var out []string
	for _, a := range q.Plan.Steps[step].Actions {
		if slices.Contains(structural, a.Kind) && !slices.Contains(out, string(a.Kind)) {
			out = append(out, string(a.Kind))
		}
	}
	return out
}
