package runbooks

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/common/model"

	"github.com/sreagent/sreagent/sre"
)

const (
	apiVersion = "sreagent/v1"
	kindWord   = "Runbook"

	// The calm that is waited for where a runbook does not say: long enough for
	// a relapse to show at ticks of seconds.
	defaultHold    = 20 * time.Second
	defaultLiftGap = 10 * time.Second

	allowedName     = "1 to 63 of a-z, 0-9 and -, with a letter or digit at both ends"
	allowedDuration = "a duration such as 45s or 2m30s"
	allowedWords    = "CEL with the variables and functions that docs/runbooks.md lists"
)

var nameForm = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)

// validator turns a document into a runbook and collects every fault.
type validator struct {
	lang   *language
	faults []Fault
	taken  map[string]bool // names of steps so far
}

func (v *validator) add(c cursor, problem, allowed string) {
	v.faults = append(v.faults, c.fault(problem, allowed))
}

func (v *validator) document(d document, top cursor) *runbook {
	if d.APIVersion != apiVersion {
		v.add(top.field("apiVersion"), fmt.Sprintf("apiVersion is %q", d.APIVersion), apiVersion)
	}
	if d.Kind != kindWord {
		v.add(top.field("kind"), fmt.Sprintf("kind is %q", d.Kind), kindWord)
	}
	name := top.field("metadata").field("name")
	switch {
	case d.Metadata.Name == "":
		v.add(name, "name is missing", allowedName)
	case !nameForm.MatchString(d.Metadata.Name):
		v.add(name, fmt.Sprintf("name is %q", d.Metadata.Name), allowedName)
	}
	rb := &runbook{at: name, spec: top.field("spec")}
	rb.Name, rb.Owner, rb.Description = d.Metadata.Name, d.Metadata.Owner, strings.TrimSpace(d.Metadata.Description)
	rb.Author = strings.TrimSpace(d.Metadata.Author)
	rb.NotFor = strings.TrimSpace(d.Metadata.NotFor)
	v.spec(rb, d.Spec, top.field("spec"))
	return rb
}

func (v *validator) spec(rb *runbook, s specPart, c cursor) {
	rb.Priority, rb.When = s.Priority, strings.TrimSpace(s.Match.When)
	match := c.field("match")
	rb.Mechanisms = v.mechanisms(s.Match.Mechanisms, match.field("mechanisms"))
	v.condition(match.field("when"), rb.When, false)
	switch s.Risk {
	case "low":
		rb.Risk = sre.LowRisk
	case "medium":
		rb.Risk = sre.MediumRisk
	case "high", "":
		rb.Risk = sre.HighRisk
	default:
		v.add(c.field("risk"), fmt.Sprintf("risk is %q", s.Risk), "low, medium, high")
	}
	rb.hold = v.duration(c.field("hold"), "hold", s.Hold, defaultHold)
	rb.liftGap = v.duration(c.field("lift_gap"), "lift_gap", s.LiftGap, defaultLiftGap)
	rb.relapse = strings.TrimSpace(s.Relapse)
	v.needed(c.field("relapse"), "relapse", rb.relapse, "a condition that says that the trouble is back")
	v.condition(c.field("relapse"), rb.relapse, true)
	v.escalate(rb, s.Escalate, c.field("escalate"))
	v.taken = map[string]bool{}
	rb.flow = v.flow(s.Steps, c.field("steps"), flowPlace{last: true})
	for st := range rb.every() {
		rb.Steps = append(rb.Steps, st.name)
		for _, a := range st.actions {
			if a.irreversible && rb.Risk != sre.HighRisk {
				v.add(a.at.field("undo"), fmt.Sprintf("undo is none in a runbook of %s risk", rb.Risk), "risk: high where something cannot be taken back")
			}
		}
	}
	if rb.anywhere = slices.Contains(rb.Mechanisms, sre.Unknown); rb.anywhere {
		v.anywhere(rb, s, c)
	}
}

func (v *validator) escalate(rb *runbook, e escalatePart, c cursor) {
	if e == (escalatePart{}) {
		return
	}
	rb.callAfter, rb.callText = v.required(c.field("after"), "escalate.after", e.After), strings.TrimSpace(e.Message)
}

func (v *validator) mechanisms(words []string, c cursor) []sre.Mechanism {
	known := sre.Mechanisms()
	if len(words) == 0 {
		v.add(c, "no mechanisms", "some of "+joined(known))
	}
	var out []sre.Mechanism
	for i, w := range words {
		m := sre.Mechanism(w)
		switch {
		case !m.Valid():
			v.add(c.item(i), fmt.Sprintf("mechanism is %q", w), joined(known))
		case slices.Contains(out, m):
			v.add(c.item(i), fmt.Sprintf("mechanism %s is given twice", w), "each once")
		}
		out = append(out, m)
	}
	return out
}

func (v *validator) step(s stepPart, c cursor) step {
	st := step{at: c, name: s.Name, when: strings.TrimSpace(s.When), ahead: strings.TrimSpace(s.Ahead)}
	v.needed(c.field("name"), "step name", s.Name, "a text that no other step has")
	v.condition(c.field("when"), st.when, false)
	if len(s.Actions) == 0 {
		v.add(c.field("actions"), "no actions", "at least one action")
	}
	verify := c.field("verify")
	st.verify.Expr = strings.TrimSpace(s.Verify.Expr)
	v.needed(verify.field("expr"), "verify.expr", st.verify.Expr, "a condition that says that the step helped")
	v.condition(verify.field("expr"), st.verify.Expr, true)
	st.verify.Within = v.required(verify.field("within"), "verify.within", s.Verify.Within)
	st.verify.HeldFor = v.duration(verify.field("held_for"), "verify.held_for", s.Verify.HeldFor, 0)
	st.lease = v.required(c.field("lease"), "lease", s.Lease)
	if proof := st.verify.Within + st.verify.HeldFor; st.lease > 0 && proof >= st.lease {
		v.add(c.field("lease"), fmt.Sprintf("lease of %s ends before the check is over", model.Duration(st.lease)),
			fmt.Sprintf("more than verify.within plus verify.held_for, which is %s", model.Duration(proof)))
	}
	switch s.OnFail {
	case "undo", "":
		st.onFail = sre.UndoAndEscalate
	case "next":
		st.onFail = sre.NextStep
	case "escalate":
		st.onFail = sre.KeepAndEscalate
	default:
		v.add(c.field("on_fail"), fmt.Sprintf("on_fail is %q", s.OnFail), "undo, next, escalate")
	}
	for i, part := range s.Actions {
		at := c.field("actions").item(i)
		a := v.action(part, at)
		if st.lease > 0 && a.ttl > st.lease {
			v.add(at.field("ttl"), fmt.Sprintf("ttl of %s is longer than the lease", model.Duration(a.ttl)), "at most "+model.Duration(st.lease).String())
		}
		if slices.ContainsFunc(st.actions, a.sameKnob) {
			v.add(at, "moves the same lever on the same target as an action before it", "one action per setting in a step")
		}
		st.actions = append(st.actions, a)
	}
	if len(st.actions) > 0 && !slices.ContainsFunc(st.actions, func(a action) bool { return !a.optional }) {
		v.add(c.field("actions"), "every action of the step is optional", "at least one that is not")
	}
	return st
}

func (v *validator) action(p actionPart, c cursor) action {
	a := action{at: c, kind: sre.ActionKind(p.Kind), lever: p.Lever, target: p.Target, callee: p.Callee, name: p.Name, law: p.Law, optional: p.Optional, where: strings.TrimSpace(p.Where)}
	if !a.kind.Valid() {
		v.add(c.field("kind"), fmt.Sprintf("kind is %q", p.Kind), joined(sre.ActionKinds()))
	}
	v.needed(c.field("lever"), "lever", p.Lever, "the name of a remediator, such as guard")
	v.target(p, c)
	switch p.Undo {
	case "", undoRestore:
	case undoNone:
		a.irreversible = true
	default:
		v.add(c.field("undo"), fmt.Sprintf("undo is %q", p.Undo), "restore, none")
	}
	v.condition(c.field("where"), a.where, false)
	if a.target.open() && a.where == "" {
		v.add(c.field("where"), fmt.Sprintf("where is missing, and target %s is all there is", a.target.selector), "a condition on target, such as errors(target) > 0.1")
	}
	a.ttl = v.required(c.field("ttl"), "ttl", p.TTL)
	for _, name := range slices.Sorted(maps.Keys(p.Params)) {
		a.params = append(a.params, v.param(name, p.Params[name], c.field("params").field(name)))
	}
	return a
}

func (a action) sameKnob(b action) bool {
	return a.kind == b.kind && a.lever == b.lever && a.target == b.target && a.callee == b.callee && a.name == b.name
}

func (v *validator) param(name string, value any, c cursor) param {
	p := param{at: c, name: name}
	switch x := value.(type) {
	case bool:
		p.value, p.typ = x, "bool"
	case string:
		v.textParam(&p, x)
	default:
		f, ok := sre.Params{name: value}.Float(name)
		if !ok {
			v.add(c, fmt.Sprintf("parameter %s is %v", name, value), "a number, text, true or false, or \"${expression}\"")
		}
		p.value, p.typ = f, "number"
	}
	return p
}

func (v *validator) textParam(p *param, text string) {
	inner, opened := strings.CutPrefix(strings.TrimSpace(text), "${")
	inner, closed := strings.CutSuffix(inner, "}")
	switch {
	case opened && closed:
		p.expr = strings.TrimSpace(inner)
		compiled, err := v.lang.program(p.expr)
		if err != nil {
			v.add(p.at, err.Error(), allowedWords)
			return
		}
		if p.typ = compiled.paramType(); p.typ == "" {
			v.add(p.at, fmt.Sprintf("parameter %s gives %s", p.name, compiled.out), "an expression that gives a number, text, or true or false")
		}
	case strings.Contains(text, "${"):
		v.add(p.at, fmt.Sprintf("parameter %s mixes text and an expression", p.name), "one \"${expression}\" as the whole value")
	default:
		p.value, p.typ = text, "string"
	}
}

func (v *validator) needed(c cursor, what, text, allowed string) {
	if text == "" {
		v.add(c, what+" is missing", allowed)
	}
}

// condition checks a boolean expression; an empty one is left to needed. One
// that proves something must look at what is measured.
func (v *validator) condition(c cursor, expr string, proves bool) {
	if expr == "" {
		return
	}
	p, err := v.lang.program(expr)
	if err != nil {
		v.add(c, err.Error(), allowedWords)
		return
	}
	if !p.isBool() {
		v.add(c, "expression gives "+p.out.String(), "an expression that gives true or false")
		return
	}
	if proves && !p.looks {
		v.add(c, "expression looks at no reading, so it proves nothing", "a condition with "+strings.Join(readingFunctions, ", "))
	}
}

func (v *validator) required(c cursor, what string, text durationText) time.Duration {
	d := v.duration(c, what, text, 0)
	switch {
	case text == "":
		v.add(c, what+" is missing", allowedDuration)
	case d == 0 && isZero(text):
		v.add(c, what+" is 0", "more than 0s")
	}
	return d
}

func isZero(text durationText) bool {
	d, err := model.ParseDuration(string(text))
	return err == nil && d == 0
}

func (v *validator) duration(c cursor, what string, text durationText, fallback time.Duration) time.Duration {
	if text == "" {
		return fallback
	}
	d, err := model.ParseDuration(string(text))
	if err != nil {
		v.add(c, fmt.Sprintf("%s is %q", what, text), allowedDuration)
		return 0
	}
	return time.Duration(d)
}
