package detectors_test

import (
	"math"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/sreagent/sreagent/detectors"
	"github.com/sreagent/sreagent/sre"
)

// call is one call of a drawn graph.
type call struct {
	from, to string
	timeout  time.Duration
	retries  int
}

func drawn(calls ...call) *sre.Graph {
	at := map[string]int{}
	var services []sre.Service
	index := func(name string) int {
		if _, ok := at[name]; !ok {
			at[name] = len(services)
			services = append(services, sre.Service{Name: name})
		}
		return at[name]
	}
	var edges []sre.Edge
	for _, c := range calls {
		edges = append(edges, sre.Edge{From: index(c.from), To: index(c.to), Spec: sre.EdgeSpec{Timeout: c.timeout, Retries: c.retries, HasRetries: true}})
	}
	return sre.NewGraph(services, edges)
}

const ms = time.Millisecond

func TestCheckTimeouts(t *testing.T) {
	for _, c := range []struct {
		name  string
		graph *sre.Graph
		usual float64 // seconds of each service's own work
		want  []detectors.TimeoutFault
	}{
		{"they nest", drawn(call{"gateway", "cart", 2 * time.Second, 2}, call{"cart", "db", 500 * ms, 1}), .02, nil},
		{"nothing is known", drawn(call{"gateway", "cart", 0, 0}, call{"cart", "db", 0, 0}), 0, nil},
		{"a leaf needs its own time only", drawn(call{"gateway", "cart", 100 * ms, 0}), .02, nil},
		{
			"retries inside are longer than the patience outside",
			drawn(call{"gateway", "cart", time.Second, 0}, call{"cart", "db", 800 * ms, 1}), .02,
			[]detectors.TimeoutFault{{
				Caller: "gateway", Callee: "cart", Timeout: time.Second, Needs: 1620 * ms, AtLeast: 1800 * ms, Chain: []string{"gateway", "cart", "db"},
				Fix: "gateway->cart timeout 1s is shorter than cart's own 2 x 800ms + 20ms = 1.62s; set at least 1.8s, or lower cart->db to 460ms",
			}},
		},
		{
			"a leaf that is slower than its caller waits",
			drawn(call{"gateway", "cart", 10 * ms, 0}), .02,
			[]detectors.TimeoutFault{{
				Caller: "gateway", Callee: "cart", Timeout: 10 * ms, Needs: 20 * ms, AtLeast: 21 * ms, Chain: []string{"gateway", "cart"},
				Fix: "gateway->cart timeout 10ms is shorter than cart's own 20ms; set at least 21ms",
			}},
		},
		{
			"callees first, and what is raised there counts above",
			drawn(call{"gateway", "cart", 2 * time.Second, 0}, call{"cart", "stock", time.Second, 0}, call{"stock", "db", 700 * ms, 1}), 0,
			[]detectors.TimeoutFault{
				{
					Caller: "cart", Callee: "stock", Timeout: time.Second, Needs: 1400 * ms, AtLeast: 1500 * ms, Chain: []string{"cart", "stock", "db"},
					Fix: "cart->stock timeout 1s is shorter than stock's own 2 x 700ms = 1.4s; set at least 1.5s, or lower stock->db to 470ms",
				},
			},
		},
		{
			"a timeout that is not known is not guessed",
			drawn(call{"gateway", "cart", time.Second, 0}, call{"cart", "db", 0, 3}), 0,
			[]detectors.TimeoutFault{{
				Caller: "gateway", Callee: "cart", Timeout: time.Second, Chain: []string{"gateway", "cart"}, Unknown: []string{"cart->db"},
				Fix: "whether gateway->cart fits into its 1s cannot be told: no timeout is known for cart->db",
			}},
		},
		{
			"one in the middle that is not known",
			drawn(call{"gateway", "cart", time.Second, 0}, call{"cart", "stock", 0, 0}, call{"stock", "db", 400 * ms, 0}), 0,
			[]detectors.TimeoutFault{
				{
					Caller: "cart", Callee: "stock", Needs: 400 * ms, AtLeast: 420 * ms, Chain: []string{"cart", "stock", "db"},
					Fix: "cart->stock has no known timeout; it needs at least 420ms",
				},
				{
					Caller: "gateway", Callee: "cart", Timeout: time.Second, Chain: []string{"gateway", "cart"}, Unknown: []string{"cart->stock"},
					Fix: "whether gateway->cart fits into its 1s cannot be told: no timeout is known for cart->stock",
				},
			},
		},
		{
			"a cycle ends",
			drawn(call{"a", "b", 500 * ms, 0}, call{"b", "a", 400 * ms, 1}), 0,
			[]detectors.TimeoutFault{
				{
					Caller: "a", Callee: "b", Timeout: 500 * ms, Needs: 800 * ms, AtLeast: 840 * ms, Chain: []string{"a", "b"},
					Fix: "a->b timeout 500ms is shorter than b's own 2 x 400ms = 800ms; set at least 840ms, or lower b->a to 230ms",
				},
				{
					Caller: "b", Callee: "a", Timeout: 400 * ms, Needs: 840 * ms, AtLeast: 890 * ms, Chain: []string{"b", "a"},
					Fix: "b->a timeout 400ms is shorter than a's own 840ms; set at least 890ms, or lower a->b to 380ms",
				},
			},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := detectors.CheckTimeouts(c.graph, func(int) float64 { return c.usual })
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestTimeoutsAgainstTheTwin: without a cycle, and with every timeout known,
// raising what is proposed in the order of the list mends everything, as the
// sum over the calls says.
func TestTimeoutsAgainstTheTwin(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(2, 8).Draw(t, "services")
		services := make([]sre.Service, n)
		for i := range services {
			services[i].Name = string(rune('a' + i))
		}
		var edges []sre.Edge
		for from := range n {
			for to := from + 1; to < n; to++ {
				if rapid.Bool().Draw(t, "calls") {
					edges = append(edges, sre.Edge{From: from, To: to, Spec: sre.EdgeSpec{
						Timeout: time.Duration(rapid.IntRange(1, 5000).Draw(t, "timeout")) * ms,
						Retries: rapid.IntRange(0, 3).Draw(t, "retries"), HasRetries: true,
					}})
				}
			}
		}
		g := sre.NewGraph(services, edges)
		own := rapid.Float64Range(0, .5).Draw(t, "own")
		faults := detectors.CheckTimeouts(g, func(int) float64 { return own })
		for _, f := range faults {
			from, _ := g.Index(f.Caller)
			to, _ := g.Index(f.Callee)
			e, ok := g.EdgeIndex(from, to)
			if !ok || f.Needs <= f.Timeout || f.Fix == "" || f.Chain[0] != f.Caller || f.Chain[1] != f.Callee {
				t.Fatalf("fault is %+v", f)
			}
			edges[e].Spec.Timeout = f.AtLeast
		}
		if again := detectors.CheckTimeouts(sre.NewGraph(services, edges), func(int) float64 { return own }); len(again) > 0 {
			t.Fatalf("mended, and still at fault: %+v", again)
		}
		mended := sre.NewGraph(services, edges)
		for e := range edges {
			needs := own
			for _, f := range mended.CalleesOf(edges[e].To) {
				needs += float64(1+edges[f].Spec.Retries) * edges[f].Spec.Timeout.Seconds()
			}
			if needs > edges[e].Spec.Timeout.Seconds()+1e-9 {
				t.Fatalf("%+v needs %v and was passed", edges[e], needs)
			}
		}
		if diff := cmp.Diff(faults, detectors.CheckTimeouts(g, func(int) float64 { return own })); diff != "" {
			t.Fatalf("not deterministic:\n%s", diff)
		}
	})
}

func TestTimeoutsOfUnknownServices(t *testing.T) {
	g := drawn(call{"gateway", "cart", time.Second, 0}, call{"cart", "db", 400 * ms, 1})
	for _, usual := range []func(int) float64{nil, func(int) float64 { return math.NaN() }, func(int) float64 { return -1 }, func(int) float64 { return math.Inf(1) }} {
		if got := detectors.CheckTimeouts(g, usual); len(got) > 0 {
			t.Errorf("found %+v", got)
		}
	}
}
