package remediators

import (
	"os"
	"strings"
	"testing"
)

// What is documented of HAProxy is accepted, and fits the sample beside it.
func TestHAProxyDocumentation(t *testing.T) {
	page, err := os.ReadFile("../docs/haproxy.md")
	must(t, err)
	sample, err := os.ReadFile("../deploy/haproxy/haproxy.cfg")
	must(t, err)
	_, text, _ := strings.Cut(string(page), "```yaml\nremediators:\n")
	text, _, _ = strings.Cut(text, "```")
	cfg := parseConfig(t, text)
	if faults := cfg.Validate(); len(faults) > 0 || len(cfg.HAProxy) != 1 {
		t.Fatalf("the documented configuration: %v", faults)
	}
	h := cfg.HAProxy[0]
	for _, want := range []string{strings.TrimPrefix(h.Socket, "unix:"), h.AdmitMap, h.StateFile, h.Backends["checkout"].Backend} {
		if !strings.Contains(string(sample), want) {
			t.Errorf("deploy/haproxy/haproxy.cfg does not name %s", want)
		}
	}
}

func TestHAProxyConfigFaults(t *testing.T) {
	cfg := parseConfig(t, `
haproxy:
  - name: edge
    socket: unix:/run/haproxy/admin.sock
    state_file: servers.state
    backends:
      shop: {backend: be_shop, slow_start: 30s, server_rps: {s1: 0, "s 2": 5}}
`)
	b := cfg.HAProxy[0].Backends["shop"]
	b.SlowStart = -1
	cfg.HAProxy[0].Backends["shop"] = b
	text := cfg.Validate().Error()
	for _, want := range []string{"haproxy[0].state_file", "shop.server_rps.s1", "shop.server_rps.s 2", "shop.slow_start"} {
		if !strings.Contains(text, want) {
			t.Errorf("no fault names %s: %s", want, text)
		}
	}
}
