package detectors

import (
	"fmt"
	"math"

	"github.com/sreagent/sreagent/sre"
)

// unrest follows how much the work inside each service goes up and down around
// its own recent mean: near saturation the swings grow and slow down (Scheffer
// et al., Early-warning signals for critical transitions, Nature 2009). At the
// pace of scrapes that is weak, so it adds to what other signals say and never
// speaks by itself.
type unrest struct {
	mean  []mean // of the work inside, over restSpan samples
	dev   []mean // squared deviation from that mean
	lag   []mean // product of two deviations in a row
	last  []float64
	usual []mean // coefficient of variation while the service is well
}

const (
	restSpan   = 40.
	restGrowth = 3.  // of the coefficient of variation
	restWeight = .5  // added to the log-odds, against riskWeight of a feature
	restMemory = .05 // share of the usual variation that one sample moves
)

// observe takes in the vitals of one tick.
func (r *unrest) observe(v *vitals, frozen []bool) {
	for len(r.mean) < len(v.now) {
		r.mean, r.dev, r.lag = append(r.mean, mean{}), append(r.dev, mean{}), append(r.lag, mean{})
		r.last, r.usual = append(r.last, missing), append(r.usual, mean{})
	}
	for i := range v.now {
		x := v.now[i].queue
		if !known(x) {
			r.last[i] = missing
			continue
		}
		off := x - r.mean[i].v
		r.mean[i].add(x, 2/restSpan)
		r.dev[i].add(off*off, 2/restSpan)
		if known(r.last[i]) {
			r.lag[i].add(off*r.last[i], 2/restSpan)
		}
		r.last[i] = off
		if cv := r.variation(i); known(cv) && v.now[i].healthy && !isFrozen(frozen, i) && r.mean[i].n >= restSpan {
			r.usual[i].add(cv, restMemory)
		}
	}
}

// variation returns the coefficient of variation, or missing before it is known.
func (r *unrest) variation(i int) float64 {
	if r.mean[i].n < needed || r.mean[i].v <= 0 {
		return missing
	}
	return math.Sqrt(r.dev[i].v) / r.mean[i].v
}

// evidence returns what the unrest of a service adds, where there is enough of
// it: swings of several times the usual size, each like the one before.
func (r *unrest) evidence(i int, name string) (sre.Evidence, bool) {
	cv, usual := r.variation(i), r.usual[i].value(needed)
	if !known(cv) || !known(usual) || cv < restGrowth*max(usual, .05) || r.lag[i].v < r.dev[i].v/2 {
		return sre.Evidence{}, false
	}
	return sre.Evidence{
		Signal: "unrest", Subject: name, Now: cv, Normal: usual, Unit: sre.Ratio, Weight: .05,
		Meaning: fmt.Sprintf("the work inside %s swings %.0f times as much as usual, ever more slowly", name, cv/max(usual, .05)),
	}, true
}

// raise moves a probability by a weight of the log-odds.
func raise(p, weight float64) float64 { return logistic(math.Log(p/(1-p)) + weight) }
