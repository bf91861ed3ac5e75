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
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/common/model"

	"github.com/sreagent/sreagent/sre"
)

// realHAProxy is a HAProxy process that runs the documented fragment.
type realHAProxy struct {
	dir, socket, mapFile, web string
	config                    string
	cmd                       *exec.Cmd
	relay                     *relay
	cfg                       Config
	now                       time.Time
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
	}
	must(t, os.WriteFile(h.mapFile, []byte(mapText), 0o644))
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
	fragment, err := os.ReadFile("testdata/haproxy_backend.cfg")
	must(t, err)
	backend := func() string {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok") }))
		t.Cleanup(s.Close)
		return s.Listener.Addr().String()
	}
	text := fmt.Sprintf(`global
    stats socket %s mode 600 level admin
    nbthread 2
defaults
    mode http
    timeout connect 1s
    timeout client 5s
    timeout server 5s
frontend web
    bind unix@%s
    default_backend be_shop
`, h.socket, h.web) + strings.NewReplacer("/etc/haproxy/admit.map", h.mapFile, "192.0.2.11:8080", backend(), "192.0.2.12:8080", backend()).Replace(string(fragment))
	must(t, os.WriteFile(h.config, []byte(text), 0o644))
}

func (h *realHAProxy) start(t *testing.T) {
	t.Helper()
	h.cmd = exec.Command("haproxy", "-db", "-q", "-f", h.config)
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
	cases := map[string]func(*testing.T, *subject){
		"apply is idempotent": applyIdempotent, "renewal extends the expiry": renewExtends, "revert restores": revertRestores,
		"revert twice is fine": revertTwice, "revert of nothing is fine": revertOfNothing, "revert leaves other actions": revertLeavesOthers,
		"stale epoch is refused": staleEpoch, "stale sequence is refused": staleSeq, "deadline is honoured": deadlineHonoured,
		"cut connection is unknown": cutIsUnknown, "probe tells the truth": probeTruthful, "nonsense is invalid": nonsenseInvalid,
		"state outlives the lever": outlivesLever, "takeover is seen as foreign": takeoverForeign,
	}
	for name, a := range map[string]sre.Action{"admit": admitAction(), "drain": drainAction(), "weight": weightAction(), "maxconn": maxconnAction()} {
		for label, run := range cases {
			t.Run(name+"/"+label, func(t *testing.T) {
				h := startRealHAProxy(t)
				cut := "set "
				if a.Target.Name == "" {
					cut = "commit "
				}
				stall := "show"
				run(t, &subject{
					lever: h.lever, action: a, other: other(a), bad: badProxyActions()[:15],
					inForce: func() string { return h.inForce(t) },
					writes:  func() int { return int(h.relay.writes.Load()) },
					cut:     func() { h.relay.cut.Store(&cut) },
					stall:   func() { h.relay.stall.Store(&stall) },
					mend:    func() { h.relay.cut.Store(nil); h.relay.stall.Store(nil) },
					restart: func() sre.Remediator { return h.reopen(t) },
				})
			})
		}
	}
}

func TestE2ERestartKeepsTheMap(t *testing.T) {
	h := startRealHAProxy(t)
	start := h.inForce(t)
	must(t, h.lever.Apply(t.Context(), h.directive(admitAction(), 5, 1)))
	must(t, h.lever.Apply(t.Context(), h.directive(weightAction(), 5, 2)))
	h.stop()
	wantCode(t, h.lever.Apply(t.Context(), h.directive(admitAction(), 5, 3)), sre.CodeFailed)
	h.start(t)
	st, err := h.lever.Probe(t.Context(), admitAction())
	must(t, err)
	if !st.InEffect || st.Epoch != 5 || !covers(st.Current, admitAction().Params) {
		t.Errorf("the map after a restart: %+v", st)
	}
	st, err = h.lever.Probe(t.Context(), weightAction())
	must(t, err)
	if st.InEffect || st.Foreign {
		t.Errorf("the weight after a restart: %+v", st)
	}
	must(t, h.reopen(t).Sweep(t.Context(), h.now.Add(time.Hour)))
	if diff := cmp.Diff(start, h.inForce(t)); diff != "" {
		t.Errorf("not what it was:\n%s", diff)
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

// load sends requests of each class for as long as more says so, and counts
// the admitted ones.
func (h *realHAProxy) load(t *testing.T, more func(sent int64) bool) (admitted, sent map[string]int64) {
	transport := &http.Transport{
		DialContext:         func(context.Context, string, string) (net.Conn, error) { return net.Dial("unix", h.web) },
		MaxIdleConnsPerHost: 8,
	}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport}
	var mu sync.Mutex
	admitted, sent = map[string]int64{}, map[string]int64{}
	var wg sync.WaitGroup
	for _, class := range classes() {
		wg.Go(func() {
			for n := int64(0); more(n); n++ {
				req, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://shop/", nil)
				req.Header.Set("X-Priority", class)
				resp, err := client.Do(req)
				if err != nil {
					t.Error(err)
					return
				}
				_, _ = io.Copy(io.Discard, resp.Body)
				_ = resp.Body.Close()
				mu.Lock()
				sent[class]++
				switch {
				case resp.StatusCode == http.StatusOK:
					admitted[class]++
				case resp.StatusCode != http.StatusServiceUnavailable || resp.Header.Get("Retry-After") == "":
					t.Errorf("status %d", resp.StatusCode)
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	return admitted, sent
}

func TestE2ESharesUnderLoad(t *testing.T) {
	h := startRealHAProxy(t)
	const n = 2000
	thousands := func(sent int64) bool { return sent < n }
	a := proxyAction(sre.Shed, "", sre.Params{"normal": 70.0, "low": 20.0, "high": 0.0})
	must(t, h.lever.Apply(t.Context(), h.directive(a, 5, 1)))
	got, _ := h.load(t, thousands)
	// Shares are drawn by HAProxy; the bounds are six standard deviations.
	for class, want := range map[string][2]int64{"critical": {n, n}, "high": {0, 0}, "normal": {1278, 1522}, "low": {293, 507}} {
		if got[class] < want[0] || got[class] > want[1] {
			t.Errorf("%s: %d of %d admitted, want %v", class, got[class], n, want)
		}
	}
	t.Logf("admitted of %d: %v", n, got)
	must(t, h.lever.Revert(t.Context(), h.directive(a, 5, 2)))
	got, _ = h.load(t, thousands)
	for _, class := range classes() {
		if got[class] != n {
			t.Errorf("%s: %d of %d admitted after the revert", class, got[class], n)
		}
	}
}

func TestE2ECapUnderLoad(t *testing.T) {
	h := startRealHAProxy(t)
	const rps = 100
	a := proxyAction(sre.Shed, "", sre.Params{"rps": float64(rps)})
	must(t, h.lever.Apply(t.Context(), h.directive(a, 5, 1)))
	start := time.Now()
	got, sent := h.load(t, func(int64) bool { return time.Since(start) < 4*time.Second })
	seconds := time.Since(start).Seconds()
	var admitted, offered int64
	for _, class := range classes() {
		admitted, offered = admitted+got[class], offered+sent[class]
	}
	t.Logf("offered %d in %.1f s, admitted %v", offered, seconds, got)
	if offered < 10*rps {
		t.Skip("the machine is too slow to overload the cap")
	}
	// One second of the cap may pass before HAProxy's window is full.
	if float64(admitted) > rps*(seconds+1) || admitted < rps {
		t.Errorf("%d admitted in %.1f s under a cap of %d per second", admitted, seconds, rps)
	}
	if got["critical"] <= got["low"] {
		t.Errorf("critical got %d, low %d: the cap does not prefer", got["critical"], got["low"])
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
	must(t, s.lever.Apply(t.Context(), s.directive(7, 3, time.Minute)))
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
