package report

import (
	"cmp"
	"math"
	"slices"
)

// perLayer is how many boxes stand side by side before a layer is split, so
// that the picture stays narrow enough for a phone to scroll through.
const perLayer = 6

// placed is a graph laid out in layers, callers above callees. Points of bent
// are the way of each edge from caller to callee, one per layer it passes.
type placed struct {
	layer []int
	x     []float64 // centre, in pixels
	bent  [][]spot
	width float64
	depth int
}

// spot is a point of an edge: its layer and its place across.
type spot struct {
	layer int
	x     float64
}

// lay places n nodes. Layers follow the longest path from the callers, bounded
// in width; nodes within a layer are ordered by the barycenter of their
// neighbours; places across are the least-squares fit to those of the
// neighbours that keeps the order and the distances.
func lay(n int, edges [][2]int, box, bend float64) placed {
	down := acyclic(n, edges)
	p := placed{layer: layers(n, down), x: make([]float64, n), bent: make([][]spot, len(edges))}
	l := newLattice(n, p.layer, down, box, bend)
	l.order()
	l.place()
	for v := range n {
		p.x[v] = l.x[v]
		p.depth = max(p.depth, p.layer[v]+1)
		p.width = max(p.width, l.x[v]+box/2)
	}
	for i, e := range edges {
		chain := []int{down[i][0]}
		chain = append(append(chain, l.bends[i]...), down[i][1])
		for _, v := range chain {
			p.bent[i] = append(p.bent[i], spot{l.layer[v], l.x[v]})
			p.width = max(p.width, l.x[v]+bend/2)
		}
		if down[i][0] != e[0] {
			slices.Reverse(p.bent[i])
		}
	}
	return p
}

// acyclic returns the edges with those that close a cycle turned round. A self
// loop stays and is ignored by what follows.
func acyclic(n int, edges [][2]int) [][2]int {
	out := make([][]int, n)
	called := make([]bool, n)
	for i, e := range edges {
		out[e[0]] = append(out[e[0]], i)
		called[e[1]] = called[e[1]] || e[0] != e[1]
	}
	down := slices.Clone(edges)
	state := make([]int, n) // 1 on the way, 2 done
	var visit func(v int)
	visit = func(v int) {
		state[v] = 1
		for _, i := range out[v] {
			switch w := edges[i][1]; state[w] {
			case 0:
				visit(w)
			case 1:
				down[i] = [2]int{w, v}
			}
		}
		state[v] = 2
	}
	for _, roots := range []bool{true, false} {
		for v := range n {
			if state[v] == 0 && called[v] != roots {
				visit(v)
			}
		}
	}
	return down
}

// layers puts every node below all that call it, and no more than perLayer into
// one layer.
func layers(n int, down [][2]int) []int {
	waits := make([]int, n)
	for _, e := range down {
		if e[0] != e[1] {
			waits[e[1]]++
		}
	}
	layer, fill := make([]int, n), make([]int, n+1)
	var ready []int
	for v := range n {
		if waits[v] == 0 {
			ready = append(ready, v)
		}
	}
	for len(ready) > 0 {
		// The node with the highest place goes first, so that depth stays small.
		i := 0
		for j, v := range ready {
			if layer[v] < layer[ready[i]] {
				i = j
			}
		}
		v := ready[i]
		ready = slices.Delete(ready, i, i+1)
		for fill[layer[v]] == perLayer {
			layer[v]++
		}
		fill[layer[v]]++
		for _, e := range down {
			if e[0] != v || e[1] == v {
				continue
			}
			layer[e[1]] = max(layer[e[1]], layer[v]+1)
			if waits[e[1]]--; waits[e[1]] == 0 {
				ready = append(ready, e[1])
			}
		}
	}
	return layer
}

// lattice is the graph with a bend wherever an edge passes a layer, so that
// edges join neighbouring layers only.
type lattice struct {
	layer  []int
	half   []float64 // half the width that a node takes
	x      []float64
	up, dn [][]int
	rows   [][]int
	bends  [][]int // by edge
}

func newLattice(n int, layer []int, down [][2]int, box, bend float64) *lattice {
	l := &lattice{layer: slices.Clone(layer), bends: make([][]int, len(down))}
	for range n {
		l.half = append(l.half, box/2)
	}
	l.up, l.dn = make([][]int, n), make([][]int, n)
	out, in := make([]int, n), make([]int, n)
	for _, e := range down {
		out[e[0]]++
		in[e[1]]++
	}
	// Edges of one hub share their bends, as a trunk: a bend of each would make
	// the picture as wide as the hub has neighbours.
	trunk := map[[3]int]int{}
	for i, e := range down {
		if e[0] == e[1] {
			continue
		}
		hub, side := e[0], 0
		if in[e[1]] > out[e[0]] {
			hub, side = e[1], 1
		}
		last := e[0]
		for y := layer[e[0]] + 1; y < layer[e[1]]; y++ {
			v, known := trunk[[3]int{side, hub, y}]
			if !known {
				v = len(l.layer)
				trunk[[3]int{side, hub, y}] = v
				l.layer, l.half = append(l.layer, y), append(l.half, bend/2)
				l.up, l.dn = append(l.up, nil), append(l.dn, nil)
			}
			l.join(last, v)
			l.bends[i] = append(l.bends[i], v)
			last = v
		}
		l.join(last, e[1])
	}
	for v, y := range l.layer {
		for len(l.rows) <= y {
			l.rows = append(l.rows, nil)
		}
		l.rows[y] = append(l.rows[y], v)
	}
	l.x = make([]float64, len(l.layer))
	return l
}

func (l *lattice) join(a, b int) {
	if !slices.Contains(l.dn[a], b) {
		l.dn[a], l.up[b] = append(l.dn[a], b), append(l.up[b], a)
	}
}

// order sweeps down and up and keeps the order with the fewest crossings.
func (l *lattice) order() {
	pos := make([]float64, len(l.layer))
	number := func(row []int) {
		for i, v := range row {
			pos[v] = float64(i)
		}
	}
	for _, row := range l.rows {
		number(row)
	}
	sweep := func(row []int, neighbours [][]int) {
		centre := make(map[int]float64, len(row))
		for _, v := range row {
			centre[v] = mean(neighbours[v], pos, pos[v])
		}
		slices.SortStableFunc(row, func(a, b int) int { return cmp.Compare(centre[a], centre[b]) })
		number(row)
	}
	best, fewest := [][]int(nil), math.MaxInt
	for range 6 {
		for y := 1; y < len(l.rows); y++ {
			sweep(l.rows[y], l.up)
		}
		for y := len(l.rows) - 2; y >= 0; y-- {
			sweep(l.rows[y], l.dn)
		}
		if c := l.crossings(pos); c < fewest {
			fewest, best = c, nil
			for _, row := range l.rows {
				best = append(best, slices.Clone(row))
			}
		}
	}
	l.rows = best
}

func (l *lattice) crossings(pos []float64) int {
	n := 0
	for _, row := range l.rows {
		var ends [][2]float64
		for _, v := range row {
			for _, w := range l.dn[v] {
				ends = append(ends, [2]float64{pos[v], pos[w]})
			}
		}
		for i := range ends {
			for j := range i {
				if (ends[i][0]-ends[j][0])*(ends[i][1]-ends[j][1]) < 0 {
					n++
				}
			}
		}
	}
	return n
}

func mean(of []int, x []float64, otherwise float64) float64 {
	if len(of) == 0 {
		return otherwise
	}
	sum := 0.0
	for _, v := range of {
		sum += x[v]
	}
	return sum / float64(len(of))
}

// place gives each node its place across.
func (l *lattice) place() {
	widest := 0.0
	for _, row := range l.rows {
		widest = max(widest, l.pack(row, 0))
	}
	for _, row := range l.rows {
		l.pack(row, (widest-l.pack(row, 0))/2)
	}
	for range 8 {
		for y := 1; y < len(l.rows); y++ {
			l.settle(l.rows[y], l.up)
		}
		for y := len(l.rows) - 2; y >= 0; y-- {
			l.settle(l.rows[y], l.dn)
		}
	}
	left := math.Inf(1)
	for v, x := range l.x {
		left = min(left, x-l.half[v])
	}
	for v := range l.x {
		l.x[v] -= left
	}
}

func (l *lattice) pack(row []int, from float64) float64 {
	for _, v := range row {
		l.x[v] = from + l.half[v]
		from += 2 * l.half[v]
	}
	return from
}

// settle moves a row as near to its neighbours as order and distances allow: the
// isotonic regression of the wished places, by pooling adjacent violators.
func (l *lattice) settle(row []int, neighbours [][]int) {
	type pool struct {
		sum float64
		n   int
	}
	var pools []pool
	offset := make([]float64, len(row))
	for i, v := range row {
		if i > 0 {
			offset[i] = offset[i-1] + l.half[row[i-1]] + l.half[v]
		}
		pools = append(pools, pool{mean(neighbours[v], l.x, l.x[v]) - offset[i], 1})
		for k := len(pools) - 1; k > 0 && pools[k-1].sum/float64(pools[k-1].n) > pools[k].sum/float64(pools[k].n); k-- {
			pools[k-1].sum += pools[k].sum
			pools[k-1].n += pools[k].n
			pools = pools[:k]
		}
	}
	i := 0
	for _, p := range pools {
		for range p.n {
			l.x[row[i]] = p.sum/float64(p.n) + offset[i]
			i++
		}
	}
}
