package report

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"html/template"
	"io"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"gonum.org/v1/plot/text"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgsvg"
	"pgregory.net/rapid"

	"github.com/sreagent/sreagent/replay/backtest"
	"github.com/sreagent/sreagent/sre"
)

// wellFormed fails where a picture is not XML or holds what is no number.
func wellFormed(t interface{ Fatalf(string, ...any) }, picture template.HTML) {
	d := xml.NewDecoder(strings.NewReader("<x>" + string(picture) + "</x>"))
	for {
		_, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatalf("picture is not XML: %v", err)
		}
	}
	for _, bad := range []string{"NaN", "Inf"} {
		if strings.Contains(string(picture), bad) {
			t.Fatalf("picture holds %s", bad)
		}
	}
}

func TestPanelsTakeAnyNumbers(t *testing.T) {
	odd := []float64{0, math.NaN(), math.Inf(1), math.Inf(-1), math.MaxFloat64, -math.MaxFloat64, 5e-324, 1e29, -1e29}
	rapid.Check(t, func(t *rapid.T) {
		values := rapid.SliceOfN(rapid.OneOf(rapid.Float64(), rapid.SampledFrom(odd)), 0, 60).Draw(t, "values")
		length := rapid.IntRange(0, 1_000_000).Draw(t, "length")
		unit := rapid.SampledFrom(append(sre.Units(), "strange")).Draw(t, "unit")
		s := &scene{start: noon, end: after(length), faults: []window{{after(-50), after(length * 2)}}}
		s.shading = []band{{after(0), after(length / 2), sre.Acting}}
		line := Series{Name: "x", Unit: unit, Values: values}
		for i := range values {
			line.Times = append(line.Times, after(i*length/60))
		}
		for _, z := range []size{wide(126), narrow(132)} {
			wellFormed(t, s.panel(z, "says", line))
		}
	})
}

func TestScoreChartsTakeAnyNumbers(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		odd := rapid.OneOf(rapid.Float64Range(-1, 2), rapid.SampledFrom([]float64{math.NaN(), math.Inf(1), 1e300}))
		var bins []backtest.Bin
		var risks []backtest.RiskCoverage
		for range rapid.IntRange(0, 12).Draw(t, "n") {
			bins = append(bins, backtest.Bin{N: rapid.IntRange(-2, 900).Draw(t, "cases"), Predicted: odd.Draw(t, "p"), Observed: odd.Draw(t, "o")})
			risks = append(risks, backtest.RiskCoverage{Coverage: odd.Draw(t, "c"), Risk: odd.Draw(t, "r")})
		}
		wellFormed(t, reliability(bins, "says"))
		wellFormed(t, riskCoverage(risks, "says"))
		wellFormed(t, delays(rapid.SliceOf(rapid.Float64()).Draw(t, "delays"), rapid.IntRange(0, 40).Draw(t, "faults"), "says"))
	})
}

// TestDataAreasStandAboveEachOther holds charts of one run to one time axis.
func TestDataAreasStandAboveEachOther(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := &scene{start: noon, end: after(rapid.IntRange(1, 2_000_000).Draw(t, "length"))}
		unit := rapid.SampledFrom(sre.Units()).Draw(t, "unit")
		hi := math.Pow(10, rapid.Float64Range(-6, 12).Draw(t, "size"))
		for _, z := range []size{wide(126), narrow(132)} {
			p := newPlot(z)
			s.timeAxis(p, z)
			p.Y.Min, p.Y.Max = 0, max(hi, floor(unit))
			p.Y.Tick.Marker = niceTicks(0, p.Y.Max, 3, func(v float64) string { return quantity(v, unit) })
			got := p.DataCanvas(fit(p, z, draw.New(vgsvg.New(vg.Length(z.width), vg.Length(z.height)))))
			if math.Abs(float64(got.Min.X)-z.left) > 0.1 || math.Abs(float64(got.Max.X)-(z.width-right)) > 0.1 {
				t.Fatalf("data area is %v to %v, want %v to %v", got.Min.X, got.Max.X, z.left, z.width-right)
			}
		}
	})
}

// TestTimeLabelsDoNotOverlap measures labels as wide as readers' fonts make them.
func TestTimeLabelsDoNotOverlap(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		length := rapid.IntRange(1, 40_000_000).Draw(t, "length")
		s := &scene{start: after(rapid.IntRange(0, 86400).Draw(t, "start"))}
		s.end = s.start.Add(time.Duration(length) * time.Second)
		for _, z := range []size{wide(126), narrow(132)} {
			perSecond := (z.width - z.left - right) / float64(length)
			edge, labels := 0.0, 0
			for i, k := range s.timeTicks(z) {
				if k.Label == "" {
					continue
				}
				labels++
				half := labelWidth(z, k.Label) / 2
				at := k.Value * perSecond
				if i > 0 && edge > 0 && at-half < edge {
					t.Fatalf("%s: label %q begins at %.0f, the one before ends at %.0f", z.class, k.Label, at-half, edge)
				}
				edge = at + half + 2
			}
			if labels > z.labels+1 {
				t.Fatalf("%s: %d labels on %s", z.class, labels, s.end.Sub(s.start))
			}
		}
	})
}

func labelWidth(z size, s string) float64 {
	style := text.Style{Font: lettering(z.font), Handler: label(z, "mark").Handler}
	return float64(style.Width(s)) * slack
}

// TestLaneLabelsDoNotOverlap reads the labels of one lane back from the picture:
// none runs into the next one or into the sign of the next mark.
func TestLaneLabelsDoNotOverlap(t *testing.T) {
	text := regexp.MustCompile(`<text x="([0-9.]+)"[^>]*>m([0-9]+)</text>`)
	rapid.Check(t, func(t *rapid.T) {
		at := rapid.SliceOfN(rapid.IntRange(0, 5000), 1, 60).Draw(t, "at")
		slices.Sort(at)
		var marks []mark
		for i, sec := range at {
			marks = append(marks, mark{at: after(sec), shape: ring{}, label: "m" + strconv.Itoa(i)})
		}
		s := &scene{start: noon, end: after(5000)}
		for _, z := range []size{wide(0), narrow(0)} {
			picture := s.lanes(z, "says", []lane{{name: "decided", marks: marks}})
			wellFormed(t, picture)
			place := func(sec int) float64 { return z.left + (z.width-right-z.left)*float64(sec)/5000 }
			for _, m := range text.FindAllStringSubmatch(string(picture), -1) {
				x, _ := strconv.ParseFloat(m[1], 64)
				i, _ := strconv.Atoi(m[2])
				end := x + labelWidth(z, "m"+m[2])
				if i+1 < len(at) && end > place(at[i+1])-4 || end > z.width+1 {
					t.Fatalf("%s: label %d ends at %.0f, the next sign stands at %v", z.class, i, end, at[min(i+1, len(at)-1)])
				}
			}
		}
	})
}

func TestNiceSteps(t *testing.T) {
	for step, want := range map[float64]float64{1: 1, 1.1: 2, 2.2: 2.5, 3: 5, 6: 10, 0.03: 0.05, 700: 1000} {
		if got := niceStep(step); math.Abs(got-want) > want*1e-9 {
			t.Errorf("step of %v is %v, want %v", step, got, want)
		}
	}
}

func TestGapsBreakTheLine(t *testing.T) {
	s := &scene{start: noon, end: after(60)}
	line := Series{Name: "x", Unit: sre.Count, Values: []float64{1, 2, math.NaN(), 3, math.NaN(), 4, 5}}
	for i := range line.Values {
		line.Times = append(line.Times, after(i*10))
	}
	strokes := regexp.MustCompile(`stroke:#0B62A4`).FindAllString(string(s.panel(wide(126), "says", line)), -1)
	if len(strokes) != 2 {
		t.Errorf("%d strokes, want 2 with a dot between", len(strokes))
	}
}

// TestEdgesAreDrawn holds a line at the very top or bottom, whose rounding may
// leave the data area, to its full length.
func TestEdgesAreDrawn(t *testing.T) {
	for _, height := range []float64{126, 132, 150, 190} {
		for _, v := range []float64{0, 1} {
			s := &scene{start: noon, end: after(60)}
			line := Series{Name: "goodput", Unit: sre.Ratio, Times: []time.Time{after(0), after(20), after(60)}, Values: []float64{v, v, v}}
			picture := string(s.panel(wide(height), "says", line))
			m := regexp.MustCompile(`d="M92,[0-9.]+L[0-9.]+,[0-9.]+L1028,[0-9.]+" style="fill:none;stroke:#0B62A4`).FindString(picture)
			if m == "" {
				t.Errorf("a share of %v is not drawn from side to side at height %v", v, height)
			}
		}
	}
}

// TestLaneNamesFit measures the names beside the axis as wide as readers' fonts
// make them.
func TestLaneNamesFit(t *testing.T) {
	for z, names := range map[size][]string{wide(0): {"incident 9999", "no sight"}, narrow(0): {"inc. 9999", "no sight", "decided"}} {
		for _, n := range names {
			if w := labelWidth(z, n); w > z.left-4 {
				t.Errorf("%s: %q is %.0f wide, there is room for %.0f", z.class, n, w, z.left-4)
			}
		}
	}
}

func TestABinIsNoSurerThanItsCases(t *testing.T) {
	// Reference values of the Wilson score interval for 8 of 10, 0 of 5 and 5 of 5, which is
	// all that a share above 1 can mean.
	for _, c := range []struct {
		share     float64
		n         int
		low, high float64
	}{{0.8, 10, 0.4902, 0.9433}, {0, 5, 0, 0.4345}, {1.2, 5, 0.5655, 1}} {
		low, high := likely(backtest.Bin{N: c.n, Observed: c.share})
		if math.Abs(low-c.low) > 5e-5 || math.Abs(high-c.high) > 5e-5 {
			t.Errorf("%v of %d: %.4f to %.4f, want %.4f to %.4f", c.share, c.n, low, high, c.low, c.high)
		}
	}
}

func luminance(hex string) float64 {
	n, _ := strconv.ParseUint(hex[1:], 16, 32)
	channel := func(shift uint) float64 {
		v := float64(n>>shift&255) / 255
		if v <= 0.04045 {
			return v / 12.92
		}
		return math.Pow((v+0.055)/1.055, 2.4)
	}
	return 0.2126*channel(16) + 0.7152*channel(8) + 0.0722*channel(0)
}

func contrast(a, b string) float64 {
	x, y := luminance(a), luminance(b)
	return (max(x, y) + 0.05) / (min(x, y) + 0.05)
}

// TestContrast holds the palette to WCAG AA: 4.5 for text, 3 for lines.
func TestContrast(t *testing.T) {
	by := map[string]shade{}
	seen := map[string]string{}
	for _, s := range palette() {
		by[s.role] = s
		if other := seen[s.light]; other != "" {
			t.Errorf("%s and %s have one light colour: the style sheet cannot tell them apart", s.role, other)
		}
		seen[s.light] = s.role
	}
	const light, dark = "#FFFFFF", "#12161B"
	for _, role := range []string{"look", "ask", "act", "verify", "calm", "lift", "alarm", "blind"} {
		if c := contrast(by["mark"].light, by[role].light); c < 4.5 {
			t.Errorf("text on %s, light: %.1f", role, c)
		}
		if c := contrast(by["mark"].dark, by[role].dark); c < 4.5 {
			t.Errorf("text on %s, dark: %.1f", role, c)
		}
		if role == "blind" {
			continue
		}
		for _, line := range []string{"one", "two"} {
			if c := contrast(by[line].light, by[role].light); c < 3 {
				t.Errorf("line %s on %s, light: %.1f", line, role, c)
			}
			if c := contrast(by[line].dark, by[role].dark); c < 3 {
				t.Errorf("line %s on %s, dark: %.1f", line, role, c)
			}
		}
	}
	for _, role := range []string{"axis", "one", "two", "fault", "mark", "ideal"} {
		if a, b := contrast(by[role].light, light), contrast(by[role].dark, dark); a < 3 || b < 3 {
			t.Errorf("%s on paper: %.1f light, %.1f dark", role, a, b)
		}
	}
	sheet, err := files.ReadFile("page/style.css")
	if err != nil {
		t.Fatal(err)
	}
	schemes := bytes.SplitN(sheet, []byte("@media screen and (prefers-color-scheme:dark)"), 2)
	for i, part := range schemes {
		get := func(name string) string {
			m := regexp.MustCompile(`--` + name + `:(#[0-9a-f]{3,6})`).FindSubmatch(part)
			if m == nil {
				t.Fatalf("no --%s in scheme %d", name, i)
			}
			if h := string(m[1]); len(h) == 7 {
				return h
			}
			return fmt.Sprintf("#%[1]c%[1]c%[2]c%[2]c%[3]c%[3]c", m[1][1], m[1][2], m[1][3])
		}
		for _, pair := range [][2]string{{"ink", "paper"}, {"dim", "paper"}, {"dim", "soft"}, {"link", "paper"}, {"good", "paper"}, {"bad", "paper"}, {"bad", "soft"}, {"ink", "s1"}, {"ink", "s2"}, {"ink", "s3"}, {"s4ink", "s4"}} {
			if c := contrast(get(pair[0]), get(pair[1])); c < 4.5 {
				t.Errorf("scheme %d: %s on %s: %.1f", i, pair[0], pair[1], c)
			}
		}
	}
}
