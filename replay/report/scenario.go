package report

import (
	"cmp"
	"io"
	"slices"
	"strconv"
	"time"

	"github.com/sreagent/sreagent/replay/scenario"
	"github.com/sreagent/sreagent/sre"
)

// ScenarioReport is what the page of a scenario is made of: one arm or both.
type ScenarioReport struct {
	Title  string // one sentence of what the scenario shows; may be empty
	Text   string // the scenario's file; may be empty
	On     *scenario.Result
	Off    *scenario.Result
	Series []Series // of the arm with the agent, as Recorder.Choose returns them
}

type row struct {
	Name  string
	Cells []string
	Worse []bool
}

type scenarioPage struct {
	shell
	Run      *runView
	Arms     []string
	Table    []row
	Failures []string
	Marks    []string
	Text     string
	Both     bool
}

// maxText bounds the part of a scenario's file that a page shows, in runes.
const maxText = 20_000

// Scenario writes the page of one scenario, with the arms with and without the
// agent over each other where both were run. Its errors are the writer's.
func Scenario(w io.Writer, r ScenarioReport) error {
	arms := slices.DeleteFunc([]*scenario.Result{r.Off, r.On}, func(a *scenario.Result) bool { return a == nil })
	if len(arms) == 0 {
		arms = []*scenario.Result{{}}
	}
	lead := arms[len(arms)-1] // with the agent where there is one
	start, end := lead.Start, lead.Start
	for _, a := range arms {
		if n := len(a.Story); n > 0 && a.Story[n-1].At.After(end) {
			end = a.Story[n-1].At
		}
	}
	s := tell(lead.Records, end)
	input := run{start: start, end: end, records: lead.Records, graph: lead.Graph, series: r.Series}
	p := scenarioPage{Both: r.On != nil && r.Off != nil, Text: plainText(r.Text)}
	var since []moment
	for _, m := range lead.Marks {
		if !m.Ends.IsZero() {
			input.faults = append(input.faults, window{m.At, m.Ends})
			since = append(since, moment{m.At, "the fault"})
		}
	}
	slices.SortStableFunc(since, func(a, b moment) int { return a.at.Compare(b.at) })
	c := newClock(start, end, since)
	for _, m := range lead.Marks[:min(len(lead.Marks), maxRows)] {
		text := c.at(m.At) + " " + sentence(m.Text)
		if !m.Ends.IsZero() {
			text += ", until " + c.at(m.Ends)
		}
		p.Marks = append(p.Marks, text)
	}
	input.extra = input.scene(s).worldCharts(arms)
	p.Run = input.view(c, s)
	p.shell = shell{
		Kind: "Scenario", Title: name(cmp.Or(lead.Scenario, "Scenario")), Sub: sentence(cmp.Or(r.Title, lead.Title)),
		Headline: scenarioHeadline(r, s),
		Facts: []fact{
			{"Seed", strconv.FormatUint(lead.Seed, 10)}, {"Length", span(end.Sub(start))},
			{"Services", services(lead.Graph)}, {"Incidents", itoa(len(s.incidents))}, {"Decisions", itoa(len(s.decisions))},
		},
		Nav: append([]link{{"result", "Result"}}, runNav(p.Run)...),
	}
	p.Facts = slices.DeleteFunc(p.Facts, func(f fact) bool { return f.Value == "" })
	for _, a := range arms {
		p.Arms = append(p.Arms, armName(a))
		for _, f := range a.Failures[:min(len(a.Failures), maxRows)] {
			p.Failures = append(p.Failures, armName(a)+": "+sentence(f))
		}
	}
	p.Table = resultTable(arms)
	return write(w, "scenario", p)
}

func services(g *sre.Graph) string {
	if g == nil {
		return ""
	}
	return itoa(len(g.Services))
}

func plainText(s string) string {
	out := []rune(s)
	if len(out) > maxText {
		out = append(out[:maxText], '…')
	}
	for i, r := range out {
		if r != '\n' && clean(string(r), 1) != string(r) {
			out[i] = ' '
		}
	}
	return string(out)
}

func armName(a *scenario.Result) string {
	if a.Agent == "on" {
		return "with the agent"
	}
	return "without the agent"
}

// worldCharts draws what users felt, the arms over each other.
func (s *scene) worldCharts(arms []*scenario.Result) []group {
	quantities := []struct {
		name, note string
		unit       sre.Unit
		of         func(scenario.Moment) float64
	}{
		{"goodput", "share of wanted requests answered well and in time", sre.Ratio, func(m scenario.Moment) float64 { return m.Goodput }},
		{"wanted requests", "per second", sre.PerSecond, func(m scenario.Moment) float64 { return m.Offered }},
		{"work", "attempts per wanted request, over all calls", sre.Count, func(m scenario.Moment) float64 { return m.Work }},
		{"longest queue", "requests", sre.Count, func(m scenario.Moment) float64 { return m.Queue }},
	}
	g := group{Service: "The world"}
	for _, q := range quantities {
		var lines, thin []Series
		says := q.name + ", " + q.note + "."
		for i := len(arms) - 1; i >= 0; i-- { // the agent's line is the solid one
			a := arms[i]
			line := Series{Name: q.name, Unit: q.unit}
			for _, m := range a.Story {
				line.Times, line.Values = append(line.Times, m.At), append(line.Values, q.of(m))
			}
			line = thinned(line, maxPoints)
			says += " " + armName(a) + ": " + inWords(line)
			lines, thin = append(lines, line), append(thin, thinned(line, maxPoints/3))
		}
		height := 126.0
		if q.name == "goodput" {
			height = 190
		}
		g.Figures = append(g.Figures, figure{Name: q.name, Note: q.note, Picture: s.panel(wide(height), says, lines...) + s.panel(narrow(max(132, height-40)), says, thin...)})
	}
	return []group{g}
}

func resultTable(arms []*scenario.Result) []row {
	var out []row
	add := func(title string, cell func(*scenario.Result) (string, bool)) {
		r := row{Name: title}
		for _, a := range arms {
			text, worse := cell(a)
			r.Cells, r.Worse = append(r.Cells, text), append(r.Worse, worse)
		}
		out = append(out, r)
	}
	add("Goodput before the fault", func(a *scenario.Result) (string, bool) { return percent(a.GoodputBefore), false })
	add("Lowest goodput", func(a *scenario.Result) (string, bool) { return percent(a.GoodputMin), false })
	add("Goodput at the end", func(a *scenario.Result) (string, bool) {
		return percent(a.GoodputAfter), a.GoodputAfter < 0.9*a.GoodputBefore
	})
	add("Recovered", func(a *scenario.Result) (string, bool) { return recovery(a), !a.Recovered })
	add("Detected after the fault", func(a *scenario.Result) (string, bool) { return optional(a.DetectedAfterSeconds, "never"), false })
	add("Cascade", func(a *scenario.Result) (string, bool) { return yes(a.Cascade), a.Cascade })
	add("Services affected", func(a *scenario.Result) (string, bool) { return itoa(a.ServicesAffected), false })
	add("Levers moved", func(a *scenario.Result) (string, bool) { return itoa(applied(a)), false })
	add("Harmful actions", func(a *scenario.Result) (string, bool) { return itoa(a.HarmfulActions), a.HarmfulActions > 0 })
	add("Actions on what was not at fault", func(a *scenario.Result) (string, bool) { return itoa(a.FalseActions), a.FalseActions > 0 })
	return out
}

// applied counts the levers that were moved to help; moving one back is no
// lever more.
func applied(a *scenario.Result) int {
	n := 0
	for _, m := range a.Actions {
		if m.Purpose == sre.ToApply {
			n++
		}
	}
	return n
}

func yes(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

func optional(s *float64, otherwise string) string {
	if s == nil {
		return otherwise
	}
	return seconds(*s)
}

func recovery(a *scenario.Result) string {
	if !a.Recovered {
		return "no"
	}
	return "after " + optional(a.RecoveredAfterSeconds, "an unknown time")
}

func scenarioHeadline(r ScenarioReport, s *story) []string {
	var out []string
	for _, a := range []*scenario.Result{r.Off, r.On} {
		if a == nil {
			continue
		}
		text := armName(a) + ", goodput fell from " + percent(a.GoodputBefore) + " to " + percent(a.GoodputMin)
		if a.GoodputMin >= 0.99*a.GoodputBefore {
			text = armName(a) + ", goodput stayed at " + percent(a.GoodputMin) + " or above"
		}
		switch {
		case a.Recovered && a.RecoveredAfterSeconds != nil && *a.RecoveredAfterSeconds > 0:
			text += " and recovered " + span(time.Duration(*a.RecoveredAfterSeconds*float64(time.Second))) + " after the fault."
		case a.Recovered:
			text += "."
		default:
			text += " and did not recover: it ended at " + percent(a.GoodputAfter) + "."
		}
		out = append(out, "W"+text[1:])
	}
	if r.On == nil {
		return append(out, "No agent was there to help.")
	}
	text := s.did(false)
	if n := r.On.HarmfulActions + r.On.FalseActions; n > 0 {
		text += " " + count(r.On.HarmfulActions, "action") + " did harm and " + itoa(r.On.FalseActions) + " hit what was not at fault."
	}
	return append(out, text)
}
