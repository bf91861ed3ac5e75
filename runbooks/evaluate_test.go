package runbooks

import (
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/sreagent/sreagent/sre"
)

func TestEvaluateFunctionsAndVariables(t *testing.T) {
	l := shipped(t)
	cases := []struct {
		expr string
		want sre.Verdict
		text string // part of the explanation
	}{
		{`errors(root) > 0.29 && errors(root) < 0.31`, sre.Pass, "errors(stock) = 0.3"},
		{`errors(root) > 0.5`, sre.Fail, "does not hold: errors(stock) = 0.3"},
		{`traffic("web") == 200.0`, sre.Pass, "traffic(web) = 200"},
		{`latency(root) < 1`, sre.Pass, "latency(stock) = 0.2"},
		{`queue(root) == 20.0`, sre.Pass, "queue(stock) = 20"},
		{`occupancy(root) == 0.5`, sre.Pass, "occupancy(stock) = 0.5"},
		{`retry_share(root) == 0.5`, sre.Pass, "retry_share(stock) = 0.5"},
		{`served(root) == 140.0`, sre.Pass, "served(stock) = 140"},
		{`max_errors(["web", "cart"]) == 0.3`, sre.Pass, "errors(web) = 0.3, errors(cart) = 0.3"},
		{`value(root, "latency", "seconds") == 0.2`, sre.Pass, "value[latency seconds](stock) = 0.2"},
		{`has_value(root, "cache", "ratio")`, sre.Fail, ""},
		{`has_value(root, "queue", "count")`, sre.Pass, ""},
		{`has_value("nobody", "queue", "count")`, sre.Fail, ""},
		{`caller_timeout(root, 9.0) == 0.5`, sre.Pass, ""},
		{`caller_timeout("web", 9.0) == 9.0`, sre.Pass, ""},
		{`root == "stock" && mechanism == "retry_storm" && severity == "critical"`, sre.Pass, ""},
		{`probability == 0.8 && confidence == 0.7 && data_quality == 0.9 && attempt == 0`, sre.Pass, ""},
		{`callers == ["cart", "web"] && entries == ["web"] && affected == ["stock", "web"]`, sre.Pass, ""},
		{`blast_share == 1.0`, sre.Pass, ""},
		{`math.greatest(1.0, queue(root)) == 20.0`, sre.Pass, ""},
		{`1 / (attempt - 0) == 1`, sre.NoData, "division by zero"},
		{`errors(root)`, sre.NoData, "double"},
		{`errors(`, sre.NoData, "expression"},
		{``, sre.NoData, "nothing to check"},
		{`value(root, "cache", "ratio") > 0.5`, sre.NoData, "value[cache ratio](stock) is absent"},
		{`errors("nobody") < 1.0`, sre.NoData, "errors(nobody) is about a service that is not in the graph"},
		{`max_errors([]) < 1.0`, sre.NoData, "max_errors was given no service"},
	}
	for _, c := range cases {
		t.Run(c.expr, func(t *testing.T) {
			got, text := l.Evaluate(sre.Check{Expr: c.expr}, newShop(sre.RetryStorm).facts())
			if got != c.want || !strings.Contains(text, c.text) {
				t.Errorf("got %q (%s), want %q with %q", got, text, c.want, c.text)
			}
		})
	}
}

// The reading of web's errors is missing. Whatever CEL makes of the error, an
// expression that asked for it is no data; one that never asked is not.
func TestMissingReadingIsNeverShortCircuitedAway(t *testing.T) {
	const missing, high, low = `errors("web") < 0.5`, `errors(root) > 0.1`, `errors(root) > 0.9`
	cases := []struct {
		expr string
		want sre.Verdict
	}{
		{missing, sre.NoData},
		{`!(` + missing + `)`, sre.NoData},
		{missing + ` || true`, sre.NoData}, // CEL alone says true
		{missing + ` || ` + high, sre.NoData},
		{missing + ` && false`, sre.NoData}, // CEL alone says false
		{missing + ` && ` + low, sre.NoData},
		{low + ` || ` + missing, sre.NoData},
		{high + ` && ` + missing, sre.NoData},
		{high + ` || ` + missing, sre.Pass}, // decided before the missing one is asked for
		{low + ` && ` + missing, sre.Fail},
		{`has_value("web", "errors", "ratio") && ` + missing, sre.Fail},
		{`!has_value("web", "errors", "ratio") || ` + missing, sre.Pass},
		{`has_value("web", "errors", "ratio") ? ` + missing + ` : ` + high, sre.Pass},
		{`["web", "stock"].exists(s, errors(s) > 0.1)`, sre.NoData}, // CEL alone says true
		{`["web", "stock"].all(s, errors(s) > 0.9)`, sre.NoData},    // CEL alone says false
		{`["stock", "web"].exists(s, errors(s) > 0.1)`, sre.Pass},
		{`max_errors(["stock", "web"]) > 0.1`, sre.NoData},
		{`errors("web") < 0.5 ? true : true`, sre.NoData},
	}
	for _, state := range []sre.ReadingState{sre.Absent, sre.Stale} {
		for _, c := range cases {
			t.Run(state.String()+" "+c.expr, func(t *testing.T) {
				s := newShop(sre.RetryStorm).put("web", "errors", sre.Reading{Value: 0.2, State: state})
				got, text := shipped(t).Evaluate(sre.Check{Expr: c.expr}, s.facts())
				if got != c.want {
					t.Errorf("got %q (%s), want %q", got, text, c.want)
				}
				if got == sre.NoData && !strings.Contains(text, "errors(web) is "+state.String()) {
					t.Errorf("the text does not name the reading: %s", text)
				}
			})
		}
	}
}

func TestReadingThatIsNotANumberIsNoData(t *testing.T) {
	zero := 0.0
	s := newShop(sre.RetryStorm).set("stock", "latency", zero/zero).set("stock", "queue", 1/zero)
	for _, expr := range []string{`latency(root) < 1.0`, `!(latency(root) < 1.0)`, `queue(root) > 1.0`} {
		if got, text := shipped(t).Evaluate(sre.Check{Expr: expr}, s.facts()); got != sre.NoData {
			t.Errorf("%s: got %q (%s)", expr, got, text)
		}
	}
	if got, _ := shipped(t).Evaluate(sre.Check{Expr: `has_value(root, "latency", "seconds")`}, s.facts()); got != sre.Fail {
		t.Errorf("has_value of NaN: got %q", got)
	}
}

// A verify check has a deadline; holding for a list that is empty proves
// nothing.
func TestProofThatLookedAtNothingIsNoData(t *testing.T) {
	f := newShop(sre.RetryStorm).facts()
	f.Cause = "web" // nobody calls web
	check := sre.Check{Expr: `callers.all(c, errors(c) < 0.1)`}
	if got, text := shipped(t).Evaluate(check, f); got != sre.Pass {
		t.Errorf("as a precondition: got %q (%s)", got, text)
	}
	check.Within = time.Minute
	if got, text := shipped(t).Evaluate(check, f); got != sre.NoData {
		t.Errorf("as a proof: got %q (%s)", got, text)
	}
}

func TestNoSnapshotAndNoDiagnosis(t *testing.T) {
	l := shipped(t)
	for _, rb := range l.ordered {
		exprs := []string{rb.relapse}
		for st := range rb.every() {
			exprs = append(exprs, st.verify.Expr)
		}
		for _, expr := range exprs {
			for _, f := range []Facts{{}, {Cause: "stock"}, {Diagnosis: newShop(sre.RetryStorm).diag}, {Snapshot: &sre.Snapshot{}}} {
				if got, text := l.Evaluate(sre.Check{Expr: expr, Within: time.Second}, f); got != sre.NoData {
					t.Errorf("%s: %s: got %q (%s)", rb.Name, expr, got, text)
				}
			}
		}
	}
}

// The diagnosis may point elsewhere after an action; the checks of a plan stay
// with the plan's cause.
func TestCauseOverridesTheFirstHypothesis(t *testing.T) {
	l := shipped(t)
	f := newShop(sre.RetryStorm).facts()
	f.Cause = "cart"
	want := `root == "cart" && mechanism == "overload" && probability == 0.2 && callers == ["web"] && entries == ["web"] && blast_share == 1.0`
	if got, text := l.Evaluate(sre.Check{Expr: want}, f); got != sre.Pass {
		t.Errorf("cause of the second hypothesis: %q (%s)", got, text)
	}
	f.Cause = "web"
	if got, text := l.Evaluate(sre.Check{Expr: `root == "web" && mechanism == "unknown" && probability == 0.0`}, f); got != sre.Pass {
		t.Errorf("cause that is no hypothesis any more: %q (%s)", got, text)
	}
}

// The diagnosis' own blast radius is that of its first hypothesis, and is used
// only where that is the root.
func TestBlastRadiusIsThatOfTheRoot(t *testing.T) {
	s := newShop(sre.RetryStorm)
	s.diag.Blast = sre.BlastRadius{Services: []string{"stock", "web"}, Entries: []string{"web"}, EntryShare: 0.25}
	f := s.facts()
	if got, text := shipped(t).Evaluate(sre.Check{Expr: `blast_share == 0.25`}, f); got != sre.Pass {
		t.Errorf("of the root: %q (%s)", got, text)
	}
	s.diag.Hypotheses[0].Service = "cart"
	if got, text := shipped(t).Evaluate(sre.Check{Expr: `root == "cart" && blast_share == 1.0`}, f); got != sre.Pass {
		t.Errorf("of another: %q (%s)", got, text)
	}
}

func TestRootWithoutEntriesIsItsOwnEntry(t *testing.T) {
	s := newShop(sre.Overload)
	s.snap.Graph = sre.NewGraph([]sre.Service{{Name: "web"}, {Name: "cart"}, {Name: "stock"}}, nil)
	s.diag.Blast = sre.BlastRadius{}
	if got, text := shipped(t).Evaluate(sre.Check{Expr: `entries == ["stock"] && callers == []`}, s.facts()); got != sre.Pass {
		t.Errorf("got %q (%s)", got, text)
	}
}

// A plan out of a trail is judged although its runbook is gone.
func TestExpressionsCompileOnDemand(t *testing.T) {
	empty, err := Load(fstest.MapFS{"README.md": {}}, ".")
	if err != nil {
		t.Fatal(err)
	}
	check := sre.Check{Expr: `errors(root) > 0.25 && queue(root) < 21.0`, Within: time.Minute}
	for range 2 {
		if got, text := empty.Evaluate(check, newShop(sre.RetryStorm).facts()); got != sre.Pass {
			t.Errorf("got %q (%s)", got, text)
		}
	}
	if len(empty.lang.programs) != 1 {
		t.Errorf("%d programs are kept, want 1", len(empty.lang.programs))
	}
}

func TestCostIsLimited(t *testing.T) {
	s := newShop(sre.RetryStorm)
	for i := range 2000 {
		s.diag.Affected = append(s.diag.Affected, string(rune('a'+i%26)))
	}
	got, text := shipped(t).Evaluate(sre.Check{Expr: `affected.all(a, affected.all(b, a + b != "no"))`}, s.facts())
	if got != sre.NoData || !strings.Contains(text, "cost limit") {
		t.Errorf("got %q (%s), want no data for its cost", got, text)
	}
}

func TestRetryShare(t *testing.T) {
	edge := func(s *shop, i int, attempts, retries sre.Reading) {
		s.snap.Edge.Set(0, i, attempts)
		s.snap.Edge.Set(1, i, retries)
	}
	fresh := func(v float64) sre.Reading { return sre.Reading{Value: v, State: sre.Present} }
	cases := []struct {
		name  string
		setup func(*shop)
		want  sre.Verdict
	}{
		{"by the service", func(s *shop) { s.set("stock", "retries", 80) }, sre.Pass},
		{"stale at the service", func(s *shop) { s.put("stock", "retries", sre.Reading{Value: 80, State: sre.Stale}) }, sre.NoData},
		{"by the callers", func(s *shop) {
			s.put("stock", "retries", sre.Reading{})
			edge(s, 1, fresh(150), fresh(70))
			edge(s, 2, fresh(50), fresh(10))
		}, sre.Pass},
		{"by the caller that counts", func(s *shop) {
			s.put("stock", "retries", sre.Reading{})
			edge(s, 2, fresh(100), fresh(40))
		}, sre.Pass},
		{"one caller is stale", func(s *shop) {
			s.put("stock", "retries", sre.Reading{})
			edge(s, 1, fresh(150), sre.Reading{Value: 70, State: sre.Stale})
			edge(s, 2, fresh(50), fresh(10))
		}, sre.NoData},
		{"nobody counts", func(s *shop) { s.put("stock", "retries", sre.Reading{}) }, sre.NoData},
		{"no traffic", func(s *shop) { s.set("stock", "traffic", 0) }, sre.Fail},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			s := newShop(sre.RetryStorm)
			c.setup(s)
			if got, text := shipped(t).Evaluate(sre.Check{Expr: `retry_share(root) == 0.4`}, s.facts()); got != c.want {
				t.Errorf("got %q (%s), want %q", got, text, c.want)
			}
		})
	}
}

func TestServedCountsDeadWork(t *testing.T) {
	s := newShop(sre.RetryStorm).set("stock", "traffic", 300).set("stock", "errors", 0.9).set("stock", "timeouts", 90)
	if got, text := shipped(t).Evaluate(sre.Check{Expr: `served(root) > 119.9 && served(root) < 120.1`}, s.facts()); got != sre.Pass {
		t.Errorf("got %q (%s)", got, text)
	}
	s.put("stock", "timeouts", sre.Reading{Value: 90, State: sre.Stale})
	if got, text := shipped(t).Evaluate(sre.Check{Expr: `served(root) > 0.0`}, s.facts()); got != sre.NoData {
		t.Errorf("with stale timeouts: got %q (%s)", got, text)
	}
}

func BenchmarkEvaluate(b *testing.B) {
	l, f := shipped(b), newShop(sre.RetryStorm).facts()
	check := l.ordered[0].flow[0].step.verify
	b.ReportAllocs()
	for b.Loop() {
		l.Evaluate(check, f)
	}
}

// What is full is told by the workers, else by what waits, and by nothing where
// neither is measured; what is stale is no data.
func TestFullAndNeeds(t *testing.T) {
	none := sre.Reading{}
	for name, c := range map[string]struct {
		shop *shop
		expr string
		want sre.Verdict
	}{
		"all workers busy":                   {newShop(sre.Overload).set("stock", "pool", 0.96), `full("stock")`, sre.Pass},
		"a long queue":                       {newShop(sre.Overload).set("stock", "queue", 36), `full("stock")`, sre.Pass},
		"a queue that is worked off in time": {newShop(sre.Overload).set("stock", "queue", 34), `full("stock")`, sre.Fail},
		"a handful":                          {newShop(sre.Overload).set("stock", "errors", 1).set("stock", "queue", 9), `full("stock")`, sre.Fail},
		"neither measured":                   {newShop(sre.Overload).put("stock", "pool", none).put("stock", "queue", none), `full("stock")`, sre.Fail},
		"neither, beside what is":            {newShop(sre.Overload).put("stock", "pool", none).put("stock", "queue", none), `full("stock") || errors("web") > 0.1`, sre.Pass},
		"workers stale":                      {newShop(sre.Overload).put("stock", "pool", sre.Reading{State: sre.Stale}), `full("stock")`, sre.NoData},
		"nobody":                             {newShop(sre.Overload), `full("nobody")`, sre.NoData},
		"hard":                               {newShop(sre.Overload).optional(), `needs("cart", "stock") && errors("web") > 0.1`, sre.Pass},
		"optional":                           {newShop(sre.Overload).optional(), `!needs("web", "stock") && errors("web") > 0.1`, sre.Pass},
		"nobody says":                        {newShop(sre.Overload), `needs("web", "stock") && errors("web") > 0.1`, sre.Pass},
		"needs nobody":                       {newShop(sre.Overload), `needs("web", "nobody") && errors("web") > 0.1`, sre.NoData},
	} {
		if got, text := shipped(t).Evaluate(sre.Check{Expr: c.expr}, c.shop.facts()); got != c.want {
			t.Errorf("%s: got %q (%s), want %q", name, got, text, c.want)
		}
	}
}
