package runbooks

import (
	"fmt"
	"slices"

	"github.com/sreagent/sreagent/sre"
)

// withoutCause are the kinds that a runbook may move where nobody knows what is
// at fault: they bound what feeds trouble on the spot, are taken back at once,
// and harm little where they were not needed. A suspected change is known by
// itself, so it may be taken back too.
var withoutCause = []sre.ActionKind{sre.RetryBudget, sre.QueueBound, sre.Breaker, sre.Timeout, sre.Shed}

// anywhere holds a runbook for mechanism unknown to what can be done without a
// cause: it has no root to move or to look at.
func (v *validator) anywhere(rb *runbook, s specPart, c cursor) {
	v.rootless(c.field("match").field("when"), rb.When)
	v.rootless(c.field("relapse"), rb.relapse)
	for st := range rb.every() {
		at := st.at
		v.rootless(at.field("when"), st.when)
		v.rootless(at.field("verify").field("expr"), st.verify.Expr)
		for _, a := range st.actions {
			v.actionWithoutCause(a)
		}
	}
	if s.Risk == "low" {
		v.add(c.field("risk"), "risk is low, but nobody knows what is at fault", "medium, high")
	}
}

func (v *validator) actionWithoutCause(a action) {
	if a.kind.Valid() && !slices.Contains(withoutCause, a.kind) && a.target.selector != selectSuspect {
		v.add(a.at.field("kind"), fmt.Sprintf("kind %s needs to know what is at fault", a.kind), joined(withoutCause))
	}
	if word := a.target.selector; a.target.service == "" && slices.Contains([]string{selectRoot, selectCallers, selectAllCallers}, word) {
		v.add(a.at.field("target"), fmt.Sprintf("target is %q, but a runbook for mechanism unknown has no root", word),
			"affected, affected_calls, fleet, fleet_calls, entries, or service: NAME")
	}
	if a.callee == selectRoot {
		v.add(a.at.field("callee"), "callee is root, but a runbook for mechanism unknown has none", "a service by name")
	}
	v.rootless(a.at.field("where"), a.where)
	for _, p := range a.params {
		v.rootless(p.at, p.expr)
	}
}

func (v *validator) rootless(c cursor, expr string) {
	if expr == "" {
		return
	}
	if p, err := v.lang.program(expr); err == nil && p.rooted {
		v.add(c, "expression speaks of the root, which a runbook for mechanism unknown does not have", "affected, entries, fleet, or a service by name")
	}
}
