//go:build e2e

package main

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sreagent/sreagent/demo"
	"github.com/sreagent/sreagent/sre"
)

// proxy is a real HAProxy in front of the gateway, with the sample of
// deploy/haproxy.
type proxy struct {
	*server
	dir, socket, mapFile, config string
	front                        string // URL
	relay                        *socketRelay
}

func startProxy(t *testing.T, w *site) *proxy {
	t.Helper()
	dir, err := os.MkdirTemp("", "e2e") // short: a socket path has at most 107 bytes
	must(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	address := freeAddress(t)
	p := &proxy{
		dir: dir, socket: filepath.Join(dir, "admin.sock"), mapFile: filepath.Join(dir, "admit.map"),
		config: filepath.Join(dir, "haproxy.cfg"), front: "http://" + address,
	}
	sample, err := os.ReadFile("../../deploy/haproxy/haproxy.cfg")
	must(t, err)
	state := filepath.Join(dir, "servers.state")
	text := strings.NewReplacer(
		"/run/haproxy/admin.sock mode 660", p.socket+" mode 600", "bind :8080", "bind "+address,
		"/var/lib/haproxy/servers.state", state, "/etc/haproxy/admit.map", p.mapFile,
		"192.0.2.11:8080", w.byName[demo.Entry].Address,
		"    server s2 192.0.2.12:8080 weight 100 maxconn 50\n", "", // the shop has one gateway
	).Replace(string(sample))
	must(t, os.WriteFile(p.mapFile, nil, 0o600))
	must(t, os.WriteFile(state, nil, 0o600))
	must(t, os.WriteFile(p.config, []byte(text), 0o600))
	p.again(t)
	p.relay = startSocketRelay(t, filepath.Join(dir, "relay.sock"), p.socket)
	return p
}

func (p *proxy) again(t *testing.T) {
	t.Helper()
	p.server = start(t, "haproxy", nil, installed(t, "haproxy"), "-db", "-f", p.config)
	eventually(t, time.Minute, "haproxy answers", func() bool {
		_, err := askSocket(p.socket, "show info\n")
		return err == nil
	})
}

// admitted returns the map in memory, by key.
func (p *proxy) admitted(t *testing.T) map[string]string {
	t.Helper()
	text, err := askSocket(p.socket, "show map "+p.mapFile+"\n")
	must(t, err)
	out := map[string]string{}
	for line := range strings.Lines(text) {
		if f := strings.Fields(line); len(f) == 3 { // address of the entry, key, value
			out[f[1]] = f[2]
		}
	}
	return out
}

// onDisk returns the map file, by key.
func (p *proxy) onDisk(t *testing.T) map[string]string {
	t.Helper()
	text, err := os.ReadFile(p.mapFile)
	must(t, err)
	out := map[string]string{}
	for line := range strings.Lines(string(text)) {
		if f := strings.Fields(line); len(f) == 2 {
			out[f[0]] = f[1]
		}
	}
	return out
}

func askSocket(path, command string) (string, error) {
	conn, err := net.DialTimeout("unix", path, 5*time.Second)
	if err != nil {
		return "", err
	}
	defer func() { _ = conn.Close() }()
	if err := conn.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
		return "", err
	}
	if _, err := io.WriteString(conn, command); err != nil {
		return "", err
	}
	text, err := io.ReadAll(conn)
	return string(text), err
}

// socketRelay stands between the agent and HAProxy's socket. Once armed, it
// goes mute at the next command that would change the map: that one and all
// later ones are taken, but neither passed on nor answered. While refusing, it
// answers what would change anything as a socket of too low a level does.
type socketRelay struct {
	path                  string
	armed, mute, refusing atomic.Bool
	took                  atomic.Int64 // commands that were taken while mute
	refused               atomic.Int64
}

func startSocketRelay(t *testing.T, path, target string) *socketRelay {
	t.Helper()
	l, err := net.Listen("unix", path)
	must(t, err)
	r := &socketRelay{path: path}
	closing := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() { r.serve(conn, target, closing) })
		}
	})
	t.Cleanup(func() {
		close(closing)
		_ = l.Close()
		wg.Wait()
	})
	return r
}

func (r *socketRelay) serve(conn net.Conn, target string, closing <-chan struct{}) {
	gone := make(chan struct{})
	defer func() {
		_ = conn.Close()
		<-gone
	}()
	in := bufio.NewReader(conn)
	command, err := in.ReadString('\n')
	if err != nil {
		close(gone)
		return
	}
	if r.armed.Load() && strings.HasPrefix(command, "commit ") {
		r.mute.Store(true)
	}
	if r.refusing.Load() && !strings.HasPrefix(command, "show ") {
		r.refused.Add(1)
		_, _ = io.WriteString(conn, "Permission denied\n\n")
		close(gone)
		return
	}
	if r.mute.Load() {
		r.took.Add(1)
		go func() {
			defer close(gone)
			_, _ = io.Copy(io.Discard, in)
		}()
		select {
		case <-gone:
		case <-closing:
		}
		return
	}
	up, err := net.Dial("unix", target)
	if err != nil {
		close(gone)
		return
	}
	defer func() { _ = up.Close() }()
	go func() {
		defer close(gone)
		_, _ = io.WriteString(up, command)
		_, _ = io.Copy(up, in)
	}()
	_, _ = io.Copy(conn, up)
}

// The cure at the edge: HAProxy turns load away on the agent's word, keeps that
// over a restart, and gets its first state back; when it does not answer, the
// agent neither believes nor repeats what it could not verify.
func TestE2EHAProxyShedsAndIsRestoredAndRefuses(t *testing.T) {
	var p *proxy
	w := startWorld(t, worldOptions{entry: func(t *testing.T, w *site) (string, http.RoundTripper) {
		p = startProxy(t, w)
		return p.front, &http.Transport{MaxIdleConnsPerHost: 800, MaxConnsPerHost: 0}
	}})
	a := startAgent(t, w, agentOptions{
		runbook: "shed-at-the-edge.yaml", closeAfter: "5s", haproxySocket: p.relay.path, haproxyMap: p.mapFile,
	})
	w.healthy(t, 15)
	before := p.admitted(t)
	w.cut(t)
	first := a.incident(t, time.Minute, "", sre.AwaitingApproval)
	a.approve(t, first.ID)
	eventually(t, time.Minute, "low and normal are not admitted", func() bool {
		m, d := p.admitted(t), p.onDisk(t)
		return m["be_shop.low"] == "0" && m["be_shop.normal"] == "0" && d["be_shop.low"] == "0" && d["be_shop.normal"] == "0"
	})
	p.classIs(t, "low", http.StatusServiceUnavailable)
	p.kill()
	p.again(t)
	if m := p.admitted(t); m["be_shop.low"] != "0" || m["be_shop.normal"] != "0" {
		t.Errorf("the map after a restart of HAProxy: %v", m)
	}
	p.classIs(t, "normal", http.StatusServiceUnavailable)
	cured := a.incident(t, 3*time.Minute, first.ID, sre.Closed, sre.Escalated)
	if cured.State != sre.Closed {
		t.Fatalf("escalated: %s", cured.Escalation)
	}
	for name, m := range map[string]map[string]string{"memory": p.admitted(t), "file": p.onDisk(t)} {
		for _, class := range []string{"low", "normal"} {
			key := "be_shop." + class
			if v, set := m[key]; set && v != "100" && v != before[key] {
				t.Errorf("%s is %s in %s after the undo", key, v, name)
			}
		}
	}
	w.healthy(t, 10)
	p.classIs(t, "low", http.StatusOK)
	appliedOnce(t, w, a.records(t))

	w.cut(t)
	second := a.incident(t, time.Minute, "", sre.AwaitingApproval)
	p.relay.armed.Store(true)
	lost := a.begunOnce(t, second.ID, sre.Intended, sre.CodeUnknown)
	if p.relay.took.Load() < 2 {
		t.Error("the agent did not look at the lever again")
	}
	p.relay.armed.Store(false)
	p.relay.mute.Store(false)
	eventually(t, time.Minute, "a lever that answers again is looked at, and nothing is in force", func() bool {
		inc, err := a.api(sre.Viewer).Incident(t.Context(), second.ID)
		return err == nil && len(inc.InForce()) == 0
	})
	if n := a.begun(t, second.ID); n != 1 {
		t.Errorf("%d intents to apply after the lever came back, want 1", n)
	}

	// A write that may still have arrived keeps its claim until it lapses.
	eventually(t, time.Minute, "a lever that nobody holds", func() bool {
		ledger, err := os.ReadFile(a.path("levers/edge.json"))
		return err == nil && !strings.Contains(string(ledger), second.ID)
	})

	// A human gives the incident back; the trouble is still there, so it returns.
	p.relay.refusing.Store(true)
	if code, _, stderr := a.cli(t, sre.Operator, "close", lost.ID, "-m", "e2e"); code != exitOK {
		t.Fatalf("close: exit %d: %s", code, stderr)
	}
	third := a.incident(t, time.Minute, "", sre.AwaitingApproval)
	a.begunOnce(t, third.ID, sre.Failed, sre.CodeRefused)
	if n := p.relay.refused.Load(); n != 1 {
		t.Errorf("%d commands were refused, want 1: a refusal is not argued with", n)
	}
	if m := p.admitted(t); m["be_shop.low"] == "0" || m["be_shop.normal"] == "0" {
		t.Errorf("the map after a lost and a refused write: %v", m)
	}
	a.verified(t)
}

// begun counts the intents to apply of an incident.
func (a *running) begun(t *testing.T, id string) int {
	t.Helper()
	return len(intents(ofIncident(a.records(t), id)))
}

// begunOnce approves a cure that a lever will not carry out: it wants the
// incident escalated after a single further try, and that try on record with its
// phase and code.
func (a *running) begunOnce(t *testing.T, id string, phase sre.Phase, code sre.Code) sre.Incident {
	t.Helper()
	before := ofIncident(a.records(t), id)
	a.approve(t, id)
	inc := a.incident(t, 2*time.Minute, id, sre.Escalated)
	t.Logf("escalated: %s", inc.Escalation)
	if n := a.begun(t, id) - len(intents(before)); n != 1 {
		t.Errorf("%d intents to apply, want 1: nothing is retried blindly", n)
	}
	all := results(ofIncident(a.records(t), id), sre.ToApply)[len(results(before, sre.ToApply)):]
	if len(all) == 0 || all[0].Phase != phase || all[0].Code != code {
		t.Errorf("results: %+v, want the first to be %s, %s", all, phase, code)
	}
	return inc
}

func ofIncident(records []sre.Record, id string) []sre.Record {
	return slices.DeleteFunc(records, func(r sre.Record) bool { return r.IncidentID != id })
}

// classIs asks HAProxy for a request of a class.
func (p *proxy) classIs(t *testing.T, class string, want int) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, p.front+"/browse?user=1", nil)
	must(t, err)
	req.Header.Set("X-Priority", class)
	res, err := client.Do(req)
	must(t, err)
	_ = res.Body.Close()
	if res.StatusCode != want {
		t.Errorf("a request of class %s: %d, want %d", class, res.StatusCode, want)
	}
}
