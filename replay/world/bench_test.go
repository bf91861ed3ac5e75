package world

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/sreagent/sreagent/replay/fluid"
	"github.com/sreagent/sreagent/sre"
)

func fleet(n int) fluid.Blueprint {
	return fluid.Fleet(fluid.FleetOptions{Services: n, Seed: 1, Retries: 2, QueueSeconds: 10})
}

// BenchmarkTick is five seconds of a world and one observation of it.
func BenchmarkTick(b *testing.B) {
	for _, n := range []int{100, 1000} {
		b.Run(fmt.Sprint("services=", n), func(b *testing.B) {
			w := newWorld(b, fleet(n), func(o *Options) { o.Keep = 1 })
			at := after(30 * time.Second)
			observe(b, w, at)
			b.ReportAllocs()
			for b.Loop() {
				at = at.Add(5 * time.Second)
				if _, err := w.Source().Observe(context.Background(), at); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(5*float64(b.N)/b.Elapsed().Seconds(), "x_realtime")
		})
	}
}

// BenchmarkObserve is the observation alone.
func BenchmarkObserve(b *testing.B) {
	w := newWorld(b, fleet(1000), nil)
	at := after(30 * time.Second)
	observe(b, w, at)
	b.ReportAllocs()
	for b.Loop() {
		w.look(at, 5*time.Second)
	}
}

// BenchmarkAdvance is five seconds of a world that nobody observes.
func BenchmarkAdvance(b *testing.B) {
	w := newWorld(b, fleet(1000), nil)
	at := after(30 * time.Second)
	w.AdvanceTo(at)
	b.ReportAllocs()
	for b.Loop() {
		at = at.Add(5 * time.Second)
		w.AdvanceTo(at)
	}
}

// BenchmarkModel is five seconds of the model inside, for comparison.
func BenchmarkModel(b *testing.B) {
	m, err := fluid.New(fleet(1000))
	if err != nil {
		b.Fatal(err)
	}
	m.Advance(30 * time.Second)
	b.ReportAllocs()
	for b.Loop() {
		m.Advance(5 * time.Second)
	}
}

// BenchmarkForecast is a minute ahead: of the world itself, and of a snapshot.
func BenchmarkForecast(b *testing.B) {
	w := newWorld(b, fleet(1000), nil)
	s := observe(b, w, after(time.Minute))
	for name, f := range map[string]sre.Forecaster{"world": w.Forecaster(), "live": NewForecaster(LiveConfig{})} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if _, err := f.Forecast(context.Background(), s, nil, time.Minute); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
