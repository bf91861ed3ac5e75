package sre

import (
	"bytes"
	"encoding/json"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

var night = time.Date(2026, 3, 14, 3, 16, 0, 0, time.UTC)

// stormy is a database whose retries feed themselves, seen through two callers.
func stormy() Incident {
	return Incident{
		ID: "db-retry_storm-20260314T031300", State: Diagnosed, Severity: Critical, OpenedAt: night.Add(-3 * time.Minute), StateSince: night.Add(-2 * time.Minute),
		Confidence: Confidence{P: .7, Lower: .5, Basis: "7 of 8 similar"},
		Diagnosis: Diagnosis{
			At: night, Onset: night.Add(-200 * time.Second), DataQuality: .92, Affected: []string{"cart", "db", "gateway"},
			Hypotheses: []Hypothesis{
				{Service: "db", Mechanism: RetryStorm, Probability: .72, Path: []string{"db", "cart", "gateway"}, Evidence: []Evidence{
					{Signal: "retries", Subject: "cart->db", Now: 212, Normal: 3, Unit: PerSecond, Weight: .6},
				}},
				{Mechanism: Unknown, Probability: .28, Callers: []string{"cart", "pay"}},
			},
			Blast:      BlastRadius{Services: []string{"db", "cart", "gateway"}, Entries: []string{"gateway"}, EntryShare: .62},
			Precursors: []Precursor{{Detector: "retry_storm", Mechanism: RetryStorm, Service: "db", Caller: "cart", Severity: Critical, Score: .9}},
		},
		Decision: &Decision{ID: "d1", At: night.Add(-time.Minute), Stance: Watch, Reasons: []Reason{
			{Guard: "mode", Allows: Act, Text: "the policy's mode is act"},
			{Guard: "warm_up", Allows: Ask, Text: "baselines are 40 % warm"},
			{Guard: "plan", Allows: Watch, Text: "no runbook fits"},
		}},
	}
}

func stormyView() *View {
	return &View{
		At: night, Tick: 7, Interval: 15 * time.Second, Source: SourceHealth{Up: true}, WarmUp: 1, Services: 6,
		Incidents: []Incident{stormy()},
		Edges:     []ViewEdge{{"gateway", "cart"}, {"gateway", "pay"}, {"cart", "db"}, {"pay", "bank"}, {"batch", "store"}},
		Signs: []Precursor{
			{Detector: "retry_storm", Service: "db", Caller: "cart", Score: .9, Severity: Critical},
			{Detector: "anomaly", Service: "store", Score: .3, Severity: Info, Since: night.Add(-45 * time.Second)},
		},
		Risks: []Risk{{Service: "cart", Probability: .4, Mechanism: RetryStorm}, {Service: "store", Probability: .1, Mechanism: Overload}},
		Burns: []Burn{{Service: "gateway", LongRate: 14}, {Service: "batch", LongRate: 2}},
	}
}

func TestExplainAnIncident(t *testing.T) {
	e, ok := Explain(stormyView(), "db-retry_storm-20260314T031300")
	if !ok {
		t.Fatal("not found")
	}
	if want := "db is the likely cause (0.72): retry storm since 03:12:40; 3 services affected, 62 % of users behind it"; e.Headline != want {
		t.Errorf("%s", e.Headline)
	}
	wantDecision := []string{
		"a runbook for this mechanism and service whose every step can be undone",
		"warm baselines: wait until the warm-up is over",
	}
	if diff := cmp.Diff(wantDecision, e.Decision.WouldMove); diff != "" || e.Decision.Against[0].Guard != "plan" || len(e.Decision.For) != 1 {
		t.Errorf("%+v\n%s", e.Decision, diff)
	}
	if e.Decision.Summary != "did nothing, because of plan: no runbook fits" {
		t.Error(e.Decision.Summary)
	}
	if len(e.Burns) != 1 || e.Burns[0].Service != "gateway" || len(e.Risks) != 1 || e.Risks[0].Service != "cart" || len(e.Signs) != 1 {
		t.Errorf("what others have is shown: %+v %+v %+v", e.Burns, e.Risks, e.Signs)
	}
	want := ExplainedGraph{
		Nodes: []ExplainedNode{
			{Name: "bank", Role: Watched}, // called by a service that is named
			{Name: "cart", Role: IsAffected, Risk: .4}, {Name: "db", Role: IsCause, Sign: "retry_storm"},
			{Name: "gateway", Role: IsAffected, Entry: true}, {Name: "pay", Role: Watched},
		},
		Edges:   []ExplainedEdge{{"cart", "db", true}, {"gateway", "cart", true}, {"gateway", "pay", false}, {"pay", "bank", false}},
		Omitted: 2,
	}
	if diff := cmp.Diff(want, e.Graph); diff != "" {
		t.Error(diff)
	}
	if _, ok := Explain(stormyView(), "other"); ok {
		t.Error("an incident that is not there is explained")
	}
	if _, ok := Explain(nil, "other"); ok {
		t.Error("no view explains")
	}
}

func TestHeadlines(t *testing.T) {
	for name, c := range map[string]struct {
		change func(inc *Incident)
		want   string
	}{
		"unsure": {func(inc *Incident) { inc.Diagnosis.Hypotheses[0].Probability = .4 }, "db is the first of several suspects (0.40): retry storm since"},
		"closed": {func(inc *Incident) { inc.State, inc.ClosedAt = Closed, night }, "over since 03:16:00: db was the likely cause"},
		"unseen": {func(inc *Incident) { inc.Diagnosis.Hypotheses = inc.Diagnosis.Hypotheses[1:] }, "something that cart, pay call and nobody measures is the likely cause (0.28)"},
		"bare":   {func(inc *Incident) { *inc = Incident{} }, "the cause is not known: no mechanism that the agent knows"},
	} {
		inc := stormy()
		c.change(&inc)
		if got := headline(&inc); !strings.HasPrefix(got, c.want) {
			t.Errorf("%s: %s", name, got)
		}
	}
}

func TestExplainTick(t *testing.T) {
	for _, c := range []struct {
		name           string
		change         func(v *View)
		headline, deed string
	}{
		{"incident", func(*View) {}, "db is the likely cause", "did nothing: no incident allows more than watching"},
		{"two", func(v *View) { v.Incidents = append(v.Incidents, Incident{ID: "x"}) }, "2 incidents open; the worst: db is", "did nothing"},
		{"burn", func(v *View) { v.Incidents = nil }, "no incident, but gateway burns its error budget 14 times too fast", "did nothing: no sign is part"},
		{"signs", func(v *View) { v.Incidents, v.Burns = nil, nil }, "no incident: 2 signs of trouble at db, store, not enough for one", "did nothing: no sign"},
		{"risk", func(v *View) { v.Incidents, v.Burns, v.Signs = nil, nil, nil }, "no incident; the greatest risk is cart: retry storm (0.40 within 2m0s)", "did nothing: there was no reason to"},
		{"quiet", func(v *View) { v.Incidents, v.Burns, v.Signs, v.Risks = nil, nil, nil, nil }, "nothing is wrong at 03:16:00: 6 services watched, no sign of trouble", "did nothing: there was no reason to"},
		{"blind", func(v *View) { v.Source = SourceHealth{Err: "refused"} }, "blind at 03:16:00: the metric store does not answer: refused", "did nothing: without eyes"},
		{"asks", func(v *View) {
			v.Incidents[0].Decision.Stance, v.Incidents[0].State = Ask, AwaitingApproval
		}, "db is", "see each incident"},
	} {
		v := stormyView()
		c.change(v)
		e := ExplainTick(v)
		if !strings.HasPrefix(e.Headline, c.headline) || !strings.HasPrefix(e.Decision.Summary, c.deed) {
			t.Errorf("%s: %q, %q", c.name, e.Headline, e.Decision.Summary)
		}
	}
	e := ExplainTick(stormyView())
	if e.Signs[0].Incident != stormy().ID || e.Signs[0].Why != "" {
		t.Errorf("%+v", e.Signs[0])
	}
	if want := "it is info with a score of 0.30 of 1, for 45s: by itself, without others near it, it opens no incident"; e.Signs[1].Why != want || e.Signs[1].Incident != "" {
		t.Errorf("%+v", e.Signs[1])
	}
	if len(e.Graph.Nodes) != 7 || e.Graph.Omitted != 0 {
		t.Errorf("a tick shows the whole graph: %+v", e.Graph)
	}
	if e := ExplainTick(nil); e.Headline != "nothing is known yet: no tick has finished" {
		t.Error(e.Headline)
	}
}

// The trouble of load spreads down to callees, so the path may run with the calls.
func TestThePathIsDrawnWhicheverWayTheCallsGo(t *testing.T) {
	v := stormyView()
	v.Incidents[0].Diagnosis.Hypotheses[0].Path = []string{"gateway", "cart", "new"}
	g := GraphOf(v, v.Incidents[0].ID)
	var on []ExplainedEdge
	for _, e := range g.Edges {
		if e.OnPath {
			on = append(on, e)
		}
	}
	if diff := cmp.Diff([]ExplainedEdge{{"gateway", "cart", true}, {"new", "cart", true}}, on); diff != "" {
		t.Error(diff)
	}
}

// record makes the trail of an incident that was re-keyed, acted on, closed,
// opened again and swallowed another.
func record() []Record {
	id := stormy().ID
	var out []Record
	add := func(after int, r Record) {
		r.Seq, r.At, r.IncidentID = uint64(len(out)), night.Add(time.Duration(after)*time.Second), cmp1(r.IncidentID, id)
		out = append(out, r)
	}
	state := func(s State, change func(inc *Incident)) *Incident {
		inc := stormy()
		inc.State = s
		if change != nil {
			change(&inc)
		}
		return &inc
	}
	rekeyed := func(inc *Incident) {
		inc.Rekeys = []Rekey{{At: night.Add(10 * time.Second), From: "cart overload", To: "db retry_storm", Why: "its own signs began first"}}
	}
	add(-200, Record{Kind: RecordStart, IncidentID: " ", Start: &StartRecord{Epoch: 3}})
	add(0, Record{Kind: RecordIncident, Incident: state(Suspected, nil), Change: "open"})
	add(10, Record{Kind: RecordIncident, Incident: state(Diagnosed, rekeyed), Change: "diagnose"})
	add(20, Record{Kind: RecordDecision, Decision: stormy().Decision})
	add(30, Record{Kind: RecordIntent, Intent: &IntentRecord{Action: Action{ID: "a", Kind: RetryBudget, Target: Target{Lever: "guard", Service: "cart"}, Params: Params{"ratio": .1}},
		Before: Params{"ratio": 3.}, Permit: Permit{Purpose: ToApply}}})
	add(31, Record{Kind: RecordResult, Result: &ResultRecord{Action: "a", Purpose: ToApply, Phase: InEffect, Probed: true}})
	add(60, Record{Kind: RecordApproval, Approval: &Approval{Response: Approved, By: "ada", Comment: "go"}})
	add(70, Record{Kind: RecordOperator, Operator: &OperatorRecord{Command: InputPause, Name: "night", By: "bob"}})
	add(80, Record{Kind: RecordOutcome, Outcome: &OutcomeRecord{Outcome: Improved}})
	add(90, Record{Kind: RecordNotice, Notice: &Notice{Title: "it is over"}})
	add(100, Record{Kind: RecordIncident, Incident: state(Closed, rekeyed), Change: "conclude"})
	add(110, Record{Kind: RecordIncident, Incident: state(Diagnosed, func(inc *Incident) { rekeyed(inc); inc.Reopened = 1 }), Change: "reopen"})
	other := Incident{ID: "cart-overload", State: Closed, MergedInto: id}
	add(120, Record{Kind: RecordIncident, IncidentID: other.ID, Incident: &other, Change: "merge"})
	return out
}

func cmp1(given, otherwise string) string {
	if given == "" {
		return otherwise
	}
	return strings.TrimSpace(given)
}

func TestTheTrailTellsTheWholeStory(t *testing.T) {
	e, ok := ExplainTrailAt(record(), stormy().ID, time.Time{})
	if !ok {
		t.Fatal("not found")
	}
	var got []string
	for _, m := range e.Timeline {
		got = append(got, m.At.Format(time.TimeOnly)+" "+string(m.Kind)+" "+m.Text)
	}
	want := []string{
		"03:12:40 onset the trouble began, as estimated",
		"03:16:00 opened opened: db is the likely cause (0.72): retry storm",
		"03:16:10 rekeyed another first cause: db retry_storm, not cart overload: its own signs began first",
		"03:16:10 state diagnosed (diagnose)",
		"03:16:20 decision decided to watch: plan, no runbook fits",
		"03:16:30 action about to apply retry budget at guard/cart: ratio 0.1 (was 3)",
		"03:16:31 action apply of a: in effect, settled by a probe",
		"03:17:00 approval approved by ada: go",
		"03:17:10 operator pause by bob: no reason was given",
		"03:17:20 outcome learned: improved",
		"03:17:30 notice told people: it is over",
		"03:17:40 closed closed (conclude)",
		"03:17:50 reopened came back after it was closed",
		"03:17:50 state diagnosed (reopen)",
		"03:18:00 merged cart-overload turned out to be part of this one",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if e.State != Diagnosed || e.Quality.Source != nil || !slices.Contains(e.Quality.Notes, fromTrailOnly) {
		t.Errorf("%+v", e.Quality)
	}
	if e.Timeline[0].Seq != nil || *e.Timeline[1].Seq != 1 {
		t.Error("moments do not name their records")
	}

	e, _ = ExplainTrailAt(record(), stormy().ID, night.Add(15*time.Second))
	if e.State != Diagnosed || len(e.Timeline) != 4 || !e.At.Equal(night.Add(15*time.Second)) {
		t.Errorf("at an instant: %s, %+v", e.State, e.Timeline)
	}
	e, _ = ExplainTrailAt(record(), "", night.Add(105*time.Second))
	if e.Headline != "no incident was open at 03:17:45" || len(e.Incidents) != 1 || len(e.Pauses) != 1 {
		t.Errorf("%s %+v", e.Headline, e.Incidents)
	}
	if e, _ = ExplainTrailAt(record(), "", time.Time{}); !strings.HasPrefix(e.Headline, "db is the likely cause") {
		t.Error(e.Headline)
	}
	for _, at := range []time.Time{night.Add(-time.Hour), night.Add(-time.Second)} {
		if _, ok := ExplainTrailAt(record(), stormy().ID, at); ok {
			t.Errorf("%s: explained before it was opened", at)
		}
	}
	if _, ok := ExplainTrailAt(nil, "", time.Time{}); ok {
		t.Error("an empty trail explains")
	}
}

func TestALongStoryKeepsItsEnds(t *testing.T) {
	records := record()[:2]
	for i := range 3 * mostMoments {
		records = append(records, Record{Seq: uint64(2 + i), At: night.Add(time.Duration(i) * time.Second), IncidentID: stormy().ID, Notice: &Notice{Title: "news"}})
	}
	e, _ := ExplainTrailAt(records, stormy().ID, time.Time{})
	if len(e.Timeline) != mostMoments {
		t.Fatalf("%d moments", len(e.Timeline))
	}
	var kept, cut int
	for _, m := range e.Timeline {
		if m.Kind == MomentOther {
			cut++
			if want := "803 moments are left out here; `sreagent audit show --incident " + stormy().ID + "` has them"; m.Text != want {
				t.Error(m.Text)
			}
			continue
		}
		kept++
	}
	if e.Timeline[0].Kind != MomentOnset || cut != 1 || *e.Timeline[len(e.Timeline)-1].Seq != uint64(1+3*mostMoments) {
		t.Errorf("%d kept, %d cuts, %+v", kept, cut, e.Timeline[0])
	}
}

func TestMatchIncident(t *testing.T) {
	ids := []string{"db-a-2", "db-a-1", "cart-b-1", "db-a-1"}
	for given, want := range map[string]string{
		"db-a-1": "db-a-1", "cart": "cart-b-1", "db-a-2": "db-a-2",
		"db": `"db" begins 2 incidents: db-a-1, db-a-2`, "x": `no incident "x"; there is cart-b-1, db-a-1, db-a-2`, "": `no incident ""; there is cart-b-1, db-a-1, db-a-2`,
	} {
		got, err := MatchIncident(ids, given)
		if err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("%q: %s", given, got)
		}
	}
	if _, err := MatchIncident(nil, "x"); err == nil || err.Error() != `no incident "x"; there is none at all` {
		t.Error(err)
	}
	// An ID that another one begins with is still meant when it is given whole.
	if got, err := MatchIncident([]string{"a-1", "a-10"}, "a-1"); err != nil || got != "a-1" {
		t.Error(got, err)
	}
}

// anyView draws a view with any names, numbers that no arithmetic should have
// made, paths over edges that are not there, and states that do not fit.
func anyView() *rapid.Generator[*View] {
	name := rapid.OneOf(rapid.SampledFrom([]string{"", "a", "b", "c", "d", "e", "a->b", "\x1b[2J"}), rapid.StringMatching(`[a-h]`))
	names := rapid.SliceOfN(name, 0, 5)
	number := rapid.OneOf(rapid.Float64Range(-1, 2), rapid.SampledFrom([]float64{math.NaN(), math.Inf(1), math.Inf(-1), 0}))
	instant := rapid.Custom(func(t *rapid.T) time.Time {
		if s := rapid.IntRange(-1, 600).Draw(t, "seconds"); s >= 0 {
			return night.Add(time.Duration(s) * time.Second)
		}
		return time.Time{}
	})
	stance := rapid.SampledFrom([]Stance{"", Watch, Ask, Act, "odd"})
	evidence := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) Evidence {
		return Evidence{Signal: name.Draw(t, "signal"), Subject: name.Draw(t, "subject"), Now: number.Draw(t, "now"), Normal: number.Draw(t, "normal"), Weight: number.Draw(t, "weight")}
	}), 0, 7)
	sign := rapid.Custom(func(t *rapid.T) Precursor {
		return Precursor{Detector: "x", Service: name.Draw(t, "service"), Caller: name.Draw(t, "caller"), Score: number.Draw(t, "score"), Risk: number.Draw(t, "risk"),
			Evidence: evidence.Draw(t, "evidence"), Since: instant.Draw(t, "since"), Severity: rapid.SampledFrom([]Severity{"", Info, Critical}).Draw(t, "severity")}
	})
	cause := rapid.Custom(func(t *rapid.T) Hypothesis {
		h := Hypothesis{Service: name.Draw(t, "cause"), Mechanism: rapid.SampledFrom(Mechanisms()).Draw(t, "mechanism"), Probability: number.Draw(t, "p"),
			Evidence: evidence.Draw(t, "evidence"), Path: names.Draw(t, "path"), Callers: names.Draw(t, "callers")}
		if rapid.Bool().Draw(t, "what if") {
			h.WhatIf, h.Change = &WhatIf{AsIs: number.Draw(t, "as is")}, &Change{Service: name.Draw(t, "changed")}
		}
		return h
	})
	incident := rapid.Custom(func(t *rapid.T) Incident {
		inc := Incident{ID: rapid.StringMatching(`[a-c]`).Draw(t, "id"), State: rapid.SampledFrom(append(States(), "", "odd")).Draw(t, "state"), OpenedAt: instant.Draw(t, "opened"),
			StateSince: instant.Draw(t, "state since"), ClosedAt: instant.Draw(t, "closed"), MergedInto: name.Draw(t, "merged"), SplitFrom: name.Draw(t, "split"), Reopened: rapid.IntRange(0, 2).Draw(t, "reopened"),
			Confidence: Confidence{P: number.Draw(t, "p")}}
		inc.Diagnosis = Diagnosis{Onset: instant.Draw(t, "onset"), Hypotheses: rapid.SliceOfN(cause, 0, 3).Draw(t, "causes"), Affected: names.Draw(t, "affected"), DataQuality: number.Draw(t, "quality"),
			Precursors: rapid.SliceOfN(sign, 0, 3).Draw(t, "precursors"),
			Blast:      BlastRadius{Services: names.Draw(t, "behind"), Entries: names.Draw(t, "entries"), EntryShare: number.Draw(t, "share"), Impacts: []Impact{{Service: name.Draw(t, "hit"), Lost: number.Draw(t, "lost")}}}}
		if rapid.Bool().Draw(t, "decided") {
			inc.Decision = &Decision{Stance: stance.Draw(t, "stance"), Reasons: []Reason{{Guard: rapid.SampledFrom(append(Guards(), "odd")).Draw(t, "guard"), Allows: stance.Draw(t, "allows")}}}
			inc.Plan = &Plan{Steps: []Step{{Actions: []Action{{Target: Target{Service: name.Draw(t, "target"), Callee: name.Draw(t, "callee")}}}}}}
			inc.Mitigations = []Mitigation{{AppliedAt: instant.Draw(t, "applied"), Action: inc.Plan.Steps[0].Actions[0]}}
			inc.Approval = &Approval{Response: rapid.SampledFrom([]Response{"", Approved, Expired}).Draw(t, "response")}
		}
		return inc
	})
	return rapid.Custom(func(t *rapid.T) *View {
		v := &View{At: instant.Draw(t, "at"), WarmUp: number.Draw(t, "warm"), Source: SourceHealth{Up: rapid.Bool().Draw(t, "up")},
			Incidents: rapid.SliceOfN(incident, 0, 3).Draw(t, "incidents"), Signs: rapid.SliceOfN(sign, 0, 3).Draw(t, "signs")}
		for range rapid.IntRange(0, 8).Draw(t, "edges") {
			v.Edges = append(v.Edges, ViewEdge{name.Draw(t, "from"), name.Draw(t, "to")})
		}
		for range rapid.IntRange(0, 3).Draw(t, "risks") {
			v.Risks = append(v.Risks, Risk{Service: name.Draw(t, "service"), Caller: name.Draw(t, "caller"), Probability: number.Draw(t, "p"), Evidence: evidence.Draw(t, "evidence")})
			v.Burns = append(v.Burns, Burn{Service: name.Draw(t, "burns"), LongRate: number.Draw(t, "rate")})
		}
		return v
	})
}

// named lists every service of which an explanation speaks.
func named(e *Explanation) []string {
	out := slices.Concat(e.Affected, e.Blast.Services, e.Blast.Entries)
	for _, h := range e.Causes {
		out = append(append(append(out, h.Service), h.Path...), h.Callers...)
		if h.Change != nil {
			out = append(out, h.Change.Service)
		}
	}
	for _, i := range e.Blast.Impacts {
		out = append(out, i.Service)
	}
	for _, s := range e.Signs {
		out = append(out, s.Service, s.Caller)
	}
	for _, r := range e.Risks {
		out = append(out, r.Service, r.Caller)
	}
	for _, b := range e.Burns {
		out = append(out, b.Service)
	}
	for _, s := range e.Incidents {
		out = append(out, s.Service)
	}
	for _, m := range e.Actions {
		out = append(out, m.Action.Target.Service, m.Action.Target.Callee)
	}
	return slices.DeleteFunc(out, func(s string) bool { return s == "" })
}

func TestAnExplanationOfAnyViewHolds(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		v := anyView().Draw(rt, "view")
		ids := []string{""}
		for _, inc := range v.Incidents {
			ids = append(ids, inc.ID)
		}
		for _, id := range ids {
			explain := func() (Explanation, []byte) {
				e, ok := ExplainTick(v), true
				if id != "" {
					e, ok = Explain(v, id)
				}
				raw, err := json.Marshal(e)
				if !ok || err != nil {
					rt.Fatalf("%q: %v", id, err)
				}
				return e, raw
			}
			e, once := explain()
			if _, twice := explain(); !bytes.Equal(once, twice) {
				rt.Fatalf("the same view is explained in two ways:\n%s\n%s", once, twice)
			}
			var fields map[string]json.RawMessage
			if err := json.Unmarshal(once, &fields); err != nil {
				rt.Fatal(err)
			}
			for name, value := range fields {
				if string(value) == "null" {
					rt.Fatalf("%s is null", name)
				}
			}
			nodes := map[string]bool{}
			for _, n := range e.Graph.Nodes {
				if nodes[n.Name] || n.Role.rank() < 0 {
					rt.Fatalf("node %+v", n)
				}
				nodes[n.Name] = true
			}
			for _, name := range named(&e) {
				if !nodes[name] {
					rt.Fatalf("%q is named and not drawn", name)
				}
			}
			for _, edge := range e.Graph.Edges {
				if !nodes[edge.From] || !nodes[edge.To] {
					rt.Fatalf("edge %+v has an end that is not drawn", edge)
				}
			}
			if e.Headline == "" || e.Decision.Summary == "" || !slices.IsSortedFunc(e.Timeline, func(a, b Moment) int { return a.At.Compare(b.At) }) {
				rt.Fatalf("%+v", e)
			}
		}
	})
}

// Explaining must not change what the agent believes: views are shared.
func TestExplainingChangesNothing(t *testing.T) {
	v := stormyView()
	_, _ = Explain(v, v.Incidents[0].ID)
	_, _ = ExplainTick(v), GraphOf(v, "")
	if diff := cmp.Diff(stormyView(), v); diff != "" {
		t.Error(diff)
	}
}

func BenchmarkExplain(b *testing.B) {
	v := stormyView()
	for i := range 10_000 {
		v.Edges = append(v.Edges, ViewEdge{From: "s" + string(rune(i)), To: "s" + string(rune(i+1))})
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, ok := Explain(v, v.Incidents[0].ID); !ok {
			b.Fatal("not found")
		}
	}
}
