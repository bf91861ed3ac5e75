package sre

import (
	"math"
	"testing"
)

func TestSettingsThatAreNear(t *testing.T) {
	for _, c := range []struct {
		p, q Params
		want bool
	}{
		{Params{}, Params{"x": 1.0}, true},
		{nil, nil, true},
		{Params{"x": 100.0}, Params{"x": 100.5}, true},
		{Params{"x": 100.0}, Params{"x": 102.0}, false},
		{Params{"x": 100}, Params{"x": 100.0, "y": "more"}, true}, // a number is one in any form
		{Params{"x": 0.0}, Params{"x": 0.0}, true},
		{Params{"x": 0.0}, Params{"x": 1e-9}, false},
		{Params{"x": 1.0}, Params{}, false},
		{Params{"x": math.NaN()}, Params{"x": math.NaN()}, false},
		{Params{"x": "on"}, Params{"x": "on"}, true},
		{Params{"x": "on"}, Params{"x": true}, false},
		{Params{"x": true}, Params{"x": true}, true},
		{Params{"x": 1.0}, Params{"x": "1"}, false},
	} {
		if got := c.p.Near(c.q); got != c.want {
			t.Errorf("%v near %v: %t, want %t", c.p, c.q, got, c.want)
		}
	}
}

func TestMovesThatLoosen(t *testing.T) {
	rps := func(v float64) Params { return Params{"rps": v} }
	for _, c := range []struct {
		name             string
		kind             ActionKind
		before, from, to Params
		want             bool
	}{
		{"up to what it was", Shed, rps(900), rps(100), rps(200), true},
		{"all the way", Shed, rps(900), rps(100), rps(900), true},
		{"away", Shed, rps(900), rps(100), rps(50), false},
		{"beyond, as far", Shed, rps(900), rps(100), rps(1700), false},
		{"nothing changes", Shed, rps(900), rps(100), rps(100), false},
		{"a little, towards", Shed, rps(900), rps(100), rps(100.5), true},
		{"a little, away", Shed, rps(900), rps(100), rps(99.5), false},
		{"unlimited before", Shed, nil, rps(100), rps(200), true},
		{"unlimited before, away", Shed, nil, rps(100), rps(50), false},
		{"a switch that was off", KillSwitch, Params{"percent": 0.0}, Params{"percent": 25.0}, Params{"percent": 5.0}, true},
		{"a switch goes on", KillSwitch, Params{"percent": 0.0}, Params{"percent": 25.0}, Params{"percent": 100.0}, false},
		{"a switch of which nothing is known", KillSwitch, nil, Params{"percent": 25.0}, Params{"percent": 100.0}, false},
		{"one of two away", Shed, Params{"a": 9.0, "b": 9.0}, Params{"a": 5.0, "b": 5.0}, Params{"a": 6.0, "b": 4.0}, false},
		{"one of two towards", Shed, Params{"a": 9.0, "b": 9.0}, Params{"a": 5.0, "b": 5.0}, Params{"a": 6.0, "b": 5.0}, true},
		{"a new setting", Shed, rps(900), rps(100), Params{"rps": 200.0, "low": 10.0}, false},
		{"a setting that was not there goes", Shed, rps(900), Params{"rps": 100.0, "low": 10.0}, rps(100), true},
		{"a setting that was there goes", Shed, rps(900), rps(100), Params{}, false},
		{"no number", Shed, rps(900), rps(100), rps(math.NaN()), false},
		{"text, back", Breaker, Params{"state": "auto"}, Params{"state": "open"}, Params{"state": "auto"}, true},
		{"text, away", Breaker, Params{"state": "auto"}, Params{"state": "auto"}, Params{"state": "open"}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := c.kind.Loosens(c.before, c.from, c.to); got != c.want {
				t.Errorf("%v -> %v, from %v: %t, want %t", c.from, c.to, c.before, got, c.want)
			}
		})
	}
}
