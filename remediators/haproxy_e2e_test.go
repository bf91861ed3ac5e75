//go:build e2e

package remediators

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/common/model"

	"github.com/sreagent/sreagent/plugins/conformance"
	"github.com/sreagent/sreagent/sre"
)

// realHAProxy is a HAProxy process that runs the documented fragment.
type realHAProxy struct {
	dir, socket, mapFile, web string
	config, stateFile         string
	cmd                       *exec.Cmd
	relay                     *relay
	cfg                       Config
	now                       time.Time
	hang                      atomic.Bool // requests wait for release
	release                   func()
	lever                     *haproxyLever
}

func startRealHAProxy(t *testing.T) *realHAProxy {
	t.Helper()
	if _, err := exec.LookPath("haproxy"); err != nil {
		t.Skip("haproxy is not installed")
	}
	dir, err := os.MkdirTemp("", "hap") // short: a socket path has at most 107 bytes
	must(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	h := &realHAProxy{
		dir: dir, socket: filepath.Join(dir, "admin.sock"), mapFile: filepath.Join(dir, "admit.map"),
		web: filepath.Join(dir, "web.sock"), config: filepath.Join(dir, "haproxy.cfg"), now: testTime(),
		stateFile: filepath.Join(dir, "servers.state"),
	}
	must(t, os.WriteFile(h.mapFile, []byte(mapText), 0o644))
	must(t, os.WriteFile(h.stateFile, nil, 0o644))
	h.writeConfig(t)
	h.start(t)
	t.Cleanup(func() { h.stop() })
	h.relay = startRelay(t, filepath.Join(dir, "relay.sock"), h.socket)
	h.cfg = DefaultConfig()
	h.cfg.StateDir = filepath.Join(dir, "levers")
	h.cfg.HAProxy = []HAProxyConfig{{
		Name: "edge", Socket: "unix:" + h.relay.path, Timeout: model.Duration(time.Minute), AdmitMap: h.mapFile,
		Backends: map[string]HAProxyBackend{"shop": {Backend: "be_shop"}},
	}}
	h.reopen(t)
	return h
}

func (h *realHAProxy) writeConfig(t *testing.T) {
	released := make(chan struct{})
	h.release = sync.OnceFunc(func() { close(released) })
	sample, err := os.ReadFile("../deploy/haproxy/haproxy.cfg")
	must(t, err)
	backend := func() string {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if h.hang.Load() {
				select {
				case <-released:
				case <-r.Context().Done():
				}
			}
			_, _ = io.WriteString(w, "ok")
		}))
		t.Cleanup(func() {
			h.release()
			s.Close()
		})
		return s.Listener.Addr().String()
	}
	text := strings.NewReplacer(
		"/run/haproxy/admin.sock mode 660", h.socket+" mode 600", "bind :8080", "bind unix@"+h.web,
		"/var/lib/haproxy/servers.state", h.stateFile, "/etc/haproxy/admit.map", h.mapFile,
		"192.0.2.11:8080", backend(), "192.0.2.12:8080", backend(),
	).Replace(string(sample))
	must(t, os.WriteFile(h.config, []byte(text), 0o644))
}

func (h *realHAProxy) start(t *testing.T, more ...string) {
	t.Helper()
	h.cmd = exec.Command("haproxy", append([]string{"-db", "-q", "-f", h.config}, more...)...)
	h.cmd.Stderr = os.Stderr
	must(t, h.cmd.Start())
	api := runtimeAPI{network: "unix", address: h.socket, timeout: time.Second}
	deadline := time.After(20 * time.Second)
	for {
		if _, err := api.instance(t.Context()); err == nil {
			return
		}
		select {
		case <-deadline:
			t.Fatal("haproxy does not answer")
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// reload hands over to a new process, as a service manager does.
func (h *realHAProxy) reload(t *testing.T) {
	t.Helper()
	old := h.cmd
	h.start(t, "-sf", strconv.Itoa(old.Process.Pid))
	_ = old.Wait() // it ends once its connections have
}

func (h *realHAProxy) stop() {
	if err := h.cmd.Process.Kill(); err == nil {
		_ = h.cmd.Wait()
	}
}

func (h *realHAProxy) reopen(t *testing.T) *haproxyLever {
	levers, err := New(h.cfg, Options{Now: func() time.Time { return h.now }})
	must(t, err)
	h.lever = levers[0].(*haproxyLever)
	return h.lever
}

// ask speaks to HAProxy past the relay.
func (h *realHAProxy) ask(t *testing.T, command string) string {
	api := runtimeAPI{network: "unix", address: h.socket, timeout: time.Minute}
	reply, _, err := api.ask(context.WithoutCancel(t.Context()), command)
	must(t, err)
	return reply
}

func (h *realHAProxy) inForce(t *testing.T) string {
	var out strings.Builder
	list, err := parseMap(h.ask(t, "show map "+h.mapFile))
	must(t, err)
	for _, e := range list {
		if e.key != epochKey {
			out.WriteString(e.key + "=" + e.value + "\n")
		}
	}
	servers, err := parseServers(h.ask(t, "show servers state be_shop"))
	must(t, err)
	for _, s := range servers {
		limit, err := parseMaxconn(h.ask(t, "show stat be_shop 4 -1"), s.name)
		must(t, err)
		fmt.Fprintf(&out, "%+v maxconn %s\n", s, limit)
	}
	b, err := os.ReadFile(h.mapFile)
	must(t, err)
	for line := range strings.Lines(string(b)) {
		if !strings.HasPrefix(line, epochKey) {
			out.WriteString(line)
		}
	}
	return out.String()
}

func (h *realHAProxy) directive(a sre.Action, epoch, seq uint64) sre.Directive {
	return sre.Directive{Action: a, Epoch: epoch, Seq: seq, Expires: h.now.Add(time.Minute)}
}

// relay stands between lever and HAProxy and can lose replies.
type relay struct {
	path       string
	cut, stall atomic.Pointer[string]
	writes     atomic.Int64
}

func startRelay(t *testing.T, path, target string) *relay {
	l, err := net.Listen("unix", path)
	must(t, err)
	r := &relay{path: path}
	done := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() { r.pass(conn, target, done) })
		}
	})
	t.Cleanup(func() {
		close(done)
		_ = l.Close()
		wg.Wait()
	})
	return r
}

func (r *relay) pass(conn net.Conn, target string, done <-chan struct{}) {
	defer func() { _ = conn.Close() }()
	in := bufio.NewReader(conn)
	command, err := in.ReadString('\n')
	if err != nil {
		return
	}
	for payload := strings.HasSuffix(command, "<<\n"); payload; {
		line, err := in.ReadString('\n')
		if err != nil {
			return
		}
		command += line
		payload = line != "\n"
	}
	if p := r.stall.Load(); p != nil && strings.HasPrefix(command, *p) {
		<-done
		return
	}
	if strings.HasPrefix(command, "set") || strings.HasPrefix(command, "commit") {
		r.writes.Add(1)
	}
	up, err := net.Dial("unix", target)
	if err != nil {
		return
	}
	defer func() { _ = up.Close() }()
	if _, err := io.WriteString(up, command); err != nil {
		return
	}
	reply, err := io.ReadAll(up)
	if p := r.cut.Load(); err != nil || p != nil && strings.HasPrefix(command, *p) {
		return
	}
	_, _ = conn.Write(reply)
}

func TestE2EConformance(t *testing.T) {
	for name, a := range map[string]sre.Action{"admit": admitAction(), "caps": capsAction(), "drain": waitAction(), "weight": weightAction(), "maxconn": maxconnAction()} {
		t.Run(name, func(t *testing.T) {
			conformance.Run(t, func(t *testing.T) conformance.Subject {
				h := startRealHAProxy(t)
				cut := "set "
				if a.Target.Name == "" {
					cut = "commit "
				}
				stall := "show"
				s := &subject{
					lever: h.lever, action: a, other: other(a), bad: badProxyActions()[:15],
					inForce: func() string { return h.inForce(t) },
					writes:  func() int { return int(h.relay.writes.Load()) },
					cut:     func() { h.relay.cut.Store(&cut) },
					stall:   func() { h.relay.stall.Store(&stall) },
					mend:    func() { h.relay.cut.Store(nil); h.relay.stall.Store(nil) },
					restart: func() sre.Remediator { return h.reopen(t) },
				}
				return s.kit()
			})
		})
	}
}

// The texts that the lever tells apart are those of this HAProxy.
func TestE2ETexts(t *testing.T) {
	h := startRealHAProxy(t)
	api := h.lever.api
	for command, want := range map[string]sre.Code{
		"set server nope/s1 weight 5":               sre.CodeInvalid,
		"set server be_shop/nope weight 5":          sre.CodeInvalid,
		"set server be_shop/s1 weight 999":          sre.CodeInvalid,
		"set server be_shop/s1 weight x":            sre.CodeInvalid,
		"set server be_shop/s1 state off":           sre.CodeInvalid,
		"set maxconn server be_shop/s1 x":           sre.CodeInvalid,
		"set map /nope a 5":                         sre.CodeInvalid,
		"set map " + h.mapFile + " nope 5":          sre.CodeInvalid,
		"commit map @9 " + h.mapFile:                sre.CodeRefused,
		"frobnicate":                                sre.CodeRefused,
		"set map " + h.mapFile + " be_shop.low abc": "", // the trap
		"user; set server be_shop/s1 weight 1":      sre.CodeRefused,
	} {
		if got := sre.CodeOf(api.write(t.Context(), command)); got != want {
			t.Errorf("%s: %q, want %q; haproxy says %q", command, got, want, h.ask(t, command))
		}
	}
	if got := h.ask(t, "show map "+h.mapFile); !strings.Contains(got, "be_shop.low 100") {
		t.Errorf("after the trap: %s", got)
	}
}

// What is printed for people does what the lever does.
func TestE2EManual(t *testing.T) {
	h := startRealHAProxy(t)
	start := h.inForce(t)
	a := admitAction()
	a.Params["rps"] = 40.0
	before, err := h.lever.Probe(t.Context(), a)
	must(t, err)
	must(t, h.lever.Apply(t.Context(), h.directive(a, 5, 1)))
	lines := strings.SplitAfterN(h.lever.Manual(a, before.Current), "\n", 2)
	if _, err := exec.LookPath("socat"); err == nil {
		run(t, lines[0])
	} else {
		command, _, _ := strings.Cut(strings.TrimPrefix(lines[0], "echo '"), "'")
		h.ask(t, command)
	}
	run(t, lines[1])
	if diff := cmp.Diff(start, h.inForce(t)); diff != "" {
		t.Errorf("not what it was:\n%s", diff)
	}
}

func TestE2EGuardManual(t *testing.T) {
	if _, err := exec.LookPath("curl"); err != nil {
		t.Skip("curl is not installed")
	}
	s := realGuardSubject(t)
	start := s.inForce()
	must(t, s.lever.Apply(t.Context(), sre.Directive{Action: s.action, Epoch: 7, Seq: 3, Expires: testTime().Add(time.Minute)}))
	run(t, s.lever.(Undoer).Manual(s.action, nil))
	if diff := cmp.Diff(start, s.inForce()); diff != "" {
		t.Errorf("not what it was:\n%s", diff)
	}
}

func run(t *testing.T, script string) {
	t.Helper()
	if out, err := exec.Command("sh", "-c", script).CombinedOutput(); err != nil {
		t.Fatalf("%s\n%v\n%s", script, err, out)
	}
}
