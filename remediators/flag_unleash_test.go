package remediators

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	unleashclient "github.com/Unleash/unleash-client-go/v4"
	unleashcontext "github.com/Unleash/unleash-client-go/v4/context"
	promconfig "github.com/prometheus/common/config"
	"github.com/prometheus/common/model"

	"github.com/sreagent/sreagent/sre"
)

// fakeUnleash is the part of an Unleash server that the lever and the official
// client speak to.
type fakeUnleash struct {
	mu        sync.Mutex
	flags     map[string]*unleashFlag
	writes    int
	misbehave func(http.ResponseWriter, *http.Request) bool
}

func startUnleash(t *testing.T) (*fakeUnleash, *httptest.Server) {
	t.Helper()
	strategy := func(name string, params map[string]string) []unleashStrategy {
		return []unleashStrategy{{ID: "s-1", Name: name, Title: "everybody", Parameters: params}}
	}
	u := &fakeUnleash{flags: map[string]*unleashFlag{
		"recs":    {Enabled: true, Strategies: strategy("flexibleRollout", map[string]string{"rollout": "100", "stickiness": "userId", "groupId": "recs"})},
		"reviews": {Enabled: true, Strategies: strategy("default", map[string]string{})},
	}}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /api/admin/projects/default/features/{flag}/environments/production", u.get)
	mux.HandleFunc("PUT /api/admin/projects/default/features/{flag}/environments/production/strategies/{id}", u.put)
	mux.HandleFunc("GET /api/client/features", u.features)
	mux.HandleFunc("POST /api/client/register", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusAccepted) })
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		u.mu.Lock()
		misbehave := u.misbehave
		u.mu.Unlock()
		if misbehave != nil && misbehave(w, r) {
			return
		}
		if strings.HasPrefix(r.URL.Path, "/api/admin") && r.Header.Get("Authorization") != testToken {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		mux.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	return u, server
}

func (u *fakeUnleash) set(f func(http.ResponseWriter, *http.Request) bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.misbehave = f
}

func (u *fakeUnleash) get(w http.ResponseWriter, r *http.Request) {
	u.mu.Lock()
	defer u.mu.Unlock()
	f, ok := u.flags[r.PathValue("flag")]
	if !ok {
		w.WriteHeader(http.StatusNotFound)
		return
	}
	_ = json.NewEncoder(w).Encode(map[string]any{"name": "production", "type": "production", "enabled": f.Enabled, "strategies": f.Strategies})
}

func (u *fakeUnleash) put(w http.ResponseWriter, r *http.Request) {
	u.mu.Lock()
	defer u.mu.Unlock()
	f, ok := u.flags[r.PathValue("flag")]
	if !ok || f.Strategies[0].ID != r.PathValue("id") {
		w.WriteHeader(http.StatusNotFound)
		return
	}
	var s unleashStrategy
	if err := json.NewDecoder(r.Body).Decode(&s); err != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	u.writes++
	s.ID = f.Strategies[0].ID
	f.Strategies[0] = s
	_ = json.NewEncoder(w).Encode(s)
}

func (u *fakeUnleash) features(w http.ResponseWriter, _ *http.Request) {
	u.mu.Lock()
	defer u.mu.Unlock()
	var list []map[string]any
	for _, name := range []string{"recs", "reviews"} {
		s := u.flags[name].Strategies[0]
		list = append(list, map[string]any{"name": name, "enabled": u.flags[name].Enabled, "strategies": []any{map[string]any{"name": s.Name, "parameters": s.Parameters}}})
	}
	_ = json.NewEncoder(w).Encode(map[string]any{"version": 2, "features": list})
}

func (u *fakeUnleash) text(t *testing.T) string {
	u.mu.Lock()
	defer u.mu.Unlock()
	var out strings.Builder
	for _, name := range []string{"recs", "reviews"} {
		raw, err := json.Marshal(u.flags[name])
		if err != nil {
			t.Error(err)
		}
		definition, _, err := unleash{}.split(raw)
		if err != nil {
			t.Error(err)
		}
		out.WriteString(strings.ReplaceAll(string(definition), "null", "[]") + "\n")
	}
	return out.String()
}

func unleashConfig(t *testing.T, url string) Config {
	t.Helper()
	cfg := DefaultConfig()
	cfg.StateDir = t.TempDir()
	token := filepath.Join(t.TempDir(), "token")
	must(t, os.WriteFile(token, []byte(testToken+"\n"), 0o600))
	cfg.Flags = []FlagsConfig{{
		Name: "flags", Format: unleashFormat, URL: url, Environment: "production", TokenFile: token,
		Timeout: model.Duration(time.Hour), HTTP: promconfig.DefaultHTTPClientConfig,
	}}
	cfg.KillSwitches = flagTree("flags")
	return cfg
}

func unleashSubject(t *testing.T) *subject {
	u, server := startUnleash(t)
	cfg := unleashConfig(t, server.URL)
	return &subject{
		lever: flagLeverOf(t, cfg), action: flagAction("inc-1.kill.1", "shop/checkout/recs", 25),
		other: flagAction("inc-2.kill.1", "shop/checkout/recs", 5), bad: badFlagActions(),
		inForce: func() string { return u.text(t) },
		writes:  func() int { u.mu.Lock(); defer u.mu.Unlock(); return u.writes },
		cut: func() {
			u.set(func(w http.ResponseWriter, r *http.Request) bool {
				if r.Method == http.MethodPut {
					r.SetPathValue("flag", "recs")
					r.SetPathValue("id", "s-1")
					u.put(httptest.NewRecorder(), r)
				}
				return cutWrites(w, r)
			})
		},
		stall:   func() { u.set(stallUntilGone) },
		mend:    func() { u.set(nil) },
		restart: func() sre.Remediator { return flagLeverOf(t, cfg) },
	}
}

// seenOn counts the keys, of 10,000, for which the official client says on.
func seenOn(t *testing.T, url, flag string) map[string]bool {
	t.Helper()
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	listener := &deafUnleash{ready: make(chan struct{}, 1), failed: make(chan error, 1)}
	client, err := unleashclient.NewClient(unleashclient.WithUrl(url+"/api/"), unleashclient.WithAppName("shop"),
		unleashclient.WithDisableMetrics(true), unleashclient.WithRefreshInterval(time.Hour),
		unleashclient.WithHttpClient(&http.Client{Transport: transport}), unleashclient.WithBackupPath(t.TempDir()),
		unleashclient.WithListener(listener))
	must(t, err)
	select {
	case <-listener.ready:
	case err := <-listener.failed:
		t.Fatal(err)
	}
	on := map[string]bool{}
	for i := range flagKeys {
		key := fmt.Sprintf("user-%d", i)
		if client.IsEnabled(flag, unleashclient.WithContext(unleashcontext.Context{UserId: key})) {
			on[key] = true
		}
	}
	must(t, client.Close())
	return on
}

// deafUnleash takes what the client tells, so that it does not block, and
// passes on whether it is ready.
type deafUnleash struct {
	ready  chan struct{}
	failed chan error
}

func (d *deafUnleash) OnError(err error) {
	select {
	case d.failed <- err:
	default:
	}
}

func (*deafUnleash) OnUpdate()                             {}
func (*deafUnleash) OnWarning(error)                       {}
func (d *deafUnleash) OnReady()                            { d.ready <- struct{}{} }
func (*deafUnleash) OnCount(string, bool)                  {}
func (*deafUnleash) OnSent(unleashclient.MetricsData)      {}
func (*deafUnleash) OnRegistered(unleashclient.ClientData) {}

func TestUnleashSharesAreSeenByTheOfficialClient(t *testing.T) {
	_, server := startUnleash(t)
	l := flagLeverOf(t, unleashConfig(t, server.URL))
	for _, c := range []struct{ name, flag string }{{"shop/checkout/recs", "recs"}, {"shop/checkout/reviews", "reviews"}} {
		before := seenOn(t, server.URL, c.flag)
		for seq, percent := range []float64{1, 5, 25, 100} {
			must(t, applyFlag(t, l, uint64(seq+1), flagAction("a", c.name, percent)))
			on := seenOn(t, server.URL, c.flag)
			checkShare(t, c.flag, percent, len(on))
			for key := range on {
				if !before[key] {
					t.Fatalf("%s: %s came back on at %g %%", c.flag, key, percent)
				}
			}
			before = on
		}
		revertFlag(t, l, 9, flagAction("a", c.name, 100))
		checkShare(t, c.flag, 0, len(seenOn(t, server.URL, c.flag)))
	}
}

func TestUnleashRefuses(t *testing.T) {
	u, server := startUnleash(t)
	cfg := unleashConfig(t, server.URL)
	l := flagLeverOf(t, cfg)
	cases := map[string]struct {
		change func()
		want   sre.Code
	}{
		"two strategies": {func() {
			u.flags["recs"].Strategies = append(u.flags["recs"].Strategies, unleashStrategy{Name: "userWithId"})
		}, sre.CodeRefused},
		"no strategy":  {func() { u.flags["recs"].Strategies = nil }, sre.CodeRefused},
		"no such flag": {func() { delete(u.flags, "recs") }, sre.CodeRefused},
	}
	saved := *u.flags["recs"]
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			u.mu.Lock()
			flag := saved
			u.flags["recs"] = &flag
			c.change()
			u.mu.Unlock()
			wantCode(t, applyFlag(t, l, 1, flagAction("a", "shop/checkout/recs", 5)), c.want)
		})
	}
	must(t, os.WriteFile(cfg.Flags[0].TokenFile, []byte("wrong"), 0o600))
	wantCode(t, applyFlag(t, l, 1, flagAction("a", "shop/checkout/reviews", 5)), sre.CodeRefused)
	server.Close()
	wantCode(t, applyFlag(t, l, 1, flagAction("a", "shop/checkout/reviews", 5)), sre.CodeFailed)
	if u.writes != 0 {
		t.Errorf("%d writes", u.writes)
	}
}
