package sre

import (
	"math"
	"slices"
)

// finite makes a number that JSON can carry: a division by zero in a detector
// must not keep people from the explanation.
func finite(x float64) float64 {
	switch {
	case math.IsNaN(x):
		return 0
	case math.IsInf(x, 1):
		return math.MaxFloat64
	case math.IsInf(x, -1):
		return -math.MaxFloat64
	}
	return x
}

func finiteEvidence(list []Evidence) []Evidence {
	list = orNone(slices.Clone(list))
	for i := range list {
		e := &list[i]
		e.Now, e.Normal, e.Weight = finite(e.Now), finite(e.Normal), finite(e.Weight)
	}
	return list
}

func finiteCauses(list []Hypothesis) []Hypothesis {
	list = orNone(slices.Clone(list))
	for i := range list {
		h := &list[i]
		h.Probability, h.Evidence = finite(h.Probability), finiteEvidence(h.Evidence)
		if h.WhatIf != nil {
			h.WhatIf = &WhatIf{AsIs: finite(h.WhatIf.AsIs), Healed: finite(h.WhatIf.Healed)}
		}
	}
	return list
}

func finiteBlast(b BlastRadius) BlastRadius {
	b.Services, b.Entries = orNone(slices.Clone(b.Services)), orNone(slices.Clone(b.Entries))
	b.EntryShare = finite(b.EntryShare)
	b.Impacts = slices.Clone(b.Impacts)
	for i := range b.Impacts {
		b.Impacts[i].Lost = finite(b.Impacts[i].Lost)
	}
	return b
}
