package detectors

import (
	"fmt"

	"github.com/sreagent/sreagent/sre"
)

// SLOConfig sets the objectives whose error budgets are watched. Entry services
// are always watched.
type SLOConfig struct {
	// Objective is the share of requests that must succeed where nobody stated
	// one, below 1.
	Objective float64 `yaml:"objective"`
	// MinEvents is how many requests the long window of a rule must hold before
	// the rule speaks.
	MinEvents float64 `yaml:"min_events"`
	// MinFailures is how many of them must have failed: with little traffic a
	// handful of failures is chance, and no share of them proves anything.
	MinFailures float64 `yaml:"min_failures"`
	// Services states objectives, and adds services that are no entries.
	Services []ServiceSLO `yaml:"services"`
}

// ServiceSLO is the stated objective of one service.
type ServiceSLO struct {
	Service   string  `yaml:"service"`
	Objective float64 `yaml:"objective"` // share of requests that must succeed, below 1
}

// lowestObjective bounds what may be asked for: below it, burn rates of the
// Workbook's rules exceed what can fail at all.
const lowestObjective = .9

func (c SLOConfig) validate() sre.Faults {
	var f sre.Faults
	objective(&f, "objective", c.Objective)
	within(&f, "min_events", c.MinEvents, 1, 1e6)
	within(&f, "min_failures", c.MinFailures, 1, 1e6)
	seen := map[string]bool{}
	for i, s := range c.Services {
		at := sre.Item("services", i)
		switch {
		case s.Service == "":
			f.Add(at+".service", "is missing", "the name of a service")
		case seen[s.Service]:
			f.Add(at+".service", fmt.Sprintf("%q is listed twice", s.Service), "each service once")
		}
		seen[s.Service] = true
		objective(&f, at+".objective", s.Objective)
	}
	return f
}

func objective(f *sre.Faults, path string, v float64) {
	within(f, path, v, lowestObjective, .99999)
}
