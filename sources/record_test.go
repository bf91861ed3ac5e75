package sources

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/common/model"
	"pgregory.net/rapid"

	"github.com/sreagent/sreagent/sre"
)

// vault is a fake Prometheus that holds raw samples. It answers range selectors
// over a metric's name, as instant queries.
type vault struct {
	*httptest.Server

	closedRanges bool // as Prometheus 2 has them

	mu     sync.Mutex
	series []Series
	asked  []stretchAsked
	fail   func(n int, a stretchAsked, w http.ResponseWriter) bool // n counts all requests from 1
}

// stretchAsked is one query that came.
type stretchAsked struct {
	selector string
	at       int64
	size     time.Duration
}

var rangeSelector = regexp.MustCompile(`^(.*)\[(\d+)ms\]$`)

func newVault(t testing.TB, series ...Series) *vault {
	t.Helper()
	v := &vault{series: series}
	v.Server = httptest.NewServer(v)
	t.Cleanup(v.Close)
	return v
}

func (v *vault) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	parts := rangeSelector.FindStringSubmatch(r.FormValue("query"))
	if parts == nil {
		http.Error(w, "unexpected query "+r.FormValue("query"), http.StatusTeapot)
		return
	}
	ms, _ := strconv.ParseInt(parts[2], 10, 64)
	a := stretchAsked{selector: parts[1], at: parseTime(r.FormValue("time")).UnixMilli(), size: time.Duration(ms) * time.Millisecond}
	v.mu.Lock()
	v.asked = append(v.asked, a)
	n, fail := len(v.asked), v.fail
	v.mu.Unlock()
	if fail != nil && fail(n, a, w) {
		return
	}
	respond(w, "matrix", v.between(a))
}

func (v *vault) between(a stretchAsked) model.Matrix {
	out := model.Matrix{}
	name, matcher, _ := strings.Cut(strings.TrimSuffix(a.selector, "}"), "{")
	for _, s := range v.series {
		if string(s.Metric[model.MetricNameLabel]) != name || matcher != "" && !strings.Contains(s.Metric.String(), matcher) {
			continue
		}
		stream := &model.SampleStream{Metric: s.Metric}
		for _, p := range s.Samples {
			ts, low := int64(p.Timestamp), a.at-a.size.Milliseconds()
			if ts <= a.at && (ts > low || v.closedRanges && ts == low) {
				stream.Values = append(stream.Values, p)
			}
		}
		if len(stream.Values) > 0 {
			out = append(out, stream)
		}
	}
	return out
}

func (v *vault) sizes() []time.Duration {
	v.mu.Lock()
	defer v.mu.Unlock()
	out := make([]time.Duration, len(v.asked))
	for i, a := range v.asked {
		out[i] = a.size
	}
	return out
}

// seriesOf makes a series with a sample every so many milliseconds from t0 on.
func seriesOf(n int, every int64, labels ...string) Series {
	s := Series{Metric: point(0, labels...).Metric}
	for i := range n {
		s.Samples = append(s.Samples, model.SamplePair{
			Timestamp: model.Time(t0.UnixMilli() + int64(i)*every), Value: model.SampleValue(float64(i) * 1.1),
		})
	}
	return s
}

// newRecorder makes a recorder that does not wait, and notes how long it would.
func newRecorder(t testing.TB, url string, edit ...func(*PrometheusConfig)) (*Recorder, *[]time.Duration) {
	t.Helper()
	cfg := DefaultConfig().Prometheus
	cfg.URL, cfg.Timeout = url, model.Duration(time.Minute)
	for _, e := range edit {
		e(&cfg)
	}
	var mu sync.Mutex
	waits := &[]time.Duration{}
	r, err := NewRecorder(cfg, RecorderOptions{Pause: func(ctx context.Context, d time.Duration) error {
		mu.Lock()
		defer mu.Unlock()
		*waits = append(*waits, d)
		return ctx.Err()
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Close)
	return r, waits
}

func TestEverySampleIsReadOnceInBothKindsOfRange(t *testing.T) {
	// Samples stand on the borders of the chunks, one before and one after.
	up := seriesOf(121, 1000, "__name__", "up", "job", "api")
	odd := Series{Metric: point(0, "__name__", "up", "job", `q"uo\te`).Metric}
	for i, value := range []float64{math.Inf(1), math.Inf(-1), 5e-324, math.MaxFloat64, 0.1 + 0.2, math.Copysign(0, -1)} {
		odd.Samples = append(odd.Samples, model.SamplePair{Timestamp: model.Time(t0.UnixMilli() + 19_999 + int64(i)), Value: model.SampleValue(value)})
	}
	for _, closed := range []bool{false, true} {
		v := newVault(t, up, odd, seriesOf(5, 1000, "__name__", "other"))
		v.closedRanges = closed
		r, _ := newRecorder(t, v.URL)
		var got []Series
		for from := t0; from.Before(t0.Add(2 * time.Minute)); from = from.Add(20 * time.Second) {
			// The second selector selects again what the first one does.
			read, err := r.Read(t.Context(), []string{"up", `up{job="api"}`}, from, from.Add(20*time.Second))
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, read...)
		}
		want := []Series{{up.Metric, up.Samples[:120]}, odd}
		if diff := cmp.Diff(bits(want), bits(merge(got))); diff != "" {
			t.Errorf("closed ranges %v (-want +got):\n%s", closed, diff)
		}
		if n := count(got); n != 126 {
			t.Errorf("closed ranges %v: %d samples were returned in all, want 126", closed, n)
		}
	}
}

// bits shows samples so that two zeros and all NaNs differ.
func bits(series []Series) []string {
	var out []string
	for _, s := range series {
		for _, p := range s.Samples {
			out = append(out, fmt.Sprintf("%s %d %x", s.Metric, p.Timestamp, math.Float64bits(float64(p.Value))))
		}
	}
	return out
}

func count(series []Series) int {
	n := 0
	for _, s := range series {
		n += len(s.Samples)
	}
	return n
}

func TestAnAnswerThatIsTooMuchIsAskedForInPieces(t *testing.T) {
	tooMany := func(w http.ResponseWriter) {
		w.WriteHeader(http.StatusUnprocessableEntity)
		_, _ = fmt.Fprint(w, `{"status":"error","errorType":"execution","error":"query processing would load too many samples into memory in query execution"}`)
	}
	for name, refuse := range map[string]func(http.ResponseWriter){
		"too many samples": tooMany,
		"too many bytes": func(w http.ResponseWriter) {
			blank := []byte(strings.Repeat(" ", 1<<20))
			for range maxAnswer>>20 + 1 {
				_, _ = w.Write(blank)
			}
		},
		"its own time limit": func(w http.ResponseWriter) {
			w.WriteHeader(http.StatusServiceUnavailable)
			_, _ = fmt.Fprint(w, `{"status":"error","errorType":"timeout","error":"query timed out in expression evaluation"}`)
		},
	} {
		t.Run(name, func(t *testing.T) {
			up := seriesOf(600, 1000, "__name__", "up")
			v := newVault(t, up)
			v.fail = func(_ int, a stretchAsked, w http.ResponseWriter) bool {
				if a.size <= 200*time.Second {
					return false
				}
				refuse(w)
				return true
			}
			r, _ := newRecorder(t, v.URL)
			got, err := r.Read(t.Context(), []string{"up"}, t0, t0.Add(10*time.Minute))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff([]Series{up}, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			// What was learned holds for the next chunk.
			before := len(v.sizes())
			if _, err := r.Read(t.Context(), []string{"up"}, t0, t0.Add(5*time.Minute)); err != nil {
				t.Fatal(err)
			}
			if sizes := v.sizes()[before:]; sizes[0] != 150*time.Second {
				t.Errorf("the next chunk began with pieces of %v", sizes)
			}
		})
	}
}

func TestPiecesGrowAgain(t *testing.T) {
	v := newVault(t, seriesOf(3600, 1000, "__name__", "up"))
	v.fail = func(n int, _ stretchAsked, w http.ResponseWriter) bool {
		if n > 4 {
			return false
		}
		w.WriteHeader(http.StatusUnprocessableEntity)
		_, _ = fmt.Fprint(w, `{"status":"error","errorType":"execution","error":"too many samples"}`)
		return true
	}
	r, _ := newRecorder(t, v.URL)
	got, err := r.Read(t.Context(), []string{"up"}, t0, t0.Add(time.Hour))
	if err != nil || count(got) != 3600 {
		t.Fatalf("%d samples, %v", count(got), err)
	}
	sizes := v.sizes()
	if last := sizes[len(sizes)-1]; slices.Min(sizes) != 225*time.Second || last != 450*time.Second {
		t.Errorf("pieces: %v", sizes)
	}
}

func TestATooLargeSecondIsAnError(t *testing.T) {
	v := newVault(t)
	v.fail = func(_ int, _ stretchAsked, w http.ResponseWriter) bool {
		w.WriteHeader(http.StatusUnprocessableEntity)
		_, _ = fmt.Fprint(w, `{"status":"error","errorType":"execution","error":"query processing would load too many samples into memory in query execution"}`)
		return true
	}
	r, waits := newRecorder(t, v.URL)
	_, err := r.Read(t.Context(), []string{"up"}, t0, t0.Add(time.Hour))
	if err == nil || !strings.Contains(err.Error(), "read up at 2026-03-01T12:00:00Z, 1s at once: execution: query processing would load too many samples") {
		t.Errorf("err = %v", err)
	}
	if n := len(v.sizes()); n != 13 || len(*waits) != 0 {
		t.Errorf("%d requests and %d pauses, want 13 halvings and none", n, len(*waits))
	}
}

func TestWhatMayPassIsTriedAgain(t *testing.T) {
	status := func(code int) func(http.ResponseWriter) {
		return func(w http.ResponseWriter) { http.Error(w, "trouble", code) }
	}
	cut := func(w http.ResponseWriter) {
		w.Header().Set("Content-Length", "1000")
		_, _ = w.Write([]byte(`{"status":"success",`))
	}
	for name, c := range map[string]struct {
		answer func(http.ResponseWriter)
		asked  int // before it is given up
	}{
		"bad gateway":         {status(http.StatusBadGateway), 6},
		"service unavailable": {status(http.StatusServiceUnavailable), 6},
		"too many requests":   {status(http.StatusTooManyRequests), 6},
		"cut answer":          {cut, 6},
		"unauthorized":        {status(http.StatusUnauthorized), 1},
		"not found":           {status(http.StatusNotFound), 1},
		"bad query": {func(w http.ResponseWriter) {
			w.WriteHeader(http.StatusBadRequest)
			_, _ = fmt.Fprint(w, `{"status":"error","errorType":"bad_data","error":"parse error"}`)
		}, 1},
		"no JSON": {func(w http.ResponseWriter) { _, _ = fmt.Fprint(w, "<html>") }, 1},
		"a vector": {func(w http.ResponseWriter) {
			respond(w, "vector", model.Vector{})
		}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			up := seriesOf(60, 1000, "__name__", "up")
			v := newVault(t, up)
			v.fail = func(n int, _ stretchAsked, w http.ResponseWriter) bool {
				if n <= 3 {
					c.answer(w)
				}
				return n <= 3
			}
			r, waits := newRecorder(t, v.URL)
			got, err := r.Read(t.Context(), []string{"up"}, t0, t0.Add(time.Minute))
			if c.asked == 1 {
				if err == nil || len(v.sizes()) != 1 {
					t.Errorf("asked %d times, err %v; want one request and an error", len(v.sizes()), err)
				}
				return
			}
			if diff := cmp.Diff([]Series{up}, got); diff != "" || err != nil {
				t.Errorf("%v (-want +got):\n%s", err, diff)
			}
			if diff := cmp.Diff([]time.Duration{500 * time.Millisecond, time.Second, 2 * time.Second}, *waits); diff != "" {
				t.Errorf("pauses (-want +got):\n%s", diff)
			}
			v.fail = func(_ int, _ stretchAsked, w http.ResponseWriter) bool { c.answer(w); return true }
			before := len(v.sizes())
			if _, err := r.Read(t.Context(), []string{"up"}, t0, t0.Add(time.Minute)); err == nil || len(v.sizes())-before != c.asked {
				t.Errorf("asked %d times, err %v; want %d times and an error", len(v.sizes())-before, err, c.asked)
			}
		})
	}
}

func TestAStoreThatHangsIsGivenUp(t *testing.T) {
	v := newVault(t)
	over := make(chan struct{})
	v.fail = func(int, stretchAsked, http.ResponseWriter) bool { <-over; return true }
	t.Cleanup(func() { close(over) })
	r, _ := newRecorder(t, v.URL, func(c *PrometheusConfig) { c.Timeout = model.Duration(time.Millisecond) })
	_, err := r.Read(t.Context(), []string{"up"}, t0, t0.Add(time.Hour))
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("err = %v", err)
	}
	if n := len(v.sizes()); n > 2*recordAttempts {
		t.Errorf("asked %d times", n)
	}
}

func TestAnEndedContextEndsTheReading(t *testing.T) {
	v := newVault(t)
	ctx, cancel := context.WithCancelCause(t.Context())
	gone := errors.New("the user went home")
	v.fail = func(_ int, _ stretchAsked, w http.ResponseWriter) bool {
		cancel(gone)
		http.Error(w, "trouble", http.StatusBadGateway)
		return true
	}
	r, _ := newRecorder(t, v.URL)
	if _, err := r.Read(ctx, []string{"up"}, t0, t0.Add(time.Hour)); err == nil {
		t.Error("no error")
	}
	if n := len(v.sizes()); n != 1 {
		t.Errorf("asked %d times after the end", n)
	}
}

func TestNativeHistogramsAreLeftOutAndNamed(t *testing.T) {
	v := newVault(t)
	v.fail = func(_ int, _ stretchAsked, w http.ResponseWriter) bool {
		w.Header().Set("Content-Type", "application/json")
		_, _ = fmt.Fprint(w, `{"status":"success","data":{"resultType":"matrix","result":[
			{"metric":{"__name__":"h"},"histograms":[[1772366400,{"count":"1","sum":"1","buckets":[[0,"0","1","1"]]}]]},
			{"metric":{"__name__":"h","old":"1"},"values":[[1772366400,"1"]]}]}}`)
		return true
	}
	r, _ := newRecorder(t, v.URL)
	var said bytes.Buffer
	r.log = slog.New(slog.NewTextHandler(&said, nil))
	for range 2 {
		got, err := r.Read(t.Context(), []string{"h"}, t0, t0.Add(time.Minute))
		if err != nil || len(got) != 1 || got[0].Metric["old"] != "1" {
			t.Errorf("%v, %v", got, err)
		}
	}
	if text := said.String(); strings.Count(text, "left out") != 1 || !strings.Contains(text, "series=h") {
		t.Errorf("said %q", text)
	}
}

func TestARecorderWantsAGoodConfiguration(t *testing.T) {
	_, err := NewRecorder(PrometheusConfig{URL: "http://user:secret@host"}, RecorderOptions{})
	var faults sre.Faults
	if !errors.As(err, &faults) || strings.Contains(err.Error(), "secret") {
		t.Errorf("err = %v", err)
	}
}

// Whatever the samples, the chunks and the limit of the store are, what is read
// is what a dumb loop over the samples finds.
func TestWhatIsReadIsWhatIsThere(t *testing.T) {
	v := newVault(t)
	rapid.Check(t, func(t *rapid.T) {
		times := rapid.SliceOfDistinct(rapid.Int64Range(0, 100_000), rapid.ID[int64])
		v.series, v.asked = nil, nil
		for i := range rapid.IntRange(1, 3).Draw(t, "series") {
			s := Series{Metric: point(0, "__name__", "up", "n", strconv.Itoa(i)).Metric}
			for _, at := range slices.Sorted(slices.Values(times.Draw(t, "times"))) {
				s.Samples = append(s.Samples, model.SamplePair{Timestamp: model.Time(t0.UnixMilli() + at), Value: model.SampleValue(at)})
			}
			v.series = append(v.series, s)
		}
		v.closedRanges = rapid.Bool().Draw(t, "closed")
		limit := rapid.IntRange(20, 200).Draw(t, "limit")
		v.fail = func(_ int, a stretchAsked, w http.ResponseWriter) bool {
			n := 0
			for _, s := range v.between(a) {
				n += len(s.Values)
			}
			if n <= limit || a.size <= smallestPiece {
				return false
			}
			w.WriteHeader(http.StatusUnprocessableEntity)
			_, _ = fmt.Fprint(w, `{"status":"error","errorType":"execution","error":"too many samples"}`)
			return true
		}
		chunk := rapid.Int64Range(700, 120_000).Draw(t, "chunk")
		r, err := NewRecorder(func() PrometheusConfig { c := DefaultConfig().Prometheus; c.URL = v.URL; return c }(), RecorderOptions{})
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		got := map[string]float64{}
		for from := int64(10_000); from < 90_000; from += chunk {
			read, err := r.Read(context.Background(), []string{"up", `up{n="1"`}, t0.Add(time.Duration(from)*time.Millisecond), t0.Add(time.Duration(min(from+chunk, 90_000))*time.Millisecond))
			if err != nil {
				t.Fatal(err)
			}
			for _, s := range read {
				for _, p := range s.Samples {
					key := fmt.Sprint(s.Metric, p.Timestamp)
					if _, twice := got[key]; twice {
						t.Fatalf("%s twice", key)
					}
					got[key] = float64(p.Value)
				}
			}
		}
		want := map[string]float64{}
		for _, s := range v.series {
			for _, p := range s.Samples {
				if at := int64(p.Timestamp) - t0.UnixMilli(); at >= 10_000 && at < 90_000 {
					want[fmt.Sprint(s.Metric, p.Timestamp)] = float64(p.Value)
				}
			}
		}
		if !maps.Equal(want, got) {
			t.Fatalf("(-want +got):\n%s", cmp.Diff(want, got))
		}
	})
}
