package replay

import (
	"time"

	"github.com/sreagent/sreagent/sre"
)

// Digest is one decision with what it was about, in the form in which decisions
// are shown, compared and scored.
type Digest struct {
	At         time.Time      `json:"at"`
	ID         string         `json:"id"`
	Incident   string         `json:"incident"`
	Cause      string         `json:"cause"` // service most likely at fault
	Mechanism  sre.Mechanism  `json:"mechanism"`
	Verdict    sre.Stance     `json:"verdict"`
	Runbook    string         `json:"runbook"`
	Step       string         `json:"step,omitempty"`
	Confidence sre.Confidence `json:"confidence"`
	Actions    []Planned      `json:"actions"`
	Reasons    []sre.Reason   `json:"reasons"`
}

// Planned is an action that a decision was about.
type Planned struct {
	Kind   sre.ActionKind `json:"kind"`
	Target string         `json:"target"`
	Params sre.Params     `json:"params"`
}

// Digests reads the decisions out of a trail. The plan of a decision is the one
// that its incident had when the tick of the decision was over.
func Digests(records []sre.Record) []Digest {
	out := []Digest{}
	latest := map[string]*sre.Incident{}
	for i := 0; i < len(records); {
		end := i
		for ; end < len(records) && records[end].At.Equal(records[i].At); end++ {
			if inc := records[end].Incident; inc != nil {
				latest[inc.ID] = inc
			}
		}
		for ; i < end; i++ {
			if d := records[i].Decision; d != nil {
				out = append(out, digest(d, latest[d.Incident]))
			}
		}
	}
	return out
}

func digest(d *sre.Decision, inc *sre.Incident) Digest {
	g := Digest{
		At: d.At, ID: d.ID, Incident: d.Incident, Verdict: d.Stance, Runbook: d.Runbook,
		Confidence: d.Confidence, Reasons: d.Reasons, Actions: []Planned{},
	}
	if inc == nil {
		return g
	}
	top := inc.Diagnosis.Top()
	g.Cause, g.Mechanism = top.Service, top.Mechanism
	if inc.Plan == nil || inc.Step < 0 || inc.Step >= len(inc.Plan.Steps) {
		return g
	}
	g.Cause = inc.Plan.Cause
	step := inc.Plan.Steps[inc.Step]
	g.Step = step.Name
	for _, a := range step.Actions {
		g.Actions = append(g.Actions, Planned{Kind: a.Kind, Target: a.Target.String(), Params: a.Params})
	}
	return g
}
