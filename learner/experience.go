package learner

import (
	"maps"
	"math"
	"slices"
	"time"
)

// The levels lead from the widest experience to the narrowest, in the order in
// which they are gone down.
const (
	anyMechanism = iota // the runbook
	mechanism           // against a mechanism
	atClass             // there, at a class of services
	likeThis            // in situations like this one, whatever the mechanism is called
	atService           // against the mechanism, at one service
	levels       = iota
)

// likeWidth is the distance at which an outcome says a third of what one of the
// same situation says.
const likeWidth = 0.15

// counts are decayed outcomes.
type counts struct {
	success, failure float64
}

// experience is what is known at each level.
type experience struct {
	decayed [levels]counts
	seen    [levels]tally
	nearest float64 // distance of the situation from the nearest one met, by any runbook; 1 where there was none
	met     int     // situations known
}

// recall adds up what was learned, each outcome weighed by its age in days and
// by the drifts found since. Outcomes from after the question count as of today:
// a clock that was set back must not make them weigh more.
func (l *Learner) recall(q Question) experience {
	e := experience{nearest: 1}
	today := day(q.At.Unix())
	halfLife := time.Duration(l.cfg.HalfLife).Hours() / 24
	here := l.marks.of(spelled(q.Signature))
	for _, p := range l.places() {
		away := 1.0
		if !here.empty() && !p.like.empty() {
			away = here.distance(p.like)
			e.met++
		}
		e.nearest = min(e.nearest, away)
		if p.runbook != q.Runbook {
			continue
		}
		fits := p.fits(q, away)
		changed := l.drifts[pair{p.runbook, p.mechanism}]
		for _, on := range slices.Sorted(maps.Keys(l.counts[p.place])) {
			t := l.counts[p.place][on]
			weight := math.Exp2(-float64(max(today-on, 0))/halfLife) * changed.aged(on)
			for level, fit := range fits {
				if fit == 0 {
					continue
				}
				e.decayed[level].success += fit * weight * float64(t.success)
				e.decayed[level].failure += fit * weight * (float64(t.failure) + float64(t.unclear)/2)
				e.seen[level] = e.seen[level].plus(t)
			}
		}
	}
	return e
}

// fits is how much an outcome at a place says at each level: all or nothing but
// for situations, which fade with their distance.
func (p place) fits(q Question, away float64) (fits [levels]float64) {
	fits[anyMechanism] = 1
	if away < 1 {
		fits[likeThis] = math.Exp(-away * away / (likeWidth * likeWidth))
	}
	if p.mechanism == q.Mechanism {
		fits[mechanism] = 1
		if p.class == q.Class {
			fits[atClass] = 1
		}
		if p.service == q.Service {
			fits[atService] = 1
		}
	}
	return fits
}

// posterior walks down the levels: the mean of each one is worth kappa runs in
// the next, half as many where situations are told apart, and down to half at a
// service that has shown much itself: these differ more than mechanisms and
// classes do. Where the class or the situation is not known there is no such
// level.
func (l *Learner) posterior(q Question, e experience) (a, b float64) {
	prior := l.cfg.Priors[q.Runbook]
	a = jeffreys + prior.Successes + e.decayed[anyMechanism].success
	b = jeffreys + prior.Runs - prior.Successes + e.decayed[anyMechanism].failure
	for level, c := range e.decayed {
		kappa := l.cfg.Kappa
		switch {
		case level == anyMechanism, level == atClass && q.Class == "", level == likeThis && len(q.Signature) == 0:
			continue
		case level == likeThis:
			kappa /= 2
		case level == atService:
			n := c.success + c.failure
			kappa /= 1 + n/(n+kappa)
		}
		mean := inside(a / (a + b))
		a = kappa*mean + c.success
		b = kappa*(1-mean) + c.failure
	}
	return a, b
}
