package gate

import (
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/sreagent/sreagent/agent/mandate"
	"github.com/sreagent/sreagent/sre"
)

// Off is the stance of a rule that forbids a kind of action outright: nobody is
// asked about it. It bounds like watch, under a name of its own.
const Off = mandate.Off

// Scope says which actions a rule is about. A list that is empty holds for
// all; services may be globs such as pay*.
type Scope struct {
	Kinds    []sre.ActionKind `yaml:"kinds"`
	Services []string         `yaml:"services"`
}

// Autonomy is the most that the agent may do alone with some actions. The first
// rule of the list that is about an action decides, as in a routing tree, so
// that the order on the page is the order of the answer; an action that no rule
// is about has the policy's mode. The mode stays the ceiling of all.
type Autonomy struct {
	Scope    `yaml:",inline"`
	Runbooks []string   `yaml:"runbooks"`
	Stance   sre.Stance `yaml:"stance"`
	// Earn lets the stance move between watch, ask and act by what is on record;
	// nil keeps it where it is.
	Earn *mandate.Earn `yaml:"earn"`
	// Author wrote the rule. A promotion by it takes the word of somebody else.
	Author string `yaml:"author"`
}

// covers reports whether a scope is about an action: of its kind, and moving one
// of its services or calls to one.
func (s Scope) covers(a sre.Action) bool {
	return (len(s.Kinds) == 0 || slices.Contains(s.Kinds, a.Kind)) &&
		(len(s.Services) == 0 || matches(s.Services, a.Target.Service) || matches(s.Services, a.Target.Callee))
}

// matches reports whether a name is one of a list of names and globs.
func matches(patterns []string, name string) bool {
	return name != "" && slices.ContainsFunc(patterns, func(p string) bool {
		ok, err := path.Match(p, name)
		return ok || err != nil && p == name
	})
}

func (s Scope) validate() sre.Faults {
	var f sre.Faults
	for i, k := range s.Kinds {
		if !k.Valid() {
			f.Add(sre.Item("kinds", i), fmt.Sprintf("unknown kind %q", k), kindList())
		}
	}
	f.Under("", patterns("services", s.Services))
	return f
}

// patterns returns what is wrong with a list of names and globs.
func patterns(list string, all []string) sre.Faults {
	var f sre.Faults
	for i, p := range all {
		if _, err := path.Match(p, ""); err != nil || p == "" {
			f.Add(sre.Item(list, i), fmt.Sprintf("%q is not a name", p), "a name, or a glob such as pay*")
		}
	}
	return f
}

func kindList() string {
	kinds := sre.ActionKinds()
	names := make([]string, len(kinds))
	for i, k := range kinds {
		names[i] = string(k)
	}
	return strings.Join(names, ", ")
}

func (a Autonomy) validate() sre.Faults {
	f := a.Scope.validate()
	f.Under("", patterns("runbooks", a.Runbooks))
	if !slices.Contains([]sre.Stance{Off, sre.Watch, sre.Ask, sre.Act}, a.Stance) {
		f.Add("stance", fmt.Sprintf("unknown stance %q", a.Stance), "off, watch, ask, act")
	}
	if a.Earn != nil {
		f.Under("earn", a.Earn.Validate())
		if a.Stance == Off {
			f.Add("earn", "nothing is earned where a kind is off", "a stance of watch, ask or act, or no earn")
		}
	}
	return f
}

// Granted is what the policy says of an action of a runbook: the first rule that
// is about it, or the mode.
func (p Policy) Granted(runbook string, a sre.Action) mandate.Rule {
	rule, _ := p.granted(runbook, a)
	return rule
}

// granted returns also the number of the rule that decides, from 1; 0 where none
// is about the action.
func (p Policy) granted(runbook string, a sre.Action) (mandate.Rule, int) {
	for i, rule := range p.Autonomy {
		if rule.covers(a) && (len(rule.Runbooks) == 0 || matches(rule.Runbooks, runbook)) {
			return mandate.Rule{Stance: rule.Stance, Earn: rule.Earn, Mode: p.Mode, Author: rule.Author}, i + 1
		}
	}
	return mandate.Rule{Stance: p.Mode, Mode: p.Mode}, 0
}

// autonomyOf is the stance in force for an action, what led to it, and the rule.
func (p Policy) autonomyOf(q Question, runbook string, a sre.Action) (sre.Stance, mandate.Standing, int) {
	rule, number := p.granted(runbook, a)
	standing := mandate.Standing{}
	if q.Standing != nil {
		standing = q.Standing(sre.MandateKey{Kind: a.Kind, Service: a.Target.Service, Runbook: runbook})
	}
	return rule.Effective(standing), standing, number
}

func weighAutonomy(p Policy, q Question) sre.Reason {
	if q.Plan == nil {
		return reason(sre.Act, "no action is planned")
	}
	worst := reason(sre.Act, "every kind of action may be taken alone where it is planned")
	for _, a := range actions(q) {
		stance, standing, rule := p.autonomyOf(q, q.Plan.Runbook, a)
		demoted := standing.Verb == sre.MandateDemote && standing.To == stance
		if rule == 0 && !demoted || stance.Rank() >= worst.Allows.Rank() {
			continue // the mode speaks for itself
		}
		allows := stance
		if stance != sre.Ask {
			allows = sre.Watch
		}
		if demoted {
			worst = reason(allows, "%s on %s was demoted to %q by %s since %s: %s", a.Kind, a.Target, stance, standing.By,
				standing.At.UTC().Format(time.DateTime), standing.Text)
			worst.Change = standing.Regain
			continue
		}
		worst = reason(allows, "%s on %s is at %q by rule %d of policy.autonomy", a.Kind, a.Target, stance, rule)
		worst.Change = fmt.Sprintf("rule %d of policy.autonomy says act", rule)
		if p.Autonomy[rule-1].Earn != nil {
			worst.Change += ", or it is earned and a person accepts: `sreagent mandate show`"
		}
	}
	return worst
}
