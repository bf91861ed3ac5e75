package guard

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/prometheus/common/model"
)

func request(t testing.TB, headers ...string) *http.Request {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/cart", nil)
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	return r
}

func counted(g *Guard, p Priority, attempt int, o outcome) float64 {
	return testutil.ToFloat64(g.metrics.requests[p][attempt][o])
}

func TestMiddlewareCountsEveryEnd(t *testing.T) {
	cases := []struct {
		name     string
		handler  http.HandlerFunc
		headers  []string
		class    Priority
		attempt  int
		outcome  outcome
		status   int
		panicked bool
	}{
		{"ok", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "hi") }, nil, Normal, 0, ok, 200, false},
		{"silent", func(http.ResponseWriter, *http.Request) {}, []string{"X-Priority", "HIGH"}, High, 0, ok, 200, false},
		{"not found", http.NotFound, []string{"X-Priority", "critical", "X-Retry-Attempt", "2"}, Critical, 1, ok, 404, false},
		{"error", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(502) }, []string{"X-Retry-Attempt", "-1"}, Normal, 0, failed, 502, false},
		{"hints first", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(103); w.WriteHeader(500) }, []string{"X-Priority", "boss"}, Normal, 0, failed, 103, false}, // a recorder keeps the first
		{"panic", func(http.ResponseWriter, *http.Request) { panic("oh") }, []string{"X-Priority", "low"}, Low, 0, failed, 0, true},
	}
	for _, limit := range []time.Duration{0, time.Hour} {
		for _, c := range cases {
			t.Run(c.name+" within "+limit.String(), func(t *testing.T) {
				cfg := shopConfig()
				cfg.Timeout = model.Duration(limit)
				g, clock := clockedGuard(t, cfg)
				w := httptest.NewRecorder()
				func() {
					defer func() {
						if p := recover(); (p != nil) != c.panicked {
							t.Errorf("panicked with %v", p)
						}
					}()
					g.Middleware(c.handler).ServeHTTP(w, request(t, c.headers...))
				}()
				if !c.panicked && w.Code != c.status {
					t.Errorf("status %d, want %d", w.Code, c.status)
				}
				if got := counted(g, c.class, c.attempt, c.outcome); got != 1 {
					t.Errorf("%v counted as %s %s", got, c.class, outcomeNames[c.outcome])
				}
				if g.queue.active != 0 || clock.pending() != 0 {
					t.Errorf("%d workers still taken, %d timers left", g.queue.active, clock.pending())
				}
			})
		}
	}
}

func TestMiddlewareShedsAboveTheCap(t *testing.T) {
	g, clock := clockedGuard(t, shopConfig())
	mustPut(t, g, directive("a", KindShed, Params{"rps": 10}))
	h := g.Middleware(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	serve := func(class string) int {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, request(t, "X-Priority", class))
		if w.Code != 200 && w.Header().Get("Retry-After") == "" {
			t.Errorf("status %d without Retry-After", w.Code)
		}
		return w.Code
	}
	clock.advance(500 * time.Millisecond) // five of ten tokens
	if got := serve("low"); got != http.StatusTooManyRequests {
		t.Errorf("low got %d with half the tokens, want 429", got)
	}
	for i := range 5 {
		if got := serve("critical"); got != 200 {
			t.Errorf("critical %d got %d", i, got)
		}
	}
	if got := serve("critical"); got != http.StatusTooManyRequests {
		t.Errorf("critical got %d without tokens", got)
	}
	if counted(g, Low, 0, shed) != 1 || counted(g, Critical, 0, shed) != 1 || counted(g, Critical, 0, ok) != 5 {
		t.Error("the outcomes are counted wrong")
	}
}

func TestMiddlewareTimeoutAnswersAtOnceAndKeepsTheWorker(t *testing.T) {
	cfg := shopConfig()
	cfg.Timeout = model.Duration(time.Second)
	g, clock := clockedGuard(t, cfg)
	started, finish, ended := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	h := g.Middleware(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		close(started)
		<-r.Context().Done()
		<-finish
		w.Header().Set("X-Late", "yes")
		_, err := io.WriteString(w, "too late")
		ended <- err
	}))
	w := httptest.NewRecorder()
	answered := make(chan struct{})
	go func() { h.ServeHTTP(w, request(t)); close(answered) }()
	<-started
	clock.advance(time.Second)
	<-answered
	if w.Code != http.StatusServiceUnavailable || counted(g, Normal, 0, timedOut) != 1 {
		t.Errorf("status %d, %v timeouts counted", w.Code, counted(g, Normal, 0, timedOut))
	}
	if got := testutil.ToFloat64(g.metrics.inFlight); got != 1 {
		t.Errorf("%v in flight while the handler works on, want 1", got)
	}
	close(finish)
	if err := <-ended; err != http.ErrHandlerTimeout { //nolint:errorlint // handed out as it is
		t.Errorf("late write gave %v", err)
	}
	if strings.Contains(w.Body.String(), "too late") || w.Header().Get("X-Late") != "" {
		t.Errorf("the late handler wrote %q, %v", w.Body, w.Header())
	}
}

func TestMiddlewareCutsAResponseThatHasBegun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := shopConfig()
		cfg.Timeout = model.Duration(time.Second)
		g := newTestGuard(t, cfg)
		w := httptest.NewRecorder()
		defer func() {
			if p := recover(); p != http.ErrAbortHandler { //nolint:errorlint // the server compares it so
				t.Errorf("panicked with %v, want ErrAbortHandler", p)
			}
			synctest.Wait()
			if active := testutil.ToFloat64(g.metrics.inFlight); active != 0 || counted(g, Normal, 0, timedOut) != 1 {
				t.Errorf("%v workers taken, %v timeouts", active, counted(g, Normal, 0, timedOut))
			}
		}()
		g.Middleware(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.WriteString(w, "half of")
			<-r.Context().Done()
		})).ServeHTTP(w, request(t))
	})
}

// TestAbandonedWorkIsDoneUnlessDropped: the two ways to treat a request whose
// caller has gone while it waited.
func TestAbandonedWorkIsDoneUnlessDropped(t *testing.T) {
	for _, drop := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			cfg := shopConfig()
			cfg.Workers, cfg.DropAbandoned = 1, drop
			g := newTestGuard(t, cfg)
			var worked atomic.Int64
			h := g.Middleware(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
				worked.Add(1)
				time.Sleep(10 * time.Second)
			}))
			go h.ServeHTTP(httptest.NewRecorder(), request(t))
			synctest.Wait()
			ctx, leave := context.WithCancel(t.Context())
			go h.ServeHTTP(httptest.NewRecorder(), request(t).WithContext(ctx))
			synctest.Wait()
			leave()
			synctest.Wait()
			waiting, wantWork, end := 1.0, int64(2), abandoned
			if drop {
				waiting, wantWork, end = 0, 1, dropped
			}
			if got := testutil.ToFloat64(g.metrics.waiting); got != waiting {
				t.Errorf("drop %v: %v wait after the caller left, want %v", drop, got, waiting)
			}
			time.Sleep(time.Minute)
			synctest.Wait()
			if worked.Load() != wantWork || counted(g, Normal, 0, end) != 1 || counted(g, Normal, 0, ok) != 1 {
				t.Errorf("drop %v: %d were worked on, %v counted as %s", drop, worked.Load(), counted(g, Normal, 0, end), outcomeNames[end])
			}
			want := 10 * float64(wantWork)
			if got := testutil.ToFloat64(g.metrics.workTotal); got != want {
				t.Errorf("drop %v: %v s of work, want %v", drop, got, want)
			}
		})
	}
}

func TestLoweredQueueBoundRejectsTheLongestWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := shopConfig()
		cfg.Workers = 1
		g := newTestGuard(t, cfg)
		h := g.Middleware(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { time.Sleep(time.Second) }))
		var mu sync.Mutex
		status := map[int]int{}
		for i := range 6 {
			go func() {
				w := httptest.NewRecorder()
				h.ServeHTTP(w, request(t))
				mu.Lock()
				defer mu.Unlock()
				status[i] = w.Code
			}()
			synctest.Wait()
		}
		d := directive("a", KindQueueBound, Params{"length": 2})
		d.Expires = time.Now().Add(time.Hour)
		mustPut(t, g, d)
		synctest.Wait()
		mu.Lock()
		for _, i := range []int{1, 2, 3} { // 0 is worked on
			if status[i] != http.StatusServiceUnavailable {
				t.Errorf("request %d has status %d right after the bound fell", i, status[i])
			}
		}
		if len(status) != 3 {
			t.Errorf("answers right after the bound fell: %v", status)
		}
		mu.Unlock()
		time.Sleep(10 * time.Second)
		synctest.Wait()
		mu.Lock()
		defer mu.Unlock()
		if status[0] != 200 || status[4] != 200 || status[5] != 200 || counted(g, Normal, 0, overflow) != 3 {
			t.Errorf("in the end: %v", status)
		}
	})
}

func TestEveryRequestGetsOneAnswerUnderLoad(t *testing.T) {
	cfg := shopConfig()
	cfg.Workers, cfg.Queue = 3, 5
	reg := prometheus.NewPedanticRegistry()
	g := newTestGuard(t, cfg, WithRegisterer(reg))
	h := g.Middleware(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		if n := testutil.ToFloat64(g.metrics.waiting); n > 20 {
			t.Errorf("%v wait", n)
		}
	}))
	var answers [600]atomic.Int64
	var wg sync.WaitGroup
	for range 64 {
		wg.Go(func() {
			for range 50 {
				w := httptest.NewRecorder()
				h.ServeHTTP(w, request(t, "X-Priority", "low"))
				answers[w.Code].Add(1)
			}
		})
	}
	for i := range 200 {
		d := Directive{ID: "a", Kind: KindQueueBound, Params: Params{"length": float64(i % 20)}, Epoch: 1, Seq: uint64(i), Expires: time.Now().Add(time.Hour)}
		mustPut(t, g, d)
		g.state()
		g.Allowed("wishlist", "x")
	}
	wg.Wait()
	if n := answers[200].Load() + answers[503].Load(); n != 64*50 {
		t.Errorf("%d of %d requests got an answer of 200 or 503", n, 64*50)
	}
	if float64(answers[200].Load()) != counted(g, Low, 0, ok) || float64(answers[503].Load()) != counted(g, Low, 0, overflow) {
		t.Error("answers and metrics differ")
	}
	if g.queue.active != 0 || g.queue.waiting.Len() != 0 {
		t.Errorf("%d active, %d waiting at the end", g.queue.active, g.queue.waiting.Len())
	}
}

func TestTrailersAndFlushesPassTheTimeout(t *testing.T) {
	cfg := shopConfig()
	cfg.Timeout = model.Duration(time.Hour)
	g := newTestGuard(t, cfg)
	srv := httptest.NewServer(g.Middleware(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Trailer", "X-Sum")
		w.WriteHeader(http.StatusAccepted)
		_ = http.NewResponseController(w).Flush()
		_, _ = io.WriteString(w, "body")
		w.Header().Set("X-Sum", "42")
	})))
	defer srv.Close()
	resp, err := srv.Client().Get(srv.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err != nil || string(body) != "body" || resp.StatusCode != http.StatusAccepted || resp.Trailer.Get("X-Sum") != "42" {
		t.Errorf("got %d %q, trailer %v, %v", resp.StatusCode, body, resp.Trailer, err)
	}
}

// quietWriter does not allocate, so that the benchmark shows only the guard.
type quietWriter struct{ h http.Header }

func (q quietWriter) Header() http.Header         { return q.h }
func (q quietWriter) Write(b []byte) (int, error) { return len(b), nil }
func (q quietWriter) WriteHeader(int)             {}

func BenchmarkMiddleware(b *testing.B) {
	b.ReportAllocs()
	cfg := shopConfig()
	g := newTestGuard(b, cfg)
	h := g.Middleware(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	w, r := quietWriter{http.Header{}}, request(b, "X-Priority", "high")
	for b.Loop() {
		h.ServeHTTP(w, r)
	}
}

func BenchmarkMiddlewareParallel(b *testing.B) {
	b.ReportAllocs()
	g := newTestGuard(b, shopConfig())
	h := g.Middleware(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	b.RunParallel(func(pb *testing.PB) {
		w, r := quietWriter{http.Header{}}, httptest.NewRequest(http.MethodGet, "/", nil)
		for pb.Next() {
			h.ServeHTTP(w, r)
		}
	})
}
