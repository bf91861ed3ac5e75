package arbiter

import (
	"fmt"
	"time"

	"github.com/prometheus/common/model"

	"github.com/sreagent/sreagent/sre"
)

// Policy is the `policy.arbitration` section of the configuration.
type Policy struct {
	// Freeze is how long the agent leaves a knob alone after somebody else has
	// moved it.
	Freeze model.Duration `yaml:"freeze"`
	// Ineffective is how often a cure may fail to help the same cause within
	// Window before it is not tried again.
	Ineffective int `yaml:"ineffective"`
	// Window is how long a cure that did not help is remembered.
	Window model.Duration `yaml:"window"`
	// Structural bounds the structural steps that one incident may see without a
	// person.
	Structural int `yaml:"structural"`
	// Concurrent bounds the steps in force at once, over all incidents; a step on many
	// services is one.
	Concurrent int `yaml:"concurrent"`
	// Touched bounds the services that the agent has acted on within ten minutes,
	// over all incidents, by more than bounds and budgets on the spot.
	Touched sre.Limit `yaml:"touched"`
	// Pace keeps the agent's own loops apart.
	Pace Pace `yaml:"pace"`
	// Turns is how often a knob that the agent moves may change direction within
	// twelve ticks before it is taken to swing.
	Turns int `yaml:"turns"`
	// Crossings is how often the error may go to and fro within twelve ticks, with
	// the knob, before that is taken for a swing.
	Crossings int `yaml:"crossings"`
}

// DefaultPolicy returns limits that suit a fleet in which people and autoscalers
// also write.
func DefaultPolicy() Policy {
	return Policy{
		Freeze: model.Duration(30 * time.Minute), Ineffective: 2, Window: model.Duration(24 * time.Hour),
		Structural: 1, Concurrent: 3, Touched: sre.Limit{Percent: 10, Number: 10}, Turns: 3, Crossings: 4,
	}
}

// Validate returns what is wrong with the section.
func (p Policy) Validate() sre.Faults {
	var f sre.Faults
	if p.Freeze < 0 {
		f.Add("freeze", fmt.Sprintf("%s is negative", p.Freeze), "0s or longer")
	}
	if p.Window <= 0 {
		f.Add("window", fmt.Sprintf("%s is not positive", p.Window), "a duration above 0, such as 24h")
	}
	for _, c := range []struct {
		path string
		n    int
	}{{"ineffective", p.Ineffective}, {"structural", p.Structural}, {"concurrent", p.Concurrent}, {"turns", p.Turns}, {"crossings", p.Crossings}} {
		if c.n < 1 {
			f.Add(c.path, fmt.Sprintf("%d is below 1", c.n), "1 or more")
		}
	}
	return f
}
