package replay

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/value"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/tsdb"
)

// Defaults of StoreOptions, as Prometheus itself has them.
const (
	DefaultLookback     = 5 * time.Minute
	DefaultQueryTimeout = 2 * time.Minute
	DefaultMaxSamples   = 50_000_000

	subqueryStep = time.Minute // of a subquery that names none
)

// maxAnnotations bounds the warnings and infos that one answer carries.
const maxAnnotations = 10

// ErrStoreClosed is returned by every call on a store after Close.
var ErrStoreClosed = errors.New("store is closed")

// StoreOptions sets up a Store. The zero value is usable.
type StoreOptions struct {
	Lookback   time.Duration    // how old a sample an instant query still sees; 0 means DefaultLookback
	Timeout    time.Duration    // longest query; 0 means DefaultQueryTimeout
	MaxSamples int              // most samples one query may load; 0 means DefaultMaxSamples
	Now        func() time.Time // instant of a query that names none; nil means that of the newest sample
	Logger     *slog.Logger     // nil discards
}

// Sample is one measurement. Metric carries the name under __name__. A Stale
// sample ends its series: queries from then on do not see it, and Value is
// ignored.
type Sample struct {
	Metric model.Metric
	Value  float64
	Stale  bool
}

// Range is the span of a range query, both ends included.
type Range struct {
	Start, End time.Time
	Step       time.Duration
}

// Result is the answer to a query: a model.Vector, model.Matrix, *model.Scalar
// or *model.String, with what the engine remarked on.
type Result struct {
	Value    model.Value
	Warnings []string
	Infos    []string
}

// Store is an embedded Prometheus TSDB with its query engine. It is safe for
// concurrent use.
type Store struct {
	db     *tsdb.DB
	engine *promql.Engine
	now    func() time.Time
	log    *slog.Logger
	newest atomic.Int64 // timestamp of the newest sample, in ms

	mu     sync.RWMutex // held for reading by every call, for writing by Close
	closed bool
}

// OpenStore opens the store in dir, which is created where it is missing, and
// replays what an earlier store wrote there.
func OpenStore(dir string, o StoreOptions) (*Store, error) {
	log := o.Logger
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	opts := tsdb.DefaultOptions()
	opts.RetentionDuration = 0 // a recording may be older than any retention
	db, err := tsdb.Open(dir, log, nil, opts, nil)
	if err != nil {
		return nil, fmt.Errorf("open metric store %s: %w", dir, err)
	}
	s := &Store{db: db, now: o.Now, log: log}
	s.newest.Store(newestOf(db))
	s.engine = promql.NewEngine(promql.EngineOpts{
		Logger:                   log,
		MaxSamples:               orDefault(o.MaxSamples, DefaultMaxSamples),
		Timeout:                  orDefault(o.Timeout, DefaultQueryTimeout),
		LookbackDelta:            orDefault(o.Lookback, DefaultLookback),
		EnableAtModifier:         true,
		EnableNegativeOffset:     true,
		NoStepSubqueryIntervalFn: func(int64) int64 { return subqueryStep.Milliseconds() },
		Parser:                   parser.NewParser(parser.Options{}),
	})
	return s, nil
}

// newestOf returns the timestamp of the newest sample in ms, or the Unix epoch
// for an empty database, whose head answers with a sentinel.
func newestOf(db *tsdb.DB) int64 {
	newest := db.Head().MaxTime()
	for _, b := range db.Blocks() {
		newest = max(newest, b.MaxTime()-1)
	}
	if newest == math.MinInt64 {
		return 0
	}
	return newest
}

func orDefault[T int | time.Duration](v, def T) T {
	if v <= 0 {
		return def
	}
	return v
}

// Newest returns the instant of the newest sample, the Unix epoch where there
// is none.
func (s *Store) Newest() time.Time { return time.UnixMilli(s.newest.Load()).UTC() }

// Now returns the instant that queries without one are answered at.
func (s *Store) Now() time.Time {
	if s.now != nil {
		return s.now()
	}
	return s.Newest()
}

// Append adds samples of one instant, all or none. It fails where a sample is
// older than the newest of its series, or is a second value at the same
// instant.
func (s *Store) Append(at time.Time, samples []Sample) error {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.closed {
		return ErrStoreClosed
	}
	// A commit must not be torn by a caller that goes away, so it has a context
	// of its own.
	app := s.db.Appender(context.Background())
	ts := at.UnixMilli()
	for _, sample := range samples {
		v := sample.Value
		if sample.Stale {
			v = math.Float64frombits(value.StaleNaN)
		}
		if _, err := app.Append(0, labelsOf(sample.Metric), ts, v); err != nil {
			return errors.Join(fmt.Errorf("append %s: %w", sample.Metric, err), app.Rollback())
		}
	}
	if err := app.Commit(); err != nil {
		return fmt.Errorf("commit %d samples: %w", len(samples), err)
	}
	if len(samples) > 0 {
		s.advance(ts)
	}
	return nil
}

func (s *Store) advance(ts int64) {
	for {
		old := s.newest.Load()
		if ts <= old || s.newest.CompareAndSwap(old, ts) {
			return
		}
	}
}

// labelsOf converts a metric into the engine's form, which is sorted and has
// no empty values.
func labelsOf(m model.Metric) labels.Labels {
	pairs := make([]labels.Label, 0, len(m))
	for name, val := range m {
		if val != "" {
			pairs = append(pairs, labels.Label{Name: string(name), Value: string(val)})
		}
	}
	slices.SortFunc(pairs, func(a, b labels.Label) int {
		if a.Name < b.Name {
			return -1
		}
		return 1
	})
	return labels.New(pairs...)
}

// Query evaluates expr at one instant. Its error is a *QueryError, or
// ErrStoreClosed.
func (s *Store) Query(ctx context.Context, expr string, at time.Time) (Result, error) {
	return s.exec(ctx, expr, func() (promql.Query, error) {
		return s.engine.NewInstantQuery(ctx, s.db, nil, expr, at)
	})
}

// QueryRange evaluates expr at every step of a span. Its error is a
// *QueryError, or ErrStoreClosed.
func (s *Store) QueryRange(ctx context.Context, expr string, r Range) (Result, error) {
	if err := r.check(); err != nil {
		return Result{}, err
	}
	return s.exec(ctx, expr, func() (promql.Query, error) {
		return s.engine.NewRangeQuery(ctx, s.db, nil, expr, r.Start, r.End, r.Step)
	})
}

// maxPoints is Prometheus' own bound on the steps of one range query.
const maxPoints = 11000

func (r Range) check() error {
	switch {
	case r.Step <= 0:
		return &QueryError{Type: BadData, Err: errors.New("step must be longer than zero")}
	case r.End.Before(r.Start):
		return &QueryError{Type: BadData, Err: errors.New("end must not be before start")}
	case r.End.Sub(r.Start)/r.Step > maxPoints:
		return &QueryError{Type: BadData, Err: fmt.Errorf("more than %d points per series: use a longer step", maxPoints)}
	}
	return nil
}

func (s *Store) exec(ctx context.Context, expr string, prepare func() (promql.Query, error)) (Result, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.closed {
		return Result{}, ErrStoreClosed
	}
	q, err := prepare()
	if err != nil {
		return Result{}, &QueryError{Type: BadData, Err: err}
	}
	defer q.Close()
	res := q.Exec(ctx)
	warnings, infos := res.Warnings.AsStrings(expr, maxAnnotations, maxAnnotations)
	if res.Err != nil {
		return Result{}, &QueryError{Type: errorTypeOf(res.Err), Err: res.Err}
	}
	v, err := valueOf(res.Value)
	if err != nil {
		return Result{}, &QueryError{Type: Execution, Err: err}
	}
	return Result{Value: v, Warnings: warnings, Infos: infos}, nil
}

// Close ends the engine and the database after the calls under way are done.
// Closing twice is success.
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil
	}
	s.closed = true
	return errors.Join(s.engine.Close(), s.db.Close())
}
