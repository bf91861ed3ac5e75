package sre

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// headline is the answer about one incident in one sentence: the cause, how sure
// that is, since when, and how far it reaches.
func headline(inc *Incident) string {
	d := inc.Diagnosis
	var b strings.Builder
	is := "is"
	if inc.State == Closed {
		is = "was"
		b.WriteString("over")
		if !inc.ClosedAt.IsZero() {
			b.WriteString(" since " + clock(inc.ClosedAt))
		}
		b.WriteString(": ")
	}
	if inc.Order != nil {
		b.WriteString(inc.Order.title())
		return b.String()
	}
	b.WriteString(blame(d.Top(), is))
	if !d.Onset.IsZero() {
		b.WriteString(" since " + clock(d.Onset))
	}
	if n := len(d.Affected); n > 0 {
		b.WriteString("; " + counted(n, "service") + " affected")
	}
	if share := Finite(d.Blast.EntryShare); share > 0 {
		fmt.Fprintf(&b, ", %.0f %% of users behind it", 100*share)
	}
	return b.String()
}

// blame names a cause and how sure it is. Below one half another cause, or
// several together, is likelier than this one.
func blame(h Hypothesis, is string) string {
	p := Finite(h.Probability)
	switch {
	case h.Service == "" && len(h.Callers) > 0:
		return fmt.Sprintf("something that %s call and nobody measures %s the likely cause (%.2f): %s", listed(h.Callers, 3), is, p, mechanism(h.Mechanism))
	case h.Service == "":
		return "the cause " + is + " not known: " + mechanism(h.Mechanism)
	case p >= .5:
		return fmt.Sprintf("%s %s the likely cause (%.2f): %s", h.Service, is, p, mechanism(h.Mechanism))
	}
	return fmt.Sprintf("%s %s the first of several suspects (%.2f): %s", h.Service, is, p, mechanism(h.Mechanism))
}

// words writes a name of one of the closed sets as people say it.
func words[T ~string](v T) string { return strings.ReplaceAll(string(v), "_", " ") }

func mechanism(m Mechanism) string {
	if m == Unknown || m == "" {
		return "no mechanism that the agent knows"
	}
	return words(m)
}

// clock writes a time of the day in UTC; the date stands beside it in the
// document.
func clock(t time.Time) string { return t.UTC().Format(time.TimeOnly) }

func counted(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}

// listed joins at most n names and counts the rest.
func listed(names []string, n int) string {
	if len(names) <= n {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:n], ", "), len(names)-n)
}

// decisionSentence says what the agent does about an incident and the first
// reason for it.
func decisionSentence(inc *Incident, d ExplainedDecision) string {
	if inc.Order != nil && inc.State != Escalated {
		return orderSentence(inc)
	}
	first := "nothing speaks against acting"
	if len(d.Against) > 0 {
		first = words(d.Against[0].Guard) + ": " + d.Against[0].Text
	}
	switch inc.State {
	case Suspected:
		return "did nothing: it is suspected since " + clock(inc.OpenedAt) + " and not yet diagnosed; what passes by itself is left alone"
	case Diagnosed, Planned:
		if inc.Plan == nil && inc.Decision == nil {
			fits := "no runbook fits it"
			switch n := len(d.Rejected); {
			case n > 0 && (len(d.Against) == 0 || strings.HasPrefix(d.Against[0].Text, "no runbook fits")):
				fits = fmt.Sprintf("none of %s fits it", counted(n, "runbook"))
			case len(d.Against) > 0 && d.Against[0].Guard == "plan":
				fits = d.Against[0].Text
			}
			return "did nothing: it is diagnosed, and " + fits + "; what is critical and lasts is given to people"
		}
		return "did nothing, because of " + first
	case AwaitingApproval:
		if a := inc.Approval; a != nil && a.Partial() {
			first = fmt.Sprintf("%s; %d of %d have approved", first, len(a.With)+1, a.Need)
		}
		return fmt.Sprintf("asked for approval of runbook %s, because of %s", d.Runbook, first)
	case Acting:
		return "acts by runbook " + d.Runbook
	case Verifying:
		return "acted by runbook " + d.Runbook + " and watches whether it helps"
	case Resolved:
		return fmt.Sprintf("the trouble is gone; %s in force until it has stayed away", counted(len(inc.InForce()), "mitigation"))
	case Lifting:
		return fmt.Sprintf("the trouble is gone; mitigations are taken back one by one, %d are left", len(inc.InForce()))
	case Reverting:
		return "takes back what it did: " + inc.Escalation
	case Escalated:
		return "gave it to people: " + inc.Escalation
	case Closed:
		return closing(inc)
	}
	return "did nothing"
}

func closing(inc *Incident) string {
	switch {
	case inc.MergedInto != "":
		return "closed: it turned out to be part of " + inc.MergedInto
	case len(inc.Mitigations) == 0:
		return "closed; no lever was touched"
	case inc.Outcome == "":
		return "closed; " + counted(len(inc.Mitigations), "lever") + " was touched"
	}
	return "closed; what was done made it: " + words(inc.Outcome)
}

// notEnough says why a sign is part of no incident.
func notEnough(v *View, p Precursor) string {
	lasted := ""
	if d := v.At.Sub(p.Since); !p.Since.IsZero() && d >= 0 {
		lasted = fmt.Sprintf(", for %s", d.Round(time.Second))
	}
	return fmt.Sprintf("it is %s with a score of %.2f of 1%s: by itself, without others near it, it opens no incident", orWord(p.Severity, "of no severity"), Finite(p.Score), lasted)
}

func orWord[T ~string](v T, otherwise string) string {
	if v == "" {
		return otherwise
	}
	return words(v)
}

// worthAWord is the least risk that a headline names: one in ten within two
// minutes is no quiet tick.
const worthAWord = .1

// tickHeadline is the answer about a whole tick in one sentence: the worst that
// is known.
func tickHeadline(v *View, e *Explanation) string {
	var open []ExplainedSummary
	for _, s := range e.Incidents {
		if s.State != Closed {
			open = append(open, s)
		}
	}
	switch {
	case v.At.IsZero():
		return "nothing is known yet: no tick has finished"
	case !v.Source.Up:
		return strings.TrimSuffix("blind at "+clock(v.At)+": the metric store does not answer: "+v.Source.Err, ": ")
	case len(open) == 1:
		return open[0].Headline
	case len(open) > 1:
		return counted(len(open), "incident") + " open; the worst: " + open[0].Headline
	case len(e.Burns) > 0:
		b := e.Burns[0]
		return fmt.Sprintf("no incident, but %s burns its error budget %.0f times too fast", b.Service, b.LongRate)
	case len(e.Signs) > 0:
		return fmt.Sprintf("no incident: %s of trouble at %s, not enough for one", counted(len(e.Signs), "sign"), listed(suspects(e.Signs), 3))
	case len(e.Risks) > 0 && e.Risks[0].Probability >= worthAWord:
		r := e.Risks[0]
		return fmt.Sprintf("no incident; the greatest risk is %s: %s (%.2f within %s)", r.Service, mechanism(r.Mechanism), r.Probability, RiskHorizon)
	}
	return fmt.Sprintf("nothing is wrong at %s: %s watched, no sign of trouble", clock(v.At), counted(v.Services, "service"))
}

func suspects(signs []ExplainedSign) []string {
	var out []string
	for _, s := range signs {
		if !slices.Contains(out, s.Service) {
			out = append(out, s.Service)
		}
	}
	return out
}

// tickDecision says why the agent did, or did not do, anything at a tick.
func tickDecision(v *View, e *Explanation) string {
	switch {
	case v.At.IsZero():
		return "did nothing: it has seen nothing"
	case !v.Source.Up:
		return "did nothing: without eyes it only waits"
	case e.Decision.Verdict != Watch:
		return "see each incident"
	case len(e.Incidents) > 0 && e.Incidents[0].State != Closed:
		return "did nothing: no incident allows more than watching"
	case len(e.Signs) > 0:
		return "did nothing: no sign is part of an incident" + withSight(v)
	}
	return "did nothing: there was no reason to" + withSight(v)
}

// withSight adds what was seen at this tick, in numbers, where the agent said so.
func withSight(v *View) string {
	if text := said(v, "").Summary; text != "" {
		return "; " + text
	}
	return ""
}
