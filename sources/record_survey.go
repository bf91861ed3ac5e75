package sources

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/goccy/go-yaml"

	"github.com/sreagent/sreagent/sre"
)

// Survey is what the configured sources tell beside numbers over a span.
type Survey struct {
	Topology Topology     // the file's, and the edges that were seen
	Changes  []sre.Change // from version labels, by time, then ID
}

// Look reads what a daemon with this configuration, running from from to to,
// would have learned of the dependency graph and of changes. An edge that was
// seen but is in no file is valid from the instant at which it was first seen,
// and without a beginning where that is from itself. Steps stand at from and
// every step after it, to included. Mistakes in the configuration are returned
// as sre.Faults.
func Look(ctx context.Context, cfg Config, o RecorderOptions, from, to time.Time, step time.Duration) (*Survey, error) {
	s, err := New(cfg, Options{Log: o.Log, Interval: step})
	if err != nil {
		return nil, err
	}
	defer s.Close()
	wait := o.Pause
	if wait == nil {
		wait = pause
	}
	// Readings of services are not needed here, and would be most of the work.
	s.plans = slices.DeleteFunc(s.plans, func(p plan) bool {
		return p.column != nil && (!p.column.signal.Edge || !s.fromMetrics)
	})
	s.failing = make([]bool, len(s.plans))
	out := &Survey{}
	if cfg.Topology.File != "" {
		file, err := LoadTopology(cfg.Topology.File)
		if err != nil {
			return nil, err
		}
		out.Topology = *file
	}
	if len(s.plans) > 0 {
		if err := out.follow(ctx, s, wait, from, to, step); err != nil {
			return nil, err
		}
	}
	if s.jaeger != nil {
		s.jaeger.lookback = to.Sub(from)
		traced := s.dependencies(ctx, to)
		for i := range traced {
			traced[i].at = from // traces do not say when within the span
		}
		s.graph.add(nil, traced)
	}
	out.Topology.learn(s.graph, from)
	return out, nil
}

// follow reads the span through the daemon's own eyes. A step of which a query
// failed is read again, as an answer that is missing cannot be told from
// nothing to say.
func (v *Survey) follow(ctx context.Context, s *Source, wait func(context.Context, time.Duration) error, from, to time.Time, step time.Duration) error {
	at, attempt, pauses := from, 1, firstPause
	for !at.After(to) {
		var failure error
		for snap, err := range s.History(ctx, at, to.Add(time.Millisecond), step) {
			if err != nil {
				failure = err
				break
			}
			if len(snap.Health.Failed) > 0 {
				failure = fmt.Errorf("no answer to %s", strings.Join(snap.Health.Failed, ", "))
				break
			}
			v.Changes = append(v.Changes, snap.Changes...)
			at, attempt, pauses = snap.At.Add(step), 1, firstPause
		}
		switch {
		case failure == nil:
			return nil
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case attempt == recordAttempts:
			return fmt.Errorf("look at the graph and at versions: %w", failure)
		}
		attempt++
		if err := wait(ctx, pauses); err != nil {
			return err
		}
		pauses = min(2*pauses, longestPause)
	}
	return nil
}

// learn adds the edges of a graph that the topology says nothing of.
func (t *Topology) learn(g *growth, from time.Time) {
	declared := make(map[[2]string]bool, len(t.Edges))
	for _, e := range t.Edges {
		declared[[2]string{e.From, e.To}] = true
	}
	var seen []TopologyEdge
	for _, e := range g.edges {
		edge := TopologyEdge{From: g.services[e.From].Name, To: g.services[e.To].Name}
		if declared[[2]string{edge.From, edge.To}] {
			continue
		}
		if e.FirstSeen.After(from) {
			edge.ValidFrom = e.FirstSeen.UTC()
		}
		seen = append(seen, edge)
	}
	slices.SortFunc(seen, func(a, b TopologyEdge) int {
		return sighting{from: a.From, to: a.To}.compare(sighting{from: b.From, to: b.To})
	})
	t.Edges = append(t.Edges, seen...)
}

// FormatTopology writes a topology in the form that ParseTopology reads.
func FormatTopology(t Topology) ([]byte, error) {
	if t.Edges == nil {
		t.Edges = []TopologyEdge{}
	}
	if t.Entries == nil {
		t.Entries = []string{}
	}
	if t.Priorities == nil {
		t.Priorities = map[string]float64{}
	}
	return yaml.Marshal(t)
}
