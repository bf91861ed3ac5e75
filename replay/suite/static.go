package suite

import (
	"context"
	"fmt"
	"time"

	"github.com/sreagent/sreagent/replay/scenario"
	"github.com/sreagent/sreagent/replay/world"
	"github.com/sreagent/sreagent/sre"
)

// The static policy is what teams have without an agent: one rule per service
// that looks at that service alone. Its settings are those of common examples:
// an alert that must last, one step of scaling with a cool-down and a ceiling, as
// autoscalers have them, and a restart of what goes on failing, one replica after
// the other, as orchestrators and on-call engineers do.
const (
	alertErrors   = 0.10            // share of failed requests
	alertBusy     = 0.85            // share of busy workers
	alertLasts    = time.Minute     // how long either must last
	scaleBy       = 1.5             // replicas, rounded up
	scaleMost     = 4               // times the replicas of the start
	scaleCoolDown = 3 * time.Minute // between two steps
	restartErrors = 0.50
	restartLasts  = 2 * time.Minute
	restartEvery  = 5 * time.Minute // between two rounds
)

// static watches each service for itself. It never scales down: within the hours
// of a story that would only be a risk for it.
type static struct {
	without  string
	services []watched
	n        int
	seq      uint64
}

// watched is what the policy remembers of one service.
type watched struct {
	start, replicas   int
	alertSince        time.Time // zero while no alert
	failSince         time.Time
	scaledAt, roundAt time.Time
	restarting        int // replicas left in this round
}

func newStatic(s *scenario.Scenario, without string) *static {
	p := &static{without: without, services: make([]watched, len(s.Blueprint.Services))}
	for i := range p.services {
		n := max(1, s.Blueprint.Services[i].Replicas)
		p.services[i].start, p.services[i].replicas = n, n
	}
	return p
}

// Name is that of the arm.
func (p *static) Name() string { return string(Static) }

// Move judges every service by its own readings. What is not seen raises no
// alert.
func (p *static) Move(at time.Time, seen *sre.Snapshot, w *world.World) ([]scenario.Moved, error) {
	if seen == nil || !seen.Health.Up {
		return nil, nil
	}
	var out []scenario.Moved
	for i := range p.services {
		v := &p.services[i]
		errors, busy := seen.ErrorRatio(i), seen.Value(i, sre.Pool, sre.Ratio)
		since(&v.alertSince, at, above(errors, alertErrors) || above(busy, alertBusy))
		since(&v.failSince, at, above(errors, restartErrors))
		name := seen.Graph.Services[i].Name
		moved, err := p.scale(at, name, v, w)
		if err != nil {
			return nil, err
		}
		out = append(out, moved...)
		out = append(out, p.restart(at, i, name, v, w)...)
	}
	return out, nil
}

func above(r sre.Reading, limit float64) bool { return r.State == sre.Present && r.Value > limit }

// since keeps the instant from which on something has held.
func since(start *time.Time, at time.Time, holds bool) {
	switch {
	case !holds:
		*start = time.Time{}
	case start.IsZero():
		*start = at
	}
}

func lasted(start, at time.Time, d time.Duration) bool { return !start.IsZero() && at.Sub(start) >= d }

func (p *static) scale(at time.Time, name string, v *watched, w *world.World) ([]scenario.Moved, error) {
	wanted := min(int(float64(v.replicas)*scaleBy+0.999), scaleMost*v.start)
	if !lasted(v.alertSince, at, alertLasts) || at.Sub(v.scaledAt) < scaleCoolDown && !v.scaledAt.IsZero() || wanted <= v.replicas {
		return nil, nil
	}
	v.replicas, v.scaledAt = wanted, at
	m := p.moved(at, sre.Scale, name, sre.Params{"replicas": float64(wanted)})
	if m.ID == p.without {
		return []scenario.Moved{m}, nil
	}
	p.seq++
	err := w.Platform().Apply(context.Background(), sre.Directive{
		Action: sre.Action{ID: m.ID, Kind: sre.Scale, Target: sre.Target{Lever: "platform", Service: name}, Params: m.Params, TTL: 24 * time.Hour},
		Epoch:  1, Seq: p.seq, Expires: at.Add(24 * time.Hour),
	})
	if err != nil {
		return nil, fmt.Errorf("scale %s: %w", name, err)
	}
	return []scenario.Moved{m}, nil
}

// restart begins a round for a service that goes on failing, and takes one
// replica of it at each tick.
func (p *static) restart(at time.Time, i int, name string, v *watched, w *world.World) []scenario.Moved {
	var out []scenario.Moved
	if lasted(v.failSince, at, restartLasts) && (v.roundAt.IsZero() || at.Sub(v.roundAt) >= restartEvery) {
		v.roundAt = at
		m := p.moved(at, sre.Restart, name, nil)
		if m.ID != p.without {
			v.restarting = v.replicas
		}
		out = append(out, m)
	}
	if v.restarting > 0 && w.Model().Restart(i) {
		v.restarting--
	}
	return out
}

func (p *static) moved(at time.Time, kind sre.ActionKind, service string, params sre.Params) scenario.Moved {
	p.n++
	return scenario.Moved{
		ID: fmt.Sprintf("static.%d", p.n), At: at, Kind: kind, Target: service, Params: params, Purpose: sre.ToApply, Phase: sre.InEffect,
	}
}
