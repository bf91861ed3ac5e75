package diagnosis_test

import (
	"fmt"
	"testing"

	"github.com/sreagent/sreagent/diagnosis"
	"github.com/sreagent/sreagent/sre"
)

// fleetOf is a layered fleet: 20 entries on top, every service of a layer calls
// three of the next one, and all call one configuration store.
func fleetOf(n int) *sre.Snapshot {
	services := make([]sre.Service, n)
	var edges []sre.Edge
	width := n / 10
	layer := func(i int) int { return (i - 1) / width }
	for i := range services {
		services[i] = sre.Service{Name: fmt.Sprintf("s%05d", i), Entry: i > 0 && i <= 20}
		if i == 0 {
			continue
		}
		edges = append(edges, sre.Edge{From: i, To: 0})
		for k := range 3 {
			to := (layer(i)+1)*width + 1 + (7*i+31*k*k+k)%width
			if layer(i) < 9 && to < n {
				edges = append(edges, sre.Edge{From: i, To: to, Spec: sre.EdgeSpec{CallsPerRequest: .5}})
			}
		}
	}
	s := &sre.Snapshot{
		At: noon, Interval: 1e10, Graph: sre.NewGraph(services, edges), Service: sre.NewMatrix(2, n), Health: sre.SourceHealth{Up: true},
		Signals: []sre.Signal{{Name: "traffic", Kind: sre.Traffic, Unit: sre.PerSecond}, {Name: "errors", Kind: sre.Errors, Unit: sre.Ratio}},
	}
	for i := range services {
		s.Service.Set(0, i, sre.Reading{Value: 50, State: sre.Present})
		s.Service.Set(1, i, sre.Reading{State: sre.Present})
	}
	return s
}

// outage makes the service root short of room and up to size services above it
// slow and failing.
func outage(s *sre.Snapshot, root, size int) []sre.Precursor {
	names := func(i int) string { return s.Graph.Services[i].Name }
	ps := []sre.Precursor{physics(sign(names(root), sre.Pool, .99, 60), "overload", sre.PoolExhaustion, sre.Critical)}
	for k, i := range s.Graph.Upstream(root) {
		if k+1 >= size {
			break
		}
		ps = append(ps, sign(names(i), sre.Latency, .8, 50-k*40/size), sign(names(i), sre.Errors, .7, 40-k*30/size))
	}
	return ps
}

func benchmarkDiagnose(b *testing.B, services, size int) {
	s := fleetOf(services)
	ps := outage(s, services-5, size)
	e := diagnosis.New(diagnosis.DefaultConfig())
	open := []sre.Incident{}
	for _, f := range e.Diagnose(s, ps, nil) {
		open = append(open, sre.Incident{ID: f.Fingerprint, State: sre.Acting, OpenedAt: s.At, Diagnosis: f.Diagnosis, Storm: f.Storm})
	}
	b.ReportAllocs()
	for b.Loop() {
		e.Diagnose(s, ps, open)
	}
	b.ReportMetric(float64(len(open)), "incidents")
}

func BenchmarkDiagnose1000(b *testing.B) {
	b.Run("nodes=30", func(b *testing.B) { benchmarkDiagnose(b, 1000, 30) })
	b.Run("nodes=300", func(b *testing.B) { benchmarkDiagnose(b, 1000, 300) })
	b.Run("nodes=500", func(b *testing.B) { benchmarkDiagnose(b, 1000, 500) })
}

func BenchmarkDiagnose10000(b *testing.B) {
	b.Run("nodes=30", func(b *testing.B) { benchmarkDiagnose(b, 10000, 30) })
	b.Run("nodes=300", func(b *testing.B) { benchmarkDiagnose(b, 10000, 300) })
	b.Run("nodes=2000", func(b *testing.B) { benchmarkDiagnose(b, 10000, 2000) })
}
