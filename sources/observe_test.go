package sources

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/prometheus/common/model"

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
		cfg.Prometheus.Concurrency, cfg.Prometheus.Timeout = 1, model.Duration(5*time.Second)
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
		cfg.Prometheus.Concurrency, cfg.Prometheus.Timeout = 1, model.Duration(5*time.Second)
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
