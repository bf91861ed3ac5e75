package oncall

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sreagent/sreagent/sre"
)

func TestHealthAndReadiness(t *testing.T) {
	o := newOffice(t)
	state := view()
	for _, c := range []struct {
		name  string
		set   func(v *sre.View)
		code  int
		lines string
	}{
		{"ready", func(*sre.View) {}, 200, "sreagent is ready.\n"},
		{"not ready", func(v *sre.View) { v.Ready, v.NotReady = false, []string{"the source is down", "warming up: 40 %"} }, 503,
			"sreagent is not ready.\nthe source is down\nwarming up: 40 %\n"},
		{"not ready and silent", func(v *sre.View) { v.Ready = false }, 503, "sreagent is not ready.\nthe agent says that it is not ready\n"},
		{"stuck", func(v *sre.View) { v.At = noon.Add(-46 * time.Second) }, 503, "sreagent is not ready.\nno tick has finished for 46s; the interval is 15s\n"},
		{"late", func(v *sre.View) { v.At = noon.Add(-45 * time.Second) }, 200, "sreagent is ready.\n"},
	} {
		v := *state
		c.set(&v)
		o.desk.Publish(&v, nil)
		for _, path := range []string{"/-/ready", "/readyz"} {
			rec := o.do(t, "GET", path, "", "")
			if rec.Code != c.code || rec.Body.String() != c.lines {
				t.Errorf("%s: %d %q, want %d %q", c.name, rec.Code, rec.Body, c.code, c.lines)
			}
			if head := o.do(t, "HEAD", path, "", ""); head.Code != c.code {
				t.Errorf("%s: HEAD %d", c.name, head.Code)
			}
		}
		rec := o.do(t, "GET", "/-/ready?format=json", "", "")
		if got := dataOf[Readiness](t, rec); got.Ready != (c.code == 200) || rec.Code != c.code || got.Reasons == nil {
			t.Errorf("%s: %d %+v", c.name, rec.Code, got)
		}
		if rec := o.do(t, "GET", "/-/healthy", "", ""); rec.Code != 200 {
			t.Errorf("%s: healthy %d", c.name, rec.Code)
		}
	}
}

func TestReadingRoutes(t *testing.T) {
	o := newOffice(t, func(a *APIOptions) { a.AllowAnonymous = true })
	s := dataOf[Status](t, o.do(t, "GET", "/api/v1/status", "", ""))
	if s.Tick != 42 || s.OpenIncidents != 2 || s.AwaitingAnswer != 1 || s.IntervalSeconds != 15 || s.Edges != 2 || len(s.Reasoning) != 1 {
		t.Errorf("status %+v", s)
	}
	for query, want := range map[string]int{"": 2, "?state=open": 2, "?state=all": 3} {
		if got := dataOf[[]sre.Incident](t, o.do(t, "GET", "/api/v1/incidents"+query, "", "")); len(got) != want {
			t.Errorf("%q: %d incidents, want %d", query, len(got), want)
		}
	}
	if diff := cmp.Diff("inc-7", dataOf[sre.Incident](t, o.do(t, "GET", "/api/v1/incidents/inc-7", "", "")).ID); diff != "" {
		t.Error(diff)
	}
	g := dataOf[Graph](t, o.do(t, "GET", "/api/v1/graph", "", ""))
	wantNodes := []GraphNode{
		{sre.ExplainedNode{Name: "checkout", Role: sre.IsCause}, []string{"inc-7"}, []string{"inc-7"}},
		{sre.ExplainedNode{Name: "mobile-gateway", Entry: true, Role: sre.BehindCause}, []string{}, []string{}},
		{sre.ExplainedNode{Name: "payments", Role: sre.Watched}, []string{}, []string{}},
		{sre.ExplainedNode{Name: "web", Entry: true, Role: sre.IsAffected}, []string{}, []string{"inc-7"}},
	}
	if diff := cmp.Diff(wantNodes, g.Nodes); diff != "" || g.Services != 12 || !g.Edges[1].OnPath {
		t.Errorf("graph %+v\n%s", g, diff)
	}
	g = dataOf[Graph](t, o.do(t, "GET", "/api/v1/graph?incident=inc-6", "", ""))
	if g.Incident != "inc-6" || g.Omitted != 0 || len(g.Nodes) != 3 || g.Nodes[0].Role != sre.Watched || g.Nodes[0].Causes[0] != "inc-7" {
		t.Errorf("graph of inc-6 %+v", g)
	}
	wantRefusal(t, o.do(t, "GET", "/api/v1/graph?incident=nope", "", ""), 404, NotFound, "there is inc-5, inc-6, inc-7")
	if v := dataOf[VersionInfo](t, o.do(t, "GET", "/version", "", "")); v.Version != "1.2.3" {
		t.Errorf("version %+v", v)
	}
}

func TestApprovalsShowAllThatIsNeeded(t *testing.T) {
	o := newOffice(t)
	prompts := dataOf[[]Prompt](t, o.do(t, "GET", "/api/v1/approvals", tokenOf(sre.Viewer), ""))
	if len(prompts) != 1 {
		t.Fatalf("%d prompts, want the one of inc-7", len(prompts))
	}
	p := prompts[0]
	if p.Decision != "inc-7/d2" || len(p.Evidence) != 3 || len(p.Alternatives) != 2 || len(p.NotTaken) != 1 || len(p.Reasons) != 2 ||
		p.Blast.EntryShare != 0.64 || p.Risk != "medium" || !p.ExpiresAt.Equal(noon.Add(4*time.Minute)) || p.Undo == "" {
		t.Errorf("%+v", p)
	}
	wantSettings := [][]Setting{
		{{Name: "ratio", Old: 3.0, New: 0.1}},
		{{Name: "low", Old: nil, New: 0.0}, {Name: "rps", Old: nil, New: 120.0}},
	}
	for i, s := range p.Steps {
		if diff := cmp.Diff(wantSettings[i], s.Actions[0].Settings); diff != "" {
			t.Errorf("step %d: %s", i, diff)
		}
	}
	if !strings.Contains(p.OnSilence, "2026-03-14 12:04:00 UTC") {
		t.Errorf("on silence: %s", p.OnSilence)
	}
}

func TestPromptAsksOnlyAboutWhatIsAhead(t *testing.T) {
	inc := storm()
	inc.Step = 1
	inc.Mitigations[0].Phase = sre.InEffect
	inc.Plan.Steps[1].Actions[0].Target = inc.Mitigations[0].Action.Target
	inc.Plan.Steps[1].Actions[0].Kind = sre.RetryBudget
	inc.Plan.Steps[1].Actions[0].Params = sre.Params{"ratio": 0.0}
	inc.Plan.Steps[1].Reversible = false
	p, ok := NewPrompt(inc)
	if !ok || len(p.Steps) != 1 || p.Steps[0].Name != "cap the entry" {
		t.Fatalf("%+v", p.Steps)
	}
	// What an earlier step of the same incident has set is the old value.
	if diff := cmp.Diff([]Setting{{Name: "ratio", Old: 0.1, New: 0.0}}, p.Steps[0].Actions[0].Settings); diff != "" {
		t.Error(diff)
	}
	inc.Mitigations[0].Phase = sre.Undone
	if p, _ := NewPrompt(inc); p.Steps[0].Actions[0].Settings[0].Old != nil {
		t.Error("what was undone is taken for what is in force")
	}
	if !strings.Contains(p.Undo, "cannot be undone") {
		t.Errorf("undo: %s", p.Undo)
	}
	for _, s := range sre.States() {
		inc.State = s
		if _, ok := NewPrompt(inc); ok != (s == sre.AwaitingApproval) {
			t.Errorf("state %s asks: %v", s, ok)
		}
	}
}
