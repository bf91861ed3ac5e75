package oncall

import (
	"strconv"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"github.com/sreagent/sreagent/sre"
)

type deskMetrics struct {
	pending prometheus.Gauge
	waits   map[sre.Response]prometheus.Observer
}

func newDeskMetrics(reg prometheus.Registerer) *deskMetrics {
	f := promauto.With(reg)
	waits := f.NewHistogramVec(prometheus.HistogramOpts{
		Name:    "sreagent_approval_wait_seconds",
		Help:    "Time from a question to its answer, or to its expiry.",
		Buckets: []float64{5, 15, 30, 60, 120, 300, 600, 1200, 1800, 3600},
	}, []string{"response"})
	m := &deskMetrics{
		pending: f.NewGauge(prometheus.GaugeOpts{
			Name: "sreagent_approvals_pending",
			Help: "Questions that wait for a human answer.",
		}),
		waits: make(map[sre.Response]prometheus.Observer),
	}
	for _, r := range []sre.Response{sre.Approved, sre.Rejected, sre.Expired} {
		m.waits[r] = waits.WithLabelValues(string(r))
	}
	return m
}

// wait returns the histogram of a response. What is not recognised counts as
// expired, so that the label stays bounded.
func (m *deskMetrics) wait(r sre.Response) prometheus.Observer {
	if o, ok := m.waits[r]; ok {
		return o
	}
	return m.waits[sre.Expired]
}

type apiMetrics struct {
	requests *prometheus.CounterVec
}

func newAPIMetrics(reg prometheus.Registerer) *apiMetrics {
	return &apiMetrics{requests: promauto.With(reg).NewCounterVec(prometheus.CounterOpts{
		Name: "sreagent_http_requests_total",
		Help: "Requests to the agent's own HTTP API, by route and status code.",
	}, []string{"handler", "code"})}
}

func (m *apiMetrics) count(handler string, code int) {
	m.requests.WithLabelValues(handler, strconv.Itoa(code)).Inc()
}

// pageResult says what became of one notice at one receiver.
type pageResult string

const (
	pageSent    pageResult = "sent"    // the receiver took it
	pageRetried pageResult = "retried" // this attempt failed; another follows
	pageRefused pageResult = "refused" // the receiver said no for good
	pageDropped pageResult = "dropped" // the queue was full of more severe ones
)

type pagerMetrics struct {
	pages *prometheus.CounterVec
}

func newPagerMetrics(reg prometheus.Registerer) *pagerMetrics {
	m := &pagerMetrics{pages: promauto.With(reg).NewCounterVec(prometheus.CounterOpts{
		Name: "sreagent_pages_total",
		Help: "Notices by kind of receiver and by what became of each attempt to deliver them.",
	}, []string{"receiver", "result"})}
	for _, kind := range []string{kindAlertmanager, kindWebhook} {
		for _, r := range []pageResult{pageSent, pageRetried, pageRefused, pageDropped} {
			m.pages.WithLabelValues(kind, string(r))
		}
	}
	return m
}

func (m *pagerMetrics) add(kind string, r pageResult, n int) {
	m.pages.WithLabelValues(kind, string(r)).Add(float64(n))
}
