package diagnosis

import (
	"math"
	"testing"

	"pgregory.net/rapid"

	"github.com/sreagent/sreagent/sre"
)

func believing(ps ...float64) *sre.Diagnosis {
	names := []string{"a", "b", "c", "d"}
	d := &sre.Diagnosis{}
	rest := 1.
	for i, p := range ps {
		d.Hypotheses = append(d.Hypotheses, sre.Hypothesis{Service: names[i], Probability: p})
		rest -= p
	}
	d.Hypotheses = append(d.Hypotheses, sre.Hypothesis{Mechanism: sre.Unknown, Probability: rest})
	return d
}

func TestACheckMovesWhatItConfirmsUpAndWhatItRefutesDown(t *testing.T) {
	for _, c := range []struct {
		name   string
		checks map[string]sre.WhatIf
		first  string
		p      float64
	}{
		{"none", nil, "a", .5},
		{"the second is confirmed, the first refuted", map[string]sre.WhatIf{"a": {AsIs: .4, Healed: .45}, "b": {AsIs: .4, Healed: .9}}, "b", .45 / .9},
		{"the first confirmed", map[string]sre.WhatIf{"a": {AsIs: .4, Healed: 1}}, "a", .75 / 1.25},
		{"nothing is lost in the model", map[string]sre.WhatIf{"a": {AsIs: 1, Healed: 1}}, "a", .5},
		{"no number", map[string]sre.WhatIf{"a": {AsIs: .4, Healed: math.NaN()}}, "a", .5},
		{"of somebody else", map[string]sre.WhatIf{"x": {AsIs: .4, Healed: 1}}, "a", .5},
	} {
		d := believing(.5, .3)
		Reweigh(d, c.checks)
		if top := d.Top(); top.Service != c.first || math.Abs(top.Probability-c.p) > 1e-12 {
			t.Errorf("%s: %s with %v, want %s with %v", c.name, top.Service, top.Probability, c.first, c.p)
		}
	}
}

func TestOnlyTheThreeMostProbableAreChecked(t *testing.T) {
	d := believing(.4, .3, .15, .1)
	checks := map[string]sre.WhatIf{}
	for _, name := range []string{"a", "b", "c", "d"} {
		checks[name] = sre.WhatIf{AsIs: .5, Healed: 1}
	}
	Reweigh(d, checks)
	for _, h := range d.Hypotheses {
		if want := h.Service != "" && h.Service != "d"; (h.WhatIf != nil) != want {
			t.Errorf("%q: checked %v", h.Service, h.WhatIf != nil)
		}
	}
}

func TestReweighedProbabilitiesStillSumToOne(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := believing(rapid.Float64Range(0, .5).Draw(t, "a"), rapid.Float64Range(0, .3).Draw(t, "b"))
		checks := map[string]sre.WhatIf{}
		for _, name := range []string{"a", "b"} {
			checks[name] = sre.WhatIf{AsIs: rapid.Float64Range(0, 1).Draw(t, "as is"), Healed: rapid.Float64Range(0, 1).Draw(t, "healed")}
		}
		Reweigh(d, checks)
		var sum float64
		for i, h := range d.Hypotheses {
			sum += h.Probability
			if i > 0 && h.Probability > d.Hypotheses[i-1].Probability {
				t.Fatal("not sorted")
			}
		}
		if math.Abs(sum-1) > 1e-9 {
			t.Fatalf("sum %v", sum)
		}
	})
}

func TestReweighOfNothing(t *testing.T) {
	var d sre.Diagnosis
	Reweigh(&d, map[string]sre.WhatIf{"a": {}})
	if d.Hypotheses != nil {
		t.Error("hypotheses out of nothing")
	}
}
