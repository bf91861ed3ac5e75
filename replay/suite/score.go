package suite

import (
	"slices"
	"time"

	"github.com/sreagent/sreagent/replay/backtest"
	"github.com/sreagent/sreagent/replay/scenario"
)

// Report is what came of all stories in all arms.
type Report struct {
	Rows    []Row   `json:"stories"`
	Summary Summary `json:"summary"`
}

// Row is one story in every arm.
type Row struct {
	Story string `json:"story"`
	Title string `json:"title"`
	Runs  []Run  `json:"runs"` // in the order of Arms
}

// Run is one story in one arm.
type Run struct {
	Arm            Arm      `json:"arm"`
	Benign         bool     `json:"benign"`  // nothing is at fault
	Cascade        bool     `json:"cascade"` // trouble spread beyond the services at fault
	Recovered      bool     `json:"recovered"`
	RecoveredAfter *float64 `json:"recovered_after_seconds"` // since the first fault; null where it did not recover
	AfterDetection *float64 `json:"after_detection_seconds"` // from the agent's first word to recovery; null where either is missing
	LowestGoodput  float64  `json:"lowest_goodput"`          // share of what users want, 0 to 1
	LostSeconds    float64  `json:"lost_seconds"`            // of full goodput, from the first fault on
	Actions        int      `json:"actions"`
	Harmful        int      `json:"harmful_actions"`
	False          int      `json:"false_actions"`
	Relapses       int      `json:"relapses"` // trouble that came back while mitigations were held or lifted
}

// Summary is what a suite comes to.
type Summary struct {
	Stories  int       `json:"stories"`
	Cascades int       `json:"cascades"` // stories that nobody's care ends in a cascade, or without recovery
	Benign   int       `json:"benign"`
	Arms     []ArmOver `json:"arms"`
}

// ArmOver is one arm over all stories.
type ArmOver struct {
	Arm            Arm             `json:"arm"`
	Handled        backtest.Share  `json:"handled"` // cascades prevented or recovered from, with a 95 % Wilson interval
	Prevented      int             `json:"prevented"`
	Recovered      int             `json:"recovered"`
	Harmful        int             `json:"harmful_actions"`
	HarmfulStories int             `json:"stories_with_harm"`
	False          int             `json:"false_actions"`
	FalseBenign    int             `json:"false_actions_benign"`
	Actions        int             `json:"actions"`
	Relapses       int             `json:"relapses"`
	AfterDetection backtest.Spread `json:"after_detection_seconds"` // of the cascades recovered from
	LostSeconds    float64         `json:"lost_seconds"`            // of full goodput, over all stories
}

func runOf(arm Arm, s *scenario.Scenario, r *scenario.Result) Run {
	out := Run{
		Arm: arm, Benign: !s.Faulty(), Cascade: r.Cascade, Recovered: r.Recovered, RecoveredAfter: r.RecoveredAfterSeconds,
		LowestGoodput: r.GoodputMin, Harmful: r.HarmfulActions, False: r.FalseActions, Actions: r.Applied(), Relapses: relapses(r),
	}
	if arm == Agent && r.RecoveredAfterSeconds != nil && r.DetectedAfterSeconds != nil {
		after := max(0, *r.RecoveredAfterSeconds-*r.DetectedAfterSeconds)
		out.AfterDetection = &after
	}
	since := r.Start.Add(s.FirstFault())
	last := since
	for _, m := range r.Story {
		if m.At.After(since) {
			out.LostSeconds += max(0, r.GoodputBefore-m.Goodput) * m.At.Sub(last).Seconds()
			last = m.At
		}
	}
	return out
}

// relapses counts how often the agent saw the trouble come back while it held or
// lifted what it had done.
func relapses(r *scenario.Result) int {
	n := 0
	for i := range r.Records {
		if r.Records[i].Incident != nil && r.Records[i].Change == "recur" {
			n++
		}
	}
	return n
}

// cascade reports whether a story is one that somebody has to look after.
func (row *Row) cascade() bool {
	off := row.Runs[slices.Index(Arms(), Off)]
	return !off.Benign && (off.Cascade || !off.Recovered)
}

func summarise(rows []Row) Summary {
	s := Summary{Stories: len(rows)}
	for i := range rows {
		if rows[i].cascade() {
			s.Cascades++
		}
		if rows[i].Runs[0].Benign {
			s.Benign++
		}
	}
	for i, arm := range Arms() {
		s.Arms = append(s.Arms, over(arm, i, rows, s.Cascades))
	}
	return s
}

func over(arm Arm, at int, rows []Row, cascades int) ArmOver {
	out := ArmOver{Arm: arm}
	var after []float64
	handled := 0
	for i := range rows {
		run, off := rows[i].Runs[at], rows[i].Runs[slices.Index(Arms(), Off)]
		out.Actions += run.Actions
		out.Harmful += run.Harmful
		out.False += run.False
		out.Relapses += run.Relapses
		out.LostSeconds += run.LostSeconds
		if run.Harmful > 0 {
			out.HarmfulStories++
		}
		if run.Benign {
			out.FalseBenign += run.False
		}
		if !rows[i].cascade() {
			continue
		}
		prevented := off.Cascade && !run.Cascade
		if prevented {
			out.Prevented++
		}
		if run.Recovered {
			out.Recovered++
			if run.AfterDetection != nil {
				after = append(after, *run.AfterDetection)
			}
		}
		if prevented || run.Recovered {
			handled++
		}
	}
	out.Handled = backtest.Wilson(float64(handled), cascades)
	out.AfterDetection = backtest.SpreadOf(after)
	return out
}

// seconds writes a duration that may be missing.
func seconds(v *float64) string {
	if v == nil {
		return "-"
	}
	return time.Duration(*v * float64(time.Second)).Round(time.Second).String()
}
