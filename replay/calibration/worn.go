package calibration

import (
	"context"
	"maps"
	"slices"
	"sync"

	"github.com/sreagent/sreagent/sre"
)

// wornOut are the kinds of action that do nothing after the drift: everywhere
// calls are no longer cut off or given up earlier, and in every third fleet the
// guards no longer heed what bounds retries and turns work away.
func wornOut(fleet uint64) []sre.ActionKind {
	if fleet%3 == 0 {
		return []sre.ActionKind{sre.Breaker, sre.Timeout, sre.RetryBudget, sre.Shed}
	}
	return []sre.ActionKind{sre.Breaker, sre.Timeout}
}

// lever is one whose actions of some kinds are accepted, shown in effect, and do
// nothing.
type lever struct {
	sre.Remediator
	lock sync.Mutex // the agent moves several at once
	worn []sre.ActionKind
	held map[string]sre.Directive
}

// worn returns what stands before the levers of a fleet after the drift.
func worn(fleet uint64) func(string, sre.Remediator) sre.Remediator {
	return func(_ string, r sre.Remediator) sre.Remediator {
		return &lever{Remediator: r, worn: wornOut(fleet), held: map[string]sre.Directive{}}
	}
}

// Probe shows what is pretended as in effect.
func (l *lever) Probe(ctx context.Context, a sre.Action) (sre.TargetState, error) {
	st, err := l.Remediator.Probe(ctx, a)
	l.lock.Lock()
	held, pretended := l.held[a.ID]
	l.lock.Unlock()
	if err != nil || !pretended {
		return st, err
	}
	st.InEffect, st.Foreign, st.Owner, st.Expires = true, false, a.ID, held.Expires
	st.Current = maps.Clone(held.Action.Params)
	return st, nil
}

// Apply takes the action, and leaves the world alone where its kind is worn out.
func (l *lever) Apply(ctx context.Context, d sre.Directive) error {
	if !slices.Contains(l.worn, d.Action.Kind) {
		return l.Remediator.Apply(ctx, d)
	}
	l.lock.Lock()
	defer l.lock.Unlock()
	l.held[d.Action.ID] = d
	return nil
}

// Revert forgets the action. A lever that never had it has nothing to undo.
func (l *lever) Revert(ctx context.Context, d sre.Directive) error {
	l.lock.Lock()
	_, pretended := l.held[d.Action.ID]
	delete(l.held, d.Action.ID)
	l.lock.Unlock()
	if pretended {
		return nil
	}
	return l.Remediator.Revert(ctx, d)
}
