package series

import (
	"bufio"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
	"time"
)

// ErrNotSeries is what a FileError wraps where a file has no header with a time
// and a value column, so that it is no series at all.
var ErrNotSeries = errors.New("no columns timestamp and value")

// FileError is a fault in a series file: where it stands, what is wrong and
// what is allowed.
type FileError struct {
	File    string // empty where the reader has no name
	Line    int
	Problem string
	Allowed string
	Err     error // the cause, where there is one
}

// Error writes the fault as "file:line: problem; allowed: what".
func (e *FileError) Error() string {
	at := "line " + strconv.Itoa(e.Line)
	if e.File != "" {
		at = e.File + ":" + strconv.Itoa(e.Line)
	}
	s := at + ": " + e.Problem
	if e.Allowed != "" {
		s += "; allowed: " + e.Allowed
	}
	return s
}

// Unwrap returns the cause.
func (e *FileError) Unwrap() error { return e.Err }

// Name puts the name of the file into the FileError that err is or wraps, and
// returns err.
func Name(err error, file string) error {
	if e, ok := errors.AsType[*FileError](err); ok {
		e.File = file
	}
	return err
}

// row is one sample with its texts as they came.
type row struct {
	time, text string
	at         time.Time
	value      float64 // not finite: a gap
}

func (r row) gap() bool { return math.IsNaN(r.value) || math.IsInf(r.value, 0) }

// reader reads the rows of a series.
type reader struct {
	csv         *csv.Reader
	time, value int // columns
	layout      int // of the time before, tried first
}

// headerLimit is the longest first line, in bytes, that may be a header.
const headerLimit = 1 << 16

const headerAllowed = "a first line that names the columns timestamp and value, in any case and order, with others beside them"

func newReader(r io.Reader) (*reader, error) {
	buffered := bufio.NewReaderSize(r, headerLimit)
	if mark, _ := buffered.Peek(3); string(mark) == "\xef\xbb\xbf" {
		_, _ = buffered.Discard(3) // what was peeked at is there
	}
	head, err := buffered.Peek(headerLimit)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("read header: %w", err)
	}
	first, _, ended := strings.Cut(string(head), "\n")
	if !ended && len(head) == headerLimit {
		return nil, notSeries("the first line is too long")
	}
	if strings.TrimSpace(first) == "" {
		return nil, notSeries("the first line is empty")
	}
	c := csv.NewReader(buffered)
	c.ReuseRecord = true
	c.FieldsPerRecord = -1
	names, err := c.Read()
	if err != nil {
		return nil, notSeries("the first line is not CSV")
	}
	in := &reader{csv: c, time: -1, value: -1}
	for i, name := range names {
		var column *int
		switch strings.ToLower(strings.TrimSpace(name)) {
		case "timestamp":
			column = &in.time
		case "value":
			column = &in.value
		default:
			continue
		}
		if *column >= 0 {
			return nil, notSeries("column " + strconv.Quote(name) + " stands there twice")
		}
		*column = i
	}
	if in.time < 0 || in.value < 0 {
		return nil, notSeries(ErrNotSeries.Error())
	}
	return in, nil
}

func notSeries(problem string) error {
	return &FileError{Line: 1, Problem: problem, Allowed: headerAllowed, Err: ErrNotSeries}
}

// next returns the next row, or io.EOF after the last.
func (in *reader) next() (row, error) {
	record, err := in.csv.Read()
	if errors.Is(err, io.EOF) {
		return row{}, io.EOF
	}
	if bad, ok := errors.AsType[*csv.ParseError](err); ok {
		return row{}, &FileError{Line: bad.Line, Problem: bad.Err.Error(), Allowed: "CSV as in RFC 4180", Err: bad.Err}
	}
	if err != nil {
		return row{}, fmt.Errorf("read series: %w", err)
	}
	if need := max(in.time, in.value); len(record) <= need {
		line, _ := in.csv.FieldPos(0)
		return row{}, &FileError{
			Line:    line,
			Problem: fmt.Sprintf("the row has %d columns", len(record)),
			Allowed: fmt.Sprintf("at least %d, as the header has", need+1),
		}
	}
	out := row{time: record[in.time], text: record[in.value]}
	if out.at, err = in.instant(strings.TrimSpace(out.time)); err != nil {
		return row{}, in.fault(in.time, out.time, "is not a time", timeAllowed)
	}
	if out.value, err = number(strings.TrimSpace(out.text)); err != nil {
		return row{}, in.fault(in.value, out.text, "is not a number", "a decimal number, or nothing for a gap")
	}
	return out, nil
}

// longestQuote is how much of a bad field an error repeats.
const longestQuote = 60

func (in *reader) fault(column int, text, problem, allowed string) error {
	line, _ := in.csv.FieldPos(column)
	if len(text) > longestQuote {
		text = text[:longestQuote] + "..."
	}
	return &FileError{Line: line, Problem: strconv.Quote(text) + " " + problem, Allowed: allowed}
}

// number reads a value; what is empty is a gap.
func number(text string) (float64, error) {
	switch strings.ToLower(text) {
	case "", "null", "none", "na":
		return math.NaN(), nil
	}
	v, err := strconv.ParseFloat(text, 64)
	if errors.Is(err, strconv.ErrRange) {
		return v, nil // too large for a number: infinite, so a gap
	}
	return v, err
}

const timeAllowed = "2006-01-02 15:04:05 with or without a fraction, RFC 3339, or Unix seconds, in the years 1700 to 2200"

// layouts are the forms of time. Parsing accepts a fraction of a second after
// each of them.
var layouts = [...]string{"2006-01-02 15:04:05", time.RFC3339, "2006-01-02T15:04:05", "2006-01-02 15:04:05Z07:00"}

var errTime = errors.New("not a time")

func (in *reader) instant(text string) (time.Time, error) {
	for i := range len(layouts) + 1 {
		form := (in.layout + i) % (len(layouts) + 1)
		var at time.Time
		var err error
		if form < len(layouts) {
			at, err = time.Parse(layouts[form], text)
		} else {
			at, err = unix(text)
		}
		if err == nil && (at.Year() < 1700 || at.Year() > 2200) {
			err = errTime
		}
		if err == nil {
			in.layout = form
			return at, nil
		}
	}
	return time.Time{}, errTime
}

// unix reads seconds since 1970. Whole seconds and fraction are read apart, so
// that no digit is lost.
func unix(text string) (time.Time, error) {
	whole, fraction, _ := strings.Cut(text, ".")
	sec, err := strconv.ParseInt(whole, 10, 64)
	if err != nil {
		return time.Time{}, errTime
	}
	var nano int64
	if fraction != "" {
		digits := (fraction + "000000000")[:9]
		n, err := strconv.ParseUint(digits, 10, 32)
		if err != nil || strings.Trim(fraction, "0123456789") != "" {
			return time.Time{}, errTime
		}
		nano = int64(n)
		if strings.HasPrefix(whole, "-") {
			nano = -nano
		}
	}
	if sec > 1e11 || sec < -1e11 {
		return time.Time{}, errTime
	}
	return time.Unix(sec, nano).UTC(), nil
}
