package replay

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb"
)

// commitEvery bounds the samples that wait for a commit while a store is built.
const commitEvery = 10_000

// ErrNoSamples is returned by BuildStore when nothing was added.
var ErrNoSamples = errors.New("the recording holds no samples")

// Add takes one sample of a recording. Series may come in any order; within one
// series time ascends. Ref is 0 at the first sample of a series and what Add
// returned for it afterwards; 0 is always allowed, and slower.
type Add func(ref uint64, series labels.Labels, at int64, value float64) (uint64, error)

// BuildStore writes the samples that read hands over into one block under dir,
// whose time they span, and opens a store on it. Samples of different series
// need not be in time order, which a store that is appended to would demand.
func BuildStore(ctx context.Context, dir string, span time.Duration, o StoreOptions, read func(Add) error) (*Store, error) {
	if err := buildBlock(ctx, dir, span, o, read); err != nil {
		return nil, err
	}
	return OpenStore(dir, o)
}

func buildBlock(ctx context.Context, dir string, span time.Duration, o StoreOptions, read func(Add) error) (err error) {
	log := o.Logger
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	// The writer refuses what is older than half its block before the newest
	// sample, so the block is made wide enough for any order of series.
	block := max(4*span, 4*24*time.Hour)
	w, err := tsdb.NewBlockWriter(log, dir, block.Milliseconds())
	if err != nil {
		return fmt.Errorf("make metric block in %s: %w", dir, err)
	}
	// The database panics where it cannot write its head chunks: on a full disk,
	// and then again when it is closed.
	defer func() { err = errors.Join(err, unpanicked(w.Close)) }()
	return unpanicked(func() error { return fillBlock(ctx, w, read) })
}

// unpanicked turns a panic with an error into that error.
func unpanicked(do func() error) (err error) {
	defer func() {
		switch cause := recover().(type) {
		case nil:
		case runtime.Error:
			panic(cause) // a mistake of the program, not of the disk
		case error:
			err = fmt.Errorf("write metric block: %w", cause)
		default:
			panic(cause)
		}
	}()
	return do()
}

func fillBlock(ctx context.Context, w *tsdb.BlockWriter, read func(Add) error) error {
	b := &builder{ctx: ctx, writer: w, last: map[uint64]int64{}}
	err := read(b.add)
	if err == nil {
		err = b.commit()
	} else if b.app != nil {
		err = errors.Join(err, b.app.Rollback())
	}
	switch {
	case err != nil:
		return err
	case b.total == 0:
		return ErrNoSamples
	}
	_, err = w.Flush(ctx)
	return err
}

// builder appends in batches.
type builder struct {
	ctx     context.Context
	writer  *tsdb.BlockWriter
	app     storage.Appender
	pending int
	total   int
	last    map[uint64]int64 // newest time by series, as the head drops what is out of order without a word
}

func (b *builder) add(ref uint64, series labels.Labels, at int64, value float64) (uint64, error) {
	if b.app == nil {
		if err := b.ctx.Err(); err != nil {
			return 0, context.Cause(b.ctx)
		}
		b.app = b.writer.Appender(b.ctx)
	}
	series64, err := b.app.Append(storage.SeriesRef(ref), series, at, value)
	got := uint64(series64)
	if last, known := b.last[got]; err == nil && known && at <= last {
		err = storage.ErrOutOfOrderSample
	}
	if err != nil {
		return 0, fmt.Errorf("%s at %s: %w", series, time.UnixMilli(at).UTC().Format(time.RFC3339Nano), err)
	}
	b.last[got] = at
	b.total++
	if b.pending++; b.pending >= commitEvery {
		return got, b.commit()
	}
	return got, nil
}

func (b *builder) commit() error {
	if b.app == nil {
		return nil
	}
	app := b.app
	b.app, b.pending = nil, 0
	if err := app.Commit(); err != nil {
		return fmt.Errorf("commit samples: %w", err)
	}
	return nil
}
