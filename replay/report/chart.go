package report

import (
	"bytes"
	"fmt"
	"html/template"
	"image/color"
	"math"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/text"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgsvg"
)

// size is the shape of a chart in the pixels of the page. Charts over time are
// drawn twice, and the page shows the one that fits the screen: a picture made
// for a desk is not readable when it is shrunk to a phone.
type size struct {
	class         string
	width, height float64
	left          float64 // room for the labels of the y axis, the same in all, so that times stand above each other
	font          float64
	labels        int // most labels along the time axis
}

func wide(height float64) size {
	return size{class: "wide", width: 1040, height: height, left: 92, font: 12, labels: 10}
}

func narrow(height float64) size {
	return size{class: "narrow", width: 340, height: height, left: 62, font: 11, labels: 4}
}

// slack is how much wider the letters of the reader's font may be than those
// that gonum measures with. Labels are moved and dropped as if they were.
const slack = 1.2

const right = 12 // pixels kept free at the right of every chart

// newPlot returns a plot in the manner of the page: no title, which the caption
// has, thin axes, and text that takes the page's colour and font.
func newPlot(s size) *plot.Plot {
	p := plot.New()
	p.BackgroundColor = nil
	for _, axis := range []*plot.Axis{&p.X, &p.Y} {
		axis.Padding = 0
		axis.LineStyle = draw.LineStyle{Color: ink("axis"), Width: 1}
		axis.Tick.LineStyle = axis.LineStyle
		axis.Tick.Length = 4
		axis.Tick.Label.Font = lettering(s.font)
		axis.Tick.Label.XAlign *= slack
		axis.Label.TextStyle.Font = lettering(s.font)
		axis.Label.Padding = 3
	}
	return p
}

func lettering(points float64) font.Font {
	return font.Font{Typeface: "Liberation", Variant: "Sans", Size: vg.Length(points)}
}

func label(s size, role string) text.Style {
	return text.Style{
		Color: ink(role), Font: lettering(s.font), Handler: plot.DefaultTextHandler,
		XAlign: text.XLeft, YAlign: text.YCenter,
	}
}

func rule(role string, width float64, dashes ...vg.Length) draw.LineStyle {
	return draw.LineStyle{Color: ink(role), Width: vg.Length(width), Dashes: dashes}
}

// svg draws a plot as a part of a page. What says is read out to those who do
// not see it.
func svg(p *plot.Plot, s size, says string) template.HTML {
	canvas := vgsvg.New(vg.Length(s.width), vg.Length(s.height))
	area := fit(p, s, draw.New(canvas))
	p.Draw(area)
	var b bytes.Buffer
	if _, err := canvas.WriteTo(&b); err != nil {
		return "" // a buffer takes everything
	}
	// What stands before the content is an XML declaration and a size in points,
	// neither of which belongs on a page.
	_, body, _ := bytes.Cut(b.Bytes(), []byte("xlink\">"))
	return template.HTML(fmt.Sprintf("<svg class=%q role=\"img\" viewBox=\"0 0 %g %g\"><title>%s</title>", s.class, s.width, s.height, template.HTMLEscapeString(says)) + string(body))
}

// fit crops the canvas so that the data area of a plot begins and ends where
// those of all others do, whatever room its labels take.
func fit(p *plot.Plot, s size, c draw.Canvas) draw.Canvas {
	c.Max.Y -= 6
	for range 2 {
		got := p.DataCanvas(c)
		c = draw.Crop(c, vg.Length(s.left)-got.Min.X, vg.Length(s.width-right)-got.Max.X, 0, 0)
	}
	return c
}

// ticks is a fixed set of labels.
type ticks []plot.Tick

// Ticks returns the set.
func (t ticks) Ticks(_, _ float64) []plot.Tick { return t }

// niceTicks returns about n round values from lo to hi with their labels.
func niceTicks(lo, hi float64, n int, write func(float64) string) ticks {
	step := niceStep((hi - lo) / float64(n))
	var out ticks
	for k := math.Ceil(lo / step); k*step <= hi*(1+1e-9)+1e-12; k++ {
		out = append(out, plot.Tick{Value: k * step, Label: write(k * step)})
	}
	return out
}

// niceStep returns the least of 1, 2, 2.5 and 5 times a power of ten that is
// not below step.
func niceStep(step float64) float64 {
	power := math.Pow(10, math.Floor(math.Log10(step)))
	for _, m := range []float64{1, 2, 2.5, 5} {
		if m*power >= step*(1-1e-9) {
			return m * power
		}
	}
	return 10 * power
}

// grid draws a thin line at each label of the y axis.
type grid struct{}

// Plot draws the lines.
func (grid) Plot(c draw.Canvas, p *plot.Plot) {
	_, y := p.Transforms(&c)
	for _, t := range p.Y.Tick.Marker.Ticks(p.Y.Min, p.Y.Max) {
		if t.Value > p.Y.Min && t.Value <= p.Y.Max {
			c.StrokeLine2(rule("grid", 1), c.Min.X, y(t.Value), c.Max.X, y(t.Value))
		}
	}
}

// trace draws a line that breaks at gaps. A value alone between two gaps shows
// as a dot.
type trace struct {
	x, y  []float64
	style draw.LineStyle
}

// Plot draws the line.
func (t trace) Plot(c draw.Canvas, p *plot.Plot) {
	tx, ty := p.Transforms(&c)
	var run []vg.Point
	flush := func() {
		if len(run) == 1 {
			c.DrawGlyphNoClip(draw.GlyphStyle{Color: t.style.Color, Radius: 1.5, Shape: draw.CircleGlyph{}}, run[0])
		}
		if len(run) > 1 {
			c.SetLineStyle(t.style)
			path := vg.Path{}
			path.Move(run[0])
			for _, at := range run[1:] {
				path.Line(at)
			}
			c.Stroke(path)
		}
		run = nil
	}
	for i, v := range t.y {
		// The clipping of gonum would drop what rounding moves onto the very edge,
		// so that a share of 100 % would vanish.
		if !drawable(v) || !drawable(t.x[i]) || t.x[i] < p.X.Min || t.x[i] > p.X.Max {
			flush()
			continue
		}
		run = append(run, vg.Point{X: tenth(tx(t.x[i])), Y: tenth(ty(min(max(v, p.Y.Min), p.Y.Max)))})
	}
	flush()
}

// tenth drops digits of a place that no screen shows and that double the page.
func tenth(v vg.Length) vg.Length { return vg.Length(math.Round(float64(v)*10) / 10) }

// box fills from one corner to the other, in pixels.
func box(c draw.Canvas, fill color.Color, x0, y0, x1, y1 vg.Length) {
	x0, x1 = max(x0, c.Min.X), min(x1, c.Max.X)
	if x1 < x0 {
		return
	}
	c.FillPolygon(fill, []vg.Point{{X: x0, Y: y0}, {X: x1, Y: y0}, {X: x1, Y: y1}, {X: x0, Y: y1}})
}
