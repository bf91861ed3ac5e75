package backtest

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// columns is how wide a terminal is taken to be.
const columns = 80

// page writes lines until one fails.
type page struct {
	w   io.Writer
	err error
}

func (p *page) line(format string, args ...any) {
	if p.err != nil {
		return
	}
	_, p.err = fmt.Fprintln(p.w, strings.TrimRight(fmt.Sprintf(format, args...), " "))
}

// wrap writes text after a lead, and goes on below the text where it is too long.
func (p *page) wrap(lead, text string) {
	room := columns - utf8.RuneCountInString(lead)
	row := ""
	flush := func() {
		p.line("%s%s", lead, row)
		lead, row = strings.Repeat(" ", utf8.RuneCountInString(lead)), ""
	}
	for word := range strings.FieldsSeq(text) {
		for utf8.RuneCountInString(word) > room {
			if row != "" {
				flush()
			}
			cut := []rune(word)
			row, word = string(cut[:room]), string(cut[room:])
			flush()
		}
		switch {
		case word == "":
		case row == "":
			row = word
		case utf8.RuneCountInString(row)+1+utf8.RuneCountInString(word) > room:
			flush()
			row = word
		default:
			row += " " + word
		}
	}
	if row != "" {
		flush()
	}
}

// WriteText writes a result for a terminal of 80 columns: a table per source,
// then what could not be read.
func WriteText(w io.Writer, r *Result) error {
	p := &page{w: w}
	first := true
	for _, source := range slices.Sorted(maps.Keys(r.Summary)) {
		if strings.HasPrefix(source, WorldPrefix) {
			continue
		}
		if !first {
			p.line("")
		}
		first = false
		p.summary(source, r.Summary[source])
	}
	if r.World != nil {
		if !first {
			p.line("")
		}
		p.world(r)
	}
	for _, b := range r.Bundles {
		if b.Error != "" {
			p.line("")
			p.wrap(b.ID+": ", b.Error)
		}
	}
	if r.Partial {
		p.line("")
		p.line("partial: not every recording was run")
	}
	return p.err
}

func (p *page) summary(source string, s Summary) {
	p.wrap("", source)
	failed := ""
	if s.Failed > 0 {
		failed = fmt.Sprintf(", %d could not be read", s.Failed)
	}
	p.line("  %d recordings with %d faults%s, %s without fault", s.Bundles, s.Faults, failed, length(s.FaultFreeSeconds))
	p.line("  %-22s %s", "detected", share(s.Detected))
	p.line("  %-22s %s", "median delay", spread(s.DelaySeconds))
	p.line("  %-22s %s", "median lead to a human", spread(s.LeadSeconds))
	p.line("  %-22s %.2f per day, %d in all", "false alarms", s.FalseAlarmsPerDay, s.FalseAlarms)
	p.line("  %-22s %.2f %% of the time without fault", "in alarm", 100*s.TimeInAlarmRatio)
	p.line("  %-22s %d done, %d wrong; %d wrong ones asked about", "actions", s.Actions, s.WrongActions, s.WrongProposals)
	p.line("  %-22s %-18s %-18s %-18s", "cause found", "time given", "own alarm", "own, settled")
	for _, row := range rankRows {
		p.line("    %-20s %-18s %-18s %-18s", row.name, brief(row.of(s.Oracle)), brief(row.of(s.EndToEnd)), brief(row.of(s.Settled)))
	}
	p.calibration(s.Calibration)
	p.further(s)
}

func (p *page) calibration(c Calibration) {
	if c.N == 0 {
		p.line("  %-22s no ranking to judge", "calibration")
		return
	}
	p.line("  %-22s Brier %.3f, skill %+.3f, AURC %.3f over %d", "calibration", c.Brier, c.BrierSkill, c.AURC, c.N)
	noise := ""
	if c.Noise {
		noise = ", mostly noise"
	}
	p.line("  %-22s ECE %.3f [%.3f %.3f]%s", "", c.ECE.Value, c.ECE.Low, c.ECE.High, noise)
	p.line("    %-20s %s", "answers per bin", row(c.Bins, func(b Bin) string { return fmt.Sprint(b.N) }))
	p.line("    %-20s %s", "predicted", row(c.Bins, func(b Bin) string { return short(b.Predicted) }))
	p.line("    %-20s %s", "observed", row(c.Bins, func(b Bin) string { return short(b.Observed) }))
}

// further writes what later versions added to a summary.
func (p *page) further(s Summary) {
	p.line("  %-22s %s", "detected with a trace", share(s.DetectedOfTraced))
	p.line("  %-22s %s", "false alarms", perHour(s.FalseAlarmsPerHour))
	p.notifications(s.Notifications)
	p.line("  %-22s %s", "blames nobody in calm", share(s.Specificity))
	if len(s.ByFault) == 0 {
		return
	}
	p.line("  %-26s%5s%9s%9s%9s%9s", "by fault, time given", "n", "top-1", "top-3", "Avg@5", "told of")
	for _, kind := range slices.Sorted(maps.Keys(s.ByFault)) {
		f := s.ByFault[kind]
		p.line("    %-24.24s%5d%9s%9s%9s%9s", kind, f.Faults, cell(f.Oracle.AC1), cell(f.Oracle.AC3), cell(f.Oracle.Avg5), cell(f.Detected))
	}
}

var rankRows = []struct {
	name string
	of   func(Ranks) Share
}{
	{"AC@1", func(r Ranks) Share { return r.AC1 }},
	{"AC@3", func(r Ranks) Share { return r.AC3 }},
	{"AC@5", func(r Ranks) Share { return r.AC5 }},
	{"Avg@5", func(r Ranks) Share { return r.Avg5 }},
}

func row(bins []Bin, cell func(Bin) string) string {
	var b strings.Builder
	for _, bin := range bins {
		fmt.Fprintf(&b, "%5s", cell(bin))
	}
	return b.String()
}

// short writes a share in three characters, as tables of scores do.
func short(x float64) string { return strings.TrimPrefix(fmt.Sprintf("%.2f", x), "0") }

func brief(s Share) string {
	if s.N == 0 {
		return "-"
	}
	return fmt.Sprintf("%.3f [%s %s]", s.Value, short(s.Low), short(s.High))
}

func share(s Share) string {
	if s.N == 0 {
		return "nothing to detect"
	}
	return fmt.Sprintf("%.3f [%.3f %.3f] of %d", s.Value, s.Low, s.High, s.N)
}

func spread(s Spread) string {
	if s.N == 0 {
		return "-"
	}
	return fmt.Sprintf("%.0f s, quartiles %.0f and %.0f s, of %d", s.Median, s.P25, s.P75, s.N)
}

func length(seconds float64) string {
	return (time.Duration(seconds) * time.Second).Round(time.Second).String()
}
