package guard

import (
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"pgregory.net/rapid"
)

// TestQueueUnderPressureAgreesWithItsModel: marks, both modes, both orders and
// deadlines, against slices.
func TestQueueUnderPressureAgreesWithItsModel(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		high := rapid.IntRange(1, 6).Draw(rt, "high")
		cfg := PressureConfig{High: high, Low: rapid.IntRange(0, high-1).Draw(rt, "low"), Mode: PressureBlock, Order: OrderFIFO}
		if rapid.Bool().Draw(rt, "reject") {
			cfg.Mode = PressureReject
		}
		if rapid.Bool().Draw(rt, "adaptive") {
			cfg.Order = OrderAdaptive
		}
		bound := high + rapid.IntRange(0, 3).Draw(rt, "room")
		ops := rapid.SliceOfN(rapid.IntRange(0, 9), 30, 80).Draw(rt, "ops")
		synctest.Test(t, func(t *testing.T) { queueAgainstModel(t, cfg, bound, ops) })
	})
}

type modelRequest struct {
	id       int
	deadline time.Time
}

func queueAgainstModel(t *testing.T, cfg PressureConfig, bound int, ops []int) {
	q := &queue{clock: systemClock{}, bound: bound}
	q.configure(2, cfg)
	var waiting []modelRequest
	active, pressed, next := 0, false, 0
	want, got := map[int]verdict{}, make(chan [2]int, 1000)
	level := func() { pressed = len(waiting) >= cfg.High || pressed && len(waiting) > cfg.Low }
	take := func(i int, v verdict) {
		want[waiting[i].id] = v
		waiting = slices.Delete(waiting, i, i+1)
		level()
	}
	for _, op := range ops {
		switch {
		case op < 6:
			r := modelRequest{id: next}
			if op%2 == 0 {
				r.deadline = time.Now().Add(5 * time.Second)
			}
			next++
			switch {
			case active < 2:
				active++
				want[r.id] = admitted
			case len(waiting) >= bound || pressed && cfg.Mode == PressureReject:
				want[r.id] = rejected
			default:
				waiting = append(waiting, r)
				level()
			}
			go func() { got <- [2]int{r.id, int(q.acquireUntil(nil, r.deadline))} }()
		case op < 9 && active > 0:
			active--
			if n := len(waiting); n > 0 {
				i := 0
				if pressed && cfg.Order == OrderAdaptive {
					i = n - 1
				}
				active++
				take(i, admitted)
			}
			q.release()
		default:
			time.Sleep(2 * time.Second)
			for i := 0; i < len(waiting); {
				if d := waiting[i].deadline; !d.IsZero() && !time.Now().Before(d) {
					take(i, late)
				} else {
					i++
				}
			}
		}
		synctest.Wait()
		for len(got) > 0 {
			answer := <-got
			if v, ok := want[answer[0]]; !ok || v != verdict(answer[1]) {
				t.Fatalf("request %d: verdict %d, want %v (%v)", answer[0], answer[1], v, ok)
			}
			delete(want, answer[0])
		}
		q.mu.Lock()
		held := q.waiting.Len()
		q.mu.Unlock()
		if len(want) > 0 || q.pressed.Load() != pressed || held != len(waiting) || held > bound {
			t.Fatalf("pressure %v with %d waiting, want %v with %d; unanswered %v", q.pressed.Load(), held, pressed, len(waiting), want)
		}
	}
	q.configure(0, PressureConfig{}) // all who wait get in
	synctest.Wait()
}

func TestPressureIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := shopConfig()
		cfg.Workers, cfg.Queue = 1, 3
		cfg.Pressure = PressureConfig{High: 2, Low: 0, Mode: PressureReject}
		var told []bool
		g := newTestGuard(t, cfg, WithPressure(func(on bool) { told = append(told, on) }))
		finish := make(chan struct{})
		h := g.Middleware(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-finish }))
		serve := func() *httptest.ResponseRecorder {
			w := httptest.NewRecorder()
			h.ServeHTTP(w, request(t))
			return w
		}
		for range 3 {
			go serve()
			synctest.Wait()
		}
		if w := serve(); w.Code != http.StatusServiceUnavailable || w.Header().Get(PressureHeader) == "" {
			t.Errorf("status %d, %v under pressure", w.Code, w.Header())
		}
		if !g.Pressure() || testutil.ToFloat64(g.metrics.pressure) != 1 {
			t.Error("the pressure shows nowhere")
		}
		close(finish)
		synctest.Wait()
		if w := serve(); w.Code != http.StatusOK || w.Header().Get(PressureHeader) != "" {
			t.Errorf("status %d, %v after it", w.Code, w.Header())
		}
		if !slices.Equal(told, []bool{true, false}) {
			t.Errorf("told %v", told)
		}
	})
}
