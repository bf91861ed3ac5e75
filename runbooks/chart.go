package runbooks

import (
	"fmt"
	"html"
	"strings"
	"unicode/utf8"

	"github.com/sreagent/sreagent/sre"
)

// chart is a runbook as states and transitions, in the order in which a reader
// meets them.
type chart struct {
	nodes []chartNode
}

type chartNode struct {
	title string
	shape string // start, step, choice, good, bad
	out   []chartEdge
}

type chartEdge struct {
	label string
	to    int
}

// loose is a transition whose end is not known yet.
type loose struct {
	from  int
	label string
}

// widest is the longest text of a drawing, in characters.
const widest = 64

// chart draws what may happen once the runbook fits.
func (rb *runbook) chart() *chart {
	c := &chart{}
	start := c.node("start", rb.Name+" fits")
	rest, ends := c.flow(rb.flow, []loose{{start, "begins"}})
	ends.bad = append(ends.bad, rest...)
	if len(ends.good) > 0 {
		calm := c.node("good", "the trouble is gone: calm, then taken back one by one")
		c.join(ends.good, calm)
		c.nodes[calm].out = append(c.nodes[calm].out, chartEdge{"the trouble is back: " + rb.relapse, start})
	}
	if len(ends.kept) > 0 {
		c.join(ends.kept, c.node("bad", "all stays in force until its lease ends, people are called"))
	}
	if len(ends.bad) > 0 {
		c.join(ends.bad, c.node("bad", "all is taken back, people are called"))
	}
	if len(ends.unfit) > 0 {
		c.join(ends.unfit, c.node("bad", "the runbook is not chosen"))
	}
	return c
}

// chartEnds are the transitions that leave the steps, by where they lead.
type chartEnds struct {
	good, kept, bad, unfit []loose
}

func (e *chartEnds) add(o chartEnds) {
	e.good, e.kept = append(e.good, o.good...), append(e.kept, o.kept...)
	e.bad, e.unfit = append(e.bad, o.bad...), append(e.unfit, o.unfit...)
}

func (c *chart) node(shape, title string) int {
	c.nodes = append(c.nodes, chartNode{title: title, shape: shape})
	return len(c.nodes) - 1
}

func (c *chart) join(from []loose, to int) {
	for _, l := range from {
		c.nodes[l.from].out = append(c.nodes[l.from].out, chartEdge{l.label, to})
	}
}

func (c *chart) flow(flow []stage, in []loose) (rest []loose, ends chartEnds) {
	for _, g := range flow {
		var more chartEnds
		if g.step != nil {
			in, more = c.step(g.step, in)
		} else {
			in, more = c.choice(g.choose, in)
		}
		ends.add(more)
	}
	return in, ends
}

func (c *chart) step(st *step, in []loose) (rest []loose, ends chartEnds) {
	n := c.node("step", st.name)
	c.join(in, n)
	if st.when != "" {
		rest = append(rest, loose{n, "skipped unless " + st.when})
	}
	ends.good = []loose{{n, "helps: " + st.verify.Expr}}
	switch st.onFail {
	case sre.NextStep:
		rest = append(rest, loose{n, "does not help, and stays"})
	case sre.KeepAndEscalate:
		ends.kept = []loose{{n, "does not help"}}
	case sre.UndoAndEscalate:
		ends.bad = []loose{{n, "does not help"}}
	}
	return rest, ends
}

func (c *chart) choice(choose []branch, in []loose) (rest []loose, ends chartEnds) {
	n := c.node("choice", "which branch?")
	c.join(in, n)
	all := false
	for _, b := range choose {
		label := "when " + b.when
		if b.when == "" {
			label, all = "otherwise", true
		}
		below, more := c.flow(b.steps, []loose{{n, label}})
		rest = append(rest, below...)
		ends.add(more)
	}
	if !all {
		ends.unfit = append(ends.unfit, loose{n, "none"})
	}
	return rest, ends
}

// Mermaid draws a runbook as a Mermaid flow chart; false where there is none of
// that name.
func (l *Library) Mermaid(name string) (string, bool) {
	rb, ok := l.named(name)
	if !ok {
		return "", false
	}
	var b strings.Builder
	b.WriteString("flowchart TD\n")
	c := rb.chart()
	brackets := map[string][2]string{"start": {"([", "])"}, "step": {"[", "]"}, "choice": {"{", "}"}, "good": {"([", "])"}, "bad": {"[[", "]]"}}
	for i, n := range c.nodes {
		fmt.Fprintf(&b, "    n%d%s\"%s\"%s\n", i, brackets[n.shape][0], mermaidText(n.title), brackets[n.shape][1])
	}
	for i, n := range c.nodes {
		for _, e := range n.out {
			fmt.Fprintf(&b, "    n%d -->|\"%s\"| n%d\n", i, mermaidText(e.label), e.to)
		}
	}
	return b.String(), true
}

var mermaidEntities = strings.NewReplacer("#", "#35;", `"`, "#quot;", "<", "#lt;", ">", "#gt;", "&", "#amp;", "|", "#124;", "`", "#96;")

func mermaidText(s string) string { return mermaidEntities.Replace(short(s)) }

// short fits a text into a drawing, on one line.
func short(s string) string {
	s = strings.Join(strings.Fields(s), " ")
	if utf8.RuneCountInString(s) <= widest {
		return s
	}
	return string([]rune(s)[:widest-1]) + "…"
}

// Sizes of the drawing in pixels.
const (
	boxLeft, boxWidth   = 20, 520
	lineHeight, boxTop  = 20, 30
	boxGap, laneWidth   = 26, 18
	textIndent, arrowAt = 12, 8
)

var strokes = map[string]string{"start": "#57606a", "step": "#0969da", "choice": "#8250df", "good": "#1a7f37", "bad": "#cf222e"}

// SVG draws a runbook top down: a box for each state with its ways out, and a
// line from each to the state that it leads to. It needs no script and no font.
func (l *Library) SVG(name string) (string, bool) {
	rb, ok := l.named(name)
	if !ok {
		return "", false
	}
	c := rb.chart()
	tops, bottom := make([]int, len(c.nodes)), boxLeft
	for i, n := range c.nodes {
		tops[i] = bottom
		bottom += boxTop + lineHeight*len(n.out) + boxGap
	}
	right := boxLeft + boxWidth
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %[1]d %[2]d" font-family="ui-monospace, monospace" font-size="12" role="img">`+"\n",
		right+laneWidth*(len(c.nodes)+1), bottom)
	fmt.Fprintf(&b, "<title>Runbook %s</title>\n<rect width=\"100%%\" height=\"100%%\" fill=\"#ffffff\"/>\n", html.EscapeString(rb.Name))
	for i, n := range c.nodes {
		height := boxTop + lineHeight*len(n.out)
		fmt.Fprintf(&b, `<rect x="%d" y="%d" width="%d" height="%d" rx="6" fill="#f6f8fa" stroke="%s" stroke-width="1.5"/>`+"\n", boxLeft, tops[i], boxWidth, height, strokes[n.shape])
		fmt.Fprintf(&b, `<text x="%d" y="%d" font-weight="bold" fill="#1f2328">%s</text>`+"\n", boxLeft+textIndent, tops[i]+lineHeight, svgText(n.title))
		for k, e := range n.out {
			y := tops[i] + boxTop + lineHeight*k + lineHeight/2
			color, lane := strokes[c.nodes[e.to].shape], right+laneWidth*(e.to+1)
			enter := tops[e.to] + arrowAt
			fmt.Fprintf(&b, `<text x="%d" y="%d" fill="#424a53">%s</text>`+"\n", boxLeft+textIndent, y+4, svgText(e.label))
			fmt.Fprintf(&b, `<path d="M%d %d H%d V%d H%d" fill="none" stroke="%s" stroke-width="1.2"/>`+"\n", right, y, lane, enter, right+arrowAt, color)
			fmt.Fprintf(&b, `<path d="M%d %d l8 -4 v8 z" fill="%s"/>`+"\n", right+1, enter, color)
		}
	}
	b.WriteString("</svg>\n")
	return b.String(), true
}

// svgText shortens a text and keeps the whole as a tool tip.
func svgText(s string) string {
	return html.EscapeString(short(s)) + "<title>" + html.EscapeString(strings.Join(strings.Fields(s), " ")) + "</title>"
}

func (l *Library) named(name string) (*runbook, bool) {
	for _, rb := range l.ordered {
		if rb.Name == name {
			return rb, true
		}
	}
	return nil, false
}
