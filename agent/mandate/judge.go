package mandate

import (
	"fmt"
	"time"

	"github.com/sreagent/sreagent/sre"
)

// Off is the stance of a rule that forbids a kind of action outright: nothing is
// earned there.
const Off sre.Stance = "off"

// Rule is what the policy says of a key.
type Rule struct {
	Stance sre.Stance // where it starts
	Earn   *Earn      // nil where it stays there
	Mode   sre.Stance // the ceiling of all
	Author string     // who wrote the rule, and so may not accept by it
}

// Scene is what the judgement rests on besides the ledger.
type Scene struct {
	Now time.Time
	// Rule is the policy's rule of a key, found by its latest target.
	Rule func(sre.MandateKey, sre.Target) Rule
	// Drifted reports whether a runbook does worse against a mechanism than was
	// predicted of it. Nil where nobody can tell.
	Drifted func(runbook string, m sre.Mechanism) bool
}

// Effective is the stance in force. A step down holds under any rule. A step up
// holds while the rule that it was accepted under says what it said then.
func (r Rule) Effective(s Standing) sre.Stance {
	switch {
	case s.To == "" || r.Stance == Off:
		return r.Stance
	case s.To.Rank() <= r.Stance.Rank():
		return s.To
	case r.Earn == nil || s.Base != r.Stance:
		return r.Stance
	}
	if most := r.Earn.WithDefaults().UpTo; s.To.Rank() > most.Rank() {
		if most.Rank() > r.Stance.Rank() {
			return most
		}
		return r.Stance
	}
	return s.To
}

// counts are the events that speak now.
type counts struct {
	of [withheld + 1]int
}

func (c counts) n() int         { return c.of[improved] + c.of[unchanged] + c.of[worsened] }
func (c counts) lower() float64 { return lower(c.of[improved], c.n()) }
func (c counts) answers() int   { return c.of[approved] + c.of[rejected] }

func (x *line) count(now time.Time, window time.Duration) counts {
	var c counts
	for _, e := range x.events {
		if e.n > x.fresh && now.Sub(e.at) <= window {
			c.of[e.what]++
		}
	}
	return c
}

// Review returns the steps that are due: demotions, which hold at once, and
// proposals, which wait for people. They are in the order of the keys.
func (l *Ledger) Review(s Scene) []sre.MandateChange {
	var out []sre.MandateChange
	for _, k := range l.keys() {
		x := l.lines[k]
		if c := x.due(k, s); c != nil {
			out = append(out, *c)
		}
	}
	return out
}

// due is the step that a line is due for, if any.
func (x *line) due(k sre.MandateKey, s Scene) *sre.MandateChange {
	rule := s.Rule(k, x.target)
	if rule.Earn == nil {
		if x.proposal != nil {
			return &sre.MandateChange{Verb: sre.MandateWithdraw, MandateKey: k, Text: "the policy no longer lets it be earned"}
		}
		return nil
	}
	stands := rule.Effective(x.standing)
	if stands == sre.Act {
		return x.demotion(k, s, rule)
	}
	fit := x.promotion(k, s, rule, stands)
	switch {
	case fit == nil && x.proposal != nil:
		return &sre.MandateChange{Verb: sre.MandateWithdraw, MandateKey: k, Text: "the evidence no longer bears it"}
	case fit != nil && (x.proposal == nil || x.proposal.To != fit.To || x.proposal.Base != fit.Base):
		return fit
	}
	return nil
}

// Fit reports whether a proposal bears what it is accepted for, at the moment
// that it is accepted.
func (l *Ledger) Fit(k sre.MandateKey, s Scene) (sre.MandateChange, bool) {
	x := l.lines[k]
	if x == nil || x.proposal == nil {
		return sre.MandateChange{}, false
	}
	rule := s.Rule(k, x.target)
	if rule.Earn == nil {
		return sre.MandateChange{}, false
	}
	fit := x.promotion(k, s, rule, rule.Effective(x.standing))
	if fit == nil || fit.To != x.proposal.To {
		return sre.MandateChange{}, false
	}
	return *fit, true
}

// promotion is the proposal that the evidence bears, one step up.
func (x *line) promotion(k sre.MandateKey, s Scene, rule Rule, stands sre.Stance) *sre.MandateChange {
	e := rule.Earn.WithDefaults()
	c := x.count(s.Now, time.Duration(e.Window))
	p := &sre.MandateChange{Verb: sre.MandatePropose, MandateKey: k, From: stands, Base: rule.Stance}
	switch stands {
	case sre.Watch:
		p.To = sre.Ask
		if c.of[withheld] < e.Questions {
			return nil
		}
		p.Text = fmt.Sprintf("in %d incidents, %d are needed, only the rule kept it from asking", c.of[withheld], e.Questions)
	case sre.Ask:
		p.To = sre.Act
		agreed := c.answers() == 0 || float64(c.of[approved]) >= e.Agreement*float64(c.answers())
		if c.n() < e.Outcomes || c.lower() < e.LowerBound || c.of[worsened] > 0 || !agreed || x.drifted(k, s) || e.SLO.burns(x, s.Now) != "" {
			return nil
		}
		p.Text = fmt.Sprintf("%d of %d outcomes verified good, lower bound %.2f (%.2f is needed), none worsened, %d of %d questions approved",
			c.of[improved], c.n(), c.lower(), e.LowerBound, c.of[approved], c.answers())
	case sre.Act:
	}
	if p.To == "" || p.To.Rank() > e.UpTo.Rank() || p.To.Rank() > rule.Mode.Rank() {
		return nil
	}
	return p
}

func (x *line) drifted(k sre.MandateKey, s Scene) bool {
	if s.Drifted == nil {
		return false
	}
	for _, m := range x.mechanisms {
		if s.Drifted(k.Runbook, m) {
			return true
		}
	}
	return false
}

// demotion is what the agent takes from itself, with its cause.
func (x *line) demotion(k sre.MandateKey, s Scene, rule Rule) *sre.MandateChange {
	e := rule.Earn.WithDefaults()
	c := x.count(s.Now, time.Duration(e.Window))
	d := &sre.MandateChange{Verb: sre.MandateDemote, MandateKey: k, From: sre.Act, To: sre.Ask, Base: rule.Stance, Regain: e.regain()}
	switch burning := e.SLO.burns(x, s.Now); {
	case c.of[worsened] > 0:
		d.Cause, d.Text = "harm", fmt.Sprintf("it got worse after it in %d of %d outcomes; one is enough", c.of[worsened], c.n())
	case x.drifted(k, s):
		d.Cause, d.Text = "drift", "the runbook does worse than was predicted of it"
	case burning != "":
		d.Cause, d.Text = burning, e.SLO.words(x, s.Now, burning)
	default:
		return nil
	}
	return d
}

// regain says how a stance is earned again.
func (e Earn) regain() string {
	return fmt.Sprintf("it asks from now on; act is proposed again after %d further outcomes with a lower bound of %.2f, none of them worse, and a person accepts",
		e.Outcomes, e.LowerBound)
}

// Names of what burns.
const (
	successRate    = "success_rate"
	recurrenceRate = "recurrence_rate"
)

// burns names the objective that the agent does not keep, or nothing.
func (o SLO) burns(x *line, now time.Time) string {
	c := x.count(now, time.Duration(o.Window))
	switch n := float64(c.n()); {
	case c.n() < o.Outcomes:
		return ""
	case float64(c.of[improved]) < o.Success*n:
		return successRate
	case float64(c.of[recurred]) > o.Recurrence*n:
		return recurrenceRate
	}
	return ""
}

func (o SLO) words(x *line, now time.Time, burning string) string {
	c := x.count(now, time.Duration(o.Window))
	if burning == successRate {
		return fmt.Sprintf("%d of %d outcomes in %s were verified good; %.0f %% are asked for", c.of[improved], c.n(), o.Window, 100*o.Success)
	}
	return fmt.Sprintf("the trouble came back %d times in %d outcomes in %s; %.0f %% are allowed", c.of[recurred], c.n(), o.Window, 100*o.Recurrence)
}

// Lines returns the whole ledger for people, in the order of the keys.
func (l *Ledger) Lines(s Scene) []sre.MandateLine {
	var out []sre.MandateLine
	for _, k := range l.keys() {
		x := l.lines[k]
		rule := s.Rule(k, x.target)
		e := Earn{}.WithDefaults()
		if rule.Earn != nil {
			e = rule.Earn.WithDefaults()
		}
		c, st := x.count(s.Now, time.Duration(e.Window)), x.standing
		out = append(out, sre.MandateLine{
			MandateKey: k, Stance: rule.Effective(st), Base: rule.Stance, Earns: rule.Earn != nil,
			N: c.n(), Successes: c.of[improved], Lower: c.lower(), Harm: c.of[worsened], Recurred: c.of[recurred],
			Approved: c.of[approved], Rejected: c.of[rejected], Withheld: c.of[withheld],
			Since: st.At, By: st.By, Cause: st.Cause, Text: st.Text, Regain: st.Regain, Proposal: x.proposal,
		})
	}
	return out
}

// RuleOf is the policy's rule of a key.
func (l *Ledger) RuleOf(k sre.MandateKey, s Scene) Rule {
	target := sre.Target{Service: k.Service}
	if x := l.lines[k]; x != nil {
		target = x.target
	}
	return s.Rule(k, target)
}

// Proposal is what waits for a person's word on a key; nil where nothing does.
func (l *Ledger) Proposal(k sre.MandateKey) *sre.MandateChange {
	if x := l.lines[k]; x != nil {
		return x.proposal
	}
	return nil
}
