package learner

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"gonum.org/v1/gonum/stat/distuv"

	"github.com/sreagent/sreagent/sre"
)

const (
	// lowerQuantile is the share of the posterior that lies below Lower.
	lowerQuantile = 0.1

	// jeffreys is half a run each way, the usual start where nothing is known.
	jeffreys = 0.5

	// edge keeps probabilities off 0 and 1, where log odds and the Beta
	// distribution end: rounding alone takes 1e9 successes to 1.
	edge = 1e-9
)

// Question asks how likely a runbook is to help here and now.
type Question struct {
	Runbook     string
	Mechanism   sre.Mechanism
	Service     string
	Class       string        // of the service: entry, middle or leaf; may be empty
	Probability float64       // of the diagnosis, 0 to 1
	DataQuality float64       // share of the needed readings that are fresh, 0 to 1
	Signature   []string      // of the situation: sorted marks; may be empty
	Suspects    []sre.Suspect // of the cause, most probable first; Possible is for the answer
	At          time.Time
}

// Confidence answers a question. P is the probability that the diagnosis holds
// and the runbook then helps; Lower takes the 10 % quantile of what experience
// says about the runbook in place of its mean. Poor data and a situation unlike
// any seen pull P towards the base rate, Lower and what is new only ever down to it; Lower never rises
// for want of data. What such estimates have been worth corrects both at the
// end. Values that are not numbers count as 0.
func (l *Learner) Confidence(q Question) sre.Confidence {
	e := l.recall(q)
	a, b := l.posterior(q, e)
	mean, low := a/(a+b), quantile(a, b)
	diagnosis, quality := unit(q.Probability), unit(q.DataQuality)
	away, news := l.novelty(q, e)
	near := math.Exp(-away / farAway)
	joint := diagnosis * mean
	prior := l.estranged(l.pull(joint, quality), near)
	signature := spelled(q.Signature)
	raw := l.scores.marks.of(prior, signature)
	p := l.scores.of(raw, q.Mechanism)
	if near < 1 {
		p = min(p, raw) // what was seen never speaks for what was not
	}
	least := l.scores.of(l.scores.marks.of(l.estranged(l.pullDown(diagnosis*min(low, mean), quality), near), signature), q.Mechanism)
	return sre.Confidence{
		P: p, Lower: min(least, p), Basis: l.basis(q, e), Raw: raw, Prior: prior, Class: q.Class, Signature: q.Signature, Suspects: l.causes.judged(q.Suspects), Abstain: l.abstain(q, news),
		Factors: l.factors(q, mean, quality, near, joint, prior, raw, p),
	}
}

// pull shrinks to the base rate.
func (l *Learner) pull(p, trust float64) float64 { return shrink(p, l.cfg.BaseRate, trust) }

// pullDown shrinks a lower bound, which want of data never raises.
func (l *Learner) pullDown(p, trust float64) float64 {
	return shrink(p, min(l.cfg.BaseRate, p), trust)
}

// estranged lowers an estimate for want of anything like it: towards the base
// rate, and where that is no lower, towards half of itself.
func (l *Learner) estranged(p, near float64) float64 {
	return shrink(p, min(l.cfg.BaseRate, p/2), near)
}

// quantile is the 10 % quantile of Beta(a, b); 0 where it cannot be computed.
func quantile(a, b float64) float64 {
	return unit(distuv.Beta{Alpha: a, Beta: b}.Quantile(lowerQuantile))
}

// shrink moves p towards base in log odds: all the way at quality 0, not at all
// at quality 1.
func shrink(p, base, quality float64) float64 {
	if quality == 1 || p == base {
		return p
	}
	return 1 / (1 + math.Exp(-(quality*logit(p) + (1-quality)*logit(base))))
}

func logit(p float64) float64 {
	p = inside(p)
	return math.Log(p / (1 - p))
}

// inside keeps a probability off 0 and 1.
func inside(p float64) float64 { return min(max(p, edge), 1-edge) }

// unit clamps to 0 to 1; what is not a number is 0.
func unit(v float64) float64 {
	if math.IsNaN(v) {
		return 0
	}
	return min(max(v, 0), 1)
}

// basis says in words what the figures rest on.
func (l *Learner) basis(q Question, e experience) string {
	var parts []string
	switch wide, similar, here := e.seen[anyMechanism], e.seen[mechanism], e.seen[atService]; {
	case similar.runs() > 0:
		s := fmt.Sprintf("%d of %d similar", similar.success, similar.runs())
		if here.runs() > 0 && here != similar {
			s += fmt.Sprintf(" (%d of %d at %s)", here.success, here.runs(), q.Service)
		}
		parts = append(parts, s)
	case wide.runs() > 0:
		parts = append(parts, fmt.Sprintf("no similar run yet, %d of %d against other mechanisms", wide.success, wide.runs()))
	default:
		parts = append(parts, "no run yet")
	}
	if prior := l.cfg.Priors[q.Runbook]; prior.Runs > 0 {
		parts = append(parts, "prior worth "+strconv.FormatFloat(prior.Runs, 'g', 3, 64)+" simulated runs")
	}
	parts = append(parts,
		fmt.Sprintf("diagnosis %.0f %% likely", 100*unit(q.Probability)),
		fmt.Sprintf("data %.0f %% fresh", 100*unit(q.DataQuality)))
	return strings.Join(parts, ", ")
}
