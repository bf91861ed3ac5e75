package sre

import "time"

// Verdict is the four-valued result of a check. The zero value is NoData:
// neither inconclusive nor missing data ever speaks for an action.
type Verdict string

// The closed set of verdicts.
const (
	NoData       Verdict = ""
	Pass         Verdict = "pass"
	Fail         Verdict = "fail"
	Inconclusive Verdict = "inconclusive"
)

// Check is a condition on snapshots, in the runbook language's expressions.
type Check struct {
	Expr    string        `json:"expr"`
	Within  time.Duration `json:"within,omitempty"`   // must hold by then
	HeldFor time.Duration `json:"held_for,omitempty"` // and go on holding this long
}

// Step is one move of a plan: actions that belong together, the check before,
// the check after, and what to do when it does not help.
type Step struct {
	Name       string        `json:"name"`
	Actions    []Action      `json:"actions"`
	Before     Check         `json:"before,omitzero"`
	Verify     Check         `json:"verify"`
	Lease      time.Duration `json:"lease"`   // longest total time in force
	OnFail     OnFail        `json:"on_fail"` // when Verify does not come true
	Reversible bool          `json:"reversible"`
	Ahead      string        `json:"ahead,omitempty"` // why it goes before cheaper cures
}

// OnFail says what follows a step that did not help.
type OnFail string

// The closed set of reactions to a step that did not help. The zero value
// undoes.
const (
	UndoAndEscalate OnFail = ""     // undo every step, newest first, and call a human
	NextStep        OnFail = "next" // keep this step in force and go on with the next
	// KeepAndEscalate keeps every step in force until its lease ends, and calls
	// a human.
	KeepAndEscalate OnFail = "escalate"
)

// RiskClass groups plans by what they may harm; policy asks more for more risk.
type RiskClass string

// The closed set of risk classes. The zero value is the most careful.
const (
	HighRisk   RiskClass = ""       // wide or irreversible: always ask
	MediumRisk RiskClass = "medium" // takes service from some users
	LowRisk    RiskClass = "low"    // local, reversible, harmless when wrong
)

// Plan is a runbook made concrete for one incident.
type Plan struct {
	Runbook  string        `json:"runbook"`
	Version  string        `json:"version"`          // digest of the runbook's text
	Author   string        `json:"author,omitempty"` // who wrote the runbook
	Risk     RiskClass     `json:"risk"`
	Cause    string        `json:"cause"`              // root service that it was made for
	Anywhere bool          `json:"anywhere,omitempty"` // it needs no cause, the one named is only suspected, and it may touch the whole fleet
	Reason   string        `json:"reason"`
	Steps    []Step        `json:"steps"`
	Hold     time.Duration `json:"hold"`     // calm time before mitigations are lifted
	LiftGap  time.Duration `json:"lift_gap"` // calm time between two lifts
	Relapse  Check         `json:"relapse"`  // true while lifting: the trouble is back
	Rejected []Rejection   `json:"rejected,omitempty"`

	// CallAfter is how long after its start people are called with CallText
	// where the trouble is not over; 0 for never.
	CallAfter time.Duration `json:"call_after,omitempty"`
	CallText  string        `json:"call_text,omitempty"`
}

// Cheaper returns the actions of steps after the given one whose kind stands lower
// in the order of cures than some action of it, and was in no step up to it.
func (p *Plan) Cheaper(step int) []Action {
	highest, tried := 0, map[ActionKind]bool{}
	for i, s := range p.Steps[:step+1] {
		for _, a := range s.Actions {
			tried[a.Kind] = true
			if i == step {
				highest = max(highest, a.Kind.Rung())
			}
		}
	}
	var out []Action
	for _, s := range p.Steps[step+1:] {
		for _, a := range s.Actions {
			if !tried[a.Kind] && a.Kind.Rung() < highest {
				out = append(out, a)
			}
		}
	}
	return out
}

// Rejection is an alternative that was considered and why it was not taken.
type Rejection struct {
	Runbook string `json:"runbook"`
	Reason  string `json:"reason"`
}
