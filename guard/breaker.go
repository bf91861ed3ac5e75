package guard

import (
	"sync"
	"time"

	"github.com/failsafe-go/failsafe-go/circuitbreaker"
)

// maxReopens bounds the back-off of recovery: probes that keep failing come
// after open, 2, 4 and then always 8 times open.
const maxReopens = 3

type breakerSettings struct {
	failureRatio float64
	minRequests  int
	open         time.Duration
	window       time.Duration
	probes       int
}

// permit ties an attempt to the state of the breaker in which it began: what
// began before the circuit opened says nothing about its recovery.
type permit struct {
	generation uint64
}

// breaker is a failsafe-go circuit breaker that can be changed at run time. It
// adds what that one lacks: results of another state are ignored, a permit can
// be given back without a verdict, and the pause grows while probes fail.
type breaker struct {
	mu          sync.Mutex
	cb          circuitbreaker.CircuitBreaker[any] // nil is no breaker
	settings    breakerSettings
	generation  uint64 // of the state
	reopens     int
	outstanding int // probes without an answer
	successes   int // of probes

	changed func(circuitbreaker.State, bool)
}

// configure changes the thresholds; nil removes the breaker. An open circuit
// stays open, for the new pause.
func (b *breaker) configure(s *breakerSettings) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case s == nil && b.cb == nil, s != nil && b.cb != nil && *s == b.settings:
		return
	case s == nil:
		b.cb, b.settings, b.reopens = nil, breakerSettings{}, 0
		b.generation++
		b.tell(circuitbreaker.ClosedState, false)
		return
	}
	open := b.cb != nil && !b.cb.IsClosed()
	b.settings, b.reopens = *s, 0
	b.replace(s.open)
	if open {
		b.cb.Open()
	}
	b.tell(b.cb.State(), true)
}

// allow asks for a permit, which must be settled or given back.
func (b *breaker) allow() (permit, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.cb == nil {
		return permit{b.generation}, true
	}
	if !b.cb.TryAcquirePermit() {
		return permit{}, false
	}
	if b.cb.IsHalfOpen() {
		b.outstanding++
	}
	return permit{b.generation}, true
}

// settle records whether an attempt succeeded.
func (b *breaker) settle(p permit, ok bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.cb == nil || p.generation != b.generation {
		return
	}
	probing := b.cb.IsHalfOpen()
	if probing {
		b.outstanding--
	}
	if ok {
		if probing {
			b.successes++
		}
		b.cb.RecordSuccess()
		if b.reopens > 0 && b.cb.IsClosed() {
			b.reopens = 0
			b.replace(b.settings.open)
		}
		return
	}
	b.cb.RecordFailure()
	if probing && b.cb.IsOpen() { // the library's pause is fixed when it is built
		b.reopens = min(b.reopens+1, maxReopens)
		b.replace(b.settings.open << b.reopens)
		b.cb.Open()
	}
}

// giveBack settles an attempt that says nothing about the callee.
func (b *breaker) giveBack(p permit) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.cb == nil || p.generation != b.generation || !b.cb.IsHalfOpen() {
		return
	}
	// The library cannot release a permit without a result: stand up the same
	// half-open state again, with one probe less in flight.
	outstanding, successes, generation := b.outstanding-1, b.successes, b.generation
	b.replace(b.settings.open << b.reopens)
	b.cb.HalfOpen()
	for range successes + outstanding {
		b.cb.TryAcquirePermit()
	}
	for range successes {
		b.cb.RecordSuccess()
	}
	b.outstanding, b.successes, b.generation = outstanding, successes, generation
}

// state returns the state of the circuit and whether there is a breaker.
func (b *breaker) state() (circuitbreaker.State, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.cb == nil {
		return circuitbreaker.ClosedState, false
	}
	return b.cb.State(), true
}

func (b *breaker) replace(pause time.Duration) {
	s := b.settings
	b.generation++
	b.outstanding, b.successes = 0, 0
	b.cb = circuitbreaker.NewBuilder[any]().
		WithFailureRateThreshold(s.failureRatio, uint(s.minRequests), s.window).
		WithSuccessThreshold(uint(s.probes)).
		WithDelay(pause).
		OnStateChanged(b.transition). // runs within a call on cb, so mu is held
		Build()
}

func (b *breaker) transition(e circuitbreaker.StateChangedEvent) {
	b.generation++
	b.outstanding, b.successes = 0, 0
	b.tell(e.NewState, true)
}

func (b *breaker) tell(s circuitbreaker.State, present bool) {
	if b.changed != nil {
		b.changed(s, present)
	}
}
