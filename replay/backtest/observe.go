package backtest

import (
	"cmp"
	"errors"
	"slices"
	"time"

	"github.com/sreagent/sreagent/replay"
	"github.com/sreagent/sreagent/replay/bundle"
	"github.com/sreagent/sreagent/sre"
)

// leastGrace is the shortest time for which an alarm after the end of a fault
// still belongs to it.
const leastGrace = 3 * time.Minute

// lookBack is how long before a human's alert an alarm may begin that is about
// the same fault.
const lookBack = 30 * time.Minute

// Subject is the recording that an observer judges a run over.
type Subject struct {
	Incident bundle.Incident
	Changes  []sre.Change  // all of the recording, for who was changed when
	Interval time.Duration // between ticks of the run
	// Harm tells, after the last tick, what a fault of the truth did; nil where
	// nobody knows, as of a recording.
	Harm func(fault int) Harm
}

// Observer turns the ticks of one run into a Bundle.
//
// An alarm is an incident that people were told of: the agent made a notice of
// it, which it does for nothing that is only suspected or worth a note. It lasts
// from that tick until the incident is resolved, being lifted, or closed; an
// incident that comes back is another alarm.
//
// An alarm belongs to a fault when it begins between the injection and the end
// of the fault, with some grace for detectors that need time: three ticks or
// three minutes, whichever is more. The earliest one counts as the detection. An
// alarm that is on when the fault is injected counts only from the tick at which
// it comes to name a true service; having begun without a fault it is a false one
// all the same. Where the truth gives the time of a human's
// alert as that of the injection, the fault is older than that: an alarm of at
// most half an hour before then counts from its beginning if it names a true
// service, with a negative delay.
//
// All other time of the run is free of faults, the warm-up of detectors
// included, since some can alarm from the first tick on. Alarms that begin there
// are false.
//
// Watch keeps a reference to recent snapshots: a source must not reuse them.
type Observer struct {
	subject  Subject
	faults   []*span // by injection
	oracle   *oracle
	clerk    *clerk
	graph    *sre.Graph
	alarms   []*alarm
	current  map[string]*alarm // by incident
	plans    map[string]*sre.Plan
	decided  []taken
	done     []deed
	ticks    int
	freeFor  time.Duration
	noisyFor time.Duration
}

// span is one fault of the truth with the time in which alarms belong to it.
type span struct {
	bundle.Fault
	order   int // in the truth
	ends    time.Time
	until   time.Time // ends, with grace
	alerted bool      // injected_at is when a human's alert came
	warned  time.Time // zero while there was no right sign: see warn
}

// alarm is an Alarm with how its diagnosis went on.
type alarm struct {
	Alarm
	over      time.Time // zero while it lasts
	opinions  []opinion
	mechanism sre.Mechanism
}

// opinion is a diagnosis that held from a tick on.
type opinion struct {
	at        time.Time
	says      []Suspect
	mechanism sre.Mechanism // of the first suspect
	quality   float64       // share of readings that were fresh
}

func (o opinion) names(services []string) bool {
	return len(o.says) > 0 && slices.Contains(services, o.says[0].Service)
}

type taken struct {
	Decision
	at      time.Time
	planned []sre.Action
}

type deed struct {
	at     time.Time
	id     string
	action sre.Action
}

// Observe returns an observer of a run over a recording. Its Watch is to see
// every tick, in order.
func Observe(s Subject) *Observer {
	o := &Observer{subject: s, current: map[string]*alarm{}, plans: map[string]*sre.Plan{}, clerk: newClerk(s.Interval)}
	grace := max(leastGrace, 3*s.Interval)
	for i, f := range s.Incident.Truth.Faults {
		sp := &span{Fault: f, order: i, ends: f.EndsAt}
		if sp.ends.IsZero() {
			sp.ends = s.Incident.End
		}
		if sp.ends.Before(f.InjectedAt) {
			sp.ends = f.InjectedAt
		}
		sp.until = sp.ends.Add(grace)
		sp.alerted = slices.ContainsFunc(s.Incident.Alerts, func(a bundle.Alert) bool { return a.At.Equal(f.InjectedAt) })
		o.faults = append(o.faults, sp)
	}
	slices.SortStableFunc(o.faults, func(a, b *span) int { return a.InjectedAt.Compare(b.InjectedAt) })
	o.oracle = newOracle(o.faults, s.Changes, s.Interval)
	return o
}

// Watch takes one tick. It never fails; its signature is that of
// replay.Rehearsal.
func (o *Observer) Watch(t replay.Tick) error {
	o.ticks++
	if t.Snapshot != nil {
		o.graph = t.Snapshot.Graph
		if len(o.faults) > 0 {
			o.oracle.watch(t.At, t.Snapshot)
		}
	}
	o.follow(t)
	o.warn(t)
	o.clerk.watch(t, o.faults)
	if o.at(t.At) == nil {
		o.freeFor += o.subject.Interval
		if len(o.current) > 0 {
			o.noisyFor += o.subject.Interval
		}
	}
	return nil
}

// follow reads the records, then what the view says of incidents that people
// know of.
func (o *Observer) follow(t replay.Tick) {
	for i := range t.Records {
		o.read(t, &t.Records[i])
	}
	if t.View == nil || len(o.current) == 0 {
		return
	}
	for i := range t.View.Incidents {
		inc := &t.View.Incidents[i]
		a := o.current[inc.ID]
		if a == nil {
			continue
		}
		if calm(inc.State) {
			a.over = t.At
			delete(o.current, inc.ID)
			continue
		}
		a.opine(t.At, inc.Diagnosis)
	}
}

func calm(s sre.State) bool { return s == sre.Resolved || s == sre.Lifting || s == sre.Closed }

func (o *Observer) read(t replay.Tick, r *sre.Record) {
	switch {
	case r.Incident != nil && r.Incident.Plan != nil:
		o.plans[r.IncidentID] = r.Incident.Plan
	case r.Decision != nil:
		planned := o.planned(t, r.Decision)
		o.decided = append(o.decided, taken{decisionOf(r.Decision, planned), t.At, planned})
	case r.Intent != nil && r.Intent.Permit.Purpose == sre.ToApply:
		id := r.Intent.Action.ID
		if !slices.ContainsFunc(o.done, func(d deed) bool { return d.id == id }) {
			o.done = append(o.done, deed{t.At, id, r.Intent.Action})
		}
	case r.Notice != nil && !r.Notice.Resolved && !calm(r.Notice.State) && o.current[r.IncidentID] == nil:
		o.raise(t, r.IncidentID)
	}
}

// planned returns the actions of the plan that a decision is about: the one that
// its incident has when the tick is over, else the one recorded last.
func (o *Observer) planned(t replay.Tick, d *sre.Decision) []sre.Action {
	p := o.plans[d.Incident]
	if inc := incidentOf(t.View, d.Incident); inc != nil && inc.Plan != nil {
		p = inc.Plan
	}
	if p == nil || p.Runbook != d.Runbook {
		return nil
	}
	var out []sre.Action
	for _, s := range p.Steps {
		out = append(out, s.Actions...)
	}
	return out
}

func incidentOf(v *sre.View, id string) *sre.Incident {
	if v == nil {
		return nil
	}
	for i := range v.Incidents {
		if v.Incidents[i].ID == id {
			return &v.Incidents[i]
		}
	}
	return nil
}

func (o *Observer) raise(t replay.Tick, id string) {
	a := &alarm{Alarm: Alarm{At: t.At.UTC(), Incident: id}}
	if inc := incidentOf(t.View, id); inc != nil {
		a.Service, a.mechanism = inc.Diagnosis.Top().Service, inc.Diagnosis.Top().Mechanism
		a.opine(t.At, inc.Diagnosis)
	}
	o.alarms = append(o.alarms, a)
	o.current[id] = a
}

// opine keeps a diagnosis where its order differs from the one before.
func (a *alarm) opine(at time.Time, d sre.Diagnosis) {
	top := d.Top().Mechanism
	if n := len(a.opinions); n > 0 && a.opinions[n-1].mechanism == top && sameOrder(a.opinions[n-1].says, d.Hypotheses) {
		return
	}
	a.opinions = append(a.opinions, opinion{at.UTC(), suspectsOf(d.Hypotheses), top, d.DataQuality})
}

func sameOrder(old []Suspect, hs []sre.Hypothesis) bool {
	k := 0
	for i := range hs {
		if hs[i].Service == "" {
			continue
		}
		if k >= len(old) || old[k].Service != hs[i].Service {
			return false
		}
		k++
	}
	return k == len(old)
}

// suspectsOf lists the services of hypotheses, each once. The unknown cause is
// no service and takes no place.
func suspectsOf(hs []sre.Hypothesis) []Suspect {
	out := make([]Suspect, 0, len(hs))
	for i := range hs {
		h := &hs[i]
		if h.Service != "" && !slices.ContainsFunc(out, func(s Suspect) bool { return s.Service == h.Service }) {
			out = append(out, Suspect{h.Service, h.Probability})
		}
	}
	return out
}

// at returns the fault that an instant belongs to: the one injected last of
// those that last.
func (o *Observer) at(now time.Time) *span {
	for _, f := range slices.Backward(o.faults) {
		if f.lasts(now) {
			return f
		}
	}
	return nil
}

func (f *span) lasts(now time.Time) bool { return !now.Before(f.InjectedAt) && !now.After(f.until) }

// owns reports whether an instant belongs to a fault: no later one has begun.
func (o *Observer) owns(f *span, now time.Time) bool {
	return f.lasts(now) && o.at(now).InjectedAt.Equal(f.InjectedAt)
}

// ErrNoTicks says that a run had no tick, so that nothing can be said of it.
var ErrNoTicks = errors.New("no tick was run")

// Bundle returns the judgement after the last tick. It is to be called once.
func (o *Observer) Bundle() (Bundle, error) {
	if o.ticks == 0 {
		return Bundle{}, ErrNoTicks
	}
	b := Bundle{
		ID: o.subject.Incident.ID, Source: o.subject.Incident.Source,
		FaultFreeSeconds: o.freeFor.Seconds(), RecordingSeconds: (time.Duration(o.ticks) * o.subject.Interval).Seconds(),
		Actions: len(o.done),
	}
	if o.freeFor > 0 {
		b.TimeInAlarmRatio = o.noisyFor.Seconds() / o.freeFor.Seconds()
	}
	if o.graph != nil {
		b.Services = len(o.graph.Services)
	}
	o.oracle.finish()
	b.OracleNormal = o.OracleNormal()
	b.Faults = make([]Fault, len(o.faults))
	rightful := map[*alarm]bool{}
	for _, f := range o.faults {
		b.Faults[f.order] = o.judge(f, rightful)
	}
	b.Notifications = o.counted(b.Faults)
	for _, a := range o.alarms {
		if o.at(a.At) == nil && !rightful[a] {
			b.FalseAlarms++
			b.FalseAlarmTargets = append(b.FalseAlarmTargets, a.public())
		}
	}
	o.weigh(&b)
	return b, nil
}

func (a *alarm) public() Alarm {
	out := a.Alarm
	if !a.over.IsZero() {
		over := a.over.UTC()
		out.Until = &over
	}
	return out
}

// rankOf returns the place of the first true service, from 1; 0 where none is
// listed.
func rankOf(list []Suspect, truth []string) int {
	return 1 + slices.IndexFunc(list, func(s Suspect) bool { return slices.Contains(truth, s.Service) })
}

func decisionOf(d *sre.Decision, planned []sre.Action) Decision {
	out := Decision{
		At: d.At.UTC(), Incident: d.Incident, Verdict: d.Stance, Runbook: d.Runbook,
		Confidence: Confidence{P: d.Confidence.P, Lower: d.Confidence.Lower},
		Actions:    []Action{}, Reasons: []string{},
	}
	for _, r := range d.Reasons {
		out.Reasons = append(out.Reasons, cmp.Or(r.Guard, "reason")+" allows "+string(r.Allows)+": "+r.Text)
	}
	for _, a := range planned {
		if a.Params == nil {
			a.Params = sre.Params{}
		}
		out.Actions = append(out.Actions, Action{Kind: a.Kind, Target: a.Target.String(), Params: a.Params})
	}
	return out
}
