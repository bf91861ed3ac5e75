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
	}
	d.Precursors = slices.Clone(d.Precursors)
	for i := range d.Precursors {
		p := &d.Precursors[i]
		p.Evidence, p.Score = finiteEvidence(p.Evidence), finite(p.Score)
	}
	d.DataQuality = finite(d.DataQuality)
	if d.Blast.EntryShare != d.Blast.EntryShare {
		d.Blast.EntryShare = 1 // not known: all of it may stand behind
	}
	d.Blast.EntryShare = finite(d.Blast.EntryShare)
	return d
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
