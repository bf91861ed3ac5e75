package report

import (
	"fmt"
	"maps"
	"slices"

	"github.com/sreagent/sreagent/replay/backtest"
)

// scoreLine is one row of the table of scores.
type scoreLine struct {
	name string
	of   func(backtest.Summary) scoreCell
}

// allWorlds heads the column over all mechanisms of the simulated world.
const allWorlds = "world, all"

var nothing = scoreCell{"–", ""}

func shareCell(s backtest.Share) scoreCell {
	if s.N == 0 {
		return nothing
	}
	return scoreCell{fixed(s.Value), fmt.Sprintf("%s to %s, n = %d", fixed(s.Low), fixed(s.High), s.N)}
}

func spreadCell(s backtest.Spread) scoreCell {
	if s.N == 0 {
		return nothing
	}
	return scoreCell{seconds(s.Median), "quartiles " + seconds(s.P25) + " and " + seconds(s.P75)}
}

func rateCell(r backtest.Rate) scoreCell {
	if r.Exposure <= 0 {
		return nothing
	}
	return scoreCell{fixed(r.Value), fixed(r.Low) + " to " + fixed(r.High)}
}

// laterLines are the rows on traces, notifications and kinds of faults, and, where
// there are bundles of the simulated world, on what was true in it.
func laterLines(r *backtest.Result) []scoreLine {
	out := []scoreLine{
		{"Detected, of faults with a trace", func(s backtest.Summary) scoreCell { return shareCell(s.DetectedOfTraced) }},
		{"Blames nobody, in stretches without a fault", func(s backtest.Summary) scoreCell { return shareCell(s.Specificity) }},
		{"False alarms per hour", func(s backtest.Summary) scoreCell { return rateCell(s.FalseAlarmsPerHour) }},
		{"Notifications", func(s backtest.Summary) scoreCell {
			n := s.Notifications
			return scoreCell{itoa(n.Incidents), fmt.Sprintf("instead of %d per series, %s fewer; %d faults missed that users felt", n.PerSeries, percent(n.Reduction), n.LostSLO)}
		}},
	}
	kinds := map[string]bool{}
	for _, s := range r.Summary {
		for kind := range s.ByFault {
			kinds[kind] = true
		}
	}
	for _, kind := range slices.Sorted(maps.Keys(kinds)) {
		out = append(out, scoreLine{"AC@1, time given: " + name(kind), func(s backtest.Summary) scoreCell { return shareCell(s.ByFault[kind].Oracle.AC1) }})
	}
	if r.World == nil {
		return out
	}
	truly := func(text string, of func(*backtest.Foresight) scoreCell) {
		out = append(out, scoreLine{text, func(s backtest.Summary) scoreCell {
			if s.Foresight == nil {
				return nothing
			}
			return of(s.Foresight)
		}})
	}
	truly("Felt by users", func(f *backtest.Foresight) scoreCell {
		return scoreCell{itoa(f.Felt), fmt.Sprintf("%d healed before, %d of them told of", f.Healed, f.HealedAlarmed)}
	})
	truly("Told of, of those felt", func(f *backtest.Foresight) scoreCell { return shareCell(f.Detected) })
	truly("AC@1, own alarm, felt", func(f *backtest.Foresight) scoreCell { return shareCell(f.EndToEnd.AC1) })
	truly("AC@3, own alarm, felt", func(f *backtest.Foresight) scoreCell { return shareCell(f.EndToEnd.AC3) })
	truly("AC@1, settled, felt", func(f *backtest.Foresight) scoreCell { return shareCell(f.Settled.AC1) })
	truly("AC@3, settled, felt", func(f *backtest.Foresight) scoreCell { return shareCell(f.Settled.AC3) })
	truly("Mechanism named", func(f *backtest.Foresight) scoreCell { return shareCell(f.Mechanism) })
	truly("Mechanism named, settled", func(f *backtest.Foresight) scoreCell { return shareCell(f.SettledMech) })
	truly("Warned 30 s before, where there was room", func(f *backtest.Foresight) scoreCell { return shareCell(f.WarnedWithRoom) })
	truly("Lead, where there was room", func(f *backtest.Foresight) scoreCell { return spreadCell(f.LeadSeconds) })
	return append(out, scoreLine{"False alarms per week and 1,000 services", func(s backtest.Summary) scoreCell { return rateCell(s.FleetWeeks) }})
}
