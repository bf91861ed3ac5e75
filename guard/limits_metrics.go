package guard

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// limitMetrics are the series of one limit. Those of a limit that exports none
// are counted and never read.
type limitMetrics struct {
	admitted, refused, local prometheus.Counter
}

type limitVectors struct {
	requests *prometheus.CounterVec
	local    *prometheus.CounterVec
}

func newLimitMetrics(reg prometheus.Registerer, service string) *limitVectors {
	if reg != nil {
		reg = prometheus.WrapRegistererWith(prometheus.Labels{"service": service}, reg)
	}
	f := promauto.With(reg)
	return &limitVectors{
		requests: f.NewCounterVec(prometheus.CounterOpts{
			Name: "guard_limit_requests_total", Help: "Requests that came under a configured limit, by its decision. One that several limits refuse counts for the one with the longest wait.",
		}, []string{"limit", "decision"}),
		local: f.NewCounterVec(prometheus.CounterOpts{
			Name: "guard_limit_local_decisions_total", Help: "Decisions of a distributed limit that were made from this process's own share.",
		}, []string{"limit"}),
	}
}

func (v *limitVectors) limit(name string) *limitMetrics {
	return &limitMetrics{
		admitted: v.requests.WithLabelValues(name, "admitted"),
		refused:  v.requests.WithLabelValues(name, "refused"),
		local:    v.local.WithLabelValues(name),
	}
}
