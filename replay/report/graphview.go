package report

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/sreagent/sreagent/sre"
)

const (
	allShown   = 24 // graphs up to this size are drawn whole
	mostShown  = 32
	boxWidth   = 146.0
	boxGap     = 18.0
	boxHeight  = 44.0
	layerGap   = 46.0
	bendWidth  = 26.0
	nameInBox  = 17
	graphInset = 8.0
)

// graphView is the dependency graph as it is drawn.
type graphView struct {
	Width, Height float64
	Nodes         []nodeView
	Edges         []edgeView
	Shown, Hidden int
	HasTruth      bool
	HasMoved      bool
}

type nodeView struct {
	X, Y, W, H  float64 // corner and size
	Level       int     // of suspicion, 0 to 4
	Name, Note  string
	Full        string // for those who hover or listen
	Truth       bool
	Hit         bool // affected
	Moved       bool // a lever was moved here
	MidX, LineY float64
	NoteY       float64
}

type edgeView struct {
	Path, Head string
	Spread     bool // the failure spread along it
	Back       bool // drawn upwards, since it closes a cycle
}

// picture is what is known of the services of a graph.
type picture struct {
	suspicion map[string]float64
	affected  map[string]bool
	truth     map[string]bool
	moved     map[string]bool
	spread    map[[2]string]bool // caller, callee
}

// picture gathers the suspicion of a run: for each service the greatest of any
// incident.
func (s *story) picture(records []sre.Record, truth []string) picture {
	p := picture{map[string]float64{}, map[string]bool{}, map[string]bool{}, map[string]bool{}, map[[2]string]bool{}}
	for _, d := range tellingDiagnoses(records) {
		for i, h := range d.Hypotheses {
			p.suspicion[h.Service] = max(p.suspicion[h.Service], h.Probability)
			for j := 1; i == 0 && j < len(h.Path); j++ { // cause first, victim last
				p.spread[[2]string{h.Path[j], h.Path[j-1]}] = true
			}
		}
		for _, a := range d.Affected {
			p.affected[a] = true
		}
	}
	for _, t := range truth {
		p.truth[t] = true
	}
	for _, m := range s.moves {
		p.moved[m.intent.Action.Target.Service] = true
	}
	return p
}

// weight orders services by how much they belong on the drawing; 0 is not.
func (p picture) weight(service string) float64 {
	w := p.suspicion[service]
	if p.truth[service] {
		w += 4
	}
	if p.moved[service] {
		w += 2
	}
	if p.affected[service] {
		w++
	}
	return w
}

// draw lays the graph out, or the part of it that matters where it is large;
// nil where there is nothing to draw.
func (p picture) draw(g *sre.Graph) *graphView {
	if g == nil || len(g.Services) == 0 {
		return nil
	}
	shown := p.shown(g)
	place := make(map[int]int, len(shown))
	for i, v := range shown {
		place[v] = i
	}
	var edges [][2]int
	for _, e := range g.Edges {
		from, a := place[e.From]
		to, b := place[e.To]
		if a && b && !e.Gone && e.From != e.To {
			edges = append(edges, [2]int{from, to})
		}
	}
	l := lay(len(shown), edges, boxWidth+boxGap, bendWidth)
	v := &graphView{
		Width:  l.width + 2*graphInset,
		Height: float64(l.depth)*(boxHeight+layerGap) - layerGap + 2*graphInset,
		Shown:  len(shown), Hidden: len(g.Services) - len(shown),
		HasTruth: len(p.truth) > 0, HasMoved: len(p.moved) > 0,
	}
	for i, e := range edges {
		ev := line(l.bent[i])
		ev.Spread = p.spread[[2]string{g.Services[shown[e[0]]].Name, g.Services[shown[e[1]]].Name}]
		v.Edges = append(v.Edges, ev)
	}
	slices.SortStableFunc(v.Edges, func(a, b edgeView) int { return cmp.Compare(count01(a.Spread), count01(b.Spread)) })
	for i, s := range shown {
		v.Nodes = append(v.Nodes, p.node(g.Services[s], l.x[i], l.layer[i]))
	}
	return v
}

func count01(b bool) int {
	if b {
		return 1
	}
	return 0
}

// shown returns the indices of the services to draw, ascending.
func (p picture) shown(g *sre.Graph) []int {
	all := make([]int, len(g.Services))
	for i := range all {
		all[i] = i
	}
	if len(all) <= allShown {
		return all
	}
	weigh := func(i int) float64 { return p.weight(g.Services[i].Name) }
	// The drawing grows from what is suspected, at fault or moved.
	chosen := slices.DeleteFunc(slices.Clone(all), func(i int) bool {
		s := g.Services[i].Name
		return p.suspicion[s] < 0.05 && !p.truth[s] && !p.moved[s]
	})
	if len(chosen) == 0 {
		chosen = slices.DeleteFunc(all, func(i int) bool { return weigh(i) == 0 })
	}
	if len(chosen) == 0 {
		chosen = slices.Clone(g.Entries())
	}
	slices.SortStableFunc(chosen, func(a, b int) int { return cmp.Compare(weigh(b), weigh(a)) })
	chosen = chosen[:min(len(chosen), mostShown)]
	seeds := len(chosen)
	grow := func(from []int, fits func(int) bool) {
		for _, c := range from {
			for _, e := range slices.Concat(g.CallersOf(c), g.CalleesOf(c)) {
				for _, n := range []int{g.Edges[e].From, g.Edges[e].To} {
					if len(chosen) < mostShown && fits(n) && !slices.Contains(chosen, n) {
						chosen = append(chosen, n)
					}
				}
			}
		}
	}
	grow(chosen[:seeds], func(int) bool { return true })
	for done := seeds; done < len(chosen); done++ { // on through what is affected
		if weigh(chosen[done]) > 0 {
			grow(chosen[done:done+1], func(n int) bool { return weigh(n) > 0 })
		}
	}
	slices.Sort(chosen)
	return chosen
}

func layerTop(layer int) float64 { return graphInset + float64(layer)*(boxHeight+layerGap) }

func (p picture) node(s sre.Service, x float64, layer int) nodeView {
	n := nodeView{
		X: round(graphInset + x - boxWidth/2), Y: layerTop(layer), W: boxWidth, H: boxHeight, MidX: round(graphInset + x),
		Name: shortName(s.Name), Truth: p.truth[s.Name], Hit: p.affected[s.Name], Moved: p.moved[s.Name],
	}
	n.LineY, n.NoteY = n.Y+26, n.Y+34
	suspicion := p.suspicion[s.Name]
	for _, least := range []float64{0.05, 0.2, 0.4, 0.7} {
		if suspicion >= least {
			n.Level++
		}
	}
	var notes []string
	if n.Level > 0 {
		notes = append(notes, percent(suspicion))
	}
	if n.Hit {
		notes = append(notes, "affected")
	}
	if s.Entry {
		notes = append(notes, "entry")
	}
	if s.External {
		notes = append(notes, "external")
	}
	if n.Note = strings.Join(notes[:min(len(notes), 2)], " · "); n.Note != "" {
		n.LineY = n.Y + 18
	}
	full := []string{name(s.Name)}
	if suspicion > 0 {
		full = append(full, "suspected with "+percent(suspicion))
	}
	for _, f := range []struct {
		is   bool
		text string
	}{{n.Hit, "affected"}, {n.Truth, "known to be at fault"}, {n.Moved, "a lever was moved here"}, {s.Entry, "entry service"}, {s.External, "external"}} {
		if f.is {
			full = append(full, f.text)
		}
	}
	n.Full = strings.Join(full, ", ")
	return n
}

// shortName keeps both ends of a name, since services of one system tend to
// begin alike.
func shortName(s string) string {
	r := []rune(name(s))
	if len(r) <= nameInBox {
		return string(r)
	}
	return string(r[:8]) + "…" + string(r[len(r)-8:])
}

// line draws an edge from box to box through its bends, with a head of its own
// rather than a marker, which would need an identifier unique on the page.
func line(through []spot) edgeView {
	if len(through) < 2 {
		return edgeView{}
	}
	first, last := through[0], through[len(through)-1]
	down := first.layer < last.layer
	y := func(s spot, leaving bool) float64 {
		if leaving == down {
			return layerTop(s.layer) + boxHeight
		}
		return layerTop(s.layer)
	}
	var d strings.Builder
	// The way back stands beside the way there, not on it.
	aside := graphInset
	if !down {
		aside += 16
	}
	x0, y0 := aside+first.x, y(first, true)
	fmt.Fprintf(&d, "M%.0f %.0f", x0, y0)
	for i, s := range through[1:] {
		x1, y1 := aside+s.x, y(s, false)
		if i == len(through)-2 {
			if down {
				y1 -= 6
			} else {
				y1 += 6
			}
		}
		mid := (y0 + y1) / 2
		fmt.Fprintf(&d, "C%.0f %.0f %.0f %.0f %.0f %.0f", x0, mid, x1, mid, x1, y1)
		x0, y0 = x1, y1
		if i < len(through)-2 { // pass the layer straight
			y0 = y(s, true)
			fmt.Fprintf(&d, "L%.0f %.0f", x0, y0)
		}
	}
	tip, wing := y0+6, y0-2
	if !down {
		tip, wing = y0-6, y0+2
	}
	head := fmt.Sprintf("M%.0f %.0fL%.0f %.0fL%.0f %.0fZ", x0, tip, x0-4.5, wing, x0+4.5, wing)
	return edgeView{Path: d.String(), Head: head, Back: !down}
}

func round(v float64) float64 { return float64(int(v + 0.5)) }
