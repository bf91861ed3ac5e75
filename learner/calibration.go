package learner

import (
	"cmp"
	"math"
	"slices"

	"github.com/sreagent/sreagent/sre"
)

const (
	firstFit     = 50   // labels before the first calibration: fewer say nothing
	refitEvery   = 25   // labels between two fits
	window       = 2000 // labels that a fit looks at
	isotonicFrom = 1000 // labels from which steps replace Platt's curve
	ownSteps     = 100  // labels of one mechanism before it has steps of its own
	labelHalf    = 800  // labels after which one counts half: the world moves on
	flattest     = 0.05 // slope of a curve below which it is not believed
	towardsSame  = 5    // labels that "leave it as it is" weighs in Platt's fit
)

// label is one prediction with what came of it.
type label struct {
	Mechanism sre.Mechanism `json:"mechanism"`
	Raw       float64       `json:"raw"`
	Right     bool          `json:"right,omitempty"`
	Unclear   bool          `json:"unclear,omitempty"` // half a failure
	Prior     float64       `json:"prior,omitempty"`   // Raw before the marks of the situation were looked at; 0 where they were not
	Signature string        `json:"signature,omitempty"`
}

func (l label) weight() float64 {
	if l.Unclear {
		return 0.5
	}
	return 1
}

// calibrator maps the estimate to what such estimates have been worth.
type calibrator struct {
	labels  []label // oldest first, at most window and refitEvery
	learned uint64  // labels ever
	fitted  uint64  // labels ever at the time of the fit in force
	curve   curve   // of all labels
	curves  map[sre.Mechanism]curve
	all     []stair
	own     map[sre.Mechanism][]stair
	marks   evidence
}

// curve is Platt's: a slope and an offset in log odds.
type curve struct{ slope, offset float64 }

func (c curve) of(raw float64) float64 { return sigmoid(c.slope*logit(raw) + c.offset) }

// stair is one level of an isotonic fit: from X on the answer is Y.
type stair struct{ x, y float64 }

func (c *calibrator) add(l label) {
	c.labels = append(c.labels, l)
	c.learned++
	if over := len(c.labels) - window - refitEvery; over > 0 {
		c.labels = slices.Clone(c.labels[over:])
	}
	if c.learned >= firstFit && c.learned%refitEvery == 0 {
		c.fit(c.labels)
		c.fitted = c.learned
	}
}

// fit looks at the latest labels, newer ones weighing more.
func (c *calibrator) fit(labels []label) {
	labels = labels[max(0, len(labels)-window):]
	points := make([]point, len(labels))
	count := map[sre.Mechanism]int{}
	for i, l := range labels {
		age := float64(len(labels) - 1 - i)
		points[i] = point{x: l.Raw, w: l.weight() * math.Exp2(-age/labelHalf), of: l.Mechanism}
		if l.Right {
			points[i].y = 1
		}
		count[l.Mechanism]++
	}
	c.curve, c.curves = platt(points, curve{slope: 1}), map[sre.Mechanism]curve{}
	c.marks = weigh(labels)
	c.all, c.own = nil, map[sre.Mechanism][]stair{}
	late := len(labels) >= isotonicFrom
	if late {
		c.all = stairs(points)
	}
	for m, n := range count {
		mine := slices.DeleteFunc(slices.Clone(points), func(p point) bool { return p.of != m })
		switch {
		case late && n >= ownSteps:
			c.own[m] = stairs(mine)
		case !late:
			c.curves[m] = platt(mine, c.curve)
		}
	}
}

// of returns the calibrated probability. It never falls where raw rises.
func (c *calibrator) of(raw float64, m sre.Mechanism) float64 {
	switch {
	case c.fitted == 0:
		return raw
	case c.all == nil:
		p := c.curve.of(raw)
		if own, known := c.curves[m]; known {
			p = (p + own.of(raw)) / 2
		}
		return p
	}
	p := climb(c.all, raw)
	if own := c.own[m]; own != nil {
		p = (p + climb(own, raw)) / 2
	}
	return p
}

func (c *calibrator) method() string {
	switch {
	case c.fitted == 0:
		return "none"
	case c.all == nil:
		return "Platt"
	}
	return "isotonic"
}

type point struct {
	x, y, w float64
	of      sre.Mechanism
}

// platt fits P = 1/(1+exp(-(a*logit(x)+b))) by Newton's method (Platt, 1999),
// held near another curve by a few labels' worth so that a handful of labels
// in a row cannot turn the scale over. The slope stays positive: a calibration
// may flatten what the estimate says, never turn it round.
func platt(points []point, near curve) curve {
	a, b := near.slope, near.offset
	for range 30 {
		ga, gb := towardsSame*(a-near.slope), towardsSame*(b-near.offset)
		haa, hab, hbb := float64(towardsSame), 0.0, float64(towardsSame)
		for _, p := range points {
			x := min(max(logit(p.x), -5), 5) // a single sure miss must not rule the fit
			q := sigmoid(a*x + b)
			ga += p.w * (q - p.y) * x
			gb += p.w * (q - p.y)
			v := p.w * q * (1 - q)
			haa, hab, hbb = haa+v*x*x, hab+v*x, hbb+v
		}
		det := haa*hbb - hab*hab
		da, db := (hbb*ga-hab*gb)/det, (haa*gb-hab*ga)/det
		a, b = a-da, b-db
		if math.Abs(da)+math.Abs(db) < 1e-10 {
			break
		}
	}
	if !(a >= flattest) || math.IsInf(a, 0) || math.IsNaN(b) || math.IsInf(b, 0) {
		return near
	}
	return curve{a, b}
}

// stairs is the isotonic regression of y on x by pooling adjacent violators
// (Ayer and others, 1955), with one virtual label of the mean in each block so
// that no block says 0 or 1.
func stairs(points []point) []stair {
	type block struct{ lo, y, w float64 }
	points = slices.Clone(points)
	slices.SortStableFunc(points, func(a, b point) int { return cmp.Compare(a.x, b.x) })
	var sum, weight float64
	var pool []block
	for i := 0; i < len(points); i++ {
		b := block{lo: points[i].x}
		for ; i < len(points) && points[i].x == b.lo; i++ { // ties stand together
			b.y, b.w = b.y+points[i].w*points[i].y, b.w+points[i].w
		}
		i--
		sum, weight = sum+b.y, weight+b.w
		pool = append(pool, b)
		for n := len(pool); n > 1 && pool[n-2].y*pool[n-1].w >= pool[n-1].y*pool[n-2].w; n = len(pool) {
			pool[n-2].y, pool[n-2].w = pool[n-2].y+pool[n-1].y, pool[n-2].w+pool[n-1].w
			pool = pool[:n-1]
		}
	}
	out := make([]stair, len(pool))
	for i, b := range pool {
		out[i] = stair{b.lo, (b.y + sum/weight) / (b.w + 1)}
		if i > 0 {
			out[i].y = max(out[i].y, out[i-1].y)
		}
	}
	return out
}

func climb(s []stair, x float64) float64 {
	i, found := slices.BinarySearchFunc(s, x, func(s stair, x float64) int { return cmp.Compare(s.x, x) })
	if !found {
		i--
	}
	return s[max(i, 0)].y
}

func sigmoid(x float64) float64 { return 1 / (1 + math.Exp(-x)) }
