package backtest

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// world writes what came of the simulated world: a row per mechanism, and below
// them all of them together.
func (p *page) world(r *Result) {
	s := r.World
	p.line("simulated world: %d incidents, %s without fault%s", s.Bundles, length(s.FaultFreeSeconds), failures(s.Failed))
	if s.Foresight != nil {
		p.mechanisms(r)
	}
	p.line("  %-22s %s", "false alarms", perHour(s.FalseAlarmsPerHour))
	if s.FleetWeeks.Exposure > 0 {
		p.line("  %-22s %.2f per week and 1,000 services [%.2f %.2f]", "", s.FleetWeeks.Value, s.FleetWeeks.Low, s.FleetWeeks.High)
		p.line("  %-22s in %.3f weeks of 1,000 services", "", s.FleetWeeks.Exposure)
	}
	p.line("  %-22s %.2f %% of the time without fault", "in alarm", 100*s.TimeInAlarmRatio)
	p.notifications(s.Notifications)
}

func failures(n int) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprintf(", %d failed", n)
}

func perHour(r Rate) string {
	return fmt.Sprintf("%.3f per hour [%.3f %.3f], %d in all", r.Value, r.Low, r.High, r.N)
}

func (p *page) mechanisms(r *Result) {
	p.line("  %-18s%5s%6s%7s%7s%7s%7s%7s%7s", "felt by users", "n", "told", "top-1", "top-3", "set.-1", "set.-3", "named", "lead")
	for _, source := range slices.Sorted(maps.Keys(r.Summary)) {
		name, ok := strings.CutPrefix(source, WorldPrefix)
		if f := r.Summary[source].Foresight; ok && f != nil {
			p.mechanism(name, f)
		}
	}
	f := r.World.Foresight
	p.mechanism("all", f)
	p.line("  %-22s %s", "told of", share(f.Detected))
	p.line("  %-22s %s", "median delay", spread(f.DelaySeconds))
	p.line("  %-22s %-18s %-18s %-18s", "cause found", "time given", "own alarm", "own, settled")
	for _, row := range rankRows {
		p.line("    %-20s %-18s %-18s %-18s", row.name, brief(row.of(f.Oracle)), brief(row.of(f.EndToEnd)), brief(row.of(f.Settled)))
	}
	p.line("  %-22s %s, settled %s", "mechanism named", brief(f.Mechanism), brief(f.SettledMech))
	p.line("  %-22s %s", "warned before", share(f.Warned))
	p.line("  %-22s %s", "30 s before, had room", share(f.WarnedWithRoom))
	p.line("  %-22s %s", "median lead, had room", spread(f.LeadSeconds))
	p.line("  %-22s %s", "  in sight for 30 s", share(f.WarnedInSight))
	p.line("  %-22s %s", "  median lead, in sight", spread(f.SightLead))
	p.line("  %-22s %s", "  to no return", spread(f.NoReturnLead))
	p.line("  %-22s %s", "  to harm alone", spread(f.HarmLead))
	p.line("  %-22s %d, of which %d were told of", "healed by themselves", f.Healed, f.HealedAlarmed)
}

func (p *page) mechanism(name string, f *Foresight) {
	lead := "-"
	if f.LeadSeconds.N > 0 {
		lead = (time.Duration(f.LeadSeconds.Median) * time.Second).String()
		if f.LeadSeconds.Median <= never {
			lead = "never"
		}
	}
	p.line("  %-18s%5d%6s%7s%7s%7s%7s%7s%7s", name, f.Felt, cell(f.Detected), cell(f.EndToEnd.AC1), cell(f.EndToEnd.AC3),
		cell(f.Settled.AC1), cell(f.Settled.AC3), cell(f.SettledMech), lead)
}

func cell(s Share) string {
	if s.N == 0 {
		return "-"
	}
	return fmt.Sprintf("%.2f", s.Value)
}
