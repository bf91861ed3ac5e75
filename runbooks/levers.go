package runbooks

import (
	"fmt"
	"slices"
	"strings"

	"github.com/sreagent/sreagent/sre"
)

// CheckLevers reports every action that its lever cannot carry out as written:
// a kind that the lever does not have, a parameter that is unknown, missing, of
// the wrong type or, where it is a literal, out of bounds, and a missing callee.
// The error is a *LoadError. Actions whose lever is not among caps are passed
// over: UnknownLevers names those.
func (l *Library) CheckLevers(caps []sre.Capability) error {
	var faults []Fault
	l.eachAction(func(a action) {
		if c, ok := leverNamed(caps, a.lever); ok {
			faults = append(faults, a.check(c)...)
		}
	})
	return loadError(faults)
}

// UnknownLevers returns one fault for each action whose lever is not among
// caps. Such a runbook is never chosen; it is a mistake only where the lever
// was meant to be there.
func (l *Library) UnknownLevers(caps []sre.Capability) []Fault {
	names := make([]string, len(caps))
	for i, c := range caps {
		names[i] = c.Name
	}
	slices.Sort(names)
	allowed := strings.Join(names, ", ")
	if allowed == "" {
		allowed = "none, as no lever is configured"
	}
	var faults []Fault
	l.eachAction(func(a action) {
		if _, ok := leverNamed(caps, a.lever); !ok {
			faults = append(faults, a.at.field("lever").fault(fmt.Sprintf("no lever is named %q", a.lever), allowed))
		}
	})
	return faults
}

func (l *Library) eachAction(visit func(action)) {
	for _, rb := range l.ordered {
		for st := range rb.every() {
			for _, a := range st.actions {
				visit(a)
			}
		}
	}
}

func leverNamed(caps []sre.Capability, name string) (sre.Capability, bool) {
	for _, c := range caps {
		if c.Name == name {
			return c, true
		}
	}
	return sre.Capability{}, false
}

func (a action) check(c sre.Capability) []Fault {
	spec, ok := c.Kind(a.kind)
	if !ok {
		kinds := make([]sre.ActionKind, len(c.Kinds))
		for i, k := range c.Kinds {
			kinds[i] = k.Kind
		}
		return []Fault{a.at.field("kind").fault(fmt.Sprintf("lever %s has no kind %s", c.Name, a.kind), joined(kinds))}
	}
	var faults []Fault
	if spec.Edge && a.callee == "" && !a.target.calls() {
		faults = append(faults, a.at.fault(fmt.Sprintf("kind %s of lever %s needs a callee", a.kind, c.Name), "callee: root, or a service"))
	}
	for _, p := range a.params {
		if !slices.ContainsFunc(spec.Params, func(s sre.ParamSpec) bool { return s.Name == p.name }) {
			faults = append(faults, p.at.fault(fmt.Sprintf("kind %s of lever %s has no parameter %q", a.kind, c.Name, p.name), paramNames(spec)))
		}
	}
	for _, want := range spec.Params {
		i := slices.IndexFunc(a.params, func(p param) bool { return p.name == want.Name })
		if i < 0 {
			if want.Required {
				faults = append(faults, a.at.field("params").fault(fmt.Sprintf("parameter %q is missing", want.Name), allowedValue(want)))
			}
			continue
		}
		if p := a.params[i]; p.typ != want.Type || p.expr == "" && outside(want, p.value) {
			faults = append(faults, p.at.fault(fmt.Sprintf("parameter %q is %s", p.name, p.shown()), allowedValue(want)))
		}
	}
	return faults
}

// outside reports whether a literal of the right type is out of bounds, as
// sre.KindSpec.Check would.
func outside(want sre.ParamSpec, value any) bool {
	one := sre.KindSpec{Params: []sre.ParamSpec{want}}
	return one.Check(sre.Params{want.Name: value}) != nil
}

func (p param) shown() string {
	if p.expr != "" {
		return "an expression that gives a " + p.typ
	}
	return fmt.Sprintf("%v", p.value)
}

func allowedValue(s sre.ParamSpec) string {
	switch s.Type {
	case "number":
		return fmt.Sprintf("a number from %v to %v", s.Min, s.Max)
	case "bool":
		return "true or false"
	default:
		return "text"
	}
}

func paramNames(spec sre.KindSpec) string {
	names := make([]string, len(spec.Params))
	for i, p := range spec.Params {
		names[i] = p.Name
	}
	if len(names) == 0 {
		return "no parameters"
	}
	return strings.Join(names, ", ")
}
