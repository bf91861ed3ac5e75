package lever

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/sreagent/sreagent/sre"
)

// attempts is how often a write is decided anew because somebody else wrote in
// between.
const attempts = 6

// knob is what one action kind moves: some fields of one object.
type knob interface {
	// places lists where the setting may be, the one to move now first.
	places(ctx context.Context, l *Lever) ([]object, error)
	// path is the field that holds the setting.
	path(u *unstructured.Unstructured) []string
	// read returns the settings in force.
	read(ctx context.Context, l *Lever, u *unstructured.Unstructured) (sre.Params, error)
	// want returns the settings that the action asks for, or why it is refused.
	want(ctx context.Context, l *Lever, u *unstructured.Unstructured, have sre.Params, a sre.Action) (sre.Params, error)
	// write returns u with the settings, as it is to be sent.
	write(u *unstructured.Unstructured, set sre.Params) (*unstructured.Unstructured, error)
}

// sight is one object as it was read.
type sight struct {
	at    object
	u     *unstructured.Unstructured
	lease lease
	epoch uint64 // highest of all kinds
	have  sre.Params
}

func (l *Lever) look(ctx context.Context, k knob, kind sre.ActionKind, at object) (sight, error) {
	s := sight{at: at}
	var err error
	if s.u, err = l.get(ctx, at); err != nil {
		return s, err
	}
	if s.lease, err = readLease(s.u, kind); err != nil {
		return s, err
	}
	if s.epoch, err = highest(s.u); err != nil {
		return s, err
	}
	s.have, err = k.read(ctx, l, s.u)
	return s, err
}

// find looks at the place whose lease the action holds, else at the one that
// is to be moved now: an autoscaler may have come or gone since.
func (l *Lever) find(ctx context.Context, k knob, a sre.Action) (sight, error) {
	places, err := k.places(ctx, l)
	if err != nil {
		return sight{}, err
	}
	var first sight
	var gone error
	for _, at := range places {
		s, err := l.look(ctx, k, a.Kind, at)
		switch {
		case apierrors.IsNotFound(err):
			gone = err
			continue
		case err != nil:
			return sight{}, err
		case s.lease.Action == a.ID:
			return s, nil
		case first.u == nil:
			first = s
		}
	}
	if first.u == nil {
		return sight{}, gone
	}
	return first, nil
}

// store writes settings and lease in one update, conditional on the version
// that was read, after the API server has judged it without storing it.
func (l *Lever) store(ctx context.Context, k knob, kind sre.ActionKind, s sight, next lease, set sre.Params, pause func() error) error {
	u, err := s.u.DeepCopy(), error(nil)
	if err = writeLease(u, kind, next); err != nil {
		return err
	}
	moves := !same(set, s.have)
	if moves || s.at.apply {
		if u, err = k.write(u, set); err != nil {
			return err
		}
	}
	if moves {
		if err := l.put(ctx, s.at, u, true); err != nil {
			return err
		}
	}
	if pause != nil {
		if err := pause(); err != nil {
			return err
		}
	}
	return l.put(ctx, s.at, u, false)
}

// again runs a decision anew for as long as somebody else writes in between.
func (l *Lever) again(decide func() error) error {
	var err error
	for range attempts {
		if err = decide(); !apierrors.IsConflict(err) {
			return err
		}
	}
	return &sre.ActionError{Code: sre.CodeFailed, Err: err, Reason: fmt.Sprintf("the object changed at each of %d attempts", attempts)}
}

// Apply moves the target, or renews what holds there. It is refused where
// another writer has taken the setting over since, where a fencing token is
// stale, and where a GitOps owner would undo it and cannot be paused.
func (l *Lever) Apply(ctx context.Context, d sre.Directive) error {
	k, err := l.check(d.Action)
	if err != nil {
		return err
	}
	if d.Expires.IsZero() {
		return sre.Invalidf("the directive has no expiry")
	}
	var held *owner
	err = l.again(func() error {
		o, err := l.apply(ctx, k, d)
		if o != nil {
			held = o
		}
		return err
	})
	if held != nil && err != nil && sre.CodeOf(err) != sre.CodeUnknown {
		if back := l.resume(context.WithoutCancel(ctx), held, d.Action.ID, d.Epoch); back != nil {
			return sre.Unknownf(back, "%v; and the GitOps owner stays paused until %s", err, d.Expires.Format(time.RFC3339))
		}
	}
	if err != nil {
		return err
	}
	if drain, ok := k.(drainKnob); ok {
		return l.evict(ctx, drain.node)
	}
	return nil
}

// apply returns the GitOps owner that it has paused for an action that did not
// hold before: if that fails, so does the pause.
func (l *Lever) apply(ctx context.Context, k knob, d sre.Directive) (*owner, error) {
	s, err := l.find(ctx, k, d.Action)
	if err != nil {
		return nil, err
	}
	if err := s.lease.admit(d, s.epoch); err != nil {
		return nil, err
	}
	next := lease{Epoch: d.Epoch, Seq: d.Seq, Action: d.Action.ID, Service: d.Action.Target.Service, Expires: d.Expires}
	switch {
	case s.lease.Action == d.Action.ID && s.lease.foreign(s.have):
		return nil, l.release(ctx, k, d.Action.Kind, s)
	case s.lease.held() && !s.lease.foreign(s.have):
		next.Before = s.lease.Before // one lease, whoever of us holds it: the first state stays the first
	default:
		next.Before = s.have
	}
	if next.Set, err = l.wanted(ctx, k, s, d.Action); err != nil {
		return nil, err
	}
	o, err := l.owner(s)
	if err != nil {
		return nil, err
	}
	var pause func() error
	var held *owner
	if o != nil && !same(next.Set, next.Before) {
		pause = func() error {
			err := l.pause(ctx, o, d)
			if err == nil && s.lease.Action != d.Action.ID {
				held = o
			}
			return err
		}
	}
	err = l.store(ctx, k, d.Action.Kind, s, next, next.Set, pause)
	return held, err
}

func (l *Lever) wanted(ctx context.Context, k knob, s sight, a sre.Action) (sre.Params, error) {
	set := maps.Clone(s.have)
	if s.lease.held() && !s.lease.foreign(s.have) {
		// What an earlier call, of this action or of one that it takes over from,
		// has moved and this one does not name goes back to where it was.
		maps.Copy(set, s.lease.Before)
	}
	want, err := k.want(ctx, l, s.u, set, a)
	if err != nil {
		return nil, err
	}
	maps.Copy(set, want)
	return set, nil
}

// release ends an action whose setting somebody else has moved.
func (l *Lever) release(ctx context.Context, k knob, kind sre.ActionKind, s sight) error {
	if !s.lease.Released {
		next := s.lease
		next.Released = true
		if err := l.store(ctx, k, kind, s, next, s.have, nil); err != nil {
			return err
		}
	}
	return sre.Refusedf("%s was changed by %s: released", describe(s.u), writers(s.u, k.path(s.u)))
}

// Revert goes back to what was found, or, where somebody else has moved the
// setting since, only gives up the lease. On an object that is gone nothing is
// in effect. A paused GitOps owner is resumed in each case.
func (l *Lever) Revert(ctx context.Context, d sre.Directive) error {
	k, err := l.check(d.Action)
	if err != nil {
		return err
	}
	return l.again(func() error {
		s, err := l.find(ctx, k, d.Action)
		if apierrors.IsNotFound(err) {
			return l.unpauseAll(ctx, d.Epoch, func(holder string, _ time.Time) bool { return holder == d.Action.ID })
		}
		if err != nil {
			return err
		}
		if err := s.lease.admit(d, s.epoch); err != nil {
			return err
		}
		return l.revert(ctx, k, d.Action.Kind, d.Action.ID, s, lease{Epoch: d.Epoch, Seq: d.Seq})
	})
}

func (l *Lever) revert(ctx context.Context, k knob, kind sre.ActionKind, id string, s sight, mark lease) error {
	if s.lease.Action == id {
		set := s.lease.Before
		if _, keeps := k.(restartKnob); keeps || s.lease.foreign(s.have) {
			set = s.have
		}
		if err := l.store(ctx, k, kind, s, mark, set, nil); err != nil {
			return err
		}
	}
	return l.unpause(ctx, s, mark.Epoch, func(holder string, _ time.Time) bool { return holder == id })
}

// Probe reads what is in force at the action's target.
func (l *Lever) Probe(ctx context.Context, a sre.Action) (sre.TargetState, error) {
	k, err := l.check(a)
	if err != nil {
		return sre.TargetState{}, err
	}
	s, err := l.find(ctx, k, a)
	if err != nil {
		return sre.TargetState{}, err
	}
	st := sre.TargetState{Current: shown(s.have), Epoch: s.epoch}
	if s.lease.Action == "" {
		st.Detail = l.keptBy(ctx, s)
		return st, nil
	}
	st.Default, st.Expires = shown(s.lease.Before), s.lease.Expires
	if !s.lease.Released {
		st.Owner = s.lease.Action
	}
	want, err := l.wanted(ctx, k, s, a)
	if s.lease.Action == a.ID && a.Kind == sre.Rollback && a.Params["revision"] == nil {
		want, err = s.lease.Set, nil // which revision was the last good one was decided then
	}
	moved := s.lease.foreign(s.have)
	st.Foreign = moved || s.lease.Action != a.ID
	st.InEffect = !st.Foreign && err == nil && same(want, s.have)
	if st.InEffect {
		maps.Copy(st.Current, a.Params) // the words of the action for what was just found to be so
	}
	if moved {
		st.Detail = "changed by " + writers(s.u, k.path(s.u))
		return st, nil
	}
	if drain, ok := k.(drainKnob); ok && st.InEffect {
		if st.InEffect, st.Detail, err = l.leaving(ctx, drain.node); err != nil {
			return sre.TargetState{}, err
		}
		return st, nil
	}
	if o, err := l.owner(s); err == nil && o != nil {
		if st.Detail, err = l.paused(ctx, o); err != nil {
			return sre.TargetState{}, err
		}
	}
	if paused(s.u) && (a.Kind == sre.Rollback || a.Kind == sre.Restart) {
		st.Detail = strings.TrimPrefix(st.Detail+"; "+describe(s.u)+" is paused: nothing is rolled out", "; ")
	}
	return st, nil
}

// shown leaves out what is kept to go back and is of no use to a reader, and
// says once what holds for each of several places.
func shown(p sre.Params) sre.Params {
	out := sre.Params{}
	mixed := map[string]bool{}
	for _, name := range slices.Sorted(maps.Keys(p)) {
		v := p[name]
		if v == nil || name == template || strings.HasPrefix(name, kept) {
			continue
		}
		word, _, many := strings.Cut(name, ".")
		if many && out[word] != nil && out[word] != v {
			mixed[word] = true
		}
		out[word] = v
	}
	maps.DeleteFunc(out, func(name string, _ any) bool { return mixed[name] })
	return out
}
