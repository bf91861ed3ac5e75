package guard

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

// twinBucket is a token bucket in whole numbers: tokens are counted in 1/512,
// and time in steps of 1/512 s, so it is exact at every boundary.
type twinBucket struct {
	rps, burst, tokens int
	step               int
}

func newTwin(rps int) *twinBucket { return &twinBucket{rps: rps, burst: max(1, rps)} }

func (b *twinBucket) to(step int) {
	b.tokens = min(b.burst*512, b.tokens+(step-b.step)*b.rps)
	b.step = step
}

func (b *twinBucket) passes(tenths int) bool {
	return b.tokens >= 512 && b.tokens*10 > tenths*b.burst*512
}

func TestLimiterAgreesWithItsTwin(t *testing.T) {
	names := []string{"critical", "high", "normal", "low"}
	classes := []Priority{Critical, High, Normal, Low}
	tenths := []int{0, 1, 3, 6}
	rapid.Check(t, func(t *rapid.T) {
		rps := rapid.IntRange(0, 40).Draw(t, "rps")
		params := Params{"rps": float64(rps)}
		total, byClass := newTwin(rps), make([]*twinBucket, len(names))
		for i, name := range names {
			if rapid.Bool().Draw(t, "cap "+name) {
				n := rapid.IntRange(0, 40).Draw(t, name)
				params[name], byClass[i] = float64(n), newTwin(n)
			}
		}
		var l limiter
		l.set(epochStart, params)
		step := 0
		for range rapid.IntRange(1, 300).Draw(t, "arrivals") {
			step += rapid.OneOf(rapid.IntRange(0, 4), rapid.IntRange(0, 2000)).Draw(t, "wait")
			now := epochStart.Add(time.Duration(step) * time.Second / 512)
			i := rapid.IntRange(0, 3).Draw(t, "class")
			total.to(step)
			want := total.passes(tenths[i])
			if b := byClass[i]; b != nil {
				b.to(step)
				want = want && b.tokens >= 512
			}
			if want {
				total.tokens -= 512
				if byClass[i] != nil {
					byClass[i].tokens -= 512
				}
			}
			if got := l.admit(now, classes[i]); got != want {
				t.Fatalf("step %d, class %s: admitted %v, want %v (twin has %d/512 tokens)", step, names[i], got, want, total.tokens)
			}
		}
	})
}

func TestLimiterShedsTheLowestClassFirst(t *testing.T) {
	var l limiter
	l.set(epochStart, Params{"rps": 100})
	var asked, passed [priorities]int
	for i := range 60 * 200 { // 200 a second, half of them too many, for a minute
		now := epochStart.Add(time.Duration(i) * 5 * time.Millisecond)
		class := []Priority{Critical, High, Normal, Normal, Normal, Low, Low, Low, Low, Low}[i%10]
		asked[class]++
		if l.admit(now, class) {
			passed[class]++
		}
	}
	share := func(p Priority) float64 { return float64(passed[p]) / float64(asked[p]) }
	if share(Critical) < 0.99 || share(High) < 0.99 {
		t.Errorf("critical %.3f, high %.3f of the requests passed; want 0.99", share(Critical), share(High))
	}
	if share(Low) > 0.05 || share(Normal) < 0.9 {
		t.Errorf("low %.3f, normal %.3f passed; want low shed before normal", share(Low), share(Normal))
	}
	if total := passed[Critical] + passed[High] + passed[Normal] + passed[Low]; total > 6001 {
		t.Errorf("%d requests passed in a minute at 100 a second", total)
	}
}

func TestLimiterStartsWithoutBurstAndKeepsTokensWhenChanged(t *testing.T) {
	var l limiter
	l.set(epochStart, Params{"rps": 10})
	if l.admit(epochStart, Critical) {
		t.Error("a new cap admitted a burst")
	}
	second := epochStart.Add(time.Second)
	l.set(second, Params{"rps": 20})
	for i := range 10 {
		if !l.admit(second, Critical) {
			t.Fatalf("token %d of the ten that were saved is lost", i)
		}
	}
	if l.admit(second, Critical) {
		t.Error("the change made tokens")
	}
	l.set(second, nil)
	if !l.admit(second, Low) {
		t.Error("a lifted cap still refuses")
	}
}

func TestLimiterDemand(t *testing.T) {
	var l limiter
	p := Params{"rps": 10, "low": 50}
	l.set(epochStart, p)
	for range 400 {
		l.admit(epochStart, Low)
		l.admit(epochStart, High)
	}
	got := l.demand(epochStart.Add(9*time.Second), p) // 80 a second, 40 of them low
	if got["rps"] != 100 || got["low"] != 62.5 {
		t.Errorf("demand is %v, want rps 100 and low 62.5", got)
	}
	if got := l.demand(epochStart.Add(10*time.Second), p); got["rps"] != 12.5 {
		t.Errorf("demand of old arrivals is %v, want rps 12.5", got)
	}
}

func TestAdmissionDoesNotAllocate(t *testing.T) {
	var l limiter
	l.set(epochStart, Params{"rps": 100, "low": 10})
	now := epochStart
	if n := testing.AllocsPerRun(1000, func() { now = now.Add(time.Millisecond); l.admit(now, Low) }); n != 0 {
		t.Errorf("capped admission allocates %v times", n)
	}
	q := &queue{workers: 4, bound: 10}
	if n := testing.AllocsPerRun(1000, func() { q.acquire(nil); q.release() }); n != 0 {
		t.Errorf("taking a free worker allocates %v times", n)
	}
	s := &switches{}
	s.set(map[string]float64{"wishlist": 50})
	if n := testing.AllocsPerRun(1000, func() { s.allowed("wishlist", "user-17") }); n != 0 {
		t.Errorf("a kill switch allocates %v times", n)
	}
}

func BenchmarkAdmitWithoutCap(b *testing.B) {
	b.ReportAllocs()
	var l limiter
	for b.Loop() {
		l.admit(epochStart, Normal)
	}
}

func BenchmarkAdmitCapped(b *testing.B) {
	b.ReportAllocs()
	var l limiter
	l.set(epochStart, Params{"rps": 1000, "low": 100})
	now := epochStart
	for b.Loop() {
		now = now.Add(100 * time.Microsecond)
		l.admit(now, Low)
	}
}
