package detectors

import (
	"cmp"
	"slices"

	"github.com/sreagent/sreagent/sre"
)

// mostReasons is how many pieces of evidence a risk carries.
const mostReasons = 3

// Risks combines precursors into the risk of each service and of each call: the
// mechanisms are taken as independent causes, so the risk is 1 - prod(1 - P)
// (noisy-OR; Pearl, Probabilistic Reasoning in Intelligent Systems, 1988).
// Several signs of one mechanism count once, as the strongest. The likeliest
// come first, then by service and caller; precursors without a risk are left
// out.
func Risks(ps []sre.Precursor) []sre.Risk {
	strongest := make([]*sre.Precursor, 0, len(ps))
	for i := range ps {
		if ps[i].Risk > 0 {
			strongest = append(strongest, &ps[i])
		}
	}
	slices.SortStableFunc(strongest, func(a, b *sre.Precursor) int {
		return cmp.Or(
			cmp.Compare(a.Service, b.Service), cmp.Compare(a.Caller, b.Caller),
			cmp.Compare(a.Mechanism, b.Mechanism), cmp.Compare(b.Risk, a.Risk), cmp.Compare(a.Detector, b.Detector),
		)
	})
	var out []sre.Risk
	var top float64
	for i, p := range strongest {
		first := i == 0 || strongest[i-1].Service != p.Service || strongest[i-1].Caller != p.Caller
		if !first && strongest[i-1].Mechanism == p.Mechanism {
			continue
		}
		if first {
			out, top = append(out, sre.Risk{Service: p.Service, Caller: p.Caller}), 0
		}
		r := &out[len(out)-1]
		r.Probability = 1 - (1-r.Probability)*(1-p.Risk)
		if p.Risk > top {
			top, r.Mechanism, r.Evidence = p.Risk, p.Mechanism, reasons(p.Evidence)
		}
	}
	slices.SortStableFunc(out, func(a, b sre.Risk) int {
		return cmp.Or(cmp.Compare(b.Probability, a.Probability), cmp.Compare(a.Service, b.Service), cmp.Compare(a.Caller, b.Caller))
	})
	return out
}

// reasons returns the pieces of evidence that weigh most.
func reasons(all []sre.Evidence) []sre.Evidence {
	out := slices.Clone(all)
	slices.SortStableFunc(out, func(a, b sre.Evidence) int { return cmp.Compare(b.Weight, a.Weight) })
	return out[:min(len(out), mostReasons)]
}
