package runbooktest

import (
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/value"
	"github.com/prometheus/prometheus/promql/parser"

	"github.com/sreagent/sreagent/sre"
)

// Start is the instant of the first value of every series.
func Start() time.Time { return time.Date(2026, 1, 5, 9, 0, 0, 0, time.UTC) }

// A series is called by its signal, with the label service, or client and server
// for a call: errors{service="cart"}, attempts{client="web", server="cart"}.
var serviceSignals = []sre.Signal{
	{Name: "traffic", Kind: sre.Traffic, Unit: sre.PerSecond},
	{Name: "errors", Kind: sre.Errors, Unit: sre.Ratio},
	{Name: "latency", Kind: sre.Latency, Unit: sre.Seconds},
	{Name: "queue", Kind: sre.Queue, Unit: sre.Count},
	{Name: "pool", Kind: sre.Pool, Unit: sre.Ratio},
	{Name: "retries", Kind: sre.Retries, Unit: sre.PerSecond},
	{Name: "timeouts", Kind: sre.Timeouts, Unit: sre.PerSecond},
	{Name: "cache", Kind: sre.Cache, Unit: sre.Ratio},
	{Name: "saturation", Kind: sre.Saturation, Unit: sre.Ratio},
	{Name: "replicas", Kind: sre.Replicas, Unit: sre.Count},
}

var callSignals = []sre.Signal{
	{Name: "attempts", Kind: sre.Traffic, Unit: sre.PerSecond, Edge: true},
	{Name: "call_retries", Kind: sre.Retries, Unit: sre.PerSecond, Edge: true},
}

// row is one series made ready: where its values go, and the values.
type row struct {
	edge   bool
	signal int
	at     int // index of the service or the edge
	values []parser.SequenceValue
}

// stage is a test made ready.
type stage struct {
	graph    *sre.Graph
	rows     []row
	interval time.Duration
}

func (t *Test) stage(file string, interval model.Duration) (*stage, error) {
	st := &stage{graph: t.Topology.graph(), interval: time.Duration(interval)}
	p := parser.NewParser(parser.Options{})
	for _, in := range t.Input {
		l, values, err := p.ParseSeriesDesc(in.Series + " " + in.Values)
		if err != nil {
			return nil, Fault{File: file, Line: in.Line, Problem: err.Error(), Allowed: `a series as promtool writes it, such as errors{service="cart"} and values 0.1+0x5`}
		}
		r, fault := st.place(l, values)
		if fault != "" {
			return nil, Fault{File: file, Line: in.Line, Problem: fault, Allowed: signalNames()}
		}
		st.rows = append(st.rows, r)
	}
	return st, nil
}

func signalNames() string {
	var names []string
	for _, s := range slices.Concat(serviceSignals, callSignals) {
		names = append(names, s.Name)
	}
	return joined(names)
}

func (st *stage) place(l labels.Labels, values []parser.SequenceValue) (row, string) {
	name := l.Get(model.MetricNameLabel)
	if i := slices.IndexFunc(serviceSignals, func(s sre.Signal) bool { return s.Name == name }); i >= 0 {
		service := l.Get("service")
		at, known := st.graph.Index(service)
		if !known {
			return row{}, fmt.Sprintf("%s is of service %q, which the topology does not have", name, service)
		}
		return row{signal: i, at: at, values: values}, ""
	}
	i := slices.IndexFunc(callSignals, func(s sre.Signal) bool { return s.Name == name })
	if i < 0 {
		return row{}, fmt.Sprintf("no signal is called %q", name)
	}
	from, known := st.graph.Index(l.Get("client"))
	to, too := st.graph.Index(l.Get("server"))
	edge, calls := st.graph.EdgeIndex(from, to)
	if !known || !too || !calls {
		return row{}, fmt.Sprintf("%s is of a call %s -> %s, which the topology does not have", name, l.Get("client"), l.Get("server"))
	}
	return row{edge: true, signal: i, at: edge, values: values}, ""
}

func (t Topology) graph() *sre.Graph {
	var services []sre.Service
	index := map[string]int{}
	named := func(name string) int {
		i, known := index[name]
		if !known {
			i = len(services)
			index[name] = i
			services = append(services, sre.Service{Name: name})
		}
		return i
	}
	for _, name := range t.Entries {
		services[named(name)].Entry = true
	}
	var edges []sre.Edge
	for _, e := range t.Edges {
		edges = append(edges, sre.Edge{From: named(e.From), To: named(e.To), Spec: sre.EdgeSpec{
			Timeout: time.Duration(e.Timeout), Retries: e.Retries, HasRetries: e.Retries > 0, Hard: e.Hard,
		}})
	}
	return sre.NewGraph(services, edges)
}

// snapshot is what is seen at an instant: of each series the value of the last
// interval that has begun. What is left out is absent, and after a stale marker
// a series is stale.
func (st *stage) snapshot(at time.Duration) *sre.Snapshot {
	s := &sre.Snapshot{
		At: Start().Add(at), Interval: st.interval, Graph: st.graph, Signals: serviceSignals, EdgeSignals: callSignals,
		Service: sre.NewMatrix(len(serviceSignals), len(st.graph.Services)), Edge: sre.NewMatrix(len(callSignals), len(st.graph.Edges)),
		Health: sre.SourceHealth{Up: true},
	}
	n := int(at / st.interval)
	for _, r := range st.rows {
		if n >= len(r.values) || r.values[n].Omitted {
			continue
		}
		reading := sre.Reading{Value: r.values[n].Value, State: sre.Present}
		if v := r.values[n].Value; value.IsStaleNaN(v) || math.IsNaN(v) {
			reading = sre.Reading{State: sre.Stale}
		}
		if r.edge {
			s.Edge.Set(r.signal, r.at, reading)
		} else {
			s.Service.Set(r.signal, r.at, reading)
		}
	}
	return s
}

// diagnosis is what the test says is believed, as of an instant.
func (t *Test) diagnosis(at time.Duration) *sre.Diagnosis {
	now := Start().Add(at)
	h := sre.Hypothesis{Service: t.Given.Root, Mechanism: t.Given.Mechanism, Probability: t.Given.Probability}
	if h.Probability == 0 {
		h.Probability = 0.9
	}
	if c := t.Given.Change; c != nil {
		h.Change = &sre.Change{ID: c.ID, Kind: c.Kind, Service: c.Service, At: now.Add(-time.Duration(c.Ago))}
	}
	affected := slices.Sorted(slices.Values(t.Given.Affected))
	if len(affected) == 0 && h.Service != "" {
		affected = []string{h.Service}
	}
	return &sre.Diagnosis{
		At: now, Onset: now, DataQuality: 1, Affected: affected,
		Hypotheses: []sre.Hypothesis{h, {Mechanism: sre.Unknown, Probability: max(0, 1-h.Probability)}},
		Precursors: []sre.Precursor{{Service: h.Service, Mechanism: h.Mechanism, Severity: sre.Critical}},
	}
}
