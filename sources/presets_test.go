package sources

import (
	"context"
	"math"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/promql/promqltest"

	"github.com/sreagent/sreagent/sre"
)

func TestPresetQueriesParseAndGroupByTheirLabels(t *testing.T) {
	p := parser.NewParser(parser.Options{})
	for _, o := range []Overrides{{}, {ServiceLabel: "job", ClientLabel: "src", ServerLabel: "dst", Selector: `namespace="shop"`}} {
		for _, name := range PresetNames() {
			for _, q := range (SignalsConfig{Preset: name, Overrides: o}).Queries() {
				expr, err := p.ParseExpr(q.Query)
				if err != nil {
					t.Errorf("%s/%s: %v\n%s", name, q.Name, err, q.Query)
					continue
				}
				if strings.Contains(q.Query, "$") {
					t.Errorf("%s/%s: a placeholder is left: %s", name, q.Name, q.Query)
				}
				if expr.Type() != parser.ValueTypeVector {
					t.Errorf("%s/%s is a %s", name, q.Name, expr.Type())
				}
				for _, matchers := range parser.ExtractSelectors(expr) {
					var selected bool
					for _, m := range matchers {
						selected = selected || m.Name == "namespace" && m.Value == "shop"
					}
					if selected != (o.Selector != "") {
						t.Errorf("%s/%s: the selector is not on every series: %s", name, q.Name, q.Query)
					}
				}
				if o.Selector != "" && !q.Edge() && q.ServiceLabel != "job" {
					t.Errorf("%s/%s groups by %q", name, q.Name, q.ServiceLabel)
				}
				if o.Selector != "" && q.Edge() && (q.ClientLabel != "src" || q.ServerLabel != "dst") {
					t.Errorf("%s/%s groups by %q, %q", name, q.Name, q.ClientLabel, q.ServerLabel)
				}
			}
		}
	}
}

func TestEveryPresetQueryHasAColumn(t *testing.T) {
	known := map[string]bool{}
	for _, c := range columns {
		if known[c.Name] || !c.Kind.Valid() || !c.Unit.Valid() {
			t.Errorf("column %+v is twice or of no known kind and unit", c)
		}
		known[c.Name] = true
	}
	for name, p := range presets {
		for column := range p.queries {
			if !known[column] {
				t.Errorf("preset %s fills %q, which is no column", name, column)
			}
		}
	}
}

// presetData holds, per preset, series as their software exports them, scraped
// every 5 s, and what must be read from them after 10 minutes. Rates per second
// are the steps over 5.
var presetData = []struct {
	preset string
	load   string
	want   map[string]float64 // by signal:service or signal:client>server; NaN is absent
}{
	{
		preset: "red",
		load: `load 5s
			http_requests_total{service="cart",code="200",instance="a"} 0+40x200
			http_requests_total{service="cart",code="200",instance="b"} 0+40x200
			http_requests_total{service="cart",code="503",instance="b"} 0+20x200
			http_requests_total{service="idle",code="200"} 7+0x200
			http_requests_total{service="clean",code="404"} 0+10x200
			http_requests_total{service="dead",code="500"} 0+10x200
			http_request_duration_seconds_sum{service="cart"} 0+5x200
			http_request_duration_seconds_count{service="cart"} 0+100x200
			http_request_duration_seconds_bucket{service="cart",le="0.1"} 0+90x200
			http_request_duration_seconds_bucket{service="cart",le="0.2"} 0+100x200
			http_request_duration_seconds_bucket{service="cart",le="+Inf"} 0+100x200
			http_request_duration_seconds_sum{service="rare"} 0+0.1x200
			http_request_duration_seconds_count{service="rare"} 0+1x200
			http_request_duration_seconds_bucket{service="rare",le="0.2"} 0+1x200
			http_request_duration_seconds_bucket{service="rare",le="+Inf"} 0+1x200
			http_requests_in_flight{service="cart",instance="a"} 3x200
			http_requests_in_flight{service="cart",instance="b"} 4x200`,
		want: map[string]float64{
			"traffic:cart": 20, "errors:cart": 0.2, "latency:cart": 0.05, "latency_p99:cart": 0.19, "queue:cart": 7,
			"traffic:idle": 0, "errors:idle": math.NaN(), "errors:clean": 0, "errors:dead": 1,
			"latency:rare": 0.1, "latency_p99:rare": math.NaN(),
		},
	},
	{
		preset: "otel-servicegraph",
		load: `load 5s
			traces_service_graph_request_total{client="web",server="cart"} 0+50x200
			traces_service_graph_request_total{client="app",server="cart"} 0+50x200
			traces_service_graph_request_failed_total{client="web",server="cart"} 0+5x200
			traces_service_graph_request_server_seconds_sum{client="web",server="cart"} 0+10x200
			traces_service_graph_request_server_seconds_count{client="web",server="cart"} 0+50x200
			traces_service_graph_request_server_seconds_sum{client="app",server="cart"} 0+5x200
			traces_service_graph_request_server_seconds_count{client="app",server="cart"} 0+50x200
			traces_service_graph_request_server_seconds_bucket{client="web",server="cart",le="0.4"} 0+50x200
			traces_service_graph_request_server_seconds_bucket{client="web",server="cart",le="+Inf"} 0+50x200
			traces_service_graph_request_client_seconds_sum{client="web",server="cart"} 0+20x200
			traces_service_graph_request_client_seconds_count{client="web",server="cart"} 0+50x200`,
		want: map[string]float64{
			"traffic:cart": 20, "errors:cart": 0.05, "latency:cart": 0.15, "latency_p99:cart": 0.396,
			"edge_traffic:web>cart": 10, "edge_errors:web>cart": 0.1, "edge_errors:app>cart": 0,
			"edge_latency:web>cart": 0.4, "edge_latency:app>cart": 0.1, "traffic:web": math.NaN(),
		},
	},
	{
		preset: "istio",
		load: `load 5s
			istio_requests_total{reporter="destination",source_workload="web",destination_workload="cart",response_code="200",response_flags="-"} 0+90x200
			istio_requests_total{reporter="destination",source_workload="web",destination_workload="cart",response_code="0",response_flags="DC"} 0+10x200
			istio_requests_total{reporter="source",source_workload="web",destination_workload="cart",response_code="200",response_flags="-"} 0+90x200
			istio_requests_total{reporter="source",source_workload="web",destination_workload="cart",response_code="504",response_flags="UT"} 0+30x200
			istio_requests_total{reporter="source",source_workload="unknown",destination_workload="cart",response_code="200"} 0+30x200
			istio_request_duration_milliseconds_sum{reporter="destination",source_workload="web",destination_workload="cart"} 0+5000x200
			istio_request_duration_milliseconds_count{reporter="destination",source_workload="web",destination_workload="cart"} 0+100x200
			istio_request_duration_milliseconds_bucket{reporter="destination",source_workload="web",destination_workload="cart",le="100"} 0+100x200
			istio_request_duration_milliseconds_bucket{reporter="destination",source_workload="web",destination_workload="cart",le="+Inf"} 0+100x200
			istio_request_duration_milliseconds_sum{reporter="source",source_workload="web",destination_workload="cart"} 0+9000x200
			istio_request_duration_milliseconds_count{reporter="source",source_workload="web",destination_workload="cart"} 0+120x200`,
		want: map[string]float64{
			"traffic:cart": 20, "errors:cart": 0.1, "latency:cart": 0.05, "latency_p99:cart": 0.099, "timeouts:cart": 2,
			"edge_traffic:web>cart": 24, "edge_errors:web>cart": 0.25, "edge_latency:web>cart": 0.075, "edge_timeouts:web>cart": 6,
		},
	},
	{
		preset: "envoy",
		load: `load 5s
			envoy_cluster_upstream_rq_total{envoy_cluster_name="cart"} 0+100x200
			envoy_cluster_upstream_rq_xx{envoy_cluster_name="cart",envoy_response_code_class="2"} 0+60x200
			envoy_cluster_upstream_rq_xx{envoy_cluster_name="cart",envoy_response_code_class="5"} 0+20x200
			envoy_cluster_upstream_rq_time_sum{envoy_cluster_name="cart"} 0+8000x200
			envoy_cluster_upstream_rq_time_count{envoy_cluster_name="cart"} 0+80x200
			envoy_cluster_upstream_rq_time_bucket{envoy_cluster_name="cart",le="250"} 0+80x200
			envoy_cluster_upstream_rq_time_bucket{envoy_cluster_name="cart",le="+Inf"} 0+80x200
			envoy_cluster_upstream_rq_active{envoy_cluster_name="cart",instance="a"} 5x200
			envoy_cluster_upstream_rq_active{envoy_cluster_name="cart",instance="b"} 6x200
			envoy_cluster_upstream_rq_pending_active{envoy_cluster_name="cart",instance="a"} 2x200
			envoy_cluster_upstream_cx_active{envoy_cluster_name="cart"} 30x200
			envoy_cluster_upstream_cx_active{envoy_cluster_name="untracked"} 30x200
			envoy_cluster_circuit_breakers_default_remaining_cx{envoy_cluster_name="cart"} 10x200
			envoy_cluster_upstream_rq_retry{envoy_cluster_name="cart"} 0+15x200
			envoy_cluster_upstream_rq_timeout{envoy_cluster_name="cart"} 0+5x200
			envoy_cluster_membership_healthy{envoy_cluster_name="cart",instance="a"} 3x200
			envoy_cluster_membership_healthy{envoy_cluster_name="cart",instance="b"} 3x200`,
		want: map[string]float64{
			"traffic:cart": 20, "errors:cart": 0.25, "latency:cart": 0.1, "latency_p99:cart": 0.2475, "queue:cart": 13,
			"pool:cart": 0.75, "retries:cart": 3, "timeouts:cart": 1, "replicas:cart": 3, "pool:untracked": math.NaN(),
		},
	},
	{
		preset: "haproxy",
		load: `load 5s
			haproxy_backend_sessions_total{proxy="cart"} 0+50x200
			haproxy_backend_http_requests_total{proxy="cart"} 0+40x200
			haproxy_backend_http_responses_total{proxy="cart",code="2xx"} 0+30x200
			haproxy_backend_http_responses_total{proxy="cart",code="5xx"} 0+10x200
			haproxy_backend_total_time_average_seconds{proxy="cart"} 0.25x200
			haproxy_backend_http_requests_total{proxy="idle"} 9x200
			haproxy_backend_total_time_average_seconds{proxy="idle"} 0.25x200
			haproxy_backend_current_sessions{proxy="cart"} 12x200
			haproxy_server_current_sessions{proxy="cart",server="s1"} 5x200
			haproxy_server_current_sessions{proxy="cart",server="s2"} 4x200
			haproxy_server_limit_sessions{proxy="cart",server="s1"} 6x200
			haproxy_server_limit_sessions{proxy="cart",server="s2"} 6x200
			haproxy_server_current_sessions{proxy="unlimited",server="s1"} 4x200
			haproxy_server_limit_sessions{proxy="unlimited",server="s1"} 0x200
			haproxy_backend_retry_warnings_total{proxy="cart"} 0+5x200
			haproxy_backend_client_aborts_total{proxy="cart"} 0+2x200
			haproxy_backend_active_servers{proxy="cart"} 2x200`,
		want: map[string]float64{
			"traffic:cart": 10, "errors:cart": 0.25, "latency:cart": 0.25, "queue:cart": 12, "pool:cart": 0.75,
			"retries:cart": 1, "timeouts:cart": 0.4, "replicas:cart": 2, "latency:idle": math.NaN(), "pool:unlimited": math.NaN(),
		},
	},
	{
		preset: "guard",
		load: `load 5s
			guard_requests_total{service="cart",instance="a",priority="high",attempt="first",outcome="ok"} 0+50x200
			guard_requests_total{service="cart",instance="b",priority="low",attempt="retry",outcome="ok"} 0+10x200
			guard_requests_total{service="cart",instance="b",priority="low",attempt="first",outcome="shed"} 0+20x200
			guard_requests_total{service="cart",instance="b",priority="low",attempt="retry",outcome="abandoned"} 0+20x200
			guard_requests_total{service="calm",priority="low",attempt="first",outcome="ok"} 0+10x200
			guard_request_duration_seconds_sum{service="cart"} 0+10x200
			guard_request_duration_seconds_count{service="cart"} 0+100x200
			guard_request_duration_seconds_bucket{service="cart",le="0.1"} 0+100x200
			guard_request_duration_seconds_bucket{service="cart",le="+Inf"} 0+100x200
			guard_in_flight{service="cart",instance="a"} 4x200
			guard_in_flight{service="cart",instance="b"} 5x200
			guard_queue_length{service="cart",instance="a"} 2x200
			guard_queue_length{service="cart",instance="b"} 0x200
			guard_workers{service="cart",instance="a"} 10x200
			guard_workers{service="cart",instance="b"} 10x200
			guard_work_seconds_total{service="cart",instance="a"} 0+30x200
			guard_work_seconds_total{service="cart",instance="b"} 0+30x200
			guard_in_flight{service="hung"} 8x200
			guard_workers{service="hung"} 8x200
			guard_work_seconds_total{service="hung"} 100x200
			guard_in_flight{service="unbounded"} 8x200
			guard_workers{service="unbounded"} 0x200
			guard_work_seconds_total{service="unbounded"} 0+10x200
			guard_client_attempts_total{service="web",callee="cart",attempt="first",outcome="ok"} 0+60x200
			guard_client_attempts_total{service="web",callee="cart",attempt="retry",outcome="timeout"} 0+20x200
			guard_client_attempts_total{service="web",callee="cart",attempt="first",outcome="breaker_open"} 0+20x200
			guard_client_request_duration_seconds_sum{service="web",callee="cart"} 0+16x200
			guard_client_request_duration_seconds_count{service="web",callee="cart"} 0+80x200
			guard_client_attempts_total{service="web",callee="calm",attempt="first",outcome="breaker_open"} 0+20x200`,
		want: map[string]float64{
			"traffic:cart": 20, "errors:cart": 0.4, "latency:cart": 0.1, "latency_p99:cart": 0.099, "queue:cart": 11, "pool:cart": 0.6,
			"retries:cart": 6, "timeouts:cart": 4, "replicas:cart": 2, "goodput:cart": 12, "shed:cart": 4,
			"retries:calm": 0, "errors:calm": 0, "shed:calm": 0, "pool:hung": 1, "pool:unbounded": math.NaN(),
			"edge_traffic:web>cart": 16, "edge_retries:web>cart": 4, "edge_errors:web>cart": 0.4, "edge_latency:web>cart": 0.2,
			"edge_timeouts:web>cart": 4, "edge_traffic:web>calm": 0, "edge_errors:web>calm": 1, "edge_timeouts:web>calm": 0,
		},
	},
}

func TestPresetsGiveTheRightValuesUnitsAndLabels(t *testing.T) {
	covered := map[string]bool{}
	for _, tc := range presetData {
		t.Run(tc.preset, func(t *testing.T) {
			server := serveEngine(t, tc.load)
			cfg := DefaultConfig()
			cfg.Prometheus.URL = server.URL
			cfg.Signals.Preset = tc.preset
			s := newSource(t, cfg)
			snap := observe(t, s, time.Unix(600, 0).UTC())
			if len(snap.Health.Failed) > 0 || !snap.Health.Up {
				t.Fatalf("health: %+v", snap.Health)
			}
			got := map[string]float64{}
			for key := range tc.want {
				covered[tc.preset+"/"+strings.SplitN(key, ":", 2)[0]] = true
				got[key] = presetValue(t, snap, key)
			}
			near := cmp.Comparer(func(a, b float64) bool {
				return math.IsNaN(a) && math.IsNaN(b) || math.Abs(a-b) <= 1e-9*math.Max(math.Abs(a), 1)
			})
			if diff := cmp.Diff(tc.want, got, near); diff != "" {
				t.Errorf("readings (-want +got):\n%s", diff)
			}
		})
	}
	for name, p := range presets {
		for column := range p.queries {
			if !covered[name+"/"+column] {
				t.Errorf("no expected value proves %s/%s", name, column)
			}
		}
	}
}

// presetValue reads one expected cell; absent is NaN.
func presetValue(t *testing.T, snap *sre.Snapshot, key string) float64 {
	signal, subject, _ := strings.Cut(key, ":")
	var r sre.Reading
	if from, to, edge := strings.Cut(subject, ">"); edge {
		r = edgeReading(t, snap, signal, from, to)
	} else if _, known := snap.Graph.Index(subject); known {
		r = reading(t, snap, signal, subject)
	}
	if r.State == sre.Absent {
		return math.NaN()
	}
	return r.Value
}

func TestPresetsPutTheReadersFirstChoiceFirst(t *testing.T) {
	cfg := configFor("http://unused:1")
	cfg.Signals.Presets = []string{"haproxy", "guard"}
	s := newSource(t, cfg)
	snap := &sre.Snapshot{Signals: s.service.signals(), EdgeSignals: s.edge.signals()}
	for _, tc := range []struct {
		kind sre.SignalKind
		unit sre.Unit
		want string
	}{{sre.Traffic, sre.PerSecond, "traffic"}, {sre.Latency, sre.Seconds, "latency"}, {sre.Errors, sre.Ratio, "errors"}} {
		row, ok := snap.Signal(tc.kind, tc.unit)
		if !ok || snap.Signals[row].Name != tc.want {
			t.Errorf("first %s in %s is %+v", tc.kind, tc.unit, snap.Signals[row])
		}
	}
	var names []string
	for _, sig := range snap.Signals {
		names = append(names, sig.Name)
	}
	slices.Sort(names)
	if len(slices.Compact(slices.Clone(names))) != len(names) {
		t.Errorf("two presets made two columns of one name: %v", names)
	}
}

func TestPresetsShareAColumn(t *testing.T) {
	f := newFleet(t)
	cfg := configFor(f.URL)
	cfg.Signals.Presets = []string{"guard", "haproxy"}
	for _, q := range cfg.Signals.Queries() {
		switch {
		case q.Name == "traffic" && q.ServiceLabel == "service":
			f.set(q.Query, model.Vector{point(1, "service", "cart"), point(math.NaN(), "service", "idle")})
		case q.Name == "traffic":
			f.set(q.Query, model.Vector{point(2, "proxy", "cart"), point(3, "proxy", "front"), point(4, "proxy", "idle")})
		}
	}
	snap := observe(t, newSource(t, cfg), t0)
	for service, want := range map[string]float64{"cart": 1, "front": 3, "idle": 4} {
		if got := reading(t, snap, "traffic", service); got.Value != want || !got.OK() {
			t.Errorf("%s: %+v, want %v", service, got, want)
		}
	}
}

func TestWindow(t *testing.T) {
	for _, tc := range []struct {
		preset string
		window time.Duration
		want   string
	}{{"red", 0, "[1m]"}, {"guard", 0, "[15s]"}, {"guard", 90 * time.Second, "[1m30s]"}} {
		q := SignalsConfig{Preset: tc.preset, Window: model.Duration(tc.window)}.Queries()[0]
		if !strings.Contains(q.Query, tc.want) {
			t.Errorf("%s with window %s: %s", tc.preset, tc.window, q.Query)
		}
	}
}

// serveEngine is a Prometheus API over the real query engine.
func serveEngine(t *testing.T, load string) *httptest.Server {
	t.Helper()
	storage := promqltest.LoadedStorage(t, load)
	t.Cleanup(func() { _ = storage.Close() })
	engine := promqltest.NewTestEngineWithOpts(t, promql.EngineOpts{MaxSamples: 1e6, Timeout: time.Minute, LookbackDelta: 5 * time.Minute})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		q, err := engine.NewInstantQuery(context.Background(), storage, nil, r.FormValue("query"), parseTime(r.FormValue("time")))
		if err != nil {
			http.Error(w, `{"status":"error","errorType":"bad_data","error":"`+err.Error()+`"}`, http.StatusBadRequest)
			return
		}
		defer q.Close()
		result := q.Exec(context.Background())
		vector, err := result.Vector()
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		out := model.Vector{}
		for _, s := range vector {
			m := model.Metric{}
			for name, value := range s.Metric.Map() {
				m[model.LabelName(name)] = model.LabelValue(value)
			}
			out = append(out, &model.Sample{Metric: m, Value: model.SampleValue(s.F)})
		}
		respond(w, "vector", out)
	}))
	t.Cleanup(server.Close)
	return server
}
