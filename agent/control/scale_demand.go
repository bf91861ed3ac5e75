package control

import (
	"fmt"
	"math"
	"strings"

	"github.com/sreagent/sreagent/sre"
)

// ask is what one measured load wants.
type ask struct {
	name string
	load float64 // as a multiple of its target
}

// demand is how many replicas the service should have, and whether anything was
// there to tell it by. A load that is configured or was seen before and is not
// there now counts as on its target, so that a gap never shrinks a service.
func (set ScaleSettings) demand(s Scene, i int, n float64, m *recollection) (wanted float64, why string, seen bool) {
	ready := set.ready(s, i, n, m)
	var said []string
	for _, a := range set.asks(s.Snapshot, i, ready) {
		if math.IsNaN(a.load) {
			if _, before := m.Numbers["seen_"+a.name]; before {
				wanted = max(wanted, n)
			}
			continue
		}
		seen = true
		m.set("seen_"+a.name, 1)
		replicas := ready
		if math.Abs(a.load-1) > scaleTolerance {
			replicas = math.Ceil(ready*a.load - 1e-9)
		}
		wanted = max(wanted, replicas)
		said = append(said, fmt.Sprintf("%s at %.0f %% of its target", a.name, 100*a.load))
	}
	if !seen {
		return n, "", false
	}
	if ready < n { // those that start were asked for with reason
		wanted = max(wanted, n)
	}
	if foretold, told := set.foretell(s, i, ready, m); told {
		wanted = max(wanted, foretold)
		said = append(said, fmt.Sprintf("%g are foretold to be needed", foretold))
	}
	return wanted, strings.Join(said, ", "), true
}

// ready is how many replicas bear the load now: those that the platform reports,
// as far as it does. On the way it learns how long a new one takes.
func (set ScaleSettings) ready(s Scene, i int, n float64, m *recollection) float64 {
	r := s.Snapshot.Value(i, sre.Replicas, sre.Count)
	if !r.OK() || !(r.Value >= 1) || math.IsInf(r.Value, 0) {
		return n
	}
	ready := min(r.Value, n)
	at, waiting := m.Numbers[askedAt]
	switch {
	case ready < n && !waiting:
		m.set(askedAt, seconds(s.Now))
	case ready >= n && waiting:
		m.set(startTook, seconds(s.Now)-at)
		delete(m.Numbers, askedAt)
	}
	return ready
}

// asks are the loads that the law scales by, as multiples of their targets. One
// without a fresh reading is NaN.
func (set ScaleSettings) asks(snap *sre.Snapshot, i int, ready float64) []ask {
	out := []ask{
		{"workers", over(snap.Value(i, sre.Pool, sre.Ratio), set.Target)},
		{"resource", over(snap.Value(i, sre.Saturation, sre.Ratio), set.Target)},
	}
	if set.RPS > 0 {
		out = append(out, ask{"traffic", over(snap.Value(i, sre.Traffic, sre.PerSecond), set.RPS*ready)})
	}
	if set.Wait > 0 {
		out = append(out, ask{"wait", over(snap.Value(i, sre.Queue, sre.Seconds), set.Wait)})
	}
	return out
}

func over(r sre.Reading, target float64) float64 {
	if !r.OK() || !(r.Value >= 0) || math.IsInf(r.Value, 0) {
		return math.NaN()
	}
	return r.Value / target
}
