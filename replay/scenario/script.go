package scenario

import (
	"cmp"
	"fmt"
	"math"
	"time"

	"github.com/sreagent/sreagent/replay/fluid"
	"github.com/sreagent/sreagent/replay/world"
	"github.com/sreagent/sreagent/sre"
)

// script writes the events of a story into a world. Events that overlap on one
// service, call or client add up.
type script struct {
	s     *Scenario
	w     *world.World
	start time.Time
	alive []bool // by event
}

func newScript(s *Scenario, w *world.World, start time.Time) *script {
	return &script{s: s, w: w, start: start, alive: make([]bool, len(s.Events))}
}

func (c *script) write() {
	for i := range c.s.Events {
		e := &c.s.Events[i]
		at, end := c.start.Add(e.At), c.start.Add(e.Ends(c.s.Length))
		if e.change.Kind != "" {
			c.w.Announce(e.told(c.start))
		}
		switch e.verb {
		case verbChange:
		case verbCacheLoss:
			c.w.At(at, func(m *fluid.Model) { m.EvictCache(e.service, e.shape.evict) })
		case verbGap:
			c.w.At(at, func(*fluid.Model) { c.silence(e, end) })
		case verbBlind:
			c.w.At(at, func(*fluid.Model) { c.w.Blind(end) })
		default:
			c.during(i, at, end)
		}
	}
}

// told is the change of an event as the agent hears of it.
func (e *Event) told(start time.Time) sre.Change {
	change := e.change
	change.At, change.Source = start.Add(e.At), "scenario"
	change.ID, change.By = e.changeID(), cmp.Or(change.By, "script")
	return change
}

func (e *Event) changeID() string { return cmp.Or(e.change.ID, fmt.Sprintf("change-%d", e.Line)) }

func (c *script) silence(e *Event, until time.Time) {
	name := ""
	if e.service != everyService {
		name = c.s.Blueprint.Services[e.service].Name
	}
	if err := c.w.Silence(name, until); err != nil {
		panic("scenario: " + err.Error()) // the parser knows the name
	}
}

// during puts an event in force and, step by step where it moves, takes it out
// again.
func (c *script) during(i int, at, end time.Time) {
	e := &c.s.Events[i]
	c.w.At(at, func(m *fluid.Model) {
		c.alive[i] = true
		c.settle(m, e, at)
	})
	still := end // no change in strength after
	if e.shape.period == 0 {
		still = at.Add(e.shape.ramp)
	}
	for t := at.Add(time.Second); !t.After(still) && t.Before(end); t = t.Add(time.Second) {
		c.w.At(t, func(m *fluid.Model) { c.settle(m, e, t) })
	}
	if e.For > 0 {
		c.w.At(end, func(m *fluid.Model) {
			c.alive[i] = false
			c.settle(m, e, end)
		})
	}
}

// settle sets what an event is about to the sum of all events in force.
func (c *script) settle(m *fluid.Model, e *Event, now time.Time) {
	switch e.verb {
	case verbLoad:
		m.SetLoad(e.client, c.load(e.client, now))
	case verbNet:
		m.SetEdgeCondition(e.edge, c.network(e.edge))
	default:
		m.SetCondition(e.service, c.condition(e.service, now))
	}
}

func (c *script) load(client int, now time.Time) float64 {
	factor := 1.0
	for i := range c.s.Events {
		if e := &c.s.Events[i]; c.alive[i] && e.verb == verbLoad && e.client == client {
			factor *= e.loadAt(now.Sub(c.start) - e.At)
		}
	}
	return factor
}

func (c *script) network(edge int) fluid.EdgeCondition {
	out := fluid.EdgeCondition{}
	for i := range c.s.Events {
		if e := &c.s.Events[i]; c.alive[i] && e.verb == verbNet && e.edge == edge {
			out.Delay += e.shape.edge.Delay
			out.Loss = either(out.Loss, e.shape.edge.Loss)
		}
	}
	return out
}

func (c *script) condition(service int, now time.Time) fluid.Condition {
	out := fluid.Well()
	for i := range c.s.Events {
		e := &c.s.Events[i]
		if !c.alive[i] || e.service != service || e.verb != verbFault && e.verb != verbDeploy {
			continue
		}
		is := e.shape.condition
		out.Capacity *= is.Capacity
		out.Slow += is.Slow
		out.Errors = either(out.Errors, is.Errors)
		out.Lost += is.Lost
		out.Leak += is.Leak
		if is.Bad != nil {
			bad := *is.Bad
			bad.Share *= e.reached(now.Sub(c.start) - e.At)
			out.Bad = &bad
		}
	}
	return out
}

// either is the share of what at least one of two independent causes hits.
func either(a, b float64) float64 { return 1 - (1-a)*(1-b) }

// reached is how far a ramp has come, 0 to 1, after so long.
func (e *Event) reached(after time.Duration) float64 {
	if after >= e.shape.ramp {
		return 1
	}
	return float64(after) / float64(e.shape.ramp)
}

// loadAt is the factor of a load event after so long: a ramp, or a wave that
// starts at its foot.
func (e *Event) loadAt(after time.Duration) float64 {
	if e.shape.period == 0 {
		return 1 + (e.shape.factor-1)*e.reached(after)
	}
	phase := 2 * math.Pi * float64(after) / float64(e.shape.period)
	return 1 + (e.shape.factor-1)*(1-math.Cos(phase))/2
}
