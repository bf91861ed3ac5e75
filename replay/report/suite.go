package report

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/sreagent/sreagent/replay/suite"
)

type suiteSum struct {
	Name  string
	Cells []suiteCell
}

type suiteCell struct{ Arm, Value, Interval string }

type suiteStory struct {
	Name, Title string
	Arms        []suiteFare
}

// suiteFare is how one story went in one arm.
type suiteFare struct {
	Arm, Fared, Actions string
	Bad                 bool // harm, a false action or a relapse
}

type suitePage struct {
	shell
	Arms    []string
	Sums    []suiteSum
	Stories []suiteStory
	Hidden  int
	Command string // that plays the same stories again
}

// Suite writes the page of a suite of stories in three arms. The command is shown as
// the way to see the same again. Its errors are the writer's.
func Suite(w io.Writer, r *suite.Report, command string) error {
	if r == nil {
		r = &suite.Report{}
	}
	s := r.Summary
	p := suitePage{Command: sentence(command)}
	p.shell = shell{
		Kind: "Suite", Title: "Scenario suite", Sub: fmt.Sprintf("%d stories, of which %d end badly without help and %d are benign.", s.Stories, s.Cascades, s.Benign),
		Nav: []link{{"arms", "Arms"}, {"stories", "Stories"}, {"meaning", "Meaning"}},
	}
	for _, a := range s.Arms {
		p.Arms = append(p.Arms, string(a.Arm))
		p.Headline = append(p.Headline, fmt.Sprintf("%s: %.0f of %d cascades prevented or recovered from, %d harmful actions.",
			a.Arm, a.Handled.Value*float64(a.Handled.N), a.Handled.N, a.Harmful))
	}
	p.Sums = sums(s.Arms)
	for i := range r.Rows[:min(len(r.Rows), maxRows)] {
		p.Stories = append(p.Stories, storyOf(&r.Rows[i]))
	}
	p.Hidden = len(r.Rows) - len(p.Stories)
	return write(w, "suite", p)
}

func sums(arms []suite.ArmOver) []suiteSum {
	var out []suiteSum
	each := func(what string, f func(a suite.ArmOver) suiteCell) {
		row := suiteSum{Name: what}
		for _, a := range arms {
			cell := f(a)
			cell.Arm = string(a.Arm)
			row.Cells = append(row.Cells, cell)
		}
		out = append(out, row)
	}
	plain := func(format string, args ...any) suiteCell { return suiteCell{Value: fmt.Sprintf(format, args...)} }
	each("Prevented or recovered", func(a suite.ArmOver) suiteCell {
		if a.Handled.N == 0 {
			return plain("none to handle")
		}
		return suiteCell{Value: fmt.Sprintf("%.0f of %d", a.Handled.Value*float64(a.Handled.N), a.Handled.N), Interval: fmt.Sprintf("%.3f, %.3f to %.3f", a.Handled.Value, a.Handled.Low, a.Handled.High)}
	})
	each("Prevented", func(a suite.ArmOver) suiteCell { return plain("%d", a.Prevented) })
	each("Recovered", func(a suite.ArmOver) suiteCell { return plain("%d", a.Recovered) })
	each("Actions", func(a suite.ArmOver) suiteCell { return plain("%d", a.Actions) })
	each("Harmful actions", func(a suite.ArmOver) suiteCell { return plain("%d in %d stories", a.Harmful, a.HarmfulStories) })
	each("False actions", func(a suite.ArmOver) suiteCell {
		return plain("%d, %d of them in benign stories", a.False, a.FalseBenign)
	})
	each("Relapses", func(a suite.ArmOver) suiteCell { return plain("%d", a.Relapses) })
	each("Full goodput lost", func(a suite.ArmOver) suiteCell { return plain("%.0f s", a.LostSeconds) })
	each("Back after detection", func(a suite.ArmOver) suiteCell {
		if a.AfterDetection.N == 0 {
			return plain("–")
		}
		return suiteCell{Value: fmt.Sprintf("%.0f s", a.AfterDetection.Median), Interval: fmt.Sprintf("median; %.0f s at the third quarter", a.AfterDetection.P75)}
	})
	return out
}

func storyOf(row *suite.Row) suiteStory {
	s := suiteStory{Name: name(row.Story), Title: sentence(row.Title)}
	for i := range row.Runs {
		run := &row.Runs[i]
		s.Arms = append(s.Arms, suiteFare{
			Arm: string(run.Arm), Fared: faredIn(run), Actions: deedsOf(run), Bad: run.Harmful > 0 || run.False > 0 || run.Relapses > 0,
		})
	}
	return s
}

// deedsOf says what was done in one arm, and of that what should not have been.
func deedsOf(r *suite.Run) string {
	if r.Arm == suite.Off {
		return ""
	}
	parts := []string{count(r.Actions, "action")}
	if r.Harmful > 0 {
		parts = append(parts, fmt.Sprintf("%d harmful", r.Harmful))
	}
	if r.False > 0 {
		parts = append(parts, fmt.Sprintf("%d false", r.False))
	}
	if r.Relapses > 0 {
		parts = append(parts, count(r.Relapses, "relapse"))
	}
	return strings.Join(parts, ", ")
}

// faredIn says how users fared in one arm.
func faredIn(r *suite.Run) string {
	text := "no cascade"
	if r.Cascade {
		text = "cascade"
	}
	switch {
	case !r.Recovered:
		text += ", never back"
	case r.RecoveredAfter != nil && *r.RecoveredAfter > 0:
		text += ", back after " + (time.Duration(*r.RecoveredAfter) * time.Second).String()
	}
	return fmt.Sprintf("%s, %.0f s lost", text, r.LostSeconds)
}
