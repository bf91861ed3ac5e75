package sources

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/common/model"
	"go.yaml.in/yaml/v3"

	"github.com/sreagent/sreagent/sre"
)

func decode(t *testing.T, text string) Config {
	t.Helper()
	cfg := DefaultConfig()
	dec := yaml.NewDecoder(strings.NewReader(text))
	dec.KnownFields(true)
	if err := dec.Decode(&cfg); err != nil {
		t.Fatal(err)
	}
	return cfg
}

func TestTwoLinesAreEnough(t *testing.T) {
	cfg := decode(t, "prometheus: {url: http://127.0.0.1:9090}\nsignals: {preset: red}\n")
	if faults := cfg.Validate(); len(faults) > 0 {
		t.Fatal(faults)
	}
	p := cfg.Prometheus
	if time.Duration(p.Timeout) != 5*time.Second || p.Concurrency != 4 || p.MaxQueriesPerTick != 50 || time.Duration(p.WarmUp) != time.Hour ||
		!p.HTTP.FollowRedirects || !cfg.Topology.FromMetrics || cfg.Topology.MaxServices != 20_000 || !cfg.Changes.API {
		t.Errorf("defaults were lost: %+v", cfg)
	}
}

func TestFullConfiguration(t *testing.T) {
	cfg := decode(t, `
prometheus:
  url: https://prometheus.example:9090/prefix
  http_config:
    authorization: {credentials_file: token}
    http_headers: {X-Scope-OrgID: {values: [shop]}}
    tls_config: {ca_file: ca.pem}
  timeout: 2s
  concurrency: 8
  max_queries_per_tick: 20
  lookback: 1m
  warm_up: 30m
  warm_up_step: 30s
signals:
  presets: [guard, haproxy]
  window: 30s
  overrides: {service_label: app, selector: 'namespace="shop"'}
  custom:
    - {name: cpu, kind: saturation, unit: ratio, query: "avg by (app) (cpu)", service_label: app}
    - {name: link, kind: latency, unit: seconds, query: q, client_label: src, server_label: dst}
topology:
  file: topology.yaml
  from_metrics: false
  jaeger: {url: http://jaeger:16686, lookback: 2h, interval: 5m}
  max_services: 100
  forget_after: 1d
changes:
  api: false
  version_labels: [{query: build_info, service_label: service, version_label: version}]
`)
	if faults := cfg.Validate(); len(faults) > 0 {
		t.Fatal(faults)
	}
	cfg.SetDirectory("/etc/sreagent")
	if cfg.Topology.File != "/etc/sreagent/topology.yaml" || cfg.Prometheus.HTTP.Authorization.CredentialsFile != "/etc/sreagent/token" {
		t.Errorf("relative names: %s, %s", cfg.Topology.File, cfg.Prometheus.HTTP.Authorization.CredentialsFile)
	}
	if cfg.Prometheus.HTTP.HTTPHeaders == nil || !cfg.Prometheus.HTTP.FollowRedirects {
		t.Error("http_config was not read in full")
	}
}

func TestSecretsAreNotWritten(t *testing.T) {
	cfg := decode(t, "prometheus: {url: http://x, http_config: {basic_auth: {username: u, password: hunter2}}}\nsignals: {preset: red}")
	text, err := yaml.Marshal(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if printed := fmt.Sprintf("%+v", cfg.Prometheus.HTTP); strings.Contains(string(text)+printed, "hunter2") {
		t.Errorf("the password is in\n%s\n%s", text, printed)
	}
	if !strings.Contains(string(text), "username: u") {
		t.Errorf("the section was not written:\n%s", text)
	}
}

func TestFaults(t *testing.T) {
	for _, tc := range []struct {
		name string
		edit func(*Config)
		want string
	}{
		{"no URL", func(c *Config) { c.Prometheus.URL = "" }, "prometheus.url: is missing"},
		{"scheme", func(c *Config) { c.Prometheus.URL = "ftp://x" }, "prometheus.url: is not an HTTP URL"},
		{"password in URL", func(c *Config) { c.Prometheus.URL = "http://u:hunter2@x" }, "prometheus.url: carries a user name"},
		{"broken URL", func(c *Config) { c.Prometheus.URL = "http://u:hunter2@x y" }, "prometheus.url: is not a URL"},
		{"two logins", func(c *Config) {
			c.Prometheus.HTTP.BearerToken, c.Prometheus.HTTP.BearerTokenFile = "a", "b"
		}, "prometheus.http_config: at most one of"},
		{"timeout", func(c *Config) { c.Prometheus.Timeout = 0 }, "prometheus.timeout: is 0s"},
		{"concurrency", func(c *Config) { c.Prometheus.Concurrency = 0 }, "prometheus.concurrency: is 0; allowed: 1 to 64"},
		{"budget", func(c *Config) { c.Prometheus.MaxQueriesPerTick = -1 }, "prometheus.max_queries_per_tick: is -1"},
		{"no signal", func(c *Config) { c.Signals = SignalsConfig{} }, "signals: names no signal"},
		{"preset", func(c *Config) { c.Signals.Preset = "nagios" }, `signals.preset: "nagios" is no preset; allowed: envoy, guard, haproxy, istio, otel-servicegraph, red`},
		{"presets", func(c *Config) { c.Signals.Presets = []string{"red", "x"} }, `signals.presets[1]: "x" is no preset`},
		{"preset twice", func(c *Config) { c.Signals.Presets = []string{"red", "red"} }, `signals.presets[1]: "red" stands twice`},
		{"both", func(c *Config) { c.Signals.Preset, c.Signals.Presets = "red", []string{"red"} }, "signals.presets: stands beside preset"},
		{"selector", func(c *Config) { c.Signals.Overrides.Selector = `{a="b"}` }, "signals.overrides.selector: has braces"},
		{"override", func(c *Config) { c.Signals.Overrides.ServiceLabel = "a-b" }, `signals.overrides.service_label: is "a-b"`},
		{"window", func(c *Config) { c.Signals.Window = -1 }, "signals.window: is negative"},
		{"name", func(c *Config) { c.Signals.Custom[0].Name = "a b" }, `signals.custom[0].name: is "a b"`},
		{"name twice", func(c *Config) { c.Signals.Custom = append(c.Signals.Custom, c.Signals.Custom[0]) }, `signals.custom[1].name: "rps" stands twice`},
		{"kind", func(c *Config) { c.Signals.Custom[0].Kind = "mood" }, `signals.custom[0].kind: is "mood"; allowed: traffic, errors`},
		{"unit", func(c *Config) { c.Signals.Custom[0].Unit = "" }, `signals.custom[0].unit: is ""; allowed: requests_per_second`},
		{"query", func(c *Config) { c.Signals.Custom[0].Query = "" }, "signals.custom[0].query: is missing"},
		{"half an edge", func(c *Config) { c.Signals.Custom[0].ClientLabel = "client" }, "signals.custom[0]: has only one of"},
		{"edge and service", func(c *Config) {
			q := edgeSignal("e")
			q.ServiceLabel = "service"
			c.Signals.Custom[0] = q
		}, "signals.custom[0].service_label: stands beside"},
		{"edge to itself", func(c *Config) {
			q := edgeSignal("e")
			q.ServerLabel = q.ClientLabel
			c.Signals.Custom[0] = q
		}, "signals.custom[0].server_label: is the same"},
		{"jaeger", func(c *Config) { c.Topology.Jaeger.URL = "jaeger:16686" }, "topology.jaeger.url: is not"},
		{"jaeger interval", func(c *Config) {
			c.Topology.Jaeger.URL, c.Topology.Jaeger.Interval = "http://jaeger", 0
		}, "topology.jaeger.interval: is 0s"},
		{"services", func(c *Config) { c.Topology.MaxServices = 0 }, "topology.max_services: is 0"},
		{"forget", func(c *Config) { c.Topology.ForgetAfter = 0 }, "topology.forget_after: is 0s"},
		{"version query", func(c *Config) {
			c.Changes.VersionLabels = []VersionLabel{{ServiceLabel: "a", VersionLabel: "b"}}
		}, "changes.version_labels[0].query: is missing"},
		{"version label", func(c *Config) {
			c.Changes.VersionLabels = []VersionLabel{{Query: "q", ServiceLabel: "a"}}
		}, `changes.version_labels[0].version_label: is ""`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			cfg := configFor("http://127.0.0.1:9090", serviceSignal("rps"))
			if faults := cfg.Validate(); len(faults) > 0 {
				t.Fatal(faults)
			}
			tc.edit(&cfg)
			got := cfg.Validate()
			if len(got) != 1 || !strings.HasPrefix(got[0].String(), tc.want) {
				t.Errorf("got %q, want one fault %q", got, tc.want)
			}
			if strings.Contains(got.Error(), "hunter2") {
				t.Error("a secret is in the message")
			}
			if _, err := New(cfg, Options{}); err == nil {
				t.Error("New took it")
			}
		})
	}
}

func TestAllFaultsAtOnce(t *testing.T) {
	if n := len(Config{}.Validate()); n < 6 {
		t.Errorf("an empty configuration has %d faults", n)
	}
}

func TestCustomSignalReplacesThePresets(t *testing.T) {
	cfg := SignalsConfig{Preset: "red", Custom: []SignalQuery{{Name: "traffic", Kind: sre.Traffic, Unit: sre.PerSecond, Query: "mine"}}}
	var queries []string
	for _, q := range cfg.Queries() {
		if q.Name == "traffic" {
			queries = append(queries, q.Query+" by "+q.ServiceLabel)
		}
	}
	if diff := cmp.Diff([]string{"mine by service"}, queries); diff != "" {
		t.Error(diff)
	}
}

func TestTopologyFaultsSayWhere(t *testing.T) {
	for _, tc := range []struct {
		name, text, want string
	}{
		{"empty", "", "t.yaml: is empty"},
		{"syntax", "edges: [\n", "t.yaml:1:8: sequence end token ']' not found"},
		{"unknown key", "edges:\n  - {from: a, to: b, colour: red}\n", `t.yaml:2:22: unknown field "colour"`},
		{"type", "edges:\n  - {from: a, to: b, retries: many}\n", "t.yaml:2:31: cannot unmarshal"},
		{"two documents", "entries: [a]\n---\nentries: [b]\n", "t.yaml: holds more than one document; allowed: one"},
		{"no callee", "edges:\n  - from: a\n    hard: true\n", "t.yaml:2:5: edges[0].to is missing; allowed: a service name"},
		{"itself", "edges:\n  - from: a\n    to: a\n", "t.yaml:3:9: edges[0].to is the caller itself; allowed: another service"},
		{"timeout", "edges: [{from: a, to: b, timeout: soon}]\n", `t.yaml:1:35: edges[0].timeout is "soon"; allowed: a duration above 0, such as 250ms`},
		{"retries", "edges: [{from: a, to: b, retries: -1}]\n", "t.yaml:1:35: edges[0].retries is -1; allowed: 0 to 100"},
		{"calls", "edges: [{from: a, to: b, calls_per_request: .nan}]\n", "t.yaml:1:45: edges[0].calls_per_request is NaN; allowed: 0 to 1000000"},
		{"times", "edges:\n  - {from: a, to: b, valid_from: 2026-01-02T00:00:00Z, valid_to: 2026-01-01T00:00:00Z}\n",
			"t.yaml:2:66: edges[0].valid_to is not after valid_from; allowed: a later time"},
		{"twice", "edges:\n  - {from: a, to: b}\n  - {from: b, to: c}\n  - {from: a, to: b}\n",
			"t.yaml:4:5: edges[2] repeats edges[0]; allowed: each pair once, or at times that do not overlap"},
		{"entry", "entries: [a, '']\n", "t.yaml:1:14: entries[1] is empty; allowed: a service name"},
		{"weight", "priorities:\n  good: 1\n  a.b: 0\n", "t.yaml:3:8: priorities.a.b is 0; allowed: a service and a weight above 0, at most 1000000"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			top, err := ParseTopology("t.yaml", []byte(tc.text))
			if err == nil {
				t.Fatalf("accepted: %+v", top)
			}
			if !strings.HasPrefix(err.Error(), tc.want) {
				t.Errorf("got  %s\nwant %s", err, tc.want)
			}
		})
	}
}

func TestAllFaultsOfAFileAtOnce(t *testing.T) {
	_, err := ParseTopology("t.yaml", []byte("edges:\n  - {from: a}\n  - {to: b}\nentries: ['']\n"))
	if lines := strings.Split(err.Error(), "\n"); len(lines) != 3 {
		t.Errorf("%d faults:\n%s", len(lines), err)
	}
}

func TestSignalsFaultsSayWhere(t *testing.T) {
	_, err := ParseSignals([]byte("signals:\n  - name: a\n    kind: mood\n    query: q\n    unit: seconds\n"))
	want := "signals.yaml:3:11: signals[0].kind is \"mood\"; allowed: traffic, errors, latency, saturation, retries, queue, pool, cache, timeouts, replicas"
	if err == nil || err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
	if _, err := ParseSignals([]byte("signals: []\n")); err == nil || !strings.HasPrefix(err.Error(), "signals.yaml:1:10: signals names no signal") {
		t.Errorf("empty list: %v", err)
	}
}

func TestSignalsRoundTrip(t *testing.T) {
	for _, name := range PresetNames() {
		want := SignalsConfig{Preset: name, Window: model.Duration(time.Minute)}.Queries()
		text, err := FormatSignals(want)
		if err != nil {
			t.Fatal(err)
		}
		got, err := ParseSignals(text)
		if err != nil {
			t.Fatalf("%v\n%s", err, text)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s:\n%s", name, diff)
		}
	}
}

func TestNewWithABadTopologyFile(t *testing.T) {
	cfg := configFor("http://127.0.0.1:9090", serviceSignal("rps"))
	cfg.Topology.File = writeFile(t, "shop.yaml", "edges: 7\n")
	if _, err := New(cfg, Options{}); err == nil || !strings.HasPrefix(err.Error(), "shop.yaml:1:") {
		t.Errorf("got %v", err)
	}
	cfg.Topology.File = filepath.Join(t.TempDir(), "missing.yaml")
	if _, err := New(cfg, Options{}); err == nil || !strings.HasPrefix(err.Error(), "read topology: ") {
		t.Errorf("got %v", err)
	}
}

// TestRecordedIncidents reads the files of real recordings, where they are.
func TestRecordedIncidents(t *testing.T) {
	bundles, _ := filepath.Glob(filepath.Join(corpus(), "*", "signals.yaml"))
	if len(bundles) == 0 {
		t.Skip("no recorded incidents at SREAGENT_CORPUS")
	}
	for _, path := range bundles {
		content, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := ParseSignals(content); err != nil {
			t.Errorf("%s: %v", path, err)
		}
		if _, err := LoadTopology(filepath.Join(filepath.Dir(path), "topology.yaml")); err != nil {
			t.Errorf("%s: %v", filepath.Dir(path), err)
		}
	}
}

func corpus() string { return filepath.Join(os.Getenv("SREAGENT_CORPUS"), "bundles") }

func FuzzTopology(f *testing.F) {
	for _, seed := range []string{
		"edges:\n  - {from: web, to: cart, timeout: 250ms, retries: 2, hard: true, calls_per_request: 1.5}\nentries: [web]\npriorities: {web: 10}\n",
		"edges: [{from: a, to: b, valid_from: 2026-01-01T00:00:00Z}]", "edges: [", "", "a: &x [*x]", "- a", "edges:\n- from: a\n  to: a\n",
		"priorities: {a.b: 0, a: -1}", "entries: ['']", "edges: {}", "---\n---\n", "!!binary x", "edges: [{? a : b}]",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, content []byte) {
		top, err := ParseTopology("f", content)
		if (top == nil) == (err == nil) {
			t.Fatalf("%v, %v", top, err)
		}
		if err != nil {
			if !strings.HasPrefix(err.Error(), "f:") {
				t.Fatalf("no place in %q", err)
			}
			return
		}
		g := newGrowth(100, 0, top)
		for _, at := range []time.Time{{}, t0, t0.AddDate(100, 0, 0)} {
			g.add(g.file.at(at, nil, nil))
			for _, e := range g.graph(at).Edges {
				if e.From == e.To || e.Spec.Timeout < 0 || e.Spec.CallsPerRequest < 0 {
					t.Fatalf("edge %+v from an accepted file", e)
				}
			}
		}
	})
}

func FuzzSignals(f *testing.F) {
	for _, seed := range []string{
		"signals:\n  - name: traffic\n    kind: traffic\n    query: sum by (service) (x)\n    unit: requests_per_second\n",
		"signals:\n  - {name: e, kind: latency, query: q, unit: seconds, client_label: a, server_label: b}\n",
		"signals: []", "signals: [1]", "signals:\n  - name: a\n  - name: a\n", "signals: &a\n- *a\n", "\xff",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, content []byte) {
		queries, err := ParseSignals(content)
		if err != nil {
			if !strings.HasPrefix(err.Error(), "signals.yaml:") {
				t.Fatalf("no place in %q", err)
			}
			return
		}
		text, err := FormatSignals(queries)
		if err != nil {
			t.Fatal(err)
		}
		again, err := ParseSignals(text)
		if diff := cmp.Diff(queries, again); err != nil || diff != "" {
			t.Fatalf("round trip: %v\n%s\n%s", err, diff, text)
		}
	})
}

func FuzzDependencies(f *testing.F) {
	f.Add([]byte(`{"data":[{"parent":"a","child":"b","callCount":1}],"total":0,"limit":0,"offset":0,"errors":null}`))
	f.Add([]byte(`{"dependencies":[{"parent":"a","child":"b","callCount":"18446744073709551615"}]}`))
	f.Add([]byte(`{"errors":[{"msg":"x"}]}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		edges, err := parseDependencies(body, t0)
		for i, e := range edges {
			if err != nil || e.from == "" || e.to == "" || e.from == e.to || i > 0 && edges[i-1].compare(e) >= 0 {
				t.Fatalf("edges %v, %v", edges, err)
			}
		}
	})
}
