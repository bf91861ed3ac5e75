package arbiter

import (
	"fmt"
	"slices"
	"time"

	"github.com/prometheus/common/model"

	"github.com/sreagent/sreagent/sre"
)

// Claim is a knob that is, or may be, moved for an incident.
type Claim struct {
	Incident string
	Step     int // of its plan
	Knob
	Since, Until time.Time // zero where not known
}

// Case is what the agent would like to do, and what is in force.
type Case struct {
	Now        time.Time
	Incident   string
	Cause      string
	Wanted     []sre.Action // of the step that would start next
	Held       []Claim      // by all incidents
	Structural int          // structural steps that this incident has already seen
	Cheaper    []sre.Action // cures of later steps that have not been tried, and are cheaper
	Ahead      string       // why the runbook puts the step before those; empty where it does not say
	Tick       time.Duration
	Touched    []string   // services that the agent acted on of late, over all incidents
	Services   int        // size of the fleet
	Graph      *sre.Graph // nil: paths cannot be judged
}

// Judge says the most that arbitration allows. The first rule that speaks
// against the case gives the reason.
func Judge(p Policy, l *Ledger, c Case) sre.Reason {
	for _, rule := range []func(Policy, *Ledger, Case) (sre.Reason, bool){frozen, tooSoon, ineffective, samePath, outOfOrder, structural, touched, concurrent} {
		if r, against := rule(p, l, c); against {
			return r
		}
	}
	return sre.Reason{Allows: sre.Act, Text: "no other writer, and no cure that failed before"}
}

func clock(t time.Time) string { return t.UTC().Format(time.DateTime) }

func frozen(p Policy, l *Ledger, c Case) (sre.Reason, bool) {
	for _, a := range c.Wanted {
		f, until, yes := l.Frozen(p, KnobOf(a), c.Now)
		if !yes {
			continue
		}
		by := f.By
		if by == "" {
			by = "somebody else"
		}
		return sre.Reason{
			Allows: sre.Watch,
			Text: fmt.Sprintf("%s on %s was moved by %s at %s (before %v, ours %v, theirs %v): it is theirs until %s",
				a.Kind, a.Target, by, clock(f.At), f.Old, f.Ours, f.Theirs, clock(until)),
			Change: "the freeze ends " + clock(until),
		}, true
	}
	return sre.Reason{}, false
}

func ineffective(p Policy, l *Ledger, c Case) (sre.Reason, bool) {
	for _, a := range c.Wanted {
		n, leaves := l.Failures(p, Cure{c.Cause, KnobOf(a)}, c.Now)
		if n < p.Ineffective {
			continue
		}
		return sre.Reason{
			Allows: sre.Ask,
			Text: fmt.Sprintf("%s on %s did not help %s %d times within %s; %d are allowed",
				a.Kind, a.Target, c.Cause, n, time.Duration(p.Window), p.Ineffective),
			Change: "a person says yes, or the oldest of them leaves the window at " + clock(leaves),
		}, true
	}
	return sre.Reason{}, false
}

// samePath keeps two incidents from capping one path twice: what passes the
// first cap is capped again by the second, and both were set as if alone.
func samePath(_ Policy, _ *Ledger, c Case) (sre.Reason, bool) {
	if c.Graph == nil {
		return sre.Reason{}, false
	}
	for _, a := range c.Wanted {
		for _, h := range c.Held {
			if h.Incident == c.Incident || a.Kind != sre.Shed || h.Kind != sre.Shed || !inSeries(c.Graph, a.Target, h.Target) {
				continue
			}
			text := fmt.Sprintf("%s on %s and %s on %s would cap one path twice; incident %s holds it", a.Kind, a.Target, h.Kind, h.Target, h.Incident)
			if !h.Since.IsZero() {
				text += fmt.Sprintf(" since %s until %s at the latest", clock(h.Since), clock(h.Until))
			}
			return sre.Reason{Allows: sre.Watch, Text: text, Change: "incident " + h.Incident + " gives the path back"}, true
		}
	}
	return sre.Reason{}, false
}

func inSeries(g *sre.Graph, x, y sre.Target) bool {
	if x.Service == y.Service {
		return x.Callee == y.Callee || x.Callee == "" || y.Callee == ""
	}
	i, ok := g.Index(x.Service)
	j, known := g.Index(y.Service)
	if !ok || !known {
		return false
	}
	return slices.Contains(g.Upstream(i), j) || slices.Contains(g.Upstream(j), i)
}

// outOfOrder keeps a dearer cure from going before a cheaper one that the same
// plan has at hand, unless the runbook says why.
func outOfOrder(_ Policy, _ *Ledger, c Case) (sre.Reason, bool) {
	if c.Ahead != "" {
		return sre.Reason{}, false
	}
	for _, a := range c.Wanted {
		for _, cheaper := range c.Cheaper {
			if cheaper.Kind.Rung() >= a.Kind.Rung() {
				continue
			}
			return sre.Reason{
				Allows: sre.Ask,
				Text: fmt.Sprintf("%s on %s goes before %s on %s, which is tried first where a runbook does not say why not",
					a.Kind, a.Target, cheaper.Kind, cheaper.Target),
				Change: "a person says yes, or the runbook's step says why in `ahead`",
			}, true
		}
	}
	return sre.Reason{}, false
}

func structural(p Policy, _ *Ledger, c Case) (sre.Reason, bool) {
	for _, a := range c.Wanted {
		if a.Kind.Structural() && c.Structural >= p.Structural {
			return sre.Reason{
				Allows: sre.Ask,
				Text:   fmt.Sprintf("%s would be structural step %d of this incident; %d is allowed alone", a.Kind, c.Structural+1, p.Structural),
				Change: "a person says yes",
			}, true
		}
	}
	return sre.Reason{}, false
}

// TouchedFor is how far back Touched looks.
const TouchedFor = 10 * time.Minute

// Touches reports whether a kind takes something from users or changes what
// runs. Bounds and budgets on the spot do not: they may be armed all over a fleet.
func Touches(k sre.ActionKind) bool { return k.Rung() > 1 }

// touched bounds how fast the agent spreads over a fleet. Services that it acts
// on already are not counted anew.
func touched(p Policy, _ *Ledger, c Case) (sre.Reason, bool) {
	services := map[string]bool{}
	for _, s := range c.Touched {
		services[s] = true
	}
	before := len(services)
	for _, a := range c.Wanted {
		if Touches(a.Kind) {
			services[a.Target.Service] = true
		}
	}
	allowed := p.Touched.Of(c.Services)
	if len(services) == before || len(services) <= allowed {
		return sre.Reason{}, false
	}
	return sre.Reason{
		Allows: sre.Ask,
		Text: fmt.Sprintf("%d services would have been acted on within %s; %d of %d are allowed",
			len(services), model.Duration(TouchedFor), allowed, c.Services),
		Change: "a person says yes, or ten minutes pass with fewer",
	}, true
}

// concurrent bounds what starts, not what goes on: to stop a cure half-way leaves
// a state that nobody planned.
func concurrent(p Policy, _ *Ledger, c Case) (sre.Reason, bool) {
	type group struct {
		incident string
		step     int
	}
	groups := map[group]bool{}
	for _, h := range c.Held {
		if h.Incident == c.Incident {
			return sre.Reason{}, false
		}
		groups[group{h.Incident, h.Step}] = true
	}
	if len(c.Wanted) == 0 || len(groups) < p.Concurrent {
		return sre.Reason{}, false
	}
	return sre.Reason{
		Allows: sre.Ask,
		Text:   fmt.Sprintf("%d steps would be in force at once; %d are allowed", len(groups)+1, p.Concurrent),
		Change: "a person says yes, or one of them is lifted",
	}, true
}
