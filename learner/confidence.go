package learner

import (
	"fmt"
	"maps"
	"math"
	"slices"
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
	Class       string  // of the service: entry, middle or leaf; may be empty
	Probability float64 // of the diagnosis, 0 to 1
	DataQuality float64 // share of the needed readings that are fresh, 0 to 1
	At          time.Time
}

// counts are decayed outcomes.
type counts struct {
	success, failure float64
}

// levels is how many steps lead from the widest experience to the narrowest:
// the runbook, the runbook against a mechanism, that at a class of services,
// and that at one service.
const levels = 4

// experience is what is known at each level.
type experience struct {
	decayed [levels]counts
	seen    [levels]tally
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
	diagnosis, quality, near := unit(q.Probability), unit(q.DataQuality), l.familiarity(q, e)
	joint := diagnosis * mean
	raw := l.estranged(l.pull(joint, quality), near)
	p := l.scores.of(raw, q.Mechanism)
	if near < 1 {
		p = min(p, raw) // what was seen never speaks for what was not
	}
	least := l.scores.of(l.estranged(l.pullDown(diagnosis*min(low, mean), quality), near), q.Mechanism)
	return sre.Confidence{
		P: p, Lower: min(least, p), Basis: l.basis(q, e), Raw: raw, Class: q.Class, Abstain: l.abstain(q, near),
		Factors: l.factors(q, mean, quality, near, joint, raw, p),
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

// recall adds up what was learned, each outcome weighed by its age in days and
// by the drifts found since. Outcomes from after the question count as of today:
// a clock that was set back must not make them weigh more.
func (l *Learner) recall(q Question) experience {
	var e experience
	today := day(q.At.Unix())
	halfLife := time.Duration(l.cfg.HalfLife).Hours() / 24
	for _, p := range l.places() {
		if p.runbook != q.Runbook {
			continue
		}
		fits := [levels]bool{true, p.mechanism == q.Mechanism, p.mechanism == q.Mechanism && p.class == q.Class, p.mechanism == q.Mechanism && p.service == q.Service}
		changed := l.drifts[pair{p.runbook, p.mechanism}]
		for _, on := range slices.Sorted(maps.Keys(l.counts[p])) {
			t := l.counts[p][on]
			weight := math.Exp2(-float64(max(today-on, 0))/halfLife) * changed.aged(on)
			for level, fit := range fits {
				if !fit {
					continue
				}
				e.decayed[level].success += weight * float64(t.success)
				e.decayed[level].failure += weight * (float64(t.failure) + float64(t.unclear)/2)
				e.seen[level] = e.seen[level].plus(t)
			}
		}
	}
	return e
}

// posterior walks down the levels: the mean of each one is worth kappa runs in
// the next. Where the class is not known there is no such level.
func (l *Learner) posterior(q Question, e experience) (a, b float64) {
	prior := l.cfg.Priors[q.Runbook]
	a = jeffreys + prior.Successes + e.decayed[0].success
	b = jeffreys + prior.Runs - prior.Successes + e.decayed[0].failure
	for level, c := range e.decayed {
		if level == 0 || level == 2 && q.Class == "" {
			continue
		}
		mean := inside(a / (a + b))
		a = l.cfg.Kappa*mean + c.success
		b = l.cfg.Kappa*(1-mean) + c.failure
	}
	return a, b
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
	switch wide, similar, here := e.seen[0], e.seen[1], e.seen[3]; {
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
