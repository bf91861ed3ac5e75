package world

import (
	"context"
	"testing"
	"time"

	"github.com/sreagent/sreagent/replay/fluid"
	"github.com/sreagent/sreagent/sre"
)

// TestReturn follows settings on their way back after a lease has expired.
func TestReturn(t *testing.T) {
	cases := map[string]struct {
		action sre.Action
		read   func(*fluid.Model) float64
		want   []float64 // right after the expiry, then after each step
	}{
		"shed": { // to a quarter above what arrives
			guardAction(sre.Shed, "cart", "", "", sre.Params{"rps": 50.}),
			func(m *fluid.Model) float64 { return m.Control(cart).Cap },
			[]float64{50, 60, 70, 80, 90, inf},
		},
		"retry budget": { // to the number of retries, which is no limit
			guardAction(sre.RetryBudget, "cart", "db", "", sre.Params{"ratio": .5}),
			func(m *fluid.Model) float64 { return m.EdgeControl(1).Budget },
			[]float64{.5, .8, 1.1, 1.4, 1.7, inf},
		},
		"queue bound": { // in equal ratios to the configured bound
			guardAction(sre.QueueBound, "gateway", "", "", sre.Params{"length": 5.}),
			func(m *fluid.Model) float64 { return m.Control(gateway).QueueBound },
			[]float64{5, 13, 32, 79, 199, inf},
		},
		"kill switch": {
			guardAction(sre.KillSwitch, "gateway", "", "ads", sre.Params{"percent": 100.}),
			func(m *fluid.Model) float64 { return m.Control(gateway).KilledPart },
			[]float64{1, .25, .05, .01, 0},
		},
		"timeout": {
			guardAction(sre.Timeout, "cart", "db", "", sre.Params{"seconds": .1}),
			func(m *fluid.Model) float64 { return m.EdgeControl(1).Timeout.Seconds() },
			[]float64{.5},
		},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			b := shop()
			b.Clients[0].Concurrency, b.Clients[0].Retries = 0, 0
			b.Edges[0].Retries, b.Clients[0].Rate = 0, 80
			w := newWorld(t, b, func(o *Options) { o.Aligned = true })
			w.AdvanceTo(after(30 * time.Second))
			expires := 40 * time.Second
			if err := w.Lever().Apply(context.Background(), sre.Directive{Action: c.action, Epoch: 1, Expires: after(expires)}); err != nil {
				t.Fatal(err)
			}
			w.AdvanceTo(after(expires - w.step))
			if got := c.read(w.Model()); !near(got, c.want[0]) && len(c.want) > 1 {
				t.Errorf("held: %v, want %v", got, c.want[0])
			}
			for i, want := range c.want {
				w.AdvanceTo(after(expires + time.Duration(i)*DefaultReturnEvery))
				if got := c.read(w.Model()); !near(got, want) {
					t.Errorf("step %d: %v, want %v", i, got, want)
				}
			}
		})
	}
}

// TestOwnBudgetStandsBeforeThatOfAll has a lease of one callee inside one of all.
func TestOwnBudgetStandsBeforeThatOfAll(t *testing.T) {
	w := newWorld(t, shop(), nil)
	lever := w.Lever()
	apply := func(id, callee string, ratio float64, ttl time.Duration) {
		t.Helper()
		a := guardAction(sre.RetryBudget, "gateway", callee, "", sre.Params{"ratio": ratio})
		a.ID = id
		if err := lever.Apply(context.Background(), sre.Directive{Action: a, Epoch: 1, Expires: after(ttl)}); err != nil {
			t.Fatal(err)
		}
	}
	want := func(at time.Duration, toCart, toAds float64) {
		t.Helper()
		w.AdvanceTo(after(at))
		m := w.Model()
		if c, a := m.EdgeControl(0).Budget, m.EdgeControl(2).Budget; !near(c, toCart) || !near(a, toAds) {
			t.Errorf("at %s the budgets are %v and %v, want %v and %v", at, c, a, toCart, toAds)
		}
	}
	apply("own", "cart", .05, 10*time.Second)
	apply("all", "", .2, 10*time.Minute)
	want(0, .05, .2)
	want(10*time.Second+allSteps, .2, .2) // the own one is over, that of all holds
	a := guardAction(sre.RetryBudget, "gateway", "", "", nil)
	a.ID = "all"
	if err := lever.Revert(context.Background(), sre.Directive{Action: a, Epoch: 1}); err != nil {
		t.Fatal(err)
	}
	want(10*time.Second+2*allSteps, inf, inf)
}

// TestScaleGoesBackToWhatWasThere reverts to what the agent found, which is not
// what the blueprint says.
func TestScaleGoesBackToWhatWasThere(t *testing.T) {
	w := newWorld(t, shop(), nil)
	w.At(start, func(m *fluid.Model) {
		c := m.Control(db)
		c.Replicas = 2 // an autoscaler
		m.SetControl(db, c)
	})
	w.AdvanceTo(after(30 * time.Second))
	a := platformAction(sre.Scale, "db", "", sre.Params{"replicas": 5.})
	before, err := w.Platform().Probe(context.Background(), a)
	if err != nil {
		t.Fatal(err)
	}
	if got, _ := before.Current.Float("replicas"); got != 2 {
		t.Fatalf("found %v replicas, want 2", got)
	}
	d := sre.Directive{Action: a, Epoch: 1, Restore: before.Current}
	if err := w.Platform().Apply(context.Background(), d); err != nil {
		t.Fatal(err)
	}
	w.AdvanceTo(after(60 * time.Second))
	if s := w.Model().Service(db); s.Ready != 5 {
		t.Errorf("%v replicas are ready, want 5", s.Ready)
	}
	if err := w.Platform().Revert(context.Background(), d); err != nil {
		t.Fatal(err)
	}
	if c := w.Model().Control(db); c.Replicas != 2 {
		t.Errorf("%d replicas are wanted after the revert, want 2", c.Replicas)
	}
}
