package guard

import (
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"pgregory.net/rapid"
)

// twinQueue answers like queue, with slices.
type twinQueue struct {
	workers, bound, active int
	waiting                []int
	verdicts               map[int]verdict
}

func (q *twinQueue) acquire(id int) {
	switch {
	case q.active < q.workers:
		q.active++
		q.verdicts[id] = admitted
	case len(q.waiting) >= q.bound:
		q.verdicts[id] = rejected
	default:
		q.waiting = append(q.waiting, id)
	}
}

func (q *twinQueue) pop(v verdict) {
	q.verdicts[q.waiting[0]] = v
	q.waiting = q.waiting[1:]
}

func TestQueueAgreesWithItsTwin(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		workers := rapid.IntRange(1, 4).Draw(rt, "workers")
		bound := rapid.IntRange(0, 6).Draw(rt, "bound")
		ops := rapid.SliceOfN(rapid.IntRange(0, 9), 30, 80).Draw(rt, "ops")
		synctest.Test(t, func(t *testing.T) { queueAgainstTwin(t, workers, bound, ops) })
	})
}

func queueAgainstTwin(t *testing.T, workers, bound int, ops []int) {
	q := &queue{workers: workers, bound: bound}
	q.changed = func(active, waiting int) {
		if active > workers || waiting > q.bound {
			t.Errorf("%d worked on and %d waiting at %d workers and bound %d", active, waiting, workers, q.bound)
		}
	}
	twin := &twinQueue{workers: workers, bound: bound, verdicts: map[int]verdict{}}
	var mu sync.Mutex
	got := map[int]verdict{}
	leave := map[int]chan struct{}{}
	next := 0
	for _, op := range ops {
		switch {
		case op < 5: // somebody arrives
			id := next
			next++
			leave[id] = make(chan struct{})
			twin.acquire(id)
			go func() {
				v := q.acquire(leave[id])
				mu.Lock()
				defer mu.Unlock()
				if _, twice := got[id]; twice {
					t.Errorf("request %d got two answers", id)
				}
				got[id] = v
			}()
		case op < 8: // somebody is done
			if twin.active == 0 {
				continue
			}
			q.release()
			if len(twin.waiting) > 0 {
				twin.pop(admitted)
			} else {
				twin.active--
			}
		case op == 8: // the last one gives up
			if n := len(twin.waiting); n > 0 {
				id := twin.waiting[n-1]
				twin.waiting = twin.waiting[:n-1]
				twin.verdicts[id] = gone
				close(leave[id])
			}
		default: // the bound moves
			twin.bound = (twin.bound + 3) % 7
			for len(twin.waiting) > twin.bound {
				twin.pop(rejected)
			}
			q.setBound(twin.bound)
		}
		synctest.Wait()
		compareVerdicts(t, &mu, got, twin.verdicts)
	}
	for len(twin.waiting) > 0 || twin.active > 0 {
		if len(twin.waiting) > 0 {
			twin.pop(admitted)
		} else {
			twin.active--
		}
		q.release()
	}
	synctest.Wait()
	compareVerdicts(t, &mu, got, twin.verdicts)
	if len(got) != next {
		t.Errorf("%d of %d requests got an answer", len(got), next)
	}
}

func compareVerdicts(t *testing.T, mu *sync.Mutex, got, want map[int]verdict) {
	t.Helper()
	mu.Lock()
	defer mu.Unlock()
	for id, v := range want {
		if w, ok := got[id]; !ok || w != v {
			t.Fatalf("request %d: verdict %v (answered %v), want %v", id, w, ok, v)
		}
	}
	if len(got) != len(want) {
		t.Fatalf("%d answers, want %d", len(got), len(want))
	}
}

func TestQueueUnderSixtyFourGoroutines(t *testing.T) {
	q := &queue{workers: 3, bound: 20}
	var active, answered atomic.Int64
	var wg sync.WaitGroup
	for i := range 64 {
		wg.Go(func() {
			for range 200 {
				var leave chan struct{}
				if i%4 == 0 {
					leave = make(chan struct{})
					close(leave)
				}
				v := q.acquire(leave)
				answered.Add(1)
				if v != admitted {
					continue
				}
				if n := active.Add(1); n > 3 {
					t.Errorf("%d are worked on at once by 3 workers", n)
				}
				active.Add(-1)
				q.release()
			}
		})
	}
	for n := range 500 {
		q.setBound(n % 30)
	}
	wg.Wait()
	if answered.Load() != 64*200 {
		t.Errorf("%d of %d got an answer", answered.Load(), 64*200)
	}
	if q.active != 0 || q.waiting.Len() != 0 {
		t.Errorf("%d workers taken and %d waiting at the end", q.active, q.waiting.Len())
	}
}

func BenchmarkQueue(b *testing.B) {
	b.ReportAllocs()
	q := &queue{workers: 8, bound: 100}
	for b.Loop() {
		q.acquire(nil)
		q.release()
	}
}
