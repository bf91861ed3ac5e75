package guard

import (
	"errors"
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
	cfg     atomic.Pointer[Config]
	token   atomic.Pointer[string]
	auth    atomic.Pointer[authenticator]
	clock   Clock
	log     *slog.Logger
	jitter  func() float64
	metrics *metrics

	limitVectors *limitVectors
	limits       atomic.Pointer[limits]
	shared       SharedLimits
	limiter      limiter
	queue        queue
	timeout      atomic.Int64 // of handling, in nanoseconds; 0 is none
	switches     switches
	ledger       ledger

	upstreams map[string]*upstream // guarded by ledger.mu
	closers   []func()             // likewise
}

// Option changes how a guard is built.
type Option func(*options)

type options struct {
	registerer prometheus.Registerer
	clock      Clock
	log        *slog.Logger
	jitter     func() float64
	pressure   func(bool)
	shared     SharedLimits
}

// WithRegisterer exports the guard's metrics. Guards of different services can
// share one registry.
func WithRegisterer(r prometheus.Registerer) Option {
	return func(o *options) { o.registerer = r }
}

// WithPressure is told, under a lock of the queue and so in order, when the queue
// comes under pressure and when it is relieved. f must return at once.
func WithPressure(f func(on bool)) Option { return func(o *options) { o.pressure = f } }

// WithClock replaces the system's clock.
func WithClock(c Clock) Option { return func(o *options) { o.clock = c } }

// WithLogger sets where state changes are logged; without it nothing is.
func WithLogger(l *slog.Logger) Option { return func(o *options) { o.log = l } }

// WithJitter replaces the source of the back-off's jitter and of the choice
// between backends; f returns numbers in
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
	auth, err := newAuthenticator(cfg.Auth)
	if err != nil {
		return nil, err
	}
	epoch, err := readEpoch(cfg.StateFile)
	if err != nil {
		return nil, err
	}
	g := &Guard{
		clock: o.clock, log: o.log, jitter: o.jitter, metrics: newMetrics(o.registerer, cfg.Service),
		upstreams: make(map[string]*upstream, len(cfg.Upstreams)),
	}
	g.shared, g.limitVectors = o.shared, newLimitMetrics(o.registerer, cfg.Service)
	limits, err := newLimits(cfg, nil, g.shared, g.clock.Now(), g.limitVectors)
	if err != nil {
		return nil, err
	}
	g.token.Store(&token)
	g.auth.Store(auth)
	g.limits.Store(limits)
	g.metrics.epoch.Set(float64(epoch))
	g.ledger = ledger{
		clock:   o.clock,
		persist: func(epoch uint64) error { return writeEpoch(cfg.StateFile, epoch) },
		enforce: g.enforce, target: g.returnTarget, epoch: epoch,
		leases: make(map[knob]*lease), owners: make(map[string]knob),
		fences: make(map[knob]fence), deleted: make(map[string]uint64),
	}
	g.queue.clock = o.clock
	g.queue.changed = func(active, waiting int) {
		g.metrics.inFlight.Set(float64(active))
		g.metrics.waiting.Set(float64(waiting))
	}
	g.queue.turned = g.pressed(o.pressure)
	g.ledger.mu.Lock()
	defer g.ledger.mu.Unlock()
	g.adopt(cfg)
	return g, nil
}

func (g *Guard) pressed(tell func(bool)) func(bool) {
	return func(on bool) {
		if on {
			g.metrics.pressure.Set(1)
		} else {
			g.metrics.pressure.Set(0)
		}
		if tell != nil {
			tell(on)
		}
	}
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

// adopt enforces a valid configuration beneath the directives in force. It needs
// ledger.mu.
func (g *Guard) adopt(cfg Config) {
	g.cfg.Store(&cfg)
	g.ledger.steps, g.ledger.every = cfg.Return.Steps, time.Duration(cfg.Return.Every)
	g.metrics.workers.Set(float64(cfg.Workers))
	g.queue.configure(cfg.Workers, cfg.Pressure)
	for _, callee := range slices.Sorted(maps.Keys(g.upstreams)) {
		up, named := cfg.Upstreams[callee]
		if !named {
			up = DefaultUpstream()
		}
		g.setUpstream(g.upstreams[callee], up)
	}
	for _, callee := range slices.Sorted(maps.Keys(cfg.Upstreams)) {
		if _, known := g.upstreams[callee]; !known {
			g.upstreams[callee] = g.newUpstream(callee, cfg.Upstreams[callee])
		}
	}
	for _, u := range g.upstreams {
		g.enforceUpstream(u)
	}
	g.enforce(knob{kind: KindQueueBound})
	g.enforce(knob{kind: KindTimeout})
}

// Reload goes over to another configuration between two requests: those under
// way, the directives in force and the state of the circuits stay. An error
// leaves everything as it was. The name of the service and its state file need a
// restart.
func (g *Guard) Reload(cfg Config) error {
	if err := cfg.Validate(); err != nil {
		return fmt.Errorf("guard configuration: %w", err)
	}
	var f faults
	now := g.cfg.Load()
	f.check(cfg.Service == now.Service, "service", "was %q; allowed: another one after a restart", now.Service)
	f.check(sameRedis(cfg.Redis, now.Redis), "redis", "has changed; allowed: after a restart, but for processes")
	f.check(cfg.StateFile == now.StateFile, "state_file", "was %q; allowed: another one after a restart", now.StateFile)
	if err := errors.Join(f...); err != nil {
		return fmt.Errorf("guard configuration: %w", err)
	}
	token, err := loadToken(cfg)
	if err != nil {
		return err
	}
	auth, err := newAuthenticator(cfg.Auth)
	if err != nil {
		return err
	}
	g.ledger.mu.Lock()
	defer g.ledger.mu.Unlock()
	if g.ledger.closed {
		return errors.New("reload: the guard is closed")
	}
	limits, err := newLimits(cfg, g.limits.Load(), g.shared, g.clock.Now(), g.limitVectors)
	if err != nil {
		return fmt.Errorf("guard configuration: %w", err)
	}
	g.limits.Store(limits)
	g.token.Store(&token)
	g.auth.Store(auth)
	g.adopt(cfg)
	return nil
}

// enforceUpstream needs ledger.mu.
func (g *Guard) enforceUpstream(u *upstream) {
	for _, kind := range []Kind{KindRetryBudget, KindTimeout, KindBreaker} {
		g.enforceCallee(u, kind)
	}
}

func (g *Guard) upstream(callee string) *upstream {
	g.ledger.mu.Lock()
	defer g.ledger.mu.Unlock()
	if u, ok := g.upstreams[callee]; ok {
		return u
	}
	u := g.newUpstream(callee, DefaultUpstream())
	g.upstreams[callee] = u
	g.enforceUpstream(u)
	return u
}

// Allowed reports whether feature is on for key: false for the share of keys that
// a kill switch names. The same key always gets the same answer at the same
// percentage, in every process.
func (g *Guard) Allowed(feature, key string) bool { return g.switches.allowed(feature, key) }

func (g *Guard) onClose(f func()) {
	g.ledger.mu.Lock()
	defer g.ledger.mu.Unlock()
	g.closers = append(g.closers, f)
}

// Close stops all timers and checks and rejects the requests that wait. What is in force
// stays so; directives are refused from then on. It can be called twice.
func (g *Guard) Close() {
	g.ledger.close()
	g.queue.setBound(0)
	g.ledger.mu.Lock()
	defer g.ledger.mu.Unlock()
	for _, u := range g.upstreams {
		for _, e := range u.all() {
			e.unwatch()
		}
	}
	for _, f := range g.closers {
		f()
	}
}
