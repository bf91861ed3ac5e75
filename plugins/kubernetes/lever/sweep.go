package lever

import (
	"context"
	"errors"
	"slices"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/sreagent/sreagent/sre"
)

// Sweep reverts what has lapsed by now, asks again for pods that a disruption
// budget has held, and notes which revisions work. What failed is tried again
// at the next call; the error holds all of it.
func (l *Lever) Sweep(ctx context.Context, now time.Time) error {
	var errs []error
	for _, s := range l.cfg.Services {
		for _, kind := range Kinds() {
			if kind != sre.Drain && slices.Contains(l.cfg.Actions, kind) && (kind != sre.Rollback || s.workload().resource == deployments) {
				errs = append(errs, l.sweep(ctx, knobOf(kind, s), kind, now))
			}
		}
		if slices.Contains(l.cfg.Actions, sre.Rollback) {
			if err := l.note(ctx, s); err != nil && !apierrors.IsConflict(err) && !apierrors.IsNotFound(err) {
				errs = append(errs, err)
			}
		}
	}
	if slices.Contains(l.cfg.Actions, sre.Drain) {
		for _, node := range l.cfg.Nodes {
			errs = append(errs, l.sweep(ctx, drainKnob{node}, sre.Drain, now))
		}
	}
	errs = append(errs, l.unpauseAll(ctx, 0, func(_ string, until time.Time) bool { return !now.Before(until) }))
	return errors.Join(errs...)
}

func (l *Lever) sweep(ctx context.Context, k knob, kind sre.ActionKind, now time.Time) error {
	places, err := k.places(ctx, l)
	if err != nil {
		return err
	}
	for _, at := range places {
		if err := l.again(func() error { return l.lapse(ctx, k, kind, at, now) }); err != nil {
			return err
		}
	}
	return nil
}

func (l *Lever) lapse(ctx context.Context, k knob, kind sre.ActionKind, at object, now time.Time) error {
	s, err := l.look(ctx, k, kind, at)
	if apierrors.IsNotFound(err) {
		return nil // what is not there holds no lease
	}
	if err != nil {
		return err
	}
	if s.lease.Action != "" && !now.Before(s.lease.Expires) {
		l.log.Info("lease has lapsed", "object", at.String(), "kind", string(kind), "action", s.lease.Action)
		return l.revert(ctx, k, kind, s.lease.Action, s, s.lease.over())
	}
	if drain, ok := k.(drainKnob); ok && s.lease.held() && !s.lease.foreign(s.have) {
		return l.evict(ctx, drain.node)
	}
	return l.unpause(ctx, s, 0, func(_ string, until time.Time) bool { return !now.Before(until) })
}

// Run sweeps at every interval, until the context ends. The first one is not at
// once: a process that is started only to be asked what it can do moves nothing.
func (l *Lever) Run(ctx context.Context) {
	ticker := time.NewTicker(time.Duration(l.cfg.SweepInterval))
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		if err := l.Sweep(ctx, l.now()); err != nil && ctx.Err() == nil {
			l.log.Warn("sweep is not complete", "err", err)
		}
	}
}
