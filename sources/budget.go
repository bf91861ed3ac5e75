package sources

import (
	"cmp"
	"slices"
)

// budget chooses which queries to ask when a tick may not ask all: those that
// have waited longest, so that every query gets its turn.
type budget struct {
	max   int
	round int64
	asked []int64 // the round in which each query was last asked, from 1
}

func newBudget(queries, perTick int) *budget {
	return &budget{max: perTick, asked: make([]int64, queries)}
}

// choose returns the queries to ask in the next round and those to leave out,
// both in ascending order.
func (b *budget) choose() (ask, skip []int) {
	b.round++
	order := make([]int, len(b.asked))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(i, j int) int { return cmp.Compare(b.asked[i], b.asked[j]) })
	n := min(b.max, len(order))
	ask, skip = order[:n:n], order[n:]
	slices.Sort(ask)
	slices.Sort(skip)
	for _, i := range ask {
		b.asked[i] = b.round
	}
	return ask, skip
}
