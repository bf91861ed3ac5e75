package replay

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"time"

	"github.com/sreagent/sreagent/sre"
)

// Outage is a span in which the agent that was recorded could not see: from its
// first blind tick until before its first tick with sight.
type Outage struct {
	From, Until time.Time
	Err         string
}

// Recording is a source over the past. It reads ahead by range queries of the
// source beneath, whole chunks at a time, and gives each tick its snapshot; the
// readings are those that instant queries would have given. It is not safe for
// concurrent use, and ticks must follow each other at the interval.
type Recording struct {
	beneath  sre.Source
	end      time.Time
	interval time.Duration
	changes  []sre.Change // by time, then ID
	outages  []Outage

	next func() (*sre.Snapshot, error, bool)
	stop func()
	last time.Time
}

// NewRecording returns a source that ends at end. Changes are told at the first
// tick at or after their time, those before the first tick with it. Close must
// be called.
func NewRecording(beneath sre.Source, end time.Time, interval time.Duration, changes []sre.Change, outages []Outage) *Recording {
	sorted := slices.Clone(changes)
	slices.SortStableFunc(sorted, earlier)
	return &Recording{beneath: beneath, end: end, interval: interval, changes: sorted, outages: outages}
}

var errRecordingOver = errors.New("the recording is over")

// Observe returns the snapshot of the next tick. Its error is that of the
// source beneath, or that at is not the next tick.
func (r *Recording) Observe(ctx context.Context, at time.Time) (*sre.Snapshot, error) {
	if r.next == nil {
		r.next, r.stop = iter.Pull2(r.beneath.History(ctx, at, r.end.Add(time.Millisecond), r.interval))
	} else if !at.Equal(r.last.Add(r.interval)) {
		return nil, fmt.Errorf("tick at %s does not follow the one at %s", at, r.last)
	}
	r.last = at
	snap, err, ok := r.next()
	switch {
	case !ok:
		return nil, errRecordingOver
	case err != nil:
		return nil, err
	}
	told := *snap
	told.Changes = r.due(snap.Changes, at)
	for _, o := range r.outages {
		if !at.Before(o.From) && at.Before(o.Until) {
			told.Health = sre.SourceHealth{Queries: snap.Health.Queries, Err: o.Err}
		}
	}
	return &told, nil
}

// due returns the changes that a tick brings: those that the source beneath saw
// by itself and those of the recording.
func (r *Recording) due(seen []sre.Change, at time.Time) []sre.Change {
	n, _ := slices.BinarySearchFunc(r.changes, at, func(c sre.Change, at time.Time) int {
		if c.At.After(at) {
			return 1
		}
		return -1
	})
	if n == 0 {
		return seen
	}
	out := slices.Concat(seen, r.changes[:n])
	r.changes = r.changes[n:]
	slices.SortStableFunc(out, earlier)
	return out
}

func earlier(a, b sre.Change) int { return cmp.Or(a.At.Compare(b.At), cmp.Compare(a.ID, b.ID)) }

// History returns the past as the source beneath has it, for warm-up before the
// first tick.
func (r *Recording) History(ctx context.Context, from, to time.Time, step time.Duration) iter.Seq2[*sre.Snapshot, error] {
	return r.beneath.History(ctx, from, to, step)
}

// Close ends the reading ahead.
func (r *Recording) Close() {
	if r.stop != nil {
		r.stop()
	}
}

// Outages returns the spans in which a trail says that the metric store was
// down. One that did not end lasts for ever.
func Outages(trail []sre.Record) []Outage {
	var out []Outage
	open := false
	for i := range trail {
		h := trail[i].Source
		switch {
		case h == nil:
		case !h.Up && !open:
			out = append(out, Outage{From: trail[i].At, Until: time.Unix(1<<40, 0), Err: h.Err})
			open = true
		case h.Up && open:
			out[len(out)-1].Until = trail[i].At
			open = false
		}
	}
	return out
}
