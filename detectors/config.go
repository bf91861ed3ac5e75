package detectors

import (
	"time"

	"github.com/prometheus/common/model"

	"github.com/sreagent/sreagent/sre"
)

// Config holds the settings of all detectors.
type Config struct {
	// MinSamples is how many samples of a series are needed before it is judged.
	MinSamples int `yaml:"min_samples"`
	// Memory is the time constant of what counts as usual.
	Memory model.Duration `yaml:"memory"`
	// Window is the span over which the sources compute rates. It turns a rate
	// into a number of requests, so that little traffic is judged with care.
	Window model.Duration `yaml:"window"`
	// Hold is how long a sign outlives the readings that showed it.
	Hold model.Duration `yaml:"hold"`

	Anomaly    AnomalyConfig    `yaml:"anomaly"`
	RetryStorm RetryStormConfig `yaml:"retry_storm"`
	Exhaustion ExhaustionConfig `yaml:"exhaustion"`
	Overload   OverloadConfig   `yaml:"overload"`
	SLO        SLOConfig        `yaml:"slo"`

	Slow        SlowConfig        `yaml:"slow"`
	Pool        PoolConfig        `yaml:"pool"`
	Decay       DecayConfig       `yaml:"decay"`
	CacheLoss   CacheLossConfig   `yaml:"cache_loss"`
	Survivor    SurvivorConfig    `yaml:"survivor"`
	Oscillation OscillationConfig `yaml:"oscillation"`
	Inversion   InversionConfig   `yaml:"inversion"`
	Divergence  DivergenceConfig  `yaml:"divergence"`
	BadChange   BadChangeConfig   `yaml:"bad_change"`
}

// AnomalyConfig sets the test of each golden signal against its own past.
type AnomalyConfig struct {
	// FalseAlarmEvery is how seldom chance alone may raise an alarm, over the
	// whole fleet: the bar rises with the number of services and of ticks.
	FalseAlarmEvery model.Duration `yaml:"false_alarm_every"`
	// Persistence is how long a deviation must last. Where ticks are longer, one
	// sample is enough, if it is rare enough.
	Persistence model.Duration `yaml:"persistence"`
	Clip        float64        `yaml:"clip"`         // largest deviation that the baseline learns from, in scales
	Reference   model.Duration `yaml:"reference"`    // sampling interval below which samples overlap and count for less
	Refractory  model.Duration `yaml:"refractory"`   // after an episode, a weaker one is only worth a note
	AfterChange model.Duration `yaml:"after_change"` // after a change of a service, it is judged with twice the scale and teaches nothing
	ErrorExcess float64        `yaml:"error_excess"` // rise of the error ratio that matters, 0 to 1
	LatencyRise float64        `yaml:"latency_rise"` // rise of latency that matters, as a share of the usual
	HighUse     float64        `yaml:"high_use"`     // occupancy below which a rise is only worth a note, 0 to 1
}

// RetryStormConfig sets the retry-storm detector.
type RetryStormConfig struct {
	WarnAmplification float64        `yaml:"warn_amplification"` // attempts per first attempt
	ActAmplification  float64        `yaml:"act_amplification"`
	WarnMargin        float64        `yaml:"warn_margin"` // backlog as a share of the point of no return
	ActMargin         float64        `yaml:"act_margin"`
	ActWithin         model.Duration `yaml:"act_within"`      // time to no return below which to act
	DeadShare         float64        `yaml:"dead_share"`      // share of requests given up by their callers that counts as dead work
	ErrorExcess       float64        `yaml:"error_excess"`    // rise of the error ratio that counts as harm, 0 to 1
	Busy              float64        `yaml:"busy"`            // occupancy from which a service counts as full, 0 to 1
	AssumedTimeout    model.Duration `yaml:"assumed_timeout"` // of callers whose timeout nobody told and no latency suggests
}

// ExhaustionConfig sets the time-to-exhaustion detector.
type ExhaustionConfig struct {
	Span       model.Duration `yaml:"span"`        // time constant of the slope
	WarnWithin model.Duration `yaml:"warn_within"` // time to full below which to warn
	ActWithin  model.Duration `yaml:"act_within"`  // time to full below which to act
	From       float64        `yaml:"from"`        // use below which no slope matters, 0 to 1
	Certainty  float64        `yaml:"certainty"`   // slope over its standard error
}

// OverloadConfig sets the overload detector.
type OverloadConfig struct {
	WarnUse     float64        `yaml:"warn_use"`     // occupancy, 0 to 1
	ActUse      float64        `yaml:"act_use"`      // occupancy, 0 to 1
	QueueDelay  model.Duration `yaml:"queue_delay"`  // waiting time that counts as full, whatever the occupancy
	ErrorExcess float64        `yaml:"error_excess"` // rise of the error ratio that makes it act level, 0 to 1
}

// DefaultConfig returns the settings that fit most systems.
func DefaultConfig() Config {
	c := Config{
		MinSamples: 20,
		Memory:     model.Duration(10 * time.Minute),
		Window:     model.Duration(15 * time.Second),
		Hold:       model.Duration(2 * time.Minute),
		Anomaly: AnomalyConfig{
			FalseAlarmEvery: model.Duration(24 * time.Hour),
			Persistence:     model.Duration(45 * time.Second),
			Clip:            5,
			Reference:       model.Duration(10 * time.Second),
			Refractory:      model.Duration(5 * time.Minute),
			AfterChange:     model.Duration(10 * time.Minute),
			ErrorExcess:     .01, LatencyRise: .5, HighUse: .8,
		},
		RetryStorm: RetryStormConfig{
			WarnAmplification: 1.2, ActAmplification: 1.5,
			WarnMargin: .25, ActMargin: .5,
			ActWithin: model.Duration(time.Minute),
			DeadShare: .05, ErrorExcess: .1, Busy: .9,
			AssumedTimeout: model.Duration(time.Second),
		},
		Exhaustion: ExhaustionConfig{
			Span:       model.Duration(5 * time.Minute),
			WarnWithin: model.Duration(10 * time.Minute),
			ActWithin:  model.Duration(2 * time.Minute),
			From:       .5, Certainty: 5,
		},
		Overload: OverloadConfig{
			WarnUse: .85, ActUse: .95,
			QueueDelay:  model.Duration(time.Second),
			ErrorExcess: .05,
		},
		SLO: SLOConfig{Objective: .999, MinEvents: 100, MinFailures: 10},
	}
	c.setMechanisms()
	return c
}

// Validate returns every mistake in the settings.
func (c Config) Validate() sre.Faults {
	var f sre.Faults
	if c.MinSamples < 5 || c.MinSamples > 10000 {
		f.Add("min_samples", "is out of range", "5 to 10000")
	}
	positive(&f, "memory", c.Memory)
	positive(&f, "window", c.Window)
	if c.Hold < 0 {
		f.Add("hold", "is negative", "0s or more")
	}
	f.Under("anomaly", c.Anomaly.validate())
	f.Under("retry_storm", c.RetryStorm.validate())
	f.Under("exhaustion", c.Exhaustion.validate())
	f.Under("overload", c.Overload.validate())
	f.Under("slo", c.SLO.validate())
	c.validateMechanisms(&f)
	return f
}

func (c AnomalyConfig) validate() sre.Faults {
	var f sre.Faults
	positive(&f, "false_alarm_every", c.FalseAlarmEvery)
	positive(&f, "persistence", c.Persistence)
	within(&f, "clip", c.Clip, 1, 20)
	positive(&f, "reference", c.Reference)
	if c.Refractory < 0 {
		f.Add("refractory", "is negative", "0s or more")
	}
	if c.AfterChange < 0 {
		f.Add("after_change", "is negative", "0s or more")
	}
	within(&f, "error_excess", c.ErrorExcess, .0001, 1)
	within(&f, "latency_rise", c.LatencyRise, .01, 100)
	within(&f, "high_use", c.HighUse, .01, 1)
	return f
}

func (c RetryStormConfig) validate() sre.Faults {
	var f sre.Faults
	within(&f, "warn_amplification", c.WarnAmplification, 1, 100)
	within(&f, "act_amplification", c.ActAmplification, 1, 100)
	ordered(&f, "act_amplification", c.WarnAmplification, c.ActAmplification, "warn_amplification")
	within(&f, "warn_margin", c.WarnMargin, .01, 10)
	within(&f, "act_margin", c.ActMargin, .01, 10)
	ordered(&f, "act_margin", c.WarnMargin, c.ActMargin, "warn_margin")
	positive(&f, "act_within", c.ActWithin)
	within(&f, "dead_share", c.DeadShare, .001, 1)
	within(&f, "error_excess", c.ErrorExcess, .001, 1)
	within(&f, "busy", c.Busy, .1, 1)
	positive(&f, "assumed_timeout", c.AssumedTimeout)
	return f
}

func (c ExhaustionConfig) validate() sre.Faults {
	var f sre.Faults
	positive(&f, "span", c.Span)
	positive(&f, "warn_within", c.WarnWithin)
	positive(&f, "act_within", c.ActWithin)
	if c.ActWithin > c.WarnWithin {
		f.Add("act_within", "is longer than warn_within", "at most warn_within")
	}
	within(&f, "from", c.From, 0, .99)
	within(&f, "certainty", c.Certainty, 1, 100)
	return f
}

func (c OverloadConfig) validate() sre.Faults {
	var f sre.Faults
	within(&f, "warn_use", c.WarnUse, .1, 1)
	within(&f, "act_use", c.ActUse, .1, 1)
	ordered(&f, "act_use", c.WarnUse, c.ActUse, "warn_use")
	positive(&f, "queue_delay", c.QueueDelay)
	within(&f, "error_excess", c.ErrorExcess, .001, 1)
	return f
}
