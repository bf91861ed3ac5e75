package sources

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"github.com/sreagent/sreagent/sre"
)

const (
	fromPrometheus = "prometheus"
	fromJaeger     = "jaeger"
)

type metrics struct {
	up       *prometheus.GaugeVec
	duration *prometheus.HistogramVec
	failures *prometheus.CounterVec
	queries  *prometheus.CounterVec
	warnings prometheus.Counter
	readings *prometheus.GaugeVec
	services prometheus.Gauge
	edges    *prometheus.GaugeVec
	dropped  prometheus.Counter
	changes  *prometheus.CounterVec
}

func newMetrics(reg prometheus.Registerer, jaeger bool) *metrics {
	auto := promauto.With(reg)
	m := &metrics{
		up: auto.NewGaugeVec(prometheus.GaugeOpts{Name: "sreagent_source_up",
			Help: "Whether the source answered at the last attempt."}, []string{"source"}),
		duration: auto.NewHistogramVec(prometheus.HistogramOpts{Name: "sreagent_source_query_duration_seconds",
			Help: "Time that one query took.", Buckets: []float64{.005, .02, .05, .1, .25, .5, 1, 2.5, 5, 10, 30}}, []string{"source"}),
		failures: auto.NewCounterVec(prometheus.CounterOpts{Name: "sreagent_source_failures_total",
			Help: "Queries that gave no usable answer, by reason."}, []string{"source", "reason"}),
		queries: auto.NewCounterVec(prometheus.CounterOpts{Name: "sreagent_source_queries_total",
			Help: "Queries asked."}, []string{"source"}),
		warnings: auto.NewCounter(prometheus.CounterOpts{Name: "sreagent_source_warnings_total",
			Help: "Answers of the metric store that carried warnings, such as partial data."}),
		readings: auto.NewGaugeVec(prometheus.GaugeOpts{Name: "sreagent_source_readings",
			Help: "Readings of the last snapshot, by state."}, []string{"state"}),
		services: auto.NewGauge(prometheus.GaugeOpts{Name: "sreagent_source_services",
			Help: "Services in the dependency graph."}),
		edges: auto.NewGaugeVec(prometheus.GaugeOpts{Name: "sreagent_source_edges",
			Help: "Edges in the dependency graph: current, or forgotten after forget_after without traffic."}, []string{"state"}),
		dropped: auto.NewCounter(prometheus.CounterOpts{Name: "sreagent_source_subjects_dropped_total",
			Help: "Times a service or edge was left out because the graph is full."}),
		changes: auto.NewCounterVec(prometheus.CounterOpts{Name: "sreagent_source_changes_total",
			Help: "Changes learned, by where from."}, []string{"origin"}),
	}
	for _, source := range []string{fromPrometheus, fromJaeger} {
		if source == fromJaeger && !jaeger {
			continue
		}
		m.up.WithLabelValues(source)
		m.duration.WithLabelValues(source)
		m.queries.WithLabelValues(source)
		for _, reason := range []string{reasonTimeout, reasonHTTP, reasonBadData, reasonCanceled} {
			m.failures.WithLabelValues(source, reason)
		}
	}
	for _, state := range []sre.ReadingState{sre.Absent, sre.Stale, sre.Present} {
		m.readings.WithLabelValues(state.String())
	}
	for _, origin := range []string{originAPI, originVersion} {
		m.changes.WithLabelValues(origin)
	}
	return m
}
