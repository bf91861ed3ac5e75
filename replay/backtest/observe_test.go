package backtest

import (
	"errors"
	"math"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/common/model"

	"github.com/sreagent/sreagent/replay"
	"github.com/sreagent/sreagent/replay/bundle"
	"github.com/sreagent/sreagent/sre"
)

var begin = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// minute returns an instant of the plays below.
func minute(m float64) time.Time { return begin.Add(time.Duration(m * float64(time.Minute))) }

// play is a script of incidents, run through an observer minute by minute: what
// an agent would have recorded, without one.
type play struct {
	faults  []bundle.Fault
	alerts  []bundle.Alert
	changes []sre.Change
	acts    []act
	until   int
}

// act is one incident: from when to when its state is what, and whom it blames.
type act struct {
	id        string
	told      int // minute of the notice; -1 for none
	from, to  int // it is open from the one to before the other
	blames    map[int]string
	decides   map[int]sre.Stance
	does      map[int]sre.Action
	mechanism sre.Mechanism
}

func (a act) blamed(m int) string {
	who := ""
	for k := a.from; k <= m; k++ {
		if s, ok := a.blames[k]; ok {
			who = s
		}
	}
	return who
}

func (p play) observer() *Observer {
	return Observe(Subject{
		Incident: bundle.Incident{
			ID: "play", Source: "stage", Start: begin, End: minute(float64(p.until)), Interval: model.Duration(time.Minute),
			Truth: bundle.Truth{Faults: p.faults}, Alerts: p.alerts,
		},
		Changes: p.changes, Interval: time.Minute,
	})
}

var stage = sre.NewGraph(
	[]sre.Service{{Name: "web", Entry: true}, {Name: "api"}, {Name: "db"}, {Name: "cart"}, {Name: "batch"}},
	[]sre.Edge{{From: 0, To: 1}, {From: 1, To: 2}, {From: 0, To: 3}, {From: 4, To: 2}},
)

func (p play) tick(m int) replay.Tick {
	now := minute(float64(m))
	t := replay.Tick{At: now, View: &sre.View{At: now}, Snapshot: &sre.Snapshot{
		At: now, Interval: time.Minute, Graph: stage, Health: sre.SourceHealth{Up: true},
		Signals: []sre.Signal{{Name: "latency", Kind: sre.Latency, Unit: sre.Seconds}}, Service: sre.NewMatrix(1, 5),
	}}
	for _, a := range p.acts {
		if m < a.from || m > a.to {
			continue
		}
		who := a.blamed(m)
		inc := sre.Incident{ID: a.id, State: sre.Diagnosed, Severity: sre.Warning, OpenedAt: minute(float64(a.from)), Diagnosis: sre.Diagnosis{
			DataQuality: .5,
			Hypotheses:  []sre.Hypothesis{{Service: who, Mechanism: a.mechanism, Probability: .7}, {Mechanism: sre.Unknown, Probability: .2}, {Service: "other", Probability: .1}},
		}}
		switch {
		case m == a.to:
			inc.State = sre.Closed
		case a.told < 0 || m < a.told:
			inc.State = sre.Suspected
		}
		if d, ok := a.decides[m]; ok {
			inc.Plan = &sre.Plan{Runbook: "book", Steps: []sre.Step{{Actions: []sre.Action{a.does[m]}}}}
			inc.Decision = &sre.Decision{Incident: a.id, At: now, Stance: d, Runbook: "book", Reasons: []sre.Reason{{Guard: "mode", Allows: d, Text: "so"}}}
			t.Records = append(t.Records, sre.Record{At: now, Kind: sre.RecordIncident, IncidentID: a.id, Incident: &inc},
				sre.Record{At: now, Kind: sre.RecordDecision, IncidentID: a.id, Decision: inc.Decision})
			if d == sre.Act {
				intent := &sre.IntentRecord{Action: a.does[m], Permit: sre.Permit{Purpose: sre.ToApply}}
				undo := &sre.IntentRecord{Action: a.does[m], Permit: sre.Permit{Purpose: sre.ToRevert}}
				for _, r := range []*sre.IntentRecord{intent, intent, undo} { // renewed and taken back, it is one action
					t.Records = append(t.Records, sre.Record{At: now, Kind: sre.RecordIntent, IncidentID: a.id, Intent: r})
				}
			}
		}
		if m == a.told {
			t.Records = append(t.Records, sre.Record{At: now, Kind: sre.RecordNotice, IncidentID: a.id, Notice: &sre.Notice{Incident: a.id, State: inc.State}})
		}
		if m == a.to {
			t.Records = append(t.Records, sre.Record{At: now, Kind: sre.RecordNotice, IncidentID: a.id, Notice: &sre.Notice{Incident: a.id, State: inc.State, Resolved: true}})
		}
		t.View.Incidents = append(t.View.Incidents, inc)
	}
	return t
}

func (p play) run(t *testing.T) Bundle {
	t.Helper()
	o := p.observer()
	for m := range p.until {
		if err := o.Watch(p.tick(m)); err != nil {
			t.Fatal(err)
		}
	}
	b, err := o.Bundle()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func fault(from, to float64, services ...string) bundle.Fault {
	f := bundle.Fault{Services: services, InjectedAt: minute(from)}
	if to > 0 {
		f.EndsAt = minute(to)
	}
	return f
}

func says(at int, who string) map[int]string { return map[int]string{at: who} }

func TestWhoseAlarmItIs(t *testing.T) {
	alert := []bundle.Alert{{Service: "web", At: minute(20)}}
	for _, c := range []struct {
		name   string
		fault  bundle.Fault
		alerts []bundle.Alert
		act    act
		delay  float64 // in minutes; NaN is not detected
		rank   int
		wolf   int // false alarms
	}{
		{"during the fault", fault(20, 30, "db"), nil, act{told: 23, from: 22, to: 40, blames: says(22, "db")}, 3, 1, 0},
		{"whomever it blames", fault(20, 30, "db"), nil, act{told: 23, from: 22, to: 40, blames: says(22, "cart")}, 3, 0, 0},
		{"people are told later than it opens", fault(20, 30, "db"), nil, act{told: 29, from: 18, to: 40, blames: says(18, "db")}, 9, 1, 0},
		{"in the grace", fault(20, 30, "db"), nil, act{told: 33, from: 33, to: 40, blames: says(33, "db")}, 13, 1, 0},
		{"after the grace", fault(20, 30, "db"), nil, act{told: 34, from: 33, to: 40, blames: says(33, "db")}, math.NaN(), 0, 1},
		{"before", fault(20, 30, "db"), nil, act{told: 10, from: 10, to: 15, blames: says(10, "db")}, math.NaN(), 0, 1},
		{"nobody is told", fault(20, 30, "db"), nil, act{told: -1, from: 22, to: 40, blames: says(22, "db")}, math.NaN(), 0, 0},
		{"on already, and right by chance", fault(20, 30, "db"), nil, act{told: 10, from: 10, to: 40, blames: says(10, "db")}, math.NaN(), 0, 1},
		{"on already, comes to the cause", fault(20, 30, "db"), nil, act{told: 10, from: 10, to: 40, blames: map[int]string{10: "cart", 24: "db"}}, 4, 1, 1},
		{"on already, leaves the cause and comes back", fault(20, 30, "db"), nil, act{told: 10, from: 10, to: 40, blames: map[int]string{10: "db", 15: "cart", 26: "db"}}, 6, 1, 1},
		{"on already, comes too late", fault(20, 30, "db"), nil, act{told: 10, from: 10, to: 60, blames: map[int]string{10: "cart", 34: "db"}}, math.NaN(), 0, 1},
		{"earlier than the human's alert", fault(20, 30, "db"), alert, act{told: 14, from: 13, to: 40, blames: says(13, "db")}, -6, 1, 0},
		{"earlier, with the cause found at last", fault(20, 30, "db"), alert, act{told: 14, from: 13, to: 40, blames: map[int]string{13: "cart", 22: "db"}}, -6, 0, 0},
		{"earlier, with the cause never found", fault(20, 30, "db"), alert, act{told: 14, from: 13, to: 40, blames: says(13, "cart")}, math.NaN(), 0, 1},
		{"over before the alert", fault(20, 30, "db"), alert, act{told: 14, from: 13, to: 18, blames: says(13, "db")}, math.NaN(), 0, 1},
		{"a fault without an end lasts to the end", fault(20, 0, "db"), nil, act{told: 55, from: 50, to: 58, blames: says(50, "db")}, 35, 1, 0},
		{"a second cause counts", fault(20, 30, "db", "cart"), nil, act{told: 23, from: 22, to: 40, blames: says(22, "cart")}, 3, 1, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.act.id = "i"
			b := play{faults: []bundle.Fault{c.fault}, alerts: c.alerts, acts: []act{c.act}, until: 60}.run(t)
			f := b.Faults[0]
			switch {
			case math.IsNaN(c.delay) != (f.DetectedAt == nil):
				t.Errorf("detected at %v, want a delay of %v min", f.DetectedAt, c.delay)
			case f.DetectedAt != nil && *f.DelaySeconds != c.delay*60:
				t.Errorf("delay %v s, want %v min", *f.DelaySeconds, c.delay)
			}
			if f.OwnRank != c.rank || b.FalseAlarms != c.wolf || len(b.FalseAlarmTargets) != c.wolf {
				t.Errorf("rank %d, %d false alarms, want %d and %d", f.OwnRank, b.FalseAlarms, c.rank, c.wolf)
			}
		})
	}
}

func TestTheEarliestAlarmDetectsAndAnAlarmServesOneFault(t *testing.T) {
	p := play{until: 90, faults: []bundle.Fault{fault(60, 65, "cart"), fault(20, 30, "db"), fault(32, 38, "api")}, acts: []act{
		{id: "late", told: 28, from: 28, to: 31, blames: says(28, "db")},
		{id: "early", told: 22, from: 22, to: 50, blames: says(22, "web")},
		{id: "next", told: 33, from: 33, to: 50, blames: says(33, "api")}, // in the grace of the first fault too
	}}
	b := p.run(t)
	var got []float64
	for _, f := range b.Faults {
		if f.DelaySeconds == nil {
			got = append(got, -1)
			continue
		}
		got = append(got, *f.DelaySeconds)
	}
	// The faults stand in the order of the truth.
	if diff := cmp.Diff([]float64{-1, 120, 60}, got); diff != "" {
		t.Error(diff)
	}
	if b.Faults[1].AlarmService != "web" || b.FalseAlarms != 0 {
		t.Errorf("%q detected, %d false alarms", b.Faults[1].AlarmService, b.FalseAlarms)
	}
}

func TestTwoFaultsOfOneInstantShareTheirAlarm(t *testing.T) {
	p := play{
		until: 60, faults: []bundle.Fault{fault(20, 30, "db"), fault(20, 25, "cart")}, alerts: []bundle.Alert{{At: minute(24)}},
		acts: []act{{id: "i", told: 22, from: 22, to: 50, blames: says(22, "cart")}},
	}
	for i, f := range p.run(t).Faults {
		if f.DelaySeconds == nil || *f.DelaySeconds != 120 || f.LeadSeconds == nil || *f.LeadSeconds != 120 || f.OwnRank != i {
			t.Errorf("fault %d: delay %v, lead %v, rank %d", i, f.DelaySeconds, f.LeadSeconds, f.OwnRank)
		}
	}
}

func TestTheClockOfFaultFreeTime(t *testing.T) {
	p := play{until: 100, faults: []bundle.Fault{fault(20, 30, "db")}, acts: []act{
		{id: "wolf", told: 51, from: 50, to: 61, blames: says(50, "cart")},
		{id: "wolf two", told: 55, from: 55, to: 71, blames: says(55, "web")}, // overlapping time counts once
		{id: "fault", told: 22, from: 22, to: 41, blames: says(22, "db")},     // 34 to 40 is after the grace
	}}
	b := p.run(t)
	// Faulty are the ticks of the minutes 20 to 33.
	if b.FaultFreeSeconds != 86*60 || b.RecordingSeconds != 6000 {
		t.Errorf("%v s of %v without fault", b.FaultFreeSeconds, b.RecordingSeconds)
	}
	if want := (20. + 7) / 86; math.Abs(b.TimeInAlarmRatio-want) > 1e-12 {
		t.Errorf("time in alarm %v, want %v", b.TimeInAlarmRatio, want)
	}
	until := minute(61)
	if diff := cmp.Diff(Alarm{At: minute(51), Until: &until, Service: "cart", Incident: "wolf"}, b.FalseAlarmTargets[0]); diff != "" || b.FalseAlarms != 2 {
		t.Errorf("%d false alarms: %s", b.FalseAlarms, diff)
	}
}

func TestAnIncidentThatComesBackIsAnotherAlarm(t *testing.T) {
	p := play{until: 60, acts: []act{
		{id: "i", told: 10, from: 10, to: 20, blames: says(10, "db")}, {id: "i", told: 30, from: 30, to: 40, blames: says(30, "db")},
	}}
	if b := p.run(t); b.FalseAlarms != 2 {
		t.Errorf("%d false alarms", b.FalseAlarms)
	}
}

func TestRankingsConfidenceAndLead(t *testing.T) {
	p := play{until: 60, faults: []bundle.Fault{fault(20, 30, "db")}, alerts: []bundle.Alert{{At: minute(26)}, {At: minute(28)}, {At: minute(50)}}, acts: []act{
		{id: "i", told: 23, from: 22, to: 50, mechanism: sre.SlowDependency, blames: map[int]string{22: "api", 27: "db", 40: "web"}},
	}}
	f := p.run(t).Faults[0]
	if diff := cmp.Diff([]Suspect{{"api", .7}, {"other", .1}}, f.Ranking); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]Suspect{{"db", .7}, {"other", .1}}, f.SettledRanking); diff != "" {
		t.Error(diff)
	}
	if f.OwnRank != 0 || *f.LeadSeconds != 180 || f.Mechanism != string(sre.SlowDependency) {
		t.Errorf("rank %d, lead %v, mechanism %s", f.OwnRank, *f.LeadSeconds, f.Mechanism)
	}
	if diff := cmp.Diff(&Confidence{P: .7, Lower: .35}, f.Confidence); diff != "" {
		t.Error(diff)
	}
	if f.CandidateCount != 5 || len(f.OracleRanking) != 5 {
		t.Errorf("%d candidates", f.CandidateCount)
	}
}

func TestWrongActions(t *testing.T) {
	guilty, none := "d7", ""
	changes := []sre.Change{
		{ID: "d7", Service: "db", Kind: sre.Deploy}, {ID: "d8", Service: "api", Kind: sre.Deploy}, {ID: "f1", Service: "web", Kind: sre.Flag},
	}
	flag := "f1"
	on := func(k sre.ActionKind, service, name string) sre.Action {
		return sre.Action{ID: "a", Kind: k, Target: sre.Target{Lever: "guard", Service: service, Name: name}}
	}
	for _, c := range []struct {
		name   string
		when   int
		causes []string
		change *string
		action sre.Action
		wrong  bool
	}{
		{"on the cause", 25, []string{"db"}, nil, on(sre.Shed, "db", ""), false},
		{"on the way to the entry", 25, []string{"db"}, nil, on(sre.RetryBudget, "api", ""), false},
		{"at the entry", 25, []string{"db"}, nil, on(sre.Shed, "web", ""), false},
		{"on a healthy service", 25, []string{"db"}, nil, on(sre.Shed, "cart", ""), true},
		{"on a caller that no entry reaches", 25, []string{"db"}, nil, on(sre.Shed, "batch", ""), true},
		{"below the cause", 25, []string{"api"}, nil, on(sre.Scale, "db", ""), true},
		{"without any fault", 45, []string{"db"}, nil, on(sre.Shed, "db", ""), true},
		{"rollback, nothing known of changes", 25, []string{"db"}, nil, on(sre.Rollback, "db", ""), false},
		{"rollback of the guilty change", 25, []string{"db"}, &guilty, on(sre.Rollback, "db", ""), false},
		{"rollback of an innocent change", 25, []string{"db"}, &guilty, on(sre.Rollback, "api", ""), true},
		{"rollback where no change is to blame", 25, []string{"db"}, &none, on(sre.Rollback, "db", ""), true},
		{"shedding where no change is to blame", 25, []string{"db"}, &none, on(sre.Shed, "db", ""), false},
		{"the guilty flag", 25, []string{"web"}, &flag, on(sre.KillSwitch, "web", "f1"), false},
		{"another flag", 25, []string{"web"}, &flag, on(sre.KillSwitch, "web", "f2"), true},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := fault(20, 30, c.causes...)
			f.Change = c.change
			script := func(s sre.Stance) Bundle {
				return play{until: 60, faults: []bundle.Fault{f}, changes: changes, acts: []act{{
					id: "i", told: 21, from: 21, to: 50, blames: says(21, "db"),
					decides: map[int]sre.Stance{c.when: s}, does: map[int]sre.Action{c.when: c.action},
				}}}.run(t)
			}
			want := 0
			if c.wrong {
				want = 1
			}
			did, asked, watched := script(sre.Act), script(sre.Ask), script(sre.Watch)
			if did.WrongActions != want || did.Actions != 1 || did.WrongProposals != 0 {
				t.Errorf("acting: %d wrong of %d: %v", did.WrongActions, did.Actions, did.Faults[0].WrongActions)
			}
			if asked.WrongActions != 0 || asked.Actions != 0 || asked.WrongProposals != want {
				t.Errorf("asking: %d wrong, %d proposals", asked.WrongActions, asked.WrongProposals)
			}
			if watched.WrongActions != 0 || watched.WrongProposals != 0 {
				t.Errorf("watching: %d and %d", watched.WrongActions, watched.WrongProposals)
			}
			if inside := c.when < 34; inside != (len(did.Faults[0].Decisions) == 1) || inside != (len(did.OtherDecisions) == 0) {
				t.Errorf("%d decisions of the fault, %d others", len(did.Faults[0].Decisions), len(did.OtherDecisions))
			}
		})
	}
}

func TestOfTwoFaultsAtOnceEitherMayBeCured(t *testing.T) {
	shed := func(service string) sre.Action {
		return sre.Action{ID: "on " + service, Kind: sre.Shed, Target: sre.Target{Lever: "guard", Service: service}}
	}
	b := play{until: 60, faults: []bundle.Fault{fault(20, 40, "db"), fault(25, 40, "cart")}, acts: []act{{
		id: "i", told: 21, from: 21, to: 50, blames: says(21, "db"), decides: map[int]sre.Stance{30: sre.Act, 31: sre.Act, 32: sre.Act},
		does: map[int]sre.Action{30: shed("db"), 31: shed("cart"), 32: shed("batch")},
	}}}.run(t)
	if b.Actions != 3 || b.WrongActions != 1 || len(b.Faults[1].WrongActions) != 1 {
		t.Errorf("%d wrong of %d: %v", b.WrongActions, b.Actions, b.Faults[1].WrongActions)
	}
}

// A plan that is made anew keeps its runbook, and changes nothing of what was
// asked before.
func TestAQuestionIsJudgedByThePlanOfItsTime(t *testing.T) {
	on := func(service string) sre.Action {
		return sre.Action{Kind: sre.Shed, Target: sre.Target{Lever: "guard", Service: service}}
	}
	b := play{until: 60, faults: []bundle.Fault{fault(20, 40, "db")}, acts: []act{{
		id: "i", told: 21, from: 21, to: 50, blames: says(21, "db"), decides: map[int]sre.Stance{25: sre.Ask, 30: sre.Ask},
		does: map[int]sre.Action{25: on("cart"), 30: on("db")},
	}}}.run(t)
	if got := b.Faults[0].WrongProposals; len(got) != 1 || b.WrongProposals != 1 {
		t.Errorf("%d wrong proposals: %q, want that of cart", b.WrongProposals, got)
	}
}

func TestDecisionsTellWhatAndWhy(t *testing.T) {
	a := sre.Action{ID: "a", Kind: sre.Shed, Target: sre.Target{Lever: "guard", Service: "db"}, Params: sre.Params{"rps": 5.}}
	b := play{until: 60, faults: []bundle.Fault{fault(20, 30, "db")}, acts: []act{{
		id: "i", told: 21, from: 21, to: 50, decides: map[int]sre.Stance{25: sre.Ask}, does: map[int]sre.Action{25: a},
	}}}.run(t)
	want := []Decision{{
		At: minute(25), Incident: "i", Verdict: sre.Ask, Runbook: "book", Reasons: []string{"mode allows ask: so"},
		Actions: []Action{{Kind: sre.Shed, Target: "guard/db", Params: sre.Params{"rps": 5.}}},
	}}
	if diff := cmp.Diff(want, b.Faults[0].Decisions); diff != "" {
		t.Error(diff)
	}
}

// minutes lists when snapshots were taken.
func minutes(list []*sre.Snapshot) []int {
	var out []int
	for _, s := range list {
		out = append(out, int(s.At.Sub(begin)/time.Minute))
	}
	return out
}

func numbers(from, to int) []int {
	var out []int
	for i := from; i <= to; i++ {
		out = append(out, i)
	}
	return out
}

func TestTheOracleSeesNormalTimeBeforeAndTheFaultAfter(t *testing.T) {
	p := play{until: 200, faults: []bundle.Fault{fault(20, 23, "db"), fault(100.5, 103.5, "api"), fault(195, 0, "web")}}
	o := p.observer()
	var got []*question
	for m := range p.until {
		if m == 24 || m == 104 || m == 199 {
			got = append(got, o.oracle.running...)
		}
		if err := o.Watch(p.tick(m)); err != nil {
			t.Fatal(err)
		}
	}
	want := []struct{ before, after []int }{
		{numbers(0, 20), numbers(21, 24)},     // from the start of the recording
		{numbers(41, 100), numbers(101, 104)}, // 60 ticks back
		{numbers(136, 195), numbers(196, 199)},
	}
	if len(got) != len(want) {
		t.Fatalf("%d questions", len(got))
	}
	for i, q := range got {
		if diff := cmp.Diff(want[i].before, minutes(q.before)); diff != "" {
			t.Errorf("fault %d, before: %s", i, diff)
		}
		if diff := cmp.Diff(want[i].after, minutes(q.after)); diff != "" {
			t.Errorf("fault %d, after: %s", i, diff)
		}
	}
}

func TestTheOracleLeavesOutEarlierFaultsAndBlindTicks(t *testing.T) {
	p := play{until: 60, faults: []bundle.Fault{fault(20, 23, "db"), fault(30, 50, "api")}}
	o := p.observer()
	for m := range p.until {
		tick := p.tick(m)
		if m == 10 || m == 32 {
			tick.Snapshot.Health.Up = false
		}
		if m == 11 {
			tick.Snapshot = nil
		}
		if m == 36 { // the last that the window takes is 35
			q := o.oracle.running[0]
			want := slices.Concat(numbers(0, 9), numbers(12, 20), numbers(26, 30))
			if diff := cmp.Diff(want, minutes(q.before)); diff != "" {
				t.Errorf("before: %s", diff)
			}
			if diff := cmp.Diff([]int{31, 33, 34, 35}, minutes(q.after)); diff != "" {
				t.Errorf("after: %s", diff)
			}
		}
		if err := o.Watch(tick); err != nil {
			t.Fatal(err)
		}
	}
	if len(o.oracle.running) != 0 {
		t.Error("a question is still open")
	}
}

func TestTheOracleKeepsABoundedPast(t *testing.T) {
	o := newOracle(nil, nil, 100*time.Millisecond)
	for i := range 40000 {
		at := begin.Add(time.Duration(i) * 100 * time.Millisecond)
		o.watch(at, &sre.Snapshot{At: at, Health: sre.SourceHealth{Up: true}})
	}
	n := len(o.normal)
	if n == 0 || n > mostKept || o.normal[n-1].At.Sub(o.normal[0].At) < normalSpan-o.every*2 {
		t.Errorf("%d snapshots over %v", n, o.normal[n-1].At.Sub(o.normal[0].At))
	}
}

func TestNoTicksNoJudgement(t *testing.T) {
	if _, err := (play{until: 10}).observer().Bundle(); !errors.Is(err, ErrNoTicks) {
		t.Errorf("error %v", err)
	}
}

func BenchmarkWatch(b *testing.B) {
	p := play{until: 60, faults: []bundle.Fault{fault(20, 30, "db")}, acts: []act{{id: "i", told: 21, from: 21, to: 50, blames: says(21, "db")}}}
	tick := p.tick(25)
	o := p.observer()
	b.ReportAllocs()
	for b.Loop() {
		if err := o.Watch(tick); err != nil {
			b.Fatal(err)
		}
	}
}
