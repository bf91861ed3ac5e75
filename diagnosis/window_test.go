package diagnosis

import (
	"fmt"
	"math"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/sreagent/sreagent/sre"
)

var windowStart = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// The system of these tests: web calls api and cart, api calls db, and so does a
// batch job that nobody calls.
var (
	windowServices = []sre.Service{{Name: "web", Entry: true}, {Name: "api"}, {Name: "cart"}, {Name: "db"}, {Name: "batch"}}
	windowEdges    = []sre.Edge{{From: 0, To: 1}, {From: 0, To: 2}, {From: 1, To: 3}, {From: 4, To: 3}}
	windowSignals  = []sre.Signal{
		{Name: "traffic", Kind: sre.Traffic, Unit: sre.PerSecond},
		{Name: "errors", Kind: sre.Errors, Unit: sre.Ratio},
		{Name: "latency", Kind: sre.Latency, Unit: sre.Seconds},
		{Name: "cpu", Kind: sre.Saturation, Unit: sre.Percent},
	}
	windowCalls = []sre.Signal{{Name: "call_latency", Kind: sre.Latency, Unit: sre.Seconds, Edge: true}}
	usually     = map[string]float64{"traffic": 50, "errors": 0, "latency": .1, "cpu": 30, "call_latency": .1}
)

// moved says what a series is after the fault, by "signal subject"; NaN is
// absent.
type moved map[string]float64

// days makes snapshots from i on that wobble around what is usual.
func days(g *sre.Graph, from, n int, m moved) []*sre.Snapshot {
	var out []*sre.Snapshot
	for k := from; k < from+n; k++ {
		s := &sre.Snapshot{
			At: windowStart.Add(time.Duration(k) * time.Minute), Interval: time.Minute, Graph: g, Signals: windowSignals, EdgeSignals: windowCalls,
			Service: sre.NewMatrix(len(windowSignals), len(g.Services)), Edge: sre.NewMatrix(1, len(g.Edges)),
			Health: sre.SourceHealth{Up: true},
		}
		wobble := 1 + float64((k*7)%5-2)/100
		put := func(to *sre.Matrix, row, i int, signal, subject string) {
			v, ok := m[signal+" "+subject]
			if !ok {
				v = usually[signal]
			}
			if !math.IsNaN(v) {
				to.Set(row, i, sre.Reading{Value: v * wobble, State: sre.Present})
			}
		}
		for i, svc := range g.Services {
			for r, sig := range windowSignals {
				put(&s.Service, r, i, sig.Name, svc.Name)
			}
		}
		for i, e := range g.Edges {
			put(&s.Edge, 0, i, "call_latency", g.Services[e.From].Name+"->"+g.Services[e.To].Name)
		}
		out = append(out, s)
	}
	return out
}

func rankMoved(m moved, changes ...sre.Change) []sre.Hypothesis {
	g := sre.NewGraph(windowServices, windowEdges)
	return RankWindow(days(g, 0, 30, nil), days(g, 30, 4, m), changes)
}

func TestTheCauseComesFirst(t *testing.T) {
	absent := math.NaN()
	cases := []struct {
		name  string
		moved moved
		want  string
	}{
		{"slow at the bottom, felt all the way up", moved{"latency db": .6, "latency api": .6, "latency web": .6}, "db"},
		{"slow in the middle, the callee is well", moved{"latency api": .6, "latency web": .6}, "api"},
		{"slow at the top only", moved{"latency web": .6}, "web"},
		{"the callee accounts for a part only", moved{"latency db": .15, "latency api": .9, "latency web": .9}, "api"},
		{"failing at the bottom", moved{"errors db": .4, "errors api": .4, "errors web": .2}, "db"},
		{"busy, and slow because of it", moved{"cpu cart": 95, "latency cart": .3, "latency web": .3}, "cart"},
		{"busy without any other sign", moved{"cpu cart": 95}, "cart"},
		{"nobody is hurt by the stronger sign", moved{"latency batch": 2, "errors cart": .2, "errors web": .1}, "cart"},
		{"the entry fails: failing weighs more than slow", moved{"latency api": .3, "errors cart": .15, "errors web": .1}, "cart"},
		{"only its callers see it", moved{"call_latency api->db": .8, "call_latency batch->db": .8, "call_latency web->api": .8, "latency api": .8, "latency web": .8, "latency batch": .8}, "db"},
		{"gone, with its requests", moved{"traffic cart": absent, "errors cart": absent, "latency cart": absent, "cpu cart": absent}, "cart"},
		{"more load all over grows what it costs", moved{
			"traffic web": 150, "traffic api": 150, "traffic cart": 150, "traffic db": 150, "traffic batch": 150,
			"cpu web": 90, "cpu api": 90, "cpu cart": 90, "cpu db": 90, "latency cart": .25, "latency web": .15,
		}, "cart"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			hs := rankMoved(c.moved)
			if hs[0].Service != c.want {
				for _, h := range hs {
					t.Logf("%-6s %.3f %+v", h.Service, h.Probability, h.Evidence)
				}
				t.Errorf("%q first, want %q", hs[0].Service, c.want)
			}
		})
	}
}

func TestWhereOneOfSeveralCallersSuffersItIsRatherTheCaller(t *testing.T) {
	hs := rankMoved(moved{"call_latency api->db": .8, "latency api": .8, "latency web": .8, "call_latency web->api": .8})
	one := at(hs, "db")
	both := at(rankMoved(moved{
		"call_latency api->db": .8, "call_latency batch->db": .8, "latency api": .8, "latency web": .8, "call_latency web->api": .8,
	}), "db")
	if one >= both {
		t.Errorf("db has %.3f when one caller complains and %.3f when both do", one, both)
	}
}

func at(hs []sre.Hypothesis, service string) float64 {
	for _, h := range hs {
		if h.Service == service {
			return h.Probability
		}
	}
	return -1
}

func TestWithoutAnySignTheCauseIsNotSeen(t *testing.T) {
	hs := rankMoved(nil)
	if hs[0].Service != "" || hs[0].Mechanism != sre.Unknown {
		t.Errorf("first is %q", hs[0].Service)
	}
	for _, h := range hs[1:] {
		if h.Probability >= hs[0].Probability {
			t.Errorf("%s has %.3f", h.Service, h.Probability)
		}
	}
}

func TestAQueryThatFailedIsNoEvidence(t *testing.T) {
	m := moved{}
	for _, s := range windowServices {
		m["traffic "+s.Name] = math.NaN()
	}
	if hs := rankMoved(m); hs[0].Service != "" {
		t.Errorf("%q is blamed for a query that failed: %+v", hs[0].Service, hs[0].Evidence)
	}
}

func TestTrafficThatWasNeverSeenIsNotMissed(t *testing.T) {
	g := sre.NewGraph(windowServices, windowEdges)
	never := moved{"traffic cart": math.NaN()}
	hs := RankWindow(days(g, 0, 30, never), days(g, 30, 4, never), nil)
	if hs[0].Service != "" {
		t.Errorf("%q is blamed: %+v", hs[0].Service, hs[0].Evidence)
	}
}

func TestAFreshChangeTipsTheScaleAndALaterOneDoesNot(t *testing.T) {
	even := moved{"errors api": .2, "errors cart": .2, "errors web": .2}
	onset := windowStart.Add(30 * time.Minute)
	change := func(service string, before time.Duration) sre.Change {
		return sre.Change{ID: service, Service: service, Kind: sre.Deploy, At: onset.Add(-before)}
	}
	for _, c := range []struct {
		name    string
		changes []sre.Change
		first   string
		with    bool
	}{
		{"none", nil, "api", false},
		{"just before", []sre.Change{change("cart", 2*time.Minute)}, "cart", true},
		{"afterwards", []sre.Change{change("cart", -2*time.Minute)}, "api", false},
		{"long ago", []sre.Change{change("cart", 3*time.Hour)}, "api", false},
		{"of the healthy one", []sre.Change{change("db", 2*time.Minute)}, "api", false},
		{"the fresher of two", []sre.Change{change("cart", time.Minute), change("api", 50*time.Minute)}, "cart", true},
	} {
		hs := rankMoved(even, c.changes...)
		if hs[0].Service != c.first {
			t.Errorf("%s: %s first, want %s", c.name, hs[0].Service, c.first)
		}
		if bad := hs[0].Mechanism == sre.BadChange; bad != c.with || (hs[0].Change != nil) != c.with {
			t.Errorf("%s: mechanism %s, change %v", c.name, hs[0].Mechanism, hs[0].Change)
		}
	}
}

func TestNothingAfterIsNoAnswerAndNothingBeforeIsNoBlame(t *testing.T) {
	g := sre.NewGraph(windowServices, windowEdges)
	if hs := RankWindow(days(g, 0, 5, nil), nil, nil); hs != nil {
		t.Errorf("%d hypotheses about nothing", len(hs))
	}
	hs := RankWindow(nil, days(g, 0, 3, moved{"cpu db": 99}), nil)
	if len(hs) != len(windowServices)+1 || hs[0].Service != "" {
		t.Errorf("without a past %q comes first of %d", hs[0].Service, len(hs))
	}
}

func TestASmallerGraphOfEarlierStillCounts(t *testing.T) {
	small := sre.NewGraph(windowServices[:4], windowEdges[:3])
	large := sre.NewGraph(windowServices, windowEdges)
	hs := RankWindow(days(small, 0, 30, nil), days(large, 30, 4, moved{"latency db": .6, "latency api": .6, "latency web": .6}), nil)
	if hs[0].Service != "db" {
		t.Errorf("%s first", hs[0].Service)
	}
}

func TestProductsOfWildReadingsStayFinite(t *testing.T) {
	g := sre.NewGraph(windowServices, windowEdges)
	wild := moved{}
	for _, s := range windowServices {
		for _, sig := range windowSignals {
			wild[sig.Name+" "+s.Name] = 1e300
		}
	}
	for _, h := range RankWindow(days(g, 0, 1, nil), days(g, 12, 1, wild), nil) {
		if !(h.Probability >= 0 && h.Probability <= 1) {
			t.Errorf("%q: probability %v", h.Service, h.Probability)
		}
	}
}

// drawMoved draws a world with faults, holes and wild values.
func drawMoved(t *rapid.T, name string) moved {
	m := moved{}
	value := rapid.OneOf(rapid.Float64Range(0, 200), rapid.SampledFrom([]float64{0, math.NaN(), math.Inf(1), 1e300, -5}))
	for _, s := range windowServices {
		for _, sig := range windowSignals {
			if rapid.IntRange(0, 3).Draw(t, name) == 0 {
				m[sig.Name+" "+s.Name] = value.Draw(t, name)
			}
		}
	}
	for _, e := range windowEdges {
		if rapid.Bool().Draw(t, name) {
			m["call_latency "+windowServices[e.From].Name+"->"+windowServices[e.To].Name] = value.Draw(t, name)
		}
	}
	return m
}

func TestProbabilitiesAreProbabilities(t *testing.T) {
	g := sre.NewGraph(windowServices, windowEdges)
	rapid.Check(t, func(t *rapid.T) {
		before := days(g, 0, rapid.IntRange(0, 12).Draw(t, "before"), drawMoved(t, "was"))
		after := days(g, 12, rapid.IntRange(1, 5).Draw(t, "after"), drawMoved(t, "is"))
		hs := RankWindow(before, after, nil)
		var sum float64
		seen := map[string]bool{}
		for i, h := range hs {
			sum += h.Probability
			seen[h.Service] = true
			if !(h.Probability >= 0 && h.Probability <= 1) || i > 0 && h.Probability > hs[i-1].Probability {
				t.Fatalf("probability %v at %d", h.Probability, i)
			}
			for _, ev := range h.Evidence {
				if !(ev.Weight >= 0 && ev.Weight <= 1+1e-9) {
					t.Fatalf("%s: weight %v of %s", h.Service, ev.Weight, ev.Signal)
				}
			}
		}
		if math.Abs(sum-1) > 1e-9 || len(seen) != len(windowServices)+1 || len(hs) != len(seen) {
			t.Fatalf("sum %v over %d", sum, len(hs))
		}
	})
}

func TestTheOrderOfServicesAndEdgesDoesNotMatter(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := drawMoved(t, "is")
		order := rapid.Permutation([]int{0, 1, 2, 3, 4}).Draw(t, "order")
		where := make([]int, len(order))
		services := make([]sre.Service, len(order))
		for i, old := range order {
			services[i], where[old] = windowServices[old], i
		}
		var edges []sre.Edge
		for _, k := range rapid.Permutation([]int{0, 1, 2, 3}).Draw(t, "edges") {
			edges = append(edges, sre.Edge{From: where[windowEdges[k].From], To: where[windowEdges[k].To]})
		}
		g, h := sre.NewGraph(windowServices, windowEdges), sre.NewGraph(services, edges)
		a := RankWindow(days(g, 0, 12, nil), days(g, 12, 4, m), nil)
		b := RankWindow(days(h, 0, 12, nil), days(h, 12, 4, m), nil)
		for i := range a {
			if math.Abs(at(b, a[i].Service)-a[i].Probability) > 1e-9 {
				t.Fatalf("%q: %v and %v", a[i].Service, a[i].Probability, at(b, a[i].Service))
			}
		}
	})
}

func TestTheSnapshotsAreLeftAsTheyAre(t *testing.T) {
	g := sre.NewGraph(windowServices, windowEdges)
	m := moved{"latency db": .6, "cpu api": 90}
	before, after := days(g, 0, 30, nil), days(g, 30, 4, m)
	RankWindow(before, after, nil)
	for i, s := range slices.Concat(before, after) {
		want := days(g, 0, 30, nil)
		if i >= 30 {
			want = days(g, 30, 4, m)
			i -= 30
		}
		if diff := cmp.Diff(want[i].Service, s.Service); diff != "" {
			t.Fatal(diff)
		}
	}
}

// chain is a line of n services with a fault at its end.
func chain(n int) (before, after []*sre.Snapshot) {
	var services []sre.Service
	var edges []sre.Edge
	m := moved{}
	for i := range n {
		services = append(services, sre.Service{Name: fmt.Sprintf("s%04d", i), Entry: i%20 == 0})
		if i%20 > 0 {
			edges = append(edges, sre.Edge{From: i - 1, To: i})
		}
		if i < 20 {
			m[fmt.Sprintf("latency s%04d", i)] = .5
		}
	}
	g := sre.NewGraph(services, edges)
	return days(g, 0, 60, nil), days(g, 60, 5, m)
}

func TestTheEndOfALongChainIsFound(t *testing.T) {
	before, after := chain(200)
	if hs := RankWindow(before, after, nil); hs[0].Service != "s0019" {
		t.Errorf("%s first", hs[0].Service)
	}
}

func BenchmarkRankWindow(b *testing.B) {
	before, after := chain(1000)
	b.ReportAllocs()
	for b.Loop() {
		RankWindow(before, after, nil)
	}
}

// deviation compares two samples of one series as RankWindow does.
func deviation(sig sre.Signal, before, after []float64) shift {
	c := comparison{sig: sig, before: before, after: slices.Sorted(slices.Values(after))}
	u := c.usually()
	return c.confirm(c.compare(u, math.NaN()), u)
}
