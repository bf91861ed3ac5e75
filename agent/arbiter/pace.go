package arbiter

import (
	"fmt"
	"time"

	"github.com/prometheus/common/model"

	"github.com/sreagent/sreagent/sre"
)

// apart is how many times slower each loop is than the one inside it. Loops that
// move at one speed answer each other's moves instead of the trouble (cascade
// control; Hellerstein et al., Feedback Control of Computing Systems, 2004).
const apart = 5

// Pace is how long each loop of the agent waits before it sets the same knob
// anew. Below them all is the enforcer, which decides by the request; above them
// learning, which forgets within months. Zero stands for a duration that suits
// the tick.
type Pace struct {
	// Caps is of what an enforcer holds for itself: caps, budgets, bounds, switches.
	Caps model.Duration `yaml:"caps"`
	// Timeouts is of timeouts and breakers, which change what callers see of a callee.
	Timeouts model.Duration `yaml:"timeouts"`
	// Capacity is of structural actions: what runs, and where traffic goes.
	Capacity model.Duration `yaml:"capacity"`
}

// The paces that suit a tick of ten seconds or less.
const (
	timeoutsPace = time.Minute
	capacityPace = 5 * time.Minute
)

// At fills in what is left out, for a tick.
func (p Pace) At(tick time.Duration) Pace {
	fill := func(d *model.Duration, to time.Duration) {
		if *d == 0 {
			*d = model.Duration(to)
		}
	}
	fill(&p.Caps, tick)
	fill(&p.Timeouts, max(timeoutsPace, apart*time.Duration(p.Caps)))
	fill(&p.Capacity, max(capacityPace, apart*time.Duration(p.Timeouts)))
	return p
}

// Of is how long the agent waits before it sets a knob of a kind anew.
func (p Pace) Of(k sre.ActionKind) time.Duration {
	switch {
	case k.Structural():
		return time.Duration(p.Capacity)
	case k == sre.Timeout, k == sre.Breaker:
		return time.Duration(p.Timeouts)
	}
	return time.Duration(p.Caps)
}

// Validate returns which loops are not apart, at a tick and with learning that
// forgets half of what it knows within halfLife; 0 where nothing is learned.
func (p Pace) Validate(tick, halfLife time.Duration) sre.Faults {
	var f sre.Faults
	p = p.At(tick)
	if tick > 0 && time.Duration(p.Caps) < tick {
		f.Add("caps", fmt.Sprintf("%s is shorter than the interval between ticks, %s", p.Caps, model.Duration(tick)), "the interval, or longer")
	}
	inner := []struct {
		path string
		d    model.Duration
	}{{"caps", p.Caps}, {"timeouts", p.Timeouts}, {"capacity", p.Capacity}, {"", model.Duration(halfLife)}}
	for i := 1; i < len(inner); i++ {
		in, out := inner[i-1], inner[i]
		least := apart * time.Duration(in.d)
		switch {
		case time.Duration(out.d) >= least, out.path == "" && halfLife == 0:
		case out.path == "":
			f.Add(in.path, fmt.Sprintf("%s is less than %d times faster than learning, which forgets in %s", in.d, apart, out.d), "a shorter one, or a longer runbooks.confidence.half_life")
		default:
			f.Add(out.path, fmt.Sprintf("%s is less than %d times as long as %s of %s: the two loops would answer each other", out.d, apart, in.d, in.path),
				fmt.Sprintf("%s or longer", model.Duration(least)))
		}
	}
	return f
}

// tooSoon holds back an action on a knob that the agent has set so short a time
// ago that what it did cannot have shown yet. Undo does not come here.
func tooSoon(p Policy, l *Ledger, c Case) (sre.Reason, bool) {
	pace := p.Pace.At(c.Tick)
	for _, a := range c.Wanted {
		at, known := l.set[KnobOf(a)]
		again := at.Add(pace.Of(a.Kind))
		if !known || c.Now.Before(at) || !c.Now.Before(again) { // a clock that was set back tells nothing
			continue
		}
		return sre.Reason{
			Allows: sre.Watch,
			Text: fmt.Sprintf("%s on %s was set %s ago; what that does is waited for until %s",
				a.Kind, a.Target, model.Duration(c.Now.Sub(at)), clock(again)),
			Change: "it is " + clock(again),
		}, true
	}
	return sre.Reason{}, false
}
