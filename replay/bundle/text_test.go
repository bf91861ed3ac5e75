package bundle

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/value"
	"pgregory.net/rapid"
)

func written(t testing.TB, w io.WriterTo) string {
	t.Helper()
	var out strings.Builder
	n, err := w.WriteTo(&out)
	if err != nil {
		t.Fatal(err)
	}
	if n != int64(out.Len()) {
		t.Errorf("WriteTo says %d bytes and wrote %d", n, out.Len())
	}
	return out.String()
}

// someMetrics holds one of every form that the writer has.
func someMetrics(t testing.TB) *MetricsWriter {
	t.Helper()
	w := NewMetricsWriter()
	add := func(at int64, v float64, pairs ...string) {
		if err := w.Append(labels.FromStrings(pairs...), at, v); err != nil {
			t.Fatal(err)
		}
	}
	w.SetType("requests_total", model.MetricTypeCounter)
	w.SetType("latency_seconds", model.MetricTypeGauge)
	w.SetType("odd", model.MetricTypeCounter)
	w.SetType("clash_total", model.MetricTypeCounter)
	w.SetType("h_bucket", model.MetricTypeHistogram)
	add(1767225600000, 5, "__name__", "requests_total", "service", "b")
	add(1767225600123, 0.25, "__name__", "latency_seconds", "service", `quo"te\back`+"\nline", "empty", "")
	add(1767225600000, 4, "__name__", "requests_total", "service", "a")
	add(1767225660000, 5, "__name__", "requests_total", "service", "a")
	add(1767225660000, 5, "__name__", "requests_total", "service", "a")
	add(1767225600000, 1, "__name__", "odd")
	add(1767225600000, math.Inf(1), "__name__", "clash_total")
	add(1767225600000, math.Inf(-1), "__name__", "clash")
	add(1767225600000, math.NaN(), "__name__", "h_bucket", "le", "1")
	add(1767225600000, math.Float64frombits(value.StaleNaN), "__name__", "gone")
	add(1001, 1e-300, "__name__", "early")
	add(1767225600000, -0.1, "__name__", "requests_total_not")
	return w
}

func TestMetricsWriterGolden(t *testing.T) {
	w := someMetrics(t)
	if w.Len() != 10 {
		t.Errorf("%d samples are held, want 10", w.Len())
	}
	golden(t, "metrics.om", written(t, w))
}

func TestMetricsWriterRefuses(t *testing.T) {
	cases := []struct {
		name  string
		l     labels.Labels
		at    int64
		v     float64
		wantf string
	}{
		{"out of order", labels.FromStrings("__name__", "a"), 999, 1, `samples of {__name__="a"} are out of order: 1970-01-01T00:00:00.999Z comes after 1970-01-01T00:00:01Z`},
		{"two values", labels.FromStrings("__name__", "a"), 1000, 2, `{__name__="a"} has two values at 1970-01-01T00:00:01Z: 1 and 2`},
		{"no name", labels.FromStrings("x", "a"), 1000, 2, `series {x="a"}: "" is no name of a metric`},
		{"label not UTF-8", labels.FromStrings("__name__", "b", "x", "\xff"), 1000, 2, `series {__name__="b", x="\xff"}: the value of x is not UTF-8`},
		{"nanoseconds", labels.FromStrings("__name__", "b"), 1767225600000000, 2, `sample of {__name__="b"} at 1767225600000000 ms lies beyond the years 1 to 9999`},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			w := NewMetricsWriter()
			if err := w.Append(labels.FromStrings("__name__", "a"), 1000, 1); err != nil {
				t.Fatal(err)
			}
			if err := w.Append(c.l, c.at, c.v); err == nil || err.Error() != c.wantf {
				t.Errorf("got  %v\nwant %s", err, c.wantf)
			}
			if w.Len() != 1 {
				t.Errorf("%d samples are held", w.Len())
			}
		})
	}
	if _, err := NewMetricsWriter().WriteTo(io.Discard); !errors.Is(err, errNoSamples) {
		t.Errorf("an empty text was written: %v", err)
	}
}

// drawSamples draws series with awkward names and times, by ascending time
// within each.
func drawSamples(t *rapid.T) (out []got, lookup map[string]labels.Labels) {
	text := rapid.OneOf(rapid.StringMatching(`[a-z]{0,3}`), rapid.String(), rapid.SampledFrom([]string{`\`, `"`, "\n", `\n`, "} 1 2", " # {", ","}))
	name := rapid.OneOf(rapid.StringMatching(`[a-z:_][a-z0-9:_]{0,4}(_total)?`), rapid.StringMatching(`[a-zé. {}"\\-]{1,5}`))
	lookup = map[string]labels.Labels{}
	for range rapid.IntRange(1, 6).Draw(t, "series") {
		m := map[string]string{model.MetricNameLabel: name.Draw(t, "name")}
		for range rapid.IntRange(0, 3).Draw(t, "labels") {
			m[rapid.OneOf(rapid.StringMatching(`[a-z_][a-z0-9_]{0,2}`), rapid.StringMatching(`[a-z."\\ ]{1,3}`)).Draw(t, "label")] = text.Draw(t, "value")
		}
		l := labels.FromMap(m).WithoutEmpty()
		if _, twice := lookup[l.String()]; twice || checkLabels(l) != nil {
			continue
		}
		lookup[l.String()] = l
		at := rapid.OneOf(rapid.Int64Range(-5000, 5000), rapid.Int64Range(1.6e12, 1.8e12), rapid.Int64Range(firstMillis, lastMillis-1e6)).Draw(t, "at")
		for range rapid.IntRange(1, 4).Draw(t, "samples") {
			v := rapid.OneOf(rapid.Float64(), rapid.SampledFrom([]float64{math.NaN(), math.Inf(1), math.Inf(-1), math.Copysign(0, -1)})).Draw(t, "v")
			out = append(out, got{l.String(), at, v})
			at += rapid.Int64Range(1, 100000).Draw(t, "step")
		}
	}
	return out, lookup
}

// TestMetricsRoundTrip writes samples in any order of series and reads the same
// ones back, to the millisecond and to the last bit.
func TestMetricsRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want, lookup := drawSamples(t)
		if len(want) == 0 {
			t.Skip("no series with a proper name")
		}
		text := func(order []got) string {
			w := NewMetricsWriter()
			for _, s := range want {
				w.SetType(lookup[s.Series].Get(model.MetricNameLabel), model.MetricTypeCounter)
			}
			for _, s := range order {
				if err := w.Append(lookup[s.Series], s.At, s.Value); err != nil {
					t.Fatal(err)
				}
			}
			var out strings.Builder
			if _, err := w.WriteTo(&out); err != nil {
				t.Fatal(err)
			}
			return out.String()
		}
		first := text(want)
		interleaved := slices.Clone(want)
		slices.SortStableFunc(interleaved, func(a, b got) int { return cmp.Compare(a.At, b.At) })
		if second := text(interleaved); first != second {
			t.Fatalf("the order of series changes the text:\n%s\n%s", first, second)
		}
		out, err := readText(first, MetricsOptions{chunk: rapid.IntRange(1, 64).Draw(t, "chunk")})
		if err != nil {
			t.Fatalf("%v\n%s", err, first)
		}
		sortGot(out)
		sortGot(want)
		if !slices.EqualFunc(want, out, func(a, b got) bool {
			return same(a, b) || a.Series == b.Series && a.At == b.At && a.Value != a.Value && b.Value != b.Value
		}) {
			t.Fatalf("wrote %v\nread  %v\n%s", want, out, first)
		}
	})
}

func sortGot(s []got) {
	slices.SortFunc(s, func(a, b got) int { return cmp.Or(strings.Compare(a.Series, b.Series), cmp.Compare(a.At, b.At)) })
}

// TestStampsAreExact holds that no millisecond is lost, near 1970 above all,
// where a float cut off at milliseconds loses one in five.
func TestStampsAreExact(t *testing.T) {
	longer := 0
	for ms := int64(-70_000); ms < 70_000; ms++ {
		text := appendStamp(nil, ms)
		if back, err := millis(text); err != nil || back != ms {
			t.Fatalf("%d ms is written %s and read %d (%v)", ms, text, back, err)
		}
		if len(text) > len("-70.123") {
			longer++
		}
	}
	if longer == 0 {
		t.Error("no stamp needed more digits: the remedy is not needed")
	}
	if s := string(appendStamp(nil, 1767225600123)); s != "1767225600.123" {
		t.Errorf("got %s", s)
	}
}

// promtool runs the real thing, or skips.
func promtool(t *testing.T, text string) (string, error) {
	t.Helper()
	path, err := exec.LookPath("promtool")
	if err != nil {
		t.Skip("promtool is not installed (Debian has it in the package prometheus)")
	}
	dir := t.TempDir()
	write(t, filepath.Join(dir, "metrics.om"), text)
	out, err := exec.CommandContext(t.Context(), path, "tsdb", "create-blocks-from", "openmetrics", filepath.Join(dir, "metrics.om"), filepath.Join(dir, "data")).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%w: %s", err, out)
	}
	if err := os.MkdirAll(filepath.Join(dir, "data", "wal"), 0o755); err != nil {
		t.Fatal(err)
	}
	dump, err := exec.CommandContext(t.Context(), path, "tsdb", "dump", filepath.Join(dir, "data")).Output()
	if err != nil {
		t.Fatalf("dump: %v", err)
	}
	return string(dump), nil
}

func TestPromtoolReadsOurText(t *testing.T) {
	w := someMetrics(t)
	dump, err := promtool(t, written(t, w))
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(dump, "\n"); n != w.Len() {
		t.Errorf("promtool holds %d samples of %d:\n%s", n, w.Len(), dump)
	}
	for _, want := range []string{
		`{__name__="requests_total", service="a"} 5 1767225660000`,
		`{__name__="latency_seconds", service="quo\"te\\back\nline"} 0.25 1767225600123`,
		`{__name__="early"} 1e-300 1001`,
		`{__name__="h_bucket", le="1"} NaN 1767225600000`,
	} {
		if !strings.Contains(dump, want) {
			t.Errorf("promtool does not hold %s:\n%s", want, dump)
		}
	}
}

// TestPromtoolAgrees holds our reader against promtool: what it refuses, we
// refuse; what we accept, it accepts. Left out are names in quotes and the last
// comma, which older releases do not know, and where we are stricter, since
// promtool drops samples that are out of order without a word.
func TestPromtoolAgrees(t *testing.T) {
	if testing.Short() {
		t.Skip("a process per text")
	}
	for _, c := range acceptedTexts() {
		if strings.Contains(c.text, `"a.b"`) || strings.Contains(c.text, `"x.y"`) || c.name == "comma at the end" {
			continue
		}
		if _, err := promtool(t, c.text+eofMark+"\n"); err != nil {
			t.Errorf("%s: we accept it, promtool says %v", c.name, err)
		}
	}
	strict := []string{"empty name", "out of order", "two values", "no samples", "milliseconds", "label twice", "text behind the mark"}
	for _, c := range refusedTexts() {
		if slices.Contains(strict, c.name) {
			continue
		}
		if _, err := promtool(t, c.text); err == nil {
			t.Errorf("%s: promtool accepts it, we say %s", c.name, c.want)
		}
	}
}

func FuzzMetrics(f *testing.F) {
	for _, text := range metricTexts() {
		f.Add(text, uint8(7))
	}
	f.Fuzz(func(t *testing.T, text string, chunk uint8) {
		whole, wholeErr := readText(text, MetricsOptions{})
		parts, partsErr := readText(text, MetricsOptions{chunk: int(chunk) + 1})
		if fmt.Sprint(wholeErr) != fmt.Sprint(partsErr) || !slices.EqualFunc(whole, parts, same) {
			t.Fatalf("in chunks of %d it reads otherwise: %v, %v", int(chunk)+1, wholeErr, partsErr)
		}
		if wholeErr != nil {
			if strings.Contains(wholeErr.Error(), "\n") {
				t.Errorf("not one line: %q", wholeErr)
			}
			return
		}
		w := NewMetricsWriter()
		err := ReadMetrics(context.Background(), strings.NewReader(text), MetricsOptions{}, func(s Series, at int64, v float64) error {
			return w.Append(s.Labels, at, v)
		})
		if err != nil {
			t.Fatal(err)
		}
		again, err := readText(written(t, w), MetricsOptions{})
		if err != nil {
			t.Fatal(err)
		}
		sortGot(whole)
		sortGot(again)
		if !slices.EqualFunc(whole, again, same) {
			t.Fatalf("read %v, wrote and read %v", whole, again)
		}
	})
}

func BenchmarkMetricsWriter(b *testing.B) {
	var series []labels.Labels
	for i := range 200 {
		series = append(series, labels.FromStrings("__name__", "latency_seconds", "service", fmt.Sprintf("service-%d", i), "quantile", "0.99"))
	}
	b.ReportAllocs()
	for b.Loop() {
		w := NewMetricsWriter()
		for at := range int64(1000) {
			for _, l := range series {
				if err := w.Append(l, 1767225600000+at*1000, float64(at)/7); err != nil {
					b.Fatal(err)
				}
			}
		}
		if _, err := w.WriteTo(io.Discard); err != nil {
			b.Fatal(err)
		}
	}
}

func TestMetricsWriterAdd(t *testing.T) {
	w := NewMetricsWriter()
	for i := range 2 {
		s := Sample{Metric: model.Metric{"__name__": "a", "x": "1", "none": ""}, At: instant("2026-01-01T00:00:00Z").Add(time.Duration(i) * time.Second), Value: float64(i)}
		if err := w.Add(s); err != nil {
			t.Fatal(err)
		}
	}
	want := "# TYPE a unknown\na{x=\"1\"} 0 1767225600\na{x=\"1\"} 1 1767225601\n# EOF\n"
	if text := written(t, w); text != want {
		t.Errorf("got %s", text)
	}
}

// failing is a file on a disk that breaks in the middle.
type failing struct {
	fs.File
	left int
}

func (f *failing) Read(p []byte) (int, error) {
	if f.left == 0 {
		return 0, errDisk
	}
	n, err := f.File.Read(p[:min(len(p), f.left)])
	f.left -= n
	return n, err
}

type failingFolder struct {
	fstest.MapFS
	left int
}

func (f failingFolder) Open(name string) (fs.File, error) {
	file, err := f.MapFS.Open(name)
	if err == nil && strings.HasPrefix(name, MetricsFile) {
		file = &failing{file, f.left}
	}
	return file, err
}

// TestDiskErrorsAreNotBlamedOnTheText holds that a broken disk does not pass
// for a cut or damaged file.
func TestDiskErrorsAreNotBlamedOnTheText(t *testing.T) {
	for _, p := range []Packing{Plain, Gzip, Zstd} {
		for _, left := range []int{0, 3, 20} {
			files := broken(map[string]string{MetricsFile: "", MetricsFile + string(p): string(packBytes(t, p, []byte(goodMetrics)))})
			b, err := Open(failingFolder{files, left})
			if err != nil {
				t.Fatal(err)
			}
			err = b.Samples(t.Context(), func(Series, int64, float64) error { return nil })
			if want := MetricsFile + string(p) + ": no space left"; !errors.Is(err, errDisk) || err.Error() != want {
				t.Errorf("after %d bytes: got %v, want %s", left, err, want)
			}
		}
	}
}
