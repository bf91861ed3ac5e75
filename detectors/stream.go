package detectors

import (
	"math"
	"time"
)

// Stream watches one series by itself, without a graph, a kind or a unit: the
// sampling interval, the seasons, the scale and whether the values are counts
// are learned from the samples. It gives two answers per sample. The score
// tells how rare the sample is by the series' own long-run behaviour, so that
// one threshold serves all series. The alarm tells whether the series is far
// from its last day for long enough to matter.
//
// It needs constant time and memory per sample, sees only the past, and
// allocates nothing once it is made. It is not safe for concurrent use.
type Stream struct {
	cfg StreamConfig
	s   streamState
	day sorted // the day's samples in order of size; follows from s
}

// The reasons that a StreamScore gives.
const (
	ReasonWarming = "warming up"
	ReasonGap     = "no value"
	ReasonAbove   = "above the usual of the last day"
	ReasonBelow   = "below the usual of the last day"
	ReasonExtreme = "new extreme"
	ReasonShift   = "lasting shift from the forecast"
	ReasonJump    = "far from the forecast"
	ReasonRepeat  = "repeat of a recent sign"
)

// StreamScore is what a Stream says about one sample.
type StreamScore struct {
	// Score is the rarity, 0 to 1, with repeats of a recent sign silenced. At
	// .5 the series behaves so in about one sample of a hundred, at .67 in one
	// of ten thousand.
	Score float64
	// Rarity is minus the decimal logarithm of the share of samples that are as
	// odd as this one, repeats included.
	Rarity float64
	// Alarm is true as long as an episode lasts.
	Alarm bool
	// Onset is when the running episode began, zero without one. It lies before
	// the alarm by the time that the alarm waited for more samples.
	Onset time.Time
	// Expected is the median of the last day, in the unit of the series.
	Expected float64
	// Scale is the robust deviation from Expected that is usual, in the unit of
	// the series, never below the floor.
	Scale float64
	// Reason is one of the Reason constants, empty where nothing is odd.
	Reason string
}

// largest bounds the values that a stream computes with: beyond it, squares and
// quotients would overflow.
const largest = 1e30

const (
	// levelSamples is over how many samples a lasting shift is averaged: long
	// enough to outweigh single spikes, short enough to be early.
	levelSamples = 12
	// levelClip bounds what one sample adds to a lasting shift, in scales.
	levelClip = 5
	// shiftWeight and jumpWeight discount the rarity of the two forecast tests
	// against that of a new extreme: their tails are extrapolated, and a single
	// jump is the weakest sign.
	shiftWeight = .9
	jumpWeight  = .6
	// half is the rarity that gives a score of one half.
	half = 2
	// bar is the rarity from which a sign silences its repeats: a little below
	// half, so that a score of one half is never a matter of the last digit.
	bar = 1.8
	// escalation is by how much a repeat must be rarer to be heard.
	escalation = .4
	// surest is how far, in decades, rarity may go beyond one in the number of
	// samples seen: a young series cannot know what is rare.
	surest = 2
	// quietShare is the share of a series' age for which a sign silences its
	// repeats, up to the setting Quiet.
	quietShare = .05
	// quietSamples is the shortest silence.
	quietSamples = 10
)

// NewStream returns a detector that has seen nothing. The settings must be
// valid.
func NewStream(cfg StreamConfig) *Stream { return &Stream{cfg: cfg} }

// Next takes in the sample of one instant and judges it by the samples before.
// Samples come in the order of time; of equal or earlier instants every value
// counts, but no interval is learned. A value that is not a number, or not
// finite, is a gap: it changes nothing, and a running alarm goes on, for no
// data is not good news. Instants lie between the years 1678 and 2262.
func (d *Stream) Next(at time.Time, value float64) StreamScore {
	s := &d.s
	if math.IsNaN(value) || math.IsInf(value, 0) {
		return d.explain(StreamScore{Reason: ReasonGap}, 0)
	}
	x := max(-largest, min(largest, value))
	d.tick(at)
	if x != math.Trunc(x) {
		s.Fractions = true
	}
	if s.N == 1 {
		s.Fast, s.Slow = x, x
		s.Low, s.High, s.OldLow, s.OldHigh = x, x, x, x
		d.remember(x)
		return d.explain(StreamScore{Reason: ReasonWarming}, 0)
	}
	f := d.forecast(at, x)
	rarity, why := d.rarity(x, f)
	expected, scale, z := d.deviation(x)
	d.episode(at, z)
	d.learn(x, f)

	out := StreamScore{Rarity: rarity, Reason: why, Expected: expected, Scale: scale}
	if s.N < int64(d.cfg.MinSamples) {
		out.Reason = ReasonWarming
		return d.explain(out, z)
	}
	if heard := d.hear(at, rarity); heard > 0 {
		out.Score = heard / (heard + half)
	} else if rarity >= bar {
		out.Reason = ReasonRepeat
	}
	return d.explain(out, z)
}

// tick counts the sample and learns the interval between samples.
func (d *Stream) tick(at time.Time) {
	s := &d.s
	now := at.UnixNano()
	s.N++
	if s.N == 1 {
		s.First, s.Last, s.Epoch = now, now, now
		return
	}
	gap := float64(now-s.Last) / 1e9
	if gap <= 0 {
		return
	}
	if s.Interval == 0 {
		s.Interval = gap
	}
	if gap > holeSamples*s.Interval {
		// What was lasting before the hole is not known to have lasted.
		s.Level = 0
		s.Hits = 0
	}
	// One hole must not look like a new interval.
	s.Interval += .05 * (min(gap, 3*s.Interval) - s.Interval)
	s.Last = now
}

// holeSamples is how many intervals without a sample part what was before from
// what comes after.
const holeSamples = 20

// rarity tests the sample in three ways and returns the rarest verdict.
func (d *Stream) rarity(x float64, f forecast) (rarity float64, why string) {
	s := &d.s
	bounded := max(-levelClip, min(levelClip, f.z))
	s.Level += (bounded - s.Level) / levelSamples
	warm := int64(d.cfg.MinSamples)
	if r := jumpWeight * s.Jumps.rate(math.Abs(f.z), warm); r > rarity {
		rarity, why = r, ReasonJump
	}
	if r := shiftWeight * s.Shifts.rate(math.Abs(s.Level), warm); r > rarity {
		rarity, why = r, ReasonShift
	}
	if r := d.novelty(x); r > rarity {
		rarity, why = r, ReasonExtreme
	}
	if s.N < warm {
		return 0, ""
	}
	if rarity < bar {
		why = ""
	}
	return min(rarity, math.Log10(float64(s.N))+surest), why
}

// novelty rates a value outside all that was seen before. By chance alone the
// n-th sample is a record once in n; records by a small margin do not count.
func (d *Stream) novelty(x float64) float64 {
	s := &d.s
	low, high := min(s.Low, s.OldLow), max(s.High, s.OldHigh)
	span := high - low
	beyond := max(x-high, low-x)
	if span <= 0 || beyond <= d.cfg.Novelty*span {
		return 0
	}
	return math.Log10(float64(s.N)) + .7*math.Log10(beyond/span/d.cfg.Novelty)
}

// hear silences the repeats of a recent sign and returns the rarity that is
// left.
func (d *Stream) hear(at time.Time, rarity float64) float64 {
	s := &d.s
	now := at.UnixNano()
	if now < s.QuietUntil && rarity < s.Peak+escalation {
		return 0
	}
	if rarity >= bar {
		s.Peak = rarity
		quiet := min(quietShare*float64(now-s.First), float64(d.cfg.Quiet))
		s.QuietUntil = now + int64(max(quiet, quietSamples*s.Interval*1e9))
	}
	return rarity
}

// deviation compares the sample with the last day: how many robust scales lie
// between them, negative below, and far enough where the series has collapsed.
func (d *Stream) deviation(x float64) (expected, scale, z float64) {
	if d.day.n < d.cfg.MinSamples {
		return 0, 0, 0
	}
	expected = d.day.quantile(.5)
	scale = (d.day.quantile(.75) - d.day.quantile(.25)) / 1.349
	scale = max(scale, d.cfg.Floor*math.Abs(expected), 1e-30)
	if !d.s.Fractions {
		// Counts scatter by the root of their mean, and in practice by more.
		scale = max(scale, 2*math.Sqrt(max(1, math.Abs(expected))))
	}
	z = (x - expected) / scale
	if d.collapsed(x) {
		z = min(z, -2*d.cfg.Threshold)
	}
	return expected, scale, z
}

// collapsed reports whether a series that is always above zero has fallen to
// less than half of the last day's low. Where the day swings widely, even a
// fall to nothing is few scales deep.
func (d *Stream) collapsed(x float64) bool {
	if d.day.n < daySamples/4 {
		return false
	}
	low := d.day.quantile(.02)
	return low > 0 && x < low/2 && (d.s.Fractions || low-x > 4*math.Sqrt(low))
}

// episode opens when enough of the latest samples are far off, and closes when
// they are close again.
func (d *Stream) episode(at time.Time, z float64) {
	s := &d.s
	off := math.Abs(z)
	if !s.Active && off < d.cfg.Release {
		s.Since = 0
	} else if s.Since == 0 {
		s.Since = at.UnixNano()
	}
	hits := recent(s.Hits)
	hits.push(off > d.cfg.Threshold)
	s.Hits = uint8(hits)
	of := d.patience()
	switch {
	case !s.Active:
		if off > d.cfg.Threshold && hits.of((of+2)/2, of) {
			s.Active, s.Calm = true, 0
		}
	case off >= d.cfg.Release:
		s.Calm = 0
	default:
		if s.Calm++; s.Calm >= int64(d.cfg.Calm) {
			s.Active, s.Since, s.Hits = false, 0, 0
		}
	}
}

// patience returns how many samples an alarm looks at: one where a sample
// covers more than the persistence, at most five.
func (d *Stream) patience() int {
	// The rounding keeps an interval that jitters about a common one from
	// changing the number.
	n := time.Duration(d.cfg.Persistence).Seconds()/max(d.s.Interval, 1) + .4
	return 1 + int(min(n, 4))
}

// explain adds what the running episode has to say.
func (d *Stream) explain(out StreamScore, z float64) StreamScore {
	if !d.s.Active {
		return out
	}
	out.Alarm = true
	out.Onset = time.Unix(0, d.s.Since).UTC()
	switch {
	case out.Reason == ReasonGap:
	case z > 0:
		out.Reason = ReasonAbove
	case z < 0:
		out.Reason = ReasonBelow
	}
	return out
}
