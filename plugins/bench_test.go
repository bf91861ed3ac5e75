package plugins

import (
	"context"
	"slices"
	"testing"
	"time"
)

// report gives the median and the 99th percentile of what was measured.
func report(b *testing.B, took []time.Duration) {
	b.Helper()
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Microseconds()), "p50-µs")
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds()), "p99-µs")
}

func benchmarked(b *testing.B, do func()) {
	b.Helper()
	var took []time.Duration
	b.ReportAllocs()
	for b.Loop() {
		began := time.Now()
		do()
		took = append(took, time.Since(began))
	}
	report(b, took)
}

func benchConfig(b *testing.B) Config {
	b.Helper()
	c, err := self()
	if err != nil {
		b.Fatal(err)
	}
	c.Args = []string{modeArg, "honest"}
	return c
}

// BenchmarkStart is a process from nothing to its description of itself, its
// checksum and mutual TLS included, and its end.
func BenchmarkStart(b *testing.B) {
	c := benchConfig(b).withDefaults()
	v := newVoice(Options{}.withDefaults().Log, newMetrics(nil).dropped.WithLabelValues("test"))
	var took []time.Duration
	for b.Loop() {
		began := time.Now()
		s, err := launch(context.Background(), c, v)
		if err == nil {
			_, err = s.describe(context.Background(), "test")
		}
		if err != nil {
			b.Fatal(err)
		}
		took = append(took, time.Since(began))
		s.close(false)
	}
	report(b, took)
}

// benchUp is a plugin that runs until the benchmark ends.
func benchUp(b *testing.B) *Plugin {
	b.Helper()
	h, err := New(Configs{benchConfig(b)}, Options{})
	if err == nil {
		err = h.Start(context.Background())
	}
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(h.Close)
	return h.Plugins()[0]
}

func BenchmarkApply(b *testing.B) {
	p := benchUp(b)
	benchmarked(b, func() {
		if err := p.Apply(context.Background(), directive(1)); err != nil {
			b.Fatal(err)
		}
	})
}

func BenchmarkProbe(b *testing.B) {
	p := benchUp(b)
	benchmarked(b, func() {
		if _, err := p.Probe(context.Background(), action("shop")); err != nil {
			b.Fatal(err)
		}
	})
}
