package backtest

import (
	"slices"
	"time"

	"github.com/sreagent/sreagent/diagnosis"
	"github.com/sreagent/sreagent/sre"
)

// How much of a recording the ranking with the time given looks at.
const (
	normalTicks = 60               // before the fault, or
	normalSpan  = 30 * time.Minute // whichever is longer
	faultTicks  = 5                // after the injection, or
	faultSpan   = 5 * time.Minute  // whichever is longer, and no further than the fault
	mostKept    = 400              // snapshots of normal operation that are kept
	recovery    = 2                // ticks after a fault that are not normal yet
)

// oracle ranks the services for every fault, given the time of its injection. It
// keeps a ring of snapshots of normal operation and, while a fault begins, the
// snapshots since.
type oracle struct {
	faults   []*span
	changes  []sre.Change
	interval time.Duration
	span     time.Duration
	every    time.Duration // distance of kept snapshots
	normal   []*sre.Snapshot
	running  []*question
	begun    int // faults whose question has been put
	rankings map[*span][]Suspect
	calm     respite
}

// question is one fault whose window is not complete.
type question struct {
	fault  *span // nil where nothing is wrong
	stop   time.Time
	before []*sre.Snapshot
	after  []*sre.Snapshot
}

func newOracle(faults []*span, changes []sre.Change, interval time.Duration) *oracle {
	length := max(normalTicks*interval, normalSpan)
	return &oracle{
		faults: faults, changes: changes, interval: interval, span: length,
		every: max(interval, length/mostKept), rankings: map[*span][]Suspect{},
	}
}

func (o *oracle) watch(at time.Time, s *sre.Snapshot) {
	if !s.Health.Up {
		return
	}
	for o.begun < len(o.faults) && at.After(o.faults[o.begun].InjectedAt) {
		o.begin(o.faults[o.begun])
		o.begun++
	}
	o.running = slices.DeleteFunc(o.running, func(q *question) bool {
		if at.After(q.stop) {
			o.answer(q)
			return true
		}
		q.after = append(q.after, s)
		return false
	})
	o.rest(at, s)
	o.keep(at, s)
}

// begin freezes what was normal before a fault. A sample stands for the interval
// before it, so the one just after the end of a fault still shows it.
func (o *oracle) begin(f *span) {
	q := &question{fault: f, stop: f.ends.Add(o.interval)}
	if limit := f.InjectedAt.Add(max(faultTicks*o.interval, faultSpan)); limit.Before(q.stop) {
		q.stop = limit
	}
	q.before = o.before(f.InjectedAt)
	o.running = append(o.running, q)
}

// before returns what was kept of normal operation in the span before an instant.
func (o *oracle) before(at time.Time) []*sre.Snapshot {
	var out []*sre.Snapshot
	for _, s := range o.normal {
		if s.At.After(at.Add(-o.span)) {
			out = append(out, s)
		}
	}
	return out
}

func (o *oracle) keep(at time.Time, s *sre.Snapshot) {
	for _, f := range o.faults {
		if at.After(f.InjectedAt) && !at.After(f.ends.Add(recovery*o.interval)) {
			return
		}
	}
	if n := len(o.normal); n > 0 && at.Sub(o.normal[n-1].At) < o.every {
		return
	}
	o.normal = append(o.normal, s)
	if stale := len(o.normal) - mostKept; stale > 0 {
		o.normal = slices.Delete(o.normal, 0, stale)
	}
}

func (o *oracle) answer(q *question) {
	o.rankings[q.fault] = suspectsOf(diagnosis.RankWindow(q.before, q.after, o.changes))
}

// finish answers what the end of the recording cut short.
func (o *oracle) finish() {
	for _, q := range o.running {
		if len(q.after) > 0 {
			o.answer(q)
		}
	}
	o.running = nil
}
