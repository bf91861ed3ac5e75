package runbooks

import (
	"os"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/sreagent/sreagent/sre"
)

func TestMatchRetryStorm(t *testing.T) {
	f := newShop(sre.RetryStorm).set("stock", "queue", 60).facts()
	f.Attempt = 2
	plan, rejected := only(t, "retry-storm", "overload", "slow-dependency").Match(f)
	if plan == nil {
		t.Fatalf("no plan: %v", rejected)
	}
	const ttl = time.Minute
	want := [][]sre.Action{
		{
			// 140 served per second, callers wait 0.5 s: half of 70.
			{ID: "inc-1.2.0.0", Kind: sre.QueueBound, Target: sre.Target{Lever: "guard", Service: "stock"}, Params: sre.Params{"length": 35.0}, TTL: ttl},
		},
		{
			{ID: "inc-1.2.1.0", Kind: sre.RetryBudget, Target: sre.Target{Lever: "guard", Service: "cart", Callee: "stock"}, Params: sre.Params{"ratio": 0.3}, TTL: ttl},
			{ID: "inc-1.2.1.1", Kind: sre.RetryBudget, Target: sre.Target{Lever: "guard", Service: "web", Callee: "stock"}, Params: sre.Params{"ratio": 0.3}, TTL: ttl},
			// Each caller serves 140 per second; nobody says how long its own callers wait.
			{ID: "inc-1.2.1.2", Kind: sre.QueueBound, Target: sre.Target{Lever: "guard", Service: "cart"}, Params: sre.Params{"length": 70.0}, TTL: ttl},
			{ID: "inc-1.2.1.3", Kind: sre.QueueBound, Target: sre.Target{Lever: "guard", Service: "web"}, Params: sre.Params{"length": 70.0}, TTL: ttl},
		},
		{
			{ID: "inc-1.2.2.0", Kind: sre.Shed, Target: sre.Target{Lever: "guard", Service: "stock"}, Params: sre.Params{"rps": 140.0}, TTL: ttl, Law: "overload"},
		},
	}
	for i, st := range plan.Steps {
		if diff := cmp.Diff(want[i], st.Actions); diff != "" {
			t.Errorf("step %d (-want +got):\n%s", i, diff)
		}
		if !st.Reversible {
			t.Errorf("step %d is not reversible", i)
		}
	}
	if plan.Runbook != "retry-storm" || plan.Cause != "stock" || plan.Risk != sre.MediumRisk || len(plan.Version) != 12 {
		t.Errorf("plan is %s of %s at %s with risk %q", plan.Runbook, plan.Version, plan.Cause, plan.Risk)
	}
	if want := "made for retry_storm, the likeliest cause at stock with probability 0.80, and its condition holds: "; !strings.HasPrefix(plan.Reason, want) {
		t.Errorf("reason %q", plan.Reason)
	}
	wantRejected := []sre.Rejection{
		{Runbook: "overload", Reason: "made for overload, capacity_decay, survivor_overload, cache_loss, not for retry_storm"},
		{Runbook: "slow-dependency", Reason: "made for slow_dependency, not for retry_storm"},
	}
	if diff := cmp.Diff(wantRejected, rejected); diff != "" {
		t.Errorf("rejections (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(rejected, plan.Rejected); diff != "" {
		t.Errorf("the plan carries other rejections:\n%s", diff)
	}
}

// The checks of a shipped plan come true when the trouble is over, and its
// relapse when it is back.
func TestShippedChecksFollowTheTrouble(t *testing.T) {
	for _, mechanism := range []sre.Mechanism{sre.RetryStorm, sre.Overload, sre.SlowDependency} {
		t.Run(string(mechanism), func(t *testing.T) {
			s := newShop(mechanism)
			for _, service := range []string{"web", "cart", "stock"} {
				s.set(service, "queue", 900).set(service, "errors", 0.7).set(service, "latency", 2).set(service, "pool", 1)
			}
			l := shipped(t)
			plan, rejected := l.Match(s.facts())
			if plan == nil {
				t.Fatalf("no plan: %v", rejected)
			}
			judge := func(c sre.Check, want sre.Verdict) {
				t.Helper()
				f := s.facts()
				f.Cause = plan.Cause
				if got, text := l.Evaluate(c, f); got != want {
					t.Errorf("%s: got %q (%s), want %q", c.Expr, got, text, want)
				}
			}
			for _, st := range plan.Steps {
				judge(st.Verify, sre.Fail)
			}
			judge(plan.Relapse, sre.Pass)
			for _, service := range []string{"web", "cart", "stock"} {
				s.set(service, "queue", 4).set(service, "errors", 0.001).set(service, "latency", 0.02).set(service, "pool", 0.3)
			}
			for _, st := range plan.Steps {
				judge(st.Verify, sre.Pass)
			}
			judge(plan.Relapse, sre.Fail)
		})
	}
}

// Callers that queue are bounded after the root, those that do not are left out;
// without their queues nothing says that they are full.
func TestTheCallersQueuesAreBoundedWhereTheyQueue(t *testing.T) {
	l := only(t, "retry-storm")
	for name, c := range map[string]struct {
		change func(s *shop)
		want   []string
	}{
		"one queues":   {func(s *shop) { s.set("cart", "queue", 5000) }, []string{"cart"}},
		"none queues":  {func(s *shop) { s.set("cart", "queue", 20) }, nil},
		"not measured": {func(s *shop) { s.put("cart", "queue", sre.Reading{}).put("web", "queue", sre.Reading{}) }, nil},
	} {
		s := newShop(sre.RetryStorm).set("stock", "queue", 60)
		c.change(s)
		plan, rejected := l.Match(s.facts())
		if plan == nil {
			t.Fatalf("%s: no plan: %v", name, rejected)
		}
		f := s.facts()
		f.Cause = plan.Cause
		var got []string
		for _, x := range l.Settle(plan, 1, f) {
			if x.Kind == sre.QueueBound {
				got = append(got, x.Target.Service)
			}
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

// The cap of an overloaded service comes with its retries clamped on the whole
// way to it, before it and as far as the lever reaches; where nobody calls the
// service it comes alone.
func TestOverloadClampsRetriesBeforeItCaps(t *testing.T) {
	for name, c := range map[string]struct {
		root    string
		targets []string
		want    []string
	}{
		"in the depth":          {"stock", nil, []string{"retry_budget guard/cart->stock", "retry_budget guard/web->cart", "retry_budget guard/web->stock", "shed guard/stock"}},
		"in the middle":         {"cart", nil, []string{"retry_budget guard/web->cart", "shed guard/cart"}},
		"an entry":              {"web", nil, []string{"shed guard/web"}},
		"web has no guard":      {"stock", []string{"cart", "stock"}, []string{"retry_budget guard/cart->stock", "shed guard/stock"}},
		"no caller has a guard": {"stock", []string{"stock"}, []string{"shed guard/stock"}},
	} {
		edge := len(c.targets) == 0 // a lever may ask for the callee, or take it as well
		f := newShop(sre.Overload).facts()
		f.Diagnosis.Hypotheses = []sre.Hypothesis{{Service: c.root, Mechanism: sre.Overload, Probability: .8}}
		f.Levers[0].Targets = c.targets
		f.Levers[0].Kinds[1].Edge = edge
		plan, rejected := only(t, "overload").Match(f)
		if plan == nil {
			t.Errorf("%s: no plan: %v", name, rejected)
			continue
		}
		var got []string
		for _, a := range plan.Steps[1].Actions {
			got = append(got, string(a.Kind)+" "+a.Target.String())
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

// Calls are given up where that gives the callers their workers back.
func TestSlowDependencyCutsNothingOffWhileTheCallersHaveRoom(t *testing.T) {
	l := shipped(t)
	for name, c := range map[string]struct {
		pool, errors float64
		want         sre.Verdict
	}{
		"room, repeated calls save most": {0.5, 0.28, sre.Fail},
		"a caller is full":               {0.97, 0.01, sre.Pass},
		"room, and most fails anyway":    {0.5, 0.7, sre.Fail},
	} {
		s := newShop(sre.SlowDependency).optional().set("web", "pool", c.pool).set("web", "errors", c.errors)
		plan, rejected := l.Match(s.facts())
		if plan == nil {
			t.Fatalf("%s: no plan: %v", name, rejected)
		}
		for i := range plan.Steps {
			if got, text := l.Evaluate(plan.Steps[i].Before, s.facts()); got != c.want {
				t.Errorf("%s: step %d: got %q (%s), want %q", name, i, got, text, c.want)
			}
		}
	}
}

// Who fails when the root does gains nothing by failing sooner: its calls are left
// alone, and only what waits at it is bounded.
func TestSlowDependencyCutsOffOnlyWhereTheCallerCanDoWithoutIt(t *testing.T) {
	for name, c := range map[string]struct {
		shop *shop
		want [][]string
	}{
		"web can":               {newShop(sre.SlowDependency).optional(), [][]string{{"breaker guard/web->stock", "queue_bound guard/cart", "queue_bound guard/web"}, {"timeout guard/web->stock"}}},
		"nobody says":           {newShop(sre.SlowDependency), [][]string{{"queue_bound guard/cart", "queue_bound guard/web"}, nil}},
		"web can, and has room": {newShop(sre.SlowDependency).optional().set("web", "pool", 0.5), [][]string{{"queue_bound guard/cart"}, nil}},
	} {
		l := shipped(t)
		s := c.shop.set("cart", "pool", 0.97)
		if name != "web can, and has room" {
			s.set("web", "pool", 0.97)
		}
		plan, rejected := l.Match(s.facts())
		if plan == nil || plan.Risk != sre.LowRisk {
			t.Fatalf("%s: plan %v: %v", name, plan, rejected)
		}
		for i := range plan.Steps {
			var got []string
			for _, a := range l.Settle(plan, i, s.facts()) {
				got = append(got, string(a.Kind)+" "+a.Target.String())
				if want := (sre.Params{"seconds": 0.25}); a.Kind == sre.Timeout && cmp.Diff(want, a.Params) != "" {
					t.Errorf("%s: params %v, want %v", name, a.Params, want)
				}
			}
			if diff := cmp.Diff(c.want[i], got); diff != "" {
				t.Errorf("%s: step %d (-want +got):\n%s", name, i, diff)
			}
		}
	}
}

func TestMatchRejects(t *testing.T) {
	cases := []struct {
		name   string
		change func(*shop, *Facts)
		want   string // reason for retry-storm
	}{
		{"no diagnosis", func(_ *shop, f *Facts) { f.Diagnosis = nil }, "the cause is not known"},
		{"no hypothesis", func(s *shop, _ *Facts) { s.diag.Hypotheses = nil }, "the cause is not known"},
		{"none of the services seen", func(s *shop, _ *Facts) {
			s.diag.Hypotheses[0] = sre.Hypothesis{Mechanism: sre.Unknown, Probability: 0.9}
		}, "the cause is not known"},
		{"unknown mechanism", func(s *shop, _ *Facts) { s.diag.Hypotheses[0].Mechanism = sre.Unknown }, "the cause is not known"},
		{"tried", func(_ *shop, f *Facts) { f.Tried = []string{"x", TriedKey("retry-storm", "stock")} }, "was tried on stock and did not help"},
		{"condition is false", func(s *shop, _ *Facts) { s.set("stock", "traffic", 0) }, "its condition does not hold: traffic(stock) = 0"},
		{"condition without data", func(s *shop, _ *Facts) { s.put("stock", "traffic", sre.Reading{State: sre.Stale}) }, "its condition cannot be judged: no data: traffic(stock) is stale, served(stock) is stale"},
		{"no lever", func(_ *shop, f *Facts) { f.Levers = nil }, `step "bound the queues": there is no lever named guard`},
		{"lever without the kind", func(_ *shop, f *Facts) { f.Levers[0].Kinds = f.Levers[0].Kinds[:1] }, `step "bound the queues": lever guard has no kind queue_bound`},
		{"lever moves no caller", func(_ *shop, f *Facts) { f.Levers[0].Targets = []string{"stock"} }, `step "clamp the callers' retries": lever guard cannot move cart, web`},
		{"lever does not move the root", func(_ *shop, f *Facts) { f.Levers[0].Targets = []string{"cart"} }, `step "bound the queues": lever guard cannot move stock`},
		{"no callers", func(s *shop, _ *Facts) {
			s.diag.Hypotheses[0].Service = "web"
			s.set("web", "latency", 0.9)
		}, `step "clamp the callers' retries": web has no callers`},
		{"parameter without data", func(s *shop, _ *Facts) { s.put("stock", "errors", sre.Reading{}).set("stock", "latency", 0.45) }, `step "bound the queues": parameter length: no data: served(stock) is absent`},
		{"parameter out of bounds", func(_ *shop, f *Facts) { f.Levers[0].Kinds[2].Params[0].Max = 30 }, `step "bound the queues": invalid: queue_bound: parameter "length" is 35, want 0 to 30`},
		{"parameter of a later step out of bounds", func(_ *shop, f *Facts) { f.Levers[0].Kinds[0].Params[0].Max = 30 }, `step "shed low priorities": invalid: shed: parameter "rps" is 140, want 0.1 to 30`},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			s := newShop(sre.RetryStorm).set("stock", "queue", 60)
			f := s.facts()
			c.change(s, &f)
			plan, rejected := only(t, "retry-storm", "overload", "slow-dependency").Match(f)
			if plan != nil {
				t.Fatalf("a plan: %s", plan.Runbook)
			}
			if len(rejected) != 3 || rejected[0].Runbook != "retry-storm" || rejected[0].Reason != c.want {
				t.Errorf("got %+v, want first %q", rejected, c.want)
			}
		})
	}
}

func variant(t *testing.T, replace ...string) []byte {
	t.Helper()
	good, err := os.ReadFile("testdata/good.yaml")
	if err != nil {
		t.Fatal(err)
	}
	return []byte(strings.NewReplacer(replace...).Replace(string(good)))
}

func TestOrderIsPriorityThenName(t *testing.T) {
	l, err := Load(fstest.MapFS{
		"1.yaml": {Data: variant(t, "name: example", "name: zebra")},
		"2.yaml": {Data: variant(t, "name: example", "name: apple")},
		"3.yaml": {Data: variant(t, "name: example", "name: last", "priority: 10", "priority: -1")},
		"4.yaml": {Data: variant(t, "name: example", "name: special", "priority: 10", "priority: 11")},
	}, ".")
	if err != nil {
		t.Fatal(err)
	}
	f := newShop(sre.Overload).facts()
	var order []string
	for {
		plan, rejected := l.Match(f)
		if plan == nil {
			break
		}
		order = append(order, plan.Runbook)
		f.Tried = append(f.Tried, TriedKey(plan.Runbook, plan.Cause))
		if len(order) == 1 && rejected[0].Reason != "fits too, but special comes first" {
			t.Errorf("rejected: %v", rejected)
		}
	}
	if diff := cmp.Diff([]string{"special", "apple", "zebra", "last"}, order); diff != "" {
		t.Errorf("order (-want +got):\n%s", diff)
	}
}

func TestLayersReplaceByName(t *testing.T) {
	own := fstest.MapFS{"o.yaml": {Data: variant(t, "name: example", "name: overload")}}
	l, err := LoadLayers(Shipped(), own)
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range l.List() {
		want := "sre"
		if i.Name == "overload" {
			want = "shop-team"
		}
		if i.Owner != want {
			t.Errorf("%s is of %s, want %s", i.Name, i.Owner, want)
		}
	}
	if l.Len() != shipped(t).Len() {
		t.Errorf("%d runbooks, want %d", l.Len(), shipped(t).Len())
	}
	if plan, rejected := onlyOf(l, "overload").Match(newShop(sre.Overload).facts()); plan == nil || plan.Steps[0].Name != "cap" {
		t.Errorf("plan %v, rejected %v", plan, rejected)
	}
}

func TestLayersReportAllFaults(t *testing.T) {
	_, err := LoadLayers(
		fstest.MapFS{"z.yaml": {Data: variant(t, "risk: low", "risk: tiny")}},
		fstest.MapFS{"a.yaml": {Data: variant(t, "kind: Runbook", "kind: Thing")}},
	)
	want := `z.yaml:12:9: risk is "tiny"; allowed: low, medium, high
a.yaml:2:7: kind is "Thing"; allowed: Runbook`
	if err == nil || err.Error() != want {
		t.Errorf("got\n%v\nwant\n%s", err, want)
	}
	if l, err := LoadLayers(); err != nil || l.Len() != 0 {
		t.Errorf("no layers: %v", err)
	}
}

func TestTwoActionsOnOneSettingAreRejected(t *testing.T) {
	text := string(variant(t, "        - kind: kill_switch", "        - {kind: shed, lever: guard, target: {service: stock}, params: {rps: 5}, ttl: 30s}\n        - kind: kill_switch"))
	plan, rejected := fromText(t, text).Match(newShop(sre.Overload).facts())
	if plan != nil || rejected[0].Reason != `step "cap": two actions move shed guard/stock` {
		t.Errorf("plan %v, rejected %v", plan, rejected)
	}
}

func TestIrreversibleKindMarksTheStep(t *testing.T) {
	text := string(variant(t, "        - kind: kill_switch", "        - {kind: rollback, lever: guard, target: root, ttl: 30s}\n        - kind: kill_switch"))
	plan, rejected := fromText(t, text).Match(newShop(sre.Overload).facts())
	if plan == nil || plan.Steps[0].Reversible || !plan.Steps[1].Reversible {
		t.Errorf("plan %+v, rejected %v", plan, rejected)
	}
}

func TestEntriesAndTextParameters(t *testing.T) {
	text := string(variant(t, "target: {service: web}", "target: entries", "note: by hand", `note: "${root + ' by ' + mechanism}"`, "hard: true", `hard: "${attempt == 0}"`, "percent: 25", `percent: "${attempt + 5}"`))
	plan, rejected := fromText(t, text).Match(newShop(sre.Overload).facts())
	if plan == nil {
		t.Fatalf("rejected %v", rejected)
	}
	a := plan.Steps[0].Actions[1]
	if diff := cmp.Diff(sre.Params{"note": "stock by overload", "hard": true, "percent": 5.0}, a.Params); diff != "" || a.Target.Service != "web" {
		t.Errorf("target %v, params (-want +got):\n%s", a.Target, diff)
	}
}

// Whatever is seen, a plan is the same each time, its action IDs are its own
// and its parameters fit the levers.
func TestMatchProperties(t *testing.T) {
	l, fresh := shipped(t), shipped(t)
	number := rapid.OneOf(rapid.Float64Range(0, 1), rapid.Float64Range(0, 2000), rapid.Float64())
	rapid.Check(t, func(t *rapid.T) {
		s := newShop(rapid.SampledFrom(sre.Mechanisms()).Draw(t, "mechanism"))
		for _, service := range []string{"web", "cart", "stock"} {
			for _, sig := range shopSignals {
				s.put(service, sig.Name, sre.Reading{
					Value: number.Draw(t, service+" "+sig.Name),
					State: rapid.SampledFrom([]sre.ReadingState{sre.Absent, sre.Stale, sre.Present, sre.Present, sre.Present, sre.Present}).Draw(t, service+" "+sig.Name+" state"),
				})
			}
		}
		s.diag.Hypotheses[0].Service = rapid.SampledFrom([]string{"web", "cart", "stock", "gone", ""}).Draw(t, "root")
		f := s.facts()
		f.Attempt = rapid.IntRange(0, 3).Draw(t, "attempt")
		plan, rejected := l.Match(f)
		again, rejectedAgain := fresh.Match(f)
		if diff := cmp.Diff(plan, again) + cmp.Diff(rejected, rejectedAgain); diff != "" {
			t.Fatalf("the same facts gave two plans:\n%s", diff)
		}
		named := len(rejected)
		if plan != nil {
			named++
			checkPlan(t, plan, f.Levers[0])
		}
		if named != l.Len() {
			t.Fatalf("%d runbooks are accounted for, want %d", named, l.Len())
		}
		if slices.ContainsFunc(rejected, func(r sre.Rejection) bool { return r.Reason == "" }) {
			t.Fatalf("a rejection without a reason: %v", rejected)
		}
	})
}

func checkPlan(t *rapid.T, plan *sre.Plan, lever sre.Capability) {
	seen := map[string]bool{}
	for _, st := range plan.Steps {
		for _, a := range st.Actions {
			if seen[a.ID] {
				t.Fatalf("action ID %s twice", a.ID)
			}
			seen[a.ID] = true
			spec, ok := lever.Kind(a.Kind)
			if !ok {
				t.Fatalf("kind %s is none of the lever's", a.Kind)
			}
			if err := spec.Check(a.Params); err != nil {
				t.Fatal(err)
			}
			if spec.Edge && a.Target.Callee == "" {
				t.Fatalf("%s has no callee", a.ID)
			}
		}
	}
}

func TestCheckLevers(t *testing.T) {
	if err := shipped(t).CheckLevers([]sre.Capability{guardLever()}); err != nil {
		t.Errorf("shipped runbooks: %v", err)
	}
	cases := []struct{ name, old, new, want string }{
		{"kind", "kind: timeout", "kind: drain", "one.yaml:37:17: lever guard has no kind drain; allowed: shed, retry_budget, queue_bound, breaker, timeout, kill_switch, rollback"},
		{"unknown parameter", "{seconds: 0.5}", "{seconds: 0.5, minutes: 1}", `one.yaml:40:43: kind timeout of lever guard has no parameter "minutes"; allowed: seconds`},
		{"missing parameter", "          params: {seconds: 0.5}\n", "", `one.yaml:37:11: parameter "seconds" is missing; allowed: a number from 0.001 to 600`},
		{"out of bounds", "{seconds: 0.5}", "{seconds: 601}", `one.yaml:40:29: parameter "seconds" is 601; allowed: a number from 0.001 to 600`},
		{"wrong type", "{seconds: 0.5}", "{seconds: soon}", `one.yaml:40:29: parameter "seconds" is soon; allowed: a number from 0.001 to 600`},
		{"wrong type of expression", "{seconds: 0.5}", `{seconds: "${root}"}`, `one.yaml:40:29: parameter "seconds" is an expression that gives a string; allowed: a number from 0.001 to 600`},
		{"bool", "hard: true", "hard: 1", `one.yaml:27:39: parameter "hard" is 1; allowed: true or false`},
		{"text", "note: by hand", "note: 7", `one.yaml:27:51: parameter "note" is 7; allowed: text`},
		{"callee", "kind: shed", "kind: breaker", "one.yaml:17:11: kind breaker of lever guard needs a callee; allowed: callee: root, or a service\n" +
			"one.yaml:20:11: parameter \"failure_ratio\" is missing; allowed: a number from 0 to 1\n" +
			`one.yaml:21:18: kind breaker of lever guard has no parameter "rps"; allowed: failure_ratio, min_requests, open_seconds`},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			err := fromText(t, string(variant(t, c.old, c.new))).CheckLevers([]sre.Capability{guardLever()})
			if err == nil {
				t.Fatal("no fault")
			}
			if diff := cmp.Diff(c.want, err.Error()); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestUnknownLevers(t *testing.T) {
	l := fromText(t, string(variant(t, "          lever: guard\n          target: callers", "          lever: gard\n          target: callers")))
	if err := l.CheckLevers([]sre.Capability{guardLever()}); err != nil {
		t.Errorf("a lever that is not there is not checked: %v", err)
	}
	got := l.UnknownLevers([]sre.Capability{{Name: "haproxy"}, guardLever()})
	if len(got) != 1 || got[0].String() != `one.yaml:38:18: no lever is named "gard"; allowed: guard, haproxy` {
		t.Errorf("got %v", got)
	}
	if got := l.UnknownLevers(nil); len(got) != 3 || got[0].Allowed != "none, as no lever is configured" {
		t.Errorf("without levers: %v", got)
	}
}

func BenchmarkMatch(b *testing.B) {
	l, f := shipped(b), newShop(sre.RetryStorm).facts()
	b.ReportAllocs()
	for b.Loop() {
		l.Match(f)
	}
}

// A caller of which nothing is measured must not keep the root from being cured.
func TestAnOptionalTargetWithoutDataIsLeftOut(t *testing.T) {
	s := newShop(sre.RetryStorm).set("stock", "queue", 900).put("cart", "traffic", sre.Reading{}).put("cart", "errors", sre.Reading{})
	plan, rejected := only(t, "retry-storm").Match(s.facts())
	if plan == nil {
		t.Fatalf("no plan: %v", rejected)
	}
	for _, a := range plan.Steps[0].Actions {
		if a.Kind == sre.QueueBound && a.Target.Service == "cart" {
			t.Errorf("cart is bounded to %v, of which nothing is known", a.Params)
		}
	}
}
