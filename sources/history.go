package sources

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"time"

	promv1 "github.com/prometheus/client_golang/api/prometheus/v1"
	"golang.org/x/sync/errgroup"

	"github.com/sreagent/sreagent/sre"
)

// chunkSteps is how many steps one range query covers. Prometheus allows 11,000
// points per series; less keeps the memory for one chunk of a large fleet in
// bounds.
const chunkSteps = 500

// History yields a snapshot for from and every step after it before to, through
// the same code as Observe, so that detectors can warm up before the first tick
// at to. Reported changes and Jaeger take no part. A signal whose query fails
// is named in the health of the snapshots it is missing from; when all fail,
// the iteration ends with an error. Times are cut to milliseconds.
func (s *Source) History(ctx context.Context, from, to time.Time, step time.Duration) iter.Seq2[*sre.Snapshot, error] {
	return func(yield func(*sre.Snapshot, error) bool) {
		from, step := from.Truncate(time.Millisecond), step.Truncate(time.Millisecond)
		if step <= 0 {
			yield(nil, fmt.Errorf("read history: step is %s; allowed: 1ms or more", step))
			return
		}
		for from.Before(to) {
			steps := int((to.Sub(from) + step - 1) / step)
			steps = min(steps, chunkSteps)
			answers, err := s.chunk(ctx, from, step, steps)
			if err != nil {
				yield(nil, fmt.Errorf("read history: %w", err))
				return
			}
			for i := range steps {
				if !yield(s.replay(from.Add(time.Duration(i)*step), step, answers, i), nil) {
					return
				}
			}
			from = from.Add(time.Duration(steps) * step)
		}
	}
}

// stretch is what one query said over the steps of a chunk.
type stretch struct {
	steps [][]sample
	err   error
}

func (s *Source) chunk(ctx context.Context, from time.Time, step time.Duration, steps int) ([]stretch, error) {
	out := make([]stretch, len(s.plans))
	var queries errgroup.Group
	queries.SetLimit(s.concurrency)
	r := promv1.Range{Start: from, End: from.Add(time.Duration(steps-1) * step), Step: step}
	for i, p := range s.plans {
		queries.Go(func() error {
			samples, err := s.store.span(ctx, p.ask, r, steps)
			out[i] = stretch{steps: samples, err: err}
			return nil
		})
	}
	_ = queries.Wait()
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	var failures []error
	for _, a := range out {
		if a.err == nil {
			return out, nil
		}
		failures = append(failures, a.err)
	}
	return nil, errors.Join(failures...)
}

func (s *Source) replay(at time.Time, step time.Duration, chunk []stretch, i int) *sre.Snapshot {
	answers := make([]answer, len(chunk))
	for q, a := range chunk {
		answers[q] = answer{err: a.err, asked: true}
		if a.err == nil {
			answers[q].samples = a.steps[i]
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.assemble(at, step, answers, nil)
}
