package agent

import (
	"fmt"
	"time"

	"github.com/sreagent/sreagent/agent/mandate"
	"github.com/sreagent/sreagent/sre"
)

// drifter is what the agent's experience may tell besides confidence: whether a
// runbook does worse against a mechanism than was predicted of it.
type drifter interface {
	Drifted(runbook string, m sre.Mechanism) bool
}

// toldFor is how long a demotion that the agent made stays on people's page.
const toldFor = 24 * time.Hour

// earn lets the ledger of the mandate read a record. It is called with each one,
// as it is noted and as it is restored, so that both lead to the same ledger.
func (b *book) earn(r sre.Record) {
	inc := b.incidents[r.IncidentID]
	switch {
	case r.Operator != nil && r.Operator.Mandate != nil && r.Operator.Refused == "":
		b.earned.Change(r.At, *r.Operator.Mandate, r.Operator.By)
	case r.Incident != nil && r.Incident.Order == nil:
		b.cameBack(r)
	case inc == nil || inc.Order != nil:
	case r.Outcome != nil:
		b.earned.Outcome(r.At, inc.Fingerprint, *r.Outcome, taken(inc))
	case inc.Plan == nil:
	case r.Approval != nil && r.Approval.Response != sre.Expired && !r.Approval.Partial():
		b.earned.Answered(r.At, inc.Plan.Runbook, planned(inc.Plan), r.Approval.Response == sre.Approved)
	case r.Decision != nil && withheld(*r.Decision):
		b.earned.Withheld(r.At, inc.ID, inc.Plan.Runbook, planned(inc.Plan))
	}
}

// cameBack reads an incident's record for trouble that is there again.
func (b *book) cameBack(r sre.Record) {
	switch inc := r.Incident; r.Change {
	case string(evRecur):
		if inc.Plan != nil {
			b.earned.Recurred(r.At, inc.Plan.Runbook, taken(inc))
		}
	case string(evReopen), "open":
		b.earned.Relapsed(r.At, inc.Fingerprint, inc.Recurrences > 0)
	}
}

// withheld reports whether a rule of autonomy alone kept the agent from asking.
func withheld(d sre.Decision) bool {
	by := false
	for _, r := range d.Reasons {
		if r.Allows.Rank() == 0 {
			if r.Guard != "autonomy" {
				return false
			}
			by = true
		}
	}
	return by
}

// taken are the actions of an incident's plan that were begun.
func taken(inc *sre.Incident) []mandate.Part {
	if inc.Plan == nil {
		return nil
	}
	var out []mandate.Part
	for _, step := range inc.Plan.Steps {
		for _, action := range step.Actions {
			if m := find(inc, action.ID); m != nil && m.Phase != sre.NotStarted && m.Phase != sre.Simulated {
				out = append(out, mandate.Part{Kind: m.Action.Kind, Target: m.Action.Target})
			}
		}
	}
	return out
}

func planned(p *sre.Plan) []mandate.Part {
	var out []mandate.Part
	for _, step := range p.Steps {
		for _, action := range step.Actions {
			out = append(out, mandate.Part{Kind: action.Kind, Target: action.Target})
		}
	}
	return out
}

func (a *Agent) mandateScene(t *turn) mandate.Scene {
	policy := a.gate.Policy()
	s := mandate.Scene{Now: t.now, Rule: func(k sre.MandateKey, target sre.Target) mandate.Rule {
		target.Service = k.Service
		return policy.Granted(k.Runbook, sre.Action{Kind: k.Kind, Target: target})
	}}
	if d, knows := a.mind.experience.(drifter); knows {
		s.Drifted = d.Drifted
	}
	return s
}

// reviewMandate takes the steps that the record asks for: what the agent takes
// from itself holds from here on, what it proposes waits for a person.
func (a *Agent) reviewMandate(t *turn) {
	for _, c := range a.book.earned.Review(a.mandateScene(t)) {
		a.note(t, sre.Record{Kind: sre.RecordOperator, Operator: &sre.OperatorRecord{
			Command: sre.InputMandate, Name: c.String(), By: byAgent, Reason: c.Text, Mandate: &c,
		}})
		a.log.Warn("mandate", "verb", string(c.Verb), "key", c.String(), "cause", c.Cause, "text", c.Text)
	}
}

// hearMandate takes a person's word on the mandate.
func (a *Agent) hearMandate(t *turn, in sre.Input) {
	if in.Mandate == nil {
		a.answer(t, in, false, "no line of the mandate is named")
		return
	}
	in.Name = in.Mandate.String()
	need := sre.Approver
	if in.Mandate.Verb == sre.MandateDemote {
		need = sre.Operator
	}
	if in.Role.Rank() < need.Rank() {
		a.refuseMandate(t, in, true, fmt.Sprintf("role %s is needed, %q has %q", need, in.By, in.Role))
		return
	}
	if in.By == "" || in.By == byAgent {
		a.refuseMandate(t, in, true, fmt.Sprintf("%q is nobody who can answer for it", in.By))
		return
	}
	change, why := a.mandateChange(t, in)
	if why != "" {
		a.refuseMandate(t, in, false, why)
		return
	}
	a.note(t, sre.Record{Kind: sre.RecordOperator, Operator: &sre.OperatorRecord{
		Command: in.Kind, Name: in.Name, By: in.By, Role: in.Role, Reason: in.Reason, Mandate: &change,
	}})
	words := fmt.Sprintf("%s is at %s now", in.Name, change.To)
	if change.Verb == sre.MandateDecline {
		words = fmt.Sprintf("declined: %s stays at %s, and evidence counts anew", in.Name, change.From)
	}
	a.answer(t, in, true, words)
}

// mandateChange is the step that a person asks for, or why it cannot be taken.
func (a *Agent) mandateChange(t *turn, in sre.Input) (sre.MandateChange, string) {
	scene, key := a.mandateScene(t), in.Mandate.MandateKey
	rule := a.book.earned.RuleOf(key, scene)
	switch in.Mandate.Verb {
	case sre.MandateAccept:
		c, fit := a.book.earned.Fit(key, scene)
		switch {
		case !fit:
			return c, fmt.Sprintf("nothing is proposed for %s that the evidence bears now", in.Name)
		case in.Mandate.To != "" && in.Mandate.To != c.To:
			return c, fmt.Sprintf("%s is proposed, not %s", c.To, in.Mandate.To)
		case rule.Author != "" && rule.Author == in.By:
			return c, fmt.Sprintf("%s wrote the rule: somebody else must accept", in.By)
		}
		c.Verb = sre.MandateAccept
		return c, ""
	case sre.MandateDecline:
		p := a.book.earned.Proposal(key)
		if p == nil {
			return sre.MandateChange{}, "nothing is proposed for " + in.Name
		}
		c := *p
		c.Verb, c.Text = sre.MandateDecline, in.Reason
		return c, ""
	case sre.MandateDemote:
		return a.demotedBy(in, rule)
	case sre.MandateRestore:
		return a.restoredBy(in, rule)
	case sre.MandatePropose, sre.MandateWithdraw:
	}
	return sre.MandateChange{}, fmt.Sprintf("%q is nothing that people do; allowed: accept, decline, demote, restore", in.Mandate.Verb)
}

// demotedBy is a person's step down, which needs no rule that lets anything be
// earned and no line on record.
func (a *Agent) demotedBy(in sre.Input, rule mandate.Rule) (sre.MandateChange, string) {
	c := *in.Mandate
	c.From, c.Base, c.Cause, c.Text = rule.Effective(a.book.earned.Standing(c.MandateKey)), rule.Stance, "person", in.Reason
	if c.To == "" && c.From == sre.Act {
		c.To = sre.Ask
	}
	if c.To == "" {
		c.To = sre.Watch
	}
	switch {
	case !c.Kind.Valid() || c.Service == "" || c.Runbook == "":
		return c, fmt.Sprintf("%q names no kind of action, service and runbook", in.Name)
	case c.To != sre.Ask && c.To != sre.Watch || c.From == mandate.Off || c.To.Rank() >= c.From.Rank():
		return c, fmt.Sprintf("%s is at %s: %s is no step down", in.Name, c.From, c.To)
	}
	c.Regain = "an approver gives the command `sreagent mandate restore`"
	if rule.Earn != nil {
		c.Regain += ", or the agent earns it again and a person accepts"
	}
	return c, ""
}

// restoredBy is a person's step back to what the policy's rule says, never above
// it.
func (a *Agent) restoredBy(in sre.Input, rule mandate.Rule) (sre.MandateChange, string) {
	c := *in.Mandate
	c.From, c.To, c.Base, c.Cause, c.Text = rule.Effective(a.book.earned.Standing(c.MandateKey)), rule.Stance, rule.Stance, "person", in.Reason
	switch {
	case c.From.Rank() >= c.To.Rank():
		return c, fmt.Sprintf("%s is at %s, and the policy's rule says %s: there is nothing to restore", in.Name, c.From, c.To)
	case rule.Author != "" && rule.Author == in.By:
		return c, fmt.Sprintf("%s wrote the rule: somebody else must restore it", in.By)
	}
	return c, ""
}

func (a *Agent) refuseMandate(t *turn, in sre.Input, role bool, why string) {
	a.note(t, sre.Record{Kind: sre.RecordOperator, Operator: &sre.OperatorRecord{
		Command: in.Kind, Name: in.Name, By: in.By, Role: in.Role, Reason: in.Reason, Refused: why, Mandate: in.Mandate,
	}})
	t.answers = append(t.answers, sre.Answer{Input: in.ID, Reason: why, Forbidden: role})
}

// mandateNotices tells people of what is proposed and of what the agent took
// from itself, one notice per key, and when that is over.
func (a *Agent) mandateNotices(t *turn) []sre.Notice {
	var out []sre.Notice
	for _, line := range a.book.earned.Lines(a.mandateScene(t)) {
		n := a.mandateNotice(t, line)
		last, told := a.book.told[n.Incident]
		if n.Resolved && (!told || last.Resolved) || told && sameNotice(last, n) {
			if told && a.tick == 1 && !n.Resolved {
				out = append(out, n)
			}
			continue
		}
		a.book.told[n.Incident] = n
		a.note(t, sre.Record{Kind: sre.RecordNotice, Notice: &n})
		out = append(out, n)
	}
	return out
}

func (a *Agent) mandateNotice(t *turn, line sre.MandateLine) sre.Notice {
	n := sre.Notice{
		Incident: "mandate-" + line.String(), Severity: sre.Warning, State: sre.Escalated, StartsAt: line.Since,
		Title:  "mandate of " + line.String(),
		Labels: map[string]string{"service": line.Service, "runbook": line.Runbook, "action": string(line.Kind)},
	}
	if last, told := a.book.told[n.Incident]; told && !last.Resolved {
		n.StartsAt = last.StartsAt
	} else if n.StartsAt.IsZero() || line.Proposal != nil {
		n.StartsAt = t.now
	}
	switch p := line.Proposal; {
	case p != nil:
		n.NeedsYou = true
		n.Text = fmt.Sprintf("It could go from %s to %s: %s. Accept or decline: `sreagent mandate accept %s`.", p.From, p.To, p.Text, line.String())
	case line.By == byAgent && line.Cause != "" && t.now.Sub(line.Since) < toldFor:
		n.Text = fmt.Sprintf("Demoted itself to %s for %s: %s. To regain it: %s.", line.Stance, line.Cause, line.Text, line.Regain)
	default:
		n.Resolved, n.EndsAt, n.Text, n.State = true, t.now, fmt.Sprintf("It is at %s.", line.Stance), sre.Closed
	}
	return n
}
