// Package gate holds the agent's mandate: whether a plan may be acted on, must
// be asked about, or only watched, and the permits without which no lever
// moves.
//
// It owns the policy, its guards and the two capability types, Clearance and
// Permit, whose fields are unexported: only this package can make one that the
// lifecycle or the executor accepts. It never touches a lever, never keeps
// state and never reads a clock.
//
// Read guards.go for the reasons that speak for and against, then Decide,
// Clear and the three ways to a Permit here; the fourth, for control laws, is in
// adjust.go.
package gate

import (
	"errors"
	"fmt"
	"time"

	"github.com/sreagent/sreagent/agent/mandate"
	"github.com/sreagent/sreagent/sre"
)

// Errors of the gate. They are wrapped with the guard's own words.
var (
	ErrNotAllowed  = errors.New("not allowed")
	ErrNotApproved = errors.New("not approved")
	ErrStale       = errors.New("evidence is stale")
)

// Question is everything that a decision rests on. The gate reads nothing else.
type Question struct {
	Now         time.Time
	Incident    *sre.Incident
	Plan        *sre.Plan
	SourceUp    bool
	WarmUp      float64     // 0 to 1
	Services    int         // size of the fleet
	Pauses      []sre.Pause // reasons to start nothing new
	Held        []Held      // levers that are, or may be, moved, by all incidents
	LastHour    int         // new mitigations in the last hour
	Started     []Started   // new mitigations of late, as far back as LongestRate
	Levers      []sre.Capability
	Blocked     string     // why no step of the plan may start now; empty when one may
	Next        int        // step that is to start, where it is beyond the incident's
	Arbitration sre.Reason // what the arbiter allows; empty where it was not asked
	// Standing is what was earned or lost for a key; nil where nobody keeps it.
	Standing  func(sre.MandateKey) mandate.Standing
	Simulated bool // dry run: shown in the decision, decided in the executor
}

// Held is one lever that is, or may be, moved, and for which incident.
type Held struct {
	Incident string
	Kind     sre.ActionKind
	Target   sre.Target
}

// Gate decides and mints permits. It is immutable.
type Gate struct {
	policy Policy
	guards []guard
}

// New returns the gate of a policy.
func New(p Policy) *Gate {
	p.calendar = newCalendar(p)
	if f := p.Validate(); len(f) > 0 {
		p.fault = f[0].String()
	}
	return &Gate{policy: p, guards: guards}
}

// Policy returns the mandate in force.
func (g *Gate) Policy() Policy { return g.policy }

// Decide weighs a plan: every guard gives a named reason, and the stance is the
// least that any of them allows.
func (g *Gate) Decide(q Question) sre.Decision {
	if q.Incident.Order != nil {
		return g.decideOrder(q)
	}
	d := sre.Decision{
		Incident:   q.Incident.ID,
		At:         q.Now,
		ValidUntil: q.Incident.Diagnosis.At.Add(time.Duration(g.policy.EvidenceMaxAge)),
		Stance:     sre.Act,
		Confidence: q.Incident.Confidence,
		Blast:      q.Incident.Diagnosis.Blast,
	}
	if q.Plan != nil {
		d.Runbook = q.Plan.Runbook
	}
	for _, guard := range g.guards {
		reason := guard.weigh(g.policy, q)
		reason.Guard = guard.name
		d.Reasons = append(d.Reasons, reason)
		if reason.Allows.Rank() < d.Stance.Rank() {
			d.Stance = reason.Allows
		}
	}
	if d.Stance != sre.Act && d.Stance != sre.Ask {
		d.Stance = sre.Watch // a stance that nobody knows is the safe one
	}
	d.ID = fmt.Sprintf("%s.%d.%s", q.Incident.ID, q.Incident.Attempt, q.Now.UTC().Format("150405"))
	if d.Stance == sre.Ask {
		d.ExpiresAt = q.Now.Add(time.Duration(g.policy.ApprovalTimeout))
	}
	return d
}

// byPolicy is who clears what the agent does alone.
const byPolicy = "policy"

// Clearance is the right to start or go on acting on one plan of one incident.
// The zero value clears nothing.
type Clearance struct {
	decision string
	incident string
	by       string
	until    time.Time
}

// Valid reports whether the clearance holds for an incident at an instant.
func (c Clearance) Valid(incident string, now time.Time) bool {
	return c.decision != "" && c.incident == incident && !now.After(c.until)
}

// Alone reports whether the policy cleared, and no human.
func (c Clearance) Alone() bool { return c.by == byPolicy }

// By says who cleared: "policy", or the human.
func (c Clearance) By() string { return c.by }

// Clear weighs the plan again, now, and gives a clearance where the policy lets
// the agent act alone, or lets it ask and a human has approved this very
// decision. It is the check of evidence at the moment of approval and at the
// moment of application.
func (g *Gate) Clear(q Question, decided *sre.Decision, approval *sre.Approval) (Clearance, sre.Decision, error) {
	fresh := g.Decide(q)
	c := Clearance{incident: q.Incident.ID, by: byPolicy, until: fresh.ValidUntil}
	switch {
	case decided == nil:
		return Clearance{}, fresh, fmt.Errorf("%w: nothing was decided", ErrNotAllowed)
	case fresh.Stance == sre.Watch:
		return Clearance{}, fresh, fmt.Errorf("%w: %s", refusal(fresh), against(fresh, sre.Watch))
	}
	c.decision = decided.ID
	if q.Incident.Order != nil {
		c.by = q.Incident.Order.By
		return c, fresh, nil
	}
	yes := approval != nil && approval.Response == sre.Approved && approval.Decision == decided.ID &&
		approval.Role.Rank() >= g.policy.approverOf(q).Rank()
	need, have := g.policy.Approvals.Of(q.Plan), 0
	if yes {
		have = g.policy.Approvals.people(q.Plan, approval)
	}
	enough := have >= need
	age, lasts := time.Duration(0), g.approvalLasts(q.Plan)
	if yes {
		age = q.Now.Sub(approval.At)
	}
	if yes && enough && age <= lasts {
		c.by = approval.By
	}
	switch {
	case fresh.Stance == sre.Act:
	case !yes:
		return Clearance{}, fresh, fmt.Errorf("%w: %s", ErrNotApproved, against(fresh, sre.Ask))
	case !enough:
		return Clearance{}, fresh, fmt.Errorf("%w: %d of %d", ErrMoreNeeded, have, need)
	case age > lasts:
		return Clearance{}, fresh, fmt.Errorf("%w: the approval is %s old, it held for %s", ErrStale, age, lasts)
	}
	return c, fresh, nil
}

// approvalLasts is how long a yes to a plan holds: as long as the plan takes
// when all goes well. What is left of it after an outage is asked again, by
// people, not carried on with.
func (g *Gate) approvalLasts(p *sre.Plan) time.Duration {
	slack := time.Duration(g.policy.EvidenceMaxAge)
	lasts := slack
	if p != nil {
		for _, s := range p.Steps {
			lasts += s.Verify.Within + s.Verify.HeldFor + slack
		}
	}
	return lasts
}

func refusal(d sre.Decision) error {
	for _, r := range d.Reasons {
		if r.Guard == guardFreshness && r.Allows == sre.Watch {
			return ErrStale
		}
	}
	return ErrNotAllowed
}

func against(d sre.Decision, stance sre.Stance) string {
	for _, r := range d.Reasons {
		if r.Allows == stance {
			return r.Guard + ": " + r.Text
		}
	}
	return "no reason given"
}

// Permit lets the executor touch one lever for one purpose. The zero value
// permits nothing.
type Permit struct {
	action sre.Action
	record sre.Permit
}

// Action returns the action that is permitted.
func (p Permit) Action() sre.Action { return p.action }

// Record returns the copy for the trail.
func (p Permit) Record() sre.Permit { return p.record }

// Person is who approved or ordered the action; empty where the policy alone
// stands behind it.
func (p Permit) Person() string {
	if p.record.By == byPolicy || p.record.Purpose == sre.ToRevert {
		return ""
	}
	return p.record.By
}

// Allows reports whether the permit lets its action be carried out for a
// purpose at an instant.
func (p Permit) Allows(purpose sre.Purpose, now time.Time) bool {
	return p.record.ID != "" && p.record.Purpose == purpose && p.record.Action == p.action.ID &&
		!now.After(p.record.ValidUntil)
}

// PermitApply mints the permit for one action of a cleared plan. The action
// must be one of the plan's.
func (g *Gate) PermitApply(c Clearance, q Question, a sre.Action) (Permit, error) {
	if !c.Valid(q.Incident.ID, q.Now) {
		return Permit{}, fmt.Errorf("%w: no clearance", ErrNotAllowed)
	}
	a, ok := inPlan(q.Plan, a.ID) // as it was decided on, whatever the caller holds
	if !ok {
		return Permit{}, fmt.Errorf("%w: action %s is not in the plan", ErrNotAllowed, a.ID)
	}
	if holder, taken := conflict(q, a); taken {
		return Permit{}, fmt.Errorf("%w: %s is held by incident %s", ErrNotAllowed, a.Target, holder)
	}
	return mint(a, sre.ToApply, c.decision, c.by, c.until), nil
}

// PermitRenew mints the permit to keep a mitigation in force: it needs eyes and
// time left on the lease, and no new mandate. A pause, or a mode that was lowered
// since, does not stop it: what was started was started until its lease ends, and
// letting it lapse in the middle would be an undo that nobody asked for. Who wants
// it gone asks for the undo, which nothing holds up.
func (g *Gate) PermitRenew(q Question, m sre.Mitigation) (Permit, error) {
	switch {
	case m.Phase != sre.InEffect:
		return Permit{}, fmt.Errorf("%w: %s is %s", ErrNotAllowed, m.Action.ID, m.Phase)
	case !q.SourceUp:
		return Permit{}, fmt.Errorf("%w: no data to renew on", ErrStale)
	case !q.Now.Before(m.RenewTill):
		return Permit{}, fmt.Errorf("%w: the lease ends %s", ErrNotAllowed, m.RenewTill.UTC().Format(time.TimeOnly))
	}
	until := q.Now.Add(time.Duration(g.policy.EvidenceMaxAge))
	return mint(m.Action, sre.ToRenew, m.Permit.Decision, m.Permit.By, until), nil
}

// PermitRevert mints the permit to undo. It is never refused: budgets, pauses,
// missing data and stale evidence limit mitigations, not their end.
func (g *Gate) PermitRevert(now time.Time, m sre.Mitigation, by string) Permit {
	return mint(m.Action, sre.ToRevert, m.Permit.Decision, by, now.Add(time.Hour))
}

func mint(a sre.Action, purpose sre.Purpose, decision, by string, until time.Time) Permit {
	return Permit{action: a, record: sre.Permit{
		ID: a.ID + ":" + string(purpose), Action: a.ID, Decision: decision, Purpose: purpose, By: by, ValidUntil: until,
	}}
}

func inPlan(p *sre.Plan, action string) (sre.Action, bool) {
	if p == nil {
		return sre.Action{ID: action}, false
	}
	for _, s := range p.Steps {
		for _, a := range s.Actions {
			if a.ID == action {
				return a, true
			}
		}
	}
	return sre.Action{ID: action}, false
}

func conflict(q Question, a sre.Action) (string, bool) {
	for _, h := range q.Held {
		if h.Incident != q.Incident.ID && h.Kind == a.Kind && h.Target == a.Target {
			return h.Incident, true
		}
	}
	return "", false
}
