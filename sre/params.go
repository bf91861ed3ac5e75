package sre

import "math"

// sameWithin is the share by which two numbers may differ and still be the same
// setting: enforcers round, and a smaller move is not worth a touch.
const sameWithin = 0.01

// Near reports whether every setting of p stands in q with the same value;
// numbers may differ by 1 % of the larger one. A p without settings is near
// everything.
func (p Params) Near(q Params) bool {
	for name := range p {
		if !p.sameAt(q, name) {
			return false
		}
	}
	return true
}

func (p Params) sameAt(q Params, name string) bool {
	x, numeric := p.Float(name)
	if !numeric {
		v, known := q[name]
		return known && v == p[name]
	}
	y, known := q.Float(name)
	return known && (x == y || math.Abs(x-y) <= sameWithin*max(math.Abs(x), math.Abs(y)))
}

// Loosens reports whether a move of an action of kind k goes back towards what
// was there before in every setting that it changes, and in at least one. Where
// it is not known what was there, a higher limit is looser; of kinds that are no
// limits nothing is.
func (k ActionKind) Loosens(before, from, to Params) bool {
	loosens := false
	for name := range from {
		if _, stays := to[name]; stays {
			continue
		}
		if _, was := before[name]; was {
			return false
		}
		loosens = true
	}
	for name := range to {
		switch x, y, first, numeric := ends(before, from, to, name); {
		case to.sameAt(from, name) && (!numeric || x == y):
			continue
		case to.sameAt(before, name):
		case !numeric:
			return false
		case math.IsNaN(first):
			if !k.limits() || !(y > x) {
				return false
			}
		case !(math.Abs(y-first) < math.Abs(x-first)):
			return false
		}
		loosens = true
	}
	return loosens
}

// ends are a setting's values from, to and before; the last is NaN where it is
// not known.
func ends(before, from, to Params, name string) (x, y, first float64, numeric bool) {
	x, known := from.Float(name)
	y, numeric = to.Float(name)
	first, was := before.Float(name)
	if !was {
		first = math.NaN()
	}
	return x, y, first, known && numeric
}

// limits reports whether a kind's numbers bound what is let through.
func (k ActionKind) limits() bool {
	return k == Shed || k == RetryBudget || k == QueueBound
}
