package guard

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/common/model"
	"pgregory.net/rapid"
)

func shopConfig() Config {
	cfg := DefaultConfig()
	cfg.Service, cfg.Token = "checkout", testToken
	cfg.Workers, cfg.Queue = 4, 10_000
	cfg.Upstreams = map[string]Upstream{
		"ledger": {Timeout: model.Duration(time.Second), Retries: 3, RetryBudget: -1},
		"stock":  {Retries: 2, RetryBudget: 0.5, RetryUnsafe: true},
	}
	return cfg
}

func clockedGuard(t testing.TB, cfg Config) (*Guard, *fakeClock) {
	t.Helper()
	clock := newFakeClock()
	return newTestGuard(t, cfg, WithClock(clock)), clock
}

func directive(id string, kind Kind, p Params) Directive {
	return Directive{ID: id, Kind: kind, Params: p, Epoch: 1, Seq: 1, Expires: epochStart.Add(time.Minute)}
}

func mustPut(t testing.TB, g *Guard, d Directive) {
	t.Helper()
	if err := g.ledger.put(d); err != nil {
		t.Fatalf("put %s: %v", d.ID, err)
	}
}

// inForce reads a setting as GET /guard/v1/state shows it.
func inForce(g *Guard, kind Kind, label string) Params { return g.state().Settings[kind][label] }

func reasonOf(err error) string {
	var r *RefusedError
	if errors.As(err, &r) {
		return r.Reason
	}
	if err != nil {
		return err.Error()
	}
	return ""
}

func TestFencing(t *testing.T) {
	type write struct {
		remove     bool
		id         string
		name       string // the feature: each is a setting of its own
		epoch, seq uint64
		want       string // refusal; empty is accepted
	}
	cases := map[string][]write{
		"a lower epoch is refused": {
			{id: "a", epoch: 5, seq: 1}, {id: "b", name: "x", epoch: 4, seq: 9, want: "stale_epoch"}, {id: "a", epoch: 5, seq: 2},
		},
		"a higher epoch restarts the order": {
			{id: "a", epoch: 5, seq: 9}, {id: "b", epoch: 6, seq: 1}, {id: "a", epoch: 5, seq: 10, want: "stale_epoch"},
		},
		"the same write again is a renewal": {
			{id: "a", epoch: 5, seq: 3}, {id: "a", epoch: 5, seq: 3},
		},
		"a lower seq of the same setting is refused": {
			{id: "a", epoch: 5, seq: 3}, {id: "b", epoch: 5, seq: 2, want: "stale_seq"}, {id: "a", epoch: 5, seq: 2, want: "stale_seq"},
		},
		"a lower seq of another setting is not": {
			{id: "a", epoch: 5, seq: 3}, {id: "b", name: "x", epoch: 5, seq: 2},
		},
		"a stale delete is refused": {
			{id: "a", epoch: 5, seq: 3}, {remove: true, id: "a", epoch: 4, seq: 9, want: "stale_epoch"},
			{remove: true, id: "a", epoch: 5, seq: 2, want: "stale_seq"}, {remove: true, id: "nobody", epoch: 4, seq: 9, want: "stale_epoch"},
		},
		"a delete is idempotent": {
			{id: "a", epoch: 5, seq: 3}, {remove: true, id: "a", epoch: 5, seq: 4},
			{remove: true, id: "a", epoch: 5, seq: 4}, {remove: true, id: "nobody", epoch: 5, seq: 1},
		},
		"a delete raises the epoch": {
			{remove: true, id: "nobody", epoch: 7, seq: 1}, {id: "a", epoch: 6, seq: 1, want: "stale_epoch"},
		},
		"a put that comes after its delete is refused": {
			{remove: true, id: "a", epoch: 5, seq: 4}, {id: "a", epoch: 5, seq: 3, want: "stale_seq"},
			{id: "a", epoch: 5, seq: 4, want: "stale_seq"}, {id: "a", epoch: 5, seq: 5},
		},
		"an id cannot move to another setting": {
			{id: "a", epoch: 5, seq: 3}, {id: "a", name: "x", epoch: 5, seq: 4, want: "invalid"},
		},
		"a refused write does not raise the epoch": {
			{id: "a", epoch: 5, seq: 3}, {id: "a", name: "x", epoch: 9, seq: 1, want: "invalid"}, {id: "a", epoch: 5, seq: 4},
		},
	}
	for name, writes := range cases {
		t.Run(name, func(t *testing.T) {
			g, _ := clockedGuard(t, shopConfig())
			for i, w := range writes {
				d := directive(w.id, KindKillSwitch, Params{"percent": float64(10 + i)})
				d.Name, d.Epoch, d.Seq = "wishlist"+w.name, w.epoch, w.seq
				before := g.state()
				var err error
				if w.remove {
					err = g.ledger.remove(w.id, w.epoch, w.seq, false)
				} else {
					err = g.ledger.put(d)
				}
				if got := reasonOf(err); got != w.want {
					t.Fatalf("write %d: refused as %q, want %q (%v)", i, got, w.want, err)
				}
				if after := g.state(); w.want != "" && !cmp.Equal(before, after) {
					t.Fatalf("write %d was refused and changed the state: %s", i, cmp.Diff(before, after))
				}
			}
		})
	}
}

// step is what is in force at one moment of a return.
type step struct {
	phase Phase
	step  int
	value Params
}

// walk follows a directive of 60 s through its lapse and return.
func walk(g *Guard, clock *fakeClock, kind Kind, label string) []step {
	var seen []step
	look := func() {
		s := step{phase: PhaseGone, value: inForce(g, kind, label)}
		if all := g.state().Directives; len(all) == 1 {
			s.phase, s.step = all[0].Phase, all[0].Step
			if all[0].Callee != "" || kind != KindRetryBudget {
				s.value = all[0].Params
			}
		}
		seen = append(seen, s)
	}
	clock.advance(time.Minute - 1)
	look()
	clock.advance(1)
	look()
	for len(g.state().Directives) > 0 {
		clock.advance(20 * time.Second)
		look()
	}
	return seen
}

func TestLapseAndReturn(t *testing.T) {
	ratio := func(r float64) Params { return Params{"ratio": r} }
	percent := func(p float64) Params { return Params{"percent": p} }
	length := func(n float64) Params { return Params{"length": n} }
	cases := []struct {
		name  string
		d     Directive
		label string
		want  []step
	}{
		{"retry budget", Directive{Kind: KindRetryBudget, Callee: "ledger", Params: ratio(0.5)}, "ledger", []step{
			{PhaseHeld, 0, ratio(0.5)}, {PhaseReturning, 0, ratio(0.5)}, {PhaseReturning, 1, ratio(1)}, {PhaseReturning, 2, ratio(1.5)},
			{PhaseReturning, 3, ratio(2)}, {PhaseReturning, 4, ratio(2.5)}, {PhaseGone, 0, Params{}},
		}},
		{"retry budget of all callees, as one of them sees it", Directive{Kind: KindRetryBudget, Params: ratio(0)}, "stock", []step{
			{PhaseHeld, 0, ratio(0)}, {PhaseReturning, 0, ratio(0)}, {PhaseReturning, 1, ratio(0.1)}, {PhaseReturning, 2, ratio(0.2)},
			{PhaseReturning, 3, ratio(0.3)}, {PhaseReturning, 4, ratio(0.4)}, {PhaseGone, 0, ratio(0.5)},
		}},
		{"queue bound", Directive{Kind: KindQueueBound, Params: length(0)}, "", []step{
			{PhaseHeld, 0, length(0)}, {PhaseReturning, 0, length(0)}, {PhaseReturning, 1, length(6)}, {PhaseReturning, 2, length(40)},
			{PhaseReturning, 3, length(251)}, {PhaseReturning, 4, length(1585)}, {PhaseGone, 0, length(10_000)},
		}},
		{"kill switch", Directive{Kind: KindKillSwitch, Name: "wishlist", Params: percent(100)}, "wishlist", []step{
			{PhaseHeld, 0, percent(100)}, {PhaseReturning, 0, percent(100)}, {PhaseReturning, 1, percent(25)},
			{PhaseReturning, 2, percent(5)}, {PhaseReturning, 3, percent(1)}, {PhaseGone, 0, nil},
		}},
		{"kill switch from the middle", Directive{Kind: KindKillSwitch, Name: "wishlist", Params: percent(20)}, "wishlist", []step{
			{PhaseHeld, 0, percent(20)}, {PhaseReturning, 0, percent(20)}, {PhaseReturning, 1, percent(5)},
			{PhaseReturning, 2, percent(1)}, {PhaseGone, 0, nil},
		}},
		{"shed without demand", Directive{Kind: KindShed, Params: Params{"rps": 80}}, "", []step{
			{PhaseHeld, 0, Params{"rps": 80}}, {PhaseReturning, 0, Params{"rps": 80}}, {PhaseReturning, 1, Params{"rps": 84}},
			{PhaseReturning, 2, Params{"rps": 88}}, {PhaseReturning, 3, Params{"rps": 92}}, {PhaseReturning, 4, Params{"rps": 96}}, {PhaseGone, 0, Params{}},
		}},
		{"timeout of a callee", Directive{Kind: KindTimeout, Callee: "ledger", Params: Params{"seconds": 0.2}}, "ledger", []step{
			{PhaseHeld, 0, Params{"seconds": 0.2}}, {PhaseGone, 0, Params{"seconds": 1}},
		}},
		{"breaker", Directive{Kind: KindBreaker, Callee: "ledger", Params: Params{"failure_ratio": 0.2}}, "ledger", []step{
			{PhaseHeld, 0, Params{"failure_ratio": 0.2}}, {PhaseGone, 0, Params{}},
		}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			g, clock := clockedGuard(t, shopConfig())
			c.d.ID, c.d.Epoch, c.d.Seq, c.d.Expires = "a", 1, 1, epochStart.Add(time.Minute)
			mustPut(t, g, c.d)
			got := walk(g, clock, c.d.Kind, c.label)
			near := cmp.Comparer(func(a, b float64) bool { return math.Abs(a-b) < 1e-9 })
			if diff := cmp.Diff(c.want, got, cmp.AllowUnexported(step{}), near); diff != "" {
				t.Errorf("return (-want +got):\n%s", diff)
			}
			if n := clock.pending(); n != 0 {
				t.Errorf("%d timers are left", n)
			}
		})
	}
}

func TestShedReturnsTowardsTheDemand(t *testing.T) {
	g, clock := clockedGuard(t, shopConfig())
	mustPut(t, g, directive("a", KindShed, Params{"rps": 10}))
	clock.advance(55 * time.Second)
	for range 800 { // 80 a second over the last ten
		g.limiter.admit(clock.Now(), Normal)
	}
	clock.advance(5 * time.Second)
	for _, want := range []float64{10, 28, 46, 64, 82} { // 18 a step towards 100, a quarter above the demand
		if got := inForce(g, KindShed, "")["rps"]; math.Abs(got-want) > 1e-9 {
			t.Errorf("cap is %v, want %v", got, want)
		}
		clock.advance(20 * time.Second)
	}
	if got := inForce(g, KindShed, ""); len(got) != 0 || g.limiter.on.Load() {
		t.Errorf("cap is %v after the return, want none", got)
	}
}

func TestDeleteBeginsTheReturnOrEndsIt(t *testing.T) {
	g, clock := clockedGuard(t, shopConfig())
	mustPut(t, g, directive("a", KindQueueBound, Params{"length": 1}))
	if err := g.ledger.remove("a", 1, 2, false); err != nil {
		t.Fatal(err)
	}
	if d := g.directive("a"); d.Phase != PhaseReturning || d.Params["length"] != 1 {
		t.Fatalf("after delete: %+v", d)
	}
	clock.advance(40 * time.Second)
	if err := g.ledger.remove("a", 1, 2, false); err != nil {
		t.Fatal(err)
	}
	if d := g.directive("a"); d.Step != 2 {
		t.Errorf("a second delete began the return again: %+v", d)
	}
	if err := g.ledger.remove("a", 1, 3, true); err != nil {
		t.Fatal(err)
	}
	if d := g.directive("a"); d.Phase != PhaseGone || inForce(g, KindQueueBound, "")["length"] != 10_000 || clock.pending() != 0 {
		t.Errorf("after delete at once: %+v, %v, %d timers", d, inForce(g, KindQueueBound, ""), clock.pending())
	}
}

func TestNewDirectiveTakesOverTheReturn(t *testing.T) {
	g, clock := clockedGuard(t, shopConfig())
	mustPut(t, g, directive("a", KindQueueBound, Params{"length": 1}))
	clock.advance(100 * time.Second) // lapsed at 60, two steps since
	if d := g.directive("a"); d.Step != 2 {
		t.Fatalf("before: %+v", d)
	}
	b := directive("b", KindQueueBound, Params{"length": 50})
	b.Seq, b.Expires = 2, clock.Now().Add(time.Minute)
	mustPut(t, g, b)
	if g.directive("a").Phase != PhaseGone || inForce(g, KindQueueBound, "")["length"] != 50 {
		t.Fatalf("a is %+v, in force %v", g.directive("a"), inForce(g, KindQueueBound, ""))
	}
	clock.advance(59 * time.Second) // the timers of a must not touch b
	if d := g.directive("b"); d.Phase != PhaseHeld || d.Params["length"] != 50 || clock.pending() != 1 {
		t.Errorf("b is %+v with %d timers", d, clock.pending())
	}
}

func TestRenewalMovesTheExpiry(t *testing.T) {
	g, clock := clockedGuard(t, shopConfig())
	d := directive("a", KindShed, Params{"rps": 5})
	for range 10 {
		d.Expires = clock.Now().Add(time.Minute)
		mustPut(t, g, d)
		clock.advance(30 * time.Second)
	}
	if got := g.directive("a"); got.Phase != PhaseHeld || clock.pending() != 1 {
		t.Fatalf("after renewals: %+v, %d timers", got, clock.pending())
	}
	clock.advance(30 * time.Second)
	if got := g.directive("a"); got.Phase != PhaseReturning {
		t.Errorf("after the last expiry: %+v", got)
	}
	mustPut(t, g, Directive{ID: "a", Kind: KindShed, Params: Params{"rps": 5}, Epoch: 1, Seq: 1, Expires: clock.Now().Add(time.Minute)})
	if got := g.directive("a"); got.Phase != PhaseHeld || got.Step != 0 {
		t.Errorf("a late renewal did not hold it again: %+v", got)
	}
}

func TestDirectiveForOneCalleeGoesFirst(t *testing.T) {
	g, _ := clockedGuard(t, shopConfig())
	mustPut(t, g, directive("all", KindRetryBudget, Params{"ratio": 0}))
	one := directive("one", KindRetryBudget, Params{"ratio": 0.3})
	one.Callee = "ledger"
	mustPut(t, g, one)
	for callee, want := range map[string]float64{"ledger": 0.3, "stock": 0} {
		if got := g.upstream(callee).budget.ratio; got != want {
			t.Errorf("ratio of %s is %v, want %v", callee, got, want)
		}
	}
	if got := g.upstream("newcomer").budget.ratio; got != 0 {
		t.Errorf("ratio of a callee that came later is %v, want 0", got)
	}
	if err := g.ledger.remove("one", 1, 2, true); err != nil {
		t.Fatal(err)
	}
	if got := g.upstream("ledger").budget.ratio; got != 0 {
		t.Errorf("without its own directive ledger has %v, want that for all", got)
	}
}

func TestUnknownCalleeIsTold(t *testing.T) {
	g, _ := clockedGuard(t, shopConfig())
	d := directive("a", KindTimeout, Params{"seconds": 1})
	d.Callee = "legder"
	mustPut(t, g, d)
	if g.directive("a").Note == "" {
		t.Error("nothing says that there is no such callee")
	}
	g.Transport("legder", nil)
	if got := g.directive("a"); got.Note != "" || g.upstream("legder").timeout.Load() != int64(time.Second) {
		t.Errorf("a callee that came later is not held: %+v", got)
	}
}

func TestDirectivesAreValidated(t *testing.T) {
	good := directive("a", KindShed, Params{"rps": 1})
	change := func(f func(*Directive)) Directive { d := good; f(&d); return d }
	bad := map[string]Directive{
		"no id":             change(func(d *Directive) { d.ID = "" }),
		"control character": change(func(d *Directive) { d.ID = "a\n" }),
		"long id":           change(func(d *Directive) { d.ID = string(make([]byte, 201)) }),
		"unknown kind":      change(func(d *Directive) { d.Kind = "reboot" }),
		"expired":           change(func(d *Directive) { d.Expires = epochStart }),
		"for ever":          change(func(d *Directive) { d.Expires = epochStart.Add(MaxTTL + 1) }),
		"no params":         change(func(d *Directive) { d.Params = nil }),
		"unknown param":     change(func(d *Directive) { d.Params = Params{"rps": 1, "rpm": 2} }),
		"negative":          change(func(d *Directive) { d.Params = Params{"rps": -1} }),
		"not a number":      change(func(d *Directive) { d.Params = Params{"rps": math.NaN()} }),
		"shed by callee":    change(func(d *Directive) { d.Callee = "ledger" }),
		"shed by name":      change(func(d *Directive) { d.Name = "x" }),
		"half a request":    change(func(d *Directive) { d.Kind, d.Params = KindQueueBound, Params{"length": 1.5} }),
		"breaker for all":   change(func(d *Directive) { d.Kind, d.Params = KindBreaker, Params{"failure_ratio": 1} }),
		"ratio of nothing":  change(func(d *Directive) { d.Kind, d.Callee, d.Params = KindBreaker, "x", Params{"failure_ratio": 0} }),
		"missing param":     change(func(d *Directive) { d.Kind, d.Params = KindRetryBudget, Params{} }),
		"nameless switch":   change(func(d *Directive) { d.Kind, d.Params = KindKillSwitch, Params{"percent": 1} }),
		"over hundred":      change(func(d *Directive) { d.Kind, d.Name, d.Params = KindKillSwitch, "x", Params{"percent": 101} }),
		"zero timeout":      change(func(d *Directive) { d.Kind, d.Params = KindTimeout, Params{"seconds": 0} }),
	}
	g, _ := clockedGuard(t, shopConfig())
	for name, d := range bad {
		if got := reasonOf(g.ledger.put(d)); got != "invalid" {
			t.Errorf("%s: refused as %q, want invalid", name, got)
		}
	}
	if s := g.state(); len(s.Directives) != 0 || s.Epoch != 0 {
		t.Errorf("refused directives left %+v", s)
	}
	mustPut(t, g, good)
}

func TestDirectivesAreBounded(t *testing.T) {
	g, _ := clockedGuard(t, shopConfig())
	put := func(i int) error {
		d := directive(fmt.Sprint("d", i), KindKillSwitch, Params{"percent": 1})
		d.Name = fmt.Sprint("feature", i)
		return g.ledger.put(d)
	}
	for i := range maxLeases {
		if err := put(i); err != nil {
			t.Fatal(err)
		}
	}
	if err := put(maxLeases); reasonOf(err) != "invalid" {
		t.Errorf("one too many: %v", err)
	}
	if err := put(0); err != nil {
		t.Errorf("renewal when full: %v", err)
	}
}

// TestEverySettingComesHome gives random orders to a guard and then leaves it
// alone: without any agent it must end in its configuration, with no timer left.
func TestEverySettingComesHome(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		clock := newFakeClock()
		g, err := New(shopConfig(), WithClock(clock))
		if err != nil {
			rt.Fatal(err)
		}
		defer g.Close()
		g.upstream("ledger")
		home := g.state()
		epoch := uint64(0)
		for i := range rapid.IntRange(1, 40).Draw(rt, "orders") {
			k := rapid.SampledFrom([]knob{
				{kind: KindShed}, {kind: KindQueueBound}, {kind: KindTimeout}, {kind: KindRetryBudget},
				{KindRetryBudget, "ledger", ""}, {KindTimeout, "stock", ""}, {KindBreaker, "stock", ""}, {KindKillSwitch, "", "wishlist"},
			}).Draw(rt, "setting")
			d := Directive{
				ID: fmt.Sprint(k, rapid.IntRange(0, 1).Draw(rt, "id")), Kind: k.kind, Callee: k.callee, Name: k.name, Seq: uint64(i),
				Params:  Params{mainParam[k.kind]: float64(rapid.IntRange(1, 100).Draw(rt, "value"))},
				Epoch:   uint64(rapid.IntRange(0, 4).Draw(rt, "epoch")),
				Expires: clock.Now().Add(time.Duration(rapid.IntRange(1, 90).Draw(rt, "ttl")) * time.Second),
			}
			if k.kind == KindBreaker {
				d.Params["failure_ratio"] /= 100
			}
			accepted := g.ledger.put(d) == nil
			if accepted != (d.Epoch >= epoch) {
				rt.Fatalf("epoch %d after %d: accepted %v", d.Epoch, epoch, accepted)
			}
			epoch = max(epoch, d.Epoch)
			if rapid.IntRange(0, 3).Draw(rt, "delete") == 0 {
				_ = g.ledger.remove(d.ID, epoch, uint64(i), rapid.Bool().Draw(rt, "at once"))
			}
			clock.advance(time.Duration(rapid.IntRange(0, 60).Draw(rt, "wait")) * time.Second)
		}
		clock.advance(90*time.Second + 100*time.Second)
		end := g.state()
		home.Epoch = end.Epoch
		if diff := cmp.Diff(home, end); diff != "" || clock.pending() != 0 || !g.Allowed("wishlist", "0") {
			rt.Fatalf("%d timers; state (-home +end):\n%s", clock.pending(), diff)
		}
	})
}

func TestCloseStopsEverything(t *testing.T) {
	g, clock := clockedGuard(t, shopConfig())
	mustPut(t, g, directive("a", KindShed, Params{"rps": 5}))
	g.Close()
	g.Close()
	if clock.pending() != 0 {
		t.Errorf("%d timers are left", clock.pending())
	}
	if reasonOf(g.ledger.put(directive("b", KindQueueBound, Params{"length": 5}))) != "invalid" {
		t.Error("a closed guard accepts directives")
	}
}

func TestKindsHaveBoundsAndAGauge(t *testing.T) {
	for _, k := range Kinds() {
		if _, ok := paramBounds[k][mainParam[k]]; !ok {
			t.Errorf("%s: its main parameter has no bounds", k)
		}
	}
	if len(paramBounds) != len(Kinds()) || slices.Contains(Kinds(), "") {
		t.Error("kinds and bounds differ")
	}
}

// lateClock hands its timers out, so that one can fire although it was stopped:
// its function had begun and was waiting for the lock.
type lateClock struct {
	*fakeClock
	fired []func()
}

func (c *lateClock) AfterFunc(d time.Duration, f func()) func() bool {
	c.fired = append(c.fired, f)
	return c.fakeClock.AfterFunc(d, f)
}

func TestLateTimersChangeNothing(t *testing.T) {
	clock := &lateClock{fakeClock: newFakeClock()}
	g := newTestGuard(t, shopConfig(), WithClock(clock))
	d := directive("a", KindQueueBound, Params{"length": 1})
	mustPut(t, g, d)
	mustPut(t, g, d)
	clock.fired[0]() // the expiry before the renewal
	if got := g.directive("a"); got.Phase != PhaseHeld || clock.pending() != 1 {
		t.Errorf("the expiry of before moved the renewed directive: %+v, %d timers", got, clock.pending())
	}
	if err := g.ledger.remove("a", 1, 2, false); err != nil {
		t.Fatal(err)
	}
	clock.fired[1]() // the expiry before the delete
	if got := g.directive("a"); got.Phase != PhaseReturning || got.Step != 0 {
		t.Errorf("the expiry of before hurried the return: %+v", got)
	}
	g.Close()
	clock.fired[2]()
	if got := g.directive("a"); got.Step != 0 {
		t.Errorf("a timer moved a closed guard: %+v", got)
	}
}
