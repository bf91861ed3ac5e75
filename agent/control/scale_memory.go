package control

import (
	"maps"
	"slices"
	"time"

	"github.com/sreagent/sreagent/sre"
)

// Names of what the law Scale remembers, in Control.Numbers; times are seconds
// since 1970.
const (
	troubleAt = "trouble_at"
	askedAt   = "asked_at"
	startTook = "start_seconds"
	slotNow   = "slot"
	slotPeak  = "slot_peak"
	// todayRatio is how the highest load of the last slot compared with the past.
	todayRatio = "today"
	baseAt     = "base_at"
	baseValue  = "base"
	adviceAt   = "advice_at" // of the first advice
	way        = "way"       // 1: the last move was up, -1: down
	turns      = "turns"     // changes of direction
	turnAt     = "turn_at"   // the last one
)

// maxAdvice bounds what is kept of the longest window, at ticks of a second.
const maxAdvice = 360

// recollection is a copy of a law's memory that it may write to.
type recollection struct{ sre.Control }

// recollect copies a memory: the caller's is in the trail and never changes.
func recollect(c sre.Control) recollection {
	c.Numbers = maps.Clone(c.Numbers)
	if c.Numbers == nil {
		c.Numbers = map[string]float64{}
	}
	c.Recent = slices.Clone(c.Recent)
	c.Done, c.Why = false, ""
	return recollection{c}
}

func (m *recollection) set(name string, v float64) { m.Numbers[name] = v }

func seconds(t time.Time) float64 { return float64(t.UnixMilli()) / 1000 }

// advise notes how many replicas were asked for at an instant, once, and forgets
// what is older than the longest window.
func (m *recollection) advise(at time.Time, wanted float64, window time.Duration) {
	if n := len(m.Recent); n > 0 && m.Recent[n-1].At.Equal(at) {
		m.Recent[n-1].Value = wanted
		return
	}
	if len(m.Recent) == 0 {
		m.set(adviceAt, seconds(at))
	}
	m.Recent = append(m.Recent, sre.Sample{At: at, Value: wanted})
	m.Recent = slices.DeleteFunc(m.Recent, func(s sre.Sample) bool { return at.Sub(s.At) > window })
	if over := len(m.Recent) - maxAdvice; over > 0 {
		m.Recent = slices.Delete(m.Recent, 0, over)
	}
}

// since is for how long the law has been giving advice.
func (m *recollection) since(now time.Time) time.Duration {
	return time.Duration((seconds(now) - m.Numbers[adviceAt]) * float64(time.Second))
}

// least and most are over the advice since an instant.
func (m *recollection) least(from time.Time) float64 {
	v := m.Recent[len(m.Recent)-1].Value
	for _, s := range m.Recent {
		if !s.At.Before(from) {
			v = min(v, s.Value)
		}
	}
	return v
}

func (m *recollection) most(from time.Time) float64 {
	v := m.Recent[len(m.Recent)-1].Value
	for _, s := range m.Recent {
		if !s.At.Before(from) {
			v = max(v, s.Value)
		}
	}
	return v
}

// base is the number of replicas at the beginning of the present minute: rates
// are counted from it.
func (m *recollection) base(now time.Time, n float64) float64 {
	at, known := m.Numbers[baseAt]
	if !known || seconds(now)-at >= ratePeriod.Seconds() {
		m.set(baseAt, seconds(now))
		m.set(baseValue, n)
	}
	return m.Numbers[baseValue]
}

// turned counts changes of direction; those of long ago are forgotten.
func (m *recollection) turned(within time.Duration, now time.Time, from, to float64) {
	if m.old(within, now) {
		delete(m.Numbers, turns)
	}
	if from == to {
		return
	}
	direction := 1.0
	if to < from {
		direction = -1
	}
	if last, moved := m.Numbers[way]; moved && last != direction {
		m.set(turns, m.Numbers[turns]+1)
		m.set(turnAt, seconds(now))
	}
	m.set(way, direction)
}

func (m *recollection) old(within time.Duration, now time.Time) bool {
	return seconds(now)-m.Numbers[turnAt] > within.Seconds()
}

// wavers reports whether the law has been going to and fro.
func (m *recollection) wavers(within time.Duration, now time.Time) bool {
	return m.Numbers[turns] >= waverTurns && !m.old(within, now)
}
