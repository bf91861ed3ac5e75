package oncall

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/sreagent/sreagent/sre"
)

func TestExplain(t *testing.T) {
	o := newOffice(t)
	for _, path := range []string{"/api/v1/incidents/inc-7/explain", "/api/v1/explain?incident=inc-7", "/api/v1/explain?incident=inc-7&at=2026-03-14T12:00:10Z"} {
		e := dataOf[sre.Explanation](t, o.do(t, "GET", path, tokenOf(sre.Viewer), ""))
		// The reasons are those of the latest tick, not those that were decided on.
		if e.State != sre.AwaitingApproval || len(e.Decision.Against) != 1 || e.Decision.Against[0].Text != "62%" || len(e.Timeline) != len(trail())+1 || len(e.Quality.Notes) != 0 {
			t.Errorf("%s: %+v", path, e)
		}
	}
	wantRefusal(t, o.do(t, "GET", "/api/v1/explain", "", ""), 401, Unauthorized, "viewer")
	// An incident that has left the view is explained from the trail.
	o.desk.Publish(&sre.View{At: noon.Add(time.Minute), Interval: 15 * time.Second}, nil)
	e := dataOf[sre.Explanation](t, o.do(t, "GET", "/api/v1/incidents/inc-7/explain", tokenOf(sre.Viewer), ""))
	if e.State != sre.Closed || e.Decision.Approval.By != "ada" || len(e.Quality.Notes) != 1 {
		t.Errorf("%+v", e)
	}
	o = newOffice(t, func(a *APIOptions) { a.Records = nil })
	wantRefusal(t, o.do(t, "GET", "/api/v1/incidents/inc-1/explain", tokenOf(sre.Viewer), ""), 404, NotFound, "there is inc-5, inc-6, inc-7")
	wantRefusal(t, o.do(t, "GET", "/api/v1/explain?incident=inc", tokenOf(sre.Viewer), ""), 404, NotFound, "begins 3 incidents")
}

func TestExplainWithoutATrail(t *testing.T) {
	o := newOffice(t, func(a *APIOptions) {
		a.Records = func(ctx context.Context, _ string) ([]sre.Record, error) {
			if _, bounded := ctx.Deadline(); !bounded {
				t.Error("reading the trail is not bounded in time")
			}
			return nil, errors.New("disk gone")
		}
	})
	e := dataOf[sre.Explanation](t, o.do(t, "GET", "/api/v1/incidents/inc-7/explain", tokenOf(sre.Viewer), ""))
	if !slices.Equal(e.Quality.Notes, []string{"the trail could not be read"}) || e.Incident != "inc-7" || len(e.Timeline) == 0 {
		t.Errorf("%+v", e)
	}
	wantRefusal(t, o.do(t, "GET", "/api/v1/incidents/inc-1/explain", tokenOf(sre.Viewer), ""), 503, Unavailable, "could not be read")
}

// A quiet tick of the past is explained as it was then.
func TestExplainATickOfThePast(t *testing.T) {
	o := newOffice(t, func(a *APIOptions) { a.AllowAnonymous = true })
	for i := 1; i <= 4; i++ {
		o.desk.Publish(&sre.View{At: noon.Add(time.Duration(15*i) * time.Second), Interval: 15 * time.Second, Tick: uint64(42 + i), Services: 12, Source: sre.SourceHealth{Up: true}}, nil)
	}
	for query, want := range map[string]uint64{"": 46, "?at=2026-03-14T12:00:00Z": 42, "?at=2026-03-14T12:00:29.5Z": 43, "?at=2026-03-14T13:00:30%2B01:00": 44, "?at=2026-03-14T12:01:15Z": 46} {
		if e := dataOf[sre.Explanation](t, o.do(t, "GET", "/api/v1/explain"+query, "", "")); e.Tick != want || (e.Tick == 42) != (len(e.Incidents) == 3) {
			t.Errorf("%q: tick %d with %d incidents, want %d", query, e.Tick, len(e.Incidents), want)
		}
	}
	kept := "allowed: 2026-03-14T12:00:00Z to 2026-03-14T12:01:00Z"
	wantRefusal(t, o.do(t, "GET", "/api/v1/explain?at=2026-03-14T11:59:59Z", "", ""), 404, NotFound, kept)
	wantRefusal(t, o.do(t, "GET", "/api/v1/explain?at=2026-03-14T12:01:16Z", "", ""), 404, NotFound, kept)
	wantRefusal(t, o.do(t, "GET", "/api/v1/explain?at=noon", "", ""), 400, BadData, "allowed: RFC 3339")
	// Before that the trail still has the incidents.
	e := dataOf[sre.Explanation](t, o.do(t, "GET", "/api/v1/explain?incident=inc-7&at=2026-03-14T11:59:10Z", "", ""))
	if e.State != sre.Suspected || len(e.Timeline) != 4 {
		t.Errorf("%s %+v", e.State, e.Timeline)
	}
	wantRefusal(t, o.do(t, "GET", "/api/v1/explain?incident=inc-7&at=2026-03-14T11:50:00Z", "", ""), 404, NotFound, "at 2026-03-14T11:50:00Z there was no incident")
	empty := &office{handler: NewAPI(NewDesk(DeskOptions{}), APIOptions{AllowAnonymous: true}), desk: NewDesk(DeskOptions{})}
	wantRefusal(t, empty.do(t, "GET", "/api/v1/explain", "", ""), 503, Unavailable, "no tick")
}
