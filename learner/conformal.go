package learner

import (
	"fmt"
	"math"
	"slices"

	"github.com/sreagent/sreagent/sre"
)

// The settings of the set of causes: Adaptive Conformal Inference (Gibbs and
// Candes, 2021), which follows a drift because the miscoverage that it aims at
// moves with every miss.
const (
	missAllowed  = 0.1   // share of incidents whose cause may be outside the set
	fastStep     = 0.02  // by which one outcome moves the aim, for the first
	slowStep     = 0.005 // and later
	fastOutcomes = 100
	keepTrue     = 500  // probabilities of true causes that the threshold is read from
	fewTrue      = 20   // below, firstLimit holds
	firstLimit   = 0.05 // probability from which a cause is possible before enough is known
)

// conformal remembers which probability was given to causes that proved true.
type conformal struct {
	N    uint64    `json:"n"`
	Miss float64   `json:"miss"` // what the aim has been moved by
	True []float64 `json:"true"` // oldest first
}

// feed takes the probability that the true cause was given.
func (c *conformal) feed(p float64) {
	missed := 0.0
	if p < c.limit() {
		missed = 1
	}
	step := slowStep
	if c.N < fastOutcomes {
		step = fastStep
	}
	c.Miss += step * (missAllowed - missed)
	c.N++
	c.True = append(c.True, p)
	if over := len(c.True) - keepTrue; over > 0 {
		c.True = slices.Clone(c.True[over:])
	}
}

// limit is the probability from which a cause is possible: so many of the true
// ones were given less as the aim allows.
func (c *conformal) limit() float64 {
	if len(c.True) < fewTrue {
		return firstLimit
	}
	at := int(math.Floor((missAllowed + c.Miss) * float64(len(c.True)+1)))
	switch {
	case at <= 0:
		return 0
	case at > len(c.True):
		at = len(c.True)
	}
	return slices.Sorted(slices.Values(c.True))[at-1]
}

// judged marks the suspects that are possible. The first always is.
func (c *conformal) judged(list []sre.Suspect) []sre.Suspect {
	out, limit := slices.Clone(list), c.limit()
	for i := range out {
		out[i].Possible = i == 0 || out[i].Probability >= limit && out[i].Probability > 0
	}
	return out
}

func (c *conformal) validate() error {
	bad := func(p float64) bool { return !(p >= 0 && p <= 1) }
	if uint64(len(c.True)) != min(c.N, keepTrue) || slices.ContainsFunc(c.True, bad) || !(math.Abs(c.Miss) <= 2+slowStep*float64(c.N)) {
		return fmt.Errorf("the causes of %d outcomes cannot be", c.N)
	}
	return nil
}
