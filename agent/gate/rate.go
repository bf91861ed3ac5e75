package gate

import (
	"fmt"
	"time"

	"github.com/sreagent/sreagent/sre"
)

// Started is one new mitigation of late.
type Started struct {
	At     time.Time
	Kind   sre.ActionKind
	Target sre.Target
}

// weighRate holds a plan against a budget of starts. Starts that lie ahead, since
// the clock was set back, count: nobody knows how long ago they were.
func (b Budget) weighRate(i int, q Question) sre.Reason {
	per, before, wanted := time.Duration(b.Per), 0, 0
	for _, s := range q.Started {
		if b.covers(sre.Action{Kind: s.Kind, Target: s.Target}) && q.Now.Sub(s.At) < per {
			before++
		}
	}
	for _, a := range actions(q) {
		if b.covers(a) {
			wanted++
		}
	}
	allowed := b.Limit.Of(q.Services)
	if wanted == 0 || before+wanted <= allowed {
		return reason(sre.Act, "within budget %d", i+1)
	}
	r := reason(sre.Ask, "%d such actions in the last %s and %d wanted; budget %d allows %d", before, b.Per, wanted, i+1, allowed)
	if b.Reason != "" {
		r.Text += ": " + b.Reason
	}
	r.Change = fmt.Sprintf("fewer than %d such actions were started in %s, or a human approves", allowed, b.Per)
	return r
}
