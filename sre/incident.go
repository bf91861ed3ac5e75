package sre

import (
	"slices"
	"time"
)

// Confidence is a probability with its lower bound and what it rests on. It is
// its own type so that it is never mixed up with a score.
type Confidence struct {
	P     float64 `json:"p"`     // the estimate
	Lower float64 `json:"lower"` // 10 % quantile of the posterior: the figure that decisions use
	Basis string  `json:"basis"` // "7 of 8 similar, data 92 % fresh"

	Raw       float64   `json:"raw,omitempty"`       // P before calibration; what calibration is fitted on
	Prior     float64   `json:"prior,omitempty"`     // Raw before the marks of the situation were looked at
	Class     string    `json:"class,omitempty"`     // of the service at the cause: entry, middle or leaf
	Signature []string  `json:"signature,omitempty"` // of the situation: marks without names, sorted
	Suspects  []Suspect `json:"suspects,omitempty"`  // of the cause, most probable first
	Abstain   string    `json:"abstain,omitempty"`   // why a person must decide, however high P is; empty where none must
	Factors   []Factor  `json:"factors,omitempty"`   // how P came about, in the order of the arithmetic
}

// Suspect is one service that may be the cause, and whether it could be by what
// such probabilities have been worth.
type Suspect struct {
	Service     string  `json:"service"` // empty for none of those seen
	Probability float64 `json:"probability"`
	Possible    bool    `json:"possible"`
}

// Possible counts the suspects that could be the cause, and reports whether one
// of them is a service that is not seen.
func (c Confidence) Possible() (n int, unknown bool) {
	for _, s := range c.Suspects {
		if s.Possible {
			n++
			unknown = unknown || s.Service == ""
		}
	}
	return n, unknown
}

// Known reports whether anything was estimated at all.
func (c Confidence) Known() bool { return c.P != 0 || c.Lower != 0 || c.Basis != "" }

// finite is the confidence with figures that JSON can hold.
func (c Confidence) finite() Confidence {
	c.P, c.Lower, c.Raw, c.Prior = Finite(c.P), Finite(c.Lower), Finite(c.Raw), Finite(c.Prior)
	c.Factors = slices.Clone(c.Factors)
	for i := range c.Factors {
		f := &c.Factors[i]
		f.Value, f.After = Finite(f.Value), Finite(f.After)
	}
	return c
}

// Factor is one step on the way to a confidence: its value and the estimate
// after it.
type Factor struct {
	Name  string  `json:"name"`  // diagnosis, experience, data, novelty, calibration, drift
	Value float64 `json:"value"` // of the factor itself, 0 to 1
	After float64 `json:"after"` // the estimate once it is taken into account
	Text  string  `json:"text"`  // what it did, in words
}

// Hypothesis is one candidate cause with its probability. An empty Service
// stands for "none of the services seen" and Mechanism is Unknown then.
type Hypothesis struct {
	Service     string     `json:"service"`
	Mechanism   Mechanism  `json:"mechanism"`
	Probability float64    `json:"probability"`
	Evidence    []Evidence `json:"evidence,omitempty"` // strongest first, at most five
	Path        []string   `json:"path,omitempty"`     // how it spread: cause first, victim last
	Change      *Change    `json:"change,omitempty"`   // the change that is suspected, if one is
	Callers     []string   `json:"callers,omitempty"`  // for an unseen cause: the services whose common, unobserved dependency it would be
	WhatIf      *WhatIf    `json:"what_if,omitempty"`  // what a model says would happen with this cause gone
}

// WhatIf compares two runs of a model ahead: as things are, and with one service
// well again. Both are goodput ratios over the entries, weighted by traffic.
type WhatIf struct {
	AsIs   float64 `json:"as_is"`
	Healed float64 `json:"healed"`
}

// Diagnosis is what is believed about an incident at one instant.
type Diagnosis struct {
	At          time.Time    `json:"at"`
	Onset       time.Time    `json:"onset"`
	Hypotheses  []Hypothesis `json:"hypotheses"`   // most probable first; probabilities sum to 1
	Affected    []string     `json:"affected"`     // services with a sign of trouble, sorted
	Blast       BlastRadius  `json:"blast_radius"` // of the first hypothesis
	DataQuality float64      `json:"data_quality"` // share of the needed readings that are fresh
	Precursors  []Precursor  `json:"precursors"`   // strongest first
	Note        string       `json:"note,omitempty"`
}

// Top returns the most probable hypothesis; the zero Hypothesis where there is
// none.
func (d Diagnosis) Top() Hypothesis {
	if len(d.Hypotheses) == 0 {
		return Hypothesis{Mechanism: Unknown}
	}
	return d.Hypotheses[0]
}

// Finding is what diagnosis makes of one group of related precursors at one
// tick: a new incident, or news of an open one.
type Finding struct {
	Fingerprint string    // stable for the same cause: root service and mechanism
	Incident    string    // ID of the incident that it belongs to; empty for a new one. A closed one is to be re-opened
	Merges      []string  // IDs of other open incidents that turned out to be this one, sorted
	SplitFrom   string    // ID of the open incident that a new one was taken for until now
	Storm       bool      // so much of the fleet is in trouble that all of it is one incident
	Severity    Severity  // of the whole group
	Diagnosis   Diagnosis // with its precursors
}

// State is where an incident stands in its lifecycle.
type State string

// The closed set of lifecycle states. agent/lifecycle.go holds the transitions.
const (
	Suspected        State = "suspected"
	Diagnosed        State = "diagnosed"
	Planned          State = "planned"
	AwaitingApproval State = "awaiting_approval"
	Acting           State = "acting"
	Verifying        State = "verifying"
	Resolved         State = "resolved" // trouble is gone, mitigations still in force
	Lifting          State = "lifting"  // mitigations are taken back, one by one
	Reverting        State = "reverting"
	Escalated        State = "escalated"
	Closed           State = "closed"
)

// States lists every state in a fixed order.
func States() []State {
	return []State{
		Suspected, Diagnosed, Planned, AwaitingApproval, Acting, Verifying,
		Resolved, Lifting, Reverting, Escalated, Closed,
	}
}

// Valid reports whether s is one of the closed set.
func (s State) Valid() bool { return slices.Contains(States(), s) }

// Incident is one cascade from suspicion to closing. It carries everything that
// must survive a restart, so that the latest one in the trail is the state.
type Incident struct {
	ID          string    `json:"id"`
	Fingerprint string    `json:"fingerprint"`
	State       State     `json:"state"`
	Severity    Severity  `json:"severity"`
	OpenedAt    time.Time `json:"opened_at"`
	UpdatedAt   time.Time `json:"updated_at"`
	StateSince  time.Time `json:"state_since"`
	LastSeen    time.Time `json:"last_seen"` // when a precursor last spoke for it
	ClosedAt    time.Time `json:"closed_at,omitzero"`

	Diagnosis   Diagnosis    `json:"diagnosis"`
	Confidence  Confidence   `json:"confidence"`
	Plan        *Plan        `json:"plan,omitempty"`
	Rejected    []Rejection  `json:"rejected,omitempty"` // where no runbook fits: each with why not
	Step        int          `json:"step"`               // index of the plan's current step
	Attempt     int          `json:"attempt"`            // how often a plan was started
	Against     Mechanism    `json:"against,omitempty"`  // mechanism that the plan was last weighed against: its outcome is learned under this one
	Decision    *Decision    `json:"decision,omitempty"`
	Approval    *Approval    `json:"approval,omitempty"`
	Mitigations []Mitigation `json:"mitigations,omitempty"` // in the order of application
	Outcome     Outcome      `json:"outcome,omitempty"`
	GoodSince   time.Time    `json:"good_since,omitzero"`    // since when what the state waits for has held
	BadTicks    int          `json:"bad_ticks,omitempty"`    // ticks in a row that spoke against the state
	GoodAt      time.Time    `json:"good_at,omitzero"`       // when the current step's check last held
	Trouble     float64      `json:"trouble,omitempty"`      // error ratio at the entries when the current step began
	PlanTrouble float64      `json:"plan_trouble,omitempty"` // the same when the plan began
	OwnTrouble  float64      `json:"own_trouble,omitempty"`  // the same at the plan's cause alone
	Escalation  string       `json:"escalation,omitempty"`
	GaveUp      bool         `json:"gave_up,omitempty"` // the agent ended its last cure itself, and nobody has answered since: it may try another one
	Tried       []string     `json:"tried,omitempty"`   // recurrence keys of cures that did not help
	Recurrences int          `json:"recurrences,omitempty"`

	PlanBegan time.Time `json:"plan_began,omitzero"` // when the plan's first step was taken
	CalledAt  time.Time `json:"called_at,omitzero"`  // when people were called because the plan took so long

	MergedInto string    `json:"merged_into,omitempty"` // turned out to be that incident: closed, or to be closed once nothing of its own is in force
	SplitFrom  string    `json:"split_from,omitempty"`
	Reopened   int       `json:"reopened,omitempty"`   // how often it came back after it was closed
	ReopenedAt time.Time `json:"reopened_at,omitzero"` // the last time
	Storm      bool      `json:"storm,omitempty"`      // stands for a large part of the fleet
	Rekeys     []Rekey   `json:"rekeys,omitempty"`     // oldest first, at most the latest ten
	Order      *Order    `json:"order,omitempty"`      // opened by an operator, not by a finding; never changed in place
}

// Rekey tells that an incident came to have another first cause. Its ID stays.
type Rekey struct {
	At   time.Time `json:"at"`
	From string    `json:"from"` // "service mechanism"
	To   string    `json:"to"`
	Why  string    `json:"why"`
}

// InForce returns the mitigations that are, or may be, in effect.
func (i *Incident) InForce() []Mitigation {
	var out []Mitigation
	for _, m := range i.Mitigations {
		if m.Phase.Live() {
			out = append(out, m)
		}
	}
	return out
}
