package sources

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	promv1 "github.com/prometheus/client_golang/api/prometheus/v1"
	"github.com/prometheus/common/model"
	"golang.org/x/sync/errgroup"
)

const (
	// recordAttempts is how often one piece is asked for before the recording
	// gives up: with the pauses between, some 15 s of an outage are sat out.
	recordAttempts = 6
	firstPause     = 500 * time.Millisecond
	longestPause   = 15 * time.Second

	// smallestPiece is the shortest stretch that one query is cut down to.
	smallestPiece = time.Second

	// calmPieces is how many answers in a row must come before longer pieces are
	// tried again.
	calmPieces = 8
)

// Series is the raw samples of one series, oldest first. Metric carries the
// name under __name__.
type Series struct {
	Metric  model.Metric
	Samples []model.SamplePair
}

// RecorderOptions is what the process around a recorder gives it.
type RecorderOptions struct {
	Log *slog.Logger // nil discards
	// Pause waits between two attempts, or ends with the error of its context.
	// Nil waits by the clock.
	Pause func(ctx context.Context, d time.Duration) error
}

// Recorder reads raw samples from one Prometheus, with their own times and
// values. It may be used by one goroutine at a time.
type Recorder struct {
	store       *store
	log         *slog.Logger
	pause       func(context.Context, time.Duration) error
	concurrency int

	mu     sync.Mutex
	pieces map[string]*piece // by selector
	odd    map[string]bool   // series with native histograms
}

// piece is how long a stretch of one selector is asked for at once.
type piece struct {
	size time.Duration // 0 is not bounded
	calm int           // answers since it last changed
}

// NewRecorder returns a recorder. Mistakes in the configuration are returned as
// sre.Faults. It asks nothing of the network yet.
func NewRecorder(cfg PrometheusConfig, o RecorderOptions) (*Recorder, error) {
	if faults := cfg.Validate(); len(faults) > 0 {
		return nil, faults
	}
	options := Options{Log: o.Log}.withDefaults()
	s, err := newStore(cfg, options, newMetrics(nil, false))
	if err != nil {
		return nil, err
	}
	r := &Recorder{
		store: s, log: options.Log, pause: o.Pause, concurrency: cfg.Concurrency,
		pieces: make(map[string]*piece), odd: make(map[string]bool),
	}
	if r.pause == nil {
		r.pause = pause
	}
	return r, nil
}

func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-timer.C:
		return nil
	}
}

// Close lets go of idle connections. The recorder must not be used afterwards.
func (r *Recorder) Close() { r.store.client.CloseIdleConnections() }

// Read returns every raw sample at or after from and before to of the series
// that any of the vector selectors selects, each sample once, sorted by metric.
// Native histograms are left out, as a bundle cannot hold them, and each series
// of them is logged once.
// Times count in milliseconds, as Prometheus has them. Answers that are too
// large are asked for again in smaller pieces, and what failed for a while is
// tried again; the error is that of the last attempt.
func (r *Recorder) Read(ctx context.Context, selectors []string, from, to time.Time) ([]Series, error) {
	answers := make([][]Series, len(selectors))
	queries, ctx := errgroup.WithContext(ctx)
	queries.SetLimit(r.concurrency)
	for i, selector := range selectors {
		queries.Go(func() error {
			series, err := r.selection(ctx, selector, from.UnixMilli(), to.UnixMilli())
			answers[i] = series
			return err
		})
	}
	if err := queries.Wait(); err != nil {
		return nil, err
	}
	return merge(slices.Concat(answers...)), nil
}

// selection reads one selector over [from, to) in milliseconds, in as many
// pieces as it takes.
func (r *Recorder) selection(ctx context.Context, selector string, from, to int64) ([]Series, error) {
	r.mu.Lock()
	p := r.pieces[selector]
	if p == nil {
		p = &piece{}
		r.pieces[selector] = p
	}
	r.mu.Unlock()
	var out []Series
	slow := 0
	for at := from; at < to; {
		end := to
		if p.size > 0 {
			end = min(to, at+p.size.Milliseconds())
		}
		series, err := r.patient(ctx, selector, at, end)
		switch {
		case err == nil:
			out = append(out, series...)
			at, slow = end, 0
			p.answered()
			continue
		case reasonOf(err) == reasonTimeout:
			slow++
		}
		asked := time.Duration(end-at) * time.Millisecond
		if ctx.Err() != nil || !tooMuch(err) || asked <= smallestPiece || slow >= recordAttempts {
			return nil, fmt.Errorf("read %s at %s, %s at once: %w", selector, time.UnixMilli(at).UTC().Format(time.RFC3339), asked, err)
		}
		p.shrink(asked)
		r.log.Info("answer is too much at once, asking for less", "selector", selector, "seconds", p.size.Seconds(), "err", err)
	}
	return out, nil
}

func (p *piece) shrink(asked time.Duration) { p.size, p.calm = max(asked/2, smallestPiece), 0 }

func (p *piece) answered() {
	if p.calm++; p.size > 0 && p.calm >= calmPieces {
		p.size, p.calm = 2*p.size, 0
	}
}

// patient asks for one piece, and again after a pause where the failure may
// pass. A query that was too slow twice is left to be cut.
func (r *Recorder) patient(ctx context.Context, selector string, from, to int64) ([]Series, error) {
	wait := firstPause
	for attempt := 1; ; attempt++ {
		series, err := r.ask(ctx, selector, from, to)
		timedOut := err != nil && reasonOf(err) == reasonTimeout
		if err == nil || ctx.Err() != nil || attempt == recordAttempts || timedOut && attempt == 2 || !timedOut && !mayPass(err) {
			return series, err
		}
		r.log.Warn("query is asked again", "selector", selector, "attempt", attempt, "pause_seconds", wait.Seconds(), "err", err)
		if err := r.pause(ctx, wait); err != nil {
			return nil, err
		}
		wait = min(2*wait, longestPause)
	}
}

// ask reads the samples in [from, to). Prometheus 3 leaves a sample at the
// beginning of the range out and Prometheus 2 does not, so the range reaches one
// millisecond further back than it needs to for one of them, and what is
// outside is dropped.
func (r *Recorder) ask(ctx context.Context, selector string, from, to int64) ([]Series, error) {
	query := fmt.Sprintf("%s[%dms]", selector, to-from)
	value, err := r.store.timed(ctx, rangePatience*r.store.timeout, func(ctx context.Context) (model.Value, promv1.Warnings, error) {
		v, w, _, err := r.store.api.Query(ctx, query, time.UnixMilli(to-1))
		if len(w) > 0 {
			r.log.WarnContext(ctx, "query answered with warnings, the recording may lack samples", "selector", selector, "warnings", []string(w))
		}
		return v, w, err
	})
	if err != nil {
		return nil, err
	}
	matrix, ok := value.(model.Matrix)
	if !ok {
		return nil, wrongType(value, model.ValMatrix)
	}
	out := make([]Series, 0, len(matrix))
	for _, s := range matrix {
		if len(s.Histograms) > 0 {
			r.leaveOut(s.Metric)
		}
		samples := slices.DeleteFunc(s.Values, func(v model.SamplePair) bool {
			return int64(v.Timestamp) < from || int64(v.Timestamp) >= to
		})
		if len(samples) > 0 {
			out = append(out, Series{Metric: s.Metric, Samples: samples})
		}
	}
	return out, nil
}

func (r *Recorder) leaveOut(m model.Metric) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if name := m.String(); !r.odd[name] {
		r.odd[name] = true
		r.log.Warn("native histogram left out, a bundle cannot hold it", "series", name)
	}
}

// mayPass reports whether a failure may be gone a little later: nobody answers,
// or the server, or a proxy before it, has trouble of its own.
func mayPass(err error) bool {
	var refused *promv1.Error
	switch {
	case errors.Is(err, errTooLarge):
		return false
	case errors.As(err, &refused):
		return refused.Type == promv1.ErrServer || strings.HasSuffix(refused.Msg, " 429")
	}
	return reasonOf(err) == reasonHTTP
}

// tooMuch reports whether less at once may succeed. Stores word their limits
// differently ("would load too many samples" is Prometheus' own), but all
// refuse to execute the query rather than to read it.
func tooMuch(err error) bool {
	var refused *promv1.Error
	if errors.Is(err, errTooLarge) || reasonOf(err) == reasonTimeout {
		return true
	}
	return errors.As(err, &refused) && refused.Type == promv1.ErrExec
}

// merge makes one series of all that are of the same metric. Two selectors may
// select the same series; its samples count once.
func merge(series []Series) []Series {
	type keyed struct {
		key string
		Series
	}
	all := make([]keyed, len(series))
	for i, s := range series {
		all[i] = keyed{s.Metric.String(), s}
	}
	slices.SortStableFunc(all, func(a, b keyed) int { return cmp.Compare(a.key, b.key) })
	var out []Series
	for start := 0; start < len(all); {
		end := start
		var samples []model.SamplePair
		for ; end < len(all) && all[end].key == all[start].key; end++ {
			samples = append(samples, all[end].Samples...)
		}
		slices.SortStableFunc(samples, func(a, b model.SamplePair) int { return cmp.Compare(a.Timestamp, b.Timestamp) })
		samples = slices.CompactFunc(samples, func(a, b model.SamplePair) bool { return a.Timestamp == b.Timestamp })
		out = append(out, Series{Metric: all[start].Metric, Samples: samples})
		start = end
	}
	return out
}
