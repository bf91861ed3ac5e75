package diagnosis

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/sreagent/sreagent/sre"
)

// plant is a snapshot whose numbers tests choose by name.
type plant struct {
	services map[string]plantService
	calls    []plantCall
}

type plantService struct {
	entry            bool
	traffic, latency float64 // 0 is not measured
	pool, cpu        float64
}

type plantCall struct {
	from, to string
	spec     sre.EdgeSpec
	traffic  float64
	retries  float64
}

var plantSignals = []sre.Signal{
	{Name: "traffic", Kind: sre.Traffic, Unit: sre.PerSecond},
	{Name: "latency", Kind: sre.Latency, Unit: sre.Seconds},
	{Name: "pool", Kind: sre.Pool, Unit: sre.Ratio},
	{Name: "cpu", Kind: sre.Saturation, Unit: sre.Percent},
}

var plantCalls = []sre.Signal{
	{Name: "edge_traffic", Kind: sre.Traffic, Unit: sre.PerSecond, Edge: true},
	{Name: "edge_retries", Kind: sre.Retries, Unit: sre.PerSecond, Edge: true},
}

func (p plant) snapshot() *sre.Snapshot {
	names := make([]string, 0, len(p.services))
	for name := range p.services {
		names = append(names, name)
	}
	slices.Sort(names)
	services := make([]sre.Service, len(names))
	index := map[string]int{}
	for i, name := range names {
		services[i], index[name] = sre.Service{Name: name, Entry: p.services[name].entry}, i
	}
	var edges []sre.Edge
	var made []plantCall // without those that repeat a pair, which a graph drops
	for _, c := range p.calls {
		if !slices.ContainsFunc(made, func(o plantCall) bool { return o.from == c.from && o.to == c.to }) {
			made = append(made, c)
			edges = append(edges, sre.Edge{From: index[c.from], To: index[c.to], Spec: c.spec})
		}
	}
	s := &sre.Snapshot{
		At: windowStart, Graph: sre.NewGraph(services, edges), Signals: plantSignals, EdgeSignals: plantCalls,
		Service: sre.NewMatrix(len(plantSignals), len(services)), Edge: sre.NewMatrix(len(plantCalls), len(edges)),
		Health: sre.SourceHealth{Up: true},
	}
	put := func(m *sre.Matrix, row, i int, v float64) {
		if v > 0 {
			m.Set(row, i, sre.Reading{Value: v, State: sre.Present})
		}
	}
	for i, name := range names {
		x := p.services[name]
		for row, v := range []float64{x.traffic, x.latency, x.pool, 100 * x.cpu} {
			put(&s.Service, row, i, v)
		}
	}
	for i, c := range made {
		put(&s.Edge, 0, i, c.traffic)
		put(&s.Edge, 1, i, c.retries)
	}
	return s
}

func told(s *sre.Snapshot, root string) string {
	i, _ := s.Graph.Index(root)
	var out []string
	for _, x := range Spread(s, i) {
		entry := ""
		if x.Entry {
			entry = " entry"
		}
		out = append(out, fmt.Sprintf("%s%s %g %s", x.Service, entry, x.Lost, x.After))
	}
	return strings.Join(out, ", ")
}

func link(from, to string, hard bool, perRequest float64, retries int) plantCall {
	return plantCall{from: from, to: to, spec: sre.EdgeSpec{CallsPerRequest: perRequest, Timeout: time.Second, Retries: retries, HasRetries: true, Hard: hard}}
}

// roomy is a service that nothing but failures can hurt.
func roomy(traffic float64) plantService {
	return plantService{traffic: traffic, latency: .01, pool: .01, cpu: .01}
}

func entrance(traffic float64) plantService {
	x := roomy(traffic)
	x.entry = true
	return x
}

// plain is two services of which nothing is known but that one calls the other.
func plain() *sre.Snapshot {
	return plant{map[string]plantService{"a": {}, "b": {}}, []plantCall{{from: "a", to: "b"}}}.snapshot()
}

func TestSpread(t *testing.T) {
	hard := func(from, to string) plantCall { return link(from, to, true, 1, 0) }
	tight := plantService{traffic: 100, latency: .05, pool: .5, cpu: .2, entry: true}
	busy := plantService{traffic: 100, latency: .01, pool: .01, cpu: .8}
	for name, c := range map[string]struct {
		plant plant
		root  string
		want  string
	}{
		"a chain of hard calls": {
			plant{map[string]plantService{"web": entrance(100), "api": roomy(100), "db": roomy(100)}, []plantCall{hard("web", "api"), hard("api", "db")}},
			"db", "db 1 0s, web entry 1 1s, api 1 1s",
		},
		"half of the requests need it": {
			plant{map[string]plantService{"web": entrance(100), "db": roomy(50)}, []plantCall{link("web", "db", true, .5, 0)}},
			"db", "db 1 0s, web entry 0.5 1s",
		},
		"an optional call into a roomy caller": {
			plant{map[string]plantService{"web": entrance(100), "ads": roomy(100), "db": roomy(100)}, []plantCall{link("web", "ads", false, 1, 0), hard("web", "db")}},
			"ads", "ads 1 0s",
		},
		"an optional call fills the caller's workers": { // 10 workers, held for 1.05 s by 100 requests a second
			plant{map[string]plantService{"web": tight, "ads": roomy(100), "db": roomy(100)}, []plantCall{link("web", "ads", false, 1, 0), hard("web", "db")}},
			"ads", "ads 1 0s, web entry 0.9 100ms",
		},
		"nobody is below it": {
			plant{map[string]plantService{"web": entrance(100), "db": roomy(100)}, []plantCall{hard("web", "db")}},
			"web", "web entry 1 0s",
		},
		"failures come after the last attempt": {
			plant{map[string]plantService{"web": {entry: true, traffic: 100, latency: .05, pool: .01, cpu: .01}, "db": roomy(100)}, []plantCall{link("web", "db", true, 1, 2)}},
			"db", "db 1 0s, web entry 1 3s",
		},
		"retries above bring load to a neighbour": { // web turns 90 % away, so gate tries api again, which calls search for it
			plant{
				map[string]plantService{
					"gate": entrance(100), "web": {traffic: 100, latency: .05, pool: .5, cpu: .01}, "ads": roomy(100), "search": busy,
				},
				[]plantCall{link("gate", "web", true, 1, 2), link("web", "ads", false, 1, 0), link("web", "search", false, 1, 0)},
			},
			"ads", "ads 1 0s, gate entry 0.98 1s, web 0.97 0s, search 0.38 100ms",
		},
		"nothing is known": { // one call per request, needed, no retry, a second of patience
			plant{map[string]plantService{"web": {}, "db": {}}, []plantCall{{from: "web", to: "db"}}},
			"db", "db 1 0s, web entry 1 0s",
		},
		"a circle, which also makes answers late": {
			plant{map[string]plantService{"web": entrance(100), "a": roomy(100), "b": roomy(50)}, []plantCall{hard("web", "a"), link("a", "b", true, .5, 0), link("b", "a", true, .5, 0)}},
			"b", "b 1 0s, web entry 0.57 1s, a 0.5 1s",
		},
	} {
		t.Run(name, func(t *testing.T) {
			if got := told(c.plant.snapshot(), c.root); got != c.want {
				t.Errorf("\n got %s\nwant %s", got, c.want)
			}
		})
	}
	s := plain()
	for _, root := range []int{-1, 2} {
		if got := Spread(s, root); got != nil {
			t.Errorf("root %d: %v", root, got)
		}
	}
	if Spread(nil, 0) != nil || Spread(&sre.Snapshot{}, 0) != nil {
		t.Error("nothing has an impact")
	}
}

// TestSpreadIsShort has more services hit than are told.
func TestSpreadIsShort(t *testing.T) {
	p := plant{services: map[string]plantService{"db": roomy(100)}}
	for i := range 40 {
		name := fmt.Sprintf("s%02d", i)
		p.services[name] = roomy(100)
		p.calls = append(p.calls, link(name, "db", true, 1, 0))
	}
	p.services["front"] = entrance(1)
	p.calls = append(p.calls, link("front", "db", true, 1, 0))
	s := p.snapshot()
	i, _ := s.Graph.Index("db")
	got := Spread(s, i)
	if len(got) != mostImpacts || got[0].Service != "db" || got[1].Service != "front" {
		t.Errorf("%d impacts, the first are %v", len(got), got[:2])
	}
}

// anyPlant draws a graph, circles included, with some of it unmeasured.
func anyPlant(t *rapid.T) plant {
	n := rapid.IntRange(1, 9).Draw(t, "services")
	p := plant{services: map[string]plantService{}}
	maybe := func(name string, x float64) float64 {
		if rapid.IntRange(0, 4).Draw(t, name+" unknown") == 0 {
			return 0
		}
		return x * rapid.Float64Range(.1, 1).Draw(t, name)
	}
	for i := range n {
		p.services[fmt.Sprint("s", i)] = plantService{
			entry: i == 0, traffic: maybe("traffic", 1000), latency: maybe("latency", 2), pool: maybe("pool", 1.2), cpu: maybe("cpu", 1),
		}
	}
	for range rapid.IntRange(0, 3*n).Draw(t, "calls") {
		p.calls = append(p.calls, plantCall{
			from: fmt.Sprint("s", rapid.IntRange(0, n-1).Draw(t, "from")), to: fmt.Sprint("s", rapid.IntRange(0, n-1).Draw(t, "to")),
			spec: sre.EdgeSpec{
				CallsPerRequest: maybe("per request", 3), Timeout: time.Duration(maybe("timeout", 3e9)),
				Retries: rapid.IntRange(0, 4).Draw(t, "retries"), HasRetries: rapid.Bool().Draw(t, "retries known"), Hard: rapid.Bool().Draw(t, "hard"),
			},
			traffic: maybe("calls", 1000), retries: maybe("repeated", 200),
		})
	}
	return p
}

// slowWave is the same fixed point, reached by taking all services at once and
// everything from the round before, a hundred times.
func slowWave(s *sre.Snapshot, root int) []float64 {
	w := newWave(s, root)
	for range 100 {
		old := slices.Clone(w.nodes)
		for e := range w.calls {
			c := &w.calls[e]
			if s.Graph.Edges[e].Gone {
				continue
			}
			v := &old[c.to]
			if late := tardy(c.timeout, v.hold) - c.tardy; v.touched {
				c.lost = max(c.lost, 1-(1-max(0, late))*(1-v.lost()))
				c.made, c.ended = (1-math.Pow(c.lost, float64(c.attempts)))/(1-c.lost), math.Pow(c.lost, float64(c.attempts))
				if c.lost > 1-1e-9 {
					c.made = float64(c.attempts)
				}
			}
		}
		for i := range w.nodes {
			if i == root {
				continue
			}
			n := &w.nodes[i]
			hold, fine, load := n.before, 1., n.usual
			for _, c := range w.calls {
				if int(c.from) == i && c.lost > 0 {
					n.touched = true
					v := &old[c.to]
					hold += max(0, c.calls*(c.made*min(v.hold, c.timeout)-min(v.before, c.timeout)))
					if c.hard {
						fine *= 1 - min(1, c.calls)*c.ended
					}
				}
				if u := &old[c.from]; int(c.to) == i && int(c.from) != root && u.touched {
					load += max(0, c.flow*(max(1, min(u.load, u.rate, u.workers/u.before)/u.usual)*c.made-1))
				}
			}
			if load > n.load {
				n.load, n.touched = load, true
			}
			if n.touched {
				n.raise(hold, 1-fine, 0, 0)
			}
		}
	}
	out := make([]float64, len(w.nodes))
	for i := range out {
		out[i] = w.nodes[i].lost()
	}
	return out
}

// TestSpreadOfAnyGraph holds the fast iteration against the slow one, and looks
// at what must hold of every answer.
func TestSpreadOfAnyGraph(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := anyPlant(t).snapshot()
		root := rapid.IntRange(0, len(s.Graph.Services)-1).Draw(t, "root")
		got := Spread(s, root)
		if len(got) == 0 || got[0].Service != s.Graph.Services[root].Name || got[0].Lost != 1 || got[0].After != 0 {
			t.Fatalf("the first is %v", got)
		}
		if diff := cmp.Diff(got, Spread(s, root)); diff != "" {
			t.Fatal(diff)
		}
		want, acyclic := slowWave(s, root), newWave(s, root).tree
		lost := map[string]float64{}
		for _, x := range got {
			if x.Lost < leastLost-.005 || x.Lost > 1 || x.After < 0 || x.After > time.Hour {
				t.Fatalf("%+v", x)
			}
			lost[x.Service] = x.Lost
		}
		for i, svc := range s.Graph.Services {
			off := math.Abs(lost[svc.Name] - want[i])
			if !acyclic { // loads that feed themselves in a circle may grow without end: the rounds are counted
				off = lost[svc.Name] - want[i]
			}
			if off > .02 && max(lost[svc.Name], want[i]) >= leastLost+.02 {
				t.Fatalf("%s: %v, the slow way %v", svc.Name, lost[svc.Name], want[i])
			}
		}
	})
}

// TestSpreadFollowsNames renames everything and adds a system that has nothing to
// do with it.
func TestSpreadFollowsNames(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := anyPlant(t)
		other := plant{services: map[string]plantService{"a": roomy(10), "b": roomy(10)}, calls: []plantCall{link("a", "b", false, 1, 1)}}
		for name, x := range p.services {
			other.services["x"+name] = x
		}
		hard := slices.ContainsFunc(p.snapshot().Graph.Edges, func(e sre.Edge) bool { return e.Spec.Hard })
		other.calls[0].spec.Hard = hard
		for _, c := range p.calls {
			c.from, c.to = "x"+c.from, "x"+c.to
			other.calls = append(other.calls, c)
		}
		want, got := told(p.snapshot(), "s0"), told(other.snapshot(), "xs0")
		if strings.ReplaceAll(got, "xs", "s") != want {
			t.Fatalf("\n got %s\nwant %s", got, want)
		}
	})
}

// layered is a fleet in six layers in which everything can fall.
func layered(n int) *sre.Snapshot {
	p := plant{services: map[string]plantService{}}
	name := func(i int) string { return fmt.Sprintf("s%05d", i) }
	width := n / 6
	for i := range n {
		p.services[name(i)] = plantService{entry: i < width, traffic: 100, latency: .02, pool: .5, cpu: .6}
		if next := (i/width + 1) * width; next+width <= n {
			for k := range 3 {
				p.calls = append(p.calls, link(name(i), name(next+(i*7+k*k*13)%width), k > 0, .7, 2))
			}
		}
	}
	return p.snapshot()
}

func BenchmarkSpread(b *testing.B) {
	for _, n := range []int{1000, 10000} {
		s := layered(n)
		b.Run(fmt.Sprintf("services=%d", n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				Spread(s, n-n/12)
			}
		})
	}
}
