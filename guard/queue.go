package guard

import (
	"container/list"
	"sync"
	"sync/atomic"
	"time"
)

type verdict int

const (
	admitted verdict = iota
	rejected         // above the bound
	gone             // the caller went away while it waited
	late             // its deadline passed while it waited
)

// queue bounds how many requests are worked on and how many wait. Each acquire
// gets exactly one verdict; each admitted one must be released once.
type queue struct {
	clock Clock // nil where no request has a deadline

	mu      sync.Mutex
	workers int // 0 is no bound
	bound   int
	active  int
	waiting list.List // of *waiter, the oldest first
	mark    watermark
	refuse  bool // newcomers under pressure
	newest  bool // first under pressure

	pressed atomic.Bool               // mark.on, for readers without mu
	changed func(active, waiting int) // called with mu held
	turned  func(pressed bool)        // likewise; nil is nobody
}

type waiter struct {
	turn     chan verdict // has room for one
	deadline time.Time    // zero is none
	decided  bool
}

// acquire waits for a worker. Where done is not nil, a request gives up its
// place when done is closed.
func (q *queue) acquire(done <-chan struct{}) verdict { return q.acquireUntil(done, time.Time{}) }

// acquireUntil gives up the place at deadline too, where that is not zero.
func (q *queue) acquireUntil(done <-chan struct{}, deadline time.Time) verdict {
	q.mu.Lock()
	if q.workers == 0 || q.active < q.workers {
		q.active++
		q.notify()
		q.mu.Unlock()
		return admitted
	}
	if n := q.waiting.Len(); n >= q.bound || q.refuse && q.mark.on {
		q.mu.Unlock()
		return rejected
	}
	p := &waiter{turn: make(chan verdict, 1), deadline: deadline}
	at := q.waiting.PushBack(p)
	q.notify()
	q.mu.Unlock()

	if !deadline.IsZero() {
		stop := q.clock.AfterFunc(deadline.Sub(q.clock.Now()), func() { q.leave(at, late) })
		defer stop()
	}
	select {
	case v := <-p.turn:
		return v
	case <-done:
		q.leave(at, gone)
		return <-p.turn
	}
}

// leave gives up a place, unless its request has its verdict already.
func (q *queue) leave(at *list.Element, why verdict) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if !at.Value.(*waiter).decided {
		q.answer(at, why)
		q.notify()
	}
}

// release hands the worker to the next request, or frees it.
func (q *queue) release() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.active--
	q.fill()
	q.notify()
}

// fill gives free workers to waiting requests, the longest waiting first. Under
// pressure it can be the newest first: those who have waited long have mostly
// given up, and serving them would make the rest late as well (adaptive LIFO;
// Maurer, Fail at Scale, ACM Queue 13(8), 2015).
func (q *queue) fill() {
	for q.waiting.Len() > 0 && (q.workers == 0 || q.active < q.workers) {
		at := q.waiting.Front()
		if q.newest && q.mark.on {
			at = q.waiting.Back()
		}
		if d := at.Value.(*waiter).deadline; !d.IsZero() && !q.clock.Now().Before(d) {
			q.answer(at, late)
			continue
		}
		q.active++
		q.answer(at, admitted)
	}
}

// setBound changes how many may wait. The longest waiting above the bound are
// rejected at once: their callers are the likeliest to have gone.
func (q *queue) setBound(n int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.bound = n
	for q.waiting.Len() > n {
		q.answer(q.waiting.Front(), rejected)
	}
	q.notify()
}

// configure changes everything but the bound, and gives new workers to those
// who wait.
func (q *queue) configure(workers int, p PressureConfig) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.workers = workers
	q.mark.high, q.mark.low = p.High, p.Low
	q.refuse, q.newest = p.Mode == PressureReject, p.Order == OrderAdaptive
	q.fill()
	q.notify()
}

func (q *queue) answer(at *list.Element, v verdict) {
	p := at.Value.(*waiter)
	p.decided = true
	q.waiting.Remove(at)
	q.level()
	p.turn <- v
}

func (q *queue) level() {
	if q.mark.level(q.waiting.Len()) {
		q.pressed.Store(q.mark.on)
		if q.turned != nil {
			q.turned(q.mark.on)
		}
	}
}

func (q *queue) notify() {
	q.level()
	if q.changed != nil {
		q.changed(q.active, q.waiting.Len())
	}
}
