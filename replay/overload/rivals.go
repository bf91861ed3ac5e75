package overload

import (
	"github.com/sreagent/sreagent/agent/control"
	"github.com/sreagent/sreagent/sre"
)

// Rival is a published or obvious law that is run beside ours on the same lever
// and the same readings.
type Rival struct {
	Name string
	Law  control.Law // nil is no control
}

// Rivals are those of the table, ours first. Fractions are turned into a cap with
// the demand that was seen at that tick, as an enforcer of fractions could at best.
func Rivals() []Rival {
	ours, _ := control.Named(control.Overload)
	return []Rival{
		{"rate cap (ours)", ours},
		{"no control", nil},
		{"fraction .9*served", fraction(forward)},
		{"DAGOR -5 %/+1 %", fraction(dagor)},
		{"TopFull -5 %/+1 %", fraction(topFull)},
		{"AIMD x.7/+5 %", fraction(aimd)},
	}
}

// sight is what a rival sees: requests per second, and seconds.
type sight struct{ offered, served, latency, wait float64 }

// fraction is a law that sets the share that is let in.
type fraction func(admit float64, s sight) float64

// Next reads what the rival needs and turns its share into a cap.
func (f fraction) Next(memory sre.Control, s control.Scene) control.Move {
	snap := s.Snapshot
	i, _ := snap.Graph.Index(s.Action.Target.Service)
	offered, errors := snap.Value(i, sre.Traffic, sre.PerSecond), snap.ErrorRatio(i)
	inside, latency := snap.Value(i, sre.Queue, sre.Count), snap.Value(i, sre.Latency, sre.Seconds)
	if !offered.OK() || !errors.OK() || !inside.OK() {
		return control.Move{Memory: memory}
	}
	served := offered.Value * (1 - errors.Value)
	admit, ok := memory.Numbers["admit"]
	if !ok {
		admit = 1
	}
	admit = min(1, max(.01, f(admit, sight{offered.Value, served, latency.Value, inside.Value / max(1, served)})))
	next := sre.Control{Numbers: map[string]float64{"admit": admit}, Done: admit >= 1}
	return control.Move{Params: sre.Params{"rps": admit * offered.Value}, Memory: next}
}

// forward is a feed-forward fraction: nine tenths of what is served, where calls wait long.
func forward(admit float64, s sight) float64 {
	if s.wait > .4 {
		return min(admit, .9*s.served/max(1, s.offered))
	}
	return admit + .05
}

// dagor takes its overload from the time in the queue (Zhou et al., SoCC'18).
func dagor(admit float64, s sight) float64 {
	if s.wait > .02 {
		return .95 * admit
	}
	return admit + .01
}

// topFull takes it from the latency (Park et al., SIGCOMM'24).
func topFull(admit float64, s sight) float64 {
	if s.latency > .5 {
		return .95 * admit
	}
	return 1.01 * admit
}

func aimd(admit float64, s sight) float64 {
	if s.wait > .4 {
		return .7 * admit
	}
	return admit + .05
}
