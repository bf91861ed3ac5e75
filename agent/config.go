package agent

import (
	"time"

	"github.com/sreagent/sreagent/agent/gate"
	"github.com/sreagent/sreagent/detectors"
	"github.com/sreagent/sreagent/diagnosis"
	"github.com/sreagent/sreagent/learner"
	"github.com/sreagent/sreagent/runbooks"
	"github.com/sreagent/sreagent/sre"
)

// Config is everything that shapes the agent's behaviour. The daemon and a
// replay fill it from the same file.
type Config struct {
	Version  string        // of the binary, for the trail
	Digest   string        // of the configuration, for the trail
	Interval time.Duration // between ticks
	Policy   gate.Policy
	Timing   Timing

	Detection detectors.Config
	Diagnosis diagnosis.Config
	Learner   learner.Config
	Runbooks  *runbooks.Library

	// Switches are the kill switches that people may flip; the role of each
	// stands in it.
	Switches []sre.Switch

	// Experience is what was learned elsewhere, as the learner's Snapshot has it;
	// empty for none. What the trail holds is learned on top of it.
	Experience []byte

	WarmUp     time.Duration // history to read before the first tick
	WarmUpStep time.Duration
}

// Timing is how patient the agent is. Durations, not ticks, so that a change
// of the interval does not change behaviour.
type Timing struct {
	SuspectFor   time.Duration // a suspicion must last this long to be diagnosed
	SubsideAfter time.Duration // without a sign, trouble that no lever was moved for is over, escalated or not
	CloseAfter   time.Duration // watch period after the last mitigation was lifted
	EscalatedFor time.Duration // quiet time after which an escalated incident that levers were moved for closes itself
	ReapplyProbe int           // ticks in which an unknown lever may become known
	UndoAttempts int           // reverts tried before a human is given the command
	Lever        time.Duration // deadline of one call to a lever; 0 for none, where levers are simulated and the speed of the machine must decide nothing
}

// DefaultTiming suits ticks of 10 to 60 s. SubsideAfter is short, since closing
// early costs little: what comes back within diagnosis.ReopenWithin is the same
// incident with the same page, and one that keeps coming back must be calm for
// longer. Closing late costs a fault: the next one is taken for more of the last.
// EscalatedFor is as long as CloseAfter: both watch a system that was just
// changed.
func DefaultTiming() Timing {
	return Timing{
		SuspectFor:   20 * time.Second,
		SubsideAfter: 2 * time.Minute,
		CloseAfter:   10 * time.Minute,
		EscalatedFor: 10 * time.Minute,
		ReapplyProbe: 3,
		UndoAttempts: 5,
		Lever:        2 * time.Second,
	}
}
