package sources

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/api"
	promv1 "github.com/prometheus/client_golang/api/prometheus/v1"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/model"

	"github.com/sreagent/sreagent/sre"
)

var t0 = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// fleet is a fake Prometheus: the answer to each query is a function of time.
type fleet struct {
	*httptest.Server

	mu      sync.Mutex
	answers map[string]func(at time.Time) model.Vector
	broken  map[string]http.HandlerFunc // answers that are not a vector
	before  func(query string)          // called before an instant query is answered
	asked   []string
	ranges  []span
}

type span struct {
	query      string
	start, end float64
	step       float64
}

func newFleet(t testing.TB) *fleet {
	t.Helper()
	f := newOfflineFleet()
	f.Server = httptest.NewServer(f.handler())
	t.Cleanup(f.Close)
	return f
}

// newOfflineFleet makes a fake Prometheus without a socket, for tests in which
// time stands still.
func newOfflineFleet() *fleet {
	return &fleet{answers: map[string]func(time.Time) model.Vector{}, broken: map[string]http.HandlerFunc{}}
}

func (f *fleet) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/api/v1/query", f.instant)
	mux.HandleFunc("/api/v1/query_range", f.spanned)
	return mux
}

// answerFor makes a source ask this fleet without a socket.
func (f *fleet) answerFor(t *testing.T, s *Source) {
	t.Helper()
	client, err := api.NewClient(api.Config{Address: "http://offline:1", RoundTripper: offline{f.handler()}})
	if err != nil {
		t.Fatal(err)
	}
	s.store.api = promv1.NewAPI(client)
}

// offline is a transport that calls a handler.
type offline struct{ handler http.Handler }

func (o offline) RoundTrip(r *http.Request) (*http.Response, error) {
	w := httptest.NewRecorder()
	o.handler.ServeHTTP(w, r)
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	return w.Result(), nil
}

// set makes a query answer the same vector at all times.
func (f *fleet) set(query string, v model.Vector) {
	f.setAt(query, func(time.Time) model.Vector { return v })
}

func (f *fleet) setAt(query string, answer func(time.Time) model.Vector) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.answers[query] = answer
	delete(f.broken, query)
}

func (f *fleet) breakWith(query string, h http.HandlerFunc) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.broken[query] = h
}

func (f *fleet) takeAsked() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	out := f.asked
	f.asked = nil
	slices.Sort(out)
	return out
}

func (f *fleet) instant(w http.ResponseWriter, r *http.Request) {
	query := r.FormValue("query")
	f.mu.Lock()
	f.asked = append(f.asked, query)
	answer, broken, before := f.answers[query], f.broken[query], f.before
	f.mu.Unlock()
	if before != nil {
		before(query)
	}
	if broken != nil {
		broken(w, r)
		return
	}
	var v model.Vector
	if answer != nil {
		v = answer(parseTime(r.FormValue("time")))
	}
	respond(w, "vector", v)
}

func (f *fleet) spanned(w http.ResponseWriter, r *http.Request) {
	s := span{query: r.FormValue("query")}
	s.start, _ = strconv.ParseFloat(r.FormValue("start"), 64)
	s.end, _ = strconv.ParseFloat(r.FormValue("end"), 64)
	s.step, _ = strconv.ParseFloat(r.FormValue("step"), 64)
	f.mu.Lock()
	f.ranges = append(f.ranges, s)
	answer, broken := f.answers[s.query], f.broken[s.query]
	f.mu.Unlock()
	if broken != nil {
		broken(w, r)
		return
	}
	matrix := map[string]*model.SampleStream{}
	start, end := parseTime(r.FormValue("start")), parseTime(r.FormValue("end"))
	step := time.Duration(math.Round(s.step*1000)) * time.Millisecond
	for at := start; !at.After(end) && answer != nil; at = at.Add(step) {
		for _, v := range answer(at) {
			key := v.Metric.String()
			if matrix[key] == nil {
				matrix[key] = &model.SampleStream{Metric: v.Metric}
			}
			matrix[key].Values = append(matrix[key].Values, model.SamplePair{Timestamp: model.TimeFromUnixNano(at.UnixNano()), Value: v.Value})
		}
	}
	out := make(model.Matrix, 0, len(matrix))
	for _, s := range matrix { // any order: the reader must not care
		out = append(out, s)
	}
	respond(w, "matrix", out)
}

func parseTime(text string) time.Time {
	seconds, _ := strconv.ParseFloat(text, 64)
	return time.UnixMilli(int64(math.Round(seconds * 1000))).UTC()
}

func respond(w http.ResponseWriter, kind string, v any) {
	result, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	if string(result) == "null" {
		result = []byte("[]")
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = fmt.Fprintf(w, `{"status":"success","data":{"resultType":%q,"result":%s}}`, kind, result)
}

// byService makes a vector with one sample per pair of service and value.
func byService(pairs ...any) model.Vector {
	var v model.Vector
	for i := 0; i < len(pairs); i += 2 {
		v = append(v, point(toFloat(pairs[i+1]), "service", pairs[i].(string)))
	}
	return v
}

// byEdge makes a vector with one sample per client, server and value.
func byEdge(triples ...any) model.Vector {
	var v model.Vector
	for i := 0; i < len(triples); i += 3 {
		v = append(v, point(toFloat(triples[i+2]), "client", triples[i].(string), "server", triples[i+1].(string)))
	}
	return v
}

func point(value float64, labels ...string) *model.Sample {
	m := model.Metric{}
	for i := 0; i < len(labels); i += 2 {
		m[model.LabelName(labels[i])] = model.LabelValue(labels[i+1])
	}
	return &model.Sample{Metric: m, Value: model.SampleValue(value)}
}

func toFloat(v any) float64 {
	if n, ok := v.(int); ok {
		return float64(n)
	}
	return v.(float64)
}

func serviceSignal(name string) SignalQuery {
	return SignalQuery{Name: name, Kind: sre.Traffic, Query: name, Unit: sre.PerSecond}
}

func edgeSignal(name string) SignalQuery {
	return SignalQuery{Name: name, Kind: sre.Traffic, Query: name, Unit: sre.PerSecond, ClientLabel: "client", ServerLabel: "server"}
}

func configFor(url string, signals ...SignalQuery) Config {
	cfg := DefaultConfig()
	cfg.Prometheus.URL = url
	cfg.Prometheus.Timeout = model.Duration(time.Minute) // where it is not the subject, nothing runs into it
	cfg.Signals.Custom = signals
	return cfg
}

// newSource makes a source whose clock stands still.
func newSource(t testing.TB, cfg Config, edit ...func(*Options)) *Source {
	t.Helper()
	o := Options{Registerer: prometheus.NewRegistry(), Now: func() time.Time { return t0 }, Interval: 15 * time.Second}
	for _, e := range edit {
		e(&o)
	}
	s, err := New(cfg, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

func observe(t testing.TB, s *Source, at time.Time) *sre.Snapshot {
	t.Helper()
	snap, err := s.Observe(context.Background(), at)
	if err != nil {
		t.Fatal(err)
	}
	return snap
}

// render writes a snapshot as text, byte for byte the same for the same
// content.
func render(t testing.TB, snap *sre.Snapshot) string {
	t.Helper()
	matrix := func(m sre.Matrix) any {
		cells := make([]string, len(m.Values))
		for i := range m.Values {
			cells[i] = fmt.Sprintf("%x/%s", math.Float64bits(m.Values[i]), m.States[i])
		}
		return cells
	}
	text, err := json.Marshal([]any{snap.At, snap.Interval, snap.Graph.Services, snap.Graph.Edges, snap.Signals, snap.EdgeSignals,
		matrix(snap.Service), matrix(snap.Edge), snap.Changes, snap.Health})
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// reading is the named service's reading of the named signal.
func reading(t testing.TB, snap *sre.Snapshot, signal, service string) sre.Reading {
	t.Helper()
	i, ok := snap.Graph.Index(service)
	if !ok {
		t.Fatalf("service %s is not in the graph", service)
	}
	for row, s := range snap.Signals {
		if s.Name == signal {
			return snap.Service.At(row, i)
		}
	}
	t.Fatalf("no signal %s", signal)
	return sre.Reading{}
}

func edgeReading(t testing.TB, snap *sre.Snapshot, signal, from, to string) sre.Reading {
	t.Helper()
	f, ok := snap.Graph.Index(from)
	d, ok2 := snap.Graph.Index(to)
	e, ok3 := 0, false
	if ok && ok2 {
		e, ok3 = snap.Graph.EdgeIndex(f, d)
	}
	if !ok3 {
		t.Fatalf("edge %s -> %s is not in the graph", from, to)
	}
	for row, s := range snap.EdgeSignals {
		if s.Name == signal {
			return snap.Edge.At(row, e)
		}
	}
	t.Fatalf("no edge signal %s", signal)
	return sre.Reading{}
}

func canned(v model.Vector) []byte {
	w := httptest.NewRecorder()
	respond(w, "vector", v)
	return w.Body.Bytes()
}
