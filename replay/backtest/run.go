package backtest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"

	"github.com/sreagent/sreagent/replay"
)

// Recording is one recorded incident that can be opened when its turn comes.
type Recording struct {
	ID     string // names the bundle in the result, and in a result that is continued
	Source string // the corpus; empty takes that of the incident
	Open   func(ctx context.Context) (*Session, error)
}

// Session is an open recording, ready to run.
type Session struct {
	Subject
	Samples   int // in the recording
	Rehearsal replay.Rehearsal
	Close     func() error // optional
}

// Options sets up a run.
type Options struct {
	Jobs     int          // recordings at the same time; less than 1 is 1
	Config   string       // digest of what is tested, for Resume
	Done     []Bundle     // of an earlier part of the run: skipped, unless they failed
	OnBundle func(Bundle) // optional; told of each new bundle, one at a time, in any order
}

// ErrSameID says that two recordings cannot be told apart in a result.
var ErrSameID = errors.New("two recordings have the same id")

// Run back-tests recordings, several at a time. The result has its bundles in
// the order of the recordings and is the same for any number of jobs. A
// recording that cannot be read is reported in its bundle, and the run goes on.
// Where ctx ends first, the result is partial, without the recordings under way,
// and the error is the cause. Two recordings of one ID are ErrSameID, before
// anything is run. The result is never nil.
func Run(ctx context.Context, recordings []Recording, o Options) (*Result, error) {
	bundles := make([]*Bundle, len(recordings))
	var wait []int
	known := map[string]bool{}
	for i, r := range recordings {
		if known[r.ID] {
			return &Result{Bundles: []Bundle{}, Summary: map[string]Summary{}}, fmt.Errorf("%w: %s", ErrSameID, r.ID)
		}
		known[r.ID] = true
		k := slices.IndexFunc(o.Done, func(b Bundle) bool { return b.ID == r.ID && b.Error == "" })
		if k >= 0 {
			bundles[i] = &o.Done[k]
			continue
		}
		wait = append(wait, i)
	}
	turns := make(chan int)
	var workers sync.WaitGroup
	var tell sync.Mutex
	for range min(max(o.Jobs, 1), max(len(wait), 1)) {
		workers.Go(func() {
			for i := range turns {
				b, finished := backtest(ctx, recordings[i])
				if !finished {
					continue
				}
				bundles[i] = &b
				if o.OnBundle != nil {
					tell.Lock()
					o.OnBundle(b)
					tell.Unlock()
				}
			}
		})
	}
	for _, i := range wait {
		if ctx.Err() != nil {
			break
		}
		select {
		case turns <- i:
		case <-ctx.Done():
		}
	}
	close(turns)
	workers.Wait()
	return collect(ctx, bundles, o.Config)
}

func collect(ctx context.Context, bundles []*Bundle, config string) (*Result, error) {
	res := &Result{Bundles: []Bundle{}, Config: config}
	for _, b := range bundles {
		if b == nil {
			res.Partial = true
			continue
		}
		res.Bundles = append(res.Bundles, *b)
	}
	res.Summary, res.World = Summarise(res.Bundles), worldOf(res.Bundles)
	if res.Partial {
		return res, context.Cause(ctx)
	}
	return res, nil
}

// backtest runs one recording. It has not finished where ctx ended first.
func backtest(ctx context.Context, r Recording) (b Bundle, finished bool) {
	b, err := rehearse(ctx, r)
	if err != nil && ctx.Err() != nil {
		return Bundle{}, false
	}
	b.ID = r.ID
	if r.Source != "" {
		b.Source = r.Source
	}
	if b.Faults == nil {
		b.Faults = []Fault{}
	}
	if err != nil {
		b.Error = err.Error()
	}
	return b, true
}

func rehearse(ctx context.Context, r Recording) (b Bundle, err error) {
	s, err := r.Open(ctx)
	if err != nil {
		return Bundle{}, fmt.Errorf("open recording: %w", err)
	}
	if s.Close != nil {
		defer func() { err = errors.Join(err, s.Close()) }()
	}
	subject := s.Subject
	if subject.Interval <= 0 {
		subject.Interval = s.Rehearsal.Agent.Interval
	}
	eye := Observe(subject)
	watch := s.Rehearsal.Watch
	s.Rehearsal.Watch = func(t replay.Tick) error {
		if watch != nil {
			if err := watch(t); err != nil {
				return err
			}
		}
		return eye.Watch(t)
	}
	failed := Bundle{Source: subject.Incident.Source, Samples: s.Samples}
	if _, err := s.Rehearsal.Run(ctx); err != nil {
		return failed, fmt.Errorf("run: %w", err)
	}
	b, err = eye.Bundle()
	if err != nil {
		return failed, err
	}
	b.Samples = s.Samples
	return b, nil
}

// WriteResult writes a result as indented JSON, the same bytes for the same
// result.
func WriteResult(w io.Writer, r *Result) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	if err := enc.Encode(r); err != nil {
		return fmt.Errorf("write result: %w", err)
	}
	return nil
}

// ReadResult reads what WriteResult wrote.
func ReadResult(r io.Reader) (*Result, error) {
	var res Result
	if err := json.NewDecoder(r).Decode(&res); err != nil {
		return nil, fmt.Errorf("read result: %w", err)
	}
	seen := map[string]bool{}
	for i := range res.Bundles {
		b := &res.Bundles[i]
		if b.ID == "" {
			return nil, fmt.Errorf("read result: bundle %d has no id", i+1)
		}
		if seen[b.ID] {
			return nil, fmt.Errorf("read result: bundle %q comes twice", b.ID)
		}
		seen[b.ID] = true
	}
	return &res, nil
}

// ErrOtherConfig says that a result cannot be continued, since it is of another
// configuration.
var ErrOtherConfig = errors.New("the earlier result is of another configuration")

// Resume returns the bundles of an earlier result that a run of the given
// configuration need not repeat, for Options.Done. Its error is ErrOtherConfig.
func (r *Result) Resume(config string) ([]Bundle, error) {
	if r.Config != config {
		return nil, fmt.Errorf("continue: %w: %s, not %s", ErrOtherConfig, r.Config, config)
	}
	var out []Bundle
	for _, b := range r.Bundles {
		if b.Error == "" {
			out = append(out, b)
		}
	}
	return out, nil
}
