package remediators

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/goleak"
	"go.yaml.in/yaml/v3"

	"github.com/sreagent/sreagent/plugins"
	"github.com/sreagent/sreagent/plugins/conformance"
	"github.com/sreagent/sreagent/plugins/sdk"
	"github.com/sreagent/sreagent/sre"
)

// serveLever makes this binary a plugin: serve-lever FILE serves the one lever
// of a configuration.
const serveLever = "serve-lever"

func TestMain(m *testing.M) {
	if len(os.Args) == 3 && os.Args[1] == serveLever {
		if err := serveOne(os.Args[2]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	goleak.VerifyTestMain(m)
}

func serveOne(file string) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	cfg := DefaultConfig()
	if err := yaml.Unmarshal(text, &cfg); err != nil {
		return err
	}
	levers, err := New(cfg, Options{Now: testTime})
	if err != nil {
		return err
	}
	sdk.Serve(levers[0])
	return nil
}

// The kit holds over the plugins' protocol for every lever, so nothing that it
// asks for is lost on the wire.
func TestConformanceOverGRPC(t *testing.T) {
	if testing.Short() {
		t.Skip("the same cases as TestConformance, which is not skipped")
	}
	for name, newSubject := range subjects() {
		t.Run(name, func(t *testing.T) {
			kit := func(t *testing.T) conformance.Subject { return newSubject(t).kit() }
			conformance.Run(t, conformance.Wrapped(kit, func(t *testing.T, l sre.Remediator) sre.Remediator {
				remote, stop, err := sdk.InProcess(l)
				must(t, err)
				t.Cleanup(stop)
				return remote
			}))
		})
	}
}

// remote are the levers that are run in a process of their own: one of each kind
// that can be made of a configuration alone.
var remote = []string{"guard/fake", "haproxy/admit", "haproxy/drain", "webhook/probe", "webhook/ledger", "exec/probe", "exec/ledger", "flags/flagd", "flags/goff_yaml"}

// The kit holds for levers in other processes, started by the host that the
// daemon uses. Their clock stands still and the files of flags are theirs, so
// the cases that move the one or damage the other are skipped by name.
func TestConformanceAsProcess(t *testing.T) {
	if testing.Short() {
		t.Skip("starts a process for each case")
	}
	binary, err := os.Executable()
	must(t, err)
	sum, err := plugins.Digest(binary)
	must(t, err)
	all := subjects()
	for _, name := range remote {
		t.Run(name, func(t *testing.T) {
			conformance.Run(t, func(t *testing.T) conformance.Subject {
				s := all[name](t)
				start := func() sre.Remediator { return startProcess(t, binary, sum, *s.config) }
				k := s.kit()
				k.Lever, k.Restart, k.Advance, k.Manual = start(), start, nil, nil
				if strings.HasPrefix(name, "flags/") {
					k.Writes, k.Cut, k.Stall, k.Mend = nil, nil, nil, nil
				}
				return k
			})
		})
	}
}

func startProcess(t *testing.T, binary, sum string, cfg Config) sre.Remediator {
	t.Helper()
	text, err := yaml.Marshal(cfg)
	must(t, err)
	file := filepath.Join(t.TempDir(), "lever.yaml")
	must(t, os.WriteFile(file, text, 0o600))
	levers, err := New(cfg, Options{Now: testTime})
	must(t, err)
	host, err := plugins.New(plugins.Configs{{
		Name: nameOf(levers[0]), Path: binary, SHA256: sum, Args: []string{serveLever, file},
	}}, plugins.Options{})
	must(t, err)
	must(t, host.Start(t.Context()))
	t.Cleanup(host.Close)
	p := host.Plugins()[0]
	must(t, p.Err())
	return p
}
