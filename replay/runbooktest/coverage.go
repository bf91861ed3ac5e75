package runbooktest

import (
	"slices"

	"github.com/sreagent/sreagent/replay/scenario"
	"github.com/sreagent/sreagent/runbooks"
	"github.com/sreagent/sreagent/sre"
)

// Coverage is which steps of runbooks tests went through. The zero value is
// empty. A step counts as helping or failing where a test expects it to and is
// right, and where it did in a story.
type Coverage struct {
	covered []*Covered
	at      map[string]*Covered // by name and version
}

// Covered is one runbook.
type Covered struct {
	Runbook string        `json:"runbook"`
	Steps   []CoveredStep `json:"steps"` // of every branch, in the order of the file
}

// CoveredStep is one step, and what became of it in some test.
type CoveredStep struct {
	Name    string `json:"name"`
	Planned bool   `json:"planned"`
	Helped  bool   `json:"helped"` // its check held
	Failed  bool   `json:"failed"` // its check did not, and what on_fail says followed or would
}

// Runbooks returns what was covered, in the order of the libraries.
func (c *Coverage) Runbooks() []Covered {
	out := make([]Covered, len(c.covered))
	for i, one := range c.covered {
		out[i] = Covered{Runbook: one.Runbook, Steps: slices.Clone(one.Steps)}
	}
	return out
}

// Chosen reports whether any test led to the runbook.
func (c Covered) Chosen() bool {
	for _, s := range c.Steps {
		if s.Planned {
			return true
		}
	}
	return false
}

// library makes the runbooks known that could be chosen. Without a coverage
// nothing is noted.
func (c *Coverage) library(l *runbooks.Library) {
	if c == nil {
		return
	}
	if c.at == nil {
		c.at = map[string]*Covered{}
	}
	for _, info := range l.List() {
		key := info.Name + " " + info.Version
		if c.at[key] != nil {
			continue
		}
		one := &Covered{Runbook: info.Name}
		for _, name := range info.Steps {
			one.Steps = append(one.Steps, CoveredStep{Name: name})
		}
		c.at[key], c.covered = one, append(c.covered, one)
	}
}

// step finds a step of a plan; nil where it is not kept.
func (c *Coverage) step(p *sre.Plan, i int) *CoveredStep {
	if c == nil || p == nil || i < 0 || i >= len(p.Steps) {
		return nil
	}
	one := c.at[p.Runbook+" "+p.Version]
	if one == nil {
		return nil
	}
	for k := range one.Steps {
		if one.Steps[k].Name == p.Steps[i].Name {
			return &one.Steps[k]
		}
	}
	return nil
}

func (c *Coverage) planned(p *sre.Plan) {
	if p == nil {
		return
	}
	for i := range p.Steps {
		if s := c.step(p, i); s != nil {
			s.Planned = true
		}
	}
}

func (c *Coverage) verified(p *sre.Plan, i int, v sre.Verdict) {
	if s := c.step(p, i); s != nil {
		s.Helped = s.Helped || v == sre.Pass
		s.Failed = s.Failed || v == sre.Fail
	}
}

// story notes what became of plans in a run, as the trail has it: a step whose
// check was awaited has helped where the incident is resolved then, and failed
// where what follows is what on_fail says.
func (c *Coverage) story(r *scenario.Result) {
	if c == nil {
		return
	}
	before := map[string]*sre.Incident{}
	for i := range r.Records {
		now := r.Records[i].Incident
		if now == nil {
			continue
		}
		was := before[now.ID]
		before[now.ID] = now
		c.planned(now.Plan)
		if was != nil && was.State == sre.Verifying && was.Plan != nil && was.Step < len(was.Plan.Steps) {
			c.verified(was.Plan, was.Step, followed(was, now))
		}
	}
}

// followed says how the check of a step came out by what came next.
func followed(was, now *sre.Incident) sre.Verdict {
	next := map[sre.OnFail]bool{
		sre.NextStep: now.Step > was.Step, sre.UndoAndEscalate: now.State == sre.Reverting, sre.KeepAndEscalate: now.State == sre.Escalated,
	}
	switch {
	case now.State == sre.Resolved:
		return sre.Pass
	case next[was.Plan.Steps[was.Step].OnFail]:
		return sre.Fail
	}
	return sre.NoData
}
