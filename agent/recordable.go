package agent

import (
	"math"
	"slices"

	"github.com/sreagent/sreagent/sre"
)

// recordable returns a copy of d whose evidence holds numbers only. A trail of
// JSON cannot carry infinities and NaN, and a trail that cannot be written
// stops the agent: a division by zero in a detector must not.
func recordable(d sre.Diagnosis) sre.Diagnosis {
	d.Hypotheses = slices.Clone(d.Hypotheses)
	for i := range d.Hypotheses {
		h := &d.Hypotheses[i]
		h.Evidence, h.Probability = sre.FiniteEvidence(h.Evidence), sre.Finite(h.Probability)
		if h.WhatIf != nil {
			h.WhatIf = &sre.WhatIf{AsIs: sre.Finite(h.WhatIf.AsIs), Healed: sre.Finite(h.WhatIf.Healed)}
		}
	}
	d.Precursors = recordableSigns(d.Precursors)
	d.Blast.Impacts = recordableImpacts(d.Blast.Impacts)
	d.DataQuality = sre.Finite(d.DataQuality)
	if d.Blast.EntryShare != d.Blast.EntryShare {
		d.Blast.EntryShare = 1 // not known: all of it may stand behind
	}
	d.Blast.EntryShare = sre.Finite(d.Blast.EntryShare)
	return d
}

func recordableSigns(signs []sre.Precursor) []sre.Precursor {
	signs = slices.Clone(signs)
	for i := range signs {
		p := &signs[i]
		p.Evidence, p.Score, p.Risk = sre.FiniteEvidence(p.Evidence), sre.Finite(p.Score), sre.Finite(p.Risk)
	}
	return signs
}

func recordableImpacts(impacts []sre.Impact) []sre.Impact {
	impacts = slices.Clone(impacts)
	for i := range impacts {
		impacts[i].Lost = sre.Finite(impacts[i].Lost)
	}
	return impacts
}

func isFinite(v float64) bool { return !math.IsNaN(v) && !math.IsInf(v, 0) }
