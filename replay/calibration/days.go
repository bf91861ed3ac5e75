package calibration

import (
	"github.com/sreagent/sreagent/replay/incidents"
	"github.com/sreagent/sreagent/replay/suite"
	"github.com/sreagent/sreagent/sre"
)

const (
	// fleets is how many worlds the incidents happen in, so that services are
	// met again.
	fleets = 12
	// perDay is how many incidents fall on one virtual day. They are played with
	// what was known in the morning, so that they can be played at once.
	perDay = 4
)

// Drift says what changes half-way.
type Drift string

// The drifts.
const (
	NoDrift   Drift = "none"
	HalfDrift Drift = "half" // from the middle on some levers do nothing, and some mechanisms appear for the first time
)

// happening is one incident to come.
type happening struct {
	number  int
	fleet   uint64
	seed    uint64
	kind    suite.Trouble
	newKind bool // of a kind that never happened in the first half
	drifted bool // some levers do nothing
}

var known = []suite.Trouble{
	suite.Starved, suite.Starved, suite.Slowed, suite.Failing, suite.Rush, suite.Lost, suite.Severed, suite.Leak, suite.Doubled, suite.Harmless,
}

// neverMet are the mechanisms that the agent meets without any experience: for
// it nothing was simulated against them, and what comes of them is not told.
var neverMet = []sre.Mechanism{sre.PoolExhaustion, sre.SurvivorOverload, sre.Oscillation, sre.BadChange, sre.TimeoutInversion, sre.CacheLoss, sre.Unknown}

var withheld = []suite.Trouble{suite.Deployed, suite.Flapping}

// draw tells the nth incident of a seed.
func draw(seed uint64, n, of int, drift Drift) happening {
	d := incidents.NewDice(seed*2_000_003 + uint64(n)*104_729)
	h := happening{number: n, fleet: seed%1000*100 + uint64(d.Below(fleets)), seed: uint64(1 + d.Below(1<<40)), kind: known[d.Below(len(known))]}
	if late := 2*n >= of; late && drift == HalfDrift {
		h.drifted = true
		if d.Coin(.1) {
			h.newKind, h.kind = true, withheld[d.Below(len(withheld))]
		}
	}
	return h
}
