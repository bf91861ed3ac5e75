package runbooks

import (
	"slices"
	"testing"
	"testing/fstest"
	"time"

	"github.com/sreagent/sreagent/sre"
)

var at = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// guardLever is a capability with every kind that the shipped runbooks use.
func guardLever() sre.Capability {
	number := func(name string, required bool, lo, hi float64) sre.ParamSpec {
		return sre.ParamSpec{Name: name, Type: "number", Required: required, Min: lo, Max: hi}
	}
	return sre.Capability{Name: "guard", Version: "1", Kinds: []sre.KindSpec{
		{Kind: sre.Shed, Reversible: true, TTL: true, Params: []sre.ParamSpec{number("rps", true, 0.1, 1e6), number("low", false, 0, 1e6)}},
		{Kind: sre.RetryBudget, Reversible: true, TTL: true, Edge: true, Params: []sre.ParamSpec{number("ratio", true, 0, 1)}},
		{Kind: sre.QueueBound, Reversible: true, TTL: true, Params: []sre.ParamSpec{number("length", true, 0, 1e5)}},
		{Kind: sre.Breaker, Reversible: true, TTL: true, Edge: true, Params: []sre.ParamSpec{
			number("failure_ratio", true, 0, 1), number("min_requests", false, 1, 1e6), number("open_seconds", false, 0.1, 3600),
		}},
		{Kind: sre.Timeout, Reversible: true, TTL: true, Params: []sre.ParamSpec{number("seconds", true, 0.001, 600)}},
		{Kind: sre.KillSwitch, Reversible: true, TTL: true, Params: []sre.ParamSpec{number("percent", true, 0, 100), {Name: "note", Type: "string"}, {Name: "hard", Type: "bool"}}},
		{Kind: sre.Rollback, Reversible: false},
	}}
}

// shop is web -> cart -> stock and web -> stock, with stock in trouble.
type shop struct {
	snap *sre.Snapshot
	diag *sre.Diagnosis
}

var shopSignals = []sre.Signal{
	{Name: "traffic", Kind: sre.Traffic, Unit: sre.PerSecond},
	{Name: "errors", Kind: sre.Errors, Unit: sre.Ratio},
	{Name: "latency", Kind: sre.Latency, Unit: sre.Seconds},
	{Name: "queue", Kind: sre.Queue, Unit: sre.Count},
	{Name: "pool", Kind: sre.Pool, Unit: sre.Ratio},
	{Name: "retries", Kind: sre.Retries, Unit: sre.PerSecond},
	{Name: "timeouts", Kind: sre.Timeouts, Unit: sre.PerSecond},
}

func newShop(mechanism sre.Mechanism) *shop {
	graph := sre.NewGraph(
		[]sre.Service{{Name: "web", Entry: true}, {Name: "cart"}, {Name: "stock"}},
		[]sre.Edge{
			{From: 0, To: 1},
			{From: 1, To: 2, Spec: sre.EdgeSpec{Timeout: 500 * time.Millisecond}},
			{From: 0, To: 2, Spec: sre.EdgeSpec{Timeout: time.Second}},
		})
	edgeSignals := []sre.Signal{
		{Name: "attempts", Kind: sre.Traffic, Unit: sre.PerSecond, Edge: true},
		{Name: "edge_retries", Kind: sre.Retries, Unit: sre.PerSecond, Edge: true},
	}
	s := &shop{snap: &sre.Snapshot{
		At: at, Interval: time.Second, Graph: graph, Signals: shopSignals, EdgeSignals: edgeSignals,
		Service: sre.NewMatrix(len(shopSignals), 3), Edge: sre.NewMatrix(len(edgeSignals), 3),
		Health: sre.SourceHealth{Up: true},
	}}
	for _, service := range []string{"web", "cart", "stock"} {
		s.set(service, "traffic", 200).set(service, "errors", 0.3).set(service, "latency", 0.2).set(service, "queue", 20)
		s.set(service, "pool", 0.5).set(service, "retries", 100).set(service, "timeouts", 0)
	}
	s.diag = &sre.Diagnosis{
		At: at, Onset: at.Add(-time.Minute), DataQuality: 0.9, Affected: []string{"stock", "web"},
		Hypotheses: []sre.Hypothesis{
			{Service: "stock", Mechanism: mechanism, Probability: 0.8},
			{Service: "cart", Mechanism: sre.Overload, Probability: 0.2},
		},
		Precursors: []sre.Precursor{{Severity: sre.Warning}, {Severity: sre.Critical}, {Severity: sre.Info}},
		Blast:      graph.BlastRadius(2, func(int) sre.Reading { return sre.Reading{} }),
	}
	return s
}

func (s *shop) put(service, signal string, r sre.Reading) *shop {
	i, ok := s.snap.Graph.Index(service)
	if !ok {
		panic("no such service in the fixture: " + service)
	}
	for row, sig := range shopSignals {
		if sig.Name == signal {
			s.snap.Service.Set(row, i, r)
			return s
		}
	}
	panic("no such signal in the fixture: " + signal)
}

func (s *shop) set(service, signal string, v float64) *shop {
	return s.put(service, signal, sre.Reading{Value: v, State: sre.Present})
}

// optional is the shop with a topology that says what is hard: web can do without
// stock, cart cannot.
func (s *shop) optional() *shop {
	edges := slices.Clone(s.snap.Graph.Edges)
	edges[1].Spec.Hard = true
	s.snap.Graph = sre.NewGraph(s.snap.Graph.Services, edges)
	return s
}

func (s *shop) facts() Facts {
	return Facts{
		Snapshot: s.snap, Diagnosis: s.diag, Confidence: sre.Confidence{P: 0.8, Lower: 0.7},
		Incident: "inc-1", Attempt: 0, Levers: []sre.Capability{guardLever()},
	}
}

func shipped(t testing.TB) *Library {
	t.Helper()
	l, err := Load(Shipped(), ".")
	if err != nil {
		t.Fatalf("shipped runbooks do not load:\n%v", err)
	}
	return l
}

// fromText loads one file.
func fromText(t testing.TB, text string) *Library {
	t.Helper()
	l, err := Load(fstest.MapFS{"one.yaml": {Data: []byte(text)}}, ".")
	if err != nil {
		t.Fatalf("load:\n%v", err)
	}
	return l
}

// only is the shipped library without all but the named runbooks.
func only(t *testing.T, names ...string) *Library {
	t.Helper()
	return onlyOf(shipped(t), names...)
}

func onlyOf(whole *Library, names ...string) *Library {
	out := &Library{lang: whole.lang}
	for _, rb := range whole.ordered {
		if slices.Contains(names, rb.Name) {
			out.ordered = append(out.ordered, rb)
		}
	}
	return out
}

// without is a library without one runbook.
func without(whole *Library, name string) *Library {
	out := &Library{lang: whole.lang}
	for _, rb := range whole.ordered {
		if rb.Name != name {
			out.ordered = append(out.ordered, rb)
		}
	}
	return out
}
