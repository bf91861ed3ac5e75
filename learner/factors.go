package learner

import (
	"fmt"
	"math"

	"github.com/sreagent/sreagent/sre"
)

// farAway is the distance at which trust in the estimate has fallen to 1/e.
const farAway = 1.0

// familiarity is exp(-d/d0) with the distance of the situation from the nearest
// one seen: 1 where the mechanism is one of those that runbooks are written and
// simulated for, or this runbook was used against it; 2 for one never met.
func (l *Learner) familiarity(q Question, e experience) float64 {
	if q.Mechanism.Valid() && q.Mechanism != sre.Unknown || e.seen[1].runs() > 0 {
		return 1
	}
	return math.Exp(-2 / farAway)
}

// abstain says why a person must decide, however low the policy's floor. Want
// of runs alone is no such reason: Lower says it, and it is below every floor
// that policy has by default.
func (l *Learner) abstain(q Question, near float64) string {
	switch {
	case near < 1:
		return fmt.Sprintf("nothing like %s was ever seen", q.Mechanism)
	case l.Drifted(q.Runbook, q.Mechanism):
		return fmt.Sprintf("%s has lately helped less against %s than predicted; %d more outcomes must be seen",
			q.Runbook, q.Mechanism, l.drifts[pair{q.Runbook, q.Mechanism}].Left)
	}
	return ""
}

// factors tells the arithmetic in its order.
func (l *Learner) factors(q Question, mean, quality, near, joint, raw, p float64) []sre.Factor {
	diagnosis := unit(q.Probability)
	seen := l.pull(joint, quality)
	return []sre.Factor{
		{Name: "diagnosis", Value: diagnosis, After: diagnosis, Text: "how likely the cause is the one that the plan is for"},
		{Name: "experience", Value: mean, After: joint, Text: "how often the runbook helps here when it is"},
		{Name: "data", Value: quality, After: seen, Text: fmt.Sprintf("share of fresh readings; the rest pulls towards the base rate %.2f", l.cfg.BaseRate)},
		{Name: "novelty", Value: 1 - near, After: raw, Text: "how unlike all that was seen the situation is; it pulls the same way, never up"},
		{Name: "calibration", Value: p, After: p, Text: fmt.Sprintf("what such estimates were worth (%s, %d labels)", l.scores.method(), l.scores.fitted)},
	}
}
