package guard

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/prometheus/common/model"
)

// callee answers attempts from a script: a status, 0 for a broken connection, -1
// for silence until the caller gives up. The last entry goes on for ever.
type callee struct {
	script []int

	mu     sync.Mutex
	bodies []string
	marks  []string // attempt and priority headers
	closed int      // response bodies
}

func (c *callee) RoundTrip(r *http.Request) (*http.Response, error) {
	body := ""
	if r.Body != nil {
		b, err := io.ReadAll(r.Body)
		if err != nil {
			return nil, err
		}
		body = string(b)
		_ = r.Body.Close()
	}
	c.mu.Lock()
	n := min(len(c.bodies), len(c.script)-1)
	c.bodies = append(c.bodies, body)
	c.marks = append(c.marks, r.Header.Get(AttemptHeader)+"/"+r.Header.Get(PriorityHeader))
	c.mu.Unlock()
	switch status := c.script[n]; status {
	case 0:
		return nil, errors.New("connection reset")
	case -1:
		<-r.Context().Done()
		return nil, context.Cause(r.Context())
	default:
		return &http.Response{StatusCode: status, Header: http.Header{}, Request: r, Body: &countedBody{Reader: strings.NewReader("answer"), c: c}}, nil
	}
}

type countedBody struct {
	io.Reader
	c *callee
}

func (b *countedBody) Close() error {
	b.c.mu.Lock()
	defer b.c.mu.Unlock()
	b.c.closed++
	return nil
}

func callerConfig(u Upstream) Config {
	cfg := DefaultConfig()
	cfg.Service = "checkout"
	cfg.Upstreams = map[string]Upstream{"ledger": u}
	return cfg
}

func get(t testing.TB, ctx context.Context, rt http.RoundTripper, method string, body io.Reader) (int, error) { //nolint:revive // the test leads
	t.Helper()
	r, err := http.NewRequestWithContext(ctx, method, "http://ledger/entries", body)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := rt.RoundTrip(r)
	if err != nil {
		if resp != nil {
			t.Error("both a response and an error")
		}
		return 0, err
	}
	_, _ = io.Copy(io.Discard, resp.Body)
	_ = resp.Body.Close()
	return resp.StatusCode, nil
}

func TestTransportRetries(t *testing.T) {
	cases := []struct {
		name     string
		script   []int
		method   string
		up       Upstream
		status   int
		failed   bool
		attempts int
	}{
		{"success at once", []int{200}, "GET", Upstream{Retries: 3}, 200, false, 1},
		{"second try", []int{503, 200}, "GET", Upstream{Retries: 3}, 200, false, 2},
		{"after a reset", []int{0, 0, 200}, "GET", Upstream{Retries: 3}, 200, false, 3},
		{"after silence", []int{-1, 200}, "GET", Upstream{Retries: 3, Timeout: model.Duration(time.Second)}, 200, false, 2},
		{"the last answer stands", []int{500, 502}, "GET", Upstream{Retries: 2}, 502, false, 3},
		{"the last error stands", []int{500, 0}, "GET", Upstream{Retries: 1}, 0, true, 2},
		{"not for 4xx", []int{404}, "GET", Upstream{Retries: 3}, 404, false, 1},
		{"not for a cap", []int{429}, "GET", Upstream{Retries: 3}, 429, false, 1},
		{"not for 501", []int{501}, "GET", Upstream{Retries: 3}, 501, false, 1},
		{"not for POST", []int{500}, "POST", Upstream{Retries: 3}, 500, false, 1},
		{"for POST where that is said", []int{500, 200}, "POST", Upstream{Retries: 3, RetryUnsafe: true}, 200, false, 2},
		{"none configured", []int{500}, "GET", Upstream{}, 500, false, 1},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c.up.Backoff, c.up.RetryBudget = model.Duration(50*time.Millisecond), -1
				g := newTestGuard(t, callerConfig(c.up))
				up := &callee{script: c.script}
				status, err := get(t, t.Context(), g.Transport("ledger", up), c.method, nil)
				if status != c.status || (err != nil) != c.failed || len(up.bodies) != c.attempts {
					t.Errorf("status %d after %d attempts, %v; want %d after %d", status, len(up.bodies), err, c.status, c.attempts)
				}
				answered := 0
				for n := range c.attempts {
					if c.script[min(n, len(c.script)-1)] > 0 {
						answered++
					}
				}
				if up.closed != answered {
					t.Errorf("%d of %d response bodies were closed", up.closed, answered)
				}
			})
		})
	}
}

func TestTransportBacksOffWithJitter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		up := Upstream{Retries: 3, Backoff: model.Duration(100 * time.Millisecond), RetryBudget: -1}
		g := newTestGuard(t, callerConfig(up), WithJitter(func() float64 { return 0.5 }))
		began := time.Now()
		if _, err := get(t, t.Context(), g.Transport("ledger", &callee{script: []int{500}}), "GET", nil); err != nil {
			t.Fatal(err)
		}
		if got := time.Since(began); got != 525*time.Millisecond { // three quarters of 100, 200 and 400
			t.Errorf("back-offs took %v, want 525ms", got)
		}
	})
}

func TestTransportHeaders(t *testing.T) {
	g := newTestGuard(t, callerConfig(Upstream{Retries: 2, RetryBudget: -1}))
	up := &callee{script: []int{500}}
	rt := g.Transport("ledger", up)
	_, _ = get(t, WithPriority(t.Context(), High), rt, "GET", nil)
	r, _ := http.NewRequestWithContext(WithPriority(t.Context(), High), http.MethodGet, "http://ledger/", nil)
	r.Header.Set(PriorityHeader, "low")
	r.Header.Set(AttemptHeader, "1") // forwarded by a proxy
	resp, err := rt.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	want := []string{"/high", "1/high", "2/high", "1/low", "2/low", "3/low"}
	if diff := cmp.Diff(want, up.marks); diff != "" {
		t.Errorf("attempt/priority (-want +got):\n%s", diff)
	}
	if r.Header.Get(AttemptHeader) != "1" {
		t.Error("the caller's request was changed")
	}
}

func TestTransportBudget(t *testing.T) {
	g := newTestGuard(t, callerConfig(Upstream{Retries: 3, RetryBudget: 0.5}))
	up := &callee{script: []int{500}}
	rt := g.Transport("ledger", up)
	for range 100 {
		if status, err := get(t, t.Context(), rt, "GET", nil); status != 500 || err != nil {
			t.Fatal(status, err)
		}
	}
	m := g.upstream("ledger").metrics
	firsts, retries := testutil.ToFloat64(m.attempts[0][attemptError]), testutil.ToFloat64(m.attempts[1][attemptError])
	if firsts != 100 || retries != 50 || len(up.bodies) != 150 {
		t.Errorf("%v first attempts and %v retries, want 100 and 50", firsts, retries)
	}
	if got := testutil.ToFloat64(m.suppressed); got != 100 {
		t.Errorf("%v calls were left without a retry that they wanted, want 100", got)
	}
}

func TestTransportTimesOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newTestGuard(t, callerConfig(Upstream{Timeout: model.Duration(time.Second)}))
		rt := g.Transport("ledger", &callee{script: []int{-1}})
		began := time.Now()
		_, err := get(t, t.Context(), rt, "GET", nil)
		var late *TimeoutError
		if !errors.As(err, &late) || late.Callee != "ledger" || !errors.Is(err, context.DeadlineExceeded) || !isTimeout(err) {
			t.Errorf("error is %v", err)
		}
		if time.Since(began) != time.Second {
			t.Errorf("gave up after %v", time.Since(began))
		}
		d := directive("a", KindTimeout, Params{"seconds": 0.25})
		d.Callee, d.Expires = "ledger", time.Now().Add(time.Hour)
		mustPut(t, g, d)
		began = time.Now()
		if _, err := get(t, t.Context(), rt, "GET", nil); err == nil || time.Since(began) != 250*time.Millisecond {
			t.Errorf("with the directive: %v after %v", err, time.Since(began))
		}
		if got := testutil.ToFloat64(g.upstream("ledger").metrics.attempts[0][attemptTimeout]); got != 2 {
			t.Errorf("%v timeouts counted", got)
		}
	})
}

func TestTransportLeavesWithItsCaller(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := callerConfig(Upstream{Retries: 5, RetryBudget: -1, Backoff: model.Duration(time.Second)})
		g := newTestGuard(t, cfg, WithJitter(func() float64 { return 0 }))
		up := &callee{script: []int{500, -1}}
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		if _, err := get(t, ctx, g.Transport("ledger", up), "GET", nil); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("during the back-off: %v", err)
		}
		if len(up.bodies) != 1 {
			t.Errorf("%d attempts for a caller that has gone", len(up.bodies))
		}
		ctx, cancel = context.WithCancel(t.Context())
		go func() { time.Sleep(time.Second); cancel() }()
		if _, err := get(t, ctx, g.Transport("ledger", up), "GET", nil); !errors.Is(err, context.Canceled) {
			t.Errorf("during an attempt: %v", err)
		}
		if len(up.bodies) != 2 {
			t.Errorf("%d attempts, want 2", len(up.bodies))
		}
	})
}

func TestTransportBreaker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := DefaultBreaker()
		b.MinRequests = 4
		g := newTestGuard(t, callerConfig(Upstream{Breaker: &b}))
		up := &callee{script: []int{404, 404, 404, 404, 500, 500, 500, 500, 200}}
		rt := g.Transport("ledger", up)
		for range 8 {
			_, _ = get(t, t.Context(), rt, "GET", nil)
		}
		_, err := get(t, t.Context(), rt, "GET", strings.NewReader("x"))
		if !errors.Is(err, ErrBreakerOpen) || len(up.bodies) != 8 {
			t.Fatalf("half of eight failed: %v after %d attempts", err, len(up.bodies))
		}
		if g.state().Breakers["ledger"] != "open" || testutil.ToFloat64(g.metrics.breaker.WithLabelValues("ledger")) != 2 {
			t.Errorf("state says %v", g.state().Breakers)
		}
		time.Sleep(time.Duration(b.Open))
		for range b.Probes {
			if _, err := get(t, t.Context(), rt, "GET", nil); err != nil {
				t.Fatal(err)
			}
		}
		if g.state().Breakers["ledger"] != "closed" {
			t.Errorf("state says %v after good probes", g.state().Breakers)
		}
		d := directive("a", KindBreaker, Params{"failure_ratio": 0.01, "min_requests": 1, "open_seconds": 60})
		d.Callee, d.Expires = "ledger", time.Now().Add(time.Hour)
		mustPut(t, g, d)
		up.script = []int{0}
		_, _ = get(t, t.Context(), rt, "GET", nil)
		if _, err := get(t, t.Context(), rt, "GET", nil); !errors.Is(err, ErrBreakerOpen) {
			t.Errorf("with the directive one failure is enough: %v", err)
		}
		if err := g.ledger.remove("a", 1, 2, false); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Duration(b.Open))
		if _, err := get(t, t.Context(), rt, "GET", nil); errors.Is(err, ErrBreakerOpen) {
			t.Error("the configured pause did not come back with the directive's end")
		}
	})
}

// TestTransportCallerCancelsNeverOpenTheBreaker: what the caller did says nothing
// about the callee.
func TestTransportCallerCancelsNeverOpenTheBreaker(t *testing.T) {
	b := DefaultBreaker()
	b.MinRequests = 1
	g := newTestGuard(t, callerConfig(Upstream{Breaker: &b}))
	rt := g.Transport("ledger", &callee{script: []int{-1}})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for range 10 {
		_, _ = get(t, ctx, rt, "GET", nil)
	}
	if got := g.state().Breakers["ledger"]; got != "closed" {
		t.Errorf("circuit is %s", got)
	}
}

func TestTransportReplaysBodies(t *testing.T) {
	hide := func(s string) io.Reader { return struct{ io.Reader }{strings.NewReader(s)} } // without GetBody
	small, big := strings.Repeat("s", 1000), strings.Repeat("b", replayLimit+1)
	cases := []struct {
		name string
		body io.Reader
		want []string
	}{
		{"with GetBody", bytes.NewReader([]byte(big)), []string{big, big, big}},
		{"small stream", hide(small), []string{small, small, small}},
		{"exactly at the limit", hide(big[1:]), []string{big[1:], big[1:], big[1:]}},
		{"too long to keep", hide(big), []string{big}},
		{"empty stream", hide(""), []string{"", "", ""}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			g := newTestGuard(t, callerConfig(Upstream{Retries: 2, RetryBudget: -1}))
			up := &callee{script: []int{500}}
			if status, err := get(t, t.Context(), g.Transport("ledger", up), "PUT", c.body); status != 500 || err != nil {
				t.Fatal(status, err)
			}
			if diff := cmp.Diff(c.want, up.bodies); diff != "" {
				t.Errorf("bodies differ:\n%.300s", diff)
			}
		})
	}
}

// trackedBody is a request body that knows whether it was closed.
type trackedBody struct {
	io.Reader
	closed bool
}

func (b *trackedBody) Close() error { b.closed = true; return nil }

func TestTransportClosesRequestBodies(t *testing.T) {
	for name, script := range map[string]int{"answered": 200, "broken": 0} {
		for _, size := range []int{10, replayLimit + 10} {
			g := newTestGuard(t, callerConfig(Upstream{Retries: 2, RetryBudget: -1}))
			body := &trackedBody{Reader: strings.NewReader(strings.Repeat("x", size))}
			_, _ = get(t, t.Context(), g.Transport("ledger", &callee{script: []int{script}}), "PUT", body)
			if !body.closed {
				t.Errorf("%s, %d bytes: body left open", name, size)
			}
		}
	}
}

// TestTransportTimeoutCoversTheBody: a callee that begins to answer and then
// stalls must not hold its caller.
func TestTransportTimeoutCoversTheBody(t *testing.T) {
	release := make(chan struct{})
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "begun")
		_ = http.NewResponseController(w).Flush()
		<-release
	}))
	defer srv.Close()
	defer close(release)
	clock := newFakeClock()
	clock.armed = make(chan struct{}, 8)
	g := newTestGuard(t, callerConfig(Upstream{Timeout: model.Duration(time.Second)}), WithClock(clock))
	next := &http.Transport{}
	defer next.CloseIdleConnections()
	client := &http.Client{Transport: g.Transport("ledger", next)}
	resp, err := client.Get(srv.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	clock.advance(time.Second)
	if body, err := io.ReadAll(resp.Body); err == nil || !isTimeout(err) {
		t.Errorf("read %q, %v; want a timeout", body, err)
	}
}

func TestTransportDoesNotKeepTimers(t *testing.T) {
	clock := newFakeClock()
	g := newTestGuard(t, callerConfig(Upstream{Timeout: model.Duration(time.Second)}), WithClock(clock))
	for _, script := range []int{200, 500, 0} {
		_, _ = get(t, t.Context(), g.Transport("ledger", &callee{script: []int{script}}), "GET", nil)
		if n := clock.pending(); n != 0 {
			t.Errorf("script %d leaves %d timers", script, n)
		}
	}
}

func TestTransportUnderSixtyFourGoroutines(t *testing.T) {
	b := DefaultBreaker()
	g := newTestGuard(t, callerConfig(Upstream{Retries: 2, RetryBudget: 0.2, Breaker: &b}))
	up := &callee{script: []int{500, 200, 200, 0, 200}}
	rt := g.Transport("ledger", up)
	var wg sync.WaitGroup
	for range 64 {
		wg.Go(func() {
			for range 20 {
				_, _ = get(t, t.Context(), rt, "PUT", strings.NewReader("x"))
			}
		})
	}
	for i := range 100 {
		d := Directive{ID: "a", Kind: KindRetryBudget, Params: Params{"ratio": float64(i%10) / 10}, Epoch: 1, Seq: uint64(i), Expires: time.Now().Add(time.Hour)}
		mustPut(t, g, d)
		g.state()
	}
	wg.Wait()
	m := g.upstream("ledger").metrics
	total := 0.0
	for o := range m.attempts[0] {
		total += testutil.ToFloat64(m.attempts[0][o])
	}
	if total != 64*20 {
		t.Errorf("%v first attempts counted, want %d", total, 64*20)
	}
}

func BenchmarkTransport(b *testing.B) {
	b.ReportAllocs()
	br := DefaultBreaker()
	g := newTestGuard(b, callerConfig(Upstream{Retries: 3, RetryBudget: 0.1, Breaker: &br}))
	resp := &http.Response{StatusCode: 200, Body: http.NoBody}
	rt := g.Transport("ledger", roundTripFunc(func(*http.Request) (*http.Response, error) { r := *resp; return &r, nil }))
	r, _ := http.NewRequestWithContext(b.Context(), http.MethodGet, "http://ledger/", nil)
	for b.Loop() {
		resp, err := rt.RoundTrip(r)
		if err != nil {
			b.Fatal(err)
		}
		_ = resp.Body.Close()
	}
}

type roundTripFunc func(*http.Request) (*http.Response, error)

func (f roundTripFunc) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// TestTransportSettlesEachPermitOnce: a lost permit would keep the circuit half-open
// for ever, one given back twice would let too many probes through.
func TestTransportSettlesEachPermitOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := DefaultBreaker()
		b.MinRequests = 1
		g := newTestGuard(t, callerConfig(Upstream{Breaker: &b}))
		_, _ = get(t, t.Context(), g.Transport("ledger", &callee{script: []int{500}}), "GET", nil)
		time.Sleep(time.Duration(b.Open))
		cb := &g.upstream("ledger").all()[0].breaker
		held, _ := cb.allow(time.Now()) // another probe, under way all the time
		check := func(when string, successes int) {
			t.Helper()
			if cb.outstanding != 1 || cb.successes != successes || g.state().Breakers["ledger"] != "half-open" {
				t.Errorf("%s: %d probes under way, %d succeeded, circuit %s", when, cb.outstanding, cb.successes, g.state().Breakers["ledger"])
			}
		}
		check("before", 0)
		_, _ = get(t, t.Context(), g.Transport("ledger", &callee{script: []int{200}}), "GET", nil)
		check("after a good probe", 1)
		func() {
			defer func() {
				if recover() == nil {
					t.Error("the panic was swallowed")
				}
			}()
			_, _ = get(t, t.Context(), g.Transport("ledger", roundTripFunc(func(*http.Request) (*http.Response, error) { panic("oh") })), "GET", nil)
		}()
		check("after a panic", 1)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, _ = get(t, ctx, g.Transport("ledger", &callee{script: []int{-1}}), "GET", nil)
		check("after the caller cancelled", 1)
		cb.settle(time.Now(), held, false)
		if got := g.state().Breakers["ledger"]; got != "open" {
			t.Errorf("after a bad probe: %s", got)
		}
	})
}
