package sre

import (
	"cmp"
	"slices"
	"time"
)

// Explanation is the whole reasoning about one incident, or about one tick where
// Incident is empty: what is believed, on which evidence, what else it could be,
// what was decided and why, what would change that, and how it came to it. It is
// the document of `sreagent explain -o json`, of the API and of the console, and
// holds nothing that JSON cannot carry. Lists are never null.
type Explanation struct {
	At       time.Time `json:"at"` // the tick whose beliefs these are
	Tick     uint64    `json:"tick,omitempty"`
	Incident string    `json:"incident,omitempty"` // empty: a whole tick is explained
	Headline string    `json:"headline"`           // the answer in one sentence

	State      State     `json:"state,omitempty"`
	StateSince time.Time `json:"state_since,omitzero"`
	Severity   Severity  `json:"severity,omitempty"`
	Onset      time.Time `json:"onset,omitzero"` // when it began, as estimated
	OpenedAt   time.Time `json:"opened_at,omitzero"`
	ClosedAt   time.Time `json:"closed_at,omitzero"`
	Outcome    Outcome   `json:"outcome,omitempty"`
	Escalation string    `json:"escalation,omitempty"` // why people have to take over

	Evidence   []Evidence         `json:"evidence"` // for the first cause, strongest first, at most five
	Signs      []ExplainedSign    `json:"signs"`    // every early sign, strongest first, and what it belongs to
	Causes     []Hypothesis       `json:"causes"`   // most probable first
	Confidence Confidence         `json:"confidence"`
	Affected   []string           `json:"affected"`
	Blast      BlastRadius        `json:"blast_radius"`
	Burns      []Burn             `json:"burns"`
	Risks      []Risk             `json:"risks"`
	Decision   ExplainedDecision  `json:"decision"`
	Actions    []Mitigation       `json:"actions"`             // in the order of application
	Incidents  []ExplainedSummary `json:"incidents,omitempty"` // of a tick: all that it knew, open ones first
	Pauses     []Pause            `json:"pauses"`
	Timeline   []Moment           `json:"timeline"` // oldest first
	Quality    DataQuality        `json:"data_quality"`
	Graph      ExplainedGraph     `json:"graph"`
}

// ExplainedSign is one early sign with the incident that it is part of, and why
// it is not enough for one where it is part of none.
type ExplainedSign struct {
	Precursor
	Incident string `json:"incident,omitempty"`
	Why      string `json:"why,omitempty"`
}

// ExplainedSummary is one incident in one line.
type ExplainedSummary struct {
	ID        string    `json:"id"`
	Service   string    `json:"service"` // the first suspect; empty where none is known
	Mechanism Mechanism `json:"mechanism"`
	State     State     `json:"state"`
	Severity  Severity  `json:"severity"`
	Verdict   Stance    `json:"verdict"`
	Headline  string    `json:"headline"`
	Summary   string    `json:"summary,omitempty"` // what the agent said of it at this tick
	Reasons   []Reason  `json:"reasons"`
}

// ExplainedDecision is what the agent does about it and why: every guard's
// finding, parted into those for acting alone and those against, with what would
// move each of the latter.
type ExplainedDecision struct {
	ID         string      `json:"id,omitempty"`
	At         time.Time   `json:"at,omitzero"`
	Verdict    Stance      `json:"verdict"` // watch where nothing was decided
	ValidUntil time.Time   `json:"valid_until,omitzero"`
	ExpiresAt  time.Time   `json:"expires_at,omitzero"`
	Summary    string      `json:"summary"`
	Runbook    string      `json:"runbook,omitempty"`
	Risk       RiskClass   `json:"risk,omitempty"`
	Why        string      `json:"why,omitempty"` // this runbook
	Steps      []Step      `json:"steps"`
	Rejected   []Rejection `json:"rejected"` // other cures and why not
	For        []Reason    `json:"for"`
	Against    []Reason    `json:"against"`      // the most limiting first
	WouldMove  []string    `json:"would_change"` // what would have to be otherwise for the agent to act alone
	Approval   *Approval   `json:"approval,omitempty"`
}

// Moment is one event of the story.
type Moment struct {
	At   time.Time  `json:"at"`
	Kind MomentKind `json:"kind"`
	Text string     `json:"text"`
	Seq  *uint64    `json:"seq,omitempty"` // of the record in the trail, where it comes from there
}

// MomentKind says what kind of event a moment is.
type MomentKind string

// The closed set of moment kinds.
const (
	MomentOther    MomentKind = "other"
	MomentOnset    MomentKind = "onset"
	MomentOpened   MomentKind = "opened"
	MomentRekeyed  MomentKind = "rekeyed"  // another first cause
	MomentMerged   MomentKind = "merged"   // into another, or another into it
	MomentSplit    MomentKind = "split"    // off another
	MomentReopened MomentKind = "reopened" // after it was closed
	MomentState    MomentKind = "state"
	MomentDecision MomentKind = "decision"
	MomentApproval MomentKind = "approval"
	MomentOperator MomentKind = "operator"
	MomentAction   MomentKind = "action"
	MomentOutcome  MomentKind = "outcome"
	MomentNotice   MomentKind = "notice"
	MomentClosed   MomentKind = "closed"
)

// MomentKinds lists every kind in a fixed order.
func MomentKinds() []MomentKind {
	return []MomentKind{
		MomentOther, MomentOnset, MomentOpened, MomentRekeyed, MomentMerged, MomentSplit, MomentReopened, MomentState,
		MomentDecision, MomentApproval, MomentOperator, MomentAction, MomentOutcome, MomentNotice, MomentClosed,
	}
}

// DataQuality says how well the agent could see.
type DataQuality struct {
	Fresh    float64       `json:"fresh"` // share of the needed readings that are fresh, of an incident; 0 to 1
	WarmUp   float64       `json:"warm_up"`
	Services int           `json:"services"` // watched
	Edges    int           `json:"edges"`
	Source   *SourceHealth `json:"source,omitempty"` // not known where the trail alone is read
	Notes    []string      `json:"notes"`            // what limits the explanation, one sentence each
}

// most bounds the lists of an explanation: no person reads more, and no answer
// of the API may grow with the age of an incident.
const (
	mostEvidence = 5
	mostMoments  = 400
	mostSigns    = 50
)

// Explain explains one incident of a view; false where the view has none of that
// ID. The story is as complete as an incident remembers it; with the trail,
// Retell makes it whole. Algorithm: the fixed fields of an explanation record
// that people who must approve ask for, evidence, alternatives, confidence,
// action, stop rule, undo and blast radius.
func Explain(v *View, incident string) (Explanation, bool) {
	if v == nil {
		return Explanation{}, false
	}
	i := slices.IndexFunc(v.Incidents, func(inc Incident) bool { return inc.ID == incident })
	if i < 0 {
		return Explanation{}, false
	}
	inc := &v.Incidents[i]
	e := blank(v)
	d := inc.Diagnosis
	e.Incident, e.State, e.StateSince, e.Severity = inc.ID, inc.State, inc.StateSince, inc.Severity
	e.Onset, e.OpenedAt, e.ClosedAt, e.Outcome, e.Escalation = d.Onset, inc.OpenedAt, inc.ClosedAt, inc.Outcome, inc.Escalation
	e.Headline = headline(inc)
	e.Evidence = finiteEvidence(strongestEvidence(d))
	e.Causes = finiteCauses(d.Hypotheses)
	e.Confidence = inc.Confidence.finite()
	e.Affected = orNone(slices.Clone(d.Affected))
	e.Blast = finiteBlast(d.Blast)
	e.Signs = signsOf(v, inc)
	e.Burns, e.Risks = burnsOf(v, inc), risksOf(v, inc)
	e.Decision = decisionOf(v, inc)
	e.Actions = orNone(slices.Clone(inc.Mitigations))
	e.Timeline = remembered(inc)
	e.Quality.Fresh = Finite(d.DataQuality)
	if d.Note != "" {
		e.Quality.Notes = append(e.Quality.Notes, d.Note)
	}
	e.Graph = focus(v, &e)
	return e, true
}

// ExplainTick explains a whole tick: what was watched, which incidents there
// were, which signs there were and why they are not enough, and what is at risk.
// A nil view explains that nothing is known yet.
func ExplainTick(v *View) Explanation {
	if v == nil {
		v = &View{NotReady: []string{"no tick has finished yet"}}
	}
	e := blank(v)
	e.Signs, e.Burns, e.Risks = signsOf(v, nil), burnsOf(v, nil), risksOf(v, nil)
	e.Incidents = []ExplainedSummary{}
	for i := range v.Incidents {
		e.Incidents = append(e.Incidents, summary(v, &v.Incidents[i]))
	}
	slices.SortStableFunc(e.Incidents, func(x, y ExplainedSummary) int {
		return cmp.Or(cmp.Compare(closedLast(x.State), closedLast(y.State)), cmp.Compare(y.Severity.Rank(), x.Severity.Rank()))
	})
	for _, s := range e.Incidents {
		if s.Verdict.Rank() > e.Decision.Verdict.Rank() && s.State != Closed {
			e.Decision.Verdict = s.Verdict
		}
	}
	e.Headline = tickHeadline(v, &e)
	e.Decision.Summary = tickDecision(v, &e)
	for _, r := range said(v, "").Reasons {
		if r.Guard == WhatWouldChange {
			e.Decision.WouldMove = append(e.Decision.WouldMove, r.Text)
		}
	}
	e.Graph = focus(v, &e)
	return e
}

func closedLast(s State) int {
	if s == Closed {
		return 1
	}
	return 0
}

// blank is what every explanation of a view has.
func blank(v *View) Explanation {
	source := v.Source
	return Explanation{
		At: v.At, Tick: v.Tick, Evidence: []Evidence{}, Signs: []ExplainedSign{}, Causes: []Hypothesis{}, Affected: []string{},
		Blast: finiteBlast(BlastRadius{}), Burns: []Burn{}, Risks: []Risk{}, Actions: []Mitigation{}, Timeline: []Moment{},
		Pauses: orNone(slices.Clone(v.Pauses)),
		Decision: ExplainedDecision{
			Verdict: Watch, Steps: []Step{}, Rejected: []Rejection{}, For: []Reason{}, Against: []Reason{}, WouldMove: []string{},
		},
		Quality: DataQuality{
			WarmUp: Finite(v.WarmUp), Services: v.Services, Edges: len(v.Edges), Source: &source, Notes: orNone(slices.Clone(v.NotReady)),
		},
	}
}

// strongestEvidence is that of the first cause, else that of the strongest
// precursor.
func strongestEvidence(d Diagnosis) []Evidence {
	list := d.Top().Evidence
	if len(list) == 0 && len(d.Precursors) > 0 {
		list = d.Precursors[0].Evidence
	}
	return list[:min(len(list), mostEvidence)]
}

// signsOf lists the signs of a tick, those of one incident where inc is set, and
// says of each what it belongs to.
func signsOf(v *View, inc *Incident) []ExplainedSign {
	owner := map[[2]string]string{}
	for i := range v.Incidents {
		one := &v.Incidents[i]
		if one.State == Closed {
			continue
		}
		for _, p := range one.Diagnosis.Precursors {
			if key := [2]string{p.Service, p.Caller}; owner[key] == "" {
				owner[key] = one.ID
			}
		}
	}
	signs := v.Signs
	if inc != nil {
		signs = inc.Diagnosis.Precursors
	}
	out := []ExplainedSign{}
	for _, p := range signs[:min(len(signs), mostSigns)] {
		p.Evidence, p.Score, p.Risk = finiteEvidence(p.Evidence), Finite(p.Score), Finite(p.Risk)
		s := ExplainedSign{Precursor: p, Incident: owner[[2]string{p.Service, p.Caller}]}
		if inc != nil {
			s.Incident = inc.ID
		} else if s.Incident == "" {
			s.Why = notEnough(v, p)
		}
		out = append(out, s)
	}
	return out
}

// concerns reports whether an incident is about a service: its suspects, what
// shows trouble and what stands behind.
func concerns(inc *Incident) func(service string) bool {
	about := map[string]bool{}
	for _, list := range [][]string{inc.Diagnosis.Affected, inc.Diagnosis.Blast.Services, inc.Diagnosis.Top().Path} {
		for _, name := range list {
			about[name] = true
		}
	}
	for _, h := range inc.Diagnosis.Hypotheses {
		about[h.Service] = true
	}
	return func(service string) bool { return about[service] }
}

func burnsOf(v *View, inc *Incident) []Burn {
	out := []Burn{}
	about := func(string) bool { return true }
	if inc != nil {
		about = concerns(inc)
	}
	for _, b := range v.Burns {
		if about(b.Service) {
			b.Objective, b.LongRate, b.ShortRate, b.Threshold = Finite(b.Objective), Finite(b.LongRate), Finite(b.ShortRate), Finite(b.Threshold)
			out = append(out, b)
		}
	}
	return out
}

func risksOf(v *View, inc *Incident) []Risk {
	out := []Risk{}
	about := func(string) bool { return true }
	if inc != nil {
		about = concerns(inc)
	}
	for _, r := range v.Risks {
		if about(r.Service) || r.Caller != "" && about(r.Caller) {
			r.Probability, r.Evidence = Finite(r.Probability), finiteEvidence(r.Evidence)
			out = append(out, r)
		}
	}
	return out
}

// summary is one incident in one line, with what the agent said of it.
func summary(v *View, inc *Incident) ExplainedSummary {
	d := decisionOf(v, inc)
	return ExplainedSummary{
		ID: inc.ID, Service: inc.Diagnosis.Top().Service, Mechanism: inc.Diagnosis.Top().Mechanism, State: inc.State, Severity: inc.Severity, Verdict: d.Verdict, Headline: headline(inc), Summary: said(v, inc.ID).Summary,
		Reasons: orNone(append(slices.Clone(d.Against), d.For...)),
	}
}

// said is what the agent said of an incident at this tick.
func said(v *View, incident string) Explained {
	for _, x := range v.Explain {
		if x.Incident == incident {
			return x
		}
	}
	return Explained{}
}

// decisionOf gathers what was decided about an incident. The reasons are those
// of this tick where there are any: they say what holds now.
func decisionOf(v *View, inc *Incident) ExplainedDecision {
	now := said(v, inc.ID)
	out := blank(v).Decision
	out.Approval = inc.Approval
	reasons := now.Reasons
	if d := inc.Decision; d != nil {
		out.ID, out.At, out.Verdict, out.ValidUntil, out.ExpiresAt, out.Runbook = d.ID, d.At, d.Stance, d.ValidUntil, d.ExpiresAt, d.Runbook
		if len(reasons) == 0 && !unseen(v, inc) {
			reasons = d.Reasons
		}
	}
	if unseen(v, inc) {
		out.Verdict = Watch
		if len(reasons) == 0 {
			reasons = []Reason{Unseen(v.Source.Err)}
		}
	}
	if out.Verdict.Rank() == 0 {
		out.Verdict = Watch
	}
	if p := inc.Plan; p != nil {
		out.Runbook, out.Risk, out.Why = p.Runbook, p.Risk, p.Reason
		out.Steps, out.Rejected = orNone(slices.Clone(p.Steps)), orNone(slices.Clone(p.Rejected))
	} else if out.Rejected = orNone(slices.Clone(now.Rejected)); len(out.Rejected) == 0 {
		out.Rejected = orNone(slices.Clone(inc.Rejected))
	}
	for _, r := range reasons {
		if r.Allows == Act {
			out.For = append(out.For, r)
		} else {
			out.Against = append(out.Against, r)
		}
	}
	slices.SortStableFunc(out.Against, func(x, y Reason) int { return cmp.Compare(x.Allows.Rank(), y.Allows.Rank()) })
	out.Summary = decisionSentence(inc, out)
	if unseen(v, inc) {
		out.Summary = unseenSentence(inc, out)
	}
	if inc.State != Closed {
		out.WouldMove = wouldMove(inc, out)
	}
	return out
}

func orNone[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}
