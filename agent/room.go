package agent

import (
	"fmt"

	"github.com/sreagent/sreagent/sre"
)

// mostBusy is how busy the replicas that stay may be when added ones go.
const mostBusy = 0.8

// hasRoom reports whether a service can do without the replicas that an action
// added: the same work on as many as there were before would not fill them. A
// cure that carries the load looks like calm, so calm alone says nothing here.
// Where nobody measures how busy a service is, the calm has to do.
func (a *Agent) hasRoom(t *turn, inc *sre.Incident, m *sre.Mitigation) bool {
	if m.Action.Kind != sre.Scale {
		return true
	}
	check, judged := roomCheck(m)
	if !judged {
		return true
	}
	verdict, _ := a.mind.library.Evaluate(check, a.facts(t, inc))
	return verdict == sre.Pass
}

// roomCheck is the condition under which added replicas may go; false where
// none were added.
func roomCheck(m *sre.Mitigation) (sre.Check, bool) {
	before, had := m.Before.Float("replicas")
	now, has := m.Action.Params.Float("replicas")
	if !had || !has || before <= 0 || now <= before {
		return sre.Check{}, false
	}
	return sre.Check{Expr: fmt.Sprintf("!has_value(%[1]q, \"pool\", \"ratio\") || occupancy(%[1]q) < %.4[2]f",
		m.Action.Target.Service, mostBusy*before/now)}, true
}
