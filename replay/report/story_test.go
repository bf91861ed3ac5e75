package report

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sreagent/sreagent/sre"
)

func bandsInWords(bands []band) string {
	var b strings.Builder
	for _, d := range bands {
		fmt.Fprintf(&b, "%s-%s %s\n", d.from.Format("04:05"), d.to.Format("04:05"), d.state)
	}
	return b.String()
}

func TestTell(t *testing.T) {
	s := tell(storm(), after(1200))
	if len(s.incidents) != 1 || len(s.decisions) != 3 || len(s.moves) != 2 || len(s.answers) != 1 || s.notices != 1 {
		t.Fatalf("%d incidents, %d decisions, %d moves, %d answers, %d notices", len(s.incidents), len(s.decisions), len(s.moves), len(s.answers), s.notices)
	}
	want := "05:30-06:00 suspected\n06:00-06:15 diagnosed\n06:15-06:15 planned\n06:15-07:45 awaiting_approval\n07:45-08:00 acting\n" +
		"08:00-10:00 verifying\n10:00-14:00 resolved\n14:00-16:00 lifting\n16:00-16:00 closed\n"
	if d := cmp.Diff(want, bandsInWords(s.incidents[0].bands)); d != "" {
		t.Errorf("phases (-want +got):\n%s", d)
	}
	if p := s.decisions[1].incident.Plan; p == nil || p.Runbook != "retry-storm" {
		t.Errorf("the second decision was about plan %v", p)
	}
	if s.decisions[0].incident.State != sre.Diagnosed {
		t.Errorf("the first decision stood beside %s", s.decisions[0].incident.State)
	}
	if s.moves[0].result == nil || s.moves[0].result.Phase != sre.InEffect || s.moves[1].result.Phase != sre.Undone {
		t.Error("moves lost their results")
	}
}

func incident(id string, sev sre.Severity, states ...any) []sre.Record {
	var out []sre.Record
	for i := 0; i < len(states); i += 2 {
		at := after(states[i].(int))
		out = append(out, sre.Record{At: at, IncidentID: id, Incident: &sre.Incident{ID: id, Severity: sev, State: states[i+1].(sre.State)}})
	}
	return out
}

func TestOpenThingsLastUntilTheEnd(t *testing.T) {
	records := append(incident("a", sre.Warning, 10, sre.Suspected),
		sre.Record{At: after(20), Source: &sre.SourceHealth{Up: false}}, sre.Record{At: after(25), Source: &sre.SourceHealth{Up: false}})
	s := tell(records, after(60))
	if got := bandsInWords(s.incidents[0].bands); got != "00:10-01:00 suspected\n" {
		t.Errorf("phases are %q", got)
	}
	if len(s.blind) != 1 || !s.blind[0].to.Equal(after(60)) {
		t.Errorf("out of sight: %v", s.blind)
	}
}

func TestShadingShowsTheMostActivePhase(t *testing.T) {
	records := append(incident("a", sre.Warning, 0, sre.Suspected, 30, sre.Escalated, 40, sre.Closed),
		incident("b", sre.Critical, 10, sre.Diagnosed, 20, sre.Acting, 35, sre.Resolved, 50, sre.Closed)...)
	got := bandsInWords(tell(records, after(60)).shading())
	want := "00:00-00:20 suspected\n00:20-00:35 acting\n00:35-00:40 escalated\n00:40-00:50 resolved\n"
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("shading (-want +got):\n%s", d)
	}
}

func TestColumnsKeepShortPhases(t *testing.T) {
	records := incident("a", sre.Warning, 0, sre.Suspected, 30000, sre.Acting, 30001, sre.Verifying, 60000, sre.Closed)
	sc := &scene{start: noon, end: after(86400)}
	sc.shading = tell(records, sc.end).shading()
	var roles []string
	for _, run := range sc.columns(200) {
		roles = append(roles, run.role)
	}
	if d := cmp.Diff([]string{"look", "act", "verify"}, roles); d != "" {
		t.Errorf("phases drawn (-want +got):\n%s", d)
	}
}

func TestChief(t *testing.T) {
	records := append(incident("loud", sre.Critical, 0, sre.Suspected), incident("asked", sre.Warning, 5, sre.AwaitingApproval)...)
	if got := tell(records, after(9)).chief().last.ID; got != "loud" {
		t.Errorf("without decisions the chief incident is %s", got)
	}
	records = append(records, sre.Record{At: after(6), IncidentID: "asked", Decision: &sre.Decision{ID: "d", Incident: "asked", Stance: sre.Ask}})
	if got := tell(records, after(9)).chief().last.ID; got != "asked" {
		t.Errorf("the chief incident is %s, want the one that was asked about", got)
	}
	if tell(nil, noon).chief() != nil {
		t.Error("nothing has a chief incident")
	}
}

func TestWhatItDid(t *testing.T) {
	decision := func(stance sre.Stance, reasons ...sre.Reason) sre.Record {
		return sre.Record{At: after(1), IncidentID: "a", Decision: &sre.Decision{ID: string(stance), Incident: "a", Stance: stance, Reasons: reasons}}
	}
	for _, c := range []struct {
		name    string
		records []sre.Record
		want    string
	}{
		{"nothing", nil, "It decided nothing and moved no lever."},
		{"watched", []sre.Record{decision(sre.Watch, sre.Reason{Guard: "blast_radius", Allows: sre.Ask, Text: "wide"}, sre.Reason{Guard: "dry_run", Allows: sre.Watch, Text: "Told to watch."})},
			"It only watched, because of dry run: Told to watch."},
		{"asked", []sre.Record{decision(sre.Ask), decision(sre.Ask)}, "It asked a human twice, and no lever was moved."},
		{"strange", []sre.Record{decision("explode")}, "It only watched."},
	} {
		if got := tell(c.records, after(9)).did(false); got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}

func TestRepeatedGroundsAreNotRepeated(t *testing.T) {
	s := tell(storm(), after(1200))
	views, hidden := s.decisionViews(newClock(noon, after(1200), nil))
	if hidden != 0 || views[1].SameAs != 0 || views[2].SameAs != 2 {
		t.Errorf("decision 2 refers to %d, decision 3 to %d, want 0 and 2", views[1].SameAs, views[2].SameAs)
	}
}

func TestManyDecisionsAreBounded(t *testing.T) {
	var records []sre.Record
	for i := range maxDecisions + 7 {
		records = append(records, sre.Record{At: after(i), Decision: &sre.Decision{ID: fmt.Sprint(i)}})
	}
	views, hidden := tell(records, after(999)).decisionViews(newClock(noon, after(999), nil))
	if len(views) != maxDecisions || hidden != 7 {
		t.Errorf("%d shown and %d hidden", len(views), hidden)
	}
}

func TestClock(t *testing.T) {
	c := newClock(noon, after(3600), []moment{{after(100), "the first fault"}, {after(200), "the second"}})
	for _, k := range []struct {
		at   int
		want string
	}{{0, "0 s after the start"}, {99, "1 min 39 s after the start"}, {100, "0 s after the first fault"}, {260, "1 min after the second"}} {
		if got := c.rel(after(k.at)); got != k.want {
			t.Errorf("%d s is %q, want %q", k.at, got, k.want)
		}
	}
	if got := c.at(after(61)); got != "12:01:01" {
		t.Errorf("within a day: %q", got)
	}
	if got := newClock(noon, noon.Add(13*time.Hour), nil).at(noon); got != "4 Mar 12:00:00" {
		t.Errorf("over midnight: %q", got)
	}
}
