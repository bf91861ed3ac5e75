package guard

import (
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Guard enforces the limits of one service. It is safe for concurrent use.
type Guard struct {
	cfg     Config
	token   string
	clock   Clock
	log     *slog.Logger
	jitter  func() float64
	metrics *metrics

	limiter  limiter
	queue    queue
	timeout  atomic.Int64 // of handling, in nanoseconds; 0 is none
	switches switches
	ledger   ledger

	upstreams map[string]*upstream // guarded by ledger.mu
}

// Option changes how a guard is built.
type Option func(*options)

type options struct {
	registerer prometheus.Registerer
	clock      Clock
	log        *slog.Logger
	jitter     func() float64
}

// WithRegisterer exports the guard's metrics. Guards of different services can
// share one registry.
func WithRegisterer(r prometheus.Registerer) Option {
	return func(o *options) { o.registerer = r }
}

// WithClock replaces the system's clock. Breaker windows stay on the system's.
func WithClock(c Clock) Option { return func(o *options) { o.clock = c } }

// WithLogger sets where state changes are logged; without it nothing is.
func WithLogger(l *slog.Logger) Option { return func(o *options) { o.log = l } }

// WithJitter replaces the source of the back-off's jitter; f returns numbers in
// [0, 1) and is safe for concurrent use.
func WithJitter(f func() float64) Option { return func(o *options) { o.jitter = f } }

// New returns a guard that enforces cfg, or all that is wrong with cfg. It reads
// the token file and the state file.
func New(cfg Config, opts ...Option) (*Guard, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("guard configuration: %w", err)
	}
	o := options{clock: systemClock{}, log: slog.New(slog.DiscardHandler), jitter: rand.Float64}
	for _, opt := range opts {
		opt(&o)
	}
	token, err := loadToken(cfg)
	if err != nil {
		return nil, err
	}
	epoch, err := readEpoch(cfg.StateFile)
	if err != nil {
		return nil, err
	}
	g := &Guard{
		cfg: cfg, token: token, clock: o.clock, log: o.log, jitter: o.jitter,
		metrics:   newMetrics(o.registerer, cfg.Service),
		upstreams: make(map[string]*upstream, len(cfg.Upstreams)),
	}
	g.queue.workers, g.queue.bound = cfg.Workers, cfg.Queue
	g.queue.changed = func(active, waiting int) {
		g.metrics.inFlight.Set(float64(active))
		g.metrics.waiting.Set(float64(waiting))
	}
	g.metrics.workers.Set(float64(cfg.Workers))
	g.metrics.epoch.Set(float64(epoch))
	g.ledger = ledger{
		clock: o.clock, steps: cfg.Return.Steps, every: time.Duration(cfg.Return.Every),
		persist: func(epoch uint64) error { return writeEpoch(cfg.StateFile, epoch) },
		enforce: g.enforce, target: g.returnTarget, epoch: epoch,
		leases: make(map[knob]*lease), owners: make(map[string]knob),
		fences: make(map[knob]fence), deleted: make(map[string]uint64),
	}
	g.start()
	return g, nil
}

func loadToken(cfg Config) (string, error) {
	if cfg.TokenFile == "" {
		return cfg.Token, nil
	}
	data, err := os.ReadFile(cfg.TokenFile)
	if err != nil {
		return "", fmt.Errorf("read token file: %w", err)
	}
	token := strings.TrimSpace(string(data))
	if token == "" {
		return "", fmt.Errorf("read token file %s: it is empty", cfg.TokenFile)
	}
	return token, nil
}

func (g *Guard) start() {
	g.ledger.mu.Lock()
	defer g.ledger.mu.Unlock()
	for _, callee := range slices.Sorted(maps.Keys(g.cfg.Upstreams)) {
		g.addUpstream(callee, g.cfg.Upstreams[callee])
	}
	g.enforce(knob{kind: KindQueueBound})
	g.enforce(knob{kind: KindTimeout})
}

// addUpstream needs ledger.mu.
func (g *Guard) addUpstream(callee string, cfg Upstream) *upstream {
	u := newUpstream(callee, cfg, g.metrics)
	g.upstreams[callee] = u
	for _, kind := range []Kind{KindRetryBudget, KindTimeout, KindBreaker} {
		g.enforceCallee(u, kind)
	}
	return u
}

func (g *Guard) upstream(callee string) *upstream {
	g.ledger.mu.Lock()
	defer g.ledger.mu.Unlock()
	if u, ok := g.upstreams[callee]; ok {
		return u
	}
	return g.addUpstream(callee, DefaultUpstream())
}

// Allowed reports whether feature is on for key: false for the share of keys that
// a kill switch names. The same key always gets the same answer at the same
// percentage, in every process.
func (g *Guard) Allowed(feature, key string) bool { return g.switches.allowed(feature, key) }

// Close stops all timers and rejects the requests that wait. What is in force
// stays so; directives are refused from then on. It can be called twice.
func (g *Guard) Close() {
	g.ledger.close()
	g.queue.setBound(0)
}
