package arbiter

import (
	"math"
	"testing"
	"time"

	"github.com/sreagent/sreagent/sre"
)

const tick = 10 * time.Second

var swingKnob = Knob{sre.Shed, on("db")}

// wave is n values that change sides every half a period.
func wave(n, half int, middle, size float64) []float64 {
	out := make([]float64, n)
	for i := range out {
		out[i] = middle - size
		if i/half%2 == 1 {
			out[i] = middle + size
		}
	}
	return out
}

func TestTurnsAndCrossingsOfWavesAndOfNoise(t *testing.T) {
	for name, c := range map[string]struct {
		values           []float64
		turns, crossings int
	}{
		"nothing":            {nil, 0, 0},
		"still":              {wave(12, 99, 5, 1), 0, 0},
		"up and down again":  {[]float64{100, 50, 50, 60, 70, 80, 100}, 1, 0},
		"square, fast":       {wave(12, 1, 5, 1), 10, 11},
		"square, slow":       {wave(12, 3, 5, 1), 2, 3},
		"square, no reading": {[]float64{4, 6, math.NaN(), 4, 6, 4}, 3, 4},
		"small beside it":    {wave(12, 1, 100, 1), 0, 11},
		"within two sigma":   {wave(12, 1, 5, .3), 10, 0},
	} {
		sigma := .2
		if name == "up and down again" {
			sigma = 100
		}
		if turns, crossings := Turns(c.values), Crossings(c.values, sigma); turns != c.turns || crossings != c.crossings {
			t.Errorf("%s: %d turns and %d crossings, want %d and %d", name, turns, crossings, c.turns, c.crossings)
		}
	}
}

// What chance alone does to an error is not taken for a swing: a sum of twelve
// uniform numbers is close to normal (Irwin and Hall).
func TestNoiseIsNoSwing(t *testing.T) {
	seed, found := uint64(1), 0
	uniform := func() float64 { // splitmix64
		seed += 0x9e3779b97f4a7c15
		z := (seed ^ seed>>30) * 0xbf58476d1ce4e5b9
		z = (z ^ z>>27) * 0x94d049bb133111eb
		return float64(z^z>>31) / math.MaxUint64
	}
	for range 2000 {
		values := make([]float64, SwingTicks)
		for i := range values {
			sum := -6.
			for range 12 {
				sum += uniform()
			}
			values[i] = .3 + .01*sum
		}
		if Crossings(values, .01) >= DefaultPolicy().Crossings {
			found++
		}
	}
	if found > 0 {
		t.Errorf("%d of 2000 series of noise cross too often", found)
	}
}

func moved(l *Ledger, values ...float64) time.Time {
	at := now
	for _, v := range values {
		at = at.Add(tick)
		l.Moved(swingKnob, sre.Params{"rps": v, "why": "text"}, at)
	}
	return at
}

func TestASwingHalvesTheGainAndTheSecondOneFreezesAtTheSaferEnd(t *testing.T) {
	p, l := DefaultPolicy(), NewLedger()
	swings := func(at time.Time, errors []float64) bool { return l.Swings(p, swingKnob, errors, .01, tick, at) }
	at := moved(l, 100, 50, 100, 50)
	if swings(at, nil) {
		t.Error("two turns are no swing yet")
	}
	if !swings(at, wave(12, 2, .3, .1)) || swings(at, wave(12, 2, .3, .015)) {
		t.Error("with the error going to and fro they are, and not in noise")
	}
	at = moved(l, 100, 50, 100, 50, 80)
	if !swings(at, nil) {
		t.Fatal("three turns are a swing")
	}
	if swings(at.Add(SwingTicks*tick), nil) {
		t.Error("it is long over")
	}
	l.Swung(swingKnob, at)
	l.Swung(swingKnob, at)
	if swings(at, wave(12, 1, .3, .1)) {
		t.Error("found twice in the same moves")
	}
	if d := l.Damped(p, swingKnob, at); d.Times != 1 || d.Gain != .5 || d.Slower != 2 || !d.Until.IsZero() {
		t.Errorf("after the first: %+v", d)
	}
	l.Swung(swingKnob, at.Add(tick))
	d := l.Damped(p, swingKnob, at.Add(tick))
	if d.Times != 2 || !d.Until.Equal(at.Add(tick).Add(30*time.Minute)) {
		t.Errorf("after the second: %+v", d)
	}
	if end := l.SaferEnd(swingKnob, sre.Params{"rps": 1000.}, tick); end["rps"] != 50. {
		t.Errorf("the safer end is %v", end)
	}
	if d := l.Damped(p, swingKnob, d.Until); !d.Until.IsZero() || d.Gain != .5 {
		t.Errorf("when the freeze is over: %+v", d)
	}
	if d := l.Damped(p, swingKnob, at.Add(25*time.Hour)); d.Times != 0 || d.Gain != 1 {
		t.Errorf("a day later: %+v", d)
	}
	if d := l.Damped(p, Knob{sre.Shed, on("web")}, at); d.Gain != 1 || d.Slower != 1 {
		t.Errorf("another knob: %+v", d)
	}
}

func TestALongerIntervalIsDueOnEveryOtherTick(t *testing.T) {
	d, due := Damping{Slower: 2}, 0
	for i := range 20 {
		if d.Due(now.Add(time.Duration(i)*tick), tick) {
			due++
		}
	}
	if due != 10 || !(Damping{Slower: 1}).Due(now.Add(time.Second), tick) {
		t.Errorf("due on %d of 20 ticks", due)
	}
}

// Replicas that the agent has given back are raised by an autoscaler; the agent
// takes the knob again from there.
func TestATurnCountsOnlyIfTheAgentMadeIt(t *testing.T) {
	n := func(v float64) sre.Params { return sre.Params{"replicas": v} }
	for name, c := range map[string]struct {
		tell func(l *Ledger, at func() time.Time)
		want int
	}{
		"the autoscaler turned": {func(l *Ledger, at func() time.Time) {
			l.Took(swingKnob, n(8), n(6), at())  // down
			l.Took(swingKnob, n(12), n(9), at()) // 6 -> 12 is theirs, 12 -> 9 is down again
			l.Moved(swingKnob, n(7), at())
		}, 0},
		"the agent turned, unlike what the values say": {func(l *Ledger, at func() time.Time) {
			l.Took(swingKnob, n(8), n(10), at())
			l.Moved(swingKnob, n(6), at())      // down
			l.Took(swingKnob, n(3), n(5), at()) // 6 -> 3 is theirs, 3 -> 5 is up
		}, 1},
		"nobody else moved it": {func(l *Ledger, at func() time.Time) {
			l.Took(swingKnob, n(8), n(6), at())
			l.Moved(swingKnob, n(8), at())
			l.Took(swingKnob, n(8), n(6), at())
			l.Moved(swingKnob, n(8), at())
		}, 2},
		"it was held already": {func(l *Ledger, at func() time.Time) {
			l.Took(swingKnob, n(8), n(6), at())
			l.Moved(swingKnob, n(4), at())
			l.Took(swingKnob, nil, n(6), at())
		}, 1},
		"refused": {func(l *Ledger, at func() time.Time) {
			l.Took(swingKnob, n(8), n(6), at())
			for range 3 {
				l.Moved(swingKnob, n(4), at())
				refused := at()
				l.Moved(swingKnob, n(6), refused)
				l.Stayed(swingKnob, refused)
			}
		}, 0},
	} {
		l, last := NewLedger(), now
		c.tell(l, func() time.Time { last = last.Add(tick); return last })
		if got := l.Turns(swingKnob, now); got != c.want {
			t.Errorf("%s: %d turns, want %d", name, got, c.want)
		}
	}
}
