package agent

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/sreagent/sreagent/agent/control"
	"github.com/sreagent/sreagent/agent/gate"
	"github.com/sreagent/sreagent/learner"
	"github.com/sreagent/sreagent/runbooks"
	"github.com/sreagent/sreagent/sre"
)

// world is a small system that is sick until enough is done about it.
type world struct {
	now       time.Time
	sick      bool // the trigger is on
	cures     int  // levers of a kind in force that make it well; 0 means it heals by itself
	kind      sre.ActionKind
	sticky    bool // stays well once cured, until the trigger is pulled again
	blind     bool
	lever     *fakeLever
	held      func() int // levers in force, where others than lever have them
	worsened  bool       // acting makes it worse
	odd       float64    // what the traffic of web is said to be, where not 0
	entryGone bool       // the traffic of the entry cannot be read

	entryErrors float64 // the error ratio of web, where not 0
}

func (w *world) troubled() bool {
	if !w.sick {
		return false
	}
	n := 0
	for _, e := range w.lever.effects {
		if e.action.Kind == w.kind && w.now.Before(e.expires) {
			n++
		}
	}
	if w.held != nil {
		n = w.held()
	}
	if w.cures > 0 && n >= w.cures {
		if w.sticky {
			w.sick = false
		}
		return false
	}
	return true
}

var testGraph = sre.NewGraph(
	[]sre.Service{{Name: "web", Entry: true}, {Name: "api"}, {Name: "db"}},
	[]sre.Edge{{From: 0, To: 1}, {From: 1, To: 2}},
)

var testSignals = []sre.Signal{
	{Name: "traffic", Kind: sre.Traffic, Unit: sre.PerSecond},
	{Name: "errors", Kind: sre.Errors, Unit: sre.Ratio},
}

func (w *world) Observe(_ context.Context, at time.Time) (*sre.Snapshot, error) {
	w.now = at
	s := &sre.Snapshot{At: at, Interval: time.Second, Graph: testGraph, Signals: testSignals, Service: sre.NewMatrix(2, 3)}
	if w.blind {
		s.Health.Err = "connection refused"
		return s, nil
	}
	s.Health.Up = true
	ratio := 0.0
	if w.troubled() {
		ratio = 0.7
		if w.worsened && len(w.lever.effects) > 0 {
			ratio = 0.95
		}
	}
	for i := range 3 {
		s.Service.Set(0, i, sre.Reading{Value: 100, State: sre.Present})
		s.Service.Set(1, i, sre.Reading{Value: ratio, State: sre.Present})
	}
	if w.odd != 0 {
		s.Service.Set(0, 0, sre.Reading{Value: w.odd, State: sre.Present})
	}
	if w.entryErrors != 0 {
		s.Service.Set(1, 0, sre.Reading{Value: w.entryErrors, State: sre.Present})
	}
	if w.entryGone {
		s.Service.Set(0, 0, sre.Reading{})
	}
	return s, nil
}

func (w *world) History(_ context.Context, from, to time.Time, step time.Duration) iter.Seq2[*sre.Snapshot, error] {
	return func(yield func(*sre.Snapshot, error) bool) {
		for at := from; at.Before(to); at = at.Add(step) {
			s, err := w.Observe(context.Background(), at)
			if !yield(s, err) {
				return
			}
		}
		w.now = to
	}
}

// The mind of these tests: whatever is troubled has one cause, db.
type fakeMind struct {
	settles    func([]sre.Action) []sre.Action // what a step becomes when it starts
	author     string                          // of the runbook
	late       time.Duration                   // how old its evidence is
	anywhere   bool                            // plans need no cause
	w          *world
	cause      string
	confidence sre.Confidence
	steps      int
	lease      time.Duration
	evidence   []sre.Evidence
	unfit      string                                // the cause for which there is no runbook
	before     string                                // precondition of the first step
	says       func(c sre.Check) (sre.Verdict, bool) // overrules what a check finds
	twins      bool                                  // every trouble is two incidents
	joined     bool                                  // which turn out to be one: the first
	apart      bool                                  // they move different levers
	storm      bool                                  // every trouble is one of the fleet
	rival      string                                // the second one has another cause
	split      bool                                  // a new second one was taken for the first until now
	mechanism  sre.Mechanism                         // of the cause, where it is not a retry storm
	sign       string                                // where the trouble shows, if not at the cause
	others     []sre.Hypothesis                      // after the first cause
	notes      []sre.Precursor                       // signs that are always there
	reweigh    func(*sre.Diagnosis, map[string]sre.WhatIf)
	spread     func(*sre.Snapshot, int) []sre.Impact
	risks      func([]sre.Precursor) []sre.Risk
	burns      []sre.Burn
	looked     []time.Time // at which snapshots
	learned    []sre.OutcomeRecord
	law        string         // of every action
	levers     []string       // one step each, of one action
	kind       sre.ActionKind // of every action, where set
	params     sre.Params
	kinds      []sre.ActionKind // of the steps, where set
	ahead      string           // why each step goes before cheaper ones
	why        string           // no runbook fits, where set
	passed     []sre.Rejection  // beside a plan
}

func (m *fakeMind) Detect(s *sre.Snapshot, _ []bool) []sre.Precursor {
	m.looked = append(m.looked, s.At)
	if s.ErrorRatio(0).Value > 0.05 {
		sign := sre.Precursor{Detector: "fake", Service: m.cause, Mechanism: sre.RetryStorm, Severity: sre.Critical}
		if m.sign != "" {
			sign.Service = m.sign
		}
		return append([]sre.Precursor{sign}, m.notes...)
	}
	return m.notes
}

func (m *fakeMind) WarmUp() float64 { return 1 }

func (m *fakeMind) Burns() []sre.Burn { return m.burns }

func (m *fakeMind) Diagnose(s *sre.Snapshot, ps []sre.Precursor, open []sre.Incident) []sre.Finding {
	if len(ps) == len(m.notes) {
		return nil
	}
	ps = ps[:1]
	f := sre.Finding{Fingerprint: "f00d", Incident: openAs(open, "f00d"), Severity: sre.Critical, Diagnosis: sre.Diagnosis{
		At: s.At.Add(-m.late), Onset: s.At, DataQuality: 1, Affected: []string{"db"}, Precursors: ps,
		Hypotheses: []sre.Hypothesis{{Service: m.cause, Mechanism: sre.RetryStorm, Probability: 0.9, Evidence: m.evidence}},
		Blast:      sre.BlastRadius{Services: []string{"db"}, EntryShare: 0.3},
	}}
	f.Diagnosis.Hypotheses = append(f.Diagnosis.Hypotheses, m.others...)
	if f.Storm = m.storm; m.mechanism != "" {
		f.Diagnosis.Hypotheses[0].Mechanism = m.mechanism
	}
	if !m.twins {
		return []sre.Finding{f}
	}
	twin := f
	twin.Fingerprint, twin.Incident = "beef", openAs(open, "beef")
	if m.rival != "" {
		twin.Diagnosis.Hypotheses = []sre.Hypothesis{{Service: m.rival, Mechanism: sre.Overload, Probability: 0.8}}
	}
	if m.split && twin.Incident == "" {
		twin.SplitFrom = f.Incident
	}
	if m.joined {
		for _, inc := range open {
			if inc.ID == twin.Incident && inc.State != sre.Closed {
				f.Merges = []string{inc.ID}
			}
		}
		return []sre.Finding{f}
	}
	return []sre.Finding{f, twin}
}

func openAs(open []sre.Incident, fingerprint string) string {
	for _, inc := range open {
		if inc.Fingerprint == fingerprint {
			return inc.ID
		}
	}
	return ""
}

func (m *fakeMind) Settle(p *sre.Plan, step int, _ runbooks.Facts) []sre.Action {
	out := slices.Clone(p.Steps[step].Actions)
	if m.settles != nil {
		out = m.settles(out)
	}
	return out
}

func (m *fakeMind) Match(f runbooks.Facts) (*sre.Plan, []sre.Rejection) {
	cause := f.Diagnosis.Top().Service
	if cause == m.unfit || slices.Contains(f.Tried, "storm/"+cause) {
		return nil, []sre.Rejection{{Runbook: "storm", Reason: cmp.Or(m.why, "did not help before")}}
	}
	p := &sre.Plan{Runbook: "storm", Version: "1", Author: m.author, Risk: sre.LowRisk, Cause: cause, Anywhere: m.anywhere, Hold: 5 * time.Second, LiftGap: 3 * time.Second,
		Relapse: sre.Check{Expr: "sick"}}
	kinds := []sre.ActionKind{sre.RetryBudget, sre.Shed, sre.Shed}
	if m.kinds != nil {
		kinds = m.kinds
	}
	for i := range m.steps {
		p.Steps = append(p.Steps, sre.Step{
			Name: "step " + string(kinds[i]), Reversible: true, OnFail: sre.NextStep, Lease: m.lease, Ahead: m.ahead,
			Verify: sre.Check{Expr: "well", Within: 10 * time.Second, HeldFor: 3 * time.Second},
			Actions: []sre.Action{
				fakeAction(f, i, 0, kinds[i], "web"),
				fakeAction(f, i, 1, kinds[i], "api"),
			},
		})
		if m.levers != nil {
			p.Steps[i].Actions = p.Steps[i].Actions[:1]
			p.Steps[i].Actions[0].Target = sre.Target{Lever: m.levers[i], Service: []string{"web", "api", "db"}[i]}
		}
		for k := range p.Steps[i].Actions {
			p.Steps[i].Actions[k].Law = m.law
			if m.kind != "" {
				p.Steps[i].Actions[k].Kind, p.Steps[i].Actions[k].Params = m.kind, m.params
			}
			if m.apart && strings.HasPrefix(f.Incident, "beef") {
				p.Steps[i].Actions[k].Target.Name = "twin"
			}
		}
	}
	p.Steps[0].Before.Expr = m.before
	p.Steps[m.steps-1].OnFail = sre.UndoAndEscalate
	return p, m.passed
}

func fakeAction(f runbooks.Facts, step, n int, kind sre.ActionKind, service string) sre.Action {
	return sre.Action{
		ID: fmt.Sprintf("%s.%d.%d.%d", f.Incident, f.Attempt, step, n), Kind: kind, TTL: 20 * time.Second,
		Target: sre.Target{Lever: "fake", Service: service}, Params: sre.Params{"ratio": 0.1},
	}
}

func (m *fakeMind) Evaluate(c sre.Check, f runbooks.Facts) (sre.Verdict, string) {
	if f.Snapshot == nil || !f.Snapshot.Health.Up {
		return sre.NoData, "no data"
	}
	if m.says != nil {
		if v, known := m.says(c); known {
			return v, "as told"
		}
	}
	sick := f.Snapshot.ErrorRatio(0).Value > 0.05
	if sick == (c.Expr == "sick") {
		return sre.Pass, "as asked"
	}
	return sre.Fail, fmt.Sprintf("errors %.2f", f.Snapshot.ErrorRatio(0).Value)
}

func (m *fakeMind) Confidence(learner.Question) sre.Confidence { return m.confidence }
func (m *fakeMind) Learn(o sre.OutcomeRecord)                  { m.learned = append(m.learned, o) }

// memory is a trail that can break at a chosen append.
type memory struct {
	records []sre.Record
	appends int
	breakAt int  // the append that fails, counted from 1; 0 for never
	torn    bool // the failing append leaves the first half of its records behind
}

var errDisk = errors.New("no space left on device")

func (m *memory) Append(_ context.Context, rs []sre.Record) error {
	m.appends++
	if m.appends == m.breakAt {
		if m.torn {
			m.records = append(m.records, rs[:len(rs)/2]...)
		}
		return errDisk
	}
	m.records = append(m.records, rs...)
	return nil
}

func (m *memory) all() iter.Seq2[sre.Record, error] {
	return func(yield func(sre.Record, error) bool) {
		for _, r := range m.records {
			if !yield(r, nil) {
				return
			}
		}
	}
}

// person is a desk with one person at it, who answers by rule.
type person struct {
	queue   []sre.Input
	view    *sre.View
	answers []sre.Answer
	reply   func(v *sre.View) []sre.Input
	n       int
}

func (p *person) Drain(now time.Time) []sre.Input {
	if p.reply != nil && p.view != nil {
		p.queue = append(p.queue, p.reply(p.view)...)
	}
	out := p.queue
	p.queue = nil
	for i := range out {
		p.n++
		out[i].ID, out[i].At = fmt.Sprint(p.n), now
	}
	return out
}

func (p *person) Publish(v *sre.View, answers []sre.Answer) {
	p.view, p.answers = v, append(p.answers, answers...)
}

func (p *person) last() sre.Answer {
	if len(p.answers) == 0 {
		return sre.Answer{}
	}
	return p.answers[len(p.answers)-1]
}

// approving answers every question with yes.
func approving(v *sre.View) []sre.Input {
	var out []sre.Input
	for _, inc := range v.Incidents {
		if inc.State == sre.AwaitingApproval {
			out = append(out, sre.Input{Kind: sre.InputApprove, By: "ann", Role: sre.Approver, Incident: inc.ID, Decision: inc.Decision.ID})
		}
	}
	return out
}

type pages struct{ notices []sre.Notice }

func (p *pages) Notify(_ context.Context, ns []sre.Notice) error {
	p.notices = append(p.notices, ns...)
	return nil
}

type noClock struct{}

func (noClock) Ticks(context.Context, time.Duration) iter.Seq[time.Time] {
	return func(func(time.Time) bool) {}
}

// rig is an agent with everything around it.
type rig struct {
	t     testing.TB
	a     *Agent
	w     *world
	mind  *fakeMind
	lever *fakeLever
	trail *memory
	desk  *person
	pager *pages
	cfg   Config
	at    time.Time
	model sre.Forecaster
	laws  func(string) (control.Law, bool)
	ready func(context.Context, sre.Action) error

	registry prometheus.Registerer
}

func newRig(t testing.TB, change ...func(*rig)) *rig {
	w := &world{cures: 2, kind: sre.RetryBudget, sticky: true}
	w.lever = newFakeLever(w)
	policy := gate.DefaultPolicy()
	policy.Mode = sre.Act
	policy.InForce = sre.Limit{Percent: 100, Number: 10}
	policy.Arbitration.Touched = policy.InForce
	r := &rig{
		t: t, w: w, lever: w.lever, trail: &memory{}, desk: &person{}, pager: &pages{},
		mind: &fakeMind{w: w, cause: "db", steps: 2, lease: 5 * time.Minute, confidence: sre.Confidence{P: 0.9, Lower: 0.8, Basis: "9 of 10"}},
		at:   time.Date(2026, 3, 1, 3, 0, 0, 0, time.UTC),
		cfg: Config{Interval: time.Second, Policy: policy, Version: "test", Timing: Timing{
			SuspectFor: 2 * time.Second, SubsideAfter: 10 * time.Second, CloseAfter: 5 * time.Second,
			EscalatedFor: 20 * time.Second, ReapplyProbe: 3, UndoAttempts: 3,
		}},
	}
	for _, c := range change {
		c(r)
	}
	r.start()
	return r
}

// start builds the agent, from the trail where there is one.
func (r *rig) start() {
	r.t.Helper()
	a, err := newWith(r.cfg, Ports{
		Clock: noClock{}, Source: r.w, Levers: map[string]sre.Remediator{"fake": r.lever}, Trail: r.trail,
		Desk: r.desk, Pager: r.pager, Log: slog.New(slog.DiscardHandler), Forecaster: r.model,
		Laws: r.laws, Registerer: r.registry, Reactivation: r.ready,
		Manual: func(a sre.Action, _ sre.Params) string { return "undo " + a.ID },
	}, mind{
		senses: r.mind, reasoning: r.mind, library: r.mind, experience: r.mind,
		reweigh: r.mind.reweigh, spread: r.mind.spread, risks: r.mind.risks,
	})
	if err != nil {
		r.t.Fatal(err)
	}
	if err := a.Restore(r.trail.all()); err != nil {
		r.t.Fatal(err)
	}
	r.a = a
}

func (r *rig) tick() error {
	r.at = r.at.Add(time.Second)
	return r.a.Tick(context.Background(), r.at)
}

func (r *rig) run(n int) {
	r.t.Helper()
	for range n {
		if err := r.tick(); err != nil {
			r.t.Fatal(err)
		}
	}
}

// until ticks until the first incident is in a state.
func (r *rig) until(state sre.State) *sre.Incident {
	r.t.Helper()
	for range 200 {
		r.run(1)
		if len(r.desk.view.Incidents) > 0 && r.desk.view.Incidents[0].State == state {
			return &r.desk.view.Incidents[0]
		}
	}
	r.t.Fatalf("never %s; the trail:\n%s", state, r.story())
	return nil
}

// story is the lifecycle as the trail has it.
func (r *rig) story() string {
	var out strings.Builder
	for _, rec := range r.trail.records {
		at := rec.At.Format(time.TimeOnly)
		switch {
		case rec.Incident != nil:
			fmt.Fprintf(&out, "%s %s -> %s %s %s\n", at, rec.Change, rec.Incident.State, rec.Incident.ID, rec.Incident.Escalation)
		case rec.Intent != nil:
			fmt.Fprintf(&out, "%s intent %s %s %s\n", at, rec.Intent.Permit.Purpose, rec.Intent.Action.Target, rec.Intent.Action.ID)
		case rec.Result != nil:
			fmt.Fprintf(&out, "%s result %s %s %s\n", at, rec.Result.Phase, rec.Result.Err, rec.Result.Action)
		default:
			fmt.Fprintf(&out, "%s %s\n", at, rec.Kind)
		}
	}
	return out.String()
}
