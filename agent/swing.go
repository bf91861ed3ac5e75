package agent

import (
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/sreagent/sreagent/agent/arbiter"
	"github.com/sreagent/sreagent/sre"
)

// leastNoise is the standard deviation of an error ratio that is always allowed
// for: counters are read a moment apart.
const leastNoise = 0.01

// unswing finds levers that a law moves to and fro. What is found is remembered
// with the mitigation: from then on its law is damped, and the second time the
// lever stays at the safer end and people are called.
func (a *Agent) unswing(t *turn) {
	if !t.seeing {
		a.book.errors = nil // a gap is no crossing
		return
	}
	a.book.sample(t)
	p := a.gate.Policy().Arbitration
	for _, inc := range a.book.open() {
		if inc.Order != nil {
			continue
		}
		for i := range inc.Mitigations {
			m := &inc.Mitigations[i]
			knob := arbiter.KnobOf(m.Action)
			if m.Phase != sre.InEffect || m.Action.Law == "" ||
				!a.book.ledger.Swings(p, knob, a.book.errors, a.book.noise, a.cfg.Interval, t.now) {
				continue
			}
			a.book.ledger.Swung(knob, t.now)
			m.SwungAt, m.Swings = t.now, a.book.ledger.Damped(p, knob, t.now).Times
			a.meter.swings.WithLabelValues(string(knob.Kind)).Inc()
			a.remember(t, inc, "swing")
		}
	}
}

// sample notes the error at the entries, and how much of it may be chance: of n
// requests that fail independently.
func (b *book) sample(t *turn) {
	ratio, known := trouble(t)
	if !known {
		ratio = math.NaN()
	}
	b.errors = append(b.errors, ratio)
	b.errors = b.errors[max(0, len(b.errors)-arbiter.SwingTicks):]
	requests, sum, n := 0., 0., 0.
	for _, e := range t.snap.Graph.Entries() {
		if load := t.snap.Value(e, sre.Traffic, sre.PerSecond); load.OK() && isFinite(load.Value) {
			requests += load.Value * t.snap.Interval.Seconds()
		}
	}
	for _, v := range b.errors {
		if !math.IsNaN(v) {
			sum, n = sum+v, n+1
		}
	}
	if b.noise = leastNoise; n > 0 && requests > 0 {
		mean := min(1, max(0, sum/n))
		b.noise = max(leastNoise, math.Sqrt(mean*(1-mean)/requests))
	}
}

// holdStill keeps a lever that swung twice at the safer end. It may be lifted,
// and its lease ends as always.
func (a *Agent) holdStill(t *turn, inc *sre.Incident, m *sre.Mitigation, d arbiter.Damping) bool {
	to := a.book.ledger.SaferEnd(arbiter.KnobOf(m.Action), m.Before, a.cfg.Interval)
	t.law(inc, m, sre.Watch, "it went to and fro %d times; it stays at the safer end until %s", d.Times, d.Until.UTC().Format(time.TimeOnly))
	if to == nil || !m.Action.Kind.Loosens(m.Before, to, m.Action.Params) {
		return false
	}
	return a.wantMove(t, inc, m, to)
}

// swinging words the levers of an incident that are held still for people.
func swinging(inc *sre.Incident) string {
	var text strings.Builder
	for i := range inc.Mitigations {
		if m := &inc.Mitigations[i]; m.Swings > 1 && m.Phase.Live() {
			fmt.Fprintf(&text, "\n%s on %s swings: found %d times, last %s. It is held at the safer end; find out who moves against it.",
				m.Action.Kind, m.Action.Target, m.Swings, m.SwungAt.UTC().Format(time.TimeOnly))
		}
	}
	return text.String()
}
