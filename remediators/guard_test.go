package remediators

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/common/model"

	"github.com/sreagent/sreagent/guard"
	"github.com/sreagent/sreagent/sre"
)

func guardAction(id string, rps float64) sre.Action {
	return sre.Action{
		ID: id, Kind: sre.Shed, TTL: time.Minute,
		Target: sre.Target{Lever: guardName, Service: "shop"}, Params: sre.Params{"rps": rps, "low": 10},
	}
}

func guardLeverFor(t *testing.T, url string) *guardLever {
	t.Helper()
	return guardLeverOf(t, guardConfigFor(t, url))
}

func guardConfigFor(t *testing.T, url string) Config {
	t.Helper()
	cfg := DefaultConfig()
	cfg.StateDir = ""
	cfg.Guard.Targets = []GuardTarget{{Service: "shop", URL: url}}
	cfg.Guard.Timeout = model.Duration(time.Hour)
	cfg.Guard.TokenFile = filepath.Join(t.TempDir(), "token")
	must(t, os.WriteFile(cfg.Guard.TokenFile, []byte(testToken+"\n"), 0o600))
	return cfg
}

func guardLeverOf(t *testing.T, cfg Config) *guardLever {
	t.Helper()
	levers, err := New(cfg, Options{Now: testTime})
	must(t, err)
	g := levers[0].(*guardLever)
	t.Cleanup(g.client.CloseIdleConnections)
	return g
}

func badGuardActions() []sre.Action {
	with := func(change func(*sre.Action)) sre.Action {
		a := guardAction("bad", 5)
		change(&a)
		return a
	}
	return []sre.Action{
		with(func(a *sre.Action) { a.Params = nil }),
		with(func(a *sre.Action) { a.Params = sre.Params{"rps": -1.0} }),
		with(func(a *sre.Action) { a.Params = sre.Params{"rps": "5"} }),
		with(func(a *sre.Action) { a.Params = sre.Params{"rps": 5.0, "urgent": 1.0} }),
		with(func(a *sre.Action) { a.Target.Service = "bank" }),
		with(func(a *sre.Action) { a.Target.Callee = "pay" }),
		with(func(a *sre.Action) { a.Target.Name = "feature" }),
		with(func(a *sre.Action) { a.ID = "" }),
		with(func(a *sre.Action) { a.ID = ".." }),
		with(func(a *sre.Action) { a.Kind = sre.Scale }),
		with(func(a *sre.Action) { a.Kind, a.Params = sre.Breaker, sre.Params{"failure_ratio": .5} }),
		with(func(a *sre.Action) { a.Kind, a.Params = sre.KillSwitch, sre.Params{"percent": 5.0} }),
	}
}

func guardSubject(t *testing.T) *subject {
	f, server := startFakeGuard(t, "shop")
	cfg := guardConfigFor(t, server.URL)
	return &subject{
		lever: guardLeverOf(t, cfg), config: &cfg, action: guardAction("inc-1.shed.1", 50), other: guardAction("inc-2.shed.1", 20),
		bad: badGuardActions(),
		inForce: func() string {
			f.mu.Lock()
			defer f.mu.Unlock()
			out := map[string]sre.Params{}
			for key, d := range f.directives {
				out[key] = d.Params
			}
			b, _ := json.Marshal(out)
			return string(b)
		},
		writes:  func() int { _, writes := f.count(); return writes },
		cut:     func() { f.set(cutWrites) },
		stall:   func() { f.set(stallUntilGone) },
		mend:    func() { f.set(nil) },
		restart: func() sre.Remediator { return guardLeverOf(t, cfg) },
	}
}

// realGuardSubject is the guard itself. Its clock stands still until the kit
// moves it, so a setting that is deleted goes back at once here.
func realGuardSubject(t *testing.T) *subject {
	cfg := guard.DefaultConfig()
	cfg.Service, cfg.Token = "shop", testToken
	cfg.Return = guard.ReturnConfig{Steps: 2, Every: model.Duration(time.Second)}
	wakes := &wakingClock{clock: newClock()}
	g, err := guard.New(cfg, guard.WithClock(wakes), guard.WithLogger(slog.New(slog.DiscardHandler)))
	must(t, err)
	t.Cleanup(g.Close)
	var misbehave atomic.Pointer[func(http.ResponseWriter, *http.Request) bool]
	var writes atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if f := misbehave.Load(); f != nil && (*f)(w, r) {
			return
		}
		if r.Method != http.MethodGet {
			writes.Add(1)
		}
		if r.Method == http.MethodDelete { // no time passes here, so no step would follow
			q := r.URL.Query()
			q.Set("now", "true")
			r.URL.RawQuery = q.Encode()
		}
		g.Control().ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	set := func(f func(http.ResponseWriter, *http.Request) bool) { misbehave.Store(&f) }
	return &subject{
		lever: guardLeverFor(t, server.URL), action: guardAction("inc-1.shed.1", 50), other: guardAction("inc-2.shed.1", 20),
		bad: badGuardActions(),
		inForce: func() string {
			r := httptest.NewRequest(http.MethodGet, "/guard/v1/state", nil)
			r.Header.Set("Authorization", "Bearer "+testToken)
			w := httptest.NewRecorder()
			g.Control().ServeHTTP(w, r)
			var state guard.State
			if err := json.Unmarshal(w.Body.Bytes(), &state); err != nil {
				t.Error(err)
			}
			b, _ := json.Marshal(state.Settings)
			return string(b)
		},
		writes:  func() int { return int(writes.Load()) },
		cut:     func() { set(cutWrites) },
		stall:   func() { set(stallUntilGone) },
		mend:    func() { misbehave.Store(nil) },
		advance: wakes.advance,
		restart: func() sre.Remediator { return guardLeverFor(t, server.URL) },
	}
}

func TestGuardClassifiesAnswers(t *testing.T) {
	held := func(change func(*wireState)) string {
		d := wireState{wireDirective: wireDirective{ID: "a", Kind: "shed", Params: sre.Params{"rps": 50, "low": 10}}, Phase: phaseHeld}
		if change != nil {
			change(&d)
		}
		b, _ := json.Marshal(d)
		return string(b)
	}
	cases := map[string]struct {
		status int
		body   string
		want   sre.Code
		reason string
	}{
		"held":              {200, held(nil), "", ""},
		"extra settings":    {200, held(func(d *wireState) { d.Params["high"] = 3 }), "", ""},
		"other settings":    {200, held(func(d *wireState) { d.Params["rps"] = 49 }), sre.CodeFailed, "49"},
		"setting missing":   {200, held(func(d *wireState) { delete(d.Params, "low") }), sre.CodeFailed, "enforces"},
		"returning already": {200, held(func(d *wireState) { d.Phase = "returning" }), sre.CodeFailed, "returning"},
		"other directive":   {200, held(func(d *wireState) { d.ID = "b" }), sre.CodeFailed, "b"},
		"empty object":      {200, `{}`, sre.CodeUnknown, "unreadable"},
		"no JSON":           {200, `<html>`, sre.CodeUnknown, "unreadable"},
		"nothing":           {200, ``, sre.CodeUnknown, "unreadable"},
		"too long":          {200, strings.Repeat(" ", maxAnswer+1), sre.CodeUnknown, "unreadable"},
		"accepted":          {202, held(nil), sre.CodeUnknown, "202"},
		"redirect":          {307, ``, sre.CodeUnknown, "307"},
		"invalid":           {400, `{"error":"rps is -1"}`, sre.CodeInvalid, "rps is -1"},
		"no token":          {401, `{"error":"secret stuff"}`, sre.CodeRefused, "token"},
		"wrong token":       {403, ``, sre.CodeRefused, "token"},
		"not a guard":       {404, `404 page not found`, sre.CodeRefused, "404"},
		"stale":             {409, `{"error":"stale","epoch":12}`, sre.CodeRefused, "epoch 12"},
		"stale, no words":   {409, ``, sre.CodeRefused, "newer"},
		"too many":          {429, ``, sre.CodeRefused, "429"},
		"internal":          {500, `{"error":"x"}`, sre.CodeUnknown, "500"},
		"gateway":           {502, ``, sre.CodeUnknown, "502"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			f, server := startFakeGuard(t, "shop")
			f.set(func(w http.ResponseWriter, _ *http.Request) bool {
				w.Header().Set("Location", "/elsewhere")
				w.WriteHeader(c.status)
				_, _ = io.WriteString(w, c.body)
				return true
			})
			g := guardLeverFor(t, server.URL)
			err := g.Apply(t.Context(), sre.Directive{Action: guardAction("a", 50), Epoch: 1, Expires: testTime()})
			wantCode(t, err, c.want)
			if err != nil && !strings.Contains(err.Error(), c.reason) {
				t.Errorf("reason %q lacks %q", err, c.reason)
			}
			if requests, _ := f.count(); requests != 1 {
				t.Errorf("%d requests, want one: nothing is retried or followed", requests)
			}
		})
	}
}

func TestGuardUnreachable(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	must(t, l.Close())
	d := sre.Directive{Action: guardAction("a", 50), Epoch: 1, Expires: testTime()}
	g := guardLeverFor(t, "http://"+l.Addr().String())
	wantCode(t, g.Apply(t.Context(), d), sre.CodeFailed)
	wantCode(t, g.Revert(t.Context(), d), sre.CodeFailed)

	_, server := startFakeGuard(t, "shop")
	g = guardLeverFor(t, server.URL)
	must(t, os.Remove(g.cfg.TokenFile))
	wantCode(t, g.Apply(t.Context(), d), sre.CodeFailed) // no token, so nothing was sent
}

// A request that was handed over and not answered in time may have worked.
func TestGuardTimeoutAfterSendingIsUnknown(t *testing.T) {
	f, server := startFakeGuard(t, "shop")
	ctx, cancel := context.WithCancel(t.Context())
	f.set(func(w http.ResponseWriter, r *http.Request) bool {
		cancel()
		return stallUntilGone(w, r)
	})
	g := guardLeverFor(t, server.URL)
	wantCode(t, g.Apply(ctx, sre.Directive{Action: guardAction("a", 50), Expires: testTime()}), sre.CodeUnknown)
}

func TestGuardProbeReadsKnob(t *testing.T) {
	_, server := startFakeGuard(t, "shop")
	g := guardLeverFor(t, server.URL)
	timeout := sre.Action{ID: "t", Kind: sre.Timeout, Target: sre.Target{Service: "shop", Callee: "pay"}, Params: sre.Params{"seconds": 0.5}}
	st, err := g.Probe(t.Context(), timeout)
	must(t, err)
	if diff := cmp.Diff(sre.TargetState{Current: sre.Params{"seconds": 2.0}, Default: sre.Params{"seconds": 2.0}}, st); diff != "" {
		t.Errorf("configured timeout of the calls to pay:\n%s", diff)
	}
	must(t, g.Apply(t.Context(), sre.Directive{Action: timeout, Epoch: 1, Seq: 1, Expires: testTime().Add(time.Minute)}))
	handler := timeout
	handler.Target.Callee = ""
	st, err = g.Probe(t.Context(), handler)
	must(t, err)
	if st.InEffect || st.Foreign || st.Current["seconds"] != 30.0 {
		t.Errorf("the handler's own timeout is another knob: %+v", st)
	}
	budget := sre.Action{ID: "b", Kind: sre.RetryBudget, Target: timeout.Target, Params: sre.Params{"ratio": 0.1}}
	st, err = g.Probe(t.Context(), budget)
	must(t, err)
	if st.Current == nil || len(st.Current) > 0 {
		t.Errorf("a budget without a limit was read all the same: %+v", st)
	}
}

func TestGuardProbeRefusesAnotherServicesGuard(t *testing.T) {
	_, server := startFakeGuard(t, "bank")
	_, err := guardLeverFor(t, server.URL).Probe(t.Context(), guardAction("a", 50))
	wantCode(t, err, sre.CodeRefused)
}

func TestGuardReturningIsNotInEffect(t *testing.T) {
	f, server := startFakeGuard(t, "shop")
	g := guardLeverFor(t, server.URL)
	a := guardAction("a", 50)
	must(t, g.Apply(t.Context(), sre.Directive{Action: a, Epoch: 1, Seq: 1, Expires: testTime().Add(time.Minute)}))
	f.mu.Lock()
	for key, d := range f.directives {
		d.Phase, d.Step = "returning", 2
		f.directives[key] = d
	}
	f.mu.Unlock()
	st, err := g.Probe(t.Context(), a)
	must(t, err)
	if st.InEffect || st.Foreign || !strings.Contains(st.Detail, "step 2") {
		t.Errorf("on the way back: %+v", st)
	}
}

func TestGuardURLTemplate(t *testing.T) {
	cfg := DefaultConfig()
	cfg.Guard.URLTemplate = "http://{service}.mesh:9901/"
	cfg.Guard.Targets = []GuardTarget{{Service: "shop", URL: "http://127.0.0.1:1/"}}
	levers, err := New(cfg, Options{})
	must(t, err)
	g := levers[0].(*guardLever)
	a := guardAction("a", 1)
	for service, want := range map[string]string{"shop": "http://127.0.0.1:1", "bank": "http://bank.mesh:9901"} {
		a.Target.Service = service
		if base, err := g.check(a); err != nil || base != want {
			t.Errorf("%s: %q, %v; want %q", service, base, err, want)
		}
	}
	for _, service := range []string{"", "a/b", "a@b", "a b", "{service}", "-a"} {
		a.Target.Service = service
		_, err := g.check(a)
		wantCode(t, err, sre.CodeInvalid)
	}
	c, err := g.Describe(t.Context())
	must(t, err)
	if c.Targets != nil {
		t.Errorf("a template moves any service, but %v are listed", c.Targets)
	}
}

// The guard and the lever declare the wire format apart from each other: each
// must accept what the other means.
func TestGuardKindsMatchTheRealGuard(t *testing.T) {
	s := realGuardSubject(t)
	for _, k := range guardKinds() {
		a := sre.Action{ID: "x-" + string(k.Kind), Kind: k.Kind, Target: sre.Target{Service: "shop"}, Params: sre.Params{}}
		if k.Edge {
			a.Target.Callee = "pay"
		}
		if k.Kind == sre.KillSwitch {
			a.Target.Name = "feature"
		}
		for _, bound := range []func(sre.ParamSpec) float64{
			func(p sre.ParamSpec) float64 { return p.Min }, func(p sre.ParamSpec) float64 { return p.Max },
		} {
			for _, p := range k.Params {
				a.Params[p.Name] = bound(p)
			}
			err := s.lever.Apply(t.Context(), sre.Directive{Action: a, Epoch: 1, Seq: 1, Expires: testTime().Add(time.Minute)})
			if err != nil {
				t.Errorf("%s %v: %v", k.Kind, a.Params, err)
			}
		}
	}
}

// A runbook that names the parameter moves a guard as it moves a mesh.
func TestGuardBreakerTakesFailuresInARow(t *testing.T) {
	s := realGuardSubject(t)
	a := sre.Action{
		ID: "inc-1.breaker", Kind: sre.Breaker, Target: sre.Target{Service: "shop", Callee: "pay"},
		Params: sre.Params{"failure_ratio": .5, "consecutive": 3.0},
	}
	must(t, s.lever.Apply(t.Context(), sre.Directive{Action: a, Epoch: 1, Seq: 1, Expires: testTime().Add(time.Minute)}))
	st, err := s.lever.Probe(t.Context(), a)
	must(t, err)
	if !st.InEffect || st.Current["consecutive"] != 3.0 {
		t.Errorf("in effect: %+v", st)
	}
}

func TestGuardManualHoldsNoSecret(t *testing.T) {
	_, server := startFakeGuard(t, "shop")
	g := guardLeverFor(t, server.URL)
	text := g.Manual(guardAction("inc/1 'x'", 1), nil)
	if strings.Contains(text, testToken) {
		t.Error("the command holds the token")
	}
	for _, want := range []string{"curl", "-X DELETE", g.cfg.TokenFile, "/guard/v1/directives/inc%2F1%20%27x%27", "now=true"} {
		if !strings.Contains(text, want) {
			t.Errorf("%q lacks %q", text, want)
		}
	}
}

func ExampleUndoer() {
	g := &guardLever{cfg: GuardConfig{TokenFile: "/etc/sreagent/guard.token"}, urls: map[string]string{"shop": "http://shop:9901"}}
	fmt.Println(g.Manual(guardAction("inc-1.shed.1", 50), nil))
	// Output:
	// state=$(curl -sS -H "Authorization: Bearer $(cat '/etc/sreagent/guard.token')" 'http://shop:9901/guard/v1/state')
	// curl -sS -H "Authorization: Bearer $(cat '/etc/sreagent/guard.token')" -X DELETE 'http://shop:9901/guard/v1/directives/inc-1.shed.1'"?epoch=$(printf '%s' "$state" | grep -o '"epoch":[0-9]*' | cut -d: -f2 | sort -n | tail -n 1)&seq=$(printf '%s' "$state" | grep -o '"seq":[0-9]*' | cut -d: -f2 | sort -n | tail -n 1)&now=true"
}
