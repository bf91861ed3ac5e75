package oncall

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sreagent/sreagent/sre"
)

func TestApproveReachesTheAgentWithWhoAndWhat(t *testing.T) {
	o := newOffice(t)
	rec := o.do(t, "POST", "/api/v1/incidents/inc-7/approve", tokenOf(sre.Approver), `{"decision":"inc-7/d2","comment":"looks right"}`)
	got := dataOf[Receipt](t, rec)
	if want := (Receipt{Input: "input-1", Accepted: true, Reason: "done"}); got != want {
		t.Errorf("receipt %+v, want %+v", got, want)
	}
	want := []sre.Input{{
		ID: "input-1", Kind: sre.InputApprove, At: noon, By: "a-approver", Role: sre.Approver,
		Incident: "inc-7", Decision: "inc-7/d2", Reason: "looks right",
	}}
	if diff := cmp.Diff(want, o.heard); diff != "" {
		t.Error(diff)
	}
}

func TestAnswersToAnotherQuestionAreRefused(t *testing.T) {
	for _, verb := range []string{"approve", "reject"} {
		o := newOffice(t)
		for _, c := range []struct {
			incident, body string
			code           int
			kind           ErrorType
			text           string
		}{
			{"inc-7", `{"decision":"inc-7/d1"}`, 409, Conflict, "the incident is at inc-7/d2"},
			{"inc-7", `{}`, 400, BadData, `"decision" is missing`},
			{"inc-7", ``, 400, BadData, `"decision" is missing`},
			{"inc-6", `{"decision":"inc-7/d2"}`, 409, Conflict, "asks nothing; its state is suspected"},
			{"inc-99", `{"decision":"inc-7/d2"}`, 404, NotFound, "inc-99"},
		} {
			rec := o.do(t, "POST", "/api/v1/incidents/"+c.incident+"/"+verb, tokenOf(sre.Approver), c.body)
			wantRefusal(t, rec, c.code, c.kind, c.text)
		}
		if len(o.heard) > 0 {
			t.Errorf("%s: the agent heard %v", verb, o.heard)
		}
	}
}

func TestTheAgentsRefusalIsAConflict(t *testing.T) {
	o := newOffice(t)
	o.verdict = func(in sre.Input) sre.Answer {
		return sre.Answer{Input: in.ID, Reason: "the evidence is older than 2m0s"}
	}
	for _, rt := range o.api.routes() {
		path, body := request(rt)
		if rt.method != http.MethodPost || rt.path == "/-/reload" || rt.path == "/api/v1/changes" {
			continue
		}
		rec := o.do(t, rt.method, path, tokenOf(sre.Admin), body)
		wantRefusal(t, rec, http.StatusConflict, Conflict, "the evidence is older than 2m0s")
	}
	if len(o.heard) != 13 {
		t.Errorf("the agent heard %d commands", len(o.heard))
	}
}

func TestACommandWithoutAnAnswerIsAccepted(t *testing.T) {
	o := newOffice(t, func(a *APIOptions) { a.AnswerTimeout = time.Nanosecond })
	req := httptest.NewRequestWithContext(t.Context(), "POST", "/api/v1/incidents/inc-7/undo", nil)
	req.Header.Set("Authorization", "Bearer "+tokenOf(sre.Operator))
	rec := httptest.NewRecorder()
	o.handler.ServeHTTP(rec, req)
	got := dataOf[Receipt](t, rec)
	if rec.Code != http.StatusAccepted || !got.Queued || got.Accepted || got.Reason != "queued, not yet answered" {
		t.Errorf("%d %+v", rec.Code, got)
	}
	if in := o.desk.Drain(noon); len(in) != 1 || in[0].ID != got.Input || in[0].Kind != sre.InputUndo {
		t.Errorf("queued %v", in)
	}
}

func TestAFullDeskIsUnavailable(t *testing.T) {
	o := newOffice(t, func(a *APIOptions) { a.AnswerTimeout = time.Nanosecond })
	o.desk.capacity = 0
	req := httptest.NewRequestWithContext(t.Context(), "POST", "/api/v1/pause", strings.NewReader(`{"name":"x"}`))
	req.Header.Set("Authorization", "Bearer "+tokenOf(sre.Operator))
	rec := httptest.NewRecorder()
	o.handler.ServeHTTP(rec, req)
	wantRefusal(t, rec, http.StatusServiceUnavailable, Unavailable, "too many")
}

func TestBadRequestsSayWhatIsWrong(t *testing.T) {
	o := newOffice(t)
	long := strings.Repeat("x", maxComment+1)
	for _, c := range []struct {
		method, path, body string
		code               int
		kind               ErrorType
		text               string
	}{
		{"POST", "/api/v1/incidents/inc-7/approve", `{"desicion":"x"}`, 400, BadData, `unknown field "desicion"; allowed fields: decision, comment`},
		{"POST", "/api/v1/incidents/inc-7/approve", `{"decision":7}`, 400, BadData, "allowed fields: decision, comment"},
		{"POST", "/api/v1/incidents/inc-7/approve", `{`, 400, BadData, "body"},
		{"POST", "/api/v1/incidents/inc-7/approve", `{"decision":"inc-7/d2"} {}`, 400, BadData, "more than one"},
		{"POST", "/api/v1/incidents/inc-7/close", `{"comment":"` + long + `"}`, 400, BadData, "up to 2000"},
		{"POST", "/api/v1/incidents/inc-7/close", strings.Repeat(" ", maxBody+1), 413, BadData, "larger than"},
		{"POST", "/api/v1/pause", `{"reason":"r"}`, 400, BadData, `"name" is missing`},
		{"POST", "/api/v1/pause", `{"name":"` + long + `"}`, 400, BadData, "up to 100"},
		{"POST", "/api/v1/resume", `{"name":"x","reason":"r"}`, 400, BadData, "allowed fields: name"},
		{"POST", "/api/v1/changes", `{}`, 400, BadData, `"service" is missing`},
		{"POST", "/api/v1/changes", `{"service":"a","kind":"magic"}`, 400, BadData, "allowed: deploy"},
		{"POST", "/api/v1/changes", `{"service":"a","at":"2026-03-14T12:06:00Z"}`, 400, BadData, "in the future"},
		{"POST", "/api/v1/changes", `{"service":"a","note":"` + long + `"}`, 400, BadData, "up to 2000"},
		{"GET", "/api/v1/incidents?state=shut", ``, 400, BadData, "allowed: open, all"},
		{"GET", "/api/v1/incidents/none", ``, 404, NotFound, "none"},
		{"GET", "/nowhere", ``, 404, NotFound, "/nowhere"},
		{"GET", "/-/reload", ``, 405, BadData, "allowed: POST, PUT"},
		{"DELETE", "/api/v1/pause", ``, 405, BadData, "allowed: POST"},
	} {
		rec := o.do(t, c.method, c.path, tokenOf(sre.Admin), c.body)
		wantRefusal(t, rec, c.code, c.kind, c.text)
		if c.code == 405 && rec.Header().Get("Allow") == "" {
			t.Errorf("%s %s: no Allow header", c.method, c.path)
		}
	}
	if len(o.heard) > 0 || len(o.changes.got) > 0 {
		t.Errorf("something got through: %v %v", o.heard, o.changes.got)
	}
}

func TestChanges(t *testing.T) {
	o := newOffice(t)
	body := `{"kind":"deploy","service":"checkout","from":"v41","to":"v42","at":"2026-03-14T11:59:00Z","source":"forged"}`
	first := dataOf[sre.Change](t, o.do(t, "POST", "/api/v1/changes", tokenOf(sre.Operator), body))
	again := dataOf[sre.Change](t, o.do(t, "POST", "/api/v1/changes", tokenOf(sre.Operator), body))
	if first.ID != again.ID || !strings.HasPrefix(first.ID, "api-") {
		t.Errorf("the same report is %s and %s", first.ID, again.ID)
	}
	if first.By != "a-operator" || first.Source != "api" {
		t.Errorf("%+v", first)
	}
	other := dataOf[sre.Change](t, o.do(t, "POST", "/api/v1/changes", tokenOf(sre.Operator), `{"service":"checkout"}`))
	if other.ID == first.ID || !other.At.Equal(noon) || other.Kind != sre.OtherChange {
		t.Errorf("%+v", other)
	}
	o.changes.err = errors.New("the feed is full")
	wantRefusal(t, o.do(t, "POST", "/api/v1/changes", tokenOf(sre.Operator), body), 503, Unavailable, "the feed is full")
}
