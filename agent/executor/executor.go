// Package executor touches the levers. It is the only place that does, it takes
// nothing without a gate.Permit, and it is the only place that knows of dry
// runs.
//
// It owns the order of work on one lever (permit, dry run, apply, probe when
// the answer is unknown) and the mapping of answers to phases. It never
// decides, never retries, never keeps state and never reads a clock: what it
// could not settle it reports as it is, and the agent probes again on a later
// tick.
//
// A lever that outlives its deadline costs the tick no more than that: its call
// is left behind, and a lever with too many of those is called no more.
//
// Read Carry for the order of work, then call.go.
package executor

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/sreagent/sreagent/agent/gate"
	"github.com/sreagent/sreagent/sre"
)

// Order is one lever to touch, with the permit that allows it.
type Order struct {
	Permit  gate.Permit
	Purpose sre.Purpose
	Epoch   uint64
	Seq     uint64
	Expires time.Time  // of the lease, but for revert
	Restore sre.Params // what was there before, for revert
	Unseen  bool       // for revert: the apply was never seen in effect and may arrive yet
}

// Config bounds the executor.
type Config struct {
	DryRun  bool
	Timeout time.Duration // for each call to a lever; 0 waits for ever, for levers of a simulated world
	Width   int           // calls at once
}

// Executor carries orders out.
type Executor struct {
	cfg    Config
	levers map[string]sre.Remediator
	caps   map[string]sre.Capability
	astray map[string]*astray // calls that were given up, by lever
}

// New returns an executor over levers by name.
func New(cfg Config, levers map[string]sre.Remediator) *Executor {
	if cfg.Width < 1 {
		cfg.Width = 1
	}
	e := &Executor{cfg: cfg, levers: levers, caps: map[string]sre.Capability{}, astray: map[string]*astray{}}
	for name := range levers {
		e.astray[name] = &astray{}
	}
	return e
}

// With returns an executor over the same levers with other bounds. It has still
// to be told what they can do, and knows which of them hang.
func (e *Executor) With(cfg Config) *Executor {
	next := New(cfg, e.levers)
	next.astray = e.astray
	return next
}

// DryRun reports whether nothing is really touched.
func (e *Executor) DryRun() bool { return e.cfg.DryRun }

// Describe asks every lever what it can do, and returns the answers in the
// order of the levers' names. A lever that does not answer is left out.
func (e *Executor) Describe(ctx context.Context) []sre.Capability {
	names := slices.Sorted(maps.Keys(e.levers))
	answers := make([]*sre.Capability, len(names))
	e.each(len(names), func(i int) {
		if c, err := call(ctx, e, names[i], e.levers[names[i]].Describe); err == nil {
			c.Name = names[i]
			answers[i] = &c
		}
	})
	var out []sre.Capability
	for i, c := range answers {
		if c != nil {
			out = append(out, *c)
			e.caps[names[i]] = *c
		}
	}
	return out
}

// Found is what a probe read.
type Found struct {
	State sre.TargetState
	Err   error
}

// Probe reads what is in effect at the targets of actions, several at once. It
// touches nothing and needs no permit. Answers are in the order of actions.
func (e *Executor) Probe(ctx context.Context, actions []sre.Action) []Found {
	out := make([]Found, len(actions))
	e.each(len(actions), func(i int) {
		out[i] = e.probe(ctx, actions[i])
	})
	return out
}

func (e *Executor) probe(ctx context.Context, a sre.Action) Found {
	lever, ok := e.levers[a.Target.Lever]
	if !ok {
		return Found{Err: sre.Invalidf("no lever named %q", a.Target.Lever)}
	}
	a = own(a)
	state, err := call(ctx, e, a.Target.Lever, func(ctx context.Context) (sre.TargetState, error) {
		return lever.Probe(ctx, a)
	})
	if a.Law != "" && state.Owner == a.ID && !state.Foreign {
		state.InEffect = true // though with other settings than are known here: its law has sent them
	}
	return Found{State: recordable(state), Err: err}
}

// Carry carries orders out, several at once, and returns one result per order,
// in their order. An order whose permit does not allow it is refused without a
// call.
func (e *Executor) Carry(ctx context.Context, now time.Time, orders []Order) []sre.ResultRecord {
	out := make([]sre.ResultRecord, len(orders))
	e.each(len(orders), func(i int) {
		out[i] = e.carry(ctx, now, orders[i])
	})
	return out
}

func (e *Executor) carry(ctx context.Context, now time.Time, o Order) sre.ResultRecord {
	action := o.Permit.Action()
	r := sre.ResultRecord{Action: action.ID, Purpose: o.Purpose}
	if !o.Permit.Allows(o.Purpose, now) {
		return refused(r, "no permit")
	}
	lever, ok := e.levers[action.Target.Lever]
	if !ok {
		return refused(r, "no lever named "+action.Target.Lever)
	}
	if o.Purpose == sre.ToApply || o.Purpose == sre.ToAdjust { // what is in force already has passed this
		spec, ok := e.caps[action.Target.Lever].Kind(action.Kind)
		if !ok {
			return refused(r, fmt.Sprintf("lever %s has not said that it can %s", action.Target.Lever, action.Kind))
		}
		if err := spec.Check(action.Params); err != nil {
			r.Code, r.Err, r.Phase = sre.CodeInvalid, err.Error(), without(o.Purpose)
			return r
		}
	}
	if e.cfg.DryRun {
		if o.Purpose != sre.ToApply { // it is really in force, from before: that is not simulated away
			return refused(r, "dry run: not touched")
		}
		r.Phase = sre.Simulated
		return r
	}
	err := e.touch(ctx, lever, o)
	if err == nil {
		r.Phase = after(o.Purpose)
		return r
	}
	r.Code, r.Err = sre.CodeOf(err), err.Error()
	if r.Code == sre.CodeUnknown {
		return e.settle(ctx, r, o)
	}
	r.Phase = without(o.Purpose)
	return r
}

func (e *Executor) touch(ctx context.Context, lever sre.Remediator, o Order) error {
	d := sre.Directive{Action: own(o.Permit.Action()), Epoch: o.Epoch, Seq: o.Seq, Expires: o.Expires, Restore: maps.Clone(o.Restore), Approved: o.Permit.Person()}
	_, err := call(ctx, e, d.Action.Target.Lever, func(ctx context.Context) (struct{}, error) {
		if o.Purpose == sre.ToRevert {
			return struct{}{}, lever.Revert(ctx, d)
		}
		return struct{}{}, lever.Apply(ctx, d)
	})
	return err
}

// settle probes once after an unknown answer. Only a clear yes settles: "not in
// effect" may still be on its way, and so may the apply that is to be undone.
func (e *Executor) settle(ctx context.Context, r sre.ResultRecord, o Order) sre.ResultRecord {
	r.Phase = pending(o.Purpose)
	found := e.probe(ctx, o.Permit.Action())
	if found.Err != nil {
		return r
	}
	r.State = found.State
	if o.Purpose == sre.ToRevert && o.Unseen {
		return r
	}
	if o.Purpose == sre.ToAdjust && !o.Permit.Action().Params.Near(found.State.Current) {
		return r // in force, but with which settings?
	}
	if found.State.InEffect == (o.Purpose != sre.ToRevert) {
		r.Phase, r.Probed, r.Code, r.Err = after(o.Purpose), true, "", ""
	}
	return r
}

func refused(r sre.ResultRecord, why string) sre.ResultRecord {
	r.Code, r.Err, r.Phase = sre.CodeRefused, why, without(r.Purpose)
	return r
}

func after(p sre.Purpose) sre.Phase {
	if p == sre.ToRevert {
		return sre.Undone
	}
	return sre.InEffect
}

func pending(p sre.Purpose) sre.Phase {
	switch p {
	case sre.ToRevert:
		return sre.Undoing
	case sre.ToRenew, sre.ToAdjust:
		return sre.InEffect
	case sre.ToApply:
	}
	return sre.Intended
}

// without is the phase after an order that is known not to have been carried
// out.
func without(p sre.Purpose) sre.Phase {
	if p == sre.ToApply {
		return sre.Failed
	}
	return pending(p)
}

func (e *Executor) each(n int, do func(i int)) {
	slots := make(chan struct{}, e.cfg.Width)
	var wg sync.WaitGroup
	for i := range n {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			do(i)
		})
	}
	wg.Wait()
}
