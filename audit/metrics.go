package audit

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

type metrics struct {
	records     prometheus.Counter
	failures    prometheus.Counter
	outFailures prometheus.Counter
	duration    prometheus.Histogram
	size        prometheus.Gauge
}

func newMetrics(reg prometheus.Registerer) *metrics {
	f := promauto.With(reg)
	return &metrics{
		records: f.NewCounter(prometheus.CounterOpts{
			Name: "sreagent_audit_records_total",
			Help: "Records made durable in the trail.",
		}),
		failures: f.NewCounter(prometheus.CounterOpts{
			Name: "sreagent_audit_append_failures_total",
			Help: "Appends to the trail that failed; the agent does not act after one.",
		}),
		outFailures: f.NewCounter(prometheus.CounterOpts{
			Name: "sreagent_audit_checkpoint_out_failures_total",
			Help: "Checkpoints that could not be written to their second place.",
		}),
		duration: f.NewHistogram(prometheus.HistogramOpts{
			Name:    "sreagent_audit_append_duration_seconds",
			Help:    "Time from the start of an append until its checkpoint was durable.",
			Buckets: prometheus.ExponentialBuckets(0.0005, 2, 14),
		}),
		size: f.NewGauge(prometheus.GaugeOpts{
			Name: "sreagent_audit_tree_size",
			Help: "Records that the latest checkpoint covers.",
		}),
	}
}
