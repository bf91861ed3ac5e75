package sre

import (
	"math"
	"slices"
)

// Finite makes a number that JSON can carry: NaN becomes 0, an infinity the
// largest number of its sign. A division by zero in a detector must neither stop
// the trail nor keep people from the explanation.
func Finite(x float64) float64 {
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

// FiniteEvidence returns a copy whose numbers are all Finite.
func FiniteEvidence(list []Evidence) []Evidence {
	list = slices.Clone(list)
	for i := range list {
		e := &list[i]
		e.Now, e.Normal, e.Weight = Finite(e.Now), Finite(e.Normal), Finite(e.Weight)
	}
	return list
}

func finiteEvidence(list []Evidence) []Evidence { return orNone(FiniteEvidence(list)) }

func finiteCauses(list []Hypothesis) []Hypothesis {
	list = orNone(slices.Clone(list))
	for i := range list {
		h := &list[i]
		h.Probability, h.Evidence = Finite(h.Probability), finiteEvidence(h.Evidence)
		if h.WhatIf != nil {
			h.WhatIf = &WhatIf{AsIs: Finite(h.WhatIf.AsIs), Healed: Finite(h.WhatIf.Healed)}
		}
	}
	return list
}

func finiteBlast(b BlastRadius) BlastRadius {
	b.Services, b.Entries = orNone(slices.Clone(b.Services)), orNone(slices.Clone(b.Entries))
	b.EntryShare = Finite(b.EntryShare)
	b.Impacts = slices.Clone(b.Impacts)
	for i := range b.Impacts {
		b.Impacts[i].Lost = Finite(b.Impacts[i].Lost)
	}
	return b
}
