package arbiter

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/common/model"

	"github.com/sreagent/sreagent/sre"
)

var now = time.Unix(100_000, 0)

func on(service string) sre.Target { return sre.Target{Lever: "guard", Service: service} }

func chain(t *testing.T) *sre.Graph {
	t.Helper()
	return sre.NewGraph(
		[]sre.Service{{Name: "web"}, {Name: "shop"}, {Name: "db"}, {Name: "news"}},
		[]sre.Edge{{From: 0, To: 1}, {From: 1, To: 2}, {From: 0, To: 3}},
	)
}

func easy(t *testing.T) Case {
	t.Helper()
	return Case{
		Now: now, Incident: "i", Cause: "db", Graph: chain(t),
		Wanted: []sre.Action{{ID: "i.0.0.0", Kind: sre.Shed, Target: on("db")}},
		Tick:   10 * time.Second, Services: 40,
	}
}

func TestEachRuleCanStopIt(t *testing.T) {
	knob := Knob{sre.Shed, on("db")}
	cases := map[string]struct {
		spoil func(*Ledger, *Case)
		want  sre.Stance
		says  string
	}{
		"easy": {func(*Ledger, *Case) {}, sre.Act, ""},
		"frozen": {func(l *Ledger, _ *Case) {
			l.Overwritten(knob, Foreign{At: now.Add(-29 * time.Minute), By: "ann", Old: sre.Params{"rate": 9.0}, Ours: sre.Params{"rate": 5.0}, Theirs: sre.Params{"rate": 7.0}})
		}, sre.Watch, "moved by ann"},
		"thawed": {func(l *Ledger, _ *Case) { l.Overwritten(knob, Foreign{At: now.Add(-30 * time.Minute)}) }, sre.Act, ""},
		"another knob": {func(l *Ledger, _ *Case) {
			l.Overwritten(Knob{sre.Shed, on("web")}, Foreign{At: now})
			l.Overwritten(Knob{sre.Breaker, on("db")}, Foreign{At: now})
		}, sre.Act, ""},
		"failed once": {func(l *Ledger, _ *Case) { l.Came(Cure{"db", knob}, sre.Unchanged, now) }, sre.Act, ""},
		"failed twice": {func(l *Ledger, _ *Case) {
			l.Came(Cure{"db", knob}, sre.NoDataOutcome, now.Add(-time.Hour))
			l.Came(Cure{"db", knob}, sre.InconclusiveOutcome, now)
		}, sre.Ask, "2 times"},
		"failed long ago": {func(l *Ledger, _ *Case) {
			l.Came(Cure{"db", knob}, sre.Worsened, now.Add(-24*time.Hour))
			l.Came(Cure{"db", knob}, sre.Worsened, now)
		}, sre.Act, ""},
		"helped since": {func(l *Ledger, _ *Case) {
			l.Came(Cure{"db", knob}, sre.Worsened, now)
			l.Came(Cure{"db", knob}, sre.Worsened, now)
			l.Came(Cure{"db", knob}, sre.Improved, now)
		}, sre.Act, ""},
		"failed for another cause": {func(l *Ledger, _ *Case) {
			l.Came(Cure{"news", knob}, sre.Worsened, now)
			l.Came(Cure{"news", knob}, sre.Worsened, now)
		}, sre.Act, ""},
		"capped upstream": {func(_ *Ledger, c *Case) {
			c.Held = []Claim{{Incident: "j", Knob: Knob{sre.Shed, on("web")}, Since: now, Until: now.Add(time.Hour)}}
		}, sre.Watch, "incident j"},
		"capped beside":              {func(_ *Ledger, c *Case) { c.Held = []Claim{{Incident: "j", Knob: Knob{sre.Shed, on("news")}}} }, sre.Act, ""},
		"capped by itself":           {func(_ *Ledger, c *Case) { c.Held = []Claim{{Incident: "i", Knob: Knob{sre.Shed, on("web")}}} }, sre.Act, ""},
		"another knob on the path":   {func(_ *Ledger, c *Case) { c.Held = []Claim{{Incident: "j", Knob: Knob{sre.RetryBudget, on("web")}}} }, sre.Act, ""},
		"second structural":          {func(_ *Ledger, c *Case) { c.Wanted[0].Kind, c.Structural = sre.Rollback, 1 }, sre.Ask, "structural step 2"},
		"first structural":           {func(_ *Ledger, c *Case) { c.Wanted[0].Kind = sre.Rollback }, sre.Act, ""},
		"set a moment ago":           {func(l *Ledger, _ *Case) { l.Set(knob, now.Add(-9*time.Second)) }, sre.Watch, "was set 9s ago"},
		"set a tick ago":             {func(l *Ledger, _ *Case) { l.Set(knob, now.Add(-10*time.Second)) }, sre.Act, ""},
		"taken back a moment ago":    {func(l *Ledger, _ *Case) { l.Moved(knob, nil, now.Add(-time.Second)) }, sre.Act, ""},
		"set after now":              {func(l *Ledger, _ *Case) { l.Set(knob, now.Add(time.Second)) }, sre.Act, ""},
		"replicas set minutes ago":   {func(l *Ledger, c *Case) { scaled(l, c, 299*time.Second) }, sre.Watch, "waited for until"},
		"replicas set five ago":      {func(l *Ledger, c *Case) { scaled(l, c, 300*time.Second) }, sre.Act, ""},
		"a breaker set a minute ago": {func(l *Ledger, c *Case) { broken(l, c, 59*time.Second) }, sre.Watch, "was set 59s ago"},
		"before a cheaper one":       {func(_ *Ledger, c *Case) { c.Cheaper = []sre.Action{{Kind: sre.RetryBudget, Target: on("web")}} }, sre.Ask, "shed on guard/db goes before retry_budget on guard/web"},
		"ahead for a reason": {func(_ *Ledger, c *Case) {
			c.Cheaper, c.Ahead = []sre.Action{{Kind: sre.RetryBudget, Target: on("web")}}, "nobody repeats"
		}, sre.Act, ""},
		"before an equal one":     {func(_ *Ledger, c *Case) { c.Cheaper = []sre.Action{{Kind: sre.Shed, Target: on("web")}} }, sre.Act, ""},
		"a tenth of the fleet":    {func(_ *Ledger, c *Case) { c.Touched = []string{"a", "b", "c", "a"} }, sre.Act, ""},
		"more than a tenth":       {func(_ *Ledger, c *Case) { c.Touched = []string{"a", "b", "c", "d"} }, sre.Ask, "5 services would have been acted on within 10m; 4 of 40"},
		"more, of the same":       {func(_ *Ledger, c *Case) { c.Touched = []string{"a", "b", "c", "d", "db"} }, sre.Act, ""},
		"more, by bounds":         {func(_ *Ledger, c *Case) { c.Touched, c.Wanted[0].Kind = []string{"a", "b", "c", "d"}, sre.QueueBound }, sre.Act, ""},
		"ten of a large fleet":    {func(_ *Ledger, c *Case) { c.Touched, c.Services = strings.Split("abcdefghij", ""), 9000 }, sre.Ask, "11 services"},
		"one of a fleet of three": {func(_ *Ledger, c *Case) { c.Services = 3 }, sre.Act, ""},
		"too many, under way": {func(_ *Ledger, c *Case) {
			for _, i := range []string{"i", "x", "y", "z"} {
				c.Held = append(c.Held, Claim{Incident: i, Knob: Knob{sre.Breaker, on("news")}})
			}
		}, sre.Act, ""},
		"too many": {func(_ *Ledger, c *Case) {
			for _, i := range []string{"x", "y", "z"} {
				c.Held = append(c.Held, Claim{Incident: i, Knob: Knob{sre.Breaker, on("news")}})
			}
		}, sre.Ask, "4 steps"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			l, q := NewLedger(), easy(t)
			c.spoil(l, &q)
			r := Judge(DefaultPolicy(), l, q)
			if r.Allows != c.want || !strings.Contains(r.Text, c.says) || (r.Allows != sre.Act) != (r.Change != "") {
				t.Errorf("%+v", r)
			}
		})
	}
}

func scaled(l *Ledger, c *Case, ago time.Duration) {
	c.Wanted[0].Kind = sre.Scale
	l.Set(KnobOf(c.Wanted[0]), now.Add(-ago))
}

func broken(l *Ledger, c *Case, ago time.Duration) {
	c.Wanted[0].Kind = sre.Breaker
	l.Set(KnobOf(c.Wanted[0]), now.Add(-ago))
}

// Whatever the tick, loops of which nobody said otherwise are apart.
func TestPacesAreApart(t *testing.T) {
	const d = model.Duration(time.Second)
	for name, c := range map[string]struct {
		pace     Pace
		tick     time.Duration
		halfLife time.Duration
		want     string
	}{
		"by itself":            {tick: 10 * time.Second, halfLife: 180 * 24 * time.Hour},
		"a fast tick":          {tick: time.Second, halfLife: 24 * time.Hour},
		"the slowest tick":     {tick: 10 * time.Minute, halfLife: 24 * time.Hour},
		"no learner":           {tick: 10 * time.Second},
		"faster than the tick": {Pace{Caps: 5 * d}, 10 * time.Second, 0, "caps: 5s is shorter than the interval between ticks, 10s"},
		"timeouts like caps":   {Pace{Timeouts: 49 * d}, 10 * time.Second, 0, "timeouts: 49s is less than 5 times as long as 10s of caps: the two loops would answer each other; allowed: 50s or longer"},
		"capacity like timeouts": {Pace{Timeouts: 60 * d, Capacity: 299 * d}, 10 * time.Second, 0,
			"capacity: 4m59s is less than 5 times as long as 1m of timeouts: the two loops would answer each other; allowed: 5m or longer"},
		"learning like capacity": {Pace{Capacity: 6 * 3600 * d}, 10 * time.Second, 24 * time.Hour, "capacity: 6h is less than 5 times faster than learning, which forgets in 1d"},
	} {
		t.Run(name, func(t *testing.T) {
			got := fmt.Sprint(c.pace.Validate(c.tick, c.halfLife))
			if c.want == "" && got != "[]" && got != "" || !strings.Contains(got, c.want) {
				t.Errorf("%q, want %q", got, c.want)
			}
		})
	}
}

func TestThePolicyIsChecked(t *testing.T) {
	if f := DefaultPolicy().Validate(); len(f) > 0 {
		t.Errorf("default: %s", f)
	}
	if f := (Policy{Freeze: -1}).Validate(); len(f) != 7 {
		t.Errorf("%d faults:\n%s", len(f), f)
	}
}
