package remediators

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/common/model"

	"github.com/sreagent/sreagent/sre"
)

func proxyAction(kind sre.ActionKind, server string, p sre.Params) sre.Action {
	return sre.Action{
		ID: "inc-1." + string(kind), Kind: kind, TTL: time.Minute,
		Target: sre.Target{Lever: "edge", Service: "shop", Name: server}, Params: p,
	}
}

func admitAction() sre.Action {
	return proxyAction(sre.Shed, "", sre.Params{"low_share": 20.0, "normal_share": 70.0})
}
func drainAction() sre.Action { return proxyAction(sre.Drain, "s1", nil) }
func weightAction() sre.Action {
	return proxyAction(sre.TrafficShift, "s1", sre.Params{"weight": 10.0})
}
func maxconnAction() sre.Action { return proxyAction(sre.Shed, "s2", sre.Params{"maxconn": 5.0}) }

const mapText = "# admitted per class\nbe_shop.low 100\n\nother.low 33\nbe_shop.normal 100\n"

// proxyWorld is a fake HAProxy, its map file and the lever in front of it.
type proxyWorld struct {
	*fakeHAProxy
	cfg     Config
	mapFile string
	now     time.Time
	lever   *haproxyLever
}

func newProxyWorld(t *testing.T, network string) *proxyWorld {
	t.Helper()
	f := startFakeHAProxy(t, network)
	dir := t.TempDir()
	w := &proxyWorld{fakeHAProxy: f, mapFile: filepath.Join(dir, "admit.map"), now: testTime()}
	must(t, os.WriteFile(w.mapFile, []byte(mapText), 0o640))
	w.maps[w.mapFile] = &fakeMap{pending: map[int][]entry{}}
	w.loadMap(t)
	w.cfg = DefaultConfig()
	w.cfg.StateDir = filepath.Join(dir, "levers")
	w.cfg.HAProxy = []HAProxyConfig{{
		Name: "edge", Socket: network + ":" + f.address, Timeout: model.Duration(time.Hour), AdmitMap: w.mapFile,
		Backends: map[string]HAProxyBackend{"shop": {Backend: "be_shop", Servers: []string{"s1", "s2", "gone"}}},
	}}
	w.reopen(t)
	return w
}

// loadMap does what a start of HAProxy does.
func (w *proxyWorld) loadMap(t *testing.T) {
	b, err := os.ReadFile(w.mapFile)
	must(t, err)
	w.with(func() {
		m := w.maps[w.mapFile]
		m.entries = nil
		for line := range strings.Lines(string(b)) {
			if key, value, ok := mapLine(line); ok {
				m.entries = append(m.entries, entry{key, value})
			}
		}
	})
}

// restartProxy does what a restart of HAProxy does: all that was set at run
// time is gone, the map file is read.
func (w *proxyWorld) restartProxy(t *testing.T) {
	w.loadMap(t)
	w.with(func() {
		w.pid++
		w.servers["be_shop/s1"] = &fakeServer{weight: 100, op: 2}
		w.servers["be_shop/s2"] = &fakeServer{weight: 100, op: 2, maxconn: 50}
	})
}

func (w *proxyWorld) reopen(t *testing.T) *haproxyLever {
	t.Helper()
	levers, err := New(w.cfg, Options{Now: func() time.Time { return w.now }})
	must(t, err)
	w.lever = levers[0].(*haproxyLever)
	return w.lever
}

// file is the map file without the fencing token.
func (w *proxyWorld) file(t *testing.T) string {
	b, err := os.ReadFile(w.mapFile)
	must(t, err)
	var out strings.Builder
	for line := range strings.Lines(string(b)) {
		if !strings.HasPrefix(line, epochKey) {
			out.WriteString(line)
		}
	}
	return out.String()
}

func (w *proxyWorld) directive(a sre.Action, epoch, seq uint64, ttl time.Duration) sre.Directive {
	return sre.Directive{Action: a, Epoch: epoch, Seq: seq, Expires: w.now.Add(ttl)}
}

// setMapEntry is what somebody else does by hand.
func (w *proxyWorld) setMapEntry(key, value string) {
	w.with(func() { w.setMap(w.maps[w.mapFile], key, value) })
}

// other returns an action with another ID and other settings on the same knob.
func other(a sre.Action) sre.Action {
	a.ID = "inc-2.other"
	switch {
	case a.Kind == sre.Drain:
		a.Params = sre.Params{"state": "ready"}
	case a.Kind == sre.TrafficShift:
		a.Params = sre.Params{"weight": 50.0}
	case a.Target.Name != "":
		a.Params = sre.Params{"maxconn": 9.0}
	default:
		a.Params = sre.Params{"low_share": 0.0, "rps": 40.0}
	}
	return a
}

func haproxySubject(t *testing.T, network string, a sre.Action) *subject {
	w := newProxyWorld(t, network)
	mend := func() { w.with(func() { w.cut, w.stall = "", "" }) }
	return &subject{
		lever: w.lever, config: &w.cfg, action: a, other: other(a), bad: badProxyActions(),
		inForce: func() string { return w.inForce() + w.file(t) },
		writes:  w.wrote,
		cut: func() {
			w.with(func() {
				w.cut = "set "
				if a.Target.Name == "" {
					w.cut = "commit "
				}
			})
		},
		stall:   func() { w.with(func() { w.stall = "show" }) },
		mend:    mend,
		restart: func() sre.Remediator { return w.reopen(t) },
		advance: func(d time.Duration) {
			w.now = w.now.Add(d)
			must(t, w.lever.Sweep(t.Context(), w.now))
		},
	}
}

func badProxyActions() []sre.Action {
	shed := func(p sre.Params) sre.Action { return proxyAction(sre.Shed, "", p) }
	bad := []sre.Action{
		shed(nil), shed(sre.Params{"low_share": 101.0}), shed(sre.Params{"low_share": -1.0}), shed(sre.Params{"low_share": 12.5}),
		shed(sre.Params{"low_share": "20"}), shed(sre.Params{"maxconn": 5.0}), shed(sre.Params{"low_share": 5.0, "urgent": 1.0}),
		proxyAction(sre.Shed, "s1", sre.Params{"low_share": 5.0}), proxyAction(sre.Shed, "s1", sre.Params{"low_share": 5.0, "maxconn": 5.0}),
		proxyAction(sre.Shed, "s1", sre.Params{"maxconn": 0.0}), proxyAction(sre.Shed, "s1", sre.Params{"maxconn": 1.5}),
		proxyAction(sre.Drain, "", nil), proxyAction(sre.Drain, "s9", nil), proxyAction(sre.Drain, "s1", sre.Params{"state": "maint"}),
		proxyAction(sre.Drain, "s1", sre.Params{"state": "off; shutdown frontend web"}),
		proxyAction(sre.Drain, "s1; shutdown frontend web", nil), proxyAction(sre.Drain, "s1\nset x", nil),
		proxyAction(sre.TrafficShift, "s1", nil), proxyAction(sre.TrafficShift, "s1", sre.Params{"weight": 257.0}),
		proxyAction(sre.TrafficShift, "s1", sre.Params{"weight": 0.5}), proxyAction(sre.Scale, "s1", nil),
	}
	a := admitAction()
	a.Target.Service = "bank"
	b := admitAction()
	b.Target.Callee = "pay"
	c := admitAction()
	c.ID = ""
	return append(bad, a, b, c)
}

func TestHAProxyMapIsCommittedAtOnce(t *testing.T) {
	w := newProxyWorld(t, "unix")
	must(t, w.lever.Apply(t.Context(), w.directive(admitAction(), 5, 1, time.Minute)))
	var writes []string
	for _, c := range w.commands {
		if !strings.HasPrefix(c, "show") {
			writes = append(writes, strings.ReplaceAll(c, w.mapFile, "MAP"))
		}
	}
	if diff := cmp.Diff([]string{"prepare map MAP", "add map @1 MAP", "commit map @1 MAP"}, writes); diff != "" {
		t.Errorf("commands:\n%s", diff)
	}
	want := "# admitted per class\nbe_shop.low 20\n\nother.low 33\nbe_shop.normal 70\nsreagent.epoch 5\n"
	b, err := os.ReadFile(w.mapFile)
	must(t, err)
	if diff := cmp.Diff(want, string(b)); diff != "" {
		t.Errorf("map file:\n%s", diff)
	}
	info, err := os.Stat(w.mapFile)
	must(t, err)
	if info.Mode().Perm() != 0o640 {
		t.Errorf("the map file's mode became %v", info.Mode())
	}
}

func TestHAProxyRenewalWritesNothing(t *testing.T) {
	w := newProxyWorld(t, "unix")
	must(t, w.lever.Apply(t.Context(), w.directive(admitAction(), 5, 1, time.Minute)))
	before := w.wrote()
	must(t, w.lever.Apply(t.Context(), w.directive(admitAction(), 5, 2, 2*time.Minute)))
	if got := w.wrote() - before; got != 0 {
		t.Errorf("a renewal wrote %d times", got)
	}
	must(t, w.lever.Apply(t.Context(), w.directive(admitAction(), 6, 1, 2*time.Minute)))
	if got := w.maps[w.mapFile].entries; first(got)[epochKey] != "6" {
		t.Errorf("a newer leader's renewal left HAProxy's token at %v", got)
	}
}

func TestHAProxyForeignChangeIsReleased(t *testing.T) {
	w := newProxyWorld(t, "unix")
	a := admitAction()
	must(t, w.lever.Apply(t.Context(), w.directive(a, 5, 1, time.Minute)))
	w.setMapEntry("be_shop.low", "55")
	st, err := w.lever.Probe(t.Context(), a)
	must(t, err)
	if !st.Foreign || st.InEffect || !strings.Contains(st.Detail, `be_shop.low is "20" on disk and "55" in force`) {
		t.Errorf("after somebody's hand: %+v", st)
	}
	wantCode(t, w.lever.Apply(t.Context(), w.directive(a, 5, 2, time.Minute)), sre.CodeRefused)
	wantCode(t, w.lever.Apply(t.Context(), w.directive(a, 5, 3, time.Minute)), sre.CodeRefused)
	must(t, w.lever.Sweep(t.Context(), w.now.Add(time.Hour)))
	if got := first(w.maps[w.mapFile].entries); got["be_shop.low"] != "55" || got["be_shop.normal"] != "70" {
		t.Errorf("a released setting was moved: %v", got)
	}
	// A new decision, made with open eyes, may take it.
	next := other(a)
	must(t, w.lever.Apply(t.Context(), w.directive(next, 5, 4, time.Minute)))
	must(t, w.lever.Revert(t.Context(), w.directive(next, 5, 5, time.Minute)))
	if got := first(w.maps[w.mapFile].entries); got["be_shop.low"] != "55" {
		t.Errorf("low is %v, want the 55 that somebody chose", got)
	}
}

func TestHAProxyRevertLeavesForeignKeys(t *testing.T) {
	w := newProxyWorld(t, "unix")
	a := admitAction()
	must(t, w.lever.Apply(t.Context(), w.directive(a, 5, 1, time.Minute)))
	w.setMapEntry("be_shop.low", "55")
	must(t, w.lever.Revert(t.Context(), w.directive(a, 5, 2, time.Minute)))
	got := first(w.maps[w.mapFile].entries)
	if got["be_shop.low"] != "55" || got["be_shop.normal"] != "100" {
		t.Errorf("after revert: %v, want somebody's 55 and our 100", got)
	}
}

func TestHAProxyTakeoverReturnsToTheFirstState(t *testing.T) {
	w := newProxyWorld(t, "unix")
	start := w.inForce()
	a, b := admitAction(), other(admitAction())
	must(t, w.lever.Apply(t.Context(), w.directive(a, 5, 1, time.Minute)))
	must(t, w.lever.Apply(t.Context(), w.directive(b, 5, 2, time.Minute)))
	got := first(w.maps[w.mapFile].entries)
	if got["be_shop.low"] != "0" || got["be_shop.rps"] != "40" || got["be_shop.normal"] != "100" {
		t.Errorf("after the takeover: %v", got)
	}
	d := w.directive(b, 5, 3, time.Minute)
	d.Restore = sre.Params{"low_share": 20.0, "normal_share": 70.0, "high_share": 100.0, "critical_share": 100.0} // as the agent saw it
	must(t, w.lever.Revert(t.Context(), d))
	if diff := cmp.Diff(start, w.inForce()); diff != "" {
		t.Errorf("not what it was before the first:\n%s", diff)
	}
}

func TestHAProxyEmptyAnswerTrap(t *testing.T) {
	cases := map[string]struct {
		action sre.Action
		ignore string
	}{
		"commit":  {admitAction(), "commit map"},
		"add":     {admitAction(), "add map"},
		"weight":  {weightAction(), "set server"},
		"drain":   {drainAction(), "set server"},
		"maxconn": {maxconnAction(), "set maxconn"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			w := newProxyWorld(t, "unix")
			start := w.inForce() + w.file(t)
			w.with(func() { w.ignore = c.ignore })
			wantCode(t, w.lever.Apply(t.Context(), w.directive(c.action, 5, 1, time.Minute)), sre.CodeFailed)
			if diff := cmp.Diff(start, w.inForce()+w.file(t)); diff != "" {
				t.Errorf("something is left behind:\n%s", diff)
			}
			if st, err := w.lever.Probe(t.Context(), c.action); err != nil || st.Owner != "" {
				t.Errorf("after a write that did not take: %+v, %v; want no owner", st, err)
			}
			if n := len(w.maps[w.mapFile].pending); name == "add" && n != 0 {
				t.Errorf("%d prepared versions are left in HAProxy's memory", n)
			}
		})
	}
}

func TestHAProxyTextsAreCodes(t *testing.T) {
	cases := map[string]struct {
		action sre.Action
		prefix string
		text   string
		want   sre.Code
	}{
		"no backend":      {weightAction(), "set server", "No such backend.\n\n", sre.CodeInvalid},
		"no server":       {weightAction(), "set server", "No such server.\n\n", sre.CodeInvalid},
		"no map":          {admitAction(), "show map", "Unknown map identifier. Please use #<id> or <file>.\n\n", sre.CodeInvalid},
		"not an operator": {weightAction(), "set server", "Permission denied\n\n", sre.CodeRefused},
		"old haproxy":     {admitAction(), "prepare map", "Unknown command. Please enter one of\n\n", sre.CodeRefused},
		"odd prepare":     {admitAction(), "prepare map", "well\n\n", sre.CodeFailed},
		"version race":    {admitAction(), "commit map", "Version number out of range.\n\n", sre.CodeRefused},
		"new text":        {weightAction(), "set server", "Something new.\n\n", sre.CodeUnknown},
		"garbage info":    {weightAction(), "show info", "hello\n\n", sre.CodeFailed},
		"garbage servers": {weightAction(), "show servers", "hello\n\n", sre.CodeFailed},
		"garbage map":     {admitAction(), "show map", "hello\n\n", sre.CodeFailed},
		"garbage stat":    {maxconnAction(), "show stat", "\"hello\n\n", sre.CodeFailed},
		"cut listing":     {weightAction(), "show servers", "1\n# be_id", sre.CodeFailed},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			w := newProxyWorld(t, "unix")
			start := w.inForce() + w.file(t)
			w.with(func() { w.reply[c.prefix] = c.text })
			wantCode(t, w.lever.Apply(t.Context(), w.directive(c.action, 5, 1, time.Minute)), c.want)
			w.with(func() { clear(w.reply) })
			if diff := cmp.Diff(start, w.inForce()+w.file(t)); diff != "" {
				t.Errorf("something was touched:\n%s", diff)
			}
		})
	}
}

func TestHAProxyUnknownServer(t *testing.T) {
	w := newProxyWorld(t, "unix")
	for _, a := range []sre.Action{proxyAction(sre.Drain, "gone", nil), proxyAction(sre.Shed, "gone", sre.Params{"maxconn": 3.0})} {
		wantCode(t, w.lever.Apply(t.Context(), w.directive(a, 5, 1, time.Minute)), sre.CodeInvalid)
	}
}

func TestHAProxyKeepsTheLastServer(t *testing.T) {
	w := newProxyWorld(t, "unix")
	must(t, w.lever.Apply(t.Context(), w.directive(drainAction(), 5, 1, time.Minute)))
	last := proxyAction(sre.Drain, "s2", nil)
	wantCode(t, w.lever.Apply(t.Context(), w.directive(last, 5, 2, time.Minute)), sre.CodeRefused)
	zero := proxyAction(sre.TrafficShift, "s2", sre.Params{"weight": 0.0})
	wantCode(t, w.lever.Apply(t.Context(), w.directive(zero, 5, 3, time.Minute)), sre.CodeRefused)
	must(t, w.lever.Revert(t.Context(), w.directive(drainAction(), 5, 4, time.Minute)))
	must(t, w.lever.Apply(t.Context(), w.directive(last, 5, 5, time.Minute)))
}

func TestHAProxyRestartOfHAProxy(t *testing.T) {
	w := newProxyWorld(t, "unix")
	start := w.inForce() + w.file(t)
	must(t, w.lever.Apply(t.Context(), w.directive(admitAction(), 5, 1, time.Minute)))
	must(t, w.lever.Apply(t.Context(), w.directive(weightAction(), 5, 2, time.Minute)))
	w.restartProxy(t)
	// The map came back from its file, the weight did not, and nobody is blamed.
	st, err := w.lever.Probe(t.Context(), admitAction())
	must(t, err)
	if !st.InEffect || st.Foreign {
		t.Errorf("the map after a restart: %+v, want it in effect", st)
	}
	st, err = w.lever.Probe(t.Context(), weightAction())
	must(t, err)
	if st.InEffect || st.Foreign || !strings.Contains(st.Detail, "restarted") {
		t.Errorf("the weight after a restart: %+v", st)
	}
	must(t, w.lever.Apply(t.Context(), w.directive(weightAction(), 5, 3, time.Minute)))
	if st, err = w.lever.Probe(t.Context(), weightAction()); err != nil || !st.InEffect {
		t.Errorf("after the renewal: %+v, %v", st, err)
	}
	must(t, w.lever.Sweep(t.Context(), w.now.Add(time.Hour)))
	if diff := cmp.Diff(start, w.inForce()+w.file(t)); diff != "" {
		t.Errorf("not what it was:\n%s", diff)
	}
}

func TestHAProxyRuntimeOnlyLeavesTheFile(t *testing.T) {
	w := newProxyWorld(t, "tcp")
	w.cfg.HAProxy[0].RuntimeOnly = true
	w.reopen(t)
	must(t, w.lever.Apply(t.Context(), w.directive(admitAction(), 5, 1, time.Minute)))
	if b, err := os.ReadFile(w.mapFile); err != nil || string(b) != mapText {
		t.Errorf("the file became %q, %v", b, err)
	}
}

func TestHAProxyNeedsTheMapFile(t *testing.T) {
	w := newProxyWorld(t, "unix")
	start := w.inForce()
	must(t, os.Remove(w.mapFile))
	wantCode(t, w.lever.Apply(t.Context(), w.directive(admitAction(), 5, 1, time.Minute)), sre.CodeFailed)
	if diff := cmp.Diff(start, w.inForce()); diff != "" {
		t.Errorf("something was touched:\n%s", diff)
	}
}

// An undo reaches HAProxy even when the file cannot follow, and says so.
func TestHAProxyUndoWithoutTheMapFile(t *testing.T) {
	w := newProxyWorld(t, "unix")
	start := w.inForce()
	must(t, w.lever.Apply(t.Context(), w.directive(admitAction(), 5, 1, time.Minute)))
	must(t, os.Remove(w.mapFile))
	wantCode(t, w.lever.Revert(t.Context(), w.directive(admitAction(), 5, 2, time.Minute)), sre.CodeFailed)
	if diff := cmp.Diff(start, w.inForce()); diff != "" {
		t.Errorf("the undo was blocked:\n%s", diff)
	}
	must(t, os.WriteFile(w.mapFile, []byte(mapText), 0o644))
	must(t, w.lever.Sweep(t.Context(), w.now.Add(time.Hour)))
	if st, err := w.lever.Probe(t.Context(), admitAction()); err != nil || st.Owner != "" {
		t.Errorf("after the sweep: %+v, %v; want no owner", st, err)
	}
}

func TestHAProxyRefusesLapsedDirectives(t *testing.T) {
	w := newProxyWorld(t, "unix")
	wantCode(t, w.lever.Apply(t.Context(), w.directive(admitAction(), 5, 1, 0)), sre.CodeRefused)
	if w.wrote() != 0 {
		t.Error("a lapsed directive was carried out")
	}
}

func TestHAProxyYieldsToAConcurrentWriter(t *testing.T) {
	w := newProxyWorld(t, "unix")
	w.with(func() {
		w.before = func(command string) {
			if strings.HasPrefix(command, "add map") {
				w.setMap(w.maps[w.mapFile], "other.low", "34")
			}
		}
	})
	wantCode(t, w.lever.Apply(t.Context(), w.directive(admitAction(), 5, 1, time.Minute)), sre.CodeRefused)
	got := first(w.maps[w.mapFile].entries)
	if got["other.low"] != "34" || got["be_shop.low"] != "100" {
		t.Errorf("after the race: %v, want the other's 34 kept and nothing of ours", got)
	}
}

func TestHAProxyManual(t *testing.T) {
	w := newProxyWorld(t, "unix")
	before, err := w.lever.Probe(t.Context(), admitAction())
	must(t, err)
	a := admitAction()
	a.Params["rps"] = 40.0
	text := strings.NewReplacer(w.mapFile, "/etc/haproxy/admit.map", w.address, "/run/haproxy.sock").Replace(w.lever.Manual(a, before.Current))
	want := `echo 'set map /etc/haproxy/admit.map be_shop.low 100; set map /etc/haproxy/admit.map be_shop.normal 100; del map /etc/haproxy/admit.map be_shop.rps' | socat stdio 'unix-connect:/run/haproxy.sock'
sed -i '/^[[:blank:]]*be_shop\.low[[:blank:]]/s/.*/be_shop.low 100/' '/etc/haproxy/admit.map'
sed -i '/^[[:blank:]]*be_shop\.normal[[:blank:]]/s/.*/be_shop.normal 100/' '/etc/haproxy/admit.map'
sed -i '/^[[:blank:]]*be_shop\.rps[[:blank:]]/d' '/etc/haproxy/admit.map'`
	if diff := cmp.Diff(want, text); diff != "" {
		t.Errorf("manual undo:\n%s", diff)
	}
	text = w.lever.Manual(drainAction(), sre.Params{"state": "ready"})
	if !strings.Contains(text, "echo 'set server be_shop/s1 state ready' | socat stdio 'unix-connect:") {
		t.Errorf("manual undo of a drain: %s", text)
	}
}
