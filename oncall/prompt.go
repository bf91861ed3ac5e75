package oncall

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/sreagent/sreagent/sre"
)

// Prompt is one open question with all that a person needs to answer it.
type Prompt struct {
	Incident     string           `json:"incident"`
	Decision     string           `json:"decision"` // to be sent back with the answer
	Severity     sre.Severity     `json:"severity"`
	Service      string           `json:"service"` // the first suspect
	Mechanism    sre.Mechanism    `json:"mechanism"`
	Onset        time.Time        `json:"onset,omitzero"`
	AskedAt      time.Time        `json:"asked_at"`
	ValidUntil   time.Time        `json:"valid_until,omitzero"` // the evidence is too old afterwards
	ExpiresAt    time.Time        `json:"expires_at,omitzero"`  // the question closes by itself
	Runbook      string           `json:"runbook,omitempty"`
	Risk         string           `json:"risk"` // high, medium, low
	Why          string           `json:"why"`  // this plan
	Confidence   sre.Confidence   `json:"confidence"`
	Evidence     []sre.Evidence   `json:"evidence"`
	Alternatives []sre.Hypothesis `json:"alternatives"` // other causes, most probable first
	NotTaken     []sre.Rejection  `json:"not_taken"`    // other cures and why not
	Reasons      []sre.Reason     `json:"reasons"`      // every guard's finding
	Blast        sre.BlastRadius  `json:"blast_radius"`
	Steps        []PromptStep     `json:"steps"`
	Undo         string           `json:"undo"`
	OnSilence    string           `json:"on_silence"`
}

// PromptStep is one step of the plan that is asked about.
type PromptStep struct {
	Name       string         `json:"name"`
	Actions    []PromptAction `json:"actions"`
	Lease      time.Duration  `json:"lease"` // nanoseconds; longest time in force
	Reversible bool           `json:"reversible"`
	Verify     string         `json:"verify,omitempty"`
	OnFail     string         `json:"on_fail"`
}

// PromptAction is one lever and what it is moved from and to.
type PromptAction struct {
	ID       string         `json:"id"`
	Kind     sre.ActionKind `json:"kind"`
	Target   sre.Target     `json:"target"`
	Settings []Setting      `json:"settings"` // by name
}

// noSetting is the old value where the target was read and sets nothing.
const noSetting = "none"

// Setting is one value before and after. Old is "none" where the target sets
// nothing, such as a guard without a limit, and nil where it has not been read
// yet; the executor reads it before it writes, and it is what undo restores.
type Setting struct {
	Name string `json:"name"`
	Old  any    `json:"old"`
	New  any    `json:"new"`
}

// NewPrompt makes the prompt of an incident; false where it asks nothing.
func NewPrompt(inc sre.Incident) (Prompt, bool) {
	if !waitsForAnswer(&inc) {
		return Prompt{}, false
	}
	d, top := inc.Decision, inc.Diagnosis.Top()
	p := Prompt{
		Incident: inc.ID, Decision: d.ID, Severity: inc.Severity, Service: top.Service, Mechanism: top.Mechanism,
		Onset: inc.Diagnosis.Onset, AskedAt: d.At, ValidUntil: d.ValidUntil, ExpiresAt: d.ExpiresAt,
		Runbook: d.Runbook, Risk: "high", Confidence: d.Confidence,
		Evidence: orEmpty(evidenceOf(inc.Diagnosis)), Alternatives: []sre.Hypothesis{}, NotTaken: []sre.Rejection{},
		Reasons: orEmpty(d.Reasons), Blast: d.Blast, Steps: []PromptStep{},
	}
	if len(inc.Diagnosis.Hypotheses) > 1 {
		p.Alternatives = inc.Diagnosis.Hypotheses[1:]
	}
	if len(p.Blast.Services) == 0 {
		p.Blast = inc.Diagnosis.Blast
	}
	if plan := inc.Plan; plan != nil {
		p.Why, p.NotTaken = plan.Reason, orEmpty(plan.Rejected)
		if plan.Risk != sre.HighRisk {
			p.Risk = string(plan.Risk)
		}
		for i, step := range plan.Steps {
			// Steps before the current one are done already; they are not
			// asked about.
			if i >= inc.Step {
				p.Steps = append(p.Steps, promptStep(inc, step))
			}
		}
	}
	p.Undo = undoText(p.Steps)
	p.OnSilence = silenceText(p.ExpiresAt)
	return p, true
}

// evidenceOf returns the evidence of the first hypothesis, else that of the
// strongest precursor.
func evidenceOf(d sre.Diagnosis) []sre.Evidence {
	if e := d.Top().Evidence; len(e) > 0 {
		return e
	}
	if len(d.Precursors) > 0 {
		return d.Precursors[0].Evidence
	}
	return nil
}

func promptStep(inc sre.Incident, step sre.Step) PromptStep {
	out := PromptStep{
		Name: step.Name, Lease: step.Lease, Reversible: step.Reversible, Verify: step.Verify.Expr,
		OnFail: "undo every step, newest first, and call a human", Actions: []PromptAction{},
	}
	if step.OnFail == sre.NextStep {
		out.OnFail = "keep this step and go on with the next"
	}
	if step.OnFail == sre.KeepAndEscalate {
		out.OnFail = "keep every step until its lease ends, and call a human"
	}
	for _, act := range step.Actions {
		before := knownBefore(inc, act)
		pa := PromptAction{ID: act.ID, Kind: act.Kind, Target: act.Target, Settings: []Setting{}}
		for _, name := range slices.Sorted(maps.Keys(act.Params)) {
			old := before[name]
			if old == nil && before != nil {
				old = noSetting
			}
			pa.Settings = append(pa.Settings, Setting{Name: name, Old: old, New: act.Params[name]})
		}
		out.Actions = append(out.Actions, pa)
	}
	return out
}

// knownBefore returns the settings in force at an action's target as far as the
// incident knows them: what a probe of this action found, or what another of
// its own mitigations holds there.
func knownBefore(inc sre.Incident, act sre.Action) sre.Params {
	var held sre.Params
	for _, m := range inc.Mitigations {
		switch {
		case m.Action.ID == act.ID && m.Before != nil:
			return m.Before
		case m.Action.Kind == act.Kind && m.Action.Target == act.Target && m.Phase == sre.InEffect:
			held = m.Action.Params
		}
	}
	return held
}

func undoText(steps []PromptStep) string {
	if len(steps) == 0 {
		return "nothing is moved, so there is nothing to undo"
	}
	var lease time.Duration
	for _, s := range steps {
		if !s.Reversible {
			return fmt.Sprintf("step %q cannot be undone", s.Name)
		}
		lease = max(lease, s.Lease)
	}
	text := "the old values come back, newest step first: by `undo`, when it does not help, or when the trouble is over"
	if lease > 0 {
		text += fmt.Sprintf("; each lease ends by itself after %s at the latest", span(lease))
	}
	return text
}

func silenceText(expires time.Time) string {
	if expires.IsZero() {
		return "nothing is done; the question stays open"
	}
	return fmt.Sprintf("nothing is done; the question expires at %s and the incident is escalated to people", clockTime(expires))
}
