package executor_test

import (
	"context"
	"encoding/json"
	"errors"
	"math"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/sreagent/sreagent/agent/executor"
	"github.com/sreagent/sreagent/agent/gate"
	"github.com/sreagent/sreagent/sre"
)

// lever counts touches and answers as it is told.
type lever struct {
	touched  int
	applyErr error
	inEffect bool
	current  sre.Params
	probeErr error
	slow     bool
}

func (l *lever) Describe(context.Context) (sre.Capability, error) {
	return sre.Capability{Name: "l", Kinds: []sre.KindSpec{{Kind: sre.Shed, Params: []sre.ParamSpec{{Name: "rps", Type: "number", Max: 100}}}}}, nil
}

func (l *lever) Probe(context.Context, sre.Action) (sre.TargetState, error) {
	return sre.TargetState{InEffect: l.inEffect, Current: l.current}, l.probeErr
}

func (l *lever) touch(ctx context.Context) error {
	l.touched++
	if l.slow {
		<-ctx.Done()
		return ctx.Err()
	}
	return l.applyErr
}

func (l *lever) Apply(ctx context.Context, _ sre.Directive) error  { return l.touch(ctx) }
func (l *lever) Revert(ctx context.Context, _ sre.Directive) error { return l.touch(ctx) }

var now = time.Unix(1000, 0)

func action(params sre.Params) sre.Action {
	return sre.Action{ID: "a", Kind: sre.Shed, Target: sre.Target{Lever: "l", Service: "web"}, Params: params, TTL: time.Minute}
}

// permits asks a real gate for a permit of each purpose.
func permits(t *rapid.T, a sre.Action) map[sre.Purpose]gate.Permit {
	policy := gate.DefaultPolicy()
	policy.Mode, policy.InForce = sre.Act, sre.Limit{Percent: 100, Number: 10}
	g := gate.New(policy)
	q := gate.Question{
		Now: now, SourceUp: true, WarmUp: 1, Services: 3,
		Incident: &sre.Incident{ID: "i", Confidence: sre.Confidence{P: 1, Lower: 1}, Diagnosis: sre.Diagnosis{At: now, DataQuality: 1}},
		Plan:     &sre.Plan{Runbook: "r", Risk: sre.LowRisk, Steps: []sre.Step{{Name: "s", Reversible: true, Actions: []sre.Action{a}}}},
	}
	d := g.Decide(q)
	c, _, err := g.Clear(q, &d, nil)
	if err != nil {
		t.Fatal(err)
	}
	apply, err := g.PermitApply(c, q, a)
	if err != nil {
		t.Fatal(err)
	}
	a.Law = "test"
	m := sre.Mitigation{Action: a, Phase: sre.InEffect, Expires: now.Add(time.Minute), RenewTill: now.Add(time.Hour)}
	renew, err := g.PermitRenew(q, m)
	if err != nil {
		t.Fatal(err)
	}
	spec := sre.KindSpec{Kind: a.Kind, Params: []sre.ParamSpec{{Name: "rps", Type: "number", Max: 1e12}, {Name: "x", Type: "number", Max: 1}}}
	adjust, err := g.PermitAdjust(q, m, spec, a.Params)
	if err != nil {
		t.Fatal(err)
	}
	return map[sre.Purpose]gate.Permit{sre.ToApply: apply, sre.ToRenew: renew, sre.ToAdjust: adjust, sre.ToRevert: g.PermitRevert(now, m, "test")}
}

var purposes = []sre.Purpose{sre.ToApply, sre.ToRenew, sre.ToAdjust, sre.ToRevert}

func TestDryRunNeverReachesALever(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := &lever{
			inEffect: rapid.Bool().Draw(t, "in effect"), slow: rapid.Bool().Draw(t, "slow"),
			applyErr: rapid.SampledFrom([]error{nil, errors.New("cut"), sre.Refusedf("no")}).Draw(t, "answer"),
		}
		a := action(rapid.SampledFrom([]sre.Params{nil, {"rps": 5.0}, {"rps": 5e9}, {"x": 1.0}}).Draw(t, "params"))
		e := executor.New(executor.Config{DryRun: true, Timeout: time.Millisecond}, map[string]sre.Remediator{"l": l})
		e.Describe(context.Background())
		ps := permits(t, a)
		var orders []executor.Order
		for range rapid.IntRange(1, 5).Draw(t, "orders") {
			purpose := rapid.SampledFrom(purposes).Draw(t, "purpose")
			orders = append(orders, executor.Order{Permit: ps[purpose], Purpose: purpose, Expires: now.Add(time.Minute)})
		}
		e.Probe(context.Background(), []sre.Action{a})
		for _, r := range e.Carry(context.Background(), now, orders) {
			if r.Code == "" && r.Phase != sre.Simulated || r.Phase == sre.Undone {
				t.Fatalf("dry run to %s says %s (%s)", r.Purpose, r.Phase, r.Err)
			}
			if r.Purpose != sre.ToApply && r.Phase == sre.Simulated {
				t.Fatalf("what is really in force was simulated away by a %s", r.Purpose)
			}
		}
		if l.touched != 0 {
			t.Fatalf("touched %d times in a dry run", l.touched)
		}
	})
}

func TestNothingIsTouchedWithoutTheRightPermit(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := &lever{}
		a := action(sre.Params{"rps": 5.0})
		e := executor.New(executor.Config{Timeout: time.Minute}, map[string]sre.Remediator{"l": l})
		e.Describe(context.Background())
		ps := permits(t, a)
		ps[""] = gate.Permit{}
		held := rapid.SampledFrom(append([]sre.Purpose{""}, purposes...)).Draw(t, "permit for")
		purpose := rapid.SampledFrom(purposes).Draw(t, "purpose")
		late := rapid.Bool().Draw(t, "late")
		at := now
		if late {
			at = now.Add(48 * time.Hour)
		}
		r := e.Carry(context.Background(), at, []executor.Order{{Permit: ps[held], Purpose: purpose}})[0]
		allowed := held == purpose && !late
		if (l.touched > 0) != allowed {
			t.Fatalf("permit for %q, order to %s, late %t: touched %d times", held, purpose, late, l.touched)
		}
		if !allowed && r.Code != sre.CodeRefused {
			t.Fatalf("code %q, want %q", r.Code, sre.CodeRefused)
		}
	})
}

func TestAnswersBecomePhases(t *testing.T) {
	cut := errors.New("connection cut")
	cases := []struct {
		name    string
		l       lever
		purpose sre.Purpose
		params  sre.Params
		want    sre.Phase
		probed  bool
	}{
		{"applied", lever{}, sre.ToApply, sre.Params{"rps": 5.0}, sre.InEffect, false},
		{"refused", lever{applyErr: sre.Refusedf("no")}, sre.ToApply, sre.Params{"rps": 5.0}, sre.Failed, false},
		{"invalid before any call", lever{}, sre.ToApply, sre.Params{"rps": 5e9}, sre.Failed, false},
		{"cut, and it had arrived", lever{applyErr: cut, inEffect: true}, sre.ToApply, sre.Params{"rps": 5.0}, sre.InEffect, true},
		{"cut, and it may still arrive", lever{applyErr: cut}, sre.ToApply, sre.Params{"rps": 5.0}, sre.Intended, false},
		{"cut, and the probe fails too", lever{applyErr: cut, probeErr: cut}, sre.ToApply, sre.Params{"rps": 5.0}, sre.Intended, false},
		{"undone", lever{}, sre.ToRevert, nil, sre.Undone, false},
		{"undo cut, still in force", lever{applyErr: cut, inEffect: true}, sre.ToRevert, nil, sre.Undoing, false},
		{"undo cut, and it had arrived", lever{applyErr: cut}, sre.ToRevert, nil, sre.Undone, true},
		{"undo refused", lever{applyErr: sre.Refusedf("no"), inEffect: true}, sre.ToRevert, nil, sre.Undoing, false},
		{"adjusted", lever{}, sre.ToAdjust, sre.Params{"rps": 5.0}, sre.InEffect, false},
		{"adjustment cut, and it had arrived", lever{applyErr: cut, inEffect: true, current: sre.Params{"rps": 5.01}}, sre.ToAdjust, sre.Params{"rps": 5.0}, sre.InEffect, true},
		{"adjustment cut, and it may still arrive", lever{applyErr: cut, inEffect: true, current: sre.Params{"rps": 9.0}}, sre.ToAdjust, sre.Params{"rps": 5.0}, sre.InEffect, false},
		{"adjustment out of bounds, before any call", lever{applyErr: cut}, sre.ToAdjust, sre.Params{"rps": 5e9}, sre.InEffect, false},
		{"renewal failed", lever{applyErr: sre.Refusedf("no")}, sre.ToRenew, sre.Params{"rps": 5.0}, sre.InEffect, false},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			rapid.Check(t, func(t *rapid.T) {
				l := c.l
				e := executor.New(executor.Config{}, map[string]sre.Remediator{"l": &l})
				e.Describe(context.Background())
				p := permits(t, action(c.params))[c.purpose]
				r := e.Carry(context.Background(), now, []executor.Order{{Permit: p, Purpose: c.purpose}})[0]
				if r.Phase != c.want || r.Probed != c.probed {
					t.Fatalf("phase %q probed %t, want %q probed %t (%s)", r.Phase, r.Probed, c.want, c.probed, r.Err)
				}
			})
		})
	}
}

func TestALeverThatHasNotSaidWhatItCanIsNotMovedAndCanBeUndone(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := &lever{}
		e := executor.New(executor.Config{Timeout: time.Minute}, map[string]sre.Remediator{"l": l})
		ps := permits(t, action(sre.Params{"rps": 5.0}))
		if r := e.Carry(context.Background(), now, []executor.Order{{Permit: ps[sre.ToApply], Purpose: sre.ToApply}})[0]; r.Code != sre.CodeRefused || l.touched != 0 {
			t.Fatalf("applied unchecked: %+v", r)
		}
		if r := e.Carry(context.Background(), now, []executor.Order{{Permit: ps[sre.ToRevert], Purpose: sre.ToRevert}})[0]; r.Phase != sre.Undone {
			t.Fatalf("undo was refused: %+v", r)
		}
	})
}

// liar answers a probe with what no trail can carry.
type liar struct{ lever }

func (l *liar) Probe(context.Context, sre.Action) (sre.TargetState, error) {
	return sre.TargetState{
		Current: sre.Params{"nan": math.NaN(), "inf": math.Inf(1), "deep": map[string]any{"f": func() {}}, "n": 3},
		Default: sre.Params{"inf": math.Inf(-1)}, Expires: time.Date(12_000, 1, 1, 0, 0, 0, 0, time.UTC),
	}, nil
}

func TestNonsenseFromALeverCanBeRecorded(t *testing.T) {
	e := executor.New(executor.Config{Timeout: time.Minute}, map[string]sre.Remediator{"l": &liar{}})
	found := e.Probe(context.Background(), []sre.Action{action(nil)})[0]
	if _, err := json.Marshal(found.State); err != nil {
		t.Fatal(err)
	}
	got := found.State.Current
	if _, known := got["nan"]; known || got["inf"] != math.MaxFloat64 || got["n"] != 3 || !found.State.Expires.IsZero() {
		t.Errorf("found %+v", found.State)
	}
}
