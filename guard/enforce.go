package guard

import (
	"maps"
	"slices"
	"time"
)

// mainParam is the parameter that stands for a kind in the setting gauge.
var mainParam = map[Kind]string{
	KindShed: "rps", KindRetryBudget: "ratio", KindQueueBound: "length",
	KindBreaker: "failure_ratio", KindTimeout: "seconds", KindKillSwitch: "percent",
}

// enforce puts in force what the ledger holds for a knob. It needs ledger.mu.
func (g *Guard) enforce(k knob) {
	switch {
	case k.kind == KindShed:
		p := g.inForce(k)
		if len(p) == 0 {
			p = nil
		}
		g.limiter.set(g.clock.Now(), p)
		g.export(k, p)
	case k.kind == KindQueueBound:
		p := g.inForce(k)
		g.queue.setBound(int(p["length"]))
		g.export(k, p)
	case k.kind == KindKillSwitch:
		off := make(map[string]float64)
		for other, held := range g.ledger.leases {
			if other.kind == KindKillSwitch {
				off[other.name] = held.inForce(nil)["percent"]
			}
		}
		g.switches.set(off)
		g.export(k, g.inForce(k))
	case k.kind == KindTimeout && k.callee == "":
		p := g.inForce(k)
		g.timeout.Store(int64(seconds(p["seconds"])))
		g.export(k, p)
	case k.callee == "": // the retry budget of every callee
		for _, callee := range slices.Sorted(maps.Keys(g.upstreams)) {
			g.enforceCallee(g.upstreams[callee], k.kind)
		}
	default:
		if u, ok := g.upstreams[k.callee]; ok {
			g.enforceCallee(u, k.kind)
		}
	}
	g.account(k)
}

// enforceCallee needs ledger.mu.
func (g *Guard) enforceCallee(u *upstream, kind Kind) {
	k := knob{kind: kind, callee: u.callee}
	p := g.inForce(k)
	switch kind {
	case KindRetryBudget:
		ratio, limited := p["ratio"]
		if !limited {
			ratio = -1
		}
		u.budget.setRatio(ratio)
	case KindTimeout:
		u.timeout.Store(int64(seconds(p["seconds"])))
	case KindBreaker:
		for _, e := range u.all() {
			e.breaker.configure(g.clock.Now(), u.breakerSettings(p))
		}
	case KindShed, KindQueueBound, KindKillSwitch:
	}
	g.export(k, p)
}

// configured is what is in force at a knob without a directive; empty is no
// limit.
func (g *Guard) configured(k knob) Params {
	switch {
	case k.kind == KindQueueBound:
		return Params{"length": float64(g.cfg.Load().Queue)}
	case k.kind == KindTimeout && k.callee == "":
		if limit := g.cfg.Load().Timeout; limit > 0 {
			return Params{"seconds": time.Duration(limit).Seconds()}
		}
	case k.kind == KindKillSwitch:
		return Params{"percent": 0}
	case k.kind == KindRetryBudget && k.callee == "":
		return g.loosest(func(u *upstream) (float64, bool) { b := u.cfg.Load().RetryBudget; return b, b >= 0 })
	case k.callee != "":
		if u, ok := g.upstreams[k.callee]; ok {
			return u.configured(k.kind)
		}
	}
	return Params{}
}

// inForce is the value of a knob now. A directive for one callee goes before one
// for every callee, and that before the configuration.
func (g *Guard) inForce(k knob) Params {
	held, ok := g.ledger.leases[k]
	if !ok && k.kind == KindRetryBudget {
		held, ok = g.ledger.leases[knob{kind: k.kind}]
	}
	if !ok {
		return g.configured(k)
	}
	target := held.target
	if u, known := g.upstreams[k.callee]; known && k.kind == KindRetryBudget {
		target = Params{"ratio": u.openRatio()}
	}
	return held.inForce(target)
}

// returnTarget is where the steps of a return lead; it needs ledger.mu. A cap
// goes towards the demand, because no finite number is its default.
func (g *Guard) returnTarget(d Directive) Params {
	k := d.knob()
	switch d.Kind {
	case KindShed:
		return g.limiter.demand(g.clock.Now(), d.Params)
	case KindRetryBudget:
		if u, ok := g.upstreams[k.callee]; ok {
			return Params{"ratio": u.openRatio()}
		}
		return g.loosest(func(u *upstream) (float64, bool) { return u.openRatio(), true })
	case KindQueueBound, KindBreaker, KindTimeout, KindKillSwitch:
	}
	return g.configured(k)
}

// loosest is the highest budget over all callees; empty where one has none, or
// where there is no callee.
func (g *Guard) loosest(of func(*upstream) (float64, bool)) Params {
	if len(g.upstreams) == 0 {
		return Params{}
	}
	highest := 0.0
	for _, u := range g.upstreams {
		ratio, limited := of(u)
		if !limited {
			return Params{}
		}
		highest = max(highest, ratio)
	}
	return Params{"ratio": highest}
}

func (g *Guard) export(k knob, p Params) {
	v, present := p[mainParam[k.kind]]
	if !present || k.kind == KindKillSwitch && v == 0 {
		g.metrics.setting.DeleteLabelValues(string(k.kind), k.label())
		return
	}
	g.metrics.setting.WithLabelValues(string(k.kind), k.label()).Set(v)
}

// account updates what is counted about the ledger itself.
func (g *Guard) account(k knob) {
	n := 0
	for other := range g.ledger.leases {
		if other.kind == k.kind {
			n++
		}
	}
	g.metrics.directives.WithLabelValues(string(k.kind)).Set(float64(n))
	g.metrics.epoch.Set(float64(g.ledger.epoch))
	if held, ok := g.ledger.leases[k]; ok {
		g.log.Info("directive in force", "directive", held.directive.ID, "kind", k.kind, "setting", k.label(), "phase", held.phase, "step", held.step)
	} else if len(g.ledger.fences) > 0 {
		g.log.Info("default in force", "kind", k.kind, "setting", k.label())
	}
}

// state returns all that is in force.
func (g *Guard) state() State {
	g.ledger.mu.Lock()
	defer g.ledger.mu.Unlock()
	s := State{
		Service: g.cfg.Load().Service, Epoch: g.ledger.epoch,
		Settings: make(map[Kind]map[string]Params), Directives: []DirectiveState{}, Breakers: make(map[string]string),
		Circuits: make(map[string]BreakerStats), Backends: make(map[string][]BackendState),
	}
	for _, kind := range Kinds() {
		s.Settings[kind] = make(map[string]Params)
	}
	put := func(k knob) { s.Settings[k.kind][k.label()] = g.inForce(k) }
	put(knob{kind: KindShed})
	put(knob{kind: KindQueueBound})
	put(knob{kind: KindTimeout})
	for callee, u := range g.upstreams {
		for _, kind := range []Kind{KindRetryBudget, KindTimeout, KindBreaker} {
			put(knob{kind: kind, callee: callee})
		}
		g.describeEndpoints(&s, callee, u)
	}
	for _, held := range g.ledger.sorted() {
		put(held.directive.knob())
		s.Directives = append(s.Directives, g.describe(held))
	}
	return s
}

// describeEndpoints needs ledger.mu.
func (g *Guard) describeEndpoints(s *State, callee string, u *upstream) {
	now := g.clock.Now()
	for _, e := range u.all() {
		if stats, present := e.breaker.stats(now); present {
			s.Breakers[e.label] = stats.State
			s.Circuits[e.label] = stats
		}
		if e.url != nil {
			s.Backends[callee] = append(s.Backends[callee], e.describe(now, time.Duration(u.cfg.Load().SlowStart)))
		}
	}
}

// describe needs ledger.mu.
func (g *Guard) describe(held *lease) DirectiveState {
	d, k := held.directive, held.directive.knob()
	s := DirectiveState{
		ID: d.ID, Kind: d.Kind, Callee: d.Callee, Name: d.Name, Epoch: d.Epoch, Seq: d.Seq, Expires: d.Expires,
		Params: g.inForce(k), Default: g.configured(k), Phase: held.phase, Step: held.step,
	}
	if _, known := g.upstreams[k.callee]; k.callee != "" && !known {
		s.Note = "this service has no such callee"
	}
	return s
}
