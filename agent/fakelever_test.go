package agent

import (
	"context"
	"errors"
	"maps"
	"sync"
	"time"

	"github.com/sreagent/sreagent/sre"
)

// fakeLever is a lever with leases, fencing and every way to fail.
type fakeLever struct {
	mu      sync.Mutex // the executor calls several at once
	w       *world
	effects map[string]effect // by action ID
	epoch   uint64
	fresh   map[string]int // how often an action came into effect that was not
	touched int            // calls of Apply and Revert
	apply   func(a sre.Action) error
	revert  func(a sre.Action) error
	probe   func(a sre.Action) error
	person  string                               // who stood behind the last apply
	detail  string                               // of every probe
	lateBy  bool                                 // apply works, but the answer is lost
	stays   bool                                 // it holds no lease: what is applied stays until it is reverted
	foreign bool                                 // somebody else has moved it since
	mute    bool                                 // it does not say what it can
	beneath func(service string) sre.TargetState // what a probe finds where no action is in effect, where set
	honest  bool                                 // a probe tells the setting that is in force, and an action holds with its own only
}

type effect struct {
	action  sre.Action
	expires time.Time
}

func newFakeLever(w *world) *fakeLever {
	return &fakeLever{w: w, effects: map[string]effect{}, fresh: map[string]int{}}
}

func (l *fakeLever) Describe(context.Context) (sre.Capability, error) {
	if l.mute {
		return sre.Capability{}, errCut
	}
	return sre.Capability{Name: "fake", Kinds: []sre.KindSpec{
		{Kind: sre.RetryBudget, Reversible: true, Params: []sre.ParamSpec{{Name: "ratio", Type: "number", Max: 10}}},
		{Kind: sre.KillSwitch, Reversible: true, Params: []sre.ParamSpec{{Name: "percent", Type: "number", Max: 100}, {Name: "drill", Type: "bool"}}},
		{Kind: sre.Shed, Reversible: true, Params: []sre.ParamSpec{{Name: "ratio", Type: "number", Max: 10}}},
		{Kind: sre.Scale, Reversible: true, Params: []sre.ParamSpec{{Name: "ratio", Type: "number", Max: 10}}},
		{Kind: sre.Rollback, Reversible: true, Params: []sre.ParamSpec{{Name: "ratio", Type: "number", Max: 10}}},
	}}, nil
}

func (l *fakeLever) lapse() {
	if l.stays {
		return
	}
	maps.DeleteFunc(l.effects, func(_ string, e effect) bool { return !l.w.now.Before(e.expires) })
}

func (l *fakeLever) Probe(_ context.Context, a sre.Action) (sre.TargetState, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.probe != nil {
		if err := l.probe(a); err != nil {
			return sre.TargetState{}, err
		}
	}
	l.lapse()
	_, in := l.effects[a.ID]
	if l.foreign {
		return sre.TargetState{Foreign: true, Owner: "somebody", Current: sre.Params{"ratio": 7.0}}, nil
	}
	if in && l.honest {
		return sre.TargetState{InEffect: a.Params.Near(l.effects[a.ID].action.Params), Owner: a.ID, Current: l.effects[a.ID].action.Params, Epoch: l.epoch, Expires: l.effects[a.ID].expires}, nil
	}
	if !in && l.beneath != nil {
		return l.beneath(a.Target.Service), nil
	}
	return sre.TargetState{InEffect: in, Current: sre.Params{"ratio": 3.0}, Epoch: l.epoch, Expires: l.effects[a.ID].expires, Detail: l.detail}, nil
}

func (l *fakeLever) Apply(_ context.Context, d sre.Directive) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.touched++
	if l.apply != nil {
		if err := l.apply(d.Action); err != nil {
			return err
		}
	}
	if d.Epoch < l.epoch {
		return sre.Refusedf("epoch %d is stale, %d was seen", d.Epoch, l.epoch)
	}
	l.epoch, l.person = d.Epoch, d.Approved
	l.lapse()
	if _, in := l.effects[d.Action.ID]; !in {
		l.fresh[d.Action.ID]++
	}
	l.effects[d.Action.ID] = effect{action: d.Action, expires: d.Expires}
	if l.lateBy {
		return errors.New("connection cut after the request")
	}
	return nil
}

func (l *fakeLever) Revert(_ context.Context, d sre.Directive) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.touched++
	if l.revert != nil {
		if err := l.revert(d.Action); err != nil {
			return err
		}
	}
	delete(l.effects, d.Action.ID)
	return nil
}
