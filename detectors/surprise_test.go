package detectors

import (
	"math"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// dice is a small deterministic generator.
type dice uint64

func (g *dice) next() float64 {
	*g = *g*6364136223846793005 + 1442695040888963407
	return (float64(*g>>11) + .5) / (1 << 53)
}

func (g *dice) gauss() float64 {
	return math.Sqrt(-2*math.Log(g.next())) * math.Cos(2*math.Pi*g.next())
}

// noises are what deviations of sane series look like, in scales.
var noises = map[string]func(*dice) float64{
	"gaussian":       func(g *dice) float64 { return math.Abs(g.gauss()) },
	"exponential":    func(g *dice) float64 { return -2 * math.Log(g.next()) },
	"pareto, 3":      func(g *dice) float64 { return 2 * (math.Pow(g.next(), -1./3) - 1) },
	"pareto, 1.5":    func(g *dice) float64 { return 2 * (math.Pow(g.next(), -1/1.5) - 1) },
	"hourly spikes":  func(g *dice) float64 { return math.Abs(g.gauss()) + 40*math.Floor(g.next()+1./60) },
	"steadier still": func(g *dice) float64 { return .2 * math.Abs(g.gauss()) },
}

// TestRarityIsCalibrated: what is called one in 10^r comes no more often than
// three times that, whatever the tail; nor is the rare thing called common.
func TestRarityIsCalibrated(t *testing.T) {
	const samples = 300000
	for name, noise := range noises {
		s, g := newSurprise(kinDelays), dice(7)
		var beyond [5]float64
		for k := range samples {
			d := noise(&g)
			if r := s.decades(d); k > 2000 {
				for i := range beyond {
					if r >= float64(i) {
						beyond[i]++
					}
				}
			}
			s.learn(d)
		}
		for i := 1; i < len(beyond); i++ {
			share, claimed := beyond[i]/(samples-2000), math.Pow(10, -float64(i))
			if share > 3*claimed {
				t.Errorf("%s: %d decades come with a share of %.2g", name, i, share)
			}
		}
	}
}

// TestEvidenceOfChance: a CUSUM of decades with an allowance of one exceeds h
// with a chance of at most 10^(-.863 h).
func TestEvidenceOfChance(t *testing.T) {
	const samples = 3000000
	g := dice(3)
	var sum float64
	var beyond [6]float64
	for range samples {
		sum = max(0, sum-math.Log10(g.next())-allowance)
		for h := range beyond {
			if sum > float64(h) {
				beyond[h]++
			}
		}
	}
	for h := 1; h < len(beyond); h++ {
		if share := beyond[h] / samples; share > math.Pow(10, -.863*float64(h)) {
			t.Errorf("%d decades are gathered for a share of %.2g of the time", h, share)
		}
	}
}

// TestTroubleDoesNotMakeItselfUsual: while a run lasts, its rarity stays.
func TestTroubleDoesNotMakeItselfUsual(t *testing.T) {
	s, h, g := newSurprise(kinDelays), newHoard(), dice(1)
	for range 500 {
		s.learn(math.Abs(g.gauss()))
		h.learn(.5 * g.next())
	}
	before, sum := s.decades(20), h.decades(9)
	for range 50 {
		s.learn(20)
		h.learn(9)
	}
	if s.decades(20) != before || h.decades(9) != sum {
		t.Error("the run has taught before it was over")
	}
	s.forget()
	h.forget()
	s.learn(0)
	h.learn(0)
	if s.decades(20) < before || h.decades(9) < sum {
		t.Error("a run that was named trouble has taught")
	}
	s.learn(20)
	s.learn(0)
	if s.decades(20) >= before {
		t.Error("a run that is over has taught nothing")
	}
}

// TestRarityRises with the deviation, and is finite.
func TestRarityRises(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := newSurprise(kin(rapid.IntRange(0, int(kins)-1).Draw(t, "kin")))
		d := rapid.OneOf(rapid.Float64Range(0, 10), rapid.Float64Range(0, 1e100))
		for range rapid.IntRange(0, 200).Draw(t, "samples") {
			s.learn(d.Draw(t, "learned"))
		}
		a, b := d.Draw(t, "a"), d.Draw(t, "b")
		x, y := s.decades(min(a, b)), s.decades(max(a, b))
		if !(x <= y) || x < 0 || math.IsInf(y, 0) {
			t.Fatalf("%v decades below %v", x, y)
		}
	})
}

// ledger is a calendar that keeps every half hour it was ever told of.
type ledger map[int][]float64

func (l ledger) mean(slots ...int) float64 {
	for _, s := range slots {
		v := unseen64
		for i, x := range l[s] {
			if i == 0 {
				v = x
			} else {
				v += seasonStep * (x - v)
			}
		}
		if known(v) {
			return v
		}
	}
	return unseen64
}

var unseen64 = math.NaN()

// TestCalendarAgainstLedger: the table in two small arrays says what a ledger of
// all visits says.
func TestCalendarAgainstLedger(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c, l := newCalendar(), ledger{}
		for range rapid.IntRange(0, 300).Draw(t, "visits") {
			slot := rapid.IntRange(0, weekBuckets-1).Draw(t, "slot")
			x := rapid.Float64Range(0, 1000).Draw(t, "x")
			c.enter(slot, float32(x))
			l[slot] = append(l[slot], x)
			l[-1-slot%dayBuckets] = append(l[-1-slot%dayBuckets], x)
		}
		for slot := range weekBuckets {
			got, want := float64(c.at(slot)), l.mean(slot, -1-slot%dayBuckets)
			if known(got) != known(want) || known(want) && math.Abs(got-want) > 1e-3*max(1, want) {
				t.Fatalf("half hour %d is %v, want %v", slot, got, want)
			}
		}
	})
}

// TestSlotsFollowTheWeek, also before 1970.
func TestSlotsFollowTheWeek(t *testing.T) {
	seen := map[int]bool{}
	from := time.Date(1969, 12, 28, 0, 0, 0, 0, time.UTC)
	for k := range weekBuckets {
		at := from.Add(time.Duration(k) * bucket * time.Second)
		s := slot(at.Unix(), weekBuckets)
		if seen[s] || s != slot(at.Add(7*24*time.Hour).Unix(), weekBuckets) {
			t.Fatalf("half hour %d is slot %d", k, s)
		}
		seen[s] = true
	}
}

// TestDeviationMedianAgainstSorting: the running median of deviations is near
// the true one, and a fifth of wild samples hardly moves it.
func TestDeviationMedianAgainstSorting(t *testing.T) {
	for _, wild := range []float64{0, .2} {
		var a series
		g, st := dice(5), step{slow: .002}
		var all []float64
		for range 5000 {
			e := math.Abs(g.gauss())
			if g.next() < wild {
				e *= 1000
			}
			a.level.n++
			a.wander(e, .01, &st)
			all = append(all, e)
		}
		slices.Sort(all)
		if truth := all[len(all)/2]; math.Abs(a.off-truth) > .15*truth {
			t.Errorf("wild %v: median %v, want %v", wild, a.off, truth)
		}
		if wild > 0 && a.off > 2 {
			t.Errorf("wild samples move the median to %v", a.off)
		}
	}
}
