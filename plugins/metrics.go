package plugins

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"github.com/sreagent/sreagent/sre"
)

// The operations of a lever, as metric labels.
const (
	opProbe  = "probe"
	opApply  = "apply"
	opRevert = "revert"
	opManual = "manual"
)

type metrics struct {
	up       *prometheus.GaugeVec
	restarts *prometheus.CounterVec
	calls    *prometheus.HistogramVec
	dropped  *prometheus.CounterVec
}

func newMetrics(reg prometheus.Registerer) *metrics {
	f := promauto.With(reg)
	return &metrics{
		up: f.NewGaugeVec(prometheus.GaugeOpts{
			Name: "sreagent_plugin_up", Help: "Whether the plugin runs, has described itself and answers.",
		}, []string{"plugin"}),
		restarts: f.NewCounterVec(prometheus.CounterOpts{
			Name: "sreagent_plugin_restarts_total", Help: "Starts of the plugin's process after the first one.",
		}, []string{"plugin"}),
		calls: f.NewHistogramVec(prometheus.HistogramOpts{
			Name: "sreagent_plugin_call_duration_seconds", Help: "Time of one call to the plugin, by what is known of the result.",
			Buckets: []float64{.0001, .00025, .001, .005, .025, .1, .25, 1, 2.5, 5, 10},
		}, []string{"plugin", "op", "code"}),
		dropped: f.NewCounterVec(prometheus.CounterOpts{
			Name: "sreagent_plugin_log_lines_dropped_total", Help: "Lines that the plugin wrote and that were not logged, as it wrote too many.",
		}, []string{"plugin"}),
	}
}

// prepare makes the series of one plugin, so that none appears with its first
// failure.
func (m *metrics) prepare(name string) {
	m.up.WithLabelValues(name).Set(0)
	m.restarts.WithLabelValues(name)
	m.dropped.WithLabelValues(name)
	for _, op := range []string{opProbe, opApply, opRevert, opManual} {
		m.calls.WithLabelValues(name, op, "ok")
	}
}

func codeLabel(err error) string {
	if err == nil {
		return "ok"
	}
	return string(sre.CodeOf(err))
}
