package sre

import "time"

// Stance is what the agent decides to do about a plan. The zero value is
// Watch, the safe one.
type Stance string

// The closed set of stances.
const (
	Watch Stance = "watch"
	Ask   Stance = "ask"
	Act   Stance = "act"
)

// Rank orders stances by how much they let the agent do.
func (s Stance) Rank() int {
	switch s {
	case Act:
		return 2
	case Ask:
		return 1
	case Watch:
	}
	return 0
}

// Reason is one guard's finding: its name, whether it spoke for the action, the
// most that it allows, and the numbers in words.
type Reason struct {
	Guard  string `json:"guard"`  // confidence, blast_radius, budget, freshness, ...
	Allows Stance `json:"allows"` // the most that this guard lets the agent do
	Text   string `json:"text"`
	// Change says what would have to be otherwise for the guard to allow more;
	// empty where it allows all.
	Change string `json:"would_change,omitempty"`
}

// Decision is the outcome of the gate for one plan, with every reason for and
// against. The stance is the least that any guard allows.
type Decision struct {
	ID         string      `json:"id"`
	Incident   string      `json:"incident"`
	At         time.Time   `json:"at"`
	ValidUntil time.Time   `json:"valid_until"` // evidence older than this is not acted on
	Stance     Stance      `json:"verdict"`
	Runbook    string      `json:"runbook,omitempty"`
	Confidence Confidence  `json:"confidence"`
	Reasons    []Reason    `json:"reasons"`
	Blast      BlastRadius `json:"blast_radius"`
	ExpiresAt  time.Time   `json:"expires_at,omitzero"` // of the question, when Stance is Ask
}

// Response is what a human answered.
type Response string

// The closed set of responses. The zero value is none.
const (
	Approved Response = "approved"
	Rejected Response = "rejected"
	Expired  Response = "expired" // nobody answered in time
)

// Role is what an authenticated person may do. Each includes the ones before.
type Role string

// The closed set of roles. The zero value may do nothing.
const (
	Viewer   Role = "viewer"
	Operator Role = "operator" // pause, resume, close
	Approver Role = "approver" // and approve or reject
	Admin    Role = "admin"    // and reload, and read everything
)

// Rank orders roles.
func (r Role) Rank() int {
	switch r {
	case Admin:
		return 4
	case Approver:
		return 3
	case Operator:
		return 2
	case Viewer:
		return 1
	}
	return 0
}

// Approval is a human's answer to a decision that asked.
type Approval struct {
	Decision string    `json:"decision"`
	Response Response  `json:"response"`
	By       string    `json:"by"`
	Role     Role      `json:"role"`
	At       time.Time `json:"at"`
	Comment  string    `json:"comment,omitempty"`
	// Need is how many people must approve where one is not enough, and With are
	// those who had before By did.
	Need int      `json:"need,omitempty"`
	With []string `json:"with,omitempty"`
}

// Partial reports whether more people have to approve.
func (a Approval) Partial() bool { return a.Response == Approved && len(a.With)+1 < a.Need }

// Permit is the trail's copy of a permission that the gate minted. It records;
// it opens nothing: what the executor takes is agent.Permit, which cannot be
// made elsewhere.
type Permit struct {
	ID         string    `json:"id"`
	Action     string    `json:"action"`
	Decision   string    `json:"decision"`
	Purpose    Purpose   `json:"purpose"`
	By         string    `json:"by"` // "policy", or the human who approved
	ValidUntil time.Time `json:"valid_until"`
}

// Purpose is why a lever is touched.
type Purpose string

// The closed set of purposes.
const (
	ToApply  Purpose = "apply"
	ToRenew  Purpose = "renew"
	ToAdjust Purpose = "adjust" // moved by its control law while in force; renews it too
	ToRevert Purpose = "revert"
)

// Phase is where one action in a plan stands.
type Phase string

// The closed set of phases. The zero value is not started.
const (
	NotStarted Phase = ""
	Intended   Phase = "intended" // recorded, perhaps sent
	InEffect   Phase = "in_effect"
	Undoing    Phase = "undoing" // revert recorded, perhaps sent
	Undone     Phase = "undone"
	Failed     Phase = "failed"    // known not to be in effect
	Lost       Phase = "lost"      // unknown, and a probe could not settle it: a human must look
	Released   Phase = "released"  // somebody else moved the lever: theirs now
	Lapsed     Phase = "lapsed"    // the enforcer let it expire
	Simulated  Phase = "simulated" // dry run: nothing was touched
)

// Live reports whether the lever is, or may be, moved by this action.
func (p Phase) Live() bool { return p == Intended || p == InEffect || p == Undoing || p == Lost }

// Mitigation is an action in effect, as a lease: who owns it, what was there
// before, until when it holds, and how it is undone.
type Mitigation struct {
	Action    Action    `json:"action"`
	Step      int       `json:"step"`
	Phase     Phase     `json:"phase"`
	Epoch     uint64    `json:"epoch"`  // fencing token under which it was last written
	Before    Params    `json:"before"` // settings found before the first apply: the undo
	Permit    Permit    `json:"permit"` // the one that let it be applied
	AppliedAt time.Time `json:"applied_at,omitzero"`
	Expires   time.Time `json:"expires,omitzero"`    // of the current lease at the enforcer
	RenewTill time.Time `json:"renew_till,omitzero"` // no renewal beyond
	Attempts  int       `json:"attempts,omitempty"`  // reverts tried
	TriedAt   time.Time `json:"tried_at,omitzero"`   // of the latest revert
	Err       string    `json:"err,omitempty"`
	Manual    string    `json:"manual,omitempty"`  // exact command for a human when undo failed
	Control   *Control  `json:"control,omitempty"` // of an action with a law
	Swings    int       `json:"swings,omitempty"`  // how often its knob was found to swing lately, as of SwungAt
	SwungAt   time.Time `json:"swung_at,omitzero"`
	Moving    Params    `json:"moving,omitempty"` // settings sent by its law that are not known yet to be in effect
}

// Control is what a control law remembers from one tick to the next of the
// lever that it moves. It is in the trail, so a restart goes on with it.
type Control struct {
	Numbers map[string]float64 `json:"numbers,omitempty"` // by name, the law's own
	Recent  []Sample           `json:"recent,omitempty"`  // oldest first; each law bounds it
	Done    bool               `json:"done,omitempty"`    // nothing is held down any more: the lever may be taken back
	Why     string             `json:"why,omitempty"`     // of the last move, for people
}

// Sample is a number at an instant.
type Sample struct {
	At    time.Time `json:"at"`
	Value float64   `json:"value"`
}

// Outcome is what came of a plan. The zero value is not known yet.
type Outcome string

// The closed set of outcomes.
const (
	Improved            Outcome = "improved"
	Unchanged           Outcome = "unchanged"
	Worsened            Outcome = "worsened"
	InconclusiveOutcome Outcome = "inconclusive"
	NoDataOutcome       Outcome = "no_data"
)
