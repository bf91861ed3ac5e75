package sre

import (
	"context"
	"iter"
	"time"
)

// Clock is a sequence of instants. The live one yields on a slot-aligned
// ticker, the virtual one at once.
type Clock interface {
	// Ticks yields the tick times until ctx is done.
	Ticks(ctx context.Context, every time.Duration) iter.Seq[time.Time]
}

// Source makes snapshots. Readings never come from after at.
type Source interface {
	// Observe returns everything seen at one instant. A failed query makes its
	// signal stale or absent and is named in Health; an error means that there
	// is no snapshot at all.
	Observe(ctx context.Context, at time.Time) (*Snapshot, error)
	// History yields snapshots of the past in time order, for warm-up, by range
	// queries. It yields an error at most once, as its last element.
	History(ctx context.Context, from, to time.Time, step time.Duration) iter.Seq2[*Snapshot, error]
}

// Forecaster answers what-if questions by running a model of the system ahead.
type Forecaster interface {
	// Forecast runs ahead by horizon from s with the given actions in effect
	// (none for "do nothing") and returns the expected goodput ratio per entry
	// service at the end, 0 to 1.
	Forecast(ctx context.Context, s *Snapshot, actions []Action, horizon time.Duration) (map[string]float64, error)

	// Healed runs ahead as Forecast does with nothing done, but with the named
	// service restored to what is usual for it: the check whether it is the cause.
	Healed(ctx context.Context, s *Snapshot, service string, horizon time.Duration) (map[string]float64, error)
	// Spread runs ahead with nothing done and returns who is hit when, worst
	// first, at most 20.
	Spread(ctx context.Context, s *Snapshot, horizon time.Duration) ([]Impact, error)
}

// Rememberer is a part that learns what is usual from snapshots beside those that
// it is asked about: a Forecaster is shown those at which nothing is wrong,
// diagnosis those of the past. It keeps as many as it needs.
type Rememberer interface {
	Remember(s *Snapshot)
}
