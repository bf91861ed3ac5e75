package report

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/sreagent/sreagent/sre"
)

func drawEdges(t *rapid.T, n int, cycles bool) [][2]int {
	seen := map[[2]int]bool{}
	var out [][2]int
	for range rapid.IntRange(0, 3*n).Draw(t, "edges") {
		a, b := rapid.IntRange(0, n-1).Draw(t, "a"), rapid.IntRange(0, n-1).Draw(t, "b")
		if !cycles && a > b {
			a, b = b, a
		}
		if e := [2]int{a, b}; a != b && !seen[e] {
			seen[e] = true
			out = append(out, e)
		}
	}
	return out
}

func TestLayout(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 40).Draw(t, "n")
		cycles := rapid.Bool().Draw(t, "cycles")
		edges := drawEdges(t, n, cycles)
		p := lay(n, edges, 150, 26)
		if !cycles {
			for _, e := range edges {
				if p.layer[e[0]] >= p.layer[e[1]] {
					t.Fatalf("caller %d stands in layer %d, its callee %d in %d", e[0], p.layer[e[0]], e[1], p.layer[e[1]])
				}
			}
		}
		rows := map[int][]int{}
		for v := range n {
			rows[p.layer[v]] = append(rows[p.layer[v]], v)
			if p.x[v] < 75-1e-6 || p.x[v] > p.width-75+1e-6 {
				t.Fatalf("box %d at %v reaches beyond 0 to %v", v, p.x[v], p.width)
			}
		}
		for y, row := range rows {
			if len(row) > perLayer {
				t.Fatalf("%d boxes in layer %d", len(row), y)
			}
			slices.SortFunc(row, func(a, b int) int { return cmp.Compare(p.x[a], p.x[b]) })
			for i := 1; i < len(row); i++ {
				if p.x[row[i]]-p.x[row[i-1]] < 150-1e-6 {
					t.Fatalf("boxes %d and %d overlap", row[i-1], row[i])
				}
			}
		}
		for i, e := range edges {
			way := p.bent[i]
			first, last := way[0], way[len(way)-1]
			if first != (spot{p.layer[e[0]], p.x[e[0]]}) || last != (spot{p.layer[e[1]], p.x[e[1]]}) {
				t.Fatalf("edge %v goes from %v to %v", e, first, last)
			}
			for k := 1; k < len(way); k++ {
				if d := way[k].layer - way[k-1].layer; d != 1 && d != -1 {
					t.Fatalf("edge %v jumps from layer %d to %d", e, way[k-1].layer, way[k].layer)
				}
			}
		}
		if again := lay(n, edges, 150, 26); fmt.Sprint(again) != fmt.Sprint(p) {
			t.Fatal("two layouts differ")
		}
	})
}

func TestLayoutOfALongCycle(t *testing.T) {
	p := lay(3, [][2]int{{0, 1}, {1, 2}, {2, 0}}, 100, 20)
	if p.layer[0] != 0 || p.layer[1] != 1 || p.layer[2] != 2 {
		t.Errorf("layers are %v", p.layer)
	}
	if way := p.bent[2]; way[0].layer != 2 || way[len(way)-1].layer != 0 {
		t.Errorf("the closing edge goes %v, want up", way)
	}
}

func TestLayoutUncrosses(t *testing.T) {
	// 0 calls 3 and 1 calls 2: kept in order of index the edges would cross.
	p := lay(4, [][2]int{{0, 3}, {1, 2}}, 100, 20)
	if (p.x[0]-p.x[1])*(p.x[3]-p.x[2]) <= 0 {
		t.Errorf("edges cross: places %v", p.x)
	}
}

func chain(n int) *sre.Graph {
	services := make([]sre.Service, n)
	var edges []sre.Edge
	for i := range services {
		services[i].Name = fmt.Sprintf("service-with-a-long-name-%04d", i)
		if i > 0 {
			edges = append(edges, sre.Edge{From: i - 1, To: i})
		}
	}
	return sre.NewGraph(services, edges)
}

func TestLargeGraphShowsWhatMatters(t *testing.T) {
	g := chain(1000)
	at := func(i int) string { return g.Services[i].Name }
	p := picture{
		suspicion: map[string]float64{at(500): 0.8, at(502): 0.1}, affected: map[string]bool{at(499): true},
		truth: map[string]bool{at(700): true}, moved: map[string]bool{}, spread: map[[2]string]bool{{at(499), at(500)}: true},
	}
	v := p.draw(g)
	var shown []string
	for _, n := range v.Nodes {
		shown = append(shown, n.Full[len(n.Full)-min(len(n.Full), 60):])
	}
	if v.Shown != 8 || v.Hidden != 992 { // 499 to 503 and 699 to 701
		t.Errorf("%d shown, %d hidden: %v", v.Shown, v.Hidden, shown)
	}
	spread := 0
	for _, e := range v.Edges {
		if e.Spread {
			spread++
		}
	}
	if spread != 1 {
		t.Errorf("%d edges of the spread, want 1", spread)
	}
	for _, n := range v.Nodes {
		if len([]rune(n.Name)) > nameInBox {
			t.Errorf("name %q does not fit its box", n.Name)
		}
		want := 0
		if strings.HasPrefix(n.Full, at(500)) {
			want = 4
		} else if strings.HasPrefix(n.Full, at(502)) {
			want = 1
		}
		if n.Level != want {
			t.Errorf("%s has level %d, want %d", n.Full, n.Level, want)
		}
	}
}

func TestDrawingGrowsFromTheSuspect(t *testing.T) {
	// Everything is affected; only what is near the suspect is worth the room.
	g := chain(500)
	p := picture{suspicion: map[string]float64{g.Services[400].Name: 0.9}, affected: map[string]bool{}}
	for _, s := range g.Services {
		p.affected[s.Name] = true
	}
	shown := p.shown(g)
	if len(shown) != mostShown || shown[0] < 400-mostShown || shown[len(shown)-1] > 400+mostShown || !slices.Contains(shown, 400) {
		t.Errorf("shown are %v", shown)
	}
}

func TestGraphOfHubIsBounded(t *testing.T) {
	services := make([]sre.Service, 900)
	var edges []sre.Edge
	for i := range services {
		services[i].Name = fmt.Sprint("s", i)
		if i > 0 {
			edges = append(edges, sre.Edge{From: 0, To: i})
		}
	}
	p := picture{suspicion: map[string]float64{"s0": 0.9}}
	v := p.draw(sre.NewGraph(services, edges))
	if v.Shown != mostShown || v.Width > perLayer*(boxWidth+boxGap)+40*bendWidth || math.IsNaN(v.Width) {
		t.Errorf("%d services on %v by %v pixels", v.Shown, v.Width, v.Height)
	}
	if (picture{}).draw(nil) != nil || (picture{}).draw(sre.NewGraph(nil, nil)) != nil {
		t.Error("no graph was drawn as one")
	}
}

func BenchmarkLayout(b *testing.B) {
	g := shop()
	p := picture{}
	b.ReportAllocs()
	for b.Loop() {
		p.draw(g)
	}
}
