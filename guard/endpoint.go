package guard

import (
	"math"
	"net/url"
	"sync"
	"sync/atomic"
	"time"
)

// latencyMemory is how long a latency is remembered: after that time without
// calls a third of it is left, so that a backend that was slow is tried again.
const latencyMemory = 10 * time.Second

// leastWeight is the share of its calls that a returning backend gets at first,
// as in Envoy's slow start.
const leastWeight = 0.1

// endpoint is one place where a callee is reached. A callee without configured
// backends has a single one without a URL: requests go where they are addressed.
type endpoint struct {
	name    string
	backend Backend
	label   string   // callee, or callee/name
	url     *url.URL // nil leaves a request's address as it is
	breaker breaker
	metrics *backendMetrics // nil where there are no backends

	inFlight atomic.Int64
	down     atomic.Bool // by the active checks

	mu       sync.Mutex
	latency  float64   // seconds, smoothed
	answered time.Time // zero: never
	returned time.Time // when it came up again, or was added; zero is never
	streak   int       // of equal check results
	lastErr  string    // of the checks
	stop     func()    // ends the checks; nil where there are none
}

// begin counts a call under way; end must follow.
func (e *endpoint) begin() {
	if e.url == nil { // nothing to choose between
		return
	}
	e.inFlight.Add(1)
	if e.metrics != nil {
		e.metrics.inFlight.Inc() // two that set a number could do so in the wrong order
	}
}

// end notes how a call ended. What failed says nothing of how fast the backend
// is: an error is often quicker than an answer and must not attract more calls.
func (e *endpoint) end(now time.Time, took time.Duration, worked bool) {
	if e.url == nil {
		return
	}
	e.inFlight.Add(-1)
	if e.metrics != nil {
		e.metrics.inFlight.Dec()
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	sample := max(0, took.Seconds())
	if !worked {
		sample = max(sample, e.latency)
	}
	if e.answered.IsZero() {
		e.latency = sample
	} else {
		keep := math.Exp(-max(0, now.Sub(e.answered).Seconds()) / latencyMemory.Seconds())
		keep = min(keep, 0.9) // many calls at one instant move it too
		e.latency = e.latency*keep + sample*(1-keep)
	}
	e.answered = now
}

// load is what one more call would meet: the calls under way times their
// latency, the score of Finagle's peak-EWMA balancer. It reports whether the
// latency is known.
func (e *endpoint) load(now time.Time) (calls, latency float64, known bool) {
	calls = float64(e.inFlight.Load() + 1)
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.answered.IsZero() {
		return calls, 0, false
	}
	idle := max(0, now.Sub(e.answered).Seconds())
	return calls, e.latency * math.Exp(-idle/latencyMemory.Seconds()), true
}

// weight is the share of its calls that a backend gets while it warms up.
func (e *endpoint) weight(now time.Time, slowStart time.Duration) float64 {
	e.mu.Lock()
	defer e.mu.Unlock()
	if slowStart <= 0 || e.returned.IsZero() {
		return 1
	}
	return min(1, max(leastWeight, now.Sub(e.returned).Seconds()/slowStart.Seconds()))
}

// BackendState is one backend as GET /guard/v1/state shows it.
type BackendState struct {
	Name     string  `json:"name"`
	URL      string  `json:"url"`
	Healthy  bool    `json:"healthy"` // by its active checks; true where it has none
	Reason   string  `json:"reason,omitempty"`
	InFlight int64   `json:"in_flight"`
	Latency  float64 `json:"latency_seconds"` // smoothed
	Weight   float64 `json:"weight"`          // below 1 during slow start
	Breaker  string  `json:"breaker,omitempty"`
}

func (e *endpoint) describe(now time.Time, slowStart time.Duration) BackendState {
	s := BackendState{Name: e.name, URL: e.url.String(), Healthy: !e.down.Load(), InFlight: e.inFlight.Load(), Weight: e.weight(now, slowStart)}
	_, s.Latency, _ = e.load(now)
	if stats, present := e.breaker.stats(now); present {
		s.Breaker = stats.State
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.down.Load() {
		s.Reason = e.lastErr
	}
	return s
}

// pick chooses where the next call goes and takes a permit there: of two at
// random the one with less load (Mitzenmacher, The Power of Two Choices, 2001)
// among those that are up and whose circuit lets calls through. A retry goes
// elsewhere if it can. Where every check fails the checks are more likely wrong
// than every backend is, so health is left aside, as in Envoy's panic mode.
func pick(all []*endpoint, now time.Time, slowStart time.Duration, last *endpoint, random func() float64) (*endpoint, permit, bool) {
	if len(all) == 1 {
		p, ok := all[0].breaker.allow(now)
		return all[0], p, ok
	}
	fit := choose(all, func(e *endpoint) bool { return !e.down.Load() })
	if len(fit) == 0 {
		fit = all
	}
	fit = choose(fit, func(e *endpoint) bool { return e.breaker.ready(now) })
	if others := choose(fit, func(e *endpoint) bool { return e != last }); len(others) > 0 {
		fit = others
	}
	for len(fit) > 0 {
		i := best(fit, now, slowStart, random)
		if p, ok := fit[i].breaker.allow(now); ok {
			return fit[i], p, true
		}
		fit[i] = fit[len(fit)-1] // somebody else took its last probe
		fit = fit[:len(fit)-1]
	}
	return nil, permit{}, false
}

func choose(from []*endpoint, fits func(*endpoint) bool) []*endpoint {
	var to []*endpoint
	for _, e := range from {
		if fits(e) {
			to = append(to, e)
		}
	}
	return to
}

// best draws two and returns the index of the less loaded one. One that warms up
// is passed over as often as its weight says.
func best(of []*endpoint, now time.Time, slowStart time.Duration, random func() float64) int {
	if len(of) == 1 {
		return 0
	}
	n := len(of)
	i := int(random() * float64(n))
	j := (i + 1 + int(random()*float64(n-1))) % n
	wi, wj := of[i].weight(now, slowStart), of[j].weight(now, slowStart)
	if wi < 1 && random() >= wi && wj >= wi {
		return j
	}
	if wj < 1 && random() >= wj && wi >= wj {
		return i
	}
	ci, li, knownI := of[i].load(now)
	cj, lj, knownJ := of[j].load(now)
	if knownI && knownJ {
		ci, cj = ci*li, cj*lj
	}
	if cj < ci {
		return j
	}
	return i
}
