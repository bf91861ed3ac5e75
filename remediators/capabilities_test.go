package remediators

import (
	"context"
	"log/slog"
	"os"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// What a rehearsal is told of the levers is what the levers themselves tell.
func TestCapabilitiesAreThoseOfTheLevers(t *testing.T) {
	cfg := DefaultConfig()
	cfg.StateDir = t.TempDir()
	cfg.Guard.Targets = []GuardTarget{{Service: "cart", URL: "http://127.0.0.1:1"}, {Service: "api", URL: "http://127.0.0.1:2"}}
	for _, name := range []string{"edge", "a-proxy"} {
		cfg.HAProxy = append(cfg.HAProxy, HAProxyConfig{
			Name: name, Socket: "unix:/nowhere/haproxy.sock", AdmitMap: "/nowhere/admit.map",
			Backends: map[string]HAProxyBackend{"cart": {Backend: "be_cart"}},
		})
	}
	levers, err := New(cfg, Options{Log: slog.New(slog.DiscardHandler), Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	got, err := Capabilities(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if len(got) != len(levers) {
		t.Fatalf("%d capabilities for %d levers", len(got), len(levers))
	}
	for i, l := range levers {
		want, err := l.Describe(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got[i]); diff != "" {
			t.Errorf("lever %d (-lever +capabilities):\n%s", i, diff)
		}
	}
}

func TestCapabilitiesWithoutConfigurationAreAGuardOfAnyService(t *testing.T) {
	t.Chdir(t.TempDir())
	got, err := Capabilities(DefaultConfig())
	if err != nil || len(got) != 1 || got[0].Name != guardName || len(got[0].Targets) != 0 || len(got[0].Kinds) == 0 {
		t.Errorf("got %+v, %v", got, err)
	}
	if left, err := os.ReadDir("."); err != nil || len(left) != 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	bad := DefaultConfig()
	bad.HAProxy = []HAProxyConfig{{}}
	if _, err := Capabilities(bad); err == nil {
		t.Error("a bad configuration is taken")
	}
}
