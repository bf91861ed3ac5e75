package guard

import (
	"context"
	"errors"
	"sync"
)

// ErrBacklogFull is why a backlog in reject mode takes no
// more.
var ErrBacklogFull = errors.New("backlog is full")

// ErrBacklogClosed is why a closed backlog takes nothing, and gives nothing once
// it is empty.
var ErrBacklogClosed = errors.New("backlog is closed")

// Backlog is a bounded queue between producers and consumers with a high and a
// low mark. From the high mark until it has drained to the low one it is under
// pressure: producers see it (Pressure) and wait in Push, or are refused
// in reject mode. It never holds more than the bound and loses nothing that Push
// has taken. It is safe for concurrent use.
type Backlog[T any] struct {
	bound  int
	reject bool

	mu     sync.Mutex
	mark   watermark
	items  []T // a ring
	first  int
	n      int
	closed bool
	moved  chan struct{} // closed and replaced when anything changes that somebody waits for
	turned chan struct{} // likewise, when the pressure turns
}

// NewBacklog returns an empty backlog for at most bound items. cfg.High is the
// mark at which pressure begins, 0 for at the bound only; cfg.Order must be fifo.
func NewBacklog[T any](bound int, cfg PressureConfig) (*Backlog[T], error) {
	var f faults
	f.check(bound >= 1, "bound", "is %d; allowed: 1 or more", bound)
	if cfg.High == 0 {
		cfg.High, cfg.Low = bound, min(cfg.Low, bound-1)
	}
	cfg.validate(&f, bound)
	f.check(cfg.Order != OrderAdaptive, "pressure.order", "is adaptive; allowed: fifo")
	if err := errors.Join(f...); err != nil {
		return nil, err
	}
	return &Backlog[T]{
		bound: bound, reject: cfg.Mode == PressureReject, mark: watermark{high: cfg.High, low: cfg.Low},
		items: make([]T, bound), moved: make(chan struct{}), turned: make(chan struct{}),
	}, nil
}

// Push adds an item, first in first out among those that are taken. Under
// pressure it waits for the low mark, or returns ErrBacklogFull in reject mode.
// An error means that the item was not taken.
func (b *Backlog[T]) Push(ctx context.Context, item T) error {
	for {
		b.mu.Lock()
		switch {
		case b.closed:
			b.mu.Unlock()
			return ErrBacklogClosed
		case !b.mark.on && b.n < b.bound:
			b.items[(b.first+b.n)%b.bound] = item
			b.n++
			b.change()
			b.mu.Unlock()
			return nil
		case b.reject:
			b.mu.Unlock()
			return ErrBacklogFull
		}
		moved := b.moved
		b.mu.Unlock()
		select {
		case <-moved:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// Pop takes the oldest item, waiting for one. What a closed backlog still holds
// is given out before ErrBacklogClosed.
func (b *Backlog[T]) Pop(ctx context.Context) (T, error) {
	var zero T
	for {
		b.mu.Lock()
		if b.n > 0 {
			item := b.items[b.first]
			b.items[b.first] = zero
			b.first, b.n = (b.first+1)%b.bound, b.n-1
			b.change()
			b.mu.Unlock()
			return item, nil
		}
		closed, moved := b.closed, b.moved
		b.mu.Unlock()
		if closed {
			return zero, ErrBacklogClosed
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return zero, context.Cause(ctx)
		}
	}
}

// change wakes those who wait; mu is held.
func (b *Backlog[T]) change() {
	if b.mark.level(b.n) {
		close(b.turned)
		b.turned = make(chan struct{})
	}
	close(b.moved)
	b.moved = make(chan struct{})
}

// Len returns how many items are held.
func (b *Backlog[T]) Len() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.n
}

// Pressure reports whether producers should hold back, and gives a channel that
// is closed when that turns.
func (b *Backlog[T]) Pressure() (on bool, turned <-chan struct{}) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.mark.on, b.turned
}

// Close refuses further items and wakes all who wait. It can be called twice.
func (b *Backlog[T]) Close() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.closed {
		b.closed = true
		close(b.moved)
		b.moved = make(chan struct{})
	}
}
