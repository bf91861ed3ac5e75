package detectors

import (
	"time"

	"github.com/prometheus/common/model"

	"github.com/sreagent/sreagent/sre"
)

// SlowConfig sets the slow-dependency detector.
type SlowConfig struct {
	Rise       float64 `yaml:"rise"`        // latency of a call over its usual one
	Patience   float64 `yaml:"patience"`    // latency as a share of the caller's timeout below which nobody is hurt, 0 to 1
	ActTimeout float64 `yaml:"act_timeout"` // 99th percentile as a share of the caller's timeout, 0 to 1
	WarnShare  float64 `yaml:"warn_share"`  // share of the callers that suffer, 0 to 1
	ActShare   float64 `yaml:"act_share"`   // share of the callers that suffer, 0 to 1
}

// PoolConfig sets the detector of pools that slow work holds.
type PoolConfig struct {
	WarnUse float64 `yaml:"warn_use"` // occupancy, 0 to 1
	ActUse  float64 `yaml:"act_use"`  // occupancy, 0 to 1
	Hold    float64 `yaml:"hold"`     // time that one request holds a worker, over the usual one
}

// DecayConfig sets the detector of lost capacity.
type DecayConfig struct {
	WarnLoss  float64 `yaml:"warn_loss"`  // share of the usual capacity that is gone, 0 to 1
	ActLoss   float64 `yaml:"act_loss"`   // share of the usual capacity that is gone, 0 to 1
	WarnDelay float64 `yaml:"warn_delay"` // waiting time over the callers' timeout
	ActDelay  float64 `yaml:"act_delay"`  // waiting time over the callers' timeout
}

// CacheLossConfig sets the cache-loss detector.
type CacheLossConfig struct {
	WarnSurge float64 `yaml:"warn_surge"` // misses over the usual ones
	ActUse    float64 `yaml:"act_use"`    // occupancy that the surge means for the backend
}

// SurvivorConfig sets the detector of load on the replicas that are left.
type SurvivorConfig struct {
	Lost     float64 `yaml:"lost"`      // share of the replicas that is gone, 0 to 1
	WarnLoad float64 `yaml:"warn_load"` // load of the rest over its capacity
	ActLoad  float64 `yaml:"act_load"`  // load of the rest over its capacity
}

// OscillationConfig sets the detector of controls that swing.
type OscillationConfig struct {
	Turns int            `yaml:"turns"` // changes of direction
	Span  model.Duration `yaml:"span"`  // within which they count
	Swing float64        `yaml:"swing"` // smallest swing that counts, as a share of the usual value
}

// InversionConfig sets the detector of timeouts that do not nest.
type InversionConfig struct {
	WarnIndex float64 `yaml:"warn_index"` // time that the callee may need over the caller's timeout
	ActIndex  float64 `yaml:"act_index"`  // time that the callee may need over the caller's timeout
	Near      float64 `yaml:"near"`       // 99th percentile as a share of the timeout that makes it live, 0 to 1
}

// DivergenceConfig sets the detector of goodput that falls while load rises.
type DivergenceConfig struct {
	Load     float64 `yaml:"load"`      // rise of what is offered, as a share of the usual
	WarnLoss float64 `yaml:"warn_loss"` // fall of what is answered well, as a share of the usual, 0 to 1
	ActLoss  float64 `yaml:"act_loss"`  // fall of what is answered well, as a share of the usual, 0 to 1
}

// BadChangeConfig sets the detector of changes that do harm.
type BadChangeConfig struct {
	Watch       model.Duration `yaml:"watch"`        // after a change
	Settle      model.Duration `yaml:"settle"`       // time constant of what is seen after it
	WarnErrors  float64        `yaml:"warn_errors"`  // rise of the error ratio beyond that of the peers, 0 to 1
	ActErrors   float64        `yaml:"act_errors"`   // rise of the error ratio beyond that of the peers, 0 to 1
	WarnLatency float64        `yaml:"warn_latency"` // latency over that before, beyond that of the peers
	ActLatency  float64        `yaml:"act_latency"`  // latency over that before, beyond that of the peers
	Certainty   float64        `yaml:"certainty"`    // rise over its standard error
}

func (c *Config) setMechanisms() {
	c.Slow = SlowConfig{Rise: 2, Patience: .1, ActTimeout: .8, WarnShare: .3, ActShare: .6}
	c.Pool = PoolConfig{WarnUse: .8, ActUse: .95, Hold: 2}
	c.Decay = DecayConfig{WarnLoss: .25, ActLoss: .5, WarnDelay: .25, ActDelay: .5}
	c.CacheLoss = CacheLossConfig{WarnSurge: 2, ActUse: .8}
	c.Survivor = SurvivorConfig{Lost: .15, WarnLoad: .85, ActLoad: 1}
	c.Oscillation = OscillationConfig{Turns: 4, Span: model.Duration(10 * time.Minute), Swing: .25}
	c.Inversion = InversionConfig{WarnIndex: 1.1, ActIndex: 1.5, Near: .8}
	c.Divergence = DivergenceConfig{Load: .1, WarnLoss: .05, ActLoss: .5}
	c.BadChange = BadChangeConfig{
		Watch: model.Duration(15 * time.Minute), Settle: model.Duration(30 * time.Second),
		WarnErrors: .02, ActErrors: .1, WarnLatency: 1.5, ActLatency: 3, Certainty: 5,
	}
}

func (c *Config) validateMechanisms(f *sre.Faults) {
	f.Under("slow", c.Slow.validate())
	f.Under("pool", c.Pool.validate())
	f.Under("decay", c.Decay.validate())
	f.Under("cache_loss", c.CacheLoss.validate())
	f.Under("survivor", c.Survivor.validate())
	f.Under("oscillation", c.Oscillation.validate())
	f.Under("inversion", c.Inversion.validate())
	f.Under("divergence", c.Divergence.validate())
	f.Under("bad_change", c.BadChange.validate())
}

func (c SlowConfig) validate() sre.Faults {
	var f sre.Faults
	within(&f, "rise", c.Rise, 1.1, 100)
	within(&f, "patience", c.Patience, 0, 1)
	within(&f, "act_timeout", c.ActTimeout, .01, 1)
	ordered(&f, "act_timeout", c.Patience, c.ActTimeout, "patience")
	within(&f, "warn_share", c.WarnShare, 0, 1)
	within(&f, "act_share", c.ActShare, 0, 1)
	ordered(&f, "act_share", c.WarnShare, c.ActShare, "warn_share")
	return f
}

func (c PoolConfig) validate() sre.Faults {
	var f sre.Faults
	within(&f, "warn_use", c.WarnUse, .1, 1)
	within(&f, "act_use", c.ActUse, .1, 1)
	ordered(&f, "act_use", c.WarnUse, c.ActUse, "warn_use")
	within(&f, "hold", c.Hold, 1.1, 100)
	return f
}

func (c DecayConfig) validate() sre.Faults {
	var f sre.Faults
	within(&f, "warn_loss", c.WarnLoss, .05, .95)
	within(&f, "act_loss", c.ActLoss, .05, .95)
	ordered(&f, "act_loss", c.WarnLoss, c.ActLoss, "warn_loss")
	within(&f, "warn_delay", c.WarnDelay, .01, 10)
	within(&f, "act_delay", c.ActDelay, .01, 10)
	ordered(&f, "act_delay", c.WarnDelay, c.ActDelay, "warn_delay")
	return f
}

func (c CacheLossConfig) validate() sre.Faults {
	var f sre.Faults
	within(&f, "warn_surge", c.WarnSurge, 1.1, 100)
	within(&f, "act_use", c.ActUse, .1, 10)
	return f
}

func (c SurvivorConfig) validate() sre.Faults {
	var f sre.Faults
	within(&f, "lost", c.Lost, .01, .99)
	within(&f, "warn_load", c.WarnLoad, .1, 10)
	within(&f, "act_load", c.ActLoad, .1, 10)
	ordered(&f, "act_load", c.WarnLoad, c.ActLoad, "warn_load")
	return f
}

func (c OscillationConfig) validate() sre.Faults {
	var f sre.Faults
	if c.Turns < 2 || c.Turns > mostTurns {
		f.Add("turns", "is out of range", "2 to 8")
	}
	positive(&f, "span", c.Span)
	within(&f, "swing", c.Swing, .01, 10)
	return f
}

func (c InversionConfig) validate() sre.Faults {
	var f sre.Faults
	within(&f, "warn_index", c.WarnIndex, 1, 100)
	within(&f, "act_index", c.ActIndex, 1, 100)
	ordered(&f, "act_index", c.WarnIndex, c.ActIndex, "warn_index")
	within(&f, "near", c.Near, .1, 1)
	return f
}

func (c DivergenceConfig) validate() sre.Faults {
	var f sre.Faults
	within(&f, "load", c.Load, .01, 100)
	within(&f, "warn_loss", c.WarnLoss, .01, 1)
	within(&f, "act_loss", c.ActLoss, .01, 1)
	ordered(&f, "act_loss", c.WarnLoss, c.ActLoss, "warn_loss")
	return f
}

func (c BadChangeConfig) validate() sre.Faults {
	var f sre.Faults
	positive(&f, "watch", c.Watch)
	positive(&f, "settle", c.Settle)
	within(&f, "warn_errors", c.WarnErrors, .001, 1)
	within(&f, "act_errors", c.ActErrors, .001, 1)
	ordered(&f, "act_errors", c.WarnErrors, c.ActErrors, "warn_errors")
	within(&f, "warn_latency", c.WarnLatency, 1.05, 100)
	within(&f, "act_latency", c.ActLatency, 1.05, 100)
	ordered(&f, "act_latency", c.WarnLatency, c.ActLatency, "warn_latency")
	within(&f, "certainty", c.Certainty, 1, 100)
	return f
}
