package incidents

import (
	"fmt"
	"math"
	"time"

	"github.com/sreagent/sreagent/replay/fluid"
	"github.com/sreagent/sreagent/sre"
)

// draw makes the fleet and what goes wrong in it. What is drawn first is the
// same for all mechanisms: a graph of three to seven layers, with queues and
// retries as teams have them, and half of the time some callees that the caller
// can do without.
func (c *Case) draw(d *Dice, size int) {
	o := fluid.FleetOptions{
		Services: size, Seed: c.Seed, Layers: 3 + d.Below(5), Headroom: d.Between(1.4, 1.8), Retries: d.Below(2),
		Pools: d.Between(4, 30),
	}
	c.patience = d.Between(1, 8)
	if d.Coin(.5) {
		o.QueueSeconds = d.Between(5, 30)
	}
	if d.Coin(.5) {
		o.Optional = d.Between(.1, .5)
	}
	makers := map[sre.Mechanism]func(*Case, *Dice, fluid.FleetOptions){
		sre.RetryStorm: (*Case).retryStorm, sre.SlowDependency: (*Case).slowDependency,
		sre.PoolExhaustion: (*Case).poolExhaustion, sre.CapacityDecay: (*Case).capacityDecay,
		sre.CacheLoss: (*Case).cacheLoss, sre.SurvivorOverload: (*Case).survivorOverload,
		sre.Oscillation: (*Case).oscillation, sre.Overload: (*Case).overload,
		sre.BadChange: (*Case).badChange, sre.TimeoutInversion: (*Case).timeoutInversion,
	}
	makers[c.Mechanism](c, d, o)
	c.swings = calmSwing(d, len(c.Blueprint.Clients))
}

// build generates the fleet, with timeouts that are longer than the least that
// would do.
func (c *Case) build(o fluid.FleetOptions) *fleet {
	c.Blueprint = fluid.Fleet(o)
	longer := func(t time.Duration) time.Duration {
		return time.Duration(float64(t) * max(1, c.patience)).Round(c.Blueprint.Step)
	}
	for i := range c.Blueprint.Edges {
		c.Blueprint.Edges[i].Timeout = longer(c.Blueprint.Edges[i].Timeout)
	}
	for i := range c.Blueprint.Clients {
		c.Blueprint.Clients[i].Timeout = longer(c.Blueprint.Clients[i].Timeout)
	}
	return newFleet(&c.Blueprint)
}

func (c *Case) name() string { return c.Blueprint.Services[c.Service].Name }

// ill has the service be in a condition while the trigger is on, reached in equal
// steps over a time.
func (c *Case) ill(worst fluid.Condition, over time.Duration) {
	service := c.Service
	c.act = func(m *fluid.Model, since time.Duration, on bool) {
		now := fluid.Well()
		if on {
			part := 1.
			if since < over {
				part = since.Seconds() / over.Seconds()
			}
			now.Capacity = 1 - part*(1-worst.Capacity)
			now.Slow = time.Duration(part * float64(worst.Slow))
			now.Errors, now.Lost, now.Leak = part*worst.Errors, worst.Lost, worst.Leak
			if worst.Bad != nil {
				bad := *worst.Bad
				bad.Share *= part
				now.Bad = &bad
			}
		}
		m.SetCondition(service, now)
	}
}

// retryStorm: a loss of capacity for a while, in a fleet that retries without a
// budget, fills a queue that nothing bounds (Bronson et al., HotOS 2021).
func (c *Case) retryStorm(d *Dice, o fluid.FleetOptions) {
	o.Retries, o.ClientRetries, o.QueueSeconds = 2+d.Below(2), d.Below(3), 0
	f := c.build(o)
	c.Service = f.pick(d, nil)
	f.size(c.Service, d.Between(1.3, 1.6))
	share := d.Between(.3, .8)
	c.Lasts = d.Span(30*time.Second, 2*time.Minute)
	c.ill(fluid.Condition{Capacity: f.left(c.Service, share)}, d.Span(0, c.Lasts))
	c.Words = fmt.Sprintf("%s can serve %.0f %% of its load for %s, and every caller retries", c.name(), 100*share, c.Lasts)
}

// slowDependency: requests take longer in one service, which has workers enough;
// those who wait for it have not (Nygard, Release It!).
func (c *Case) slowDependency(d *Dice, o fluid.FleetOptions) {
	f := c.build(o)
	c.Service = f.pick(d, nil)
	slow := time.Duration(d.Between(.5, 1.5) * float64(f.patience(c.Service)))
	f.staff(c.Service, 3*slow)
	c.Lasts = d.Span(3*time.Minute, 5*time.Minute)
	over := d.Span(0, time.Minute)
	c.ill(fluid.Condition{Capacity: 1, Slow: slow}, over)
	c.Words = fmt.Sprintf("every request of %s takes %s longer, reached within %s", c.name(), slow.Round(time.Millisecond), over)
}

// poolExhaustion: workers are lost one by one until none is left.
func (c *Case) poolExhaustion(d *Dice, o fluid.FleetOptions) {
	f := c.build(o)
	c.Service = f.pick(d, nil)
	s := &c.Blueprint.Services[c.Service]
	s.Workers = max(s.Workers, 16) // a leak of one at a time has to be a slope
	c.Lasts = c.Ends - c.Inject
	empty := d.Span(2*time.Minute, 5*time.Minute)
	c.ill(fluid.Condition{Capacity: 1, Leak: float64(s.Workers*s.Replicas) / empty.Seconds()}, 0)
	c.Words = fmt.Sprintf("%s leaks its %d workers within %s", c.name(), s.Workers*s.Replicas, empty)
}

// capacityDecay: capacity falls with the backlog, and a short loss of it builds
// one up (the garbage-collection experiment of Huang et al., OSDI 2022); or it
// fades by itself.
func (c *Case) capacityDecay(d *Dice, o fluid.FleetOptions) {
	if d.Coin(.5) {
		f := c.build(o)
		c.Service = f.pick(d, nil)
		over, share := d.Span(2*time.Minute, 5*time.Minute), d.Between(.5, .9)
		c.Lasts = c.Ends - c.Inject
		c.ill(fluid.Condition{Capacity: f.left(c.Service, share)}, over)
		c.Words = fmt.Sprintf("the capacity of %s fades within %s to %.0f %% of its load", c.name(), over, 100*share)
		return
	}
	o.QueueSeconds, o.Retries, o.Pools = 0, 0, 60 // callers that can wait are what keeps the backlog up
	f := c.build(o)
	c.Service = f.pick(d, nil)
	f.size(c.Service, d.Between(1.3, 1.5))
	s := &c.Blueprint.Services[c.Service]
	s.Decay = fluid.Decay{Floor: d.Between(.45, .6), Onset: math.Ceil(f.capacity(c.Service) * d.Between(3, 10))}
	share := d.Between(.4, .85)
	c.Lasts = d.Span(30*time.Second, 2*time.Minute)
	c.ill(fluid.Condition{Capacity: f.left(c.Service, share)}, 0)
	c.Words = fmt.Sprintf("%s can serve %.0f %% of its load for %s, and less the more waits", c.name(), 100*share, c.Lasts)
}

// cacheLoss: the cache before a store is gone at once (the look-aside cache
// experiment of Huang et al., OSDI 2022).
func (c *Case) cacheLoss(d *Dice, o fluid.FleetOptions) {
	o.Retries = 1 + d.Below(2)
	f := c.build(o)
	behind := -1 // the relation that the cache stands before
	c.Service = f.pick(d, func(v int) bool {
		for _, i := range f.out[v] {
			if e := &c.Blueprint.Edges[i]; f.flow[v]*e.Calls >= .6*f.flow[e.To] {
				return true
			}
		}
		return false
	})
	for _, i := range f.out[c.Service] {
		e := &c.Blueprint.Edges[i]
		if behind < 0 || f.flow[c.Service]*e.Calls/f.flow[e.To] > f.flow[c.Service]*c.Blueprint.Edges[behind].Calls/f.flow[c.Blueprint.Edges[behind].To] {
			behind = i
		}
	}
	e := &c.Blueprint.Edges[behind]
	misses := f.flow[c.Service] * e.Calls
	c.Blueprint.Services[c.Service].Cache = fluid.Cache{HitRatio: d.Between(.85, .96), Keys: misses * d.Between(20, 90)}
	e.Cached, e.Hard = true, true
	f.measure()
	f.size(e.To, d.Between(1.4, 1.8)) // what the store has to do with the cache full
	share := d.Between(.9, 1)
	service := c.Service
	c.act = func(m *fluid.Model, since time.Duration, on bool) {
		if on && since == 0 {
			m.EvictCache(service, share)
		}
	}
	c.Words = fmt.Sprintf("the cache of %s before %s loses %.0f %% of what it holds", c.name(), c.Blueprint.Services[e.To].Name, 100*share)
}

// survivorOverload: replicas are lost, and those that are left hold more than
// their memory can (the SRE book, chapter 22).
func (c *Case) survivorOverload(d *Dice, o fluid.FleetOptions) {
	o.QueueSeconds, o.Retries = 0, 1
	f := c.build(o)
	c.Service = f.pick(d, nil)
	s := &c.Blueprint.Services[c.Service]
	s.Replicas = 4 + d.Below(5)
	f.size(c.Service, d.Between(1.3, 1.6))
	s.HeapLimit, s.Restart = math.Ceil(s.Rate*d.Between(1, 4)), d.Span(20*time.Second, 50*time.Second)
	lost := (s.Replicas + 1) / 2
	c.Lasts = d.Span(time.Minute, 3*time.Minute)
	c.ill(fluid.Condition{Capacity: 1, Lost: lost}, 0)
	c.Words = fmt.Sprintf("%d of %d replicas of %s are lost for %s", lost, s.Replicas, c.name(), c.Lasts)
}

// oscillation: breakers before a service that has become too small open and
// close in step (Brooker on modal behaviour).
func (c *Case) oscillation(d *Dice, o fluid.FleetOptions) {
	o.Retries = 1 + d.Below(2)
	f := c.build(o)
	c.Service = f.pick(d, nil)
	f.size(c.Service, d.Between(1.3, 1.6))
	open := d.Span(12*time.Second, 25*time.Second)
	f.callers(c.Service, func(e *fluid.EdgeSpec) {
		e.Breaker = fluid.Breaker{FailureRatio: .5, MinRequests: 20, Open: open}
	})
	share := d.Between(.45, .8)
	c.Lasts = d.Span(4*time.Minute, 6*time.Minute)
	c.ill(fluid.Condition{Capacity: f.left(c.Service, share)}, d.Span(0, time.Minute))
	c.Words = fmt.Sprintf("%s can serve %.0f %% of its load for %s, behind breakers that open for %s", c.name(), 100*share, c.Lasts, open)
}

// overload: more users come than can be served, at the door of one entry, or
// everywhere, where one service is the narrowest.
func (c *Case) overload(d *Dice, o fluid.FleetOptions) {
	f := c.build(o)
	over, factor := d.Span(0, 2*time.Minute), d.Between(1.9, 2.6)
	c.Lasts = d.Span(3*time.Minute, 6*time.Minute)
	crowd := d.Below(len(c.Blueprint.Clients))
	if d.Coin(.5) {
		c.Service = c.Blueprint.Clients[crowd].Entry
		c.Words = fmt.Sprintf("%.1f times the users of %s come within %s", factor, c.name(), over)
	} else {
		crowd = -1
		c.Service = f.pick(d, nil)
		for v := range c.Blueprint.Services {
			s := &c.Blueprint.Services[v]
			s.Rate *= 3
			s.Workers *= 3
		}
		f.size(c.Service, d.Between(1.3, 1.5))
		c.Words = fmt.Sprintf("%.1f times the users come to all entries within %s, and %s is the narrowest", factor, over, c.name())
	}
	c.surge = func(client int, since time.Duration) float64 {
		switch {
		case crowd >= 0 && client != crowd:
			return 1
		case since < over:
			return 1 + (factor-1)*since.Seconds()/over.Seconds()
		}
		return factor
	}
}

// badChange: a deploy makes requests fail, or slow, or costly.
func (c *Case) badChange(d *Dice, o fluid.FleetOptions) {
	f := c.build(o)
	c.Service = f.pick(d, nil)
	bad, over := &fluid.BadVersion{Share: 1, Capacity: 1}, d.Span(0, 90*time.Second)
	how := ""
	switch d.Below(3) {
	case 0:
		bad.Errors = d.Between(.15, .8)
		how = fmt.Sprintf("fails %.0f %% of the requests", 100*bad.Errors)
	case 1:
		bad.Slow = time.Duration(d.Between(.6, 1.5) * float64(f.patience(c.Service)))
		f.staff(c.Service, 3*bad.Slow)
		how = fmt.Sprintf("takes %s longer", bad.Slow.Round(time.Millisecond))
	default:
		bad.Capacity = f.left(c.Service, d.Between(.4, .85))
		how = fmt.Sprintf("needs %.1f times the processor", 1/bad.Capacity)
	}
	c.Lasts = c.Ends - c.Inject
	c.Guilty = c.announce(sre.Deploy, c.Service, c.Inject)
	c.ill(fluid.Condition{Capacity: 1, Bad: bad}, over)
	c.Words = fmt.Sprintf("a deploy of %s, rolled out within %s, %s", c.name(), over, how)
}

// timeoutInversion: callers of the callers give up before their callees can have
// tried all they may, so slow answers are worked on for nobody (the SRE book,
// chapter 22).
func (c *Case) timeoutInversion(d *Dice, o fluid.FleetOptions) {
	o.Retries = 0
	f := c.build(o)
	c.Service = f.pick(d, func(v int) bool {
		for _, i := range f.into[v] {
			if len(f.into[c.Blueprint.Edges[i].From]) > 0 {
				return true
			}
		}
		return false
	})
	inner := f.patience(c.Service)
	f.callers(c.Service, func(e *fluid.EdgeSpec) {
		e.Timeout, e.Retries = inner, 2
		f.callers(e.From, func(outer *fluid.EdgeSpec) { outer.Timeout, outer.Retries = inner*6/5, 2 })
	})
	slow := time.Duration(d.Between(.8, 1.3) * float64(inner))
	f.staff(c.Service, 4*slow)
	c.Lasts = d.Span(2*time.Minute, 4*time.Minute)
	c.ill(fluid.Condition{Capacity: 1, Slow: slow}, d.Span(0, time.Minute))
	c.Words = fmt.Sprintf("%s is %s slower for %s, with callers that retry for longer than theirs wait", c.name(), slow.Round(time.Millisecond), c.Lasts)
}
