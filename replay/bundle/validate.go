package bundle

import (
	"fmt"
	"strings"
	"time"
	"unicode"

	"github.com/prometheus/common/model"

	"github.com/sreagent/sreagent/sre"
)

// Bounds on the interval between two ticks of a recording.
const (
	MinInterval = model.Duration(time.Second)
	MaxInterval = model.Duration(time.Hour)
)

// Bounds on the time that a recording spans. A replay is asked for every tick,
// so one that a mistyped year makes long must not hold up a whole corpus.
const (
	MaxSpan  = 20 * 366 * 24 * time.Hour
	MaxTicks = 10_000_000
)

// checkSpan reports what is wrong with start, end and interval together.
func (inc *Incident) checkSpan(f *sre.Faults) {
	span := inc.End.Sub(inc.Start)
	switch {
	case span > MaxSpan:
		f.Add("end", fmt.Sprintf("%s is too long after start, %s", stamp(inc.End), stamp(inc.Start)), fmt.Sprintf("at most %d days", MaxSpan/(24*time.Hour)))
	case inc.Interval >= MinInterval && span/time.Duration(inc.Interval) >= MaxTicks:
		f.Add("interval", fmt.Sprintf("%s makes more than %d ticks from %s to %s", inc.Interval, MaxTicks, stamp(inc.Start), stamp(inc.End)), "a shorter recording or a longer interval")
	}
}

// slack is how far a fault or an alert may lie outside the recording: sources
// round their times to samples, and some faults outlast the last sample.
func (inc *Incident) slack() time.Duration {
	return max(time.Hour, 12*time.Duration(inc.Interval))
}

// Validate reports what is wrong with an incident, in the order of its fields.
func (inc *Incident) Validate() sre.Faults {
	var f sre.Faults
	switch {
	case inc.ID == "":
		f.Add("id", "is missing", "a name for the incident")
	case len(inc.ID) > 200 || strings.HasPrefix(inc.ID, ".") || strings.ContainsFunc(inc.ID, notInID):
		f.Add("id", fmt.Sprintf("%q cannot name a file", cut(inc.ID, cutLine)), "at most 200 printable characters, no slash, no dot in front")
	}
	spanOK := false
	switch {
	case inc.Start.IsZero():
		f.Add("start", "is missing", instantForm)
	case inc.End.IsZero():
		f.Add("end", "is missing", instantForm)
	case !inc.End.After(inc.Start):
		f.Add("end", fmt.Sprintf("%s is not after start, %s", stamp(inc.End), stamp(inc.Start)), "")
	default:
		spanOK = true
	}
	switch {
	case inc.Interval == 0:
		f.Add("interval", "is missing", fmt.Sprintf("%s to %s", MinInterval, MaxInterval))
	case inc.Interval < MinInterval || inc.Interval > MaxInterval:
		f.Add("interval", fmt.Sprintf("%s is out of range", inc.Interval), fmt.Sprintf("%s to %s", MinInterval, MaxInterval))
	}
	if spanOK {
		inc.checkSpan(&f)
	}
	for i, a := range inc.Alerts {
		path := sre.Item("alerts", i)
		if a.Service == "" {
			f.Add(path+".service", "is missing", "the name of a service")
		}
		inc.checkInstant(&f, path+".at", a.At, true, spanOK)
	}
	for i, fault := range inc.Truth.Faults {
		inc.checkFault(&f, sre.Item("truth.faults", i), fault, spanOK)
	}
	return f
}

func notInID(r rune) bool { return r == '/' || r == '\\' || !unicode.IsPrint(r) }

func (inc *Incident) checkFault(f *sre.Faults, path string, fault Fault, spanOK bool) {
	if len(fault.Services) == 0 {
		f.Add(path+".services", "is empty", "at least one service")
	}
	for i, s := range fault.Services {
		if s == "" {
			f.Add(sre.Item(path+".services", i), "is empty", "the name of a service")
		}
	}
	if fault.Mechanism != "" && !fault.Mechanism.Valid() {
		f.Add(path+".mechanism", fmt.Sprintf("unknown mechanism %q", cut(string(fault.Mechanism), cutLine)), oneOf(sre.Mechanisms()))
	}
	inc.checkInstant(f, path+".injected_at", fault.InjectedAt, true, spanOK)
	inc.checkInstant(f, path+".ends_at", fault.EndsAt, false, spanOK)
	if !fault.EndsAt.IsZero() && !fault.InjectedAt.IsZero() && !fault.EndsAt.After(fault.InjectedAt) {
		f.Add(path+".ends_at", fmt.Sprintf("%s is not after injected_at, %s", stamp(fault.EndsAt), stamp(fault.InjectedAt)), "")
	}
}

func (inc *Incident) checkInstant(f *sre.Faults, path string, at time.Time, required, spanOK bool) {
	switch {
	case at.IsZero() && required:
		f.Add(path, "is missing", instantForm)
	case at.IsZero() || !spanOK:
	case at.Before(inc.Start.Add(-inc.slack())) || at.After(inc.End.Add(inc.slack())):
		f.Add(path, fmt.Sprintf("%s lies outside the recording", stamp(at)), fmt.Sprintf("%s to %s, or at most %s beside it",
			stamp(inc.Start), stamp(inc.End), model.Duration(inc.slack())))
	}
}

// oneOf lists a closed set for a message.
func oneOf[T ~string](set []T) string {
	out := make([]string, len(set))
	for i, v := range set {
		out[i] = string(v)
	}
	return strings.Join(out, ", ")
}
