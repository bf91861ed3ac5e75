package remediators

import (
	"context"
	"errors"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	promconfig "github.com/prometheus/common/config"

	"github.com/sreagent/sreagent/sre"
)

const goodConfig = `
state_dir: /var/lib/sreagent/levers
guard:
  targets:
    - {service: shop, url: "http://127.0.0.1:9901"}
  url_template: "http://{service}:9901"
  token_file: /etc/sreagent/guard.token
  timeout: 500ms
haproxy:
  - name: edge
    socket: unix:/run/haproxy/admin.sock
    timeout: 2s
    admit_map: /etc/haproxy/admit.map
    backends:
      shop: {backend: be_shop, servers: [s1, s2]}
      bank: {backend: be_bank}
  - name: canary
    socket: tcp:10.0.0.7:9999
    backends:
      shop: {backend: be_shop}
`

func parseConfig(t *testing.T, text string) Config {
	t.Helper()
	cfg := DefaultConfig()
	must(t, yaml.NewDecoder(strings.NewReader(text), yaml.Strict()).Decode(&cfg))
	return cfg
}

func TestConfigFromYAML(t *testing.T) {
	cfg := parseConfig(t, goodConfig)
	if faults := cfg.Validate(); len(faults) > 0 {
		t.Fatal(faults)
	}
	if time.Duration(cfg.Guard.Timeout) != 500*time.Millisecond || !cfg.Guard.HTTP.EnableHTTP2 {
		t.Errorf("guard: %+v", cfg.Guard)
	}
	cfg.StateDir = t.TempDir()
	levers, err := New(cfg, Options{})
	must(t, err)
	var names []string
	for _, l := range levers {
		c, err := l.Describe(t.Context())
		must(t, err)
		names = append(names, c.Name)
	}
	if diff := cmp.Diff([]string{"canary", "edge", "guard"}, names); diff != "" {
		t.Errorf("levers:\n%s", diff)
	}
	c, err := levers[0].Describe(t.Context())
	must(t, err)
	if spec, _ := c.Kind(sre.Shed); len(spec.Params) != 1 || spec.Params[0].Name != paramMaxconn {
		t.Errorf("without an admit map, shed takes %+v", spec.Params)
	}
}

func TestSetDirectory(t *testing.T) {
	cfg := DefaultConfig()
	cfg.Guard.TokenFile = "guard.token"
	cfg.HAProxy = []HAProxyConfig{{AdmitMap: "admit.map"}}
	cfg.SetDirectory("/etc/sreagent")
	if cfg.StateDir != "/etc/sreagent/data/levers" || cfg.Guard.TokenFile != "/etc/sreagent/guard.token" || cfg.HAProxy[0].AdmitMap != "admit.map" {
		t.Errorf("relative to a folder: %+v", cfg)
	}
	cfg.SetDirectory("/elsewhere")
	if cfg.StateDir != "/etc/sreagent/data/levers" {
		t.Errorf("an absolute folder moved: %s", cfg.StateDir)
	}
}

func TestDefaultConfigHasNoLever(t *testing.T) {
	cfg := DefaultConfig()
	cfg.StateDir = "/nowhere/that/may/be/made"
	levers, err := New(cfg, Options{})
	if err != nil || len(levers) != 0 {
		t.Errorf("%v, %v; want nothing", levers, err)
	}
}

func TestConfigFaults(t *testing.T) {
	cases := map[string]struct {
		change func(*Config)
		want   []string // paths, in order
	}{
		"bad target": {func(c *Config) {
			c.Guard.Targets = append(c.Guard.Targets, GuardTarget{Service: "a/b", URL: "ftp://x"}, GuardTarget{Service: "shop", URL: "http://x?y=1"})
		}, []string{"guard.targets[1].service", "guard.targets[1].url", "guard.targets[2].service", "guard.targets[2].url"}},
		"template without service": {func(c *Config) { c.Guard.URLTemplate = "http://guard:9901" }, []string{"guard.url_template"}},
		"template with query":      {func(c *Config) { c.Guard.URLTemplate = "http://{service}:9901?x" }, []string{"guard.url_template"}},
		"no timeout":               {func(c *Config) { c.Guard.Timeout = 0 }, []string{"guard.timeout"}},
		"two credentials": {func(c *Config) {
			c.Guard.HTTP.Authorization = &promconfig.Authorization{CredentialsFile: "/x"}
		}, []string{"guard.token_file"}},
		"bad http config": {func(c *Config) {
			c.Guard.TokenFile = ""
			c.Guard.HTTP.Authorization = &promconfig.Authorization{Credentials: "x", CredentialsFile: "/x"}
		}, []string{"guard.http_config"}},
		"no state dir": {func(c *Config) { c.StateDir = "" }, []string{"state_dir"}},
		"names": {func(c *Config) {
			c.HAProxy[0].Name, c.HAProxy[1].Name = "Guard!", "guard"
		}, []string{"haproxy[0].name", "haproxy[1].name"}},
		"socket":        {func(c *Config) { c.HAProxy[0].Socket = "unix:admin.sock" }, []string{"haproxy[0].socket"}},
		"socket port":   {func(c *Config) { c.HAProxy[0].Socket = "tcp:localhost" }, []string{"haproxy[0].socket"}},
		"socket kind":   {func(c *Config) { c.HAProxy[0].Socket = "/run/admin.sock" }, []string{"haproxy[0].socket"}},
		"timeout":       {func(c *Config) { c.HAProxy[0].Timeout = -1 }, []string{"haproxy[0].timeout"}},
		"map injection": {func(c *Config) { c.HAProxy[0].AdmitMap = "/x; shutdown" }, []string{"haproxy[0].admit_map"}},
		"relative map":  {func(c *Config) { c.HAProxy[0].AdmitMap = "admit.map" }, []string{"haproxy[0].admit_map"}},
		"key":           {func(c *Config) { c.HAProxy[0].AdmitKey = "{backend} low" }, []string{"haproxy[0].admit_key"}},
		"shared key":    {func(c *Config) { c.HAProxy[0].AdmitKey = "{priority}" }, []string{"haproxy[0].admit_key"}},
		"no backends":   {func(c *Config) { c.HAProxy[1].Backends = nil }, []string{"haproxy[1].backends"}},
		"backends": {func(c *Config) {
			c.HAProxy[0].Backends = map[string]HAProxyBackend{"a": {}, "b": {Backend: "x", Servers: []string{"s 1", "b/s"}}, "c": {Backend: "x"}}
		}, []string{"haproxy[0].backends.a.backend", "haproxy[0].backends.b.servers[0]", "haproxy[0].backends.b.servers[1]", "haproxy[0].backends.c.backend"}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			cfg := parseConfig(t, goodConfig)
			c.change(&cfg)
			var got []string
			for _, f := range cfg.Validate() {
				got = append(got, f.Path)
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("faults:\n%s", diff)
			}
			_, err := New(cfg, Options{})
			var faults sre.Faults
			if !errors.As(err, &faults) {
				t.Errorf("New says %v, want the faults", err)
			}
		})
	}
}

func TestMetrics(t *testing.T) {
	w := newProxyWorld(t, "unix")
	reg := prometheus.NewRegistry()
	levers, err := New(w.cfg, Options{Registerer: reg, Now: func() time.Time { return w.now }})
	must(t, err)
	lever := levers[0]
	must(t, lever.Apply(t.Context(), w.directive(admitAction(), 5, 2, time.Minute)))
	wantCode(t, lever.Apply(t.Context(), w.directive(admitAction(), 5, 1, time.Minute)), sre.CodeRefused)
	must(t, lever.Revert(t.Context(), w.directive(admitAction(), 5, 3, time.Minute)))
	must(t, lever.(Sweeper).Sweep(t.Context(), w.now.Add(time.Hour))) // nothing to do is not counted
	want := `# HELP sreagent_lever_requests_total Requests to levers by operation and by what is known of the result.
# TYPE sreagent_lever_requests_total counter
sreagent_lever_requests_total{code="ok",lever="edge",op="apply"} 1
sreagent_lever_requests_total{code="refused",lever="edge",op="apply"} 1
sreagent_lever_requests_total{code="ok",lever="edge",op="probe"} 0
sreagent_lever_requests_total{code="ok",lever="edge",op="revert"} 1
sreagent_lever_requests_total{code="ok",lever="edge",op="sweep"} 0
`
	must(t, testutil.GatherAndCompare(reg, strings.NewReader(want), "sreagent_lever_requests_total"))
	problems, err := testutil.GatherAndLint(reg)
	if err != nil || len(problems) > 0 {
		t.Errorf("metric names: %v, %v", problems, err)
	}
}

// sweepCounter is a lever that only sweeps.
type sweepCounter struct {
	sre.Remediator
	at  []time.Time
	err error
}

func (s *sweepCounter) Sweep(_ context.Context, now time.Time) error {
	s.at = append(s.at, now)
	return s.err
}

func TestRunSweepsAtOnceAndThenOnTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		good, bad := &sweepCounter{}, &sweepCounter{err: errors.New("no")}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() {
			done <- Run(ctx, []sre.Remediator{bad, &guardLever{}, good}, 10*time.Second, time.Now)
		}()
		time.Sleep(25 * time.Second) // the bubble's clock, not the machine's
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("Run returned %v", err)
		}
		want := []time.Time{start, start.Add(10 * time.Second), start.Add(20 * time.Second)}
		if diff := cmp.Diff(want, good.at); diff != "" {
			t.Errorf("swept at:\n%s", diff)
		}
		if diff := cmp.Diff(want, bad.at); diff != "" {
			t.Errorf("a lever that cannot revert is asked again:\n%s", diff)
		}
	})
}

// What is documented is accepted.
func TestDocumentation(t *testing.T) {
	page, err := os.ReadFile("../docs/levers.md")
	must(t, err)
	_, text, _ := strings.Cut(string(page), "```yaml\nremediators:\n")
	text, _, _ = strings.Cut(text, "```")
	cfg := parseConfig(t, text)
	if faults := cfg.Validate(); len(faults) > 0 {
		t.Errorf("the documented configuration: %v", faults)
	}
	for _, section := range []string{"webhook", "exec"} {
		_, text, found := strings.Cut(string(page), "```yaml\n"+section+":\n")
		text, _, _ = strings.Cut(text, "```")
		cfg := parseConfig(t, section+":\n"+text)
		if faults := cfg.Validate(); !found || len(faults) > 0 || len(cfg.Webhook)+len(cfg.Exec) != 1 {
			t.Errorf("the documented %s: %v", section, faults)
		}
	}
	if len(cfg.HAProxy) != 1 || len(cfg.Guard.Targets) != 1 {
		t.Errorf("the documented configuration is read as %+v", cfg)
	}
}
