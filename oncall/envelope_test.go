package oncall

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sreagent/sreagent/sre"
)

// overPipe serves an API over a pipe, so that the server's clock is virtual,
// sends one raw request and returns the answer with the time that it took.
func overPipe(t *testing.T, desk *Desk, tokens *Tokens, request string) (int, string, time.Duration) {
	t.Helper()
	pipes := &pipeNet{conns: make(chan net.Conn), done: make(chan struct{})}
	server := &http.Server{Handler: NewAPI(desk, APIOptions{Tokens: func() *Tokens { return tokens }})}
	serving := make(chan struct{})
	go func() {
		defer close(serving)
		_ = server.Serve(pipes)
	}()
	conn, err := pipes.dial(t.Context(), "", "")
	if err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	if _, err := io.WriteString(conn, request); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	took := time.Since(start)
	_ = conn.Close()
	_ = server.Close()
	<-serving
	return resp.StatusCode, string(body), took
}

func rawPost(path string, length int, body string) string {
	return fmt.Sprintf("POST %s HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nContent-Length: %d\r\n\r\n%s",
		path, tokenOf(sre.Operator), length, body)
}

func TestABodyThatNeverArrivesIsGivenUp(t *testing.T) {
	tokens := testTokens(t)
	synctest.Test(t, func(t *testing.T) {
		desk := NewDesk(DeskOptions{})
		code, body, took := overPipe(t, desk, tokens, rawPost("/api/v1/pause", 9, "{"))
		if code != 400 || !strings.Contains(body, "did not arrive") || took != bodyTimeout {
			t.Errorf("after %s: %d %s", took, code, body)
		}
		if len(desk.Drain(noon)) != 0 {
			t.Error("half a request reached the agent")
		}
	})
}

// TestTheDeadlineOfTheBodyIsNotThatOfTheAnswer waits for longer than a body may
// take, with a body and without one.
func TestTheDeadlineOfTheBodyIsNotThatOfTheAnswer(t *testing.T) {
	tokens := testTokens(t)
	for _, request := range []string{
		rawPost("/api/v1/pause", 17, `{"name":"freeze"}`),
		rawPost("/api/v1/incidents/inc-7/undo", 0, ""),
	} {
		synctest.Test(t, func(t *testing.T) {
			desk := NewDesk(DeskOptions{})
			desk.Publish(view(), nil)
			code, answer, took := overPipe(t, desk, tokens, request)
			if code != 202 || took != defaultAnswerTimeout {
				t.Errorf("after %s: %d %s", took, code, answer)
			}
		})
	}
}

func TestWhatCannotBeEncodedIsAnError(t *testing.T) {
	rec := httptest.NewRecorder()
	writeData(rec, http.StatusOK, math.NaN())
	wantRefusal(t, rec, http.StatusInternalServerError, Unavailable, "encode the answer")
	rec = httptest.NewRecorder()
	writeRefusal(rec, errors.New("something else"))
	wantRefusal(t, rec, http.StatusServiceUnavailable, Unavailable, "something else")
}

func TestEveryErrorTypeHasItsStatus(t *testing.T) {
	for kind, want := range map[ErrorType]int{
		Unauthorized: 401, Forbidden: 403, BadData: 400, NotFound: 404, Conflict: 409, Unavailable: 503, "": 400,
	} {
		if got := kind.status(); got != want {
			t.Errorf("%q: %d, want %d", kind, got, want)
		}
	}
}

func TestAnswersAreNotCachedOrSniffed(t *testing.T) {
	o := newOffice(t)
	for _, path := range []string{"/api/v1/status", "/nowhere", "/-/ready?format=json"} {
		h := o.do(t, "GET", path, tokenOf(sre.Viewer), "").Header()
		if h.Get("Cache-Control") != "no-store" || h.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s: %v", path, h)
		}
	}
}

func TestTheServedDocumentIsTheEmbeddedOne(t *testing.T) {
	rec := newOffice(t).do(t, "GET", "/api/v1/openapi.yaml", "", "")
	if rec.Header().Get("Content-Type") != "application/yaml" || rec.Body.String() != string(openAPI) {
		t.Errorf("%v, %d bytes", rec.Header(), rec.Body.Len())
	}
}

// TestHostileBodies gives every command a body that could mean something else
// to a careless reader.
func TestHostileBodies(t *testing.T) {
	o := newOffice(t)
	for _, body := range []string{
		`null x`, `[]`, `"approve"`, `{"decision":null,"decision2":"x"}`, `{"decision":["inc-7/d2"]}`, "\xff\xfe", `{"decision":"inc-7/d2"}{"decision":"x"}`,
		`{"by":"ada","decision":"inc-7/d2"}`, `{"role":"admin","decision":"inc-7/d2"}`,
	} {
		for _, verb := range []string{"approve", "reject", "undo", "close"} {
			rec := o.do(t, "POST", "/api/v1/incidents/inc-7/"+verb, tokenOf(sre.Admin), body)
			wantRefusal(t, rec, 400, BadData, "")
		}
	}
	if len(o.heard) > 0 {
		t.Errorf("the agent heard %v", o.heard)
	}
}
