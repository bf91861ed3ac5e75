package world

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/sreagent/sreagent/replay/fluid"
	"github.com/sreagent/sreagent/sre"
)

// Bounds of an answer about who is hit.
const (
	sampled     = time.Second // between two looks
	looks       = 5           // over which the share of lost requests is taken
	leastLost   = .05         // share of lost requests from which a service counts as hit
	mostImpacts = 20
)

// Spread runs a copy of this very world ahead with nothing done and returns who
// loses at least a twentieth of its requests within some five seconds of the
// horizon: the largest share lost, and when it begins, to a second. Worst come
// first, among equals entries, then who is hit first, then names; at most 20. The
// snapshot must be of the instant that the world has reached.
func (f forecaster) Spread(ctx context.Context, s *sre.Snapshot, horizon time.Duration) ([]sre.Impact, error) {
	m, err := f.copied(s)
	if err != nil {
		return nil, fmt.Errorf("forecast who is hit: %w", err)
	}
	return spread(ctx, m, horizon, func(int) bool { return true })
}

// outcome is what became of the attempts that ended at one service.
type outcome struct{ good, bad float64 }

func (o outcome) minus(before outcome) outcome {
	return outcome{o.good - before.good, o.bad - before.bad}
}

// lost is the share that came late, failed or was refused. Of next to no request
// nothing is lost.
func (o outcome) lost() float64 {
	if all := o.good + o.bad; all > 1e-9 {
		return min(1, max(0, o.bad/all))
	}
	return 0
}

func outcomeOf(t *fluid.ServiceTotals) outcome {
	o := outcome{good: t.Good, bad: t.Failed + t.Abandoned + t.Rejected}
	for _, shed := range t.Shed {
		o.bad += shed
	}
	return o
}

// spread runs a model ahead and looks at it every second. Services that do not
// count are left out of the answer.
func spread(ctx context.Context, m *fluid.Model, horizon time.Duration, counts func(service int) bool) ([]sre.Impact, error) {
	if horizon < sampled {
		return nil, fmt.Errorf("forecast who is hit: horizon is %s; allowed: at least %s", horizon, sampled)
	}
	services := m.Blueprint().Services
	var ring [looks + 1][]outcome
	for k := range ring {
		ring[k] = make([]outcome, len(services))
	}
	look := func(k int) []outcome {
		now := ring[k%len(ring)]
		for i := range now {
			t := m.Service(i)
			now[i] = outcomeOf(&t)
		}
		return now
	}
	look(0)
	hits := make([]sre.Impact, len(services))
	for k := 1; k <= int(horizon/sampled); k++ {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		m.Advance(sampled)
		now, before := look(k), ring[max(0, k-looks)%len(ring)]
		for i := range now {
			lost := now[i].minus(before[i]).lost()
			if lost < leastLost || lost <= hits[i].Lost {
				continue
			}
			if hits[i].Lost == 0 {
				hits[i].After = time.Duration(k-1) * sampled
			}
			hits[i].Lost = lost
		}
	}
	entry := make([]bool, len(services))
	for _, c := range m.Blueprint().Clients {
		entry[c.Entry] = true
	}
	var out []sre.Impact
	for i, x := range hits {
		if x.Lost > 0 && counts(i) {
			out = append(out, sre.Impact{Service: services[i].Name, Entry: entry[i], Lost: math.Round(x.Lost*100) / 100, After: x.After})
		}
	}
	return worst(out), nil
}

// worst orders impacts and keeps the first. Shares are rounded to hundredths, so
// that rounding errors do not choose among equals.
func worst(all []sre.Impact) []sre.Impact {
	last := func(x sre.Impact) int {
		if x.Entry {
			return 0
		}
		return 1
	}
	slices.SortFunc(all, func(a, b sre.Impact) int {
		return cmp.Or(
			cmp.Compare(b.Lost, a.Lost), cmp.Compare(last(a), last(b)),
			cmp.Compare(a.After, b.After), cmp.Compare(a.Service, b.Service),
		)
	})
	return all[:min(len(all), mostImpacts)]
}
