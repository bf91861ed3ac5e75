package guard

import (
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// breakerModel is the rules written down plainly, with a list for a window.
type breakerModel struct {
	s                       breakerSettings
	state                   circuit
	number                  int
	since, forced           time.Time
	seen                    []modelAttempt
	row                     int
	reopens, flying, passed int
}

type modelAttempt struct {
	slot   int64
	failed bool
}

func (m *breakerModel) enter(now time.Time, s circuit) {
	m.state, m.since, m.seen, m.row, m.flying, m.passed = s, now, nil, 0, 0, 0
	m.number++
}

func (m *breakerModel) pause() time.Duration { return min(m.s.open<<m.reopens, m.s.maxOpen) }

func (m *breakerModel) reopen(now time.Time) {
	if m.pause() < m.s.maxOpen {
		m.reopens++
	}
	m.enter(now, circuitOpen)
}

func (m *breakerModel) allow(now time.Time) bool {
	switch {
	case !m.forced.IsZero() && now.Before(m.forced):
		return false
	case !m.forced.IsZero():
		m.forced = time.Time{}
		m.enter(now, circuitHalfOpen)
	case m.state == circuitOpen && now.Sub(m.since) >= m.pause():
		m.enter(now, circuitHalfOpen)
	case m.state == circuitHalfOpen && m.flying > 0 && now.Sub(m.since) >= m.pause():
		m.reopen(now)
	}
	if m.state == circuitHalfOpen {
		if m.flying+m.passed >= m.s.probes {
			return false
		}
		m.flying++
	}
	return m.state != circuitOpen
}

func (m *breakerModel) settle(now time.Time, number int, ok bool) {
	if number != m.number {
		return
	}
	switch {
	case m.state == circuitHalfOpen && ok:
		m.flying--
		if m.passed++; m.passed == m.s.probes {
			m.reopens = 0
			m.enter(now, circuitClosed)
		}
	case m.state == circuitHalfOpen:
		m.reopen(now)
	default:
		slot := now.UnixNano() / int64(m.s.window/10)
		m.seen = append(m.seen, modelAttempt{slot, !ok})
		m.row++
		if ok {
			m.row = 0
		}
		all, failed := 0, 0
		for _, a := range m.seen {
			if a.slot > slot-10 {
				all++
				if a.failed {
					failed++
				}
			}
		}
		if all >= m.s.minRequests && 2*failed >= all || m.row == m.s.consecutive {
			m.enter(now, circuitOpen)
		}
	}
}

// TestBreakerAgreesWithItsModel drives the breaker through any order of events,
// with attempts that overlap, against the rules written down plainly.
func TestBreakerAgreesWithItsModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := testBreaker
		s.minRequests, s.consecutive, s.probes = rapid.IntRange(1, 6).Draw(t, "minimum"), rapid.IntRange(2, 6).Draw(t, "row"), rapid.IntRange(1, 3).Draw(t, "probes")
		b, m := newBreaker(s), &breakerModel{s: s, state: circuitClosed}
		type held struct {
			real   permit
			number int
		}
		var flying []held
		take := func() held {
			i := rapid.IntRange(0, len(flying)-1).Draw(t, "which")
			p := flying[i]
			flying = slices.Delete(flying, i, i+1)
			return p
		}
		ask := func() {
			p, got := b.allow(b.now)
			if want := m.allow(b.now); got != want {
				t.Fatalf("allowed %v, want %v in state %v", got, want, m.state)
			}
			if got {
				flying = append(flying, held{p, m.number})
			}
		}
		for _, op := range rapid.SliceOfN(rapid.IntRange(0, 19), 100, 300).Draw(t, "ops") {
			switch {
			case op < 6:
				ask()
			case op < 14 && len(flying) > 0:
				p := take()
				b.settle(b.now, p.real, op < 8)
				m.settle(b.now, p.number, op < 8)
			case op == 14 && len(flying) > 0:
				p := take()
				b.giveBack(p.real)
				if p.number == m.number && m.state == circuitHalfOpen {
					m.flying--
				}
			case op < 18:
				b.pass(time.Duration(rapid.IntRange(1, 9000).Draw(t, "ms")) * time.Millisecond)
			case op == 18 && rapid.IntRange(0, 4).Draw(t, "force") == 0:
				m.forced = b.now.Add(7 * time.Second)
				m.enter(b.now, circuitOpen)
				b.force(b.now, m.forced)
			case op == 19 && rapid.IntRange(0, 4).Draw(t, "reset") == 0:
				m.forced, m.reopens = time.Time{}, 0
				m.enter(b.now, circuitClosed)
				b.reset(b.now)
			}
			stats, _ := b.stats(b.now)
			if stats.State != string(m.state) || stats.Probes != m.flying || stats.Passed != m.passed || stats.Reopens != m.reopens {
				t.Fatalf("breaker %+v, model %+v", stats, m)
			}
		}
	})
}
