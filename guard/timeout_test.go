package guard

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"net/textproto"
	"testing"
	"time"

	"github.com/prometheus/common/model"
)

// TestATimeoutIsNeverAnsweredByTheHandlerThatItCancels: a handler that returns
// because its time is over has answered nothing, and that must not pass for 200.
func TestATimeoutIsNeverAnsweredByTheHandlerThatItCancels(t *testing.T) {
	cfg := shopConfig()
	cfg.Timeout = model.Duration(time.Second)
	g, clock := clockedGuard(t, cfg)
	returned := make(chan struct{}, 1)
	h := g.Middleware(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		clock.advance(time.Second)
		<-r.Context().Done()
		returned <- struct{}{}
	}))
	const n = 5000
	for range n {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, request(t))
		<-returned // the clock is moved by one at a time
		if w.Code != http.StatusServiceUnavailable {
			t.Fatalf("answered %d", w.Code)
		}
	}
	if got := counted(g, Normal, 0, timedOut); got != n {
		t.Errorf("%v of %d counted as timeouts", got, n)
	}
}

// TestEarlyHintsKeepTheirHeader: what an informational answer carried is not in
// the answer, with and without a timeout of handling.
func TestEarlyHintsKeepTheirHeader(t *testing.T) {
	for _, limit := range []time.Duration{0, time.Hour} {
		cfg := shopConfig()
		cfg.Timeout = model.Duration(limit)
		_, front := proxied(t, cfg, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Link", "</a.css>")
			w.WriteHeader(http.StatusEarlyHints)
			w.Header().Del("Link")
			w.Header().Set("X-Own", "1")
			_, _ = io.WriteString(w, "body")
		}))
		var hint string
		ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{Got1xxResponse: func(_ int, h textproto.MIMEHeader) error {
			hint = h.Get("Link")
			return nil
		}})
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, front.URL, nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := front.Client().Do(r)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if hint != "</a.css>" || resp.Header.Get("Link") != "" || resp.Header.Get("X-Own") != "1" {
			t.Errorf("timeout %s: hint %q, answer %v", limit, hint, resp.Header)
		}
	}
}

// TestUpgradesPassTheTimeout: a connection that both ends have agreed to use for
// something else is handed through, and is no longer a request that takes long.
func TestUpgradesPassTheTimeout(t *testing.T) {
	for _, limit := range []time.Duration{0, time.Minute} {
		cfg := shopConfig()
		cfg.Timeout = model.Duration(limit)
		clock := newFakeClock()
		g, front := proxied(t, cfg, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			conn, rw, err := http.NewResponseController(w).Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			defer func() { _ = conn.Close() }()
			_, _ = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
			line, err := rw.ReadString('\n')
			if err == nil {
				_, _ = io.WriteString(conn, "heard "+line)
			}
		}), WithClock(clock))
		conn, err := net.Dial("tcp", front.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = conn.Close() }()
		_, _ = io.WriteString(conn, "GET / HTTP/1.1\r\nHost: shop\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
		from := bufio.NewReader(conn)
		resp, err := http.ReadResponse(from, nil)
		if err != nil || resp.StatusCode != http.StatusSwitchingProtocols {
			t.Fatalf("timeout %s: %+v, %v", limit, resp, err)
		}
		clock.advance(time.Hour)
		_, _ = fmt.Fprintln(conn, "you")
		if line, err := from.ReadString('\n'); err != nil || line != "heard you\n" {
			t.Errorf("timeout %s: %q, %v", limit, line, err)
		}
		if got := counted(g, Normal, 0, timedOut); got != 0 {
			t.Errorf("timeout %s: counted as %v timeouts", limit, got)
		}
	}
}
