package scenario

import (
	"time"

	"github.com/sreagent/sreagent/replay/fluid"
	"github.com/sreagent/sreagent/replay/world"
	"github.com/sreagent/sreagent/sre"
)

const (
	// A service is in trouble when more than troubleShare of what reached it in
	// troubleWindow failed, was refused for a full queue, or was given up by its
	// caller. What a cap turned away does not count: that is on purpose.
	troubleShare  = .1
	troubleWindow = 30 * time.Second

	// A cascade is trouble elsewhere that outlives the fault by outlives, or
	// that reaches farOff calls away for as long as a window.
	outlives = time.Minute
	farOff   = 2

	// Goodput at one moment is taken over smooth ticks: what was asked in one
	// tick may be answered in the next.
	smooth = 3

	// healthy is the share of the goodput before that counts as recovered.
	healthy = .95
)

// meter writes down what the users of a world feel, and which of its services
// are in trouble, tick by tick.
type meter struct {
	s     *Scenario
	model *fluid.Model
	graph *sre.Graph

	last         time.Time
	good, wanted float64 // of all clients, at the last tick
	attempts     float64 // over all edges and clients
	story        []Moment

	ring     [][]count // by tick of the window, then service
	at       int
	services []ailing
}

// count is what a service has counted.
type count struct{ bad, arrived float64 }

// ailing is the trouble of one service since the first fault, in ticks.
type ailing struct {
	ticks   int
	run     int // without a break, up to now
	longest int
	late    int // after the last fault was over for outlives
}

func newMeter(s *Scenario, w *world.World) *meter {
	m := &meter{s: s, model: w.Model(), graph: w.Graph(), last: Origin().Add(-s.WarmUp)}
	n := len(s.Blueprint.Services)
	m.services = make([]ailing, n)
	m.ring = make([][]count, max(1, int(troubleWindow/s.Tick))+1)
	for i := range m.ring {
		m.ring[i] = make([]count, n)
	}
	m.count(m.ring[0])
	for i := 1; i < len(m.ring); i++ {
		copy(m.ring[i], m.ring[0])
	}
	m.good, m.wanted, m.attempts = m.users()
	return m
}

// count reads the totals of every service.
func (m *meter) count(into []count) (worst int, queue float64) {
	for i := range into {
		t := m.model.Service(i)
		c := count{bad: t.Failed + t.Rejected + t.Abandoned}
		for _, a := range t.Arrived {
			c.arrived += a
		}
		into[i] = c
		if t.Queue > queue {
			worst, queue = i, t.Queue
		}
	}
	return worst, queue
}

func (m *meter) users() (good, wanted, attempts float64) {
	for c := range m.s.Blueprint.Clients {
		t := m.model.Client(c)
		good += t.Good
		wanted += t.Offered
		attempts += t.Attempts
	}
	for e := range m.s.Blueprint.Edges {
		t := m.model.Edge(e)
		attempts += t.First + t.Retried
	}
	return good, wanted, attempts
}

// tick writes down the time since the last one.
func (m *meter) tick(at time.Time) {
	good, wanted, attempts := m.users()
	now := Moment{At: at, Goodput: 1, good: good - m.good, wanted: wanted - m.wanted}
	if now.wanted > 0 {
		now.Goodput = min(1, now.good/now.wanted)
		now.Work = (attempts - m.attempts) / now.wanted
	}
	if d := at.Sub(m.last).Seconds(); d > 0 {
		now.Offered = now.wanted / d
	}
	m.last, m.good, m.wanted, m.attempts = at, good, wanted, attempts

	m.at = (m.at + 1) % len(m.ring)
	row := m.ring[m.at]
	oldest := m.ring[(m.at+1)%len(m.ring)]
	worst, queue := m.count(row)
	if queue >= 1 {
		now.Worst, now.Queue = m.s.Blueprint.Services[worst].Name, queue
	}
	m.story = append(m.story, now)
	since := at.Sub(Origin())
	first, ok := m.s.firstFault()
	if ok && since < first {
		return
	}
	late := since > m.s.lastFault()+outlives
	for i := range row {
		a := &m.services[i]
		arrived := row[i].arrived - oldest[i].arrived
		if !(arrived >= 1 && row[i].bad-oldest[i].bad > troubleShare*arrived) {
			a.run = 0
			continue
		}
		a.ticks++
		a.run++
		a.longest = max(a.longest, a.run)
		if late {
			a.late++
		}
	}
}

// faults are the events that are meant to hurt.
func (s *Scenario) faults() []*Event {
	var out []*Event
	for i := range s.Events {
		if !s.Events[i].Benign {
			out = append(out, &s.Events[i])
		}
	}
	return out
}

// firstFault returns when the first fault begins; false where there is none.
func (s *Scenario) firstFault() (time.Duration, bool) {
	all := s.faults()
	if len(all) == 0 {
		return 0, false
	}
	return all[0].At, true // events stand in order of time
}

// Faulty reports whether anything is at fault in the story.
func (s *Scenario) Faulty() bool { return len(s.faults()) > 0 }

// FirstFault returns when the first fault begins, since the first tick; 0 where
// there is none.
func (s *Scenario) FirstFault() time.Duration {
	at, _ := s.firstFault()
	return at
}

// lastFault returns when the last fault ends; the begin where there is none.
func (s *Scenario) lastFault() time.Duration {
	var end time.Duration
	for _, e := range s.faults() {
		if e.verb == verbCacheLoss {
			end = max(end, e.At)
		} else {
			end = max(end, e.Ends(s.Length))
		}
	}
	return end
}
