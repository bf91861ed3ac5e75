package guard

import (
	"errors"
	"io"
	"math"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/url"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/prometheus/common/model"
)

func pool(n int) []*endpoint {
	all := make([]*endpoint, n)
	for i := range all {
		all[i] = &endpoint{name: string(rune('a' + i)), url: &url.URL{Scheme: "http", Host: "x"}}
	}
	return all
}

func seeded() func() float64 { return rand.New(rand.NewPCG(3, 4)).Float64 }

// shares counts where many calls go, one at a time.
func shares(all []*endpoint, now time.Time, slowStart time.Duration) map[string]float64 {
	const n = 20_000
	random := seeded()
	got := make(map[string]float64)
	for range n {
		e, p, ok := pick(all, now, slowStart, nil, random)
		if !ok {
			break
		}
		e.breaker.giveBack(p)
		got[e.name] += 1.0 / n
	}
	return got
}

func near(got, want float64) bool { return math.Abs(got-want) < 0.02 }

func TestPickLeavesOutWhatCannotAnswer(t *testing.T) {
	all := pool(3)
	all[0].down.Store(true)
	all[1].breaker.force(epochStart, epochStart.Add(time.Minute))
	if got := shares(all, epochStart, 0); got["c"] < 0.999 {
		t.Errorf("one of three is fit: %v", got)
	}
	all[2].down.Store(true) // every check fails: the checks are doubted, the circuit is not
	all[0].down.Store(true)
	all[1].down.Store(true)
	if got := shares(all, epochStart, 0); !near(got["a"], 0.5) || !near(got["c"], 0.5) {
		t.Errorf("all are down: %v", got)
	}
	for _, e := range all {
		e.breaker.force(epochStart, epochStart.Add(time.Minute))
	}
	if _, _, ok := pick(all, epochStart, 0, nil, seeded()); ok {
		t.Error("an open circuit was picked")
	}
}

func TestPickRetriesElsewhere(t *testing.T) {
	all, random := pool(2), seeded()
	for range 100 {
		if e, _, _ := pick(all, epochStart, 0, all[0], random); e != all[1] {
			t.Fatal("a retry went to where the first attempt failed")
		}
	}
	all[1].down.Store(true)
	if e, _, _ := pick(all, epochStart, 0, all[0], random); e != all[0] {
		t.Error("a retry went to a backend that is down")
	}
}

func TestPickFollowsLoad(t *testing.T) {
	all := pool(2)
	all[0].inFlight.Store(5)
	if got := shares(all, epochStart, 0); got["b"] < 0.999 {
		t.Errorf("the busy one still got %v", got["a"])
	}
	all[0].inFlight.Store(0)
	for range 100 {
		all[0].begin()
		all[0].end(epochStart, time.Second, true)
		all[1].begin()
		all[1].end(epochStart, 10*time.Millisecond, true)
	}
	if got := shares(all, epochStart, 0); got["b"] < 0.999 {
		t.Errorf("the slow one still got %v", got["a"])
	}
	all[1].begin()
	all[1].end(epochStart.Add(time.Minute), 10*time.Millisecond, true)
	if got := shares(all, epochStart.Add(time.Minute), 0); got["a"] < 0.999 {
		t.Errorf("a slow one is never tried again: %v", got)
	}
}

func TestFastFailuresAttractNoCalls(t *testing.T) {
	e := pool(1)[0]
	e.begin()
	e.end(epochStart, 100*time.Millisecond, true)
	e.begin()
	e.end(epochStart, time.Microsecond, false)
	if _, latency, _ := e.load(epochStart); !near(latency, 0.1) {
		t.Errorf("latency %v after a failure of a microsecond", latency)
	}
}

func TestSlowStartGivesAShareThatGrows(t *testing.T) {
	all := pool(2)
	all[1].returned = epochStart
	for _, c := range []struct {
		after time.Duration
		want  float64
	}{{0, 0.05}, {20 * time.Second, 0.1}, {50 * time.Second, 0.25}, {100 * time.Second, 0.5}, {time.Hour, 0.5}} {
		if got := shares(all, epochStart.Add(c.after), 100*time.Second); !near(got["b"], c.want) {
			t.Errorf("after %s: %v of the calls, want %v", c.after, got["b"], c.want)
		}
	}
}

// TestProxyRoutesAroundBrokenBackends: over real sockets, one of three backends
// fails and another one's checks do.
func TestProxyRoutesAroundBrokenBackends(t *testing.T) {
	var hits [3]atomic.Int64
	var sick atomic.Bool
	sick.Store(true)
	serve := func(i int, status int) *httptest.Server {
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/healthz" {
				if i == 2 && sick.Load() {
					w.WriteHeader(http.StatusServiceUnavailable)
				}
				return
			}
			hits[i].Add(1)
			w.WriteHeader(status)
			_, _ = io.WriteString(w, r.Host+r.URL.String())
		}))
		t.Cleanup(srv.Close)
		return srv
	}
	servers := []*httptest.Server{serve(0, 200), serve(1, 500), serve(2, 200)}
	b, h := DefaultBreaker(), DefaultHealth()
	b.MinRequests, b.Open = 2, model.Duration(time.Hour)
	h.Path, h.Healthy, h.Unhealthy = "/healthz", 2, 1
	cfg := shopConfig()
	cfg.Upstreams = map[string]Upstream{ProxyCallee: {
		Retries: 1, RetryBudget: -1, Breaker: &b, Health: &h, SlowStart: model.Duration(time.Hour),
		Backends: []Backend{{"a", servers[0].URL}, {"b", servers[1].URL}, {"c", servers[2].URL}},
	}}
	g, clock := clockedGuard(t, cfg)
	front := httptest.NewServer(NewProxy(g, nil))
	t.Cleanup(front.Close)
	clock.advance(0) // the first checks
	for range 50 {
		if status, body := fetch(t, front); status != 200 || body != front.Listener.Addr().String()+"/entries?n=1" {
			t.Fatalf("%d %q", status, body)
		}
	}
	if hits[1].Load() != 2 || hits[2].Load() != 0 {
		t.Errorf("the broken one got %d calls until its circuit opened, the sick one %d", hits[1].Load(), hits[2].Load())
	}
	s := g.state()
	if s.Breakers["upstream/b"] != "open" || s.Breakers["upstream/a"] != "closed" || len(s.Backends[ProxyCallee]) != 3 {
		t.Errorf("state %+v", s)
	}
	if c := s.Backends[ProxyCallee][2]; c.Healthy || c.Reason == "" || s.Circuits["upstream/b"].Next.IsZero() {
		t.Errorf("the sick one is shown as %+v", c)
	}
	if got := testutil.ToFloat64(g.metrics.answers.WithLabelValues(ProxyCallee, "b", "error")); got != 2 {
		t.Errorf("%v errors of the broken one counted", got)
	}
	sick.Store(false)
	clock.advance(5 * time.Second)
	if !g.endpointsOf("upstream/c")[0].down.Load() {
		t.Error("one success is taken for health")
	}
	clock.advance(5 * time.Second)
	if c := g.state().Backends[ProxyCallee][2]; !c.Healthy || c.Weight != leastWeight {
		t.Errorf("the one that returned is shown as %+v", c)
	}
	for _, name := range []string{"upstream/a", "upstream/c"} {
		g.endpointsOf(name)[0].breaker.force(clock.Now(), clock.Now().Add(time.Hour))
	}
	if status, _ := fetch(t, front); status != http.StatusServiceUnavailable {
		t.Errorf("with every circuit open: %d", status)
	}
}

func TestTCPChecks(t *testing.T) {
	srv := httptest.NewServer(http.NotFoundHandler())
	h := DefaultHealth()
	h.Unhealthy, h.Healthy = 1, 1
	cfg := shopConfig()
	cfg.Upstreams = map[string]Upstream{"ledger": {Health: &h, Backends: []Backend{{"a", srv.URL}}}}
	g, clock := clockedGuard(t, cfg)
	clock.advance(0)
	if g.reachable("ledger") != nil {
		t.Error("a listener is taken for down")
	}
	srv.Close()
	clock.advance(5 * time.Second)
	if g.reachable("ledger") == nil || testutil.ToFloat64(g.metrics.healthy.WithLabelValues("ledger", "a")) != 0 {
		t.Error("a closed port is taken for up")
	}
	g.Close()
	if clock.pending() != 0 {
		t.Errorf("%d timers are left", clock.pending())
	}
}

func TestWhatCountsAsFailure(t *testing.T) {
	refused := errors.New("connection refused")
	for name, c := range map[string]struct {
		cfg    BreakerConfig
		status int
		err    error
		want   opinion
	}{
		"5xx":              {BreakerConfig{}, 503, nil, bad},
		"4xx":              {BreakerConfig{}, 404, nil, good},
		"429":              {BreakerConfig{}, 429, nil, good},
		"429 by choice":    {BreakerConfig{FailureStatuses: []string{"5xx", "429"}}, 429, nil, bad},
		"ignored":          {BreakerConfig{IgnoredStatuses: []string{"501"}}, 501, nil, nothing},
		"class ignored":    {BreakerConfig{IgnoredStatuses: []string{"4XX"}}, 404, nil, nothing},
		"code over class":  {BreakerConfig{IgnoredStatuses: []string{"4xx"}, FailureStatuses: []string{"408"}}, 408, nil, bad},
		"refused":          {BreakerConfig{}, 0, refused, bad},
		"refused, ignored": {BreakerConfig{IgnoreConnectionErrors: true}, 0, refused, nothing},
		"timeout":          {BreakerConfig{IgnoreConnectionErrors: true}, 0, &TimeoutError{}, bad},
		"timeout, ignored": {BreakerConfig{IgnoreTimeouts: true}, 0, &TimeoutError{}, nothing},
		"own rejection":    {BreakerConfig{CountCancelled: true}, 0, ErrBreakerOpen, nothing},
	} {
		j := newJudge(&c.cfg)
		got := j.status(c.status)
		if c.err != nil {
			got = j.err(t.Context(), c.err)
		}
		if got != c.want {
			t.Errorf("%s: %d, want %d", name, got, c.want)
		}
	}
}
