package arbiter

import (
	"maps"
	"math"
	"slices"
	"time"

	"github.com/sreagent/sreagent/sre"
)

// SwingTicks is how many ticks a knob, or the error, is looked back at.
const SwingTicks = 12

// The numbers of a swing, and of what counts as a turn.
const (
	turnShare  = 0.1 // by which a setting must come back to have turned: less is noise
	errorSigma = 2.  // standard deviations that the error must be off on either side
	dampGain   = 0.5
	dampSlower = 2
	keptMoves  = 64
	keptSwings = 16
)

// move is a setting that the agent has sent.
type move struct {
	at      time.Time
	to      sre.Params
	beneath sre.Params // what was there when the agent took the knob
	took    bool       // this is the move that took it
}

// Took notes that the agent has taken a knob, and what it found there; nil where
// it held the knob already.
func (l *Ledger) Took(k Knob, found, to sre.Params, at time.Time) {
	m := move{at: at, to: maps.Clone(to), beneath: maps.Clone(found), took: found != nil}
	l.note(k, m)
}

// Moved notes that the agent has set a knob that it holds.
func (l *Ledger) Moved(k Knob, to sre.Params, at time.Time) {
	l.note(k, move{at: at, to: maps.Clone(to)})
}

func (l *Ledger) note(k Knob, m move) {
	moves := l.moves[k]
	if n := len(moves); !m.took && n > 0 {
		m.beneath = moves[n-1].beneath
	}
	moves = append(moves, m)
	l.moves[k] = slices.Clone(moves[max(0, len(moves)-keptMoves):])
}

// Set notes that the agent has set a knob to help.
func (l *Ledger) Set(k Knob, at time.Time) { l.set[k] = at }

// Stayed notes that what was sent to a knob at an instant is known not to have
// been carried out: it made no move.
func (l *Ledger) Stayed(k Knob, at time.Time) {
	moves := l.moves[k]
	if n := len(moves); n > 0 && moves[n-1].at.Equal(at) {
		l.moves[k] = slices.Clone(moves[:n-1])
	}
	if l.set[k].Equal(at) {
		delete(l.set, k)
	}
}

// Turns counts how often the agent's moves of a knob changed direction after an
// instant, in the setting that did so most.
func (l *Ledger) Turns(k Knob, after time.Time) int {
	names := map[string]bool{}
	for _, m := range l.moves[k] {
		for name := range m.to {
			names[name] = true
		}
	}
	most := 0
	for name := range names {
		var legs []leg
		for _, m := range l.moves[k] {
			if v, numeric := m.to.Float(name); numeric && m.at.After(after) {
				legs = append(legs, leg{m.start(name), v})
			}
		}
		most = max(most, turns(legs))
	}
	return most
}

// leg is one move of one setting.
type leg struct{ from, to float64 } // from is NaN where the leg before ended

// start is where a move began by what was read; NaN where nobody looked.
func (m move) start(name string) float64 {
	if v, numeric := m.beneath.Float(name); numeric && m.took {
		return v
	}
	return math.NaN()
}

// Turns counts the changes of direction of a series. One counts when the series
// has come back from its farthest point by more than a tenth of it.
func Turns(values []float64) int {
	legs := make([]leg, len(values))
	for i, v := range values {
		legs[i] = leg{math.NaN(), v}
	}
	return turns(legs)
}

// turns counts those that the legs themselves make. Where a leg begins elsewhere
// than the last one ended somebody else has moved the knob: the past is carried
// along with it, so that their move is none of these.
func turns(legs []leg) int {
	count, way := 0, 0.
	far, last := math.NaN(), math.NaN()
	for _, l := range legs {
		v := l.to
		if by := l.from - last; !math.IsNaN(by) {
			far += by
		}
		if !math.IsNaN(v) {
			last = v
		}
		switch d := v - far; {
		case math.IsNaN(v):
		case math.IsNaN(far):
			far = v
		case way*d > 0:
			far = v
		case math.Abs(d) > turnShare*max(math.Abs(v), math.Abs(far)):
			if way != 0 {
				count++
			}
			way, far = math.Copysign(1, d), v
		}
	}
	return count
}

// Crossings counts how often an error went from more than two standard
// deviations on one side of its mean to as many on the other: what stays within
// them is noise, however often it changes its sign.
func Crossings(values []float64, sigma float64) int {
	mean, n := 0., 0
	for _, v := range values {
		if !math.IsNaN(v) {
			mean, n = mean+v, n+1
		}
	}
	if n == 0 || !(sigma >= 0) {
		return 0
	}
	mean /= float64(n)
	crossings, side := 0, 0.
	for _, v := range values {
		d := v - mean
		if !(math.Abs(d) > errorSigma*sigma) {
			continue
		}
		if now := math.Copysign(1, d); now != side {
			if side != 0 {
				crossings++
			}
			side = now
		}
	}
	return crossings
}

// Swings reports whether a knob swings: it turns too often by itself, or it turns
// and the error goes to and fro with it. What was found once is not found again
// in the same moves.
func (l *Ledger) Swings(p Policy, k Knob, errors []float64, sigma float64, every time.Duration, now time.Time) bool {
	after := now.Add(-SwingTicks * l.Damped(p, k, now).Slower * every)
	if last := l.lastSwing(k); last.After(after) {
		after = last
		errors = errors[max(0, len(errors)-int(now.Sub(last)/every)):]
	}
	turns := l.Turns(k, after)
	return turns >= p.Turns || turns > 0 && Crossings(errors, sigma) >= p.Crossings
}

func (l *Ledger) lastSwing(k Knob) time.Time {
	if s := l.swings[k]; len(s) > 0 {
		return s[len(s)-1]
	}
	return time.Time{}
}

// Swung notes that a knob was found to swing. The same finding read again counts
// once.
func (l *Ledger) Swung(k Knob, at time.Time) {
	if !at.After(l.lastSwing(k)) {
		return
	}
	swings := append(l.swings[k], at)
	l.swings[k] = slices.Clone(swings[max(0, len(swings)-keptSwings):])
}

// Damping is how a law has to go on after its knob was found to swing.
type Damping struct {
	Times  int           // it was found within the window
	Gain   float64       // of the law: 1 is undamped
	Slower time.Duration // by which the law's interval is multiplied
	Until  time.Time     // it stays at the safer end until then; zero where it may move
}

// Damped returns how a knob may be moved. The first swing halves the gain and
// doubles the interval, the second one freezes it for as long as what a foreigner
// has moved.
func (l *Ledger) Damped(p Policy, k Knob, now time.Time) Damping {
	d := Damping{Gain: 1, Slower: 1}
	for _, at := range l.swings[k] {
		if now.Before(at.Add(time.Duration(p.Window))) {
			d.Times++
		}
	}
	if d.Times == 0 {
		return d
	}
	d.Gain, d.Slower = dampGain, dampSlower
	if until := l.lastSwing(k).Add(time.Duration(p.Freeze)); d.Times > 1 && now.Before(until) {
		d.Until = until
	}
	return d
}

// Due reports whether a law may move now: of the ticks, those on which its longer
// interval begins.
func (d Damping) Due(now time.Time, every time.Duration) bool {
	long := d.Slower * every
	return d.Slower <= 1 || !now.Truncate(long).Equal(now.Add(-every).Truncate(long))
}

// SaferEnd is the tightest setting that a knob had while it was last found to
// swing: at that end less is let in, and nothing is ended.
func (l *Ledger) SaferEnd(k Knob, before sre.Params, every time.Duration) sre.Params {
	last := l.lastSwing(k)
	var end sre.Params
	for _, m := range l.moves[k] {
		if m.at.After(last) || !m.at.After(last.Add(-SwingTicks*dampSlower*every)) || m.to.Near(before) && before.Near(m.to) {
			continue
		}
		if end == nil || k.Kind.Loosens(before, m.to, end) {
			end = m.to
		}
	}
	return maps.Clone(end)
}
