//go:build e2e

package main

import (
	"net/http"
	"os"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sreagent/sreagent/sre"
)

var placedFault = regexp.MustCompile(`sreagent\.yaml:\d+:\d+: `)

// broken is a configuration with a mistake of each sort.
const broken = "interval: 1s\nprometheus: {url: \"http://127.0.0.1:1\", wram_up: 5m}\nsignals: {preset: guard}\n"

// The daemon behaves as users of Prometheus expect of its kind.
func TestE2ETheDaemonKeepsTheConventions(t *testing.T) {
	w := &site{dir: t.TempDir()}
	w.startPrometheus(t)
	a := startAgent(t, w, agentOptions{})

	t.Run("metrics are clean", func(t *testing.T) {
		_, page := get(a.url + "/metrics")
		code, out, stderr := run(t, page, installed(t, "promtool"), "check", "metrics")
		if code != 0 || out+stderr != "" {
			t.Errorf("promtool: exit %d\n%s%s", code, out, stderr)
		}
	})
	t.Run("probes answer", func(t *testing.T) {
		for _, path := range []string{"/-/healthy", "/-/ready"} {
			if code, body := get(a.url + path); code != http.StatusOK {
				t.Errorf("%s: %d %s", path, code, body)
			}
		}
	})
	t.Run("reload needs a method and an admin", func(t *testing.T) {
		if code, _ := get(a.url + "/-/reload"); code != http.StatusMethodNotAllowed {
			t.Errorf("GET: %d", code)
		}
		for role, want := range map[sre.Role]int{
			sre.Admin: http.StatusOK, sre.Operator: http.StatusForbidden, sre.Approver: http.StatusForbidden, "": http.StatusUnauthorized,
		} {
			if code, body := post(t, a.url+"/-/reload", a.tokens[role], ""); code != want {
				t.Errorf("POST as %q: %d %s, want %d", role, code, body, want)
			}
		}
	})
	t.Run("a broken file leaves the old one in force", func(t *testing.T) { a.reloads(t) })
	t.Run("exit codes", func(t *testing.T) { a.exits(t) })
	t.Run("it stops in good order", func(t *testing.T) {
		if code := a.terminate(t, 20*time.Second); code != exitOK {
			t.Errorf("exit %d after SIGTERM", code)
		}
		records := a.records(t)
		if last := records[len(records)-1]; last.Kind != sre.RecordStop {
			t.Errorf("the trail ends with a record of %s", last.Kind)
		}
		a.verified(t)
	})
}

// reloads gives the daemon broken and good files, by signal and by HTTP.
func (a *running) reloads(t *testing.T) {
	t.Helper()
	good, err := os.ReadFile(a.path("sreagent.yaml"))
	must(t, err)
	successful := func(want string) func() bool {
		return func() bool { return a.metric(t, "sreagent_config_last_reload_successful") == want }
	}
	mode := func() sre.Stance {
		s, err := a.api(sre.Viewer).Status(t.Context())
		must(t, err)
		return s.Mode
	}
	a.write(t, "sreagent.yaml", broken)
	a.signal(t, syscall.SIGHUP)
	eventually(t, time.Minute, "a reload that failed", successful("0"))
	if !regexp.MustCompile(`sreagent\.yaml:2:\d+: `).MatchString(a.log.String()) || mode() != sre.Ask {
		t.Errorf("mode %s, and the log does not place the fault", mode())
	}
	if code, body := post(t, a.url+"/-/reload", a.tokens[sre.Admin], ""); code != http.StatusInternalServerError || !placedFault.MatchString(body) {
		t.Errorf("POST of a broken file: %d %s", code, body)
	}
	a.write(t, "sreagent.yaml", strings.Replace(string(good), "mode: ask", "mode: watch", 1))
	a.signal(t, syscall.SIGHUP)
	eventually(t, time.Minute, "a reload that succeeded", successful("1"))
	eventually(t, time.Minute, "the new mode", func() bool { return mode() == sre.Watch })
}

// exits runs the program in ways that do and do not work.
func (a *running) exits(t *testing.T) {
	t.Helper()
	a.write(t, "broken/sreagent.yaml", broken)
	for _, c := range []struct {
		args []string
		code int
		says string
	}{
		{[]string{"--version"}, exitOK, "sreagent, version"},
		{[]string{"--help"}, exitOK, "usage: sreagent"},
		{[]string{"run", "--no-such-flag"}, exitUsage, "unknown long flag"},
		{[]string{"no-such-command"}, exitUsage, "no-such-command"},
		{nil, exitOK, "usage: sreagent"},
		{[]string{"check", "config", a.path("sreagent.yaml")}, exitOK, "good"},
		{[]string{"check", "config", a.path("broken/sreagent.yaml")}, exitFailed, "sreagent.yaml:2:"},
		{[]string{"check", "tokens", a.path("tokens.yaml")}, exitOK, "4 tokens"},
		{[]string{"run", "--config.file=" + a.path("broken/sreagent.yaml")}, exitFailed, "sreagent.yaml:2:"},
		{[]string{"audit", "verify", a.path("audit")}, exitOK, "is whole"},
		{[]string{"status", "--url=http://127.0.0.1:1"}, exitUsage, "connection refused"},
	} {
		code, out, stderr := run(t, "", append([]string{sreagentBinary(t)}, c.args...)...)
		if code != c.code || !strings.Contains(out+stderr, c.says) {
			t.Errorf("%v: exit %d, want %d and %q\n%s%s", c.args, code, c.code, c.says, out, stderr)
		}
	}
}
