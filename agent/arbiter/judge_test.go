package arbiter

import (
	"strings"
	"testing"
	"time"

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
		"capped beside":            {func(_ *Ledger, c *Case) { c.Held = []Claim{{Incident: "j", Knob: Knob{sre.Shed, on("news")}}} }, sre.Act, ""},
		"capped by itself":         {func(_ *Ledger, c *Case) { c.Held = []Claim{{Incident: "i", Knob: Knob{sre.Shed, on("web")}}} }, sre.Act, ""},
		"another knob on the path": {func(_ *Ledger, c *Case) { c.Held = []Claim{{Incident: "j", Knob: Knob{sre.RetryBudget, on("web")}}} }, sre.Act, ""},
		"second structural":        {func(_ *Ledger, c *Case) { c.Wanted[0].Kind, c.Structural = sre.Rollback, 1 }, sre.Ask, "structural step 2"},
		"first structural":         {func(_ *Ledger, c *Case) { c.Wanted[0].Kind = sre.Rollback }, sre.Act, ""},
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

func TestThePolicyIsChecked(t *testing.T) {
	if f := DefaultPolicy().Validate(); len(f) > 0 {
		t.Errorf("default: %s", f)
	}
	if f := (Policy{Freeze: -1}).Validate(); len(f) != 7 {
		t.Errorf("%d faults:\n%s", len(f), f)
	}
}
