package guard

import (
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/failsafe-go/failsafe-go/circuitbreaker"
)

var testBreaker = breakerSettings{
	failureRatio: 0.5, minRequests: 4, open: 5 * time.Second, maxOpen: 40 * time.Second, window: 10 * time.Second, probes: 2,
}

// timedBreaker is a breaker with a hand on its clock.
type timedBreaker struct {
	breaker
	now time.Time
}

func newBreaker(s breakerSettings) *timedBreaker {
	b := &timedBreaker{now: epochStart}
	b.configure(b.now, &s)
	return b
}

func (b *timedBreaker) pass(d time.Duration) { b.now = b.now.Add(d) }

// try sends one attempt through and reports whether it was let through.
func (b *timedBreaker) try(ok bool) bool {
	p, allowed := b.allow(b.now)
	if allowed {
		b.settle(b.now, p, ok)
	}
	return allowed
}

func (b *timedBreaker) expect(t *testing.T, want circuit) {
	t.Helper()
	if got, _ := b.stats(b.now); got.State != string(want) {
		t.Fatalf("circuit is %v, want %v", got.State, want)
	}
}

func (b *timedBreaker) trip(t *testing.T) {
	t.Helper()
	for range testBreaker.minRequests {
		b.try(false)
	}
	b.expect(t, circuitOpen)
}

func TestBreakerOpensAtRatioAndMinimum(t *testing.T) {
	b := newBreaker(testBreaker)
	for range 3 {
		b.try(false)
	}
	b.expect(t, circuitClosed) // below the minimum
	b.try(true)
	b.expect(t, circuitOpen) // three of four failed

	b = newBreaker(testBreaker)
	for range 5 {
		b.try(true)
	}
	for range 4 {
		b.try(false)
	}
	b.expect(t, circuitClosed) // four of nine
	b.try(false)
	b.expect(t, circuitOpen) // five of ten
}

func TestBreakerOpensAfterFailuresInARow(t *testing.T) {
	s := testBreaker
	s.failureRatio, s.consecutive = 0, 3
	b := newBreaker(s)
	for range 20 {
		b.try(false)
		b.try(false)
		b.try(true)
	}
	b.expect(t, circuitClosed)
	b.try(false)
	b.try(false)
	b.expect(t, circuitClosed)
	b.try(false)
	b.expect(t, circuitOpen)
}

func TestBreakerForgetsWhatIsOlderThanItsWindow(t *testing.T) {
	b := newBreaker(testBreaker)
	for range 3 {
		b.try(false)
	}
	b.pass(9*time.Second + 999*time.Millisecond)
	if stats, _ := b.stats(b.now); stats.Failures != 3 {
		t.Errorf("%d failures within the window, want 3", stats.Failures)
	}
	b.pass(time.Millisecond)
	if stats, _ := b.stats(b.now); stats.Requests != 0 || stats.Consecutive != 3 {
		t.Errorf("after the window: %+v", stats)
	}
	b.try(false)
	b.expect(t, circuitClosed)
}

func TestBreakerHalfOpenAdmitsItsProbesOnly(t *testing.T) {
	b := newBreaker(testBreaker)
	b.trip(t)
	b.pass(5*time.Second - 1)
	if b.try(true) {
		t.Fatal("let through before the pause was over")
	}
	b.pass(1)
	var admitted atomic.Int64
	permits := make(chan permit, 64)
	var wg sync.WaitGroup
	for range 64 {
		wg.Go(func() {
			if p, ok := b.allow(b.now); ok {
				admitted.Add(1)
				permits <- p
			}
		})
	}
	wg.Wait()
	if admitted.Load() != 2 {
		t.Fatalf("%d probes, want 2", admitted.Load())
	}
	b.settle(b.now, <-permits, true)
	b.expect(t, circuitHalfOpen)
	if b.ready(b.now) {
		t.Error("room for a third probe")
	}
	b.settle(b.now, <-permits, true)
	b.expect(t, circuitClosed)
}

func TestBreakerPausesLongerWhileProbesFail(t *testing.T) {
	b := newBreaker(testBreaker)
	b.trip(t)
	for _, pause := range []time.Duration{5, 10, 20, 40, 40, 40} {
		b.pass(pause*time.Second - 1)
		if _, ok := b.allow(b.now); ok {
			t.Fatalf("probed before %v s were over", int64(pause))
		}
		b.pass(1)
		if !b.try(false) {
			t.Fatalf("not probed after %v s", int64(pause))
		}
		b.expect(t, circuitOpen)
	}
	b.pass(40 * time.Second)
	b.try(true)
	b.try(true)
	b.expect(t, circuitClosed)
	b.trip(t)
	b.pass(5 * time.Second)
	if !b.try(true) {
		t.Error("the pause is still long after a recovery")
	}
}

func TestBreakerTakesAHungProbeForFailed(t *testing.T) {
	b := newBreaker(testBreaker)
	b.trip(t)
	b.pass(5 * time.Second)
	hung, _ := b.allow(b.now)
	_, _ = b.allow(b.now)
	b.pass(5*time.Second - 1)
	b.ready(b.now)
	b.expect(t, circuitHalfOpen)
	b.pass(1)
	b.ready(b.now)
	b.expect(t, circuitOpen)
	b.settle(b.now, hung, true) // too late to say anything
	b.expect(t, circuitOpen)
	b.pass(10 * time.Second)
	if !b.ready(b.now) {
		t.Error("a hung probe holds the circuit open for ever")
	}
}

func TestBreakerIgnoresWhatBeganInAnotherState(t *testing.T) {
	b := newBreaker(testBreaker)
	old, _ := b.allow(b.now)
	older, _ := b.allow(b.now)
	b.trip(t)
	b.pass(5 * time.Second)
	probe, ok := b.allow(b.now)
	if !ok {
		t.Fatal("no probe after the pause")
	}
	b.settle(b.now, old, true)
	b.settle(b.now, older, true)
	b.expect(t, circuitHalfOpen)
	if _, ok := b.allow(b.now); !ok {
		t.Fatal("the second probe is missing")
	}
	if _, ok := b.allow(b.now); ok {
		t.Error("late results gave room for a third probe")
	}
	b.settle(b.now, probe, true)
	b.settle(b.now, old, false)
	b.expect(t, circuitHalfOpen)
}

func TestBreakerTakesPermitsBack(t *testing.T) {
	b := newBreaker(testBreaker)
	b.trip(t)
	b.pass(5 * time.Second)
	first, _ := b.allow(b.now)
	second, _ := b.allow(b.now)
	b.settle(b.now, first, true)
	b.giveBack(second)
	b.expect(t, circuitHalfOpen)
	third, ok := b.allow(b.now)
	if !ok {
		t.Fatal("the permit is lost")
	}
	b.settle(b.now, third, true) // the second success: the first was not forgotten
	b.expect(t, circuitClosed)
}

func TestBreakerReconfiguredKeepsItsState(t *testing.T) {
	b := newBreaker(testBreaker)
	b.try(false)
	b.try(false)
	fewer := testBreaker
	fewer.minRequests, fewer.window = 3, time.Minute
	b.configure(b.now, &fewer)
	if stats, _ := b.stats(b.now); stats.Failures != 2 || stats.Consecutive != 2 {
		t.Fatalf("the counts are gone: %+v", stats)
	}
	b.try(false)
	b.expect(t, circuitOpen)
	b.pass(5 * time.Second)
	b.try(false)
	b.expect(t, circuitOpen)
	longer := testBreaker
	longer.open, longer.maxOpen = time.Minute, time.Hour
	b.configure(b.now, &longer)
	b.pass(2*time.Minute - 1) // the back-off of one failed recovery is kept too
	if b.try(true) {
		t.Error("an open circuit did not take over the new pause")
	}
	b.pass(1)
	p, _ := b.allow(b.now)
	b.settle(b.now, p, true)
	b.expect(t, circuitHalfOpen)
	one := longer
	one.probes = 1
	b.configure(b.now, &one)
	b.expect(t, circuitClosed) // enough have succeeded
	b.configure(b.now, nil)
	if !b.try(false) {
		t.Error("a removed breaker still refuses")
	}
	if _, present := b.stats(b.now); present {
		t.Error("a removed breaker has a state")
	}
}

func TestBreakerByHand(t *testing.T) {
	b := newBreaker(testBreaker)
	under, _ := b.allow(b.now)
	b.force(b.now, b.now.Add(time.Hour))
	b.settle(b.now, under, true)
	b.pass(time.Hour - 1)
	if b.try(true) {
		t.Error("let through a circuit that is held open")
	}
	if stats, _ := b.stats(b.now); !stats.Forced || !stats.Next.Equal(b.now.Add(1)) {
		t.Errorf("%+v", stats)
	}
	b.pass(1)
	b.try(true)
	b.expect(t, circuitHalfOpen) // probes decide
	b.try(false)
	b.expect(t, circuitOpen)
	b.reset(b.now)
	b.expect(t, circuitClosed)

	bare := &timedBreaker{now: epochStart}
	bare.force(bare.now, bare.now.Add(time.Minute))
	if bare.try(true) {
		t.Error("without thresholds an order is ignored")
	}
	bare.pass(time.Minute)
	if !bare.try(false) {
		t.Error("without thresholds the circuit stays open")
	}
	if _, present := bare.stats(bare.now); present {
		t.Error("a breaker was left behind")
	}
}

// TestBreakerAgreesWithFailsafe holds the breaker equal to the library's where
// the two mean the same: answers in order, a pause that does not grow.
func TestBreakerAgreesWithFailsafe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := testBreaker
		s.maxOpen, s.window = s.open, time.Hour // the library's window moves by other steps
		b := newBreaker(s)
		other := circuitbreaker.NewBuilder[any]().
			WithFailureRateThreshold(s.failureRatio, uint(s.minRequests), s.window).
			WithSuccessThreshold(uint(s.probes)).WithDelay(s.open).Build()
		random := rand.New(rand.NewPCG(1, 2))
		opened := 0
		for i := range 5000 {
			if random.IntN(5) == 0 {
				d := time.Duration(random.IntN(4)) * time.Second
				time.Sleep(d)
				b.pass(d)
			}
			ok := random.IntN(5) > 2
			allowed := other.TryAcquirePermit()
			if b.ready(b.now) != allowed {
				t.Fatalf("step %d: the library allows %v in state %v", i, allowed, other.State())
			}
			if !allowed {
				continue
			}
			b.try(ok)
			if ok {
				other.RecordSuccess()
			} else {
				other.RecordFailure()
			}
			if got, _ := b.stats(b.now); got.State != other.State().String() {
				t.Fatalf("step %d: %s, the library says %s", i, got.State, other.State())
			}
			if other.IsOpen() {
				opened++
			}
		}
		if opened < 100 {
			t.Errorf("opened %d times only", opened)
		}
	})
}

func TestBreakerUnderSixtyFourGoroutines(t *testing.T) {
	s := testBreaker
	s.open, s.maxOpen = time.Nanosecond, time.Nanosecond
	b := newBreaker(s)
	var wg sync.WaitGroup
	for i := range 64 {
		wg.Go(func() {
			for n := range 200 {
				now := epochStart.Add(time.Duration(n) * time.Millisecond)
				p, ok := b.allow(now)
				switch {
				case !ok:
				case (n+i)%5 == 0:
					b.giveBack(p)
				default:
					b.settle(now, p, (n+i)%3 == 0)
				}
				if n%50 == 0 {
					other := s
					other.minRequests = 2 + n%7
					b.configure(now, &other)
				}
			}
		})
	}
	wg.Wait()
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.outstanding < 0 || b.outstanding > s.probes || b.successes < 0 || b.successes >= s.probes {
		t.Errorf("%d probes outstanding, %d succeeded, at %d probes", b.outstanding, b.successes, s.probes)
	}
}
