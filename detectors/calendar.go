package detectors

import "math"

const (
	// seasonAfter is how many half hours a series must have been seen before its
	// table is made: most series of a short life need none.
	seasonAfter = 8
	// seasonStep is the weight of a new visit of a half hour in its average.
	seasonStep = .3
	// seasonTrust bounds the say of the table.
	seasonTrust = .9
	// seasonRoom is how far beyond the average of a half hour is still excused,
	// as a factor on its distance from the level: averages have no peaks.
	seasonRoom = 1.25
	// seasonDoubt is the number of comparisons with the truth at which the table
	// has half the say that its record gives it.
	seasonDoubt = 4
)

// unseen marks a half hour without samples.
var unseen = float32(math.NaN())

// calendar holds what a series used to show at each half hour of the day and of
// the week. Single precision halves the memory; an excuse needs no more.
type calendar struct {
	day  [dayBuckets]float32
	week [weekBuckets]float32
}

func newCalendar() *calendar {
	c := &calendar{}
	for i := range c.day {
		c.day[i] = unseen
	}
	for i := range c.week {
		c.week[i] = unseen
	}
	return c
}

// at returns the usual value of a half hour of the week: that of the week where
// it is known, else that of the day.
func (c *calendar) at(slot int) float32 {
	slot = (slot + weekBuckets) % weekBuckets
	if v := c.week[slot]; v == v {
		return v
	}
	return c.day[slot%dayBuckets]
}

func (c *calendar) enter(slot int, mean float32) {
	for _, v := range []*float32{&c.week[slot], &c.day[slot%dayBuckets]} {
		if *v == *v {
			*v += seasonStep * (mean - *v)
		} else {
			*v = mean
		}
	}
}

// turn closes the half hour that has passed and opens the next: it compares what
// came with what the table and the level at the beginning had said, and lays out
// the span of values that the table excuses now. The neighbours of the half hour
// count too, since nightly jobs are not punctual.
func (a *series) turn(slot int) {
	if a.count > 0 {
		a.close(a.sum / float64(a.count))
	}
	a.slot, a.sum, a.count, a.begin = int32(slot), 0, 0, a.level.v
	a.low, a.high, a.excused = math.Inf(1), math.Inf(-1), false
	if a.table == nil || a.compared == 0 {
		return
	}
	record := a.fastErr * a.fastErr / (a.fastErr*a.fastErr + a.tableErr*a.tableErr + 1e-30)
	trust := min(seasonTrust, record*float64(a.compared)/(float64(a.compared)+seasonDoubt))
	for k := slot - 1; k <= slot+1; k++ {
		if v := float64(a.table.at(k)); known(v) {
			v = a.level.v + seasonRoom*trust*(v-a.level.v)
			a.low, a.high = min(a.low, v), max(a.high, v)
		}
	}
	a.excused = a.low <= a.high
}

func (a *series) close(mean float64) {
	slot := int(a.slot)
	a.halves = min(a.halves+1, math.MaxInt32-1)
	if a.table == nil {
		if a.halves < seasonAfter {
			return
		}
		a.table = newCalendar()
	}
	if v := float64(a.table.at(slot)); known(v) {
		weight := max(.1, 1/float64(a.compared+1))
		a.tableErr += weight * (math.Abs(mean-v) - a.tableErr)
		a.fastErr += weight * (math.Abs(mean-a.begin) - a.fastErr)
		a.compared = min(a.compared+1, 1e6)
	}
	a.table.enter(slot, float32(mean))
}

// usual returns the value nearest to x that counts as usual now.
func (a *series) usual(x float64) float64 {
	if !a.excused {
		return a.level.v
	}
	return max(min(x, max(a.level.v, a.high)), min(a.level.v, a.low))
}
