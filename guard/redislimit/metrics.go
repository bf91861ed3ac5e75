package redislimit

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

type metrics struct {
	up       prometheus.Gauge
	errors   prometheus.Counter
	kept     prometheus.Counter
	duration prometheus.Histogram
}

func newMetrics(reg prometheus.Registerer) *metrics {
	f := promauto.With(reg)
	return &metrics{
		up:     f.NewGauge(prometheus.GaugeOpts{Name: "guard_redis_up", Help: "1 while distributed limits are counted in Redis, 0 while they are local."}),
		errors: f.NewCounter(prometheus.CounterOpts{Name: "guard_redis_errors_total", Help: "Decisions that Redis did not make in time, or at all."}),
		kept:   f.NewCounter(prometheus.CounterOpts{Name: "guard_redis_not_given_back_total", Help: "Tokens of refused requests that could not be given back."}),
		duration: f.NewHistogram(prometheus.HistogramOpts{
			Name: "guard_redis_duration_seconds", Help: "Duration of decisions that Redis was asked for.",
			Buckets: []float64{.0001, .00025, .0005, .001, .0025, .005, .01, .025, .1},
		}),
	}
}
