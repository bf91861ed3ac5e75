package world

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/sreagent/sreagent/replay/fluid"
	"github.com/sreagent/sreagent/sre"
)

// LiveConfig says what a forecaster assumes where a snapshot is silent. Zero
// fields take their defaults.
type LiveConfig struct {
	CallTimeout   time.Duration // of a call whose timeout nobody told; 1s
	ClientTimeout time.Duration // that users have; 3s
	StartDelay    time.Duration // of a new replica; 30s
	Settle        time.Duration // model time before the question is asked; 30s
	MinSeen       float64       // share of the services behind the entries that must be measured, 0 to 1; 0.8
}

func (c LiveConfig) withDefaults() LiveConfig {
	duration := func(d *time.Duration, usual time.Duration) {
		if *d <= 0 {
			*d = usual
		}
	}
	duration(&c.CallTimeout, time.Second)
	duration(&c.ClientTimeout, 3*time.Second)
	duration(&c.StartDelay, 30*time.Second)
	duration(&c.Settle, 30*time.Second)
	if c.MinSeen <= 0 || c.MinSeen > 1 {
		c.MinSeen = .8
	}
	return c
}

// ErrTooLittle is why a snapshot cannot be forecast from: it says too little.
var ErrTooLittle = errors.New("the snapshot says too little")

// live forecasts from snapshots alone.
type live struct {
	cfg    LiveConfig
	memory calmDays
}

// NewForecaster returns a forecaster for a system of which there is nothing but
// snapshots. For every question it builds a model whose rates, times in service
// and occupancies are those measured, lets it settle, fills its queues to the
// measured backlogs, and runs it ahead with the actions in effect.
//
// It needs fresh traffic and latency of the services behind the entries, and
// their occupancy or processor use; else its error wraps ErrTooLittle. What it
// cannot know it does not guess: kill switches and rollbacks are refused,
// because a snapshot does not say what they would change. Caps and budgets that
// are in force already are not seen in a snapshot, and so not in the model. It
// is close to the truth in calm and in an outage that lasts; while a system is
// recovering, a snapshot does not show it, and the forecast is too dark.
//
// It is a sre.Rememberer: what is usual for a service, and so what it would be
// like healed, it knows from the snapshots of calm times that it was shown.
func NewForecaster(cfg LiveConfig) sre.Forecaster { return &live{cfg: cfg.withDefaults()} }

// Forecast returns the expected share of requests that is answered well and in
// time at every entry service, over the last ten seconds before the horizon.
func (f *live) Forecast(ctx context.Context, s *sre.Snapshot, actions []sre.Action, horizon time.Duration) (map[string]float64, error) {
	if s == nil || s.Graph == nil {
		return nil, fmt.Errorf("forecast: %w: there is none", ErrTooLittle)
	}
	for _, a := range actions {
		if a.Kind == sre.KillSwitch || a.Kind == sre.Rollback {
			return nil, fmt.Errorf("forecast %s %s: %w: it does not say what that would change", a.Kind, a.Target, ErrTooLittle)
		}
	}
	c := calibration{cfg: f.cfg, s: s, calm: f.prior(s)}
	blueprint, err := c.blueprint(actions)
	if err != nil {
		return nil, fmt.Errorf("forecast: %w", err)
	}
	w, err := f.now(ctx, &c, blueprint, nil)
	if err != nil {
		return nil, fmt.Errorf("forecast: %w", err)
	}
	return w.foresee(ctx, w.model, actions, horizon)
}

// now is the world of a blueprint in the state that was measured, but for the
// services that are to have nothing waiting.
func (f *live) now(ctx context.Context, c *calibration, b fluid.Blueprint, empty []int) (*World, error) {
	w, err := New(b, Options{Start: c.s.At.Truncate(time.Millisecond)})
	if err != nil {
		return nil, err
	}
	for i, share := range c.failing() {
		if share > 0 && !slices.Contains(empty, i) {
			condition := fluid.Well()
			condition.Errors = share
			w.model.SetCondition(i, condition)
		}
	}
	return w, f.fill(ctx, w.model, c, empty)
}

// longestFill is the model time after which a backlog that was measured, and
// that the model does not build up, is let be.
const longestFill = 5 * time.Minute

// fill brings the model into the state that was measured. It settles first, with
// services that are full made faster, so that no backlog builds up but the
// measured one. Then services that have more inside stand still until they have
// as much as was measured: callees before their callers, because a caller that
// stands still sends them nothing.
func (f *live) fill(ctx context.Context, m *fluid.Model, c *calibration, empty []int) error {
	for i := range c.seen {
		if pool := c.occupancy(i); pool.ok && pool.v >= saturate {
			setSpeed(m, i, ample)
		}
	}
	m.Advance(f.cfg.Settle)
	want := c.backlogs(m)
	for _, i := range empty {
		want[i].length = 0
	}
	begin := m.Elapsed()
	for m.Elapsed()-begin < longestFill {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if all := hold(m, want); all {
			break
		}
		m.Step()
	}
	for i := range want {
		setSpeed(m, i, 1)
		m.SetControl(i, m.DefaultControl(i))
	}
	return nil
}

// backlog is a queue to be filled.
type backlog struct {
	length        float64 // 0 is none
	behind        []int   // callees, direct or not
	halted, ready bool
}

// backlogs lists by service what waits in the snapshot and not in the model.
func (c *calibration) backlogs(m *fluid.Model) []backlog {
	out := make([]backlog, len(c.seen))
	for i := range out {
		inside, now := c.value(i, sre.Queue, sre.Count), m.Service(i)
		out[i].behind = c.s.Graph.Downstream(i)
		if !inside.ok || inside.v <= 2*now.InFlight+10 {
			continue
		}
		out[i].length = inside.v - now.Busy
		if b := m.Blueprint().Services[i].QueueBound; b > 0 {
			out[i].length = min(out[i].length, float64(b))
		}
	}
	return out
}

// hold stops every service whose turn it is, with room for no more than it is to
// have, and reports whether all have it.
func hold(m *fluid.Model, want []backlog) bool {
	all := true
	for i := range want {
		b := &want[i]
		if b.length == 0 || b.ready {
			continue
		}
		all = false
		if b.halted {
			b.ready = m.Service(i).Queue >= .99*b.length
			continue
		}
		waits := false
		for _, j := range b.behind {
			waits = waits || want[j].length > 0 && !want[j].ready && !slices.Contains(want[j].behind, i)
		}
		if !waits {
			b.halted = true
			setSpeed(m, i, 0)
			control := m.DefaultControl(i)
			control.QueueBound = b.length
			m.SetControl(i, control)
		}
	}
	return all
}

func setSpeed(m *fluid.Model, i int, factor float64) {
	c := m.Condition(i)
	c.Capacity = factor
	m.SetCondition(i, c)
}
