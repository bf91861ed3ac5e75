package diagnosis

import (
	"fmt"
	"time"

	"github.com/prometheus/common/model"

	"github.com/sreagent/sreagent/sre"
)

// Config holds the settings of the engine.
type Config struct {
	// MergeWindow is how far apart the onsets of related signs may lie.
	MergeWindow model.Duration `yaml:"merge_window"`
	// MaxDistance is how many calls apart related signs may lie.
	MaxDistance int `yaml:"max_distance"`
	// ChangeWindow is how long a change stays under suspicion.
	ChangeWindow model.Duration `yaml:"change_window"`
	// ChangeDecay is the time constant with which the suspicion fades.
	ChangeDecay model.Duration `yaml:"change_decay"`
	// MaxCauses is how many causes are named; the rest counts as unknown.
	MaxCauses int `yaml:"max_causes"`
	// ExplainAway is how much of a sign the trouble of a neighbour explains, 0
	// to 1.
	ExplainAway float64 `yaml:"explain_away"`
	// EntryErrors is the error ratio of an entry service that makes a finding
	// critical, 0 to 1.
	EntryErrors float64 `yaml:"entry_errors"`

	Weights Weights `yaml:"weights"`
}

// Weights are the coefficients of the score of a candidate cause, and of the
// score of "something that is not seen". Temperature divides scores before they
// become probabilities: higher is less sure.
type Weights struct {
	Evidence    float64 `yaml:"evidence"`
	Onset       float64 `yaml:"onset"`
	Change      float64 `yaml:"change"`
	Coverage    float64 `yaml:"coverage"`
	Resource    float64 `yaml:"resource"`
	Unknown     float64 `yaml:"unknown"`
	Temperature float64 `yaml:"temperature"`
}

// DefaultConfig returns the settings that fit most systems.
func DefaultConfig() Config {
	return Config{
		MergeWindow:  model.Duration(5 * time.Minute),
		MaxDistance:  2,
		ChangeWindow: model.Duration(time.Hour),
		ChangeDecay:  model.Duration(20 * time.Minute),
		MaxCauses:    5,
		ExplainAway:  .7,
		EntryErrors:  .05,
		Weights:      Weights{Evidence: 1, Onset: .6, Change: 1.5, Coverage: 1, Resource: .5, Unknown: 2, Temperature: 1},
	}
}

// Validate returns every mistake in the settings.
func (c Config) Validate() sre.Faults {
	var f sre.Faults
	positive(&f, "merge_window", c.MergeWindow)
	within(&f, "max_distance", float64(c.MaxDistance), 1, 5)
	positive(&f, "change_window", c.ChangeWindow)
	positive(&f, "change_decay", c.ChangeDecay)
	within(&f, "max_causes", float64(c.MaxCauses), 1, 20)
	within(&f, "explain_away", c.ExplainAway, 0, 1)
	within(&f, "entry_errors", c.EntryErrors, .001, 1)
	var w sre.Faults
	within(&w, "evidence", c.Weights.Evidence, 0, 10)
	within(&w, "onset", c.Weights.Onset, 0, 10)
	within(&w, "change", c.Weights.Change, 0, 10)
	within(&w, "coverage", c.Weights.Coverage, 0, 10)
	within(&w, "resource", c.Weights.Resource, 0, 10)
	within(&w, "unknown", c.Weights.Unknown, 0, 10)
	within(&w, "temperature", c.Weights.Temperature, .1, 10)
	f.Under("weights", w)
	return f
}

// within also refuses NaN, which compares false with every bound.
func within(f *sre.Faults, path string, v, lo, hi float64) {
	if !(v >= lo && v <= hi) {
		f.Add(path, fmt.Sprintf("is %v", v), fmt.Sprintf("%v to %v", lo, hi))
	}
}

func positive(f *sre.Faults, path string, d model.Duration) {
	if d <= 0 {
		f.Add(path, "is not a positive duration", "more than 0s")
	}
}
