package scenario

import (
	"context"
	"maps"
	"time"

	"github.com/sreagent/sreagent/sre"
)

const (
	// harmSpan is the time after an action over which goodput is compared.
	harmSpan = time.Minute

	// harmLeast is the loss of goodput that counts as harm; less is within what
	// two runs of the same world differ by for other reasons.
	harmLeast = .01
)

// judge finds the actions that did harm: those after which users fared worse
// than in the same world, up to then the same to the byte, in which that one
// action was accepted and had no effect.
func (s *Scenario) judge(ctx context.Context, r *Result, o Options) error {
	how := o.Judge
	if how == JudgeAuto {
		how = JudgeTwins
		if len(s.Blueprint.Services) > twinServices {
			how = JudgeBeforeAfter
		}
	}
	if how == JudgeNot {
		return nil
	}
	o.Watch, o.Scraped = nil, nil
	for n, a := range r.applied() {
		until := a.At.Add(harmSpan)
		is := mean(r.Story, a.At, until)
		was := mean(r.Story, a.At.Add(-harmSpan), a.At)
		if how == JudgeTwins && n < mostJudged {
			twin, err := s.stage(o, a.ID)
			if err != nil {
				return err
			}
			if err := twin.play(ctx, until); err != nil {
				return err
			}
			was = mean(twin.meter.story, a.At, until)
		}
		if is < was-harmLeast {
			a.Harmful = true
			r.HarmfulActions++
		}
	}
	return nil
}

// dud is a lever that pretends to carry out one action. The agent goes on as if
// it were in effect, so that nothing else differs.
type dud struct {
	sre.Remediator
	id   string
	held *sre.Directive
}

// Probe shows the action in effect while it is held.
func (d *dud) Probe(ctx context.Context, a sre.Action) (sre.TargetState, error) {
	st, err := d.Remediator.Probe(ctx, a)
	if err != nil || a.ID != d.id || d.held == nil {
		return st, err
	}
	st.InEffect, st.Foreign, st.Owner, st.Expires = true, false, d.id, d.held.Expires
	st.Current = maps.Clone(d.held.Action.Params)
	return st, nil
}

// Apply takes the action and leaves the world alone.
func (d *dud) Apply(ctx context.Context, directive sre.Directive) error {
	if directive.Action.ID != d.id {
		return d.Remediator.Apply(ctx, directive)
	}
	d.held = &directive
	return nil
}

// Revert forgets the action.
func (d *dud) Revert(ctx context.Context, directive sre.Directive) error {
	if directive.Action.ID == d.id {
		d.held = nil
	}
	return d.Remediator.Revert(ctx, directive)
}
