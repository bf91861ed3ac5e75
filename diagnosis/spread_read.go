package diagnosis

import (
	"math"

	"github.com/sreagent/sreagent/sre"
)

// rows are the places of the readings that a wave needs, found once, because
// looking them up for every service of a large fleet costs more than the wave.
type rows struct {
	s                      *sre.Snapshot
	traffic, latency       int
	pool, poolPercent      int
	cpu, cpuPercent        int
	edgeTraffic, edgeRetry int
	someHard               bool
}

func findRows(s *sre.Snapshot) rows {
	at := func(kind sre.SignalKind, unit sre.Unit) int {
		if i, ok := s.Signal(kind, unit); ok {
			return i
		}
		return -1
	}
	edgeAt := func(kind sre.SignalKind, unit sre.Unit) int {
		if i, ok := s.EdgeSignal(kind, unit); ok {
			return i
		}
		return -1
	}
	r := rows{
		s: s, traffic: at(sre.Traffic, sre.PerSecond), latency: at(sre.Latency, sre.Seconds),
		pool: at(sre.Pool, sre.Ratio), poolPercent: at(sre.Pool, sre.Percent),
		cpu: at(sre.Saturation, sre.Ratio), cpuPercent: at(sre.Saturation, sre.Percent),
		edgeTraffic: edgeAt(sre.Traffic, sre.PerSecond), edgeRetry: edgeAt(sre.Retries, sre.PerSecond),
	}
	for i := range s.Graph.Edges {
		r.someHard = r.someHard || s.Graph.Edges[i].Spec.Hard
	}
	return r
}

// service returns the reading of a row, and whether there is a finite one above
// zero. A stale one is better than an assumption.
func (r *rows) service(row, i int) (float64, bool) {
	if row < 0 || i >= r.s.Service.Subjects {
		return 0, false
	}
	return above(r.s.Service.At(row, i))
}

func (r *rows) edge(row, e int) (float64, bool) {
	if row < 0 || e >= r.s.Edge.Subjects {
		return 0, false
	}
	return above(r.s.Edge.At(row, e))
}

func above(x sre.Reading) (float64, bool) {
	return x.Value, x.State != sre.Absent && x.Value > 0 && !math.IsInf(x.Value, 1)
}

// occupancy is the share that is taken, from a ratio or from a percentage.
func (r *rows) occupancy(ratio, percent, i int) (float64, bool) {
	x, ok := r.service(ratio, i)
	if !ok {
		if x, ok = r.service(percent, i); ok {
			x /= 100
		}
	}
	return min(fullestKnown, max(emptiestKnown, x)), ok
}

// mostRetries bounds what a topology file or a reading may say.
const mostRetries = 10

// newWave reads a snapshot.
func newWave(s *sre.Snapshot, root int) *wave {
	g := s.Graph
	w := &wave{g: g, root: root, nodes: make([]hitNode, len(g.Services)), calls: make([]hitCall, len(g.Edges))}
	w.sort()
	r := findRows(s)
	for i := range w.nodes {
		n := &w.nodes[i]
		var seen bool
		if n.usual, seen = r.service(r.traffic, i); !seen {
			n.unseen, n.usual = true, 0
		}
		if n.before, seen = r.service(r.latency, i); !seen {
			n.before = assumedHold
		}
		n.hold, n.after = n.before, math.Inf(1)
	}
	for k := len(w.order) - 1; k >= 0; k-- { // callers first, for loads that follow from those of callers
		i := int(w.order[k])
		n := &w.nodes[i]
		if n.unseen && n.usual == 0 {
			n.usual = 1
		}
		n.load = n.usual
		n.room(&r, i)
		for _, e := range g.CalleesOf(i) {
			w.calls[e] = w.call(&r, e)
			if v := &w.nodes[g.Edges[e].To]; v.unseen {
				v.usual += w.calls[e].flow
			}
		}
	}
	n := &w.nodes[root]
	n.touched, n.failing, n.after, n.hold = true, 1, 0, math.Inf(1)
	return w
}

// room works out what a service can do. The fuller of workers and processors
// stands for one that is not told apart.
func (n *hitNode) room(r *rows, i int) {
	pool, pooled := r.occupancy(r.pool, r.poolPercent, i)
	cpu, worked := r.occupancy(r.cpu, r.cpuPercent, i)
	if !worked {
		cpu = assumedBusy
		if pooled {
			cpu = pool
		}
	}
	if !pooled {
		pool = max(assumedPool, cpu)
	}
	n.rate, n.workers = n.usual/cpu, n.usual*n.before/pool
}

// call works out one edge; its caller has been read.
func (w *wave) call(r *rows, e int) hitCall {
	edge := &w.g.Edges[e]
	u, v := &w.nodes[edge.From], &w.nodes[edge.To]
	c := hitCall{from: int32(edge.From), to: int32(edge.To), hard: edge.Spec.Hard || !r.someHard, timeout: edge.Spec.Timeout.Seconds(), calls: edge.Spec.CallsPerRequest}
	if c.timeout <= 0 {
		c.timeout = assumedTimeout
	}
	all, seen := r.edge(r.edgeTraffic, e)
	again, _ := r.edge(r.edgeRetry, e)
	first := all - min(again, all)
	switch {
	case seen && first > 0:
		c.calls, c.flow = first/u.usual, first
	case c.calls > 0:
		c.flow = c.calls * u.usual
	default:
		c.calls, c.flow = 1, u.usual
	}
	if !v.unseen { // a callee gets no more than arrives there
		c.flow = min(c.flow, v.usual)
	}
	c.attempts, c.made = 1+int32(min(mostRetries, max(0, edge.Spec.Retries))), 1
	if !edge.Spec.HasRetries && edge.Spec.Retries == 0 && first > 0 {
		c.attempts = 1 + int32(max(0, math.Ceil(min(mostRetries, again/first)-.05))) // as many as are seen to be made
	}
	c.tardy = tardy(c.timeout, v.before)
	return c
}

// sort orders the services callees first, by a walk in depth that needs no stack
// of calls, as chains may be long. In a circle the order is that of the walk.
func (w *wave) sort() {
	n := len(w.g.Services)
	w.order, w.tree = make([]int32, 0, n), true
	const unseen, open, done = 0, 1, 2
	state := make([]uint8, n)
	next := make([]int32, n)
	stack := make([]int32, 0, 64)
	for start := range n {
		if state[start] != unseen {
			continue
		}
		state[start] = open
		stack = append(stack[:0], int32(start))
		for len(stack) > 0 {
			u := stack[len(stack)-1]
			calls := w.g.CalleesOf(int(u))
			if int(next[u]) == len(calls) {
				state[u] = done
				w.order = append(w.order, u)
				stack = stack[:len(stack)-1]
				continue
			}
			v := w.g.Edges[calls[next[u]]].To
			next[u]++
			switch state[v] {
			case unseen:
				state[v] = open
				stack = append(stack, int32(v))
			case open:
				w.tree = false
			}
		}
	}
}
