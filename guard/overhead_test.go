package guard

import (
	"testing"
	"time"
)

// TestLimitsAllocateNothing: what every request passes through, apart from the
// middleware's own context.
func TestLimitsAllocateNothing(t *testing.T) {
	cfg := shopConfig()
	cfg.Pressure = PressureConfig{High: 10, Mode: PressureReject}
	g, clock := clockedGuard(t, cfg)
	mustPut(t, g, directive("a", KindShed, Params{"rps": 1e6, "normal": 1e6}))
	clock.advance(time.Second)
	now := clock.Now()
	b := newBreaker(testBreaker)
	h := request(t, DeadlineHeader, "1s", "Authorization", "Bearer s1").Header
	for name, f := range map[string]func(){
		"rate cap": func() { g.limiter.admit(now, Normal) },
		"queue":    func() { g.queue.acquire(nil); g.queue.release() },
		"breaker":  func() { b.try(true) },
		"deadline": func() { deadlineOf(h, now) },
		"counting": func() { g.metrics.count(Normal, 0, ok) },
	} {
		if n := testing.AllocsPerRun(100, f); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}
