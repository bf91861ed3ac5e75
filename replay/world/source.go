package world

import (
	"context"
	"fmt"
	"iter"
	"slices"
	"time"

	"github.com/sreagent/sreagent/sre"
)

// source is the world as a source of snapshots.
type source struct{ w *World }

// Source returns the source that the agent observes. Observing an instant moves
// the world there. An instant that has passed can be observed again while its
// snapshot is kept; any other one that has passed is an error, since a world
// does not run backwards.
//
// History advances the world as Observe does, so a rehearsal that is to have a
// history starts its agent that much later than Options.Start. Of instants that
// have passed it yields the snapshots that were taken at them and are kept, and
// nothing for those at which none was taken, nor for those before Options.Start.
// Its snapshots tell of no change: changes wait for Observe.
func (w *World) Source() sre.Source { return source{w} }

// Observe runs the world to an instant and returns what is seen there.
func (s source) Observe(ctx context.Context, at time.Time) (*sre.Snapshot, error) {
	if err := ctx.Err(); err != nil {
		return nil, context.Cause(ctx)
	}
	snap, passed := s.w.observe(at, s.w.o.Interval, true)
	if passed && snap == nil {
		return nil, fmt.Errorf("observe %s: the world is at %s already", at.UTC().Format(time.RFC3339), s.w.Now().Format(time.RFC3339))
	}
	return snap, nil
}

// History yields the snapshots from an instant until another.
func (s source) History(ctx context.Context, from, to time.Time, step time.Duration) iter.Seq2[*sre.Snapshot, error] {
	return func(yield func(*sre.Snapshot, error) bool) {
		if step <= 0 {
			yield(nil, fmt.Errorf("read history: step is %s; allowed: more than 0s", step))
			return
		}
		for at := from; at.Before(to); at = at.Add(step) {
			if ctx.Err() != nil {
				yield(nil, context.Cause(ctx))
				return
			}
			if at.Before(s.w.o.Start) {
				continue
			}
			snap, _ := s.w.observe(at, step, false)
			if snap == nil {
				continue
			}
			if len(snap.Changes) > 0 {
				quiet := *snap
				quiet.Changes = nil
				snap = &quiet
			}
			if !yield(snap, nil) {
				return
			}
		}
	}
}

// observe returns the snapshot of an instant, and whether the instant had passed
// before; nil where it had and its snapshot is not kept.
func (w *World) observe(at time.Time, interval time.Duration, tell bool) (_ *sre.Snapshot, passed bool) {
	w.turn.Lock()
	defer w.turn.Unlock()
	w.mu.Lock()
	defer w.mu.Unlock()
	i := slices.IndexFunc(w.kept, func(s *sre.Snapshot) bool { return s.At.Equal(at) })
	if i >= 0 {
		return w.kept[i], true
	}
	if at.Before(w.clock()) || len(w.kept) > 0 && at.Before(w.kept[len(w.kept)-1].At) {
		return nil, true
	}
	w.advance(at)
	snap := w.look(at, interval)
	if tell && len(w.untold) > 0 {
		snap.Changes, w.untold = w.untold, nil
		slices.SortStableFunc(snap.Changes, compareChanges)
	}
	if len(w.kept) >= w.o.Keep {
		w.kept = slices.Delete(w.kept, 0, 1)
	}
	w.kept = append(w.kept, snap)
	return snap, false
}

// look makes the snapshot of an instant from the scrapes until now. The matrices
// are new each time, as a snapshot is immutable; nothing else is.
func (w *World) look(at time.Time, interval time.Duration) *sre.Snapshot {
	m := &w.seen
	snap := &sre.Snapshot{
		At: at, Interval: interval, Graph: w.graph, Signals: m.signals, EdgeSignals: m.edgeSignals,
		Service: sre.NewMatrix(len(m.signals), m.service.subjects),
		Edge:    sre.NewMatrix(len(m.edgeSignals), m.edge.subjects),
		Health:  sre.SourceHealth{Up: true, Queries: len(m.signals) + len(m.edgeSignals)},
	}
	stale := max(5*w.o.Interval, lookback)
	if at.Before(w.blind) {
		w.blinded(snap, stale)
		return snap
	}
	for i := range w.targets {
		t := &w.targets[i]
		s := &m.span // in one place, because what is passed to a column escapes
		*s = t.look(at.UnixMilli(), w.o.Window)
		m.service.fill(&snap.Service, i, s, at.UnixNano(), stale)
		for n := range t.calls {
			s.edge = serviceFields + n*edgeFields
			m.edge.fill(&snap.Edge, t.calls[n].edge, s, at.UnixNano(), stale)
		}
	}
	return snap
}

// blinded makes the snapshot of an instant at which the metric store does not
// answer.
func (w *World) blinded(snap *sre.Snapshot, stale time.Duration) {
	snap.Health.Up, snap.Health.Err = false, "the metric store does not answer"
	for _, s := range Signals() {
		snap.Health.Failed = append(snap.Health.Failed, s.Name)
	}
	slices.Sort(snap.Health.Failed)
	for i := range w.seen.service.at {
		w.seen.service.remember(&snap.Service, i, snap.At.UnixNano(), stale)
	}
	for i := range w.seen.edge.at {
		w.seen.edge.remember(&snap.Edge, i, snap.At.UnixNano(), stale)
	}
}
