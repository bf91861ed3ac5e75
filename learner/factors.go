package learner

import (
	"fmt"
	"slices"

	"github.com/sreagent/sreagent/sre"
)

const (
	// farAway is the distance at which trust in the estimate has fallen to 1/e.
	farAway = 1.0
	// strange is the distance of a mechanism never met from all others.
	strange = 2.0
	// tried is how many runs against an untested mechanism make it known.
	tried = 5
	// enoughMet is how many situations must be remembered before one that is
	// unlike them all is news.
	enoughMet = 50
	// alikeUpTo is the distance at which situations are still of one kind, and
	// newFrom that from which a person must decide.
	alikeUpTo = 0.3
	newFrom   = 0.5
)

// novelty is the distance of the situation from what was seen, and what is new
// about it. A mechanism is known where runbooks are written and simulated for it,
// or this runbook was tried against it; one never met is strange. Beyond that the
// signature counts: how far it is from the nearest one remembered.
func (l *Learner) novelty(q Question, e experience) (distance float64, what string) {
	runs := float64(e.seen[mechanism].runs())
	untested := slices.Contains(l.cfg.Untested, q.Mechanism)
	switch {
	case untested && runs < tried:
		return strange * (1 - runs/tried), fmt.Sprintf("%s was tried against %s in %.0f runs; a person decides until it was in %d", q.Runbook, q.Mechanism, runs, tried)
	case !untested && (!q.Mechanism.Valid() || q.Mechanism == sre.Unknown) && runs == 0:
		return strange, fmt.Sprintf("nothing like %s was ever seen", q.Mechanism)
	case len(q.Signature) == 0 || e.met < enoughMet || e.nearest <= alikeUpTo:
		return 0, ""
	case e.nearest < newFrom:
		return e.nearest - alikeUpTo, ""
	}
	return e.nearest, fmt.Sprintf("of %d situations remembered none is like this one: the nearest shares %.0f %% of its marks", e.met, 100*(1-e.nearest))
}

// abstain says why a person must decide, however low the policy's floor. Want
// of runs alone is no such reason: Lower says it, and it is below every floor
// that policy has by default.
func (l *Learner) abstain(q Question, news string) string {
	switch {
	case news != "":
		return news
	case l.Drifted(q.Runbook, q.Mechanism):
		return fmt.Sprintf("%s has lately helped less against %s than predicted; %d more outcomes must be seen",
			q.Runbook, q.Mechanism, l.drifts[pair{q.Runbook, q.Mechanism}].Left)
	}
	return ""
}

// factors tells the arithmetic in its order.
func (l *Learner) factors(q Question, mean, quality, near, joint, prior, raw, p float64) []sre.Factor {
	diagnosis := unit(q.Probability)
	seen := l.pull(joint, quality)
	return []sre.Factor{
		{Name: "diagnosis", Value: diagnosis, After: diagnosis, Text: "how likely the cause is the one that the plan is for"},
		{Name: "experience", Value: mean, After: joint, Text: "how often the runbook helps here when it is"},
		{Name: "data", Value: quality, After: seen, Text: fmt.Sprintf("share of fresh readings; the rest pulls towards the base rate %.2f", l.cfg.BaseRate)},
		{Name: "novelty", Value: 1 - near, After: prior, Text: "how unlike all that was seen the situation is; it pulls the same way, never up"},
		{Name: "situation", Value: raw - prior, After: raw, Text: "what the marks of the situation have said for and against cures"},
		{Name: "calibration", Value: p, After: p, Text: fmt.Sprintf("what such estimates were worth (%s, %d labels)", l.scores.method(), l.scores.fitted)},
	}
}
