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
	dropped
	unauthorized
)

var outcomeNames = [...]string{ok: "ok", failed: "error", shed: "shed", overflow: "rejected", timedOut: "timeout", abandoned: "abandoned", dropped: "dropped", unauthorized: "unauthorized"}

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
	arrivals  [priorities]prometheus.Counter
	pressure  prometheus.Gauge

	attempts   *prometheus.CounterVec
	attemptDur *prometheus.HistogramVec
	suppressed *prometheus.CounterVec
	breaker    *prometheus.GaugeVec
	opened     *prometheus.CounterVec
	healthy    *prometheus.GaugeVec
	flying     *prometheus.GaugeVec
	answers    *prometheus.CounterVec

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
		pressure:  gauge("guard_queue_pressure", "Whether the queue is under pressure: from its high mark down to its low mark.").WithLabelValues(),
		workTotal: counter("guard_work_seconds_total", "Time spent in handlers.").WithLabelValues(),

		attempts:   counter("guard_client_attempts_total", "Attempts to call a callee.", "callee", "attempt", "outcome"),
		attemptDur: histogram("guard_client_request_duration_seconds", "Duration of one attempt until its response began.", "callee"),
		suppressed: counter("guard_client_retries_suppressed_total", "Retries that the budget forbade.", "callee"),
		breaker:    gauge("guard_breaker_state", "State of the circuit: 0 closed, 1 half-open, 2 open. Callee is callee/backend where there are backends.", "callee"),
		opened:     counter("guard_breaker_opened_total", "How often the circuit has opened.", "callee"),
		healthy:    gauge("guard_backend_healthy", "Whether the active checks find the backend up; 1 where there are none.", "callee", "backend"),
		flying:     gauge("guard_backend_in_flight", "Calls to a backend under way, until their responses have been read.", "callee", "backend"),
		answers:    counter("guard_backend_attempts_total", "Attempts to call a backend.", "callee", "backend", "outcome"),

		epoch:      gauge("guard_directive_epoch", "Highest accepted epoch.").WithLabelValues(),
		directives: gauge("guard_directives", "Directives held or returning.", "kind"),
		setting:    gauge("guard_setting", "Value in force; absent where there is no limit. For a kill switch callee is the feature.", "kind", "callee"),
		refused:    counter("guard_directives_refused_total", "Directives that were not accepted.", "reason"),
	}
	requests := counter("guard_requests_total", "Requests by how they ended.", "priority", "attempt", "outcome")
	arrivals := counter("guard_arrivals_total", "Requests as they arrived, before anything was decided: the offered load.", "priority")
	for p := range m.requests {
		m.arrivals[p] = arrivals.WithLabelValues(Priority(p).String())
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

var breakerLevel = map[circuit]float64{circuitClosed: 0, circuitHalfOpen: 1, circuitOpen: 2}

// breakerOf returns what exports the circuit with that label.
func (m *metrics) breakerOf(label string) func(circuit, bool) {
	before := circuitClosed
	return func(s circuit, present bool) {
		if !present {
			m.breaker.DeleteLabelValues(label)
			before = circuitClosed
			return
		}
		m.breaker.WithLabelValues(label).Set(breakerLevel[s])
		opened := m.opened.WithLabelValues(label)
		if s == circuitOpen && before != circuitOpen {
			opened.Inc()
		}
		before = s
	}
}

// backendMetrics are the series of one backend.
type backendMetrics struct {
	attempts [len(attemptOutcomeNames)]prometheus.Counter
	inFlight prometheus.Gauge
	healthy  prometheus.Gauge
}

func (m *metrics) backend(callee, name string) *backendMetrics {
	b := &backendMetrics{inFlight: m.flying.WithLabelValues(callee, name), healthy: m.healthy.WithLabelValues(callee, name)}
	for o := range b.attempts {
		if attemptOutcome(o) != attemptBreakerOpen { // which is of no backend
			b.attempts[o] = m.answers.WithLabelValues(callee, name, attemptOutcomeNames[o])
		}
	}
	b.setHealthy(true)
	return b
}

func (b *backendMetrics) setHealthy(up bool) {
	if up {
		b.healthy.Set(1)
	} else {
		b.healthy.Set(0)
	}
}

// dropBackend forgets the series of an endpoint that is no longer used. Calls to
// it that are under way bring none of them back.
func (m *metrics) dropBackend(callee string, e *endpoint) {
	e.breaker.silence()
	m.breaker.DeleteLabelValues(e.label)
	if e.url == nil {
		return
	}
	m.opened.DeleteLabelValues(e.label)
	m.healthy.DeleteLabelValues(callee, e.name)
	m.flying.DeleteLabelValues(callee, e.name)
	m.answers.DeletePartialMatch(prometheus.Labels{"callee": callee, "backend": e.name})
}
