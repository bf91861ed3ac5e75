package demo

import (
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/charmbracelet/lipgloss"

	"github.com/sreagent/sreagent/sre"
)

// picture is all that the terminal shows. Drawing it has no side effect.
type picture struct {
	width, height int
	began, now    time.Time
	title         string
	ratios        []float64 // goodput of the last seconds, oldest first
	retries       float64
	view          *sre.View
	question      *question
	log           []string
}

const (
	keepRatios = 240
	keepLog    = 200
	minWidth   = 20
)

func (p *picture) addSecond(ratio, retries float64) {
	p.ratios = append(p.ratios, ratio)
	p.ratios = p.ratios[max(0, len(p.ratios)-keepRatios):]
	p.retries = retries
}

func (p *picture) addLog(text string) {
	p.log = append(p.log, text)
	p.log = p.log[max(0, len(p.log)-keepLog):]
}

var (
	titleStyle = lipgloss.NewStyle().Bold(true)
	labelStyle = lipgloss.NewStyle().Foreground(lipgloss.AdaptiveColor{Light: "8", Dark: "7"})
	goodStyle  = lipgloss.NewStyle().Foreground(lipgloss.Color("2"))
	badStyle   = lipgloss.NewStyle().Foreground(lipgloss.Color("1"))
	askStyle   = lipgloss.NewStyle().Foreground(lipgloss.Color("3")).Bold(true)
)

// row is one line on the screen, cut to the width before it is styled.
type row struct {
	text  string
	style lipgloss.Style
}

// draw returns at most height lines of at most width columns. What a person
// must answer comes before everything that can wait.
func (p *picture) draw() string {
	width, height := p.width, p.height
	if width <= 0 {
		width = 80
	}
	if height <= 0 {
		height = 24
	}
	width = max(width, minWidth)
	rows := p.header(width)
	if p.question != nil {
		rows = append(rows, p.asking(width)...)
	}
	rows = append(rows, p.agent(width)...)
	rows = append(rows, p.story(width, height-len(rows)-1)...)
	rows = rows[:min(len(rows), height)]
	lines := make([]string, len(rows))
	for i, r := range rows {
		lines[i] = r.style.Render(r.text)
	}
	return strings.Join(lines, "\n")
}

func (p *picture) header(width int) []row {
	ratio, known := 0.0, len(p.ratios) > 0
	if known {
		ratio = p.ratios[len(p.ratios)-1]
	}
	style := goodStyle
	if ratio < downBelow {
		style = badStyle
	}
	figure := "   -"
	if known {
		figure = fmt.Sprintf("%3.0f %%", ratio*100)
	}
	elapsed := max(0, p.now.Sub(p.began)).Round(time.Second)
	title := fmt.Sprintf("sreagent demo %d:%02d  %s", int(elapsed.Minutes()), int(elapsed.Seconds())%60, p.title)
	return []row{
		{cut(title, width), titleStyle},
		{},
		{cut("goodput  "+bar(ratio, min(40, width-16))+"  "+figure, width), style},
		{cut("         "+sparkline(p.ratios, width-9), width), style},
		{cut(fmt.Sprintf("retries  %.0f/s to %s", p.retries, Leaf), width), labelStyle},
		{},
	}
}

func (p *picture) asking(width int) []row {
	var rows []row
	for i, l := range p.question.lines {
		style := lipgloss.NewStyle()
		if i == 0 {
			style = askStyle
		}
		for _, w := range wrap(l, width, "  ") {
			rows = append(rows, row{w, style})
		}
	}
	return append(rows, row{cut("[y] approve   [n] reject", width), askStyle}, row{})
}

// agent tells what the agent believes, what it decided and why, and what is in
// force.
func (p *picture) agent(width int) []row {
	if p.view == nil {
		return nil
	}
	var rows []row
	add := func(text, indent string, style lipgloss.Style) {
		for _, w := range wrap(text, width, indent) {
			rows = append(rows, row{w, style})
		}
	}
	none := lipgloss.NewStyle()
	inc := current(p.view)
	switch {
	case !p.view.Ready:
		add("agent    not ready: "+strings.Join(p.view.NotReady, "; "), "         ", labelStyle)
		return append(rows, row{})
	case inc == nil:
		add("agent    watches; no incident", "         ", labelStyle)
		return append(rows, row{})
	}
	add(fmt.Sprintf("incident %s at %s, %s", mechanismOf(inc), causeOf(inc), stateText(inc.State)), "         ", titleStyle)
	if d := inc.Decision; d != nil && p.question == nil {
		add(fmt.Sprintf("decision %s by %s, confidence %.2f, at least %.2f", d.Stance, orNone(d.Runbook), d.Confidence.P, d.Confidence.Lower), "         ", none)
		for _, r := range d.Reasons {
			add("  "+reasonText(r), "    ", labelStyle)
		}
	}
	for i, m := range inc.InForce() {
		label := "         "
		if i == 0 {
			label = "in force "
		}
		add(label+actionText(m.Action)+", "+phaseText(m.Phase), "         ", none)
	}
	return append(rows, row{})
}

// current returns the incident that matters: the newest open one, else the
// newest.
func current(v *sre.View) *sre.Incident {
	for i := range v.Incidents {
		if v.Incidents[i].State != sre.Closed {
			return &v.Incidents[i]
		}
	}
	if len(v.Incidents) > 0 {
		return &v.Incidents[0]
	}
	return nil
}

// story returns the newest lines of the log that fit into room rows.
func (p *picture) story(width, room int) []row {
	var rows []row
	for i := len(p.log) - 1; i >= 0; i-- {
		lines := wrap(p.log[i], width, "  ")
		if len(rows)+len(lines) > room {
			break
		}
		front := make([]row, 0, len(rows)+len(lines))
		for _, l := range lines {
			front = append(front, row{l, labelStyle})
		}
		rows = append(front, rows...)
	}
	return rows
}

var sparks = []rune("▁▂▃▄▅▆▇█")

// sparkline draws the newest ratios, one column each.
func sparkline(ratios []float64, width int) string {
	ratios = ratios[max(0, len(ratios)-max(0, width)):]
	var b strings.Builder
	for _, r := range ratios {
		b.WriteRune(sparks[int(math.Round(max(0, min(1, r))*float64(len(sparks)-1)))])
	}
	return b.String()
}

// cut shortens text to width columns.
func cut(text string, width int) string {
	if lipgloss.Width(text) <= width {
		return text
	}
	runes := []rune(text)
	for len(runes) > 0 && lipgloss.Width(string(runes))+1 > width {
		runes = runes[:len(runes)-1]
	}
	return string(runes) + "…"
}

// wrap breaks text at spaces into lines of at most width columns. Lines after
// the first begin with indent; a word that does not fit a line is cut.
func wrap(text string, width int, indent string) []string {
	if lipgloss.Width(text) <= width {
		return []string{text}
	}
	var lines []string
	lead := text[:len(text)-len(strings.TrimLeft(text, " "))]
	line := lead
	for i, word := range strings.Fields(text) {
		switch {
		case i == 0:
			line += word
		case lipgloss.Width(line)+1+lipgloss.Width(word) <= width:
			line += " " + word
		default:
			lines = append(lines, cut(line, width))
			line = indent + word
		}
	}
	return append(lines, cut(line, width))
}
