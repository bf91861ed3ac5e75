package agent

import (
	"time"

	"github.com/sreagent/sreagent/agent/gate"
	"github.com/sreagent/sreagent/detectors"
	"github.com/sreagent/sreagent/diagnosis"
	"github.com/sreagent/sreagent/learner"
	"github.com/sreagent/sreagent/runbooks"
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

	WarmUp     time.Duration // history to read before the first tick
	WarmUpStep time.Duration
}

// Timing is how patient the agent is. Durations, not ticks, so that a change
// of the interval does not change behaviour.
type Timing struct {
	SuspectFor   time.Duration // a suspicion must last this long to be diagnosed
	SubsideAfter time.Duration // without a sign, an incident that nobody acted on is over
	CloseAfter   time.Duration // watch period after the last mitigation was lifted
	EscalatedFor time.Duration // quiet time after which an escalated incident closes itself
	ReapplyProbe int           // ticks in which an unknown lever may become known
	UndoAttempts int           // reverts tried before a human is given the command
	Lever        time.Duration // deadline of one call to a lever
}

// DefaultTiming suits ticks of 10 to 15 s.
func DefaultTiming() Timing {
	return Timing{
		SuspectFor:   20 * time.Second,
		SubsideAfter: 5 * time.Minute,
		CloseAfter:   10 * time.Minute,
		EscalatedFor: 30 * time.Minute,
		ReapplyProbe: 3,
		UndoAttempts: 5,
		Lever:        2 * time.Second,
	}
}
