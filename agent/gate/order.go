package gate

import (
	"time"

	"github.com/sreagent/sreagent/sre"
)

// decideOrder weighs what a person orders in their own name. Mode, pauses,
// budgets, confidence and missing data bound the agent and not people; the role
// that the lever asks for, the age of the order and other holders of the lever
// bound people too.
func (g *Gate) decideOrder(q Question) sre.Decision {
	o := q.Incident.Order
	d := sre.Decision{
		ID: q.Incident.ID + ".order", Incident: q.Incident.ID, At: q.Now, Stance: sre.Act,
		ValidUntil: o.At.Add(time.Duration(g.policy.EvidenceMaxAge)),
	}
	if q.Plan != nil {
		d.Runbook = q.Plan.Runbook
	}
	for _, r := range []sre.Reason{weighRole(*o), weighAge(d, q.Now), weighLock(g.policy, q)} {
		if r.Guard == "" {
			r.Guard = "lock"
		}
		d.Reasons = append(d.Reasons, r)
		if r.Allows.Rank() < d.Stance.Rank() {
			d.Stance = sre.Watch // there is nobody else to ask
		}
	}
	return d
}

func weighRole(o sre.Order) sre.Reason {
	need := o.Needs
	if need.Rank() < sre.Operator.Rank() {
		need = sre.Operator
	}
	r := reason(sre.Act, "ordered by %s, who has the role %s; %s is needed", o.By, o.Role, need)
	if o.Role.Rank() < need.Rank() || o.By == "" || o.By == byPolicy {
		r = reason(sre.Watch, "role %s is needed, %q has %q", need, o.By, o.Role)
	}
	r.Guard = GuardRole
	return r
}

func weighAge(d sre.Decision, now time.Time) sre.Reason {
	r := reason(sre.Act, "ordered just now")
	if now.After(d.ValidUntil) {
		r = reason(sre.Watch, "the order held until %s and was not carried out by then", d.ValidUntil.UTC().Format(time.TimeOnly))
	}
	r.Guard = guardFreshness
	return r
}

// GuardRole is the guard that holds a person's role against an order.
const GuardRole = "role"
