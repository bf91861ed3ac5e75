package oncall

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/sreagent/sreagent/sre"
)

// RenderExplain writes an explanation for a tired person: the answer first, then
// the evidence, the way the trouble took, what else it could be, what was done or
// not done and why, what would change that, and the story. It fits width columns
// (40 at least). Errors are the writer's.
func RenderExplain(w io.Writer, e sre.Explanation, width int, now time.Time, style ...Style) error {
	p := newPage(w, width, style)
	p.line("", e.Headline, severityCode(e.Severity))
	p.blank()
	if e.Incident != "" {
		p.facts(e, now)
		p.heading("evidence")
		p.evidenceTable(e.Evidence)
		p.way(e)
		p.otherCauses(e)
		p.sureness(e.Confidence)
		p.reach(e)
	} else {
		p.field("as of", since(e.At, now))
		p.summaries(e.Incidents)
	}
	p.deed(e, now)
	p.signs(e)
	p.outlook(e)
	p.sight(e)
	p.moments(e.Timeline)
	return p.done()
}

// facts are what somebody who takes over needs to know of an incident.
func (p *page) facts(e sre.Explanation, now time.Time) {
	p.field("incident", e.Incident)
	if e.Severity != "" {
		p.field("severity", string(e.Severity))
	}
	p.field("state", words(e.State)+", "+since(e.StateSince, now))
	p.field("as of", since(e.At, now))
	p.field("opened", since(e.OpenedAt, now))
	p.field("onset", since(e.Onset, now))
	if !e.ClosedAt.IsZero() {
		p.field("closed", since(e.ClosedAt, now))
	}
	if e.Outcome != "" {
		p.field("outcome", words(e.Outcome))
	}
	if e.Escalation != "" {
		p.field("escalated", e.Escalation)
	}
	if c := e.Confidence; c.Known() {
		p.field("confidence", confidenceText(c))
	}
}

func confidenceText(c sre.Confidence) string {
	text := fmt.Sprintf("%s, at least %s", share(c.P), share(c.Lower))
	if c.Basis != "" {
		text += ": " + c.Basis
	}
	return text
}

// evidenceTable writes one row per measured reason, its meaning below. Where a
// row does not fit, each becomes a sentence.
func (p *page) evidenceTable(list []sre.Evidence) {
	if len(list) == 0 {
		p.line("  ", "none is recorded", "")
		return
	}
	rows := [][]string{{"SIGNAL", "AT", "NOW", "NORMAL", "WEIGHT"}}
	for _, e := range list {
		rows = append(rows, []string{plain(e.Signal), plain(e.Subject), measure(e.Now, e.Unit), measure(e.Normal, e.Unit), share(e.Weight)})
	}
	table, fits := columns(rows, p.width-2)
	for i, e := range list {
		if fits {
			if i == 0 {
				p.row("  " + table[0])
			}
			p.row("  " + table[i+1])
		} else {
			p.item(fmt.Sprintf("%s of %s: %s, normal %s (weight %s)", e.Signal, e.Subject, rows[i+1][2], rows[i+1][3], rows[i+1][4]))
		}
		if e.Meaning != "" {
			p.line("    ", e.Meaning, "")
		}
	}
}

// columns aligns rows of cells, numbers to the right; false where they are wider
// than width.
func columns(rows [][]string, width int) ([]string, bool) {
	widths := make([]int, len(rows[0]))
	for _, row := range rows {
		for c, cell := range row {
			widths[c] = max(widths[c], utf8.RuneCountInString(cell))
		}
	}
	total := 2 * (len(widths) - 1)
	for _, n := range widths {
		total += n
	}
	out := make([]string, len(rows))
	for i, row := range rows {
		var b strings.Builder
		for c, cell := range row {
			space := strings.Repeat(" ", widths[c]-utf8.RuneCountInString(cell))
			if c > 0 {
				b.WriteString("  ")
			}
			if c >= 2 {
				b.WriteString(space + cell)
			} else {
				b.WriteString(cell + space)
			}
		}
		out[i] = strings.TrimRight(b.String(), " ")
	}
	return out, total <= width
}

// way draws how the trouble spread, the suspected change, and what a model says
// about this cause.
func (p *page) way(e sre.Explanation) {
	if len(e.Causes) == 0 {
		return
	}
	top := e.Causes[0]
	p.heading("path")
	if len(top.Path) > 1 {
		p.line("  ", drawPath(top.Path, e.Graph), bold)
	} else {
		p.line("  ", "it shows at one service only", "")
	}
	if len(top.Callers) > 0 {
		p.line("  ", "nobody measures the suspect; its callers are "+strings.Join(top.Callers, ", "), "")
	}
	if c := top.Change; c != nil {
		p.line("  ", fmt.Sprintf("suspected change: %s of %s %s -> %s by %s, %s", c.Kind, c.Service, orDash(c.From), orDash(c.To), orDash(c.By), clockTime(c.At)), "")
	} else {
		p.line("  ", "no change is suspected", "")
	}
	if w := top.WhatIf; w != nil {
		p.line("  ", fmt.Sprintf("what if it were well again: a model sees %s of requests served, not %s", share(w.Healed), share(w.AsIs)), "")
	}
}

// drawPath writes the cause first; each arrow points from the caller to what it
// calls.
func drawPath(path []string, g sre.ExplainedGraph) string {
	calls := make(map[[2]string]bool, len(g.Edges))
	for _, edge := range g.Edges {
		calls[[2]string{edge.From, edge.To}] = true
	}
	var b strings.Builder
	b.WriteString(path[0])
	for i := 1; i < len(path); i++ {
		arrow := " <- "
		if calls[[2]string{path[i-1], path[i]}] && !calls[[2]string{path[i], path[i-1]}] {
			arrow = " -> "
		}
		b.WriteString(arrow + path[i])
	}
	return b.String()
}

func (p *page) otherCauses(e sre.Explanation) {
	if len(e.Causes) < 2 {
		return
	}
	p.heading("alternatives")
	for _, h := range e.Causes[1:] {
		text := fmt.Sprintf("%s, probability %s", cause(h), share(h.Probability))
		if len(h.Callers) > 0 {
			text += ": something unseen that " + strings.Join(h.Callers, ", ") + " call"
		}
		if len(h.Evidence) > 0 {
			x := h.Evidence[0]
			text += fmt.Sprintf("; %s of %s %s, normal %s", x.Signal, x.Subject, measure(x.Now, x.Unit), measure(x.Normal, x.Unit))
		}
		if w := h.WhatIf; w != nil {
			text += fmt.Sprintf("; with it well again a model sees %s served, not %s", share(w.Healed), share(w.AsIs))
		}
		p.item(text)
	}
}

const mostNames = 12 // of one list; a page is no inventory

func names(list []string) string {
	if len(list) <= mostNames {
		return strings.Join(list, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(list[:mostNames], ", "), len(list)-mostNames)
}

// reach writes who is hit and who will be.
func (p *page) reach(e sre.Explanation) {
	p.heading("blast radius")
	p.line("  ", reachText(e.Blast), "")
	if len(e.Blast.Services) > 0 {
		p.line("  ", names(e.Blast.Services), "")
	}
	if len(e.Affected) > 0 {
		p.line("  ", "affected now: "+names(e.Affected), "")
	}
	for _, impact := range e.Blast.Impacts {
		text := fmt.Sprintf("%s may lose %s of its requests", impact.Service, share(impact.Lost))
		if impact.After > 0 {
			text += " within " + span(impact.After)
		}
		if e.Blast.Basis != "" {
			text += ", by the " + e.Blast.Basis
		}
		p.item(text)
	}
}

func (p *page) summaries(list []sre.ExplainedSummary) {
	if len(list) == 0 {
		return
	}
	p.heading("incidents")
	for _, s := range list {
		p.item(fmt.Sprintf("%s (%s, %s)", s.ID, words(s.State), stance(s.Verdict)))
		p.line("    ", s.Headline, severityCode(s.Severity))
		if s.State != sre.Closed {
			if s.Summary != "" {
				p.line("    ", s.Summary, "")
			}
			for _, r := range s.Reasons {
				if r.Allows != sre.Act {
					p.line("    ", guardText(r), "")
				}
			}
		}
	}
}

func guardText(r sre.Reason) string {
	return fmt.Sprintf("%s allows to %s: %s", words(r.Guard), stance(r.Allows), r.Text)
}

// deed writes what the agent did, or did not do, why, and what would change it.
func (p *page) deed(e sre.Explanation, now time.Time) {
	d := e.Decision
	p.heading("decision")
	p.line("  ", d.Summary, bold)
	if !d.At.IsZero() {
		text := stance(d.Verdict)
		if d.Runbook != "" {
			text += " on runbook " + d.Runbook
		}
		p.line("  ", text+", "+since(d.At, now), "")
	}
	if a := d.Approval; a != nil {
		p.line("  ", answerText(a, now), "")
	}
	for _, r := range d.Against {
		p.item(guardText(r))
	}
	for _, r := range d.For {
		p.item(guardText(r))
	}
	for _, r := range d.Rejected {
		p.item(fmt.Sprintf("not %s: %s", r.Runbook, r.Reason))
	}
	for _, pause := range e.Pauses {
		p.item(fmt.Sprintf("paused (%s) by %s since %s: %s", pause.Name, pause.By, clockTime(pause.Since), orDash(pause.Reason)))
	}
	if len(d.WouldMove) > 0 {
		p.heading("what would change that")
		for _, text := range d.WouldMove {
			p.item(text)
		}
	}
	if e.Incident != "" {
		p.plan(d)
		p.mitigations(e.Actions, now)
	}
}

func answerText(a *sre.Approval, now time.Time) string {
	if a.Response == sre.Expired {
		return "nobody answered in time"
	}
	text := fmt.Sprintf("%s by %s (%s), %s", a.Response, orDash(a.By), a.Role, since(a.At, now))
	if a.Comment != "" {
		text += ": " + a.Comment
	}
	return text
}

// plan writes the steps with their stop rules and undo.
func (p *page) plan(d sre.ExplainedDecision) {
	if len(d.Steps) == 0 {
		return
	}
	p.heading("plan")
	if d.Why != "" {
		p.line("  ", d.Runbook+": "+d.Why, "")
	}
	for i, s := range d.Steps {
		text := s.Name
		if s.Lease > 0 {
			text += ", at most for " + span(s.Lease)
		}
		if s.Verify.Expr != "" {
			text += "; helped if " + s.Verify.Expr
		}
		if !s.Reversible {
			text += "; cannot be undone"
		}
		p.line(fmt.Sprintf("  %d. ", i+1), text, "")
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
		if m.Control != nil && m.Control.Why != "" && m.Phase.Live() {
			p.line("      ", fmt.Sprintf("law %s: %s", m.Action.Law, m.Control.Why), "")
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

// signs writes every early sign; for a tick with its first evidence, and what it
// belongs to or why it is not enough.
func (p *page) signs(e sre.Explanation) {
	if len(e.Signs) == 0 {
		return
	}
	p.heading("signs")
	for _, s := range e.Signs {
		at := s.Service
		if s.Caller != "" {
			at = s.Caller + "->" + s.Service
		}
		text := fmt.Sprintf("%s at %s, score %.2f", words(s.Detector), at, s.Score)
		if s.Mechanism != "" && s.Mechanism != sre.Unknown && string(s.Mechanism) != s.Detector {
			text += ", " + words(s.Mechanism)
		}
		if !s.Since.IsZero() {
			text += ", since " + s.Since.UTC().Format(time.TimeOnly)
		}
		switch {
		case e.Incident != "":
		case s.Incident != "":
			text += "; part of " + s.Incident
		case s.Why != "":
			text += "; " + s.Why
		}
		p.item(text)
		if e.Incident == "" {
			for _, x := range s.Evidence[:min(len(s.Evidence), 1)] {
				p.line("    ", fmt.Sprintf("%s of %s: %s, normal %s", x.Signal, x.Subject, measure(x.Now, x.Unit), measure(x.Normal, x.Unit)), "")
			}
		}
	}
}

// outlook writes what burns and what may tip.
func (p *page) outlook(e sre.Explanation) {
	if len(e.Burns) > 0 {
		p.heading("error budgets")
		for _, b := range e.Burns {
			text := fmt.Sprintf("%s burns %s times too fast over %s (%s over %s, limit %s) since %s", b.Service,
				number(b.LongRate), span(b.Long), number(b.ShortRate), span(b.Short), number(b.Threshold), clockTime(b.Since))
			if b.Page {
				text += "; worth a page"
			}
			p.item(text)
		}
	}
	if len(e.Risks) > 0 {
		p.heading("risks of the next " + span(sre.RiskHorizon))
		for _, r := range e.Risks {
			at := r.Service
			if r.Caller != "" {
				at = r.Caller + "->" + r.Service
			}
			text := fmt.Sprintf("%s: %s of a cascade, %s", at, share(r.Probability), words(r.Mechanism))
			if len(r.Evidence) > 0 {
				x := r.Evidence[0]
				text += fmt.Sprintf("; %s of %s %s, normal %s", x.Signal, x.Subject, measure(x.Now, x.Unit), measure(x.Normal, x.Unit))
			}
			p.item(text)
		}
	}
}

// sight writes how well the agent could see.
func (p *page) sight(e sre.Explanation) {
	q := e.Quality
	p.heading("data")
	if e.Incident != "" {
		p.line("  ", share(q.Fresh)+" of the needed readings are fresh", "")
	}
	if q.Source != nil {
		text := fmt.Sprintf("%s and %s watched, baselines %s warm", counted(q.Services, "service"), counted(q.Edges, "edge"), share(q.WarmUp))
		if !q.Source.Up {
			text += "; the metric store does not answer: " + orDash(q.Source.Err)
		}
		p.line("  ", text, "")
		if len(q.Source.Failed) > 0 {
			p.line("  ", "queries that failed: "+names(q.Source.Failed), yellow)
		}
	}
	for _, note := range q.Notes {
		p.line("  ", note, yellow)
	}
}

// moments writes the story, one line each, with the day where it changes.
func (p *page) moments(list []sre.Moment) {
	if len(list) == 0 {
		return
	}
	p.heading("time line")
	day := ""
	for _, m := range list {
		if d := m.At.UTC().Format(time.DateOnly); d != day {
			day = d
			p.line("  ", day+" UTC", "")
		}
		p.line("  "+m.At.UTC().Format(time.TimeOnly)+" ", m.Text, "")
	}
}

func counted(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
