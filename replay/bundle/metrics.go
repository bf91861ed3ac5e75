package bundle

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"

	"github.com/sreagent/sreagent/sre"
)

// Series is one series of a recording. Index counts series from 0 in the order
// in which they first appear, so that callers can keep what they know of one in
// a slice.
type Series struct {
	Index  int
	Labels labels.Labels // with __name__, without empty values
}

// Visit takes one sample, at milliseconds since 1970. Series come in any order,
// the samples of one series by ascending time. Its error ends the reading.
type Visit func(s Series, at int64, value float64) error

// MetricsOptions says what to expect of a metrics text. The zero value is
// usable.
type MetricsOptions struct {
	Name       string    // for messages; "metrics.om" where empty
	Max        int64     // bytes of text; 0 means the default of Limits.File
	Series     int       // most series; 0 means the default of Limits.Series
	Start, End time.Time // span of the recording; not checked where End is zero

	chunk int // bytes read at once; tests make it small
}

const (
	metricsChunk = 256 << 10
	eofMark      = "# EOF"
	warmUp       = 24 * time.Hour // what may stand before the start of a recording

	firstMillis = -62135596800000 // year 1
	lastMillis  = 253402300799999 // year 9999
)

// ReadMetrics reads OpenMetrics text as promtool does, but line by line and in
// bounded memory, so that what is not such a text ends at its first bad line.
// It is stricter than promtool where promtool drops samples without a word:
// within a series time must ascend. A sample that repeats the one before it
// exactly is skipped, as the TSDB does. Errors are Problems, but for those of
// ctx and visit.
func ReadMetrics(ctx context.Context, r io.Reader, o MetricsOptions, visit Visit) error {
	def := DefaultLimits()
	if o.Name == "" {
		o.Name = MetricsFile
	}
	if o.Max <= 0 {
		o.Max = def.File
	}
	if o.Series <= 0 {
		o.Series = def.Series
	}
	if o.chunk <= 0 {
		o.chunk = metricsChunk
	}
	m := &metricsReader{
		o: o, visit: visit, raw: map[string]int32{}, byHash: map[uint64]int32{}, latest: -1,
		first: math.MaxInt64, last: math.MinInt64,
	}
	if err := m.run(ctx, r); err != nil {
		return err
	}
	return m.judge()
}

type metricsReader struct {
	o     MetricsOptions
	visit Visit

	line   int // lines that were read
	kind   model.MetricType
	guess  []byte // the text that named a series last: the next line mostly names the same
	latest int32  // that series, or -1

	series []series
	raw    map[string]int32 // series by the text that names it
	byHash map[uint64]int32 // newest series of a hash of labels

	samples     int
	inside      bool // some sample lies within the span
	first, last int64
}

type series struct {
	labels labels.Labels
	at     int64
	value  float64
	seen   bool
	next   int32 // another series of the same hash, or -1
}

// run cuts the text at line ends.
func (m *metricsReader) run(ctx context.Context, r io.Reader) error {
	buf := make([]byte, m.o.chunk)
	held, total := 0, int64(0)
	for {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		n, err := fill(r, buf[held:])
		over := errors.Is(err, io.EOF)
		if err != nil && !over {
			return Problems{unreadable(m.o.Name, err)}
		}
		held += n
		if kind := packingOf(buf[:held]); m.line == 0 && kind != Plain {
			return Problems{wrong(m.o.Name, "the text is compressed, which its name does not say", MetricsFile+string(kind))}
		}
		if total += int64(n); total > m.o.Max {
			return Problems{wrong(m.o.Name, "the text is larger than "+size(m.o.Max), "fewer series or a shorter span")}
		}
		rest, ended, err := m.lines(buf[:held])
		if err != nil {
			return err
		}
		if ended {
			return m.finish(r, rest)
		}
		whole := len(rest) < held
		held = copy(buf, rest)
		switch {
		case over && total == 0:
			return Problems{wrong(m.o.Name, "the file is empty", "OpenMetrics text that ends with "+eofMark)}
		case over && string(buf[:held]) == eofMark:
			return nil
		case over:
			return m.at(m.line+min(1, held), 0, "the file is cut: it does not end with "+eofMark, "")
		case !whole && held >= maxOMLine:
			return m.at(m.line+1, 0, "the line is longer than "+size(maxOMLine)+quote(buf[:held]), "")
		case !whole:
			buf = append(buf, make([]byte, len(buf))...)
		}
	}
}

// fill reads until p is full. Unlike io.ReadFull it gives a short last read no
// error of its own, so that a compressed text that ends too early still shows.
func fill(r io.Reader, p []byte) (n int, err error) {
	for idle := 0; n < len(p) && err == nil; {
		var got int
		if got, err = r.Read(p[n:]); got > 0 {
			idle = 0
		} else if idle++; err == nil && idle > 100 {
			err = io.ErrNoProgress
		}
		n += got
	}
	return n, err
}

// lines reads the whole lines of a text and returns what is left of it: the
// beginning of a line, or what stands behind the end mark.
func (m *metricsReader) lines(text []byte) (rest []byte, ended bool, err error) {
	m.guess, m.latest = nil, -1 // it pointed into the chunk before
	for {
		end := bytes.IndexByte(text, '\n')
		if end < 0 {
			return text, false, nil
		}
		line := text[:end]
		text = text[end+1:]
		m.line++
		if len(line) > 0 && line[0] == '#' {
			if string(line) == eofMark {
				return text, true, nil
			}
			err = m.meta(line)
		} else {
			err = m.sample(line)
		}
		if err != nil {
			return nil, false, m.blame(err, line)
		}
	}
}

// finish checks that nothing stands behind the end mark.
func (m *metricsReader) finish(r io.Reader, rest []byte) error {
	more := make([]byte, cutLine)
	n, err := fill(r, more)
	if err != nil && !errors.Is(err, io.EOF) {
		return Problems{unreadable(m.o.Name, err)}
	}
	if rest = append(rest[:len(rest):len(rest)], more[:n]...); len(rest) > 0 {
		line, _, _ := bytes.Cut(rest, []byte{'\n'})
		return m.at(m.line+1, 0, "there is text behind "+eofMark+quote(line), "")
	}
	return nil
}

func (m *metricsReader) meta(line []byte) error {
	if len(line) < 2 || line[1] != ' ' {
		return &lineError{column: 1, problem: "this is no line of the format", allowed: "# TYPE, # HELP, # UNIT, " + eofMark}
	}
	kind, err := parseMeta(line, m.kind)
	if kind != m.kind {
		clear(m.raw) // the same text may mean other labels from here on
		m.guess, m.latest = nil, -1
		m.kind = kind
	}
	return err
}

func (m *metricsReader) sample(line []byte) error {
	one, err := scanMeasurement(line, m.guess)
	if err != nil {
		return err
	}
	if m.latest < 0 || !bytes.Equal(one.series, m.guess) {
		i, err := m.find(one.series)
		if err != nil {
			return err
		}
		m.guess, m.latest = one.series, i
	}
	s := &m.series[m.latest]
	if s.seen && one.at <= s.at {
		if one.at == s.at && (one.value == s.value || math.IsNaN(one.value) && math.IsNaN(s.value)) {
			return nil
		}
		return disorder(s, one)
	}
	s.at, s.value, s.seen = one.at, one.value, true
	m.samples++
	m.first, m.last = min(m.first, one.at), max(m.last, one.at)
	m.inside = m.inside || m.o.End.IsZero() || one.at >= m.o.Start.Add(-warmUp).UnixMilli() && one.at <= m.o.End.UnixMilli()
	if err := m.visit(Series{Index: int(m.latest), Labels: s.labels}, one.at, one.value); err != nil {
		return &visitError{err}
	}
	return nil
}

func disorder(s *series, one measurement) error {
	name := cut(s.labels.String(), 2*cutLine)
	if one.at < s.at {
		return &lineError{problem: fmt.Sprintf("samples of %s are out of order: %s comes after %s", name, stampMillis(one.at), stampMillis(s.at))}
	}
	return &lineError{problem: fmt.Sprintf("%s has two values at %s: %s and %s", name, stampMillis(one.at),
		strconv.FormatFloat(s.value, 'g', -1, 64), strconv.FormatFloat(one.value, 'g', -1, 64))}
}

// find returns the series that a text names. Different texts may name one.
func (m *metricsReader) find(text []byte) (int32, error) {
	if i, known := m.raw[string(text)]; known {
		return i, nil
	}
	l, err := parseSeries(text, m.kind)
	if err != nil {
		return 0, err
	}
	hash := l.Hash()
	head, known := m.byHash[hash]
	if !known {
		head = -1
	}
	i := head
	for i >= 0 && !labels.Equal(m.series[i].labels, l) {
		i = m.series[i].next
	}
	if i < 0 {
		if len(m.series) >= m.o.Series {
			return 0, &lineError{problem: fmt.Sprintf("there are more than %d series", m.o.Series)}
		}
		i = int32(len(m.series)) //nolint:gosec // far below 2^31 by Limits
		m.series = append(m.series, series{labels: l, next: head})
		m.byHash[hash] = i
	}
	if len(m.raw) > 2*m.o.Series {
		clear(m.raw)
	}
	m.raw[string(text)] = i
	return i, nil
}

// visitError keeps the caller's own error apart from what is wrong with a line.
type visitError struct{ err error }

func (e *visitError) Error() string { return e.err.Error() }

// blame places an error at the line that was read last.
func (m *metricsReader) blame(err error, line []byte) error {
	var theirs *visitError
	if errors.As(err, &theirs) {
		return fmt.Errorf("%s:%d: %w", m.o.Name, m.line, theirs.err)
	}
	var own *lineError
	if !errors.As(err, &own) {
		own = &lineError{problem: err.Error()}
	}
	return m.at(m.line, own.column, own.problem+quote(line), own.allowed)
}

func (m *metricsReader) at(line, column int, problem, allowed string) error {
	return Problems{{File: m.o.Name, Line: line, Column: column, Fault: sre.Fault{Problem: problem, Allowed: allowed}}}
}

// judge is said when the whole text is read.
func (m *metricsReader) judge() error {
	switch {
	case m.samples == 0:
		return Problems{wrong(m.o.Name, "there are no samples", "")}
	case !m.inside:
		return Problems{wrong(m.o.Name, fmt.Sprintf("all samples lie outside the recording: they span %s to %s, the recording %s to %s",
			stampMillis(m.first), stampMillis(m.last), stamp(m.o.Start), stamp(m.o.End)),
			"timestamps in seconds since 1970, from a day before start until end")}
	}
	return nil
}

// quote repeats the beginning of a line.
func quote(line []byte) string {
	text := string(bytes.TrimRight(line, "\n"))
	if short := clip(text, cutLine); len(short) < len(text) {
		return fmt.Sprintf(" in %q...", short)
	}
	return fmt.Sprintf(" in %q", text)
}
