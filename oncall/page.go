package oncall

import (
	"bufio"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/sreagent/sreagent/sre"
)

// Style says how pages are marked up. The zero value is plain text.
type Style int

// The closed set of styles.
const (
	Plain  Style = iota
	Colour       // ANSI colours, for terminals that want them
)

const (
	minWidth = 40
	bold     = "1"
	red      = "1;31"
	yellow   = "33"
)

// page writes text that fits a width. Errors are kept for the end by the
// buffered writer.
type page struct {
	w     *bufio.Writer
	width int
	style Style
}

func newPage(w io.Writer, width int, style []Style) *page {
	p := &page{w: bufio.NewWriter(w), width: max(width, minWidth)}
	if len(style) > 0 {
		p.style = style[0]
	}
	return p
}

func (p *page) done() error { return p.w.Flush() }

func (p *page) paint(text, code string) string {
	if p.style != Colour || code == "" || text == "" {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

// row writes one line as it is. The buffered writer keeps an error until done.
func (p *page) row(text string) { _, _ = p.w.WriteString(text + "\n") }

func (p *page) blank() { _ = p.w.WriteByte('\n') }

// line writes text after first, wrapped, with later lines indented as far as
// the text of the first began. Code, if any, colours the text.
func (p *page) line(first, text, code string) {
	indent := strings.Repeat(" ", utf8.RuneCountInString(first))
	for i, row := range wrap(plain(text), p.width-len(indent)) {
		lead := first
		if i > 0 {
			lead = indent
		}
		p.row(strings.TrimRight(lead+p.paint(row, code), " "))
	}
}

// verbatim writes a command that somebody will copy: breaking it would break
// what it does, so it may be wider than the page.
func (p *page) verbatim(first, command string) {
	p.row(first + p.paint(plain(command), yellow))
}

// heading starts a section.
func (p *page) heading(title string) {
	p.blank()
	p.row(p.paint(strings.ToUpper(title), bold))
}

// item writes one entry of a list.
func (p *page) item(text string) { p.line("  - ", text, "") }

// field writes a labelled value: beside its label where there is room, below it
// on a narrow page.
func (p *page) field(label, text string) {
	const column = 14
	if p.width < 60 {
		p.line("  "+label+": ", text, "")
		return
	}
	p.line("  "+pad(label, column), text, "")
}

func pad(s string, width int) string {
	if n := width - utf8.RuneCountInString(s); n > 0 {
		return s + strings.Repeat(" ", n)
	}
	return s
}

// wrap breaks text between words; a word longer than the width is broken too.
// It returns at least one line.
func wrap(text string, width int) []string {
	width = max(width, 8)
	var lines []string
	row := ""
	for word := range strings.FieldsSeq(text) {
		for utf8.RuneCountInString(word) > width {
			head, tail := splitRunes(word, width)
			if row != "" {
				lines, row = append(lines, row), ""
			}
			lines, word = append(lines, head), tail
		}
		switch {
		case row == "":
			row = word
		case utf8.RuneCountInString(row)+1+utf8.RuneCountInString(word) <= width:
			row += " " + word
		default:
			lines, row = append(lines, row), word
		}
	}
	if row != "" || len(lines) == 0 {
		lines = append(lines, row)
	}
	return lines
}

func splitRunes(s string, n int) (string, string) {
	for i := range s {
		if n == 0 {
			return s[:i], s[i:]
		}
		n--
	}
	return s, ""
}

// plain takes control characters out of text that came from outside: a service
// name or a comment must not be able to steer somebody's terminal.
func plain(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\t':
			return ' '
		case unicode.IsControl(r), unicode.Is(unicode.Bidi_Control, r), r == utf8.RuneError:
			return -1
		}
		return r
	}, s)
}

// span writes a duration for people: 45s, 4m10s, 2h5m, 3d4h.
func span(d time.Duration) string {
	sign := ""
	if d < 0 {
		sign, d = "-", -d
	}
	d = d.Round(time.Second)
	two := func(big int64, bigUnit string, small int64, smallUnit string) string {
		s := sign + strconv.FormatInt(big, 10) + bigUnit
		if small > 0 {
			s += strconv.FormatInt(small, 10) + smallUnit
		}
		return s
	}
	secs := int64(d / time.Second)
	switch {
	case secs < 60:
		return sign + strconv.FormatInt(secs, 10) + "s"
	case secs < 3600:
		return two(secs/60, "m", secs%60, "s")
	case secs < 86400:
		return two(secs/3600, "h", secs%3600/60, "m")
	default:
		return two(secs/86400, "d", secs%86400/3600, "h")
	}
}

// clockTime writes an instant in UTC: pages go to people in many places.
func clockTime(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05") + " UTC" }

// since writes an instant with its age.
func since(t, now time.Time) string {
	switch {
	case t.IsZero():
		return "unknown"
	case t.After(now):
		return clockTime(t) + " (in " + span(t.Sub(now)) + ")"
	default:
		return clockTime(t) + " (" + span(now.Sub(t)) + " ago)"
	}
}

// number writes a value with at most three significant digits after rounding
// would not mislead.
func number(v float64) string {
	switch a := max(v, -v); {
	case a == float64(int64(a)) && a < 1e6:
		return strconv.FormatInt(int64(v), 10)
	case a >= 100:
		return strconv.FormatFloat(v, 'f', 0, 64)
	case a >= 1:
		return strconv.FormatFloat(v, 'f', 1, 64)
	default:
		return strconv.FormatFloat(v, 'g', 2, 64)
	}
}

// measure writes a value with its unit as people say it.
func measure(v float64, u sre.Unit) string {
	switch u {
	case sre.Ratio:
		return number(v*100) + "%"
	case sre.Percent:
		return number(v) + "%"
	case sre.PerSecond:
		return number(v) + "/s"
	case sre.Seconds:
		if v > -1 && v < 1 {
			return number(v*1000) + " ms"
		}
		return number(v) + " s"
	case sre.Bytes:
		for _, unit := range []string{"B", "KiB", "MiB", "GiB"} {
			if v < 1024 {
				return number(v) + " " + unit
			}
			v /= 1024
		}
		return number(v) + " TiB"
	case sre.Count:
	}
	return number(v)
}

func share(p float64) string { return strconv.FormatFloat(p*100, 'f', 0, 64) + "%" }

// setting writes one parameter value.
func setting(v any) string {
	switch x := v.(type) {
	case nil:
		return "not read yet"
	case float64:
		return strconv.FormatFloat(x, 'g', -1, 64)
	default:
		return fmt.Sprint(x)
	}
}

func words[T ~string](v T) string { return strings.ReplaceAll(string(v), "_", " ") }
