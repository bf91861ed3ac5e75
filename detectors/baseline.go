package detectors

import (
	"math"
	"time"
)

// series is the running state of one signal of one subject: what is usual, how
// far it wanders, how rare each deviation is by its own past, and the evidence
// that has gathered against chance.
//
// What a calm tick reads or writes fills the first two cache lines; the rest
// fills two more, which a calm tick does not fetch.
type series struct {
	level       mean
	off         float64 // median of the absolute deviations
	odd         surprise
	gathered    float64 // CUSUM of the rarity of deviations, in decades
	onset, seen int64   // nanoseconds since 1970: gathered last empty; last reading
	least, most float64 // range of the running epoch
	epoch       int64   // its beginning, nanoseconds since 1970
	sum         float64 // of this half hour
	count, slot int32

	hits           recent
	calm           uint8
	falling        bool // the evidence is for a fall
	active, lowing bool // lowing: the episode is a fall, not a rise
	muted          bool // a repeat, and no worse than the episode before it
	excused        bool // the calendar excuses something now

	worst             float64 // largest deviation of the running or the last episode, in scales
	quiet             int64   // end of the refractory time, nanoseconds since 1970
	oldLeast, oldMost float64 // range of the epoch before
	failed, asked     float64 // decayed counts of the last minutes, for little traffic
	table             *calendar
	low, high         float64 // what the calendar excuses now
	begin             float64 // level when the half hour began
	tableErr, fastErr float64
	halves, compared  int32
	_                 [24]byte // to whole cache lines
}

const (
	// allowance is what every sample takes from the gathered evidence, in
	// decades. Chance gives .43 on average.
	allowance = 1
	// mostGathered bounds the evidence, so that an episode ends soon after its
	// cause.
	mostGathered = 12
	// surer is how far, in decades, rarity may go beyond one in the number of
	// samples seen: a young series cannot know what is rare.
	surer = 2
	// younger is the number of samples below which a series is also judged by
	// the surprises of all others that show the same signal.
	younger = 100
	// hitDecades is the rarity of a sample that counts as bad.
	hitDecades = borderDecades
	// slower is by how much the memory of the usual deviation is longer than
	// that of the level.
	slower = 10
	// commonplace is the deviation, in scales, within which a series without evidence
	// only learns: it is far less than leastBorder, so that it is no surprise, and
	// below the allowance, so that no evidence can begin with it.
	commonplace = 1.6
	// leastMemory is the least memory of the level, in samples.
	leastMemory = 15
	// epochSpan is after how long the older half of the range is forgotten.
	epochSpan = 7 * 24 * time.Hour
	// fresher is the share of the range by which a new extreme must exceed it.
	fresher = .05
)

// subject is one reading with what is needed to judge it.
type subject struct {
	value   float64
	traffic float64 // requests per second behind the reading; missing where unknown
	wide    float64 // factor on the scale: a change was made, or readings were missing
	coarse  bool    // as of its row
	frozen  bool
}

// step is what all series share at one tick.
type step struct {
	at     int64 // nanoseconds since 1970
	before int64 // of the tick before
	slot   int   // half hour of the week
	dt     float64
	alpha  float64 // weight of a sample in the level
	slow   float64 // and in the usual deviation
	weight float64 // of a sample as evidence: samples closer than the reference overlap
	window float64 // seconds of requests behind one reading
	bar    float64 // rarity, in decades, from which the fleet's budget of false alarms lets a sign pass
	needed int     // bad samples of the latest five
	calm   uint8   // calm samples that end an episode
	refr   int64   // nanoseconds
	keep   float64 // share that the pooled counts keep
	grown  int32   // samples from which a baseline is surely grown up
	ripe   int32   // samples from which alpha, and
	sober  int32   // from which slow is the weight of a sample, however young
}

// push takes in one reading and gathers evidence.
func (d *anomaly) push(a *series, row *gridRow, sub *subject, t *step) {
	if row.errors {
		d.pool(a, &row.sig, sub, t)
	}
	a.age(sub.value, row.kin, t)
	if a.level.n < d.need {
		if !sub.frozen {
			d.learn(a, sub.value, a.level.v, row.form.floor(a.level.v, sub, t), t)
		}
		a.onset, a.seen = t.at, t.at
		return
	}
	p := a.usual(sub.value)
	floor := row.form.floor(p, sub, t)
	scale := a.scale(floor, t) * sub.wide
	if a.seen != t.before {
		scale *= missed(a.seen, t)
	}
	a.seen = t.at
	var off float64
	if a.speaks() || math.Abs(sub.value-p) > commonplace*scale {
		off = d.weigh(a, row, sub, (sub.value-p)/scale, t)
	} else {
		a.onset = t.at
		a.hits.push(false)
	}
	if sub.frozen {
		a.odd.forget()
	} else {
		a.odd.learn(off)
		row.common.learn(off)
		d.learn(a, sub.value, p, floor, t)
	}
}

// weigh gathers the evidence of one deviation of z scales and returns its size in
// the directions that count.
func (d *anomaly) weigh(a *series, row *gridRow, sub *subject, z float64, t *step) float64 {
	off := directed(z, row.up, row.down)
	r := d.rarity(a, row, sub, off, t)
	a.gather(z < 0, r, t)
	a.hits.push(r >= hitDecades)
	d.episode(a, off, r, t)
	return off
}

// missed returns the factor on the scale of a series that was last seen then:
// while readings are missing, it wanders.
func missed(seen int64, t *step) float64 {
	if gap := float64(t.at-seen)/1e9 - t.dt; gap > .5*t.dt {
		return math.Sqrt(1 + min(gap/t.dt, missedMost))
	}
	return 1
}

// missedMost is the number of missed readings beyond which a gap widens the
// scale no further.
const missedMost = 8

// directed is the size of a deviation in the directions that count.
func directed(z float64, up, down bool) float64 {
	switch {
	case z >= 0 && up:
		return z
	case z < 0 && down:
		return -z
	}
	return 0
}

// rarity rates a deviation, in decades, by the past of the series, and while
// that is short by the pasts of its peers too.
func (d *anomaly) rarity(a *series, row *gridRow, sub *subject, off float64, t *step) float64 {
	r := a.odd.decades(off)
	if r < hitDecades {
		return r
	}
	n := float64(a.level.n) * t.weight
	if n < younger {
		r = min(r, max(hitDecades, row.common.decades(off)))
	}
	if x := a.novelty(sub.value, n); x > r {
		r = x
	}
	r = min(r, math.Log10(max(n, 1))+surer)
	if !d.credible(a, &row.sig, sub, t.window) {
		return 0
	}
	return r
}

// novelty rates a value outside all that was seen in the last one to two weeks:
// by chance alone the n-th sample is a record once in n.
func (a *series) novelty(x, n float64) float64 {
	least, most := min(a.least, a.oldLeast), max(a.most, a.oldMost)
	span := most - least
	beyond := max(x-most, least-x)
	if span <= 0 || beyond <= fresher*span {
		return 0
	}
	return math.Log10(max(n, 1))
}

// gather runs the CUSUM (Page, 1954) over rarities. Evidence for a rise and for
// a fall does not mix.
func (a *series) gather(falling bool, r float64, t *step) {
	if falling != a.falling {
		if r <= allowance {
			r = 0
		} else {
			a.gathered, a.falling = 0, falling
		}
	}
	weight := t.weight
	if r >= hitDecades && !a.hits.of(1, 5) {
		weight = 1 // the first bad sample of a window is news, its neighbours repeat it
	}
	a.gathered = max(0, min(mostGathered, a.gathered+weight*(r-allowance)))
	if a.gathered <= 0 && !a.active {
		a.onset = t.at
	}
}

// episode ends a running episode after enough calm samples. What begins one is
// decided over all signals of a service.
func (d *anomaly) episode(a *series, off, r float64, t *step) {
	switch {
	case !a.active:
	case off < calmScales:
		// Back at the usual level: what is still gathered is history.
		if a.calm++; a.calm >= t.calm {
			a.end(t)
		}
	case r < hitDecades:
		if a.calm++; a.calm >= 2*t.calm {
			a.end(t)
		}
	default:
		a.calm, a.lowing = 0, a.falling
	}
}

// calmScales is the deviation below which a sample is back at the usual.
const calmScales = 1.5

// end closes an episode.
func (a *series) end(t *step) {
	a.active, a.gathered, a.hits, a.calm = false, 0, 0, 0
	a.onset = t.at
	a.quiet = t.at + t.refr
}

// start opens an episode.
func (a *series) start(t *step) {
	a.muted = t.at < a.quiet
	if !a.muted {
		a.worst = 0
	}
	a.active, a.calm, a.lowing = true, 0, a.falling
}

// scale is how far the series wanders by itself. A baseline that has seen only a
// few windows of the sources does not know its own wandering yet, so it counts
// as wider.
func (a *series) scale(floor float64, t *step) float64 {
	s := max(median*a.off, floor)
	if a.level.n >= t.grown {
		return s
	}
	if windows := float64(a.level.n) * t.dt / t.window; windows < 100*youth {
		s *= math.Sqrt(1 + youth/max(windows, 1))
	}
	return s
}

// youth is the number of windows after which a baseline is grown up.
const youth = 3

// median turns a median absolute deviation into a standard deviation.
const median = 1.4826

// gaussian turns a mean absolute deviation into a standard deviation.
const gaussian = 1.2533

// whole is by how much the step of the calendar is wider than that of the level:
// what comes at an hour is entered nearly as it is, since what is trouble is
// frozen, and what comes once has no say.
const whole = 20

// learn moves the baseline by a bounded step, so that trouble does not become
// usual before somebody freezes it. What the calendar excuses is taken as it is.
func (d *anomaly) learn(a *series, x, p, floor float64, t *step) {
	if a.level.n == 0 {
		a.level.add(x, t.alpha)
		return
	}
	e := x - p
	a.wander(math.Abs(e), floor, t)
	limit := d.cfg.Clip * max(median*a.off, floor)
	if a.level.n >= calmTicks {
		e = max(-limit, min(limit, e))
	}
	if a.level.n >= t.ripe {
		a.level.n += min(1, math.MaxInt32-a.level.n)
		a.level.v += t.alpha * (p + e - a.level.v)
	} else {
		a.level.add(p+e, t.alpha)
	}
	a.sum += p + max(-whole*limit, min(whole*limit, x-p))
	a.count++
	a.least, a.most = min(a.least, x), max(a.most, x)
}

// wander follows the median of the absolute deviations, which a third of wild
// samples cannot move far, by steps that are shares of itself (Robbins and Monro,
// 1951).
func (a *series) wander(e, floor float64, t *step) {
	if a.level.n < calmTicks {
		a.off += (e - a.off) / float64(a.level.n)
		return
	}
	share := 2 * t.slow
	if a.level.n < t.sober {
		share = max(share, min(.3, 3/float64(a.level.n)))
	}
	share = math.Copysign(share, a.off-e) // no branch: it would be guessed wrong half of the time
	a.off = max(a.off, floor/10) * (1 - share)
}

// age lets the calendar and the range pass on.
func (a *series) age(x float64, k kin, t *step) {
	if a.level.n == 0 {
		a.least, a.most, a.oldLeast, a.oldMost = x, x, x, x
		a.low, a.high = math.Inf(1), math.Inf(-1)
		a.epoch, a.seen, a.slot = t.at, t.at, int32(t.slot)
		a.odd = newSurprise(k)
		return
	}
	if int(a.slot) != t.slot {
		a.turn(t.slot)
	}
	if t.at-a.epoch > int64(epochSpan) {
		a.oldLeast, a.oldMost, a.least, a.most, a.epoch = a.least, a.most, x, x, t.at
	}
}
