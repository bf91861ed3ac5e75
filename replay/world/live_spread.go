package world

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/sreagent/sreagent/sre"
)

// widest is how many services a forecast of who is hit follows.
const widest = 500

// Signs of trouble, in a service's own numbers.
const (
	troubleFull    = .8  // occupancy
	troubleFailing = .02 // share of requests that fail, or that callers give up
	troubleAgain   = .1  // share of requests that repeat another
	troubleSlow    = 2.  // times the usual latency
)

// Spread runs ahead, with nothing done, the part of the system that is in trouble
// now: services with signs of it, all that depend on them and all they call, at
// most 500, those next to the trouble first. Of the rest it keeps the load that
// comes from there and the time that calls take there. It returns who loses at
// least a twentieth of its requests and when that begins, as the Spread of the
// world does; nobody, where nobody is in trouble.
func (f *live) Spread(ctx context.Context, s *sre.Snapshot, horizon time.Duration) ([]sre.Impact, error) {
	if s == nil || s.Graph == nil {
		return nil, fmt.Errorf("forecast who is hit: %w: there is none", ErrTooLittle)
	}
	calm, _ := f.memory.usual(s)
	sick := troubled(s, calm)
	if len(sick) == 0 {
		return nil, nil
	}
	core := region(s.Graph, sick)
	part, inside := cut(s, core)
	c := calibration{cfg: f.cfg, s: part}
	if calm != nil {
		was, _ := cut(calm, core)
		c.calm = newPrior(f.cfg, was)
	}
	b, err := c.blueprint(nil)
	if err != nil {
		return nil, fmt.Errorf("forecast who is hit: %w", err)
	}
	w, err := f.now(ctx, &c, b, nil)
	if err != nil {
		return nil, fmt.Errorf("forecast who is hit: %w", err)
	}
	hit, err := spread(ctx, w.model, horizon, func(i int) bool { return i < inside })
	for k := range hit {
		i, _ := s.Graph.Index(hit[k].Service)
		hit[k].Entry = slices.Contains(s.Graph.Entries(), i)
	}
	return worst(hit), err
}

// troubled lists the services with signs of trouble, worst first.
func troubled(s, calm *sre.Snapshot) []int {
	c := calibration{s: s}
	score := make([]float64, len(s.Graph.Services))
	var out []int
	for i := range score {
		traffic := c.value(i, sre.Traffic, sre.PerSecond)
		sign := func(n number, sick float64) {
			if n.ok && n.v >= sick {
				score[i] = max(score[i], n.v/sick)
			}
		}
		sign(c.occupancy(i), troubleFull)
		sign(c.processor(i), troubleFull)
		failing := s.ErrorRatio(i)
		sign(number{failing.Value, failing.OK()}, troubleFailing)
		if traffic.ok && traffic.v > 0 {
			sign(c.value(i, sre.Timeouts, sre.PerSecond).over(traffic), troubleFailing)
			sign(c.value(i, sre.Retries, sre.PerSecond).over(traffic), troubleAgain)
		}
		if calm != nil {
			if was := calm.Value(i, sre.Latency, sre.Seconds); was.OK() && was.Value > 0 {
				sign(c.value(i, sre.Latency, sre.Seconds).over(number{was.Value, true}), troubleSlow)
			}
		}
		if score[i] > 0 {
			out = append(out, i)
		}
	}
	slices.SortStableFunc(out, func(a, b int) int { return cmp.Compare(score[b], score[a]) })
	return out
}

// region is the sick services, then those above and below them, ring by ring.
func region(g *sre.Graph, sick []int) []int {
	const up, down = 1, 2
	seen := make([]uint8, len(g.Services))
	type visit struct {
		service int
		way     uint8
	}
	var queue []visit
	var out []int
	add := func(i int, way uint8) {
		if seen[i]&way != 0 || seen[i] == 0 && len(out) == widest {
			return
		}
		if seen[i] == 0 {
			out = append(out, i)
		}
		seen[i] |= way
		queue = append(queue, visit{i, way})
	}
	for _, i := range sick {
		add(i, up)
		add(i, down)
	}
	for head := 0; head < len(queue); head++ {
		v := queue[head]
		if v.way == up {
			for _, e := range g.CallersOf(v.service) {
				add(g.Edges[e].From, up)
			}
			continue
		}
		for _, e := range g.CalleesOf(v.service) {
			add(g.Edges[e].To, down)
		}
	}
	return out
}

// cut takes a part out of a snapshot: the given services first, of which inside
// is the number, then those that they call, as if these called nobody. Services
// that others call from outside are entries of the part.
func cut(s *sre.Snapshot, core []int) (part *sre.Snapshot, inside int) {
	g := s.Graph
	at := make([]int, len(g.Services)) // place in the part, from 1
	var keep []int
	take := func(i int) {
		if at[i] == 0 {
			keep = append(keep, i)
			at[i] = len(keep)
		}
	}
	for _, i := range core {
		take(i)
	}
	inside = len(keep)
	var calls []int
	for _, i := range core {
		for _, e := range g.CalleesOf(i) {
			take(g.Edges[e].To)
			calls = append(calls, e)
		}
	}
	services, edges := make([]sre.Service, len(keep)), make([]sre.Edge, len(calls))
	entries := make([]bool, len(g.Services))
	for _, i := range g.Entries() {
		entries[i] = true
	}
	for k, i := range keep {
		services[k] = g.Services[i]
		services[k].Entry = entries[i]
		for _, e := range g.CallersOf(i) {
			from := at[g.Edges[e].From]
			services[k].Entry = services[k].Entry || (from == 0 || from > inside) && s.Value(i, sre.Traffic, sre.PerSecond).OK()
		}
	}
	for k, e := range calls {
		edges[k] = g.Edges[e]
		edges[k].From, edges[k].To = at[edges[k].From]-1, at[edges[k].To]-1
	}
	part = &sre.Snapshot{
		At: s.At, Interval: s.Interval, Graph: sre.NewGraph(services, edges), Signals: s.Signals, EdgeSignals: s.EdgeSignals,
		Service: pick(&s.Service, len(s.Signals), keep), Edge: pick(&s.Edge, len(s.EdgeSignals), calls), Health: s.Health,
	}
	return part, inside
}

// pick copies columns of a matrix. A subject that the matrix does not have yet is
// absent.
func pick(m *sre.Matrix, rows int, subjects []int) sre.Matrix {
	out := sre.NewMatrix(rows, len(subjects))
	for row := range rows {
		for k, i := range subjects {
			if i < m.Subjects {
				out.Set(row, k, m.At(row, i))
			}
		}
	}
	return out
}
