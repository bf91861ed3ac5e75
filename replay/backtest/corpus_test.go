package backtest

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/prometheus/common/model"

	"github.com/sreagent/sreagent/replay"
	"github.com/sreagent/sreagent/replay/bundle"
	"github.com/sreagent/sreagent/sre"
)

// tape is a recorded incident, evaluated into snapshots: all that a back-test
// needs, without the packages that read bundles.
type tape struct {
	incident  bundle.Incident
	snapshots []*sre.Snapshot
	changes   []sre.Change
}

// Observe returns the latest snapshot that is not after at.
func (t *tape) Observe(_ context.Context, at time.Time) (*sre.Snapshot, error) {
	i, found := slices.BinarySearchFunc(t.snapshots, at, func(s *sre.Snapshot, at time.Time) int { return s.At.Compare(at) })
	if !found {
		i--
	}
	if i < 0 {
		return nil, fmt.Errorf("nothing was recorded before %s", at)
	}
	return t.snapshots[i], nil
}

// History yields nothing: a recording has no past of its own.
func (t *tape) History(context.Context, time.Time, time.Time, time.Duration) iter.Seq2[*sre.Snapshot, error] {
	return func(func(*sre.Snapshot, error) bool) {}
}

// corpusDir is the folder of recorded incidents, or the end of the test.
func corpusDir(t testing.TB) string {
	dir := os.Getenv("SREAGENT_CORPUS")
	if dir == "" {
		t.Skip("SREAGENT_CORPUS is not set: no recorded incidents to test on")
	}
	return filepath.Join(dir, "bundles")
}

type tapeSignal struct {
	Name        string         `yaml:"name"`
	Kind        sre.SignalKind `yaml:"kind"`
	Query       string         `yaml:"query"`
	Unit        sre.Unit       `yaml:"unit"`
	ClientLabel string         `yaml:"client_label"`
	ServerLabel string         `yaml:"server_label"`
}

type tapeTopology struct {
	Edges []struct {
		From string `yaml:"from"`
		To   string `yaml:"to"`
	} `yaml:"edges"`
	Entries []string `yaml:"entries"`
}

// openTape reads a bundle of the corpus from the given time before its end.
func openTape(t testing.TB, dir string, last time.Duration) *tape {
	t.Helper()
	out := &tape{}
	var signals struct {
		Signals []tapeSignal `yaml:"signals"`
	}
	var topology tapeTopology
	readYAML(t, filepath.Join(dir, "incident.yaml"), &out.incident)
	readYAML(t, filepath.Join(dir, "signals.yaml"), &signals)
	readYAML(t, filepath.Join(dir, "topology.yaml"), &topology)
	out.changes = readChanges(t, filepath.Join(dir, "changes.jsonl"))
	step := time.Duration(out.incident.Interval)
	start := out.incident.Start
	if last > 0 {
		for out.incident.End.Sub(start) > last {
			start = start.Add(step)
		}
	}
	store, err := replay.OpenStore(t.TempDir(), replay.StoreOptions{Lookback: max(step+time.Second-time.Millisecond, 30*time.Second)})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	}()
	fill(t, store, filepath.Join(dir, "metrics.om.gz"), start.Add(-step))
	answers := make([]model.Matrix, len(signals.Signals))
	for i, s := range signals.Signals {
		for from := start; from.Before(out.incident.End); from = from.Add(10000 * step) {
			to := from.Add(9999 * step)
			if to.After(out.incident.End) {
				to = out.incident.End
			}
			res, err := store.QueryRange(t.Context(), s.Query, replay.Range{Start: from, End: to, Step: step})
			if err != nil {
				t.Fatal(err)
			}
			answers[i] = append(answers[i], res.Value.(model.Matrix)...)
		}
	}
	out.snapshots = snapshots(out.incident, start, signals.Signals, topology, answers)
	for _, c := range out.changes {
		for _, s := range out.snapshots {
			if !s.At.Before(c.At) {
				s.Changes = append(s.Changes, c)
				break
			}
		}
	}
	return out
}

func readYAML(t testing.TB, path string, into any) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.Unmarshal(text, into); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
}

func readChanges(t testing.TB, path string) []sre.Change {
	t.Helper()
	text, err := os.ReadFile(path)
	if os.IsNotExist(err) {
		return nil
	}
	if err != nil {
		t.Fatal(err)
	}
	var out []sre.Change
	for line := range strings.Lines(string(text)) {
		var c struct {
			ID      string
			At      time.Time
			Kind    sre.ChangeKind
			Service string
		}
		if err := yaml.Unmarshal([]byte(line), &c); err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		out = append(out, sre.Change{ID: c.ID, At: c.At, Kind: c.Kind, Service: c.Service})
	}
	return out
}

// fill appends the samples of a file from a time on, in the order of time.
func fill(t testing.TB, store *replay.Store, path string, from time.Time) {
	t.Helper()
	packed, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	z, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		t.Fatal(err)
	}
	byTime := map[int64][]replay.Sample{}
	known := map[string]model.Metric{}
	scan := bufio.NewScanner(z)
	for scan.Scan() {
		line := scan.Text()
		if strings.HasPrefix(line, "#") {
			continue
		}
		end := strings.LastIndexByte(line, '}') + 1
		metric, ok := known[line[:end]]
		if !ok {
			metric = metricOf(line[:end])
			known[line[:end]] = metric
		}
		fields := strings.Fields(line[end:])
		v, err1 := strconv.ParseFloat(fields[0], 64)
		at, err2 := strconv.ParseFloat(fields[1], 64)
		if err1 != nil || err2 != nil {
			t.Fatalf("%s: %q", path, line)
		}
		if ms := int64(at * 1000); ms >= from.UnixMilli() {
			byTime[ms] = append(byTime[ms], replay.Sample{Metric: metric, Value: v})
		}
	}
	if err := scan.Err(); err != nil {
		t.Fatal(err)
	}
	times := make([]int64, 0, len(byTime))
	for at := range byTime {
		times = append(times, at)
	}
	slices.Sort(times)
	for _, at := range times {
		if err := store.Append(time.UnixMilli(at), byTime[at]); err != nil {
			t.Fatal(err)
		}
	}
}

func metricOf(series string) model.Metric {
	name, rest, _ := strings.Cut(series, "{")
	m := model.Metric{model.MetricNameLabel: model.LabelValue(name)}
	rest = strings.TrimSuffix(rest, "}")
	for rest != "" {
		label, tail, _ := strings.Cut(rest, `="`)
		value, tail, _ := strings.Cut(tail, `"`)
		m[model.LabelName(label)] = model.LabelValue(value)
		rest = strings.TrimPrefix(tail, ",")
	}
	return m
}

func snapshots(inc bundle.Incident, start time.Time, signals []tapeSignal, topo tapeTopology, answers []model.Matrix) []*sre.Snapshot {
	index := map[string]int{}
	var services []sre.Service
	at := func(name string) int {
		i, ok := index[name]
		if !ok {
			i = len(services)
			index[name] = i
			services = append(services, sre.Service{Name: name, Entry: slices.Contains(topo.Entries, name)})
		}
		return i
	}
	var edges []sre.Edge
	for _, e := range topo.Edges {
		edges = append(edges, sre.Edge{From: at(e.From), To: at(e.To)})
	}
	var own, between []sre.Signal
	for i, s := range signals {
		if s.ClientLabel != "" {
			between = append(between, sre.Signal{Name: s.Name, Kind: s.Kind, Unit: s.Unit, Edge: true})
			continue
		}
		own = append(own, sre.Signal{Name: s.Name, Kind: s.Kind, Unit: s.Unit})
		for _, stream := range answers[i] {
			at(string(stream.Metric["service"]))
		}
	}
	graph := sre.NewGraph(services, edges)
	step := time.Duration(inc.Interval)
	var out []*sre.Snapshot
	for now := start; !now.After(inc.End); now = now.Add(step) {
		out = append(out, &sre.Snapshot{
			At: now, Interval: step, Graph: graph, Signals: own, EdgeSignals: between, Health: sre.SourceHealth{Up: true},
			Service: sre.NewMatrix(len(own), len(services)), Edge: sre.NewMatrix(len(between), len(graph.Edges)),
		})
	}
	rowOwn, rowEdge := 0, 0
	for i, s := range signals {
		for _, stream := range answers[i] {
			for _, p := range stream.Values {
				k := int(p.Timestamp.Time().Sub(start) / step)
				r := sre.Reading{Value: float64(p.Value), State: sre.Present}
				if s.ClientLabel == "" {
					out[k].Service.Set(rowOwn, index[string(stream.Metric["service"])], r)
					continue
				}
				from, ok1 := index[string(stream.Metric[model.LabelName(s.ClientLabel)])]
				to, ok2 := index[string(stream.Metric[model.LabelName(s.ServerLabel)])]
				if e, ok := graph.EdgeIndex(from, to); ok && ok1 && ok2 {
					out[k].Edge.Set(rowEdge, e, r)
				}
			}
		}
		if s.ClientLabel == "" {
			rowOwn++
		} else {
			rowEdge++
		}
	}
	return out
}
