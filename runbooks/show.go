package runbooks

import (
	"fmt"
	"strings"

	"github.com/prometheus/common/model"

	"github.com/sreagent/sreagent/sre"
)

// Markdown describes a runbook for people: what it is for and what not, what it
// does step by step, how that is judged and taken back, who is called. False
// where there is none of that name.
func (l *Library) Markdown(name string) (string, bool) {
	rb, ok := l.named(name)
	if !ok {
		return "", false
	}
	var b strings.Builder
	fmt.Fprintf(&b, "# %s\n\n", rb.Name)
	if rb.Description != "" {
		fmt.Fprintf(&b, "%s\n\n", rb.Description)
	}
	fmt.Fprintf(&b, "* For: %s\n", strings.ReplaceAll(joined(rb.Mechanisms), "_", " "))
	if rb.When != "" {
		fmt.Fprintf(&b, "* Only when %s\n", code(rb.When))
	}
	if rb.NotFor != "" {
		fmt.Fprintf(&b, "* Wrong to use: %s\n", rb.NotFor)
	}
	fmt.Fprintf(&b, "* Risk: %s\n", riskWords(rb.Risk))
	fmt.Fprintf(&b, "* Priority: %d\n", rb.Priority)
	if rb.Owner != "" {
		fmt.Fprintf(&b, "* Owner: %s\n", rb.Owner)
	}
	b.WriteString("\n## Steps\n\n")
	showFlow(&b, rb.flow, "")
	b.WriteString("\n## Taking it back\n\n")
	fmt.Fprintf(&b, "After %s of calm the newest mitigation is taken back, and one more after each %s. If\n%s, the trouble is back, and the incident is looked at again.\n",
		model.Duration(rb.hold), model.Duration(rb.liftGap), code(rb.relapse))
	if rb.callAfter > 0 {
		fmt.Fprintf(&b, "\n## Calling people\n\nIf it is not over %s after the first step, people are called", model.Duration(rb.callAfter))
		if rb.callText != "" {
			b.WriteString(": " + rb.callText)
		}
		b.WriteString("\n")
	}
	fmt.Fprintf(&b, "\nFrom %s, version %s.\n", code(rb.File), rb.Version)
	return b.String(), true
}

func showFlow(b *strings.Builder, flow []stage, indent string) {
	for i, g := range flow {
		if g.step != nil {
			fmt.Fprintf(b, "%s%d. **%s**", indent, i+1, markdown.Replace(g.step.name))
			showStep(b, g.step, indent+"   ")
			continue
		}
		fmt.Fprintf(b, "%s%d. The first of these branches that fits:\n", indent, i+1)
		for _, way := range g.choose {
			when := "otherwise"
			if way.when != "" {
				when = "when " + code(way.when)
			}
			fmt.Fprintf(b, "%s   * %s:\n", indent, when)
			showFlow(b, way.steps, indent+"     ")
		}
	}
}

func showStep(b *strings.Builder, st *step, indent string) {
	if st.when != "" {
		b.WriteString(", only when " + code(st.when))
	}
	b.WriteString("\n")
	for _, a := range st.actions {
		fmt.Fprintf(b, "%s* %s\n", indent, a.words())
	}
	fmt.Fprintf(b, "%s* It helped if %s within %s", indent, code(st.verify.Expr), model.Duration(st.verify.Within))
	if st.verify.HeldFor > 0 {
		fmt.Fprintf(b, " and for %s on", model.Duration(st.verify.HeldFor))
	}
	fmt.Fprintf(b, "; else %s.\n", failWords(st.onFail))
	if st.ahead != "" {
		fmt.Fprintf(b, "%s* It goes before cheaper cures, because: %s.\n", indent, strings.TrimSuffix(st.ahead, "."))
	}
	fmt.Fprintf(b, "%s* In force for at most %s.\n", indent, model.Duration(st.lease))
}

// words say what an action does.
func (a action) words() string {
	s := fmt.Sprintf("Set %s of %s through %s", code(string(a.kind)), a.target.words(a.callee), code(a.lever))
	if a.name != "" {
		s += ", named " + code(a.name)
	}
	var params []string
	for _, p := range a.params {
		value := p.expr
		if value == "" {
			value = fmt.Sprint(p.value)
		}
		params = append(params, p.name+" = "+code(value))
	}
	if len(params) > 0 {
		s += ": " + strings.Join(params, ", ")
	}
	if a.where != "" {
		s += ", where " + code(a.where)
	}
	if a.law != "" {
		s += "; the law " + code(a.law) + " moves it from there"
	}
	if a.irreversible {
		s += "; it cannot be taken back"
	} else {
		s += "; what was there before is put back"
	}
	if a.optional {
		s += " (left out where the lever cannot)"
	}
	return s + "."
}

func (t targetPart) words(callee string) string {
	s := map[string]string{
		selectRoot: "the cause", selectCallers: "each caller of the cause", selectAllCallers: "each call on the ways to the cause",
		selectCallees: "each call of the cause to what it needs", selectEntries: "each entry before the cause",
		selectSuspect: "the service of the suspected change", selectAffected: "each service with a sign of trouble",
		selectAffectedCalls: "each call to a service with a sign of trouble", selectFleet: "each service", selectFleetCalls: "each call", "": code(t.service),
	}[t.selector]
	if callee != "" {
		s += " for its calls to " + map[bool]string{true: "the cause", false: code(callee)}[callee == selectRoot]
	}
	return s
}

func failWords(f sre.OnFail) string {
	switch f {
	case sre.NextStep:
		return "it stays in force and the next step is taken"
	case sre.KeepAndEscalate:
		return "everything stays in force until its lease ends and people are called"
	case sre.UndoAndEscalate:
	}
	return "everything is taken back, newest first, and people are called"
}

func riskWords(r sre.RiskClass) string {
	switch r {
	case sre.LowRisk:
		return "low: local, reversible, harmless when wrong"
	case sre.MediumRisk:
		return "medium: takes service from some users"
	case sre.HighRisk:
	}
	return "high: wide or irreversible, so people are always asked"
}

// code sets a text in a fixed width, on one line, whatever it holds.
func code(s string) string {
	s = strings.Join(strings.Fields(s), " ")
	if strings.Contains(s, "`") {
		return "`` " + s + " ``"
	}
	return "`" + s + "`"
}

var markdown = strings.NewReplacer("*", `\*`, "_", `\_`, "`", "\\`", "<", "&lt;")
