package gate

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// cron is a schedule of five fields as in crontab(5): minute, hour, day of the
// month, month, day of the week. The parser is our own because the usual
// library also takes descriptors, a seconds field and time zone prefixes, and
// silently accepts what crontab does not.
type cron struct {
	minutes, hours, days, months, weekdays []span
	anyDay, anyWeekday                     bool
}

var shortWeekdays = []string{"sun", "mon", "tue", "wed", "thu", "fri", "sat"}

var shortMonths = []string{"jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"}

// parseCron understands a schedule, or says which field is wrong.
func parseCron(text string) (cron, string) {
	fields := strings.Fields(text)
	if len(fields) != 5 {
		return cron{}, fmt.Sprintf("%q has %d fields", text, len(fields))
	}
	var c cron
	for i, f := range []struct {
		name     string
		into     *[]span
		low, top int
		names    []string
	}{
		{"minute", &c.minutes, 0, 59, nil},
		{"hour", &c.hours, 0, 23, nil},
		{"day of the month", &c.days, 1, 31, nil},
		{"month", &c.months, 1, 12, shortMonths},
		{"day of the week", &c.weekdays, 0, 7, shortWeekdays},
	} {
		got, ok := cronField(strings.ToLower(fields[i]), f.low, f.top, f.names)
		if !ok {
			return cron{}, fmt.Sprintf("the %s %q is not understood", f.name, fields[i])
		}
		*f.into = got
	}
	c.anyDay, c.anyWeekday = strings.HasPrefix(fields[2], "*"), strings.HasPrefix(fields[4], "*")
	return c, ""
}

// cronField reads a list of *, n, n-m, each with an optional /step.
func cronField(text string, low, top int, names []string) ([]span, bool) {
	var out []span
	for part := range strings.SplitSeq(text, ",") {
		body, by, stepped := strings.Cut(part, "/")
		step, from, to := 1, low, top
		var ok bool
		if stepped {
			if step, ok = digits(by); !ok || step < 1 {
				return nil, false
			}
		}
		if body != "*" {
			first, last, ranged := strings.Cut(body, "-")
			if from, ok = cronNumber(first, low, top, names); !ok {
				return nil, false
			}
			switch {
			case ranged:
				if to, ok = cronNumber(last, low, top, names); !ok || to < from {
					return nil, false
				}
			case !stepped:
				to = from
			default:
				return nil, false // 5/10 means one thing here and another there
			}
		}
		for n := from; n <= to; n += step {
			out = append(out, span{n, n})
		}
	}
	return out, true
}

func cronNumber(s string, low, top int, names []string) (int, bool) {
	if i := slices.Index(names, s); i >= 0 {
		return i + low, true
	}
	n, ok := digits(s)
	return n, ok && n >= low && n <= top
}

// hits reports whether a schedule fires in the minute of an instant, as its
// clock shows it. Where both days are given either is enough, as in crontab(5).
func (c cron) hits(t time.Time) bool {
	day, weekday := within(c.days, t.Day()), within(c.weekdays, int(t.Weekday()))
	if t.Weekday() == time.Sunday {
		weekday = weekday || within(c.weekdays, 7)
	}
	right := day && weekday
	if !c.anyDay && !c.anyWeekday {
		right = day || weekday
	}
	return right && within(c.minutes, t.Minute()) && within(c.hours, t.Hour()) && within(c.months, int(t.Month()))
}

// opened reports whether the schedule has fired within the last d, so that a
// window of that length is open. It walks instants and not wall clocks: a time
// that a clock skips does not fire, one that it shows twice fires twice.
func (c cron) opened(now time.Time, d time.Duration, in *time.Location) bool {
	for t := now.Truncate(time.Minute); now.Sub(t) < d; t = t.Add(-time.Minute) {
		if c.hits(t.In(in)) {
			return true
		}
	}
	return false
}
