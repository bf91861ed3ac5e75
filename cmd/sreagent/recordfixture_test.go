package main

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/common/model"

	"github.com/sreagent/sreagent/replay"
	"github.com/sreagent/sreagent/replay/bundle"
	"github.com/sreagent/sreagent/sources"
)

// recorded is a Prometheus with an hour of known samples before recordNow, and
// the files of an agent that looks at it.
type recorded struct {
	url  string
	dir  string
	all  map[string][]model.SamplePair // by metric
	mu   sync.Mutex
	fail func(n int) int // the status that the nth request gets; 0 answers it
	n    int
}

const recordedConfig = `interval: 10s
prometheus: {url: %q, warm_up: 5m, timeout: 1m}
signals:
  custom:
    - {name: traffic, kind: traffic, unit: requests_per_second, query: 'sum by (service) (rate(requests_total[1m]))'}
    - {name: errors, kind: errors, unit: ratio, query: 'sum by (service) (rate(requests_total{code="500"}[1m])) / sum by (service) (rate(requests_total[1m]))'}
    - {name: calls, kind: traffic, unit: requests_per_second, query: 'sum by (client, server) (rate(calls_total[1m]))', client_label: client, server_label: server}
changes: {version_labels: [{query: build_info, service_label: service, version_label: version}]}
topology: {file: shop.yaml}
audit: {dir: trail}
`

func newRecorded(t *testing.T) *recorded {
	t.Helper()
	store, err := replay.OpenStore(t.TempDir(), replay.StoreOptions{})
	if err != nil {
		t.Fatal(err)
	}
	r := &recorded{all: map[string][]model.SamplePair{}}
	begin := recordNow.Add(-time.Hour)
	for i := range 720 {
		at := begin.Add(time.Duration(i)*5*time.Second + 137*time.Millisecond)
		one := func(value float64, labels ...string) replay.Sample {
			m := model.Metric{}
			for k := 0; k < len(labels); k += 2 {
				m[model.LabelName(labels[k])] = model.LabelValue(labels[k+1])
			}
			r.all[m.String()] = append(r.all[m.String()], model.SamplePair{Timestamp: model.Time(at.UnixMilli()), Value: model.SampleValue(value)})
			return replay.Sample{Metric: m, Value: value}
		}
		samples := []replay.Sample{
			one(float64(i)*7.3, "__name__", "requests_total", "service", "web", "code", "200"),
			one(float64(i)*0.1, "__name__", "requests_total", "service", "web", "code", "500"),
			one(float64(i)*3, "__name__", "requests_total", "service", "cart", "code", "200"),
			one(float64(i)*2, "__name__", "calls_total", "client", "web", "server", "cart"),
			one(1, "__name__", "build_info", "service", "cart", "version", map[bool]string{true: "v2", false: "v1"}[i > 600]),
		}
		samples = append(samples, replay.Sample{Metric: model.Metric{"__name__": "elsewhere"}, Value: 1}) // no signal asks for it
		if err := store.Append(at, samples); err != nil {
			t.Fatal(err)
		}
	}
	handler := store.Handler()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		r.mu.Lock()
		r.n++
		n, fail := r.n, r.fail
		r.mu.Unlock()
		if fail != nil {
			if status := fail(n); status != 0 {
				http.Error(w, "trouble", status)
				return
			}
		}
		handler.ServeHTTP(w, req)
	}))
	t.Cleanup(func() {
		server.Close()
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	r.url = server.URL
	r.dir = folder(t, map[string]string{
		"sreagent.yaml": fmt.Sprintf(recordedConfig, server.URL),
		"shop.yaml":     "edges: [{from: web, to: db, timeout: 1s, retries: 2}]\nentries: [web]\n",
	})
	return r
}

// answers counts requests anew and says what the nth gets. Requests of a
// recording that gave up may still be on their way, hence the lock.
func (r *recorded) answers(status func(n int) int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.n, r.fail = 0, status
}

func (r *recorded) requests() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.n
}

func refusedAfterEight(n int) int {
	if n > 8 {
		return http.StatusUnauthorized
	}
	return 0
}

// flags are those of a recording of the last 20 minutes.
func (r *recorded) flags(out string) recordFlags {
	return recordFlags{out: filepath.Join(r.dir, out), configFile: filepath.Join(r.dir, "sreagent.yaml"), from: "-20m", chunk: 5 * time.Minute}
}

// record runs the command at an instant, without waiting between attempts.
func (r *recorded) record(ctx context.Context, flags recordFlags, now time.Time) (said string, err error) {
	var both bytes.Buffer
	err = record(ctx, flags, streams{out: &both, err: &both}, now, sources.RecorderOptions{
		Pause: func(ctx context.Context, _ time.Duration) error { return ctx.Err() },
	})
	return both.String(), err
}

func (r *recorded) mustRecord(t *testing.T, flags recordFlags) (said string) {
	t.Helper()
	said, err := r.record(t.Context(), flags, recordNow)
	if err != nil {
		t.Fatalf("%v\n%s", err, said)
	}
	if _, err := os.Stat(flags.out + partialSuffix); err == nil {
		t.Error("the work under way is still there")
	}
	return said
}

// expected are the samples that a plan selects, one line each: those from the
// first chunk on that a selector takes part in.
func (r *recorded) expected(plan *recordPlan) []string {
	begin := map[string]time.Time{}
	for i := range plan.chunks() {
		from, _, selectors := plan.chunk(i)
		for _, s := range selectors {
			if name, _, _ := strings.Cut(s, "{"); begin[name].IsZero() {
				begin[name] = from
			}
		}
	}
	var out []string
	for metric, samples := range r.all {
		name, _, _ := strings.Cut(metric, "{")
		for _, s := range samples {
			if !s.Timestamp.Time().Before(begin[name]) && !s.Timestamp.Time().After(plan.End) {
				out = append(out, fmt.Sprintf("%s %d %v", metric, s.Timestamp, s.Value))
			}
		}
	}
	slices.Sort(out)
	return out
}

func samplesIn(t *testing.T, b *bundle.Bundle) []string {
	t.Helper()
	var out []string
	err := b.Samples(t.Context(), func(s bundle.Series, at int64, value float64) error {
		m := model.Metric{}
		for name, text := range s.Labels.Map() {
			m[model.LabelName(name)] = model.LabelValue(text)
		}
		out = append(out, fmt.Sprintf("%s %d %v", m, at, value))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(out)
	return out
}

func openFolder(t *testing.T, dir string) *bundle.Bundle {
	t.Helper()
	b, err := bundle.Open(os.DirFS(dir))
	if err != nil {
		t.Fatal(err)
	}
	return b
}
