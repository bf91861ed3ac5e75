package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
)

// output is a log that several goroutines write.
type output struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}

func rewrite(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestReloadStory: backends and clients change under load by SIGHUP, a bad file
// changes nothing, and no request gets lost.
func TestReloadStory(t *testing.T) {
	defer http.DefaultClient.CloseIdleConnections()
	backend := func(name string) *httptest.Server {
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.WriteString(w, name+" "+r.Header.Get("X-Guard-Client"))
		}))
		t.Cleanup(srv.Close)
		return srv
	}
	tokens := filepath.Join(t.TempDir(), "tokens")
	rewrite(t, tokens, fmt.Sprintf("web sha256:%x\n", sha256.Sum256([]byte("s1"))))
	file := func(address string) string {
		return "service: shop\ntoken: let-me-in\nauth: {tokens_file: " + tokens + "}\nupstreams:\n  upstream:\n    backends: [{name: a, url: " + address + "}]\n"
	}
	path := write(t, file(backend("old").URL))
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	hup, ready, exited := make(chan os.Signal), make(chan addresses, 1), make(chan int, 1)
	stderr := &output{}
	go func() {
		exited <- run(ctx, []string{"--config.file", path, "--listen", "127.0.0.1:0", "--control.listen", "127.0.0.1:0"}, io.Discard, stderr, hup, func(a addresses) { ready <- a })
	}()
	at := <-ready
	front, back := "http://"+at.proxy.String(), "http://"+at.control.String()
	if status, body := do(t, "GET", front, "s1", ""); status != 200 || body != "old web" {
		t.Errorf("%d %q", status, body)
	}
	if status, _ := do(t, "GET", front, "", ""); status != http.StatusUnauthorized {
		t.Errorf("a stranger: %d", status)
	}
	for _, p := range []string{"/readyz", "/-/ready", "/healthz"} {
		if status, body := do(t, "GET", back+p, "", ""); status != 200 {
			t.Errorf("%s: %d %s", p, status, body)
		}
	}
	reload := func() { // the second is taken when the first has been worked on
		hup <- syscall.SIGHUP
		hup <- syscall.SIGHUP
	}
	over := make(chan struct{})
	var load sync.WaitGroup
	for range 4 {
		load.Go(func() {
			for {
				select {
				case <-over:
					return
				default:
				}
				if status, body := do(t, "GET", front, "s1", ""); status != 200 {
					t.Errorf("during a reload: %d %s", status, body)
				}
			}
		})
	}
	for _, bad := range []string{"service: [", "service: cart\n" + file("http://x:1")[len("service: shop\n"):], "service: shop\n"} {
		rewrite(t, path, bad)
		reload()
		if _, metrics := do(t, "GET", back+"/metrics", "", ""); !strings.Contains(metrics, "guard_config_last_reload_successful 0") {
			t.Errorf("%q does not show as a failed reload", bad)
		}
	}
	rewrite(t, path, file(backend("new").URL))
	reload()
	close(over)
	load.Wait()
	if status, body := do(t, "GET", front, "s1", ""); status != 200 || body != "new web" {
		t.Errorf("after the reload: %d %q\n%s", status, body, stderr)
	}
	if _, metrics := do(t, "GET", back+"/metrics", "", ""); !strings.Contains(metrics, "guard_config_last_reload_successful 1") {
		t.Error("a good reload does not show")
	}
	http.DefaultClient.CloseIdleConnections()
	stop()
	if code := <-exited; code != exitOK {
		t.Errorf("exit code %d\n%s", code, stderr)
	}
}

func TestCheckSaysWhere(t *testing.T) {
	var out bytes.Buffer
	good := write(t, config)
	if code := run(t.Context(), []string{"--check", good}, &out, &out, nil, nil); code != exitOK || out.String() != good+": ok\n" {
		t.Errorf("%d %q", code, out.String())
	}
	for name, c := range map[string]struct {
		file string
		want []string
	}{
		"several": {
			"service: a\nworkers: -1\nupstreams:\n  upstream:\n    backends:\n      - {name: a, url: ftp://x}\n      - {name: a, url: http://x:1}\n    breaker:\n      failure_statuses: [5xx, 99]\n",
			[]string{":2:1: workers: is -1", ":6:19: upstreams.upstream.backends[0].url: is \"ftp://x\"", ":7:10: upstreams.upstream.backends[1].name: is \"a\" a second", ":9:31: upstreams.upstream.breaker.failure_statuses[1]: is \"99\""},
		},
		"a key that is missing": {"workers: 1\n", []string{":1:1: service: is missing"}},
		"no such tokens":        {"service: a\nauth: {tokens_file: /nowhere/tokens}\n", []string{"read tokens of clients"}},
		"no such certificate":   {"service: a\ntls: {cert_file: /nowhere/c, key_file: /nowhere/k}\n", []string{"load certificate"}},
		"a bad duration":        {"service: a\nupstreams: {x: {health: {interval: often}}}\n", []string{":2:36: interval is \"often\""}},
	} {
		out.Reset()
		path := write(t, c.file)
		code := run(t.Context(), []string{"--check", path}, io.Discard, &out, nil, nil)
		for _, want := range c.want {
			if strings.HasPrefix(want, ":") {
				want = path + want
			}
			if code != exitUsage || !strings.Contains(out.String(), want) {
				t.Errorf("%s: exit %d, says\n%s\nwant %s", name, code, out.String(), want)
			}
		}
	}
}
