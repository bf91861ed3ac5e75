package overload

import (
	"math"
	"time"

	"github.com/sreagent/sreagent/replay/fluid"
)

const (
	spell  = 10  // seconds over which shares are taken
	isBack = .95 // of the demand
	fallen = .8  // of the demand, after having been back
)

func (r *run) score() Score {
	from, end := int(calm.Seconds())+60, int((calm + r.c.Fault).Seconds())
	s := Score{Goodput: math.NaN(), First: 1, Lowest: math.NaN(), Back: Never}
	could := min(capacity*(1-r.c.Cut), demand*max(1, r.c.Crowd))
	for k := range r.gates {
		s.First = min(s.First, r.gates[k].first(int(calm.Seconds())+60, len(r.good)))
	}
	if end > from {
		s.Goodput = mean(r.good[from:end]) / could
		s.Lowest = 1
		for _, g := range r.gates {
			s.Lowest = min(s.Lowest, share(g.in[from:end], g.came[from:end], fluid.Classes-1))
		}
	}
	for k := len(r.good); k-5 >= end; k-- {
		if mean(r.good[k-5:k]) < isBack*demand {
			break
		}
		s.Back = time.Duration(k-5-end) * time.Second
	}
	s.Relapses = relapses(r.good[end:])
	return s
}

// relapses counts falls after the service was back for a spell.
func relapses(good []float64) (n int) {
	back := false
	for k := spell; k <= len(good); k++ {
		switch got := mean(good[k-spell : k]); {
		case got >= isBack*demand:
			back = true
		case back && got < fallen*demand:
			n, back = n+1, false
		}
	}
	return n
}

// first is the worst share of critical requests let in over ten seconds, at
// a gate, of those seconds in which anything of a lower class was.
func (g *gate) first(from, to int) float64 {
	worst := 1.
	for k := from; k+spell <= to; k++ {
		var in, came [][fluid.Classes]float64
		for i := k; i < k+spell; i++ {
			if x := g.in[i]; x[1]+x[2]+x[3] > 1 {
				in, came = append(in, x), append(came, g.came[i])
			}
		}
		worst = min(worst, share(in, came, 0))
	}
	return worst
}

func share(part, whole [][fluid.Classes]float64, class int) float64 {
	a, b := 0., 0.
	for k := range part {
		a, b = a+part[k][class], b+whole[k][class]
	}
	if b <= 0 {
		return 1
	}
	return a / b
}

func mean(x []float64) float64 {
	sum := 0.
	for _, v := range x {
		sum += v
	}
	return sum / float64(len(x))
}
