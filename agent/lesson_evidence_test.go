package agent

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/prometheus/common/model"
	"pgregory.net/rapid"

	"github.com/sreagent/sreagent/agent/arbiter"
	"github.com/sreagent/sreagent/agent/gate"
	"github.com/sreagent/sreagent/sre"
)

// unknowing are the verdicts that say nothing.
var unknowing = []sre.Verdict{sre.NoData, sre.Inconclusive}

// saying makes the checks of a rig with some words answer with a verdict.
func saying(expr string, v sre.Verdict) func(*rig) {
	return func(r *rig) {
		r.mind.says = func(c sre.Check) (sre.Verdict, bool) { return v, c.Expr == expr }
	}
}

// A check that says nothing never starts a step, never ends one well, never lifts
// what is in force, and counts against the cure; without eyes nothing is started,
// kept or moved.
func TestLesson03NoDataIsNeverSuccess(t *testing.T) {
	for _, v := range unknowing {
		t.Run("verify/"+string(v), func(t *testing.T) {
			r := newRig(t, func(r *rig) { r.mind.steps = 1 }, saying("well", v))
			r.w.sick = true
			inc := r.until(sre.Escalated)
			if len(r.mind.learned) != 1 || r.mind.learned[0].Outcome == sre.Improved || len(r.lever.effects) != 0 {
				t.Errorf("learned %+v, left in force %v\n%s", r.mind.learned, r.lever.effects, r.story())
			}
			action := inc.Plan.Steps[0].Actions[0]
			cure := arbiter.Cure{Cause: "db", Knob: arbiter.Knob{Kind: action.Kind, Target: action.Target}}
			if n, _ := r.a.book.ledger.Failures(r.cfg.Policy.Arbitration, cure, r.at); n != 1 {
				t.Errorf("it counts %d times against the cure, want once", n)
			}
		})
		t.Run("before/"+string(v), func(t *testing.T) {
			r := newRig(t, func(r *rig) { r.mind.steps, r.mind.before = 1, "gate" }, saying("gate", v))
			r.w.sick = true
			if r.run(20); r.lever.touched != 0 || r.acted() {
				t.Errorf("started on a precondition that nobody could judge:\n%s", r.story())
			}
		})
		t.Run("relapse/"+string(v), func(t *testing.T) {
			r := newRig(t, saying("sick", v))
			r.w.sick = true
			r.until(sre.Resolved)
			if r.run(60); r.intents(sre.ToRevert) != 0 || r.first().State != sre.Resolved {
				t.Errorf("calm that nobody saw: %s\n%s", r.first().State, r.story())
			}
		})
	}
	t.Run("blind", func(t *testing.T) {
		steadily(t, 60, func(rt *rapid.T) {
			r := newRig(t, under(ladder{step: 0.02}))
			r.w.sick = true
			r.until(rapid.SampledFrom([]sre.State{sre.Suspected, sre.Verifying, sre.Resolved, sre.Lifting}).Draw(rt, "state"))
			meant := func() int { return r.intents(sre.ToApply) + r.intents(sre.ToRenew) + r.intents(sre.ToAdjust) }
			before := meant()
			r.w.blind = true
			if r.run(rapid.IntRange(1, 40).Draw(rt, "ticks")); meant() != before {
				rt.Fatalf("moved without eyes\n%s", r.story())
			}
		})
		d := gate.New(openMandate()).Decide(func() gate.Question {
			q := soundQuestion(time.Unix(100_000, 0))
			q.SourceUp = false
			return q
		}())
		if d.Stance != sre.Watch {
			t.Errorf("the gate lets %s without eyes", d.Stance)
		}
	})
}

// spoilt are things that happen between a question and its answer, each of which
// takes from the answer what it was about.
var spoilt = map[string]func(r *rig, in *sre.Input){
	"another decision":    func(_ *rig, in *sre.Input) { in.Decision += ".older" },
	"the signs are gone":  func(r *rig, _ *sre.Input) { r.w.sick = false },
	"another cause":       func(r *rig, _ *sre.Input) { r.mind.cause = "api" },
	"no sight":            func(r *rig, _ *sre.Input) { r.w.blind = true },
	"nobody can judge it": func(r *rig, _ *sre.Input) { saying("gate", sre.NoData)(r) },
	"too late":            func(r *rig, _ *sre.Input) { r.at = r.a.book.incidents[r.first().ID].Decision.ExpiresAt },
	"a pause":             func(r *rig, _ *sre.Input) { hindrances["a pause"](r) },
	"not an approver":     func(_ *rig, in *sre.Input) { in.Role = sre.Operator },
}

// asking is a rig that has just asked a person.
func asking(t *testing.T) (*rig, *sre.Incident) {
	r := newRig(t, lowConfidence, func(r *rig) { r.mind.steps, r.mind.before = 1, "gate" }, saying("gate", sre.Pass))
	r.w.sick = true
	return r, r.until(sre.AwaitingApproval)
}

// behind reports whether a yes that is durable stands behind everything that was
// touched.
func (r *rig) behind() bool {
	yes, meant := map[string]bool{}, 0
	for _, rec := range r.trail.records {
		switch {
		case rec.Approval != nil && rec.Approval.Response == sre.Approved:
			yes[rec.Approval.Decision] = true
		case rec.Intent != nil:
			meant++
			if !yes[rec.Intent.Permit.Decision] {
				return false
			}
		}
	}
	return meant > 0 || r.lever.touched == 0
}

// A yes is about one question and the evidence of now: it is weighed again when
// it is given, only the first of two answers counts, it is durable before a lever
// moves and a restart does not lose it.
func TestLesson04ApprovalIsNeitherLostNorRaced(t *testing.T) {
	names := make([]string, 0, len(spoilt))
	for name := range spoilt {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		t.Run(name, func(t *testing.T) {
			for _, restart := range []bool{false, true} {
				r, inc := asking(t)
				in := answerTo(sre.InputApprove, inc)
				if restart {
					r.start()
					r.run(1)
				}
				spoilt[name](r, &in)
				r.desk.queue = []sre.Input{in}
				if r.run(1); r.desk.last().Accepted || r.desk.last().Reason == "" || r.lever.touched != 0 {
					t.Errorf("restart %t: %+v, touched %d times", restart, r.desk.last(), r.lever.touched)
				}
			}
		})
	}
	t.Run("the first answer counts", func(t *testing.T) {
		steadily(t, 40, func(rt *rapid.T) {
			r, inc := asking(t)
			kinds := rapid.SliceOfN(rapid.SampledFrom([]sre.InputKind{sre.InputApprove, sre.InputReject}), 1, 4).Draw(rt, "answers")
			for _, kind := range kinds {
				r.desk.queue = append(r.desk.queue, answerTo(kind, inc))
			}
			r.run(5)
			for i, a := range r.desk.answers {
				if a.Accepted != (i == 0) {
					rt.Fatalf("answer %d: %+v", i, a)
				}
			}
			if acted := r.lever.touched > 0; acted != (kinds[0] == sre.InputApprove) || r.intents(sre.ToApply) > 2 {
				rt.Fatalf("%v: touched %d times\n%s", kinds, r.lever.touched, r.story())
			}
		})
	})
	t.Run("a crash at each append", func(t *testing.T) {
		for at := 1; at <= 3; at++ {
			for _, torn := range []bool{false, true} {
				r, inc := asking(t)
				r.trail.breakAt, r.trail.torn = r.trail.appends+at, torn
				r.desk.queue = []sre.Input{answerTo(sre.InputApprove, inc)}
				for err := error(nil); err == nil; {
					err = r.tick()
				}
				if !r.behind() {
					t.Errorf("append %d, torn %t: touched %d times on a yes that is not durable\n%s", at, torn, r.lever.touched, r.story())
				}
				durable := r.acted()
				r.start()
				r.run(3)
				if lost := len(r.lever.effects) != 2; durable && lost || !r.behind() {
					t.Errorf("append %d, torn %t: after the restart %d are in force\n%s", at, torn, len(r.lever.effects), r.story())
				}
			}
		}
	})
	t.Run("the gate", func(t *testing.T) {
		now, g := time.Unix(100_000, 0), gate.New(openMandate())
		q := soundQuestion(now)
		q.Incident.Confidence.Lower = 0.3
		d := g.Decide(q)
		yes := sre.Approval{Decision: d.ID, Response: sre.Approved, By: "ann", Role: sre.Approver, At: now}
		if _, _, err := g.Clear(q, &d, &yes); err != nil {
			t.Fatalf("the test shows nothing: %v", err)
		}
		other, no := yes, yes
		other.Decision, no.Response = "older", sre.Rejected
		for _, a := range []*sre.Approval{nil, &other, &no} {
			if _, _, err := g.Clear(q, &d, a); err == nil {
				t.Errorf("cleared by %+v", a)
			}
		}
	})
}

// Every decision has an end. Evidence, questions, answers and permits that are
// older than they may be are dropped, whatever waited for them.
func TestLesson05StaleEvidenceIsDropped(t *testing.T) {
	const fresh = 5 * time.Second
	briefly := func(r *rig) {
		r.cfg.Policy.EvidenceMaxAge, r.cfg.Timing.SubsideAfter = model.Duration(fresh), 10*time.Minute
	}
	t.Run("the gate", func(t *testing.T) {
		steadily(t, 200, func(rt *rapid.T) {
			p, now := openMandate(), time.Unix(100_000, 0)
			p.EvidenceMaxAge = model.Duration(fresh)
			q := soundQuestion(now)
			age := time.Duration(rapid.IntRange(-10, 20).Draw(rt, "age")) * time.Second
			q.Incident.Diagnosis.At = now.Add(-age)
			g := gate.New(p)
			d := g.Decide(q)
			if acts := d.Stance == sre.Act; acts != (age >= 0 && age <= fresh) || !d.ValidUntil.Equal(now.Add(fresh-age)) {
				rt.Fatalf("evidence %s old: %s until %s", age, d.Stance, d.ValidUntil)
			}
			c, _, err := g.Clear(q, &d, nil)
			if err != nil {
				return
			}
			q.Now = now.Add(time.Duration(rapid.IntRange(0, 10).Draw(rt, "later")) * time.Second)
			permit, err := g.PermitApply(c, q, q.Plan.Steps[0].Actions[0])
			if within := !q.Now.After(d.ValidUntil); within != (err == nil) || within != permit.Allows(sre.ToApply, q.Now) {
				rt.Fatalf("valid until %s, now %s: %v", d.ValidUntil, q.Now, err)
			}
		})
	})
	t.Run("a lever that comes back late", func(t *testing.T) {
		for _, ticks := range []int{1, 20, 50} {
			r := newRig(t, briefly)
			r.lever.probe = func(sre.Action) error { return errCut }
			r.w.sick = true
			r.until(sre.Acting)
			r.w.sick = false // and with it every sign
			r.cfg.Timing.ReapplyProbe = 1000
			r.a.Reconfigure(r.cfg)
			r.run(int(fresh/time.Second) + ticks)
			r.lever.probe = nil
			if r.run(30); r.lever.touched != 0 {
				t.Errorf("after %d ticks: touched %d times on evidence that is gone\n%s", ticks, r.lever.touched, r.story())
			}
		}
	})
	t.Run("an agent that comes back late", func(t *testing.T) {
		for _, gap := range []time.Duration{10 * time.Minute, 3 * time.Hour, 72 * time.Hour} {
			r := newRig(t, lowConfidence, briefly)
			r.lever.probe = func(sre.Action) error { return errCut }
			r.w.sick = true
			r.until(sre.AwaitingApproval)
			r.desk.reply = approving
			r.until(sre.Acting)
			r.lever.probe, r.desk.reply = nil, nil
			r.start()
			r.at = r.at.Add(gap)
			if r.run(70); r.lever.touched != 0 {
				t.Errorf("after %s: an approval of then was carried out\n%s", gap, r.story())
			}
		}
	})
	t.Run("an answer that waited", func(t *testing.T) {
		r, inc := asking(t)
		late := &turn{now: r.at.Add(5 * time.Minute)}
		in := answerTo(sre.InputApprove, inc)
		in.At = r.at
		if why := r.a.pending(late, r.a.book.incidents[inc.ID], in); why == "" {
			t.Error("an answer of five minutes ago is taken")
		}
	})
	t.Run("every decision has an end", func(t *testing.T) {
		r, n := newRig(t), 0
		r.w.sick = true
		r.until(sre.Closed)
		for _, rec := range r.trail.records {
			if d := rec.Decision; d != nil {
				if n++; d.ValidUntil.IsZero() || d.ValidUntil.Sub(d.At) > time.Duration(r.cfg.Policy.EvidenceMaxAge) {
					t.Errorf("decision %s of %s is valid until %s", d.ID, d.At, d.ValidUntil)
				}
			}
		}
		showsNothing(t, true, n > 0, fmt.Sprintf("decided: %d", n))
	})
}
