package runbooks

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"cel.dev/cel-go/common/types"

	"github.com/sreagent/sreagent/sre"
)

// Match chooses the first runbook, by priority and then by name, that fits the
// first hypothesis and can be carried out with the levers at hand, and makes it
// concrete: selectors become services and expressions become numbers. It
// returns nil where none does. The rejections say of every other runbook why it
// was not taken, in the same order; the plan carries them too.
func (l *Library) Match(f Facts) (*sre.Plan, []sre.Rejection) {
	s := newScene(f)
	var plan *sre.Plan
	var rejected []sre.Rejection
	everywhere, suspect := s.anywhere(), s.root
	for _, rb := range l.ordered {
		s := s
		if rb.anywhere {
			s = everywhere
			s.likely = suspect
		}
		reason := l.unfit(rb, s, plan)
		if reason == "" {
			var made *sre.Plan
			if made, reason = l.plan(rb, s); reason == "" {
				plan = made
				plan.Cause = suspect // for people, also of a plan that needs none
				continue
			}
		}
		rejected = append(rejected, sre.Rejection{Runbook: rb.Name, Reason: reason})
	}
	if plan != nil {
		plan.Rejected = slices.Clone(rejected)
	}
	return plan, rejected
}

// unfit says why a runbook is not for this incident; empty where it is.
func (l *Library) unfit(rb *runbook, s *scene, chosen *sre.Plan) string {
	if !rb.anywhere && (s.root == "" || s.mechanism == sre.Unknown) {
		return "the cause is not known"
	}
	if !slices.Contains(rb.Mechanisms, s.mechanism) {
		return fmt.Sprintf("made for %s, not for %s", joined(rb.Mechanisms), s.mechanism)
	}
	if chosen != nil {
		return "fits too, but " + chosen.Runbook + " comes first"
	}
	if slices.Contains(s.facts.Tried, TriedKey(rb.Name, cmp.Or(s.root, s.likely))) {
		return "was tried on " + place(s) + " and did not help"
	}
	if rb.When == "" {
		return ""
	}
	switch verdict, text := l.judge(rb.When, s, false); verdict {
	case sre.Pass:
		return ""
	case sre.Fail:
		return "its condition " + text
	case sre.Inconclusive, sre.NoData:
		return "its condition cannot be judged: " + text
	}
	return "its condition has no verdict"
}

// plan makes a runbook concrete, or says why it cannot be carried out.
func (l *Library) plan(rb *runbook, s *scene) (*sre.Plan, string) {
	p := &sre.Plan{
		Runbook: rb.Name, Version: rb.Version, Author: rb.Author, Risk: rb.Risk, Cause: s.root,
		Hold: rb.hold, LiftGap: rb.liftGap, Relapse: sre.Check{Expr: rb.relapse},
		CallAfter: rb.callAfter, CallText: rb.callText,
		Reason: fmt.Sprintf("made for %s, the likeliest cause at %s with probability %.2f", s.mechanism, s.root, s.probability),
	}
	if rb.anywhere {
		p.Anywhere = true
		p.Reason = fmt.Sprintf("%d of %d services show signs of trouble, and it needs no cause", len(s.affected), s.fleet())
	}
	if rb.When != "" {
		p.Reason += ", and its condition holds: " + rb.When
	}
	steps, taken, reason := l.route(rb.flow, s)
	if reason != "" {
		return nil, reason
	}
	if len(taken) > 0 {
		p.Reason += "; of its branches it takes " + strings.Join(taken, ", then ")
	}
	for i, st := range steps {
		made, reason := l.concrete(st, i, s)
		if reason == "" && i == 0 && len(made.Actions) == 0 {
			reason = "there is nothing for it to move"
		}
		if reason != "" {
			return nil, fmt.Sprintf("step %q: %s", st.name, reason)
		}
		p.Steps = append(p.Steps, made)
	}
	return p, ""
}

// concrete turns a step into absolute settings, or says why it cannot be taken.
func (l *Library) concrete(st *step, index int, s *scene) (sre.Step, string) {
	made := sre.Step{
		Name: st.name, Before: sre.Check{Expr: st.when}, Verify: st.verify,
		Lease: st.lease, OnFail: st.onFail, Reversible: true, Ahead: st.ahead,
	}
	for _, a := range st.actions {
		targets, spec, reason := s.targets(a)
		if reason != "" {
			return made, reason
		}
		made.Reversible = made.Reversible && spec.Reversible && !a.irreversible
		for _, t := range targets {
			if a.target.open() && !l.wanted(a, s.at(t)) {
				continue
			}
			params, reason := l.params(a, spec, s.at(t))
			if reason != "" && a.optional {
				continue // how much this target can bear is not known
			}
			if reason != "" {
				return made, reason
			}
			id := s.actionID(index, len(made.Actions))
			made.Actions = append(made.Actions, sre.Action{ID: id, Kind: a.kind, Target: t, Params: params, TTL: a.ttl, Law: a.law})
		}
	}
	return made, clash(made.Actions)
}

// actionID derives the ID of the nth action of a step.
func (s *scene) actionID(step, n int) string {
	return strings.Join([]string{s.facts.Incident, strconv.Itoa(s.facts.Attempt), strconv.Itoa(step), strconv.Itoa(n)}, ".")
}

// clash finds two actions on one setting, such as a service by name that also
// is the root: one would undo the other.
func clash(actions []sre.Action) string {
	taken := map[string]bool{}
	for _, a := range actions {
		key := string(a.Kind) + " " + a.Target.String()
		if taken[key] {
			return "two actions move " + key
		}
		taken[key] = true
	}
	return ""
}

// targets expands a selector into the places that the lever can move.
func (s *scene) targets(a action) ([]sre.Target, sre.KindSpec, string) {
	lever, ok := leverNamed(s.facts.Levers, a.lever)
	if !ok {
		return nil, sre.KindSpec{}, fmt.Sprintf("there is no lever named %s", a.lever)
	}
	spec, ok := lever.Kind(a.kind)
	if !ok {
		return nil, spec, fmt.Sprintf("lever %s has no kind %s", a.lever, a.kind)
	}
	if spec.Edge && a.callee == "" && !a.target.calls() {
		return nil, spec, fmt.Sprintf("kind %s of lever %s needs a callee", a.kind, a.lever)
	}
	var out []sre.Target
	var services []string
	for _, t := range s.selected(a) {
		if !spec.Edge && a.callee == "" && !a.target.eachCall() {
			t.Callee = "" // a setting of the callers themselves, not of their calls
		}
		services = append(services, t.Service)
		if len(lever.Targets) == 0 || slices.Contains(lever.Targets, t.Service) {
			out = append(out, sre.Target{Lever: a.lever, Service: t.Service, Callee: t.Callee, Name: cmp.Or(a.name, t.Name)})
		}
	}
	switch {
	case len(out) > 0 || a.optional:
		return slices.Compact(out), spec, ""
	case len(services) == 0:
		return nil, spec, s.nobody(a.target.selector)
	}
	return nil, spec, fmt.Sprintf("lever %s cannot move %s", a.lever, listed(slices.Compact(services)))
}

// selected are the services that a selector stands for, by name, each with the
// callee of the call that is meant.
func (s *scene) selected(a action) (out []sre.Target) {
	callee := a.callee
	if callee == selectRoot {
		callee = s.root
	}
	services := []string{a.target.service}
	switch a.target.selector {
	case selectRoot:
		services = []string{s.root}
	case selectCallers:
		services, callee = s.callers, s.root
	case selectAllCallers:
		return s.callsBehind()
	case selectEntries:
		services = s.entries
	case selectAffected:
		services = s.hurt()
	case selectAffectedCalls:
		return s.callsInto(s.hurt())
	case selectFleet:
		services = s.everyone()
	case selectFleetCalls:
		return s.callsInto(s.everyone())
	case selectCallees:
		return s.callsOf()
	case selectSuspect:
		return s.suspect(callee)
	}
	for _, name := range services {
		out = append(out, sre.Target{Service: name, Callee: callee})
	}
	return out
}

// at is the scene of a parameter for one target.
func (s *scene) at(t sre.Target) *scene {
	out := *s
	out.target, out.callee = t.Service, t.Callee
	return &out
}

func place(s *scene) string {
	if s.root == "" {
		return "this trouble"
	}
	return s.root
}

// params evaluates an action's parameters and holds them against the lever's
// schema: an expression may give what no one foresaw.
func (l *Library) params(a action, spec sre.KindSpec, s *scene) (sre.Params, string) {
	out := sre.Params{}
	for _, p := range a.params {
		if p.expr == "" {
			out[p.name] = p.value
			continue
		}
		prog, err := l.lang.program(p.expr)
		if err != nil {
			return nil, fmt.Sprintf("parameter %s: %v", p.name, err)
		}
		got, err := prog.eval(s, newReadings(s))
		if err != nil {
			return nil, fmt.Sprintf("parameter %s: %v", p.name, err)
		}
		switch v := got.(type) {
		case types.Double:
			out[p.name] = float64(v)
		case types.Int:
			out[p.name] = float64(v)
		case types.Uint:
			out[p.name] = float64(v)
		case types.String:
			out[p.name] = string(v)
		case types.Bool:
			out[p.name] = bool(v)
		}
	}
	if err := spec.Check(out); err != nil {
		return nil, err.Error()
	}
	return out, ""
}
