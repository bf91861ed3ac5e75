package report

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/sreagent/sreagent/sre"
)

const (
	nameLength = 120  // runes of a name that a page shows
	textLength = 1000 // of a sentence
)

// name makes a name fit to be read: strangers chose it.
func name(s string) string { return clean(s, nameLength) }

// sentence does the same for a text.
func sentence(s string) string { return clean(s, textLength) }

// clean cuts a text to n runes and replaces what does not show or changes how
// the rest shows: control characters and overrides of the direction of writing.
func clean(s string, n int) string {
	var b strings.Builder
	count := 0
	for _, r := range s {
		if count++; count > n {
			b.WriteRune('…')
			break
		}
		switch {
		case unicode.IsSpace(r):
			r = ' '
		case unicode.IsControl(r), unicode.Is(unicode.Cf, r):
			r = unicode.ReplacementChar
		}
		b.WriteRune(r)
	}
	return b.String()
}

// words writes the identifiers of closed sets as people do.
func words[T ~string](s T) string { return name(strings.ReplaceAll(string(s), "_", " ")) }

func percent(p float64) string {
	if math.IsNaN(p) || math.IsInf(p, 0) {
		return "unknown"
	}
	return strconv.FormatFloat(math.Round(p*100), 'f', 0, 64) + " %"
}

// short writes a number with three significant digits.
func short(v float64) string {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return "unknown"
	}
	if a := math.Abs(v); a >= 1e7 || a > 0 && a < 1e-4 {
		return strconv.FormatFloat(v, 'g', 3, 64)
	}
	rounded, err := strconv.ParseFloat(strconv.FormatFloat(v, 'g', 3, 64), 64)
	if err != nil {
		return "unknown"
	}
	return strconv.FormatFloat(rounded, 'f', -1, 64)
}

// quantity writes a value in its unit.
func quantity(v float64, unit sre.Unit) string {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return "unknown"
	}
	switch unit {
	case sre.Ratio:
		return short(v*100) + " %"
	case sre.Percent:
		return short(v) + " %"
	case sre.Seconds:
		if math.Abs(v) < 1 && v != 0 {
			return short(v*1000) + " ms"
		}
		return short(v) + " s"
	case sre.Bytes:
		return scaled(v, 1024, []string{" B", " KiB", " MiB", " GiB", " TiB"})
	case sre.PerSecond:
		return scaled(v, 1000, []string{"/s", "k/s", "M/s", "G/s"})
	case sre.Count:
	}
	return scaled(v, 1000, []string{"", "k", "M", "G"})
}

func scaled(v, base float64, names []string) string {
	i := 0
	for ; math.Abs(v) >= base && i < len(names)-1; i++ {
		v /= base
	}
	return short(v) + names[i]
}

// unitName writes a unit beside the name of a series.
func unitName(u sre.Unit) string {
	switch u {
	case sre.PerSecond:
		return "per second"
	case sre.Ratio, sre.Percent:
		return "share in percent"
	case sre.Seconds, sre.Bytes, sre.Count:
		return words(u)
	}
	return ""
}

// span writes a duration with its two largest units.
func span(d time.Duration) string {
	sign := ""
	if d < 0 {
		sign, d = "−", -d
	}
	d = d.Round(time.Second)
	days, hours := int(d.Hours())/24, int(d.Hours())%24
	minutes, seconds := int(d.Minutes())%60, int(d.Seconds())%60
	two := func(a int, unit string, b int, sub string) string {
		if b == 0 {
			return fmt.Sprintf("%s%d %s", sign, a, unit)
		}
		return fmt.Sprintf("%s%d %s %d %s", sign, a, unit, b, sub)
	}
	switch {
	case days > 0:
		return two(days, "d", hours, "h")
	case hours > 0:
		return two(hours, "h", minutes, "min")
	case minutes > 0:
		return two(minutes, "min", seconds, "s")
	}
	return fmt.Sprintf("%s%d s", sign, seconds)
}

func seconds(s float64) string {
	if math.IsNaN(s) || math.Abs(s) > 1e9 {
		return "unknown"
	}
	return span(time.Duration(s * float64(time.Second)))
}

// params writes settings in the order of their names.
func params(p sre.Params) string {
	parts := make([]string, 0, len(p))
	for _, k := range slices.Sorted(maps.Keys(p)) {
		value := ""
		switch v := p[k].(type) {
		case float64:
			value = short(v)
		default:
			value = fmt.Sprint(v)
		}
		parts = append(parts, name(k)+" = "+name(value))
	}
	return strings.Join(parts, ", ")
}

// target writes what an action moves.
func target(t sre.Target) string {
	s := name(t.Service)
	if t.Callee != "" {
		s += " → " + name(t.Callee)
	}
	if t.Name != "" {
		s += " (" + name(t.Name) + ")"
	}
	return s
}

// subject writes what a series or an evidence is about: a service or a call.
func subject(s string) string {
	if caller, callee, ok := strings.Cut(s, "->"); ok {
		return name(caller) + " → " + name(callee)
	}
	return name(s)
}

// list joins names as a sentence does, the first few of many.
func list(names []string, most int) string {
	shown := make([]string, 0, most)
	for _, n := range names[:min(len(names), most)] {
		shown = append(shown, name(n))
	}
	if more := len(names) - len(shown); more > 0 {
		return strings.Join(shown, ", ") + fmt.Sprintf(" and %d more", more)
	}
	if n := len(shown); n > 1 {
		return strings.Join(shown[:n-1], ", ") + " and " + shown[n-1]
	}
	return strings.Join(shown, "")
}

// count writes "1 lever", "2 levers".
func count(n int, one string) string {
	if n == 1 {
		return "1 " + one
	}
	return strconv.Itoa(n) + " " + one + "s"
}

// clock writes times of a run, with the day where the run has more than one.
type clock struct {
	start time.Time
	days  bool
	since []moment // what times are counted from, ascending
}

type moment struct {
	at   time.Time
	name string
}

func newClock(start, end time.Time, since []moment) clock {
	start, end = start.UTC(), end.UTC()
	return clock{start: start, days: start.YearDay() != end.YearDay() || end.Sub(start) > 24*time.Hour, since: since}
}

func (c clock) at(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	if c.days {
		return t.UTC().Format("2 Jan 15:04:05")
	}
	return t.UTC().Format("15:04:05")
}

// rel says how long after the last thing of note t is.
func (c clock) rel(t time.Time) string {
	last := moment{c.start, "the start"}
	for _, m := range c.since {
		if !m.at.After(t) {
			last = m
		}
	}
	if t.Before(last.at) {
		return span(last.at.Sub(t)) + " before " + last.name
	}
	return span(t.Sub(last.at)) + " after " + last.name
}
