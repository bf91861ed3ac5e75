package agent

import (
	"fmt"
	"time"

	"github.com/prometheus/common/model"

	"github.com/sreagent/sreagent/sre"
)

// call has people called, once for each start of a plan, where the trouble is
// not over as long after that as the plan says. The plan goes on: more hands are
// asked for, not other ones.
func (a *Agent) call(t *turn, inc *sre.Incident) {
	if inc.State != sre.Acting && inc.State != sre.Verifying || !inc.CalledAt.IsZero() {
		return
	}
	after := inc.Plan.CallAfter
	if after <= 0 || inc.PlanBegan.IsZero() || t.now.Sub(inc.PlanBegan) < after {
		return
	}
	inc.CalledAt, inc.UpdatedAt = t.now, t.now
	a.remember(t, inc, "call")
}

// callText is what people are told whom a plan calls.
func callText(inc *sre.Incident) string {
	s := fmt.Sprintf("The trouble is not over %s after it began", model.Duration(inc.CalledAt.Sub(inc.PlanBegan).Truncate(time.Second)))
	if inc.Plan.CallText != "" {
		return s + ": " + inc.Plan.CallText
	}
	return s + "."
}
