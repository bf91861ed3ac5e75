package guard

import (
	"sync"
	"time"
)

// circuit is the state of a breaker.
type circuit string

// The closed set of states.
const (
	circuitClosed   circuit = "closed"
	circuitHalfOpen circuit = "half-open"
	circuitOpen     circuit = "open"
)

// breakerSettings are the thresholds in force; two of them can be compared.
type breakerSettings struct {
	failureRatio float64 // 0 is off
	minRequests  int
	consecutive  int // failures in a row; 0 is off
	open         time.Duration
	maxOpen      time.Duration
	window       time.Duration
	probes       int
}

// pause is how long the circuit stays open after so many failed recoveries.
func (s breakerSettings) pause(reopens int) time.Duration {
	d := s.open
	for range reopens {
		if d >= s.maxOpen/2 {
			return max(s.open, s.maxOpen)
		}
		d *= 2
	}
	return d
}

// permit ties an attempt to the state of the breaker in which it began: what
// began before the circuit opened says nothing about its recovery.
type permit struct {
	generation uint64
}

// breaker is a circuit breaker (Nygard, Release It!, 2007) whose thresholds can
// move while it is in any state. It is a state machine of its own, because the
// one of failsafe-go keeps its windows and pauses on the system's clock, fixes
// its thresholds when it is built, cannot take a permit back, and counts late
// answers of a former state; breaker_test.go holds the two equal where they
// overlap. Every method that needs the time is told it.
type breaker struct {
	mu         sync.Mutex
	on         bool // has thresholds
	settings   breakerSettings
	state      circuit // "" is closed
	generation uint64  // of the state
	since      time.Time
	forced     time.Time // an operator keeps it open until then; zero is nobody

	seen        tally
	consecutive int
	reopens     int
	outstanding int // probes without an answer
	successes   int // of probes

	changed func(s circuit, present bool) // called with mu held
}

// configure changes the thresholds; nil removes the breaker. State, counts and
// back-off stay, so an open circuit waits for the new pause from when it opened.
func (b *breaker) configure(now time.Time, s *breakerSettings) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case s == nil && !b.on, s != nil && b.on && *s == b.settings:
		return
	case s == nil:
		b.on, b.settings = false, breakerSettings{}
		if b.forced.IsZero() {
			b.enter(now, circuitClosed)
			b.reopens = 0
		}
		b.tell()
		return
	case !b.on && b.forced.IsZero():
		b.enter(now, circuitClosed)
	}
	if s.window != b.settings.window {
		b.seen.widen(now, b.settings.window, s.window)
	}
	b.on, b.settings = true, *s
	if b.state == circuitHalfOpen && b.successes >= s.probes {
		b.recover(now)
	}
	b.tell()
}

// allow asks for a permit, which must be settled or given back.
func (b *breaker) allow(now time.Time) (permit, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.advance(now)
	switch b.state {
	case circuitOpen:
		return permit{}, false
	case circuitHalfOpen:
		if b.outstanding+b.successes >= b.settings.probes {
			return permit{}, false
		}
		b.outstanding++
	case circuitClosed:
	}
	return permit{b.generation}, true
}

// ready reports whether allow would give a permit, and takes none.
func (b *breaker) ready(now time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.advance(now)
	return b.state != circuitOpen && (b.state != circuitHalfOpen || b.outstanding+b.successes < b.settings.probes)
}

// advance does what the passing of time alone does.
func (b *breaker) advance(now time.Time) {
	switch {
	case !b.forced.IsZero():
		if now.Before(b.forced) {
			return
		}
		b.forced = time.Time{}
		if b.on {
			b.enter(now, circuitHalfOpen)
		} else {
			b.enter(now, circuitClosed)
		}
		b.tell()
	case b.state == circuitOpen && !now.Before(b.next()):
		b.enter(now, circuitHalfOpen)
		b.tell()
	case b.state == circuitHalfOpen && b.outstanding > 0 && !now.Before(b.next()):
		b.reopen(now) // a probe that hangs has failed: it must not hold the circuit for ever
	}
}

// next is when an open circuit lets probes through, or when a half-open one
// takes probes that have not answered for failed.
func (b *breaker) next() time.Time {
	if !b.forced.IsZero() {
		return b.forced
	}
	return b.since.Add(b.settings.pause(b.reopens))
}

// settle records whether an attempt succeeded.
func (b *breaker) settle(now time.Time, p permit, ok bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.on || p.generation != b.generation {
		return
	}
	switch {
	case b.state == circuitHalfOpen && ok:
		b.outstanding--
		if b.successes++; b.successes >= b.settings.probes {
			b.recover(now)
		}
	case b.state == circuitHalfOpen:
		b.reopen(now)
	case b.state == circuitOpen: // no permit is of an open circuit
	default:
		b.consecutive++
		if ok {
			b.consecutive = 0
		}
		b.seen.add(now, b.settings.window, !ok)
		if b.tripped(now) { // by a success too: it can complete the minimum
			b.enter(now, circuitOpen)
			b.tell()
		}
	}
}

func (b *breaker) tripped(now time.Time) bool {
	s := b.settings
	if s.consecutive > 0 && b.consecutive >= s.consecutive {
		return true
	}
	all, failed := b.seen.sums(now, s.window)
	return s.failureRatio > 0 && all >= s.minRequests && float64(failed) >= s.failureRatio*float64(all)-rounding
}

// giveBack settles an attempt that says nothing about the callee.
func (b *breaker) giveBack(p permit) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.on && p.generation == b.generation && b.state == circuitHalfOpen {
		b.outstanding--
	}
}

// force keeps the circuit open until then, with or without thresholds. After
// that probes decide, as after any pause.
func (b *breaker) force(now, until time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.enter(now, circuitOpen)
	b.forced = until
	b.tell()
}

// reset closes the circuit and forgets what led to its opening.
func (b *breaker) reset(now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.forced = time.Time{}
	b.recover(now)
	b.tell()
}

func (b *breaker) recover(now time.Time) {
	b.reopens = 0
	b.enter(now, circuitClosed)
	b.tell()
}

func (b *breaker) reopen(now time.Time) {
	b.enter(now, circuitOpen)
	if b.settings.pause(b.reopens) < b.settings.maxOpen {
		b.reopens++
	}
	b.tell()
}

func (b *breaker) enter(now time.Time, s circuit) {
	b.state, b.since = s, now
	b.generation++
	b.outstanding, b.successes, b.consecutive = 0, 0, 0
	b.seen = tally{}
}

func (b *breaker) tell() {
	if b.changed != nil {
		b.changed(b.phase(), b.on || !b.forced.IsZero())
	}
}

// silence ends what changed is told.
func (b *breaker) silence() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.changed = nil
}

func (b *breaker) phase() circuit {
	if b.state == "" {
		return circuitClosed
	}
	return b.state
}

// BreakerStats is one circuit as GET /guard/v1/state shows it.
type BreakerStats struct {
	State       string    `json:"state"`          // closed, half-open or open
	Since       time.Time `json:"since,omitzero"` // when it came into that state
	Next        time.Time `json:"next,omitzero"`  // when the next attempt is let through, while open
	Forced      bool      `json:"forced"`         // an operator keeps it open
	Requests    int       `json:"requests"`       // judged within the window
	Failures    int       `json:"failures"`       // of these
	Consecutive int       `json:"consecutive"`    // failures in a row
	Probes      int       `json:"probes"`         // under way
	Passed      int       `json:"passed"`         // probes that succeeded
	Reopens     int       `json:"reopens"`        // failed recoveries that lengthen the pause
}

// stats returns the counts, and whether there is a breaker.
func (b *breaker) stats(now time.Time) (BreakerStats, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	all, failed := b.seen.sums(now, b.settings.window)
	s := BreakerStats{
		State: string(b.phase()), Since: b.since, Forced: !b.forced.IsZero(), Requests: all, Failures: failed,
		Consecutive: b.consecutive, Probes: b.outstanding, Passed: b.successes, Reopens: b.reopens,
	}
	if b.state == circuitOpen {
		s.Next = b.next()
	}
	return s, b.on || !b.forced.IsZero()
}
