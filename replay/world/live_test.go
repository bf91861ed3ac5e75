package world

import (
	"context"
	"errors"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/sreagent/sreagent/replay/fluid"
	"github.com/sreagent/sreagent/sre"
)

func forecastLive(t *testing.T, s *sre.Snapshot, horizon time.Duration, actions ...sre.Action) float64 {
	t.Helper()
	got, err := NewForecaster(LiveConfig{}).Forecast(context.Background(), s, actions, horizon)
	if err != nil {
		t.Fatal(err)
	}
	if len(got) != 1 {
		t.Fatalf("forecast %v, want the one entry", got)
	}
	return got["gateway"]
}

// TestLiveForecast judges by snapshots of a world whose inside it does not see,
// beside a forecaster that does see it.
func TestLiveForecast(t *testing.T) {
	small := shop() // its database is short of one replica, and turns away what it cannot do
	small.Services[db].Rate, small.Services[db].QueueBound = 30, 10
	small.Edges[0].Retries, small.Edges[1].Retries, small.Clients[0].Retries = 0, 0, 0
	half := guardAction(sre.Shed, "gateway", "", "", sre.Params{"rps": 40.})
	other := guardAction(sre.Shed, "ads", "", "", sre.Params{"rps": 1.})
	second := platformAction(sre.Scale, "db", "", sre.Params{"replicas": 2.})
	calm := func(t *testing.T) (*World, *sre.Snapshot) {
		w := newWorld(t, shop(), nil)
		return w, observe(t, w, after(time.Minute))
	}
	late := func(t *testing.T) (*World, *sre.Snapshot) {
		w, _ := stuck(t)
		return w, observe(t, w, after(130*time.Second))
	}
	short := func(t *testing.T) (*World, *sre.Snapshot) {
		w := newWorld(t, small, nil)
		return w, observe(t, w, after(2*time.Minute))
	}
	for _, c := range []struct {
		name        string
		world       func(*testing.T) (*World, *sre.Snapshot)
		actions     []sre.Action
		horizon     time.Duration
		least, most float64
	}{
		{"calm, nothing done", calm, nil, time.Minute, .99, 1},
		{"calm, half shed", calm, []sre.Action{half}, time.Minute, .4, .6},
		{"collapsing, nothing done", stuck, nil, time.Minute, 0, .05},
		{"stuck, nothing done", late, nil, 5 * time.Minute, 0, .05},
		{"stuck, the wrong lever", late, []sre.Action{other}, 5 * time.Minute, 0, .05},
		{"stuck, without repetitions, too early to tell", late, cures()[:2], 30 * time.Second, 0, .05},
		{"stuck, cured", late, cures(), 5 * time.Minute, .95, 1},
		{"short of a replica, nothing done", short, nil, time.Minute, .6, .9},
		{"short of a replica, scaled", short, []sre.Action{second}, time.Minute, .95, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			w, s := c.world(t)
			truth, err := w.Forecaster().Forecast(context.Background(), s, c.actions, c.horizon)
			if err != nil {
				t.Fatal(err)
			}
			got := forecastLive(t, s, c.horizon, c.actions...)
			t.Logf("forecast %.3f, in truth %.3f", got, truth["gateway"])
			for what, ratio := range map[string]float64{"forecast": got, "in truth": truth["gateway"]} {
				if ratio < c.least || ratio > c.most {
					t.Errorf("%s %v, want %v to %v", what, ratio, c.least, c.most)
				}
			}
		})
	}
}

// TestLiveForecastOfFleets holds the forecaster against the truth in fleets that
// it was not made for, with and without a memory of calm times: calm, in an outage
// that lasts, and just as the fault is over, when one without memory may only err
// on the side of doubt.
func TestLiveForecastOfFleets(t *testing.T) {
	phases := []string{"calm", "outage", "long outage", "recovering"}
	const fleets = 4
	for _, remembers := range []bool{false, true} {
		var off, bias, n [4]float64
		for seed := range uint64(fleets) {
			w := newWorld(t, fluid.Fleet(fluid.FleetOptions{Services: 60, Seed: seed, Retries: 2, QueueSeconds: 5}), nil)
			const leaf = 55
			w.At(after(61*time.Second), func(m *fluid.Model) { setSpeed(m, leaf, .3) })
			w.At(after(121*time.Second), func(m *fluid.Model) { setSpeed(m, leaf, 1) })
			f := NewForecaster(LiveConfig{})
			for at := 30 * time.Second; at < time.Minute && remembers; at += 10 * time.Second {
				f.(sre.Rememberer).Remember(observe(t, w, after(at)))
			}
			for phase := range phases {
				s := observe(t, w, after(time.Duration(60+30*phase)*time.Second))
				truth, err := w.Forecaster().Forecast(context.Background(), s, nil, time.Minute)
				if err != nil {
					t.Fatal(err)
				}
				got, err := f.Forecast(context.Background(), s, nil, time.Minute)
				if err != nil {
					t.Fatal(err)
				}
				for entry, ratio := range truth {
					off[phase] += math.Abs(got[entry] - ratio)
					bias[phase] += got[entry] - ratio
					n[phase]++
				}
			}
		}
		for i, name := range phases {
			mean, lean := off[i]/n[i], bias[i]/n[i]
			t.Logf("memory %v, %s: mean error %.3f, mean bias %+.3f", remembers, name, mean, lean)
			if i < 3 && mean > .1 {
				t.Errorf("memory %v, %s: the mean error is %v", remembers, name, mean)
			}
			if i == 3 && !remembers && lean > 0 {
				t.Errorf("%s: the mean bias is %v, want doubt", name, lean)
			}
		}
	}
}

// TestCalibration holds what is concluded from a snapshot against the blueprint.
func TestCalibration(t *testing.T) {
	for name, at := range map[string]time.Duration{"calm": time.Minute, "in an incident": 130 * time.Second} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, shop(), nil)
			slowDB(w, 60*time.Second, 90*time.Second)
			s := observe(t, w, after(at))
			c := calibration{cfg: LiveConfig{}.withDefaults(), s: s}
			b, err := c.blueprint(nil)
			if err != nil {
				t.Fatal(err)
			}
			within := func(what string, got, want float64) {
				t.Helper()
				t.Logf("%s: concluded %.3g, in truth %.3g", what, got, want)
				if got < want*.8 || got > want*1.25 {
					t.Errorf("%s: concluded %v, in truth %v", what, got, want)
				}
			}
			for i, spec := range w.plan.Services {
				within(spec.Name+" capacity", b.Services[i].Rate*float64(b.Services[i].Replicas), spec.Rate*float64(spec.Replicas))
			}
			within("calls of gateway to cart", b.Edges[0].Calls, 1)
			within("calls of cart to db", b.Edges[1].Calls, .5)
			within("users", b.Clients[0].Rate, 80)
			if at > time.Minute {
				within("workers of cart", float64(b.Services[cart].Workers*b.Services[cart].Replicas), 100)
			}
		})
	}
}

// TestLiveForecastIsHonest takes away what it needs.
func TestLiveForecastIsHonest(t *testing.T) {
	blank := func(s *sre.Snapshot, service string, kinds ...sre.SignalKind) {
		i, _ := s.Graph.Index(service)
		for row, sig := range s.Signals {
			for _, k := range kinds {
				if sig.Kind == k {
					s.Service.Set(row, i, sre.Reading{Value: 1, State: sre.Stale})
				}
			}
		}
	}
	for name, c := range map[string]struct {
		spoil  func(*sre.Snapshot)
		action sre.Action
		want   string
	}{
		"entry unseen":   {func(s *sre.Snapshot) { blank(s, "gateway", sre.Traffic) }, sre.Action{}, "entry gateway"},
		"too few seen":   {func(s *sre.Snapshot) { blank(s, "db", sre.Latency); blank(s, "ads", sre.Latency) }, sre.Action{}, "2 of 4"},
		"target unseen":  {func(s *sre.Snapshot) { blank(s, "ads", sre.Pool, sre.Saturation) }, guardAction(sre.Shed, "ads", "", "", sre.Params{"rps": 1.}), "ads"},
		"source down":    {func(s *sre.Snapshot) { s.Health.Up = false }, sre.Action{}, "down"},
		"a feature":      {nil, guardAction(sre.KillSwitch, "gateway", "", "ads", sre.Params{"percent": 1.}), "kill_switch"},
		"a version":      {nil, platformAction(sre.Rollback, "db", "", nil), "rollback"},
		"nobody outside": {func(s *sre.Snapshot) { noTraffic(s) }, sre.Action{}, "no entry"},
	} {
		t.Run(name, func(t *testing.T) {
			s := observe(t, newWorld(t, shop(), nil), after(time.Minute))
			if c.spoil != nil {
				c.spoil(s)
			}
			var actions []sre.Action
			if c.action.ID != "" {
				actions = append(actions, c.action)
			}
			got, err := NewForecaster(LiveConfig{}).Forecast(context.Background(), s, actions, time.Minute)
			if !errors.Is(err, ErrTooLittle) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, %v; want ErrTooLittle about %q", got, err, c.want)
			}
		})
	}
	if _, err := NewForecaster(LiveConfig{}).Forecast(context.Background(), nil, nil, time.Minute); !errors.Is(err, ErrTooLittle) {
		t.Errorf("without a snapshot: %v", err)
	}
	_, s := stuck(t)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := NewForecaster(LiveConfig{}).Forecast(ctx, s, nil, time.Minute); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

func noTraffic(s *sre.Snapshot) {
	for row, sig := range s.Signals {
		if sig.Kind == sre.Traffic {
			s.Service.Set(row, gateway, sre.Reading{State: sre.Present})
		}
	}
}
