package sre

import (
	"fmt"
	"slices"
	"strings"
)

// guardRemedies says for each guard of the gate what would have to be otherwise
// for it to allow acting alone. A test in cmd holds the guards and this list equal.
var guardRemedies = map[string]string{
	"mode":         "policy.mode act: this agent may at most %s",
	"source":       "a metric store that answers",
	"warm_up":      "warm baselines: wait until the warm-up is over",
	"freshness":    "fresh evidence: a diagnosis of a later tick",
	"data_quality": "more fresh readings: repair the exporters or queries that are silent",
	"pause":        "nobody's pause: `sreagent resume`",
	"plan":         "a runbook for this mechanism and service whose every step can be undone",
	"precondition": "the condition of the runbook's next step",
	"lock":         "the other incident's end: it holds the lever",
	"confidence":   "more confidence: more or stronger evidence for one cause, or more cures of this kind that helped before",
	"abstention":   "outcomes of this cure against this mechanism, first with a person's approval",
	"cause_set":    "fewer services that could be the cause, or a human who approves",
	"risk":         "a cure of a lower risk class",
	"protected":    "a cure that leaves the protected services alone",
	"blast_radius": "a smaller reach, or a higher policy.blast_radius",
	"in_force":     "fewer mitigations in force, or a higher policy.in_force",
	"rate":         "fewer actions in the last hour, or a higher policy.actions_per_hour",
	"autonomy":     "a rule in policy.autonomy that lets the agent do more with this kind here",
	"freeze":       "the end of the freeze, or the yes of somebody who may override it",
	"budget":       "fewer mitigations in force, or a wider policy.budgets",
	"arbitration":  "the end of the freeze, the path given back, a cure that has not failed here, or a person's yes",
	"recurrence":   "a cure that lasts: it came back too often to be cured alone again",
}

// Guards lists the guards whose remedies an explanation can name, sorted.
func Guards() []string {
	out := make([]string, 0, len(guardRemedies))
	for name := range guardRemedies {
		out = append(out, name)
	}
	slices.Sort(out)
	return out
}

// WhatWouldChange names the reason of a whole tick that is no guard's finding: it
// says what would make an incident of signs that belong to none.
const WhatWouldChange = "what_would_change"

// wouldMove says what would have to be otherwise for the agent to act alone: what
// the state of the incident waits for, then one sentence per limiting guard, the
// most limiting first. Where nothing would, that is said.
func wouldMove(inc *Incident, d ExplainedDecision) []string {
	out := stateChange(inc)
	if inc.State == Escalated && !inc.GaveUp {
		return out // what the guards found then weighs nothing now
	}
	for _, r := range d.Against {
		if text := guardChange(r); text != "" && !slices.Contains(out, text) {
			out = append(out, text)
		}
	}
	if len(out) == 0 && d.Verdict != Act {
		out = append(out, fmt.Sprintf("nothing, as it is %s: see what happens next", words(inc.State)))
	}
	return out
}

// stateChange is what the state of an incident waits for, whatever the guards say.
func stateChange(inc *Incident) []string {
	switch inc.State {
	case Suspected:
		return []string{"signs that last, or more of them: then it is diagnosed, and a plan is weighed"}
	case Diagnosed:
		if inc.Plan == nil {
			return []string{guardRemedies["plan"]}
		}
	case AwaitingApproval:
		if a := inc.Approval; a != nil && a.Partial() {
			left := a.Need - len(a.With) - 1
			return []string{fmt.Sprintf("the yes of %d more of %d people: `sreagent approve %s`, or one no: `sreagent reject %s`", left, a.Need, inc.ID, inc.ID)}
		}
		return []string{"your answer: `sreagent approve " + inc.ID + "` or `sreagent reject " + inc.ID + "`"}
	case Escalated:
		if inc.GaveUp {
			return []string{"a runbook that fits and was not tried, or you: `sreagent close " + inc.ID + "`"}
		}
		return []string{"nothing that the agent sees: people have it, until the trouble is over or `sreagent close " + inc.ID + "`"}
	case Planned, Acting, Verifying, Resolved, Lifting, Reverting, Closed:
	}
	return []string{}
}

// guardChange is what would make a guard allow more: its own words where it has
// some, as it alone knows the number and to what it must move.
func guardChange(r Reason) string {
	text, known := guardRemedies[r.Guard]
	switch {
	case r.Change != "":
		return words(r.Guard) + ": " + r.Change
	case strings.HasPrefix(r.Guard, "law_"):
		return "" // it moves what is in force, and weighs no plan
	case !known:
		return fmt.Sprintf("a finding of %s that allows it", words(r.Guard))
	case strings.Contains(text, "%s"):
		return fmt.Sprintf(text, stanceOr(r.Allows))
	}
	return text
}

// unseen reports whether an incident stands still because the agent is blind.
// What a person has ordered goes on.
func unseen(v *View, inc *Incident) bool {
	return !v.Source.Up && !v.At.IsZero() && inc.Order == nil && inc.State != Closed
}

// Unseen is the one reason of a tick at which nothing was seen.
func Unseen(why string) Reason {
	text := "the metric store does not answer"
	if why != "" {
		text += ": " + why
	}
	return Reason{Guard: "source", Allows: Watch, Text: text, Change: "the metric store answers"}
}

// unseenSentence says what the agent does about an incident while it is blind.
func unseenSentence(inc *Incident, d ExplainedDecision) string {
	text := "did nothing at this tick: "
	if n := len(inc.InForce()); n > 0 {
		text += counted(n, "mitigation") + " in force until the lease ends; "
	}
	for _, r := range d.Against {
		if r.Guard == "source" {
			return text + r.Text
		}
	}
	return text + "the metric store does not answer"
}

func stanceOr(s Stance) Stance {
	if s.Rank() == 0 {
		return Watch
	}
	return s
}
