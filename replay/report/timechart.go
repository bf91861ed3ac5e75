package report

import (
	"html/template"
	"math"
	"strings"
	"time"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"

	"github.com/sreagent/sreagent/sre"
)

// scene is what all charts over time of one run share.
type scene struct {
	start, end time.Time
	shading    []band
	faults     []window
	blind      []band
	marks      []mark // where something was decided or done
}

// window is one fault of the truth.
type window struct {
	from, to time.Time
}

// mark is one decision or one touch of a lever.
type mark struct {
	at    time.Time
	shape draw.GlyphDrawer
	label string
	line  bool // worth a line through the charts
}

func (s *scene) x(t time.Time) float64 { return t.Sub(s.start).Seconds() }

// timeAxis puts the run along the x axis, with round times of day as labels.
func (s *scene) timeAxis(p *plot.Plot, z size) {
	p.X.Min, p.X.Max = 0, max(s.x(s.end), 1)
	p.X.Tick.Marker = s.timeTicks(z)
}

func (s *scene) timeTicks(z size) ticks {
	length := max(s.end.Sub(s.start), time.Second)
	step, format := timeStep(length / time.Duration(z.labels))
	if length > 24*time.Hour && step < 24*time.Hour {
		// Labels with the day are twice as wide.
		step, _ = timeStep(2 * length / time.Duration(z.labels))
		format = "2 Jan 15:04"
	}
	// A label that stands over an end would shift the data area.
	room := time.Duration(float64(length) * z.font * float64(len(format)) * 0.31 / (z.width - z.left - right))
	var out ticks
	for t := s.start.UTC().Truncate(step); !t.After(s.end); t = t.Add(step) {
		switch {
		case t.Before(s.start):
		case t.Sub(s.start) < room || s.end.Sub(t) < room:
			out = append(out, plot.Tick{Value: s.x(t)})
		default:
			out = append(out, plot.Tick{Value: s.x(t), Label: t.Format(format)})
		}
	}
	return out
}

// timeStep returns the least round step that is not below d, and how to write
// the times.
func timeStep(d time.Duration) (time.Duration, string) {
	for _, s := range []time.Duration{1, 2, 5, 10, 15, 30} {
		if s*time.Second >= d {
			return s * time.Second, "15:04:05"
		}
	}
	for _, m := range []time.Duration{1, 2, 5, 10, 15, 30, 60, 120, 180, 240, 360, 720} {
		if m*time.Minute >= d {
			return m * time.Minute, "15:04"
		}
	}
	day := 24 * time.Hour
	for n := day; ; n *= 2 {
		if n >= d {
			return n, "2 Jan"
		}
	}
}

// panel draws one series, or several over each other, over the scene. Lines
// after the first are dashed.
func (s *scene) panel(z size, says string, lines ...Series) template.HTML {
	p := newPlot(z)
	s.timeAxis(p, z)
	unit := lines[0].Unit
	lo, hi := 0.0, floor(unit)
	for _, l := range lines {
		for _, v := range l.Values {
			if drawable(v) {
				lo, hi = min(lo, v), max(hi, v*1.05)
			}
		}
	}
	if unit == sre.Ratio && hi > 1 && hi <= 1.06 {
		hi = 1
	}
	p.Y.Min, p.Y.Max = lo, hi
	p.Y.Tick.Marker = niceTicks(lo, hi, 3, func(v float64) string { return quantity(v, unit) })
	p.Add(backdrop{s}, grid{})
	styles := []draw.LineStyle{rule("one", 1.8), rule("two", 1.8, 5, 3)}
	for i, l := range lines {
		t := trace{style: styles[min(i, 1)], y: l.Values}
		for _, at := range l.Times {
			t.x = append(t.x, s.x(at))
		}
		p.Add(t)
	}
	return svg(p, z, says)
}

// floor is the least range of a y axis: noise around zero is not to look like a
// mountain.
func floor(u sre.Unit) float64 {
	switch u {
	case sre.Ratio:
		return 0.02
	case sre.Percent:
		return 2
	case sre.Seconds:
		return 0.01
	case sre.PerSecond, sre.Bytes, sre.Count:
	}
	return 1
}

// fewFaults is up to how many faults each has a line of its own through the
// charts; more would be a forest.
const fewFaults = 8

// backdrop draws what stands behind a line: phases, faults, and where something
// was done.
type backdrop struct{ s *scene }

// Plot draws it.
func (b backdrop) Plot(c draw.Canvas, p *plot.Plot) {
	x, _ := p.Transforms(&c)
	s := b.s
	for _, run := range s.columns(float64(c.Max.X - c.Min.X)) {
		var path vg.Path
		mid := tenth(c.Center().Y)
		for _, span := range run.spans {
			path.Move(vg.Point{X: tenth(x(span[0])), Y: mid})
			path.Line(vg.Point{X: tenth(x(span[1])), Y: mid})
		}
		c.SetLineStyle(draw.LineStyle{Color: ink(run.role), Width: c.Max.Y - c.Min.Y})
		c.Stroke(path)
	}
	for _, d := range s.blind {
		box(c, ink("blind"), x(s.x(d.from)), c.Min.Y, x(s.x(d.to)), c.Max.Y)
	}
	for _, f := range s.faults {
		x0, x1 := x(s.x(f.from)), x(s.x(f.to))
		box(c, ink("fault"), x0, c.Max.Y+1, max(x1, x0+2), c.Max.Y+5) // above the data, so as not to hide it
		if c.ContainsX(x0) && len(s.faults) <= fewFaults {
			c.StrokeLine2(rule("fault", 1, 2, 3), x0, c.Min.Y, x0, c.Max.Y)
		}
	}
	var path vg.Path
	last := math.Inf(-1)
	for _, m := range s.marks {
		if at := x(s.x(m.at)); m.line && c.ContainsX(at) && float64(at)-last >= 12 {
			path.Move(vg.Point{X: tenth(at), Y: tenth(c.Min.Y)})
			path.Line(vg.Point{X: tenth(at), Y: tenth(c.Max.Y)})
			last = float64(at)
		}
	}
	if len(path) > 0 {
		c.SetLineStyle(rule("mark", 0.7, 1, 3))
		c.Stroke(path)
	}
}

// shadeRun is all spans of time, in seconds, in which one phase shows.
type shadeRun struct {
	role  string
	spans [][2]float64
}

// columns paints the phases in columns two pixels wide, the most active phase of
// each, so that a day of many incidents stays small and a short one is seen. The
// result is one path per phase, in the order of the legend.
func (s *scene) columns(width float64) []shadeRun {
	n := max(int(width/2), 1)
	each := max(s.x(s.end), 1) / float64(n)
	top := make([]phase, n)
	for _, b := range s.shading {
		ph := phaseOf(b.state)
		for i := max(int(s.x(b.from)/each), 0); i < n && float64(i)*each < max(s.x(b.to), s.x(b.from)+each/2); i++ {
			if ph.rank > top[i].rank {
				top[i] = ph
			}
		}
	}
	var out []shadeRun
	for _, ph := range phases() {
		run := shadeRun{role: ph.Role}
		for i := 0; i < n; i++ {
			if top[i] != ph {
				continue
			}
			from := i
			for i+1 < n && top[i+1] == ph {
				i++
			}
			run.spans = append(run.spans, [2]float64{float64(from) * each, float64(i+1) * each})
		}
		if len(run.spans) > 0 {
			out = append(out, run)
		}
	}
	return out
}

// lane is one row of the overview.
type lane struct {
	name  string
	bands []band
	wins  []window
	marks []mark
}

const laneHeight = 24

// lanes draws the overview: one row each for the faults, every incident, what
// was decided and what was done.
func (s *scene) lanes(z size, says string, rows []lane) template.HTML {
	z.height = float64(len(rows)*laneHeight) + 34
	p := newPlot(z)
	s.timeAxis(p, z)
	p.Y.Min, p.Y.Max = 0, float64(len(rows))
	var names ticks
	for i, r := range rows {
		title := r.name
		if z.class == "narrow" {
			title = strings.Replace(title, "incident", "inc.", 1)
		}
		names = append(names, plot.Tick{Value: float64(len(rows)-i) - 0.5, Label: title})
	}
	p.Y.Tick.Marker = names
	p.Y.Tick.Length = 0
	p.Add(swimmers{s, z, rows})
	return svg(p, z, says)
}

type swimmers struct {
	s    *scene
	z    size
	rows []lane
}

// Plot draws the rows.
func (w swimmers) Plot(c draw.Canvas, p *plot.Plot) {
	x, y := p.Transforms(&c)
	for i, r := range w.rows {
		mid := y(float64(len(w.rows)-i) - 0.5)
		c.StrokeLine2(rule("grid", 1), c.Min.X, mid-laneHeight/2, c.Max.X, mid-laneHeight/2)
		for _, f := range r.wins {
			x0 := x(w.s.x(f.from))
			box(c, ink("fault"), x0, mid-5, max(x(w.s.x(f.to)), x0+2), mid+5)
		}
		for _, b := range r.bands {
			w.band(c, b, x(w.s.x(b.from)), x(w.s.x(b.to)), mid)
		}
		w.marks(c, r.marks, x, mid)
	}
}

// band draws one phase with as much of its name as fits.
func (w swimmers) band(c draw.Canvas, b band, x0, x1, mid vg.Length) {
	ph := phaseOf(b.state)
	role := ph.Role
	if b.state == "" {
		role = "blind"
	}
	if role == "" {
		return
	}
	x1 = max(x1, x0+2)
	box(c, ink(role), x0, mid-9, x1, mid+9)
	style := label(w.z, "mark")
	for _, t := range []string{words(b.state), ph.Letter} {
		if t != "" && style.Width(t)*slack+6 <= x1-x0 {
			c.FillText(style, vg.Point{X: x0 + 4, Y: mid}, t)
			return
		}
	}
}

// marks draws glyphs, and the labels that have room before the next glyph.
func (w swimmers) marks(c draw.Canvas, marks []mark, x func(float64) vg.Length, mid vg.Length) {
	style := label(w.z, "mark")
	for i, m := range marks {
		at := x(w.s.x(m.at))
		hidden := i+1 < len(marks) && marks[i+1].shape == m.shape && x(w.s.x(marks[i+1].at))-at < 1
		if !c.ContainsX(at) || hidden {
			continue
		}
		c.DrawGlyphNoClip(draw.GlyphStyle{Color: ink("mark"), Radius: 4.5, Shape: m.shape}, vg.Point{X: at, Y: mid})
		next := c.Max.X + right
		if i+1 < len(marks) {
			next = x(w.s.x(marks[i+1].at)) - 6
		}
		if at+7+style.Width(m.label)*slack <= next {
			c.FillText(style, vg.Point{X: at + 7, Y: mid}, m.label)
		}
	}
}

// ring and cross are drawn by hand, since those of gonum are hairlines.
type ring struct{}

// DrawGlyph draws a circle.
func (ring) DrawGlyph(c *draw.Canvas, sty draw.GlyphStyle, pt vg.Point) {
	c.SetLineStyle(draw.LineStyle{Color: sty.Color, Width: 1.4})
	var p vg.Path
	p.Move(vg.Point{X: pt.X + sty.Radius, Y: pt.Y})
	p.Arc(pt, sty.Radius, 0, 2*math.Pi)
	p.Close()
	c.Stroke(p)
}

type cross struct{}

// DrawGlyph draws two strokes.
func (cross) DrawGlyph(c *draw.Canvas, sty draw.GlyphStyle, pt vg.Point) {
	r := sty.Radius * 0.8
	line := draw.LineStyle{Color: sty.Color, Width: 1.8}
	c.StrokeLine2(line, pt.X-r, pt.Y-r, pt.X+r, pt.Y+r)
	c.StrokeLine2(line, pt.X-r, pt.Y+r, pt.X+r, pt.Y-r)
}
