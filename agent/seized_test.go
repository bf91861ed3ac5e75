package agent

import (
	"strings"
	"testing"
	"time"

	"github.com/sreagent/sreagent/agent/arbiter"
	"github.com/sreagent/sreagent/sre"
)

// lifted is an incident whose levers have been taken back and that is not over
// yet; the levers moved the ratio from 3 to 0.1.
func lifted(t *testing.T, change ...func(*rig)) *rig {
	t.Helper()
	r := newRig(t, append([]func(*rig){func(r *rig) { r.cfg.Timing.CloseAfter = time.Minute }}, change...)...)
	r.w.sick = true
	r.until(sre.Lifting)
	r.until(sre.Resolved)
	if len(r.lever.effects) != 0 || len(r.sent()) != 2 {
		t.Fatalf("%d levers in force after %d applies", len(r.lever.effects), len(r.sent()))
	}
	return r
}

func reads(s sre.TargetState) func(string) sre.TargetState {
	return func(service string) sre.TargetState {
		if service == "web" {
			return s
		}
		return sre.TargetState{Current: sre.Params{"ratio": 3.0}}
	}
}

var webKnob = arbiter.Knob{Kind: sre.RetryBudget, Target: sre.Target{Lever: "fake", Service: "web"}}

func TestARelapseDoesNotOverwriteWhatSomebodyHasSetMeanwhile(t *testing.T) {
	five, ours := sre.Params{"ratio": 5.0}, ""
	for name, c := range map[string]struct {
		found  func(r *rig) sre.TargetState
		seized bool
	}{
		"what was there before": {func(*rig) sre.TargetState { return sre.TargetState{Current: sre.Params{"ratio": 3.0}} }, false},
		"the agent's own last":  {func(*rig) sre.TargetState { return sre.TargetState{Current: sre.Params{"ratio": 0.1}} }, false},
		"on its way back": {func(*rig) sre.TargetState {
			return sre.TargetState{Current: sre.Params{"ratio": 1.0}, Default: sre.Params{"ratio": 3.0}}
		}, false},
		"on its way back by name": {func(*rig) sre.TargetState { return sre.TargetState{Current: sre.Params{"ratio": 1.0}, Owner: ours} }, false},
		"not read":                {func(*rig) sre.TargetState { return sre.TargetState{} }, false},
		"another value":           {func(*rig) sre.TargetState { return sre.TargetState{Current: five} }, true},
		"another default":         {func(*rig) sre.TargetState { return sre.TargetState{Current: five, Default: five} }, true},
		"another limit beside it": {func(*rig) sre.TargetState {
			return sre.TargetState{Current: sre.Params{"ratio": 3.0, "rps": 9.0}}
		}, true},
		"no limit any more": {func(*rig) sre.TargetState { return sre.TargetState{Current: sre.Params{}} }, true},
		"held by somebody":  {func(*rig) sre.TargetState { return sre.TargetState{Current: five, Foreign: true, Owner: "ann"} }, true},
		"ours, and moved":   {func(*rig) sre.TargetState { return sre.TargetState{Current: five, Foreign: true, Owner: ours} }, true},
		"after a restart":   {func(r *rig) sre.TargetState { r.start(); return sre.TargetState{Current: five} }, true},
		"to a new incident": {func(r *rig) sre.TargetState {
			r.run(70)
			for _, inc := range r.a.book.incidents {
				inc.ClosedAt = inc.ClosedAt.Add(-40 * time.Minute) // too long ago to be opened again
			}
			return sre.TargetState{Current: five}
		}, true},
		"long ago": {func(r *rig) sre.TargetState {
			r.run(70)
			r.at = r.at.Add(relapseWithin)
			return sre.TargetState{Current: five}
		}, false},
	} {
		t.Run(name, func(t *testing.T) {
			r := lifted(t)
			ours = r.sent()[0].ID
			state := c.found(r)
			r.lever.beneath, r.w.sick = reads(state), true
			for range 20 {
				r.run(1)
			}
			applied := 0
			for _, x := range r.sent()[2:] {
				if x.Target.Service == "web" && x.Kind == sre.RetryBudget {
					applied++
				}
			}
			f, _, frozen := r.a.book.ledger.Frozen(r.a.gate.Policy().Arbitration, webKnob, r.at)
			if frozen != c.seized || (applied > 0) == c.seized {
				t.Fatalf("frozen %v, applied %d times\n%s", frozen, applied, r.story())
			}
			if !c.seized {
				return
			}
			if f.Old["ratio"] != 3.0 || !f.Theirs.Near(state.Current) {
				t.Errorf("noted %+v", f)
			}
			told := false
			for _, n := range r.pager.notices {
				told = told || strings.Contains(n.Text, "somebody else moved the lever") && n.NeedsYou
			}
			if !told {
				t.Errorf("nobody was told: %+v", r.pager.notices)
			}
			again := newRig(t)
			if err := again.a.Restore(r.trail.all()); err != nil {
				t.Fatal(err)
			}
			if g, _, still := again.a.book.ledger.Frozen(r.a.gate.Policy().Arbitration, webKnob, r.at); !still || !g.At.Equal(f.At) || !g.Old.Near(f.Old) {
				t.Errorf("after a restart %v: %+v, was %+v", still, g, f)
			}
		})
	}
}

// A person who says yes to a plan has been shown the setting that it replaces.
func TestAPersonsYesReplacesTheSettingThatItWasShown(t *testing.T) {
	r := lifted(t, func(r *rig) { r.cfg.Policy.Mode, r.desk.reply = sre.Ask, approving })
	r.lever.beneath, r.w.sick = reads(sre.TargetState{Current: sre.Params{"ratio": 5.0}}), true
	r.run(10)
	if n := len(r.sent()); n != 4 {
		t.Errorf("%d applies in all\n%s", n, r.story())
	}
}

// What an earlier run sent may arrive yet, over what somebody has set since: it is
// fenced off by an undo, and not left to them as it is.
func TestWhatIsOnItsWayIsFencedOffAlsoWhereSomebodyHasSetTheKnob(t *testing.T) {
	r := newRig(t, func(r *rig) { r.lever.apply = func(sre.Action) error { return errCut } })
	r.w.sick = true
	r.until(sre.Acting)
	r.start()
	r.lever.beneath, r.lever.apply = reads(sre.TargetState{Current: sre.Params{"ratio": 5.0}}), nil
	r.run(10)
	fenced, web := false, r.sent()[0].ID
	for _, rec := range r.trail.records {
		if rec.Intent == nil || rec.Intent.Action.ID != web || rec.Intent.Epoch != r.a.epoch {
			continue
		}
		if rec.Intent.Permit.Purpose == sre.ToApply {
			t.Errorf("it was applied over what somebody had set\n%s", r.story())
		}
		fenced = fenced || rec.Intent.Permit.Purpose == sre.ToRevert
	}
	if !fenced {
		t.Errorf("it was not fenced off\n%s", r.story())
	}
}
