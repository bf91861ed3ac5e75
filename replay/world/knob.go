package world

import (
	"math"
	"slices"
	"time"

	"github.com/sreagent/sreagent/replay/fluid"
	"github.com/sreagent/sreagent/sre"
)

// knob is one setting that at most one lease of a lever holds at a time.
type knob struct {
	kind    sre.ActionKind
	service int
	callee  int    // none for settings of the service itself
	name    string // feature
}

const none = -1

// knobOf finds what an action moves. The error is a *sre.ActionError that says
// what is allowed.
func (w *World) knobOf(a sre.Action) (knob, error) {
	t := a.Target
	service, ok := w.graph.Index(t.Service)
	if !ok {
		return knob{}, sre.Invalidf("there is no service %q", t.Service)
	}
	k := knob{kind: a.Kind, service: service, callee: none, name: t.Name}
	if t.Callee == "" {
		return k, nil
	}
	callee, ok := w.graph.Index(t.Callee)
	if ok {
		_, ok = w.graph.EdgeIndex(service, callee)
	}
	if !ok {
		return knob{}, sre.Invalidf("%s does not call %q", t.Service, t.Callee)
	}
	k.callee = callee
	return k, nil
}

// relations returns the call relations that a knob is about.
func (w *World) relations(k knob) []int {
	if k.callee != none {
		return w.between(k.service, k.callee)
	}
	var out []int
	for _, call := range w.targets[k.service].calls {
		out = append(out, call.parts...)
	}
	return out
}

// perEdge reports whether the knob is a setting of calls.
func (k knob) perEdge() bool {
	switch k.kind {
	case sre.RetryBudget, sre.Breaker, sre.Timeout, sre.TrafficShift:
		return true
	case sre.Shed, sre.QueueBound, sre.KillSwitch, sre.Rollback, sre.Scale, sre.Drain, sre.Restart:
	}
	return false
}

// classParams are the parameters of shed that cap one class, in the order of the
// classes.
var classParams = [fluid.Classes]string{"critical", "high", "normal", "low"}

// setService writes one setting of a service; nil takes it back to what no lever
// has touched.
func setService(c *fluid.ServiceControl, untouched fluid.ServiceControl, kind sre.ActionKind, p sre.Params) {
	number := func(name string, otherwise float64) float64 {
		if v, ok := p.Float(name); ok {
			return v
		}
		return otherwise
	}
	switch kind {
	case sre.Shed:
		c.Cap = number("rps", untouched.Cap)
		for class, name := range classParams {
			c.ClassCap[class] = number(name, untouched.ClassCap[class])
		}
	case sre.QueueBound:
		c.QueueBound = number("length", untouched.QueueBound)
	case sre.Scale:
		c.Replicas = int(number("replicas", float64(untouched.Replicas)))
	case sre.Drain:
		c.Drained = int(number("replicas", float64(untouched.Drained)))
	case sre.Rollback:
		c.RolledBack = p != nil
	case sre.KillSwitch, sre.RetryBudget, sre.Breaker, sre.Timeout, sre.TrafficShift, sre.Restart:
	}
}

// setFeatures writes which features are off. The model has one share for all of
// them, so the largest holds.
func setFeatures(c *fluid.ServiceControl, off map[string]float64) {
	c.Killed, c.KilledPart = nil, 0
	for name, percent := range off {
		if percent > 0 {
			c.Killed = append(c.Killed, name)
			c.KilledPart = max(c.KilledPart, percent/100)
		}
	}
	slices.Sort(c.Killed)
}

// setEdge writes one setting of a call relation; nil takes it back to what no
// lever has touched. A handler's timeout, which names no callee, bounds every
// call that the handler makes.
func setEdge(c *fluid.EdgeControl, untouched fluid.EdgeControl, k knob, p sre.Params) {
	number := func(name string, otherwise float64) float64 {
		if v, ok := p.Float(name); ok {
			return v
		}
		return otherwise
	}
	switch k.kind {
	case sre.RetryBudget:
		c.Budget = number("ratio", untouched.Budget)
	case sre.Timeout:
		c.Timeout = untouched.Timeout
		if s, ok := p.Float("seconds"); ok {
			d := min(longestTimeout, max(time.Millisecond, time.Duration(math.Round(s*float64(time.Second)))))
			if k.callee != none || d < c.Timeout {
				c.Timeout = d
			}
		}
	case sre.Breaker:
		c.Breaker = untouched.Breaker
		if ratio, ok := p.Float("failure_ratio"); ok {
			c.Breaker = fluid.Breaker{
				FailureRatio: ratio,
				MinRequests:  number("min_requests", defaultMinRequests),
				Consecutive:  number("consecutive", 0),
				Open:         time.Duration(number("open_seconds", defaultOpenSeconds) * float64(time.Second)),
			}
		}
	case sre.TrafficShift:
		c.Weight = number("weight", untouched.Weight)
	case sre.Shed, sre.QueueBound, sre.KillSwitch, sre.Rollback, sre.Scale, sre.Drain, sre.Restart:
	}
}

// longestTimeout is the longest that a model takes.
const longestTimeout = 10 * time.Minute

// Defaults of a breaker that a directive leaves open, as the guard has them.
const (
	defaultMinRequests = 20
	defaultOpenSeconds = 5
)

// serviceParams reads one setting of a service in the words of its action kind.
// What is not limited has no parameter.
func serviceParams(c fluid.ServiceControl, k knob) sre.Params {
	p := sre.Params{}
	limit := func(name string, v float64) {
		if !math.IsInf(v, 1) {
			p[name] = v
		}
	}
	switch k.kind {
	case sre.Shed:
		limit("rps", c.Cap)
		for class, name := range classParams {
			limit(name, c.ClassCap[class])
		}
	case sre.QueueBound:
		limit("length", c.QueueBound)
	case sre.KillSwitch:
		if _, off := slices.BinarySearch(c.Killed, k.name); off {
			p["percent"] = 100 * c.KilledPart
		}
	case sre.Scale:
		p["replicas"] = float64(c.Replicas)
	case sre.Drain:
		p["replicas"] = float64(c.Drained)
	case sre.Rollback, sre.RetryBudget, sre.Breaker, sre.Timeout, sre.TrafficShift, sre.Restart:
	}
	return p
}

// edgeParams reads one setting of call relations. Of several it gives the
// loosest budget, the longest timeout and the largest weight.
func edgeParams(controls []fluid.EdgeControl, k knob) sre.Params {
	p := sre.Params{}
	most := func(of func(fluid.EdgeControl) float64) float64 {
		v := math.Inf(-1)
		for _, c := range controls {
			v = max(v, of(c))
		}
		return v
	}
	switch k.kind {
	case sre.RetryBudget:
		if v := most(func(c fluid.EdgeControl) float64 { return c.Budget }); !math.IsInf(v, 0) {
			p["ratio"] = v
		}
	case sre.Timeout:
		if k.callee != none {
			p["seconds"] = most(func(c fluid.EdgeControl) float64 { return c.Timeout.Seconds() })
		}
	case sre.Breaker:
		if b := controls[0].Breaker; b.FailureRatio > 0 {
			p["failure_ratio"], p["min_requests"], p["open_seconds"] = b.FailureRatio, b.MinRequests, b.Open.Seconds()
			if b.Consecutive > 0 {
				p["consecutive"] = b.Consecutive
			}
		}
	case sre.TrafficShift:
		p["weight"] = most(func(c fluid.EdgeControl) float64 { return c.Weight })
	case sre.Shed, sre.QueueBound, sre.KillSwitch, sre.Rollback, sre.Scale, sre.Drain, sre.Restart:
	}
	return p
}

// defaults reads what holds at a knob that no lever has touched.
func (w *World) defaults(k knob) sre.Params {
	if k.kind == sre.KillSwitch {
		return sre.Params{"percent": 0.}
	}
	if !k.perEdge() {
		return serviceParams(w.bounded(k.service, w.model.DefaultControl(k.service)), k)
	}
	var controls []fluid.EdgeControl
	for _, e := range w.relations(k) {
		controls = append(controls, w.model.DefaultEdgeControl(e))
	}
	return edgeParams(controls, k)
}

// current reads what the model holds at a knob. A setting of all calls together
// is nothing that is held anywhere, but in a lease.
func (w *World) current(k knob) sre.Params {
	if k.perEdge() && k.callee == none {
		return sre.Params{}
	}
	if !k.perEdge() {
		return serviceParams(w.bounded(k.service, w.model.Control(k.service)), k)
	}
	var controls []fluid.EdgeControl
	for _, e := range w.relations(k) {
		controls = append(controls, w.model.EdgeControl(e))
	}
	return edgeParams(controls, k)
}

// bounded gives the queue the bound that the blueprint has, which no lever can
// widen.
func (w *World) bounded(service int, c fluid.ServiceControl) fluid.ServiceControl {
	if b := w.plan.Services[service].QueueBound; b > 0 {
		c.QueueBound = min(c.QueueBound, float64(b))
	}
	return c
}
