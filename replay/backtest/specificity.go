package backtest

import (
	"time"

	"github.com/sreagent/sreagent/diagnosis"
	"github.com/sreagent/sreagent/sre"
)

// OracleNormal is what the ranking with the time given makes of time in which
// nothing was wrong: over windows as long as those of faults, one per half hour
// of fault-free time, each compared with what precedes it. Blamed counts those
// in which a service, or an unseen dependency, came before "not seen".
type OracleNormal struct {
	Windows int `json:"windows"`
	Blamed  int `json:"blamed"`
}

// SpecificityOf returns the share of fault-free windows in which nobody was
// blamed, with its 95 % Wilson interval. PetShop's authors report this figure
// beside their accuracies (Hardt et al., 2023).
func SpecificityOf(list []OracleNormal) Share {
	var all, blamed int
	for _, n := range list {
		all += n.Windows
		blamed += n.Blamed
	}
	return Wilson(float64(all-blamed), all)
}

// OracleNormal returns the tally over the ticks seen so far.
func (o *Observer) OracleNormal() OracleNormal { return o.oracle.calm.tally }

// calmEvery is the distance of fault-free windows.
const calmEvery = 30 * time.Minute

// respite asks the same question as for a fault where there is none.
type respite struct {
	tally OracleNormal
	open  *question // nil between windows
	next  time.Time // no window begins before
}

// troubled reports whether a fault of the truth touches the time from one
// instant to another, or may do so: a fault that is dated by a human's alert is
// older than that.
func (o *oracle) troubled(from, to time.Time) bool {
	for _, f := range o.faults {
		begins := f.InjectedAt
		if f.alerted {
			begins = begins.Add(-lookBack)
		}
		if !to.Before(begins) && !from.After(f.ends.Add(recovery*o.interval)) {
			return true
		}
	}
	return false
}

// rest takes one snapshot. It must see it before the oracle keeps it, so that a
// window is no part of what it is compared with.
func (o *oracle) rest(at time.Time, s *sre.Snapshot) {
	c := &o.calm
	if c.open != nil && at.After(c.open.stop) {
		if len(c.open.after) > 0 {
			c.tally.Windows++
			top := diagnosis.RankWindow(c.open.before, c.open.after, o.changes)[0]
			if top.Service != "" || len(top.Callers) > 0 {
				c.tally.Blamed++
			}
		}
		c.open = nil
	}
	length := o.windowLength()
	if s.Graph == nil {
		return
	}
	if c.open == nil && !at.Before(c.next) && len(o.normal) >= normalTicks/2 && !o.troubled(at, at.Add(length)) {
		c.open = &question{stop: at.Add(length), before: o.before(at)}
		c.next = at.Add(calmEvery)
	}
	if c.open != nil {
		c.open.after = append(c.open.after, s)
	}
}

// windowLength is how long the window of a fault is: that of the shortest one,
// at most the general limit.
func (o *oracle) windowLength() time.Duration {
	length := max(faultTicks*o.interval, faultSpan)
	for _, f := range o.faults {
		if d := f.ends.Sub(f.InjectedAt) + o.interval; d < length {
			length = d
		}
	}
	return length - o.interval // a window that begins at a tick has one more
}
