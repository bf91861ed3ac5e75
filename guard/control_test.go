package guard

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus/testutil"
)

// ask sends one control request over a real socket.
func ask(t testing.TB, srv *httptest.Server, method, path, token, body string) (int, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, srv.URL+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if token != "" {
		r.Header.Set("Authorization", token)
	}
	resp, err := srv.Client().Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, strings.TrimSpace(string(data))
}

const bearer = "Bearer " + testToken

func order(id, kind, params, rest string) string {
	return `{"id":"` + id + `","kind":"` + kind + `","params":` + params + `,"epoch":7,"seq":3,"expires":"2026-03-01T12:01:00Z"` + rest + `}`
}

func TestControlStory(t *testing.T) {
	g, clock := clockedGuard(t, shopConfig())
	srv := httptest.NewServer(g.Control())
	defer srv.Close()
	const dir = "/guard/v1/directives"
	shedState := `{"id":"i1/shed","kind":"shed","callee":"","name":"","params":{"low":5,"rps":80},"default":{},"epoch":7,"seq":3,"expires":"2026-03-01T12:01:00Z","phase":"held","step":0}`
	for i, s := range []struct {
		method, path, body string
		status             int
		want               string
	}{
		{"PUT", dir, order("i1/shed", "shed", `{"rps":80,"low":5}`, ""), 200, shedState},
		{"PUT", dir, order("i1/shed", "shed", `{"rps":80,"low":5}`, `,"callee":"","name":""`), 200, shedState},
		{"PUT", dir, strings.Replace(order("i2", "queue_bound", `{"length":3}`, ""), `"epoch":7`, `"epoch":6`, 1), 409, `{"error":"stale_epoch: epoch 6 is below 7","epoch":7}`},
		{"PUT", dir, strings.Replace(order("i2", "shed", `{"rps":3}`, ""), `"seq":3`, `"seq":2`, 1), 409, `{"error":"stale_seq: seq 2 is below 3 in epoch 7","epoch":7}`},
		{"PUT", dir, order("i2", "reboot", `{}`, ""), 400, `{"error":"kind: is \"reboot\"; allowed: [shed retry_budget queue_bound breaker timeout kill_switch]"}`},
		{"DELETE", dir + "/i1%2Fshed?epoch=7&seq=4", "", 200, strings.Replace(shedState, `"held"`, `"returning"`, 1)},
		{"DELETE", dir + "/i1/shed?epoch=7&seq=5&now=true", "", 200, `{"id":"i1/shed","kind":"","callee":"","name":"","params":null,"default":null,"epoch":0,"seq":0,"expires":"0001-01-01T00:00:00Z","phase":"gone","step":0}`},
		{"DELETE", dir + "/i1/shed?epoch=6&seq=5", "", 409, `{"error":"stale_epoch: epoch 6 is below 7","epoch":7}`},
		{"GET", "/guard/v1/state", "", 200, `{"service":"checkout","epoch":7,"settings":{` +
			`"breaker":{"ledger":{},"stock":{}},"kill_switch":{},"queue_bound":{"":{"length":10000}},` +
			`"retry_budget":{"ledger":{},"stock":{"ratio":0.5}},"shed":{"":{}},"timeout":{"":{},"ledger":{"seconds":1},"stock":{}}},"directives":[],"breakers":{}}`},
	} {
		status, got := ask(t, srv, s.method, s.path, bearer, s.body)
		if status != s.status || got != s.want {
			t.Errorf("step %d: %d %s\nwant    %d %s", i, status, got, s.status, s.want)
		}
	}
	if clock.pending() != 0 {
		t.Errorf("%d timers are left", clock.pending())
	}
}

func TestControlRefusesStrangers(t *testing.T) {
	g, _ := clockedGuard(t, shopConfig())
	srv := httptest.NewServer(g.Control())
	defer srv.Close()
	for _, token := range []string{"", "Bearer", "Bearer ", "Bearer let-me-i", "Bearer let-me-in-too", "Basic " + testToken, testToken} {
		for _, method := range []string{"GET", "PUT", "DELETE"} {
			if status, body := ask(t, srv, method, "/guard/v1/state", token, ""); status != http.StatusUnauthorized || strings.Contains(body, "checkout") {
				t.Errorf("%s with %q: %d %s", method, token, status, body)
			}
		}
	}
	if got := testutil.ToFloat64(g.metrics.refused.WithLabelValues("unauthorized")); got != 21 {
		t.Errorf("%v refusals counted, want 21", got)
	}
	cfg := shopConfig()
	open := newTestGuard(t, cfg)
	open.token.Store(new(string)) // as without a configured one
	bare := httptest.NewServer(open.Control())
	defer bare.Close()
	if status, _ := ask(t, bare, "GET", "/guard/v1/state", "Bearer ", ""); status != http.StatusUnauthorized {
		t.Errorf("without a configured token: %d", status)
	}
}

func TestControlRefusesWhatItCannotRead(t *testing.T) {
	g, _ := clockedGuard(t, shopConfig())
	srv := httptest.NewServer(g.Control())
	defer srv.Close()
	good := order("a", "shed", `{"rps":1}`, "")
	for name, c := range map[string]struct {
		method, path, body string
		status             int
	}{
		"no body":       {"PUT", "/guard/v1/directives", "", 400},
		"unknown field": {"PUT", "/guard/v1/directives", order("a", "shed", `{"rps":1}`, `,"scope":"all"`), 400},
		"two values":    {"PUT", "/guard/v1/directives", good + good, 400},
		"text value":    {"PUT", "/guard/v1/directives", order("a", "shed", `{"rps":"many"}`, ""), 400},
		"bad epoch":     {"PUT", "/guard/v1/directives", strings.Replace(good, `"epoch":7`, `"epoch":-1`, 1), 400},
		"huge body":     {"PUT", "/guard/v1/directives", order(strings.Repeat("a", maxDirectiveBytes), "shed", `{"rps":1}`, ""), 400},
		"no epoch":      {"DELETE", "/guard/v1/directives/a?seq=1", "", 400},
		"no seq":        {"DELETE", "/guard/v1/directives/a?epoch=1", "", 400},
		"odd now":       {"DELETE", "/guard/v1/directives/a?epoch=1&seq=1&now=maybe", "", 400},
		"no id":         {"DELETE", "/guard/v1/directives/?epoch=1&seq=1", "", 400},
		"wrong method":  {"POST", "/guard/v1/directives", good, 405},
		"wrong path":    {"GET", "/guard/v2/state", "", 404},
	} {
		if status, body := ask(t, srv, c.method, c.path, bearer, c.body); status != c.status {
			t.Errorf("%s: %d %s, want %d", name, status, body, c.status)
		}
	}
	if s := g.state(); s.Epoch != 0 || len(s.Directives) != 0 {
		t.Errorf("unreadable requests left %+v", s)
	}
}

func TestStateIsSortedAndStable(t *testing.T) {
	g, _ := clockedGuard(t, shopConfig())
	for _, name := range []string{"wishlist", "reviews", "ads"} {
		d := directive(name, KindKillSwitch, Params{"percent": 5})
		d.Name = name
		mustPut(t, g, d)
	}
	mustPut(t, g, directive("z", KindShed, Params{"rps": 5}))
	mustPut(t, g, directive("y", KindRetryBudget, Params{"ratio": 0.1}))
	first, _ := json.Marshal(g.state())
	for range 20 {
		if again, _ := json.Marshal(g.state()); string(again) != string(first) {
			t.Fatalf("the same state reads\n%s\nand\n%s", first, again)
		}
	}
	var ids []string
	for _, d := range g.state().Directives {
		ids = append(ids, d.ID)
	}
	if diff := cmp.Diff([]string{"ads", "reviews", "wishlist", "y", "z"}, ids); diff != "" {
		t.Error(diff)
	}
}

// FuzzPutDirective: whatever is sent, the answer is one of the documented ones,
// and what is accepted reads back as it was sent.
func FuzzPutDirective(f *testing.F) {
	f.Add(order("a", "shed", `{"rps":1}`, ""))
	f.Add(order("a", "retry_budget", `{"ratio":0.1}`, `,"callee":"ledger"`))
	f.Add(order("a", "kill_switch", `{"percent":100}`, `,"name":"wishlist"`))
	f.Add(order("a", "breaker", `{"failure_ratio":0.5,"min_requests":10}`, `,"callee":"stock"`))
	f.Add(`{"id":"a","params":{"rps":1e999}}`)
	f.Fuzz(func(t *testing.T, body string) {
		clock := newFakeClock()
		g, err := New(shopConfig(), WithClock(clock))
		if err != nil {
			t.Fatal(err)
		}
		defer g.Close()
		r := httptest.NewRequest(http.MethodPut, "/guard/v1/directives", strings.NewReader(body))
		r.Header.Set("Authorization", bearer)
		w := httptest.NewRecorder()
		g.Control().ServeHTTP(w, r)
		switch w.Code {
		case http.StatusOK:
			var sent, held Directive
			if err := json.Unmarshal([]byte(body), &sent); err != nil {
				t.Fatalf("accepted what JSON does not: %v", err)
			}
			if err := json.Unmarshal(w.Body.Bytes(), &held); err != nil {
				t.Fatal(err)
			}
			if !cmp.Equal(sent, held) {
				t.Fatal(cmp.Diff(sent, held))
			}
			clock.advance(MaxTTL + 5*20*time.Second)
			if s := g.state(); len(s.Directives) != 0 || clock.pending() != 0 {
				t.Fatalf("never came home: %+v", s)
			}
		case http.StatusBadRequest:
			if s := g.state(); len(s.Directives) != 0 || s.Epoch != 0 {
				t.Fatalf("refused, but left %+v", s)
			}
		default:
			t.Fatalf("status %d: %s", w.Code, w.Body)
		}
	})
}
