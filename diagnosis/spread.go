package diagnosis

import (
	"cmp"
	"math"
	"slices"
	"time"

	"github.com/sreagent/sreagent/sre"
)

// What the algebra assumes where a snapshot is silent, on the side that makes a
// cascade larger: a call to a service that is hardly known is waited for long,
// made once per request, not repeated and needed.
const (
	assumedTimeout = 1.  // seconds; most clients ship with more, which is hit later and not less
	assumedHold    = .05 // seconds that a request keeps a worker
	assumedBusy    = .7  // of the processors, as one third of headroom is common practice
	assumedPool    = .5  // of the workers
	fullestKnown   = .98 // occupancy above which a reading is an overload, not a capacity
	emptiestKnown  = .01
)

// Bounds of the algebra.
const (
	mostRounds  = 32  // of the iteration, however deep the graph
	leastLost   = .05 // share of lost requests from which a service counts as hit
	mostImpacts = 20
	settled     = 1e-3 // growth of a round that is none
	enoughTimes = 13.8 // mean times after which waiting longer is one in a million
)

// Spread returns what it costs whom if the service at index root tips over: if it
// answers nothing in time any more while its callers keep waiting, which is how
// cascades begin. It is algebra on the graph and one snapshot, the least fixed
// point of three monotone maps: load grows downwards by retries, capacity falls as
// calls that wait hold workers, and failures climb by hard calls, timeouts and
// full pools. Every other service is taken to be as it is measured. What is not
// measured is assumed, so as to make the cascade larger.
//
// Impacts are worst first, at most 20; among equals entries stand first, then who
// is hit first, then names. The first is root itself. The maps are those by which
// Huang et al. (OSDI 2022) and the SRE book, chapter 22, tell how overload
// spreads; a run of the model ahead (sre.Forecaster) says it better where there is
// one. Nothing but the graph and the snapshot is needed, and nothing is kept.
func Spread(s *sre.Snapshot, root int) []sre.Impact {
	if s == nil || s.Graph == nil || root < 0 || root >= len(s.Graph.Services) {
		return nil
	}
	w := newWave(s, root)
	for range mostRounds {
		climbed := w.climb()
		if sank := w.sink(); !climbed && !sank {
			break
		}
	}
	return w.impacts()
}

// wave is a cascade under way. Times are seconds, loads requests per second.
type wave struct {
	g     *sre.Graph
	root  int
	order []int32 // services, callees first
	tree  bool    // no service calls itself through others, so one pass upwards says all
	nodes []hitNode
	calls []hitCall // by edge
}

// hitNode is one service in a wave.
type hitNode struct {
	usual, load     float64 // requests per second, before and in the cascade
	before, hold    float64 // seconds that a request keeps a worker, before and now
	rate, workers   float64 // most requests per second by processors; at once by workers
	failing, turned float64 // shares of requests that fail by callees, and that find no room
	after           float64 // seconds until it is hit
	touched, unseen bool    // in the wave; of unknown load
}

// hitCall is one edge in a wave.
type hitCall struct {
	to, from       int32
	hard           bool
	attempts       int32   // at most, the first included
	calls, flow    float64 // per request, and first attempts per second
	timeout, tardy float64 // tardy is the usual share of late answers
	lost           float64 // share of attempts that fail
	late           float64 // share of attempts that are late beyond the usual, at the callee's hold
	hold           float64
	made, ended    float64 // mean attempts of a call, and share of calls whose last attempt fails
}

// lost is the share of a service's requests that fail, come late or are refused.
func (n *hitNode) lost() float64 { return 1 - (1-n.failing)*(1-n.turned) }

// tardy is the chance that an exponential time of the given mean is longer than
// the timeout.
func tardy(timeout, mean float64) float64 {
	if timeout >= enoughTimes*mean {
		return 0
	}
	return math.Exp(-timeout / mean)
}

// repeat returns the mean number of attempts, and the chance that the last one
// fails too, where each fails with chance p.
func repeat(p float64, most int32) (attempts, lost float64) {
	lost = 1
	for range most {
		attempts += lost
		lost *= p
	}
	return attempts, lost
}

// climb goes from callees to callers: lost attempts, time in workers, capacity,
// failures. It reports whether anything grew.
func (w *wave) climb() bool {
	grew := false
	for _, u := range w.order {
		if int(u) == w.root {
			continue
		}
		n := &w.nodes[u]
		hold, spared, after, full := n.before, 1., math.Inf(1), math.Inf(1)
		for _, e := range w.g.CalleesOf(int(u)) {
			c := &w.calls[e]
			v := &w.nodes[c.to]
			if !v.touched {
				continue
			}
			if c.suffer(v); c.lost <= 0 {
				continue
			}
			n.touched = true
			hold += max(0, c.calls*(c.made*min(v.hold, c.timeout)-min(v.before, c.timeout)))
			if c.hard {
				spared *= 1 - min(1, c.calls)*c.ended
				after = min(after, c.fails(v))
			}
			full = min(full, v.after+max(0, n.workers-n.usual*n.before)/n.load)
		}
		if n.touched {
			grew = n.raise(hold, 1-spared, after, full) || grew
		}
	}
	return grew
}

// suffer works out what a callee's state makes of a call.
func (c *hitCall) suffer(v *hitNode) {
	if v.hold != c.hold {
		c.hold, c.late = v.hold, max(0, tardy(c.timeout, v.hold)-c.tardy)
	}
	if lost := 1 - (1-c.late)*(1-v.lost()); lost > c.lost {
		c.lost = lost
		c.made, c.ended = repeat(lost, c.attempts)
	}
}

// fails is when the first request fails for good by a call: where answers come
// late, after all attempts have run out of time, which they do from the start;
// else when the callee begins to fail, and as often again as it is tried again.
func (c *hitCall) fails(v *hitNode) float64 {
	if c.late >= leastLost {
		return c.timeout * float64(c.attempts)
	}
	return v.after + float64(c.attempts-1)*min(c.timeout, v.after)
}

// raise puts new values into a service; they never fall, so that the iteration
// ends at the least fixed point. It is hit after that many seconds by failures,
// or when it is full.
func (n *hitNode) raise(hold, failing, after, full float64) bool {
	was, held := n.lost(), n.hold
	n.hold, n.failing = max(n.hold, hold), max(n.failing, failing)
	if capacity := min(n.rate, n.workers/n.hold); n.load > capacity {
		n.turned = max(n.turned, 1-capacity/n.load)
	}
	if n.failing >= leastLost {
		n.after = min(n.after, after)
	}
	if n.turned >= leastLost {
		n.after = min(n.after, full)
	}
	return n.lost() > was+settled || n.hold > held*(1+settled)
}

// sink goes from callers to callees: load that grows by retries, and by the
// retries of those above. It reports whether anything grew.
func (w *wave) sink() bool {
	grew := false
	for k := len(w.order) - 1; k >= 0; k-- {
		v := w.order[k]
		if int(v) == w.root {
			continue
		}
		n := &w.nodes[v]
		load, after := n.usual, math.Inf(1)
		for _, e := range w.g.CallersOf(int(v)) {
			c := &w.calls[e]
			u := &w.nodes[c.from]
			if !u.touched || int(c.from) == w.root {
				continue // one that answers nothing in time calls no more than it did
			}
			most := min(u.rate, u.workers/u.before) // what its workers could do before calls held them
			worked := max(1, min(u.load, most)/u.usual)
			if more := c.flow * (worked*c.made - 1); more > 0 {
				load += more
				after = min(after, u.after)
			}
		}
		if load > n.load*(1+settled) {
			n.load, n.touched, grew = load, true, true
			n.raise(n.hold, n.failing, math.Inf(1), after)
		}
	}
	return grew
}

// impacts lists who is hit.
func (w *wave) impacts() []sre.Impact {
	entry := make([]bool, len(w.nodes))
	for _, i := range w.g.Entries() {
		entry[i] = true
	}
	var out []sre.Impact
	for i := range w.nodes {
		n := &w.nodes[i]
		if lost := n.lost(); n.touched && lost >= leastLost {
			after := time.Duration(0)
			if !math.IsInf(n.after, 1) {
				after = time.Duration(n.after * float64(time.Second)).Round(100 * time.Millisecond)
			}
			// Hundredths, so that rounding does not choose among equals.
			out = append(out, sre.Impact{Service: w.g.Services[i].Name, Entry: entry[i], Lost: math.Round(lost*100) / 100, After: after})
		}
	}
	root := w.g.Services[w.root].Name
	slices.SortFunc(out, func(a, b sre.Impact) int {
		first := func(yes bool) int {
			if yes {
				return 0
			}
			return 1
		}
		return cmp.Or(
			cmp.Compare(first(a.Service == root), first(b.Service == root)),
			cmp.Compare(b.Lost, a.Lost),
			cmp.Compare(first(a.Entry), first(b.Entry)),
			cmp.Compare(a.After, b.After),
			cmp.Compare(a.Service, b.Service),
		)
	})
	return out[:min(len(out), mostImpacts)]
}
