package world

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/sreagent/sreagent/replay/fluid"
	"github.com/sreagent/sreagent/sre"
)

// stuck is a shop whose database was slow for a while, at the moment at which it
// is well again: its callers' retries keep it from recovering.
func stuck(t *testing.T) (*World, *sre.Snapshot) {
	w := newWorld(t, shop(), nil)
	slowDB(w, 60*time.Second, 90*time.Second)
	return w, observe(t, w, after(90*time.Second))
}

func cures() []sre.Action {
	return []sre.Action{
		guardAction(sre.RetryBudget, "cart", "db", "", sre.Params{"ratio": .1}),
		guardAction(sre.RetryBudget, "gateway", "cart", "", sre.Params{"ratio": .1}),
		guardAction(sre.QueueBound, "db", "", "", sre.Params{"length": 30.}),
		guardAction(sre.QueueBound, "cart", "", "", sre.Params{"length": 30.}),
	}
}

// TestForecastIsExact forecasts with and without a cure, then does it.
func TestForecastIsExact(t *testing.T) {
	const horizon = 60 * time.Second
	for name, actions := range map[string][]sre.Action{
		"nothing": nil,
		"cure":    cures(),
		"all": append(cures(),
			guardAction(sre.KillSwitch, "gateway", "", "ads", sre.Params{"percent": 100.}),
			guardAction(sre.Shed, "gateway", "", "", sre.Params{"rps": 40.}),
			platformAction(sre.Scale, "db", "", sre.Params{"replicas": 3.}),
			platformAction(sre.Rollback, "db", "", nil)),
	} {
		t.Run(name, func(t *testing.T) {
			w, s := stuck(t)
			got, err := w.Forecaster().Forecast(context.Background(), s, actions, horizon)
			if err != nil {
				t.Fatal(err)
			}
			for i, a := range actions {
				lever := w.Lever()
				if a.Target.Lever == platformName {
					lever = w.Platform()
				}
				a.ID = string(rune('a' + i))
				if err := lever.Apply(context.Background(), sre.Directive{Action: a, Epoch: 1, Expires: after(time.Hour)}); err != nil {
					t.Fatal(err)
				}
			}
			w.AdvanceTo(after(90*time.Second + horizon - judged))
			wellBefore, before := users(w)
			w.AdvanceTo(after(90*time.Second + horizon))
			good, offered := users(w)
			want := min(1, (good-wellBefore)/(offered-before))
			if len(got) != 1 || !near(got["gateway"], want) {
				t.Errorf("forecast %v, it came to %v", got, want)
			}
			t.Logf("goodput ratio after %s: forecast %.3f, came to %.3f", horizon, got["gateway"], want)
		})
	}
}

// TestForecastTellsCuresApart is what it is for.
func TestForecastTellsCuresApart(t *testing.T) {
	w, s := stuck(t)
	ask := func(actions ...sre.Action) float64 {
		t.Helper()
		got, err := w.Forecaster().Forecast(context.Background(), s, actions, 2*time.Minute)
		if err != nil {
			t.Fatal(err)
		}
		return got["gateway"]
	}
	if got := ask(); got > .1 {
		t.Errorf("nothing done: %v, want the outage to stay", got)
	}
	if got := ask(cures()...); got < .95 {
		t.Errorf("cured: %v, want all well", got)
	}
	if got := ask(guardAction(sre.KillSwitch, "gateway", "", "ads", sre.Params{"percent": 100.})); got > .1 {
		t.Errorf("the wrong lever: %v, want the outage to stay", got)
	}
}

// TestForecastMovesNothing forecasts from one of two equal worlds.
func TestForecastMovesNothing(t *testing.T) {
	w, s := stuck(t)
	twin, _ := stuck(t)
	if _, err := w.Forecaster().Forecast(context.Background(), s, cures(), time.Minute); err != nil {
		t.Fatal(err)
	}
	if !w.Now().Equal(after(90 * time.Second)) {
		t.Errorf("the world is at %s", w.Now())
	}
	at := after(3 * time.Minute)
	if dump(observe(t, w, at)) != dump(observe(t, twin, at)) {
		t.Error("a forecast changed what came after it")
	}
}

// TestForecastKnowsNoScript has a fault to come that nobody can foresee.
func TestForecastKnowsNoScript(t *testing.T) {
	w := newWorld(t, shop(), nil)
	s := observe(t, w, after(30*time.Second))
	w.At(after(40*time.Second), func(m *fluid.Model) {
		c := fluid.Well()
		c.Errors = 1
		m.SetCondition(gateway, c)
	})
	got, err := w.Forecaster().Forecast(context.Background(), s, nil, time.Minute)
	if err != nil || got["gateway"] < .99 {
		t.Errorf("forecast %v, %v; want all well", got, err)
	}
}

// TestForecastRefuses what it cannot answer.
func TestForecastRefuses(t *testing.T) {
	w, s := stuck(t)
	past := *s
	past.At = s.At.Add(-time.Second)
	canceled, cancel := context.WithCancel(context.Background())
	cancel()
	for name, c := range map[string]struct {
		ctx     context.Context
		s       *sre.Snapshot
		actions []sre.Action
		horizon time.Duration
		want    string
	}{
		"no snapshot":    {context.Background(), nil, nil, time.Minute, "snapshot"},
		"an old one":     {context.Background(), &past, nil, time.Minute, "snapshot"},
		"no horizon":     {context.Background(), s, nil, 0, "horizon"},
		"unknown target": {context.Background(), s, []sre.Action{guardAction(sre.Shed, "nobody", "", "", sre.Params{"rps": 1.})}, time.Minute, "nobody"},
		"bad parameter":  {context.Background(), s, []sre.Action{guardAction(sre.Shed, "cart", "", "", sre.Params{"rps": -1.})}, time.Minute, "rps"},
		"too late":       {canceled, s, nil, time.Minute, "canceled"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := w.Forecaster().Forecast(c.ctx, c.s, c.actions, c.horizon)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, %v; want an error about %s", got, err, c.want)
			}
		})
	}
}
