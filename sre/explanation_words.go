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
			return "did nothing: it is diagnosed, and no runbook fits it; what is critical and lasts is given to people"
		}
		return "did nothing, because of " + first
	case AwaitingApproval:
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

// guardRemedies says for each guard of the gate what would have to be otherwise
// for it to allow acting alone. A test in cmd holds the guards and this list equal.
var guardRemedies = map[string]string{
	"mode":         "policy.mode act: this agent may at most %s",
	"source":       "a metric store that answers",
	"warm_up":      "warm baselines: wait until the warm-up is over",
	"freshness":    "fresh evidence: a diagnosis of a later tick",
	"data_quality": "more fresh readings: repair the exporters or queries that are silent",
	"pause":        "nobody's pause: `sreagent resume`",
	"plan":         "a runbook for this mechanism and service whose every step can be undone",
	"precondition": "the condition of the runbook's next step",
	"lock":         "the other incident's end: it holds the lever",
	"confidence":   "more confidence: more or stronger evidence for one cause, or more cures of this kind that helped before",
	"abstention":   "outcomes of this cure against this mechanism, first with a person's approval",
	"cause_set":    "fewer services that could be the cause, or a human who approves",
	"risk":         "a cure of a lower risk class",
	"protected":    "a cure that leaves the protected services alone",
	"blast_radius": "a smaller reach, or a higher policy.blast_radius",
	"in_force":     "fewer mitigations in force, or a higher policy.in_force",
	"rate":         "fewer actions in the last hour, or a higher policy.actions_per_hour",
	"autonomy":     "a rule in policy.autonomy that lets the agent do more with this kind here",
	"freeze":       "the end of the freeze, or the yes of somebody who may override it",
	"budget":       "fewer mitigations in force, or a wider policy.budgets",
	"arbitration":  "the end of the freeze, the path given back, a cure that has not failed here, or a person's yes",
	"recurrence":   "a cure that lasts: it came back too often to be cured alone again",
}

// Guards lists the guards whose remedies an explanation can name, sorted.
func Guards() []string {
	out := make([]string, 0, len(guardRemedies))
	for name := range guardRemedies {
		out = append(out, name)
	}
	slices.Sort(out)
	return out
}

// wouldMove says what would have to be otherwise for the agent to act alone, one
// sentence per limiting guard, the most limiting first.
func wouldMove(inc *Incident, against []Reason) []string {
	out := []string{}
	if inc.State == Suspected {
		out = append(out, "signs that last, or more of them: then it is diagnosed, and a plan is weighed")
	}
	if inc.State == Diagnosed && inc.Plan == nil {
		out = append(out, guardRemedies["plan"])
	}
	if inc.State == AwaitingApproval {
		out = append(out, "your answer: `sreagent approve "+inc.ID+"` or `sreagent reject "+inc.ID+"`")
	}
	for _, r := range against {
		text, known := guardRemedies[r.Guard]
		switch {
		case r.Change != "": // the guard's own words have the numbers
			text = r.Change
		case !known:
			text = fmt.Sprintf("a finding of %s that allows it", words(r.Guard))
		case strings.Contains(text, "%s"):
			text = fmt.Sprintf(text, stanceOr(r.Allows))
		}
		if !slices.Contains(out, text) {
			out = append(out, text)
		}
	}
	return out
}

func stanceOr(s Stance) Stance {
	if s.Rank() == 0 {
		return Watch
	}
	return s
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
		return "did nothing: no sign is part of an incident"
	}
	return "did nothing: there was no reason to"
}
