package guard

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/common/model"
)

// speak writes raw bytes to the server and reads one answer. Nothing follows the
// bytes where they are cut.
func speak(t *testing.T, srv *httptest.Server, raw string, cut bool) (int, string) {
	t.Helper()
	conn, err := net.Dial("tcp", srv.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	if _, err := io.WriteString(conn, raw); err != nil {
		t.Fatal(err)
	}
	if cut {
		if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
			t.Fatal(err)
		}
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(body)
}

// TestABrokenBodyIsTheCallersFault: whoever sends half a request must not open the
// circuit for all others, with retries (which keep the body) and without.
func TestABrokenBodyIsTheCallersFault(t *testing.T) {
	for _, retries := range []int{0, 2} {
		b := DefaultBreaker()
		b.MinRequests, b.Open = 1, model.Duration(time.Hour)
		cfg := shopConfig()
		cfg.Upstreams = map[string]Upstream{ProxyCallee: {Retries: retries, RetryBudget: -1, RetryUnsafe: true, Breaker: &b}}
		g, front := proxied(t, cfg, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if _, err := io.Copy(io.Discard, r.Body); err == nil {
				_, _ = io.WriteString(w, "whole")
			}
		}))
		const post = "POST / HTTP/1.1\r\nHost: shop\r\nConnection: close\r\n"
		for name, raw := range map[string]string{
			"no chunk":         post + "Transfer-Encoding: chunked\r\n\r\nZZ\r\n",
			"cut in a chunk":   post + "Transfer-Encoding: chunked\r\n\r\n5\r\nab",
			"less than length": post + "Content-Length: 10\r\n\r\nab",
			"a long one, cut":  post + "Content-Length: 200000\r\n\r\n" + strings.Repeat("x", replayLimit+10),
		} {
			if status, body := speak(t, front, raw, true); status != http.StatusBadRequest {
				t.Errorf("%d retries, %s: %d %q", retries, name, status, body)
			}
		}
		if s := g.state().Circuits[ProxyCallee]; s.State != "closed" || s.Requests != 0 {
			t.Errorf("%d retries: the circuit is %+v", retries, s)
		}
		if status, body := speak(t, front, post+"Content-Length: 2\r\n\r\nab", false); status != 200 || body != "whole" {
			t.Errorf("%d retries: a whole request: %d %q", retries, status, body)
		}
	}
}

// TestAServiceThatHangsUpIsNotTheCallersFault: a body that nobody reads any more
// breaks off too.
func TestAServiceThatHangsUpIsNotTheCallersFault(t *testing.T) {
	b := DefaultBreaker()
	b.MinRequests, b.Open = 1, model.Duration(time.Hour)
	cfg := shopConfig()
	cfg.Upstreams = map[string]Upstream{ProxyCallee: {Breaker: &b}}
	g, front := proxied(t, cfg, http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }))
	status, _ := speak(t, front, "POST / HTTP/1.1\r\nHost: shop\r\nConnection: close\r\nContent-Length: 2\r\n\r\nab", false)
	if s := g.state().Circuits[ProxyCallee]; status != http.StatusBadGateway || s.State != "open" {
		t.Errorf("%d, circuit %+v", status, s)
	}
}

// TestCallersCannotSayWhoTheyAre: by no spelling, and not by having the name
// removed on the way.
func TestCallersCannotSayWhoTheyAre(t *testing.T) {
	cfg := shopConfig()
	cfg.Auth = AuthConfig{TokensFile: tokensFile(t, line("web", "s1")), Optional: true}
	_, front := proxied(t, cfg, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for name, values := range r.Header {
			if strings.Contains(strings.ToLower(name), "guard") {
				_, _ = fmt.Fprint(w, name, values, ";")
			}
		}
	}))
	const get, end = "GET / HTTP/1.1\r\nHost: shop\r\n", "\r\n\r\n"
	for raw, want := range map[string]string{
		get + "Authorization: Bearer s1\r\nConnection: close, X-Guard-Client" + end:                       "X-Guard-Client[web];",
		get + "Authorization: Bearer s1\r\nConnection: close\r\nX_Guard_Client: root" + end:               "X-Guard-Client[web];",
		get + "Connection: close\r\nx_guard-client: root\r\nX-GUARD_CLIENT: a\r\nX-Guard-Client: b" + end: "",
		get + "Connection: close\r\nX-Guard-Clients: 5" + end:                                             "X-Guard-Clients[5];",
	} {
		if status, body := speak(t, front, raw, false); status != 200 || body != want {
			t.Errorf("%q: %d %q, want %q", raw, status, body, want)
		}
	}
}

// TestForwardedHeadersOfTrustedProxiesOnly: others cannot claim another address.
func TestForwardedHeadersOfTrustedProxiesOnly(t *testing.T) {
	const claim = "GET / HTTP/1.1\r\nHost: shop\r\nConnection: close\r\nX-Forwarded-For: 9.9.9.9\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: www\r\n\r\n"
	for network, want := range map[string]string{
		"127.0.0.0/8": "9.9.9.9, 127.0.0.1 https www", "10.0.0.0/8": "127.0.0.1 http shop",
	} {
		cfg := shopConfig()
		cfg.Client.TrustedProxies = []string{network}
		_, front := proxied(t, cfg, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, _ = fmt.Fprint(w, r.Header.Get("X-Forwarded-For"), " ", r.Header.Get("X-Forwarded-Proto"), " ", r.Header.Get("X-Forwarded-Host"))
		}))
		if status, body := speak(t, front, claim, false); status != 200 || body != want {
			t.Errorf("%s trusted: %d %q, want %q", network, status, body, want)
		}
	}
}

// TestQueriesPassUnchanged: the service may read what Go's parser does not.
func TestQueriesPassUnchanged(t *testing.T) {
	_, front := proxied(t, shopConfig(), http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, r.RequestURI) }))
	for _, uri := range []string{"/a%2Fb?x=1;y=2&z=%zz", "/?", "/a?%", "/a?q=1&q=2"} {
		if status, body := speak(t, front, "GET "+uri+" HTTP/1.1\r\nHost: shop\r\nConnection: close\r\n\r\n", false); status != 200 || body != uri {
			t.Errorf("%s: %d %q", uri, status, body)
		}
	}
}

// TestNoTunnelOfHTTP2: what a caller sends in an h2c connection no guard would
// see. Other upgrades pass.
func TestNoTunnelOfHTTP2(t *testing.T) {
	_, front := proxied(t, shopConfig(), http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = fmt.Fprint(w, r.Header.Get("Upgrade"), "|", r.Header.Get("Http2-Settings"))
	}))
	for offer, want := range map[string]string{"h2c": "|", "websocket, H2C": "|", "websocket": "websocket|"} {
		raw := "GET / HTTP/1.1\r\nHost: shop\r\nConnection: Upgrade, HTTP2-Settings, close\r\nUpgrade: " + offer + "\r\nHTTP2-Settings: AAMAAABk\r\n\r\n"
		if status, body := speak(t, front, raw, false); status != 200 || body != want {
			t.Errorf("%s: %d %q, want %q", offer, status, body, want)
		}
	}
}

// TestAttemptsDoNotOverflow: a caller's number, however high, stays one above
// which a retry counts as a retry.
func TestAttemptsDoNotOverflow(t *testing.T) {
	h := http.Header{AttemptHeader: {"9223372036854775807"}}
	setAttempt(h, 1)
	if attemptOf(h) < 1 {
		t.Errorf("the next hop reads %q as a first attempt", h.Get(AttemptHeader))
	}
}
