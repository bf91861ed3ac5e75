package sources

import (
	"fmt"
	"log/slog"
	"math"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/prometheus/common/model"
	"pgregory.net/rapid"
)

func TestBudgetRotates(t *testing.T) {
	f := newFleet(t)
	var signals []SignalQuery
	for _, name := range []string{"a", "b", "c", "d", "e"} {
		f.set(name, byService("cart", 1))
		signals = append(signals, serviceSignal(name))
	}
	cfg := configFor(f.URL, signals...)
	cfg.Prometheus.MaxQueriesPerTick = 2
	s := newSource(t, cfg)
	want := []struct{ asked, skipped string }{
		{"a b", "c d e"}, {"c d", "a b e"}, {"a e", "b c d"}, {"b c", "a d e"}, {"a d", "b c e"}, {"b e", "a c d"},
	}
	for i, w := range want {
		snap := observe(t, s, t0.Add(time.Duration(i)*15*time.Second))
		if got := strings.Join(f.takeAsked(), " "); got != w.asked {
			t.Errorf("tick %d asked %q, want %q", i, got, w.asked)
		}
		if got := strings.Join(snap.Health.Skipped, " "); got != w.skipped || snap.Health.Queries != 2 || !snap.Health.Up {
			t.Errorf("tick %d skipped %q, want %q (%+v)", i, got, w.skipped, snap.Health)
		}
		for name := range strings.FieldsSeq(w.asked) {
			if r := reading(t, snap, name, "cart"); !r.OK() {
				t.Errorf("tick %d: %s was asked and is %s", i, name, r.State)
			}
		}
		for name := range strings.FieldsSeq(w.skipped) {
			if r := reading(t, snap, name, "cart"); r.OK() {
				t.Errorf("tick %d: %s was not asked and is present", i, name)
			}
		}
	}
}

func TestBudgetLetsNobodyWaitLongerThanItMust(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n, per := rapid.IntRange(1, 40).Draw(t, "queries"), rapid.IntRange(1, 40).Draw(t, "per tick")
		b := newBudget(n, per)
		bound := (n + per - 1) / per
		lastAsked := make([]int, n)
		for tick := 1; tick <= 3*bound; tick++ {
			ask, skip := b.choose()
			if len(ask) != min(n, per) || len(ask)+len(skip) != n {
				t.Fatalf("asked %v, skipped %v", ask, skip)
			}
			for _, i := range ask {
				lastAsked[i] = tick
			}
			for i, last := range lastAsked {
				if tick-last >= bound {
					t.Fatalf("at tick %d query %d has waited since %d; bound %d", tick, i, last, bound)
				}
			}
		}
	})
}

// TestOrderOfArrivalLeavesNoTrace lets the same answers come in every order
// and with their samples shuffled, and wants the same bytes.
func TestOrderOfArrivalLeavesNoTrace(t *testing.T) {
	names := []string{"a", "b", "c", "d"}
	run := func(order []int, turn int) string {
		f := newFleet(t)
		cfg := configFor(f.URL, serviceSignal("a"), serviceSignal("b"), edgeSignal("c"), edgeSignal("d"))
		cfg.Changes.VersionLabels = nil
		s := newSource(t, cfg)
		rotate := func(v model.Vector) model.Vector { return append(slices.Clone(v[turn%len(v):]), v[:turn%len(v)]...) }
		f.set("a", rotate(byService("cart", 1, "web", 2, "auth", 3)))
		f.set("b", rotate(byService("pay", 1, "cart", 2, "zeta", 3)))
		f.set("c", rotate(byEdge("web", "cart", 1, "cart", "pay", 2, "web", "auth", 1)))
		f.set("d", rotate(byEdge("pay", "bank", 1, "web", "cart", 2)))
		// Every query waits for the one that comes before it in the order.
		done := make([]chan struct{}, len(order)+1)
		for i := range done {
			done[i] = make(chan struct{})
		}
		close(done[0])
		var once [4]sync.Once
		f.before = func(query string) {
			i := slices.Index(order, slices.Index(names, query))
			<-done[i]
			once[i].Do(func() { close(done[i+1]) })
		}
		return render(t, observe(t, s, t0)) + render(t, observe(t, s, t0.Add(15*time.Second)))
	}
	want := run([]int{0, 1, 2, 3}, 0)
	for turn, order := range [][]int{{3, 2, 1, 0}, {1, 0, 3, 2}, {2, 3, 0, 1}, {3, 0, 2, 1}} {
		if diff := cmp.Diff(want, run(order, turn+1)); diff != "" {
			t.Fatalf("order %v changes the snapshot:\n%s", order, diff)
		}
	}
}

func TestSnapshotsDoNotChangeAfterwards(t *testing.T) {
	f := newFleet(t)
	f.setAt("rps", func(at time.Time) model.Vector {
		return byService("cart", float64(at.Unix()), fmt.Sprintf("new-%d", at.Unix()), 1)
	})
	f.setAt("calls", func(at time.Time) model.Vector { return byEdge("web", fmt.Sprintf("new-%d", at.Unix()), 1) })
	s := newSource(t, configFor(f.URL, serviceSignal("rps"), edgeSignal("calls")))
	first := observe(t, s, t0)
	before := render(t, first)
	for i := range 5 {
		observe(t, s, t0.Add(time.Duration(i+1)*15*time.Second))
	}
	if diff := cmp.Diff(before, render(t, first)); diff != "" {
		t.Errorf("an old snapshot changed:\n%s", diff)
	}
}

func TestAnOutageIsLoggedOnceAtEachEnd(t *testing.T) {
	f := newFleet(t)
	f.set("rps", byService("cart", 1))
	var log strings.Builder
	s := newSource(t, configFor(f.URL, serviceSignal("rps")), func(o *Options) {
		o.Log = slog.New(slog.NewTextHandler(&log, nil))
	})
	observe(t, s, t0)
	f.breakWith("rps", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) })
	for i := range 3 {
		observe(t, s, t0.Add(time.Duration(i+1)*15*time.Second))
	}
	f.set("rps", byService("cart", 1))
	for i := range 3 {
		observe(t, s, t0.Add(time.Duration(i+4)*15*time.Second))
	}
	lines := strings.Split(strings.TrimSpace(log.String()), "\n")
	if len(lines) != 2 || !strings.Contains(lines[0], `level=WARN msg="signal query fails" signal=rps reason=http`) ||
		!strings.Contains(lines[1], `msg="signal query answers again" signal=rps`) {
		t.Errorf("log:\n%s", log.String())
	}
}

func TestMetrics(t *testing.T) {
	f := newFleet(t)
	f.set("rps", byService("cart", 1, "web", math.NaN()))
	cfg := configFor(f.URL, serviceSignal("rps"), serviceSignal("bad"))
	cfg.Topology.Jaeger.URL = "http://127.0.0.1:1"
	f.breakWith("bad", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) })
	reg := prometheus.NewPedanticRegistry()
	s := newSource(t, cfg, func(o *Options) { o.Registerer = reg })
	observe(t, s, t0)
	want := `
# HELP sreagent_source_readings Readings of the last snapshot, by state.
# TYPE sreagent_source_readings gauge
sreagent_source_readings{state="absent"} 3
sreagent_source_readings{state="present"} 1
sreagent_source_readings{state="stale"} 0
# HELP sreagent_source_queries_total Queries asked.
# TYPE sreagent_source_queries_total counter
sreagent_source_queries_total{source="jaeger"} 1
sreagent_source_queries_total{source="prometheus"} 2
# HELP sreagent_source_up Whether the source answered at the last attempt.
# TYPE sreagent_source_up gauge
sreagent_source_up{source="jaeger"} 0
sreagent_source_up{source="prometheus"} 1
# HELP sreagent_source_failures_total Queries that gave no usable answer, by reason.
# TYPE sreagent_source_failures_total counter
sreagent_source_failures_total{reason="bad_data",source="jaeger"} 0
sreagent_source_failures_total{reason="bad_data",source="prometheus"} 0
sreagent_source_failures_total{reason="canceled",source="jaeger"} 0
sreagent_source_failures_total{reason="canceled",source="prometheus"} 0
sreagent_source_failures_total{reason="http",source="jaeger"} 1
sreagent_source_failures_total{reason="http",source="prometheus"} 1
sreagent_source_failures_total{reason="timeout",source="jaeger"} 0
sreagent_source_failures_total{reason="timeout",source="prometheus"} 0
`
	if err := testutil.GatherAndCompare(reg, strings.NewReader(want), "sreagent_source_readings", "sreagent_source_queries_total",
		"sreagent_source_up", "sreagent_source_failures_total"); err != nil {
		t.Error(err)
	}
	problems, err := testutil.GatherAndLint(reg)
	if err != nil || len(problems) > 0 {
		t.Errorf("lint: %v %v", problems, err)
	}
}

func BenchmarkObserve1000ServicesTenSignals(b *testing.B) {
	f := newFleet(b)
	var signals []SignalQuery
	for i := range 10 {
		name := fmt.Sprintf("q%d", i)
		var v model.Vector
		for j := range 1000 {
			v = append(v, point(float64(i*j), "service", fmt.Sprintf("service-%04d", j)))
		}
		body := canned(v)
		f.breakWith(name, func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(body) })
		signals = append(signals, serviceSignal(name))
	}
	s := newSource(b, configFor(f.URL, signals...))
	at := t0
	observe(b, s, at)
	b.ReportAllocs()
	for b.Loop() {
		at = at.Add(15 * time.Second)
		if snap := observe(b, s, at); len(snap.Graph.Services) != 1000 || len(snap.Health.Failed) > 0 {
			b.Fatal("incomplete snapshot")
		}
	}
}

// BenchmarkAssemble is the part of Observe that is ours: without HTTP and JSON.
func BenchmarkAssemble1000ServicesTenSignals(b *testing.B) {
	var signals []SignalQuery
	answers := make([]answer, 10)
	for i := range 10 {
		signals = append(signals, serviceSignal(fmt.Sprintf("q%d", i)))
		for j := range 1000 {
			answers[i].samples = append(answers[i].samples, sample{a: fmt.Sprintf("service-%04d", j), value: float64(j)})
		}
		answers[i].asked = true
	}
	s := newSource(b, configFor("http://unused:1", signals...))
	at := t0
	b.ReportAllocs()
	for b.Loop() {
		at = at.Add(15 * time.Second)
		s.assemble(at, 15*time.Second, answers, nil)
	}
}
