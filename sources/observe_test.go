package sources

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/prometheus/common/model"
	"pgregory.net/rapid"

	"github.com/sreagent/sreagent/sre"
)

func TestStaleness(t *testing.T) {
	const tick = 15 * time.Second
	nan, inf := math.NaN(), math.Inf(1)
	missing := math.Inf(-1) // in this table: no sample at all
	none := sre.Reading{}
	present := func(v float64) sre.Reading { return sre.Reading{Value: v, State: sre.Present} }
	stale := func(v float64) sre.Reading { return sre.Reading{Value: v, State: sre.Stale} }
	for _, tc := range []struct {
		name   string
		values []float64
		want   []sre.Reading
	}{
		{"seen each tick", []float64{1, 2, 0}, []sre.Reading{present(1), present(2), present(0)}},
		{"gap of one tick", []float64{1, missing, 3}, []sre.Reading{present(1), stale(1), present(3)}},
		{"stale to the bound, absent beyond", []float64{1, missing, missing, missing}, []sre.Reading{present(1), stale(1), stale(1), none}},
		{"back after absence", []float64{1, missing, missing, missing, 2}, []sre.Reading{present(1), stale(1), stale(1), none, present(2)}},
		{"not a number is absent at once", []float64{1, nan, missing}, []sre.Reading{present(1), none, none}},
		{"infinite is absent at once", []float64{1, inf, 2}, []sre.Reading{present(1), none, present(2)}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			f := newFleet(t)
			f.setAt("rps", func(at time.Time) model.Vector {
				v := tc.values[int(at.Sub(t0)/tick)]
				if v == missing {
					return byService("other", 1)
				}
				return byService("cart", v, "other", 1)
			})
			cfg := configFor(f.URL, serviceSignal("rps"))
			cfg.Prometheus.Lookback = model.Duration(2 * tick)
			s := newSource(t, cfg)
			for i, want := range tc.want {
				snap := observe(t, s, t0.Add(time.Duration(i)*tick))
				if got := reading(t, snap, "rps", "cart"); got != want {
					t.Errorf("tick %d: %+v, want %+v", i, got, want)
				}
				if got := reading(t, snap, "rps", "other"); !got.OK() {
					t.Errorf("tick %d: the other service is %s", i, got.State)
				}
			}
		})
	}
}

func TestLookbackDefaultsToFiveIntervalsButAtLeastFiveMinutes(t *testing.T) {
	for _, tc := range []struct {
		configured, interval, want time.Duration
	}{
		{0, 15 * time.Second, 5 * time.Minute},
		{0, 5 * time.Minute, 25 * time.Minute},
		{time.Minute, 5 * time.Minute, time.Minute},
	} {
		if got := (PrometheusConfig{Lookback: model.Duration(tc.configured)}).lookback(tc.interval); got != tc.want {
			t.Errorf("lookback %s at interval %s is %s, want %s", tc.configured, tc.interval, got, tc.want)
		}
	}
}

func TestTimeThatGoesBackForgetsTheFuture(t *testing.T) {
	f := newFleet(t)
	f.setAt("rps", func(at time.Time) model.Vector {
		if at.Before(t0) {
			return byService("other", 1)
		}
		return byService("cart", 7, "other", 1)
	})
	s := newSource(t, configFor(f.URL, serviceSignal("rps")))
	observe(t, s, t0)
	if got := reading(t, observe(t, s, t0.Add(-time.Second)), "rps", "cart"); got.State != sre.Absent {
		t.Errorf("a reading from after the snapshot: %+v", got)
	}
}

func TestOneBrokenAnswerLeavesTheOthersAlone(t *testing.T) {
	status := func(code int, body string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(code)
			_, _ = io.WriteString(w, body)
		}
	}
	result := func(kind, result string) http.HandlerFunc {
		return status(200, `{"status":"success","data":{"resultType":"`+kind+`","result":`+result+`}}`)
	}
	for _, tc := range []struct {
		name    string
		handler http.HandlerFunc
		reason  string
	}{
		{"server error", status(500, "no"), reasonHTTP},
		{"not allowed", status(401, "who are you"), reasonHTTP},
		{"bad query", status(400, `{"status":"error","errorType":"bad_data","error":"parse error"}`), reasonBadData},
		{"query too heavy", status(422, `{"status":"error","errorType":"execution","error":"too many samples"}`), reasonBadData},
		{"store timed out", status(503, `{"status":"error","errorType":"timeout","error":"query timed out"}`), reasonTimeout},
		{"truncated", status(200, `{"status":"success","data":{"resultType":"vector","result":[{"metr`), reasonBadData},
		{"not JSON", status(200, "<html>login</html>"), reasonBadData},
		{"scalar", result("scalar", `[1, "2"]`), reasonBadData},
		{"matrix", result("matrix", `[]`), reasonBadData},
		{"no label", result("vector", `[{"metric":{},"value":[1,"2"]}]`), reasonBadData},
		{"not aggregated", result("vector", `[{"metric":{"service":"cart","pod":"a"},"value":[1,"2"]},{"metric":{"service":"cart","pod":"b"},"value":[1,"2"]}]`), reasonBadData},
		{"native histogram", result("vector", `[{"metric":{"service":"cart"},"histogram":[1,{"count":"1","sum":"1","buckets":[]}]}]`), reasonBadData},
		{"hung up", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, reasonHTTP},
	} {
		t.Run(tc.name, func(t *testing.T) {
			f := newFleet(t)
			f.set("good", byService("cart", 1))
			f.set("bad", byService("cart", 2))
			s := newSource(t, configFor(f.URL, serviceSignal("bad"), serviceSignal("good")))
			observe(t, s, t0)
			f.breakWith("bad", tc.handler)
			snap := observe(t, s, t0.Add(15*time.Second))
			if got := reading(t, snap, "good", "cart"); !got.OK() || got.Value != 1 {
				t.Errorf("the good signal is %+v", got)
			}
			if got := reading(t, snap, "bad", "cart"); got != (sre.Reading{Value: 2, State: sre.Stale}) {
				t.Errorf("the bad signal is %+v", got)
			}
			if want := (sre.SourceHealth{Up: true, Queries: 2, Failed: []string{"bad"}}); cmp.Diff(want, snap.Health) != "" {
				t.Errorf("health %+v", snap.Health)
			}
			if n := testutil.ToFloat64(s.metrics.failures.WithLabelValues(fromPrometheus, tc.reason)); n != 1 {
				t.Errorf("%v failures with reason %s, want 1", n, tc.reason)
			}
		})
	}
}

func hang(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }

func TestHangingQueryCostsItsOwnTimeoutOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newOfflineFleet()
		f.set("good", byService("cart", 1))
		f.breakWith("hangs", hang)
		cfg := configFor("http://offline:1", serviceSignal("hangs"), serviceSignal("good"))
		cfg.Prometheus.Concurrency = 1
		s := newSource(t, cfg)
		f.answerFor(t, s)
		began := time.Now()
		snap := observe(t, s, t0)
		if took := time.Since(began); took != 5*time.Second {
			t.Errorf("the tick took %s, want one timeout", took)
		}
		if !snap.Health.Up || !slices.Equal(snap.Health.Failed, []string{"hangs"}) || !reading(t, snap, "good", "cart").OK() {
			t.Errorf("health %+v", snap.Health)
		}
		if n := testutil.ToFloat64(s.metrics.failures.WithLabelValues(fromPrometheus, reasonTimeout)); n != 1 {
			t.Errorf("%v timeouts, want 1", n)
		}
	})
}

func TestHangingStoreIsGivenOneTickInAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newOfflineFleet()
		var signals []SignalQuery
		for i := range 20 {
			name := fmt.Sprintf("q%02d", i)
			signals = append(signals, serviceSignal(name))
			f.breakWith(name, hang)
		}
		cfg := configFor("http://offline:1", signals...)
		cfg.Prometheus.Concurrency = 1
		s := newSource(t, cfg)
		f.answerFor(t, s)
		began := time.Now()
		snap := observe(t, s, t0)
		if took := time.Since(began); took != 11250*time.Millisecond {
			t.Errorf("the tick took %s, want three quarters of 15s", took)
		}
		if snap.Health.Up || len(snap.Health.Failed) != 20 || snap.Health.Err != "query q00: context deadline exceeded" {
			t.Errorf("health %+v", snap.Health)
		}
		if n := len(f.takeAsked()); n != 3 {
			t.Errorf("%d queries reached a store that hangs, want 3", n)
		}
	})
}

func TestHangingJaegerDoesNotDelayOrSpoilTheSignals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newOfflineFleet()
		f.set("rps", byService("cart", 1))
		cfg := configFor("http://offline:1", serviceSignal("rps"))
		cfg.Topology.Jaeger.URL = "http://offline:2"
		s := newSource(t, cfg)
		f.answerFor(t, s)
		s.jaeger.client.Transport = offline{http.HandlerFunc(hang)}
		for i, want := range []time.Duration{5 * time.Second, 0, 0, 0, 5 * time.Second} { // once a minute
			began := time.Now()
			snap := observe(t, s, t0.Add(time.Duration(i)*15*time.Second))
			if took := time.Since(began); took != want || !reading(t, snap, "rps", "cart").OK() {
				t.Errorf("tick %d took %s, want %s; health %+v", i, took, want, snap.Health)
			}
		}
		if n := testutil.ToFloat64(s.metrics.failures.WithLabelValues(fromJaeger, reasonTimeout)); n != 2 {
			t.Errorf("%v timeouts, want 2", n)
		}
	})
}

func TestStoreThatIsDownGivesASnapshotWithoutFreshReadings(t *testing.T) {
	f := newFleet(t)
	f.set("rps", byService("cart", 1))
	f.set("calls", byEdge("web", "cart", 1))
	s := newSource(t, configFor(f.URL, serviceSignal("rps"), edgeSignal("calls")))
	before := observe(t, s, t0)
	f.Close()
	snap := observe(t, s, t0.Add(15*time.Second))
	if snap.Health.Up || snap.Health.Err == "" || !slices.Equal(snap.Health.Failed, []string{"calls", "rps"}) {
		t.Errorf("health %+v", snap.Health)
	}
	if slices.Contains(snap.Service.States, sre.Present) || slices.Contains(snap.Edge.States, sre.Present) {
		t.Error("a reading is present though nothing answered")
	}
	if got := reading(t, snap, "rps", "cart"); got.State != sre.Stale {
		t.Errorf("last reading is %s", got.State)
	}
	if len(snap.Graph.Services) != len(before.Graph.Services) || len(snap.Graph.Edges) != 1 {
		t.Error("the graph shrank")
	}
	if got := testutil.ToFloat64(s.metrics.up.WithLabelValues(fromPrometheus)); got != 0 {
		t.Errorf("sreagent_source_up is %v", got)
	}
}

func TestObserveEndsWithItsContext(t *testing.T) {
	f := newFleet(t)
	ctx, cancel := context.WithCancel(context.Background())
	f.breakWith("rps", func(_ http.ResponseWriter, r *http.Request) {
		cancel()
		<-r.Context().Done()
	})
	s := newSource(t, configFor(f.URL, serviceSignal("rps")))
	if snap, err := s.Observe(ctx, t0); snap != nil || !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, %v", snap, err)
	}
}

func TestLargeAnswer(t *testing.T) {
	f := newFleet(t)
	var v model.Vector
	for i := range 20_000 {
		v = append(v, point(float64(i), "service", fmt.Sprintf("service-%05d-%s", i, strings.Repeat("x", 100))))
	}
	f.set("rps", v) // more than 3 MB
	cfg := configFor(f.URL, serviceSignal("rps"))
	cfg.Topology.MaxServices = 15_000
	cfg.Prometheus.Timeout = model.Duration(time.Minute)
	s := newSource(t, cfg)
	snap := observe(t, s, t0)
	if !snap.Health.Up || len(snap.Graph.Services) != 15_000 {
		t.Fatalf("up %v, %d services", snap.Health.Up, len(snap.Graph.Services))
	}
	if n := testutil.ToFloat64(s.metrics.dropped); n != 5_000 {
		t.Errorf("%v dropped, want 5000", n)
	}
}

func TestEndlessAnswerIsCutOff(t *testing.T) {
	f := newFleet(t)
	f.breakWith("rps", func(w http.ResponseWriter, r *http.Request) {
		junk := []byte(strings.Repeat(" ", 1<<20))
		for r.Context().Err() == nil {
			if _, err := w.Write(junk); err != nil {
				return
			}
		}
	})
	cfg := configFor(f.URL, serviceSignal("rps"))
	cfg.Prometheus.Timeout = model.Duration(time.Minute) // 64 MiB may take a while
	s := newSource(t, cfg)
	if snap := observe(t, s, t0); snap.Health.Up || !strings.Contains(snap.Health.Err, "larger than") {
		t.Errorf("health %+v", snap.Health)
	}
	if n := testutil.ToFloat64(s.metrics.failures.WithLabelValues(fromPrometheus, reasonBadData)); n != 1 {
		t.Errorf("%v answers of bad data, want 1", n)
	}
}

func TestWarningsDoNotSpoilAnAnswer(t *testing.T) {
	f := newFleet(t)
	f.breakWith("rps", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, `{"status":"success","warnings":["one store is away"],"data":{"resultType":"vector","result":[{"metric":{"service":"cart"},"value":[1,"2"]}]}}`)
	})
	s := newSource(t, configFor(f.URL, serviceSignal("rps")))
	if got := reading(t, observe(t, s, t0), "rps", "cart"); !got.OK() || got.Value != 2 {
		t.Errorf("reading %+v", got)
	}
	if n := testutil.ToFloat64(s.metrics.warnings); n != 1 {
		t.Errorf("%v warnings counted", n)
	}
}

func TestBudgetRotates(t *testing.T) {
	f := newFleet(t)
	var signals []SignalQuery
	for _, name := range []string{"a", "b", "c", "d", "e"} {
		f.set(name, byService("cart", 1))
		signals = append(signals, serviceSignal(name))
	}
	cfg := configFor(f.URL, signals...)
	cfg.Prometheus.MaxQueriesPerTick = 2
	s := newSource(t, cfg)
	want := []struct{ asked, skipped string }{
		{"a b", "c d e"}, {"c d", "a b e"}, {"a e", "b c d"}, {"b c", "a d e"}, {"a d", "b c e"}, {"b e", "a c d"},
	}
	for i, w := range want {
		snap := observe(t, s, t0.Add(time.Duration(i)*15*time.Second))
		if got := strings.Join(f.takeAsked(), " "); got != w.asked {
			t.Errorf("tick %d asked %q, want %q", i, got, w.asked)
		}
		if got := strings.Join(snap.Health.Skipped, " "); got != w.skipped || snap.Health.Queries != 2 || !snap.Health.Up {
			t.Errorf("tick %d skipped %q, want %q (%+v)", i, got, w.skipped, snap.Health)
		}
		for name := range strings.FieldsSeq(w.asked) {
			if r := reading(t, snap, name, "cart"); !r.OK() {
				t.Errorf("tick %d: %s was asked and is %s", i, name, r.State)
			}
		}
		for name := range strings.FieldsSeq(w.skipped) {
			if r := reading(t, snap, name, "cart"); r.OK() {
				t.Errorf("tick %d: %s was not asked and is present", i, name)
			}
		}
	}
}

func TestBudgetLetsNobodyWaitLongerThanItMust(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n, per := rapid.IntRange(1, 40).Draw(t, "queries"), rapid.IntRange(1, 40).Draw(t, "per tick")
		b := newBudget(n, per)
		bound := (n + per - 1) / per
		lastAsked := make([]int, n)
		for tick := 1; tick <= 3*bound; tick++ {
			ask, skip := b.choose()
			if len(ask) != min(n, per) || len(ask)+len(skip) != n {
				t.Fatalf("asked %v, skipped %v", ask, skip)
			}
			for _, i := range ask {
				lastAsked[i] = tick
			}
			for i, last := range lastAsked {
				if tick-last >= bound {
					t.Fatalf("at tick %d query %d has waited since %d; bound %d", tick, i, last, bound)
				}
			}
		}
	})
}

// TestOrderOfArrivalLeavesNoTrace lets the same answers come in every order
// and with their samples shuffled, and wants the same bytes.
func TestOrderOfArrivalLeavesNoTrace(t *testing.T) {
	names := []string{"a", "b", "c", "d"}
	run := func(order []int, turn int) string {
		f := newFleet(t)
		cfg := configFor(f.URL, serviceSignal("a"), serviceSignal("b"), edgeSignal("c"), edgeSignal("d"))
		cfg.Changes.VersionLabels = nil
		s := newSource(t, cfg)
		rotate := func(v model.Vector) model.Vector { return append(slices.Clone(v[turn%len(v):]), v[:turn%len(v)]...) }
		f.set("a", rotate(byService("cart", 1, "web", 2, "auth", 3)))
		f.set("b", rotate(byService("pay", 1, "cart", 2, "zeta", 3)))
		f.set("c", rotate(byEdge("web", "cart", 1, "cart", "pay", 2, "web", "auth", 1)))
		f.set("d", rotate(byEdge("pay", "bank", 1, "web", "cart", 2)))
		// Every query waits for the one that comes before it in the order.
		done := make([]chan struct{}, len(order)+1)
		for i := range done {
			done[i] = make(chan struct{})
		}
		close(done[0])
		var once [4]sync.Once
		f.before = func(query string) {
			i := slices.Index(order, slices.Index(names, query))
			<-done[i]
			once[i].Do(func() { close(done[i+1]) })
		}
		return render(t, observe(t, s, t0)) + render(t, observe(t, s, t0.Add(15*time.Second)))
	}
	want := run([]int{0, 1, 2, 3}, 0)
	for turn, order := range [][]int{{3, 2, 1, 0}, {1, 0, 3, 2}, {2, 3, 0, 1}, {3, 0, 2, 1}} {
		if diff := cmp.Diff(want, run(order, turn+1)); diff != "" {
			t.Fatalf("order %v changes the snapshot:\n%s", order, diff)
		}
	}
}

func TestSnapshotsDoNotChangeAfterwards(t *testing.T) {
	f := newFleet(t)
	f.setAt("rps", func(at time.Time) model.Vector {
		return byService("cart", float64(at.Unix()), fmt.Sprintf("new-%d", at.Unix()), 1)
	})
	f.setAt("calls", func(at time.Time) model.Vector { return byEdge("web", fmt.Sprintf("new-%d", at.Unix()), 1) })
	s := newSource(t, configFor(f.URL, serviceSignal("rps"), edgeSignal("calls")))
	first := observe(t, s, t0)
	before := render(t, first)
	for i := range 5 {
		observe(t, s, t0.Add(time.Duration(i+1)*15*time.Second))
	}
	if diff := cmp.Diff(before, render(t, first)); diff != "" {
		t.Errorf("an old snapshot changed:\n%s", diff)
	}
}

func TestAnOutageIsLoggedOnceAtEachEnd(t *testing.T) {
	f := newFleet(t)
	f.set("rps", byService("cart", 1))
	var log strings.Builder
	s := newSource(t, configFor(f.URL, serviceSignal("rps")), func(o *Options) {
		o.Log = slog.New(slog.NewTextHandler(&log, nil))
	})
	observe(t, s, t0)
	f.breakWith("rps", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) })
	for i := range 3 {
		observe(t, s, t0.Add(time.Duration(i+1)*15*time.Second))
	}
	f.set("rps", byService("cart", 1))
	for i := range 3 {
		observe(t, s, t0.Add(time.Duration(i+4)*15*time.Second))
	}
	lines := strings.Split(strings.TrimSpace(log.String()), "\n")
	if len(lines) != 2 || !strings.Contains(lines[0], `level=WARN msg="signal query fails" signal=rps reason=http`) ||
		!strings.Contains(lines[1], `msg="signal query answers again" signal=rps`) {
		t.Errorf("log:\n%s", log.String())
	}
}

func TestMetrics(t *testing.T) {
	f := newFleet(t)
	f.set("rps", byService("cart", 1, "web", math.NaN()))
	cfg := configFor(f.URL, serviceSignal("rps"), serviceSignal("bad"))
	cfg.Topology.Jaeger.URL = "http://127.0.0.1:1"
	f.breakWith("bad", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) })
	reg := prometheus.NewPedanticRegistry()
	s := newSource(t, cfg, func(o *Options) { o.Registerer = reg })
	observe(t, s, t0)
	want := `
# HELP sreagent_source_readings Readings of the last snapshot, by state.
# TYPE sreagent_source_readings gauge
sreagent_source_readings{state="absent"} 3
sreagent_source_readings{state="present"} 1
sreagent_source_readings{state="stale"} 0
# HELP sreagent_source_queries_total Queries asked.
# TYPE sreagent_source_queries_total counter
sreagent_source_queries_total{source="jaeger"} 1
sreagent_source_queries_total{source="prometheus"} 2
# HELP sreagent_source_up Whether the source answered at the last attempt.
# TYPE sreagent_source_up gauge
sreagent_source_up{source="jaeger"} 0
sreagent_source_up{source="prometheus"} 1
# HELP sreagent_source_failures_total Queries that gave no usable answer, by reason.
# TYPE sreagent_source_failures_total counter
sreagent_source_failures_total{reason="bad_data",source="jaeger"} 0
sreagent_source_failures_total{reason="bad_data",source="prometheus"} 0
sreagent_source_failures_total{reason="canceled",source="jaeger"} 0
sreagent_source_failures_total{reason="canceled",source="prometheus"} 0
sreagent_source_failures_total{reason="http",source="jaeger"} 1
sreagent_source_failures_total{reason="http",source="prometheus"} 1
sreagent_source_failures_total{reason="timeout",source="jaeger"} 0
sreagent_source_failures_total{reason="timeout",source="prometheus"} 0
`
	if err := testutil.GatherAndCompare(reg, strings.NewReader(want), "sreagent_source_readings", "sreagent_source_queries_total",
		"sreagent_source_up", "sreagent_source_failures_total"); err != nil {
		t.Error(err)
	}
	problems, err := testutil.GatherAndLint(reg)
	if err != nil || len(problems) > 0 {
		t.Errorf("lint: %v %v", problems, err)
	}
}

func BenchmarkObserve1000ServicesTenSignals(b *testing.B) {
	f := newFleet(b)
	var signals []SignalQuery
	for i := range 10 {
		name := fmt.Sprintf("q%d", i)
		var v model.Vector
		for j := range 1000 {
			v = append(v, point(float64(i*j), "service", fmt.Sprintf("service-%04d", j)))
		}
		body := canned(v)
		f.breakWith(name, func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(body) })
		signals = append(signals, serviceSignal(name))
	}
	s := newSource(b, configFor(f.URL, signals...))
	at := t0
	observe(b, s, at)
	b.ReportAllocs()
	for b.Loop() {
		at = at.Add(15 * time.Second)
		if snap := observe(b, s, at); len(snap.Graph.Services) != 1000 || len(snap.Health.Failed) > 0 {
			b.Fatal("incomplete snapshot")
		}
	}
}

// BenchmarkAssemble is the part of Observe that is ours: without HTTP and JSON.
func BenchmarkAssemble1000ServicesTenSignals(b *testing.B) {
	var signals []SignalQuery
	answers := make([]answer, 10)
	for i := range 10 {
		signals = append(signals, serviceSignal(fmt.Sprintf("q%d", i)))
		for j := range 1000 {
			answers[i].samples = append(answers[i].samples, sample{a: fmt.Sprintf("service-%04d", j), value: float64(j)})
		}
		answers[i].asked = true
	}
	s := newSource(b, configFor("http://unused:1", signals...))
	at := t0
	b.ReportAllocs()
	for b.Loop() {
		at = at.Add(15 * time.Second)
		s.assemble(at, 15*time.Second, answers, nil)
	}
}
