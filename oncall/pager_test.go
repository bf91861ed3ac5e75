package oncall

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/prometheus/common/config"
	"github.com/prometheus/common/model"

	"github.com/sreagent/sreagent/sre"
)

// pipeNet is a network of in-memory pipes, so that real HTTP runs in a synctest
// bubble, where time is virtual.
type pipeNet struct {
	conns chan net.Conn
	done  chan struct{}
}

func (n *pipeNet) Accept() (net.Conn, error) {
	select {
	case c := <-n.conns:
		return c, nil
	case <-n.done:
		return nil, net.ErrClosed
	}
}

func (n *pipeNet) Close() error   { close(n.done); return nil }
func (n *pipeNet) Addr() net.Addr { return &net.TCPAddr{} }

func (n *pipeNet) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	here, there := net.Pipe()
	select {
	case n.conns <- there:
		return here, nil
	case <-n.done:
		return nil, errors.New("connection refused")
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// received is one request as it came in.
type received struct {
	at     time.Duration // since the start of the test
	path   string
	header http.Header
	body   []byte
}

// bench is a pager in a bubble with one HTTP server that stands for all
// receivers and answers by script.
type bench struct {
	pager  *Pager
	start  time.Time
	reg    *prometheus.Registry
	log    *bytes.Buffer
	stop   func()
	mu     sync.Mutex
	got    []received
	answer func(n int, r *http.Request) int // status of the n-th request, from 1; 0 hangs
}

func newBench(t *testing.T, cfg Config, answer func(n int, r *http.Request) int) *bench {
	t.Helper()
	b := &bench{start: time.Now(), reg: prometheus.NewPedanticRegistry(), log: &bytes.Buffer{}, answer: answer}
	pipes := &pipeNet{conns: make(chan net.Conn), done: make(chan struct{})}
	server := &http.Server{Handler: b, ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)}
	serving := make(chan struct{})
	go func() {
		defer close(serving)
		_ = server.Serve(pipes)
	}()
	var err error
	b.pager, err = NewPager(cfg, PagerOptions{
		Log: slog.New(slog.NewTextHandler(b.log, nil)), Registerer: b.reg, dial: pipes.dial,
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	running := make(chan struct{})
	go func() {
		defer close(running)
		if err := b.pager.Run(ctx); err != nil {
			t.Errorf("run: %v", err)
		}
	}()
	b.stop = sync.OnceFunc(func() {
		cancel()
		<-running
		_ = server.Close()
		<-serving
	})
	t.Cleanup(b.stop)
	return b
}

func (b *bench) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	b.mu.Lock()
	b.got = append(b.got, received{time.Since(b.start), r.URL.Path, r.Header.Clone(), body})
	code := b.answer(len(b.got), r)
	b.mu.Unlock()
	if code == 0 {
		<-r.Context().Done()
		return
	}
	w.WriteHeader(code)
}

func (b *bench) notify(t *testing.T, notices ...sre.Notice) {
	t.Helper()
	if err := b.pager.Notify(t.Context(), notices); err != nil {
		t.Fatal(err)
	}
	synctest.Wait()
}

// pass lets virtual time go by.
func pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func (b *bench) requests() []received {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.got
}

func (b *bench) times() []time.Duration {
	var out []time.Duration
	for _, r := range b.requests() {
		out = append(out, r.at)
	}
	return out
}

func (b *bench) alerts(t *testing.T, i int) []amAlert {
	t.Helper()
	got := b.requests()
	if i >= len(got) {
		t.Fatalf("%d requests, want one more", len(got))
	}
	var alerts []amAlert
	if err := json.Unmarshal(got[i].body, &alerts); err != nil {
		t.Fatal(err)
	}
	return alerts
}

func (b *bench) wantCounts(t *testing.T, want map[string]float64) {
	t.Helper()
	for key, n := range want {
		kind, result, _ := strings.Cut(key, "/")
		m, err := b.counter(kind, result)
		if err != nil {
			t.Fatal(err)
		}
		if m != n {
			t.Errorf("sreagent_pages_total %s: %v, want %v", key, m, n)
		}
	}
}

func (b *bench) counter(kind, result string) (float64, error) {
	families, err := b.reg.Gather()
	for _, f := range families {
		for _, m := range f.GetMetric() {
			labels := m.GetLabel()
			if f.GetName() == "sreagent_pages_total" && labels[0].GetValue() == kind && labels[1].GetValue() == result {
				return m.GetCounter().GetValue(), nil
			}
		}
	}
	return -1, err
}

func always(code int) func(int, *http.Request) int {
	return func(int, *http.Request) int { return code }
}

func notice(start time.Time) sre.Notice {
	return sre.Notice{
		Incident: "inc-7", Severity: sre.Warning, State: sre.Diagnosed, Title: "retry storm at checkout", Text: "Retries feed themselves.",
		Labels: map[string]string{"service": "checkout", "mechanism": "retry_storm", "empty": "", "not a name": "x", "alertname": "forged"}, StartsAt: start,
	}
}

func amConfig() Config {
	return Config{
		ExternalURL:   "https://sre.example/agent/",
		Alertmanagers: []AlertmanagerConfig{{URL: "http://am.example/", ResendInterval: model.Duration(time.Minute)}},
	}
}

func hookConfig() Config {
	return Config{Webhooks: []WebhookConfig{{URL: "http://hook.example/in"}}}
}

// TestAlertmanagerEndsTheOldLabels raises the severity: without an end under
// the old labels, two alerts of one incident would stand side by side.
func TestOneHangingReceiverDelaysNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := amConfig()
		cfg.Alertmanagers = append(cfg.Alertmanagers, AlertmanagerConfig{URL: "http://hangs.example"})
		cfg.Webhooks = hookConfig().Webhooks
		b := newBench(t, cfg, func(_ int, r *http.Request) int {
			if r.Host == "hangs.example" {
				return 0
			}
			return 200
		})
		b.notify(t, notice(b.start))
		b.wantCounts(t, map[string]float64{"alertmanager/sent": 1, "webhook/sent": 1})
		pass(sendTimeout)
		b.wantCounts(t, map[string]float64{"alertmanager/sent": 1, "alertmanager/retried": 1})
		pass(firstBackoff)
		if n := len(b.requests()); n != 4 {
			t.Errorf("%d requests, want the hanging one twice", n)
		}
	})
}

func TestStoppingDeliversWhatWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := amConfig()
		cfg.Webhooks = hookConfig().Webhooks
		down := true
		b := newBench(t, cfg, func(int, *http.Request) int {
			if down {
				return 500
			}
			return 200
		})
		b.notify(t, notice(b.start))
		pass(10 * time.Second) // deep in the back-off
		b.mu.Lock()
		down = false
		b.mu.Unlock()
		b.stop()
		b.wantCounts(t, map[string]float64{"alertmanager/sent": 1, "webhook/sent": 1})
		if err := b.pager.Notify(t.Context(), nil); !errors.Is(err, ErrPagerClosed) {
			t.Errorf("notify after the end: %v", err)
		}
	})
	synctest.Test(t, func(t *testing.T) { // a receiver that hangs cannot hold up the end
		b := newBench(t, hookConfig(), always(0))
		b.notify(t, notice(b.start))
		before := time.Now()
		b.stop()
		if d := time.Since(before); d != shutdownGrace {
			t.Errorf("stopping took %s, want %s", d, shutdownGrace)
		}
	})
}

func TestFullQueueDropsTheLeastSevere(t *testing.T) {
	cfg := amConfig()
	cfg.Webhooks = hookConfig().Webhooks
	reg := prometheus.NewRegistry()
	p, err := NewPager(cfg, PagerOptions{Registerer: reg}) // never run: nothing is delivered
	if err != nil {
		t.Fatal(err)
	}
	var notices []sre.Notice
	for i := range maxQueued {
		n := notice(noon)
		n.Incident, n.Severity = fmt.Sprintf("inc-%d", i), sre.Critical
		if i == 500 || i == 600 {
			n.Severity = sre.Info
		}
		notices = append(notices, n)
	}
	if err := p.Notify(t.Context(), notices); err != nil {
		t.Fatal(err)
	}
	if err := p.Notify(t.Context(), notices[:10]); err != nil {
		t.Fatalf("news of known incidents need no room: %v", err)
	}
	extra := notice(noon)
	extra.Incident = "inc-extra"
	if err := p.Notify(t.Context(), []sre.Notice{extra}); !errors.Is(err, ErrPagerFull) {
		t.Errorf("got %v, want ErrPagerFull", err)
	}
	am, hook := p.receivers[0].(*alertmanager), p.receivers[1].(*webhook)
	_, oldest := am.alerts["inc-500"]
	_, younger := am.alerts["inc-600"]
	_, added := am.alerts["inc-extra"]
	if oldest || !younger || !added || len(am.order) != maxQueued {
		t.Errorf("alertmanager keeps %v %v %v of %d", oldest, younger, added, len(am.order))
	}
	if _, kept := hook.pending["inc-500"]; kept || len(hook.order) != maxQueued || len(hook.pending) != maxQueued {
		t.Errorf("webhook keeps %v of %d", kept, len(hook.order))
	}
	if n := testutil.CollectAndCount(reg, "sreagent_pages_total"); n != 8 {
		t.Errorf("%d series of sreagent_pages_total, want all of them from the start", n)
	}
	if problems, err := testutil.GatherAndLint(reg); err != nil || len(problems) > 0 {
		t.Errorf("lint: %v %v", problems, err)
	}
}

// TestPagerOverTCP runs once over real sockets with the HTTP configuration of
// users: credentials from a file.
func TestPagerOverTCP(t *testing.T) {
	file := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(file, []byte("s3cret"), 0o600); err != nil {
		t.Fatal(err)
	}
	arrived := make(chan string, 1)
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		user, password, _ := r.BasicAuth()
		arrived <- user + ":" + password + " " + r.URL.Path
	}))
	defer server.Close()
	hc := config.DefaultHTTPClientConfig
	hc.BasicAuth = &config.BasicAuth{Username: "agent", PasswordFile: file}
	p, err := NewPager(Config{Alertmanagers: []AlertmanagerConfig{{URL: server.URL, HTTPConfig: &hc}}}, PagerOptions{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- p.Run(ctx) }()
	if err := p.Notify(ctx, []sre.Notice{notice(noon)}); err != nil {
		t.Fatal(err)
	}
	if got := <-arrived; got != "agent:s3cret /api/v2/alerts" {
		t.Errorf("got %q", got)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func BenchmarkNotify(b *testing.B) {
	cfg := amConfig()
	cfg.Webhooks = hookConfig().Webhooks
	p, err := NewPager(cfg, PagerOptions{})
	if err != nil {
		b.Fatal(err)
	}
	notices := []sre.Notice{notice(noon)}
	b.ReportAllocs()
	for b.Loop() {
		if err := p.Notify(b.Context(), notices); err != nil {
			b.Fatal(err)
		}
	}
}

// TestNewsDuringARequestIsNotLost brings a newer notice while the older one is
// on its way: the answer to the older one must not count for the newer.
func TestNewsDuringARequestIsNotLost(t *testing.T) {
	for name, cfg := range map[string]Config{"alertmanager": amConfig(), "webhook": hookConfig()} {
		for _, code := range []int{200, 400} {
			synctest.Test(t, func(t *testing.T) {
				var b *bench
				n := notice(time.Now())
				b = newBench(t, cfg, func(i int, r *http.Request) int {
					if i == 1 {
						newer := n
						newer.State = sre.Escalated
						if err := b.pager.Notify(r.Context(), []sre.Notice{newer}); err != nil {
							t.Error(err)
						}
					}
					return code
				})
				b.notify(t, n)
				got := b.requests()
				if len(got) != 2 || !bytes.Contains(got[1].body, []byte(sre.Escalated)) || got[1].at != 0 {
					t.Errorf("%s, %d: %d requests", name, code, len(got))
				}
			})
		}
	}
}
