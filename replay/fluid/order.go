package fluid

// callersFirst orders services so that callers stand before their callees;
// services that call each other in a circle (a strongly connected component)
// stand side by side. Tarjan's algorithm yields components callees first.
func callersFirst(b Blueprint) []int32 {
	n := len(b.Services)
	out := make([][]int32, n)
	for _, e := range b.Edges {
		out[e.From] = append(out[e.From], int32(e.To))
	}
	t := tarjan{out: out, index: make([]int32, n), low: make([]int32, n), on: make([]bool, n)}
	// From the back, because equals then keep the order of the blueprint once
	// the whole is turned round.
	for v := n - 1; v >= 0; v-- {
		if t.index[v] == 0 {
			t.visit(int32(v))
		}
	}
	for i, j := 0, n-1; i < j; i, j = i+1, j-1 {
		t.order[i], t.order[j] = t.order[j], t.order[i]
	}
	return t.order
}

type tarjan struct {
	out        [][]int32
	index, low []int32
	on         []bool
	stack      []int32
	order      []int32
	next       int32
}

func (t *tarjan) visit(v int32) {
	t.next++
	t.index[v], t.low[v] = t.next, t.next
	t.stack = append(t.stack, v)
	t.on[v] = true
	for _, w := range t.out[v] {
		switch {
		case t.index[w] == 0:
			t.visit(w)
			t.low[v] = min(t.low[v], t.low[w])
		case t.on[w]:
			t.low[v] = min(t.low[v], t.index[w])
		}
	}
	if t.low[v] != t.index[v] {
		return
	}
	for {
		w := t.stack[len(t.stack)-1]
		t.stack = t.stack[:len(t.stack)-1]
		t.on[w] = false
		t.order = append(t.order, w)
		if w == v {
			return
		}
	}
}
