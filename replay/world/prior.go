package world

import (
	"math"
	"time"

	"github.com/sreagent/sreagent/replay/fluid"
	"github.com/sreagent/sreagent/sre"
)

// prior is what is concluded from calm times: how services are when nothing is
// wrong. In an incident the numbers of a service that is full say little of it,
// because waiting cannot be told from work; then this holds until the numbers
// contradict it.
type prior struct {
	services []fluid.ServiceSpec
	seen     []bool
	bound    []bool             // services whose workers were fuller than their processors, so that their number is known
	calls    map[[2]int]float64 // per request, by caller and callee
	users    map[int]float64    // requests per second from outside, by entry
}

// Contradictions: how far a number must be from what is usual to be believed.
const (
	otherwise = 1.5 // times more, or less
	ofHold    = .25 // of the time that a request keeps a worker, for times in work

	failingCalls = .05 // share of the attempts of a call that fail
)

// prior calibrates what is remembered for the graph of s; nil where nothing is.
func (f *live) prior(s *sre.Snapshot) *prior {
	calm, ok := f.memory.usual(s)
	if !ok {
		return nil
	}
	return newPrior(f.cfg, calm)
}

func newPrior(cfg LiveConfig, calm *sre.Snapshot) *prior {
	c := calibration{cfg: cfg, s: calm}
	b, err := c.blueprint(nil)
	if err != nil {
		return nil // too little was seen in calm times to help now
	}
	p := &prior{services: b.Services, seen: c.seen, bound: make([]bool, len(b.Services)), calls: make(map[[2]int]float64, len(b.Edges)), users: map[int]float64{}}
	for i := range p.bound {
		p.bound[i] = c.bound(i)
	}
	for _, e := range b.Edges {
		p.calls[[2]int{e.From, e.To}] = e.Calls
	}
	for _, u := range b.Clients {
		p.users[u.Entry] = u.Rate
	}
	return p
}

// same reports whether a number does not contradict what is usual.
func same(now, was float64) bool { return now <= was*otherwise && now >= was/otherwise }

// temperCalls is how many calls a request makes: as usual, unless clearly other.
func (c *calibration) temperCalls(e int, now float64) float64 {
	if c.calm == nil {
		return now
	}
	edge := &c.s.Graph.Edges[e]
	if was, ok := c.calm.calls[[2]int{edge.From, edge.To}]; ok && (same(now, was) || c.letDown(edge.From)) {
		return was
	}
	return now
}

// letDown reports whether calls of a service fail now. Then its callees are a
// better explanation of what is odd about it than it is.
func (c *calibration) letDown(i int) bool {
	for _, e := range c.s.Graph.CalleesOf(i) {
		if c.edgeValue(e, sre.Errors, sre.Ratio) >= failingCalls {
			return true
		}
	}
	return false
}

// remembered returns what is usual for a service.
func (c *calibration) remembered(i int) (fluid.ServiceSpec, bool) {
	if c.calm == nil || i >= len(c.calm.seen) || !c.calm.seen[i] {
		return fluid.ServiceSpec{}, false
	}
	return c.calm.services[i], true
}

// bound reports whether a service is seen to run out of workers before it runs
// out of processors.
func (c *calibration) bound(i int) bool {
	pool, cpu := c.occupancy(i), c.processor(i)
	return pool.ok && (!cpu.ok || pool.v > cpu.v*1.05)
}

// workers is how many a replica has: as was seen in calm times, else as is seen
// now, by Little's law with the usual time in work; else enough.
func (c *calibration) workers(i int, now, was fluid.ServiceSpec) int {
	switch {
	case c.calm.bound[i]:
		return was.Workers
	case c.bound(i):
		taken := c.through(i) * (was.Work.Seconds() + c.away(i))
		return max(1, int(math.Ceil(taken/c.occupancy(i).v/float64(now.Replicas))))
	}
	return max(now.Workers, was.Workers)
}

// temper weighs what a snapshot says of a service against what is usual for it.
func (c *calibration) temper(i int, now fluid.ServiceSpec) fluid.ServiceSpec {
	was, ok := c.remembered(i)
	if !ok {
		return now
	}
	x := c.through(i)
	if !c.seen[i] || x <= 0 || c.letDown(i) {
		was.Replicas, was.QueueBound = now.Replicas, now.QueueBound
		if c.seen[i] && x > 0 {
			was.Workers = c.workers(i, now, was)
		}
		return was
	}
	cpu, away := c.processor(i), c.away(i)
	if same(now.Rate, was.Rate) || !cpu.ok && away > now.Work.Seconds() {
		now.Rate = was.Rate
	}
	pool := c.occupancy(i)
	crowded := c.bound(i) && pool.v >= saturate
	if crowded && !c.calm.bound[i] {
		return now // no more can be told than how many it gets done
	}
	work := now.Work.Seconds()
	hold := max(work+away, leastUse)
	now.Workers = c.workers(i, now, was)
	if crowded { // Little's law: what the workers are held for
		hold = pool.v * float64(now.Workers*now.Replicas) / x
		work = hold - away
	}
	if math.Abs(work-was.Work.Seconds()) <= ofHold*hold || work <= 0 {
		work = was.Work.Seconds()
	}
	now.Work = max(time.Millisecond/10, time.Duration(work*float64(time.Second)))
	return now
}
