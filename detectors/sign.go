package detectors

import (
	"cmp"
	"math"
	"slices"
	"time"

	"github.com/sreagent/sreagent/sre"
)

// term is one feature of a risk with its evidence.
type term struct {
	x  float64 // 0 at the warning level, 1 at the action level
	ev sre.Evidence
}

// Bias and weight of the log-linear risk, set by hand: no feature alone reaches
// one half, two do, four leave no doubt.
const (
	riskBias   = -4.
	riskWeight = 2.5
	features   = 4 // of a mechanism where all are measured
)

// weigh returns the probability that a mechanism ends in a cascade within
// sre.RiskHorizon and sets the share of each term in it. A feature that is not
// measured is left out, and the others count for more.
func weigh(terms []term) float64 {
	if len(terms) == 0 {
		return 0
	}
	var sum float64
	for _, t := range terms {
		sum += t.x
	}
	for i := range terms {
		terms[i].ev.Weight = 0
		if sum > 0 {
			terms[i].ev.Weight = terms[i].x / sum
		}
	}
	return logistic(riskBias + riskWeight*sum*features/float64(len(terms)))
}

func logistic(l float64) float64 { return 1 / (1 + math.Exp(-l)) }

// Bounds of the score by severity: a fact about the system never opens an
// incident, a warning never outranks what should be acted on.
const (
	leastCritical = .75
	leastWarning  = .4
	mostWarning   = .7
	mostInfo      = .2
)

// conclude sets risk, score and evidence of a precursor whose severity is
// decided; the strongest piece of evidence comes first.
func conclude(p sre.Precursor, terms []term) sre.Precursor {
	p.Risk = weigh(terms)
	switch p.Severity {
	case sre.Critical:
		p.Score = max(leastCritical, p.Risk)
	case sre.Warning:
		p.Score = min(max(leastWarning, p.Risk), mostWarning)
	case sre.Info:
		p.Score = min(p.Risk, mostInfo)
	}
	slices.SortStableFunc(terms, func(a, b term) int { return cmp.Compare(b.ev.Weight, a.ev.Weight) })
	for _, t := range terms {
		p.Evidence = append(p.Evidence, t.ev)
	}
	return p
}

// episode follows one condition of one subject: at how many of the latest ticks
// it held, and since when without a longer break.
type episode struct {
	hits  recent
	calm  int32
	since time.Time
}

// calmTicks is how many quiet ticks end an episode.
const calmTicks = 5

// push takes in one tick.
func (e *episode) push(sign bool, at time.Time) {
	e.hits.push(sign)
	if sign {
		if e.since.IsZero() {
			e.since = at
		}
		e.calm = 0
		return
	}
	if e.calm < calmTicks {
		e.calm++
	} else {
		e.since = time.Time{}
	}
}

// on reports whether the condition holds now and held at no fewer than k of the
// latest n ticks.
func (e *episode) on(k, n int) bool { return e.hits&1 == 1 && e.hits.of(k, n) }

// harmTerm is the feature that every mechanism shares: requests that fail.
func (v *vitals) harmTerm(i int, name string, full float64) (term, bool) {
	p, u := &v.now[i], &v.usual[i]
	if !known(p.errors) {
		return term{}, false
	}
	usual := or(u.errors.value(needed), 0)
	return term{ramp(p.errors-usual, 0, full), sre.Evidence{
		Signal: "error_ratio", Subject: name, Now: p.errors, Normal: usual, Unit: sre.Ratio,
		Meaning: percent(p.errors) + " of requests to " + name + " fail (usual " + percent(usual) + ")",
	}}, true
}
