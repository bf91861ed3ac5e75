package incidents

import (
	"context"
	"time"

	"github.com/sreagent/sreagent/sre"
)

// over returns a source with the disturbance laid over it.
func (d Disturbance) over(s sre.Source, seed uint64, tick time.Duration) sre.Source {
	if d.ClockError <= 0 && d.Missing <= 0 {
		return s
	}
	return &disturbed{Source: s, seed: mixed(seed + 1), most: int((d.ClockError + tick - 1) / tick), missing: d.Missing}
}

// disturbed hands on snapshots in which some readings are late and some are not
// there. Which ones is drawn from the seed, series by series, once for all.
type disturbed struct {
	sre.Source
	seed    uint64
	most    int // ticks by which a clock can be late
	missing float64
	past    []*sre.Snapshot // as they were, oldest first, at most most+1
}

// Observe returns what the source says, disturbed.
func (s *disturbed) Observe(ctx context.Context, at time.Time) (*sre.Snapshot, error) {
	snap, err := s.Source.Observe(ctx, at)
	if err != nil || snap == nil {
		return snap, err
	}
	return s.disturb(snap), nil
}

// disturb takes a snapshot that is later than all before it.
func (s *disturbed) disturb(snap *sre.Snapshot) *sre.Snapshot {
	if len(s.past) > s.most {
		s.past = s.past[1:]
	}
	s.past = append(s.past, snap)
	out := *snap
	out.Service, out.Edge = copied(snap.Service), copied(snap.Edge)
	for i := range snap.Graph.Services {
		s.take(&out.Service, len(snap.Signals), i, 0, s.late(i), func(p *sre.Snapshot) *sre.Matrix { return &p.Service })
	}
	for e := range snap.Graph.Edges {
		s.take(&out.Edge, len(snap.EdgeSignals), e, 1, s.late(snap.Graph.Edges[e].From), func(p *sre.Snapshot) *sre.Matrix { return &p.Edge })
	}
	return &out
}

// late is the snapshot that the clock of a service still shows; nil where it is
// right.
func (s *disturbed) late(service int) *sre.Snapshot {
	draw := s.draw(2, 0, service)
	if s.most == 0 || draw < .5 {
		return nil
	}
	ticks := 1 + int((2*draw-1)*float64(s.most))
	return s.past[max(0, len(s.past)-1-ticks)]
}

func (s *disturbed) take(to *sre.Matrix, rows, subject int, family uint64, from *sre.Snapshot, matrix func(*sre.Snapshot) *sre.Matrix) {
	for row := range rows {
		if from != nil {
			to.Set(row, subject, matrix(from).At(row, subject))
		}
		if s.draw(family, row, subject) < s.missing {
			to.Set(row, subject, sre.Reading{})
		}
	}
}

// draw is a number in [0, 1) that belongs to one series.
func (s *disturbed) draw(family uint64, row, subject int) float64 {
	return float64(mixed(s.seed^mixed(family<<48|uint64(row)<<32|uint64(subject)+1))>>11) / (1 << 53)
}

func copied(m sre.Matrix) sre.Matrix {
	return sre.Matrix{Subjects: m.Subjects, Values: append([]float64(nil), m.Values...), States: append([]sre.ReadingState(nil), m.States...)}
}
