package guard

import (
	"container/list"
	"sync"
)

type verdict int

const (
	admitted verdict = iota
	rejected         // above the bound
	gone             // the caller went away while it waited
)

// queue bounds how many requests are worked on and how many wait, first in
// first out. Each acquire gets exactly one verdict; each admitted one must be
// released once.
type queue struct {
	mu      sync.Mutex
	workers int // 0 is no bound
	bound   int
	active  int
	waiting list.List // of chan verdict with room for one

	changed func(active, waiting int) // called with mu held
}

// acquire waits for a worker. Where done is not nil, a request gives up its
// place when done is closed.
func (q *queue) acquire(done <-chan struct{}) verdict {
	q.mu.Lock()
	if q.workers == 0 || q.active < q.workers {
		q.active++
		q.notify()
		q.mu.Unlock()
		return admitted
	}
	if q.waiting.Len() >= q.bound {
		q.mu.Unlock()
		return rejected
	}
	turn := make(chan verdict, 1)
	place := q.waiting.PushBack(turn)
	q.notify()
	q.mu.Unlock()

	select {
	case v := <-turn:
		return v
	case <-done:
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	select {
	case v := <-turn: // decided before the place could be given up
		return v
	default:
		q.waiting.Remove(place)
		q.notify()
		return gone
	}
}

// release hands the worker to the longest waiting request, or frees it.
func (q *queue) release() {
	q.mu.Lock()
	defer q.mu.Unlock()
	if !q.answerFirst(admitted) {
		q.active--
	}
	q.notify()
}

// setBound changes how many may wait. The longest waiting above the bound are
// rejected at once: their callers are the likeliest to have gone.
func (q *queue) setBound(n int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.bound = n
	for q.waiting.Len() > n {
		q.answerFirst(rejected)
	}
	q.notify()
}

func (q *queue) answerFirst(v verdict) bool {
	first := q.waiting.Front()
	if first == nil {
		return false
	}
	q.waiting.Remove(first).(chan verdict) <- v
	return true
}

func (q *queue) notify() {
	if q.changed != nil {
		q.changed(q.active, q.waiting.Len())
	}
}
