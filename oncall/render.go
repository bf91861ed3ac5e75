package oncall

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/sreagent/sreagent/sre"
)

// RenderIncidents writes a list of incidents that fits width columns (40 at
// least): a table where there is room, a block per incident where there is not.
// Errors are the writer's.
func RenderIncidents(w io.Writer, incidents []sre.Incident, width int, now time.Time, style ...Style) error {
	p := newPage(w, width, style)
	if len(incidents) == 0 {
		p.line("", "No incidents.", "")
		return p.done()
	}
	if p.width < 80 {
		p.incidentBlocks(incidents, now)
	} else {
		p.incidentTable(incidents, now)
	}
	return p.done()
}

func (p *page) incidentBlocks(incidents []sre.Incident, now time.Time) {
	for i := range incidents {
		inc := &incidents[i]
		if i > 0 {
			p.blank()
		}
		p.line("", inc.ID, bold)
		p.line("  ", strings.ToUpper(string(inc.Severity))+" "+words(inc.State)+" for "+span(now.Sub(inc.StateSince)), severityCode(inc.Severity))
		p.line("  ", suspicion(inc), "")
		if waitsForAnswer(inc) {
			p.line("  ", "waits for your answer", yellow)
		}
	}
}

func (p *page) incidentTable(incidents []sre.Incident, now time.Time) {
	head := []string{"INCIDENT", "SEVERITY", "STATE", "OPEN FOR"}
	rows := make([][]string, len(incidents))
	widths := make([]int, len(head))
	for i, h := range head {
		widths[i] = len(h)
	}
	for i := range incidents {
		inc := &incidents[i]
		end := now
		if !inc.ClosedAt.IsZero() {
			end = inc.ClosedAt
		}
		rows[i] = []string{plain(inc.ID), string(inc.Severity), words(inc.State), span(end.Sub(inc.OpenedAt))}
		for c, cell := range rows[i] {
			widths[c] = max(widths[c], len([]rune(cell)))
		}
	}
	columns := func(cells []string) string {
		var b strings.Builder
		for c, cell := range cells {
			b.WriteString(pad(cell, widths[c]) + "  ")
		}
		return b.String()
	}
	p.line(columns(head), "SUSPECTED CAUSE", "")
	for i := range incidents {
		p.line(columns(rows[i]), suspicion(&incidents[i]), severityCode(incidents[i].Severity))
	}
}

// suspicion says in one phrase what is believed. Before the first scoring there
// is no confidence to speak of.
func suspicion(inc *sre.Incident) string {
	if inc.Order != nil {
		return "none: " + inc.Order.Name + " was ordered by " + inc.Order.By
	}
	text := cause(inc.Diagnosis.Top())
	if !inc.Confidence.Known() {
		return text
	}
	return text + ", confidence " + share(inc.Confidence.Lower)
}

func cause(h sre.Hypothesis) string {
	switch {
	case h.Service == "" && (h.Mechanism == sre.Unknown || h.Mechanism == ""):
		return "cause not known"
	case h.Service == "":
		return words(h.Mechanism)
	default:
		return words(h.Mechanism) + " at " + h.Service
	}
}

func severityCode(s sre.Severity) string {
	switch s {
	case sre.Critical:
		return red
	case sre.Warning:
		return yellow
	case sre.Info:
	}
	return ""
}

// RenderPrompt writes the approval prompt of an incident: what, since when, the
// evidence, why this confidence, the alternatives, the blast radius, each
// setting from and to, the undo, and what happens if nobody answers. It fits
// width columns (40 at least). Errors are the writer's.
func RenderPrompt(w io.Writer, inc sre.Incident, width int, now time.Time, style ...Style) error {
	p := newPage(w, width, style)
	prompt, ok := NewPrompt(inc)
	if !ok {
		p.line("", fmt.Sprintf("Incident %s asks nothing; its state is %s.", inc.ID, words(inc.State)), "")
		return p.done()
	}
	p.line("", fmt.Sprintf("%s: %s", strings.ToUpper(string(inc.Severity)), cause(inc.Diagnosis.Top())), severityCode(inc.Severity))
	p.line("", "May I act?", bold)
	p.blank()
	p.field("incident", prompt.Incident)
	p.field("decision", prompt.Decision)
	p.field("since", since(prompt.Onset, now))
	p.field("asked", since(prompt.AskedAt, now))
	if !prompt.ExpiresAt.IsZero() {
		p.field("answer by", since(prompt.ExpiresAt, now))
	}
	p.evidence(prompt.Evidence)
	p.confidence(prompt.Confidence, prompt.Reasons)
	p.alternatives(prompt.Alternatives, prompt.NotTaken)
	p.blast(prompt.Blast)
	p.steps(prompt)
	p.heading("undo")
	p.line("  ", prompt.Undo, "")
	p.heading("if nobody answers")
	p.line("  ", prompt.OnSilence, "")
	return p.done()
}

func (p *page) evidence(list []sre.Evidence) {
	p.heading("evidence")
	if len(list) == 0 {
		p.line("  ", "none is recorded", "")
	}
	for _, e := range list {
		text := fmt.Sprintf("%s of %s: %s, normal %s", e.Signal, e.Subject, measure(e.Now, e.Unit), measure(e.Normal, e.Unit))
		if e.Meaning != "" {
			text += ". " + e.Meaning
		}
		p.item(text)
	}
}

func (p *page) confidence(c sre.Confidence, reasons []sre.Reason) {
	p.heading("confidence")
	p.line("  ", confidenceText(c), "")
	for _, r := range reasons {
		p.item(guardText(r))
	}
}

func stance(s sre.Stance) string {
	if s == "" {
		return string(sre.Watch)
	}
	return string(s)
}

func (p *page) alternatives(causes []sre.Hypothesis, cures []sre.Rejection) {
	if len(causes)+len(cures) == 0 {
		return
	}
	p.heading("alternatives")
	for _, h := range causes {
		p.item(fmt.Sprintf("%s, probability %s", cause(h), share(h.Probability)))
	}
	for _, r := range cures {
		p.item(fmt.Sprintf("not %s: %s", r.Runbook, r.Reason))
	}
}

func (p *page) blast(b sre.BlastRadius) {
	p.heading("blast radius")
	p.line("  ", reachText(b), "")
	if len(b.Services) > 0 {
		p.line("  ", strings.Join(b.Services, ", "), "")
	}
}

func reachText(b sre.BlastRadius) string {
	return fmt.Sprintf("%s, %s of entry traffic", counted(len(b.Services), "service"), share(b.EntryShare))
}

func (p *page) steps(prompt Prompt) {
	p.heading("what I would do")
	if prompt.Runbook != "" {
		text := fmt.Sprintf("runbook %s, %s risk", prompt.Runbook, prompt.Risk)
		if prompt.Why != "" {
			text += ": " + prompt.Why
		}
		p.line("  ", text, "")
	}
	for i, s := range prompt.Steps {
		p.line(fmt.Sprintf("  %d. ", i+1), fmt.Sprintf("%s, lease %s", s.Name, span(s.Lease)), bold)
		for _, a := range s.Actions {
			p.line("     ", fmt.Sprintf("%s %s", words(a.Kind), a.Target), "")
			for _, v := range a.Settings {
				p.line("       ", fmt.Sprintf("%s: %s -> %s", v.Name, setting(v.Old), setting(v.New)), "")
			}
		}
		if s.Verify != "" {
			p.line("     ", "helped if "+s.Verify+"; else "+s.OnFail, "")
		}
	}
}
