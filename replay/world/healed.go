package world

import (
	"context"
	"fmt"
	"time"

	"github.com/sreagent/sreagent/sre"
)

// surge is how many times the usual load is one.
const surge = 1.5

// Healed runs a copy of this very world ahead with one service restored to what
// is usual for it: what ails it and the network around it is gone, the version
// before a bad one runs, its replicas are there, its cache is full, and load that
// comes in at it is no more than on average over the last half hour. What waits,
// there and at all that depend on it, is gone too: a storm of retries that the
// service set off outlives it, and is to be laid to its door. So it is with what
// waits below an entry at which there is a surge. If the entries are
// well then and are not with nothing done, the service is a cause of the trouble;
// one that only suffers from another does not stay well. A service that a cause
// calls cannot be told from it where nothing but the storm is left. The snapshot
// must be of the instant that the world has reached.
func (f forecaster) Healed(ctx context.Context, s *sre.Snapshot, service string, horizon time.Duration) (map[string]float64, error) {
	m, err := f.copied(s)
	if err != nil {
		return nil, fmt.Errorf("forecast with %s healed: %w", service, err)
	}
	i, ok := f.w.graph.Index(service)
	if !ok {
		return nil, fmt.Errorf("forecast with %q healed: there is no such service", service)
	}
	left := f.w.graph.Upstream(i)
	for c, spec := range m.Blueprint().Clients {
		if spec.Entry != i {
			continue
		}
		now, usual := m.Load(c)
		m.SetLoad(c, min(now, usual))
		if now >= usual*surge {
			left = append(left, f.w.graph.Downstream(i)...)
		}
	}
	m.Restore(i)
	for _, u := range left {
		m.Empty(u)
	}
	return f.w.foresee(ctx, m, nil, horizon)
}
