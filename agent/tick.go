package agent

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/sreagent/sreagent/sre"
)

// freezeFor is how long an open incident may keep its services' baselines from
// learning when nothing is in force: longer, and the trouble is the new normal.
const freezeFor = time.Hour

// turn is what one tick gathers. Nothing of it outlives the tick.
type turn struct {
	now     time.Time
	snap    *sre.Snapshot              // nil when there is none
	seeing  bool                       // the snapshot can be trusted
	signs   []sre.Precursor            // strongest first; read only
	news    map[string]*sre.Finding    // by open incident
	before  map[string]sre.Hypothesis  // first cause of the incidents with news, as it was believed until now
	merges  map[string]string          // incidents that turned out to be another one, which is the value
	replies []sre.Input                // approvals and rejections, answered after diagnosis
	overdue map[string]bool            // actions whose lease has run out, seen in effect this tick
	trouble map[string]bool            // by incident whose check was judged this tick: it is there, or nobody can tell
	laws    map[string][]sre.Reason    // by incident, what its control laws wanted
	unfit   map[string][]sre.Rejection // by incident without a plan, what was weighed this tick
	answers []sre.Answer
	ready   map[string]error // by kill switch that is to be lifted: what its reactivation check says
	orders  []order          // answered when the levers have been touched
	records []sre.Record
	wants   []want
}

// Tick is one round of the loop, at one instant. An error means that the trail
// could not be written: nothing was touched after that, and the agent is over.
// Every later Tick returns the same error: another agent may have taken over, and
// what this one remembers is no longer what is on record.
func (a *Agent) Tick(ctx context.Context, now time.Time) error {
	if a.halted != nil {
		return a.halted
	}
	a.takeReload()
	t := &turn{
		now: now, news: map[string]*sre.Finding{}, before: map[string]sre.Hypothesis{}, overdue: map[string]bool{},
		trouble: map[string]bool{}, laws: map[string][]sre.Reason{},
	}
	a.tick++
	a.noticeGap(now)
	a.last = now
	a.begin(ctx, t)
	a.observe(ctx, t)
	ctx = context.WithoutCancel(ctx) // what was begun is recorded and answered, also at shutdown
	a.expirePauses(t)
	a.hear(t)
	a.detect(t)
	a.diagnose(t)
	a.foresee(ctx, t)
	a.rekey(t)
	a.settle(ctx, t)
	a.reply(t)
	a.reactivate(ctx, t)
	a.advance(t)
	a.reviewMandate(t)
	a.preview(ctx, t)
	a.unswing(t)
	a.keep(t)
	a.explainLaws(t)
	a.survey(ctx, t)
	if err := a.record(ctx, t); err != nil {
		return a.halt(ctx, t, err)
	}
	a.act(ctx, t)
	a.answerOrders(t)
	notices := a.notices(t)
	if err := a.record(ctx, t); err != nil {
		return a.halt(ctx, t, err)
	}
	a.tell(ctx, t, notices)
	return nil
}

// begin takes over at the first tick, with the record that gives this run its
// epoch, the fencing token. Levers that do not describe themselves are asked
// again at every tick.
func (a *Agent) begin(ctx context.Context, t *turn) {
	if len(a.caps) < len(a.ports.Levers) {
		a.caps = a.exec.Describe(ctx)
	}
	if a.started {
		return
	}
	a.started = true
	a.epoch = a.book.starts + 1
	a.book.starts = a.epoch
	a.note(t, sre.Record{Kind: sre.RecordStart, Start: &sre.StartRecord{
		Version: a.cfg.Version, Epoch: a.epoch, Config: a.cfg.Digest, DryRun: a.exec.DryRun(),
	}})
}

// noticeGap takes ticks that never came (a suspended machine, a stuck disk) for
// time in which nobody watched.
func (a *Agent) noticeGap(now time.Time) {
	longest := max(time.Duration(a.gate.Policy().EvidenceMaxAge), 3*a.cfg.Interval)
	if a.started && a.blind.IsZero() && now.Sub(a.last) > longest {
		a.blind = a.last
	}
}

// changesFor is how long a change stays in mind as what trouble may come from.
const changesFor = 30 * time.Minute

func (a *Agent) noteChanges(snap *sre.Snapshot) {
	a.changes = slices.DeleteFunc(append(a.changes, snap.Changes...), func(c sre.Change) bool { return snap.At.Sub(c.At) > changesFor })
}

// observe takes the snapshot. Blind time is not counted for or against
// anything: the clocks of open incidents stand still until sight is back.
func (a *Agent) observe(ctx context.Context, t *turn) {
	snap, err := a.ports.Source.Observe(ctx, t.now)
	if ctx.Err() != nil && a.tick > 1 {
		return // shutting down: that says nothing about the metric store
	}
	health := sre.SourceHealth{}
	if err != nil {
		health.Err = err.Error()
	} else if snap != nil {
		health = snap.Health
		t.snap, t.seeing = snap, snap.Health.Up
		a.fleet = len(snap.Graph.Services)
		a.noteChanges(snap)
	}
	if a.seen.Up != health.Up || a.tick == 1 {
		a.note(t, sre.Record{Kind: sre.RecordSource, Source: &health})
		a.log.Info("metric store", "up", health.Up, "reason", health.Err)
	}
	a.seen = health
	if t.seeing && !a.warmed {
		a.warmed = true
		a.warmUp(ctx, t.now)
	}
	switch {
	case !t.seeing && a.blind.IsZero():
		a.blind = t.now
	case t.seeing && !a.blind.IsZero():
		lost := t.now.Sub(a.blind)
		a.blind = time.Time{}
		for _, inc := range a.book.open() {
			inc.StateSince = inc.StateSince.Add(lost)
			inc.LastSeen = inc.LastSeen.Add(lost)
			inc.GoodSince, inc.BadTicks = time.Time{}, 0
		}
	}
}

func (a *Agent) detect(t *turn) {
	if !t.seeing {
		return
	}
	t.signs = a.mind.senses.Detect(t.snap, a.frozenAt(t.snap))
	a.warm = a.mind.senses.WarmUp()
	for _, p := range t.signs {
		a.meter.precursor(p.Detector)
	}
}

// frozenAt marks the services whose baselines must not learn from a snapshot:
// those of incidents open at its time.
func (a *Agent) frozenAt(s *sre.Snapshot) []bool {
	var out []bool
	for _, inc := range a.book.open() {
		if inc.Order != nil || s.At.Before(inc.Diagnosis.Onset) || len(inc.InForce()) == 0 && s.At.Sub(begun(inc)) > freezeFor {
			continue
		}
		if out == nil {
			out = make([]bool, len(s.Graph.Services))
		}
		for _, names := range [][]string{inc.Diagnosis.Affected, inc.Diagnosis.Blast.Services} {
			for _, name := range names {
				if i, ok := s.Graph.Index(name); ok {
					out[i] = true
				}
			}
		}
	}
	return out
}

// fire moves an incident along the lifecycle and remembers it.
func (a *Agent) fire(t *turn, inc *sre.Incident, e event, args ...any) bool {
	if err := a.book.machines[inc.ID].fire(e, args...); err != nil {
		a.log.Warn("transition refused", "incident", inc.ID, "event", string(e), "err", err)
		return false
	}
	from := inc.State
	inc.State = a.book.machines[inc.ID].state()
	inc.StateSince, inc.UpdatedAt = t.now, t.now
	inc.GoodSince, inc.GoodAt, inc.BadTicks = time.Time{}, time.Time{}, 0
	if inc.State == sre.Closed {
		inc.ClosedAt = t.now
	}
	a.remember(t, inc, string(e))
	a.log.Info("incident moved", "incident", inc.ID, "from", string(from), "to", string(inc.State), "reason", string(e))
	return true
}

// remember notes an incident as it stands.
func (a *Agent) remember(t *turn, inc *sre.Incident, why string) {
	picture := *inc
	picture.Mitigations = slices.Clone(inc.Mitigations)
	a.note(t, sre.Record{Kind: sre.RecordIncident, IncidentID: inc.ID, Incident: &picture, Change: why})
}

// note adds a record to the tick's.
func (a *Agent) note(t *turn, r sre.Record) {
	r.Seq, r.At = a.book.next, t.now
	a.book.next++
	a.book.earn(r)
	t.records = append(t.records, r)
}

// record makes the tick's records durable.
func (a *Agent) record(ctx context.Context, t *turn) error {
	if len(t.records) == 0 {
		return nil
	}
	if err := a.ports.Trail.Append(ctx, t.records); err != nil {
		return err
	}
	t.records = nil
	return nil
}

// halt is the end: without a memory the agent must not act. It tells people,
// the one effect allowed without a record.
func (a *Agent) halt(ctx context.Context, t *turn, cause error) error {
	a.meter.halted.Set(1)
	notice := sre.Notice{
		Incident: "sreagent-trail", Severity: sre.Critical, State: sre.Escalated, StartsAt: t.now, NeedsYou: true,
		Title: "sreagent has stopped: its audit trail cannot be written",
		Text:  cause.Error() + ". Mitigations in force lapse by themselves; see the trail for what they are.",
	}
	if err := a.ports.Pager.Notify(ctx, []sre.Notice{notice}); err != nil {
		a.log.Error("page", "err", err)
	}
	a.halted = fmt.Errorf("write trail: %w", cause)
	return a.halted
}
