package gate

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/common/model"

	"github.com/sreagent/sreagent/agent/mandate"
	"github.com/sreagent/sreagent/sre"
)

func at(t *testing.T, text string) time.Time {
	t.Helper()
	v, err := time.Parse(time.RFC3339, text)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func TestIntervals(t *testing.T) {
	cases := []struct {
		name    string
		ti      TimeInterval
		in, out string
	}{
		{"times, end not in it", TimeInterval{Times: []TimeRange{{"09:00", "17:00"}}}, "2026-03-02T16:59:59Z", "2026-03-02T17:00:00Z"},
		{"end of the day", TimeInterval{Times: []TimeRange{{"22:00", "24:00"}}}, "2026-03-02T23:59:00Z", "2026-03-03T00:00:00Z"},
		{"weekdays", TimeInterval{Weekdays: []string{"monday:friday"}}, "2026-03-02T00:00:00Z", "2026-03-01T23:59:00Z"},
		{"last days of a short month", TimeInterval{DaysOfMonth: []string{"-2:-1"}}, "2026-02-27T12:00:00Z", "2026-02-26T12:00:00Z"},
		{"a leap year's last day", TimeInterval{DaysOfMonth: []string{"-1"}}, "2028-02-29T12:00:00Z", "2028-02-28T12:00:00Z"},
		{"months", TimeInterval{Months: []string{"november:12"}}, "2026-12-31T23:59:59Z", "2027-01-01T00:00:00Z"},
		{"years", TimeInterval{Years: []string{"2026"}}, "2026-01-01T00:00:00Z", "2027-01-01T00:00:00Z"},
		{"a zone's own clock", TimeInterval{Times: []TimeRange{{"00:00", "01:00"}}, Location: "Europe/Berlin"}, "2026-03-01T23:30:00Z", "2026-03-01T22:30:00Z"},
		{"summer time", TimeInterval{Times: []TimeRange{{"03:00", "04:00"}}, Location: "Europe/Berlin"}, "2026-03-29T01:00:00Z", "2026-03-29T00:59:00Z"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			iv, faults := c.ti.parse()
			if len(faults) > 0 {
				t.Fatal(faults)
			}
			if !iv.holds(at(t, c.in)) {
				t.Errorf("%s is not in it", c.in)
			}
			if iv.holds(at(t, c.out)) {
				t.Errorf("%s is in it", c.out)
			}
		})
	}
}

func TestSchedules(t *testing.T) {
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	cases := []struct {
		name, schedule string
		lasts          time.Duration
		in, out        string
	}{
		{"office hours", "0 9 * * mon-fri", 8 * time.Hour, "2026-03-02T15:59:00Z", "2026-03-02T16:00:00Z"},
		{"before it opens", "0 9 * * mon-fri", 8 * time.Hour, "2026-03-02T08:00:00Z", "2026-03-02T07:59:59Z"},
		{"every quarter", "*/15 * * * *", 5 * time.Minute, "2026-03-02T08:16:00Z", "2026-03-02T08:20:00Z"},
		{"either day", "0 0 1 * sun", time.Hour, "2026-03-07T23:30:00Z", "2026-03-06T23:30:00Z"},
		{"a skipped time does not fire", "30 2 * * *", 24 * time.Hour, "2026-03-29T00:29:00Z", "2026-03-29T01:30:00Z"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			schedule, wrong := parseCron(c.schedule)
			if wrong != "" {
				t.Fatal(wrong)
			}
			if !schedule.opened(at(t, c.in), c.lasts, berlin) {
				t.Errorf("%s is not in it", c.in)
			}
			if schedule.opened(at(t, c.out), c.lasts, berlin) {
				t.Errorf("%s is in it", c.out)
			}
		})
	}
}

func TestRulesAreCheckedWhereTheyStand(t *testing.T) {
	freeze := func(ti TimeInterval) Policy {
		return Policy{Freezes: []Freeze{{Name: "n", Reason: "r", Owner: "o", Intervals: []TimeInterval{ti}}}}
	}
	budget := func(b Budget) Policy { return Policy{Budgets: []Budget{b}} }
	cases := map[string]Policy{
		"autonomy[0].stance":                               {Autonomy: []Autonomy{{Stance: "maybe"}}},
		"autonomy[0].kinds[0]":                             {Autonomy: []Autonomy{{Scope: Scope{Kinds: []sre.ActionKind{"reboot"}}, Stance: Off}}},
		"autonomy[0].services[0]":                          {Autonomy: []Autonomy{{Scope: Scope{Services: []string{"pay["}}, Stance: Off}}},
		"autonomy[0].runbooks[0]":                          {Autonomy: []Autonomy{{Runbooks: []string{""}, Stance: Off}}},
		"protected[0]":                                     {Protected: []string{"[a"}},
		"freezes[0].name":                                  {Freezes: []Freeze{{Reason: "r", Owner: "o", Intervals: []TimeInterval{{}}}}},
		"freezes[0].reason":                                {Freezes: []Freeze{{Name: "n", Owner: "o", Intervals: []TimeInterval{{}}}}},
		"freezes[0].owner":                                 {Freezes: []Freeze{{Name: "n", Reason: "r", Intervals: []TimeInterval{{}}}}},
		"freezes[0].override":                              {Freezes: []Freeze{{Name: "n", Reason: "r", Owner: "o", Override: "me", Intervals: []TimeInterval{{}}}}},
		"freezes[0].time_intervals":                        {Freezes: []Freeze{{Name: "n", Reason: "r", Owner: "o"}}},
		"freezes[0].time_intervals[0].times[0]":            freeze(TimeInterval{Times: []TimeRange{{"10:00", "09:00"}}}),
		"freezes[0].time_intervals[0].times[0].start_time": freeze(TimeInterval{Times: []TimeRange{{"9:00", "10:00"}}}),
		"freezes[0].time_intervals[0].times[0].end_time":   freeze(TimeInterval{Times: []TimeRange{{"09:00", "24:01"}}}),
		"freezes[0].time_intervals[0].weekdays[0]":         freeze(TimeInterval{Weekdays: []string{"friday:monday"}}),
		"freezes[0].time_intervals[0].days_of_month[0]":    freeze(TimeInterval{DaysOfMonth: []string{"-1:3"}}),
		"freezes[0].time_intervals[0].months[0]":           freeze(TimeInterval{Months: []string{"13"}}),
		"freezes[0].time_intervals[0].years[0]":            freeze(TimeInterval{Years: []string{"26"}}),
		"freezes[0].time_intervals[0].location":            freeze(TimeInterval{Location: "Local"}),
		"budgets[0].limit.percent":                         budget(Budget{Limit: sre.Limit{Percent: 101}}),
		"budgets[0].schedule":                              budget(Budget{Schedule: "0 9 * *", Duration: model.Duration(time.Hour)}),
		"budgets[0].duration":                              budget(Budget{Schedule: "0 9 * * *"}),
		"budgets[0].per":                                   budget(Budget{Per: model.Duration(25 * time.Hour)}),
		"autonomy[0].earn.up_to":                           {Autonomy: []Autonomy{{Stance: sre.Ask, Earn: &mandate.Earn{UpTo: "all"}}}},
		"autonomy[0].earn.slo.success":                     {Autonomy: []Autonomy{{Stance: sre.Ask, Earn: &mandate.Earn{SLO: mandate.SLO{Success: 3}}}}},
		"autonomy[0].earn":                                 {Autonomy: []Autonomy{{Stance: Off, Earn: &mandate.Earn{}}}},
		"budgets[0].time_zone":                             budget(Budget{TimeZone: "Mars/Base"}),
	}
	for path, rules := range cases {
		p := DefaultPolicy()
		p.Autonomy, p.Freezes, p.Budgets, p.Protected = rules.Autonomy, rules.Freezes, rules.Budgets, rules.Protected
		faults := p.Validate()
		if len(faults) != 1 || faults[0].Path != path || faults[0].Allowed == "" {
			t.Errorf("%s: %v", path, faults)
		}
	}
	if wrong := DefaultPolicy().Validate(); len(wrong) > 0 {
		t.Error(wrong)
	}
}

func TestCronRefusesWhatCrontabDoes(t *testing.T) {
	for _, text := range []string{"", "@daily", "60 * * * *", "* 24 * * *", "* * 0 * *", "* * * 13 *", "* * * * 8", "*/0 * * * *", "5/10 * * * *", "5-1 * * * *", "+1 * * * *", "1,,2 * * * *"} {
		if _, wrong := parseCron(text); wrong == "" {
			t.Errorf("%q is taken", text)
		}
	}
}

func TestFirstRuleAboutAnActionDecides(t *testing.T) {
	p, q := openPolicy(), easyQuestion()
	p.Autonomy = []Autonomy{
		{Scope: Scope{Services: []string{"w*"}}, Runbooks: []string{"r"}, Stance: sre.Ask},
		{Scope: Scope{Kinds: []sre.ActionKind{sre.Shed}}, Stance: Off},
	}
	if d := New(p).Decide(q); d.Stance != sre.Ask {
		t.Errorf("stance %s", d.Stance)
	}
	q.Plan.Runbook = "other"
	d := New(p).Decide(q)
	if d.Stance != sre.Watch || !strings.Contains(against(d, sre.Watch), `"off" by rule 2`) {
		t.Errorf("stance %s: %s", d.Stance, against(d, sre.Watch))
	}
	p.Mode, p.Autonomy = sre.Ask, []Autonomy{{Stance: sre.Act}}
	if d := New(p).Decide(q); d.Stance != sre.Ask {
		t.Errorf("the mode is not the ceiling: %s", d.Stance)
	}
}

func TestWhoMayOpenAFreeze(t *testing.T) {
	for _, c := range []struct {
		override string
		role     sre.Role
		opens    bool
	}{
		{"", sre.Operator, false},
		{"", sre.Approver, true},
		{"admin", sre.Approver, false},
		{"admin", sre.Admin, true},
		{"nobody", sre.Admin, false},
	} {
		p, q := openPolicy(), easyQuestion()
		p.Freezes = []Freeze{
			{Name: "soft", Reason: "r", Owner: "o", Intervals: []TimeInterval{{}}},
			{Name: "hard", Reason: "r", Owner: "o", Override: c.override, Intervals: []TimeInterval{{}}},
		}
		g := New(p)
		d := g.Decide(q)
		_, _, err := g.Clear(q, &d, &sre.Approval{Decision: d.ID, Response: sre.Approved, By: "ann", Role: c.role, At: q.Now})
		if d.Stance == sre.Act || (err == nil) != c.opens {
			t.Errorf("override %q, role %s: stance %s, %v", c.override, c.role, d.Stance, err)
		}
	}
}

func TestABudgetHoldsInItsTime(t *testing.T) {
	p, q := openPolicy(), easyQuestion()
	p.Budgets = []Budget{{
		Scope: Scope{Kinds: []sre.ActionKind{sre.Shed}}, Limit: sre.Limit{Percent: 10, Number: 5},
		Schedule: "0 9 * * *", Duration: model.Duration(time.Hour), Reason: "the morning peak",
	}}
	q.Held = []Held{{Incident: "j", Kind: sre.Shed, Target: sre.Target{Lever: "guard", Service: "api"}}}
	for _, c := range []struct {
		clock string
		want  sre.Stance
	}{{"2026-03-02T09:30:00Z", sre.Ask}, {"2026-03-02T10:00:00Z", sre.Act}} {
		q.Now = at(t, c.clock)
		q.Incident.Diagnosis.At = q.Now
		if d := New(p).Decide(q); d.Stance != c.want {
			t.Errorf("%s: %s: %+v", c.clock, d.Stance, d.Reasons)
		}
	}
	q.Held[0].Kind, q.Now = sre.Scale, at(t, "2026-03-02T09:30:00Z")
	q.Incident.Diagnosis.At = q.Now
	if d := New(p).Decide(q); d.Stance != sre.Act {
		t.Errorf("another kind counts: %s", d.Stance)
	}
}

func TestWhatAllowsLessSaysWhatWouldChangeIt(t *testing.T) {
	p, q := Policy{Mode: sre.Watch}, easyQuestion()
	q.SourceUp, q.WarmUp, q.Blocked, q.Pauses = false, 0, "x", []sre.Pause{{By: "ann"}}
	for _, r := range New(p).Decide(q).Reasons {
		if (r.Allows == sre.Act) != (r.Change == "") {
			t.Errorf("%s allows %s and would change if %q", r.Guard, r.Allows, r.Change)
		}
	}
}

func TestTwoPeopleAreTwoPeople(t *testing.T) {
	p, q := openPolicy(), easyQuestion()
	p.Mode, p.Approvals = sre.Ask, Approvals{Low: 2}
	g := New(p)
	d := g.Decide(q)
	for _, c := range []struct {
		with []string
		want error
	}{{nil, ErrMoreNeeded}, {[]string{"ann"}, ErrMoreNeeded}, {[]string{""}, ErrMoreNeeded}, {[]string{"bob"}, nil}} {
		yes := &sre.Approval{Decision: d.ID, Response: sre.Approved, By: "ann", Role: sre.Approver, At: q.Now, Need: 1, With: c.with}
		if _, _, err := g.Clear(q, &d, yes); !errors.Is(err, c.want) {
			t.Errorf("with %q: %v, want %v", c.with, err, c.want)
		}
	}
}

func TestTheAuthorsYesDoesNotCount(t *testing.T) {
	p, q := openPolicy(), easyQuestion()
	p.Mode, p.Approvals = sre.Ask, Approvals{NotByAuthor: true}
	q.Plan.Author = "ann"
	g := New(p)
	d := g.Decide(q)
	for by, want := range map[string]error{"ann": ErrMoreNeeded, "bob": nil} {
		yes := &sre.Approval{Decision: d.ID, Response: sre.Approved, By: by, Role: sre.Approver, At: q.Now}
		if _, _, err := g.Clear(q, &d, yes); !errors.Is(err, want) {
			t.Errorf("by %s: %v, want %v", by, err, want)
		}
	}
}

// A demotion holds a law's move back too, where the agent acts alone.
func TestADemotedActionIsNotTightened(t *testing.T) {
	q := easyQuestion()
	q.Standing = func(sre.MandateKey) mandate.Standing {
		return mandate.Standing{MandateChange: sre.MandateChange{Verb: sre.MandateDemote, To: sre.Ask, Text: "it got worse"}, By: byPolicy}
	}
	g := New(openPolicy())
	if d := g.Decide(q); d.Stance != sre.Ask {
		t.Errorf("stance %s", d.Stance)
	}
	m := sre.Mitigation{Action: q.Plan.Steps[0].Actions[0], Permit: sre.Permit{By: byPolicy}}
	if err := g.mayTighten(q, m); err == nil || !strings.Contains(err.Error(), "demoted to ask: it got worse") {
		t.Errorf("%v", err)
	}
	m.Permit.By = "ann"
	if err := g.mayTighten(q, m); err != nil {
		t.Errorf("what a person approved: %v", err)
	}
}
