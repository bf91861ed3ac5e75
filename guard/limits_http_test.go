package guard

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/prometheus/common/model"
)

func limitedConfig(limits ...LimitConfig) Config {
	cfg := DefaultConfig()
	cfg.Service, cfg.Token, cfg.Limits = "checkout", testToken, limits
	return cfg
}

var noContent = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) })

func serveOne(t testing.TB, g *Guard, r *http.Request) *httptest.ResponseRecorder {
	t.Helper()
	w := httptest.NewRecorder()
	g.Middleware(noContent).ServeHTTP(w, r)
	return w
}

// passes says how many of n requests pass.
func passes(t testing.TB, g *Guard, n int, r func() *http.Request) (passed int) {
	t.Helper()
	for range n {
		if serveOne(t, g, r()).Code == http.StatusNoContent {
			passed++
		}
	}
	return passed
}

func TestRefusalSaysHowLongToWait(t *testing.T) {
	g, clock := clockedGuard(t, limitedConfig(LimitConfig{Name: "api", Rate: 1, Window: model.Duration(90 * time.Second), Burst: 2}))
	if n := passes(t, g, 2, func() *http.Request { return request(t) }); n != 2 {
		t.Fatalf("%d passed, want the burst of 2", n)
	}
	clock.advance(500 * time.Millisecond)
	w := serveOne(t, g, request(t))
	for name, want := range map[string]string{
		"Retry-After": "90", "RateLimit": `"api";r=0;t=90`, "RateLimit-Policy": `"api";q=2;w=90`,
	} {
		if got := w.Header().Get(name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	if w.Code != http.StatusTooManyRequests || w.Body.String() != "limit api reached\n" {
		t.Errorf("%d %q", w.Code, w.Body)
	}
	clock.advance(90*time.Second - 500*time.Millisecond)
	if w := serveOne(t, g, request(t)); w.Code != http.StatusNoContent {
		t.Errorf("status %d after the wait", w.Code)
	}
	api := g.limits.Load().own[0].metrics
	if got := testutil.ToFloat64(api.admitted); got != 3 {
		t.Errorf("%v admitted, want 3", got)
	}
	if refused, shed := testutil.ToFloat64(api.refused), counted(g, Normal, 0, shed); refused != 1 || shed != 1 {
		t.Errorf("%v refused and %v shed, want 1", refused, shed)
	}
}

func TestLimitsTellRequestsApart(t *testing.T) {
	two := func(per ...string) LimitConfig { return LimitConfig{Name: "api", Rate: 2, Per: per} }
	from := func(addr string, headers ...string) func() *http.Request {
		return func() *http.Request {
			r := request(t, headers...)
			r.RemoteAddr = addr
			return r
		}
	}
	as := func(name, addr string) func() *http.Request {
		return func() *http.Request {
			r := from(addr)()
			return r.WithContext(WithClient(r.Context(), name))
		}
	}
	to := func(method, path string) func() *http.Request {
		return func() *http.Request { return httptest.NewRequestWithContext(t.Context(), method, path, nil) }
	}
	trusted := []string{"10.0.0.0/8", "fd00::/8"}
	for _, c := range []struct {
		name    string
		limit   LimitConfig
		client  ClientConfig
		a, b    func() *http.Request
		another bool // b has a count of its own
	}{
		{"addresses", two("client"), ClientConfig{}, from("192.0.2.1:1"), from("192.0.2.2:1"), true},
		{"ports", two("client"), ClientConfig{}, from("192.0.2.1:1"), from("192.0.2.1:2"), false},
		{"one /64", two("client"), ClientConfig{}, from("[2001:db8::1]:1"), from("[2001:db8::ffff:2]:1"), false},
		{"two /64", two("client"), ClientConfig{}, from("[2001:db8::1]:1"), from("[2001:db8:0:1::1]:1"), true},
		{"mapped", two("client"), ClientConfig{}, from("[::ffff:192.0.2.1]:1"), from("192.0.2.1:1"), false},
		{"forged forwarding", two("client"), ClientConfig{}, from("192.0.2.1:1", "X-Forwarded-For", "9.9.9.9"), from("192.0.2.1:1", "X-Forwarded-For", "8.8.8.8"), false},
		{"forwarding by a proxy", two("client"), ClientConfig{TrustedProxies: trusted}, from("10.0.0.1:1", "X-Forwarded-For", "9.9.9.9"), from("10.0.0.1:1", "X-Forwarded-For", "8.8.8.8"), true},
		{"forged before the proxy", two("client"), ClientConfig{TrustedProxies: trusted}, from("10.0.0.1:1", "X-Forwarded-For", "1.1.1.1, 9.9.9.9,10.0.0.2"), from("10.0.0.1:1", "X-Forwarded-For", "2.2.2.2, 9.9.9.9"), false},
		{"nonsense from the proxy", two("client"), ClientConfig{TrustedProxies: trusted}, from("10.0.0.1:1", "X-Forwarded-For", "me, 10.0.0.7"), from("10.0.0.7:1"), false},
		{"header", two("client"), ClientConfig{Header: "x-api-key"}, from("192.0.2.1:1", "X-Api-Key", "a"), from("192.0.2.1:1", "X-Api-Key", "b"), true},
		{"header that is not believed", two("client"), ClientConfig{Header: "x-api-key", TrustedProxies: trusted}, from("192.0.2.1:1", "X-Api-Key", "a"), from("192.0.2.1:1", "X-Api-Key", "b"), false},
		{"authenticated", two("client"), ClientConfig{Header: "x-api-key"}, as("ann", "192.0.2.1:1"), as("ann", "192.0.2.2:1"), false},
		{"authenticated differently", two("client"), ClientConfig{}, as("ann", "192.0.2.1:1"), as("bob", "192.0.2.1:1"), true},
		{"no impostor by header", two("client"), ClientConfig{Header: "x-api-key"}, as("ann", "192.0.2.1:1"), from("192.0.2.1:1", "X-Api-Key", "ann"), true},
		{"priorities", two("priority"), ClientConfig{}, from("192.0.2.1:1", "X-Priority", "low"), from("192.0.2.1:1", "X-Priority", "high"), true},
		{"header of the limit", two("header:x-tenant"), ClientConfig{}, from("192.0.2.1:1", "X-Tenant", "a"), from("192.0.2.2:1", "X-Tenant", "b"), true},
		{"same header of the limit", two("header:x-tenant"), ClientConfig{}, from("192.0.2.1:1", "X-Tenant", "a"), from("192.0.2.2:1", "X-Tenant", "a"), false},
		{"routes", two("route"), ClientConfig{}, to("GET", "/api/cart/1"), to("GET", "/api/pay/1"), true},
		{"one route", two("route"), ClientConfig{}, to("GET", "/api/cart/1"), to("GET", "//api/./cart/2"), false},
		{"methods", two("route"), ClientConfig{}, to("GET", "/api/cart/1"), to("POST", "/api/cart/1"), true},
		{"both", two("client", "route"), ClientConfig{}, to("GET", "/api/cart/1"), to("GET", "/api/cart/1"), false},
		{"other path", LimitConfig{Name: "api", Rate: 2, Match: LimitMatch{Path: "/api/"}}, ClientConfig{}, to("GET", "/api/x"), to("GET", "/apis"), true},
		{"around the path", LimitConfig{Name: "api", Rate: 2, Match: LimitMatch{Path: "/api"}}, ClientConfig{}, to("GET", "/api"), to("GET", "//x/..//api/y"), false},
		{"other method", LimitConfig{Name: "api", Rate: 2, Match: LimitMatch{Methods: []string{"POST"}}}, ClientConfig{}, to("POST", "/"), to("GET", "/"), true},
		{"other class", LimitConfig{Name: "api", Rate: 2, Match: LimitMatch{Priorities: []string{"low"}}}, ClientConfig{}, from("192.0.2.1:1", "X-Priority", "low"), from("192.0.2.1:1"), true},
	} {
		t.Run(c.name, func(t *testing.T) {
			cfg := limitedConfig(c.limit)
			cfg.Client = c.client
			g, _ := clockedGuard(t, cfg)
			if n := passes(t, g, 5, c.a); n != 2 {
				t.Errorf("%d of the first passed, want 2", n)
			}
			if n := passes(t, g, 2, c.b); n != map[bool]int{true: 2, false: 0}[c.another] {
				t.Errorf("%d of the second passed, a count of its own: %v", n, c.another)
			}
		})
	}
}

func TestOneRefusalTakesNothingElsewhere(t *testing.T) {
	g, clock := clockedGuard(t, limitedConfig(
		LimitConfig{Name: "all", Rate: 10, Window: model.Duration(time.Hour)},
		LimitConfig{Name: "client", Rate: 1, Window: model.Duration(time.Hour), Per: []string{"client"}},
	))
	ann := func() *http.Request { r := request(t); return r.WithContext(WithClient(r.Context(), "ann")) }
	bob := func() *http.Request { r := request(t); return r.WithContext(WithClient(r.Context(), "bob")) }
	if n := passes(t, g, 100, ann); n != 1 {
		t.Errorf("%d of ann's passed, want 1", n)
	}
	mustPut(t, g, directive("i1", KindShed, Params{"rps": 1})) // begins without tokens
	if n := passes(t, g, 100, bob); n != 0 {
		t.Errorf("%d passed the cap", n)
	}
	clock.advance(time.Second)
	if n := passes(t, g, 1, ann); n != 0 {
		t.Error("ann passed again")
	}
	if n := passes(t, g, 100, bob); n != 1 {
		t.Errorf("%d of bob's passed; the cap took from his limit, or ann from the cap", n)
	}
	all := g.limits.Load().own[0].meter.(*bucket)
	if got := all.levels[0].debt + all.levels[1].debt; got > 2*all.weight {
		t.Errorf("the common limit lost %d tokens for two requests", got/all.weight)
	}
}

// sharedStub counts in this process; it can be away.
type sharedStub struct {
	away  bool
	full  map[string]bool // by limit
	taken map[string]int64
}

func (s *sharedStub) Take(_ context.Context, l LimitConfig, key string, n int64) (bool, time.Duration, error) {
	if s.away {
		return false, 0, errors.New("away")
	}
	if s.full[l.Name] {
		return false, 3 * time.Second, nil
	}
	s.taken[l.Name+"/"+key] += n
	return true, 0, nil
}

func (s *sharedStub) GiveBack(_ context.Context, l LimitConfig, key string, n int64, _ time.Duration) {
	s.taken[l.Name+"/"+key] -= n
}

func TestDistributedLimits(t *testing.T) {
	hour := model.Duration(time.Hour)
	cfg := limitedConfig(
		LimitConfig{Name: "own", Rate: 10, Window: hour},
		LimitConfig{Name: "first", Rate: 8, Window: hour, Distributed: true},
		LimitConfig{Name: "second", Rate: 100, Window: hour, Distributed: true},
	)
	if _, err := New(cfg); err == nil || !strings.Contains(err.Error(), "limits[1].distributed: needs redis.address") {
		t.Errorf("got %v", err)
	}
	cfg.Redis = DefaultRedis()
	cfg.Redis.Address, cfg.Redis.Processes = "127.0.0.1:6379", 4
	if _, err := New(cfg); err == nil || !strings.Contains(err.Error(), "WithSharedLimits") {
		t.Errorf("got %v", err)
	}
	stub := &sharedStub{taken: map[string]int64{}, full: map[string]bool{"second": true}}
	clock := newFakeClock()
	g := newTestGuard(t, cfg, WithClock(clock), WithSharedLimits(stub))
	mustPut(t, g, directive("i1", KindShed, Params{"rps": 5}))
	clock.advance(time.Second)
	for range 20 {
		if w := serveOne(t, g, request(t)); w.Code != http.StatusTooManyRequests || w.Header().Get("Retry-After") != "3" {
			t.Fatalf("status %d, Retry-After %s", w.Code, w.Header().Get("Retry-After"))
		}
	}
	if stub.taken["first/"] != 0 {
		t.Errorf("the refused hold %d of the first limit", stub.taken["first/"])
	}
	delete(stub.full, "second")
	if n := passes(t, g, 20, func() *http.Request { return request(t, "X-Priority", "critical") }); n != 5 {
		t.Errorf("%d passed, want the 5 that the cap had: what was refused must be back", n)
	}
	g.ledger.mu.Lock()
	g.limiter.set(clock.Now(), nil)
	g.ledger.mu.Unlock()
	stub.away = true
	if n := passes(t, g, 20, func() *http.Request { return request(t) }); n != 2 {
		t.Errorf("%d passed while the count is away, want the share of a fourth of 8", n)
	}
	if got := testutil.ToFloat64(g.limits.Load().away[0].metrics.local); got != 20 {
		t.Errorf("%v local decisions, want 20", got)
	}
	stub.away = false
	if n := passes(t, g, 20, func() *http.Request { return request(t) }); n != 3 {
		t.Errorf("%d passed, want the 3 that the own limit of 10 has left", n)
	}
}

func TestLeakyBucketHoldsRequestsBack(t *testing.T) {
	cfg := limitedConfig(LimitConfig{Name: "even", Algorithm: LeakyBucket, Rate: 10, Burst: 3})
	cfg.DropAbandoned = true
	clock := newFakeClock()
	clock.armed = make(chan struct{}, 8)
	g := newTestGuard(t, cfg, WithClock(clock))
	if w := serveOne(t, g, request(t)); w.Code != http.StatusNoContent {
		t.Fatalf("the first got %d", w.Code)
	}
	ctx, leave := context.WithCancel(t.Context())
	codes := make(chan int)
	send := func(r *http.Request) {
		go func() {
			w := httptest.NewRecorder()
			g.Middleware(noContent).ServeHTTP(w, r)
			codes <- w.Code
		}()
		<-clock.armed
	}
	send(request(t))
	send(request(t).WithContext(ctx))
	if w := serveOne(t, g, request(t)); w.Code != http.StatusTooManyRequests {
		t.Errorf("a fourth got %d", w.Code)
	}
	leave()
	<-codes
	if got := counted(g, Normal, 0, dropped); got != 1 {
		t.Errorf("%v dropped, want 1", got)
	}
	clock.advance(100*time.Millisecond - 1)
	if n := clock.pending(); n != 1 {
		t.Fatalf("%d are held back, want 1", n)
	}
	clock.advance(1)
	if code := <-codes; code != http.StatusNoContent {
		t.Errorf("the second got %d", code)
	}
}

func TestChangedLimitsKeepWhatTheOthersHaveTaken(t *testing.T) {
	hour := model.Duration(time.Hour)
	same, other := LimitConfig{Name: "same", Rate: 5, Window: hour}, LimitConfig{Name: "other", Rate: 5, Window: hour}
	g, clock := clockedGuard(t, limitedConfig(same, other))
	passes(t, g, 9, func() *http.Request { return request(t) })
	other.Rate = 9
	metrics := newLimitMetrics(nil, "checkout")
	now, err := newLimits(limitedConfig(other, same), g.limits.Load(), nil, clock.Now().Add(time.Minute), metrics)
	if err != nil {
		t.Fatal(err)
	}
	if was := g.limits.Load(); now.own[1] != was.own[1] || now.own[0] == was.own[0] || now.origin != was.origin {
		t.Error("a limit that stays lost its state, or a changed one kept it")
	}
}

func TestLimitedAdmissionDoesNotAllocate(t *testing.T) {
	g, clock := clockedGuard(t, limitedConfig(
		LimitConfig{Name: "all", Rate: 1e6},
		LimitConfig{Name: "client", Algorithm: SlidingWindow, Rate: 1e6, Per: []string{"client", "route"}},
		LimitConfig{Name: "fair", Algorithm: Fair, Rate: 1e6, Per: []string{"client"}},
	))
	r, w := request(t), httptest.NewRecorder()
	mustPut(t, g, directive("i1", KindShed, Params{"rps": 1e6}))
	clock.advance(time.Second)
	now := clock.Now()
	if n := testing.AllocsPerRun(1000, func() {
		now = now.Add(time.Millisecond)
		c := call{guard: g, arrived: now}
		if !c.admits(w, r, false) {
			t.Fatal("refused")
		}
	}); n != 0 {
		t.Errorf("admission under three limits and a cap allocates %v times", n)
	}
}

func BenchmarkAdmits(b *testing.B) {
	b.ReportAllocs()
	g, clock := clockedGuard(b, limitedConfig(
		LimitConfig{Name: "all", Rate: 1e6}, LimitConfig{Name: "client", Rate: 1e6, Per: []string{"client"}},
	))
	r, w := request(b), httptest.NewRecorder()
	now := clock.Now()
	for b.Loop() {
		now = now.Add(time.Millisecond)
		c := call{guard: g, arrived: now}
		c.admits(w, r, false)
	}
}
