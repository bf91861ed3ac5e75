package agent

import (
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/sreagent/sreagent/agent/gate"
	"github.com/sreagent/sreagent/sre"
)

// hindrances are all that holds mitigations back.
var hindrances = map[string]func(*rig){
	"a pause":        func(r *rig) { r.a.book.pause(sre.Pause{Name: "sale", By: "bob", Reason: "sale", Since: r.at}) },
	"watching only":  func(r *rig) { r.cfg.Policy.Mode = sre.Watch },
	"no rate left":   func(r *rig) { r.cfg.Policy.ActionsPerHour = 0 },
	"no room left":   func(r *rig) { r.cfg.Policy.InForce = sre.Limit{} },
	"no radius left": func(r *rig) { r.cfg.Policy.BlastRadius = sre.Limit{} },
	"a freeze that nobody opens": func(r *rig) {
		r.cfg.Policy.Freezes = []gate.Freeze{{Name: "f", Reason: "r", Owner: "o", Override: "nobody", Intervals: []gate.TimeInterval{{}}}}
	},
	"a spent budget": func(r *rig) {
		r.cfg.Policy.Budgets = []gate.Budget{{Limit: sre.Limit{Percent: 100}, Reason: "none"}}
	},
	"protection":         func(r *rig) { r.cfg.Policy.Protected = []string{"*"} },
	"no autonomy":        func(r *rig) { r.cfg.Policy.Autonomy = []gate.Autonomy{{Stance: gate.Off}} },
	"no confidence":      func(r *rig) { r.mind.confidence = sre.Confidence{} },
	"a lever of nothing": func(r *rig) { r.lever.mute = true },
}

// What limits mitigations never holds up their end: neither an undo that a
// person asks for, with or without sight, nor lifting once it is calm.
func TestLesson06NoBreakerBlocksHealing(t *testing.T) {
	names := slices.Sorted(maps.Keys(hindrances))
	steadily(t, 150, func(rt *rapid.T) {
		r := newRig(t)
		r.w.sick = true
		inc := r.until(rapid.SampledFrom([]sre.State{sre.Verifying, sre.Resolved}).Draw(rt, "state"))
		if len(r.lever.effects) == 0 {
			rt.Fatal("the test shows nothing: nothing is in force")
		}
		saying("sick", sre.Inconclusive)(r) // so that nothing is lifted meanwhile
		r.run(rapid.IntRange(0, 90).Draw(rt, "ticks in force"))
		r.mind.says = nil
		which := rapid.SliceOfNDistinct(rapid.SampledFrom(names), 1, 5, rapid.ID[string]).Draw(rt, "hindrances")
		for _, name := range which {
			hindrances[name](r)
		}
		r.a.Reconfigure(r.cfg)
		if rapid.Bool().Draw(rt, "a restart") {
			r.start()
		}
		asked := rapid.Bool().Draw(rt, "asked for")
		if asked {
			r.w.blind = rapid.Bool().Draw(rt, "blind")
			r.desk.queue = []sre.Input{undo(inc.ID)}
			r.run(2)
		} else {
			r.w.sick = false
			r.run(40)
		}
		if len(r.lever.effects) > 0 {
			rt.Fatalf("%v: asked for %t, still in force %v, answer %+v\n%s", which, asked, r.lever.effects, r.desk.last(), r.story())
		}
	})
}

// A cure that did not help, or of which nobody can tell, is not tried for the
// same cause again and again: a person is called.
func TestLesson07NoLoopOfCuresThatDoNotHelp(t *testing.T) {
	alone := func(r *rig) (attempts []time.Time) {
		seen := map[string]bool{}
		for _, rec := range r.meant(sre.ToApply) {
			attempt := rec.Intent.Action.ID[:len(rec.Intent.Action.ID)-len(".0.0")]
			if rec.Intent.Permit.By == "policy" && !seen[attempt] {
				seen[attempt] = true
				attempts = append(attempts, rec.At)
			}
		}
		return attempts
	}
	retried := 0
	t.Run("never any help", func(t *testing.T) {
		whole := steadily(t, 60, func(rt *rapid.T) {
			r := newRig(t, func(r *rig) {
				r.w.cures, r.mind.steps, r.cfg.Policy.ActionsPerHour, r.cfg.Policy.MaxRecurrences = 99, 1, 1000, 1000
			})
			r.w.sick = true
			for range rapid.IntRange(2, 6).Draw(rt, "rounds") {
				saying("well", rapid.SampledFrom([]sre.Verdict{sre.Fail, sre.Inconclusive, sre.NoData}).Draw(rt, "verdict"))(r)
				for range 60 {
					if r.run(1); r.first().State == sre.Escalated || r.first().State == sre.AwaitingApproval {
						break
					}
				}
				if r.first().Escalation == "" && r.first().State != sre.AwaitingApproval {
					rt.Fatalf("nobody was called: %s\n%s", r.first().State, r.story())
				}
				r.desk.queue = []sre.Input{{Kind: sre.InputClose, By: "bob", Role: sre.Operator, Incident: r.first().ID}}
				r.run(1)
				away := time.Duration(rapid.IntRange(0, 150).Draw(rt, "minutes")) * time.Minute
				r.at = r.at.Add(away)
			}
			tries := alone(r)
			if len(tries) > r.cfg.Policy.Arbitration.Ineffective {
				rt.Fatalf("the same cure was tried %d times\n%s", len(tries), r.story())
			}
			if len(tries) > 1 {
				retried++
				if between := tries[1].Sub(tries[0]); between <= relapseWithin {
					rt.Fatalf("tried again after %s\n%s", between, r.story())
				}
			}
		})
		showsNothing(t, whole, retried > 0, "tried a second time, hours later")
	})
	t.Run("never any lasting help", func(t *testing.T) {
		for _, back := range []sre.State{sre.Resolved, sre.Closed} {
			r := newRig(t, func(r *rig) { r.mind.steps = 1 })
			for range 300 {
				if r.run(1); r.first() == nil || r.first().State == back {
					r.w.sick = true
				}
			}
			if n := len(alone(r)); n > 1+r.cfg.Policy.MaxRecurrences || r.first().State != sre.AwaitingApproval && r.first().State != sre.Escalated {
				t.Errorf("back when %s: %d attempts alone, %s\n%s", back, n, r.first().State, r.story())
			}
		}
	})
}

// flicker is a world whose checks come and go, and remembers what they said.
type flicker struct {
	now  time.Time
	says map[string]sre.Verdict // at now, by expression
	last map[string]time.Time   // when a check last said anything but what it should
	draw func(expr string) sre.Verdict
	good map[string]sre.Verdict
}

func (f *flicker) at(now time.Time) { f.now, f.says = now, map[string]sre.Verdict{} }

func (f *flicker) tell(c sre.Check) (sre.Verdict, bool) {
	if _, known := f.says[c.Expr]; !known {
		f.says[c.Expr] = f.draw(c.Expr)
	}
	v := f.says[c.Expr]
	if v != f.good[c.Expr] {
		f.last[c.Expr] = f.now
	}
	return v, true
}

// Trouble is over when its check has held for as long as the runbook says, and
// not before; what is in force is lifted one after another after the calm that
// each needs, which grows with every relapse, and not while the cause lasts.
func TestLesson11RecoveryIsNotDeclaredTooSoon(t *testing.T) {
	resolved, lifts, relapses := 0, 0, 0
	whole := steadily(t, 80, func(rt *rapid.T) {
		r := newRig(t, func(r *rig) { r.cfg.Policy.MaxRecurrences = 100 })
		steady := rapid.IntRange(1, 30).Draw(rt, "steadiness")
		f := &flicker{last: map[string]time.Time{}, good: map[string]sre.Verdict{"well": sre.Pass, "sick": sre.Fail}}
		twice := rapid.Bool().Draw(rt, "needs both steps")
		f.draw = func(expr string) sre.Verdict {
			if inc := r.first(); twice && expr == "well" && inc != nil && inc.Step == 0 {
				return sre.Fail
			}
			if rapid.IntRange(0, steady).Draw(rt, expr) > 0 {
				return f.good[expr]
			}
			return rapid.SampledFrom([]sre.Verdict{sre.Pass, sre.Fail, sre.NoData, sre.Inconclusive}).Draw(rt, "said")
		}
		r.mind.says = f.tell
		r.w.sick = true
		was := &sre.Incident{}
		var began time.Time // of the state that it is in
		for range 150 {
			f.at(r.at.Add(time.Second))
			if r.w.blind = rapid.IntRange(0, 30).Draw(rt, "blind") == 0; r.w.blind {
				f.last["well"], f.last["sick"] = f.now, f.now
			}
			r.mind.notes = nil
			if rapid.IntRange(0, 20).Draw(rt, "lasting") == 0 {
				r.mind.notes = []sre.Precursor{{Detector: "x", Service: "db", Kind: sre.Saturation, Severity: sre.Warning}}
				f.last["sick"] = f.now
			}
			before := len(r.trail.records)
			r.run(1)
			inc := r.first()
			if inc == nil {
				continue
			}
			if inc.State != was.State {
				began = r.at
			}
			verify := 3 * time.Second
			if inc.State == sre.Resolved && was.State == sre.Verifying {
				if resolved++; r.at.Sub(f.last["well"]) <= verify || r.at.Sub(was.StateSince) < verify {
					rt.Fatalf("well since %s, resolved at %s\n%s", f.last["well"], r.at, r.story())
				}
			}
			if inc.Recurrences > was.Recurrences {
				relapses++
			}
			for _, rec := range r.trail.records[before:] {
				if rec.Intent == nil || rec.Intent.Permit.Purpose != sre.ToRevert || inc.State != sre.Lifting || inc.Plan == nil {
					continue
				}
				need := inc.Plan.Hold
				if slices.ContainsFunc(was.Mitigations, func(m sre.Mitigation) bool { return m.Phase == sre.Undone }) {
					need = inc.Plan.LiftGap
				}
				need <<= min(inc.Recurrences, 3)
				if lifts++; r.at.Sub(f.last["sick"]) <= need-time.Second {
					rt.Fatalf("calm since %s, %s needed, lifted at %s (%s since %s)\n%s", f.last["sick"], need, r.at, inc.State, began, r.story())
				}
			}
			was = inc
			r.w.sick = r.w.sick || inc.State == sre.Closed
		}
	})
	showsNothing(t, whole, resolved > 5, fmt.Sprintf("often resolved: %d", resolved))
	showsNothing(t, whole, lifts > 5, fmt.Sprintf("often lifted: %d", lifts))
	showsNothing(t, whole, relapses > 0, fmt.Sprintf("often back: %d", relapses))
}
