package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/common/model"

	"github.com/sreagent/sreagent/replay"
	"github.com/sreagent/sreagent/replay/bundle"
	"github.com/sreagent/sreagent/sources"
	"github.com/sreagent/sreagent/sre"
)

var recordedFrom = time.Date(2026, 3, 4, 5, 0, 0, 0, time.UTC)

const (
	recordedSignals = `signals:
  - {name: traffic, kind: traffic, unit: requests_per_second, query: "sum by (service) (load)"}
  - {name: errors, kind: errors, unit: ratio, query: "max by (service) (failures)"}
  - {name: latency, kind: latency, unit: seconds, query: "max by (service) (delay)"}
  - {name: queue, kind: queue, unit: count, query: "max by (service) (waiting)"}
  - {name: pool, kind: pool, unit: ratio, query: "max by (service) (occupancy)"}
`
	recordedTopology = "edges:\n  - {from: gateway, to: cart, timeout: 1s, retries: 2, hard: true}\nentries: [gateway]\n"
	recordedIncident = `id: %s
title: a cart that fails
source: test
licence: CC0-1.0
start: 2026-03-04T05:00:00Z
end: 2026-03-04T05:20:00Z
interval: 10s
alerts: [{service: gateway, signal: errors, at: 2026-03-04T05:12:00Z}]
truth: {faults: [{services: [cart], injected_at: 2026-03-04T05:10:00Z}]}
`
)

// recordedMetrics is a gateway whose cart fails ten minutes after the start, in
// OpenMetrics.
func recordedMetrics() string {
	var b strings.Builder
	for m, name := range []string{"load", "failures", "delay", "waiting", "occupancy"} {
		fmt.Fprintf(&b, "# TYPE %s gauge\n", name)
		for s, service := range []string{"gateway", "cart"} {
			for i := -30; i <= 120; i++ {
				v := [5]float64{100, 0, .05, 2, .3}[m]
				switch {
				case i >= 60 && s == 1:
					v = [5]float64{140, .6, 2, 300, 1}[m]
				case i >= 60 && m == 1:
					v = .6
				}
				v *= 1 + float64((i+30)*(7+m)%11)/200
				fmt.Fprintf(&b, "%s{service=%q} %g %d\n", name, service, v, recordedFrom.Unix()+int64(10*i))
			}
		}
	}
	return b.String() + "# EOF\n"
}

// writeBundle writes a bundle below dir and returns its path.
func writeBundle(t *testing.T, dir, id string, more ...string) string {
	t.Helper()
	files := map[string]string{
		"incident.yaml": fmt.Sprintf(recordedIncident, id), "topology.yaml": recordedTopology,
		"signals.yaml": recordedSignals, "metrics.om": recordedMetrics(),
	}
	for i := 0; i < len(more); i += 2 {
		files[more[i]] = more[i+1]
	}
	path := filepath.Join(dir, id)
	if err := os.MkdirAll(path, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(path, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return path
}

// command runs a command line in this process.
func commandLine(ctx context.Context, args ...string) (code int, stdout, stderr string) {
	var out, errs bytes.Buffer
	code = execute(ctx, args, streams{in: strings.NewReader(""), out: &out, err: &errs})
	return code, out.String(), errs.String()
}

func TestReplayIsTheSame(t *testing.T) {
	path := writeBundle(t, t.TempDir(), "cart")
	var want string
	for _, procs := range []int{1, 2} {
		before := runtime.GOMAXPROCS(procs)
		code, out, errs := commandLine(t.Context(), "replay", path, "-o", "json")
		runtime.GOMAXPROCS(before)
		if code != 0 || errs != "" {
			t.Fatalf("exit %d: %s", code, errs)
		}
		if want == "" {
			want = out
		}
		if diff := cmp.Diff(want, out); diff != "" {
			t.Errorf("with GOMAXPROCS %d (-1 +%d):\n%s", procs, procs, diff)
		}
	}
	var got replayed
	if err := json.Unmarshal([]byte(want), &got); err != nil {
		t.Fatal(err)
	}
	if got.Ticks != 121 || len(got.Incidents) == 0 || len(got.Decisions) == 0 || got.Decisions[0].Cause != "cart" {
		t.Errorf("%d ticks, %d incidents, decisions %+v", got.Ticks, len(got.Incidents), got.Decisions)
	}
	if at := got.Incidents[0].OpenedAt; at.Before(recordedFrom.Add(10 * time.Minute)) {
		t.Errorf("an incident at %s, before anything went wrong", at)
	}
}

func TestReplayTellsAndReports(t *testing.T) {
	dir := t.TempDir()
	page := filepath.Join(dir, "report.html")
	code, out, errs := commandLine(t.Context(), "replay", writeBundle(t, dir, "cart"), "--html", page)
	if code != 0 || errs != "" {
		t.Fatalf("exit %d: %s", code, errs)
	}
	for _, want := range []string{"suspected (open)", "at cart", "cart: 121 ticks of 10s"} {
		if !strings.Contains(out, want) {
			t.Errorf("output lacks %q:\n%s", want, out)
		}
	}
	text, err := os.ReadFile(page)
	if err != nil || !bytes.Contains(text, []byte("cart")) || !bytes.Contains(text, []byte("<svg")) {
		t.Errorf("report of %d bytes, %v", len(text), err)
	}
}

func TestReplayAgainstTheRecordedTrail(t *testing.T) {
	dir := t.TempDir()
	line := rehearseBundle(t, writeBundle(t, dir, "first"))
	var trail bytes.Buffer
	for _, r := range line.Records {
		if err := json.NewEncoder(&trail).Encode(r); err != nil {
			t.Fatal(err)
		}
	}
	same := writeBundle(t, dir, "same", "trail.jsonl", trail.String())
	code, out, errs := commandLine(t.Context(), "replay", same, "--expect")
	if code != 0 || errs != "" || !strings.Contains(out, "0 changed, 0 missing, 0 extra") {
		t.Errorf("its own trail: exit %d, %s\n%s", code, errs, out)
	}
	other := writeBundle(t, dir, "other", "trail.jsonl", strings.ReplaceAll(trail.String(), `"verdict":"ask"`, `"verdict":"act"`))
	code, out, errs = commandLine(t.Context(), "replay", other, "--expect")
	if code != exitFailed || !strings.Contains(errs, "differ from the recorded") || !strings.Contains(out, "verdict was act, is ask") {
		t.Errorf("another trail: exit %d, %s\n%s", code, errs, out)
	}
	if code, _, _ := commandLine(t.Context(), "replay", other); code != 0 {
		t.Errorf("without --expect: exit %d", code)
	}
	code, _, errs = commandLine(t.Context(), "replay", filepath.Join(dir, "first"), "--expect")
	if code != exitFailed || !strings.Contains(errs, "no trail.jsonl") {
		t.Errorf("no trail: exit %d, %s", code, errs)
	}
}

func rehearseBundle(t *testing.T, path string) *replay.Timeline {
	t.Helper()
	cfg, err := rehearsalConfig("")
	if err != nil {
		t.Fatal(err)
	}
	b, err := openBundle(path)
	if err != nil {
		t.Fatal(err)
	}
	r, err := rehearse(t.Context(), b, cfg, t.TempDir(), nil)
	if err != nil {
		t.Fatal(err)
	}
	line, err := r.Run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := r.close(); err != nil {
		t.Fatal(err)
	}
	return line
}

// What a replay reads ahead in chunks must be what the daemon's source would
// have seen tick by tick, over HTTP, with instant queries.
func TestRecordingSeesWhatTheDaemonSees(t *testing.T) {
	gap := func(text string) string { // a service that goes silent for a while, and comes back
		var kept []string
		for line := range strings.SplitSeq(text, "\n") {
			var at int64
			if i := strings.LastIndexByte(line, ' '); i > 0 && strings.Contains(line, `"cart"`) {
				_, _ = fmt.Sscan(line[i:], &at)
			}
			if s := at - recordedFrom.Unix(); at == 0 || s < 300 || s > 800 {
				kept = append(kept, line)
			}
		}
		return strings.Join(kept, "\n")
	}
	path := writeBundle(t, t.TempDir(), "cart", "metrics.om", gap(recordedMetrics()))
	b, err := openBundle(path)
	if err != nil {
		t.Fatal(err)
	}
	cfg, err := rehearsalConfig("")
	if err != nil {
		t.Fatal(err)
	}
	r, err := rehearse(t.Context(), b, cfg, t.TempDir(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := r.close(); err != nil {
			t.Error(err)
		}
	}()
	store := storeOf(t, b)
	server := httptest.NewServer(store.Handler())
	defer server.Close()
	live := liveSource(t, b, server.URL)
	states := map[sre.ReadingState]int{}
	for at := r.Start; !at.After(r.End); at = at.Add(r.Agent.Interval) {
		got, err := r.Source.Observe(t.Context(), at)
		if err != nil {
			t.Fatal(err)
		}
		want, err := live.Observe(t.Context(), at)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(picture(want), picture(got)); diff != "" {
			t.Fatalf("at %s (-daemon +recording):\n%s", at, diff)
		}
		for _, s := range got.Service.States {
			states[s]++
		}
	}
	if states[sre.Stale] == 0 || states[sre.Present] == 0 {
		t.Errorf("states seen: %v: the gap shows nothing", states)
	}
}

func storeOf(t *testing.T, b *bundle.Bundle) *replay.Store {
	t.Helper()
	store, err := replay.BuildStore(t.Context(), t.TempDir(), time.Hour, replay.StoreOptions{}, func(add replay.Add) error {
		return b.Samples(t.Context(), func(s bundle.Series, at int64, v float64) error {
			_, err := add(0, s.Labels, at, v)
			return err
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	return store
}

func liveSource(t *testing.T, b *bundle.Bundle, url string) *sources.Source {
	t.Helper()
	signals, err := sources.ParseSignals(b.Signals)
	if err != nil {
		t.Fatal(err)
	}
	topology, err := sources.ParseTopology("topology.yaml", b.Topology)
	if err != nil {
		t.Fatal(err)
	}
	cfg := sources.DefaultConfig()
	cfg.Prometheus.URL, cfg.Prometheus.Timeout, cfg.Signals.Custom = url, model.Duration(time.Minute), signals
	s, err := sources.New(cfg, sources.Options{Interval: time.Duration(b.Incident.Interval), Topology: topology})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// picture is a snapshot in a form that can be compared.
func picture(s *sre.Snapshot) map[string]string {
	out := map[string]string{"health": fmt.Sprintf("%+v", s.Health), "graph": fmt.Sprintf("%v %v", s.Graph.Services, len(s.Graph.Edges))}
	for row, sig := range s.Signals {
		for i, service := range s.Graph.Services {
			r := s.Service.At(row, i)
			out[sig.Name+" "+service.Name] = fmt.Sprint(r.State, " ", math.Float64bits(r.Value))
		}
	}
	return out
}

func TestReplayRefuses(t *testing.T) {
	dir := t.TempDir()
	good := writeBundle(t, dir, "good")
	for _, tc := range []struct {
		name string
		args []string
		code int
		want string
	}{
		{"no bundle", []string{"replay"}, exitUsage, "required argument 'bundle'"},
		{"nothing there", []string{"replay", filepath.Join(dir, "missing")}, exitFailed, "no such file"},
		{"an empty folder", []string{"replay", t.TempDir()}, exitFailed, "none of its files is there"},
		{"a file that is no archive", []string{"replay", filepath.Join(good, "incident.yaml")}, exitFailed, "incident.yaml"},
		{"speed and step", []string{"replay", good, "--speed", "2", "--step"}, exitUsage, "exclude each other"},
		{"negative speed", []string{"replay", good, "--speed=-1"}, exitUsage, "want 0 or more"},
		{"speed that is no number", []string{"replay", good, "--speed", "NaN"}, exitUsage, "want 0 or more"},
		{"infinite speed", []string{"replay", good, "--speed", "inf"}, exitUsage, "want 0 or more"},
		{"hardly any speed", []string{"replay", good, "--speed", "1e-300"}, exitUsage, "from 0.001 on"},
		{"signals of another system", []string{"replay", writeBundle(t, dir, "other", "metrics.om", "# TYPE a gauge\na 1 1772600400\n# EOF\n")}, exitFailed, "none of the signals finds a series"},
		{"subquery without end", []string{"replay", writeBundle(t, dir, "subquery", "signals.yaml", strings.Replace(recordedSignals, "(load)", "(max_over_time(load[10y:1ms]))", 1))}, exitFailed, "evaluated too often"},
		{"step and json", []string{"replay", good, "--step", "-o", "json"}, exitUsage, "--step is for people"},
		{"a broken signal", []string{"replay", writeBundle(t, dir, "unit", "signals.yaml", strings.Replace(recordedSignals, "seconds", "parsecs", 1))}, exitFailed, `signals.yaml:4:`},
		{"a kind nobody knows", []string{"replay", writeBundle(t, dir, "kind", "signals.yaml", strings.Replace(recordedSignals, "kind: queue", "kind: mood", 1))}, exitFailed, "mood"},
		{"bad PromQL", []string{"replay", writeBundle(t, dir, "promql", "signals.yaml", strings.Replace(recordedSignals, "sum by (service) (load)", "sum by (", 1))}, exitFailed, "traffic"},
		{"a cut recording", []string{"replay", writeBundle(t, dir, "cut", "metrics.om", strings.TrimSuffix(recordedMetrics(), "# EOF\n"))}, exitFailed, "EOF"},
		{"a report that cannot be written", []string{"replay", good, "--html", filepath.Join(dir, "no", "report.html")}, exitFailed, "report.html"},
		{"a configuration that is not there", []string{"replay", good, "--config", filepath.Join(dir, "no.yaml")}, exitFailed, "no.yaml"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			code, out, errs := commandLine(t.Context(), tc.args...)
			if code != tc.code || !strings.Contains(errs, tc.want) {
				t.Errorf("exit %d, want %d with %q:\n%s%s", code, tc.code, tc.want, out, errs)
			}
		})
	}
}

func TestReplayStops(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	code, out, errs := commandLine(ctx, "replay", writeBundle(t, t.TempDir(), "cart"))
	if code != exitFailed || out != "" || !strings.Contains(errs, "stopped before the first tick") {
		t.Errorf("exit %d: %s%s", code, out, errs)
	}
}

// What was replayed until then is valid JSON that says so, and is compared with
// no more than was recorded until then.
func TestReplayThatStopsSaysSo(t *testing.T) {
	dir := t.TempDir()
	const later = `{"seq":0,"at":"2026-03-04T05:00:00Z","kind":"stop"}` + "\n" +
		`{"seq":1,"at":"2026-03-04T05:19:00Z","kind":"decision","decision":{"id":"x","at":"2026-03-04T05:19:00Z","verdict":"act"}}` + "\n"
	path := writeBundle(t, dir, "cart", "trail.jsonl", later)
	page := filepath.Join(dir, "report.html")
	ctx, cancel := context.WithCancel(t.Context())
	b, err := openBundle(path)
	if err != nil {
		t.Fatal(err)
	}
	cfg, err := rehearsalConfig("")
	if err != nil {
		t.Fatal(err)
	}
	r, err := rehearse(ctx, b, cfg, t.TempDir(), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	ticks := 0
	r.Pace = func(context.Context, time.Time) error {
		if ticks++; ticks == 5 {
			cancel()
		}
		return nil
	}
	var out bytes.Buffer
	f := replayFlags{path: path, html: page, json: true}
	err = tellReplay(ctx, streams{in: strings.NewReader(""), out: &out, err: io.Discard}, f, cfg, r)
	if err == nil || !strings.Contains(err.Error(), "stopped at 2026-03-04T05:00:") {
		t.Errorf("error %v", err)
	}
	var got replayed
	if err := json.Unmarshal(out.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	if got.Stopped == "" || got.Ticks == 0 || got.Ticks > 5 || got.End.Before(got.Start) || got.Comparison == nil || !got.Comparison.Equal() {
		t.Errorf("%+v", got)
	}
	if text, err := os.ReadFile(page); err != nil || !bytes.Contains(text, []byte(got.Stopped)) {
		t.Errorf("report of %d bytes, %v", len(text), err)
	}
}

// Whoever waits for Enter can be told to stop.
func TestReplayStopsWhileItWaitsForEnter(t *testing.T) {
	in, typing := io.Pipe()
	defer typing.Close() //nolint:errcheck // ends the reader
	ctx, cancel := context.WithCancel(t.Context())
	var out bytes.Buffer
	asked := writerFunc(func(p []byte) (int, error) {
		if bytes.Contains(p, []byte("Enter")) {
			cancel()
		}
		return len(p), nil
	})
	code := execute(ctx, []string{"replay", writeBundle(t, t.TempDir(), "cart"), "--step"}, streams{in: in, out: &out, err: asked})
	if code != exitFailed || !strings.Contains(out.String(), "cart: 1 ticks of 10s") {
		t.Errorf("exit %d: %s", code, out.String())
	}
}

type writerFunc func(p []byte) (int, error)

func (w writerFunc) Write(p []byte) (int, error) { return w(p) }
