package world

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/sreagent/sreagent/sre"
)

// A quarter of an hour of calm is remembered, in few snapshots, as they are large:
// the median of seven is right though one or two were not as calm as they seemed.
const (
	rememberEvery = 2 * time.Minute
	remembered    = 7
)

// calmDays holds snapshots of calm times. It is safe for concurrent use.
type calmDays struct {
	mu   sync.Mutex
	kept []*sre.Snapshot // by time
}

// Remember keeps the snapshot as one of calm times, if the last one kept is two
// minutes old; until there are seven, ten seconds are enough.
func (f *live) Remember(s *sre.Snapshot) {
	if s == nil || s.Graph == nil || !s.Health.Up {
		return
	}
	d := &f.memory
	d.mu.Lock()
	defer d.mu.Unlock()
	if n := len(d.kept); n > 0 {
		last := d.kept[n-1]
		if !slices.Equal(last.Signals, s.Signals) || !slices.Equal(last.EdgeSignals, s.EdgeSignals) {
			d.kept = nil // other columns: nothing can be compared
		} else if since := s.At.Sub(last.At); since < 10*time.Second || n == remembered && since < rememberEvery {
			return
		}
	}
	if len(d.kept) == remembered {
		d.kept = slices.Delete(d.kept, 0, 1)
	}
	d.kept = append(d.kept, s)
}

// usual returns a snapshot of what is usual for the graph of s: of every value
// the median of those that were fresh. False is that nothing is remembered.
func (d *calmDays) usual(s *sre.Snapshot) (*sre.Snapshot, bool) {
	d.mu.Lock()
	kept := slices.Clone(d.kept)
	d.mu.Unlock()
	if len(kept) == 0 || !slices.Equal(kept[0].Signals, s.Signals) || !slices.Equal(kept[0].EdgeSignals, s.EdgeSignals) {
		return nil, false
	}
	out := &sre.Snapshot{
		At: s.At, Interval: s.Interval, Graph: s.Graph, Signals: s.Signals, EdgeSignals: s.EdgeSignals,
		Service: sre.NewMatrix(len(s.Signals), len(s.Graph.Services)), Edge: sre.NewMatrix(len(s.EdgeSignals), len(s.Graph.Edges)),
		Health: sre.SourceHealth{Up: true},
	}
	middle(&out.Service, len(s.Signals), kept, func(k *sre.Snapshot) *sre.Matrix { return &k.Service })
	middle(&out.Edge, len(s.EdgeSignals), kept, func(k *sre.Snapshot) *sre.Matrix { return &k.Edge })
	return out, true
}

// middle fills a matrix with the medians of others, which may have fewer subjects.
func middle(to *sre.Matrix, rows int, kept []*sre.Snapshot, of func(*sre.Snapshot) *sre.Matrix) {
	values := make([]float64, 0, remembered)
	for row := range rows {
		for i := range to.Subjects {
			values = values[:0]
			for _, k := range kept {
				if m := of(k); i < m.Subjects {
					if r := m.At(row, i); r.OK() {
						values = append(values, r.Value)
					}
				}
			}
			if len(values) > 0 {
				slices.Sort(values)
				to.Set(row, i, sre.Reading{Value: values[len(values)/2], State: sre.Present})
			}
		}
	}
}

// Healed runs ahead as Forecast does, but with one service as it was in calm
// times: its time in work, its room, its calls and the load that users put on it.
// What waits, there and at all that depend on it, is gone, as the backlog of those
// above is what the service left them with. The error wraps ErrTooLittle where
// nothing is remembered of the service.
func (f *live) Healed(ctx context.Context, s *sre.Snapshot, service string, horizon time.Duration) (map[string]float64, error) {
	fail := func(err error) (map[string]float64, error) {
		return nil, fmt.Errorf("forecast with %s healed: %w", service, err)
	}
	if s == nil || s.Graph == nil {
		return fail(fmt.Errorf("%w: there is none", ErrTooLittle))
	}
	i, ok := s.Graph.Index(service)
	if !ok {
		return fail(fmt.Errorf("there is no such service"))
	}
	calm := f.prior(s)
	if calm == nil {
		return fail(fmt.Errorf("%w: no calm time is remembered", ErrTooLittle))
	}
	if !calm.seen[i] {
		return fail(fmt.Errorf("%w: %s was not measured in calm times", ErrTooLittle, service))
	}
	c := calibration{cfg: f.cfg, s: s, calm: calm}
	b, err := c.blueprint(nil)
	if err != nil {
		return fail(err)
	}
	b.Services[i] = calm.services[i]
	for e := range b.Edges {
		if x := &b.Edges[e]; x.From == i {
			if was, ok := calm.calls[[2]int{x.From, x.To}]; ok {
				x.Calls = was
			}
		}
	}
	left := append(s.Graph.Upstream(i), i)
	for k := range b.Clients {
		x := &b.Clients[k]
		was, ok := calm.users[i]
		if x.Entry != i || !ok {
			continue
		}
		if x.Rate >= was*surge {
			left = append(left, s.Graph.Downstream(i)...)
		}
		x.Rate = min(x.Rate, was)
	}
	w, err := f.now(ctx, &c, b, left)
	if err != nil {
		return fail(err)
	}
	return w.foresee(ctx, w.model, nil, horizon)
}
