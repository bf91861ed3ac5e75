package control

import (
	"fmt"
	"math"
	"time"

	"github.com/sreagent/sreagent/sre"
)

// Overload is the name of the law behind `shed`.
const Overload = "overload"

// The constants of the law: shares of the shortest caller timeout T, of the work
// that is finished, and of workers. docs/overload.md measures what they lead to.
const (
	waitTooLong   = .6   // of T: more in the queue is overload; runbooks bound queues to .5
	waitDrained   = .4   // of T: an overload is worked off to this
	waitProbed    = .6   // of T: may queue before it is seen that a probe was wrong
	waitShort     = .1   // of T: no more than this, and a lifted cap cannot be missed
	steady        = .2   // by which two looks at the time of work may differ
	waitGrows     = .05  // of T: after a probe it is the beginning of a queue
	occupiedFull  = .95  // of the workers or processors
	deadTooMuch   = .1   // of the finished work: nobody waited for it
	safety        = .9   // of what was finished under overload is let in
	firstStep     = .05  // by which a probe raises the cap
	stepGrowth    = 2.   // of the step, with each probe that went well
	longestStep   = .5   // where occupancy says that the cap does not bind
	secondStep    = 1.   // of probes, once the first has shown that there is more room
	leastStep     = .01  // of a probe that may be wrong
	farthestJump  = 4.   // by which occupancy alone can raise a cap
	leastRaise    = 1.02 // below it a raise is not worth a write
	freeAbove     = 1.5  // times what is offered: such a cap holds nothing down
	leastShare    = .1   // of the most that was ever finished
	usualTimeout  = 1.   // second, where no caller's timeout is known
	oldest        = 4    // ticks: data that is older says nothing about now
	calmOccupancy = .8   // below it nothing waits: time in the service is work
	ceiling       = 1e9  // requests per second: more than any lever takes
	minimum       = 1.   // requests per second: a cap of nothing could never be probed
	shownPlaces   = 1e3  // caps are set to a thousandth
)

// settles is how much of a service's rates must lie after a move before they
// judge it: two thirds of a usual rate window of fifteen seconds.
const settles = 10 * time.Second

// The numbers that the law keeps in its memory.
const (
	numCap   = "cap"   // requests per second in force
	numStep  = "step"  // of the next probe
	numMost  = "most"  // requests per second, the most that was finished in any look
	numRoom  = "room"  // requests per second, what it may let in by what it finished when it was last full
	numFull  = "full"  // requests per second, at which it was last full
	numWork  = "work"  // seconds in the service when nothing waits
	numMoved = "moved" // unix milliseconds of the last move
	numSeen  = "seen"  // unix milliseconds of the last snapshot that was judged
)

// overload caps the rate that a service in trouble lets in: at once to nine
// tenths of what it was seen to finish, then back up in steps that grow while
// nothing queues. It is a rate cap by what is served, with the utilisation
// law (Denning and Buzen, The Operational Analysis of Queueing Network Models,
// 1978) for its release: what is finished over the share of time that workers
// are taken is the capacity, so a cap need not creep where most of them are free.
//
// Where nobody measures workers it probes, beginning with a step so small that a
// wrong one is undone before the queue is full.
//
// A lift needs no rules of its own: what leads back is the release, whether or not
// somebody wants the lever back, and an overload on the way is one like any other.
//
// It sees a service through its own counters, so what a cap turned away counts as
// offered; a probe is judged only by data that begins after it.
type overload struct{}

// Next judges one snapshot.
func (overload) Next(memory sre.Control, s Scene) Move {
	m := recall(memory)
	look, ok := observe(s, m)
	if !ok {
		m.why = "no fresh data: holding still"
		return Move{Memory: m.control(memory.Done)}
	}
	if !m.started {
		m.begin(look, s)
	}
	m.seen = look.at
	m.most = max(m.most, look.finished)
	if look.occupied > 0 && look.occupied < calmOccupancy && !look.late {
		m.work = look.inside
	}
	switch {
	case look.late:
		return m.lower(look, s)
	case look.at.Before(m.moved.Add(max(s.Every, settles))):
		m.why = "waiting to see what the last step did"
		return Move{Memory: m.control(false)}
	case look.occupied == 0 && m.limit > m.full && look.wait > waitGrows*look.timeout:
		return m.undo(look, s)
	}
	return m.raise(look, s)
}

// lower sets the cap to what the service can finish, less what it takes to work
// off, in two ticks, a queue that is too long already. It never raises one.
func (m *state) lower(l look, s Scene) Move {
	m.step = firstStep
	m.why = fmt.Sprintf("%s: finishes %.4g of %.4g a second", l.why, l.finished, l.offered)
	want := shown(safety * l.finished)
	if !m.capped || m.limit <= m.full || want > m.room {
		m.room, m.full = want, want/safety
	}
	if !l.at.Before(m.moved) { // older data shows a queue that this cap had no time to drain
		want -= max(0, l.wait-waitDrained*l.timeout) * l.finished / (2 * s.Every.Seconds())
	}
	want = max(want, leastShare*m.most, minimum)
	if want >= m.limit {
		return Move{Memory: m.control(false)}
	}
	return m.set(want, s)
}

// raise lets in more: what free workers say, and where nobody measures those, by
// trial.
func (m *state) raise(l look, s Scene) Move {
	if m.limit > freeAbove*l.offered && l.wait < waitShort*l.timeout {
		m.why = fmt.Sprintf("a cap of %.4g holds nothing down: %.4g a second are offered", m.limit, l.offered)
		return Move{Memory: m.control(true)}
	}
	m.why = fmt.Sprintf("nothing waits at %.4g a second: letting in more", m.limit)
	if l.occupied == 0 {
		want := min(ceiling, m.probe(l, s))
		if want <= m.limit {
			m.why = fmt.Sprintf("well at %.4g a second, unless an old queue still drains", m.limit)
			return Move{Memory: m.control(false)}
		}
		return m.set(want, s)
	}
	want := m.byOccupancy(l)
	if want < m.limit*leastRaise {
		m.why = fmt.Sprintf("%.0f %% of the workers are taken at %.4g a second: no room for more", 100*l.occupied, m.limit)
		return Move{Memory: m.control(false)}
	}
	return m.set(min(ceiling, want), s)
}

// undo takes back a probe that filled the queue, before it fills it up.
func (m *state) undo(l look, s Scene) Move {
	m.step = firstStep
	m.why = fmt.Sprintf("%.4g a second were too many: requests begin to wait, %.3g s", m.limit, l.wait)
	return m.set(max(m.room, minimum), s)
}

// byOccupancy is the cap that what is finished, and by how many of the workers,
// allows.
func (m *state) byOccupancy(l look) float64 {
	want := min(farthestJump*m.limit, safety*m.limit*min(1, l.finished/m.limit)/l.occupied)
	want = max(want, m.room)         // known from before a queue had to be drained
	if l.finished < safety*m.limit { // the cap does not bind: only its removal is at stake
		want = max(want, m.limit*(1+m.step))
	}
	m.step = min(longestStep, stepGrowth*m.step)
	return want
}

// probe is the next cap to try. The first goes beyond the rate at which the
// service was last full by no more than what may queue before the answer is seen,
// so that being wrong costs neither dead work nor a full queue, which refuses
// without regard to class. Once that went well the service can do more than it
// could, and nobody knows how much: steps grow fast, or the return takes longer
// than the fault did.
func (m *state) probe(l look, s Scene) float64 {
	if m.limit <= m.room {
		before := m.work
		m.work = l.inside // below what it is known to finish nothing new waits
		if l.inside > waitShort*l.timeout && math.Abs(l.inside-before) > steady*before {
			return m.limit // an old queue may still be draining
		}
		if m.limit < m.room {
			return m.room
		}
	}
	if m.limit <= m.full {
		blind := max(s.Every, settles) + s.Every + s.Now.Sub(l.at)
		m.step = secondStep
		return m.full * (1 + max(leastStep, min(firstStep, waitProbed*l.timeout/blind.Seconds())))
	}
	m.room, m.full = shown(safety*m.limit), m.limit
	want := m.limit * (1 + m.step)
	m.step = farthestJump - 1
	return want
}

func (m *state) set(limit float64, s Scene) Move {
	if m.capped {
		limit = s.part(m.limit, limit)
	}
	m.limit, m.moved, m.capped = shown(limit), s.Now, true
	return Move{Params: sre.Params{"rps": m.limit}, Memory: m.control(false)}
}

// shown is a rate as it is written.
func shown(rate float64) float64 { return math.Round(rate*shownPlaces) / shownPlaces }

// begin starts from the cap that is in force; without one, from none.
func (m *state) begin(l look, s Scene) {
	m.limit, m.step = ceiling, firstStep
	if rps, ok := s.Action.Params.Float("rps"); ok && rps > 0 {
		m.limit, m.capped, m.room, m.full = rps, true, rps, rps
	}
	m.moved, m.started = s.Since, true
	if m.limit >= ceiling && !l.late {
		m.limit = max(minimum, 2*freeAbove*l.offered) // nothing to hold down, until it is late
	}
}

// state is the law's memory, unpacked.
type state struct {
	started, capped                     bool // has judged a snapshot; has set a cap
	limit, step, most, work, room, full float64
	moved, seen                         time.Time
	why                                 string
}

func recall(c sre.Control) *state {
	n := c.Numbers
	limit, started := n[numCap]
	return &state{
		started: started, capped: started && n[numRoom] > 0, limit: limit, step: n[numStep], most: n[numMost], work: n[numWork], room: n[numRoom], full: n[numFull],
		moved: time.UnixMilli(int64(n[numMoved])).UTC(), seen: time.UnixMilli(int64(n[numSeen])).UTC(),
	}
}

func (m *state) control(done bool) sre.Control {
	c := sre.Control{Done: done, Why: m.why}
	if m.started {
		c.Numbers = map[string]float64{
			numCap: m.limit, numStep: m.step, numMost: m.most, numWork: m.work, numRoom: m.room, numFull: m.full,
			numMoved: float64(m.moved.UnixMilli()), numSeen: float64(m.seen.UnixMilli()),
		}
	}
	return c
}
