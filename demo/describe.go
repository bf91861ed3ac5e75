package demo

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/sreagent/sreagent/sre"
)

func orNone(s string) string {
	if s == "" {
		return "none"
	}
	return s
}

func causeOf(inc *sre.Incident) string {
	if s := inc.Diagnosis.Top().Service; s != "" {
		return s
	}
	return "no known service"
}

func mechanismOf(inc *sre.Incident) string {
	if m := inc.Diagnosis.Top().Mechanism; m != "" && m != sre.Unknown {
		return plain(string(m))
	}
	return "unknown trouble"
}

func stateText(s sre.State) string { return plain(string(s)) }

func phaseText(p sre.Phase) string {
	if p == sre.NotStarted {
		return "not started"
	}
	return plain(string(p))
}

// plain turns a name of a closed set into words.
func plain(name string) string { return strings.ReplaceAll(name, "_", " ") }

func confidenceText(c sre.Confidence) string {
	s := fmt.Sprintf("%.2f, at least %.2f", c.P, c.Lower)
	if c.Basis != "" {
		s += " (" + c.Basis + ")"
	}
	return s
}

func reasonText(r sre.Reason) string {
	sign := "+"
	if r.Allows != sre.Act {
		sign = "-"
	}
	return fmt.Sprintf("%s %s allows %s: %s", sign, plain(r.Guard), orNone(string(r.Allows)), r.Text)
}

func actionText(a sre.Action) string {
	return plain(string(a.Kind)) + " " + a.Target.String() + " " + paramsText(a.Params)
}

func paramsText(p sre.Params) string {
	parts := make([]string, 0, len(p))
	for _, name := range slices.Sorted(maps.Keys(p)) {
		parts = append(parts, fmt.Sprintf("%s=%v", name, p[name]))
	}
	return strings.Join(parts, " ")
}

// questionText is what a person must know to approve or reject: what would be
// done, on what evidence, whom it may touch, what else was thought of, and how
// it is undone.
func questionText(inc *sre.Incident) []string {
	lines := []string{fmt.Sprintf("Approve the cure for %s at %s?", mechanismOf(inc), causeOf(inc))}
	add := func(label, text string) { lines = append(lines, label+" "+text) }
	if inc.Plan != nil {
		for _, a := range currentStep(inc).Actions {
			add("do:", actionText(a)+" for up to "+a.TTL.Round(time.Second).String())
		}
	}
	for _, e := range inc.Diagnosis.Top().Evidence {
		add("evidence:", evidenceText(e))
	}
	b := inc.Decision.Blast
	add("touches:", fmt.Sprintf("%s; %.0f %% of the traffic at the entries", orNone(strings.Join(b.Services, ", ")), b.EntryShare*100))
	if inc.Plan != nil {
		for _, r := range inc.Plan.Rejected {
			add("instead of:", r.Runbook+", "+r.Reason)
		}
		add("undo:", undoText(inc))
	}
	add("confidence:", confidenceText(inc.Decision.Confidence))
	return lines
}

func currentStep(inc *sre.Incident) sre.Step {
	if inc.Step < 0 || inc.Step >= len(inc.Plan.Steps) {
		return sre.Step{}
	}
	return inc.Plan.Steps[inc.Step]
}

func evidenceText(e sre.Evidence) string {
	if e.Meaning != "" {
		return e.Meaning
	}
	return fmt.Sprintf("%s of %s is %.3g, normally %.3g %s", plain(e.Signal), e.Subject, e.Now, e.Normal, plain(string(e.Unit)))
}

func undoText(inc *sre.Incident) string {
	step := currentStep(inc)
	if !step.Reversible {
		return "none, this cannot be taken back"
	}
	return fmt.Sprintf("taken back step by step once it is calm for %v, at the latest after %v; lapses by itself if the agent dies",
		inc.Plan.Hold.Round(time.Second), step.Lease.Round(time.Second))
}
