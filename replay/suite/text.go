package suite

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/sreagent/sreagent/replay/backtest"
)

// WriteText writes a report as tables: each story in each arm, then the sums.
func (r *Report) WriteText(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	line := func(format string, args ...any) { _, _ = fmt.Fprintf(t, format+"\n", args...) } // reported by Flush
	line("story\tcascade\t\t\tback after\t\t\tlowest goodput\t\t\tagent\t\t\t")
	line("\toff\tstatic\tagent\toff\tstatic\tagent\toff\tstatic\tagent\tactions\tharmful\tfalse")
	for _, row := range r.Rows {
		off, static, agent := row.Runs[0], row.Runs[1], row.Runs[2]
		line("%s\t%s\t%s\t%s\t%s\t%s\t%s\t%.2f\t%.2f\t%.2f\t%d\t%d\t%d", row.Story,
			yes(off.Cascade), yes(static.Cascade), yes(agent.Cascade), back(off), back(static), back(agent),
			off.LowestGoodput, static.LowestGoodput, agent.LowestGoodput, agent.Actions, agent.Harmful, agent.False)
	}
	s := r.Summary
	line("")
	line("%d stories: %d would end in a cascade or without recovery, %d are benign", s.Stories, s.Cascades, s.Benign)
	line("")
	line("\toff\tstatic\tagent")
	each := func(what string, f func(ArmOver) string) {
		cells := []string{what}
		for _, a := range s.Arms {
			cells = append(cells, f(a))
		}
		line("%s", strings.Join(cells, "\t"))
	}
	each("prevented or recovered", func(a ArmOver) string { return share(a.Handled) })
	each("  prevented", func(a ArmOver) string { return fmt.Sprint(a.Prevented) })
	each("  recovered", func(a ArmOver) string { return fmt.Sprint(a.Recovered) })
	each("actions", func(a ArmOver) string { return fmt.Sprint(a.Actions) })
	each("  harmful", func(a ArmOver) string { return fmt.Sprintf("%d in %d stories", a.Harmful, a.HarmfulStories) })
	each("  false", func(a ArmOver) string { return fmt.Sprint(a.False) })
	each("  false in benign stories", func(a ArmOver) string { return fmt.Sprint(a.FalseBenign) })
	each("relapses", func(a ArmOver) string { return fmt.Sprint(a.Relapses) })
	each("full goodput lost", func(a ArmOver) string { return fmt.Sprintf("%.0fs", a.LostSeconds) })
	each("back after detection", func(a ArmOver) string {
		if a.AfterDetection.N == 0 {
			return "-"
		}
		return fmt.Sprintf("%.0fs median, %.0fs at the third quarter", a.AfterDetection.Median, a.AfterDetection.P75)
	})
	return t.Flush()
}

func yes(v bool) string {
	if v {
		return "yes"
	}
	return "no"
}

func back(r Run) string {
	if r.Recovered && r.RecoveredAfter != nil {
		return seconds(r.RecoveredAfter)
	}
	return "never"
}

func share(s backtest.Share) string {
	if s.N == 0 {
		return "-"
	}
	return fmt.Sprintf("%.0f of %d, %.3f [%.3f %.3f]", s.Value*float64(s.N), s.N, s.Value, s.Low, s.High)
}
