package runbooks

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/common/model"

	"github.com/sreagent/sreagent/sre"
)

// Level says what a finding of Prove asks for.
type Level string

// The closed set of levels.
const (
	Wrong    Level = "error"   // it cannot work as it is written
	Doubtful Level = "warning" // it works, and hardly as its author means it
)

// Finding is what a proof over loaded runbooks came upon. Rule is a short name
// that stays the same from version to version.
type Finding struct {
	Fault
	Level Level
	Rule  string
}

// proof collects findings.
type proof struct {
	lang     *language
	findings []Finding
}

func (p *proof) add(level Level, rule string, c cursor, problem, allowed string) {
	p.findings = append(p.findings, Finding{Fault: c.fault(problem, allowed), Level: level, Rule: rule})
}

// Prove reports what can be told of the runbooks without running them, beyond
// what loading insists on: states that nothing leads to, expressions that may
// cost too much or always say the same, what cannot be taken back, leases that
// end too early, cures in an odd order, judgement before a cure can show, no word
// of when the runbook is wrong, and runbooks that fight. caps are the levers whose kinds are known; others are
// passed over. Findings come by file, line and column.
func (l *Library) Prove(caps []sre.Capability) []Finding {
	p := &proof{lang: l.lang}
	for _, rb := range l.ordered {
		p.expressions(rb)
		p.reach(rb.flow, true)
		p.undo(rb, caps)
		p.paths(rb)
		p.pace(rb)
		p.limits(rb)
	}
	p.fights(l.ordered)
	slices.SortStableFunc(p.findings, func(a, b Finding) int {
		return cmp.Or(strings.Compare(a.File, b.File), a.Line-b.Line, a.Column-b.Column, strings.Compare(a.Rule, b.Rule))
	})
	return slices.CompactFunc(p.findings, func(a, b Finding) bool { return a == b })
}

// limits finds a runbook that does not say when it is wrong to use: the one thing
// that people who are asked to approve it cannot read off its steps.
func (p *proof) limits(rb *runbook) {
	if rb.NotFor == "" {
		p.add(Doubtful, "not_for", rb.at, "nothing says when it is wrong to use", "metadata.not_for: in a sentence")
	}
}

// undo finds what cannot be taken back and does not say so.
func (p *proof) undo(rb *runbook, caps []sre.Capability) {
	for st := range rb.every() {
		for _, a := range st.actions {
			spec, known := kindOf(caps, a)
			lasting := a.kind == sre.Restart || known && !spec.Reversible
			switch {
			case lasting && !a.irreversible:
				p.add(Wrong, "undo", a.at.field("kind"), fmt.Sprintf("%s of lever %s cannot be taken back, and the action does not say so", a.kind, a.lever),
					"undo: none, with risk: high")
			case a.irreversible && known && !lasting:
				p.add(Doubtful, "undo", a.at.field("undo"), fmt.Sprintf("undo is none, and lever %s can take %s back", a.lever, a.kind), "undo: restore")
			}
		}
	}
}

func kindOf(caps []sre.Capability, a action) (sre.KindSpec, bool) {
	c, ok := leverNamed(caps, a.lever)
	if !ok {
		return sre.KindSpec{}, false
	}
	return c.Kind(a.kind)
}

// ladder is the order of cures in words, that of sre.ActionKind.Rung.
const ladder = "retries and bounds, then shedding, features, the change, capacity, other places, restarts"

// paths follows each way through a runbook.
func (p *proof) paths(rb *runbook) {
	for _, way := range ways(rb.flow) {
		plan := outline(way)
		for i, st := range way {
			p.lease(st, way[i:], rb)
			p.order(st, plan.Cheaper(i))
		}
	}
}

// outline is a plan of which only the kinds are known. Its actions carry the name
// of their step.
func outline(way []*step) *sre.Plan {
	plan := &sre.Plan{}
	for _, st := range way {
		var made sre.Step
		for _, a := range st.actions {
			made.Actions = append(made.Actions, sre.Action{ID: st.name, Kind: a.kind})
		}
		plan.Steps = append(plan.Steps, made)
	}
	return plan
}

// order finds a step that goes before a cheaper cure which the same way has at
// hand, and does not say why. The agent asks before it takes such a step.
func (p *proof) order(st *step, cheaper []sre.Action) {
	if st.ahead != "" || len(cheaper) == 0 {
		return
	}
	first := cheaper[0]
	dear := slices.IndexFunc(st.actions, func(a action) bool { return a.kind.Rung() > first.Kind.Rung() })
	a := st.actions[dear]
	p.add(Doubtful, "order", a.at.field("kind"), fmt.Sprintf("%s goes before %s of step %q, and the step does not say why: the agent will ask first", a.kind, first.Kind, first.ID),
		ladder+"; or ahead: why this one goes first")
}

// lease finds a step that lapses while a later one is still being judged, or
// before the calm is over after which it would be taken back.
func (p *proof) lease(st *step, rest []*step, rb *runbook) {
	need := rb.hold
	for _, s := range rest {
		need += s.verify.Within + s.verify.HeldFor
		if s.onFail != sre.NextStep {
			break
		}
	}
	if st.lease < need {
		p.add(Doubtful, "lease", st.at.field("lease"), fmt.Sprintf("lease of %s may end before the plan is through", model.Duration(st.lease)),
			fmt.Sprintf("at least %s, for the checks of this step and of those after it, and hold", model.Duration(need)))
	}
}

// most ways through a runbook that are looked at: three nested choices of four.
const mostWays = 64

// ways are the lists of steps that a plan can have.
func ways(flow []stage) [][]*step {
	out := [][]*step{nil}
	for _, g := range flow {
		below := [][]*step{{g.step}}
		if g.step == nil {
			below = nil
			for _, b := range g.choose {
				below = append(below, ways(b.steps)...)
			}
		}
		var next [][]*step
		for _, head := range out {
			for _, tail := range below {
				if len(next) < mostWays {
					next = append(next, slices.Concat(head, tail))
				}
			}
		}
		out = next
	}
	return out
}

// tooSoon is how long a kind's effect takes to show at least: a fifth of the
// time in which its control loop moves.
func tooSoon(k sre.ActionKind) time.Duration {
	switch k {
	case sre.Breaker, sre.Timeout:
		return 12 * time.Second
	case sre.Scale, sre.Rollback, sre.Restart, sre.Drain:
		return time.Minute
	case sre.Shed, sre.RetryBudget, sre.QueueBound, sre.KillSwitch, sre.TrafficShift:
		return 2 * time.Second
	}
	return 0
}

// pace finds what is judged or taken back before it can have worked. A step that
// is kept when its check fails is judged by the fastest of what it does.
func (p *proof) pace(rb *runbook) {
	for st := range rb.every() {
		for _, a := range st.actions {
			least := tooSoon(a.kind)
			if st.verify.Within < least && (st.onFail == sre.UndoAndEscalate || !slices.ContainsFunc(st.actions, func(b action) bool { return tooSoon(b.kind) <= st.verify.Within })) {
				p.add(Doubtful, "pace", st.at.field("verify").field("within"), fmt.Sprintf("%s is judged after %s", a.kind, model.Duration(st.verify.Within)),
					fmt.Sprintf("at least %s, a fifth of the time in which it moves", model.Duration(least)))
			}
			if rb.hold < least {
				p.add(Doubtful, "pace", a.at.field("kind"), fmt.Sprintf("%s is taken back after %s of calm", a.kind, model.Duration(rb.hold)),
					fmt.Sprintf("hold of at least %s, a fifth of the time in which it moves", model.Duration(least)))
			}
		}
	}
}
