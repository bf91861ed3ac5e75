package report

import (
	"cmp"
	"fmt"
	"html/template"
	"io"
	"maps"
	"slices"
	"time"

	"github.com/sreagent/sreagent/replay/backtest"
	"github.com/sreagent/sreagent/sre"
)

type sourceView struct {
	Name    string
	Figures []figure
	Bins    []binView
	Noise   bool
	N       int
	ECE     string
}

type binView struct{ N, Predicted, Observed, Low, High string }

type scoreRow struct {
	Name  string
	Cells []scoreCell
}

type scoreCell struct{ Value, Interval string }

type faultView struct {
	N                  int
	Anchor             string
	What, Services, At string
	Delay, Lead        string
	Detected           bool
	OracleRank, Rank   string
	Confidence         string
	Oracle, Own        []suspectView
	Decisions          []faultDecision
	DecisionsHidden    int
	Wrong, Proposed    []string
	Settled            []suspectView
	Verdicts           string
}

type faultDecision struct {
	At, Rel, Verdict, Word, Runbook, Confidence string
	Actions, Reasons                            []string
}

type bundleView struct {
	Anchor, ID, Source, Length, Error string
	FaultFree, InAlarm                string
	FalseAlarms, Wrong                int
	Alarms                            []string
	AlarmsHidden                      int
	Faults                            []faultView
	Others                            []faultDecision // decisions that belong to no fault
	OthersHidden                      int
}

type backtestPage struct {
	shell
	Names         []string // of the sources
	Scores        []scoreRow
	Sources       []sourceView
	Bundles       []bundleView
	BundlesHidden int
	Comparison    *comparisonView
}

type deltaView struct{ Source, Name, A, B, By string }

type comparisonView struct {
	A, B    string
	Equal   int
	Summary []deltaView
	Changes []differenceView
	Hidden  int
}

const (
	maxBundles           = 500
	decisionsPerFault    = 20
	alarmsPerBundle      = 40
	reasonsPerOfDecision = 12
)

// Backtest writes the page of a back-test; compared may be nil. Its errors are
// the writer's.
func Backtest(w io.Writer, r *backtest.Result, compared *backtest.Comparison) error {
	if r == nil {
		r = &backtest.Result{}
	}
	p := backtestPage{Names: slices.Sorted(maps.Keys(r.Summary))}
	faults, detected, wrong, alarms, broken := 0, 0, 0, 0, 0
	for _, b := range r.Bundles {
		faults += len(b.Faults)
		wrong, alarms = wrong+b.WrongActions, alarms+b.FalseAlarms
		if b.Error != "" {
			broken++
		}
		for _, f := range b.Faults {
			if f.DetectedAt != nil {
				detected++
			}
		}
	}
	p.shell = shell{
		Kind: "Back-test", Title: "Back-test over " + count(len(r.Bundles), "recording"),
		Sub: "Results stand per source and are never pooled: systems, intervals and faults differ too much.",
		Headline: []string{
			"The agent noticed " + itoa(detected) + " of " + count(faults, "fault") + " in " + count(len(r.Bundles), "recording") + ".",
			"It raised " + count(alarms, "false alarm") + " and took " + count(wrong, "wrong action") + ".",
			bestRanking(r),
		},
		Facts: []fact{{"Recordings", itoa(len(r.Bundles))}, {"Faults", itoa(faults)}, {"Sources", itoa(len(r.Summary))}},
		Nav:   []link{{"scores", "Scores"}, {"charts", "Calibration"}, {"recordings", "Recordings"}},
	}
	if r.Config != "" {
		p.Facts = append(p.Facts, fact{"Configuration", clean(r.Config, 19)})
	}
	if r.Partial {
		p.Warnings = append(p.Warnings, "The back-test was stopped before its end: this is a partial report.")
	}
	if broken > 0 {
		p.Warnings = append(p.Warnings, count(broken, "recording")+" could not be read; see below.")
	}
	for _, n := range p.Names {
		p.Sources = append(p.Sources, sourceOf(n, r))
	}
	if r.World != nil {
		p.Names = append(p.Names, allWorlds)
	}
	p.Scores = scoreRows(r, p.Names)
	p.BundlesHidden = max(0, len(r.Bundles)-maxBundles)
	for i, b := range r.Bundles[:min(len(r.Bundles), maxBundles)] {
		p.Bundles = append(p.Bundles, bundleOf(i+1, b))
	}
	if compared != nil {
		p.Comparison = comparisonOf(compared)
		p.Nav = append(p.Nav, link{"comparison", "What would change"})
	}
	for i := range p.Names {
		p.Names[i] = name(p.Names[i])
	}
	return write(w, "backtest", p)
}

// bestRanking is the third sentence: how often the right service came first.
func bestRanking(r *backtest.Result) string {
	text := ""
	for _, n := range slices.Sorted(maps.Keys(r.Summary)) {
		s := r.Summary[n]
		if s.Faults == 0 {
			continue
		}
		if text != "" {
			text += ", "
		}
		text += percent(s.EndToEnd.AC1.Value) + " of " + name(n)
	}
	if text == "" {
		return "No recording has a known fault, so there is nothing to rank."
	}
	return "It ranked the right service first, counted from its own alarm, for " + text + "."
}

func scoreRows(r *backtest.Result, names []string) []scoreRow {
	share, spread := shareCell, spreadCell
	plain := func(v string) scoreCell { return scoreCell{v, ""} }
	lines := []scoreLine{
		{"Recordings", func(s backtest.Summary) scoreCell { return plain(itoa(s.Bundles)) }},
		{"Faults", func(s backtest.Summary) scoreCell { return plain(itoa(s.Faults)) }},
		{"Detected", func(s backtest.Summary) scoreCell { return share(s.Detected) }},
		{"Delay", func(s backtest.Summary) scoreCell { return spread(s.DelaySeconds) }},
		{"Lead before the human alert", func(s backtest.Summary) scoreCell { return spread(s.LeadSeconds) }},
		{"False alarms per day", func(s backtest.Summary) scoreCell {
			return scoreCell{short(s.FalseAlarmsPerDay), count(s.FalseAlarms, "false alarm")}
		}},
		{"Time in alarm without a fault", func(s backtest.Summary) scoreCell { return plain(short(s.TimeInAlarmRatio*100) + " %") }},
		{"Actions", func(s backtest.Summary) scoreCell { return plain(itoa(s.Actions)) }},
		{"Wrong actions", func(s backtest.Summary) scoreCell {
			return scoreCell{itoa(s.WrongActions), "and " + itoa(s.WrongProposals) + " that a human was asked about"}
		}},
		{"AC@1, time given", func(s backtest.Summary) scoreCell { return share(s.Oracle.AC1) }},
		{"AC@3, time given", func(s backtest.Summary) scoreCell { return share(s.Oracle.AC3) }},
		{"AC@5, time given", func(s backtest.Summary) scoreCell { return share(s.Oracle.AC5) }},
		{"Avg@5, time given", func(s backtest.Summary) scoreCell { return share(s.Oracle.Avg5) }},
		{"AC@1, own alarm", func(s backtest.Summary) scoreCell { return share(s.EndToEnd.AC1) }},
		{"AC@3, own alarm", func(s backtest.Summary) scoreCell { return share(s.EndToEnd.AC3) }},
		{"AC@5, own alarm", func(s backtest.Summary) scoreCell { return share(s.EndToEnd.AC5) }},
		{"Avg@5, own alarm", func(s backtest.Summary) scoreCell { return share(s.EndToEnd.Avg5) }},
		{"AC@1, settled", func(s backtest.Summary) scoreCell { return share(s.Settled.AC1) }},
		{"Avg@5, settled", func(s backtest.Summary) scoreCell { return share(s.Settled.Avg5) }},
		{"Brier score", func(s backtest.Summary) scoreCell {
			if s.Calibration.N == 0 {
				return plain("–")
			}
			return scoreCell{fixed(s.Calibration.Brier), "skill " + fixed(s.Calibration.BrierSkill)}
		}},
		{"Calibration error (ECE)", func(s backtest.Summary) scoreCell { return share(s.Calibration.ECE) }},
		{"Area under risk-coverage", func(s backtest.Summary) scoreCell {
			if len(s.Calibration.RiskCoverage) == 0 {
				return plain("–")
			}
			return plain(fixed(s.Calibration.AURC))
		}},
	}
	lines = append(lines, laterLines(r)...)
	out := make([]scoreRow, len(lines))
	for i, l := range lines {
		out[i].Name = l.name
		for _, n := range names {
			s := r.Summary[n]
			if n == allWorlds {
				s = *r.World
			}
			out[i].Cells = append(out[i].Cells, l.of(s))
		}
	}
	return out
}

func fixed(v float64) string {
	if !drawable(v) {
		return "unknown"
	}
	return fmt.Sprintf("%.3f", v)
}

func sourceOf(source string, r *backtest.Result) sourceView {
	sum := r.Summary[source]
	cal := sum.Calibration
	v := sourceView{Name: name(source), Noise: cal.Noise, N: cal.N, ECE: fixed(cal.ECE.Value)}
	var found []float64
	faults := 0
	for _, b := range r.Bundles {
		if b.Source != source {
			continue
		}
		for _, f := range b.Faults {
			faults++
			if f.DelaySeconds != nil {
				found = append(found, *f.DelaySeconds)
			}
		}
	}
	add := func(title, note string, picture template.HTML) {
		v.Figures = append(v.Figures, figure{title, note, picture})
	}
	if len(cal.Bins) > 0 {
		add("Calibration", "on the dashed line, a stated 70 % comes true 7 times in 10; grey bars: cases per bin, at most "+itoa(mostCases(cal.Bins)), reliability(cal.Bins,
			"Reliability of "+v.Name+": predicted against observed, "+count(len(cal.Bins), "bin")+"; the table below has the numbers."))
	}
	if len(cal.RiskCoverage) > 0 {
		add("Risk and coverage", "wrong answers when only the most certain are given", riskCoverage(cal.RiskCoverage,
			"Risk against coverage of "+v.Name+", area "+fixed(cal.AURC)+"."))
	}
	if faults > 0 {
		add("Delay", "share of faults noticed within a time", delays(found, faults,
			"Detection delay of "+v.Name+": "+itoa(len(found))+" of "+count(faults, "fault")+" detected, median "+seconds(sum.DelaySeconds.Median)+"."))
	}
	for _, b := range cal.Bins {
		if b.N <= 0 {
			continue
		}
		low, high := likely(b)
		v.Bins = append(v.Bins, binView{itoa(b.N), fixed(b.Predicted), fixed(b.Observed), fixed(low), fixed(high)})
	}
	return v
}

func bundleOf(n int, b backtest.Bundle) bundleView {
	v := bundleView{
		Anchor: "recording-" + itoa(n), ID: name(b.ID), Source: name(b.Source), Length: seconds(b.RecordingSeconds), Error: sentence(b.Error),
		FaultFree: seconds(b.FaultFreeSeconds), InAlarm: short(b.TimeInAlarmRatio*100) + " %", FalseAlarms: b.FalseAlarms, Wrong: b.WrongActions,
	}
	v.AlarmsHidden = max(0, len(b.FalseAlarmTargets)-alarmsPerBundle)
	for _, a := range b.FalseAlarmTargets[:min(len(b.FalseAlarmTargets), alarmsPerBundle)] {
		v.Alarms = append(v.Alarms, a.At.UTC().Format("2 Jan 15:04:05")+" "+suspectName(a.Service))
	}
	c := newClock(time.Time{}, time.Time{}.Add(48*time.Hour), nil)
	v.OthersHidden = max(0, len(b.OtherDecisions)-decisionsPerFault)
	for _, d := range b.OtherDecisions[:min(len(b.OtherDecisions), decisionsPerFault)] {
		other := faultDecisionOf(c, d)
		other.Rel = ""
		v.Others = append(v.Others, other)
	}
	for i, f := range b.Faults[:min(len(b.Faults), maxRows)] {
		v.Faults = append(v.Faults, faultOf(fmt.Sprintf("fault-%d-%d", n, i+1), i+1, f))
	}
	return v
}

func faultOf(anchor string, n int, f backtest.Fault) faultView {
	v := faultView{
		N: n, Anchor: anchor, What: sentence(cmp.Or(f.Fault, "a fault")), Services: list(f.Services, 4), At: f.InjectedAt.UTC().Format("2 Jan 15:04:05"),
		Detected: f.DetectedAt != nil, Delay: "not detected", OracleRank: rank(f.OracleRank, f.CandidateCount), Rank: rank(f.OwnRank, f.CandidateCount),
		Oracle: ranking(f.OracleRanking), Own: ranking(f.Ranking), Settled: ranking(f.SettledRanking),
	}
	if f.DelaySeconds != nil {
		v.Delay = "noticed after " + seconds(*f.DelaySeconds)
	}
	if f.LeadSeconds != nil {
		v.Lead = seconds(*f.LeadSeconds) + " before the human alert"
		if *f.LeadSeconds < 0 {
			v.Lead = seconds(-*f.LeadSeconds) + " after the human alert"
		}
	}
	if f.Confidence != nil {
		v.Confidence = percent(f.Confidence.P) + ", at least " + percent(f.Confidence.Lower)
	}
	for _, wrong := range f.WrongActions[:min(len(f.WrongActions), maxRows)] {
		v.Wrong = append(v.Wrong, sentence(wrong))
	}
	for _, wrong := range f.WrongProposals[:min(len(f.WrongProposals), maxRows)] {
		v.Proposed = append(v.Proposed, sentence(wrong))
	}
	c := newClock(f.InjectedAt, f.InjectedAt.Add(48*time.Hour), []moment{{f.InjectedAt, "the fault"}})
	verdicts := map[sre.Stance]int{}
	for i, d := range f.Decisions {
		verdicts[sre.Stance(stance(d.Verdict))]++
		if i >= decisionsPerFault {
			v.DecisionsHidden++
			continue
		}
		v.Decisions = append(v.Decisions, faultDecisionOf(c, d))
	}
	for _, s := range []sre.Stance{sre.Act, sre.Ask, sre.Watch} {
		if verdicts[s] > 0 {
			if v.Verdicts != "" {
				v.Verdicts += ", "
			}
			v.Verdicts += itoa(verdicts[s]) + " × " + verdict(s)
		}
	}
	return v
}

func faultDecisionOf(c clock, d backtest.Decision) faultDecision {
	v := faultDecision{
		At: c.at(d.At), Rel: c.rel(d.At), Verdict: stance(d.Verdict), Word: verdict(d.Verdict), Runbook: name(d.Runbook),
		Confidence: percent(d.Confidence.P) + ", at least " + percent(d.Confidence.Lower),
	}
	for _, a := range d.Actions[:min(len(d.Actions), reasonsPerOfDecision)] {
		v.Actions = append(v.Actions, actionText(a.Kind, name(a.Target), a.Params))
	}
	for _, r := range d.Reasons[:min(len(d.Reasons), reasonsPerOfDecision)] {
		v.Reasons = append(v.Reasons, sentence(r))
	}
	return v
}

func rank(r, of int) string {
	if r <= 0 {
		return "not ranked"
	}
	if of > 0 {
		return fmt.Sprintf("place %d of %d", r, of)
	}
	return fmt.Sprintf("place %d", r)
}

func ranking(of []backtest.Suspect) []suspectView {
	var out []suspectView
	for i, s := range of[:min(len(of), 5)] {
		out = append(out, suspectView{Rank: i + 1, Service: suspectName(s.Service), P: percent(s.Probability), Width: bar(s.Probability)})
	}
	return out
}

func comparisonOf(c *backtest.Comparison) *comparisonView {
	v := &comparisonView{A: clean(c.A, 19), B: clean(c.B, 19), Equal: c.Equal, Hidden: max(0, len(c.Differences)-maxRows)}
	for _, d := range c.Summary[:min(len(c.Summary), maxRows)] {
		by := short(d.B - d.A)
		if d.B > d.A {
			by = "+" + by
		}
		v.Summary = append(v.Summary, deltaView{name(d.Source), words(d.Figure), short(d.A), short(d.B), by})
	}
	for _, d := range c.Differences[:min(len(c.Differences), maxRows)] {
		at := ""
		if !d.At.IsZero() {
			at = d.At.UTC().Format("2 Jan 15:04:05")
		}
		subject := name(d.Bundle)
		if d.Fault != "" {
			subject += ", fault in " + name(d.Fault)
		}
		v.Changes = append(v.Changes, differenceView{words(d.About) + " " + words(d.Change), at, subject, sentence(d.A), sentence(d.B)})
	}
	return v
}

func mostCases(bins []backtest.Bin) int {
	most := 0
	for _, b := range bins {
		most = max(most, b.N)
	}
	return most
}
