package bundle

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/common/model"
)

func readText(text string, o MetricsOptions) ([]got, error) {
	return collect(func(v Visit) error { return ReadMetrics(context.Background(), strings.NewReader(text), o, v) })
}

type accepted struct {
	name, text string
	want       []got
}

func acceptedTexts() []accepted {
	one := func(series string, at int64, v float64) []got { return []got{{series, at, v}} }
	return []accepted{
		{"bare name", "a 1 2\n", one(`{__name__="a"}`, 2000, 1)},
		{"colons", "a:b:c 1 2\n", one(`{__name__="a:b:c"}`, 2000, 1)},
		{"empty braces", "a{} 1 2\n", one(`{__name__="a"}`, 2000, 1)},
		{"comma at the end", `a{x="1",} 1 2` + "\n", one(`{__name__="a", x="1"}`, 2000, 1)},
		{"labels are sorted", `a{y="2",x="1"} 1 2` + "\n", one(`{__name__="a", x="1", y="2"}`, 2000, 1)},
		{"empty label is no label", `a{x=""} 1 2` + "\n", one(`{__name__="a"}`, 2000, 1)},
		{"escapes", `a{x="\"\\\n\t"} 1 2` + "\n", one(`{__name__="a", x="\"\\\n\\t"}`, 2000, 1)},
		{"braces in a value", `a{x="} 3 4"} 1 2` + "\n", one(`{__name__="a", x="} 3 4"}`, 2000, 1)},
		{"hash in a value", `a{x=" # {"} 1 2` + "\n", one(`{__name__="a", x=" # {"}`, 2000, 1)},
		{"quoted name", `{"a.b",x="1"} 1 2` + "\n", one(`{__name__="a.b", x="1"}`, 2000, 1)},
		{"quoted name last", `{x="1","a.b"} 1 2` + "\n", one(`{__name__="a.b", x="1"}`, 2000, 1)},
		{"quoted label", `a{"x.y"="1"} 1 2` + "\n", one(`{__name__="a", "x.y"="1"}`, 2000, 1)},
		{"cut to milliseconds", "a 1 1.001\n", one(`{__name__="a"}`, 1000, 1)},
		{"before 1970", "a 1 -1.5\n", one(`{__name__="a"}`, -1500, 1)},
		{"exponent", "a -1e-3 1.5e3\n", one(`{__name__="a"}`, 1500000, -0.001)},
		{"infinite", "a -Inf 2\n", one(`{__name__="a"}`, 2000, math.Inf(-1))},
		{"not a number", "a nan 2\n", one(`{__name__="a"}`, 2000, nan)},
		{"exemplar", `a_total 1 2 # {trace="x"} 0.5 1.5` + "\n", one(`{__name__="a_total"}`, 2000, 1)},
		{"exemplar without time", `a_total 1 2 # {} 0.5` + "\n", one(`{__name__="a_total"}`, 2000, 1)},
		{"exact repetition", "a 1 2\na 1 2\na NaN 3\na NaN 3\n", []got{{`{__name__="a"}`, 2000, 1}, {`{__name__="a"}`, 3000, nan}}},
		{"two texts of one series", "a{x=\"1\",y=\"\"} 1 2\na{x=\"1\"} 1 3\n", []got{{`{__name__="a", x="1"}`, 2000, 1}, {`{__name__="a", x="1"}`, 3000, 1}}},
		{"help and unit", "# HELP a_seconds any \\n text\n# UNIT a_seconds seconds\n# TYPE a_seconds gauge\n# UNIT b \na_seconds 1 2\n", one(`{__name__="a_seconds"}`, 2000, 1)},
		{"quoted family", "# TYPE \"a.b\" gauge\n{\"a.b\"} 1 2\n", one(`{__name__="a.b"}`, 2000, 1)},
		{"bucket bounds are numbers", "# TYPE h histogram\nh_bucket{le=\"1\"} 1 2\n# TYPE g gauge\nh_bucket{le=\"1\"} 1 2\n",
			[]got{{`{__name__="h_bucket", le="1.0"}`, 2000, 1}, {`{__name__="h_bucket", le="1"}`, 2000, 1}}},
		{"quantiles are numbers", "# TYPE s summary\ns{quantile=\"1\"} 1 2\n", one(`{__name__="s", quantile="1.0"}`, 2000, 1)},
	}
}

func TestReadMetricsAccepts(t *testing.T) {
	for _, c := range acceptedTexts() {
		t.Run(c.name, func(t *testing.T) {
			for _, end := range []string{"# EOF\n", "# EOF"} {
				for chunk := 1; chunk < 40; chunk += 3 {
					out, err := readText(c.text+end, MetricsOptions{chunk: chunk})
					if err != nil {
						t.Fatal(err)
					}
					if diff := cmp.Diff(c.want, out, cmp.Comparer(func(x, y float64) bool { return x == y || x != x && y != y })); diff != "" {
						t.Fatalf("chunk %d: %s", chunk, diff)
					}
				}
			}
		})
	}
}

type refused struct{ name, text, want string }

func refusedTexts() []refused {
	return []refused{
		{"empty", "", `metrics.om: the file is empty; allowed: OpenMetrics text that ends with # EOF`},
		{"no samples", "# TYPE a gauge\n# EOF\n", `metrics.om: there are no samples`},
		{"cut at a line's end", "a 1 2\n", `metrics.om:1: the file is cut: it does not end with # EOF`},
		{"cut in a line", "a 1 2\nb 1", `metrics.om:2: the file is cut: it does not end with # EOF`},
		{"cut in the mark", "a 1 2\n# EO", `metrics.om:2: the file is cut: it does not end with # EOF`},
		{"text behind the mark", "a 1 2\n# EOF\na 1 3\nb 1", `metrics.om:3: there is text behind # EOF in "a 1 3"`},
		{"blank line", "a 1 2\n\n# EOF\n", `metrics.om:2:1: this is no sample in ""; allowed: ` + sampleForm},
		{"comment", "# hello\n", `metrics.om:1:1: this is no line of the format in "# hello"; allowed: # TYPE name kind, # HELP name text, # UNIT name unit, # EOF`},
		{"hash", "#\n", `metrics.om:1:1: this is no line of the format in "#"; allowed: # TYPE, # HELP, # UNIT, # EOF`},
		{"type", "# TYPE a gouge\n", `metrics.om:1:10: unknown type "gouge" in "# TYPE a gouge"; allowed: counter, gauge, histogram, gaugehistogram, summary, info, stateset, unknown`},
		{"type without a kind", "# TYPE a\n", `metrics.om:1:8: a name and a text should stand here in "# TYPE a"; allowed: # TYPE name kind, # HELP name text, # UNIT name unit, # EOF`},
		{"unit", "# UNIT a_s seconds\n", `metrics.om:1:12: the name does not end with the unit "seconds" in "# UNIT a_s seconds"`},
		{"help", "# HELP a \xff\n", `metrics.om:1:10: the help text is not UTF-8 in "# HELP a \xff"`},
		{"no timestamp", "a 1\n# EOF\n", `metrics.om:1: the sample has no timestamp in "a 1"; allowed: ` + sampleForm},
		{"exemplar, no timestamp", "a 1 # {} 1\n", `metrics.om:1: the sample has no timestamp in "a 1 # {} 1"; allowed: ` + sampleForm},
		{"bad value", "a one 2\n", `metrics.om:1:3: the value "one" is no number in "a one 2"; allowed: numbers, NaN, +Inf, -Inf`},
		{"value of Go", "a 1_000 2\n", `metrics.om:1:3: the value "1_000" is no number in "a 1_000 2"; allowed: numbers, NaN, +Inf, -Inf`},
		{"no value", "a\n", `metrics.om:1:2: a value should follow in "a"; allowed: ` + sampleForm},
		{"two spaces", "a  1 2\n", `metrics.om:1:2: a value should follow in "a  1 2"; allowed: ` + sampleForm},
		{"bad timestamp", "a 1 now\n", `metrics.om:1:5: the timestamp "now" is no number in "a 1 now"; allowed: seconds since 1970, such as 1661140280 or 1661140280.5`},
		{"infinite timestamp", "a 1 +Inf\n", `metrics.om:1:5: the timestamp "+Inf" lies beyond the year 9999: are these milliseconds? in "a 1 +Inf"; allowed: seconds since 1970, such as 1661140280 or 1661140280.5`},
		{"milliseconds", "a 1 1661140280000\n", `metrics.om:1:5: the timestamp "1661140280000" lies beyond the year 9999: are these milliseconds? in "a 1 1661140280000"; allowed: seconds since 1970, such as 1661140280 or 1661140280.5`},
		{"text behind the timestamp", "a 1 2 3\n", `metrics.om:1:6: there is text behind the timestamp in "a 1 2 3"; allowed: ` + sampleForm},
		{"native histogram", "a {count:1,sum:2} 3\n", `metrics.om:1:3: this is a native histogram in "a {count:1,sum:2} 3"; allowed: classic histograms, one sample per bucket`},
		{"native histogram, labels", `a{x="1"} {count:1,sum:2} 3` + "\n", `metrics.om:1:10: this is a native histogram in "a{x=\"1\"} {count:1,sum:2} 3"; allowed: classic histograms, one sample per bucket`},
		{"label without quotes", "a{x=1} 1 2\n", `metrics.om:1:5: a value in quotes should stand here in "a{x=1} 1 2"; allowed: ` + sampleForm},
		{"label without a value", "a{x} 1 2\n", `metrics.om:1:4: "=" should stand here in "a{x} 1 2"; allowed: ` + sampleForm},
		{"space between labels", `a{x="1", y="2"} 1 2` + "\n", `metrics.om:1:9: a label should stand here in "a{x=\"1\", y=\"2\"} 1 2"; allowed: ` + sampleForm},
		{"no comma", `a{x="1"y="2"} 1 2` + "\n", `metrics.om:1:8: "," or "}" should stand here in "a{x=\"1\"y=\"2\"} 1 2"; allowed: ` + sampleForm},
		{"open braces", `a{x="1" 1 2` + "\n", `metrics.om:1:1: this is no sample in "a{x=\"1\" 1 2"; allowed: ` + sampleForm},
		{"open quotes", `a{x="1} 1 2` + "\n", `metrics.om:1:1: this is no sample in "a{x=\"1} 1 2"; allowed: ` + sampleForm},
		{"label twice", `a{x="1",x="2"} 1 2` + "\n", `metrics.om:1: the label "x" stands twice in "a{x=\"1\",x=\"2\"} 1 2"`},
		{"name twice", `a{"b"} 1 2` + "\n", `metrics.om:1:3: the metric has two names in "a{\"b\"} 1 2"; allowed: ` + sampleForm},
		{"no name", `{x="1"} 1 2` + "\n", `metrics.om:1:1: the metric has no name in "{x=\"1\"} 1 2"; allowed: ` + sampleForm},
		{"empty name", `{""} 1 2` + "\n", `metrics.om:1: "" is no name of a metric in "{\"\"} 1 2"`},
		{"label not UTF-8", "a{x=\"\xff\"} 1 2\n", `metrics.om:1:5: the value of a label is not UTF-8 in "a{x=\"\xff\"} 1 2"`},
		{"exemplar without a value", "a 1 2 # {}\n", `metrics.om:1:11: an exemplar has no proper value in "a 1 2 # {}"; allowed: a number, then perhaps a timestamp`},
		{"out of order", "a 1 20\nb 1 5\na 1 10\n# EOF\n", `metrics.om:3: samples of {__name__="a"} are out of order: 1970-01-01T00:00:10Z comes after 1970-01-01T00:00:20Z in "a 1 10"`},
		{"two values", "a 1 20.5\na 2 20.5\n# EOF\n", `metrics.om:2: {__name__="a"} has two values at 1970-01-01T00:00:20.5Z: 1 and 2 in "a 2 20.5"`},
		{"cut quote", "a 1 2\n" + strings.Repeat("é", 60) + "\n", `metrics.om:2:1: this is no sample in "` + strings.Repeat("é", 40) + `"...; allowed: ` + sampleForm},
	}
}

// metricTexts lists texts of every sort, for fuzzing.
func metricTexts() []string {
	var out []string
	for _, c := range acceptedTexts() {
		out = append(out, c.text+eofMark+"\n")
	}
	for _, c := range refusedTexts() {
		out = append(out, c.text)
	}
	return out
}

func TestReadMetricsRefuses(t *testing.T) {
	for _, c := range refusedTexts() {
		t.Run(c.name, func(t *testing.T) {
			for chunk := 1; chunk < 40; chunk += 3 {
				_, err := readText(c.text, MetricsOptions{chunk: chunk})
				if err == nil || err.Error() != c.want {
					t.Fatalf("chunk %d:\ngot  %v\nwant %s", chunk, err, c.want)
				}
			}
		})
	}
}

func TestReadMetricsLimits(t *testing.T) {
	var text strings.Builder
	for i := range 5 {
		fmt.Fprintf(&text, "a{x=\"%d\"} 1 2\n", i)
	}
	text.WriteString("# EOF\n")
	_, err := readText(text.String(), MetricsOptions{Series: 4})
	if want := `metrics.om:5: there are more than 4 series in "a{x=\"4\"} 1 2"`; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
	_, err = readText(text.String(), MetricsOptions{Max: 20, Name: "m", chunk: 8})
	if want := "m: the text is larger than 20 bytes; allowed: fewer series or a shorter span"; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
	if out, err := readText(text.String(), MetricsOptions{Series: 5}); err != nil || len(out) != 5 {
		t.Errorf("%d samples, %v; want 5 at the limit", len(out), err)
	}
	// A text that names its series in ever new ways does not grow without bound.
	text.Reset()
	for i := range 20 {
		fmt.Fprintf(&text, "a{x=\"1\",y%d=\"\"} 1 %d\n", i, i)
	}
	text.WriteString("# EOF\n")
	if out, err := readText(text.String(), MetricsOptions{Series: 1}); err != nil || len(out) != 20 {
		t.Errorf("%d samples, %v; want 20", len(out), err)
	}
}

func TestReadMetricsSpan(t *testing.T) {
	o := MetricsOptions{Start: instant("2026-01-01T00:00:00Z"), End: instant("2026-01-01T01:00:00Z")}
	start := o.Start.Unix()
	for offset, inside := range map[int64]bool{-86401: false, -86400: true, 0: true, 3600: true, 3601: false} {
		_, err := readText(fmt.Sprintf("a 1 %d\n# EOF\n", start+offset), o)
		if (err == nil) != inside {
			t.Errorf("a sample %d s after the start: %v", offset, err)
		}
	}
	_, err := readText("a 1 5\na 1 6\n# EOF\n", o)
	want := "metrics.om: all samples lie outside the recording: they span 1970-01-01T00:00:05Z to 1970-01-01T00:00:06Z, " +
		"the recording 2026-01-01T00:00:00Z to 2026-01-01T01:00:00Z; allowed: timestamps in seconds since 1970, from a day before start until end"
	if err == nil || err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
}

func TestReadMetricsVisitError(t *testing.T) {
	full := errors.New("disk full")
	err := ReadMetrics(context.Background(), strings.NewReader("a 1 2\na 1 3\n# EOF\n"), MetricsOptions{}, func(_ Series, at int64, _ float64) error {
		if at == 3000 {
			return full
		}
		return nil
	})
	if !errors.Is(err, full) || err.Error() != "metrics.om:2: disk full" {
		t.Errorf("got %v", err)
	}
}

// TestReadMetricsGarbage reads a gibibyte of what is no such text: the first
// bad line ends it, before much is read.
func TestReadMetricsGarbage(t *testing.T) {
	cases := map[string]struct{ pattern, want string }{
		"lines": {"rubbish\n", `metrics.om:1:8: a value should follow in "rubbish"; allowed: ` + sampleForm},
		"zeros": {"\x00", `metrics.om:1: the line is longer than 1 MiB in "` + strings.Repeat(`\x00`, 80) + `"...`},
		"bytes": {"\xff\xfe\n\xbe\xef", `metrics.om:1:1: this is no sample in "\xff\xfe"; allowed: ` + sampleForm},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			r := &discard{pattern: c.pattern, left: 1 << 30}
			err := ReadMetrics(context.Background(), r, MetricsOptions{}, func(Series, int64, float64) error { return nil })
			if err == nil || err.Error() != c.want {
				t.Errorf("got  %v\nwant %s", err, c.want)
			}
			if r.read > 4<<20 {
				t.Errorf("%d bytes were read", r.read)
			}
		})
	}
}

func TestReadMetricsAllocates(t *testing.T) {
	var text strings.Builder
	for i := range 10_000 {
		fmt.Fprintf(&text, "a{x=\"some long label value\"} 1.25 %d.5\n", i)
	}
	text.WriteString("# EOF\n")
	n := testing.AllocsPerRun(5, func() {
		if err := ReadMetrics(context.Background(), strings.NewReader(text.String()), MetricsOptions{}, func(Series, int64, float64) error { return nil }); err != nil {
			t.Fatal(err)
		}
	})
	if n > 100 {
		t.Errorf("%v allocations for 10,000 samples of one series", n)
	}
}

func TestParseSeriesKeepsOtherLabels(t *testing.T) {
	l, err := parseSeries([]byte(`h_bucket{le="+Inf",x="1"}`), model.MetricTypeHistogram)
	if err != nil || l.String() != `{__name__="h_bucket", le="+Inf", x="1"}` {
		t.Errorf("got %s, %v", l, err)
	}
}
