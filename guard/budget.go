package guard

import (
	"math"
	"sync"
	"time"
)

// rounding forgives that ten times a tenth is not quite one.
const rounding = 1e-9

// budget keeps retries to a share of first attempts. Each first attempt pays in
// ratio tokens and each retry takes one. What is saved is capped at the deposits
// of the last ten seconds: a quiet hour must not pay for a storm.
type budget struct {
	mu     sync.Mutex
	ratio  float64 // negative is no budget
	tokens float64
	firsts window
}

func (b *budget) setRatio(ratio float64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.ratio < 0 {
		b.tokens = 0
	}
	b.ratio = ratio
}

// first counts a first attempt.
func (b *budget) first(now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.firsts.add(now, 1)
	if b.ratio >= 0 {
		b.tokens = min(b.tokens+b.ratio, b.limit(now))
	}
}

// take spends a token on a retry, or refuses it.
func (b *budget) take(now time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.ratio < 0 {
		return true
	}
	b.tokens = min(b.tokens, b.limit(now))
	if b.tokens < 1-rounding {
		return false
	}
	b.tokens = max(0, b.tokens-1)
	return true
}

// limit lets a slow caller save for one retry.
func (b *budget) limit(now time.Time) float64 {
	if b.ratio == 0 {
		return 0
	}
	return math.Max(1, b.ratio*b.firsts.sum(now))
}
