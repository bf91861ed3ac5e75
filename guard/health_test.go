package guard

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func register(t *testing.T, c *Checks, checks ...Check) {
	t.Helper()
	for _, one := range checks {
		if err := c.Register(one); err != nil {
			t.Fatal(err)
		}
	}
}

func TestHealthAggregates(t *testing.T) {
	fine := func(context.Context) error { return nil }
	broken := func(context.Context) error { return errors.New("disk is full") }
	for name, c := range map[string]struct {
		critical, other func(context.Context) error
		want            string
		status          int
	}{
		"all well":     {fine, fine, HealthOK, 200},
		"one is not":   {fine, broken, HealthDegraded, 200},
		"the critical": {broken, fine, HealthFailing, 503},
		"both":         {broken, broken, HealthFailing, 503},
		"a panic":      {func(context.Context) error { panic("oh") }, fine, HealthFailing, 503},
	} {
		var checks Checks
		register(t, &checks, Check{Name: "store", Critical: true, Run: c.critical}, Check{Name: "cache", Run: c.other})
		w := httptest.NewRecorder()
		checks.Handler().ServeHTTP(w, request(t))
		var h Health
		if err := json.Unmarshal(w.Body.Bytes(), &h); err != nil || w.Code != c.status || h.Status != c.want || len(h.Checks) != 2 || h.Checks[0].Name != "cache" {
			t.Errorf("%s: %d %s (%v)", name, w.Code, w.Body, err)
		}
	}
	var checks Checks
	register(t, &checks, Check{Name: "a", Run: fine})
	for _, bad := range []Check{{Name: "a", Run: fine}, {Run: fine}, {Name: "b"}} {
		if checks.Register(bad) == nil {
			t.Errorf("%q is taken", bad.Name)
		}
	}
}

// TestHungCheckHangsNobody: the first report waits for the timeout, later ones
// not at all; the check is started once, and counts again when it has returned.
func TestHungCheckHangsNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var started atomic.Int64
		release := make(chan struct{})
		var checks Checks
		register(t, &checks,
			Check{Name: "hung", Critical: true, Timeout: 2 * time.Second, Run: func(context.Context) error {
				if started.Add(1) == 1 {
					<-release // deaf to its context
				}
				return nil
			}},
			Check{Name: "well", Run: func(context.Context) error { return nil }})
		began := time.Now()
		var wg sync.WaitGroup
		for range 10 {
			wg.Go(func() {
				if h := checks.Report(t.Context()); h.Status != HealthFailing || !h.Checks[0].Hanging || h.Checks[1].Status != HealthOK {
					t.Errorf("%+v", h)
				}
			})
		}
		wg.Wait()
		if took := time.Since(began); took != 2*time.Second {
			t.Errorf("the first reports took %s", took)
		}
		time.Sleep(time.Hour)
		began = time.Now()
		h := checks.Report(t.Context())
		if took := time.Since(began); took != 0 || started.Load() != 1 || h.Checks[0].Since != began.Add(-time.Hour) {
			t.Errorf("a later report took %s; started %d times; %+v", took, started.Load(), h)
		}
		close(release)
		synctest.Wait()
		if h := checks.Report(t.Context()); h.Status != HealthOK || h.Checks[0].Hanging || started.Load() != 2 {
			t.Errorf("after it returned: %+v, started %d times", h, started.Load())
		}
		impatient, leave := context.WithCancel(t.Context())
		leave()
		var slow Checks
		register(t, &slow, Check{Name: "slow", Run: func(context.Context) error { time.Sleep(500 * time.Millisecond); return nil }})
		if h := slow.Report(impatient); h.Checks[0].Name != "slow" || h.Checks[0].Status != HealthFailing {
			t.Errorf("for a reader that left: %+v", h)
		}
		time.Sleep(time.Minute)
	})
}

func TestOpenCircuitsDegradeButDoNotUnready(t *testing.T) {
	b := DefaultBreaker()
	cfg := callerConfig(Upstream{Breaker: &b})
	cfg.Upstreams[ProxyCallee] = Upstream{Breaker: &b}
	g, clock := clockedGuard(t, cfg)
	var checks Checks
	if err := g.RegisterChecks(&checks); err != nil {
		t.Fatal(err)
	}
	if h := checks.Report(t.Context()); h.Status != HealthOK {
		t.Errorf("%+v", h)
	}
	g.endpointsOf(ProxyCallee)[0].breaker.force(clock.Now(), clock.Now().Add(time.Minute))
	w := httptest.NewRecorder()
	checks.Handler().ServeHTTP(w, request(t))
	if w.Code != http.StatusOK {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	if h := checks.Report(t.Context()); h.Status != HealthDegraded || h.Checks[0].Error == "" {
		t.Errorf("%+v", h)
	}
}
