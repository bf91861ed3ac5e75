//go:build e2e

package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/sreagent/sreagent/plugins"
	"github.com/sreagent/sreagent/plugins/conformance"
	"github.com/sreagent/sreagent/plugins/kubernetes/lever"
	"github.com/sreagent/sreagent/sre"
)

// hosted starts the built binary as the daemon does, in front of a world.
func (w *world) hosted(t *testing.T, binary, sum string) *plugins.Plugin {
	t.Helper()
	return w.hostedBy(t, plugins.Config{Path: binary, SHA256: sum}, w.admin.Host, plugins.Options{})
}

// hostedBy reaches the API server at the address that is given.
func (w *world) hostedBy(t *testing.T, c plugins.Config, server string, o plugins.Options) *plugins.Plugin {
	t.Helper()
	dir := t.TempDir()
	kubeconfig := filepath.Join(dir, "kubeconfig")
	must(t, os.WriteFile(kubeconfig, fmt.Appendf(nil, `apiVersion: v1
kind: Config
clusters: [{name: c, cluster: {server: %q, insecure-skip-tls-verify: true}}]
users: [{name: u, user: {token: %s}}]
contexts: [{name: x, context: {cluster: c, user: u}}]
current-context: x
`, server, adminToken), 0o600))
	cfg := w.cfg
	cfg.Kubeconfig = kubeconfig
	text, err := yaml.Marshal(cfg)
	must(t, err)
	file := filepath.Join(dir, "kubernetes.yaml")
	must(t, os.WriteFile(file, text, 0o600))
	c.Name, c.Args = "kubernetes", []string{"--config", file}
	// None of these limits is what a case is about, and a machine may be busy.
	c.Timeout, c.StartTimeout, c.PingTimeout = patience, patience, patience
	host, err := plugins.New(plugins.Configs{c}, o)
	must(t, err)
	must(t, host.Start(t.Context()))
	t.Cleanup(host.Close)
	p := host.Plugins()[0]
	must(t, p.Err())
	return p
}

// asPlugin is the whole way: the binary as it is shipped, the host of the daemon,
// a real API server.
func (c *cluster) asPlugin(t *testing.T) {
	binary := filepath.Join(t.TempDir(), "sreagent-kubernetes")
	out, err := exec.Command("go", "build", "-o", binary, ".").CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	sum, err := plugins.Digest(binary)
	must(t, err)

	t.Run("bad image rolls back", func(t *testing.T) {
		w := c.world(t)
		w.deploy(t, "shop:1")
		w.image(t, "shop:bad")
		w.stuck(t)
		p := w.hosted(t, binary, sum)
		a := w.action("i.rollback", sre.Rollback, nil)
		must(t, p.Apply(t.Context(), at(a, 1, 1)))
		w.whole(t, "shop:1")
		st, err := p.Probe(t.Context(), a)
		must(t, err)
		if !st.InEffect || st.Owner != a.ID {
			t.Errorf("in effect: %+v", st)
		}
	})
	t.Run("killed before its write", func(t *testing.T) { c.killed(t, binary, sum, false) })
	t.Run("killed before the answer to its write", func(t *testing.T) { c.killed(t, binary, sum, true) })
	t.Run("the kit, for scale", func(t *testing.T) {
		conformance.Run(t, func(t *testing.T) conformance.Subject {
			w := c.world(t, func(cfg *lever.Config) { cfg.Actions = []sre.ActionKind{sre.Scale} })
			w.deploy(t, "shop:1")
			open := func() sre.Remediator { return w.hosted(t, binary, sum) }
			return conformance.Subject{
				Lever:  open(),
				Action: w.action("inc-1.scale", sre.Scale, sre.Params{"replicas": 5.0}),
				Other:  w.action("inc-2.scale", sre.Scale, sre.Params{"replicas": 7.0}),
				Bad: []sre.Action{
					w.action("bad.1", sre.Scale, nil), w.action("bad.2", sre.Scale, sre.Params{"replicas": -1.0}), w.action("bad.3", sre.Scale, sre.Params{"replicas": 1.5}),
				},
				InForce: func() string { return fmt.Sprint(*w.shop(t).Spec.Replicas) },
				Restart: open,
			}
		})
	})
}
