package guard

import (
	"fmt"
	"math"
	"testing"

	"pgregory.net/rapid"
)

func TestKillSwitchSharesAreRightAndNested(t *testing.T) {
	const keys = 20_000
	s := &switches{}
	offBefore := map[string]bool{}
	for _, percent := range []float64{0, 1, 5, 25, 100} {
		s.set(map[string]float64{"wishlist": percent})
		off := 0
		for i := range keys {
			key := fmt.Sprintf("user-%d", i)
			on := s.allowed("wishlist", key)
			if !on {
				off++
			}
			if on && offBefore[key] {
				t.Fatalf("%s was off at a lower percentage and is on at %v", key, percent)
			}
			offBefore[key] = !on
		}
		want := keys * percent / 100
		if spread := 5 * math.Sqrt(want*(1-percent/100)); math.Abs(float64(off)-want) > spread {
			t.Errorf("%d of %d keys are off at %v %%, want %v within %.0f", off, keys, percent, want, spread)
		}
	}
}

func TestKillSwitchIsStable(t *testing.T) {
	// Fixed for good: another process, or the next release, must agree.
	for _, c := range []struct {
		feature, key string
		want         float64
	}{
		{"reviews", "", 0.1301280480117316},
		{"reviews", "user-17", 0.2762879867327871},
		{"wishlist", "user-17", 0.5456766905045143},
	} {
		if got := place(c.feature, c.key); got != c.want {
			t.Errorf("place of %q in %q moved from %v to %v", c.key, c.feature, c.want, got)
		}
	}
	if a, b := place("ab", "c"), place("a", "bc"); a == b {
		t.Error("feature and key run together")
	}
}

func TestPlaceIsAShare(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		if p := place(rapid.String().Draw(t, "feature"), rapid.String().Draw(t, "key")); p < 0 || p >= 1 {
			t.Fatalf("place is %v", p)
		}
	})
}

func BenchmarkAllowed(b *testing.B) {
	b.ReportAllocs()
	s := &switches{}
	s.set(map[string]float64{"wishlist": 25})
	for b.Loop() {
		s.allowed("wishlist", "user-1234567")
	}
}
