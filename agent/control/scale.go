package control

import (
	"fmt"
	"math"
	"time"

	"github.com/sreagent/sreagent/sre"
)

// paramReplicas is what the law moves.
const paramReplicas = "replicas"

// Scale is the law of action kind scale: how many replicas a service should
// have. For each measured load it asks for ceil(n*load/target), which is the
// formula of Kubernetes' HorizontalPodAutoscaler, takes the most that any asks
// for, adds what the same hour of other days foretells for the moment at which
// a replica started now would be ready, and then moves slowly: up within a
// window and a rate, down only after five minutes in which nothing asked for
// more, by a tenth a minute, and never while there is trouble or within half an
// hour after it.
//
// Its settings (Action.Tune), all optional: see ScaleSettings.
type Scale struct{}

// ScaleSettings are the numbers of the law Scale, as Action.Tune names them.
type ScaleSettings struct {
	Min, Max       float64       // min_replicas, max_replicas: neither is ever passed
	Target         float64       // target: wanted use of workers and resources, 0 to 1
	RPS            float64       // rps_per_replica: what one replica is good for; 0 is not known
	Wait           float64       // wait_seconds: wanted time in the queue; 0 leaves it out
	UpWindow       time.Duration // up_window_seconds: how long more must be asked for
	DownWindow     time.Duration // down_window_seconds: how long less must be asked for
	AfterTrouble   time.Duration // after_trouble_seconds: no less for as long after the last trouble
	StartDelay     time.Duration // start_seconds: until a new replica serves; measured as soon as one was started
	Season         time.Duration // season_seconds: after which load repeats itself; 0 foretells nothing
	CostPerReplica float64       // cost_per_replica: of one replica for an hour, in any currency
	CostLimit      float64       // cost_limit: for an hour, in the same; 0 is no limit
}

// The rates and the tolerance are those of HorizontalPodAutoscaler's defaults
// for going up; going down is slower than its, since a replica too many costs
// money and one too few starts a cascade.
const (
	scaleTolerance = 0.1 // closer to the target than that is on target
	upShare        = 1.0 // at most that share more in a minute, or upNumber
	upNumber       = 4.0
	downShare      = 0.1 // at most that share less in a minute
	ratePeriod     = time.Minute
	waverTicks     = 12 // or three down windows: within these, waverTurns changes
	waverTurns     = 3  // of direction hold the law at the larger number
)

// DefaultScaleSettings returns the settings for a service that had n replicas:
// three times as many at most, and never more than ten in addition.
func DefaultScaleSettings(n float64) ScaleSettings {
	n = max(1, n)
	return ScaleSettings{
		Min: 1, Max: max(n+1, min(3*n, n+10)), Target: 0.6,
		UpWindow: 30 * time.Second, DownWindow: 5 * time.Minute, AfterTrouble: 30 * time.Minute,
		StartDelay: time.Minute, Season: 24 * time.Hour,
	}
}

// Next implements Law. Without a fresh reading of anything that it scales by it
// holds still. When it is wanted back it shrinks as it always does, so never
// below what the load asks for; it is done when it is where it began.
func (Scale) Next(memory sre.Control, s Scene) Move {
	now, given := s.Action.Params.Float(paramReplicas)
	i, known := s.Snapshot.Graph.Index(s.Action.Target.Service)
	if !given || !known {
		return Move{Memory: memory}
	}
	before, had := s.Before.Float(paramReplicas)
	if !had {
		before = now
	}
	m := recollect(memory)
	set := scaleSettings(s.Action.Tune, before)
	if s.Trouble {
		m.set(troubleAt, seconds(s.Now))
	}
	wanted, why, seen := set.demand(s, i, now, &m)
	if !seen {
		m.Why = "no reading to scale by"
		return Move{Memory: m.Control}
	}
	next := towards(s, now, set.pace(s, now, wanted, &m))
	m.Done = s.Lifting && next <= before
	m.turned(set.waverTime(s), s.Now, now, next)
	if next == now {
		m.Why = fmt.Sprintf("%g replicas hold: %s", now, why)
		return Move{Memory: m.Control}
	}
	m.Why = fmt.Sprintf("%g replicas instead of %g: %s", next, now, why)
	return Move{Params: sre.Params{paramReplicas: next}, Memory: m.Control}
}

// towards shortens a move by the gain, but never to none.
func towards(s Scene, now, next float64) float64 {
	if next > now {
		return math.Ceil(s.part(now, next))
	}
	return math.Floor(s.part(now, next))
}

// pace is how far towards what is wanted the law goes now.
func (set ScaleSettings) pace(s Scene, now, wanted float64, m *recollection) float64 {
	m.advise(s.Now, wanted, max(set.UpWindow, set.DownWindow))
	base := m.base(s.Now, now)
	up := m.least(s.Now.Add(-set.UpWindow)) // all of the window asked for that many
	down := m.most(s.Now.Add(-set.DownWindow))
	next := now
	switch {
	case up > now && m.since(s.Now) >= set.UpWindow:
		next = min(up, max(math.Floor(base*(1+upShare)), base+upNumber))
	case down < now && m.since(s.Now) >= set.DownWindow && set.mayShrink(s, m):
		next = max(down, math.Ceil(base-max(1, downShare*base)))
	}
	return set.within(next)
}

// mayShrink is false while there is trouble, for a while after it, and while the
// law itself has been going to and fro.
func (set ScaleSettings) mayShrink(s Scene, m *recollection) bool {
	if at, ever := m.Numbers[troubleAt]; ever && seconds(s.Now)-at < set.AfterTrouble.Seconds() {
		return false
	}
	return !m.wavers(set.waverTime(s), s.Now)
}

// waverTime is for how long a change of direction is held against the law.
func (set ScaleSettings) waverTime(s Scene) time.Duration {
	return max(waverTicks*s.Every, 3*set.DownWindow)
}

// within keeps a number inside the bounds and the cost. What may be spent binds
// more than the least number.
func (set ScaleSettings) within(n float64) float64 {
	n = min(max(n, set.Min), set.Max)
	if set.CostLimit > 0 && set.CostPerReplica > 0 {
		n = min(n, max(1, math.Floor(set.CostLimit/set.CostPerReplica)))
	}
	return n
}

// scaleSettings reads the settings of an action over the defaults. What makes no
// sense leaves the default.
func scaleSettings(tune sre.Params, before float64) ScaleSettings {
	set := DefaultScaleSettings(before)
	for name, field := range map[string]*float64{
		"min_replicas": &set.Min, "max_replicas": &set.Max, "target": &set.Target, "rps_per_replica": &set.RPS,
		"wait_seconds": &set.Wait, "cost_per_replica": &set.CostPerReplica, "cost_limit": &set.CostLimit,
	} {
		if v, ok := tune.Float(name); ok && v > 0 {
			*field = v
		}
	}
	for name, field := range map[string]*time.Duration{
		"up_window_seconds": &set.UpWindow, "down_window_seconds": &set.DownWindow, "season_seconds": &set.Season,
		"after_trouble_seconds": &set.AfterTrouble, "start_seconds": &set.StartDelay,
	} {
		if v, ok := tune.Float(name); ok && v >= 0 {
			*field = time.Duration(v * float64(time.Second))
		}
	}
	set.Max = max(set.Min, set.Max)
	return set
}
