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
	Probability float64 // of the diagnosis, 0 to 1
	DataQuality float64 // share of the needed readings that are fresh, 0 to 1
	At          time.Time
}

// counts are decayed outcomes.
type counts struct {
	success, failure float64
}

// experience is what is known at the three levels, from the widest to the
// narrowest: the runbook, the runbook against a mechanism, and that at a
// service.
type experience struct {
	decayed [3]counts
	seen    [3]tally
}

// Confidence answers a question. P is the probability that the diagnosis holds
// and the runbook then helps; Lower takes the 10 % quantile of what experience
// says about the runbook in place of its mean. Poor data pulls P towards the
// base rate, and Lower down to it; Lower never rises for want of data. Values
// that are not numbers count as 0.
func (l *Learner) Confidence(q Question) sre.Confidence {
	e := l.recall(q)
	a, b := l.posterior(q.Runbook, e)
	mean, low := a/(a+b), quantile(a, b)
	diagnosis, quality := unit(q.Probability), unit(q.DataQuality)
	p := shrink(diagnosis*mean, l.cfg.BaseRate, quality)
	raw := diagnosis * min(low, mean)
	lower := shrink(raw, min(l.cfg.BaseRate, raw), quality)
	return sre.Confidence{P: p, Lower: min(lower, p), Basis: l.basis(q, e)}
}

// recall adds up what was learned, each outcome weighed by its age in days.
// Outcomes from after the question count as of today: a clock that was set back
// must not make them weigh more.
func (l *Learner) recall(q Question) experience {
	var e experience
	today := day(q.At.Unix())
	halfLife := time.Duration(l.cfg.HalfLife).Hours() / 24
	for _, p := range l.places() {
		if p.runbook != q.Runbook {
			continue
		}
		levels := 1
		if p.mechanism == q.Mechanism {
			levels = 2
			if p.service == q.Service {
				levels = 3
			}
		}
		for _, on := range slices.Sorted(maps.Keys(l.counts[p])) {
			t := l.counts[p][on]
			weight := math.Exp2(-float64(max(today-on, 0)) / halfLife)
			for level := range levels {
				e.decayed[level].success += weight * float64(t.success)
				e.decayed[level].failure += weight * (float64(t.failure) + float64(t.unclear)/2)
				e.seen[level] = e.seen[level].plus(t)
			}
		}
	}
	return e
}

// posterior walks down the levels: the mean of each one is worth kappa runs in
// the next.
func (l *Learner) posterior(runbook string, e experience) (a, b float64) {
	prior := l.cfg.Priors[runbook]
	a = jeffreys + prior.Successes + e.decayed[0].success
	b = jeffreys + prior.Runs - prior.Successes + e.decayed[0].failure
	for _, c := range e.decayed[1:] {
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
	switch wide, similar, here := e.seen[0], e.seen[1], e.seen[2]; {
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
