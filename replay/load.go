package replay

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
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
	log := o.Logger
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	// The writer refuses what is older than half its block before the newest
	// sample, so the block is made wide enough for any order of series.
	block := max(4*span, 4*24*time.Hour)
	w, err := tsdb.NewBlockWriter(log, dir, block.Milliseconds())
	if err != nil {
		return nil, fmt.Errorf("make metric block in %s: %w", dir, err)
	}
	b := &builder{ctx: ctx, writer: w, last: map[uint64]int64{}}
	err = read(b.add)
	if err == nil {
		err = b.commit()
	} else if b.app != nil {
		err = errors.Join(err, b.app.Rollback())
	}
	if err == nil {
		if b.total == 0 {
			err = ErrNoSamples
		} else {
			_, err = w.Flush(ctx)
		}
	}
	if err := errors.Join(err, w.Close()); err != nil {
		return nil, err
	}
	return OpenStore(dir, o)
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
