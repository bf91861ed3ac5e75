package agent

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/sreagent/sreagent/sre"
)

// notices returns what people must be told now, and remembers it: one notice
// per incident, again only when it says something new.
func (a *Agent) notices(t *turn) []sre.Notice {
	var out []sre.Notice
	for _, inc := range a.everyone() {
		n, matters := notice(inc)
		last, told := a.book.told[inc.ID]
		if !matters || !told && n.Resolved {
			continue
		}
		if told && sameNotice(last, n) {
			if a.tick == 1 && !n.Resolved {
				out = append(out, n) // receivers forget what a new agent does not repeat
			}
			continue
		}
		a.book.told[inc.ID] = n
		a.note(t, sre.Record{Kind: sre.RecordNotice, IncidentID: inc.ID, Notice: &n})
		out = append(out, n)
	}
	return append(out, a.mandateNotices(t)...)
}

func sameNotice(x, y sre.Notice) bool {
	return x.State == y.State && x.Severity == y.Severity && x.Title == y.Title && x.Text == y.Text
}

// everyone lists open and remembered incidents, by ID.
func (a *Agent) everyone() []*sre.Incident {
	out := make([]*sre.Incident, 0, len(a.book.incidents))
	for _, inc := range a.book.incidents {
		out = append(out, inc)
	}
	slices.SortFunc(out, func(x, y *sre.Incident) int { return strings.Compare(x.ID, y.ID) })
	return out
}

// notice words an incident for people. What is only suspected, or only
// informative, is nobody's night.
func notice(inc *sre.Incident) (sre.Notice, bool) {
	top := inc.Diagnosis.Top()
	n := sre.Notice{
		Incident: inc.ID, Severity: inc.Severity, State: inc.State, StartsAt: inc.OpenedAt,
		Title:  fmt.Sprintf("%s at %s", words(top.Mechanism), orUnknown(top.Service)),
		Labels: map[string]string{"service": orUnknown(top.Service), "mechanism": string(top.Mechanism)},
	}
	if inc.Order != nil {
		return orderNotice(inc, n)
	}
	switch inc.State {
	case sre.Suspected:
		return n, false
	case sre.Diagnosed, sre.Planned:
		n.Text = "Being watched; nothing has been touched."
		if inc.Decision != nil {
			n.Text = "Being watched: " + whyNot(inc.Decision)
		}
	case sre.AwaitingApproval:
		n.NeedsYou = true
		n.Text = fmt.Sprintf("Runbook %s waits for your answer until %s.", inc.Plan.Runbook, inc.Decision.ExpiresAt.UTC().Format(time.TimeOnly))
	case sre.Acting, sre.Verifying:
		n.Text = fmt.Sprintf("Runbook %s is at work: %s.", inc.Plan.Runbook, inc.Plan.Steps[inc.Step].Name)
		if !inc.CalledAt.IsZero() {
			n.NeedsYou, n.Text = true, n.Text+" "+callText(inc)
		}
	case sre.Resolved, sre.Lifting:
		n.Text = fmt.Sprintf("The trouble is gone; %d mitigations are in force.", len(inc.InForce()))
		if len(inc.InForce()) == 0 {
			n.Resolved, n.EndsAt, n.Text = true, inc.StateSince, "The trouble is gone and every mitigation has been lifted."
		}
	case sre.Reverting:
		n.Text = "What was done is being undone: " + inc.Escalation + manual(inc)
		n.NeedsYou = manual(inc) != ""
	case sre.Escalated:
		n.NeedsYou = true
		n.Text = "It is yours now: " + inc.Escalation + manual(inc)
	case sre.Closed:
		n.Resolved, n.EndsAt, n.Text = true, inc.ClosedAt, "Closed."+kept(inc)
	}
	if inc.MergedInto != "" && !n.NeedsYou {
		n.Resolved, n.Text = true, "This is part of incident "+inc.MergedInto+": follow its page."
		if n.EndsAt.IsZero() {
			n.EndsAt = inc.UpdatedAt
		}
		if held := len(inc.InForce()); held > 0 {
			n.Text += fmt.Sprintf(" %d mitigations are in force and will be taken back under this number.", held)
		}
	}
	n.Text += takenOver(inc)
	if text := swinging(inc); text != "" {
		n.NeedsYou, n.Text = true, n.Text+text
	}
	return n, inc.Severity.Rank() >= sre.Warning.Rank()
}

func manual(inc *sre.Incident) string {
	var b strings.Builder
	for _, m := range inc.Mitigations {
		if m.Manual != "" && m.Phase.Live() {
			b.WriteString("\nUndo by hand: " + m.Manual)
		}
	}
	return b.String()
}

func words(m sre.Mechanism) string { return strings.ReplaceAll(string(m), "_", " ") }

func orUnknown(service string) string {
	if service == "" {
		return "unknown"
	}
	return service
}

// whyNot is the first reason against.
func whyNot(d *sre.Decision) string {
	for _, r := range d.Reasons {
		if r.Allows == d.Stance && d.Stance != sre.Act {
			return r.Guard + ": " + r.Text
		}
	}
	return "nothing speaks against acting"
}

// tell hands notices, the view and the answers to people. It comes last, when
// everything that they will be told is durable.
func (a *Agent) tell(ctx context.Context, t *turn, notices []sre.Notice) {
	if len(notices) > 0 {
		if err := a.ports.Pager.Notify(ctx, notices); err != nil {
			a.log.Error("page", "err", err)
		}
	}
	a.book.forget()
	v := a.view(t)
	a.meter.observe(v)
	a.ports.Desk.Publish(v, t.answers)
}

func (a *Agent) view(t *turn) *sre.View {
	v := &sre.View{
		At: t.now, Tick: a.tick, Epoch: a.epoch, Interval: a.cfg.Interval, DryRun: a.exec.DryRun(),
		Mode: a.gate.Policy().Mode, WarmUp: a.warm, Source: a.seen, Services: a.fleet,
		Pauses: slices.Clone(a.book.pauses), Explain: a.explained,
		Signs: recordableSigns(t.signs[:min(len(t.signs), keepSigns)]), Risks: a.risks(t), Burns: a.burns(t),
		Switches: a.cfg.Switches, Mandate: a.book.earned.Lines(a.mandateScene(t)),
	}
	if !a.seen.Up {
		v.NotReady = append(v.NotReady, "the metric store does not answer: "+a.seen.Err)
	}
	if missing := len(a.ports.Levers) - len(a.caps); missing > 0 {
		v.NotReady = append(v.NotReady, fmt.Sprintf("%d levers do not describe themselves", missing))
	}
	v.Ready = len(v.NotReady) == 0
	for _, inc := range a.everyone() {
		picture := *inc
		picture.Mitigations = slices.Clone(inc.Mitigations)
		v.Incidents = append(v.Incidents, picture)
	}
	slices.SortStableFunc(v.Incidents, func(x, y sre.Incident) int {
		if closedX, closedY := x.State == sre.Closed, y.State == sre.Closed; closedX != closedY {
			if closedX {
				return 1
			}
			return -1
		}
		return newestFirst(&x, &y)
	})
	if t.snap != nil {
		g := t.snap.Graph
		for _, e := range g.Edges {
			v.Edges = append(v.Edges, sre.ViewEdge{From: g.Services[e.From].Name, To: g.Services[e.To].Name})
		}
	}
	return v
}

// kept names the services that stay at a former version: it is for people to
// roll out a mended one.
func kept(inc *sre.Incident) string {
	var names []string
	for _, m := range inc.Mitigations {
		if m.Phase == sre.Released && m.Action.Kind == sre.Rollback && !m.AppliedAt.IsZero() {
			names = append(names, m.Action.Target.Service)
		}
	}
	if len(names) == 0 {
		return ""
	}
	return " Rolled back and left so: " + strings.Join(names, ", ") + "."
}
