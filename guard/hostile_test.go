package guard

import (
	"fmt"
	"math"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/prometheus/common/model"
)

// TestReorderedLimitsDoNotDeadlock: requests from before and after a reload hold
// the locks of the same limits, and must take them in the same order.
func TestReorderedLimitsDoNotDeadlock(t *testing.T) {
	files := [2]Config{
		limitedConfig(LimitConfig{Name: "a", Rate: 1e9}, LimitConfig{Name: "b", Rate: 1e9}),
		limitedConfig(LimitConfig{Name: "b", Rate: 1e9}, LimitConfig{Name: "a", Rate: 1e9}),
	}
	g := newTestGuard(t, files[0])
	before := g.limits.Load().own
	for i := range files {
		files[i].Service, files[i].Token = "checkout", testToken
	}
	if err := g.Reload(files[1]); err != nil {
		t.Fatal(err)
	}
	if after := g.limits.Load().own; !slices.Equal(before, after) {
		t.Fatal("the same limits are locked in another order") // what follows would hang
	}
	over := make(chan struct{})
	var load sync.WaitGroup
	for range 4 {
		load.Go(func() {
			for {
				select {
				case <-over:
					return
				default:
					serveOne(t, g, request(t))
				}
			}
		})
	}
	for i := range 200 {
		if err := g.Reload(files[i%2]); err != nil {
			t.Error(err)
		}
	}
	close(over)
	load.Wait()
}

// TestABackendThatMovesKeepsItsSeries: a reload that changes a backend's URL must
// not take the series of its name away, nor may late calls to the old place bring
// those of a removed one back.
func TestABackendThatMovesKeepsItsSeries(t *testing.T) {
	reg := prometheus.NewRegistry()
	b := DefaultBreaker()
	b.MinRequests = 1
	cfg := callerConfig(Upstream{Breaker: &b, Backends: []Backend{{"a", "http://a:1"}, {"b", "http://b:1"}}})
	cfg.Service, cfg.Token = "checkout", testToken
	clock := newFakeClock()
	g := newTestGuard(t, cfg, WithRegisterer(reg), WithClock(clock))
	gone := g.endpointsOf("ledger/b")[0]
	late, _ := gone.breaker.allow(clock.Now())
	cfg.Upstreams = map[string]Upstream{"ledger": {Breaker: &b, Backends: []Backend{{"a", "http://a:2"}}}}
	if err := g.Reload(cfg); err != nil {
		t.Fatal(err)
	}
	gone.breaker.settle(clock.Now(), late, false)
	for name, want := range map[string]int{
		"guard_backend_healthy": 1, "guard_backend_in_flight": 1, "guard_backend_attempts_total": 3, "guard_breaker_state": 1, "guard_breaker_opened_total": 1,
	} {
		if n, err := testutil.GatherAndCount(reg, name); err != nil || n != want {
			t.Errorf("%s has %d series, want %d: %v", name, n, want, err)
		}
	}
}

// overtaken lets another call begin while one is being exported.
type overtaken struct {
	prometheus.Gauge
	by func()
}

func (o *overtaken) overtake() {
	if by := o.by; by != nil {
		o.by = nil
		by()
	}
}

func (o *overtaken) Set(v float64) { o.overtake(); o.Gauge.Set(v) }
func (o *overtaken) Inc()          { o.overtake(); o.Gauge.Inc() }

// TestCallsThatOvertakeOneAnotherAreExported: the gauge shows all that are under
// way, in whatever order they get to it.
func TestCallsThatOvertakeOneAnotherAreExported(t *testing.T) {
	g := newTestGuard(t, callerConfig(Upstream{Backends: []Backend{{"a", "http://a:1"}, {"b", "http://b:1"}}}))
	e := g.endpointsOf("ledger/a")[0]
	e.metrics.inFlight = &overtaken{Gauge: e.metrics.inFlight, by: e.begin}
	e.begin()
	if got := testutil.ToFloat64(e.metrics.inFlight); got != 2 {
		t.Errorf("%v calls under way, want 2", got)
	}
	for range 2 {
		e.end(epochStart, time.Millisecond, true)
	}
	if got := testutil.ToFloat64(e.metrics.inFlight); got != 0 {
		t.Errorf("%v calls under way at the end", got)
	}
}

// TestEndlessBudgetIsRefused: the state could not be written as JSON.
func TestEndlessBudgetIsRefused(t *testing.T) {
	for _, ratio := range []float64{math.Inf(1), math.Inf(-1), math.NaN()} {
		cfg := callerConfig(Upstream{RetryBudget: ratio})
		cfg.Service = "checkout"
		if cfg.Validate() == nil {
			t.Errorf("a budget of %v is taken", ratio)
		}
	}
}

// TestLateWritesOfTheDeletedStayOut: also when more were deleted than are
// remembered, the latest are.
func TestLateWritesOfTheDeletedStayOut(t *testing.T) {
	g, _ := clockedGuard(t, shopConfig())
	const more = maxDeleted + 100
	for seq := range uint64(more) {
		if err := g.ledger.remove(fmt.Sprint("i", seq), 1, seq, false); err != nil {
			t.Fatal(err)
		}
	}
	d := directive(fmt.Sprint("i", more-1), KindQueueBound, Params{"length": 7})
	d.Epoch, d.Seq = 1, more-1
	if g.ledger.put(d) == nil {
		t.Error("a late write of what was deleted last is in force")
	}
	if n := len(g.ledger.deleted); n > maxDeleted {
		t.Errorf("%d are remembered", n)
	}
}

// TestFencesAreBounded: a writer that holds one setting after the other in one
// epoch does not fill the memory, and what is held stays fenced.
func TestFencesAreBounded(t *testing.T) {
	g, _ := clockedGuard(t, shopConfig())
	put := func(name string, seq uint64) error {
		d := directive(name, KindKillSwitch, Params{"percent": 1})
		d.Name, d.Epoch, d.Seq = name, 1, seq
		return g.ledger.put(d)
	}
	if err := put("held", 5); err != nil {
		t.Fatal(err)
	}
	for i := range uint64(maxFences + 100) {
		name := fmt.Sprint("f", i)
		if err := put(name, 10+i); err != nil {
			t.Fatal(err)
		}
		if err := g.ledger.remove(name, 1, 10+i, true); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(g.ledger.fences); n > maxFences {
		t.Errorf("%d fences", n)
	}
	if put("held", 4) == nil || put(fmt.Sprint("f", maxFences+99), 10) == nil {
		t.Error("a late write is taken")
	}
}

// TestNobodyIsHeldBackBeyondItsDeadline: a turn that comes too late is not waited
// for.
func TestNobodyIsHeldBackBeyondItsDeadline(t *testing.T) {
	clock := newFakeClock()
	clock.armed = make(chan struct{}, 8)
	g := newTestGuard(t, limitedConfig(LimitConfig{Name: "even", Algorithm: LeakyBucket, Rate: 1, Window: model.Duration(time.Minute), Burst: 3}), WithClock(clock))
	serveOne(t, g, request(t))
	answer := make(chan int)
	go func() {
		w := httptest.NewRecorder()
		g.Middleware(noContent).ServeHTTP(w, request(t, DeadlineHeader, "350ms"))
		answer <- w.Code
	}()
	<-clock.armed
	clock.advance(350 * time.Millisecond)
	if n := clock.pending(); n != 0 {
		t.Fatal("it waits on") // and would for a minute
	}
	if status := <-answer; status != http.StatusGatewayTimeout || counted(g, Normal, 0, dropped) != 1 {
		t.Errorf("%d, %v dropped", status, counted(g, Normal, 0, dropped))
	}
}
