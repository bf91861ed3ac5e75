package oncall

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/sreagent/sreagent/sre"
)

// RenderExplain writes the whole reasoning about one incident: the diagnosis
// with its evidence and alternatives, the decision with each reason, the
// approval, the actions, the outcome and the story as recorded. It fits width
// columns (40 at least). Errors are the writer's.
func RenderExplain(w io.Writer, e Explanation, width int, now time.Time, style ...Style) error {
	p := newPage(w, width, style)
	inc := &e.Incident
	p.line("", fmt.Sprintf("%s: %s", strings.ToUpper(string(inc.Severity)), cause(inc.Diagnosis.Top())), severityCode(inc.Severity))
	p.blank()
	p.field("incident", inc.ID)
	p.field("state", words(inc.State)+", "+since(inc.StateSince, now))
	p.field("opened", since(inc.OpenedAt, now))
	p.field("onset", since(inc.Diagnosis.Onset, now))
	if !inc.ClosedAt.IsZero() {
		p.field("closed", since(inc.ClosedAt, now))
	}
	if inc.Outcome != "" {
		p.field("outcome", words(inc.Outcome))
	}
	if inc.Escalation != "" {
		p.field("escalated", inc.Escalation)
	}
	p.diagnosis(inc)
	p.decision(inc, now)
	p.mitigations(inc.Mitigations, now)
	for _, r := range e.Reasoning {
		p.heading("at the latest tick")
		p.line("  ", r.Summary, "")
		for _, reason := range r.Reasons {
			p.item(fmt.Sprintf("%s allows to %s: %s", words(reason.Guard), stance(reason.Allows), reason.Text))
		}
	}
	p.story(e)
	return p.done()
}

func (p *page) diagnosis(inc *sre.Incident) {
	d := inc.Diagnosis
	p.evidence(evidenceOf(d))
	if path := d.Top().Path; len(path) > 1 {
		p.line("  ", "spread: "+strings.Join(path, " -> "), "")
	}
	if c := d.Top().Change; c != nil {
		p.line("  ", fmt.Sprintf("suspected change: %s of %s %s -> %s by %s, %s", c.Kind, c.Service, c.From, c.To, c.By, clockTime(c.At)), "")
	}
	p.line("  ", fmt.Sprintf("%s of the needed readings are fresh", share(d.DataQuality)), "")
	if d.Note != "" {
		p.line("  ", d.Note, "")
	}
	var causes []sre.Hypothesis
	if len(d.Hypotheses) > 1 {
		causes = d.Hypotheses[1:]
	}
	var cures []sre.Rejection
	if inc.Plan != nil {
		cures = inc.Plan.Rejected
	}
	p.alternatives(causes, cures)
	p.blast(d.Blast)
}

func (p *page) decision(inc *sre.Incident, now time.Time) {
	d := inc.Decision
	if d == nil {
		p.confidence(inc.Confidence, nil)
		p.heading("decision")
		p.line("  ", "none yet", "")
		return
	}
	p.confidence(d.Confidence, d.Reasons)
	p.heading("decision")
	text := stance(d.Stance)
	if d.Runbook != "" {
		text += " on runbook " + d.Runbook
	}
	p.line("  ", fmt.Sprintf("%s, %s", text, since(d.At, now)), "")
	a := inc.Approval
	switch {
	case a == nil:
	case a.Response == sre.Expired:
		p.line("  ", "nobody answered in time", "")
	default:
		answer := fmt.Sprintf("%s by %s (%s), %s", a.Response, a.By, a.Role, since(a.At, now))
		if a.Comment != "" {
			answer += ": " + a.Comment
		}
		p.line("  ", answer, "")
	}
}

func (p *page) mitigations(list []sre.Mitigation, now time.Time) {
	p.heading("actions")
	if len(list) == 0 {
		p.line("  ", "no lever was touched", "")
	}
	for _, m := range list {
		phase := words(m.Phase)
		if m.Phase == sre.NotStarted {
			phase = "not started"
		}
		p.item(fmt.Sprintf("%s %s: %s", words(m.Action.Kind), m.Action.Target, phase))
		for _, name := range slices.Sorted(maps.Keys(m.Action.Params)) {
			p.line("      ", fmt.Sprintf("%s: %s -> %s", name, setting(m.Before[name]), setting(m.Action.Params[name])), "")
		}
		if m.Phase.Live() && !m.Expires.IsZero() {
			p.line("      ", "lease ends "+since(m.Expires, now), "")
		}
		if m.Err != "" {
			p.line("      ", "error: "+m.Err, "")
		}
		if m.Manual != "" {
			p.line("      ", "to undo it by hand:", "")
			p.verbatim("      ", m.Manual)
		}
	}
}

// story writes the records, one line each.
func (p *page) story(e Explanation) {
	if e.RecordsError != "" {
		p.heading("records")
		p.line("  ", e.RecordsError, yellow)
		return
	}
	if len(e.Records) == 0 {
		return
	}
	p.heading("records")
	day := ""
	for _, r := range e.Records {
		if d := r.At.UTC().Format(time.DateOnly); d != day {
			day = d
			p.line("  ", day+" UTC", "")
		}
		p.line("  "+r.At.UTC().Format("15:04:05")+" ", recordText(r), "")
	}
}

func recordText(r sre.Record) string {
	switch {
	case r.Incident != nil:
		return fmt.Sprintf("%s: %s", eventText(r.Change), words(r.Incident.State))
	case r.Decision != nil:
		return "decided to " + stance(r.Decision.Stance)
	case r.Approval != nil:
		return fmt.Sprintf("%s by %s", r.Approval.Response, orDash(r.Approval.By))
	case r.Operator != nil:
		return fmt.Sprintf("%s by %s: %s", r.Operator.Command, r.Operator.By, orDash(r.Operator.Reason))
	case r.Intent != nil:
		return fmt.Sprintf("about to %s %s at %s%s", r.Intent.Permit.Purpose, words(r.Intent.Action.Kind), r.Intent.Action.Target, dryRun(r.Intent.DryRun))
	case r.Result != nil:
		return resultText(r.Result)
	case r.Outcome != nil:
		return "learned: " + words(r.Outcome.Outcome)
	case r.Notice != nil:
		return "told people: " + r.Notice.Title
	}
	return words(r.Kind)
}

func eventText(change string) string {
	if change == "" {
		return "incident"
	}
	return words(change)
}

func dryRun(dry bool) string {
	if dry {
		return " (dry run)"
	}
	return ""
}

func resultText(r *sre.ResultRecord) string {
	text := fmt.Sprintf("%s of %s: %s", r.Purpose, r.Action, words(r.Phase))
	if r.Probed {
		text += ", settled by a probe"
	}
	if r.Err != "" {
		text += ", " + r.Err
	}
	return text
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
