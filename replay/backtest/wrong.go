package backtest

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/sreagent/sreagent/sre"
)

// weigh hands every decision and action to its fault, and counts the wrong ones:
// those that were done, and apart from them those that a human was asked about.
func (o *Observer) weigh(b *Bundle) {
	for _, d := range o.decided {
		f := o.at(d.at)
		if f == nil {
			b.OtherDecisions = append(b.OtherDecisions, d.Decision)
		} else {
			b.Faults[f.order].Decisions = append(b.Faults[f.order].Decisions, d.Decision)
		}
		if d.Verdict != sre.Ask {
			continue
		}
		for _, a := range d.planned {
			why := o.wrong(d.at, a)
			if why == "" {
				continue
			}
			b.WrongProposals++
			if f != nil {
				b.Faults[f.order].WrongProposals = append(b.Faults[f.order].WrongProposals, why)
			}
		}
	}
	for _, d := range o.done {
		f := o.at(d.at)
		why := o.wrong(d.at, d.action)
		if why == "" {
			continue
		}
		b.WrongActions++
		if f != nil {
			b.Faults[f.order].WrongActions = append(b.Faults[f.order].WrongActions, why)
		}
	}
}

// wrong says why an action at an instant is wrong, or nothing. With no fault
// there is nothing to cure; with several at once, it is enough to cure one.
func (o *Observer) wrong(at time.Time, a sre.Action) string {
	what, why := fmt.Sprintf("%s on %s", a.Kind, a.Target), ""
	for _, f := range slices.Backward(o.faults) {
		if !f.lasts(at) {
			continue
		}
		amiss := o.amiss(f, a)
		if amiss == "" {
			return ""
		}
		why = cmp.Or(why, what+": "+amiss)
	}
	return cmp.Or(why, fmt.Sprintf("%s at %s: nothing was wrong", what, at.UTC().Format(time.RFC3339)))
}

// amiss says why an action cannot cure a fault, or nothing. Right are actions on
// a true cause and on the services between it and the entries, and taking back
// the change that is to blame.
func (o *Observer) amiss(f *span, a sre.Action) string {
	switch {
	case o.graph != nil && !concerned(o.graph, f.Services)[a.Target.Service]:
		return "the service is neither a cause nor on a way from one to an entry"
	case a.Kind != sre.Rollback && a.Kind != sre.KillSwitch || f.Change == nil:
		return ""
	case *f.Change == "":
		return "no change is to blame"
	}
	for _, c := range o.subject.Changes {
		if c.ID == *f.Change && c.Service == a.Target.Service && (c.Kind != sre.Flag || a.Target.Name == "" || a.Target.Name == c.ID) {
			return ""
		}
	}
	return "another change is to blame"
}

// concerned returns the causes and the services on a path of callers from one to
// an entry.
func concerned(g *sre.Graph, causes []string) map[string]bool {
	out := map[string]bool{}
	entries := g.Entries()
	fed := map[int]bool{} // reached from an entry
	for _, e := range entries {
		fed[e] = true
		for _, i := range g.Downstream(e) {
			fed[i] = true
		}
	}
	for _, name := range causes {
		out[name] = true
		i, ok := g.Index(name)
		if !ok {
			continue
		}
		for _, j := range g.Upstream(i) {
			if fed[j] || slices.Contains(entries, j) {
				out[g.Services[j].Name] = true
			}
		}
	}
	return out
}
