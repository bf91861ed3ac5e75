package guard

import (
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"
	"time"

	"github.com/prometheus/common/model"
)

// proxied stands up a service with a proxy before it, both on real sockets.
func proxied(t *testing.T, cfg Config, service http.Handler, opts ...Option) (*Guard, *httptest.Server) {
	t.Helper()
	back := httptest.NewServer(service)
	t.Cleanup(back.Close)
	target, err := url.Parse(back.URL)
	if err != nil {
		t.Fatal(err)
	}
	g := newTestGuard(t, cfg, opts...)
	front := httptest.NewServer(NewProxy(g, target))
	t.Cleanup(front.Close)
	t.Cleanup(http.DefaultTransport.(*http.Transport).CloseIdleConnections)
	return g, front
}

func fetch(t *testing.T, srv *httptest.Server, headers ...string) (int, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, srv.URL+"/entries?n=1", nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	resp, err := srv.Client().Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(body)
}

func TestProxyForwards(t *testing.T) {
	g, front := proxied(t, shopConfig(), http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusTeapot)
		_, _ = io.WriteString(w, r.URL.String()+" "+r.Header.Get(PriorityHeader)+" "+r.Header.Get(AttemptHeader))
	}))
	status, body := fetch(t, front, PriorityHeader, "high", AttemptHeader, "2")
	if status != http.StatusTeapot || body != "/entries?n=1 high 2" {
		t.Errorf("got %d %q", status, body)
	}
	if counted(g, High, 1, ok) != 1 {
		t.Error("the request is not counted as a retry of class high")
	}
}

func TestProxySheds(t *testing.T) {
	g, front := proxied(t, shopConfig(), http.NotFoundHandler())
	d := directive("a", KindShed, Params{"rps": 0})
	d.Expires = time.Now().Add(time.Hour)
	mustPut(t, g, d)
	if status, _ := fetch(t, front); status != http.StatusTooManyRequests {
		t.Errorf("status %d under a cap of nothing", status)
	}
}

func TestProxyTellsWhyThereIsNoAnswer(t *testing.T) {
	release := make(chan struct{})
	defer close(release)
	cfg := shopConfig()
	b := DefaultBreaker()
	b.MinRequests, b.Open = 1, model.Duration(time.Hour)
	cfg.Upstreams = map[string]Upstream{ProxyCallee: {Timeout: model.Duration(time.Minute), Breaker: &b}}
	clock := newFakeClock()
	reached := make(chan struct{}, 1)
	_, front := proxied(t, cfg, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		reached <- struct{}{}
		select {
		case <-release:
		case <-r.Context().Done():
		}
	}), WithClock(clock))
	go func() { <-reached; clock.advance(time.Minute) }()
	if status, _ := fetch(t, front); status != http.StatusGatewayTimeout {
		t.Errorf("slow upstream: %d, want 504", status)
	}
	if status, _ := fetch(t, front); status != http.StatusServiceUnavailable {
		t.Errorf("open circuit: %d, want 503", status)
	}
	_, unreachable := proxied(t, shopConfig(), http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }))
	if status, _ := fetch(t, unreachable); status != http.StatusBadGateway {
		t.Errorf("broken upstream: %d, want 502", status)
	}
}
