package oncall

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sreagent/sreagent/sre"
)

func TestClientSpeaksEveryRoute(t *testing.T) {
	o := newOffice(t, func(a *APIOptions) { a.RoutePrefix = "/agent" })
	server := httptest.NewServer(o.handler)
	defer server.Close()
	defer server.CloseClientConnections()
	stop := make(chan struct{})
	ticked := make(chan struct{})
	go func() { // the agent's loop
		defer close(ticked)
		for {
			select {
			case <-stop:
				return
			default:
			}
			var answers []sre.Answer
			for _, in := range o.desk.Drain(noon) {
				o.heard = append(o.heard, in)
				answers = append(answers, o.verdict(in))
			}
			o.desk.Publish(nil, answers)
		}
	}()
	ctx := t.Context()
	c := NewClient(server.URL+"/agent/", tokenOf(sre.Admin), server.Client())

	must := func(what string, err error) {
		t.Helper()
		if err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
	s, err := c.Status(ctx)
	must("status", err)
	v, err := c.Version(ctx)
	must("version", err)
	g, err := c.Graph(ctx, "")
	must("graph", err)
	open, err := c.Incidents(ctx, false)
	must("incidents", err)
	all, err := c.Incidents(ctx, true)
	must("incidents", err)
	one, err := c.Incident(ctx, "inc-7")
	must("incident", err)
	why, err := c.Explain(ctx, "inc-7", noon)
	must("explain", err)
	prompts, err := c.Approvals(ctx)
	must("approvals", err)
	ready, err := c.Ready(ctx)
	must("ready", err)
	if s.Tick != 42 || v.Version != "1.2.3" || len(g.Nodes) != 4 || len(open) != 2 || len(all) != 3 || one.ID != "inc-7" ||
		len(why.Timeline) != len(trail())+1 || len(prompts) != 1 || !ready.Ready {
		t.Errorf("%+v %+v %+v %d %d %s %d %d %+v", s, v, g, len(open), len(all), one.ID, len(why.Timeline), len(prompts), ready)
	}
	if diff := cmp.Diff(storm(), one); diff != "" {
		t.Errorf("an incident changes on its way: %s", diff)
	}
	commands := []func() (Receipt, error){
		func() (Receipt, error) { return c.Approve(ctx, "inc-7", "inc-7/d2", "yes") },
		func() (Receipt, error) { return c.Reject(ctx, "inc-7", "inc-7/d2", "no") },
		func() (Receipt, error) { return c.Close(ctx, "inc-7", "over") },
		func() (Receipt, error) { return c.Undo(ctx, "inc-7", "back") },
		func() (Receipt, error) { return c.Pause(ctx, "freeze", "release") },
		func() (Receipt, error) { return c.Resume(ctx, "freeze") },
	}
	for i, f := range commands {
		if r, err := f(); err != nil || !r.Accepted {
			t.Errorf("command %d: %+v %v", i, r, err)
		}
	}
	change, err := c.ReportChange(ctx, sre.Change{Kind: sre.Flag, Service: "web"})
	must("change", err)
	if change.Source != "api" {
		t.Errorf("%+v", change)
	}
	must("reload", c.Reload(ctx))
	close(stop)
	<-ticked

	var heard []string
	for _, in := range o.heard {
		heard = append(heard, string(in.Kind)+" "+in.Incident+in.Name+" "+in.Reason)
	}
	want := []string{"approve inc-7 yes", "reject inc-7 no", "close inc-7 over", "undo inc-7 back", "pause freeze release", "resume freeze "}
	if diff := cmp.Diff(want, heard); diff != "" {
		t.Error(diff)
	}
}

func TestClientErrorsAreTyped(t *testing.T) {
	o := newOffice(t)
	server := httptest.NewServer(o.handler)
	defer server.Close()
	defer server.CloseClientConnections()
	want := func(err error, code int, kind ErrorType, text string) {
		t.Helper()
		var e *APIError
		if !errors.As(err, &e) || e.StatusCode != code || e.Type != kind || !strings.Contains(err.Error(), text) {
			t.Errorf("got %v, want %d %s with %q", err, code, kind, text)
		}
	}
	viewer := NewClient(server.URL, tokenOf(sre.Viewer), server.Client())
	_, err := viewer.Approve(t.Context(), "inc-7", "inc-7/d2", "")
	want(err, 403, Forbidden, "needs the role approver")
	_, err = viewer.Incident(t.Context(), "../../-/reload")
	want(err, 404, NotFound, "../../-/reload")
	_, err = NewClient(server.URL, "", server.Client()).Status(t.Context())
	want(err, 401, Unauthorized, "token")
	_, err = NewClient(server.URL+"/elsewhere", "", server.Client()).Status(t.Context())
	want(err, 404, NotFound, "no such path")

	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusBadGateway)
		_, _ = w.Write([]byte("<html>\x1b[31mBad gateway" + strings.Repeat("!", 500)))
	}))
	defer proxy.Close()
	defer proxy.CloseClientConnections()
	_, err = NewClient(proxy.URL, "", proxy.Client()).Status(t.Context())
	want(err, 502, "", "not an answer of sreagent: <html>[31mBad gateway!")
	if len(err.Error()) > 300 {
		t.Errorf("a whole page in an error: %d bytes", len(err.Error()))
	}

	gone, cancel := context.WithCancel(t.Context())
	cancel()
	var e *APIError
	if _, err := viewer.Status(gone); !errors.Is(err, context.Canceled) || errors.As(err, &e) {
		t.Errorf("a network error is %v", err)
	}
}

func TestClientShowsWhatIsQueued(t *testing.T) {
	o := newOffice(t, func(a *APIOptions) { a.AnswerTimeout = time.Nanosecond })
	server := httptest.NewServer(o.handler)
	defer server.Close()
	defer server.CloseClientConnections()
	r, err := NewClient(server.URL, tokenOf(sre.Operator), server.Client()).Undo(t.Context(), "inc-7", "")
	if err != nil || !r.Queued || r.Accepted || r.Input == "" {
		t.Errorf("%+v %v", r, err)
	}
}
