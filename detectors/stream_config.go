package detectors

import (
	"time"

	"github.com/prometheus/common/model"

	"github.com/sreagent/sreagent/sre"
)

// StreamConfig sets a Stream. The defaults serve all kinds of series.
type StreamConfig struct {
	// MinSamples is how many samples are needed before a series is judged.
	MinSamples int `yaml:"min_samples"`
	// Window is the span that an alarm compares with.
	Window model.Duration `yaml:"window"`
	// Threshold is the deviation that raises an alarm, in scales.
	Threshold float64 `yaml:"threshold"`
	// Release is the deviation below which an alarm calms down, in scales.
	Release float64 `yaml:"release"`
	// Persistence is how long a deviation must last where samples are closer
	// than that, by three samples of five at most.
	Persistence model.Duration `yaml:"persistence"`
	// Calm is how many calm samples in a row end an alarm.
	Calm int `yaml:"calm"`
	// Floor is the smallest scale, as a share of the usual level.
	Floor float64 `yaml:"floor"`
	// Novelty is by what share of the range seen so far a new extreme must
	// exceed it.
	Novelty float64 `yaml:"novelty"`
	// Quiet is the longest time for which a sign silences weaker repeats in the
	// score.
	Quiet model.Duration `yaml:"quiet"`
}

// DefaultStreamConfig returns the settings that fit most series.
func DefaultStreamConfig() StreamConfig {
	return StreamConfig{
		MinSamples:  20,
		Window:      model.Duration(24 * time.Hour),
		Threshold:   6,
		Release:     3,
		Persistence: model.Duration(5 * time.Minute),
		Calm:        3,
		Floor:       .05,
		Novelty:     .05,
		Quiet:       model.Duration(24 * time.Hour),
	}
}

// Validate returns every mistake in the settings.
func (c StreamConfig) Validate() sre.Faults {
	var f sre.Faults
	if c.MinSamples < 5 || c.MinSamples > daySamples {
		f.Add("min_samples", "is out of range", "5 to 400")
	}
	positive(&f, "window", c.Window)
	within(&f, "threshold", c.Threshold, 1, 1000)
	within(&f, "release", c.Release, .1, 1000)
	ordered(&f, "threshold", c.Release, c.Threshold, "release")
	if c.Persistence < 0 {
		f.Add("persistence", "is negative", "0s or more")
	}
	if c.Calm < 1 || c.Calm > 1000 {
		f.Add("calm", "is out of range", "1 to 1000")
	}
	within(&f, "floor", c.Floor, 0, 10)
	within(&f, "novelty", c.Novelty, .001, 10)
	if c.Quiet < 0 {
		f.Add("quiet", "is negative", "0s or more")
	}
	return f
}
