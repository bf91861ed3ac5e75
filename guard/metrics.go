package guard

import (
	"github.com/prometheus/client_golang/prometheus"
	versioncollector "github.com/prometheus/client_golang/prometheus/collectors/version"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

type outcome int

const (
	ok outcome = iota
	failed
	shed
	overflow
	timedOut
	abandoned
)

var outcomeNames = [...]string{ok: "ok", failed: "error", shed: "shed", overflow: "rejected", timedOut: "timeout", abandoned: "abandoned"}

var attemptNames = [...]string{"first", "retry"}

var refusalReasons = []string{"unauthorized", "invalid", "stale_epoch", "stale_seq", "storage"}

var durationBuckets = []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60}

// metrics holds every series that a request touches as a value, so that counting
// one allocates nothing.
type metrics struct {
	requests  [priorities][len(attemptNames)][len(outcomeNames)]prometheus.Counter
	duration  prometheus.Histogram
	inFlight  prometheus.Gauge
	waiting   prometheus.Gauge
	wait      prometheus.Histogram
	workers   prometheus.Gauge
	workTotal prometheus.Counter

	attempts   *prometheus.CounterVec
	attemptDur *prometheus.HistogramVec
	suppressed *prometheus.CounterVec
	breaker    *prometheus.GaugeVec

	epoch      prometheus.Gauge
	directives *prometheus.GaugeVec
	setting    *prometheus.GaugeVec
	refused    *prometheus.CounterVec
}

func newMetrics(reg prometheus.Registerer, service string) *metrics {
	if reg != nil {
		reg = prometheus.WrapRegistererWith(prometheus.Labels{"service": service}, reg)
		reg.MustRegister(versioncollector.NewCollector("guard"))
	}
	f := promauto.With(reg)
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return f.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
	}
	gauge := func(name, help string, labels ...string) *prometheus.GaugeVec {
		return f.NewGaugeVec(prometheus.GaugeOpts{Name: name, Help: help}, labels)
	}
	histogram := func(name, help string, labels ...string) *prometheus.HistogramVec {
		return f.NewHistogramVec(prometheus.HistogramOpts{Name: name, Help: help, Buckets: durationBuckets}, labels)
	}
	m := &metrics{
		duration:  histogram("guard_request_duration_seconds", "Wait and work of admitted requests.").WithLabelValues().(prometheus.Histogram),
		wait:      histogram("guard_queue_wait_seconds", "Wait of admitted requests for a worker.").WithLabelValues().(prometheus.Histogram),
		inFlight:  gauge("guard_in_flight", "Requests being worked on.").WithLabelValues(),
		waiting:   gauge("guard_queue_length", "Requests waiting for a worker.").WithLabelValues(),
		workers:   gauge("guard_workers", "Bound on the requests worked on at once; 0 is none.").WithLabelValues(),
		workTotal: counter("guard_work_seconds_total", "Time spent in handlers.").WithLabelValues(),

		attempts:   counter("guard_client_attempts_total", "Attempts to call a callee.", "callee", "attempt", "outcome"),
		attemptDur: histogram("guard_client_request_duration_seconds", "Duration of one attempt until its response began.", "callee"),
		suppressed: counter("guard_client_retries_suppressed_total", "Retries that the budget forbade.", "callee"),
		breaker:    gauge("guard_breaker_state", "State of the circuit: 0 closed, 1 half-open, 2 open.", "callee"),

		epoch:      gauge("guard_directive_epoch", "Highest accepted epoch.").WithLabelValues(),
		directives: gauge("guard_directives", "Directives held or returning.", "kind"),
		setting:    gauge("guard_setting", "Value in force; absent where there is no limit. For a kill switch callee is the feature.", "kind", "callee"),
		refused:    counter("guard_directives_refused_total", "Directives that were not accepted.", "reason"),
	}
	requests := counter("guard_requests_total", "Requests by how they ended.", "priority", "attempt", "outcome")
	for p := range m.requests {
		for a := range m.requests[p] {
			for o := range m.requests[p][a] {
				m.requests[p][a][o] = requests.WithLabelValues(Priority(p).String(), attemptNames[a], outcomeNames[o])
			}
		}
	}
	for _, k := range Kinds() {
		m.directives.WithLabelValues(string(k))
	}
	for _, reason := range refusalReasons {
		m.refused.WithLabelValues(reason)
	}
	return m
}

// count records how a request ended.
func (m *metrics) count(p Priority, attempt int, o outcome) {
	m.requests[p][min(attempt, 1)][o].Inc()
}

type attemptOutcome int

const (
	attemptOK attemptOutcome = iota
	attemptError
	attemptTimeout
	attemptBreakerOpen
)

var attemptOutcomeNames = [...]string{attemptOK: "ok", attemptError: "error", attemptTimeout: "timeout", attemptBreakerOpen: "breaker_open"}

// clientMetrics are the series of one callee.
type clientMetrics struct {
	attempts   [len(attemptNames)][len(attemptOutcomeNames)]prometheus.Counter
	duration   prometheus.Observer
	suppressed prometheus.Counter
}

func (m *metrics) client(callee string) *clientMetrics {
	c := &clientMetrics{
		duration:   m.attemptDur.WithLabelValues(callee),
		suppressed: m.suppressed.WithLabelValues(callee),
	}
	for a := range c.attempts {
		for o := range c.attempts[a] {
			c.attempts[a][o] = m.attempts.WithLabelValues(callee, attemptNames[a], attemptOutcomeNames[o])
		}
	}
	return c
}
