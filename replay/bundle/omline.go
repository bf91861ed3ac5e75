package bundle

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
)

// The grammar of one line of OpenMetrics text, as Prometheus' own parser and so
// promtool have it. That parser wants the whole text at once and does not say
// where it stopped; ours takes a line at a time. A test holds the two equal.

// lineError is a sentence about one line. Column is from 1, 0 where the whole
// line is meant.
type lineError struct {
	column  int
	problem string
	allowed string
}

func (e *lineError) Error() string { return e.problem }

const sampleForm = `name{label="value"} 1.5 1661140280`

// measurement is a line that holds a sample.
type measurement struct {
	series []byte // the text that names it, as it stands
	at     int64  // milliseconds
	value  float64
}

// scanMeasurement takes a sample's line apart. What names the series is only
// measured; parseSeries reads it.
func scanMeasurement(line, guess []byte) (measurement, error) {
	var m measurement
	end := len(guess)
	if end == 0 || !bytes.HasPrefix(line, guess) || len(line) == end || line[end] != ' ' {
		end = seriesEnd(line)
		if end == 0 {
			return m, &lineError{column: 1, problem: "this is no sample", allowed: sampleForm}
		}
	}
	m.series = line[:end]
	value, next := field(line, end)
	if len(value) == 0 {
		return m, &lineError{column: end + 1, problem: "a value should follow", allowed: sampleForm}
	}
	if value[0] == '{' {
		return m, &lineError{column: end + 2, problem: "this is a native histogram", allowed: "classic histograms, one sample per bucket"}
	}
	var err error
	if m.value, err = number(value); err != nil {
		return m, &lineError{column: end + 2, problem: fmt.Sprintf("the value %q is no number", cut(string(value), cutLine)), allowed: "numbers, NaN, +Inf, -Inf"}
	}
	if next == len(line) || bytes.HasPrefix(line[next:], []byte(" # {")) {
		return m, &lineError{problem: "the sample has no timestamp", allowed: sampleForm}
	}
	stamp, rest := field(line, next)
	if m.at, err = millis(stamp); err != nil {
		return m, &lineError{column: next + 2, problem: fmt.Sprintf("the timestamp %q %v", cut(string(stamp), cutLine), err), allowed: "seconds since 1970, such as 1661140280 or 1661140280.5"}
	}
	return m, scanExemplar(line, rest)
}

// field returns the word behind the one space at i, and where it ends.
func field(line []byte, i int) ([]byte, int) {
	if i >= len(line) || line[i] != ' ' {
		return nil, i
	}
	i++
	n := bytes.IndexByte(line[i:], ' ')
	if n < 0 {
		n = len(line) - i
	}
	return line[i : i+n], i + n
}

func number(text []byte) (float64, error) {
	if bytes.ContainsAny(text, "pP_") { // forms that Go knows and the format does not
		return 0, strconv.ErrSyntax
	}
	return strconv.ParseFloat(string(text), 64)
}

var (
	errNoNumber = errors.New("is no number")
	errFarOff   = errors.New("lies beyond the year 9999: are these milliseconds?")
)

// millis rounds as promtool does: towards 1970.
func millis(text []byte) (int64, error) {
	f, err := number(text)
	if err != nil || math.IsNaN(f) {
		return 0, errNoNumber
	}
	if f *= 1000; f < firstMillis || f > lastMillis {
		return 0, errFarOff
	}
	return int64(f), nil
}

// seriesEnd measures the text that names a series: a name, labels in braces, or
// both. It is 0 where there is none.
func seriesEnd(line []byte) int {
	i := nameEnd(line, 0, true)
	if i == len(line) || line[i] != '{' {
		return i
	}
	for i++; i < len(line); i++ {
		switch line[i] {
		case '}':
			return i + 1
		case '"':
			if i = quoteEnd(line, i) - 1; i < 0 {
				return 0
			}
		}
	}
	return 0
}

// nameEnd returns where a name that begins at i ends: i where there is none.
func nameEnd(text []byte, i int, colon bool) int {
	for start := i; i < len(text); i++ {
		c := text[i]
		letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '_' || colon && c == ':'
		if !letter && (i == start || c < '0' || c > '9') {
			break
		}
	}
	return i
}

// quoteEnd returns the index behind the quoted text that begins at i, 0 where
// it does not end.
func quoteEnd(text []byte, i int) int {
	if i >= len(text) || text[i] != '"' {
		return 0
	}
	for i++; i < len(text); i++ {
		switch text[i] {
		case '\\':
			i++
		case '"':
			return i + 1
		}
	}
	return 0
}

// pair is one element of the braces. A name without a value is that of the
// metric.
type pair struct {
	name, value      string
	quoted, valueSet bool
}

// scanPairs reads a list in braces that begins behind the brace at i, and
// returns the index behind its end.
func scanPairs(text []byte, i int, take func(column int, p pair) error) (int, error) {
	for {
		if i < len(text) && text[i] == '}' {
			return i + 1, nil
		}
		var p pair
		start, end := i, nameEnd(text, i, false)
		if end == i {
			if end = quoteEnd(text, i); end == 0 {
				return 0, &lineError{column: i + 1, problem: "a label should stand here", allowed: sampleForm}
			}
			p.quoted, p.name = true, unescape(text[i+1:end-1])
		} else {
			p.name = string(text[i:end])
		}
		if i = end; i < len(text) && text[i] == '=' {
			end = quoteEnd(text, i+1)
			if end == 0 {
				return 0, &lineError{column: i + 2, problem: "a value in quotes should stand here", allowed: sampleForm}
			}
			if !utf8.Valid(text[i+2 : end-1]) {
				return 0, &lineError{column: i + 2, problem: "the value of a label is not UTF-8"}
			}
			p.valueSet, p.value, i = true, unescape(text[i+2:end-1]), end
		} else if !p.quoted {
			return 0, &lineError{column: i + 1, problem: `"=" should stand here`, allowed: sampleForm}
		}
		if err := take(start+1, p); err != nil {
			return 0, err
		}
		switch {
		case i < len(text) && text[i] == ',':
			i++
		case i >= len(text) || text[i] != '}':
			return 0, &lineError{column: i + 1, problem: `"," or "}" should stand here`, allowed: sampleForm}
		}
	}
}

var escapes = strings.NewReplacer(`\"`, `"`, `\\`, `\`, `\n`, "\n")

func unescape(text []byte) string {
	if bytes.IndexByte(text, '\\') < 0 {
		return string(text)
	}
	return escapes.Replace(string(text))
}

// parseSeries reads what seriesEnd measured. Kind is that of the family before
// it, since labels that hold numbers are normalised in some.
func parseSeries(text []byte, kind model.MetricType) (labels.Labels, error) {
	var b labels.ScratchBuilder
	i := nameEnd(text, 0, true)
	named := i > 0
	if named {
		b.Add(model.MetricNameLabel, string(text[:i]))
	}
	if i < len(text) {
		end, err := scanPairs(text, i+1, func(column int, p pair) error {
			switch {
			case p.valueSet:
				b.Add(p.name, normal(kind, p.name, p.value))
			case named:
				return &lineError{column: column, problem: "the metric has two names", allowed: sampleForm}
			default:
				named = true
				b.Add(model.MetricNameLabel, p.name)
			}
			return nil
		})
		if err != nil {
			return labels.EmptyLabels(), err
		}
		if end != len(text) {
			return labels.EmptyLabels(), &lineError{column: end + 1, problem: "a value should follow", allowed: sampleForm}
		}
	}
	if !named {
		return labels.EmptyLabels(), &lineError{column: 1, problem: "the metric has no name", allowed: sampleForm}
	}
	b.Sort()
	l := b.Labels().WithoutEmpty()
	return l, checkLabels(l)
}

// normal writes the bound of a bucket or a quantile in the one form that
// Prometheus gives it.
func normal(kind model.MetricType, name, value string) string {
	if kind == model.MetricTypeSummary && name == model.QuantileLabel || kind == model.MetricTypeHistogram && name == model.BucketLabel {
		if f, err := strconv.ParseFloat(value, 64); err == nil {
			return labels.FormatOpenMetricsFloat(f)
		}
	}
	return value
}

// checkLabels refuses what the TSDB would refuse.
func checkLabels(l labels.Labels) error {
	if name, twice := l.HasDuplicateLabelNames(); twice {
		return &lineError{problem: fmt.Sprintf("the label %q stands twice", name)}
	}
	if name := l.Get(model.MetricNameLabel); !model.UTF8Validation.IsValidMetricName(name) {
		return &lineError{problem: fmt.Sprintf("%q is no name of a metric", name)}
	}
	return l.Validate(func(one labels.Label) error {
		if !model.UTF8Validation.IsValidLabelName(one.Name) {
			return &lineError{problem: fmt.Sprintf("%q is no name of a label", one.Name)}
		}
		return nil
	})
}

// scanExemplar checks what may stand behind a timestamp. Nothing is kept of it.
func scanExemplar(line []byte, i int) error {
	if i == len(line) {
		return nil
	}
	const lead = " # {"
	if !bytes.HasPrefix(line[i:], []byte(lead)) {
		return &lineError{column: i + 1, problem: "there is text behind the timestamp", allowed: sampleForm}
	}
	end, err := scanPairs(line, i+len(lead), func(column int, p pair) error {
		if !p.valueSet {
			return &lineError{column: column, problem: "a label of an exemplar has no value"}
		}
		return nil
	})
	if err != nil {
		return err
	}
	bad := &lineError{column: end + 1, problem: "an exemplar has no proper value", allowed: "a number, then perhaps a timestamp"}
	value, next := field(line, end)
	if _, err := number(value); err != nil {
		return bad
	}
	if next == len(line) {
		return nil
	}
	stamp, next := field(line, next)
	if at, err := number(stamp); err != nil || math.IsNaN(at) || math.IsInf(at, 0) || next != len(line) {
		return bad
	}
	return nil
}

// parseMeta checks a line that begins with "# " and returns the kind of the
// families from here on.
func parseMeta(line []byte, kind model.MetricType) (model.MetricType, error) {
	const form = "# TYPE name kind, # HELP name text, # UNIT name unit, " + eofMark
	word, rest, _ := bytes.Cut(line[len("# "):], []byte(" "))
	what := string(word)
	if what != "TYPE" && what != "HELP" && what != "UNIT" {
		return kind, &lineError{column: 1, problem: "this is no line of the format", allowed: form}
	}
	end := quoteEnd(rest, 0)
	if end == 0 {
		end = nameEnd(rest, 0, true)
	}
	if end == 0 || end == len(rest) || rest[end] != ' ' {
		return kind, &lineError{column: len("# TYPE ") + 1, problem: "a name and a text should stand here", allowed: form}
	}
	name, text := rest[:end], rest[end+1:]
	if name[0] == '"' {
		name = name[1 : end-1]
	}
	column := len("# TYPE ") + end + 2
	switch what {
	case "TYPE":
		for _, k := range metricKinds() {
			if string(text) == string(k) {
				return k, nil
			}
		}
		return kind, &lineError{column: column, problem: fmt.Sprintf("unknown type %q", cut(string(text), cutLine)), allowed: oneOf(metricKinds())}
	case "HELP":
		if !utf8.Valid(text) {
			return kind, &lineError{column: column, problem: "the help text is not UTF-8"}
		}
	case "UNIT":
		if len(text) > 0 && !bytes.HasSuffix(name, append([]byte{'_'}, text...)) {
			return kind, &lineError{column: column, problem: fmt.Sprintf("the name does not end with the unit %q", cut(string(text), cutLine))}
		}
	}
	return kind, nil
}

func metricKinds() []model.MetricType {
	return []model.MetricType{
		model.MetricTypeCounter, model.MetricTypeGauge, model.MetricTypeHistogram, model.MetricTypeGaugeHistogram,
		model.MetricTypeSummary, model.MetricTypeInfo, model.MetricTypeStateset, model.MetricTypeUnknown,
	}
}
