//go:build e2e

package main

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/common/model"
	"k8s.io/client-go/rest"

	"github.com/sreagent/sreagent/plugins"
	"github.com/sreagent/sreagent/sre"
)

// killed ends the process by SIGKILL while its write of the shop is under way:
// before the API server has it, or after, and before the answer. What became of
// it is unknown then, and the probe of the process that follows says which.
func (c *cluster) killed(t *testing.T, binary, sum string, arrives bool) {
	w := c.world(t)
	w.deploy(t, "shop:1")
	g := w.gate(t, arrives)
	starts := make(pids, 8)
	cfg := plugins.Config{
		Path: binary, SHA256: sum, Restart: plugins.RestartConfig{Initial: model.Duration(time.Millisecond), Max: patience},
	}
	p := w.hostedBy(t, cfg, g.url, plugins.Options{Log: slog.New(starts)})
	a := w.action("i.scale", sre.Scale, sre.Params{"replicas": 5.0})
	pid := <-starts
	ended := make(chan error, 1)
	go func() { ended <- p.Apply(t.Context(), at(a, 1, 1)) }()
	select {
	case <-g.reached:
	case err := <-ended:
		t.Fatalf("apply ended before its write: %v", err)
	}
	must(t, syscall.Kill(pid, syscall.SIGKILL))
	if err := <-ended; sre.CodeOf(err) != sre.CodeUnknown {
		t.Errorf("killed in the middle of an apply: %v, want unknown", err)
	}
	if next := <-starts; next == pid {
		t.Fatal("no new process")
	}
	st, err := p.Probe(t.Context(), a)
	must(t, err)
	n := *w.shop(t).Spec.Replicas
	if st.InEffect != arrives || (st.Owner == a.ID) != arrives || (n == 5) != arrives || st.Foreign {
		t.Errorf("the write arrived: %v; %d replicas, and the next process says %+v", arrives, n, st)
	}
	must(t, p.Apply(t.Context(), at(a, 1, 2)))
	must(t, p.Revert(t.Context(), at(a, 1, 3)))
	if n := *w.shop(t).Spec.Replicas; n != 3 {
		t.Errorf("%d replicas after the undo by the next process", n)
	}
}

// gate stands before the API server and keeps the answer to the first write of
// the shop to itself.
type gate struct {
	url     string
	reached chan struct{}
}

func (w *world) gate(t *testing.T, arrives bool) gate {
	t.Helper()
	target, err := url.Parse(w.admin.Host)
	must(t, err)
	transport, err := rest.TransportFor(&rest.Config{TLSClientConfig: rest.TLSClientConfig{Insecure: true}})
	must(t, err)
	proxy := httputil.NewSingleHostReverseProxy(target)
	proxy.Transport = transport
	g := gate{reached: make(chan struct{})}
	var first atomic.Bool
	server := httptest.NewTLSServer(http.HandlerFunc(func(out http.ResponseWriter, r *http.Request) {
		write := r.Method == http.MethodPut && strings.HasSuffix(r.URL.Path, "/deployments/shop") && r.URL.Query().Get("dryRun") == ""
		if !write || !first.CompareAndSwap(false, true) {
			proxy.ServeHTTP(out, r)
			return
		}
		body, err := io.ReadAll(r.Body) // else the end of the connection is not seen
		if err == nil && arrives {
			whole := r.Clone(context.WithoutCancel(r.Context()))
			whole.Body = io.NopCloser(bytes.NewReader(body))
			proxy.ServeHTTP(httptest.NewRecorder(), whole)
		}
		close(g.reached)
		<-r.Context().Done()
		panic(http.ErrAbortHandler)
	}))
	t.Cleanup(server.Close)
	g.url = server.URL
	return g
}

// pids is a log that hears only which processes have started.
type pids chan int

// Enabled hears everything.
func (pids) Enabled(context.Context, slog.Level) bool { return true }

// Handle passes the number of a process on.
func (p pids) Handle(_ context.Context, r slog.Record) error {
	r.Attrs(func(a slog.Attr) bool {
		if n, err := strconv.Atoi(a.Value.String()); a.Key == "pid" && err == nil {
			p <- n
		}
		return true
	})
	return nil
}

// WithAttrs changes nothing.
func (p pids) WithAttrs([]slog.Attr) slog.Handler { return p }

// WithGroup changes nothing.
func (p pids) WithGroup(string) slog.Handler { return p }
