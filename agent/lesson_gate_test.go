package agent

import (
	"context"
	"math"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/sreagent/sreagent/agent/executor"
	"github.com/sreagent/sreagent/agent/gate"
	"github.com/sreagent/sreagent/sre"
)

// A dry run touches nothing, neither to start nor to renew, move or take back,
// whoever asks and whatever is in force from before.
func TestLesson01DryRunTouchesNothing(t *testing.T) {
	simulated, held := 0, 0
	whole := steadily(t, 60, func(rt *rapid.T) {
		r := newRig(t, under(ladder{step: 0.02}), func(r *rig) { r.cfg.Policy.ActionsPerHour = 1000 })
		if rapid.Bool().Draw(rt, "something is in force") {
			r.w.sick = true
			r.until(sre.Verifying)
			held++
		}
		r.cfg.Policy.DryRun = true
		r.a.Reconfigure(r.cfg)
		touched := r.lever.touched
		for range 60 {
			r.stir(rt)
			r.run(1)
		}
		if r.lever.touched != touched {
			rt.Fatalf("a lever was touched %d times in a dry run\n%s", r.lever.touched-touched, r.story())
		}
		for _, rec := range r.trail.records {
			if rec.Result != nil && rec.Result.Phase == sre.Simulated {
				simulated++
			}
		}
	})
	showsNothing(t, whole, simulated > 0, "simulated")
	showsNothing(t, whole, held > 0, "in force before the dry run")
}

// openMandate lets act on all that the limits of a small fleet allow.
func openMandate() gate.Policy {
	p := gate.DefaultPolicy()
	p.Mode, p.InForce, p.BlastRadius = sre.Act, sre.Limit{Percent: 100, Number: 10}, sre.Limit{Percent: 100, Number: 10}
	return p
}

// soundQuestion is one that the gate answers with act.
func soundQuestion(now time.Time) gate.Question {
	a := sre.Action{ID: "i.0.0.0", Kind: sre.Shed, Target: sre.Target{Lever: "fake", Service: "web"}}
	return gate.Question{
		Now: now, SourceUp: true, WarmUp: 1, Services: 10,
		Incident: &sre.Incident{
			ID: "i", Confidence: sre.Confidence{P: 0.95, Lower: 0.9},
			Diagnosis: sre.Diagnosis{At: now, DataQuality: 1, Blast: sre.BlastRadius{Services: []string{"web"}, EntryShare: 0.1}},
		},
		Plan: &sre.Plan{Runbook: "r", Risk: sre.LowRisk, Steps: []sre.Step{{Name: "s", Reversible: true, Actions: []sre.Action{a}}}},
	}
}

// wrecks are things that a fault elsewhere may hand to the gate.
var wrecks = []struct {
	name  string
	wreck func(*gate.Policy, *gate.Question)
}{
	{"no confidence", func(_ *gate.Policy, q *gate.Question) { q.Incident.Confidence = sre.Confidence{} }},
	{"a confidence that is no number", func(_ *gate.Policy, q *gate.Question) { q.Incident.Confidence.Lower = math.NaN() }},
	{"a data quality that is no number", func(_ *gate.Policy, q *gate.Question) { q.Incident.Diagnosis.DataQuality = math.NaN() }},
	{"a confidence beyond all", func(_ *gate.Policy, q *gate.Question) { q.Incident.Confidence.Lower = math.Inf(1) }},
	{"a data quality beyond all", func(_ *gate.Policy, q *gate.Question) { q.Incident.Diagnosis.DataQuality = math.Inf(1) }},
	{"a risk that nobody knows", func(_ *gate.Policy, q *gate.Question) {
		if q.Plan != nil {
			q.Plan.Risk = "none at all"
		}
	}},
	{"a warm-up that is no number", func(_ *gate.Policy, q *gate.Question) { q.WarmUp = math.NaN() }},
	{"a reach that is no number", func(_ *gate.Policy, q *gate.Question) { q.Incident.Diagnosis.Blast.EntryShare = math.NaN() }},
	{"no diagnosis", func(_ *gate.Policy, q *gate.Question) { q.Incident.Diagnosis = sre.Diagnosis{} }},
	{"evidence of tomorrow", func(_ *gate.Policy, q *gate.Question) { q.Incident.Diagnosis.At = q.Now.Add(24 * time.Hour) }},
	{"no plan", func(_ *gate.Policy, q *gate.Question) { q.Plan = nil }},
	{"a plan without steps", func(_ *gate.Policy, q *gate.Question) { q.Plan.Steps = nil }},
	{"a metric store that is down", func(_ *gate.Policy, q *gate.Question) { q.SourceUp = false }},
	{"a precondition that nobody could judge", func(_ *gate.Policy, q *gate.Question) { q.Blocked = "no data" }},
	{"a pause without a name", func(_ *gate.Policy, q *gate.Question) { q.Pauses = []sre.Pause{{}} }},
	{"an arbiter with a stance that nobody knows", func(_ *gate.Policy, q *gate.Question) { q.Arbitration = sre.Reason{Allows: "sure", Text: "?"} }},
	{"no mode", func(p *gate.Policy, _ *gate.Question) { p.Mode = "" }},
	{"a mode that nobody knows", func(p *gate.Policy, _ *gate.Question) { p.Mode = "yolo" }},
	{"no policy", func(p *gate.Policy, _ *gate.Question) { *p = gate.Policy{} }},
}

// The gate says no to whatever it cannot understand, and without its permit
// neither the lifecycle nor the executor goes on.
func TestLesson02GateFailsClosed(t *testing.T) {
	now := time.Unix(100_000, 0)
	if d := gate.New(openMandate()).Decide(soundQuestion(now)); d.Stance != sre.Act {
		t.Fatalf("the test shows nothing: the sound question is answered with %s", d.Stance)
	}
	steadily(t, 200, func(rt *rapid.T) {
		p, q := openMandate(), soundQuestion(now)
		for range rapid.IntRange(1, 3).Draw(rt, "wrecks") {
			w := wrecks[rapid.IntRange(0, len(wrecks)-1).Draw(rt, "which")]
			if w.name == "a plan without steps" && q.Plan == nil {
				continue
			}
			w.wreck(&p, &q)
		}
		g := gate.New(p)
		d := g.Decide(q)
		if d.Stance == sre.Act {
			rt.Fatalf("the gate lets act on %+v", q)
		}
		if c, _, err := g.Clear(q, &d, nil); err == nil || c.Valid(q.Incident.ID, now) {
			rt.Fatalf("the gate clears %+v", q)
		}
		yes := &sre.Approval{Decision: d.ID, Response: sre.Approved, By: "ann", Role: sre.Admin, At: now}
		if c, _, err := g.Clear(q, &d, yes); d.Stance == sre.Watch && (err == nil || c.Valid(q.Incident.ID, now)) {
			rt.Fatalf("a yes opens what must only be watched: %+v", q)
		}
	})
	t.Run("no permit, no lever", func(t *testing.T) {
		lever := newFakeLever(&world{now: now})
		exec := executor.New(executor.Config{}, map[string]sre.Remediator{"fake": lever, "": lever})
		exec.Describe(context.Background())
		for _, purpose := range []sre.Purpose{sre.ToApply, sre.ToRenew, sre.ToAdjust, sre.ToRevert, ""} {
			got := exec.Carry(context.Background(), now, []executor.Order{{Purpose: purpose, Expires: now.Add(time.Hour)}})
			if lever.touched != 0 || got[0].Code != sre.CodeRefused {
				t.Errorf("to %q without a permit: %+v, touched %d times", purpose, got[0], lever.touched)
			}
		}
	})
	t.Run("no clearance, no acting", func(t *testing.T) {
		for _, args := range [][]any{nil, {pass{}}, {pass{now: now}}, {"yes"}, {pass{}, pass{}}} {
			machine, err := newLifecycle("i", sre.Planned)
			if err != nil {
				t.Fatal(err)
			}
			if err := machine.fire(evClear, args...); err == nil || machine.state() != sre.Planned {
				t.Errorf("acting without a clearance by %v: %v", args, err)
			}
		}
	})
}

// What a lever's schema or a step's precondition does not allow is refused before
// the lever is touched, never after.
func TestLesson09ChecksComeBeforeTouches(t *testing.T) {
	fine := 0
	whole := steadily(t, 200, func(rt *rapid.T) {
		value := rapid.SampledFrom([]any{0.0, 3.0, 10.0, 10.5, -1.0, math.NaN(), math.Inf(1), "three", true, nil}).Draw(rt, "ratio")
		extra := rapid.IntRange(0, 3).Draw(rt, "an unknown setting") == 0
		verdict := rapid.SampledFrom([]sre.Verdict{sre.Pass, sre.Pass, sre.Fail, sre.Inconclusive, sre.NoData}).Draw(rt, "precondition")
		lever := rapid.SampledFrom([]string{"fake", "fake", "nobody's"}).Draw(rt, "lever")
		r := newRig(t, func(r *rig) {
			r.mind.steps, r.mind.before = 1, "gate"
			r.mind.kind, r.mind.params, r.mind.levers = sre.Shed, sre.Params{"ratio": value}, []string{lever}
			if extra {
				r.mind.params["burst"] = 1.0
			}
			r.mind.says = func(c sre.Check) (sre.Verdict, bool) { return verdict, c.Expr == "gate" }
		})
		number, isNumber := value.(float64)
		allowed := isNumber && number >= 0 && number <= 10 && !extra && verdict == sre.Pass && lever == "fake"
		r.w.sick = true
		r.run(15)
		if touched := r.lever.touched > 0; touched != allowed {
			rt.Fatalf("ratio %v, extra %t, precondition %s, lever %s: touched %t\n%s", value, extra, verdict, lever, touched, r.story())
		}
		if r.acted() && verdict != sre.Pass {
			rt.Fatalf("acting though the precondition is %q\n%s", verdict, r.story())
		}
		if allowed {
			fine++
		}
	})
	showsNothing(t, whole, fine > 0, "allowed")
}

// A limit is a percentage and a number, and the smaller holds, in fleets of every
// size; a percentage alone would forbid everything in a small fleet and allow
// anything in a large one.
func TestLesson10PercentAndNumberBothBind(t *testing.T) {
	steadily(t, 300, func(rt *rapid.T) {
		l := sre.Limit{Percent: float64(rapid.IntRange(1, 100).Draw(rt, "percent")), Number: rapid.IntRange(1, 60).Draw(rt, "number")}
		n := rapid.OneOf(rapid.IntRange(1, 6), rapid.IntRange(1, 3000)).Draw(rt, "services")
		want := 1 // the largest count that neither bound forbids, one at least
		for k := 1; k <= n && k <= l.Number && float64(k)*100 <= l.Percent*float64(n); k++ {
			want = k
		}
		if got := l.Of(n); got != want {
			rt.Fatalf("%v of %d services is %d, want %d", l, n, got, want)
		}
		p := openMandate()
		p.InForce, p.BlastRadius = l, sre.Limit{Percent: 100, Number: 10}
		q := soundQuestion(time.Unix(100_000, 0))
		q.Services = n
		for i := range rapid.IntRange(0, 80).Draw(rt, "in force elsewhere") {
			q.Held = append(q.Held, gate.Held{Incident: "other", Kind: sre.Scale, Target: sre.Target{Service: "other-" + string(rune('a'+i))}})
		}
		if acts := gate.New(p).Decide(q).Stance == sre.Act; acts != (len(q.Held)+1 <= want) {
			rt.Fatalf("%d of %d services are held, %v allowed: acts %t", len(q.Held), n, l, acts)
		}
		p.InForce, p.BlastRadius = sre.Limit{Percent: 100, Number: 100}, l
		behind := rapid.IntRange(1, 80).Draw(rt, "behind")
		share := float64(rapid.IntRange(0, 100).Draw(rt, "share"))
		q.Held, q.Services = nil, 100
		q.Incident.Diagnosis.Blast = sre.BlastRadius{Services: make([]string, behind), EntryShare: share / 100}
		if acts := gate.New(p).Decide(q).Stance == sre.Act; acts && (share > l.Percent+1e-9 || behind > l.Number) {
			rt.Fatalf("%.0f %% and %d services stand behind it, %v allowed: acts", share, behind, l)
		}
	})
}
