package guard

import (
	"net/url"
	"slices"
	"sync/atomic"
	"time"
)

// upstream is what the guard keeps about the calls to one callee. All transports
// to that callee share it.
type upstream struct {
	callee    string
	cfg       atomic.Pointer[Upstream]
	judge     atomic.Pointer[judge]
	timeout   atomic.Int64 // of one attempt, in nanoseconds; 0 is none
	budget    budget
	endpoints atomic.Pointer[[]*endpoint] // never empty; replaced as a whole
	metrics   *clientMetrics
}

// newUpstream needs ledger.mu.
func (g *Guard) newUpstream(callee string, cfg Upstream) *upstream {
	u := &upstream{callee: callee, metrics: g.metrics.client(callee)}
	u.budget.ratio = cfg.RetryBudget
	g.setUpstream(u, cfg)
	return u
}

// setUpstream takes over a configuration. An endpoint that it still names keeps
// its circuit, its latency and its health; a new one beside others starts slowly.
// It needs ledger.mu.
func (g *Guard) setUpstream(u *upstream, cfg Upstream) {
	j := newJudge(cfg.Breaker)
	before := u.cfg.Load()
	u.cfg.Store(&cfg)
	u.judge.Store(&j)
	old := make(map[Backend]*endpoint)
	for _, e := range u.all() {
		old[e.backend] = e
		if !slices.Contains(cfg.Backends, e.backend) && (e.url != nil || len(cfg.Backends) > 0) {
			g.metrics.dropBackend(u.callee, e) // before one of the same name has series
		}
	}
	var all []*endpoint
	for _, b := range cfg.Backends {
		e, kept := old[b]
		delete(old, b)
		if !kept {
			e = g.newBackend(u, b)
			if before != nil { // beside others that are warm
				e.returned = g.clock.Now()
			}
		}
		if !kept || !sameHealth(before.Health, cfg.Health) {
			e.unwatch()
			if cfg.Health != nil {
				g.watch(u.callee, e, *cfg.Health)
			}
		}
		all = append(all, e)
	}
	if len(all) == 0 {
		e, kept := old[Backend{}]
		delete(old, Backend{})
		if !kept {
			e = &endpoint{label: u.callee}
			e.breaker.changed = g.metrics.breakerOf(e.label)
		}
		all = []*endpoint{e}
	}
	u.endpoints.Store(&all)
	for _, gone := range old {
		gone.unwatch()
	}
}

// newBackend needs a URL that the configuration has found valid.
func (g *Guard) newBackend(u *upstream, b Backend) *endpoint {
	address, err := url.Parse(b.URL)
	if err != nil {
		panic(err) // Validate has parsed it
	}
	e := &endpoint{name: b.Name, label: u.callee + "/" + b.Name, backend: b, url: address}
	e.breaker.changed = g.metrics.breakerOf(e.label)
	e.metrics = g.metrics.backend(u.callee, b.Name)
	return e
}

func sameHealth(a, b *HealthConfig) bool {
	return a == b || a != nil && b != nil && *a == *b
}

// all returns the endpoints; nobody changes what it returns.
func (u *upstream) all() []*endpoint {
	if p := u.endpoints.Load(); p != nil {
		return *p
	}
	return nil
}

// openRatio is the budget at which the configured retries are not limited: the
// configured one, or that which no run of failures can use up.
func (u *upstream) openRatio() float64 {
	cfg := u.cfg.Load()
	if cfg.RetryBudget >= 0 {
		return cfg.RetryBudget
	}
	return float64(cfg.Retries)
}

// configured is the default of a knob of this callee; empty is no limit.
func (u *upstream) configured(kind Kind) Params {
	cfg := u.cfg.Load()
	switch kind {
	case KindRetryBudget:
		if cfg.RetryBudget >= 0 {
			return Params{"ratio": cfg.RetryBudget}
		}
	case KindTimeout:
		if cfg.Timeout > 0 {
			return Params{"seconds": time.Duration(cfg.Timeout).Seconds()}
		}
	case KindBreaker:
		if b := cfg.Breaker; b != nil {
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
	if b := u.cfg.Load().Breaker; b != nil {
		base = *b
	}
	ratio, present := p["failure_ratio"]
	if !present {
		return nil
	}
	s := &breakerSettings{
		failureRatio: ratio, minRequests: base.MinRequests, consecutive: base.Consecutive, probes: base.Probes,
		open: time.Duration(base.Open), maxOpen: time.Duration(base.MaxOpen), window: time.Duration(base.Window),
	}
	if n, ok := p["min_requests"]; ok {
		s.minRequests = int(n)
	}
	if n, ok := p["consecutive"]; ok {
		s.consecutive = int(n)
	}
	if n, ok := p["probes"]; ok {
		s.probes = int(n)
	}
	if sec, ok := p["open_seconds"]; ok {
		s.open = seconds(sec)
	}
	if s.maxOpen == 0 {
		s.maxOpen = 8 * s.open
	}
	return s
}

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }
