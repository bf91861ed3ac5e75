package world

import (
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/sreagent/sreagent/replay/fluid"
	"github.com/sreagent/sreagent/sre"
)

// calibration makes a blueprint of a snapshot by matching what passes through a
// service, how long that takes and how much of its room it takes.
type calibration struct {
	cfg  LiveConfig
	s    *sre.Snapshot
	seen []bool // services of which enough is known
	calm *prior // nil where no calm time is remembered
}

// Bounds of what is concluded from one snapshot.
const (
	ample    = 4.   // times the use, for the bound that does not bind
	saturate = .8   // occupancy from which latency is waiting, not work
	full     = .95  // occupancy from which requests may be turned away
	leastUse = .001 // occupancy below which nothing can be concluded from it
)

func (c *calibration) value(i int, kind sre.SignalKind, unit sre.Unit) number {
	r := c.s.Value(i, kind, unit)
	return number{r.Value, r.OK()}
}

func (c *calibration) edgeValue(e int, kind sre.SignalKind, unit sre.Unit) float64 {
	r := c.s.EdgeValue(e, kind, unit)
	if !r.OK() {
		return 0
	}
	return r.Value
}

// blueprint makes the blueprint, or says what is missing.
func (c *calibration) blueprint(actions []sre.Action) (fluid.Blueprint, error) {
	g := c.s.Graph
	if err := c.look(actions); err != nil {
		return fluid.Blueprint{}, err
	}
	b := fluid.Blueprint{Services: make([]fluid.ServiceSpec, len(g.Services))}
	someHard := c.someHard()
	for e, edge := range g.Edges {
		calls, ok := c.calls(e)
		if edge.Gone || !ok {
			continue
		}
		b.Edges = append(b.Edges, fluid.EdgeSpec{
			From: edge.From, To: edge.To, Calls: calls, Timeout: c.timeout(e), Retries: c.retries(e),
			Backoff: 50 * time.Millisecond, Hard: edge.Spec.Hard || !someHard,
		})
	}
	for i := range g.Services {
		b.Services[i] = c.temper(i, c.service(i))
	}
	for _, i := range g.Entries() {
		if client, ok := c.client(i); ok {
			b.Clients = append(b.Clients, client)
		}
	}
	if len(b.Clients) == 0 {
		return b, fmt.Errorf("%w: no entry has fresh traffic of its own", ErrTooLittle)
	}
	return b, nil
}

// look finds which services are measured well enough, and whether they are
// enough: all that actions aim at, all entries, and most of what stands behind
// them.
func (c *calibration) look(actions []sre.Action) error {
	g := c.s.Graph
	c.seen = make([]bool, len(g.Services))
	for i := range g.Services {
		traffic, latency := c.value(i, sre.Traffic, sre.PerSecond), c.value(i, sre.Latency, sre.Seconds)
		idle := traffic.ok && traffic.v <= 0
		c.seen[i] = idle || traffic.ok && latency.ok && (c.occupancy(i).ok || c.processor(i).ok)
	}
	if !c.s.Health.Up {
		return fmt.Errorf("%w: the source is down", ErrTooLittle)
	}
	for _, a := range actions {
		if i, ok := g.Index(a.Target.Service); ok && !c.seen[i] {
			return fmt.Errorf("%w: %s, which %s is to move, is not measured", ErrTooLittle, a.Target.Service, a.Kind)
		}
	}
	behind := make([]bool, len(g.Services))
	for _, i := range g.Entries() {
		if !c.seen[i] {
			return fmt.Errorf("%w: the entry %s is not measured", ErrTooLittle, g.Services[i].Name)
		}
		behind[i] = true
		for _, j := range g.Downstream(i) {
			behind[j] = true
		}
	}
	all, seen := 0., 0.
	for i := range behind {
		if behind[i] {
			all++
			if c.seen[i] {
				seen++
			}
		}
	}
	if all == 0 || seen < c.cfg.MinSeen*all {
		return fmt.Errorf("%w: %.0f of %.0f services behind the entries are measured; needed: a share of %g", ErrTooLittle, seen, all, c.cfg.MinSeen)
	}
	return nil
}

// occupancy is how much of the service's room is taken, 0 to 1.
func (c *calibration) occupancy(i int) number {
	r := c.value(i, sre.Pool, sre.Ratio)
	if !r.ok {
		r = c.value(i, sre.Pool, sre.Percent)
		r.v /= 100
	}
	return number{min(r.v, 1), r.ok && r.v > leastUse}
}

// processor is how much of the service's processors is taken, 0 to 1.
func (c *calibration) processor(i int) number {
	r := c.value(i, sre.Saturation, sre.Ratio)
	if !r.ok {
		r = c.value(i, sre.Saturation, sre.Percent)
		r.v /= 100
	}
	return number{min(r.v, 1), r.ok && r.v > leastUse}
}

// through is how many requests per second the service really works on, those
// among them whose callers have given up included. A service with room left works
// on all that its caps let in; a full one turns some away.
func (c *calibration) through(i int) float64 {
	traffic := c.value(i, sre.Traffic, sre.PerSecond)
	if !traffic.ok {
		return 0
	}
	if pool := c.occupancy(i); !pool.ok || pool.v < full {
		worked := traffic.v
		if shed := c.value(i, sre.Errors, sre.PerSecond); shed.ok {
			worked -= shed.v
		}
		return max(0, worked)
	}
	if was, ok := c.remembered(i); ok && c.letDown(i) {
		if cpu := c.processor(i); cpu.ok { // a request costs what it usually does
			return min(traffic.v, cpu.v*was.Rate*float64(c.replicas(i)))
		}
	}
	worked := traffic.v
	if r := c.s.ErrorRatio(i); r.OK() {
		worked *= 1 - min(1, max(0, r.Value))
	}
	if dead := c.value(i, sre.Timeouts, sre.PerSecond); dead.ok {
		worked += dead.v
	}
	if worked < traffic.v/50 { // all fail by themselves, and are worked on for that
		return traffic.v
	}
	return min(worked, traffic.v)
}

// attempts is the traffic of a call relation, and the repeated part of it.
func (c *calibration) attempts(e int) (all, again float64) {
	all = c.edgeValue(e, sre.Traffic, sre.PerSecond)
	return all, min(all, c.edgeValue(e, sre.Retries, sre.PerSecond))
}

// calls is how many calls a request of the caller makes: measured where there is
// traffic, else as the topology says.
func (c *calibration) calls(e int) (float64, bool) {
	edge := &c.s.Graph.Edges[e]
	all, again := c.attempts(e)
	if x := c.through(edge.From); x > 0 && all-again > 0 {
		return c.temperCalls(e, (all-again)/x), true
	}
	return edge.Spec.CallsPerRequest, edge.Spec.CallsPerRequest > 0
}

func (c *calibration) timeout(e int) time.Duration {
	if t := c.s.Graph.Edges[e].Spec.Timeout; t > 0 {
		return min(t, longestTimeout)
	}
	return c.cfg.CallTimeout
}

// retries are as the topology says, else as many as are seen to be made.
func (c *calibration) retries(e int) int {
	spec := c.s.Graph.Edges[e].Spec
	if spec.HasRetries || spec.Retries > 0 {
		return min(max(0, spec.Retries), fluid.MaxRetries)
	}
	all, again := c.attempts(e)
	return observedRetries(again, all-again)
}

// observedRetries is the least number of retries that explains how many are
// seen per first attempt.
func observedRetries(again, first float64) int {
	if first <= 0 || again < first/20 {
		return 0
	}
	return min(fluid.MaxRetries, int(math.Ceil(again/first-.05)))
}

// away is the time that a request spends in calls, in seconds.
func (c *calibration) away(i int) float64 {
	x := c.through(i)
	if x <= 0 {
		return 0
	}
	sum := 0.
	for _, e := range c.s.Graph.CalleesOf(i) {
		took := c.s.EdgeValue(e, sre.Latency, sre.Seconds)
		if !took.OK() {
			took = c.s.Value(c.s.Graph.Edges[e].To, sre.Latency, sre.Seconds)
		}
		if !took.OK() {
			continue
		}
		all, _ := c.attempts(e)
		sum += all / x * min(took.Value, c.timeout(e).Seconds())
	}
	return sum
}

// replicas is how many instances are ready, 1 where nobody knows.
func (c *calibration) replicas(i int) int {
	if r := c.value(i, sre.Replicas, sre.Count); r.ok {
		return max(1, int(math.Round(r.v)))
	}
	return 1
}

// service matches one service. What is not measured, or idle, is given room
// that does not bind.
func (c *calibration) service(i int) fluid.ServiceSpec {
	out := fluid.ServiceSpec{
		Name: c.s.Graph.Services[i].Name, Work: time.Millisecond, Rate: 1e6, Workers: 1e6, Replicas: 1, StartDelay: c.cfg.StartDelay,
	}
	out.Replicas = c.replicas(i)
	x := c.through(i)
	if !c.seen[i] || x <= 0 {
		return out
	}
	n := float64(out.Replicas)
	pool, cpu := c.occupancy(i), c.processor(i)
	away := c.away(i)
	use := pool // of the processors, as far as it can be told
	if cpu.ok {
		use = cpu
	}
	work := c.value(i, sre.Latency, sre.Seconds).v - away
	cost := use.v * n / x // what a request takes of a processor
	if work <= 0 || pool.v >= saturate && work > cost {
		work = cost // the rest is waiting
	}
	out.Work = max(time.Millisecond/10, time.Duration(work*float64(time.Second)))
	hold := out.Work.Seconds() + away
	out.Rate = x / use.v / n
	taken := x * hold
	workers := taken * ample
	switch {
	case !pool.ok:
	case cpu.ok && pool.v > cpu.v*1.05: // the workers are the fuller of the two
		workers = taken / pool.v
	case !cpu.ok && away > out.Work.Seconds(): // mostly waiting for others: workers bind
		workers = taken / pool.v
		out.Rate = ample * x / pool.v / n
	}
	out.Workers = max(1, int(math.Ceil(workers/n)))
	out.QueueBound = c.queueBound(i, min(taken, workers))
	return out
}

// queueBound is how many requests the service lets wait, where it is seen to turn
// some away: it is full, and fails more than callers give up or caps shed. Then
// what waits is what may wait. 0 is no bound.
func (c *calibration) queueBound(i int, working float64) int {
	pool, inside := c.occupancy(i), c.value(i, sre.Queue, sre.Count)
	traffic, failing := c.value(i, sre.Traffic, sre.PerSecond), c.s.ErrorRatio(i)
	if !pool.ok || pool.v < full || !inside.ok || !failing.OK() {
		return 0
	}
	refused := traffic.v * failing.Value
	for _, known := range []number{c.value(i, sre.Timeouts, sre.PerSecond), c.value(i, sre.Errors, sre.PerSecond)} {
		if known.ok {
			refused -= known.v
		}
	}
	if refused < traffic.v/20 {
		return 0
	}
	return max(1, int(math.Round(inside.v-working)))
}

// leastFailing is the share of failures from which a service counts as failing by
// itself.
const leastFailing = .01

// failing is the share of its work that each service fails by itself: beyond what
// its callers give up, its caps shed and its callees explain. Of a full service,
// which turns requests away too, it cannot be told and is 0.
func (c *calibration) failing() []float64 {
	out := make([]float64, len(c.seen))
	hard := c.someHard()
	for i := range out {
		worked, traffic, ratio := c.through(i), c.value(i, sre.Traffic, sre.PerSecond), c.s.ErrorRatio(i)
		if pool := c.occupancy(i); worked <= 0 || !traffic.ok || !ratio.OK() || pool.ok && pool.v >= full {
			continue
		}
		failed := traffic.v * ratio.Value
		for _, known := range []number{c.value(i, sre.Timeouts, sre.PerSecond), c.value(i, sre.Errors, sre.PerSecond)} {
			if known.ok {
				failed -= known.v
			}
		}
		well := 1 - min(1, max(0, failed)/worked)
		explained := 1.
		for _, e := range c.s.Graph.CalleesOf(i) {
			calls, ok := c.calls(e)
			if p := min(1, c.edgeValue(e, sre.Errors, sre.Ratio)); ok && p > 0 && (c.s.Graph.Edges[e].Spec.Hard || !hard) {
				explained *= 1 - min(1, calls)*math.Pow(p, float64(c.retries(e)+1))
			}
		}
		if own := 1 - well/max(explained, leastUse); own >= leastFailing {
			out[i] = own
		}
	}
	return out
}

// someHard reports whether the graph knows which calls are hard.
func (c *calibration) someHard() bool {
	return slices.ContainsFunc(c.s.Graph.Edges, func(e sre.Edge) bool { return e.Spec.Hard })
}

// client is the population outside of an entry: what arrives there and does not
// come from other services.
func (c *calibration) client(i int) (fluid.ClientSpec, bool) {
	traffic := c.value(i, sre.Traffic, sre.PerSecond)
	retries := c.value(i, sre.Retries, sre.PerSecond)
	if !traffic.ok {
		return fluid.ClientSpec{}, false
	}
	all, again := traffic.v, 0.
	if retries.ok {
		again = min(retries.v, all)
	}
	for _, e := range c.s.Graph.CallersOf(i) {
		inside, repeated := c.attempts(e)
		all -= inside
		again -= repeated
	}
	again = max(0, again)
	first := all - again
	if first <= 0 {
		return fluid.ClientSpec{}, false
	}
	return fluid.ClientSpec{
		Name: "users of " + c.s.Graph.Services[i].Name, Entry: i, Rate: first,
		Timeout: c.cfg.ClientTimeout, Retries: observedRetries(again, first), Backoff: 100 * time.Millisecond,
	}, true
}
