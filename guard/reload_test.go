package guard

import (
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"net/http/httptest"

	"github.com/prometheus/common/model"
)

// TestReloadKeepsWhatIsInForce: directives, circuits and requests under way stay
// while everything beneath them changes.
func TestReloadKeepsWhatIsInForce(t *testing.T) {
	b := DefaultBreaker()
	cfg := shopConfig()
	cfg.Upstreams["ledger"] = Upstream{Breaker: &b, Backends: []Backend{{"a", "http://a:1"}, {"b", "http://b:1"}}}
	g, clock := clockedGuard(t, cfg)
	mustPut(t, g, directive("cap", KindQueueBound, Params{"length": 7}))
	g.endpointsOf("ledger/a")[0].breaker.force(clock.Now(), clock.Now().Add(time.Hour))
	next := shopConfig()
	next.Workers, next.Queue, next.Timeout, next.Token = 9, 50, model.Duration(time.Second), "another"
	next.Upstreams = map[string]Upstream{"ledger": {
		Breaker: &b, Retries: 1, RetryBudget: 0.3, SlowStart: model.Duration(time.Minute),
		Backends: []Backend{{"a", "http://a:1"}, {"c", "http://c:1"}},
	}}
	if err := g.Reload(next); err != nil {
		t.Fatal(err)
	}
	s := g.state()
	if s.Settings[KindQueueBound][""]["length"] != 7 || s.Settings[KindTimeout][""]["seconds"] != 1 || s.Settings[KindRetryBudget]["ledger"]["ratio"] != 0.3 {
		t.Errorf("settings %+v", s.Settings)
	}
	if s.Breakers["ledger/a"] != "open" || s.Breakers["ledger/c"] != "closed" || len(s.Breakers) != 2 || s.Backends["ledger"][1].Weight != leastWeight {
		t.Errorf("circuits %v, backends %+v", s.Breakers, s.Backends)
	}
	if len(s.Settings[KindRetryBudget]["stock"]) == 0 || s.Settings[KindRetryBudget]["stock"]["ratio"] != 0.1 {
		t.Errorf("a callee that the file no longer names has %+v", s.Settings[KindRetryBudget]["stock"])
	}
	if g.queue.workers != 9 || *g.token.Load() != "another" {
		t.Error("workers or token are the old ones")
	}
	clock.advance(time.Hour)
	if got := inForce(g, KindQueueBound, "")["length"]; got != 50 {
		t.Errorf("the directive has gone home to %v, want the new 50", got)
	}
}

func TestReloadRefused(t *testing.T) {
	g, _ := clockedGuard(t, shopConfig())
	for name, change := range map[string]func(*Config){
		"service":     func(c *Config) { c.Service = "cart" },
		"state_file":  func(c *Config) { c.StateFile = "elsewhere" },
		"workers":     func(c *Config) { c.Workers = -1 },
		"token file":  func(c *Config) { c.Token, c.TokenFile = "", "/nowhere" },
		"tokens of c": func(c *Config) { c.Auth.TokensFile = "/nowhere" },
	} {
		cfg := shopConfig()
		cfg.Queue = 5
		change(&cfg)
		if err := g.Reload(cfg); err == nil {
			t.Errorf("%s is taken", name)
		}
	}
	if got := inForce(g, KindQueueBound, "")["length"]; got != 10_000 {
		t.Errorf("a refused reload left %v", got)
	}
	g.Close()
	if g.Reload(shopConfig()) == nil {
		t.Error("a closed guard reloads")
	}
}

func TestReloadLetsWaitingRequestsInAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := shopConfig()
		cfg.Workers = 1
		g := newTestGuard(t, cfg)
		finish := make(chan struct{})
		h := g.Middleware(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-finish }))
		for range 3 {
			go h.ServeHTTP(httptest.NewRecorder(), request(t))
		}
		synctest.Wait()
		cfg.Workers = 2
		if err := g.Reload(cfg); err != nil {
			t.Fatal(err)
		}
		if g.queue.active != 2 || g.queue.waiting.Len() != 1 {
			t.Errorf("%d active, %d waiting with two workers", g.queue.active, g.queue.waiting.Len())
		}
		cfg.Workers = 1
		if err := g.Reload(cfg); err != nil {
			t.Fatal(err)
		}
		close(finish)
		synctest.Wait()
		if g.queue.active != 0 || counted(g, Normal, 0, ok) != 3 {
			t.Errorf("%d active, %v answered at the end", g.queue.active, counted(g, Normal, 0, ok))
		}
	})
}

func TestBreakerOrders(t *testing.T) {
	b := DefaultBreaker()
	cfg := shopConfig()
	cfg.Upstreams["ledger"] = Upstream{Breaker: &b, Backends: []Backend{{"a", "http://a:1"}, {"b", "http://b:1"}}}
	g, clock := clockedGuard(t, cfg)
	srv := httptest.NewServer(g.Control())
	defer srv.Close()
	const path = "/guard/v1/breakers/"
	for i, s := range []struct {
		name, body string
		status     int
		says       string
	}{
		{"ledger", `{"state":"open","for":"5m"}`, 200, `"forced":true`},
		{"ledger/b", `{"state":"closed"}`, 200, `"ledger/b":{"state":"closed"`},
		{"stock", `{"state":"open","for":"1m"}`, 200, `"stock":{"state":"open"`},
		{"ledger", `{"state":"open"}`, 400, "for: is 0s"},
		{"ledger", `{"state":"open","for":"25h"}`, 400, "at most"},
		{"ledger", `{"state":"closed","for":"1m"}`, 400, "none beside closed"},
		{"ledger", `{"state":"ajar"}`, 400, "allowed: open, closed"},
		{"ledger", `{"status":"open"}`, 400, "unknown field"},
		{"nobody", `{"state":"closed"}`, 404, "no callee"},
		{"ledger/c", `{"state":"closed"}`, 404, "no callee"},
	} {
		if status, body := ask(t, srv, "PUT", path+s.name, bearer, s.body); status != s.status || !strings.Contains(body, s.says) {
			t.Errorf("step %d: %d %s\nwant %d %s", i, status, body, s.status, s.says)
		}
	}
	if status, _ := ask(t, srv, "PUT", path+"ledger", "Bearer wrong", `{"state":"closed"}`); status != http.StatusUnauthorized {
		t.Errorf("a stranger: %d", status)
	}
	if got := g.state().Breakers; got["ledger/a"] != "open" || got["ledger/b"] != "closed" || got["stock"] != "open" {
		t.Errorf("circuits %v", got)
	}
	clock.advance(5 * time.Minute)
	if !g.endpointsOf("ledger/a")[0].breaker.ready(clock.Now()) {
		t.Error("held open for longer than was ordered")
	}
}

func TestBreakerDirectiveMovesThresholdsOnly(t *testing.T) {
	b := DefaultBreaker()
	b.MinRequests = 100
	g, clock := clockedGuard(t, callerConfig(Upstream{Breaker: &b}))
	cb := &g.endpointsOf("ledger")[0].breaker
	for range 3 {
		p, _ := cb.allow(clock.Now())
		cb.settle(clock.Now(), p, false)
	}
	d := directive("a", KindBreaker, Params{"failure_ratio": 0.5, "consecutive": 4, "probes": 1})
	d.Callee = "ledger"
	mustPut(t, g, d)
	if got := g.state().Circuits["ledger"]; got.Failures != 3 || got.Consecutive != 3 {
		t.Errorf("the directive lost what was counted: %+v", got)
	}
	p, _ := cb.allow(clock.Now())
	cb.settle(clock.Now(), p, false)
	if got := g.state().Breakers["ledger"]; got != "open" {
		t.Errorf("circuit %s after the fourth failure", got)
	}
}
