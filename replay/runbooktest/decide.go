package runbooktest

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/common/model"
	"go.yaml.in/yaml/v3"

	"github.com/sreagent/sreagent/agent/arbiter"
	"github.com/sreagent/sreagent/agent/gate"
	"github.com/sreagent/sreagent/learner"
	"github.com/sreagent/sreagent/runbooks"
	"github.com/sreagent/sreagent/sre"
)

// Past is what came of earlier runs of a runbook.
type Past struct {
	Line      int
	Runbook   string
	Mechanism sre.Mechanism // that of the diagnosis where it is left out
	Service   string        // the root where it is left out
	Helped    int
	Failed    int
}

// Answer is what a person says to the question that the agent puts.
type Answer struct {
	Line   int
	At     model.Duration
	Who    string
	Role   sre.Role // approver where it is left out
	Answer string   // approve or reject
}

// Decision is what is expected of the gate. Empty fields say nothing.
type Decision struct {
	Stance     *sre.Stance
	Guards     map[string]string // by guard that allows less than act: words of its reason
	Reason     string            // words of any reason against acting alone
	Confidence string            // bound of the lower bound, such as ">= 0.8"
	Starts     *bool             // whether the first step starts, with the answers given until then
}

// UnmarshalYAML notes the line.
func (p *Past) UnmarshalYAML(n *yaml.Node) error {
	p.Line = n.Line
	return fields(n, map[string]any{"runbook": &p.Runbook, "mechanism": &p.Mechanism, "service": &p.Service, "helped": &p.Helped, "failed": &p.Failed})
}

// UnmarshalYAML notes the line.
func (a *Answer) UnmarshalYAML(n *yaml.Node) error {
	a.Line = n.Line
	return fields(n, map[string]any{"at": &a.At, "who": &a.Who, "role": &a.Role, "answer": &a.Answer})
}

// UnmarshalYAML refuses fields that a change does not have.
func (c *Change) UnmarshalYAML(n *yaml.Node) error {
	return fields(n, map[string]any{"id": &c.ID, "kind": &c.Kind, "service": &c.Service, "ago": &c.Ago})
}

// most bounds the outcomes of one line, each of which is learned.
const most = 1000

func (t *Test) checkDecision(add func(line int, allowed, format string, args ...any)) {
	for _, c := range t.Changes {
		if !c.Kind.Valid() {
			add(t.Line, "deploy, flag, config, scale, other", "change kind is %q", c.Kind)
		}
	}
	for _, p := range t.Experience {
		if p.Runbook == "" || p.Mechanism != "" && !p.Mechanism.Valid() || min(p.Helped, p.Failed) < 0 || max(p.Helped, p.Failed) > most {
			add(p.Line, "{runbook: NAME, mechanism: one that is known, helped: 0 to 1000, failed: 0 to 1000}", "experience with runbook %q, mechanism %q, %d helped, %d failed", p.Runbook, p.Mechanism, p.Helped, p.Failed)
		}
	}
	for _, a := range t.Approvals {
		if a.Who == "" || a.Answer != "approve" && a.Answer != "reject" || a.Role != "" && a.Role.Rank() == 0 {
			add(a.Line, "{at: 30s, who: NAME, role: viewer, operator, approver or admin, answer: approve or reject}", "answer %q of %q with role %q", a.Answer, a.Who, a.Role)
		}
	}
	guards := guardNames()
	for _, e := range t.Expect {
		if s := e.Decision.Stance; s != nil && !slices.Contains([]sre.Stance{sre.Act, sre.Ask, sre.Watch}, *s) {
			add(e.Line, "act, ask, watch", "verdict is %q", *s)
		}
		for _, guard := range sorted(e.Decision.Guards) {
			if !slices.Contains(guards, guard) {
				add(e.Line, strings.Join(guards, ", "), "guard is %q", guard)
			}
		}
		if _, err := within(e.Decision.Confidence, 0); err != nil {
			add(e.Line, `">= 0.8", ">", "<=", "<" with a share from 0 to 1`, "confidence is %q", e.Decision.Confidence)
		}
	}
}

// guardNames are the guards of the gate, in its order.
func guardNames() []string {
	var out []string
	for _, r := range gate.New(gate.DefaultPolicy()).Decide(gate.Question{Incident: &sre.Incident{}}).Reasons {
		out = append(out, r.Guard)
	}
	return out
}

// within reports whether a value keeps a bound such as ">= 0.8"; no bound is kept
// by all.
func within(bound string, v float64) (bool, error) {
	if bound == "" {
		return true, nil
	}
	sign := strings.TrimRight(bound, " .0123456789")
	limit, err := strconv.ParseFloat(strings.TrimSpace(strings.TrimPrefix(bound, sign)), 64)
	if err != nil || limit > 1 {
		return false, fmt.Errorf("%q is no bound", bound)
	}
	switch sign {
	case ">=":
		return v >= limit, nil
	case ">":
		return v > limit, nil
	case "<=":
		return v <= limit, nil
	case "<":
		return v < limit, nil
	}
	return false, fmt.Errorf("%q is no sign", sign)
}

// traffic is the index of the signal of that name.
const traffic = 0

// question is what the gate is asked at an instant: nothing is in force, nobody
// has paused, and the baselines are warm.
func (t *Test) question(st *stage, at time.Duration, b Bench) gate.Question {
	facts := t.facts(st, at, b.Levers)
	plan, rejected := b.Library.Match(facts)
	inc := &sre.Incident{ID: facts.Incident, State: sre.Planned, Severity: sre.Critical, Diagnosis: *facts.Diagnosis, Plan: plan, Rejected: rejected, Attempt: t.Given.Attempt}
	top := facts.Diagnosis.Top()
	if i, known := st.graph.Index(top.Service); known {
		inc.Diagnosis.Blast = st.graph.BlastRadius(i, func(service int) sre.Reading { return facts.Snapshot.Service.At(traffic, service) })
	}
	q := gate.Question{Now: Start().Add(at), Incident: inc, Plan: plan, SourceUp: true, WarmUp: 1, Services: len(st.graph.Services), Levers: facts.Levers}
	if plan == nil {
		return q
	}
	facts.Cause, facts.Anywhere = plan.Cause, plan.Anywhere
	q.Blocked = blocked(plan, facts, b.Library)
	q.Arbitration = arbiter.Judge(t.gate().Policy().Arbitration, arbiter.NewLedger(), arbiter.Case{
		Now: q.Now, Incident: inc.ID, Cause: plan.Cause, Wanted: plan.Steps[0].Actions, Cheaper: plan.Cheaper(0), Ahead: plan.Steps[0].Ahead,
		Graph: st.graph, Services: q.Services,
	})
	inc.Confidence = t.learned().Confidence(learner.Question{
		Runbook: plan.Runbook, Mechanism: top.Mechanism, Service: top.Service, Probability: top.Probability, DataQuality: inc.Diagnosis.DataQuality, At: q.Now,
	})
	return q
}

// blocked says why no step of a plan may start; empty where one may.
func blocked(plan *sre.Plan, facts runbooks.Facts, l *runbooks.Library) (why string) {
	for _, s := range plan.Steps {
		if s.Before.Expr == "" {
			return ""
		}
		verdict, text := l.Evaluate(s.Before, facts)
		if verdict == sre.Pass {
			return ""
		}
		why = fmt.Sprintf("step %q may not start: %s", s.Name, text)
	}
	return why
}

// learned is a learner that has seen the test's experience, a day before it.
func (t *Test) learned() *learner.Learner {
	l := learner.New(learner.DefaultConfig())
	for _, p := range t.Experience {
		o := sre.OutcomeRecord{Runbook: p.Runbook, Mechanism: p.Mechanism, Service: p.Service, At: Start().Add(-24 * time.Hour)}
		if o.Mechanism == "" {
			o.Mechanism = t.Given.Mechanism
		}
		if o.Service == "" {
			o.Service = t.Given.Root
		}
		share := float64(p.Helped) / float64(max(p.Helped+p.Failed, 1))
		for i := range p.Helped + p.Failed {
			o.Outcome, o.Predicted, o.Raw = sre.Improved, share, share
			if i >= p.Helped {
				o.Outcome = sre.Unchanged
			}
			l.Learn(o)
		}
	}
	return l
}

func (t *Test) gate() *gate.Gate {
	p := gate.DefaultPolicy()
	p.Mode = sre.Act
	if t.Policy != nil {
		p = t.Policy.Policy
	}
	return gate.New(p)
}

// cleared asks the gate whether the plan may start at an instant, with what
// people have said until then; each speaks to the decision of the first answer,
// and a no ends it.
func (t *Test) cleared(st *stage, at time.Duration, b Bench) error {
	g, now := t.gate(), t.question(st, at, b)
	asked, approval := g.Decide(now), (*sre.Approval)(nil)
	answers := slices.Clone(t.Approvals)
	slices.SortStableFunc(answers, func(x, y Answer) int { return int(x.At - y.At) })
	for _, a := range answers {
		if time.Duration(a.At) > at {
			break
		}
		role := a.Role
		if role == "" {
			role = sre.Approver
		}
		if role.Rank() < sre.Approver.Rank() {
			continue
		}
		if a.Answer == "reject" {
			return fmt.Errorf("rejected by %s", a.Who)
		}
		next := &sre.Approval{Response: sre.Approved, By: a.Who, Role: role, At: Start().Add(time.Duration(a.At))}
		if approval == nil {
			then := t.question(st, time.Duration(a.At), b)
			asked = g.Decide(then)
			if then.Plan == nil || now.Plan == nil || then.Plan.Runbook != now.Plan.Runbook {
				return fmt.Errorf("what %s approved was another plan", a.Who)
			}
		} else {
			next.With = append(slices.Clone(approval.With), approval.By)
		}
		next.Decision, approval = asked.ID, next
	}
	_, _, err := g.Clear(now, &asked, approval)
	return err
}

// holdDecision compares what is said of the decision.
func (t *Test) holdDecision(st *stage, e Expectation, b Bench, fail func(what, expected, found, why string)) {
	want := e.Decision
	if want.Stance == nil && want.Guards == nil && want.Reason == "" && want.Confidence == "" && want.Starts == nil {
		return
	}
	at := time.Duration(e.At)
	q := t.question(st, at, b)
	d := t.gate().Decide(q)
	all := []string{}
	against := map[string]string{}
	for _, r := range d.Reasons {
		if r.Allows != sre.Act {
			against[r.Guard] = r.Text
			all = append(all, r.Guard+": "+r.Text)
		}
	}
	why := strings.Join(all, "; ")
	if want.Stance != nil && *want.Stance != d.Stance {
		fail("verdict", string(*want.Stance), string(d.Stance), why)
	}
	for _, guard := range sorted(want.Guards) {
		if text, blocks := against[guard]; !blocks || !strings.Contains(text, want.Guards[guard]) {
			fail("guard "+guard, orNone(want.Guards[guard]), orNone(text), why)
		}
	}
	if want.Reason != "" && !strings.Contains(why, want.Reason) {
		fail("reason", want.Reason, orNone(why), "")
	}
	if ok, err := within(want.Confidence, d.Confidence.Lower); err == nil && !ok {
		fail("confidence", want.Confidence, strconv.FormatFloat(d.Confidence.Lower, 'f', 2, 64), d.Confidence.Basis)
	}
	if want.Starts == nil {
		return
	}
	if err := t.cleared(st, at, b); (err == nil) != *want.Starts {
		found, because := "starts", ""
		if err != nil {
			found, because = "does not start", err.Error()
		}
		fail("first step", map[bool]string{true: "starts", false: "does not start"}[*want.Starts], found, because)
	}
}
