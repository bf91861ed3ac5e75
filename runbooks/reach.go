package runbooks

import (
	"fmt"
	"math"
	"slices"

	"cel.dev/cel-go/cel"
	celast "cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/cost"
	"cel.dev/cel-go/common/types"

	"github.com/sreagent/sreagent/sre"
)

// reach finds steps and branches that nothing leads to. It returns whether the
// end of the flow can be passed.
func (p *proof) reach(flow []stage, open bool) bool {
	for _, g := range flow {
		if !open {
			p.add(Wrong, "unreachable", g.at, "nothing leads here: what stands before always starts, and does not go on to a next step",
				"when: on the step before, or on_fail: next")
			return true // one message for all that follows
		}
		if g.step != nil {
			open = p.passes(g.step)
			continue
		}
		open = p.branches(g.choose)
	}
	return open
}

// passes reports whether a plan can come past a step.
func (p *proof) passes(st *step) bool {
	always, constant := p.lang.constant(st.when)
	if st.when != "" && constant && !always {
		p.add(Wrong, "unreachable", st.at.field("when"), "the step is never taken: its condition is always false", "a condition that can hold")
	}
	skippable := st.when != "" && (!constant || !always)
	return skippable || st.onFail == sre.NextStep
}

func (p *proof) branches(choose []branch) (open bool) {
	seen, closed := map[string]int{}, false
	for i, b := range choose {
		always, constant := p.lang.constant(b.when)
		first, twice := seen[b.when]
		switch {
		case closed:
			p.add(Wrong, "unreachable", b.at, fmt.Sprintf("branch %d is never taken: one before it always is", i+1), "otherwise as the last branch")
		case constant && !always && b.when != "":
			p.add(Wrong, "unreachable", b.at.field("when"), fmt.Sprintf("branch %d is never taken: its condition is always false", i+1), "a condition that can hold")
		case twice:
			p.add(Wrong, "unreachable", b.at.field("when"), fmt.Sprintf("branch %d is never taken: branch %d has the same condition", i+1, first+1), "conditions that differ")
		}
		seen[b.when] = i
		closed = closed || b.when == "" || constant && always
		open = p.reach(b.steps, true) || open
	}
	return open
}

// The fleet that costs are estimated for, and what one expression may cost
// there: what evaluation stops at.
const (
	fleetSize  = 5000
	nameLength = 63
)

// expressions finds those that may cost too much, and conditions that always
// say the same.
func (p *proof) expressions(rb *runbook) {
	spec := rb.spec
	p.cost(spec.field("match").field("when"), rb.When)
	p.cost(spec.field("relapse"), rb.relapse)
	p.decided(spec.field("match").field("when"), rb.When, "the runbook's condition")
	p.decided(spec.field("relapse"), rb.relapse, "relapse")
	eachBranch(rb.flow, func(b branch) { p.cost(b.at.field("when"), b.when) })
	for st := range rb.every() {
		p.cost(st.at.field("when"), st.when)
		p.cost(st.at.field("verify").field("expr"), st.verify.Expr)
		p.decided(st.at.field("verify").field("expr"), st.verify.Expr, "verify.expr")
		if always, constant := p.lang.constant(st.when); constant && always && st.when != "" {
			p.add(Doubtful, "constant", st.at.field("when"), "the step's condition always holds", "no condition, or one that can fail")
		}
		for _, a := range st.actions {
			p.cost(a.at.field("where"), a.where)
			for _, q := range a.params {
				p.cost(q.at, q.expr)
			}
		}
	}
}

func eachBranch(flow []stage, visit func(branch)) {
	for _, g := range flow {
		for _, b := range g.choose {
			visit(b)
			eachBranch(b.steps, visit)
		}
	}
}

func (p *proof) decided(c cursor, expr, what string) {
	if expr == "" {
		return
	}
	if always, constant := p.lang.constant(expr); constant {
		p.add(Wrong, "constant", c, fmt.Sprintf("%s is always %t", what, always), "a condition that can be true and false")
	}
}

func (p *proof) cost(c cursor, expr string) {
	if expr == "" {
		return
	}
	if worst := p.lang.worstCost(expr); worst > costLimit {
		shown := fmt.Sprint(worst)
		if worst == math.MaxUint64 {
			shown = "without bound"
		}
		p.add(Wrong, "cost", c, fmt.Sprintf("the expression may cost %s at %d services, where evaluation stops at %d", shown, fleetSize, costLimit),
			"one pass over a list, such as callers or affected, and none inside another")
	}
}

// worstCost is the largest cost of an expression in a fleet of fleetSize.
func (l *language) worstCost(expr string) uint64 {
	tree, issues := l.env.Compile(expr)
	if issues.Err() != nil {
		return 0 // loading says so
	}
	got, err := l.env.EstimateCost(tree, fleet{})
	if err != nil {
		return math.MaxUint64
	}
	return got.Max
}

// fleet bounds what the language's lists and texts can be.
type fleet struct{}

// EstimateSize bounds the lists by the fleet and the texts by a name.
func (fleet) EstimateSize(n cost.AstNode) *cost.SizeEstimate {
	if k := n.Type().Kind(); k == types.ListKind {
		return &cost.SizeEstimate{Max: fleetSize}
	} else if k == types.StringKind {
		return &cost.SizeEstimate{Max: nameLength}
	}
	return nil
}

// EstimateCallCost bounds what the language's own functions cost.
func (fleet) EstimateCallCost(function, _ string, _ *cost.AstNode, _ []cost.AstNode) *cost.CallEstimate {
	one := cost.Estimate{Min: 1, Max: 1}
	switch function {
	case "callers_of", "callees_of", "upstream":
		return cost.NewCallEstimate(one, &cost.SizeEstimate{Max: fleetSize})
	case "can", "is_entry", "change_age", "has_value", "full", "needs", "caller_timeout":
		return cost.NewCallEstimate(one, nil)
	}
	if slices.Contains(readingFunctions, function) {
		return cost.NewCallEstimate(one, nil)
	}
	return nil
}

// constant reports whether a condition says the same whatever is seen, and what.
// Folding evaluates without a bound, so what is too dear is not folded.
func (l *language) constant(expr string) (value, constant bool) {
	if expr == "" {
		return true, false
	}
	if l.worstCost(expr) > costLimit {
		return false, false
	}
	tree, issues := l.env.Compile(expr)
	if issues.Err() != nil {
		return false, false
	}
	folding, err := cel.NewConstantFoldingOptimizer()
	if err != nil {
		return false, false
	}
	static, err := cel.NewStaticOptimizer(folding)
	if err != nil {
		return false, false
	}
	folded, issues := static.Optimize(l.env, tree)
	if issues.Err() != nil {
		return false, false
	}
	e := folded.NativeRep().Expr()
	if e.Kind() != celast.LiteralKind {
		return false, false
	}
	b, ok := e.AsLiteral().(types.Bool)
	return bool(b), ok
}
