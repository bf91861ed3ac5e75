package series_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"testing/iotest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sreagent/sreagent/detectors"
	"github.com/sreagent/sreagent/replay/series"
)

func detect(t *testing.T, in string) (string, series.Summary) {
	t.Helper()
	var out bytes.Buffer
	sum, err := series.Detect(strings.NewReader(in), &out, detectors.DefaultStreamConfig())
	if err != nil {
		t.Fatal(err)
	}
	return out.String(), sum
}

const heading = "timestamp,value,anomaly_score,alarm\n"

func TestDetectKeepsTextsAsTheyCame(t *testing.T) {
	for _, c := range []struct {
		name, in, want string
		gaps           int
	}{
		{"plain", "timestamp,value\n2024-01-01 00:00:00,1.50\n", "2024-01-01 00:00:00,1.50,0.000,0\n", 0},
		{"fraction", "timestamp,value\n2024-01-01 00:00:00.250,1\n", "2024-01-01 00:00:00.250,1,0.000,0\n", 0},
		{"RFC 3339", "timestamp,value\n2024-01-01T00:00:00+02:00,1\n", "2024-01-01T00:00:00+02:00,1,0.000,0\n", 0},
		{"no zone", "timestamp,value\n2024-01-01T00:00:00,1\n", "2024-01-01T00:00:00,1,0.000,0\n", 0},
		{"zone after a space", "timestamp,value\n2024-01-01 00:00:00Z,1\n", "2024-01-01 00:00:00Z,1,0.000,0\n", 0},
		{"Unix", "timestamp,value\n1700000000,1\n1700000060.5,2\n", "1700000000,1,0.000,0\n1700000060.5,2,0.000,0\n", 0},
		{"forms mixed", "timestamp,value\n1700000000,1\n2024-01-01 00:00:00,2\n", "1700000000,1,0.000,0\n2024-01-01 00:00:00,2,0.000,0\n", 0},
		{"other case, order and columns", "Label,Value,TimeStamp,x\n0,7,2024-01-01 00:00:00,\n", "2024-01-01 00:00:00,7,0.000,0\n", 0},
		{"quotes, mark and carriage returns", "\xef\xbb\xbf\"TimeStamp\",\"Value\"\r\n\"2024-01-01 00:00:00\",\"7\"\r\n", "2024-01-01 00:00:00,7,0.000,0\n", 0},
		{"gaps", "timestamp,value\n1700000000,\n1700000001,NaN\n1700000002,null\n1700000003,1e999\n", "1700000000,,0.000,0\n1700000001,NaN,0.000,0\n1700000002,null,0.000,0\n1700000003,1e999,0.000,0\n", 4},
		{"no row", "timestamp,value\n", "", 0},
		{"no last line end", "timestamp,value\n1700000000,1", "1700000000,1,0.000,0\n", 0},
		{"spaces", "timestamp, value\n 1700000000, 1\n", "\" 1700000000\",\" 1\",0.000,0\n", 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			out, sum := detect(t, c.in)
			if diff := cmp.Diff(heading+c.want, out); diff != "" {
				t.Error(diff)
			}
			if sum.Gaps != c.gaps || sum.Rows != strings.Count(c.want, "\n") {
				t.Errorf("%d rows, %d gaps, want %d and %d", sum.Rows, sum.Gaps, strings.Count(c.want, "\n"), c.gaps)
			}
		})
	}
}

func TestDetectNamesTheFault(t *testing.T) {
	head := "timestamp,value\n1700000000,1\n"
	for _, c := range []struct{ name, in, want string }{
		{"number", head + "1700000060,fast\n", `line 3: "fast" is not a number; allowed: a decimal number, or nothing for a gap`},
		{"time", head + "yesterday,1\n", `line 3: "yesterday" is not a time; allowed: 2006-01-02 15:04:05 with or without a fraction, RFC 3339, or Unix seconds, in the years 1700 to 2200`},
		{"milliseconds", head + "1700000000000,1\n", `line 3: "1700000000000" is not a time`},
		{"year", head + "9999-01-01 00:00:00,1\n", `line 3: "9999-01-01 00:00:00" is not a time`},
		{"fraction with a sign", head + "1700000000.-5,1\n", `line 3: "1700000000.-5" is not a time`},
		{"empty time", head + ",1\n", `line 3: "" is not a time`},
		{"short row", head + "\n1700000060\n", "line 4: the row has 1 columns; allowed: at least 2, as the header has"},
		{"quote", head + "\"1700000060,1\n", "line 3: extraneous or missing"},
		{"long field", head + "1700000060," + strings.Repeat("x", 500) + "\n", `line 3: "` + strings.Repeat("x", 60) + `..." is not a number`},
		{"no header", "1700000000,1\n", "line 1: no columns timestamp and value; allowed: a first line that names"},
		{"no value", "timestamp,latency\n", "line 1: no columns timestamp and value"},
		{"twice", "value,timestamp,Value\n", `line 1: column "Value" stands there twice`},
		{"empty", "", "line 1: the first line is empty"},
		{"bare quote in header", "\"timestamp,value\n", "line 1: the first line is not CSV"},
		{"endless first line", strings.Repeat("x", 1<<20), "line 1: the first line is too long"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := series.Detect(strings.NewReader(c.in), io.Discard, detectors.DefaultStreamConfig())
			var fault *series.FileError
			if !errors.As(err, &fault) {
				t.Fatalf("error %v, want a FileError", err)
			}
			if !strings.HasPrefix(err.Error(), c.want) {
				t.Errorf("got  %q\nwant %q...", err, c.want)
			}
			if isHeader := strings.HasPrefix(c.want, "line 1:"); errors.Is(err, series.ErrNotSeries) != isHeader {
				t.Errorf("is no series: %t, want %t", !isHeader, isHeader)
			}
		})
	}
}

func TestName(t *testing.T) {
	_, err := series.Detect(strings.NewReader("timestamp,value\nx,1\n"), io.Discard, detectors.DefaultStreamConfig())
	err = series.Name(fmt.Errorf("detect: %w", err), "a/b.csv")
	var fault *series.FileError
	if !errors.As(err, &fault) || !strings.HasPrefix(fault.Error(), "a/b.csv:2: ") {
		t.Errorf("got %v, want a/b.csv:2 in it", err)
	}
	if other := series.Name(io.EOF, "a"); !errors.Is(other, io.EOF) {
		t.Errorf("another error became %v", other)
	}
}

func TestDetectPassesOnReadAndWriteErrors(t *testing.T) {
	boom := errors.New("boom")
	for _, in := range []io.Reader{
		iotest.ErrReader(boom),
		io.MultiReader(strings.NewReader("timestamp,value\n1700000000,1\n"), iotest.ErrReader(boom)),
	} {
		if _, err := series.Detect(in, io.Discard, detectors.DefaultStreamConfig()); !errors.Is(err, boom) {
			t.Errorf("read error: got %v", err)
		}
	}
	if _, err := series.Detect(strings.NewReader("timestamp,value\n"), failing{boom}, detectors.DefaultStreamConfig()); !errors.Is(err, boom) {
		t.Errorf("write error: got %v", err)
	}
}

type failing struct{ err error }

func (f failing) Write([]byte) (int, error) { return 0, f.err }

// steady is a series of n minutes with noise that repeats, and a value that is
// off from minute at on for a quarter of an hour.
func steady(n, at int) string {
	var b strings.Builder
	b.WriteString("timestamp,value\n")
	start := time.Date(2024, 1, 1, 0, 0, 0, 0, time.UTC)
	for i := range n {
		v := 100 + 2*math.Sin(float64(i*i))
		if i >= at && i < at+15 {
			v = 500
		}
		fmt.Fprintf(&b, "%s,%.3f\n", start.Add(time.Duration(i)*time.Minute).Format(time.DateTime), v)
	}
	return b.String()
}

func TestDetectSummary(t *testing.T) {
	out, sum := detect(t, steady(600, 500))
	want := series.Summary{
		Rows:      600,
		First:     time.Date(2024, 1, 1, 0, 0, 0, 0, time.UTC),
		Last:      time.Date(2024, 1, 1, 9, 59, 0, 0, time.UTC),
		Highest:   sum.Highest,
		HighestAt: "2024-01-01 08:20:00",
		Alarms: []series.Alarm{{
			Onset:    time.Date(2024, 1, 1, 8, 20, 0, 0, time.UTC),
			From:     "2024-01-01 08:22:00",
			To:       "2024-01-01 08:36:00",
			Value:    500,
			Expected: sum.Alarms[0].Expected,
			Scale:    sum.Alarms[0].Scale,
			Reason:   detectors.ReasonAbove,
		}},
	}
	if diff := cmp.Diff(want, sum); diff != "" {
		t.Error(diff)
	}
	if a := sum.Alarms[0]; sum.Highest < .5 || math.Abs(a.Expected-100) > 2 || math.Abs(a.Scale-5) > .1 {
		t.Errorf("highest score %g, expected %g, scale %g, want above .5, about 100 and 5", sum.Highest, a.Expected, a.Scale)
	}
	marked := 0
	for line := range strings.Lines(out) {
		if strings.HasSuffix(line, ",1\n") {
			marked++
		}
	}
	if marked != 15 {
		t.Errorf("%d rows marked, want 15", marked)
	}
}

// TestDetectSeesThePastOnly: what comes later changes no row before it.
func TestDetectSeesThePastOnly(t *testing.T) {
	whole, _ := detect(t, steady(600, 500))
	for _, rows := range []int{1, 19, 20, 21, 499, 501, 503, 599} {
		lines := strings.SplitAfter(steady(600, 500), "\n")
		part, _ := detect(t, strings.Join(lines[:rows+1], ""))
		if !strings.HasPrefix(whole, part) {
			t.Errorf("the first %d rows read otherwise alone", rows)
		}
	}
}

func TestDetectTakesRowsOutOfOrder(t *testing.T) {
	_, sum := detect(t, "timestamp,value\n1700000060,1\n1700000000,2\n1700000000,3\n1700000120,4\n")
	if sum.Disordered != 2 || !sum.First.Equal(time.Unix(1700000000, 0)) || !sum.Last.Equal(time.Unix(1700000120, 0)) {
		t.Errorf("%+v, want two rows out of order and the true ends", sum)
	}
}

func TestWalk(t *testing.T) {
	good := "timestamp,value\n1700000000,1\n"
	fsys := fstest.MapFS{
		"b/two.csv":       {Data: []byte(good)},
		"a.csv":           {Data: []byte(good)},
		"b/notes.json":    {Data: []byte("{\n}\n")},
		"b/link.csv":      {Mode: fs.ModeSymlink, Data: []byte("a.csv")},
		"c/bad.csv":       {Data: []byte("timestamp,value\n1700000000,x\n")},
		"d/empty.csv":     {},
		"e/deep/last.csv": {Data: []byte(good)},
	}
	var created []string
	files, err := series.Walk(context.Background(), fsys, func(path string) (io.WriteCloser, error) {
		created = append(created, path)
		return &sink{}, nil
	}, detectors.DefaultStreamConfig())
	if err == nil || err.Error() != `c/bad.csv:2: "x" is not a number; allowed: a decimal number, or nothing for a gap` {
		t.Errorf("error %v", err)
	}
	if diff := cmp.Diff([]string{"a.csv", "b/two.csv", "e/deep/last.csv"}, created); diff != "" {
		t.Error(diff)
	}
	var got []string
	for _, f := range files {
		got = append(got, fmt.Sprintf("%s %d %s", f.Path, f.Summary.Rows, f.Skipped))
	}
	want := []string{
		"a.csv 1 ",
		"b/link.csv 0 not a regular file",
		"b/notes.json 0 no columns timestamp and value",
		"b/two.csv 1 ",
		"c/bad.csv 0 has a fault",
		"d/empty.csv 0 the first line is empty",
		"e/deep/last.csv 1 ",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestWalkStops(t *testing.T) {
	fsys := fstest.MapFS{
		"a.csv": {Data: []byte("timestamp,value\n")},
		"b.csv": {Data: []byte("timestamp,value\n")},
		"c.csv": {Data: []byte("timestamp,value\n")},
	}
	cfg := detectors.DefaultStreamConfig()
	ctx, cancel := context.WithCancel(context.Background())
	files, err := series.Walk(ctx, fsys, func(string) (io.WriteCloser, error) {
		cancel()
		return &sink{}, nil
	}, cfg)
	if !errors.Is(err, context.Canceled) || len(files) != 1 {
		t.Errorf("%d files and %v after an end of the context, want 1", len(files), err)
	}
	boom := errors.New("disk full")
	for name, create := range map[string]func(string) (io.WriteCloser, error){
		"create": func(string) (io.WriteCloser, error) { return nil, boom },
		"write":  func(string) (io.WriteCloser, error) { return brokenSink{Writer: failing{boom}}, nil },
		"close":  func(string) (io.WriteCloser, error) { return brokenSink{err: boom, Writer: io.Discard}, nil },
	} {
		files, err := series.Walk(context.Background(), fsys, create, cfg)
		if !errors.Is(err, boom) || len(files) != 0 || !strings.Contains(err.Error(), "scores of a.csv") {
			t.Errorf("%s: %d files and %v", name, len(files), err)
		}
	}
	if _, err := series.Walk(context.Background(), noFiles{boom}, nil, cfg); !errors.Is(err, boom) {
		t.Errorf("no list: %v", err)
	}
}

type brokenSink struct {
	io.Writer
	err error
}

func (b brokenSink) Close() error { return b.err }

type noFiles struct{ err error }

func (n noFiles) Open(string) (fs.File, error) { return nil, n.err }

// FuzzDetect: any file gives either one fault or as many rows as it has, each
// with its texts, a score of 0 to 1 and an alarm of 0 or 1.
func FuzzDetect(f *testing.F) {
	f.Add([]byte(steady(30, 25)))
	f.Add([]byte("\xef\xbb\xbfTimeStamp,Value\r\n2024-01-01T00:00:00Z,\r\n"))
	f.Add([]byte("timestamp,value\n1700000000.5,1e400\n-1,nan\n"))
	f.Add([]byte("timestamp,value\n\"a\nb\",1\n"))
	f.Fuzz(func(t *testing.T, in []byte) {
		var out bytes.Buffer
		sum, err := series.Detect(bytes.NewReader(in), &out, detectors.DefaultStreamConfig())
		if err != nil {
			var fault *series.FileError
			if !errors.As(err, &fault) || fault.Line < 1 {
				t.Fatalf("error %v is no FileError with a line", err)
			}
			return
		}
		rows := table(t, out.Bytes())
		if len(rows) != sum.Rows {
			t.Fatalf("%d rows in, %d out", sum.Rows, len(rows))
		}
		for _, row := range rows {
			if len(row) != 4 || row[2] < "0.000" || row[2] > "1.000" || !slices.Contains([]string{"0", "1"}, row[3]) {
				t.Fatalf("row %q", row)
			}
		}
	})
}

func BenchmarkDetect(b *testing.B) {
	in := steady(10000, 9000)
	b.ReportAllocs()
	b.SetBytes(int64(len(in)))
	for b.Loop() {
		if _, err := series.Detect(strings.NewReader(in), io.Discard, detectors.DefaultStreamConfig()); err != nil {
			b.Fatal(err)
		}
	}
}
