package bundle

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/value"
)

// MetricsWriter collects samples and writes them as OpenMetrics text that
// promtool takes. It holds 16 bytes per sample. Series may come in any order;
// within one time ascends. It is not safe for concurrent use.
type MetricsWriter struct {
	series []writtenSeries
	byHash map[uint64][]int
	kinds  map[string]model.MetricType
	total  int
}

type writtenSeries struct {
	labels labels.Labels
	points []point
}

type point struct {
	at    int64
	value float64
}

// NewMetricsWriter returns a writer without samples.
func NewMetricsWriter() *MetricsWriter {
	return &MetricsWriter{byHash: map[uint64][]int{}, kinds: map[string]model.MetricType{}}
}

// SetType says what kind of metric a name is, as it stands in queries (with
// _total). Counters and gauges are written as such; everything else is written
// as unknown, since readers rewrite label values of the other kinds.
func (w *MetricsWriter) SetType(metric string, kind model.MetricType) { w.kinds[metric] = kind }

// Add appends one sample of a series.
func (w *MetricsWriter) Add(s Sample) error {
	pairs := make([]labels.Label, 0, len(s.Metric))
	for name, val := range s.Metric {
		pairs = append(pairs, labels.Label{Name: string(name), Value: string(val)})
	}
	return w.Append(labels.New(pairs...), s.At.UnixMilli(), s.Value)
}

// Append appends one sample, at milliseconds since 1970, to a series, which is
// refused where the TSDB would refuse it. A sample that repeats the one before
// it is skipped; one that is older, or another value at the same instant, is an
// error. So is an instant outside the years 1 to 9999. A stale marker has no
// form in the format and is left out.
func (w *MetricsWriter) Append(l labels.Labels, at int64, v float64) error {
	if value.IsStaleNaN(v) {
		return nil
	}
	if at < firstMillis || at > lastMillis {
		return fmt.Errorf("sample of %s at %d ms lies beyond the years 1 to 9999", l, at)
	}
	s, err := w.find(l)
	if err != nil {
		return err
	}
	if n := len(s.points); n > 0 && at <= s.points[n-1].at {
		last := s.points[n-1]
		switch {
		case at < last.at:
			return fmt.Errorf("samples of %s are out of order: %s comes after %s", l, stampMillis(at), stampMillis(last.at))
		case v != last.value && !(math.IsNaN(v) && math.IsNaN(last.value)):
			return fmt.Errorf("%s has two values at %s: %v and %v", l, stampMillis(at), last.value, v)
		}
		return nil
	}
	s.points = append(s.points, point{at, v})
	w.total++
	return nil
}

func (w *MetricsWriter) find(l labels.Labels) (*writtenSeries, error) {
	hash := l.Hash()
	for _, i := range w.byHash[hash] {
		if labels.Equal(w.series[i].labels, l) {
			return &w.series[i], nil
		}
	}
	clean := l.WithoutEmpty()
	if !labels.Equal(clean, l) {
		return w.find(clean)
	}
	if err := checkLabels(l); err != nil {
		return nil, fmt.Errorf("series %s: %w", l, err)
	}
	err := l.Validate(func(one labels.Label) error {
		if !model.LabelValue(one.Value).IsValid() {
			return fmt.Errorf("series %s: the value of %s is not UTF-8", l, one.Name)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	w.byHash[hash] = append(w.byHash[hash], len(w.series))
	w.series = append(w.series, writtenSeries{labels: l})
	return &w.series[len(w.series)-1], nil
}

// Len returns how many samples are held.
func (w *MetricsWriter) Len() int { return w.total }

// family is the metrics that stand under one TYPE line.
type family struct {
	name   string
	kind   model.MetricType
	series []*writtenSeries
}

// families sorts the series into families, by name, then labels.
func (w *MetricsWriter) families() []family {
	names := map[string]bool{}
	for i := range w.series {
		names[w.series[i].labels.Get(model.MetricNameLabel)] = true
	}
	byName := map[string]*family{}
	for i := range w.series {
		s := &w.series[i]
		metric := s.labels.Get(model.MetricNameLabel)
		f := family{name: metric, kind: model.MetricTypeUnknown}
		switch base, total := strings.CutSuffix(metric, "_total"); {
		case w.kinds[metric] == model.MetricTypeGauge:
			f.kind = model.MetricTypeGauge
		case w.kinds[metric] == model.MetricTypeCounter && total && base != "" && !names[base]:
			// The family of a counter has the name without _total, unless another
			// metric has it already.
			f.name, f.kind = base, model.MetricTypeCounter
		}
		if byName[f.name] == nil {
			byName[f.name] = &f
		}
		byName[f.name].series = append(byName[f.name].series, s)
	}
	out := make([]family, 0, len(byName))
	for _, f := range byName {
		slices.SortFunc(f.series, func(a, b *writtenSeries) int { return labels.Compare(a.labels, b.labels) })
		out = append(out, *f)
	}
	slices.SortFunc(out, func(a, b family) int { return strings.Compare(a.name, b.name) })
	return out
}

var errNoSamples = errors.New("there are no samples to write")

// WriteTo writes the text. The same samples give the same bytes, in whatever
// order the series came. No samples are an error, as no reader takes that.
func (w *MetricsWriter) WriteTo(out io.Writer) (int64, error) {
	if w.total == 0 {
		return 0, errNoSamples
	}
	count := &counted{w: out}
	b := bufio.NewWriterSize(count, 64<<10)
	var line []byte
	for _, f := range w.families() {
		line = append(line[:0], "# TYPE "...)
		if model.LegacyValidation.IsValidMetricName(f.name) {
			line = append(line, f.name...)
		} else {
			line = appendQuoted(line, f.name)
		}
		line = append(append(append(line, ' '), f.kind...), '\n')
		if _, err := b.Write(line); err != nil {
			return count.n, err
		}
		for _, s := range f.series {
			line = appendSeries(line[:0], s.labels)
			head := len(line)
			for _, p := range s.points {
				line = append(line[:head], ' ')
				line = strconv.AppendFloat(line, p.value, 'g', -1, 64)
				line = append(appendStamp(append(line, ' '), p.at), '\n')
				if _, err := b.Write(line); err != nil {
					return count.n, err
				}
			}
		}
	}
	if _, err := b.WriteString(eofMark + "\n"); err != nil {
		return count.n, err
	}
	err := b.Flush()
	return count.n, err
}

type counted struct {
	w io.Writer
	n int64
}

func (c *counted) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	return n, err
}

// appendSeries writes what names a series: name{label="value"}, or all in
// braces and quotes where the name has characters beyond the old set.
func appendSeries(b []byte, l labels.Labels) []byte {
	name := l.Get(model.MetricNameLabel)
	legacy := model.LegacyValidation.IsValidMetricName(name)
	first := true
	comma := func() {
		if !first {
			b = append(b, ',')
		}
		first = false
	}
	if legacy {
		b = append(b, name...)
		if l.Len() == 1 {
			return b
		}
	}
	b = append(b, '{')
	if !legacy {
		comma()
		b = appendQuoted(b, name)
	}
	l.Range(func(one labels.Label) {
		if one.Name == model.MetricNameLabel {
			return
		}
		comma()
		if model.LegacyValidation.IsValidLabelName(one.Name) {
			b = append(b, one.Name...)
		} else {
			b = appendQuoted(b, one.Name)
		}
		b = appendQuoted(append(b, '='), one.Value)
	})
	return append(b, '}')
}

var quoting = strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`)

func appendQuoted(b []byte, s string) []byte {
	return append(append(append(b, '"'), quoting.Replace(s)...), '"')
}

// appendStamp writes milliseconds as seconds. Readers turn the seconds into a
// float and cut off what is below a millisecond, so that 0.123 may come back as
// 0.122; some more digits then make it come back whole.
func appendStamp(b []byte, ms int64) []byte {
	if ms%1000 == 0 {
		return strconv.AppendInt(b, ms/1000, 10)
	}
	start := len(b)
	if ms < 0 {
		b = append(b, '-')
	}
	abs := max(ms, -ms)
	b = strconv.AppendInt(b, abs/1000, 10)
	b = append(b, '.')
	rest := abs % 1000
	b = append(b, byte('0'+rest/100), byte('0'+rest/10%10), byte('0'+rest%10))
	for _, more := range []string{"", "0005", "05", "5"} {
		try := append(b, more...)
		if back, err := millis(try[start:]); err == nil && back == ms {
			return try
		}
	}
	return b
}
