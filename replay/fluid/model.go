package fluid

import (
	"math"
	"slices"
	"time"
)

// Model is a running world. It is not safe for concurrent use; Clone gives an
// independent one. It holds no clock: Step is the only thing that moves it.
type Model struct {
	plan  Blueprint
	dt    float64 // seconds
	tick  int64   // steps made
	calm  float64 // weight of one step in averages over about a second
	fade  float64 // what one step leaves of averages over about half a second
	decay float64 // what one step leaves of a breaker's window

	services []service
	edges    []edge  // by the order of their callees, so that one service's are neighbours
	order    []int32 // services, callers first
	edgeAt   []int32 // position of Blueprint.Edges[i] in edges
	clientAt []int32 // position of Blueprint.Clients[i] in edges
	crowds   []crowd // what only clients have, by client
	starts   []start // replicas on their way

	levers     []ServiceControl // by service
	faults     []Condition      // by service
	edgeLevers []EdgeControl    // by Blueprint.Edges, as the following
	edgeFaults []EdgeCondition
	breakers   []breaker

	slots   int64     // of every ring, a power of two
	classes int       // attempt classes of all edges together
	cohorts []cohort  // [slot][service]: what waits, by the step of its admission
	waiting []float32 // [slot][class]: the callers' shares of those cohorts
	again   []float32 // [slot][class]: attempts to be made in a step to come
	now     []float64 // [class]: attempts made in this step
	pieces  []piece   // what left one queue in this step; scratch
}

// cohort is what a service admitted in one step.
type cohort struct {
	size float64 // at admission, less what was lost with a replica
	left float64 // still waiting
	dead float64 // of left, given up by the caller
}

// piece is the part of a cohort that left a queue.
type piece struct {
	tick  int64   // of admission
	share float64 // of the cohort's size
}

// service is the state of one service; times are seconds.
type service struct {
	work, rate, workers, bound float64
	startTicks, restartTicks   int64
	floor, onset               float64
	hitMost, keys, heap        float64
	deadlines, caching, capped bool
	inLow, inHigh              int32 // its callers in edges
	head                       int64 // no cohort before this one waits

	kappa, extra, errs, badCut float64 // what conditions make of rate, work and errors
	running                    int     // replicas started
	usable                     float64 // replicas that take work
	leaked                     float64 // workers lost

	leak                 float64 // workers lost per second
	queue, pile, pileSum float64 // pile is what waits longer than the rings reach back
	busy, stat, lambda   float64
	hit, filled, perMiss float64 // filled: good calls for misses, of which one miss makes perMiss
	serial, beside       float64 // time in callees, gathered for the next latency pass
	well                 float64 // share of requests whose hard calls succeed, gathered likewise
	hold, pool, mu       float64
	cpu, wait, fail      float64
	started              float64 // requests taken in hand in the last step
	mix                  [Classes]float64
	tot                  ServiceTotals
}

// edge is the state of one call relation, or of one population of clients.
type edge struct {
	from, to                      int32 // from is -1 for clients
	index                         int32 // in the blueprint's Edges or Clients
	off                           int32 // first class in the rings
	retries                       int32
	used                          int32 // classes with attempts in this step
	hard, beside, cached, guarded bool
	calls                         float64 // per request, with weight and kill switch
	timeout                       float64
	patience, backoff             int64 // steps
	pause                         float64
	delay, loss, budget           float64
	late, mean                    float64 // of an attempt made now: chance to be late, time that the caller waits
	sent, fresh                   float64 // averages per step
	taken                         float64 // average share of the attempts that the callee admits
	goodEnds, badEnds             float64 // averages of calls ended
	goodNow, badNow               float64 // of this step
	failNow                       float64 // attempts of this step that failed
	settled                       int64   // cohorts before this one have been timed out
	lastAgain                     int64   // no attempt is planned after this step
	tokens                        float64
	tot                           EdgeTotals
}

// start is a number of replicas that become ready at a step.
type start struct {
	service  int32
	replicas int32
	tick     int64
	crashed  bool // comes back by itself, whatever is wanted
}

// New builds the model of a blueprint, at rest. The error is a sre.Faults that
// lists every mistake.
func New(b Blueprint) (*Model, error) {
	if faults := b.Validate(); len(faults) > 0 {
		return nil, faults
	}
	if b.Step == 0 {
		b.Step = defaultStep
	}
	b.Services, b.Edges, b.Clients = slices.Clone(b.Services), slices.Clone(b.Edges), slices.Clone(b.Clients)
	m := &Model{plan: b, dt: b.Step.Seconds()}
	m.calm = 1 - math.Exp(-m.dt)
	m.fade = math.Pow(0.8, m.dt/defaultStep.Seconds())
	m.decay = math.Exp(-m.dt / breakerWindow)
	m.order = callersFirst(b)
	m.services = make([]service, len(b.Services))
	for i := range b.Services {
		m.services[i] = m.newService(&b.Services[i])
	}
	m.levers, m.faults = make([]ServiceControl, len(b.Services)), make([]Condition, len(b.Services))
	m.edgeLevers, m.edgeFaults = make([]EdgeControl, len(b.Edges)), make([]EdgeCondition, len(b.Edges))
	m.breakers = make([]breaker, len(b.Edges))
	m.connect()
	m.slots = m.slotsFor(m.longest())
	m.cohorts = make([]cohort, m.slots*int64(len(m.services)))
	m.waiting = make([]float32, m.slots*int64(m.classes))
	m.again = make([]float32, m.slots*int64(m.classes))
	m.now = make([]float64, m.classes)
	m.pieces = make([]piece, 0, m.slots+1)
	m.starts = make([]start, 0, 64)
	for i := range m.services {
		m.SetCondition(i, Well())
		m.SetControl(i, m.DefaultControl(i))
	}
	for i := range b.Edges {
		m.SetEdgeControl(i, m.DefaultEdgeControl(i))
	}
	for i := range m.services {
		m.look(int32(i))
	}
	return m, nil
}

const defaultStep = 100 * time.Millisecond

func (m *Model) newService(s *ServiceSpec) service {
	v := service{
		work: s.Work.Seconds(), rate: s.Rate, workers: float64(s.Workers),
		startTicks: m.ticks(s.StartDelay), restartTicks: max(1, m.ticks(s.Restart)),
		floor: s.Decay.Floor, onset: s.Decay.Onset,
		hitMost: s.Cache.HitRatio, hit: s.Cache.HitRatio, keys: s.Cache.Keys,
		heap: s.HeapLimit, deadlines: s.Deadlines, well: 1,
		running: max(1, s.Replicas),
	}
	v.mix[normalClass] = 1
	return v
}

// normalClass is the class of requests that say nothing of their priority.
const normalClass = 2

// connect lays out edges and clients side by side, by callee.
func (m *Model) connect() {
	b := &m.plan
	into := make([][]edge, len(b.Services))
	for i := range b.Edges {
		s := &b.Edges[i]
		into[s.To] = append(into[s.To], edge{
			from: int32(s.From), to: int32(s.To), index: int32(i), retries: int32(s.Retries),
			hard: s.Hard, beside: s.Parallel, cached: s.Cached, calls: s.Calls,
			backoff: m.ticks(s.Backoff), pause: s.Backoff.Seconds(), taken: 1, lastAgain: -1,
		})
		if s.Cached && m.services[s.From].hitMost > 0 {
			m.services[s.From].caching = true
			m.services[s.From].perMiss += s.Calls
		}
	}
	for c := range b.Clients {
		s := &b.Clients[c]
		e := edge{
			from: -1, to: int32(s.Entry), index: int32(c), retries: int32(s.Retries), calls: 1,
			backoff: m.ticks(s.Backoff), pause: s.Backoff.Seconds(), taken: 1, lastAgain: -1, budget: math.Inf(1),
		}
		m.setTimeout(&e, s.Timeout)
		into[s.Entry] = append(into[s.Entry], e)
	}
	m.edgeAt, m.clientAt = make([]int32, len(b.Edges)), make([]int32, len(b.Clients))
	m.crowds = make([]crowd, len(b.Clients))
	for c := range b.Clients {
		m.crowds[c] = m.newCrowd(&b.Clients[c])
	}
	for _, v := range m.order {
		m.services[v].inLow = int32(len(m.edges))
		for _, e := range into[v] {
			if e.from < 0 {
				m.clientAt[e.index] = int32(len(m.edges))
			} else {
				m.edgeAt[e.index] = int32(len(m.edges))
			}
			e.off = int32(m.classes)
			m.classes += int(e.retries) + 1
			m.edges = append(m.edges, e)
		}
		m.services[v].inHigh = int32(len(m.edges))
	}
}

func normalised(mix [Classes]float64) [Classes]float64 {
	sum := 0.0
	for _, x := range mix {
		sum += x
	}
	if sum == 0 {
		mix[normalClass], sum = 1, 1
	}
	for j := range mix {
		mix[j] /= sum
	}
	return mix
}

// ticks rounds a duration to whole steps.
func (m *Model) ticks(d time.Duration) int64 {
	return int64(math.Round(d.Seconds() / m.dt))
}

// longest is the longest time that a request can be of interest to its caller.
func (m *Model) longest() time.Duration {
	var d time.Duration
	for _, e := range m.plan.Edges {
		d = max(d, e.Timeout+e.Backoff)
	}
	for _, c := range m.plan.Clients {
		d = max(d, c.Timeout+c.Backoff)
	}
	return d
}

// slotsFor is the length of rings that reach back, and ahead, by d.
func (m *Model) slotsFor(d time.Duration) int64 {
	n := int64(16)
	for n < m.ticks(d)+4 {
		n *= 2
	}
	return n
}

// Blueprint returns what the model was built from. The caller must not change
// it.
func (m *Model) Blueprint() *Blueprint { return &m.plan }

// Elapsed is the time that the model has run.
func (m *Model) Elapsed() time.Duration { return time.Duration(m.tick) * m.plan.Step }

// Advance makes as many whole steps as fit into d.
func (m *Model) Advance(d time.Duration) {
	for range int64(d / m.plan.Step) {
		m.Step()
	}
}

// Step moves the world on by Blueprint.Step. It allocates nothing.
func (m *Model) Step() {
	m.tick++
	m.replace()
	for i := len(m.order) - 1; i >= 0; i-- {
		m.look(m.order[i])
	}
	for _, v := range m.order {
		m.flow(v)
	}
}

// Service returns the counters and levels of a service.
func (m *Model) Service(i int) ServiceTotals { return m.services[i].tot }

// Edge returns the counters of a call relation.
func (m *Model) Edge(e int) EdgeTotals { return m.edges[m.edgeAt[e]].tot }

// Client returns the counters of a population of clients.
func (m *Model) Client(c int) ClientTotals {
	e, k := &m.edges[m.clientAt[c]], &m.crowds[c]
	return ClientTotals{
		Offered: k.offered, Attempts: e.tot.First + e.tot.Retried,
		Good: e.tot.Good, Failed: k.failed, Waiting: k.outstanding, Held: k.held,
	}
}

// Clone returns an independent copy that runs on identically.
func (m *Model) Clone() *Model {
	c := *m
	c.plan.Services, c.plan.Edges, c.plan.Clients = slices.Clone(m.plan.Services), slices.Clone(m.plan.Edges), slices.Clone(m.plan.Clients)
	c.services, c.edges = slices.Clone(m.services), slices.Clone(m.edges)
	// What levers and faults point to is copied when it is set, and never
	// written after that.
	c.levers, c.faults = slices.Clone(m.levers), slices.Clone(m.faults)
	c.edgeLevers, c.edgeFaults, c.breakers = slices.Clone(m.edgeLevers), slices.Clone(m.edgeFaults), slices.Clone(m.breakers)
	c.crowds = slices.Clone(m.crowds)
	for i := range c.crowds {
		c.crowds[i].outside = slices.Clone(m.crowds[i].outside)
	}
	c.starts = append(make([]start, 0, cap(m.starts)), m.starts...)
	c.cohorts, c.waiting, c.again = slices.Clone(m.cohorts), slices.Clone(m.waiting), slices.Clone(m.again)
	c.now = slices.Clone(m.now)
	c.pieces = make([]piece, 0, cap(m.pieces))
	return &c
}
