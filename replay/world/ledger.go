package world

import (
	"maps"
	"math"
	"time"

	"github.com/sreagent/sreagent/replay/fluid"
	"github.com/sreagent/sreagent/sre"
)

// maxTTL is the longest lease that an enforcer grants, as the guard has it.
const maxTTL = 24 * time.Hour

// lease is a directive in force or on its way out.
type lease struct {
	action    sre.Action // its own copy
	k         knob
	epoch     uint64
	seq       uint64
	expires   time.Time // zero where the lever holds it until it is reverted
	due       time.Time // when something happens to it next; zero for nothing
	rolling   bool      // requested, and takes effect at due
	returning bool
	step      int
	steps     int
	target    sre.Params // of the return
}

// fence is the last write that was accepted for one knob.
type fence struct{ epoch, seq uint64 }

// post is one enforcer with its fencing token: the guard of a service, or the
// one control plane of the platform.
type post struct {
	epoch   uint64
	fences  map[knob]fence
	deleted map[string]uint64 // the seq at which an ID was reverted in this epoch
}

// ledger holds the leases of one lever: it fences writers, lets leases lapse
// and brings settings back step by step, so that recovery does not become the
// next trigger. The world's mu is held through every call.
type ledger struct {
	w      *World
	name   string
	kinds  sre.Capability
	shared bool // one enforcer for all services
	posts  map[int]*post
	leases map[knob]*lease
	owners map[string]knob // by action ID
	order  []*lease        // of leases, as they were put
}

func newLedger(w *World, name string, kinds []sre.KindSpec, shared bool) *ledger {
	return &ledger{
		w: w, name: name, shared: shared,
		kinds:  sre.Capability{Name: name, Version: "1", Kinds: kinds, Targets: w.names},
		posts:  make(map[int]*post),
		leases: make(map[knob]*lease), owners: make(map[string]knob),
	}
}

func (l *ledger) post(k knob) *post {
	at := k.service
	if l.shared {
		at = none
	}
	p := l.posts[at]
	if p == nil {
		p = &post{fences: make(map[knob]fence), deleted: make(map[string]uint64)}
		l.posts[at] = p
	}
	return p
}

// put accepts a directive, or renews the one with the same ID.
func (l *ledger) put(k knob, d sre.Directive) error {
	if other, ok := l.owners[d.Action.ID]; ok && other != k {
		return sre.Invalidf("action %q holds another setting", d.Action.ID)
	}
	p := l.post(k)
	if seq, ok := p.deleted[d.Action.ID]; ok && d.Epoch == p.epoch && d.Seq <= seq {
		return sre.Refusedf("seq %d of %q is not above %d, at which it was reverted", d.Seq, d.Action.ID, seq)
	}
	if err := p.pass(d.Epoch, d.Seq, &k); err != nil {
		return err
	}
	delete(p.deleted, d.Action.ID)
	action := d.Action
	action.Params = maps.Clone(action.Params)
	fresh := &lease{action: action, k: k, epoch: d.Epoch, seq: d.Seq}
	spec, _ := l.kinds.Kind(k.kind)
	if spec.TTL {
		fresh.expires, fresh.due = d.Expires, d.Expires
	}
	old := l.leases[k]
	switch {
	case old != nil && old.action.ID == action.ID && !old.returning:
		if k.kind == sre.Rollback {
			fresh.rolling, fresh.due = old.rolling, old.due
		}
	case k.kind == sre.Rollback:
		if delay := l.w.plan.Services[k.service].StartDelay; delay > 0 {
			fresh.rolling, fresh.due = true, l.w.clock().Add(delay)
		}
	}
	if old != nil {
		l.forget(old)
	}
	l.leases[k], l.owners[action.ID] = fresh, k
	l.order = append(l.order, fresh)
	l.enforce(k)
	return nil
}

// remove starts the return of the lease of an action. One that is not there is
// removed already. restore are the settings to go back to where the enforcer
// has no default of its own.
func (l *ledger) remove(k knob, d sre.Directive) error {
	p := l.post(k)
	held, ok := l.owners[d.Action.ID]
	if !ok {
		if err := p.pass(d.Epoch, d.Seq, nil); err != nil {
			return err
		}
		p.deleted[d.Action.ID] = max(d.Seq, p.deleted[d.Action.ID]) // a late write of the same ID must not come back
		return nil
	}
	if err := l.post(held).pass(d.Epoch, d.Seq, &held); err != nil {
		return err
	}
	x := l.leases[held]
	if x.returning {
		return nil
	}
	if spec, _ := l.kinds.Kind(held.kind); !spec.TTL && len(d.Restore) > 0 {
		l.forget(x)
		l.write(held, d.Restore)
		return nil
	}
	l.lapse(x)
	return nil
}

// pass lets a writer through that has not been superseded, and remembers it.
func (p *post) pass(epoch, seq uint64, k *knob) error {
	if epoch < p.epoch {
		return sre.Refusedf("epoch %d is below %d", epoch, p.epoch)
	}
	if k != nil {
		if last, ok := p.fences[*k]; ok && last.epoch == epoch && seq < last.seq {
			return sre.Refusedf("seq %d is below %d in epoch %d", seq, last.seq, epoch)
		}
	}
	if epoch > p.epoch {
		p.epoch = epoch
		clear(p.fences)
		clear(p.deleted)
	}
	if k != nil {
		p.fences[*k] = fence{epoch, seq}
	}
	return nil
}

// next returns the step at which something happens to a lease.
func (l *ledger) next() int64 {
	step := int64(math.MaxInt64)
	for _, x := range l.order {
		if !x.due.IsZero() {
			step = min(step, l.w.stepAt(x.due))
		}
	}
	return step
}

// settle does what is due at the present step.
func (l *ledger) settle() {
	now := l.w.clock()
	for i := 0; i < len(l.order); {
		x := l.order[i]
		if x.due.IsZero() || x.due.After(now) {
			i++
			continue
		}
		l.advance(x) // may take x out of the order
	}
}

func (l *ledger) advance(x *lease) {
	switch {
	case x.rolling:
		x.rolling, x.due = false, time.Time{}
		l.enforce(x.k)
	case !x.returning:
		l.lapse(x)
	case x.step+1 >= x.steps:
		l.forget(x)
		l.enforce(x.k)
	default:
		x.step++
		x.due = x.due.Add(l.w.o.ReturnEvery)
		l.enforce(x.k)
	}
}

// lapse begins the return: the value stays for one interval, so that a renewal
// that is a little late finds it in force, and then goes back step by step.
func (l *ledger) lapse(x *lease) {
	x.returning, x.rolling = true, false
	x.steps = returnSteps(x.k.kind, x.action.Params, l.w.o.ReturnSteps)
	if x.steps == 0 {
		l.forget(x)
		l.enforce(x.k)
		return
	}
	x.target = l.returnTarget(x)
	x.due = l.w.clock().Add(l.w.o.ReturnEvery)
	l.enforce(x.k)
}

// forget takes a lease out of the ledger, and nothing out of the model.
func (l *ledger) forget(x *lease) {
	delete(l.leases, x.k)
	delete(l.owners, x.action.ID)
	for i, other := range l.order {
		if other == x {
			l.order = append(l.order[:i], l.order[i+1:]...)
			break
		}
	}
}

// returnTarget is the value at which a setting binds no more.
func (l *ledger) returnTarget(x *lease) sre.Params {
	w := l.w
	switch x.k.kind {
	case sre.Shed:
		demand, free := w.targets[x.k.service].count.demand, sre.Params{}
		for class, name := range classParams {
			if limit, ok := x.action.Params.Float(name); ok {
				free[name] = headroom * max(demand[class], limit)
			}
		}
		if limit, ok := x.action.Params.Float("rps"); ok {
			free["rps"] = headroom * max(total(&demand), limit)
		}
		return free
	case sre.RetryBudget:
		most := 0.0
		for _, e := range w.relations(x.k) {
			most = max(most, w.openRatio(e))
		}
		return sre.Params{"ratio": most}
	case sre.QueueBound:
		if p := w.defaults(x.k); len(p) > 0 {
			return p
		}
		return sre.Params{"length": longestQueue}
	case sre.KillSwitch, sre.Breaker, sre.Timeout, sre.Rollback, sre.Scale, sre.TrafficShift, sre.Drain, sre.Restart:
	}
	return w.defaults(x.k)
}

// longestQueue stands for no bound on the way back to it: the guard's default.
const longestQueue = 100_000.

// headroom is how far above the demand the last step of a return leads.
const headroom = 1.25

// openRatio is the retry budget at which the configured retries of a relation
// are not limited.
func (w *World) openRatio(e int) float64 {
	if b := w.model.DefaultEdgeControl(e).Budget; !math.IsInf(b, 1) {
		return b
	}
	return float64(w.plan.Edges[e].Retries)
}

// inForce is what a lease sets now: as ordered, or on the way back.
func (x *lease) inForce() sre.Params {
	if !x.returning {
		return x.action.Params
	}
	return returnValue(x.k.kind, x.action.Params, x.target, x.step, x.steps)
}

// enforce writes into the model what holds at a knob now. A budget or timeout
// without a callee holds for every call that has no lease of its own.
func (l *ledger) enforce(k knob) {
	if x := l.leases[k]; x != nil {
		if !x.rolling {
			l.write(k, x.inForce())
		}
		return
	}
	l.write(k, nil)
}

// write sets a knob in the model; nil is the default.
func (l *ledger) write(k knob, p sre.Params) {
	m := l.w.model
	if !k.perEdge() {
		m.SetControl(k.service, l.serviceControl(k, p))
		return
	}
	for _, e := range l.w.relations(k) {
		m.SetEdgeControl(e, l.edgeControl(k, e, p))
	}
}

// serviceControl is the control of a service with one setting written.
func (l *ledger) serviceControl(k knob, p sre.Params) fluid.ServiceControl {
	m := l.w.model
	c := m.Control(k.service)
	if k.kind == sre.KillSwitch {
		off := make(map[string]float64)
		for _, x := range l.order {
			if x.k.kind == k.kind && x.k.service == k.service {
				off[x.k.name], _ = x.inForce().Float("percent")
			}
		}
		setFeatures(&c, off)
		return c
	}
	setService(&c, m.DefaultControl(k.service), k.kind, p)
	return c
}

// edgeControl is the control of a call relation with one setting written, unless
// a lease of the relation's own, or one of all relations, holds instead.
func (l *ledger) edgeControl(k knob, e int, p sre.Params) fluid.EdgeControl {
	m, own, all := l.w.model, k, k
	own.callee, all.callee = l.w.plan.Edges[e].To, none
	x := l.leases[own]
	if x == nil {
		x = l.leases[all]
	}
	if x != nil {
		k, p = x.k, x.inForce()
		if x.returning && k.kind == sre.RetryBudget { // every relation opens at its own number of retries
			p = returnValue(k.kind, x.action.Params, sre.Params{"ratio": l.w.openRatio(e)}, x.step, x.steps)
		}
	}
	c := m.EdgeControl(e)
	setEdge(&c, m.DefaultEdgeControl(e), k, p)
	return c
}

// held reports whether the model still has what a lease set: a script, or a
// person, may have moved it since.
func (l *ledger) held(x *lease) bool {
	if x.rolling {
		return true
	}
	m, p := l.w.model, x.inForce()
	if !x.k.perEdge() {
		return sameService(m.Control(x.k.service), l.serviceControl(x.k, p))
	}
	for _, e := range l.w.relations(x.k) {
		if m.EdgeControl(e) != l.edgeControl(x.k, e, p) {
			return false
		}
	}
	return true
}
