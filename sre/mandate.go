package sre

import "time"

// MandateKey is what autonomy is earned for: one kind of action at one service,
// taken by one runbook.
type MandateKey struct {
	Kind    ActionKind `json:"kind"`
	Service string     `json:"service"`
	Runbook string     `json:"runbook"`
}

// String is the key as people name it.
func (k MandateKey) String() string { return string(k.Kind) + "/" + k.Service + "/" + k.Runbook }

// MandateVerb is what is done to a line of the mandate.
type MandateVerb string

// The closed set of verbs. The agent proposes, withdraws and demotes; only people
// accept, decline and restore, and they may demote too.
const (
	MandatePropose  MandateVerb = "propose"
	MandateWithdraw MandateVerb = "withdraw"
	MandateAccept   MandateVerb = "accept"
	MandateDecline  MandateVerb = "decline"
	MandateDemote   MandateVerb = "demote"
	MandateRestore  MandateVerb = "restore" // back to what the policy's rule says
)

// MandateChange is one step of a line of the mandate, as it is asked for and as
// it stands in the trail.
type MandateChange struct {
	Verb MandateVerb `json:"verb"`
	MandateKey
	From   Stance `json:"from,omitempty"`
	To     Stance `json:"to,omitempty"`
	Base   Stance `json:"base,omitempty"`   // what the policy's rule said then
	Cause  string `json:"cause,omitempty"`  // of a demotion: harm, drift, success_rate, recurrence_rate or a person
	Text   string `json:"text,omitempty"`   // the evidence, in numbers
	Regain string `json:"regain,omitempty"` // of a demotion: how the stance is earned again
}

// MandateLine is the record of one key and where it stands.
type MandateLine struct {
	MandateKey
	Stance    Stance  `json:"stance"` // in force, below the policy's mode
	Base      Stance  `json:"base"`   // what the policy's rule says
	Earns     bool    `json:"earns"`  // whether the rule lets it be earned
	N         int     `json:"n"`      // clear outcomes that count now
	Successes int     `json:"successes"`
	Lower     float64 `json:"lower"` // lower bound of the share of successes
	Harm      int     `json:"harm"`  // outcomes in which it got worse
	Recurred  int     `json:"recurred"`
	Approved  int     `json:"approved"` // questions that people said yes to
	Rejected  int     `json:"rejected"`
	Withheld  int     `json:"withheld"` // incidents in which the rule alone kept the agent from asking
	// Since, By, Cause and Text tell of the latest step up or down.
	Since    time.Time      `json:"since,omitzero"`
	By       string         `json:"by,omitempty"`
	Cause    string         `json:"cause,omitempty"`
	Text     string         `json:"text,omitempty"`
	Regain   string         `json:"regain,omitempty"`
	Proposal *MandateChange `json:"proposal,omitempty"` // that waits for a person
}
