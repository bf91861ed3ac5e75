package detectors_test

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/sreagent/sreagent/detectors"
	"github.com/sreagent/sreagent/sre"
)

// A few failures among a few requests are noise, whatever their share: an error
// budget burns only where enough was asked and enough of it failed, at more than
// one tick; and an outage is still found.
func TestLesson14LittleTrafficIsNoise(t *testing.T) {
	limits := detectors.DefaultConfig().SLO
	worst := func(ps []sre.Precursor) sre.Severity {
		s := sre.Info
		for _, p := range ps {
			if p.Severity.Rank() > s.Rank() {
				s = p.Severity
			}
		}
		return s
	}
	rapid.Check(t, func(rt *rapid.T) {
		tick := rapid.SampledFrom([]time.Duration{10 * time.Second, time.Minute}).Draw(rt, "tick")
		f := newBudgetFeed(tick, stated(.999, "api"))
		requests, failed := 0., 0.
		for range rapid.IntRange(5, 120).Draw(rt, "ticks") {
			n, bad := 0., 0.
			switch rapid.IntRange(0, 3).Draw(rt, "asked") {
			case 0:
				n = float64(rapid.IntRange(1, 3).Draw(rt, "requests"))
				bad = float64(rapid.IntRange(0, int(n)).Draw(rt, "failures"))
			case 1:
				n = float64(rapid.IntRange(20, 60).Draw(rt, "many"))
				bad = float64(rapid.IntRange(0, 2).Draw(rt, "of them"))
			}
			requests, failed = requests+n, failed+bad
			share := 0.
			if n > 0 {
				share = bad / n
			}
			found := f.put(n/tick.Seconds(), share)
			if little := requests < limits.MinEvents || failed < limits.MinFailures-1e-6; little && len(found)+len(f.bank.Burns()) > 0 {
				rt.Fatalf("%v of %v requests failed: %+v", failed, requests, found)
			}
		}
	})
	t.Run("a single reading", func(t *testing.T) {
		f := newBudgetFeed(time.Minute, stated(.999, "api"))
		f.lasting(2*time.Hour, 100, 0)
		if ps := f.put(100, 1); len(ps) > 0 {
			t.Errorf("woken by one reading: %+v", ps)
		}
	})
	t.Run("what chance explains", func(t *testing.T) {
		f := newBudgetFeed(10*time.Second, stated(.999, "api"))
		f.lasting(6*time.Hour, 2, 0)
		seen := 0
		for range 29 { // 6 of 60 failed within the short window, where 4 would be no burn
			ps := f.put(2, .1)
			seen += len(ps)
			if worst(ps) != sre.Info {
				t.Fatalf("%+v", ps)
			}
		}
		if seen == 0 {
			t.Error("the test shows nothing: no budget burned")
		}
	})
	t.Run("an outage", func(t *testing.T) {
		f := newBudgetFeed(10*time.Second, stated(.999, "api"))
		f.lasting(6*time.Hour, .05, 0)
		if got := f.until(time.Hour, .05, 1); got <= 0 || got > 10*time.Minute {
			t.Errorf("it pages after %v", got)
		}
	})
}
