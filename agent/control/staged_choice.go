package control

import (
	"cmp"
	"slices"
)

// Knob is an optional feature that may be switched off to save capacity.
type Knob struct {
	Name  string
	Level int     // business weight of losing it, 1 (nobody minds) to 4 (it hurts)
	Cost  float64 // share of the service's capacity that it takes, as measured by tests
}

// Choose picks the features to switch off: those of the least summed business
// weight whose measured costs cover the excess, and among equals the set that
// saves the most. The excess is in the unit of Cost: offered load less 0.9 of
// the capacity (Defcon, Meta, OSDI 2023). It reports
// false with every useful feature when all of them together do not suffice.
// The result is in the order of its use: the least weight first, then the
// highest cost, then the name. Features without a cost are never chosen. Time
// and memory are O(n) times the summed weight, so at most 4n.
func Choose(knobs []Knob, excess float64) ([]Knob, bool) {
	if !(excess > 0) {
		return nil, true
	}
	useful := slices.DeleteFunc(slices.Clone(knobs), func(k Knob) bool { return !(k.Cost > 0) || k.Level < 1 })
	slices.SortFunc(useful, func(a, b Knob) int {
		return cmp.Or(cmp.Compare(a.Level, b.Level), cmp.Compare(b.Cost, a.Cost), cmp.Compare(a.Name, b.Name))
	})
	total, cost := 0, 0.0
	for _, k := range useful {
		total += k.Level
		cost += k.Cost
	}
	if cost < excess {
		return useful, false
	}
	// best[i][w] is the highest cost of the first i features within weight w.
	best := make([][]float64, len(useful)+1)
	best[0] = make([]float64, total+1)
	for i, k := range useful {
		best[i+1] = slices.Clone(best[i])
		for w := k.Level; w <= total; w++ {
			best[i+1][w] = max(best[i][w], best[i][w-k.Level]+k.Cost)
		}
	}
	weight := slices.IndexFunc(best[len(useful)], func(c float64) bool { return c >= excess })
	if weight < 0 { // the sums differ in their last bits with the order of adding
		return useful, true
	}
	var chosen []Knob
	for i := len(useful); i > 0; i-- {
		if best[i][weight] != best[i-1][weight] {
			chosen = append(chosen, useful[i-1])
			weight -= useful[i-1].Level
		}
	}
	slices.Reverse(chosen)
	return chosen, true
}
