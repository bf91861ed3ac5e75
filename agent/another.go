package agent

import (
	"slices"

	"github.com/sreagent/sreagent/sre"
)

const (
	// mostCures bounds the cures that may fail on one incident before all that
	// is left is for people.
	mostCures = 3

	// stillTrouble is the share of failing requests at the entries from which on
	// trouble that a cure did not end is worth another one.
	stillTrouble = 0.05
)

// another goes back to the drawing board where trouble goes on after a cure: one
// that did not help and was undone, one that ended its own cause and left other
// trouble behind, or none because none fitted. A runbook must fit what is seen now. People stay called: it does not
// take the incident back from anybody who has answered, and what it plans is weighed by policy like any other plan.
func (a *Agent) another(t *turn, inc *sre.Incident) bool {
	over := inc.State == sre.Resolved && inc.Order == nil
	if !inc.GaveUp && !over || inc.MergedInto != "" || holdsMore(inc) || len(inc.Tried) >= mostCures ||
		t.now.Sub(inc.StateSince) < a.cfg.Timing.SuspectFor {
		return false
	}
	if _, fresh := t.news[inc.ID]; !fresh {
		return false
	}
	if ratio, known := trouble(t); !known || ratio < stillTrouble {
		return false
	}
	anew := *inc
	anew.State, anew.Plan = sre.Diagnosed, nil
	if over {
		anew.Tried = append(slices.Clone(inc.Tried), cureKey(inc))
	}
	plan, _ := a.mind.library.Match(a.facts(t, &anew))
	if plan == nil {
		return false
	}
	if over && inc.Outcome == "" {
		a.learn(t, inc, sre.InconclusiveOutcome)
	}
	inc.Attempt++ // a new plan needs new action IDs
	inc.Tried, inc.Step, inc.Decision, inc.Approval = anew.Tried, 0, nil, nil
	if len(inc.InForce()) == 0 { // else lifting goes by it
		inc.Plan = nil
	}
	inc.GaveUp, inc.Escalation, inc.Outcome, inc.Against = false, "", "", ""
	inc.Mitigations = slices.DeleteFunc(inc.Mitigations, func(m sre.Mitigation) bool { return m.Phase == sre.NotStarted })
	return a.fire(t, inc, evAnother)
}

// holdsMore reports whether an incident holds, or may hold, anything that takes
// service from users: that is undone before another cure is begun. Bounds, budgets,
// capacity and a former version may stay under it.
func holdsMore(inc *sre.Incident) bool {
	mild := []sre.ActionKind{sre.RetryBudget, sre.QueueBound, sre.Rollback, sre.Scale}
	return slices.ContainsFunc(inc.Mitigations, func(m sre.Mitigation) bool {
		return (m.Phase.Live() || afloat(&m)) && (m.Phase != sre.InEffect || !slices.Contains(mild, m.Action.Kind))
	})
}
