package oncall

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/sreagent/sreagent/sre"
)

// DefaultDeskCapacity is how many inputs wait for the next tick before the desk
// refuses more.
const DefaultDeskCapacity = 64

// ErrDeskFull says that too many inputs wait for the next tick; nothing was
// queued and the caller may try again.
var ErrDeskFull = errors.New("too many requests wait for the next tick")

// QueuedError says that an input was queued but that the wait for its answer
// ended first. The agent may still carry it out.
type QueuedError struct {
	Input string // ID of the input
	Cause error  // why the wait ended
}

// Error says that the input is queued and not yet answered.
func (e *QueuedError) Error() string {
	return fmt.Sprintf("%s: queued, not yet answered", e.Input)
}

// Unwrap returns why the wait ended.
func (e *QueuedError) Unwrap() error { return e.Cause }

// DeskOptions are the settings of a Desk. The zero value is usable.
type DeskOptions struct {
	Capacity   int                   // most inputs that wait for one tick; 0 means DefaultDeskCapacity
	Registerer prometheus.Registerer // nil for no metrics
}

// Desk is where people and the agent's loop meet. Handlers submit and read from
// any goroutine; the loop drains once per tick and publishes once per tick, and
// neither of the two ever waits for a person.
type Desk struct {
	capacity int
	metrics  *deskMetrics
	view     atomic.Pointer[sre.View]
	past     *history

	mu      sync.Mutex
	last    uint64
	queue   []sre.Input
	waiting map[string]chan sre.Answer
	asked   map[string]time.Time // open questions of the last view: decision ID to when it was asked
}

// NewDesk returns an empty desk.
func NewDesk(o DeskOptions) *Desk {
	if o.Capacity <= 0 {
		o.Capacity = DefaultDeskCapacity
	}
	return &Desk{
		capacity: o.Capacity,
		metrics:  newDeskMetrics(o.Registerer),
		past:     newHistory(historyBytes),
		waiting:  make(map[string]chan sre.Answer),
	}
}

// Submit queues what a person asked and waits for the agent's answer. It sets
// in.ID. Errors are ErrDeskFull, when nothing was queued, and *QueuedError, when
// ctx ended before the answer came.
func (d *Desk) Submit(ctx context.Context, in sre.Input) (sre.Answer, error) {
	id, answered, err := d.enqueue(in)
	if err != nil {
		return sre.Answer{}, err
	}
	select {
	case a := <-answered:
		return a, nil
	case <-ctx.Done():
	}
	d.mu.Lock()
	delete(d.waiting, id)
	d.mu.Unlock()
	// The answer may have been sent between the two; a person who can be told
	// is told.
	select {
	case a := <-answered:
		return a, nil
	default:
		return sre.Answer{}, &QueuedError{Input: id, Cause: context.Cause(ctx)}
	}
}

func (d *Desk) enqueue(in sre.Input) (string, <-chan sre.Answer, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.queue) >= d.capacity {
		return "", nil, ErrDeskFull
	}
	d.last++
	in.ID = fmt.Sprintf("input-%d", d.last)
	// Buffered, so that Publish can answer a waiter that has just left.
	answered := make(chan sre.Answer, 1)
	d.waiting[in.ID] = answered
	d.queue = append(d.queue, in)
	return in.ID, answered, nil
}

// Drain returns all inputs since the last call in the order of their arrival,
// with At set to now, the time of the tick that hears them.
func (d *Desk) Drain(now time.Time) []sre.Input {
	d.mu.Lock()
	inputs := d.queue
	d.queue = nil
	d.mu.Unlock()
	for i := range inputs {
		inputs[i].At = now
	}
	return inputs
}

// Publish makes v the current view and wakes those whose input was answered. It
// never blocks. The caller must not change v afterwards. A nil v keeps the
// current view.
func (d *Desk) Publish(v *sre.View, answers []sre.Answer) {
	if v != nil {
		d.view.Store(v)
		d.past.add(v)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, a := range answers {
		if ch, ok := d.waiting[a.Input]; ok {
			delete(d.waiting, a.Input)
			ch <- a
		}
	}
	if v != nil {
		d.measure(v)
	}
}

// measure counts open questions, and how long those that were answered since
// the last view had waited. Human waiting time has a histogram of its own, so
// that it never hides in the agent's.
func (d *Desk) measure(v *sre.View) {
	asked := make(map[string]time.Time)
	for i := range v.Incidents {
		inc := &v.Incidents[i]
		if waitsForAnswer(inc) {
			asked[inc.Decision.ID] = inc.Decision.At
		}
		a := inc.Approval
		if a == nil {
			continue
		}
		if since, open := d.asked[a.Decision]; open {
			d.metrics.wait(a.Response).Observe(a.At.Sub(since).Seconds())
		}
	}
	d.asked = asked
	d.metrics.pending.Set(float64(len(asked)))
}

// waitsForAnswer reports whether an incident has an open question.
func waitsForAnswer(inc *sre.Incident) bool {
	return inc.State == sre.AwaitingApproval && inc.Decision != nil
}

// View returns the picture after the latest tick; nil before the first one.
func (d *Desk) View() *sre.View { return d.view.Load() }

// ViewAt returns the picture as it was at an instant: every tick of the last
// hour, one a minute for six hours and one in ten minutes for two days, within
// 64 MiB. Where the instant is outside of that ok is false, and from and to say
// what is kept; both are zero before the first tick.
func (d *Desk) ViewAt(t time.Time) (v *sre.View, from, to time.Time, ok bool) { return d.past.at(t) }
