package sre

import "time"

// RecordKind says what a record tells.
type RecordKind string

// The closed set of record kinds.
const (
	RecordStart    RecordKind = "start"    // an agent took over: version, epoch, configuration digest
	RecordSource   RecordKind = "source"   // the sources went down or came back
	RecordIncident RecordKind = "incident" // an incident as it stands after a transition
	RecordDecision RecordKind = "decision" // a decision with all its reasons
	RecordApproval RecordKind = "approval" // a human's answer, or its expiry
	RecordOperator RecordKind = "operator" // pause, resume, close
	RecordIntent   RecordKind = "intent"   // about to touch a lever
	RecordResult   RecordKind = "result"   // what the lever answered
	RecordOutcome  RecordKind = "outcome"  // what came of a plan, as learned
	RecordNotice   RecordKind = "notice"   // somebody was told
	RecordStop     RecordKind = "stop"     // an agent stopped in good order
)

// RecordKinds lists every kind in a fixed order.
func RecordKinds() []RecordKind {
	return []RecordKind{
		RecordStart, RecordSource, RecordIncident, RecordDecision, RecordApproval, RecordOperator,
		RecordIntent, RecordResult, RecordOutcome, RecordNotice, RecordStop,
	}
}

// Record is one entry of the trail. Seq counts from 0 without a gap. At is the
// tick's time, not the clock's. Of the pointers, those that the kind needs are
// set.
type Record struct {
	Seq        uint64     `json:"seq"`
	At         time.Time  `json:"at"`
	Kind       RecordKind `json:"kind"`
	IncidentID string     `json:"incident_id,omitempty"`

	Start    *StartRecord    `json:"start,omitempty"`
	Source   *SourceHealth   `json:"source,omitempty"`
	Incident *Incident       `json:"incident,omitempty"`
	Change   string          `json:"change,omitempty"` // for RecordIncident: the lifecycle event
	Decision *Decision       `json:"decision,omitempty"`
	Approval *Approval       `json:"approval,omitempty"`
	Operator *OperatorRecord `json:"operator,omitempty"`
	Intent   *IntentRecord   `json:"intent,omitempty"`
	Result   *ResultRecord   `json:"result,omitempty"`
	Outcome  *OutcomeRecord  `json:"outcome,omitempty"`
	Notice   *Notice         `json:"notice,omitempty"`
}

// StartRecord says who took over.
type StartRecord struct {
	Version string `json:"version"`
	Epoch   uint64 `json:"epoch"`
	Config  string `json:"config"` // digest
	DryRun  bool   `json:"dry_run"`
}

// OperatorRecord is an operator's command as it was carried out.
type OperatorRecord struct {
	Command InputKind `json:"command"`
	Name    string    `json:"name,omitempty"` // of a pause or a kill switch
	By      string    `json:"by"`
	Role    Role      `json:"role"`
	Reason  string    `json:"reason"`
	Refused string    `json:"refused,omitempty"` // why it was not carried out

	Until   time.Time      `json:"until,omitzero"`    // of a pause that ends by itself
	Revert  bool           `json:"revert,omitempty"`  // of a stop: what is in force is undone too
	Mandate *MandateChange `json:"mandate,omitempty"` // of a step of the mandate; by "policy" where the agent took it
}

// IntentRecord is written before a lever is touched.
type IntentRecord struct {
	Action  Action    `json:"action"`
	Permit  Permit    `json:"permit"`
	Epoch   uint64    `json:"epoch"`
	Expires time.Time `json:"expires"`
	Before  Params    `json:"before,omitempty"`
	DryRun  bool      `json:"dry_run,omitempty"`
	Control *Control  `json:"control,omitempty"` // what the action's law remembers, to go on with after a restart
	// Detail is what the lever said of the target just before: who keeps it beside
	// the agent, and that they are paused.
	Detail string `json:"detail,omitempty"`
}

// ResultRecord is written after a lever was touched, or after a probe settled
// what had become of it.
type ResultRecord struct {
	Action  string      `json:"action"`
	Purpose Purpose     `json:"purpose"`
	Phase   Phase       `json:"phase"`
	Code    Code        `json:"code,omitempty"`
	Err     string      `json:"err,omitempty"`
	State   TargetState `json:"state,omitzero"`
	Probed  bool        `json:"probed,omitempty"` // settled by a probe, not by an answer
	Manual  string      `json:"manual,omitempty"` // of an undo that was given up: the exact command for a human
}

// OutcomeRecord is what the learner is told.
type OutcomeRecord struct {
	Runbook   string    `json:"runbook"`
	Mechanism Mechanism `json:"mechanism"`
	Service   string    `json:"service"`
	Outcome   Outcome   `json:"outcome"`
	At        time.Time `json:"at"`
	Predicted float64   `json:"predicted"`           // the probability that was decided on
	Raw       float64   `json:"raw,omitempty"`       // that before calibration
	Prior     float64   `json:"prior,omitempty"`     // that before the marks of the situation were looked at
	Class     string    `json:"class,omitempty"`     // of the service: entry, middle or leaf
	Signature []string  `json:"signature,omitempty"` // of the situation that was decided in
	Blamed    *float64  `json:"blamed,omitempty"`    // probability that was given to the cause which proved true; nil where that is not known
}

// Notice is what people are told about an incident. Alert channels key on
// Incident: one incident, one alert, updated in place until Resolved.
type Notice struct {
	Incident string            `json:"incident"`
	Severity Severity          `json:"severity"`
	State    State             `json:"state"`
	Title    string            `json:"title"`
	Text     string            `json:"text"`
	Labels   map[string]string `json:"labels,omitempty"`
	StartsAt time.Time         `json:"starts_at"`
	Resolved bool              `json:"resolved"`
	EndsAt   time.Time         `json:"ends_at,omitzero"`
	NeedsYou bool              `json:"needs_you"` // an answer or an action is wanted
}

// InputKind says what a person asked of the agent.
type InputKind string

// The closed set of inputs.
const (
	InputApprove InputKind = "approve"
	InputReject  InputKind = "reject"
	InputPause   InputKind = "pause"   // no new mitigation until resumed; reverts go on
	InputResume  InputKind = "resume"  // takes back the pause of the same Name
	InputClose   InputKind = "close"   // a human declares an incident over
	InputUndo    InputKind = "undo"    // take back all mitigations of an incident now
	InputSwitch  InputKind = "switch"  // flip a kill switch
	InputStop    InputKind = "stop"    // the global stop: a pause that only an approver lifts, by start
	InputStart   InputKind = "start"   // lifts the global stop
	InputMandate InputKind = "mandate" // accept or decline what the agent proposes of its mandate, or demote it
)

// Input is one thing that a person asked, drained once per tick.
type Input struct {
	ID       string        `json:"id"` // unique per process, to match the Answer
	Kind     InputKind     `json:"kind"`
	At       time.Time     `json:"at"`
	By       string        `json:"by"`
	Role     Role          `json:"role"`
	Incident string        `json:"incident,omitempty"`
	Decision string        `json:"decision,omitempty"` // the decision that was on the screen
	Name     string        `json:"name,omitempty"`     // of a pause
	Reason   string        `json:"reason,omitempty"`
	Switch   *SwitchChange `json:"switch,omitempty"`

	For     time.Duration  `json:"for,omitempty"`    // of a pause; 0 is until it is taken back
	Revert  bool           `json:"revert,omitempty"` // of a stop
	Mandate *MandateChange `json:"mandate,omitempty"`
}

// Answer is what became of an Input. It is given after the tick's records are
// durable, so an accepted answer survives a crash.
type Answer struct {
	Input     string `json:"input"`
	Accepted  bool   `json:"accepted"`
	Reason    string `json:"reason"`
	Forbidden bool   `json:"forbidden,omitempty"` // the role does not suffice
	Incident  string `json:"incident,omitempty"`  // that was opened or ended by it
}

// Pause is one reason for which the agent starts nothing new.
type Pause struct {
	Name   string    `json:"name"`
	By     string    `json:"by"`
	Reason string    `json:"reason"`
	Since  time.Time `json:"since"`
	Until  time.Time `json:"until,omitzero"` // when it ends by itself, if it does
	Stop   bool      `json:"stop,omitempty"` // the global stop: only `start` lifts it
}

// StopName is the name of the pause that is the global stop.
const StopName = "stop"

// View is the immutable picture of the agent after one tick, for people.
type View struct {
	At        time.Time     `json:"at"`
	Tick      uint64        `json:"tick"`
	Epoch     uint64        `json:"epoch"`
	Interval  time.Duration `json:"interval"`
	DryRun    bool          `json:"dry_run"`
	Mode      Stance        `json:"mode"` // the most that policy lets the agent do
	Ready     bool          `json:"ready"`
	NotReady  []string      `json:"not_ready,omitempty"` // why not, one sentence each
	WarmUp    float64       `json:"warm_up"`             // 0 to 1
	Source    SourceHealth  `json:"source"`
	Pauses    []Pause       `json:"pauses,omitempty"`
	Incidents []Incident    `json:"incidents"` // open ones first, newest first within
	Services  int           `json:"services"`
	Edges     []ViewEdge    `json:"edges,omitempty"`
	Switches  []Switch      `json:"switches,omitempty"` // kill switches that people may flip
	Explain   []Explained   `json:"explain,omitempty"`  // the latest tick's reasoning, "did nothing" too
	Risks     []Risk        `json:"risks,omitempty"`    // highest first, at most 20
	Signs     []Precursor   `json:"signs,omitempty"`    // all that was suspicious at this tick, strongest first, at most 50
	Burns     []Burn        `json:"burns,omitempty"`    // error budgets that burn faster than they are earned, fastest first
	Mandate   []MandateLine `json:"mandate,omitempty"`  // what was earned, and what is proposed, by key
}

// ViewEdge is one call relation of the graph, by name.
type ViewEdge struct {
	From string `json:"from"`
	To   string `json:"to"`
}

// Explained is the reasoning of one tick about one suspicion.
type Explained struct {
	At       time.Time `json:"at"`
	Incident string    `json:"incident"`
	Stance   Stance    `json:"verdict"`
	Summary  string    `json:"summary"`
	Reasons  []Reason  `json:"reasons"`
	// Rejected are the runbooks that were weighed at this tick, where none fits.
	Rejected []Rejection `json:"rejected,omitempty"`
}
