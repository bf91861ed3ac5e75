package control

import (
	"maps"
	"slices"
	"time"

	"github.com/sreagent/sreagent/sre"
)

// Scene is all that a law may look at.
type Scene struct {
	Now      time.Time
	Every    time.Duration // the agent's tick: the law's sampling interval
	Snapshot *sre.Snapshot
	Action   sre.Action // as it is in force now, with its present parameters
	Before   sre.Params // what was in force before the agent moved it
	Since    time.Time  // when it first came into effect
	Trouble  bool       // the plan's check says that trouble is there, or cannot tell
	Lifting  bool       // it is wanted back: lead there in steps and say Done
	Gain     float64    // of each move, 0 to 1, where the lever has been swinging; 0 is the law's own
}

// gain is by how much a law's moves are shortened.
func (s Scene) gain() float64 {
	if s.Gain > 0 && s.Gain < 1 {
		return s.Gain
	}
	return 1
}

// part is how far from one setting to another a law goes in one move.
func (s Scene) part(from, to float64) float64 {
	if g := s.gain(); g < 1 {
		return from + g*(to-from)
	}
	return to
}

// Move is what a law wants.
type Move struct {
	Params sre.Params  // absolute; nil leaves the lever where it is
	Memory sre.Control // for the next call
}

// Law moves one lever, one call per tick and action in force. The first call
// gets an empty memory. Same memory, same scene: same move, byte for byte.
type Law interface {
	Next(memory sre.Control, s Scene) Move
}

// laws are those that a runbook can name.
var laws = map[string]Law{
	Overload: overload{},
	"scale":  Scale{},
	"staged": DefaultStaged(),
}

// Named returns a law by the name that runbooks use.
func Named(name string) (Law, bool) {
	l, ok := laws[name]
	return l, ok
}

// Names lists the laws in order.
func Names() []string { return slices.Sorted(maps.Keys(laws)) }
