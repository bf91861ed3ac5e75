package world

import (
	"maps"
	"math"
	"slices"

	"github.com/sreagent/sreagent/replay/fluid"
	"github.com/sreagent/sreagent/sre"
)

// killStages are the percentages through which a feature comes back.
var killStages = []float64{25, 5, 1}

// returnSteps says in how many steps a held value goes back to its default; 0 is
// at once. Whatever lets more load in goes step by step, as at the guard.
func returnSteps(kind sre.ActionKind, held sre.Params, steps int) int {
	switch kind {
	case sre.KillSwitch:
		percent, _ := held.Float("percent")
		n := 1
		for _, stage := range killStages {
			if stage < percent {
				n++
			}
		}
		return n
	case sre.Shed, sre.RetryBudget, sre.QueueBound, sre.TrafficShift:
		return steps
	case sre.Breaker, sre.Timeout, sre.Rollback, sre.Scale, sre.Drain, sre.Restart:
	}
	return 0
}

// returnValue is what is in force after step of steps on the way from held to
// target, before the last step.
func returnValue(kind sre.ActionKind, held, target sre.Params, step, steps int) sre.Params {
	if step == 0 {
		return held
	}
	share := float64(step) / float64(steps)
	switch kind {
	case sre.Shed, sre.RetryBudget, sre.TrafficShift:
		return between(held, target, func(from, to float64) float64 { return from + (to-from)*share })
	case sre.QueueBound: // its default is often a thousand times the bound that helps
		return between(held, target, func(from, to float64) float64 {
			from, to = max(1, from), max(1, to)
			return math.Round(from * math.Pow(to/from, share))
		})
	case sre.KillSwitch:
		return sre.Params{"percent": killStages[len(killStages)-steps+step]}
	case sre.Breaker, sre.Timeout, sre.Rollback, sre.Scale, sre.Drain, sre.Restart:
	}
	return held
}

func between(held, target sre.Params, at func(from, to float64) float64) sre.Params {
	v := maps.Clone(held)
	for name := range held {
		from, _ := held.Float(name)
		if to, ok := target.Float(name); ok {
			v[name] = at(from, to)
		}
	}
	return v
}

func sameService(a, b fluid.ServiceControl) bool {
	return a.Cap == b.Cap && a.ClassCap == b.ClassCap && a.QueueBound == b.QueueBound &&
		a.Replicas == b.Replicas && a.Drained == b.Drained &&
		slices.Equal(a.Killed, b.Killed) && a.KilledPart == b.KilledPart && a.RolledBack == b.RolledBack
}
