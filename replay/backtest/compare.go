package backtest

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"
)

// Comparison is what a second back-test of the same recordings makes different.
type Comparison struct {
	A           string       `json:"a,omitempty"` // digest of the first configuration
	B           string       `json:"b,omitempty"`
	Differences []Difference `json:"differences"` // by bundle, time and what
	Summary     []Delta      `json:"summary"`     // by source and figure; only what moved
	Equal       int          `json:"equal"`       // bundles in which nothing differs
}

// What a difference is about.
const (
	AboutBundle     = "bundle"
	AboutDetection  = "detection"
	AboutRanking    = "ranking"
	AboutDecision   = "decision"
	AboutAction     = "action"
	AboutFalseAlarm = "false_alarm"
)

// How a thing differs.
const (
	Added   = "added"
	Dropped = "dropped"
	Changed = "changed"
	Earlier = "earlier"
	Later   = "later"
)

// Difference is one thing that the second back-test does otherwise.
type Difference struct {
	Bundle string    `json:"bundle"`
	Fault  string    `json:"fault,omitempty"` // its services; empty for what belongs to none
	At     time.Time `json:"at,omitzero"`
	About  string    `json:"about"`
	Change string    `json:"change"`
	A      string    `json:"a,omitempty"` // what the first had
	B      string    `json:"b,omitempty"`
}

// Delta is one figure of a summary that moved.
type Delta struct {
	Source string  `json:"source"`
	Figure string  `json:"figure"`
	A      float64 `json:"a"`
	B      float64 `json:"b"`
}

// Compare says what b does otherwise than a, decision by decision and action by
// action. Decisions of one fault correspond by runbook and order, actions by
// kind, target and order.
func Compare(a, b *Result) *Comparison {
	c := &Comparison{A: a.Config, B: b.Config, Differences: []Difference{}, Summary: []Delta{}}
	theirs := map[string]*Bundle{}
	for i := range b.Bundles {
		theirs[b.Bundles[i].ID] = &b.Bundles[i]
	}
	for i := range a.Bundles {
		x := &a.Bundles[i]
		y := theirs[x.ID]
		delete(theirs, x.ID)
		before := len(c.Differences)
		c.bundle(x, y)
		if len(c.Differences) == before {
			c.Equal++
		}
	}
	for _, id := range slices.Sorted(maps.Keys(theirs)) {
		c.add(Difference{Bundle: id, About: AboutBundle, Change: Added})
	}
	slices.SortStableFunc(c.Differences, func(x, y Difference) int {
		return cmp.Or(cmp.Compare(x.Bundle, y.Bundle), x.At.Compare(y.At))
	})
	c.figures(a.Summary, b.Summary)
	return c
}

func (c *Comparison) add(d Difference) { c.Differences = append(c.Differences, d) }

func (c *Comparison) bundle(x, y *Bundle) {
	d := Difference{Bundle: x.ID, About: AboutBundle}
	switch {
	case y == nil:
		d.Change = Dropped
		c.add(d)
		return
	case x.Error != y.Error:
		d.Change, d.A, d.B = Changed, cmp.Or(x.Error, "read"), cmp.Or(y.Error, "read")
		c.add(d)
		return
	}
	for i := range x.Faults {
		k := slices.IndexFunc(y.Faults, func(f Fault) bool {
			return f.InjectedAt.Equal(x.Faults[i].InjectedAt) && slices.Equal(f.Services, x.Faults[i].Services)
		})
		if k >= 0 {
			c.fault(x.ID, &x.Faults[i], &y.Faults[k])
		}
	}
	c.decisions(Difference{Bundle: x.ID}, x.OtherDecisions, y.OtherDecisions)
	falseOf := func(a Alarm) string { return cmp.Or(a.Service, "unknown") }
	match(x.FalseAlarmTargets, y.FalseAlarmTargets, func(a Alarm) string { return a.At.String() + a.Service }, func(p, q *Alarm) {
		switch {
		case q == nil:
			c.add(Difference{Bundle: x.ID, At: p.At, About: AboutFalseAlarm, Change: Dropped, A: falseOf(*p)})
		case p == nil:
			c.add(Difference{Bundle: x.ID, At: q.At, About: AboutFalseAlarm, Change: Added, B: falseOf(*q)})
		}
	})
}

func (c *Comparison) fault(bundle string, x, y *Fault) {
	d := Difference{Bundle: bundle, Fault: strings.Join(x.Services, ", "), At: x.InjectedAt}
	c.detection(d, x, y)
	d.About, d.Change = AboutRanking, Changed
	for _, r := range []struct {
		name string
		a, b int
	}{{"oracle rank", x.OracleRank, y.OracleRank}, {"rank", x.OwnRank, y.OwnRank}} {
		if r.a != r.b {
			d.A, d.B = r.name+" "+place(r.a), r.name+" "+place(r.b)
			c.add(d)
		}
	}
	c.decisions(d, x.Decisions, y.Decisions)
}

func place(rank int) string {
	if rank == 0 {
		return "none"
	}
	return fmt.Sprint(rank)
}

func (c *Comparison) detection(d Difference, x, y *Fault) {
	d.About = AboutDetection
	switch {
	case x.DetectedAt == nil && y.DetectedAt == nil:
		return
	case x.DetectedAt == nil:
		d.Change, d.B = Added, y.delay()
	case y.DetectedAt == nil:
		d.Change, d.A = Dropped, x.delay()
	case y.DetectedAt.Equal(*x.DetectedAt):
		return
	default:
		d.Change, d.A, d.B = Later, x.delay(), y.delay()
		if y.DetectedAt.Before(*x.DetectedAt) {
			d.Change = Earlier
		}
	}
	c.add(d)
}

// delay is computed again, as a file may lack it.
func (f *Fault) delay() string {
	return fmt.Sprintf("%+.0f s", f.DetectedAt.Sub(f.InjectedAt).Seconds())
}

func (c *Comparison) decisions(d Difference, xs, ys []Decision) {
	match(xs, ys, func(d Decision) string { return d.Runbook }, func(x, y *Decision) {
		d := d
		d.About, d.A, d.B = AboutDecision, "", ""
		switch {
		case y == nil:
			d.At, d.Change, d.A = x.At, Dropped, x.verdict()
			c.add(d)
			c.actions(d, x.Actions, nil)
			return
		case x == nil:
			d.At, d.Change, d.B = y.At, Added, y.verdict()
			c.add(d)
			c.actions(d, nil, y.Actions)
			return
		}
		d.At, d.A, d.B = y.At, x.verdict(), y.verdict()
		if x.Verdict != y.Verdict {
			d.Change = Changed
			c.add(d)
		}
		if !x.At.Equal(y.At) {
			d.Change = Later
			if y.At.Before(x.At) {
				d.Change = Earlier
			}
			d.A, d.B = x.At.UTC().Format(time.TimeOnly), y.At.UTC().Format(time.TimeOnly)
			c.add(d)
		}
		c.actions(d, x.Actions, y.Actions)
	})
}

func (d *Decision) verdict() string { return string(d.Verdict) + " " + d.Runbook }

func (c *Comparison) actions(d Difference, xs, ys []Action) {
	d.About = AboutAction
	match(xs, ys, func(a Action) string { return string(a.Kind) + " " + a.Target }, func(x, y *Action) {
		d := d
		d.A, d.B = "", ""
		switch {
		case y == nil:
			d.Change, d.A = Dropped, x.String()
		case x == nil:
			d.Change, d.B = Added, y.String()
		case sameParams(x, y):
			return
		default:
			d.Change, d.A, d.B = Changed, x.String(), y.String()
		}
		c.add(d)
	})
}

// sameParams compares numbers by value: what was read back from a file has them
// all as floats.
func sameParams(x, y *Action) bool {
	if len(x.Params) != len(y.Params) {
		return false
	}
	for name, v := range x.Params {
		a, ok1 := x.Params.Float(name)
		b, ok2 := y.Params.Float(name)
		if ok1 != ok2 || ok1 && a != b || !ok1 && !reflect.DeepEqual(v, y.Params[name]) {
			return false
		}
	}
	return true
}

// String returns the action in one line, its parameters sorted.
func (a Action) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s", a.Kind, a.Target)
	for _, name := range slices.Sorted(maps.Keys(a.Params)) {
		fmt.Fprintf(&b, " %s=%v", name, a.Params[name])
	}
	return b.String()
}

// match pairs the k-th item of a key on the one side with the k-th of the same
// key on the other, and visits the pairs in the order of xs, then the rest of ys.
func match[T any](xs, ys []T, key func(T) string, visit func(x, y *T)) {
	left := map[string][]int{}
	for i := range ys {
		left[key(ys[i])] = append(left[key(ys[i])], i)
	}
	used := make([]bool, len(ys))
	for i := range xs {
		k := key(xs[i])
		if len(left[k]) == 0 {
			visit(&xs[i], nil)
			continue
		}
		j := left[k][0]
		left[k], used[j] = left[k][1:], true
		visit(&xs[i], &ys[j])
	}
	for j := range ys {
		if !used[j] {
			visit(nil, &ys[j])
		}
	}
}

// figures lists what moved in the summaries.
func (c *Comparison) figures(a, b map[string]Summary) {
	names := slices.Concat(slices.Collect(maps.Keys(a)), slices.Collect(maps.Keys(b)))
	slices.Sort(names)
	for _, source := range slices.Compact(names) {
		x, y := headline(a[source]), headline(b[source])
		for i := range x {
			if x[i].value != y[i].value {
				c.Summary = append(c.Summary, Delta{source, x[i].name, x[i].value, y[i].value})
			}
		}
	}
}

type figure struct {
	name  string
	value float64
}

func headline(s Summary) []figure {
	return []figure{
		{"detected", s.Detected.Value}, {"median_delay_seconds", s.DelaySeconds.Median}, {"median_lead_seconds", s.LeadSeconds.Median},
		{"oracle_ac_at_1", s.Oracle.AC1.Value}, {"oracle_ac_at_3", s.Oracle.AC3.Value}, {"oracle_avg_at_5", s.Oracle.Avg5.Value},
		{"end_to_end_ac_at_1", s.EndToEnd.AC1.Value}, {"end_to_end_ac_at_3", s.EndToEnd.AC3.Value}, {"end_to_end_avg_at_5", s.EndToEnd.Avg5.Value},
		{"false_alarms_per_day", s.FalseAlarmsPerDay}, {"time_in_alarm_ratio", s.TimeInAlarmRatio},
		{"actions", float64(s.Actions)}, {"wrong_actions", float64(s.WrongActions)}, {"wrong_proposals", float64(s.WrongProposals)},
		{"brier", s.Calibration.Brier}, {"ece", s.Calibration.ECE.Value},
	}
}

// WriteComparison writes a comparison for a terminal.
func WriteComparison(w io.Writer, c *Comparison) error {
	p := &page{w: w}
	bundle := ""
	for _, d := range c.Differences {
		if d.Bundle != bundle {
			bundle = d.Bundle
			p.wrap("", bundle)
		}
		at := "        "
		if !d.At.IsZero() {
			at = d.At.UTC().Format(time.TimeOnly)
		}
		what := d.B
		switch {
		case d.A != "" && d.B != "":
			what = d.A + " -> " + d.B
		case d.A != "":
			what = d.A
		}
		p.wrap("  "+at+" "+mark(d.Change)+" ", fmt.Sprintf("%s %s %s", d.About, d.Change, what))
	}
	if len(c.Differences) > 0 {
		p.line("")
	}
	p.line("%d differences; %d bundles without any", len(c.Differences), c.Equal)
	source := ""
	for _, d := range c.Summary {
		if d.Source != source {
			source = d.Source
			p.line("")
			p.wrap("", source)
			p.line("  %-24s %12s %12s %12s", "", "a", "b", "b - a")
		}
		p.line("  %-24s %12.3f %12.3f %+12.3f", d.Figure, d.A, d.B, d.B-d.A)
	}
	return p.err
}

func mark(change string) string {
	switch change {
	case Added:
		return "+"
	case Dropped:
		return "-"
	}
	return "~"
}
