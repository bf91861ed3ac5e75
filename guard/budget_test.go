package guard

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

// twinBudget keeps every first attempt and adds up; ratios are sixteenths, so it
// is exact.
type twinBudget struct {
	sixteenths, tokens int
	firsts             []int64
}

func (b *twinBudget) limit(second int64) int {
	n := 0
	for _, s := range b.firsts {
		if s > second-10 {
			n++
		}
	}
	if b.sixteenths == 0 {
		return 0
	}
	return max(16, b.sixteenths*n)
}

func TestBudgetAgreesWithItsTwin(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		sixteenths := rapid.IntRange(0, 48).Draw(t, "sixteenths")
		twin := twinBudget{sixteenths: sixteenths}
		b := budget{ratio: float64(sixteenths) / 16}
		now, firsts, retries := epochStart, 0, 0
		for range rapid.IntRange(1, 400).Draw(t, "attempts") {
			now = now.Add(rapid.OneOf(rapid.Just(time.Duration(0)), rapid.Just(100*time.Millisecond), rapid.Just(4*time.Second)).Draw(t, "wait"))
			second := now.Unix()
			if rapid.IntRange(0, 2).Draw(t, "what") == 0 {
				b.first(now)
				firsts++
				twin.firsts = append(twin.firsts, second)
				twin.tokens = min(twin.tokens+sixteenths, twin.limit(second))
				continue
			}
			twin.tokens = min(twin.tokens, twin.limit(second))
			want := twin.tokens >= 16
			if want {
				twin.tokens -= 16
				retries++
			}
			if got := b.take(now); got != want {
				t.Fatalf("retry allowed %v, want %v (twin has %d/16)", got, want, twin.tokens)
			}
		}
		if retries*16 > firsts*sixteenths {
			t.Fatalf("%d retries on %d first attempts at %d/16", retries, firsts, sixteenths)
		}
	})
}

func TestBudgetSavesTenSecondsAtMost(t *testing.T) {
	b := budget{ratio: 0.5}
	now := epochStart
	for range 3600 { // an hour at 10 a second
		for range 10 {
			b.first(now)
		}
		now = now.Add(time.Second)
	}
	spent := 0
	for b.take(now) {
		spent++
	}
	if spent != 45 { // nine full seconds still count at the start of the next
		t.Errorf("%d retries at once after a quiet hour, want 45", spent)
	}
}

func TestBudgetBeginsEmpty(t *testing.T) {
	b := budget{ratio: -1}
	for range 100 {
		b.first(epochStart)
	}
	if !b.take(epochStart) {
		t.Fatal("no budget refuses a retry")
	}
	b.setRatio(0.1)
	if b.take(epochStart) {
		t.Error("a new budget allows a retry before any first attempt paid for it")
	}
	for range 10 {
		b.first(epochStart)
	}
	if !b.take(epochStart) || b.take(epochStart) {
		t.Error("ten first attempts at 0.1 must pay for exactly one retry")
	}
	b.setRatio(0)
	b.first(epochStart)
	if b.take(epochStart) {
		t.Error("ratio 0 allows a retry")
	}
}
