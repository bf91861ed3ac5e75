package learner

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"time"

	"github.com/prometheus/common/model"

	"github.com/sreagent/sreagent/sre"
)

// maxPriorRuns bounds what simulated runs may weigh: a simulator is sure of
// itself in ways that a fleet is not.
const maxPriorRuns = 10

// Prior is what simulated runs say about a runbook before it has been used for
// real.
type Prior struct {
	Runs      float64 `yaml:"runs"`      // simulated runs, at most 10
	Successes float64 `yaml:"successes"` // of them, those that cured
}

// Config says how experience becomes confidence.
type Config struct {
	HalfLife model.Duration   `yaml:"half_life"` // age at which an outcome counts half
	Kappa    float64          `yaml:"kappa"`     // runs that the wider experience weighs against the narrower
	BaseRate float64          `yaml:"base_rate"` // success to assume where data says nothing, above 0 and below 1
	Priors   map[string]Prior `yaml:"priors"`    // by runbook name
	// Untested are mechanisms against which no runbook was ever tried, in a
	// simulator or for real: a person decides until one was, five times.
	Untested []sre.Mechanism `yaml:"untested"`
}

// DefaultConfig returns the settings that hold where nothing is configured.
// Outcomes are forgotten slowly: a service has few incidents a year, and a cure
// that ceases to help is found by the test for drift long before. The
// one prior comes from simulated retry storms in six topologies, of which a
// retry budget of 10 % with a bounded queue cured five.
func DefaultConfig() Config {
	return Config{
		HalfLife: model.Duration(180 * 24 * time.Hour),
		Kappa:    8,
		BaseRate: 0.3,
		Priors:   map[string]Prior{"retry-storm": {Runs: 6, Successes: 5}},
	}
}

// Validate returns every mistake in the settings.
func (c Config) Validate() sre.Faults {
	var f sre.Faults
	if time.Duration(c.HalfLife) < 24*time.Hour {
		f.Add("half_life", "is "+c.HalfLife.String(), "1d or more")
	}
	if !(c.Kappa >= 1 && c.Kappa <= 1000) {
		f.Add("kappa", "is "+number(c.Kappa), "1 to 1000")
	}
	if !(c.BaseRate > 0 && c.BaseRate < 1) {
		f.Add("base_rate", "is "+number(c.BaseRate), "a number above 0 and below 1")
	}
	for i, m := range c.Untested {
		if !m.Valid() {
			f.Add(sre.Item("untested", i), fmt.Sprintf("unknown mechanism %q", m), "one of the mechanisms that diagnoses name")
		}
	}
	for _, name := range slices.Sorted(maps.Keys(c.Priors)) {
		p, path := c.Priors[name], "priors."+name
		if !(p.Runs >= 0 && p.Runs <= maxPriorRuns) {
			f.Add(path+".runs", "is "+number(p.Runs), "0 to 10")
		}
		if !(p.Successes >= 0 && p.Successes <= p.Runs) {
			f.Add(path+".successes", "is "+number(p.Successes), "0 to the number of runs")
		}
	}
	return f
}

func number(v float64) string {
	if math.IsNaN(v) {
		return "not a number"
	}
	return strconv.FormatFloat(v, 'g', -1, 64)
}
