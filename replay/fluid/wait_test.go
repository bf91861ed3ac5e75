package fluid

import (
	"math"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// erlangC is the textbook formula, by sums of logarithms.
func erlangC(c int, rho float64) float64 {
	a := float64(c) * rho
	sum, log := 0.0, 0.0
	for k := range c {
		if k > 0 {
			log += math.Log(a / float64(k))
		}
		sum += math.Exp(log)
	}
	last := math.Exp(log+math.Log(a/float64(c))) / (1 - rho)
	return last / (sum + last)
}

func TestAllBusyIsErlangsC(t *testing.T) {
	for _, c := range []int{1, 2, 3, 8, 16, 40, 64} {
		for _, rho := range []float64{0.3, 0.501, 0.7, 0.83, 0.9, 0.95, 0.979} {
			want, got := erlangC(c, rho), allBusy(float64(c), rho)
			if math.Abs(got-want) > 0.03*want+1e-6 {
				t.Errorf("c %d rho %g: %g, want %g", c, rho, got, want)
			}
		}
	}
}

func TestAllBusyIsMonotone(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := rapid.Float64Range(0.5, 100).Draw(t, "c")
		rho := rapid.Float64Range(0, 1).Draw(t, "rho")
		more := rapid.Float64Range(rho, 1).Draw(t, "more")
		p, q := allBusy(c, rho), allBusy(c, more)
		if p < 0 || q > 1 || q < p-1e-7 {
			t.Fatalf("%g at %g, %g at %g", p, rho, q, more)
		}
		if wide := allBusy(c+1, rho); wide > p+1e-7 {
			t.Fatalf("more servers, more waiting: %g, %g", p, wide)
		}
	})
}

func TestTardy(t *testing.T) {
	for _, c := range []struct{ left, rest, want float64 }{
		{0, 1, 1}, {-1, 1, 1}, {1, 1, math.Exp(-1)}, {3, 2, math.Exp(-1.5)}, {14, 1, 0}, {1, 0, 0},
	} {
		if got := tardy(c.left, c.rest); got != c.want {
			t.Errorf("tardy(%g, %g) = %g, want %g", c.left, c.rest, got, c.want)
		}
	}
}

func TestDrawIsPoisson(t *testing.T) {
	for _, mean := range []float64{0, 0.3, 4, 49, 51, 900} {
		const n = 20000
		var sum, squares float64
		for k := range int64(n) {
			x := draw(7, 3, k, mean)
			if x < 0 || x != math.Trunc(x) {
				t.Fatalf("mean %g: drew %g", mean, x)
			}
			sum += x
			squares += x * x
		}
		got := sum / n
		variance := squares/n - got*got
		if math.Abs(got-mean) > 5*math.Sqrt(mean/n) || math.Abs(variance-mean) > 0.06*mean {
			t.Errorf("mean %g variance %g, want %g", got, variance, mean)
		}
	}
	if draw(1, 0, 5, 30) == draw(2, 0, 5, 30) && draw(1, 0, 6, 30) == draw(2, 0, 6, 30) && draw(1, 0, 7, 30) == draw(2, 0, 7, 30) {
		t.Error("the seed changes nothing")
	}
}

// With noise the wait comes partly from the drawn arrivals and partly from the
// formula; together they must give the textbook's mean again.
func TestNoisyWaitIsNotCountedTwice(t *testing.T) {
	if testing.Short() {
		t.Skip("runs an hour of noise")
	}
	for _, rho := range []float64{0.5, 0.7, 0.8, 0.9} {
		m := mustNew(t, Blueprint{
			Noise: true, Seed: 5,
			Services: []ServiceSpec{{Name: "a", Work: 10 * time.Millisecond, Rate: 1e9, Workers: 1}},
			Clients:  []ClientSpec{{Rate: rho * 100, Timeout: 10 * time.Minute}},
		})
		m.Advance(5 * time.Minute)
		sum, n := 0.0, 5*36000
		for range n {
			m.Step()
			sum += m.Service(0).Wait
		}
		got, want := sum/float64(n), rho/(100*(1-rho))
		t.Logf("rho %.2f: wait %.4f s, M/M/1 %.4f s", rho, got, want)
		if math.Abs(got-want) > 0.15*want {
			t.Errorf("rho %.2f: wait %.4f s, M/M/1 %.4f s", rho, got, want)
		}
	}
}

func mustNew(t testing.TB, b Blueprint) *Model {
	t.Helper()
	m, err := New(b)
	if err != nil {
		t.Fatal(err)
	}
	return m
}
