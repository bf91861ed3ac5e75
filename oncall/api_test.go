package oncall

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/sreagent/sreagent/sre"
)

// sink keeps reported changes.
type sink struct {
	got []sre.Change
	err error
}

func (s *sink) Report(_ context.Context, c sre.Change) error {
	s.got = append(s.got, c)
	return s.err
}

// office is an API with an agent behind it that answers every input at once.
type office struct {
	desk    *Desk
	handler http.Handler
	heard   []sre.Input
	verdict func(in sre.Input) sre.Answer
	changes *sink
	opts    APIOptions
	api     *api
}

func newOffice(t *testing.T, change ...func(*APIOptions)) *office {
	t.Helper()
	o := &office{desk: NewDesk(DeskOptions{}), changes: &sink{}}
	o.verdict = func(in sre.Input) sre.Answer { return sre.Answer{Input: in.ID, Accepted: true, Reason: "done"} }
	tokens := testTokens(t)
	o.opts = APIOptions{
		Tokens: func() *Tokens { return tokens }, Changes: o.changes, Reload: func() error { return nil },
		Gatherer: prometheus.NewRegistry(), Version: VersionInfo{Version: "1.2.3"},
		Records: func(context.Context, string) ([]sre.Record, error) { return trail(), nil },
		Flags:   map[string]http.Handler{"flags": http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("{}")) })},
		Now:     func() time.Time { return noon },
	}
	for _, f := range change {
		f(&o.opts)
	}
	o.handler = NewAPI(o.desk, o.opts)
	o.api = o.handler.(*api)
	o.desk.Publish(view(), nil)
	return o
}

// do sends one request while the agent ticks.
func (o *office) do(t *testing.T, method, path, token, body string) *httptest.ResponseRecorder {
	t.Helper()
	req := httptest.NewRequestWithContext(t.Context(), method, path, strings.NewReader(body))
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	rec := httptest.NewRecorder()
	done := make(chan struct{})
	go func() {
		defer close(done)
		o.handler.ServeHTTP(rec, req)
	}()
	for {
		select {
		case <-done:
			return rec
		default:
			var answers []sre.Answer
			for _, in := range o.desk.Drain(noon) {
				o.heard = append(o.heard, in)
				answers = append(answers, o.verdict(in))
			}
			o.desk.Publish(nil, answers)
			runtime.Gosched()
		}
	}
}

func opened(t *testing.T, rec *httptest.ResponseRecorder) envelope {
	t.Helper()
	var e envelope
	if err := json.Unmarshal(rec.Body.Bytes(), &e); err != nil {
		t.Fatalf("not an envelope: %v\n%s", err, rec.Body)
	}
	if ct := rec.Header().Get("Content-Type"); !strings.HasPrefix(ct, "application/json") {
		t.Errorf("content type %q", ct)
	}
	return e
}

func dataOf[T any](t *testing.T, rec *httptest.ResponseRecorder) T {
	t.Helper()
	e := opened(t, rec)
	if e.Status != "success" || e.ErrorType != "" || e.Error != "" {
		t.Fatalf("%d %+v", rec.Code, e)
	}
	var v T
	if err := json.Unmarshal(e.Data, &v); err != nil {
		t.Fatal(err)
	}
	return v
}

// wantRefusal checks the one shape that every refusal has.
func wantRefusal(t *testing.T, rec *httptest.ResponseRecorder, code int, kind ErrorType, text string) {
	t.Helper()
	e := opened(t, rec)
	if rec.Code != code || e.Status != "error" || e.ErrorType != kind || e.Error == "" || e.Data != nil || !strings.Contains(e.Error, text) {
		t.Errorf("got %d %+v, want %d %s with %q", rec.Code, e, code, kind, text)
	}
}

// request is a valid request to a route.
func request(rt route) (path, body string) {
	path = strings.NewReplacer("{id}", "inc-7", "{name}", "shop%2Fcheckout%2Frecs", "{lever}", "flags").Replace(rt.path)
	switch {
	case rt.method == http.MethodGet:
		return path, ""
	case strings.HasSuffix(path, "/approve"), strings.HasSuffix(path, "/reject"):
		return path, `{"decision":"inc-7/d2","comment":"yes"}`
	case strings.HasSuffix(path, "/pause"):
		return path, `{"name":"freeze","reason":"release"}`
	case strings.Contains(path, "/mandate/"):
		return path, `{"kind":"shed","service":"web","runbook":"storm"}`
	case strings.HasSuffix(path, "/stop"), strings.HasSuffix(path, "/start"):
		return path, `{"reason":"enough"}`
	case strings.HasSuffix(path, "/resume"):
		return path, `{"name":"freeze"}`
	case strings.Contains(path, "/switches/"):
		return path, `{"state":"off","percent":25,"for":"10m","reason":"overload"}`
	case strings.HasSuffix(path, "/changes"):
		return path, `{"kind":"deploy","service":"checkout"}`
	}
	return path, ""
}

// TestRoleMatrix asks every route as everybody. Wanted roles stand here once
// more by hand: the table in routes() must not be its own judge.
func TestRoleMatrix(t *testing.T) {
	least := map[string]sre.Role{
		"GET /-/healthy": "", "GET /healthz": "", "GET /-/ready": "", "GET /readyz": "", "GET /metrics": "", "GET /version": "",
		"GET /api/v1/openapi.yaml": "",
		"GET /api/v1/status":       sre.Viewer, "GET /api/v1/graph": sre.Viewer, "GET /api/v1/incidents": sre.Viewer,
		"GET /api/v1/incidents/{id}": sre.Viewer, "GET /api/v1/incidents/{id}/explain": sre.Viewer, "GET /api/v1/approvals": sre.Viewer, "GET /api/v1/explain": sre.Viewer,
		"POST /api/v1/incidents/{id}/close": sre.Operator, "POST /api/v1/incidents/{id}/undo": sre.Operator,
		"POST /api/v1/pause": sre.Operator, "POST /api/v1/resume": sre.Operator, "POST /api/v1/changes": sre.Operator,
		"POST /api/v1/incidents/{id}/approve": sre.Approver, "POST /api/v1/incidents/{id}/reject": sre.Approver,
		"GET /api/v1/switches": sre.Viewer, "GET /api/v1/flags/{lever}": sre.Viewer, "POST /api/v1/switches/{name}": sre.Operator,
		"GET /api/v1/mandate": sre.Viewer, "POST /api/v1/mandate/accept": sre.Approver, "POST /api/v1/mandate/decline": sre.Approver,
		"POST /api/v1/mandate/demote": sre.Operator, "POST /api/v1/mandate/restore": sre.Approver,
		"POST /api/v1/stop": sre.Operator, "POST /api/v1/start": sre.Approver,
		"POST /-/reload": sre.Admin, "PUT /-/reload": sre.Admin,
	}
	for _, anonymous := range []bool{false, true} {
		o := newOffice(t, func(a *APIOptions) { a.AllowAnonymous = anonymous })
		seen := 0
		for _, rt := range o.api.routes() {
			name := rt.method + " " + rt.path
			need, known := least[name]
			if !known {
				t.Errorf("%s is not in the matrix", name)
			}
			seen++
			path, body := request(rt)
			for _, who := range append([]sre.Role{"", "forged"}, roles...) {
				token := ""
				if who != "" {
					token = tokenOf(who)
				}
				rec := o.do(t, rt.method, path, token, body)
				rank := who.Rank()
				if who == "" && anonymous {
					rank = sre.Viewer.Rank()
				}
				label := fmt.Sprintf("%s as %q, anonymous %v", name, who, anonymous)
				switch {
				case need == "" || rank >= need.Rank():
					if rec.Code != http.StatusOK {
						t.Errorf("%s: %d %s", label, rec.Code, rec.Body)
					}
				case who == "" || who == "forged":
					wantRefusal(t, rec, http.StatusUnauthorized, Unauthorized, "token")
					if rec.Header().Get("WWW-Authenticate") == "" {
						t.Errorf("%s: no WWW-Authenticate", label)
					}
				default:
					wantRefusal(t, rec, http.StatusForbidden, Forbidden, "needs the role "+string(need))
				}
			}
		}
		if seen != len(least) {
			t.Errorf("%d routes, the matrix has %d", seen, len(least))
		}
		for _, in := range o.heard {
			if in.By != "a-"+string(in.Role) || in.Role.Rank() < sre.Operator.Rank() {
				t.Errorf("the agent heard %+v", in)
			}
		}
	}
}

func TestNobodyAuthenticatesWithoutTokens(t *testing.T) {
	for name, tokens := range map[string]func() *Tokens{"no file": nil, "not loaded": func() *Tokens { return nil }} {
		o := newOffice(t, func(a *APIOptions) { a.Tokens, a.AllowAnonymous = tokens, true })
		if rec := o.do(t, "GET", "/api/v1/status", "", ""); rec.Code != http.StatusOK {
			t.Errorf("%s: reading got %d", name, rec.Code)
		}
		for _, token := range []string{"", tokenOf(sre.Admin)} {
			rec := o.do(t, "POST", "/api/v1/incidents/inc-7/approve", token, `{"decision":"inc-7/d2"}`)
			wantRefusal(t, rec, http.StatusUnauthorized, Unauthorized, "token")
		}
		if len(o.heard) > 0 {
			t.Errorf("%s: the agent heard %v", name, o.heard)
		}
	}
}

func TestTokenInItsOwnHeaderBesideBasicAuth(t *testing.T) {
	o := newOffice(t)
	req := httptest.NewRequestWithContext(t.Context(), "GET", "/api/v1/status", nil)
	req.SetBasicAuth("web", "config")
	rec := httptest.NewRecorder()
	o.handler.ServeHTTP(rec, req)
	wantRefusal(t, rec, http.StatusUnauthorized, Unauthorized, "token")
	req.Header.Set(TokenHeader, tokenOf(sre.Viewer))
	rec = httptest.NewRecorder()
	o.handler.ServeHTTP(rec, req)
	if rec.Code != http.StatusOK {
		t.Errorf("%d %s", rec.Code, rec.Body)
	}
}

func TestTokensAreSwappedByReload(t *testing.T) {
	tokens := testTokens(t)
	o := newOffice(t, func(a *APIOptions) { a.Tokens = func() *Tokens { return tokens } })
	if rec := o.do(t, "GET", "/api/v1/status", tokenOf(sre.Viewer), ""); rec.Code != http.StatusOK {
		t.Fatal(rec.Code)
	}
	tokens = &Tokens{}
	wantRefusal(t, o.do(t, "GET", "/api/v1/status", tokenOf(sre.Viewer), ""), http.StatusUnauthorized, Unauthorized, "not known")
}

func TestBeforeTheFirstTick(t *testing.T) {
	desk := NewDesk(DeskOptions{})
	tokens := testTokens(t)
	h := NewAPI(desk, APIOptions{Tokens: func() *Tokens { return tokens }, AnswerTimeout: time.Nanosecond})
	do := func(method, path, body string) *httptest.ResponseRecorder {
		req := httptest.NewRequestWithContext(t.Context(), method, path, strings.NewReader(body))
		req.Header.Set("Authorization", "Bearer "+tokenOf(sre.Admin))
		rec := httptest.NewRecorder()
		h.ServeHTTP(rec, req)
		return rec
	}
	for _, path := range []string{"status", "graph", "incidents", "incidents/inc-7", "incidents/inc-7/explain", "approvals"} {
		wantRefusal(t, do("GET", "/api/v1/"+path, ""), 503, Unavailable, "no tick")
	}
	wantRefusal(t, do("POST", "/api/v1/incidents/inc-7/approve", `{"decision":"d"}`), 503, Unavailable, "no tick")
	wantRefusal(t, do("POST", "/api/v1/changes", `{"service":"a"}`), 503, Unavailable, "no reports")
	wantRefusal(t, do("POST", "/-/reload", ""), 503, Unavailable, "reload")
	if rec := do("GET", "/-/ready", ""); rec.Code != 503 || !strings.Contains(rec.Body.String(), "no tick has finished yet") {
		t.Errorf("ready: %d %s", rec.Code, rec.Body)
	}
	// Stopping the agent must be possible at any time.
	if rec := do("POST", "/api/v1/pause", `{"name":"x"}`); rec.Code != 202 {
		t.Errorf("pause: %d %s", rec.Code, rec.Body)
	}
}

func TestReload(t *testing.T) {
	var err error
	n := 0
	o := newOffice(t, func(a *APIOptions) { a.Reload = func() error { n++; return err } })
	for _, method := range []string{"POST", "PUT"} {
		if rec := o.do(t, method, "/-/reload", tokenOf(sre.Admin), ""); rec.Code != 200 {
			t.Errorf("%s: %d", method, rec.Code)
		}
	}
	err = errors.New("sreagent.yaml:3:1: unknown key")
	wantRefusal(t, o.do(t, "POST", "/-/reload", tokenOf(sre.Admin), ""), 500, BadData, "sreagent.yaml:3:1")
	if n != 3 {
		t.Errorf("%d reloads", n)
	}
}

func TestRoutePrefix(t *testing.T) {
	for _, prefix := range []string{"sreagent", "/sreagent", "/sreagent/"} {
		o := newOffice(t, func(a *APIOptions) { a.RoutePrefix = prefix })
		if rec := o.do(t, "GET", "/sreagent/-/healthy", "", ""); rec.Code != 200 {
			t.Errorf("%q: %d", prefix, rec.Code)
		}
		wantRefusal(t, o.do(t, "GET", "/-/healthy", "", ""), 404, NotFound, "no such path")
	}
}

func TestRequestsAreCounted(t *testing.T) {
	reg := prometheus.NewPedanticRegistry()
	o := newOffice(t, func(a *APIOptions) { a.Registerer = reg })
	o.do(t, "GET", "/api/v1/incidents/inc-7", tokenOf(sre.Viewer), "")
	o.do(t, "GET", "/api/v1/incidents/inc-6", tokenOf(sre.Viewer), "")
	o.do(t, "GET", "/api/v1/incidents/none", tokenOf(sre.Viewer), "")
	o.do(t, "GET", "/api/v1/status", "", "")
	o.do(t, "GET", "/anything/at/all", "", "")
	want := `
# HELP sreagent_http_requests_total Requests to the agent's own HTTP API, by route and status code.
# TYPE sreagent_http_requests_total counter
sreagent_http_requests_total{code="200",handler="/api/v1/incidents/{id}"} 2
sreagent_http_requests_total{code="404",handler="/api/v1/incidents/{id}"} 1
sreagent_http_requests_total{code="401",handler="/api/v1/status"} 1
sreagent_http_requests_total{code="404",handler="none"} 1
`
	if err := testutil.GatherAndCompare(reg, strings.NewReader(want)); err != nil {
		t.Error(err)
	}
	if problems, err := testutil.GatherAndLint(reg); err != nil || len(problems) > 0 {
		t.Errorf("lint: %v %v", problems, err)
	}
}
