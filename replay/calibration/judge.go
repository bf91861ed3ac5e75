package calibration

import (
	"slices"
	"time"

	"github.com/sreagent/sreagent/replay/scenario"
	"github.com/sreagent/sreagent/sre"
)

const (
	inBand  = .95             // share of the goodput before at which users are well again
	horizon = 5 * time.Minute // within which a cure must show
	better  = .01             // goodput by which a world must differ from its twin to be better or worse
)

// Observation is one plan that was carried out: what was predicted and what
// came of it.
type Observation struct {
	Incident  int           `json:"incident"`
	Fleet     uint64        `json:"fleet"`
	Kind      string        `json:"kind"`
	Drifted   bool          `json:"drifted,omitempty"`
	Unseen    bool          `json:"unseen,omitempty"`   // against a mechanism that was never met
	NewKind   bool          `json:"new_kind,omitempty"` // of trouble, under the name of a known mechanism
	Runbook   string        `json:"runbook"`
	Mechanism sre.Mechanism `json:"mechanism"`
	Service   string        `json:"service"`
	Class     string        `json:"class"`
	P         float64       `json:"p"`
	Lower     float64       `json:"lower"`
	Factors   []sre.Factor  `json:"factors"`
	Signature []string      `json:"signature"`
	Raw       float64       `json:"raw"`
	Abstain   string        `json:"abstain,omitempty"`
	Cleared   bool          `json:"cleared"`          // nothing that says how sure it is stood against acting alone
	Alone     bool          `json:"alone"`            // nobody was asked
	Outcome   sre.Outcome   `json:"outcome"`          // as the agent judged
	Right     float64       `json:"right"`            // as the world judges: 1, 0, or .5 where it would have ended as well by itself
	Gain      float64       `json:"gain"`             // of goodput over the twin without the agent
	Causes    int           `json:"causes"`           // services at fault
	Possible  int           `json:"possible"`         // that could be the cause
	Covered   bool          `json:"covered"`          // one at fault is among them
	Unsure    bool          `json:"unsure,omitempty"` // and so is a service that is not seen
	TopRight  bool          `json:"top_right"`        // the first suspect is at fault
	Cured     bool          `json:"cured"`            // users are well within the horizon, and stay so
}

// judge reads the plans with an outcome out of a run.
func judge(h happening, atFault []string, with, without *scenario.Result) play {
	var p play
	incidents := map[string]*sre.Incident{}
	began := map[string]*sre.Decision{}
	alone := map[string]bool{}
	for i := range with.Records {
		r := &with.Records[i]
		switch {
		case r.Incident != nil:
			incidents[r.Incident.ID] = r.Incident
		case r.Decision != nil:
			began[r.IncidentID] = r.Decision
		case r.Intent != nil && r.Intent.Permit.Purpose == sre.ToApply:
			alone[r.IncidentID] = r.Intent.Permit.By == "policy"
		case r.Outcome != nil:
			o, inc := r.Outcome, incidents[r.IncidentID]
			if d := began[r.IncidentID]; d != nil && inc != nil {
				seen := observed(h, o, d, inc, with, without)
				seen.Alone = alone[r.IncidentID]
				seen.blame(atFault, d.Confidence.Suspects)
				p.seen = append(p.seen, seen)
			}
			if !h.newKind && !slices.Contains(neverMet, o.Mechanism) { // else it would be met from then on
				told := *o
				told.Blamed = verdict(atFault, inc.Confidence.Suspects)
				p.learned = append(p.learned, told)
			}
		}
	}
	return p
}

// verdict is what people say afterwards: which probability the true cause was
// given. One that was not named could still have been "none of those".
func verdict(atFault []string, suspects []sre.Suspect) *float64 {
	if len(atFault) == 0 {
		return nil
	}
	p, named := 0.0, false
	for _, s := range suspects {
		if slices.Contains(atFault, s.Service) {
			p, named = max(p, s.Probability), true
		}
	}
	for _, s := range suspects {
		if s.Service == "" && !named {
			p = s.Probability
		}
	}
	return &p
}

// blame notes whether the true cause was among those that could be.
func (o *Observation) blame(atFault []string, suspects []sre.Suspect) {
	o.Causes = len(atFault)
	named := slices.ContainsFunc(suspects, func(s sre.Suspect) bool { return slices.Contains(atFault, s.Service) })
	for _, s := range suspects {
		if s.Possible {
			o.Possible++
			o.Covered = o.Covered || slices.Contains(atFault, s.Service) || s.Service == "" && !named
			o.Unsure = o.Unsure || s.Service == ""
		}
	}
	if len(suspects) > 0 {
		o.TopRight = slices.Contains(atFault, suspects[0].Service)
	}
}

func observed(h happening, o *sre.OutcomeRecord, d *sre.Decision, inc *sre.Incident, with, without *scenario.Result) Observation {
	out := Observation{
		Incident: h.number, Fleet: h.fleet, Kind: string(h.kind), Drifted: h.drifted, NewKind: h.newKind, Unseen: slices.Contains(neverMet, o.Mechanism),
		Runbook: o.Runbook, Mechanism: o.Mechanism, Service: o.Service, Class: o.Class,
		P: o.Predicted, Lower: d.Confidence.Lower, Factors: d.Confidence.Factors, Abstain: d.Confidence.Abstain, Signature: o.Signature, Raw: o.Raw,
		Cleared: true, Outcome: o.Outcome,
	}
	for _, r := range d.Reasons {
		switch r.Guard {
		case "confidence", "abstention", "cause_set":
			out.Cleared = out.Cleared && r.Allows == sre.Act
		}
	}
	out.Right, out.Gain, out.Cured = right(inc.PlanBegan, with, without)
	return out
}

// right judges a cure from its first tick to the end of the story.
func right(from time.Time, with, without *scenario.Result) (verdict, gain float64, cured bool) {
	cured = well(from, with)
	gain = goodput(from, with) - goodput(from, without)
	switch {
	case gain < -better || !cured:
		return 0, gain, cured
	case gain > better:
		return 1, gain, cured
	}
	return .5, gain, cured
}

// well reports whether goodput comes back within the horizon, and stays.
func well(from time.Time, r *scenario.Result) bool {
	until := from.Add(horizon)
	if n := len(r.Story); n > 0 && until.After(r.Story[n-1].At.Add(-time.Minute)) {
		until = r.Story[n-1].At.Add(-time.Minute)
	}
	for i := range r.Story {
		if r.Story[i].At.After(until) && around(r.Story, i) < inBand*r.GoodputBefore {
			return false
		}
	}
	return true
}

// around is goodput over three ticks, since what was asked in one may be
// answered in the next.
func around(story []scenario.Moment, i int) float64 {
	var good, wanted float64
	for _, m := range story[max(0, i-2) : i+1] {
		good, wanted = good+m.Goodput*m.Offered, wanted+m.Offered
	}
	if wanted == 0 {
		return 1
	}
	return good / wanted
}

func goodput(from time.Time, r *scenario.Result) float64 {
	var good, wanted float64
	for _, m := range r.Story {
		if m.At.After(from) {
			good, wanted = good+m.Goodput*m.Offered, wanted+m.Offered
		}
	}
	if wanted == 0 {
		return 1
	}
	return good / wanted
}
