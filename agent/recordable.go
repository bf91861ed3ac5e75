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
		h.Evidence, h.Probability = finiteEvidence(h.Evidence), finite(h.Probability)
		if h.WhatIf != nil {
			h.WhatIf = &sre.WhatIf{AsIs: finite(h.WhatIf.AsIs), Healed: finite(h.WhatIf.Healed)}
		}
	}
	d.Precursors = recordableSigns(d.Precursors)
	d.Blast.Impacts = recordableImpacts(d.Blast.Impacts)
	d.DataQuality = finite(d.DataQuality)
	if d.Blast.EntryShare != d.Blast.EntryShare {
		d.Blast.EntryShare = 1 // not known: all of it may stand behind
	}
	d.Blast.EntryShare = finite(d.Blast.EntryShare)
	return d
}

func recordableSigns(signs []sre.Precursor) []sre.Precursor {
	signs = slices.Clone(signs)
	for i := range signs {
		p := &signs[i]
		p.Evidence, p.Score, p.Risk = finiteEvidence(p.Evidence), finite(p.Score), finite(p.Risk)
	}
	return signs
}

func recordableImpacts(impacts []sre.Impact) []sre.Impact {
	impacts = slices.Clone(impacts)
	for i := range impacts {
		impacts[i].Lost = finite(impacts[i].Lost)
	}
	return impacts
}

func finiteEvidence(list []sre.Evidence) []sre.Evidence {
	list = slices.Clone(list)
	for i := range list {
		e := &list[i]
		e.Now, e.Normal, e.Weight = finite(e.Now), finite(e.Normal), finite(e.Weight)
	}
	return list
}

func isFinite(v float64) bool { return !math.IsNaN(v) && !math.IsInf(v, 0) }

func finite(v float64) float64 {
	switch {
	case math.IsNaN(v):
		return 0
	case math.IsInf(v, 1):
		return math.MaxFloat64
	case math.IsInf(v, -1):
		return -math.MaxFloat64
	}
	return v
}
