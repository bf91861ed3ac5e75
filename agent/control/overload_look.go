package control

import (
	"fmt"
	"math"
	"time"

	"github.com/sreagent/sreagent/sre"
)

// look is what one snapshot says about the service that is capped. Rates are in
// requests per second, times in seconds.
type look struct {
	at       time.Time
	offered  float64 // before the cap
	finished float64 // worked on, for whomever
	occupied float64 // share of workers or processors; 0 where it is not measured
	inside   float64 // time in the service, by Little's law
	wait     float64 // of it in the queue
	timeout  float64 // the shortest of the callers
	late     bool    // overloaded
	why      string  // it is
}

// observe reads the action's service. It fails where the snapshot was judged
// before, is too old, or lacks what the law cannot do without.
func observe(s Scene, m *state) (look, bool) {
	snap := s.Snapshot
	if snap == nil || snap.Graph == nil || m.started && !snap.At.After(m.seen) || s.Now.Sub(snap.At) > oldest*s.Every {
		return look{}, false
	}
	i, known := snap.Graph.Index(s.Action.Target.Service)
	if !known {
		return look{}, false
	}
	traffic, failing := snap.Value(i, sre.Traffic, sre.PerSecond), snap.ErrorRatio(i)
	if !usable(traffic) || !usable(failing) {
		return look{}, false
	}
	good := traffic.Value * (1 - min(1, failing.Value))
	dead, measured := snap.Value(i, sre.Timeouts, sre.PerSecond), false
	if measured = usable(dead); !measured {
		dead.Value = 0
	}
	l := look{at: snap.At, offered: traffic.Value, timeout: shortest(snap.Graph, i)}
	l.finished = min(l.offered, good+dead.Value)
	pool := occupancy(snap, i)
	if usable(pool) {
		l.occupied = min(1, pool.Value)
	}
	waits := l.waits(snap, i, m.work)
	seen := waits || usable(pool)
	if !seen && !measured {
		return look{}, false
	}
	l.judge(dead.Value, waits)
	return l, true
}

// waits reads the time in the queue: measured, else what is inside over what is
// finished (Little, 1961), less the work itself.
func (l *look) waits(snap *sre.Snapshot, i int, work float64) bool {
	if delay := snap.Value(i, sre.Queue, sre.Seconds); usable(delay) {
		l.wait, l.inside = delay.Value, delay.Value
		return true
	}
	inside := snap.Value(i, sre.Queue, sre.Count)
	if !usable(inside) {
		return false
	}
	l.inside = inside.Value / max(l.finished, minimum)
	if l.occupied > 0 && l.occupied < calmOccupancy {
		work = l.inside // workers are free: slow work is no queue, and no cap makes it faster
	}
	l.wait = max(0, l.inside-work)
	return true
}

// judge says whether the service is overloaded now. Rates are those of a window
// that may reach back to before the fault ended; what waits is of this moment, so
// where it is known full workers say nothing, and while it is short dead work is
// the past. A service with a bounded queue is full and answers in time: a lower
// cap would make it finish less.
func (l *look) judge(dead float64, waits bool) {
	switch {
	case waits && l.wait <= waitShort*l.timeout:
	case l.wait > waitTooLong*l.timeout:
		l.late, l.why = true, fmt.Sprintf("requests wait %.3g s, callers give up after %.3g s", l.wait, l.timeout)
	case !waits && l.occupied > occupiedFull:
		l.late, l.why = true, fmt.Sprintf("%.0f %% of the workers are taken", 100*l.occupied)
	case dead > deadTooMuch*max(l.finished, minimum):
		l.late, l.why = true, fmt.Sprintf("%.4g requests a second are worked on in vain", dead)
	}
}

func usable(r sre.Reading) bool {
	return r.OK() && r.Value >= 0 && !math.IsInf(r.Value, 0)
}

func occupancy(s *sre.Snapshot, i int) sre.Reading {
	if r := s.Value(i, sre.Pool, sre.Ratio); r.State != sre.Absent {
		return r
	}
	r := s.Value(i, sre.Pool, sre.Percent)
	return sre.Reading{Value: r.Value / 100, State: r.State}
}

// shortest is the least timeout that is known of the calls into a service.
func shortest(g *sre.Graph, i int) float64 {
	least := math.Inf(1)
	for _, e := range g.CallersOf(i) {
		if t := g.Edges[e].Spec.Timeout; t > 0 {
			least = min(least, t.Seconds())
		}
	}
	if math.IsInf(least, 1) {
		return usualTimeout
	}
	return least
}
