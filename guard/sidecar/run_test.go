package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const config = `
service: checkout
workers: 8
token: let-me-in
return: {steps: 5, every: 1s}
upstreams:
  upstream: {timeout: 1m, retries: 2, breaker: {failure_ratio: 0.4}}
`

func write(t *testing.T, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "guard.yaml")
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func do(t *testing.T, method, address, token, body string) (int, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, address, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(data)
}

// TestSidecarStory starts the program, limits the service behind it by a
// directive, and stops it while a request is under way.
func TestSidecarStory(t *testing.T) {
	defer http.DefaultClient.CloseIdleConnections()
	reached, release := make(chan struct{}), make(chan struct{})
	service := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/slow" {
			close(reached)
			<-release
		}
		_, _ = io.WriteString(w, "served "+r.URL.Path)
	}))
	defer service.Close()
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	ready, exited := make(chan addresses, 1), make(chan int, 1)
	var stderr bytes.Buffer
	go func() {
		exited <- run(ctx, []string{
			"--config.file", write(t, config), "--upstream", service.URL, "--listen", "127.0.0.1:0", "--control.listen", "127.0.0.1:0",
		}, io.Discard, &stderr, nil, func(a addresses) { ready <- a })
	}()
	at := <-ready
	front, back := "http://"+at.proxy.String(), "http://"+at.control.String()
	if status, body := do(t, "GET", front+"/cart", "", ""); status != 200 || body != "served /cart" {
		t.Errorf("proxy: %d %q", status, body)
	}
	if status, _ := do(t, "GET", back+"/-/healthy", "", ""); status != 200 {
		t.Errorf("health: %d", status)
	}
	if status, _ := do(t, "GET", front+"/guard/v1/state", "let-me-in", ""); status != 200 {
		t.Errorf("control path at the front: %d", status)
	} else if _, body := do(t, "GET", front+"/guard/v1/state", "let-me-in", ""); body != "served /guard/v1/state" {
		t.Errorf("callers reach the control endpoints: %q", body)
	}
	expires := time.Now().Add(time.Hour).Format(time.RFC3339)
	put := fmt.Sprintf(`{"id":"a","kind":"shed","params":{"rps":0},"epoch":1,"seq":1,"expires":%q}`, expires)
	if status, body := do(t, "PUT", back+"/guard/v1/directives", "let-me-in", put); status != 200 {
		t.Errorf("directive: %d %s", status, body)
	}
	if status, _ := do(t, "GET", front+"/cart", "", ""); status != http.StatusTooManyRequests {
		t.Errorf("status %d under a cap of nothing", status)
	}
	if status, body := do(t, "DELETE", back+"/guard/v1/directives/a?epoch=1&seq=2&now=true", "let-me-in", ""); status != 200 {
		t.Errorf("delete: %d %s", status, body)
	}
	_, metrics := do(t, "GET", back+"/metrics", "", "")
	for _, want := range []string{
		`guard_requests_total{attempt="first",outcome="shed",priority="normal",service="checkout"} 1`,
		`guard_setting{callee="upstream",kind="breaker",service="checkout"} 0.4`,
		`guard_setting{callee="upstream",kind="retry_budget",service="checkout"} 0.1`,
		`guard_workers{service="checkout"} 8`, `guard_build_info{`,
	} {
		if !strings.Contains(metrics, want) {
			t.Errorf("metrics lack %s", want)
		}
	}
	last := make(chan string, 1)
	go func() {
		_, body := do(t, "GET", front+"/slow", "", "")
		last <- body
	}()
	<-reached
	stop()
	for { // until the listener is closed, which is when draining begins
		conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", at.proxy.String())
		if err != nil {
			break
		}
		_ = conn.Close()
	}
	close(release)
	if body := <-last; body != "served /slow" {
		t.Errorf("the request under way got %q", body)
	}
	if code := <-exited; code != exitOK {
		t.Errorf("exit code %d\n%s", code, stderr.String())
	}
	if strings.Contains(stderr.String(), "let-me-in") {
		t.Error("the token is in the log")
	}
}

func TestSidecarUsage(t *testing.T) {
	good := write(t, config)
	for name, c := range map[string]struct {
		args []string
		code int
		says string
	}{
		"nothing":     {nil, exitUsage, "config.file"},
		"no upstream": {[]string{"--config.file", good}, exitUsage, "upstream"},
		"odd url":     {[]string{"--config.file", good, "--upstream", "ftp://x"}, exitUsage, "allowed: http://"},
		"no file":     {[]string{"--config.file", good + "x", "--upstream", "http://x"}, exitUsage, "read configuration"},
		"bad address": {[]string{"--config.file", good, "--upstream", "http://x", "--listen", "nowhere:x"}, exitFailed, "listen for callers"},
		"bad control": {[]string{"--config.file", good, "--upstream", "http://x", "--listen", "127.0.0.1:0", "--control.listen", "nowhere:x"}, exitFailed, "listen for control"},
		"version":     {[]string{"--version"}, exitOK, "sreguard, version"},
		"help":        {[]string{"--help"}, exitOK, "--control.listen"},
	} {
		var out bytes.Buffer
		if code := run(t.Context(), c.args, &out, &out, nil, nil); code != c.code || !strings.Contains(out.String(), c.says) {
			t.Errorf("%s: exit %d, want %d; says\n%s", name, code, c.code, out.String())
		}
	}
}

func TestConfigFaultsSayWhere(t *testing.T) {
	for name, c := range map[string]struct{ file, want string }{
		"unknown key":        {"service: a\nworkrs: 3\n", `2:1: unknown field "workrs"`},
		"unknown inner key":  {"service: a\nupstreams:\n  x:\n    retrys: 3\n", `4:5: unknown field "retrys"`},
		"unknown deeper key": {"service: a\nupstreams:\n  x:\n    breaker:\n      ratio: 3\n", `5:7: unknown field "ratio"`},
		"duplicate":          {"service: a\nservice: b\n", `2:1: mapping key "service" already defined`},
		"text for a number":  {"service: a\nworkers: many\n", `2:10: `},
		"bad duration":       {"service: a\ntimeout: soon\n", `2:10: timeout is "soon"; allowed: a duration`},
		"bad inner duration": {"service: a\nupstreams:\n  x: {timeout: 1s, backoff: 5}\n", `3:29: backoff is "5"`},
		"not YAML":           {"service: [a\n", `1:`},
		"fault of content":   {"workers: -1\n", `workers: is -1`},
		"empty":              {"", `service: is missing`},
	} {
		_, err := parseConfig([]byte(c.file))
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v\nwant %s", name, err, c.want)
		}
	}
}

func TestConfigDefaults(t *testing.T) {
	cfg, err := parseConfig([]byte(config))
	if err != nil {
		t.Fatal(err)
	}
	up := cfg.Upstreams["upstream"]
	if cfg.Queue != 100_000 || up.RetryBudget != 0.1 || up.Breaker.MinRequests != 20 || up.Breaker.FailureRatio != 0.4 || up.Retries != 2 {
		t.Errorf("read as %+v, upstream %+v, breaker %+v", cfg, up, up.Breaker)
	}
	if _, err := parseConfig([]byte(`{"service": "a", "queue": 3}`)); err != nil {
		t.Errorf("JSON: %v", err)
	}
}

func FuzzConfig(f *testing.F) {
	f.Add([]byte(config))
	f.Add([]byte("service: a\nupstreams: {x: {breaker: {}}}\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		cfg, err := parseConfig(data)
		if err == nil && cfg.Validate() != nil {
			t.Fatalf("took a faulty configuration: %v", cfg.Validate())
		}
	})
}
