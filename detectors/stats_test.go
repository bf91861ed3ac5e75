package detectors

import (
	"math"
	"testing"

	"pgregory.net/rapid"

	"github.com/sreagent/sreagent/sre"
)

func TestWilson(t *testing.T) {
	for _, c := range []struct{ p, n, want float64 }{
		{.5, 100, .4038}, {.1, 50, .0435}, {0, 10, 0}, {1, 10, .7225}, {.3, 0, 0}, {2, 10, .7225},
	} {
		if got := wilson(c.p, c.n); math.Abs(got-c.want) > 5e-4 {
			t.Errorf("wilson(%v, %v) = %.4f, want %.4f", c.p, c.n, got, c.want)
		}
	}
}

func TestWilsonStaysBelowTheShare(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p, n := rapid.Float64Range(0, 1).Draw(t, "p"), rapid.Float64Range(0, 1e6).Draw(t, "n")
		w := wilson(p, n)
		if w < 0 || w > p+1e-9 || wilson(p, n+10) < w-1e-9 {
			t.Fatalf("wilson(%v, %v) = %v, with ten more %v", p, n, w, wilson(p, n+10))
		}
	})
}

func TestMeanIsPlainWhileYoung(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		xs := rapid.SliceOfN(rapid.Float64Range(-1e3, 1e3), 1, 9).Draw(t, "xs")
		var m mean
		var sum float64
		for _, x := range xs {
			m.add(x, .1)
			sum += x
		}
		if want := sum / float64(len(xs)); math.Abs(m.v-want) > 1e-9*(1+math.Abs(want)) {
			t.Fatalf("mean of %v is %v, want %v", xs, m.v, want)
		}
		if known(m.value(int32(len(xs)) + 1)) {
			t.Fatal("a mean of too few samples has a value")
		}
	})
}

func TestRecentCountsLikeASlice(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		history := rapid.SliceOfN(rapid.Bool(), 0, 30).Draw(t, "history")
		n, k := rapid.IntRange(1, 8).Draw(t, "n"), rapid.IntRange(0, 8).Draw(t, "k")
		var r recent
		for _, b := range history {
			r.push(b)
		}
		count := 0
		for i := max(0, len(history)-n); i < len(history); i++ {
			if history[i] {
				count++
			}
		}
		if got := r.of(k, n); got != (count >= k) {
			t.Fatalf("%d of %d in %v: %v", k, n, history, got)
		}
	})
}

// TestTrendIsTheWeightedLine compares the streaming regression with the textbook
// one over all samples.
func TestTrendIsTheWeightedLine(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		xs := rapid.SliceOfN(rapid.Float64Range(0, 100), 3, 60).Draw(t, "xs")
		dt, tau := rapid.Float64Range(1, 60).Draw(t, "dt"), 300.
		var tr trend
		for k, x := range xs {
			tr.add(float64(k)*dt, x, dt, tau)
		}
		var w, mt, mx float64
		weight := func(k int) float64 { return math.Exp(-float64(len(xs)-1-k) * dt / tau) }
		for k, x := range xs {
			w += weight(k)
			mt += weight(k) * float64(k) * dt
			mx += weight(k) * x
		}
		mt, mx = mt/w, mx/w
		var tt, tx float64
		for k, x := range xs {
			d := float64(k)*dt - mt
			tt += weight(k) * d * d
			tx += weight(k) * d * (x - mx)
		}
		if got, want := tr.tx/tr.tt, tx/tt; math.Abs(got-want) > 1e-6*(1+math.Abs(want)) {
			t.Fatalf("slope is %v, want %v", got, want)
		}
		if math.Abs(tr.x-mx) > 1e-6 || math.Abs(tr.w-w) > 1e-6 {
			t.Fatalf("mean %v weight %v, want %v %v", tr.x, tr.w, mx, w)
		}
	})
}

func TestRampAndPercent(t *testing.T) {
	if ramp(1, 2, 4) != 0 || ramp(3, 2, 4) != .5 || ramp(9, 2, 4) != 1 || ramp(2, 2, 2) != 1 || ramp(1, 2, 2) != 0 {
		t.Error("ramp is off")
	}
	for share, want := range map[float64]string{0: "0 %", .004: "0.4 %", .38: "38 %", 1: "100 %"} {
		if got := percent(share); got != want {
			t.Errorf("percent(%v) = %q, want %q", share, got, want)
		}
	}
}

func TestAmountSpeaksTheUnit(t *testing.T) {
	for _, c := range []struct {
		v    float64
		unit sre.Unit
		want string
	}{
		{.25, sre.Ratio, "25 %"}, {25, sre.Percent, "25 %"}, {.25, sre.Seconds, "250 ms"}, {12, sre.Seconds, "12.0 s"},
		{7, sre.PerSecond, "7.0 per second"}, {5e8, sre.Bytes, "500 MB"}, {7, sre.Count, "7"},
	} {
		if got := amount(c.v, c.unit); got != c.want {
			t.Errorf("amount(%v, %s) = %q, want %q", c.v, c.unit, got, c.want)
		}
	}
}
