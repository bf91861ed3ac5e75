package scenario

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

func itoa(n int) string { return strconv.Itoa(n) }

// line is one line of a file, without its comment.
type line struct {
	no    int
	text  string
	words []string
}

// splitLine cuts a line into words. An arrow stands alone, whatever is written
// around it. A comment starts at a # that begins a word.
func splitLine(no int, text string) line {
	if strings.HasPrefix(strings.TrimLeft(text, " \t"), "#") {
		return line{no: no}
	}
	for i := range len(text) {
		if text[i] == '#' && (text[i-1] == ' ' || text[i-1] == '\t') {
			text = text[:i]
			break
		}
	}
	text = strings.TrimSpace(text)
	return line{no: no, text: text, words: strings.Fields(strings.ReplaceAll(text, "->", " -> "))}
}

// spell writes words as they are read best: arrows without space.
func spell(words []string) string {
	return strings.ReplaceAll(strings.Join(words, " "), " -> ", "->")
}

const nameForm = "a name of letters, digits, '-', '_' and '.', at most 63 long"

func validName(s string) bool {
	if s == "" || len(s) > 63 {
		return false
	}
	for i := range len(s) {
		c := s[i]
		letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
		if !letter && (i == 0 || c != '-' && c != '_' && c != '.') {
			return false
		}
	}
	return true
}

// parseDuration takes Go's notation within bounds.
func parseDuration(v string, least, most time.Duration) (time.Duration, string, string) {
	allowed := fmt.Sprintf("a duration from %s to %s, such as 250ms, 90s or 5m", short(least), short(most))
	d, err := time.ParseDuration(v)
	if err != nil {
		return 0, fmt.Sprintf("%q is not a duration", v), allowed
	}
	if d < least || d > most {
		return 0, short(d) + " is out of range", allowed
	}
	return d, "", ""
}

// short writes a duration without trailing zero units.
func short(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = s[:len(s)-2]
	}
	if strings.HasSuffix(s, "h0m") {
		s = s[:len(s)-2]
	}
	return s
}

// parseNumber takes a number, or a percentage which is divided by 100.
func parseNumber(v string, least, most float64) (float64, string, string) {
	allowed := fmt.Sprintf("a number from %v to %v", least, most)
	text, percent := strings.CutSuffix(v, "%")
	f, err := strconv.ParseFloat(text, 64)
	if err != nil || math.IsNaN(f) {
		return 0, fmt.Sprintf("%q is not a number", v), allowed
	}
	if percent {
		f /= 100
	}
	if !(f >= least && f <= most) {
		return 0, v + " is out of range", allowed
	}
	return f, "", ""
}

func parseCount(v string, least, most int) (int, string, string) {
	allowed := fmt.Sprintf("a whole number from %d to %d", least, most)
	n, err := strconv.Atoi(v)
	if err != nil {
		return 0, fmt.Sprintf("%q is not a whole number", v), allowed
	}
	if n < least || n > most {
		return 0, v + " is out of range", allowed
	}
	return n, "", ""
}
