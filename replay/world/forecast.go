package world

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/sreagent/sreagent/replay/fluid"
	"github.com/sreagent/sreagent/sre"
)

// judged is the time at the end of a forecast over which goodput is taken.
const judged = 10 * time.Second

// forecaster asks a copy of the world.
type forecaster struct{ w *World }

// Forecaster returns a forecaster that runs a copy of this very world ahead. It
// knows the inside of every service, so where the world is the system its
// forecasts are exact, noise included, but for what a forecast cannot know: what
// a script is yet to do, and what levers are yet to be moved. Leases in force
// are taken to be renewed, the given actions to hold until the end. The world
// itself does not move.
func (w *World) Forecaster() sre.Forecaster { return forecaster{w} }

// Forecast returns the share of requests that is answered well and in time at
// every entry service, over the last ten seconds before the horizon. The
// snapshot must be of the instant that the world has reached.
func (f forecaster) Forecast(ctx context.Context, s *sre.Snapshot, actions []sre.Action, horizon time.Duration) (map[string]float64, error) {
	m, err := f.copied(s)
	if err != nil {
		return nil, fmt.Errorf("forecast: %w", err)
	}
	return f.w.foresee(ctx, m, actions, horizon)
}

// copied returns a copy of the model, if the snapshot is of the instant that the
// world has reached.
func (f forecaster) copied(s *sre.Snapshot) (*fluid.Model, error) {
	w := f.w
	w.turn.Lock()
	defer w.turn.Unlock()
	w.mu.Lock()
	defer w.mu.Unlock()
	now := w.clock()
	if s == nil || s.At.Before(now) || s.At.Sub(now) >= w.step {
		return nil, fmt.Errorf("the snapshot is not of the instant that the world is at, %s", now.Format(time.RFC3339Nano))
	}
	return w.model.Clone(), nil
}

// foresee applies actions to a model of this world and runs it.
func (w *World) foresee(ctx context.Context, m *fluid.Model, actions []sre.Action, horizon time.Duration) (map[string]float64, error) {
	if horizon < w.step {
		return nil, fmt.Errorf("forecast: horizon is %s; allowed: at least %s", horizon, w.step)
	}
	begin := m.Elapsed()
	var later []knob // rollbacks, which take effect after their start delay
	for _, a := range actions {
		k, err := w.try(m, a)
		if err != nil {
			return nil, fmt.Errorf("forecast %s %s: %w", a.Kind, a.Target, err)
		}
		if a.Kind == sre.Rollback {
			later = append(later, k)
		}
	}
	end := begin + horizon
	from := max(begin, end-judged)
	var before []fluid.ClientTotals
	for {
		at := m.Elapsed()
		for i := 0; i < len(later); {
			if at-begin < w.plan.Services[later[i].service].StartDelay {
				i++
				continue
			}
			c := m.Control(later[i].service)
			c.RolledBack = true
			m.SetControl(later[i].service, c)
			later = slices.Delete(later, i, i+1)
		}
		if before == nil && at >= from {
			before = clients(m)
		}
		if end-at < w.step {
			break
		}
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		pause := min(end-at, time.Second)
		if at < from {
			pause = min(pause, from-at)
		}
		m.Advance(max(pause, w.step))
	}
	return w.ratios(before, clients(m)), nil
}

// try sets what an action orders in a model, whoever holds the knob now.
func (w *World) try(m *fluid.Model, a sre.Action) (knob, error) {
	l := w.guard
	if _, ok := l.kinds.Kind(a.Kind); !ok {
		l = w.platform
	}
	d := sre.Directive{Action: a}
	if d.Action.ID == "" {
		d.Action.ID = "forecast"
	}
	k, err := lever{w, l}.check(&d)
	if err != nil || a.Kind == sre.Rollback {
		return k, err
	}
	p := d.Action.Params
	switch {
	case k.kind == sre.KillSwitch:
		percent, _ := p.Float("percent")
		c := m.Control(k.service)
		off := map[string]float64{k.name: percent}
		for _, name := range c.Killed {
			if name != k.name {
				off[name] = 100 * c.KilledPart
			}
		}
		setFeatures(&c, off)
		m.SetControl(k.service, c)
	case !k.perEdge():
		c := m.Control(k.service)
		setService(&c, m.DefaultControl(k.service), k.kind, p)
		m.SetControl(k.service, c)
	default:
		for _, e := range w.relations(k) {
			c := m.EdgeControl(e)
			setEdge(&c, m.DefaultEdgeControl(e), k, p)
			m.SetEdgeControl(e, c)
		}
	}
	return k, nil
}

func clients(m *fluid.Model) []fluid.ClientTotals {
	out := make([]fluid.ClientTotals, len(m.Blueprint().Clients))
	for c := range out {
		out[c] = m.Client(c)
	}
	return out
}

// ratios is goodput per entry service between two counts. An entry that nobody
// asks anything of loses nothing.
func (w *World) ratios(before, after []fluid.ClientTotals) map[string]float64 {
	good, offered := map[int]float64{}, map[int]float64{}
	for c, spec := range w.plan.Clients {
		good[spec.Entry] += after[c].Good - before[c].Good
		offered[spec.Entry] += after[c].Offered - before[c].Offered
	}
	out := make(map[string]float64, len(good))
	for entry := range good {
		ratio := 1.
		if offered[entry] > 0 {
			ratio = min(1, max(0, good[entry]/offered[entry]))
		}
		out[w.plan.Services[entry].Name] = ratio
	}
	return out
}
