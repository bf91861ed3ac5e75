package sources

import (
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/prometheus/common/model"
	"pgregory.net/rapid"

	"github.com/sreagent/sreagent/sre"
)

// TestIndicesNeverMove grows a graph by random sightings and compares it with a
// dumb twin that keeps names only.
func TestIndicesNeverMove(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		name := rapid.SampledFrom([]string{"a", "b", "c", "d", "e", "f", "g", "h"})
		limit := rapid.IntRange(1, 9).Draw(t, "max services")
		g := newGrowth(limit, 0, nil)
		var twinServices []string
		var twinEdges [][2]string
		at := t0
		for range rapid.IntRange(1, 12).Draw(t, "ticks") {
			at = at.Add(time.Duration(rapid.IntRange(1, 90).Draw(t, "seconds")) * time.Second)
			names := rapid.SliceOfN(name, 0, 4).Draw(t, "names")
			var seen []sighting
			for range rapid.IntRange(0, 5).Draw(t, "edges") {
				seen = append(seen, sighting{from: name.Draw(t, "from"), to: name.Draw(t, "to"), at: at})
			}
			g.add(names, seen)
			twinServices, twinEdges = twinAdd(twinServices, twinEdges, limit, names, seen)
			graph := g.graph(at)
			var gotServices []string
			for _, s := range graph.Services {
				gotServices = append(gotServices, s.Name)
			}
			var gotEdges [][2]string
			for _, e := range graph.Edges {
				gotEdges = append(gotEdges, [2]string{graph.Services[e.From].Name, graph.Services[e.To].Name})
				if e.FirstSeen.After(e.LastSeen) || e.LastSeen.After(at) {
					t.Fatalf("edge seen from %s to %s at %s", e.FirstSeen, e.LastSeen, at)
				}
			}
			if diff := cmp.Diff(twinServices, gotServices); diff != "" {
				t.Fatalf("services:\n%s", diff)
			}
			if diff := cmp.Diff(twinEdges, gotEdges); diff != "" {
				t.Fatalf("edges:\n%s", diff)
			}
		}
	})
}

func twinAdd(services []string, edges [][2]string, limit int, names []string, seen []sighting) ([]string, [][2]string) {
	fresh := map[string]bool{}
	pairs := map[[2]string]bool{}
	for _, n := range names {
		fresh[n] = true
	}
	for _, s := range seen {
		fresh[s.from], fresh[s.to] = true, true
		pairs[[2]string{s.from, s.to}] = true
	}
	for _, n := range slices.Sorted(maps.Keys(fresh)) {
		if !slices.Contains(services, n) && len(services) < limit {
			services = append(services, n)
		}
	}
	ordered := slices.SortedFunc(maps.Keys(pairs), func(a, b [2]string) int { return slices.Compare(a[:], b[:]) })
	for _, p := range ordered {
		if p[0] != p[1] && !slices.Contains(edges, p) && slices.Contains(services, p[0]) && slices.Contains(services, p[1]) {
			edges = append(edges, p)
		}
	}
	return services, edges
}

func TestGraphComesFromFileMetricsAndJaeger(t *testing.T) {
	f := newFleet(t)
	f.set("rps", byService("web", 5, "cart", 3))
	f.set("calls", byEdge("web", "cart", 5, "cart", "bank", 1))
	traces := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/jaeger/api/dependencies" || r.FormValue("endTs") != "1772366400000" || r.FormValue("lookback") != "3600000" {
			http.Error(w, r.URL.String(), http.StatusBadRequest)
			return
		}
		_, _ = io.WriteString(w, `{"data":[{"parent":"web","child":"auth","callCount":7},{"parent":"web","child":"ghost","callCount":0}],"errors":null}`)
	}))
	defer traces.Close()
	cfg := configFor(f.URL, serviceSignal("rps"), edgeSignal("calls"))
	cfg.Topology.Jaeger.URL = traces.URL + "/jaeger/"
	cfg.Topology.File = writeFile(t, "topology.yaml", `
edges:
  - {from: web, to: cart, timeout: 250ms, retries: 2, hard: true, calls_per_request: 1.5}
  - {from: cart, to: pay, retries: 0}
entries: [web]
priorities: {web: 10, pay: 3}
`)
	snap := observe(t, newSource(t, cfg), t0)
	wantServices := []sre.Service{
		{Name: "auth", External: true}, {Name: "bank", External: true}, {Name: "cart"},
		{Name: "pay", Weight: 3, External: true}, {Name: "web", Entry: true, Weight: 10},
	}
	if diff := cmp.Diff(wantServices, snap.Graph.Services); diff != "" {
		t.Errorf("services (-want +got):\n%s", diff)
	}
	wantEdges := []sre.Edge{
		{From: 2, To: 1},
		{From: 2, To: 3, Spec: sre.EdgeSpec{HasRetries: true}},
		{From: 4, To: 0},
		{From: 4, To: 2, Spec: sre.EdgeSpec{CallsPerRequest: 1.5, Timeout: 250 * time.Millisecond, Retries: 2, HasRetries: true, Hard: true}},
	}
	for i := range wantEdges {
		wantEdges[i].FirstSeen, wantEdges[i].LastSeen = t0, t0
	}
	if diff := cmp.Diff(wantEdges, snap.Graph.Edges, cmpopts.EquateComparable(time.Time{})); diff != "" {
		t.Errorf("edges (-want +got):\n%s", diff)
	}
	if got := edgeReading(t, snap, "calls", "web", "cart"); got.Value != 5 {
		t.Errorf("edge reading %+v", got)
	}
}

func TestGraphGrowsWhileIndicesStay(t *testing.T) {
	f := newFleet(t)
	f.setAt("rps", func(at time.Time) model.Vector {
		if at.Equal(t0) {
			return byService("m", 1, "z", 2)
		}
		return byService("a", 3, "m", 1)
	})
	f.set("calls", byEdge("z", "m", 1))
	s := newSource(t, configFor(f.URL, serviceSignal("rps"), edgeSignal("calls")))
	observe(t, s, t0)
	snap := observe(t, s, t0.Add(15*time.Second))
	var names []string
	for _, s := range snap.Graph.Services {
		names = append(names, s.Name)
	}
	if !slices.Equal(names, []string{"m", "z", "a"}) {
		t.Errorf("services %v", names)
	}
	if got := reading(t, snap, "rps", "z"); got != (sre.Reading{Value: 2, State: sre.Stale}) {
		t.Errorf("z is %+v", got)
	}
	if got := reading(t, snap, "rps", "a"); !got.OK() || got.Value != 3 {
		t.Errorf("a is %+v", got)
	}
}

func TestFromMetricsOff(t *testing.T) {
	f := newFleet(t)
	f.set("rps", byService("web", 1))
	f.set("calls", byEdge("web", "cart", 5, "web", "spy", 6))
	cfg := configFor(f.URL, serviceSignal("rps"), edgeSignal("calls"))
	cfg.Topology.FromMetrics = false
	cfg.Topology.File = writeFile(t, "t.yaml", "edges: [{from: web, to: cart}]\n")
	snap := observe(t, newSource(t, cfg), t0)
	if len(snap.Graph.Edges) != 1 || edgeReading(t, snap, "calls", "web", "cart").Value != 5 {
		t.Errorf("edges %+v", snap.Graph.Edges)
	}
	if _, known := snap.Graph.Index("spy"); known {
		t.Error("a service was learned from metrics")
	}
}

func TestEdgesOfTheFileHoldInTheirTimeOnly(t *testing.T) {
	f := newFleet(t)
	f.set("rps", byService("web", 1))
	cfg := configFor(f.URL, serviceSignal("rps"))
	cfg.Topology.File = writeFile(t, "t.yaml", `
edges:
  - {from: web, to: old, valid_to: 2026-03-01T12:02:00Z}
  - {from: web, to: new, timeout: 1s, valid_from: 2026-03-01T12:02:00Z, valid_to: 2026-03-01T12:04:00Z}
  - {from: web, to: new, timeout: 2s, valid_from: 2026-03-01T12:04:00Z}
`)
	s := newSource(t, cfg)
	type edge struct {
		To       string
		Timeout  time.Duration
		LastSeen time.Time
	}
	at := func(minutes int) []edge {
		snap := observe(t, s, t0.Add(time.Duration(minutes)*time.Minute))
		var out []edge
		for _, e := range snap.Graph.Edges {
			out = append(out, edge{snap.Graph.Services[e.To].Name, e.Spec.Timeout, e.LastSeen})
		}
		return out
	}
	minute := func(n int) time.Time { return t0.Add(time.Duration(n) * time.Minute) }
	for _, tc := range []struct {
		minutes int
		want    []edge
	}{
		{0, []edge{{"old", 0, minute(0)}}},
		{2, []edge{{"old", 0, minute(0)}, {"new", time.Second, minute(2)}}},
		{4, []edge{{"old", 0, minute(0)}, {"new", 2 * time.Second, minute(4)}}},
	} {
		if diff := cmp.Diff(tc.want, at(tc.minutes)); diff != "" {
			t.Errorf("minute %d (-want +got):\n%s", tc.minutes, diff)
		}
	}
}

func TestEdgeWithoutTrafficIsForgottenButKeepsItsIndex(t *testing.T) {
	f := newFleet(t)
	quiet := t0.Add(time.Minute)
	f.setAt("calls", func(at time.Time) model.Vector {
		if at.After(quiet) {
			return byEdge("web", "cart", 0, "web", "pay", 1)
		}
		return byEdge("web", "cart", 5, "web", "pay", 1)
	})
	cfg := configFor(f.URL, edgeSignal("calls"))
	cfg.Topology.ForgetAfter = model.Duration(time.Hour)
	s := newSource(t, cfg)
	observe(t, s, t0)
	observe(t, s, quiet)
	snap := observe(t, s, quiet.Add(2*time.Hour))
	if n := len(snap.Graph.Edges); n != 2 {
		t.Fatalf("%d edges", n)
	}
	if g := snap.Graph; !g.Edges[0].Gone || len(g.CalleesOf(g.Edges[0].From)) != len(g.Edges)-1 {
		t.Errorf("the forgotten edge is still in the graph: %+v", g.Edges)
	}
	if got := snap.Graph.Edges[0].LastSeen; !got.Equal(quiet) {
		t.Errorf("web -> cart last seen %s, want %s", got, quiet)
	}
	if got := testutil.ToFloat64(s.metrics.edges.WithLabelValues("forgotten")); got != 1 {
		t.Errorf("%v forgotten edges, want 1", got)
	}
	if got := testutil.ToFloat64(s.metrics.edges.WithLabelValues("current")); got != 1 {
		t.Errorf("%v current edges, want 1", got)
	}
}

func TestGraphIsSharedBetweenTicksWithoutNews(t *testing.T) {
	f := newFleet(t)
	f.set("calls", byEdge("web", "cart", 5))
	s := newSource(t, configFor(f.URL, edgeSignal("calls")))
	first := observe(t, s, t0)
	second := observe(t, s, t0.Add(15*time.Second))
	third := observe(t, s, t0.Add(time.Minute))
	if first.Graph != second.Graph {
		t.Error("the graph was built again though nothing changed")
	}
	if got := third.Graph.Edges[0].LastSeen; !got.Equal(t0.Add(time.Minute)) {
		t.Errorf("last seen %s after a minute", got)
	}
}

func TestJaegerIsAskedAtItsOwnPaceAndItsFailureLosesNothing(t *testing.T) {
	f := newFleet(t)
	f.set("rps", byService("web", 1))
	answers := []string{
		`{"data":[{"parent":"web","child":"cart","callCount":7}]}`,
		`oops`,
		`{"data":[{"parent":"web","child":"pay","callCount":1}]}`,
	}
	var calls atomic.Int32
	traces := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, answers[calls.Add(1)-1])
	}))
	defer traces.Close()
	cfg := configFor(f.URL, serviceSignal("rps"))
	cfg.Topology.Jaeger.URL = traces.URL
	cfg.Topology.Jaeger.Interval = model.Duration(30 * time.Second)
	s := newSource(t, cfg)
	for i, want := range []struct {
		calls     int32
		edges, up int
	}{{1, 1, 1}, {1, 1, 1}, {2, 1, 0}, {2, 1, 0}, {3, 2, 1}} {
		snap := observe(t, s, t0.Add(time.Duration(i)*15*time.Second))
		up := int(testutil.ToFloat64(s.metrics.up.WithLabelValues(fromJaeger)))
		if calls.Load() != want.calls || len(snap.Graph.Edges) != want.edges || up != want.up || !snap.Health.Up {
			t.Errorf("tick %d: %d calls, %d edges, up %d; want %+v", i, calls.Load(), len(snap.Graph.Edges), up, want)
		}
	}
}

func TestJaegerRoutes(t *testing.T) {
	for _, tc := range []struct {
		name   string
		answer http.HandlerFunc
		want   string
	}{
		{"newer route with counts as text", func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/api/v3/dependencies" {
				http.NotFound(w, r)
				return
			}
			if r.FormValue("startTime") != "2026-03-01T11:00:00Z" || r.FormValue("endTime") != "2026-03-01T12:00:00Z" {
				w.WriteHeader(http.StatusBadRequest)
				return
			}
			_, _ = io.WriteString(w, `{"dependencies":[{"parent":"web","child":"cart","callCount":"12"},{"parent":"web","child":"cart","callCount":"3"}]}`)
		}, "[web>cart] <nil>"},
		{"neither route", http.NotFound, "[] no such route"},
		{"error inside", func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, `{"data":null,"errors":[{"code":500,"msg":"storage is away"}]}`)
		}, "[] jaeger says: storage is away"},
		{"bad count", func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, `{"data":[{"parent":"a","child":"b","callCount":-1}]}`)
		}, "[] callCount -1 is not a count"},
		{"down", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) }, "[] answered 502 Bad Gateway"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			traces := httptest.NewServer(tc.answer)
			defer traces.Close()
			cfg := configFor("http://unused:1", serviceSignal("rps"))
			cfg.Topology.Jaeger.URL = traces.URL
			edges, err := newSource(t, cfg).jaeger.fetch(t.Context(), t0)
			names := []string{}
			for _, e := range edges {
				names = append(names, e.from+">"+e.to)
			}
			if got := fmt.Sprint(names, " ", err); got != tc.want {
				t.Errorf("got %s, want %s", got, tc.want)
			}
		})
	}
}

func writeFile(t testing.TB, name, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
