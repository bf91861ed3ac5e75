package guard

import (
	"maps"
	"math"
)

// killStages are the percentages through which a feature comes back.
var killStages = []float64{25, 5, 1}

// returnSteps says in how many steps a held value goes back to its default; 0 is
// at once. Recovery must not become the next trigger, so whatever lets more load
// in goes step by step.
func returnSteps(kind Kind, held Params, steps int) int {
	switch kind {
	case KindBreaker, KindTimeout:
		return 0
	case KindKillSwitch:
		n := 1
		for _, stage := range killStages {
			if stage < held["percent"] {
				n++
			}
		}
		return n
	case KindShed, KindRetryBudget, KindQueueBound:
	}
	return steps
}

// returnValue is what is in force after step of steps on the way from held to
// target, before the last step.
func returnValue(kind Kind, held, target Params, step, steps int) Params {
	if step == 0 {
		return held
	}
	share := float64(step) / float64(steps)
	switch kind {
	case KindShed, KindRetryBudget:
		return between(held, target, func(from, to float64) float64 { return from + (to-from)*share })
	case KindQueueBound: // its default is often a thousand times the bound that helps
		return between(held, target, func(from, to float64) float64 {
			from, to = max(1, from), max(1, to)
			return math.Round(from * math.Pow(to/from, share))
		})
	case KindKillSwitch:
		return Params{"percent": killStages[len(killStages)-steps+step]}
	case KindBreaker, KindTimeout:
	}
	return held
}

func between(held, target Params, at func(from, to float64) float64) Params {
	v := maps.Clone(held)
	for name, from := range held {
		if to, ok := target[name]; ok {
			v[name] = at(from, to)
		}
	}
	return v
}
