package detectors

import (
	"math"
	"slices"
	"time"
)

// What is usual for a stream: three forecasts that compete by their past
// errors, the range of all values, and the samples of the last day.

const (
	// bucket is the width of a seasonal bucket in seconds.
	bucket      = 1800
	dayBuckets  = 24 * 3600 / bucket
	weekBuckets = 7 * dayBuckets
	// daySamples is how many samples stand for the last day. Faster series are
	// thinned out.
	daySamples = 400
	// fastWeight is the weight of one sample in the fast forecast.
	fastWeight = .1
	// seasonWeight is the weight of one visit of a seasonal bucket.
	seasonWeight = .2
	// slowSamples is the memory of errors and scale.
	slowSamples = 1000
	// learnClip bounds the step of the baselines, in scales, so that trouble
	// does not become usual at once.
	learnClip = 5
	// rangeFloor is the share of the range of values below which no residual
	// scale falls: without it, a series free of noise finds everything odd.
	rangeFloor = .01
	// rangeEpoch is after how long the older half of the range is forgotten.
	rangeEpoch = 28 * 24 * time.Hour
)

// season is a table of averages by the time of day or of the week. Single
// precision halves the memory; a forecast needs no more.
type season[T interface {
	[dayBuckets]float32 | [weekBuckets]float32
}] struct {
	Value, Visits T
}

// forecast is what the sample was expected to be, seen from before it.
type forecast struct {
	day, week     int // buckets
	byDay, byWeek float64
	value, scale  float64
	z             float64 // residual in scales
}

// forecast blends three guesses, each weighted by how well it did so far: the
// latest level, the same time of the day and the same time of the week.
func (d *Stream) forecast(at time.Time, x float64) forecast {
	s := &d.s
	f := forecast{byDay: missing, byWeek: missing}
	sec := at.Unix()
	f.day, f.week = slot(sec, dayBuckets), slot(sec, weekBuckets)
	if s.Day.Visits[f.day] >= 1 {
		f.byDay = float64(s.Day.Value[f.day])
	}
	if s.Week.Visits[f.week] >= 1 {
		f.byWeek = float64(s.Week.Value[f.week])
	}
	tiny := 1e-6*math.Abs(s.Slow) + 1e-30
	least := s.FastError
	if known(f.byDay) {
		least = min(least, s.DayError)
	}
	if known(f.byWeek) {
		least = min(least, s.WeekError)
	}
	var sum, weights float64
	add := func(expected, err float64) {
		if known(expected) {
			w := (least + tiny) / (err + tiny)
			sum += w * w * expected
			weights += w * w
		}
	}
	add(s.Fast, s.FastError)
	add(f.byDay, s.DayError)
	add(f.byWeek, s.WeekError)
	f.value = sum / weights
	span := max(s.High, s.OldHigh) - min(s.Low, s.OldLow)
	f.scale = max(s.Scale, rangeFloor*span, tiny)
	f.z = (x - f.value) / f.scale
	return f
}

// slot returns the bucket of a second within its period, also before 1970.
func slot(sec int64, buckets int) int {
	period := int64(buckets) * bucket
	return int((sec%period + period) % period / bucket)
}

// learn moves every baseline by a bounded step.
func (d *Stream) learn(x float64, f forecast) {
	s := &d.s
	e := x - f.value
	if s.N >= int64(d.cfg.MinSamples) {
		limit := learnClip * f.scale
		e = max(-limit, min(limit, e))
	}
	bounded := f.value + e
	slow := max(1/float64(s.N), 1./slowSamples)
	s.FastError += slow * (math.Abs(bounded-s.Fast) - s.FastError)
	follow(&s.DayError, bounded, f.byDay, s.FastError, slow)
	follow(&s.WeekError, bounded, f.byWeek, s.FastError, slow)
	s.Scale += slow * (gaussian*math.Abs(e) - s.Scale)
	s.Fast += max(1/float64(s.N), fastWeight) * (bounded - s.Fast)
	s.Slow += slow * (bounded - s.Slow)

	visit := float32(min(1, max(s.Interval, 1)/bucket))
	enter(&s.Day.Value[f.day], &s.Day.Visits[f.day], bounded, visit)
	enter(&s.Week.Value[f.week], &s.Week.Visits[f.week], bounded, visit)
	s.Shifts.learn(math.Abs(s.Level))
	s.Jumps.learn(math.Abs(f.z))
	d.widen(x)
	d.remember(x)
}

// follow updates the error of a seasonal forecast. One that has no say yet is
// taken to be no better than the fast one.
func follow(err *float64, x, forecast, fast, weight float64) {
	if !known(forecast) {
		*err = max(*err, fast)
		return
	}
	*err += weight * (math.Abs(x-forecast) - *err)
}

// enter averages a value into a seasonal bucket: plainly on the first visit,
// exponentially by visits later.
func enter(value, visits *float32, x float64, visit float32) {
	*visits = min(*visits+visit, 1e6)
	weight := min(1, max(visit / *visits, seasonWeight*visit))
	*value += weight * (float32(x) - *value)
}

// widen keeps the range of two epochs, so that an old extreme is forgotten.
func (d *Stream) widen(x float64) {
	s := &d.s
	if s.Last-s.Epoch > int64(rangeEpoch) {
		s.Epoch = s.Last
		s.OldLow, s.OldHigh = s.Low, s.High
		s.Low, s.High = x, x
	}
	s.Low, s.High = min(s.Low, x), max(s.High, x)
}

// remember keeps the sample for the last day, or thins it out.
func (d *Stream) remember(x float64) {
	s := &d.s
	s.Skipped++
	if d.day.n == daySamples {
		covered := time.Duration(d.cfg.Window).Seconds() / max(s.Interval, 1e-3)
		if float64(s.Skipped) < math.Floor(covered/daySamples) {
			return
		}
	}
	s.Skipped = 0
	v := float32(x)
	if d.day.n == daySamples {
		d.day.remove(s.Ring[s.Next])
	}
	d.day.insert(v)
	s.Ring[s.Next] = v
	s.Next = (s.Next + 1) % daySamples
	s.Kept = int64(d.day.n)
}

// sorted holds samples in order of size, so that quantiles are exact and cost
// nothing.
type sorted struct {
	v [daySamples]float32
	n int
}

func (o *sorted) insert(x float32) {
	i, _ := slices.BinarySearch(o.v[:o.n], x)
	copy(o.v[i+1:o.n+1], o.v[i:o.n])
	o.v[i] = x
	o.n++
}

func (o *sorted) remove(x float32) {
	i, _ := slices.BinarySearch(o.v[:o.n], x)
	copy(o.v[i:], o.v[i+1:o.n])
	o.n--
}

// quantile returns the sample nearest to the rank q, 0 to 1.
func (o *sorted) quantile(q float64) float64 {
	return float64(o.v[int(q*float64(o.n-1)+.5)])
}
