package replay

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/common/model"
	"go.uber.org/goleak"
	"pgregory.net/rapid"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var t0 = time.Date(2021, 3, 4, 5, 6, 0, 0, time.UTC)

func openStore(t testing.TB, o StoreOptions) *Store {
	t.Helper()
	s, err := OpenStore(t.TempDir(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func metric(name string, pairs ...string) model.Metric {
	m := model.Metric{model.MetricNameLabel: model.LabelValue(name)}
	for i := 0; i < len(pairs); i += 2 {
		m[model.LabelName(pairs[i])] = model.LabelValue(pairs[i+1])
	}
	return m
}

func mustAppend(t testing.TB, s *Store, at time.Time, samples ...Sample) {
	t.Helper()
	if err := s.Append(at, samples); err != nil {
		t.Fatal(err)
	}
}

// vector writes an instant result as "{labels}=value" per line, sorted by the
// engine's own order for vectors, which tests make unique.
func vector(t testing.TB, s *Store, expr string, at time.Time) string {
	t.Helper()
	res, err := s.Query(context.Background(), expr, at)
	if err != nil {
		t.Fatalf("%s: %v", expr, err)
	}
	return res.Value.String()
}

func TestQueriesSeeWhatWasAppended(t *testing.T) {
	s := openStore(t, StoreOptions{})
	for i := range 31 {
		at := t0.Add(time.Duration(i) * time.Second)
		mustAppend(t, s, at,
			Sample{Metric: metric("requests_total", "service", "cart"), Value: float64(i * 4)},
			Sample{Metric: metric("requests_total", "service", "ledger"), Value: float64(i * 10)},
			Sample{Metric: metric("wait_seconds_bucket", "le", "0.1"), Value: float64(i)},
			Sample{Metric: metric("wait_seconds_bucket", "le", "0.2"), Value: float64(3 * i)},
			Sample{Metric: metric("wait_seconds_bucket", "le", "+Inf"), Value: float64(4 * i)},
		)
	}
	end := t0.Add(30 * time.Second)
	stamp := fmt.Sprintf(" @[%d]", end.Unix())
	for _, tc := range []struct{ name, expr, want string }{
		{"latest value", `requests_total{service="cart"}`, `requests_total{service="cart"} => 120` + stamp},
		{"rate of a counter", `rate(requests_total{service="cart"}[10s])`, `{service="cart"} => 4` + stamp},
		{"sum over services", `sum(rate(requests_total[10s]))`, `{} => 14` + stamp},
		{"quantile of a histogram", `histogram_quantile(0.75, rate(wait_seconds_bucket[10s]))`, `{} => 0.2` + stamp},
		{"offset", `requests_total{service="ledger"} offset 10s`, `requests_total{service="ledger"} => 200` + stamp},
		{"at modifier", fmt.Sprintf(`requests_total{service="ledger"} @ %d`, t0.Add(5*time.Second).Unix()), `requests_total{service="ledger"} => 50` + stamp},
		{"no series", `nothing_here`, ``},
		{"scalar", `scalar(vector(3))`, `scalar: 3` + stamp},
		{"string", `"hello"`, `hello`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if diff := cmp.Diff(tc.want, vector(t, s, tc.expr, end)); diff != "" {
				t.Errorf("%s (-want +got):\n%s", tc.expr, diff)
			}
		})
	}
}

func TestCounterResetIsNoDrop(t *testing.T) {
	s := openStore(t, StoreOptions{})
	for i, v := range []float64{10, 20, 5, 15} {
		mustAppend(t, s, t0.Add(time.Duration(i)*time.Second), Sample{Metric: metric("c_total"), Value: v})
	}
	at := t0.Add(3 * time.Second)
	if got := vector(t, s, `resets(c_total[10s])`, at); !strings.Contains(got, "=> 1 ") {
		t.Errorf("resets: got %q, want 1", got)
	}
	// 10 -> 20, reset, 0 -> 5 -> 15: an increase of 25 over the samples.
	res, err := s.Query(context.Background(), `increase(c_total[3s])`, at)
	if err != nil {
		t.Fatal(err)
	}
	if v := float64(res.Value.(model.Vector)[0].Value); v <= 0 {
		t.Errorf("increase over a reset: got %v, want above zero", v)
	}
}

// A subquery may leave its step to the server. The engine has no default of its
// own and would end the process.
func TestSubqueryWithoutStep(t *testing.T) {
	s := openStore(t, StoreOptions{})
	for i := range 10 {
		mustAppend(t, s, t0.Add(time.Duration(i)*30*time.Second), Sample{Metric: metric("a"), Value: float64(i % 2)})
	}
	at := t0.Add(270 * time.Second).Truncate(time.Minute)
	want := vector(t, s, "count_over_time(a[3m:1m])", at)
	if got := vector(t, s, "count_over_time(a[3m:])", at); got != want || !strings.Contains(got, "=> 3") {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestStaleness(t *testing.T) {
	s := openStore(t, StoreOptions{Lookback: 10 * time.Second})
	up, gone := metric("up", "service", "cart"), metric("up", "service", "ledger")
	mustAppend(t, s, t0, Sample{Metric: up, Value: 1}, Sample{Metric: gone, Value: 1})
	mustAppend(t, s, t0.Add(time.Second), Sample{Metric: gone, Stale: true})

	for _, tc := range []struct {
		after time.Duration
		want  int
	}{
		{0, 2},
		{999 * time.Millisecond, 2},
		{time.Second, 1},             // the marker ends a series at once
		{9999 * time.Millisecond, 1}, // the other is seen for the lookback
		{10 * time.Second, 0},
	} {
		res, err := s.Query(context.Background(), "up", t0.Add(tc.after))
		if err != nil {
			t.Fatal(err)
		}
		if got := len(res.Value.(model.Vector)); got != tc.want {
			t.Errorf("after %v: %d series, want %d", tc.after, got, tc.want)
		}
	}
	mustAppend(t, s, t0.Add(2*time.Second), Sample{Metric: gone, Value: 1})
	if got := vector(t, s, "count(up)", t0.Add(2*time.Second)); !strings.Contains(got, "=> 2 ") {
		t.Errorf("a series that came back: count %q, want 2", got)
	}
}

func TestAppendIsAllOrNone(t *testing.T) {
	s := openStore(t, StoreOptions{})
	a, b := metric("a"), metric("b")
	mustAppend(t, s, t0.Add(time.Minute), Sample{Metric: b, Value: 1})
	err := s.Append(t0, []Sample{{Metric: a, Value: 1}, {Metric: b, Value: 2}})
	if err == nil {
		t.Fatal("a sample older than its series was accepted")
	}
	if !strings.Contains(err.Error(), "append b") {
		t.Errorf("error %q does not name the series", err)
	}
	if got := vector(t, s, "a", t0.Add(time.Minute)); got != "" {
		t.Errorf("the refused batch left %q behind", got)
	}
	if got := s.Newest(); !got.Equal(t0.Add(time.Minute)) {
		t.Errorf("newest is %v after a refused batch", got)
	}
}

func TestReopenKeepsSamples(t *testing.T) {
	dir := t.TempDir()
	s, err := OpenStore(dir, StoreOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if !s.Newest().Equal(time.Unix(0, 0)) {
		t.Errorf("an empty store claims a sample at %v", s.Newest())
	}
	mustAppend(t, s, t0, Sample{Metric: metric("a"), Value: 7})
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s, err = OpenStore(dir, StoreOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	if !s.Newest().Equal(t0) || !s.Now().Equal(t0) {
		t.Errorf("newest %v, now %v, want %v", s.Newest(), s.Now(), t0)
	}
	if got := vector(t, s, "a", t0); !strings.Contains(got, "=> 7 ") {
		t.Errorf("after reopening: %q", got)
	}
}

func TestQueryErrorsAreTyped(t *testing.T) {
	s := openStore(t, StoreOptions{MaxSamples: 3})
	for i := range 5 {
		mustAppend(t, s, t0, Sample{Metric: metric("a", "i", fmt.Sprint(i)), Value: 1})
	}
	canceled, cancel := context.WithCancel(context.Background())
	cancel()
	late, cancelLate := context.WithDeadline(context.Background(), time.Unix(0, 0))
	defer cancelLate()
	for _, tc := range []struct {
		name string
		ctx  context.Context
		expr string
		want ErrorType
	}{
		{"syntax", context.Background(), "sum(", BadData},
		{"type", context.Background(), "rate(a)", BadData},
		{"too many samples", context.Background(), "a", Execution},
		{"many to many", context.Background(), `a{i=~"0|1"} + on() a{i=~"0|1"}`, Execution},
		{"caller gone", canceled, "a", Canceled},
		{"deadline", late, "a", TimedOut},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := s.Query(tc.ctx, tc.expr, t0)
			var q *QueryError
			if !errors.As(err, &q) {
				t.Fatalf("error %v is not a *QueryError", err)
			}
			if q.Type != tc.want {
				t.Errorf("type %q, want %q (%v)", q.Type, tc.want, err)
			}
		})
	}
}

func TestRangeIsChecked(t *testing.T) {
	s := openStore(t, StoreOptions{})
	for name, r := range map[string]Range{
		"no step":         {Start: t0, End: t0},
		"end first":       {Start: t0, End: t0.Add(-time.Second), Step: time.Second},
		"too many points": {Start: t0, End: t0.Add(11001 * time.Second), Step: time.Second},
	} {
		_, err := s.QueryRange(context.Background(), "1", r)
		var q *QueryError
		if !errors.As(err, &q) || q.Type != BadData {
			t.Errorf("%s: got %v, want bad_data", name, err)
		}
	}
	res, err := s.QueryRange(context.Background(), "1", Range{Start: t0, End: t0.Add(11000 * time.Second), Step: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	if got := len(res.Value.(model.Matrix)[0].Values); got != 11001 {
		t.Errorf("%d points, want both ends included", got)
	}
}

func TestClosedStoreRefuses(t *testing.T) {
	s, err := OpenStore(t.TempDir(), StoreOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Append(t0, nil); !errors.Is(err, ErrStoreClosed) {
		t.Errorf("append: %v", err)
	}
	if _, err := s.Query(context.Background(), "1", t0); !errors.Is(err, ErrStoreClosed) {
		t.Errorf("query: %v", err)
	}
	if _, err := s.QueryRange(context.Background(), "1", Range{t0, t0, time.Second}); !errors.Is(err, ErrStoreClosed) {
		t.Errorf("range query: %v", err)
	}
}

func TestOpenNamesTheDirectory(t *testing.T) {
	dir := "/dev/null/store"
	if _, err := OpenStore(dir, StoreOptions{}); err == nil || !strings.Contains(err.Error(), dir) {
		t.Errorf("got %v, want an error that names %s", err, dir)
	}
}

// Writers and readers at once; the race detector watches.
func TestConcurrentUse(t *testing.T) {
	s := openStore(t, StoreOptions{})
	const writers, rounds = 4, 50
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for i := range rounds {
				err := s.Append(t0.Add(time.Duration(i)*time.Second), []Sample{{Metric: metric("n", "w", fmt.Sprint(w)), Value: float64(i)}})
				if err != nil {
					t.Error(err)
				}
				if _, err := s.Query(context.Background(), "sum(n)", s.Now()); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	want := fmt.Sprintf("{} => %d @[%d]", writers*(rounds-1), s.Now().Unix())
	if got := vector(t, s, "sum(n)", s.Now()); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// The twin is a plain slice per series: a store must answer an instant query
// with the newest sample not older than the lookback, unless it is a marker.
func TestInstantQueryAgainstDumbTwin(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		const lookback = 5 * time.Second
		dir := t.TempDir()
		s, err := OpenStore(dir, StoreOptions{Lookback: lookback})
		if err != nil {
			rt.Fatal(err)
		}
		defer func() { _ = s.Close() }()
		type point struct {
			at    time.Time
			value float64
			stale bool
		}
		twin := map[string][]point{}
		at := t0
		for range rapid.IntRange(1, 12).Draw(rt, "steps") {
			at = at.Add(time.Duration(rapid.IntRange(1, 4000).Draw(rt, "gap_ms")) * time.Millisecond)
			for _, name := range []string{"a", "b"} {
				if !rapid.Bool().Draw(rt, "write "+name) {
					continue
				}
				p := point{at, float64(rapid.IntRange(-3, 3).Draw(rt, "value")), rapid.Bool().Draw(rt, "stale")}
				twin[name] = append(twin[name], p)
				if err := s.Append(at, []Sample{{Metric: metric("m", "s", name), Value: p.value, Stale: p.stale}}); err != nil {
					rt.Fatal(err)
				}
			}
		}
		ask := t0.Add(time.Duration(rapid.IntRange(0, int(at.Sub(t0).Milliseconds())+6000).Draw(rt, "ask_ms")) * time.Millisecond)
		want := map[string]float64{}
		for name, points := range twin {
			for _, p := range points {
				if p.at.After(ask) {
					break
				}
				delete(want, name)
				if !p.stale && p.at.After(ask.Add(-lookback)) {
					want[name] = p.value
				}
			}
		}
		res, err := s.Query(context.Background(), "m", ask)
		if err != nil {
			rt.Fatal(err)
		}
		got := map[string]float64{}
		for _, sample := range res.Value.(model.Vector) {
			got[string(sample.Metric["s"])] = float64(sample.Value)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			rt.Fatalf("at %v (-want +got):\n%s", ask.Sub(t0), diff)
		}
	})
}

func TestParseTimeAndDuration(t *testing.T) {
	for text, want := range map[string]time.Time{
		"1614834360":                t0,
		"1614834360.5":              t0.Add(500 * time.Millisecond),
		"2021-03-04T05:06:00Z":      t0,
		"2021-03-04T06:06:00+01:00": t0,
	} {
		got, err := parseTime(text)
		if err != nil || !got.Equal(want) {
			t.Errorf("parseTime(%q) = %v, %v; want %v", text, got, err, want)
		}
	}
	for _, text := range []string{"", "now", "NaN", "Inf", "1e300", "-1e300"} {
		if got, err := parseTime(text); err == nil {
			t.Errorf("parseTime(%q) = %v, want an error", text, got)
		}
	}
	for text, want := range map[string]time.Duration{"15": 15 * time.Second, "0.5": 500 * time.Millisecond, "1m30s": 90 * time.Second} {
		got, err := parseDuration(text)
		if err != nil || got != want {
			t.Errorf("parseDuration(%q) = %v, %v; want %v", text, got, err, want)
		}
	}
	for _, text := range []string{"", "soon", "NaN", "1e300"} {
		if got, err := parseDuration(text); err == nil {
			t.Errorf("parseDuration(%q) = %v, want an error", text, got)
		}
	}
}

func FuzzParseTime(f *testing.F) {
	for _, seed := range []string{"1614834360.123", "2021-03-04T05:06:00Z", "NaN", "-0", "1e9"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		at, err := parseTime(text)
		if err == nil && math.Abs(float64(at.Unix())) > maxUnixSeconds*2 {
			t.Errorf("parseTime(%q) = %v, out of range", text, at)
		}
	})
}

func BenchmarkAppend(b *testing.B) {
	s := openStore(b, StoreOptions{})
	samples := fleet(1000)
	b.ReportAllocs()
	at := t0
	for b.Loop() {
		at = at.Add(time.Second)
		if err := s.Append(at, samples); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkQueryRateOverFleet(b *testing.B) {
	s := openStore(b, StoreOptions{})
	for i := range 60 {
		if err := s.Append(t0.Add(time.Duration(i)*time.Second), fleet(1000)); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := s.Query(context.Background(), "sum by (service) (rate(x_total[30s]))", s.Now()); err != nil {
			b.Fatal(err)
		}
	}
}

func fleet(n int) []Sample {
	out := make([]Sample, n)
	for i := range out {
		out[i] = Sample{Metric: metric("x_total", "service", fmt.Sprintf("s%04d", i)), Value: float64(i)}
	}
	return out
}
