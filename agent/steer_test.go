package agent

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/sreagent/sreagent/agent/control"
	"github.com/sreagent/sreagent/sre"
)

// ladder is a control law for tests: it tightens step by step in trouble, and
// when it is wanted back it loosens step by step and is done at the top.
type ladder struct {
	step float64
	sees func(control.Scene)
}

func (l ladder) Next(memory sre.Control, s control.Scene) control.Move {
	if l.sees != nil {
		l.sees(s)
	}
	now, _ := s.Action.Params.Float("ratio")
	to := now
	switch {
	case s.Lifting && !s.Trouble:
		to = min(now+l.step, 3)
	case s.Trouble:
		to = max(now-l.step, 0.01)
	}
	n := memory.Numbers["calls"]
	return control.Move{
		Params: sre.Params{"ratio": to},
		Memory: sre.Control{
			Numbers: map[string]float64{"calls": n + 1}, Done: s.Lifting && to >= 3,
			Why: fmt.Sprintf("trouble %t, lifting %t", s.Trouble, s.Lifting),
		},
	}
}

// under puts every action of a rig under a law.
func under(law control.Law) func(*rig) {
	return func(r *rig) {
		r.mind.law = "ladder"
		r.laws = func(name string) (control.Law, bool) { return law, name == "ladder" }
	}
}

// settings are those in force at the fake lever, by target.
func (r *rig) settings() map[string]float64 {
	out := map[string]float64{}
	for _, e := range r.lever.effects {
		out[e.action.Target.Service], _ = e.action.Params.Float("ratio")
	}
	return out
}

func TestALawMovesItsLeverAndLeadsItBackBeforeItIsLifted(t *testing.T) {
	r := newRig(t, under(ladder{step: 1}))
	r.w.sick = true
	inc := r.until(sre.Lifting)
	ladderUp := []float64{}
	for len(r.lever.effects) > 0 {
		ladderUp = append(ladderUp, r.settings()["web"])
		r.run(1)
	}
	if want := []float64{1.1, 2.1, 3}; !slices.Equal(slices.Compact(ladderUp), want) && !slices.Equal(slices.Compact(ladderUp), append([]float64{0.1}, want...)) {
		t.Errorf("led back by %v, want %v\n%s", ladderUp, want, r.story())
	}
	r.until(sre.Closed)
	before := func(p sre.Purpose) int { return r.intents(p) }
	if before(sre.ToAdjust) != 6 || before(sre.ToRevert) != 2 {
		t.Errorf("%d adjustments and %d reverts, want 6 and 2\n%s", before(sre.ToAdjust), before(sre.ToRevert), r.story())
	}
	for id, n := range r.lever.fresh {
		if n != 1 {
			t.Errorf("%s came into effect %d times", id, n)
		}
	}
	if m := find(r.a.book.incidents[inc.ID], inc.Mitigations[0].Action.ID); m.Action.Params["ratio"] != 3.0 || m.Before["ratio"] != 3.0 || m.Moving != nil {
		t.Errorf("mitigation %+v", m)
	}
}

func TestATroubledLawTightensAndRenewsWithOneOrder(t *testing.T) {
	reg := prometheus.NewRegistry()
	r := newRig(t, under(ladder{step: 0.02}), func(r *rig) { r.w.cures, r.mind.steps, r.registry = 99, 1, reg })
	r.w.sick = true
	r.until(sre.Verifying)
	r.run(3)
	if got := r.settings()["web"]; math.Abs(got-0.04) > 1e-9 {
		t.Errorf("the setting is %v, want 0.04 after three ticks of trouble\n%s", got, r.story())
	}
	if r.intents(sre.ToRenew) != 0 {
		t.Error("an adjustment renews: no order to renew is needed")
	}
	m := r.a.book.open()[0].Mitigations[0]
	if want := r.at.Add(20 * time.Second); !m.Expires.Equal(want) || !m.RenewTill.Equal(m.AppliedAt.Add(5*time.Minute)) {
		t.Errorf("it expires %s, want %s; no renewal beyond %s", m.Expires, want, m.RenewTill)
	}
	if got := testutil.ToFloat64(r.a.meter.adjusted.WithLabelValues("ladder", "tighten")); got != 6 {
		t.Errorf("%v adjustments counted, want 6", got)
	}
	last := r.desk.view.Explain[0]
	told := slices.ContainsFunc(last.Reasons, func(x sre.Reason) bool {
		return x.Guard == "law_ladder" && strings.Contains(x.Text, "ratio 0.06 -> 0.04") && strings.Contains(x.Text, "trouble true")
	})
	if !told {
		t.Errorf("nobody says which law moved what and why: %+v", last.Reasons)
	}
}

func TestWithoutSightOrInADryRunALawHoldsStill(t *testing.T) {
	for name, spoil := range map[string]func(r *rig){
		"blind":   func(r *rig) { r.w.blind = true },
		"dry run": func(r *rig) { c := r.cfg; c.Policy.DryRun = true; r.a.Reconfigure(c) },
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, under(ladder{step: 0.01}), func(r *rig) { r.w.cures = 99 })
			r.w.sick = true
			r.until(sre.Verifying)
			spoil(r)
			touched, moves := r.lever.touched, r.intents(sre.ToAdjust)
			r.run(5)
			if r.intents(sre.ToAdjust) != moves || r.lever.touched != touched {
				t.Errorf("moved:\n%s", r.story())
			}
		})
	}
}

func TestALawNeverLeavesTheLeversBounds(t *testing.T) {
	for name, to := range map[string]sre.Params{
		"too high": {"ratio": 11.0}, "no number": {"ratio": math.NaN()}, "infinite": {"ratio": math.Inf(1)},
		"unknown": {"ratio": 0.2, "x": 1.0}, "text": {"ratio": "much"},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, under(fixed(to)), func(r *rig) { r.w.cures, r.mind.steps = 99, 1 })
			r.w.sick = true
			r.until(sre.Verifying)
			r.run(3)
			if r.intents(sre.ToAdjust) != 0 {
				t.Errorf("moved to %v", to)
			}
			if _, err := json.Marshal(r.trail.records); err != nil {
				t.Error(err)
			}
		})
	}
}

// fixed is a law that wants one thing, and remembers nonsense.
type fixed sre.Params

func (f fixed) Next(sre.Control, control.Scene) control.Move {
	return control.Move{Params: sre.Params(f), Memory: sre.Control{
		Numbers: map[string]float64{"x": math.NaN()}, Recent: make([]sre.Sample, 10_000),
	}}
}

func TestWhatALawRemembersIsBounded(t *testing.T) {
	r := newRig(t, under(fixed{"ratio": 0.2}), func(r *rig) { r.w.cures = 99 })
	r.w.sick = true
	r.until(sre.Verifying)
	r.run(2)
	if c := r.a.book.open()[0].Mitigations[0].Control; len(c.Recent) != keepSamples || c.Numbers["x"] != 0 {
		t.Errorf("%d samples, numbers %v", len(c.Recent), c.Numbers)
	}
	if _, err := json.Marshal(r.trail.records); err != nil {
		t.Error(err)
	}
}

func TestAnAdjustmentThatFindsAForeignValueReleases(t *testing.T) {
	r := newRig(t, under(ladder{step: 0.01}), func(r *rig) { r.w.cures, r.mind.steps = 99, 1 })
	r.w.sick = true
	r.until(sre.Verifying)
	touched := r.lever.touched
	r.lever.foreign = true
	r.run(2)
	for _, m := range r.a.book.open()[0].Mitigations {
		if m.Phase != sre.Released || r.lever.touched != touched {
			t.Errorf("%s is %s, touched %d times", m.Action.ID, m.Phase, r.lever.touched-touched)
		}
	}
}

func TestAnAdjustmentWithoutAnAnswerIsProbedFirst(t *testing.T) {
	for name, arrives := range map[string]bool{"it had arrived": true, "it was lost": false} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, under(ladder{step: 0.02}), func(r *rig) { r.w.cures, r.mind.steps = 99, 1 })
			r.lever.honest = true
			r.w.sick = true
			r.until(sre.Verifying)
			unread := false
			r.lever.lateBy = arrives
			r.lever.apply = func(sre.Action) error {
				unread = true // from now on
				if arrives {
					return nil
				}
				return errCut
			}
			r.lever.probe = func(sre.Action) error {
				if unread {
					return errCut
				}
				return nil
			}
			r.run(1)
			m := func() sre.Mitigation { return r.a.book.open()[0].Mitigations[0] }
			if moves := r.intents(sre.ToAdjust); moves != 2 || m().Moving["ratio"] != 0.08 || m().Action.Params["ratio"] != 0.1 {
				t.Fatalf("%d moves, moving %v from %v", moves, m().Moving, m().Action.Params)
			}
			r.run(3)
			if moves := r.intents(sre.ToAdjust); moves != 2 {
				t.Errorf("%d moves: the unknown was tried again blindly", moves)
			}
			r.lever.probe, r.lever.apply, r.lever.lateBy = nil, nil, false
			r.run(2)
			want := map[bool]float64{true: 0.06, false: 0.08}[arrives]
			if got := r.settings()["web"]; math.Abs(got-want) > 1e-9 || m().Moving != nil {
				t.Errorf("the setting is %v, want %v; moving %v\n%s", got, want, m().Moving, r.story())
			}
		})
	}
}

func TestARestartGoesOnFromWhatTheLawHadReached(t *testing.T) {
	var seen []control.Scene
	r := newRig(t, under(ladder{step: 0.02, sees: func(s control.Scene) { seen = append(seen, s) }}), func(r *rig) { r.w.cures, r.mind.steps = 99, 1 })
	r.w.sick = true
	r.until(sre.Verifying)
	r.run(2)
	calls := r.a.book.open()[0].Mitigations[0].Control.Numbers["calls"]
	r.start()
	seen = nil
	r.run(1)
	m := r.a.book.open()[0].Mitigations[0]
	if m.Control.Numbers["calls"] != calls+1 || len(seen) == 0 || seen[0].Action.Params["ratio"] != 0.06 {
		t.Errorf("it has called %v times, want %v; it saw %v", m.Control.Numbers["calls"], calls+1, seen)
	}
}

func TestARelapseWhileALawLeadsBackIsTakenUpAgain(t *testing.T) {
	r := newRig(t, under(ladder{step: 0.1}), func(r *rig) { r.w.kind, r.w.cures = sre.RetryBudget, 2 })
	r.w.sick = true
	r.until(sre.Lifting)
	r.run(4)
	up := r.settings()["web"]
	r.w.sick, r.w.cures = true, 99
	r.run(1)
	if down := r.settings()["web"]; up <= 0.2 || down >= up {
		t.Errorf("led back to %v, and to %v when the trouble was back\n%s", up, down, r.story())
	}
	r.run(1)
	if inc := r.a.book.open()[0]; inc.Recurrences != 1 || inc.State == sre.Lifting {
		t.Errorf("%s after %d recurrences", inc.State, inc.Recurrences)
	}
	if r.intents(sre.ToRevert) != 0 {
		t.Error("it was taken back in spite of the trouble")
	}
}

func TestALawThatIsNeverDoneIsBoundedByTheLease(t *testing.T) {
	for name, stays := range map[string]bool{"the enforcer lets it lapse": false, "the enforcer holds it": true} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, under(ladder{step: 0}), func(r *rig) { r.mind.lease, r.lever.stays = time.Minute, stays })
			r.w.sick = true
			inc := r.until(sre.Lifting)
			applied := inc.Mitigations[0].AppliedAt
			for len(r.lever.effects) > 0 {
				r.run(1)
				r.lever.lapse()
			}
			if held := r.at.Sub(applied); held > 85*time.Second {
				t.Errorf("in force for %s with a lease of a minute", held)
			}
			r.until(sre.Closed)
		})
	}
}

func TestAPausedAgentKeepsWhatStandsAndOnlyLetsGo(t *testing.T) {
	pause := func(r *rig) {
		r.desk.queue = []sre.Input{{Kind: sre.InputPause, By: "bob", Role: sre.Operator, Name: "sale"}}
	}
	watch := func(r *rig) { c := r.cfg; c.Policy.Mode = sre.Watch; r.a.Reconfigure(c) }
	for name, stop := range map[string]func(*rig){"pause": pause, "watch mode": watch} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, under(ladder{step: 0.01}), func(r *rig) { r.mind.steps = 1 })
			r.w.sick = true
			r.until(sre.Verifying)
			stop(r)
			r.w.sticky = false
			r.mind.says = func(sre.Check) (sre.Verdict, bool) { return sre.Inconclusive, true } // it would tighten
			r.run(8)
			if r.intents(sre.ToAdjust) != 0 {
				t.Errorf("tightened by a %s", name)
			}
			r.run(12)
			if r.intents(sre.ToRenew) == 0 && len(r.lever.effects) != 0 {
				t.Error("what stands was neither kept nor undone")
			}
		})
		t.Run(name+", letting go", func(t *testing.T) {
			r := newRig(t, under(ladder{step: 1}))
			r.w.sick = true
			r.until(sre.Resolved)
			stop(r)
			r.until(sre.Lifting)
			r.until(sre.Closed)
			if r.intents(sre.ToAdjust) != 6 || len(r.lever.effects) != 0 {
				t.Errorf("%d moves back, left in force %v\n%s", r.intents(sre.ToAdjust), r.lever.effects, r.story())
			}
		})
	}
}

func TestRenewalsGoOnWhilePausedAndEndWithTheLease(t *testing.T) {
	r := newRig(t, func(r *rig) { r.mind.lease = time.Minute })
	r.mind.says = func(c sre.Check) (sre.Verdict, bool) { return sre.Inconclusive, c.Expr == "sick" } // never calm
	r.w.sick = true
	inc := r.until(sre.Resolved)
	r.desk.queue = []sre.Input{{Kind: sre.InputPause, By: "bob", Role: sre.Operator, Name: "sale"}}
	r.run(25)
	if len(r.lever.effects) != 2 || r.intents(sre.ToRenew) == 0 {
		t.Errorf("a pause undid what stands: %v\n%s", r.lever.effects, r.story())
	}
	till := inc.Mitigations[0].RenewTill
	r.run(60)
	r.lever.lapse()
	if len(r.lever.effects) != 0 {
		t.Errorf("in force after the lease: %v", r.lever.effects)
	}
	for _, rec := range r.trail.records {
		if rec.Intent != nil && rec.Intent.Permit.Purpose == sre.ToRenew && !rec.At.Before(till) {
			t.Errorf("renewed at %s, after the lease ended at %s", rec.At, till)
		}
	}
}

func TestALawThatNobodyKnowsLeavesTheActionAsItWasApplied(t *testing.T) {
	r := newRig(t, func(r *rig) { r.mind.law = "unheard-of" })
	r.w.sick = true
	r.until(sre.Closed)
	if r.intents(sre.ToAdjust) != 0 || len(r.lever.effects) != 0 {
		t.Errorf("%d moves, left %v", r.intents(sre.ToAdjust), r.lever.effects)
	}
}

func TestTheTrailOfALawFoldsToTheSameState(t *testing.T) {
	r := newRig(t, under(ladder{step: 0.3}))
	r.w.sick = true
	r.until(sre.Closed)
	b, err := newWith(r.cfg, r.a.ports, r.a.mind)
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Restore(r.trail.all()); err != nil {
		t.Fatal(err)
	}
	for id, inc := range r.a.book.incidents {
		live, _ := json.Marshal(hard(*inc))
		fold, _ := json.Marshal(hard(*b.book.incidents[id]))
		if string(live) != string(fold) {
			t.Errorf("live %s\nfold %s", live, fold)
		}
	}
	if err := r.a.Tick(context.Background(), r.at.Add(time.Second)); err != nil {
		t.Fatal(err)
	}
}
