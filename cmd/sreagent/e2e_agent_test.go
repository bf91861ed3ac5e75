//go:build e2e

package main

import (
	"context"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sreagent/sreagent/demo"
	"github.com/sreagent/sreagent/oncall"
	"github.com/sreagent/sreagent/sre"
)

// agentOptions are what differs between tests.
type agentOptions struct {
	runbook       string // file of testdata/e2e that takes the shipped one's place
	ttl           string // of its mitigations
	suspectFor    string // default 2s
	closeAfter    string // default 10s
	haproxySocket string
	haproxyMap    string
}

// running is `sreagent run` with its files.
type running struct {
	*server
	dir     string
	url     string
	address string
	tokens  map[sre.Role]string
}

// startAgent writes the files of a deployment and starts the built binary.
func startAgent(t *testing.T, w *site, o agentOptions) *running {
	t.Helper()
	a := &running{dir: filepath.Join(w.dir, "agent"), address: freeAddress(t), tokens: map[sre.Role]string{}}
	a.url = "http://" + a.address
	must(t, os.MkdirAll(filepath.Join(a.dir, "runbooks"), 0o700))
	a.writeConfig(t, w, o)
	a.write(t, "topology.yaml", string(demo.TopologyYAML()))
	a.write(t, "guard.token", guardToken+"\n")
	var lines strings.Builder
	lines.WriteString("tokens:\n")
	for _, role := range []sre.Role{sre.Viewer, sre.Operator, sre.Approver, sre.Admin} {
		lines.WriteString(a.makeToken(t, role))
	}
	a.write(t, "tokens.yaml", lines.String())
	a.again(t)
	eventually(t, time.Minute, "a ready agent", func() bool {
		code, _ := get(a.url + "/-/ready")
		return code == 200
	})
	return a
}

func (a *running) writeConfig(t *testing.T, w *site, o agentOptions) {
	t.Helper()
	type target struct{ Name, URL string }
	data := struct {
		PrometheusURL, AlertmanagerURL, SuspectFor, CloseAfter, HAProxySocket, HAProxyMap string
		Runbooks                                                                          bool
		Guards                                                                            []target
	}{
		PrometheusURL: w.promURL, AlertmanagerURL: w.alertURL, SuspectFor: "2s", CloseAfter: "10s",
		HAProxySocket: o.haproxySocket, HAProxyMap: o.haproxyMap, Runbooks: o.runbook != "",
	}
	if o.suspectFor != "" {
		data.SuspectFor = o.suspectFor
	}
	if o.closeAfter != "" {
		data.CloseAfter = o.closeAfter
	}
	for _, s := range w.services {
		data.Guards = append(data.Guards, target{s.Name, s.relay.url})
	}
	render(t, "sreagent.yaml", a.path("sreagent.yaml"), data)
	if o.runbook != "" {
		render(t, o.runbook, a.path("runbooks/"+o.runbook), struct{ TTL string }{o.ttl})
	}
}

func (a *running) path(name string) string { return filepath.Join(a.dir, name) }

func (a *running) write(t *testing.T, name, text string) {
	t.Helper()
	must(t, os.MkdirAll(filepath.Dir(a.path(name)), 0o700))
	must(t, os.WriteFile(a.path(name), []byte(text), 0o600))
}

var (
	tokenShown = regexp.MustCompile(`(?m)^# token, shown once: (\S+)$`)
	tokenLine  = regexp.MustCompile(`(?m)^  - \{.*\}$`)
)

// makeToken makes a token with the command line, keeps it in a file for later
// commands, and returns its line for the tokens file.
func (a *running) makeToken(t *testing.T, role sre.Role) string {
	t.Helper()
	code, out, stderr := run(t, "", sreagentBinary(t), "token", "new", "e2e-"+string(role), "--role", string(role))
	token, line := tokenShown.FindStringSubmatch(out), tokenLine.FindString(out)
	if code != exitOK || token == nil || line == "" {
		t.Fatalf("token new: %d\n%s%s", code, out, stderr)
	}
	a.tokens[role] = token[1]
	a.write(t, "token."+string(role), token[1]+"\n")
	return line + "\n"
}

// startOnly starts the agent with the files that it has.
func (a *running) startOnly(t *testing.T) {
	t.Helper()
	a.server = start(t, "sreagent", nil, sreagentBinary(t), "run", "--config.file="+a.path("sreagent.yaml"), "--web.listen-address="+a.address)
}

// again starts the agent with the files that it has, and waits for its first
// tick.
func (a *running) again(t *testing.T) {
	t.Helper()
	a.startOnly(t)
	answers(t, a.server, a.url+"/-/healthy")
	eventually(t, time.Minute, "a first tick", func() bool {
		s, err := a.api(sre.Viewer).Status(t.Context())
		return err == nil && s.Tick > 0
	})
}

// killAgain is a crash and a restart.
func (a *running) killAgain(t *testing.T) {
	t.Helper()
	a.kill()
	a.again(t)
}

func (a *running) api(role sre.Role) *oncall.Client {
	return oncall.NewClient(a.url, a.tokens[role], client)
}

// cli runs a subcommand of the built binary against the agent.
func (a *running) cli(t *testing.T, role sre.Role, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	return run(t, "", append([]string{sreagentBinary(t)}, append(args, "--url="+a.url, "--token-file="+a.path("token."+string(role)))...)...)
}

// incident waits until an incident, any one where no ID is given, is in one of
// the states, and returns it.
func (a *running) incident(t *testing.T, within time.Duration, id string, states ...sre.State) sre.Incident {
	t.Helper()
	var found sre.Incident
	eventually(t, within, "an incident that is "+joined(states), func() bool {
		all, err := a.api(sre.Viewer).Incidents(t.Context(), true)
		if err != nil {
			return false
		}
		i := slices.IndexFunc(all, func(inc sre.Incident) bool {
			return (id == "" || inc.ID == id) && slices.Contains(states, inc.State)
		})
		if i >= 0 {
			found = all[i]
		}
		return i >= 0
	})
	return found
}

func joined(states []sre.State) string {
	names := make([]string, len(states))
	for i, s := range states {
		names[i] = string(s)
	}
	return strings.Join(names, " or ")
}

// approve answers the open question of an incident with yes. The evidence is
// checked again at that moment, so an answer may come a tick too late: it is
// given again to the question that is current then.
func (a *running) approve(t *testing.T, id string) {
	t.Helper()
	var last string
	eventually(t, time.Minute, "an approval that is taken", func() bool {
		inc, err := a.api(sre.Viewer).Incident(t.Context(), id)
		if err != nil || inc.Decision == nil {
			return false
		}
		code, out, stderr := a.cli(t, sre.Approver, "approve", id, "--decision="+inc.Decision.ID, "-m", "e2e")
		if last != stderr+out {
			last = stderr + out
			t.Logf("approve: exit %d: %s", code, strings.TrimSpace(last))
		}
		return code == exitOK
	})
}

// answerYes approves a question of which no answer is expected.
func (a *running) answerYes(id, decision string) {
	_, _ = a.api(sre.Approver).Approve(context.Background(), id, decision, "e2e")
}
