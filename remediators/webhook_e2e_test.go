//go:build e2e

package remediators

import (
	"os/exec"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sreagent/sreagent/sre"
)

// The command on a page is one that a shell takes and a receiver accepts.
func TestE2EWebhookManual(t *testing.T) {
	for _, tool := range []string{"curl", "openssl"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skip(tool + " is not installed")
		}
	}
	for _, probed := range []bool{true, false} {
		r, url := startReceiver(t)
		l := openLeased(t, hookConfig(t, url, probed), testTime)
		start := r.inForce()
		must(t, l.Apply(t.Context(), hookDirective(hookAction("a", 5), 1)))
		run(t, l.Manual(hookAction("a", 5), sre.Params{"percent": 0.0}))
		if diff := cmp.Diff(start, r.inForce()); diff != "" {
			t.Errorf("probed %t, not what it was:\n%s", probed, diff)
		}
	}
}

func TestE2EExecManual(t *testing.T) {
	p := newPool(t)
	l := openLeased(t, p.config(t, true), testTime)
	must(t, l.Apply(t.Context(), poolDirective(1)))
	run(t, l.Manual(poolAction("a", 5), sre.Params{"size": 0.0}))
	if got := p.read("size"); got != "0" {
		t.Errorf("the size is %s, want 0", got)
	}
}
