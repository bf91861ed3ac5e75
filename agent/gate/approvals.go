package gate

import (
	"errors"
	"fmt"

	"github.com/sreagent/sreagent/sre"
)

// ErrMoreNeeded says that a yes counts and that others must be given.
var ErrMoreNeeded = errors.New("more approvals are needed")

// Approvals is how many different people must approve a plan, by its risk. Zero
// is one.
type Approvals struct {
	Low    int `yaml:"low"`
	Medium int `yaml:"medium"`
	High   int `yaml:"high"`
	// NotByAuthor asks for the yes of somebody else than who wrote the runbook.
	NotByAuthor bool `yaml:"not_by_author"`
}

// Excludes says why a person's yes to a plan does not count; empty where it does.
func (a Approvals) Excludes(p *sre.Plan, by string) string {
	if a.NotByAuthor && p != nil && p.Author != "" && p.Author == by {
		return fmt.Sprintf("%s wrote the runbook %s: somebody else must approve it", by, p.Runbook)
	}
	return ""
}

// Of is how many people must approve a plan. No plan counts as high risk.
func (a Approvals) Of(p *sre.Plan) int {
	need := a.High
	if p != nil {
		switch p.Risk {
		case sre.LowRisk:
			need = a.Low
		case sre.MediumRisk:
			need = a.Medium
		case sre.HighRisk:
		}
	}
	return max(need, 1)
}

func (a Approvals) validate() sre.Faults {
	var f sre.Faults
	for _, c := range []struct {
		path string
		need int
	}{{"low", a.Low}, {"medium", a.Medium}, {"high", a.High}} {
		if c.need < 0 || c.need > 9 {
			f.Add(c.path, fmt.Sprintf("%d people are out of range", c.need), "1 to 9")
		}
	}
	return f
}

// people counts who stands behind an approval; who stands there twice counts
// once.
func (a Approvals) people(p *sre.Plan, given *sre.Approval) int {
	all := map[string]bool{given.By: true}
	for _, name := range given.With {
		all[name] = true
	}
	delete(all, "") // nobody
	for name := range all {
		if a.Excludes(p, name) != "" {
			delete(all, name)
		}
	}
	return len(all)
}
