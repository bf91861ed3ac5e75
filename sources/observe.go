package sources

import (
	"cmp"
	"context"
	"errors"
	"math"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/sreagent/sreagent/sre"
)

// answer is what one query said. One that was not asked has neither samples
// nor an error.
type answer struct {
	samples []sample
	err     error
	asked   bool
}

// Observe asks every signal for one instant and returns what is known of it.
// Queries that fail leave their signals stale or absent and are named in the
// snapshot's health; when all fail the snapshot says that the source is down.
// The only error is the end of ctx by cancellation.
func (s *Source) Observe(ctx context.Context, at time.Time) (*sre.Snapshot, error) {
	s.turn.Lock()
	defer s.turn.Unlock()
	s.mu.Lock()
	asked, skipped := s.budget.choose()
	refresh := s.jaeger != nil && s.jaeger.due(at)
	s.mu.Unlock()

	answers := make([]answer, len(s.plans))
	var dependencies []sighting
	// A store that hangs must not hold the tick for a timeout per round of
	// queries, so all of them together get most of one interval.
	tick, cancel := context.WithTimeout(ctx, max(s.store.timeout, s.interval*3/4))
	defer cancel()
	var beside sync.WaitGroup // Jaeger must not wait behind Prometheus
	if refresh {
		beside.Go(func() { dependencies = s.dependencies(tick, at) })
	}
	var queries errgroup.Group
	queries.SetLimit(s.concurrency)
	for _, i := range asked {
		queries.Go(func() error {
			samples, err := s.store.instant(tick, s.plans[i].ask, at)
			answers[i] = answer{samples: samples, err: err, asked: true}
			return nil
		})
	}
	_ = queries.Wait()
	beside.Wait()
	if errors.Is(ctx.Err(), context.Canceled) {
		return nil, context.Cause(ctx)
	}

	s.mu.Lock()
	defer s.mu.Unlock()
	snap := s.assemble(at, s.interval, answers, dependencies)
	snap.Health.Skipped = s.names(skipped)
	reported := s.reports.take(at)
	s.metrics.changes.WithLabelValues(originAPI).Add(float64(len(reported)))
	snap.Changes = sortChanges(append(snap.Changes, reported...))
	return snap, nil
}

// assemble makes the snapshot of one instant from the answers, in the order of
// the plans and of names, so that the order of arrival leaves no trace.
func (s *Source) assemble(at time.Time, interval time.Duration, answers []answer, dependencies []sighting) *sre.Snapshot {
	if at.Before(s.last) {
		// Readings never come from after at, so what was seen later is forgotten.
		s.forget()
	}
	s.last = at
	s.tick++
	s.grow(at, answers, dependencies)
	for i, p := range s.plans {
		if p.column != nil {
			s.place(p, answers[i].samples, at)
		}
	}
	var states [3]int
	now := at.UnixNano()
	snap := &sre.Snapshot{
		At:          at,
		Interval:    interval,
		Graph:       s.graph.graph(at),
		Signals:     s.service.signals(),
		EdgeSignals: s.edge.signals(),
		Service:     s.service.fill(len(s.graph.services), now, s.tick, s.lookback, &states),
		Edge:        s.edge.fill(len(s.graph.edges), now, s.tick, s.lookback, &states),
		Health:      s.health(answers),
	}
	for i, p := range s.plans {
		if p.watch != nil && answers[i].asked && answers[i].err == nil {
			snap.Changes = append(snap.Changes, p.watch.see(answers[i].samples, at, s.lookback)...)
		}
	}
	s.metrics.changes.WithLabelValues(originVersion).Add(float64(len(snap.Changes)))
	snap.Changes = sortChanges(snap.Changes)
	s.publish(snap.Health.Up, states)
	return snap
}

// grow gives every service and edge that was seen a place in the graph.
func (s *Source) grow(at time.Time, answers []answer, dependencies []sighting) {
	var names []string
	seen := slices.Clone(dependencies)
	names, seen = s.graph.file.at(at, names, seen)
	for i, p := range s.plans {
		if p.column == nil {
			continue
		}
		for _, v := range answers[i].samples {
			if !p.column.signal.Edge {
				if _, known := s.graph.byName[v.a]; !known {
					names = append(names, v.a)
				}
				continue
			}
			i, known := s.graph.edge(v.a, v.b)
			switch {
			case !known && s.fromMetrics:
				seen = append(seen, sighting{from: v.a, to: v.b, at: at})
			case known && v.value != 0 && !math.IsNaN(v.value):
				// A counter that stands still proves no traffic.
				s.graph.touch(i, at)
			}
		}
	}
	s.graph.add(names, seen)
	for _, c := range s.service {
		c.grow(len(s.graph.services))
	}
	for _, c := range s.edge {
		c.grow(len(s.graph.edges))
	}
}

// place stores the samples of one answer in their column.
func (s *Source) place(p plan, samples []sample, at time.Time) {
	now := at.UnixNano()
	for _, v := range samples {
		if p.column.signal.Edge {
			if i, ok := s.graph.edge(v.a, v.b); ok {
				p.column.set(i, v.value, now, s.tick)
			}
			continue
		}
		if i, ok := s.graph.byName[v.a]; ok {
			p.column.set(i, v.value, now, s.tick)
			s.graph.measure(i)
		}
	}
}

func (s *Source) health(answers []answer) sre.SourceHealth {
	var h sre.SourceHealth
	var failed []int
	for i, a := range answers {
		if !a.asked {
			continue
		}
		h.Queries++
		if a.err == nil {
			h.Up = true
			s.recovered(i)
			continue
		}
		failed = append(failed, i)
		s.failed(i, a.err)
	}
	if !h.Up && len(failed) > 0 {
		h.Err = answers[failed[0]].err.Error()
	}
	h.Failed = s.names(failed)
	return h
}

// failed and recovered log a change for the worse or the better once, not at
// every tick of an outage.
func (s *Source) failed(i int, err error) {
	if !s.failing[i] {
		s.log.Warn("signal query fails", "signal", s.plans[i].ask.name, "reason", reasonOf(err), "err", err)
	}
	s.failing[i] = true
}

func (s *Source) recovered(i int) {
	if s.failing[i] {
		s.log.Info("signal query answers again", "signal", s.plans[i].ask.name)
	}
	s.failing[i] = false
}

// names returns the signal names of some queries, sorted and each once; nil for
// none.
func (s *Source) names(queries []int) []string {
	var out []string
	for _, i := range queries {
		out = append(out, s.plans[i].ask.name)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

func (s *Source) publish(up bool, states [3]int) {
	value := 0.0
	if up {
		value = 1
	}
	s.metrics.up.WithLabelValues(fromPrometheus).Set(value)
	for state, n := range states {
		s.metrics.readings.WithLabelValues(sre.ReadingState(state).String()).Set(float64(n))
	}
	s.metrics.services.Set(float64(len(s.graph.services)))
	s.metrics.edges.WithLabelValues("current").Set(float64(len(s.graph.edges) - s.graph.gone))
	s.metrics.edges.WithLabelValues("forgotten").Set(float64(s.graph.gone))
	if s.graph.dropped > 0 {
		s.metrics.dropped.Add(float64(s.graph.dropped))
		s.graph.dropped = 0
		if !s.full {
			s.full = true
			s.log.Warn("dependency graph is full, further services are left out", "max_services", s.graph.maxServices)
		}
	}
}

func (s *Source) forget() {
	for _, c := range slices.Concat(s.service, s.edge) {
		c.forget()
	}
	for _, w := range s.versions {
		w.forget()
	}
}

func sortChanges(changes []sre.Change) []sre.Change {
	slices.SortFunc(changes, func(a, b sre.Change) int {
		return cmp.Or(a.At.Compare(b.At), cmp.Compare(a.ID, b.ID))
	})
	return changes
}
