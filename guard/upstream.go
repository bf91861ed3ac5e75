package guard

import (
	"sync/atomic"
	"time"

	"github.com/failsafe-go/failsafe-go/circuitbreaker"
)

// upstream is what the guard keeps about the calls to one callee. All transports
// to that callee share it.
type upstream struct {
	callee  string
	cfg     Upstream
	timeout atomic.Int64 // of one attempt, in nanoseconds; 0 is none
	budget  budget
	breaker breaker
	metrics *clientMetrics
}

func newUpstream(callee string, cfg Upstream, m *metrics) *upstream {
	u := &upstream{callee: callee, cfg: cfg, metrics: m.client(callee)}
	u.budget.ratio = cfg.RetryBudget
	u.breaker.changed = func(s circuitbreaker.State, present bool) {
		if !present {
			m.breaker.DeleteLabelValues(callee)
			return
		}
		m.breaker.WithLabelValues(callee).Set(breakerLevel[s])
	}
	return u
}

var breakerLevel = map[circuitbreaker.State]float64{
	circuitbreaker.ClosedState: 0, circuitbreaker.HalfOpenState: 1, circuitbreaker.OpenState: 2,
}

// openRatio is the budget at which the configured retries are not limited: the
// configured one, or that which no run of failures can use up.
func (u *upstream) openRatio() float64 {
	if u.cfg.RetryBudget >= 0 {
		return u.cfg.RetryBudget
	}
	return float64(u.cfg.Retries)
}

// configured is the default of a knob of this callee; empty is no limit.
func (u *upstream) configured(kind Kind) Params {
	switch kind {
	case KindRetryBudget:
		if u.cfg.RetryBudget >= 0 {
			return Params{"ratio": u.cfg.RetryBudget}
		}
	case KindTimeout:
		if u.cfg.Timeout > 0 {
			return Params{"seconds": time.Duration(u.cfg.Timeout).Seconds()}
		}
	case KindBreaker:
		if b := u.cfg.Breaker; b != nil {
			return Params{
				"failure_ratio": b.FailureRatio, "min_requests": float64(b.MinRequests),
				"open_seconds": time.Duration(b.Open).Seconds(),
			}
		}
	case KindShed, KindQueueBound, KindKillSwitch:
	}
	return Params{}
}

// breakerSettings completes what p leaves out from the configuration, or from
// the defaults where there is none. Without a ratio there is no breaker.
func (u *upstream) breakerSettings(p Params) *breakerSettings {
	base := DefaultBreaker()
	if u.cfg.Breaker != nil {
		base = *u.cfg.Breaker
	}
	ratio, present := p["failure_ratio"]
	if !present {
		return nil
	}
	s := &breakerSettings{
		failureRatio: ratio, minRequests: base.MinRequests, probes: base.Probes,
		open: time.Duration(base.Open), window: time.Duration(base.Window),
	}
	if n, ok := p["min_requests"]; ok {
		s.minRequests = int(n)
	}
	if sec, ok := p["open_seconds"]; ok {
		s.open = seconds(sec)
	}
	return s
}

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }
