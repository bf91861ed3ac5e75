package remediators

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"github.com/sreagent/sreagent/sre"
)

// The operations that are counted.
const (
	opProbe  = "probe"
	opApply  = "apply"
	opRevert = "revert"
	opSweep  = "sweep"
)

// codeOK is the metric label of success, where sre.CodeOf has no text.
const codeOK = "ok"

type metrics struct {
	requests *prometheus.CounterVec
	seconds  *prometheus.HistogramVec
}

func newMetrics(reg prometheus.Registerer) *metrics {
	return &metrics{
		requests: promauto.With(reg).NewCounterVec(prometheus.CounterOpts{
			Name: "sreagent_lever_requests_total",
			Help: "Requests to levers by operation and by what is known of the result.",
		}, []string{"lever", "op", "code"}),
		seconds: promauto.With(reg).NewHistogramVec(prometheus.HistogramOpts{
			Name:    "sreagent_lever_duration_seconds",
			Help:    "Time of one request to a lever, its read back included.",
			Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5},
		}, []string{"lever", "op"}),
	}
}

// meter counts what one lever does.
type meter struct {
	*metrics
	lever string
	now   func() time.Time
}

func newMeter(m *metrics, lever string, now func() time.Time) meter {
	for _, op := range []string{opProbe, opApply, opRevert, opSweep} {
		m.requests.WithLabelValues(lever, op, codeOK)
		m.seconds.WithLabelValues(lever, op)
	}
	return meter{metrics: m, lever: lever, now: now}
}

// track starts the watch on one operation; the returned function stops it.
func (m meter) track(op string) func(*error) {
	start := m.now()
	return func(err *error) {
		code := string(sre.CodeOf(*err))
		if code == "" {
			code = codeOK
		}
		m.requests.WithLabelValues(m.lever, op, code).Inc()
		m.seconds.WithLabelValues(m.lever, op).Observe(m.now().Sub(start).Seconds())
	}
}
