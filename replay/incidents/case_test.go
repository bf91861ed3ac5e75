package incidents

import (
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"github.com/sreagent/sreagent/replay/fluid"
	"github.com/sreagent/sreagent/replay/world"
	"github.com/sreagent/sreagent/sre"
)

var small = Options{Count: 20, Seed: 3, Least: 40, Most: 90}

func TestEveryMechanismIsDrawn(t *testing.T) {
	seen := map[sre.Mechanism]int{}
	for i := range 20 {
		c := Draw(small, i)
		seen[c.Mechanism]++
		if !strings.Contains(c.ID, string(c.Mechanism)) || c.Words == "" {
			t.Errorf("case %d of %s is called %q: %q", i, c.Mechanism, c.ID, c.Words)
		}
	}
	for _, m := range sre.Mechanisms() {
		want := 2
		if m == sre.Unknown {
			want = 0
		}
		if seen[m] != want {
			t.Errorf("%s is drawn %d times in 20, want %d", m, seen[m], want)
		}
	}
}

// A case is a function of the options and its number, whatever was drawn before.
func TestDrawIsRepeatable(t *testing.T) {
	look := cmp.Options{cmpopts.IgnoreFields(Case{}, "act", "surge"), cmp.AllowUnexported(Case{}, swing{}, episode{})}
	for _, o := range []Options{small, {Seed: 9, Least: 40, Most: 90, Benign: true}} {
		for i := range 10 {
			a := Draw(o, i)
			Draw(o, i+1)
			if diff := cmp.Diff(a, Draw(o, i), look); diff != "" {
				t.Errorf("case %d: %s", i, diff)
			}
		}
	}
}

// Every case is one that the model takes, with a fault in a service that others
// call and that enough of some entry's requests need, and after the time in which
// the agent is to learn.
func TestDrawnCasesMakeSense(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		o := Options{
			Seed: rapid.Uint64Range(1, 1<<40).Draw(t, "seed"), Least: 30, Most: 120,
			Disturb: Disturbance{Rename: rapid.Bool().Draw(t, "rename")},
		}
		i := rapid.IntRange(0, 1000).Draw(t, "index")
		c := Draw(o, i)
		if _, err := fluid.New(c.Blueprint); err != nil {
			t.Fatal(err)
		}
		if c.Inject < 5*time.Minute || c.Inject%step != 0 || c.Ends-c.Inject < c.Lasts || len(c.Changes) != len(c.ChangeAt) {
			t.Fatalf("inject %s, lasts %s, ends %s, %d changes at %d times", c.Inject, c.Lasts, c.Ends, len(c.Changes), len(c.ChangeAt))
		}
		f := newFleet(&c.Blueprint)
		if f.reach[c.Service] <= 0 || c.Mechanism != sre.Overload && len(f.into[c.Service]) == 0 {
			t.Fatalf("%s: nobody needs %s", c.Mechanism, c.name())
		}
		for v := range c.Blueprint.Services {
			if load := f.flow[v] / f.capacity(v); load > .8 {
				t.Fatalf("%s: %s is %.0f %% busy in health", c.Mechanism, c.Blueprint.Services[v].Name, 100*load)
			}
		}
		guilty := 0
		for _, change := range c.Changes {
			if change.ID == c.Guilty {
				guilty++
			}
		}
		if want := c.Mechanism == sre.BadChange; (guilty == 1) != want {
			t.Fatalf("%s has %d guilty changes", c.Mechanism, guilty)
		}
	})
}

// flow is worked out in one sweep; the twin follows every call from every client.
func TestFlowAgainstTwin(t *testing.T) {
	b := fluid.Fleet(fluid.FleetOptions{Services: 40, Seed: 5, Layers: 4})
	f := newFleet(&b)
	twin := make([]float64, len(b.Services))
	var follow func(v int, rate float64)
	follow = func(v int, rate float64) {
		twin[v] += rate
		for _, e := range b.Edges {
			if e.From == v {
				follow(e.To, rate*e.Calls)
			}
		}
	}
	for _, c := range b.Clients {
		follow(c.Entry, c.Rate)
	}
	for v := range twin {
		if math.Abs(twin[v]-f.flow[v]) > 1e-6*(1+twin[v]) {
			t.Errorf("%s: %v, twin %v", b.Services[v].Name, f.flow[v], twin[v])
		}
	}
}

func TestRenameChangesNamesOnly(t *testing.T) {
	for i := range 20 {
		o := small
		a := Draw(o, i)
		o.Disturb.Rename = true
		b := Draw(o, i)
		if a.Service != b.Service || a.Inject != b.Inject || len(a.Changes) != len(b.Changes) {
			t.Fatalf("case %d is another one", i)
		}
		old := map[string]string{}
		for v := range b.Blueprint.Services {
			old[b.Blueprint.Services[v].Name] = a.Blueprint.Services[v].Name
			b.Blueprint.Services[v].Name = a.Blueprint.Services[v].Name
		}
		if len(old) != len(a.Blueprint.Services) {
			t.Fatalf("case %d: two services have one name", i)
		}
		for k := range b.Changes {
			b.Changes[k].Service = old[b.Changes[k].Service]
		}
		if diff := cmp.Diff(a.Blueprint, b.Blueprint) + cmp.Diff(a.Changes, b.Changes); diff != "" {
			t.Errorf("case %d: %s", i, diff)
		}
	}
}

func TestOptionsValidate(t *testing.T) {
	for _, tc := range []struct {
		want string
		set  func(*Options)
	}{
		{"", func(*Options) {}},
		{"count", func(o *Options) { o.Count = 0 }},
		{"services", func(o *Options) { o.Least = 5 }},
		{"services", func(o *Options) { o.Least, o.Most = 100, 50 }},
		{"tick", func(o *Options) { o.Tick = 1500 * time.Millisecond }},
		{"warm_up", func(o *Options) { o.WarmUp = time.Second }},
		{"day", func(o *Options) { o.Day = -time.Hour }},
		{"clock_error", func(o *Options) { o.Disturb.ClockError = -1 }},
		{"missing", func(o *Options) { o.Disturb.Missing = 1 }},
		{"missing", func(o *Options) { o.Disturb.Missing = math.NaN() }},
	} {
		o := Options{Count: 1}
		tc.set(&o)
		faults := o.Validate()
		if (tc.want == "") != (len(faults) == 0) || tc.want != "" && faults[0].Path != tc.want {
			t.Errorf("%+v: %v, want %q", o, faults, tc.want)
		}
	}
}

// played is the truth of a case without an agent.
func played(t *testing.T, o Options, c *Case) *truth {
	t.Helper()
	o = o.withDefaults()
	past := 2 * time.Minute
	w, err := world.New(c.Blueprint, world.Options{Start: origin().Add(-past), Interval: o.Tick, Seed: c.Seed, Keep: 1})
	if err != nil {
		t.Fatal(err)
	}
	tr := newTruth(c, o.Tick)
	c.script(w, origin(), past, tr)
	for at := time.Duration(0); at <= c.Ends; at += o.Tick {
		w.AdvanceTo(origin().Add(at))
		tr.watch(w.Model(), at)
	}
	return tr
}

// The worlds are well until something goes wrong, then most of them are felt, and
// some of those do not come back by themselves.
func TestFaultsHurt(t *testing.T) {
	if testing.Short() {
		t.Skip("takes a while")
	}
	felt, lasting := 0, 0
	for i := range 30 {
		c := Draw(small, i)
		tr := played(t, small, c)
		if tr.before {
			t.Errorf("%s: users suffer before the fault", c.ID)
		}
		h := tr.harm(origin())
		if h.Felt {
			felt++
		}
		if h.Lasting {
			lasting++
			if room := h.NoReturnAt.Sub(origin()) - c.Inject; room < 0 || room > max(c.Lasts, 10*time.Second) {
				t.Errorf("%s: no return %s after the fault, which lasts %s", c.ID, room, c.Lasts)
			}
		}
	}
	if felt < 22 || lasting < 5 || lasting == felt {
		t.Errorf("of 30 faults %d are felt and %d last", felt, lasting)
	}
}

// The point of no return divides: with a trigger of its length the world heals,
// with one tick more it does not.
func TestNoReturnDivides(t *testing.T) {
	o := small.withDefaults()
	found := 0
	for i := 0; i < 60 && found < 3; i++ {
		c := Draw(small, i)
		if c.Mechanism != sre.RetryStorm && c.Mechanism != sre.SurvivorOverload {
			continue
		}
		tr := played(t, small, c)
		h := tr.harm(origin())
		if h.NoReturnAt == nil {
			continue
		}
		found++
		length := h.NoReturnAt.Sub(origin()) - c.Inject
		if length > 0 && !tr.heals(length) {
			t.Errorf("%s: a trigger of %s does not heal", c.ID, length)
		}
		if length+o.Tick <= c.Lasts && tr.heals(length+o.Tick) {
			t.Errorf("%s: a trigger of %s heals", c.ID, length+o.Tick)
		}
	}
	if found < 3 {
		t.Errorf("only %d of the cases have no return", found)
	}
}

func TestBenignDaysHurtNobody(t *testing.T) {
	o := Options{Seed: 4, Least: 40, Most: 60, Benign: true, Day: time.Hour}
	for i := range 3 {
		c := Draw(o, i)
		if tr := played(t, o, c); tr.felt || tr.before || c.Service != none {
			t.Errorf("%s: users suffer", c.ID)
		}
		low, high := math.Inf(1), 0.
		for at := time.Duration(0); at < 24*time.Hour; at += time.Minute {
			x := c.swings[0].at(at)
			low, high = min(low, x), max(high, x)
		}
		if ratio := high / low; math.Abs(ratio-3) > .01 {
			t.Errorf("the day is %.2f times the night", ratio)
		}
	}
}

func TestDiceIsEven(t *testing.T) {
	d := &Dice{state: 1}
	var sum float64
	count := map[int]int{}
	for range 10_000 {
		sum += d.Float()
		count[d.Below(10)]++
		if n := d.Spread(100, 1000); n < 100 || n > 1000 {
			t.Fatalf("spread gives %d", n)
		}
	}
	if math.Abs(sum/10_000-.5) > .02 {
		t.Errorf("mean %v", sum/10_000)
	}
	for k := range 10 {
		if count[k] < 850 || count[k] > 1150 {
			t.Errorf("%d comes %d times in 10000: %v", k, count[k], fmt.Sprint(count))
		}
	}
}
