package agent

import (
	"cmp"
	"fmt"
	"iter"
	"slices"
	"strings"
	"time"

	"github.com/sreagent/sreagent/agent/arbiter"
	"github.com/sreagent/sreagent/agent/gate"
	"github.com/sreagent/sreagent/agent/mandate"
	"github.com/sreagent/sreagent/sre"
)

// keepClosed is how many closed incidents stay in the view.
const keepClosed = 20

// relapseWithin is how soon after its closing the same cause counts as the same
// trouble come back, and not as a new one.
const relapseWithin = time.Hour

// book is all that the agent remembers: the fold of the trail.
type book struct {
	next      uint64                   // sequence number of the next record
	starts    uint64                   // how often an agent took over: the epoch
	incidents map[string]*sre.Incident // open ones, and the latest closed ones
	machines  map[string]*lifecycle
	pauses    []sre.Pause
	applied   []gate.Started // new mitigations, for budgets of rates
	told      map[string]sre.Notice
	unsettled map[string]bool // actions to probe: in flight when the last agent ended, or run out
	doubts    map[string]int  // probes in a row that did not settle an action
	seq       uint64          // of directives within this epoch
	ledger    *arbiter.Ledger // of other writers, of cures that did not help, and of knobs that swing
	errors    []float64       // at the entries in the latest ticks; not in the trail
	noise     float64         // standard deviation of those by chance alone
	earned    *mandate.Ledger // of autonomy
}

func newBook() *book {
	return &book{
		incidents: map[string]*sre.Incident{},
		machines:  map[string]*lifecycle{},
		told:      map[string]sre.Notice{},
		unsettled: map[string]bool{},
		doubts:    map[string]int{},
		ledger:    arbiter.NewLedger(),
		earned:    mandate.NewLedger(),
	}
}

// Restore folds the trail. It touches nothing; what was in flight is probed at
// the first tick.
func (a *Agent) Restore(records iter.Seq2[sre.Record, error]) error {
	for r, err := range records {
		if err != nil {
			return fmt.Errorf("restore: %w", err)
		}
		if err := a.fold(r); err != nil {
			return fmt.Errorf("restore record %d: %w", r.Seq, err)
		}
		a.blind = r.At // nobody watched since: that time counts for nothing
	}
	for _, inc := range a.book.incidents {
		inc.GoodSince, inc.BadTicks = time.Time{}, 0 // nobody watched meanwhile
		for _, m := range inc.Mitigations {
			if m.Phase.Live() {
				a.book.unsettled[m.Action.ID] = true
			}
		}
	}
	return nil
}

// fold applies one record of the past.
func (a *Agent) fold(r sre.Record) error {
	b := a.book
	if r.Seq != b.next {
		return fmt.Errorf("sequence %d where %d was expected", r.Seq, b.next)
	}
	b.next++
	b.earn(r)
	switch r.Kind {
	case sre.RecordStart:
		b.starts = max(b.starts+1, r.Start.Epoch)
	case sre.RecordIncident:
		return b.put(*r.Incident)
	case sre.RecordApproval:
		b.answered(r)
	case sre.RecordOperator:
		b.operator(r)
	case sre.RecordIntent:
		return b.intend(r)
	case sre.RecordResult:
		b.result(r)
	case sre.RecordOutcome:
		a.mind.experience.Learn(*r.Outcome)
		b.came(b.incidents[r.IncidentID], r.Outcome.Outcome, r.At)
	case sre.RecordNotice:
		b.told[r.Notice.Incident] = *r.Notice
	case sre.RecordSource, sre.RecordDecision, sre.RecordStop:
	}
	return nil
}

// put takes an incident as it stands in a record.
func (b *book) put(inc sre.Incident) error {
	machine, err := newLifecycle(inc.ID, inc.State)
	if err != nil {
		return err
	}
	if why := incomplete(&inc); why != "" {
		return fmt.Errorf("incident %s is %s %s", inc.ID, inc.State, why)
	}
	inc.Mitigations = slices.Clone(inc.Mitigations) // the record stays as it is
	for _, m := range inc.Mitigations {
		if !m.SwungAt.IsZero() {
			b.ledger.Swung(arbiter.KnobOf(m.Action), m.SwungAt)
		}
	}
	b.incidents[inc.ID] = &inc
	b.machines[inc.ID] = machine
	return nil
}

// incomplete says what an incident lacks to be taken up in its state.
func incomplete(inc *sre.Incident) string {
	switch inc.State {
	case sre.Suspected, sre.Diagnosed, sre.Reverting, sre.Escalated, sre.Closed:
		return ""
	case sre.AwaitingApproval:
		if inc.Decision == nil {
			return "without a decision"
		}
	case sre.Planned, sre.Acting, sre.Verifying, sre.Resolved, sre.Lifting:
	}
	switch {
	case inc.Plan == nil:
		return "without a plan"
	case inc.State != sre.Acting && inc.State != sre.Verifying:
		return ""
	case inc.Step < 0 || inc.Step >= len(inc.Plan.Steps):
		return fmt.Sprintf("at step %d of %d", inc.Step, len(inc.Plan.Steps))
	}
	for _, action := range inc.Plan.Steps[inc.Step].Actions {
		if find(inc, action.ID) == nil {
			return "without the mitigation of action " + action.ID
		}
	}
	return ""
}

// answered takes a human's no, so that it holds even where nothing that follows
// of it was recorded. A yes without its transition is asked again.
func (b *book) answered(r sre.Record) {
	inc, ok := b.incidents[r.IncidentID]
	if ok && (r.Approval.Response == sre.Rejected || r.Approval.Partial()) && inc.State == sre.AwaitingApproval && r.Approval.Decision == inc.Decision.ID {
		approval := *r.Approval
		inc.Approval = &approval
	}
}

func (b *book) operator(r sre.Record) {
	switch r.Operator.Command {
	case sre.InputPause, sre.InputStop:
		b.pause(sre.Pause{
			Name: r.Operator.Name, By: r.Operator.By, Reason: r.Operator.Reason, Since: r.At,
			Until: r.Operator.Until, Stop: r.Operator.Command == sre.InputStop,
		})
	case sre.InputResume, sre.InputStart:
		b.resume(r.Operator.Name)
	case sre.InputApprove, sre.InputReject, sre.InputClose, sre.InputUndo, sre.InputSwitch, sre.InputMandate:
	}
}

func (b *book) pause(p sre.Pause) {
	b.resume(p.Name)
	b.pauses = append(b.pauses, p)
	slices.SortFunc(b.pauses, func(x, y sre.Pause) int { return strings.Compare(x.Name, y.Name) })
}

func (b *book) resume(name string) bool {
	before := len(b.pauses)
	b.pauses = slices.DeleteFunc(b.pauses, func(p sre.Pause) bool { return p.Name == name })
	return len(b.pauses) < before
}

// intend notes that a lever may have been touched: from here on only a result
// or a probe says more.
func (b *book) intend(r sre.Record) error {
	if r.Intent.DryRun {
		return nil
	}
	inc, ok := b.incidents[r.IncidentID]
	if !ok {
		return fmt.Errorf("intent for unknown incident %q", r.IncidentID)
	}
	m := find(inc, r.Intent.Action.ID)
	if m == nil {
		return fmt.Errorf("intent for unknown action %q", r.Intent.Action.ID)
	}
	switch r.Intent.Permit.Purpose {
	case sre.ToApply:
		found := r.Intent.Before
		if superseded(inc, m.Action) != nil {
			found = nil
		}
		b.ledger.Took(arbiter.KnobOf(m.Action), found, r.Intent.Action.Params, r.At)
		b.ledger.Set(arbiter.KnobOf(m.Action), r.At)
		m.Phase, m.Before, m.Permit, m.Epoch, m.Expires = sre.Intended, r.Intent.Before, r.Intent.Permit, r.Intent.Epoch, r.Intent.Expires
		m.RenewTill = r.At.Add(lease(inc, m))
		b.applied = append(b.applied, gate.Started{At: r.At, Kind: m.Action.Kind, Target: m.Action.Target})
	case sre.ToRenew:
		m.Epoch, m.Expires = r.Intent.Epoch, r.Intent.Expires
		m.Control = cmp.Or(r.Intent.Control, m.Control)
	case sre.ToAdjust:
		b.ledger.Moved(arbiter.KnobOf(m.Action), r.Intent.Action.Params, r.At)
		b.ledger.Set(arbiter.KnobOf(m.Action), r.At)
		m.Epoch, m.Expires, m.Moving = r.Intent.Epoch, r.Intent.Expires, r.Intent.Action.Params
		m.Control = cmp.Or(r.Intent.Control, m.Control)
	case sre.ToRevert:
		b.ledger.Moved(arbiter.KnobOf(m.Action), m.Before, r.At)
		m.Phase = sre.Undoing
	}
	return nil
}

func (b *book) result(r sre.Record) {
	inc, ok := b.incidents[r.IncidentID]
	if !ok {
		return
	}
	if m := find(inc, r.Result.Action); m != nil {
		b.overwritten(m, *r.Result, r.At)
		b.stayed(m, *r.Result, r.At)
		settle(inc, m, *r.Result, r.At)
	}
}

// settle moves a mitigation to what a result says.
func settle(inc *sre.Incident, m *sre.Mitigation, r sre.ResultRecord, at time.Time) {
	if r.Phase == sre.InEffect {
		if m.Phase != sre.InEffect {
			m.AppliedAt = at
		}
		if m.RenewTill.IsZero() && r.Purpose != sre.ToRevert {
			m.RenewTill = at.Add(lease(inc, m))
		}
		if r.Probed && !r.State.Expires.IsZero() && r.State.Expires.Before(m.Expires) {
			m.Expires = r.State.Expires // the enforcer knows better what arrived
		}
	}
	settleMove(m, r)
	m.Phase, m.Err = r.Phase, r.Err
	if keeps(r.Purpose) && r.Code != "" && r.Phase == sre.InEffect {
		m.Expires = at // not renewed as far as is known: tried again at the next tick
	}
	if r.Purpose == sre.ToRevert {
		m.Attempts++
		m.TriedAt = at
	}
	switch r.Phase {
	case sre.Lost:
		m.Manual = cmp.Or(r.Manual, m.Manual)
	case sre.InEffect, sre.Undone, sre.Lapsed:
		m.Manual = "" // nothing is left to do by hand
	case sre.NotStarted, sre.Intended, sre.Undoing, sre.Failed, sre.Released, sre.Simulated:
	}
}

// settleMove follows what a control law has sent: an answer, or what is read at
// the target, says with which settings the action is in force. Where neither
// does, the move stays open until a probe.
func settleMove(m *sre.Mitigation, r sre.ResultRecord) {
	switch {
	case m.Moving == nil:
		return
	case r.Phase != sre.InEffect: // gone, or being undone
	case r.Purpose == sre.ToAdjust && r.Code == "" && (!r.Probed || m.Moving.Near(r.State.Current)):
		m.Action.Params = m.Moving
	case r.Code == sre.CodeUnknown || r.Purpose != sre.ToAdjust && r.Probed:
		return
	}
	m.Moving = nil
}

// lease is how long an action may be kept in force in all.
func lease(inc *sre.Incident, m *sre.Mitigation) time.Duration {
	if inc.Plan == nil || m.Step >= len(inc.Plan.Steps) {
		return m.Action.TTL
	}
	return max(inc.Plan.Steps[m.Step].Lease, m.Action.TTL)
}

// touched reports whether an incident ever moved a lever.
func touched(inc *sre.Incident) bool {
	return slices.ContainsFunc(inc.Mitigations, func(m sre.Mitigation) bool { return !m.AppliedAt.IsZero() })
}

// lately returns the incident of the same cause that was closed last, if that
// was not long ago: what was tried there is not tried again as if it were new.
func (b *book) lately(fingerprint string, now time.Time) *sre.Incident {
	var last *sre.Incident
	for _, inc := range b.incidents {
		if inc.Fingerprint != fingerprint || inc.State != sre.Closed || now.Sub(inc.ClosedAt) > relapseWithin {
			continue
		}
		if last == nil || inc.ClosedAt.After(last.ClosedAt) || inc.ClosedAt.Equal(last.ClosedAt) && inc.ID > last.ID {
			last = inc
		}
	}
	return last
}

// find returns the mitigation of an action, for change in place.
func find(inc *sre.Incident, action string) *sre.Mitigation {
	for i := range inc.Mitigations {
		if inc.Mitigations[i].Action.ID == action {
			return &inc.Mitigations[i]
		}
	}
	return nil
}

// open returns the incidents that are not closed, in the order of their IDs.
func (b *book) open() []*sre.Incident {
	var out []*sre.Incident
	for _, inc := range b.incidents {
		if inc.State != sre.Closed {
			out = append(out, inc)
		}
	}
	slices.SortFunc(out, func(x, y *sre.Incident) int { return strings.Compare(x.ID, y.ID) })
	return out
}

// forget drops all but the latest closed incidents.
func (b *book) forget() {
	var closed []*sre.Incident
	for _, inc := range b.incidents {
		if inc.State == sre.Closed {
			closed = append(closed, inc)
		}
	}
	slices.SortFunc(closed, func(x, y *sre.Incident) int {
		return cmp.Or(y.ClosedAt.Compare(x.ClosedAt), newestFirst(x, y))
	})
	for _, inc := range closed[min(keepClosed, len(closed)):] {
		delete(b.incidents, inc.ID)
		delete(b.machines, inc.ID)
		delete(b.told, inc.ID)
	}
}

func newestFirst(x, y *sre.Incident) int {
	if c := y.OpenedAt.Compare(x.OpenedAt); c != 0 {
		return c
	}
	return strings.Compare(x.ID, y.ID)
}

// held lists every lever that is, or may be, moved.
func (b *book) held() []gate.Held {
	var out []gate.Held
	for _, inc := range b.open() {
		for i := range inc.Mitigations {
			m := &inc.Mitigations[i]
			if !m.Phase.Live() && !afloat(m) {
				continue
			}
			out = append(out, gate.Held{Incident: inc.ID, Kind: m.Action.Kind, Target: m.Action.Target})
		}
	}
	return out
}

// lastHour counts new mitigations.
func (b *book) lastHour(now time.Time) int {
	n := 0
	for _, s := range b.started(now) {
		if now.Sub(s.At) <= time.Hour {
			n++
		}
	}
	return n
}

// started returns the new mitigations of late, and forgets older ones.
func (b *book) started(now time.Time) []gate.Started {
	b.applied = slices.DeleteFunc(b.applied, func(s gate.Started) bool { return now.Sub(s.At) > gate.LongestRate })
	return b.applied
}
