package report

import (
	"html/template"
	"math"
	"slices"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"

	"github.com/sreagent/sreagent/replay/backtest"
)

// square is the shape of the charts of scores, three of which stand side by
// side on a desk and above each other on a phone.
func square() size {
	return size{class: "square", width: 340, height: 280, left: 48, font: 11}
}

func shares(p *plot.Plot) {
	write := func(v float64) string { return percent(v) }
	p.X.Min, p.X.Max, p.Y.Min, p.Y.Max = 0, 1, 0, 1
	p.Y.Tick.Marker = niceTicks(0, 1, 4, write)
	inner := niceTicks(0, 1, 4, write)
	inner[len(inner)-1].Label = "" // would stand over the end and shift the data area
	p.X.Tick.Marker = inner
}

// reliability draws what was predicted against what came true: one dot per bin
// with its 95 % interval, and a bar at the bottom for its number of cases. The
// numbers themselves stand in a table, where they cannot run into each other.
func reliability(bins []backtest.Bin, says string) template.HTML {
	z := square()
	p := newPlot(z)
	shares(p)
	p.X.Label.Text = "predicted"
	p.Y.Label.Text = "came true"
	z.left += 18
	p.Add(grid{}, trace{x: []float64{0, 1}, y: []float64{0, 1}, style: rule("ideal", 1.2, 5, 4)}, dots{bins})
	return svg(p, z, says)
}

type dots struct {
	bins []backtest.Bin
}

// Plot draws the bins.
func (d dots) Plot(c draw.Canvas, p *plot.Plot) {
	x, y := p.Transforms(&c)
	most := 1
	for _, b := range d.bins {
		most = max(most, b.N)
	}
	for _, b := range d.bins {
		if b.N <= 0 || !drawable(b.Predicted) || !drawable(b.Observed) {
			continue
		}
		low, high := likely(b)
		at := vg.Point{X: x(clamp(b.Predicted)), Y: y(clamp(b.Observed))}
		share := float64(b.N) / float64(most)
		c.FillPolygon(ink("blind"), []vg.Point{
			{X: at.X - 4, Y: c.Min.Y}, {X: at.X + 4, Y: c.Min.Y}, {X: at.X + 4, Y: y(0.12 * share)}, {X: at.X - 4, Y: y(0.12 * share)},
		})
		c.StrokeLine2(rule("one", 1.4), at.X, y(low), at.X, y(high))
		c.DrawGlyphNoClip(draw.GlyphStyle{Color: ink("one"), Radius: vg.Length(2.5 + 3*math.Sqrt(share)), Shape: draw.CircleGlyph{}}, at)
	}
}

func clamp(v float64) float64 { return min(max(v, 0), 1) }

// likely returns a bin's 95 % interval of what comes true.
func likely(b backtest.Bin) (low, high float64) {
	s := backtest.Wilson(clamp(b.Observed)*float64(b.N), b.N)
	return s.Low, s.High
}

// riskCoverage draws the share of wrong answers when only the most certain part
// of them is given.
func riskCoverage(points []backtest.RiskCoverage, says string) template.HTML {
	z := square()
	p := newPlot(z)
	shares(p)
	p.X.Label.Text = "answered, most certain first"
	p.Y.Label.Text = "wrong"
	z.left += 18
	t := trace{style: rule("one", 2)}
	for _, r := range points {
		t.x, t.y = append(t.x, r.Coverage), append(t.y, r.Risk)
	}
	p.Add(grid{}, t)
	return svg(p, z, says)
}

// delays draws the share of all faults that were detected within a time. Faults
// that were never detected keep the line from reaching the top. The time axis
// is stretched: log(1+seconds).
func delays(detected []float64, faults int, says string) template.HTML {
	z := square()
	p := newPlot(z)
	shares(p)
	p.X.Label.Text = "time since the fault began"
	p.Y.Label.Text = "detected"
	z.left += 18
	sorted := slices.DeleteFunc(slices.Clone(detected), func(d float64) bool { return !drawable(d) })
	slices.Sort(sorted)
	longest := 60.0
	if len(sorted) > 0 {
		longest = max(longest, sorted[len(sorted)-1])
	}
	stretch := func(d float64) float64 { return math.Log1p(max(d, 0)) }
	p.X.Min, p.X.Max = 0, stretch(longest*1.3)
	var marks ticks
	for _, d := range []struct {
		at   float64
		name string
	}{{0, "0"}, {10, "10 s"}, {60, "1 min"}, {300, "5 min"}, {1800, "30 min"}, {7200, "2 h"}, {28800, "8 h"}, {86400, "1 d"}, {604800, "7 d"}} {
		if v := stretch(d.at); v <= p.X.Max*0.95 {
			marks = append(marks, plot.Tick{Value: v, Label: d.name})
		}
	}
	p.X.Tick.Marker = marks
	t := trace{x: []float64{0}, y: []float64{0}, style: rule("one", 2)}
	for i, d := range sorted {
		n := float64(max(faults, 1))
		t.x = append(t.x, stretch(d), stretch(d))
		t.y = append(t.y, float64(i)/n, float64(i+1)/n)
	}
	t.x, t.y = append(t.x, p.X.Max), append(t.y, float64(len(sorted))/float64(max(faults, 1)))
	p.Add(grid{}, t)
	return svg(p, z, says)
}
