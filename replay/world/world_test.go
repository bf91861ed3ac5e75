package world

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/sreagent/sreagent/replay/fluid"
	"github.com/sreagent/sreagent/sre"
)

// TestRelationsListedTwice has two relations between one pair of services: one
// edge to the agent, which sees and moves both.
func TestRelationsListedTwice(t *testing.T) {
	b := shop()
	first := b.Edges[0]
	first.Calls = .25
	second := first
	second.Calls, second.Hard = .75, false
	b.Edges[0] = first
	b.Edges = append(b.Edges, second)
	w := newWorld(t, b, nil)
	s := observe(t, w, after(time.Minute))
	if n := len(s.Graph.Edges); n != 3 {
		t.Fatalf("%d edges, want 3", n)
	}
	if got := edgeCell(t, s, "gateway", "cart", "edge_traffic"); !got.OK() || got.Value < 79.9 || got.Value > 80.1 {
		t.Errorf("edge_traffic is %+v, want 80", got)
	}
	a := guardAction(sre.RetryBudget, "gateway", "cart", "", sre.Params{"ratio": .1})
	if err := w.Lever().Apply(context.Background(), sre.Directive{Action: a, Epoch: 1, Expires: after(2 * time.Minute)}); err != nil {
		t.Fatal(err)
	}
	for _, e := range []int{0, 3} {
		if got := w.Model().EdgeControl(e).Budget; got != .1 {
			t.Errorf("the budget of relation %d is %v, want 0.1", e, got)
		}
	}
}

// TestLossIsAsOrdered counts failed scrapes.
func TestLossIsAsOrdered(t *testing.T) {
	for _, share := range []float64{0, .1, .5, 1} {
		ups, all := 0., 0.
		w := newWorld(t, shop(), func(o *Options) {
			o.ScrapeLoss = share
			o.Scraped = func(_ time.Time, samples []Sample) {
				for _, s := range samples {
					if s.Metric["__name__"] == "up" {
						ups += s.Value
						all++
					}
				}
			}
		})
		w.AdvanceTo(after(time.Hour)) // 720 scrapes of four services
		if lost := 1 - ups/all; lost < share-.03 || lost > share+.03 || all < 2870 {
			t.Errorf("of %v scrapes %.3f are lost, want %v", all, lost, share)
		}
	}
}

// TestScrapesEnd checks the marks that end series: when scrapes begin to fail,
// and when a version is replaced.
func TestScrapesEnd(t *testing.T) {
	var log []string
	w := newWorld(t, shop(), func(o *Options) {
		o.Aligned = true
		o.Scraped = func(at time.Time, samples []Sample) {
			for _, s := range samples {
				name := s.Metric["__name__"]
				if s.Metric["service"] == "ads" && (name == "up" || name == "build_info" || name == "queue_depth" && s.Stale) {
					log = append(log, fmt.Sprintf("%s %s%s=%v stale=%t", at.Sub(start), name, s.Metric["version"], s.Value, s.Stale))
				}
			}
		}
	})
	w.Announce(sre.Change{ID: "d", At: after(8 * time.Second), Kind: sre.Deploy, Service: "ads", To: "v2"})
	w.At(after(11*time.Second), func(*fluid.Model) {
		if err := w.Silence("ads", after(21*time.Second)); err != nil {
			t.Error(err)
		}
	})
	w.AdvanceTo(after(25 * time.Second))
	want := []string{
		"5s up=1 stale=false", "5s build_infov1=1 stale=false",
		"10s up=1 stale=false", "10s build_infov2=1 stale=false", "10s build_infov1=0 stale=true",
		"15s up=0 stale=false", "15s queue_depth=0 stale=true", "15s build_infov2=0 stale=true",
		"20s up=0 stale=false",
		"25s up=1 stale=false", "25s build_infov2=1 stale=false",
	}
	if fmt.Sprint(log) != fmt.Sprint(want) {
		t.Errorf("scrapes of ads:\n%q\nwant:\n%q", log, want)
	}
}

// TestConcurrentUse has levers, people and the clock at work at once, for the
// race detector.
func TestConcurrentUse(t *testing.T) {
	w := newWorld(t, shop(), nil)
	slowDB(w, 20*time.Second, 40*time.Second)
	var all sync.WaitGroup
	all.Go(func() {
		for i := 1; i <= 60; i++ {
			if _, err := w.Source().Observe(context.Background(), after(time.Duration(i)*time.Second)); err != nil {
				t.Error(err)
			}
		}
	})
	for n, a := range guardActions() {
		all.Go(func() {
			a.ID = fmt.Sprint(n)
			for i := range uint64(20) {
				_ = w.Lever().Apply(context.Background(), sre.Directive{Action: a, Epoch: 1, Seq: i, Expires: after(10 * time.Minute)})
				if _, err := w.Lever().Probe(context.Background(), a); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	if !w.Now().Equal(after(time.Minute)) {
		t.Errorf("the world is at %s", w.Now())
	}
}
