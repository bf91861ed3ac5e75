package demo

import (
	"sync"
	"time"
)

// classes are the priority classes in the guard's words, most important first.
var classes = [...]string{"critical", "high", "normal", "low"}

// Count is how many first attempts were offered and how many of them were
// answered well: 2xx within the deadline.
type Count struct {
	Offered int `json:"offered"`
	Good    int `json:"good"`
}

// Ratio returns the share that was answered well, 0 where nothing was offered.
func (c Count) Ratio() float64 {
	if c.Offered == 0 {
		return 0
	}
	return float64(c.Good) / float64(c.Offered)
}

func (c *Count) add(d Count) {
	c.Offered += d.Offered
	c.Good += d.Good
}

// ClassCount is the Count of one priority class.
type ClassCount struct {
	Class string `json:"class"`
	Count
}

// GoodputSample is what became of the first attempts of one second. It is known
// only when each of them was answered or has passed its deadline.
type GoodputSample struct {
	Second  time.Time    `json:"second"` // its start; the zero time where no second is known yet
	Total   Count        `json:"total"`
	Classes []ClassCount `json:"classes"` // most important first
}

// Sum adds up the samples of the seconds from from, inclusive, to to, exclusive.
func Sum(samples []GoodputSample, from, to time.Time) Count {
	var sum Count
	for _, s := range samples {
		if !s.Second.Before(from) && s.Second.Before(to) {
			sum.add(s.Total)
		}
	}
	return sum
}

// keepSeconds bounds the memory of a shop that runs for long.
const keepSeconds = 3600

// ledger books the fate of first attempts under the second in which they were
// offered. It is safe for concurrent use.
type ledger struct {
	mu      sync.Mutex
	start   time.Time // second 0
	first   int       // number of the oldest second in open
	open    []openSecond
	settled []GoodputSample
}

type openSecond struct {
	counts [len(classes)]Count
	done   int
}

func newLedger(start time.Time) *ledger { return &ledger{start: start} }

// offer books an attempt at the given time after the start, and returns the
// number of its second.
func (l *ledger) offer(after time.Duration, class int) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	second := int(after / time.Second)
	for len(l.open) <= second-l.first {
		l.open = append(l.open, openSecond{})
	}
	l.open[second-l.first].counts[class].Offered++
	return second
}

// done books what became of an attempt of the given second.
func (l *ledger) done(second, class int, good bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := &l.open[second-l.first]
	s.done++
	if good {
		s.counts[class].Good++
	}
}

// settle moves the seconds that can no longer change from open to settled. No
// attempt may be offered later than now to a second that ended before now.
func (l *ledger) settle(now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for len(l.open) > 0 {
		begin := l.start.Add(time.Duration(l.first) * time.Second)
		sample := l.open[0].sample(begin)
		if now.Before(begin.Add(time.Second)) || l.open[0].done < sample.Total.Offered {
			return
		}
		l.settled = append(l.settled, sample)
		if len(l.settled) > keepSeconds {
			l.settled = l.settled[1:]
		}
		l.open = l.open[1:]
		l.first++
	}
}

func (s *openSecond) sample(begin time.Time) GoodputSample {
	out := GoodputSample{Second: begin, Classes: make([]ClassCount, len(classes))}
	for i, c := range s.counts {
		out.Classes[i] = ClassCount{Class: classes[i], Count: c}
		out.Total.add(c)
	}
	return out
}

// since returns the settled seconds that start at or after from, in order.
func (l *ledger) since(from time.Time) []GoodputSample {
	l.mu.Lock()
	defer l.mu.Unlock()
	i := len(l.settled)
	for i > 0 && !l.settled[i-1].Second.Before(from) {
		i--
	}
	return append([]GoodputSample(nil), l.settled[i:]...)
}

// last returns the newest settled second.
func (l *ledger) last() GoodputSample {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.settled) == 0 {
		return GoodputSample{}
	}
	return l.settled[len(l.settled)-1]
}
