package diagnosis

import (
	"cmp"
	"math"
	"slices"

	"github.com/sreagent/sreagent/sre"
)

// How a counterfactual check moves a probability, and what counts as help.
const (
	healedFactor   = 1.5
	unhealedFactor = .5
	checkedCauses  = 3
	comesBack      = .5 // share of what is lost that must come back
	nothingLost    = .01
)

// Reweigh takes what a model says would happen with a service well again, by
// service, into the probabilities of the three most probable ones: one and a
// half times where the entries get back at least half of what they lose, half
// where they do not (Pearl, Causality, 2009, on interventions). Where next to
// nothing is lost the model has not seen the trouble, and its word says nothing;
// neither does one that is no number. The probabilities sum to 1 again, the
// hypotheses are sorted again, and WhatIf is set on those that were checked.
func Reweigh(d *sre.Diagnosis, checks map[string]sre.WhatIf) {
	var left int
	for i := range d.Hypotheses {
		h := &d.Hypotheses[i]
		if h.Service == "" || left == checkedCauses {
			continue
		}
		left++
		check, ok := checks[h.Service]
		lost := 1 - check.AsIs
		if !ok || math.IsNaN(lost) || math.IsNaN(check.Healed) {
			continue
		}
		h.WhatIf = &check
		switch {
		case lost < nothingLost:
		case check.Healed-check.AsIs >= comesBack*lost:
			h.Probability *= healedFactor
		default:
			h.Probability *= unhealedFactor
		}
	}
	var sum float64
	for _, h := range d.Hypotheses {
		sum += h.Probability
	}
	if sum <= 0 {
		return
	}
	for i := range d.Hypotheses {
		d.Hypotheses[i].Probability /= sum
	}
	slices.SortStableFunc(d.Hypotheses, func(a, b sre.Hypothesis) int { return cmp.Compare(b.Probability, a.Probability) })
}
