package incidents

import (
	"time"

	"github.com/sreagent/sreagent/replay/backtest"
	"github.com/sreagent/sreagent/replay/fluid"
)

const (
	// wellOff is the share of the requests of one population of users that must
	// be answered well and in time over feltOver; users suffer below it.
	wellOff  = .95
	feltOver = 30 * time.Second

	// healsWithin is how long a system may take to come back by itself, once
	// the trigger is gone.
	healsWithin = 3 * time.Minute
)

// meter watches what the users of a world get.
type meter struct {
	ring [][]got // by reading, then client
	at   int
	n    int
}

type got struct{ good, wanted float64 }

// newMeter returns a meter that is read once in an interval.
func newMeter(every time.Duration, clients int) *meter {
	m := &meter{ring: make([][]got, max(1, int(feltOver/every))+1)}
	for i := range m.ring {
		m.ring[i] = make([]got, clients)
	}
	return m
}

// read takes what there is now, and reports whether all users have got what they
// wanted over the last feltOver. Before that long it cannot tell and says yes.
func (m *meter) read(model *fluid.Model) bool {
	m.at = (m.at + 1) % len(m.ring)
	now, then := m.ring[m.at], m.ring[(m.at+1)%len(m.ring)]
	m.n++
	well := true
	for c := range now {
		t := model.Client(c)
		now[c] = got{t.Good, t.Offered}
		if m.n >= len(m.ring) && now[c].good-then[c].good < wellOff*(now[c].wanted-then[c].wanted) {
			well = false
		}
	}
	return well
}

// truth finds out what a fault does while the case is played.
type truth struct {
	c      *Case
	every  time.Duration
	meter  *meter
	fork   *fluid.Model // as it was when the fault began
	hurt   time.Duration
	felt   bool // users suffered after the fault began
	before bool // they did before it
	well   bool // at the latest reading
}

func newTruth(c *Case, every time.Duration) *truth {
	return &truth{c: c, every: every, meter: newMeter(every, len(c.Blueprint.Clients)), well: true}
}

// watch takes a reading at an instant of the case.
func (t *truth) watch(m *fluid.Model, at time.Duration) {
	t.well = t.meter.read(m)
	switch {
	case t.well:
	case at <= t.c.Inject:
		t.before = true
	case !t.felt:
		t.felt, t.hurt = true, at
	}
}

// harm tells the truth at the end of the case, for the instant of the first tick.
// Whether a system is beyond return is found by taking the trigger away earlier,
// in a copy of the model of the moment at which the fault began.
func (t *truth) harm(start time.Time) backtest.Harm {
	h := backtest.Harm{Felt: t.felt, Story: t.c.Words}
	if t.felt {
		at := start.Add(t.hurt)
		h.FeltAt = &at
	}
	if t.well || !t.felt || t.c.Ends-t.c.Inject-t.c.Lasts < healsWithin {
		return h
	}
	h.Lasting = true
	heals, fails := time.Duration(0), max(t.c.Lasts, t.every) // trigger lengths
	for fails-heals > t.every {
		if middle := heals + (fails-heals)/2/t.every*t.every; middle <= heals {
			break
		} else if t.heals(middle) {
			heals = middle
		} else {
			fails = middle
		}
	}
	at := start.Add(t.c.Inject + heals)
	h.NoReturnAt = &at
	return h
}

// heals reports whether a trigger of a length leaves a system that recovers.
func (t *truth) heals(length time.Duration) bool {
	m := t.fork.Clone()
	eye := newMeter(step, len(t.c.Blueprint.Clients))
	for since := time.Duration(0); since < length+healsWithin; since += step {
		t.c.drive(m, t.c.Inject+since, since < length)
		m.Advance(step)
		if well := eye.read(m); well && since >= length+feltOver {
			return true
		}
	}
	return false
}
