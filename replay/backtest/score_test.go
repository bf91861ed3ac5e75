package backtest

import (
	"math"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"
)

var near = cmpopts.EquateApprox(0, 1e-9)

func list(names ...string) []Suspect {
	out := make([]Suspect, len(names))
	for i, n := range names {
		out[i] = Suspect{n, 1 / float64(i+2)}
	}
	return out
}

func TestAccuracyCountsWhatCanBeThere(t *testing.T) {
	r := list("a", "b", "c", "d")
	for _, c := range []struct {
		truth []string
		want  [5]float64 // AC@1 to AC@5
	}{
		{[]string{"a"}, [5]float64{1, 1, 1, 1, 1}},
		{[]string{"c"}, [5]float64{0, 0, 1, 1, 1}},
		{[]string{"x"}, [5]float64{}},
		{[]string{"a", "c"}, [5]float64{1, .5, 1, 1, 1}},
		{[]string{"b", "x", "d"}, [5]float64{0, .5, 1. / 3, 2. / 3, 2. / 3}},
		{nil, [5]float64{}},
	} {
		var got [5]float64
		for k := range got {
			got[k] = accuracy(r, c.truth, k+1)
		}
		if diff := cmp.Diff(c.want, got, near); diff != "" {
			t.Errorf("%v: %s", c.truth, diff)
		}
	}
}

func TestRanksByHand(t *testing.T) {
	faults := []Fault{
		{Services: []string{"a"}, Ranking: list("a", "b")},      // 1 1 1 1 1
		{Services: []string{"c"}, Ranking: list("a", "b", "c")}, // 0 0 1 1 1
		{Services: []string{"a"}, Ranking: nil},                 // 0 0 0 0 0
		{Services: []string{"a"}, Ranking: list("b", "a", "c")}, // 0 1 1 1 1
	}
	r := ranksOf(faults, func(f *Fault) []Suspect { return f.Ranking })
	got := []float64{r.AC1.Value, r.AC3.Value, r.AC5.Value, r.Avg5.Value}
	if diff := cmp.Diff([]float64{.25, .75, .75, (1 + .6 + 0 + .8) / 4}, got, near); diff != "" {
		t.Error(diff)
	}
	if r.Avg5.N != 4 || r.Avg5.Low >= r.Avg5.Value || r.Avg5.High <= r.Avg5.Value {
		t.Errorf("interval %+v", r.Avg5)
	}
}

func TestAccuracyNeverFallsWithMorePlacesForOneCause(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		name := rapid.SampledFrom([]string{"a", "b", "c", "d", "e", "f", "g"})
		r := list(rapid.SliceOfNDistinct(name, 0, 7, rapid.ID[string]).Draw(t, "ranking")...)
		truth := []string{name.Draw(t, "truth")}
		last := 0.
		for k := 1; k <= 7; k++ {
			x := accuracy(r, truth, k)
			if x < last || x > 1 {
				t.Fatalf("AC@%d is %v after %v", k, x, last)
			}
			last = x
		}
		want := 0.
		if slices.ContainsFunc(r, func(s Suspect) bool { return s.Service == truth[0] }) {
			want = 1
		}
		if last != want {
			t.Fatalf("AC@7 is %v", last)
		}
	})
}

// The intervals are those that tables and other programs give.
func TestWilsonIntervals(t *testing.T) {
	for _, c := range []struct {
		hits float64
		n    int
		want Share
	}{
		{0, 0, Share{High: 1}},
		{8, 10, Share{.8, .4901625, .9433178, 10}},
		{10, 10, Share{1, .7224672, 1, 10}},
		{0, 10, Share{0, 0, .2775328, 10}},
		{34, 56, Share{34. / 56, .4763340, .7241958, 56}},
	} {
		if diff := cmp.Diff(c.want, Wilson(c.hits, c.n), cmpopts.EquateApprox(0, 1e-6)); diff != "" {
			t.Errorf("%v of %d: %s", c.hits, c.n, diff)
		}
	}
}

func TestABootstrapIsTheSameEveryTimeAndAboutRight(t *testing.T) {
	values := make([]float64, 200)
	for i := range values {
		values[i] = float64(i%5) / 4
	}
	a, b := meanOf(values), meanOf(values)
	if a != b {
		t.Errorf("%+v and %+v", a, b)
	}
	half := z95 * math.Sqrt(.125/200) // the variance of 0, 1/4, ..., 1 is 1/8
	if math.Abs(a.Low-(.5-half)) > .01 || math.Abs(a.High-(.5+half)) > .01 {
		t.Errorf("%+v, want about %.3f to %.3f", a, .5-half, .5+half)
	}
	if s := meanOf([]float64{.6, .6, .6}); s.Low >= .6 || s.High <= .6 {
		t.Errorf("three equal values leave no doubt: %+v", s)
	}
}

func TestQuartilesInterpolate(t *testing.T) {
	if diff := cmp.Diff(Spread{N: 4, Median: 25, P25: 17.5, P75: 32.5}, SpreadOf([]float64{40, 10, 30, 20})); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(Spread{N: 1, Median: 7, P25: 7, P75: 7}, SpreadOf([]float64{7})); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(Spread{}, SpreadOf(nil)); diff != "" {
		t.Error(diff)
	}
}

func TestCalibrationByHand(t *testing.T) {
	c := calibrationOf([]answer{{.9, 1}, {.8, 1}, {.6, 0}, {.3, 0}})
	// Brier: (.01 + .04 + .36 + .09) / 4; the base rate of 1/2 scores 1/4.
	// Of the most certain 1, 2, 3, 4 answers 0, 0, 1, 2 are wrong.
	want := Calibration{
		N: 4, Brier: .125, BrierSkill: .5, Noise: true, AURC: (0 + 0 + 1./3 + .5) / 4,
		ECE:          Share{Value: (.1 + .2 + .6 + .3) / 4, N: 4},
		Bins:         []Bin{{1, .3, 0}, {1, .6, 0}, {1, .8, 1}, {1, .9, 1}},
		RiskCoverage: []RiskCoverage{{.25, 0}, {.5, 0}, {.75, 1. / 3}, {1, .5}},
	}
	c.ECE.Low, c.ECE.High = 0, 0
	if diff := cmp.Diff(want, c, near); diff != "" {
		t.Error(diff)
	}
}

func TestTenBinsOfEqualMass(t *testing.T) {
	var answers []answer
	for i := range 205 {
		answers = append(answers, answer{float64(i) / 205, float64(i % 2)})
	}
	c := calibrationOf(answers)
	if len(c.Bins) != 10 || c.Noise {
		t.Fatalf("%d bins, noise %v", len(c.Bins), c.Noise)
	}
	total := 0
	for i, b := range c.Bins {
		total += b.N
		if b.N < 20 || b.N > 21 || i > 0 && b.Predicted <= c.Bins[i-1].Predicted {
			t.Errorf("bin %d: %+v", i, b)
		}
	}
	if total != 205 {
		t.Errorf("%d answers in the bins", total)
	}
}

func TestSkillNeedsSomethingToBeat(t *testing.T) {
	if c := calibrationOf([]answer{{.7, 1}, {.8, 1}, {.9, 1}}); c.BrierSkill != 0 {
		t.Errorf("skill %v where every answer is right", c.BrierSkill)
	}
	if c := calibrationOf(nil); c.N != 0 || c.Bins == nil || c.RiskCoverage == nil {
		t.Errorf("of nothing: %+v", c)
	}
}

func TestEquallyCertainAnswersShareTheirErrors(t *testing.T) {
	curve, area := riskOf([]answer{{.5, 0}, {.5, 1}, {.9, 1}})
	want := []RiskCoverage{{1. / 3, 0}, {2. / 3, .25}, {1, 1. / 3}}
	if diff := cmp.Diff(want, curve, near); diff != "" {
		t.Error(diff)
	}
	if math.Abs(area-(0+.25+1./3)/3) > 1e-12 {
		t.Errorf("area %v", area)
	}
}

// Twenty answers that all say one half, of which one half is right, are as well
// calibrated as can be, whichever of them share a bin.
func TestEquallyCertainAnswersShareTheirBins(t *testing.T) {
	var answers []answer
	for i := range 20 {
		answers = append(answers, answer{.5, float64(i % 2)})
	}
	c := calibrationOf(answers)
	if math.Abs(c.ECE.Value) > 1e-12 {
		t.Errorf("error %v: %+v", c.ECE.Value, c.Bins)
	}
}

func TestScoresStayInTheirBoundsAndIgnoreTheOrder(t *testing.T) {
	draw := rapid.Custom(func(t *rapid.T) answer {
		return answer{float64(rapid.IntRange(0, 20).Draw(t, "p")) / 20, float64(rapid.IntRange(0, 1).Draw(t, "right"))}
	})
	rapid.Check(t, func(t *rapid.T) {
		answers := rapid.SliceOfN(draw, 1, 30).Draw(t, "answers")
		shuffled := rapid.Permutation(answers).Draw(t, "shuffled")
		a, b := calibrationOf(answers), calibrationOf(shuffled)
		for name, x := range map[string]float64{"brier": a.Brier, "ece": a.ECE.Value, "aurc": a.AURC, "low": a.ECE.Low, "high": a.ECE.High} {
			if !(x >= -1e-12 && x <= 1+1e-12) {
				t.Fatalf("%s is %v", name, x)
			}
		}
		a.ECE.Low, a.ECE.High, b.ECE.Low, b.ECE.High = 0, 0, 0, 0 // draws by place
		if diff := cmp.Diff(a, b, near); diff != "" {
			t.Fatal(diff)
		}
		if last := a.RiskCoverage[len(a.RiskCoverage)-1]; last.Coverage != 1 {
			t.Fatalf("the curve ends at %v", last.Coverage)
		}
	})
}

func TestSummariesAreBySourceAndWeighTime(t *testing.T) {
	f := func(x float64) *float64 { return &x }
	at := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	hit := Fault{
		Services: []string{"a"}, DetectedAt: &at, DelaySeconds: f(30), LeadSeconds: f(60), OracleRanking: list("a"), Ranking: list("a"),
		OwnRank: 1, Confidence: &Confidence{P: .8},
	}
	missed := Fault{Services: []string{"a"}, OracleRanking: list("b", "a")}
	got := Summarise([]Bundle{
		{Source: "x", FaultFreeSeconds: 86400, FalseAlarms: 3, TimeInAlarmRatio: .1, Faults: []Fault{hit, missed}, Actions: 2, WrongActions: 1},
		{Source: "x", FaultFreeSeconds: 2 * 86400, TimeInAlarmRatio: .4, Faults: []Fault{}, WrongProposals: 4},
		{Source: "x", Error: "cut off", Faults: []Fault{}},
		{Source: "y", Faults: []Fault{missed}},
	})
	x := got["x"]
	if x.Bundles != 2 || x.Failed != 1 || x.Faults != 2 || x.Detected.Value != .5 || x.FalseAlarmsPerDay != 1 ||
		math.Abs(x.TimeInAlarmRatio-.3) > 1e-12 || x.Actions != 2 || x.WrongActions != 1 || x.WrongProposals != 4 ||
		x.DelaySeconds.Median != 30 || x.LeadSeconds.N != 1 || x.Oracle.AC1.Value != .5 || x.EndToEnd.AC1.Value != .5 || x.Calibration.N != 1 {
		t.Errorf("%+v", x)
	}
	if y := got["y"]; y.Faults != 1 || y.Detected.Value != 0 || y.Oracle.AC3.Value != 1 || y.FalseAlarmsPerDay != 0 {
		t.Errorf("%+v", y)
	}
}
