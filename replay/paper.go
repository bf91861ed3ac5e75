package replay

import (
	"context"
	"maps"
	"sync"
	"time"

	"github.com/sreagent/sreagent/sre"
)

// PaperLever stands for a real lever in a rehearsal over a recording: it takes
// every directive that the real one would take, remembers it until it lapses,
// and moves nothing. What a recording shows does not follow what is done now, so
// whether an action would have helped is for the world to say, not for this.
type PaperLever struct {
	capability sre.Capability

	mu    sync.Mutex // the executor calls several at once; guards what follows
	now   time.Time
	held  map[string]sre.Directive // by knob
	epoch uint64
}

// NewPaperLever returns a lever that describes itself as the real one does.
func NewPaperLever(c sre.Capability) *PaperLever {
	return &PaperLever{capability: c, held: map[string]sre.Directive{}}
}

// timed are levers that live in the time of a rehearsal.
type timed interface{ setTime(now time.Time) }

func (p *PaperLever) setTime(now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.now = now
}

// Describe returns the capability of the lever that this one stands for.
func (p *PaperLever) Describe(context.Context) (sre.Capability, error) { return p.capability, nil }

func knob(a sre.Action) string { return string(a.Kind) + " " + a.Target.String() }

// Probe returns what was applied and has not lapsed.
func (p *PaperLever) Probe(_ context.Context, a sre.Action) (sre.TargetState, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	st := sre.TargetState{Current: sre.Params{}, Default: sre.Params{}, Epoch: p.epoch}
	d, ok := p.held[knob(a)]
	if !ok || !d.Expires.IsZero() && !p.now.Before(d.Expires) {
		return st, nil
	}
	st.Current = maps.Clone(d.Action.Params)
	st.Owner, st.Expires = d.Action.ID, d.Expires
	st.InEffect = d.Action.ID == a.ID
	st.Foreign = !st.InEffect
	return st, nil
}

// Apply remembers the directive.
func (p *PaperLever) Apply(_ context.Context, d sre.Directive) error {
	spec, ok := p.capability.Kind(d.Action.Kind)
	if !ok {
		return sre.Invalidf("%s cannot %s", p.capability.Name, d.Action.Kind)
	}
	if err := spec.Check(d.Action.Params); err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.fence(d); err != nil {
		return err
	}
	p.held[knob(d.Action)] = d
	return nil
}

// Revert forgets the directive.
func (p *PaperLever) Revert(_ context.Context, d sre.Directive) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.fence(d); err != nil {
		return err
	}
	if held, ok := p.held[knob(d.Action)]; ok && held.Action.ID == d.Action.ID {
		delete(p.held, knob(d.Action))
	}
	return nil
}

func (p *PaperLever) fence(d sre.Directive) error {
	if d.Epoch < p.epoch {
		return sre.Refusedf("epoch %d is older than %d", d.Epoch, p.epoch)
	}
	p.epoch = d.Epoch
	return nil
}
