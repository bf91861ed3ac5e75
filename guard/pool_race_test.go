package guard

import (
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/common/model"
)

// TestBackendsUnderSixtyFourGoroutines: calls, reloads, orders and readers at
// once leave no call counted and no timer behind.
func TestBackendsUnderSixtyFourGoroutines(t *testing.T) {
	b, h := DefaultBreaker(), DefaultHealth()
	b.Open, b.MinRequests = model.Duration(time.Microsecond), 2
	config := func(names ...string) Config {
		u := Upstream{Breaker: &b, Health: &h, Retries: 1, RetryBudget: -1, SlowStart: model.Duration(time.Minute)}
		for _, name := range names {
			u.Backends = append(u.Backends, Backend{name, "http://" + name + ".invalid:1"})
		}
		return callerConfig(u)
	}
	g := newTestGuard(t, config("a", "b", "c"), WithClock(newFakeClock())) // whose checks never begin
	rt := g.Transport("ledger", roundTripFunc(func(r *http.Request) (*http.Response, error) {
		status := http.StatusOK
		if r.URL.Host == "b.invalid:1" {
			status = http.StatusInternalServerError
		}
		return &http.Response{StatusCode: status, Body: http.NoBody}, nil
	}))
	var wg sync.WaitGroup
	for range 64 {
		wg.Go(func() {
			for range 50 {
				_, _ = get(t, t.Context(), rt, "GET", nil)
			}
		})
	}
	for i := range 100 {
		cfg := config("a", "b", "c")
		if i%2 == 0 {
			cfg = config("b", "c", "d")
		}
		if err := g.Reload(cfg); err != nil {
			t.Error(err)
		}
		for _, e := range g.endpointsOf("ledger/c") {
			e.breaker.force(g.clock.Now(), g.clock.Now().Add(time.Second))
			e.breaker.reset(g.clock.Now())
		}
		g.state()
	}
	wg.Wait()
	for _, s := range g.state().Backends["ledger"] {
		if s.InFlight != 0 {
			t.Errorf("%d calls to %s are still counted", s.InFlight, s.Name)
		}
	}
	g.Close()
	if n := g.clock.(*fakeClock).pending(); n != 0 {
		t.Errorf("%d timers are left", n)
	}
}
