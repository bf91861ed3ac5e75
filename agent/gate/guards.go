package gate

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/sreagent/sreagent/sre"
)

// guard is one named rule. Each says the most that it allows and why, in
// numbers; none knows of the others.
type guard struct {
	name  string
	weigh func(Policy, Question) sre.Reason
}

const guardFreshness = "freshness"

// guards are weighed in this order; the order is that of the explanation only.
var guards = []guard{
	{"mode", weighMode},
	{"autonomy", weighAutonomy},
	{"source", weighSource},
	{"warm_up", weighWarmUp},
	{guardFreshness, weighFreshness},
	{"data_quality", weighDataQuality},
	{"pause", weighPause},
	{"freeze", weighFreeze},
	{"plan", weighPlan},
	{"precondition", weighPrecondition},
	{"lock", weighLock},
	{"confidence", weighConfidence},
	{"abstention", weighAbstention},
	{"cause_set", weighCauses},
	{"risk", weighRisk},
	{"protected", weighProtected},
	{"blast_radius", weighBlast},
	{"in_force", weighInForce},
	{"budget", weighBudgets},
	{"rate", weighRate},
	{"recurrence", weighRecurrence},
	{"arbitration", weighArbitration},
}

func reason(allows sre.Stance, format string, args ...any) sre.Reason {
	return sre.Reason{Allows: allows, Text: fmt.Sprintf(format, args...)}
}

// less is a reason that allows less than act, with what would change it.
func less(allows sre.Stance, change, format string, args ...any) sre.Reason {
	r := reason(allows, format, args...)
	if allows != sre.Act {
		r.Change = change
	}
	return r
}

func weighMode(p Policy, q Question) sre.Reason {
	if p.fault != "" {
		return less(sre.Watch, "the policy is put right", "the policy is at fault: %s", p.fault)
	}
	text := "the policy's mode is " + string(p.Mode)
	if q.Simulated {
		text += ", dry run"
	}
	return less(p.Mode, "policy.mode is raised", "%s", text)
}

func weighSource(_ Policy, q Question) sre.Reason {
	if !q.SourceUp {
		return less(sre.Watch, "the metric store answers", "the metric store does not answer")
	}
	return reason(sre.Act, "the metric store answers")
}

func weighWarmUp(_ Policy, q Question) sre.Reason {
	if !isShare(q.WarmUp) {
		return nonsense(sre.Ask, "the share of warm baselines", q.WarmUp)
	}
	if q.WarmUp < 1 {
		return less(sre.Ask, "the baselines are warm", "baselines are %.0f %% warm", 100*q.WarmUp)
	}
	return reason(sre.Act, "baselines are warm")
}

func weighFreshness(p Policy, q Question) sre.Reason {
	age, limit := q.Now.Sub(q.Incident.Diagnosis.At), time.Duration(p.EvidenceMaxAge)
	if age > limit || age < 0 {
		return less(sre.Watch, "the incident is seen again", "the evidence is %s old, at most %s is acted on", age.Round(time.Second), limit)
	}
	return reason(sre.Act, "the evidence is %s old", age.Round(time.Second))
}

func weighDataQuality(p Policy, q Question) sre.Reason {
	have := q.Incident.Diagnosis.DataQuality
	if !isShare(have) {
		return nonsense(sre.Watch, "the share of fresh readings", have)
	}
	if !(have >= p.MinDataQuality) {
		return less(sre.Watch, "more of the needed readings are fresh", "%.0f %% of the needed readings are fresh, %.0f %% are required", 100*have, 100*p.MinDataQuality)
	}
	return reason(sre.Act, "%.0f %% of the needed readings are fresh", 100*have)
}

func weighPause(_ Policy, q Question) sre.Reason {
	if len(q.Pauses) == 0 {
		return reason(sre.Act, "nobody has paused the agent")
	}
	p := q.Pauses[0]
	return less(sre.Watch, "every pause is taken back", "paused by %s since %s: %s", p.By, p.Since.UTC().Format(time.DateTime), p.Reason)
}

func weighPlan(_ Policy, q Question) sre.Reason {
	if q.Plan == nil || len(q.Plan.Steps) == 0 {
		return less(sre.Watch, "a runbook fits", "no runbook fits")
	}
	for _, a := range actions(q) {
		if !a.Kind.Valid() {
			return nonsense(sre.Watch, "the kind of "+a.ID, a.Kind)
		}
	}
	for _, s := range q.Plan.Steps {
		if !s.Reversible {
			return less(sre.Ask, "a human approves", "step %q cannot be undone", s.Name)
		}
	}
	return reason(sre.Act, "runbook %s fits and every step can be undone", q.Plan.Runbook)
}

func weighPrecondition(_ Policy, q Question) sre.Reason {
	if q.Blocked != "" {
		return less(sre.Watch, "the step's precondition holds", "%s", q.Blocked)
	}
	return reason(sre.Act, "the next step may start")
}

func weighLock(_ Policy, q Question) sre.Reason {
	if q.Plan != nil && q.Plan.Anywhere {
		return reason(sre.Act, "what other incidents hold is left to them")
	}
	for _, a := range actions(q) {
		if holder, taken := conflict(q, a); taken {
			return less(sre.Watch, "the other incident lets the lever go", "%s on %s is held by incident %s", a.Kind, a.Target, holder)
		}
	}
	return reason(sre.Act, "no other incident holds the levers")
}

func weighConfidence(p Policy, q Question) sre.Reason {
	c, need := q.Incident.Confidence, p.Thresholds.ActMedium
	if !isShare(c.P) || !isShare(c.Lower) {
		return nonsense(sre.Watch, "the confidence", []float64{c.P, c.Lower})
	}
	if q.Plan != nil && q.Plan.Risk == sre.LowRisk {
		need = p.Thresholds.ActLow
	}
	switch {
	case c.Lower >= need:
		return reason(sre.Act, "confidence %.2f, at least %.2f (%s); %.2f is needed to act alone", c.P, c.Lower, c.Basis, need)
	case c.Lower >= p.Thresholds.Ask:
		return less(sre.Ask, fmt.Sprintf("the lower bound reaches %.2f", need), "confidence %.2f, at least %.2f (%s); %.2f is needed to act alone", c.P, c.Lower, c.Basis, need)
	}
	return less(sre.Watch, fmt.Sprintf("the lower bound reaches %.2f", p.Thresholds.Ask), "confidence %.2f, at least %.2f (%s); %.2f is needed to ask", c.P, c.Lower, c.Basis, p.Thresholds.Ask)
}

func weighRisk(_ Policy, q Question) sre.Reason {
	risk := sre.HighRisk
	if q.Plan != nil {
		risk = q.Plan.Risk
	}
	switch risk {
	case sre.LowRisk, sre.MediumRisk:
		return reason(sre.Act, "the plan is of %s risk", risk)
	case sre.HighRisk:
		return less(sre.Ask, "a human approves", "the plan is of high risk")
	}
	return less(sre.Ask, "a human approves", "the plan's risk is %q, which nobody knows: it counts as high", risk)
}

func weighProtected(p Policy, q Question) sre.Reason {
	var hit []string
	for _, a := range actions(q) {
		for _, name := range []string{a.Target.Service, a.Target.Callee} {
			if matches(p.Protected, name) && !slices.Contains(hit, name) {
				hit = append(hit, name)
			}
		}
	}
	if len(hit) > 0 {
		return less(sre.Ask, "a human approves", "protected: %s", strings.Join(hit, ", "))
	}
	for _, a := range actions(q) {
		if needsPerson(q.Levers, a.Target) {
			return less(sre.Ask, "a human approves", "%s moves %s only with a person behind it", a.Target.Lever, a.Target.Name)
		}
	}
	return reason(sre.Act, "no protected service is touched")
}

// needsPerson reports whether the target's lever has said that it takes a person.
func needsPerson(levers []sre.Capability, t sre.Target) bool {
	return slices.ContainsFunc(levers, func(c sre.Capability) bool {
		return c.Name == t.Lever && slices.Contains(c.Person, t.Name)
	})
}

func weighBlast(p Policy, q Question) sre.Reason {
	b := q.Incident.Diagnosis.Blast
	if !isShare(b.EntryShare) {
		return nonsense(sre.Ask, "the share of entry traffic behind it", b.EntryShare)
	}
	if q.Plan != nil && q.Plan.Anywhere && (p.BlastRadius.Percent < 100 || p.BlastRadius.Number < q.Services) {
		return reason(sre.Ask, "the plan needs no cause, so all %d services may stand behind it; %.0f %% and %d are allowed alone",
			q.Services, p.BlastRadius.Percent, p.BlastRadius.Number)
	}
	text := fmt.Sprintf("%.0f %% of entry traffic and %d services stand behind it; %.0f %% and %d are allowed alone",
		100*b.EntryShare, len(b.Services), p.BlastRadius.Percent, p.BlastRadius.Number)
	if 100*b.EntryShare > p.BlastRadius.Percent+rounding || len(b.Services) > p.BlastRadius.Number {
		return less(sre.Ask, "less traffic or fewer services stand behind it, or a human approves", "%s", text)
	}
	return reason(sre.Act, "%s", text)
}

func weighInForce(p Policy, q Question) sre.Reason {
	touched := map[string]bool{}
	for _, h := range q.Held {
		touched[h.Target.Service] = true
	}
	for _, a := range actions(q) {
		touched[a.Target.Service] = true
	}
	allowed := p.InForce.Of(q.Services)
	text := fmt.Sprintf("%d services would have a mitigation in force; %d of %d are allowed", len(touched), allowed, q.Services)
	if len(touched) > allowed {
		return less(sre.Ask, "a mitigation elsewhere ends, or a human approves", "%s", text)
	}
	return reason(sre.Act, "%s", text)
}

func weighRate(p Policy, q Question) sre.Reason {
	if q.LastHour < 0 {
		return nonsense(sre.Ask, "the number of actions in the last hour", q.LastHour)
	}
	wanted := len(actions(q))
	text := fmt.Sprintf("%d actions in the last hour and %d wanted; %d are allowed", q.LastHour, wanted, p.ActionsPerHour)
	if q.LastHour+wanted > p.ActionsPerHour {
		return less(sre.Ask, "an hour passes with fewer actions, or a human approves", "%s", text)
	}
	return reason(sre.Act, "%s", text)
}

func weighRecurrence(p Policy, q Question) sre.Reason {
	if q.Incident.Recurrences < 0 {
		return nonsense(sre.Ask, "the number of times it came back", q.Incident.Recurrences)
	}
	if q.Incident.Recurrences > p.MaxRecurrences {
		return less(sre.Ask, "a human approves", "the trouble came back %d times", q.Incident.Recurrences)
	}
	return reason(sre.Act, "the trouble came back %d times", q.Incident.Recurrences)
}

// actions are those of the plan that are not already under way.
func actions(q Question) []sre.Action {
	if q.Plan == nil {
		return nil
	}
	started := map[string]bool{}
	for _, m := range q.Incident.Mitigations {
		started[m.Action.ID] = m.Phase != sre.NotStarted
	}
	var out []sre.Action
	for _, s := range q.Plan.Steps {
		for _, a := range s.Actions {
			if !started[a.ID] {
				out = append(out, a)
			}
		}
	}
	return out
}
