package runbooks

import (
	"fmt"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"

	"github.com/sreagent/sreagent/sre"
)

// Evaluate judges a check now and says why, with the readings that it looked
// at. Within and HeldFor are the caller's to keep: one call is one instant.
//
// The verdict is Pass or Fail only when every reading that was asked for is
// fresh. Operators evaluate from left to right and stop when they are decided,
// so `has_value(s, k, u) && value(s, k, u) > 1` asks for nothing that is not
// there, and `true || errors(s) > 0.5` never asks at all; but
// `errors(s) > 0.5 || true` is NoData while the errors of s are not seen. An
// empty expression, one that does not compile, one that fails, and a check with
// a deadline that passes without having looked at any reading are NoData too.
func (l *Library) Evaluate(c sre.Check, f Facts) (sre.Verdict, string) {
	if c.Expr == "" {
		return sre.NoData, "there is nothing to check"
	}
	return l.judge(c.Expr, newScene(f), c.Within > 0)
}

// judge evaluates a boolean expression. A check that proves must look.
func (l *Library) judge(expr string, s *scene, proves bool) (sre.Verdict, string) {
	p, err := l.lang.program(expr)
	if err != nil {
		return sre.NoData, err.Error()
	}
	if !p.isBool() {
		return sre.NoData, "expression gives " + p.out.String() + ", want true or false"
	}
	r := newReadings(s)
	out, err := p.eval(s, r)
	if err != nil {
		return sre.NoData, err.Error()
	}
	held := out == types.True
	if held && proves && len(r.seen) == 0 {
		return sre.NoData, "no data: it holds, but no reading was looked at"
	}
	verdict, word := sre.Fail, "does not hold"
	if held {
		verdict, word = sre.Pass, "holds"
	}
	if text := r.looked(); text != "" {
		word += ": " + text
	}
	return verdict, word
}

// eval runs the program once. The error of a missing reading wins over every
// result: see readings.
func (p *program) eval(s *scene, r *readings) (ref.Val, error) {
	act, err := cel.FunctionVars(s.variables(), r.functions())
	if err != nil {
		return nil, fmt.Errorf("bind the expression: %w", err)
	}
	out, _, err := p.run.Eval(act)
	if len(r.missing) > 0 {
		return nil, fmt.Errorf("no data: %s", listed(r.missing))
	}
	if err != nil {
		return nil, fmt.Errorf("expression: %w", err)
	}
	return out, nil
}
