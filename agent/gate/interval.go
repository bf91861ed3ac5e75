package gate

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/sreagent/sreagent/sre"
)

// TimeInterval is a set of instants in the grammar of Alertmanager's
// `time_intervals`: an instant is in it when every field that is given has a
// range that holds it. An interval without a field holds every instant.
type TimeInterval struct {
	// Times are ranges of the day, from start to before end; the end may be 24:00.
	Times []TimeRange `yaml:"times"`
	// Weekdays are names or ranges of names: monday:friday.
	Weekdays []string `yaml:"weekdays"`
	// DaysOfMonth are numbers or ranges, 1 to 31; -1 is the last day.
	DaysOfMonth []string `yaml:"days_of_month"`
	// Months are names, numbers or ranges of them: november:december.
	Months []string `yaml:"months"`
	// Years are numbers or ranges: 2026:2028.
	Years []string `yaml:"years"`
	// Location is a name of the time zone database; empty is UTC.
	Location string `yaml:"location"`
}

// TimeRange is a part of a day in minutes' precision.
type TimeRange struct {
	Start string `yaml:"start_time"`
	End   string `yaml:"end_time"`
}

// span is a range of whole numbers, both ends in it.
type span struct{ from, to int }

// interval is a TimeInterval that was understood.
type interval struct {
	times, weekdays, days, months, years []span
	in                                   *time.Location
}

// parse understands the interval; the faults have paths below it.
func (ti TimeInterval) parse() (interval, sre.Faults) {
	var (
		f   sre.Faults
		out interval
	)
	for i, r := range ti.Times {
		from, okFrom := minuteOf(r.Start)
		to, okTo := minuteOf(r.End)
		switch at := sre.Item("times", i); {
		case !okFrom:
			f.Add(at+".start_time", fmt.Sprintf("%q is not a time of day", r.Start), "HH:MM from 00:00 to 24:00")
		case !okTo:
			f.Add(at+".end_time", fmt.Sprintf("%q is not a time of day", r.End), "HH:MM from 00:00 to 24:00")
		case from >= to:
			f.Add(at, fmt.Sprintf("%s is not before %s", r.Start, r.End), "a start before the end; two ranges for one that crosses midnight")
		default:
			out.times = append(out.times, span{from, to - 1})
		}
	}
	out.weekdays = spans(&f, "weekdays", ti.Weekdays, weekdayOf, "sunday to saturday, or a range such as monday:friday")
	out.days = spans(&f, "days_of_month", ti.DaysOfMonth, dayOf, "1 to 31 or -31 to -1, or a range such as 1:5 or -3:-1")
	out.months = spans(&f, "months", ti.Months, monthOf, "january to december, 1 to 12, or a range such as november:december")
	out.years = spans(&f, "years", ti.Years, yearOf, "a year from 1970 to 9999, or a range such as 2026:2028")
	var fault string
	if out.in, fault = location(ti.Location); fault != "" {
		f.Add("location", fault, "a name of the time zone database, such as Europe/Berlin, or UTC")
	}
	return out, f
}

// location loads a time zone. Local is refused: what it means depends on the
// machine, and the same inputs must give the same decisions.
func location(name string) (*time.Location, string) {
	if name == "Local" {
		return time.UTC, `"Local" differs from machine to machine`
	}
	in, err := time.LoadLocation(name)
	if err != nil {
		return time.UTC, fmt.Sprintf("unknown time zone %q", name)
	}
	return in, ""
}

func spans(f *sre.Faults, list string, texts []string, number func(string) (int, bool), allowed string) []span {
	var out []span
	for i, text := range texts {
		first, last, ranged := strings.Cut(text, ":")
		if !ranged {
			last = first
		}
		from, okFrom := number(first)
		to, okTo := number(last)
		switch at := sre.Item(list, i); {
		case !okFrom || !okTo:
			f.Add(at, fmt.Sprintf("%q is not understood", text), allowed)
		case from > to && (from > 0) == (to > 0) || from < 0 && to > 0:
			f.Add(at, fmt.Sprintf("%q ends before it starts", text), allowed)
		default:
			out = append(out, span{from, to})
		}
	}
	return out
}

func minuteOf(s string) (int, bool) {
	if len(s) != 5 || s[2] != ':' {
		return 0, false
	}
	h, okHour := digits(s[:2])
	m, okMinute := digits(s[3:])
	return 60*h + m, okHour && okMinute && m < 60 && 60*h+m <= 24*60
}

// digits reads a number without a sign.
func digits(s string) (int, bool) {
	n, err := strconv.ParseUint(s, 10, 16)
	return int(n), err == nil
}

var weekdayNames = []string{"sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday"}

var monthNames = []string{
	"january", "february", "march", "april", "may", "june", "july", "august", "september", "october", "november", "december",
}

func weekdayOf(s string) (int, bool) {
	i := slices.Index(weekdayNames, strings.ToLower(s))
	return i, i >= 0
}

func dayOf(s string) (int, bool) {
	rest, negative := strings.CutPrefix(s, "-")
	n, ok := digits(rest)
	ok = ok && n >= 1 && n <= 31
	if negative {
		n = -n
	}
	return n, ok
}

func monthOf(s string) (int, bool) {
	if i := slices.Index(monthNames, strings.ToLower(s)); i >= 0 {
		return i + 1, true
	}
	n, ok := digits(s)
	return n, ok && n >= 1 && n <= 12
}

func yearOf(s string) (int, bool) {
	n, ok := digits(s)
	return n, ok && n >= 1970 && n <= 9999
}

// holds reports whether an instant is in the interval.
func (iv interval) holds(now time.Time) bool {
	t := now.In(iv.in)
	length := time.Date(t.Year(), t.Month()+1, 0, 0, 0, 0, 0, time.UTC).Day()
	return within(iv.times, 60*t.Hour()+t.Minute()) && within(iv.weekdays, int(t.Weekday())) &&
		withinMonth(iv.days, t.Day(), length) && within(iv.months, int(t.Month())) && within(iv.years, t.Year())
}

func within(ranges []span, n int) bool {
	return len(ranges) == 0 || slices.ContainsFunc(ranges, func(s span) bool { return s.from <= n && n <= s.to })
}

// withinMonth counts negative days from the end of a month of a length; a range
// is cut to the days that the month has.
func withinMonth(ranges []span, day, length int) bool {
	fromStart := func(n int) int {
		if n < 0 {
			return length + 1 + n
		}
		return n
	}
	return len(ranges) == 0 || slices.ContainsFunc(ranges, func(s span) bool {
		return fromStart(s.from) <= day && day <= fromStart(s.to)
	})
}
