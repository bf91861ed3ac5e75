package main

import (
	"context"
	"iter"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// systemClock ticks on slots of the wall clock, so that two agents with the
// same interval look at the same instants. A slot that passes while a tick
// still runs is missed and counted, never caught up.
type systemClock struct {
	missed   prometheus.Counter
	duration prometheus.Histogram
}

func newSystemClock(reg prometheus.Registerer) *systemClock {
	f := promauto.With(reg)
	return &systemClock{
		missed: f.NewCounter(prometheus.CounterOpts{
			Name: "sreagent_ticks_missed_total", Help: "Slots that passed while a tick was still running.",
		}),
		duration: f.NewHistogram(prometheus.HistogramOpts{
			Name: "sreagent_tick_duration_seconds", Help: "Time from the start of a tick to its end, without any human's.",
			Buckets: prometheus.ExponentialBuckets(0.001, 2, 15),
		}),
	}
}

// Ticks yields slot times until ctx is done.
func (c *systemClock) Ticks(ctx context.Context, every time.Duration) iter.Seq[time.Time] {
	return func(yield func(time.Time) bool) {
		next := time.Now().Truncate(every).Add(every)
		timer := time.NewTimer(time.Until(next))
		defer timer.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-timer.C:
			}
			start := time.Now()
			if !yield(next.UTC()) {
				return
			}
			c.duration.Observe(time.Since(start).Seconds())
			next = next.Add(every)
			for next.Add(every / 2).Before(time.Now()) {
				c.missed.Inc()
				next = next.Add(every)
			}
			timer.Reset(time.Until(next))
		}
	}
}
