package guard

import (
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/failsafe-go/failsafe-go/circuitbreaker"
	"pgregory.net/rapid"
)

var testBreaker = breakerSettings{failureRatio: 0.5, minRequests: 4, open: 5 * time.Second, window: 10 * time.Second, probes: 2}

func newBreaker(s breakerSettings) *breaker {
	b := &breaker{}
	b.configure(&s)
	return b
}

// try sends one attempt through and reports whether it was let through.
func try(b *breaker, ok bool) bool {
	p, allowed := b.allow()
	if allowed {
		b.settle(p, ok)
	}
	return allowed
}

func expectState(t *testing.T, b *breaker, want circuitbreaker.State) {
	t.Helper()
	if got, _ := b.state(); got != want {
		t.Fatalf("circuit is %v, want %v", got, want)
	}
}

func open(t *testing.T, b *breaker) {
	t.Helper()
	for range testBreaker.minRequests {
		try(b, false)
	}
	expectState(t, b, circuitbreaker.OpenState)
}

func TestBreakerOpensAtRatioAndMinimum(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBreaker(testBreaker)
		for range 3 {
			try(b, false)
		}
		expectState(t, b, circuitbreaker.ClosedState) // below the minimum
		try(b, true)
		expectState(t, b, circuitbreaker.OpenState) // three of four failed

		b = newBreaker(testBreaker)
		for range 5 {
			try(b, true)
		}
		for range 4 {
			try(b, false)
		}
		expectState(t, b, circuitbreaker.ClosedState) // four of nine
		try(b, false)
		expectState(t, b, circuitbreaker.OpenState) // five of ten
	})
}

func TestBreakerForgetsWhatIsOlderThanItsWindow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBreaker(testBreaker)
		for range 3 {
			try(b, false)
		}
		time.Sleep(11 * time.Second)
		try(b, false)
		expectState(t, b, circuitbreaker.ClosedState)
	})
}

func TestBreakerHalfOpenAdmitsItsProbesOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBreaker(testBreaker)
		open(t, b)
		time.Sleep(5*time.Second - 1)
		if try(b, true) {
			t.Fatal("let through before the pause was over")
		}
		time.Sleep(time.Nanosecond)
		var admitted atomic.Int64
		permits := make(chan permit, 64)
		var wg sync.WaitGroup
		for range 64 {
			wg.Go(func() {
				if p, ok := b.allow(); ok {
					admitted.Add(1)
					permits <- p
				}
			})
		}
		wg.Wait()
		if admitted.Load() != 2 {
			t.Fatalf("%d probes, want 2", admitted.Load())
		}
		b.settle(<-permits, true)
		expectState(t, b, circuitbreaker.HalfOpenState)
		b.settle(<-permits, true)
		expectState(t, b, circuitbreaker.ClosedState)
	})
}

func TestBreakerPausesLongerWhileProbesFail(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBreaker(testBreaker)
		open(t, b)
		for _, pause := range []time.Duration{5, 10, 20, 40, 40} {
			time.Sleep(pause*time.Second - 1)
			if _, ok := b.allow(); ok {
				t.Fatalf("probed before %v s were over", int64(pause))
			}
			time.Sleep(time.Nanosecond)
			if !try(b, false) {
				t.Fatalf("not probed after %v s", int64(pause))
			}
			expectState(t, b, circuitbreaker.OpenState)
		}
		time.Sleep(40 * time.Second)
		try(b, true)
		try(b, true)
		expectState(t, b, circuitbreaker.ClosedState)
		open(t, b)
		time.Sleep(5 * time.Second)
		if !try(b, true) {
			t.Error("the pause is still long after a recovery")
		}
	})
}

func TestBreakerIgnoresWhatBeganInAnotherState(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBreaker(testBreaker)
		old, _ := b.allow()
		older, _ := b.allow()
		open(t, b)
		time.Sleep(5 * time.Second)
		probe, ok := b.allow()
		if !ok {
			t.Fatal("no probe after the pause")
		}
		b.settle(old, true)
		b.settle(older, true)
		expectState(t, b, circuitbreaker.HalfOpenState)
		if _, ok := b.allow(); !ok {
			t.Fatal("the second probe is missing")
		}
		if _, ok := b.allow(); ok {
			t.Error("late results gave room for a third probe")
		}
		b.settle(probe, true)
		b.settle(old, false)
		expectState(t, b, circuitbreaker.HalfOpenState)
	})
}

func TestBreakerTakesPermitsBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBreaker(testBreaker)
		open(t, b)
		time.Sleep(5 * time.Second)
		first, _ := b.allow()
		second, _ := b.allow()
		b.settle(first, true)
		b.giveBack(second)
		expectState(t, b, circuitbreaker.HalfOpenState)
		third, ok := b.allow()
		if !ok {
			t.Fatal("the permit is lost")
		}
		b.settle(third, true) // the second success: the first was not forgotten
		expectState(t, b, circuitbreaker.ClosedState)
	})
}

func TestBreakerReconfigured(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBreaker(testBreaker)
		open(t, b)
		longer := testBreaker
		longer.open = time.Minute
		b.configure(&longer)
		expectState(t, b, circuitbreaker.OpenState)
		time.Sleep(59 * time.Second)
		if try(b, true) {
			t.Error("an open circuit did not take over the new pause")
		}
		b.configure(nil)
		if !try(b, false) {
			t.Error("a removed breaker still refuses")
		}
		if _, present := b.state(); present {
			t.Error("a removed breaker has a state")
		}
	})
}

// TestBreakerAgreesWithItsModel drives the breaker through any order of events,
// with attempts that overlap, against the rules written down plainly.
func TestBreakerAgreesWithItsModel(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		ops := rapid.SliceOfN(rapid.IntRange(0, 9), 300, 400).Draw(rt, "ops")
		synctest.Test(t, func(t *testing.T) { breakerAgainstModel(t, ops) })
	})
}

type modelPermit struct {
	real  permit
	state int // number of the state in which it began
}

func breakerAgainstModel(t *testing.T, ops []int) {
	s := testBreaker
	s.window = time.Hour // the window has a test of its own
	b := newBreaker(s)
	m := struct {
		state                   circuitbreaker.State
		number                  int
		failures, all           int
		since                   time.Time
		reopens, flying, passed int
		permits                 []modelPermit
	}{}
	enter := func(state circuitbreaker.State) {
		m.state, m.failures, m.all, m.flying, m.passed, m.since = state, 0, 0, 0, 0, time.Now()
		m.number++
	}
	settle := func(p modelPermit, ok bool) {
		b.settle(p.real, ok)
		if p.state != m.number {
			return
		}
		m.all++
		switch {
		case m.state == circuitbreaker.ClosedState:
			if !ok {
				m.failures++
			}
			rate := math.Round(float64(m.failures)/float64(m.all)*100) / 100 // the library counts in hundredths
			if m.all >= s.minRequests && rate >= s.failureRatio {
				enter(circuitbreaker.OpenState)
			}
		case ok:
			m.flying--
			if m.passed++; m.passed == s.probes {
				m.reopens = 0
				enter(circuitbreaker.ClosedState)
			}
		default:
			m.reopens = min(m.reopens+1, maxReopens)
			enter(circuitbreaker.OpenState)
		}
	}
	ask := func() bool {
		want := m.state == circuitbreaker.ClosedState
		if m.state == circuitbreaker.OpenState && time.Since(m.since) >= s.open<<m.reopens {
			enter(circuitbreaker.HalfOpenState)
		}
		if m.state == circuitbreaker.HalfOpenState && m.flying < s.probes {
			m.flying++
			want = true
		}
		p, got := b.allow()
		if got != want {
			t.Fatalf("allowed %v, want %v in state %v", got, want, m.state)
		}
		if got {
			m.permits = append(m.permits, modelPermit{p, m.number})
		}
		return got
	}
	take := func(i int) modelPermit {
		p := m.permits[i]
		m.permits = slices.Delete(m.permits, i, i+1)
		return p
	}
	for _, op := range ops {
		switch {
		case op < 2:
			ask()
		case op < 4 && len(m.permits) > 0:
			settle(take(0), op == 2)
		case op == 4 && len(m.permits) > 0:
			p := take(0)
			b.giveBack(p.real)
			if p.state == m.number && m.state == circuitbreaker.HalfOpenState {
				m.flying--
			}
		case op < 7:
			time.Sleep(7 * time.Second)
		case ask():
			settle(take(len(m.permits)-1), op == 9)
		}
		expectState(t, b, m.state)
	}
}

func TestBreakerUnderSixtyFourGoroutines(t *testing.T) {
	s := testBreaker
	s.open = time.Nanosecond
	b := newBreaker(s)
	var wg sync.WaitGroup
	for i := range 64 {
		wg.Go(func() {
			for n := range 200 {
				p, ok := b.allow()
				switch {
				case !ok:
				case (n+i)%5 == 0:
					b.giveBack(p)
				default:
					b.settle(p, (n+i)%3 == 0)
				}
				if n%50 == 0 {
					other := s
					other.minRequests = 2 + n%7
					b.configure(&other)
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
