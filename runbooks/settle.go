package runbooks

import (
	"slices"

	"github.com/sreagent/sreagent/sre"
)

// Settle returns the actions of a plan's step as they are to be carried out now:
// with their settings computed anew, since a step that is reached minutes after
// the plan was made would cap a load that is no longer there, and without those
// whose `where` does not hold of their target. IDs, kinds and targets stay those
// of the plan, and so do settings that cannot be computed now, and all of them
// where the runbook has changed since. There can be more, last: those of which
// the `where` of a fleet selector holds by now.
func (l *Library) Settle(p *sre.Plan, step int, f Facts) []sre.Action {
	planned := p.Steps[step].Actions
	written, known := l.stepOf(p, step)
	if !known {
		return slices.Clone(planned)
	}
	s := newScene(f)
	var out []sre.Action
	for _, x := range planned {
		if l.settle(written, &x, s) {
			out = append(out, x)
		}
	}
	return append(out, l.joined(written, planned, step, s)...)
}

// stepOf finds a plan's step as it is written.
func (l *Library) stepOf(p *sre.Plan, index int) (step, bool) {
	for _, rb := range l.ordered {
		if rb.Name != p.Runbook || rb.Version != p.Version {
			continue
		}
		for st := range rb.every() {
			if st.name == p.Steps[index].Name {
				return *st, true
			}
		}
	}
	return step{}, false
}

// settle brings one action up to date; it reports whether it is still wanted.
func (l *Library) settle(st step, x *sre.Action, s *scene) bool {
	for _, a := range st.actions {
		if a.kind != x.Kind || a.lever != x.Target.Lever || a.law != x.Law {
			continue
		}
		targets, spec, reason := s.targets(a)
		if reason != "" || !slices.Contains(targets, x.Target) {
			continue
		}
		here := s.at(x.Target)
		if !l.wanted(a, here) {
			return false
		}
		if params, reason := l.params(a, spec, here); reason == "" {
			x.Params = params
		}
		return true
	}
	return true
}

// wanted reports whether an action's `where` holds of its target; no data is no.
func (l *Library) wanted(a action, here *scene) bool {
	if a.where == "" {
		return true
	}
	verdict, _ := l.judge(a.where, here, false)
	return verdict == sre.Pass
}

// joined are the actions on targets that a fleet selector stands for now and did
// not when the plan was made.
func (l *Library) joined(st step, planned []sre.Action, index int, s *scene) (out []sre.Action) {
	key := func(x sre.Action) string { return string(x.Kind) + " " + x.Target.String() }
	taken := map[string]bool{}
	for _, x := range planned {
		taken[key(x)] = true
	}
	for _, a := range st.actions {
		if !a.target.open() {
			continue
		}
		targets, spec, _ := s.targets(a)
		for _, t := range targets {
			x := sre.Action{Kind: a.kind, Target: t, TTL: a.ttl, Law: a.law}
			here := s.at(t)
			if taken[key(x)] || !l.wanted(a, here) {
				continue
			}
			params, reason := l.params(a, spec, here)
			if reason != "" {
				continue // it may be in trouble, but how much it can bear is not known
			}
			taken[key(x)] = true
			x.ID, x.Params = s.actionID(index, len(planned)+len(out)), params
			out = append(out, x)
		}
	}
	return out
}
