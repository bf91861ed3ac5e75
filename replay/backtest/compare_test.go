package backtest

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/sreagent/sreagent/sre"
)

func detectedAfter(f Fault, s float64) Fault {
	at := f.InjectedAt.Add(time.Duration(s * float64(time.Second)))
	f.DetectedAt, f.DelaySeconds = &at, &s
	return f
}

func decided(m float64, s sre.Stance, book string, actions ...Action) Decision {
	return Decision{At: minute(m), Verdict: s, Runbook: book, Actions: actions}
}

func shed(service string, rps any) Action {
	return Action{Kind: sre.Shed, Target: "guard/" + service, Params: sre.Params{"rps": rps}}
}

func TestCompareActionByAction(t *testing.T) {
	db := Fault{Services: []string{"db"}, InjectedAt: minute(10)}
	web := Fault{Services: []string{"web", "api"}, InjectedAt: minute(30)}
	with := func(f Fault, rank, own int, ds ...Decision) Fault {
		f.OracleRank, f.OwnRank, f.Decisions = rank, own, ds
		return f
	}
	a := &Result{Config: "one", Bundles: []Bundle{
		{ID: "p", Faults: []Fault{
			detectedAfter(with(db, 1, 2, decided(11, sre.Ask, "storm", shed("db", 5), shed("web", 7)), decided(14, sre.Act, "load")), 60),
			with(web, 2, 0, decided(31, sre.Ask, "storm")),
		}, FalseAlarmTargets: []Alarm{{At: minute(50), Service: "cart"}, {At: minute(55)}}},
		{ID: "q", Faults: []Fault{detectedAfter(db, 30)}},
		{ID: "same", Faults: []Fault{detectedAfter(with(db, 1, 1, decided(11, sre.Act, "storm", shed("db", 5))), 60)}},
		{ID: "gone"},
		{ID: "read"},
	}}
	b := &Result{Config: "two", Bundles: []Bundle{
		{ID: "p", Faults: []Fault{
			detectedAfter(with(db, 1, 1, decided(11, sre.Act, "storm", shed("db", 9), shed("api", 7))), 40),
			detectedAfter(with(web, 1, 0, decided(33, sre.Ask, "storm"), decided(34, sre.Watch, "storm")), 90),
		}, FalseAlarmTargets: []Alarm{{At: minute(50), Service: "cart"}, {At: minute(57), Service: "db"}}},
		{ID: "q", Faults: []Fault{db}},
		{ID: "same", Faults: []Fault{detectedAfter(with(db, 1, 1, decided(11, sre.Act, "storm", shed("db", 5.))), 60)}},
		{ID: "read", Error: "cut off"},
		{ID: "new"},
	}}
	c := Compare(a, b)
	var got []string
	for _, d := range c.Differences {
		at := "--"
		if !d.At.IsZero() {
			at = d.At.Format("04")
		}
		got = append(got, strings.Join([]string{d.Bundle, d.Fault, at, d.About, d.Change, d.A, d.B}, "|"))
	}
	want := []string{
		"gone||--|bundle|dropped||",
		"new||--|bundle|added||",
		"p|db|10|detection|earlier|+60 s|+40 s",
		"p|db|10|ranking|changed|rank 2|rank 1",
		"p|db|11|decision|changed|ask storm|act storm",
		"p|db|11|action|changed|shed guard/db rps=5|shed guard/db rps=9",
		"p|db|11|action|dropped|shed guard/web rps=7|",
		"p|db|11|action|added||shed guard/api rps=7",
		"p|db|14|decision|dropped|act load|",
		"p|web, api|30|detection|added||+90 s",
		"p|web, api|30|ranking|changed|oracle rank 2|oracle rank 1",
		"p|web, api|33|decision|later|12:31:00|12:33:00",
		"p|web, api|34|decision|added||watch storm",
		"p||55|false_alarm|dropped|unknown|",
		"p||57|false_alarm|added||db",
		"q|db|10|detection|dropped|+30 s|",
		"read||--|bundle|changed|read|cut off",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if c.Equal != 1 {
		t.Errorf("%d bundles without a difference", c.Equal)
	}
}

func TestADroppedDecisionDropsItsActions(t *testing.T) {
	a := &Result{Bundles: []Bundle{{ID: "p", OtherDecisions: []Decision{decided(1, sre.Act, "storm", shed("db", 5))}}}}
	b := &Result{Bundles: []Bundle{{ID: "p"}}}
	for _, c := range []*Comparison{Compare(a, b), Compare(b, a)} {
		if len(c.Differences) != 2 || c.Differences[0].About != AboutDecision || c.Differences[1].About != AboutAction {
			t.Errorf("%+v", c.Differences)
		}
		if c.Differences[0].Change != c.Differences[1].Change {
			t.Errorf("%+v", c.Differences)
		}
	}
}

func TestOnlyFiguresThatMovedAreListed(t *testing.T) {
	a := &Result{Summary: map[string]Summary{"x": {Detected: Share{Value: .5}, WrongActions: 2}, "y": {Actions: 1}}}
	b := &Result{Summary: map[string]Summary{"x": {Detected: Share{Value: .75}, WrongActions: 2}, "z": {FalseAlarmsPerDay: 3}}}
	want := []Delta{{"x", "detected", .5, .75}, {"y", "actions", 1, 0}, {"z", "false_alarms_per_day", 0, 3}}
	if diff := cmp.Diff(want, Compare(a, b).Summary); diff != "" {
		t.Error(diff)
	}
	text, err := json.Marshal(Compare(a, a))
	if err != nil || string(text) != `{"differences":[],"summary":[],"equal":0}` {
		t.Errorf("%s, %v", text, err)
	}
}

// wide is a result with everything that can make a line long.
func wide() *Result {
	bundle := Bundle{
		ID: "a-recording-with-a-very-long-name-that-goes-on", Source: strings.Repeat("corpus of incidents ", 8) + strings.Repeat("x", 100),
		FaultFreeSeconds: 1e8, FalseAlarms: 123456, TimeInAlarmRatio: 1, Actions: 99999, WrongActions: 99999, WrongProposals: 99999,
	}
	for i := range 250 {
		f := detectedAfter(Fault{Services: []string{"db"}, InjectedAt: minute(float64(i))}, float64(-100000-i))
		f.LeadSeconds = f.DelaySeconds
		f.Confidence = &Confidence{P: float64(i) / 250}
		f.OracleRanking, f.Ranking, f.OwnRank = list("db"), list("web", "db"), 2
		if i%3 == 0 {
			f.OwnRank, f.Ranking = 1, list("db")
		}
		bundle.Faults = append(bundle.Faults, f)
	}
	failed := Bundle{ID: "z", Source: "other", Error: strings.Repeat("line 5 of metrics.om: a timestamp that is out of order; ", 5) + strings.Repeat("y", 200)}
	r := &Result{Bundles: []Bundle{bundle, failed}, Partial: true}
	r.Summary = Summarise(r.Bundles)
	return r
}

func narrow(t *testing.T, text string) {
	t.Helper()
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		if n := utf8.RuneCountInString(line); n > columns {
			t.Errorf("%d columns: %s", n, line)
		}
		if strings.TrimRight(line, " ") != line {
			t.Errorf("blanks at the end of %q", line)
		}
	}
}

func TestTextFitsATerminal(t *testing.T) {
	var b strings.Builder
	if err := WriteText(&b, wide()); err != nil {
		t.Fatal(err)
	}
	narrow(t, b.String())
	for _, want := range []string{"1.000 [0.985 1.000] of 250", "answers per bin         25   25", "AC@1                 1.000 [.98 1.00]   0.336", "nothing to detect", "partial"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("no %q in\n%s", want, b.String())
		}
	}
	b.Reset()
	other := &Result{Bundles: []Bundle{{ID: "z", Source: "other"}}}
	if err := WriteComparison(&b, Compare(wide(), other)); err != nil {
		t.Fatal(err)
	}
	narrow(t, b.String())
}

func TestComparisonsAsText(t *testing.T) {
	db := Fault{Services: []string{"db"}, InjectedAt: minute(10)}
	a := &Result{Bundles: []Bundle{{ID: "p", Source: "x", Faults: []Fault{detectedAfter(db, 60)}}}}
	b := &Result{Bundles: []Bundle{{ID: "p", Source: "x", Faults: []Fault{db}, OtherDecisions: []Decision{decided(40, sre.Act, "storm", shed("db", 5))}}}}
	a.Summary, b.Summary = Summarise(a.Bundles), Summarise(b.Bundles)
	var text strings.Builder
	if err := WriteComparison(&text, Compare(a, b)); err != nil {
		t.Fatal(err)
	}
	want := `p
  12:10:00 - detection dropped +60 s
  12:40:00 + decision added act storm
  12:40:00 + action added shed guard/db rps=5

3 differences; 0 bundles without any

x
                                      a            b        b - a
  detected                        1.000        0.000       -1.000
  median_delay_seconds           60.000        0.000      -60.000
`
	if diff := cmp.Diff(want, text.String()); diff != "" {
		t.Error(diff)
	}
}

type full struct{}

var errFull = errors.New("disk full")

func (full) Write([]byte) (int, error) { return 0, errFull }

func TestAWriterThatFailsIsReported(t *testing.T) {
	if err := WriteText(full{}, wide()); !errors.Is(err, errFull) {
		t.Errorf("text: %v", err)
	}
	if err := WriteComparison(full{}, Compare(wide(), &Result{})); !errors.Is(err, errFull) {
		t.Errorf("comparison: %v", err)
	}
	if err := WriteResult(full{}, wide()); !errors.Is(err, errFull) {
		t.Errorf("result: %v", err)
	}
}
