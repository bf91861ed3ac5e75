package redislimit

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"
	"github.com/sreagent/sreagent/guard"
)

// ErrAway means that Redis did not answer lately and is not asked for now.
var ErrAway = errors.New("redis is away")

// Store counts limits in one Redis, or in one Redis cluster. It implements
// guard.SharedLimits and is safe for concurrent use.
type Store struct {
	client  redis.UniversalClient
	prefix  string
	timeout time.Duration
	backoff time.Duration
	log     *slog.Logger
	metrics *metrics

	mu     sync.RWMutex // guards what follows
	away   bool
	closed bool
	since  time.Time // of the last change
	probe  sync.WaitGroup
	stop   context.CancelFunc // ends the probe
	done   context.Context    // is over when the store is closed
}

var _ guard.SharedLimits = (*Store)(nil)

// Option changes how a store is built.
type Option func(*options)

type options struct {
	registerer prometheus.Registerer
	log        *slog.Logger
}

// WithRegisterer exports the store's metrics.
func WithRegisterer(r prometheus.Registerer) Option { return func(o *options) { o.registerer = r } }

// WithLogger sets where it is logged that Redis goes away and returns; without
// it nothing is.
func WithLogger(l *slog.Logger) Option { return func(o *options) { o.log = l } }

// New returns a store for cfg, whose Address is not empty. Redis need not be
// there yet. It reads the password and TLS files, and fails where they cannot
// be read. The caller closes it.
func New(cfg guard.RedisConfig, opts ...Option) (*Store, error) {
	o := options{log: slog.New(slog.DiscardHandler)}
	for _, opt := range opts {
		opt(&o)
	}
	client, err := newClient(cfg)
	if err != nil {
		return nil, fmt.Errorf("redis for distributed limits: %w", err)
	}
	s := &Store{
		client: client, prefix: cfg.Prefix, timeout: time.Duration(cfg.Timeout), backoff: time.Duration(cfg.Backoff),
		log: o.log, metrics: newMetrics(o.registerer),
	}
	s.done, s.stop = context.WithCancel(context.Background())
	s.metrics.up.Set(1)
	return s, nil
}

// Close gives up what is under way and disconnects. Calls after it say ErrAway.
func (s *Store) Close() error {
	s.mu.Lock()
	s.away, s.closed = true, true
	s.mu.Unlock()
	s.stop()
	s.probe.Wait()
	return s.client.Close()
}

// Take takes n of l for key, or says how long until n would be granted if
// nobody else came. It blocks for the timeout at most. On an error it is
// unknown whether n were taken.
func (s *Store) Take(ctx context.Context, l guard.LimitConfig, key string, n int64) (bool, time.Duration, error) {
	most := l.Burst
	if l.Algorithm == guard.SlidingWindow {
		most = l.Rate
	}
	if n > most {
		return false, guard.Never, nil
	}
	return s.run(ctx, l, key, n, 0)
}

// GiveBack returns n that Take granted, so long after Take was called.
func (s *Store) GiveBack(ctx context.Context, l guard.LimitConfig, key string, n int64, after time.Duration) {
	if _, _, err := s.run(ctx, l, key, -n, after); err != nil {
		s.metrics.kept.Add(float64(n))
	}
}

func (s *Store) run(ctx context.Context, l guard.LimitConfig, key string, n int64, after time.Duration) (bool, time.Duration, error) {
	s.mu.RLock()
	away := s.away
	s.mu.RUnlock()
	if away {
		return false, 0, ErrAway
	}
	began := time.Now()
	// A caller that goes away says nothing about Redis.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.timeout)
	defer cancel()
	ok, wait, err := s.decide(ctx, l, key, n, after)
	s.metrics.duration.Observe(time.Since(began).Seconds())
	if err == nil {
		return ok, wait, nil
	}
	s.metrics.errors.Inc()
	if !errors.Is(err, redis.ErrPoolTimeout) { // this process asks too much at once; Redis may be well
		s.lose(err)
	}
	return false, 0, fmt.Errorf("limit %s: %w", l.Name, err)
}

func (s *Store) decide(ctx context.Context, l guard.LimitConfig, key string, n int64, after time.Duration) (bool, time.Duration, error) {
	window := time.Duration(l.Window).Microseconds()
	late := after.Microseconds() + 1
	var reply *redis.Cmd
	if l.Algorithm == guard.SlidingWindow {
		reply = slidingScript.Run(ctx, s.client, []string{s.key(l, key)}, l.Rate, window, n, late)
	} else {
		reply = bucketScript.Run(ctx, s.client, []string{s.key(l, key)}, l.Rate, window, l.Burst*window, n, late)
	}
	answer, err := reply.Int64Slice()
	if err != nil {
		return false, 0, err
	}
	if len(answer) != 2 {
		return false, 0, fmt.Errorf("script answered %d numbers, want 2", len(answer))
	}
	return answer[0] == 1, time.Duration(answer[1]) * time.Microsecond, nil
}

// key holds the limit's numbers, because what is stored means something else
// under others. The braces keep a limit's keys in one slot of a cluster.
func (s *Store) key(l guard.LimitConfig, key string) string {
	kind := "b"
	if l.Algorithm == guard.SlidingWindow {
		kind = "s"
	}
	part := func(n int64) string { return ":" + strconv.FormatInt(n, 10) }
	return s.prefix + "{" + l.Name + "}:" + kind + part(l.Rate) + part(time.Duration(l.Window).Microseconds()) + part(l.Burst) + ":" + key
}

// lose stops asking Redis, until a probe in the background gets an answer. The
// first probe goes out at once, so that a hiccup costs little; but where it was
// lost shortly before, only after the back-off.
func (s *Store) lose(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.away {
		return
	}
	now := time.Now()
	wait := time.Duration(0)
	if now.Sub(s.since) < s.backoff {
		wait = s.backoff
	}
	s.away, s.since = true, now
	s.metrics.up.Set(0)
	s.log.Warn("redis is away, limits are local", "err", err)
	s.probe.Go(func() { s.await(wait) })
}

func (s *Store) await(wait time.Duration) {
	for {
		timer := time.NewTimer(wait)
		select {
		case <-s.done.Done():
			timer.Stop()
			return
		case <-timer.C:
		}
		err := s.ping()
		if err == nil {
			break
		}
		s.log.Debug("redis is still away", "err", err)
		wait = s.backoff
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return
	}
	s.away, s.since = false, time.Now()
	s.metrics.up.Set(1)
	s.log.Info("redis is back, limits are distributed")
}

// ping decides something, rather than only greet: a server may answer but not
// run scripts, or not accept writes. No request waits for it, so it may take
// longer than one.
func (s *Store) ping() error {
	ctx, cancel := context.WithTimeout(s.done, max(s.timeout, dialTimeout))
	defer cancel()
	_, _, err := s.decide(ctx, guard.LimitConfig{Name: "probe", Rate: 1, Burst: 1}.WithDefaults(), "", 0, 0)
	return err
}
