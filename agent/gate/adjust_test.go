package gate

import (
	"errors"
	"math"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/sreagent/sreagent/sre"
)

var rateSpec = sre.KindSpec{Kind: sre.Shed, Params: []sre.ParamSpec{{Name: "rps", Type: "number", Required: true, Min: 1, Max: 1000}}}

// capped is a rate cap in force, started alone, with a law.
func capped() sre.Mitigation {
	return sre.Mitigation{
		Phase: sre.InEffect, Permit: sre.Permit{Decision: "d", By: "policy"}, Before: sre.Params{"rps": 900.0},
		Action:  sre.Action{ID: "i.0.0.0", Kind: sre.Shed, Law: "overload", Target: sre.Target{Lever: "guard", Service: "web"}, Params: sre.Params{"rps": 100.0}},
		Expires: now.Add(time.Minute), RenewTill: now.Add(time.Hour),
	}
}

func TestWhatALawMayMove(t *testing.T) {
	type scene struct {
		p    Policy
		q    Question
		m    sre.Mitigation
		spec sre.KindSpec
		to   sre.Params
	}
	tighter, looser := sre.Params{"rps": 50.0}, sre.Params{"rps": 200.0}
	cases := []struct {
		name  string
		spoil func(*scene)
		err   error // of a tighter setting
		loose error // of a looser one
	}{
		{name: "all is well", spoil: func(*scene) {}},
		{"paused", func(s *scene) { s.q.Pauses = []sre.Pause{{By: "bob"}} }, ErrNotAllowed, nil},
		{"watch mode", func(s *scene) { s.p.Mode = sre.Watch }, ErrNotAllowed, nil},
		{"a mode that nobody knows", func(s *scene) { s.p.Mode = "yolo" }, ErrNotAllowed, nil},
		{"ask mode, started alone", func(s *scene) { s.p.Mode = sre.Ask }, ErrNotAllowed, nil},
		{"ask mode, approved", func(s *scene) { s.p.Mode, s.m.Permit.By = sre.Ask, "ann" }, nil, nil},
		{"protected since, started alone", func(s *scene) { s.p.Protected = []string{"web"} }, ErrNotAllowed, nil},
		{"protected, approved", func(s *scene) { s.p.Protected, s.m.Permit.By = []string{"web"}, "ann" }, nil, nil},
		{"blind", func(s *scene) { s.q.SourceUp = false }, ErrStale, ErrStale},
		{"lapsed", func(s *scene) { s.m.Expires = now }, ErrNotAllowed, ErrNotAllowed},
		{"the lease is over", func(s *scene) { s.m.RenewTill = now }, ErrNotAllowed, ErrNotAllowed},
		{"no law", func(s *scene) { s.m.Action.Law = "" }, ErrNotAllowed, ErrNotAllowed},
		{"not in effect", func(s *scene) { s.m.Phase = sre.Undoing }, ErrNotAllowed, ErrNotAllowed},
		{"a move is open", func(s *scene) { s.m.Moving = sre.Params{"rps": 70.0} }, ErrNotAllowed, ErrNotAllowed},
		{"a lever that says nothing", func(s *scene) { s.spec = sre.KindSpec{} }, ErrNotAllowed, ErrNotAllowed},
		{"out of bounds", func(s *scene) { s.to["rps"] = 1001.0 }, ErrNotAllowed, ErrNotAllowed},
		{"no number", func(s *scene) { s.to["rps"] = math.NaN() }, ErrNotAllowed, ErrNotAllowed},
		{"an unknown setting", func(s *scene) { s.to["burst"] = 1.0 }, ErrNotAllowed, ErrNotAllowed},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			for _, side := range []struct {
				to   sre.Params
				want error
			}{{tighter, c.err}, {looser, c.loose}} {
				s := scene{p: openPolicy(), q: easyQuestion(), m: capped(), spec: rateSpec, to: sre.Params{"rps": side.to["rps"]}}
				c.spoil(&s)
				permit, err := New(s.p).PermitAdjust(s.q, s.m, s.spec, s.to)
				if !errors.Is(err, side.want) || (err == nil) != permit.Allows(sre.ToAdjust, now) {
					t.Errorf("to %v: %v, want %v; permit %+v", s.to, err, side.want, permit.Record())
				}
			}
		})
	}
}

// A permit for a law is for the lever, the target and the law that were decided
// on, whatever it asks for.
func TestAnAdjustmentStaysWithWhatWasDecided(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m, to := capped(), sre.Params{"rps": rapid.Float64().Draw(t, "rps")}
		permit, err := New(openPolicy()).PermitAdjust(easyQuestion(), m, rateSpec, to)
		if err != nil {
			return
		}
		a := permit.Action()
		to["rps"] = -1.0 // the caller's own afterwards
		if a.ID != m.Action.ID || a.Target != m.Action.Target || a.Kind != m.Action.Kind || a.Law != m.Action.Law {
			t.Fatalf("permitted %+v", a)
		}
		if rps, _ := a.Params.Float("rps"); rps < 1 || rps > 1000 {
			t.Fatalf("permitted %v", rps)
		}
		for _, purpose := range []sre.Purpose{sre.ToApply, sre.ToRenew, sre.ToRevert} {
			if permit.Allows(purpose, now) {
				t.Fatalf("it lets %s", purpose)
			}
		}
	})
}
