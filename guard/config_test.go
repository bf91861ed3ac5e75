package guard

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
)

func TestValidateTellsEveryFault(t *testing.T) {
	zero := BreakerConfig{}
	cfg := Config{
		Workers: -1, Queue: -1, Timeout: -1, Token: "a", TokenFile: "b", Return: ReturnConfig{Steps: 101},
		Upstreams: map[string]Upstream{
			"stock":  {Timeout: -1, Retries: 21, Backoff: -1, RetryBudget: -1, Breaker: &zero},
			"ledger": {Retries: 3},
		},
	}
	want := []string{
		"service", "workers", "queue", "timeout", "token_file", "return.steps", "return.every", "upstreams.ledger.retry_budget",
		"upstreams.stock.timeout", "upstreams.stock.retries", "upstreams.stock.backoff", "upstreams.stock.breaker.failure_ratio",
		"upstreams.stock.breaker.min_requests", "upstreams.stock.breaker.open", "upstreams.stock.breaker.window", "upstreams.stock.breaker.probes",
	}
	var got []string
	for line := range strings.Lines(cfg.Validate().Error()) {
		path, rest, _ := strings.Cut(line, ":")
		got = append(got, path)
		if !strings.Contains(rest, "allowed") {
			t.Errorf("%q does not say what is allowed", line)
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("faults (-want +got):\n%s", diff)
	}
	if _, err := New(cfg); err == nil {
		t.Error("New takes what Validate refuses")
	}
	good := DefaultConfig()
	good.Service = "checkout"
	b := DefaultBreaker()
	good.Upstreams = map[string]Upstream{"ledger": DefaultUpstream(), "stock": {Breaker: &b}}
	if err := good.Validate(); err != nil {
		t.Errorf("the defaults are refused: %v", err)
	}
}

func TestTokenFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "token")
	cfg := DefaultConfig()
	cfg.Service, cfg.TokenFile = "checkout", path
	if _, err := New(cfg); err == nil {
		t.Error("a missing token file is taken for no token")
	}
	for content, want := range map[string]string{"": "", " \n": "", "secret\n": "secret"} {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		g, err := New(cfg)
		if (err == nil) != (want != "") {
			t.Fatalf("%q: %v", content, err)
		}
		if err == nil && *g.token.Load() != want {
			t.Errorf("token is %q, want %q", *g.token.Load(), want)
		}
	}
}

func TestEpochSurvivesARestart(t *testing.T) {
	cfg := shopConfig()
	cfg.StateFile = filepath.Join(t.TempDir(), "epoch.json")
	g, _ := clockedGuard(t, cfg)
	d := directive("a", KindShed, Params{"rps": 1})
	d.Epoch = 9
	mustPut(t, g, d)
	g.Close()
	again, _ := clockedGuard(t, cfg)
	if again.state().Epoch != 9 || testutil.ToFloat64(again.metrics.epoch) != 9 {
		t.Fatalf("epoch is %d after a restart", again.state().Epoch)
	}
	d.Epoch = 8
	if got := reasonOf(again.ledger.put(d)); got != "stale_epoch" {
		t.Errorf("a superseded writer after a restart: %q", got)
	}
	left, err := filepath.Glob(filepath.Join(filepath.Dir(cfg.StateFile), "*"))
	if err != nil || len(left) != 1 {
		t.Errorf("files left: %v, %v", left, err)
	}
}

func TestNothingHappensInAnEpochThatIsNotStored(t *testing.T) {
	cfg := shopConfig()
	dir := filepath.Join(t.TempDir(), "state")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	cfg.StateFile = filepath.Join(dir, "epoch.json")
	g, clock := clockedGuard(t, cfg)
	before := g.state()
	if err := os.Remove(dir); err != nil {
		t.Fatal(err)
	}
	if got := reasonOf(g.ledger.put(directive("a", KindShed, Params{"rps": 1}))); got != "storage" {
		t.Errorf("refused as %q, want storage", got)
	}
	if diff := cmp.Diff(before, g.state()); diff != "" || clock.pending() != 0 {
		t.Errorf("%d timers, state changed: %s", clock.pending(), diff)
	}
}

func TestUnreadableStateIsAnError(t *testing.T) {
	cfg := shopConfig()
	cfg.StateFile = filepath.Join(t.TempDir(), "epoch.json")
	for _, content := range []string{"", "{", "null", `{"epoch":-1}`, `{"epoch":"9"}`} {
		if err := os.WriteFile(cfg.StateFile, []byte(content), fs.FileMode(0o600)); err != nil {
			t.Fatal(err)
		}
		if _, err := New(cfg); err == nil {
			t.Errorf("state %q was taken", content)
		}
	}
}

func TestMetricsAreWellFormed(t *testing.T) {
	reg := prometheus.NewPedanticRegistry()
	cfg := shopConfig()
	g := newTestGuard(t, cfg, WithRegisterer(reg), WithClock(newFakeClock()))
	other := shopConfig()
	other.Service = "cart"
	newTestGuard(t, other, WithRegisterer(reg)) // a second guard in the same process
	mustPut(t, g, directive("a", KindShed, Params{"rps": 7}))
	d := directive("b", KindKillSwitch, Params{"percent": 25})
	d.Name = "wishlist"
	mustPut(t, g, d)
	problems, err := testutil.GatherAndLint(reg)
	if err != nil || len(problems) > 0 {
		t.Errorf("lint: %v, %v", problems, err)
	}
	want := `# HELP guard_directive_epoch Highest accepted epoch.
# TYPE guard_directive_epoch gauge
guard_directive_epoch{service="cart"} 0
guard_directive_epoch{service="checkout"} 1
# HELP guard_setting Value in force; absent where there is no limit. For a kill switch callee is the feature.
# TYPE guard_setting gauge
guard_setting{callee="",kind="queue_bound",service="cart"} 10000
guard_setting{callee="",kind="queue_bound",service="checkout"} 10000
guard_setting{callee="",kind="shed",service="checkout"} 7
guard_setting{callee="ledger",kind="timeout",service="cart"} 1
guard_setting{callee="ledger",kind="timeout",service="checkout"} 1
guard_setting{callee="stock",kind="retry_budget",service="cart"} 0.5
guard_setting{callee="stock",kind="retry_budget",service="checkout"} 0.5
guard_setting{callee="wishlist",kind="kill_switch",service="checkout"} 25
`
	if err := testutil.GatherAndCompare(reg, strings.NewReader(want), "guard_directive_epoch", "guard_setting"); err != nil {
		t.Error(err)
	}
	if err := g.ledger.remove("a", 1, 2, true); err != nil {
		t.Fatal(err)
	}
	if err := g.ledger.remove("b", 1, 2, true); err != nil {
		t.Fatal(err)
	}
	if n := testutil.CollectAndCount(g.metrics.setting); n != 3 {
		t.Errorf("%d settings are exported after the directives have gone, want 3", n)
	}
}
