package gate

import "github.com/sreagent/sreagent/sre"

// weighAbstention asks where the estimate itself says that it must not be
// relied on alone: nothing like it was ever seen, or the cure has drifted.
func weighAbstention(_ Policy, q Question) sre.Reason {
	if why := q.Incident.Confidence.Abstain; why != "" {
		r := reason(sre.Ask, "%s", why)
		r.Change = "outcomes of this cure against this mechanism, first with a person's approval"
		return r
	}
	return reason(sre.Act, "the situation is one that the estimate knows")
}
