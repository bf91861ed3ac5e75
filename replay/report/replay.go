package report

import (
	"cmp"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/sreagent/sreagent/replay"
	"github.com/sreagent/sreagent/replay/bundle"
	"github.com/sreagent/sreagent/sre"
)

// ReplayReport is what the page of a replay is made of. Only Timeline is needed.
type ReplayReport struct {
	Incident bundle.Incident // of the recording; the zero value leaves its part out
	Timeline *replay.Timeline
	Graph    *sre.Graph
	Series   []Series // as Recorder.Choose returns them
	Changes  []sre.Change
	// Compared is how the decisions differ from those of the recorded trail; nil
	// where the recording has none.
	Compared *replay.Comparison
	// Stopped says why the run ended before its time; empty where it did not.
	Stopped string
}

type differenceView struct{ Kind, At, Subject, Recorded, Replayed string }

type truthView struct{ At, Until, Services, What, Remedy string }

type replayPage struct {
	shell
	Run         *runView
	Compared    *replay.Comparison
	Differences []differenceView
	DiffHidden  int
	Truth       []truthView
	Alerts      []string
	Licence     string
	Notes       string
}

// Replay writes the page of one replay. Its errors are the writer's.
func Replay(w io.Writer, r ReplayReport) error {
	line := r.Timeline
	if line == nil {
		line = &replay.Timeline{}
	}
	in := &r.Incident
	in.Truth.Faults = slices.SortedStableFunc(slices.Values(in.Truth.Faults), func(a, b bundle.Fault) int { return a.InjectedAt.Compare(b.InjectedAt) })
	s := tell(line.Records, line.End)
	input := run{
		start: line.Start, end: line.End, records: line.Records, graph: r.Graph, series: r.Series, changes: r.Changes,
	}
	var since []moment
	for _, f := range in.Truth.Faults {
		until := f.EndsAt
		if until.IsZero() {
			until = line.End
		}
		input.faults = append(input.faults, window{f.InjectedAt, until})
		input.truth = append(input.truth, f.Services...)
		since = append(since, moment{f.InjectedAt, "the fault in " + list(f.Services, 2)})
	}
	c := newClock(line.Start, line.End, since)
	p := replayPage{Run: input.view(c, s), Compared: r.Compared, Licence: sentence(in.Licence), Notes: sentence(in.Notes)}
	p.shell = shell{
		Kind: "Replay", Title: name(cmp.Or(in.Title, in.ID, "Replay of a recording")),
		Sub:      spanText(line.Start, line.End),
		Headline: []string{happened(c, in), s.detected(c), s.did(true)},
		Facts: []fact{
			{"Recording", name(in.ID)}, {"Source", name(in.Source)}, {"Length", span(line.End.Sub(line.Start))},
			{"Interval", span(line.Interval)}, {"Ticks", itoa(line.Ticks)}, {"Incidents", itoa(len(s.incidents))},
			{"Decisions", itoa(len(s.decisions))}, {"People told", times0(s.notices)},
		},
		Nav: runNav(p.Run),
	}
	if r.Stopped != "" {
		p.Warnings = append(p.Warnings, "The run ended before its time: "+sentence(r.Stopped))
	}
	if r.Compared != nil {
		p.Nav = append(p.Nav, link{"comparison", "Recorded trail"})
	}
	p.Facts = slices.DeleteFunc(p.Facts, func(f fact) bool { return f.Value == "" })
	p.Differences, p.DiffHidden = differences(c, r.Compared)
	for _, f := range in.Truth.Faults[:min(len(in.Truth.Faults), maxRows)] {
		p.Truth = append(p.Truth, truthView{c.at(f.InjectedAt), c.at(f.EndsAt), list(f.Services, 6), sentence(cmp.Or(f.Fault, words(f.Mechanism))), sentence(f.Remediation)})
	}
	for _, a := range in.Alerts[:min(len(in.Alerts), maxRows)] {
		p.Alerts = append(p.Alerts, c.at(a.At)+" "+name(a.Service)+", "+words(a.Signal))
	}
	return write(w, "replay", p)
}

// spanText says from when to when a run went, in UTC.
func spanText(start, end time.Time) string {
	start, end = start.UTC(), end.UTC()
	if start.IsZero() {
		return "Nothing was run."
	}
	format := "Monday 2 January, 15:04:05"
	if start.Format(time.DateOnly) == end.Format(time.DateOnly) {
		format = time.TimeOnly
	}
	return start.Format("Monday 2 January 2006, 15:04:05") + " to " + end.Format(format) + " UTC"
}

func times0(n int) string {
	if n == 0 {
		return "never"
	}
	return times(n)
}

// runNav lists the parts of the page of a run that it has.
func runNav(v *runView) []link {
	out := []link{{"timeline", "Time line"}}
	if v.Graph != nil {
		out = append(out, link{"graph", "Services"})
	}
	out = append(out, link{"incidents", "Incidents"}, link{"decisions", "Decisions"})
	if len(v.Moves) > 0 {
		out = append(out, link{"moves", "Levers"})
	}
	return out
}

// happened is the first sentence of a replay: what is known to have gone wrong.
func happened(c clock, in *bundle.Incident) string {
	faults := in.Truth.Faults
	switch len(faults) {
	case 0:
		return "The recording does not say what, if anything, went wrong."
	case 1:
		f := faults[0]
		text := "At " + c.at(f.InjectedAt) + " " + faultText(f) + " began"
		if !f.EndsAt.IsZero() {
			text += " and lasted " + span(f.EndsAt.Sub(f.InjectedAt))
		}
		return text + "."
	}
	first := faults[0]
	return "The recording holds " + itoa(len(faults)) + " known faults; the first is " + faultText(first) + " at " + c.at(first.InjectedAt) + "."
}

func faultText(f bundle.Fault) string {
	return "“" + sentence(cmp.Or(f.Fault, words(f.Mechanism), "a fault")) + "” in " + list(f.Services, 3)
}

// differences lists how a replay departs from the recorded trail, in the order
// of time.
func differences(c clock, compared *replay.Comparison) (shown []differenceView, hidden int) {
	if compared == nil {
		return nil, 0
	}
	type timed struct {
		at   time.Time
		view differenceView
	}
	var all []timed
	add := func(kind string, d replay.Digest, recorded, replayed string) {
		all = append(all, timed{d.At, differenceView{kind, c.at(d.At), suspectName(d.Cause) + ", " + words(d.Mechanism), recorded, replayed}})
	}
	for _, d := range compared.Missing {
		add("missing", d, digest(d), "")
	}
	for _, d := range compared.Extra {
		add("extra", d, "", digest(d))
	}
	for _, d := range compared.Changed {
		what := make([]string, 0, len(d.What))
		for _, w := range d.What[:min(len(d.What), 10)] {
			what = append(what, sentence(w))
		}
		add("changed", d.Replayed, digest(d.Recorded), digest(d.Replayed)+" ("+strings.Join(what, "; ")+")")
	}
	slices.SortStableFunc(all, func(a, b timed) int { return a.at.Compare(b.at) })
	for _, t := range all[:min(len(all), maxRows)] {
		shown = append(shown, t.view)
	}
	return shown, len(all) - len(shown)
}

// digest writes a decision in one line.
func digest(d replay.Digest) string {
	parts := []string{verdict(d.Verdict) + ", confidence at least " + percent(d.Confidence.Lower)}
	if d.Runbook != "" {
		parts[0] += ", " + name(d.Runbook)
	}
	for _, a := range d.Actions[:min(len(d.Actions), 5)] {
		parts = append(parts, actionText(a.Kind, name(a.Target), a.Params))
	}
	return strings.Join(parts, "; ")
}
