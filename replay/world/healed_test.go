package world

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sreagent/sreagent/replay/fluid"
	"github.com/sreagent/sreagent/sre"
)

// taught is a live forecaster that saw the calm before the trouble.
func taught(t testing.TB, w *World) sre.Forecaster {
	t.Helper()
	f := NewForecaster(LiveConfig{})
	for at := 30 * time.Second; at < time.Minute; at += 10 * time.Second {
		f.(sre.Rememberer).Remember(observe(t, w, after(at)))
	}
	return f
}

// TestHealedShop heals each service of a shop whose database has put it into a
// storm of retries that outlived the fault: the database helps, what has nothing
// to do with it does not.
func TestHealedShop(t *testing.T) {
	for name, make := range map[string]func(testing.TB, *World) sre.Forecaster{
		"world": func(_ testing.TB, w *World) sre.Forecaster { return w.Forecaster() },
		"live":  taught,
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, shop(), nil)
			slowDB(w, 60*time.Second, 90*time.Second)
			f := make(t, w)
			s := observe(t, w, after(100*time.Second))
			for service, well := range map[string]bool{"db": true, "ads": false, "gateway": false} {
				got, err := f.Healed(context.Background(), s, service, 2*time.Minute)
				if err != nil {
					t.Fatal(err)
				}
				if again := got["gateway"] >= .5; again != well {
					t.Errorf("with %s healed the goodput is %v", service, got)
				}
			}
		})
	}
}

// TestHealedLiftsWhatAils gives a service everything at once that one can have.
func TestHealedLiftsWhatAils(t *testing.T) {
	w := newWorld(t, shop(), nil)
	w.At(after(61*time.Second), func(m *fluid.Model) {
		m.SetCondition(cart, fluid.Condition{
			Capacity: .3, Slow: time.Second, Errors: .5, Lost: 1, Leak: 5,
			Bad: &fluid.BadVersion{Share: 1, Capacity: .5, Errors: .5},
		})
		m.EvictCache(cart, 1)
		for e := range 2 {
			m.SetEdgeCondition(e, fluid.EdgeCondition{Delay: time.Second, Loss: .5})
		}
		m.SetLoad(0, 1)
	})
	s := observe(t, w, after(2*time.Minute))
	f := w.Forecaster()
	asIs, err := f.Forecast(context.Background(), s, nil, time.Minute)
	if err != nil || asIs["gateway"] > .2 {
		t.Fatalf("as it is: %v, %v; want an outage", asIs, err)
	}
	healed, err := f.Healed(context.Background(), s, "cart", time.Minute)
	if err != nil || healed["gateway"] < .99 {
		t.Errorf("healed: %v, %v; want all well", healed, err)
	}
	again, err := f.Forecast(context.Background(), s, nil, time.Minute)
	if err != nil || cmp.Diff(asIs, again) != "" {
		t.Errorf("to ask changed the world: %v, before %v (%v)", again, asIs, err)
	}
}

// TestHealedLiftsASurge has more users than the shop can serve.
func TestHealedLiftsASurge(t *testing.T) {
	for name, make := range map[string]func(testing.TB, *World) sre.Forecaster{
		"world": func(_ testing.TB, w *World) sre.Forecaster { return w.Forecaster() },
		"live":  taught,
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, shop(), nil)
			w.At(after(61*time.Second), func(m *fluid.Model) { m.SetLoad(0, 5) })
			f := make(t, w)
			s := observe(t, w, after(2*time.Minute))
			asIs, err := f.Forecast(context.Background(), s, nil, time.Minute)
			if err != nil {
				t.Fatal(err)
			}
			healed, err := f.Healed(context.Background(), s, "gateway", time.Minute)
			if err != nil || asIs["gateway"] > .6 || healed["gateway"] < .95 {
				t.Errorf("as it is %v, healed %v, %v", asIs, healed, err)
			}
		})
	}
}

// TestHealedRefuses what it cannot answer.
func TestHealedRefuses(t *testing.T) {
	w, s := stuck(t)
	fresh := NewForecaster(LiveConfig{})
	trained := NewForecaster(LiveConfig{})
	trained.(sre.Rememberer).Remember(s)
	trained.(sre.Rememberer).Remember(nil)
	for name, c := range map[string]struct {
		f       sre.Forecaster
		s       *sre.Snapshot
		service string
		want    string
	}{
		"world, no snapshot":    {w.Forecaster(), nil, "db", "snapshot"},
		"world, unknown":        {w.Forecaster(), s, "nobody", `"nobody"`},
		"live, no snapshot":     {trained, nil, "db", "too little"},
		"live, unknown":         {trained, s, "nobody", "no such service"},
		"live, nothing is kept": {fresh, s, "db", "no calm time"},
	} {
		t.Run(name, func(t *testing.T) {
			if got, err := c.f.Healed(context.Background(), c.s, c.service, time.Minute); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, %v; want an error about %s", got, err, c.want)
			}
		})
	}
	if _, err := fresh.Healed(context.Background(), s, "db", time.Minute); !errors.Is(err, ErrTooLittle) {
		t.Errorf("got %v, want ErrTooLittle", err)
	}
}

// TestRemembers keeps few snapshots, and gives medians of them.
func TestRemembers(t *testing.T) {
	f := NewForecaster(LiveConfig{}).(*live)
	g := sre.NewGraph([]sre.Service{{Name: "a"}}, nil)
	shown := func(at time.Duration, signal string, v float64) {
		s := &sre.Snapshot{At: after(at), Graph: g, Signals: []sre.Signal{{Name: signal}}, Service: sre.NewMatrix(1, 1), Health: sre.SourceHealth{Up: true}}
		s.Service.Set(0, 0, sre.Reading{Value: v, State: sre.Present})
		f.Remember(s)
	}
	median := func() float64 {
		grown := sre.NewGraph([]sre.Service{{Name: "a"}, {Name: "b"}}, nil)
		s, ok := f.memory.usual(&sre.Snapshot{Graph: grown, Signals: f.memory.kept[0].Signals})
		if !ok || s.Service.At(0, 1).State != sre.Absent {
			t.Fatal("what was never seen is usual")
		}
		return s.Service.At(0, 0).Value
	}
	for k := range 7 {
		shown(time.Duration(k)*10*time.Second, "x", float64(k))
		shown(time.Duration(k)*10*time.Second+time.Second, "x", 1000) // too soon
	}
	if got := median(); got != 3 {
		t.Errorf("the median is %v, want 3", got)
	}
	shown(90*time.Second, "x", 1000) // too soon, now that there are seven
	shown(3*time.Minute, "x", 1000)
	if got := median(); len(f.memory.kept) != 7 || got != 4 {
		t.Errorf("%d are kept, the median is %v; want 7 and 4", len(f.memory.kept), got)
	}
	shown(4*time.Minute, "y", 5)
	if got := median(); len(f.memory.kept) != 1 || got != 5 {
		t.Errorf("after other signals %d are kept, the median is %v", len(f.memory.kept), got)
	}
}
