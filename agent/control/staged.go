package control

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/sreagent/sreagent/sre"
)

// The parameters that the staged law reads. Percent is the one that it moves.
const (
	percentParam   = "percent"
	immediateParam = "immediate"    // true: everything at once, no stages
	calmParam      = "calm_seconds" // overrides Staged.Calm
)

// The numbers that the staged law remembers.
const (
	badTicks  = "bad_ticks" // ticks with trouble since the last move or the last clean tick
	calmSoFar = "calm"      // seconds without trouble while lifting, since the last move
	peakStage = "peak"      // highest percent so far; a relapse leads no higher
	wasClean  = "clean"     // 1 when the last tick with readings had no trouble
)

// Staged is the law of kill switches: the share that is switched off goes up by
// one stage for every Ticks ticks of trouble, stops when trouble is gone, and
// while lifting comes down by one stage for every Calm of clean ticks. Trouble
// while lifting is a relapse: it goes up one stage at once, but never above
// where it has been. A tick without a fresh reading of the service moves
// nothing, counts for nothing, and does not interrupt a count.
//
// The stages follow Defcon (Meta, OSDI 2023) with the percentages of canary
// releases.
type Staged struct {
	Stages []float64     // percent that is off, rising; the last is everything
	Ticks  int           // ticks of trouble per stage upwards
	Calm   time.Duration // clean time per stage downwards
}

// DefaultStaged returns the law with stages of 1, 5, 25 and 100 percent, two
// ticks per stage upwards and five clean minutes per stage downwards.
func DefaultStaged() Staged {
	return Staged{Stages: []float64{1, 5, 25, 100}, Ticks: 2, Calm: 5 * time.Minute}
}

// Next moves the percent by at most one stage, or straight to the last one when
// the action says immediate.
func (l Staged) Next(memory sre.Control, s Scene) Move {
	m := sre.Control{Numbers: map[string]float64{}, Why: memory.Why, Done: memory.Done}
	for _, name := range []string{badTicks, calmSoFar, peakStage, wasClean} {
		if v, ok := memory.Numbers[name]; ok {
			m.Numbers[name] = v
		}
	}
	at, ok := s.Action.Params.Float(percentParam)
	if !ok {
		m.Why = "the action has no percent to move"
		return Move{Memory: m}
	}
	m.Numbers[peakStage] = max(m.Numbers[peakStage], at)
	if memory.Done {
		return Move{Memory: m}
	}
	if !seen(s) {
		m.Why = fmt.Sprintf("no fresh reading of %s: %g %% stay off", s.Action.Target.Service, at)
		return Move{Memory: m}
	}
	if s.Trouble {
		return l.trouble(m, s, at)
	}
	return l.clean(m, s, at)
}

// trouble goes up: at once when it is a relapse or immediate, else after Ticks.
func (l Staged) trouble(m sre.Control, s Scene, at float64) Move {
	relapse := s.Lifting && m.Numbers[wasClean] == 1
	m.Numbers[calmSoFar], m.Numbers[wasClean] = 0, 0
	m.Numbers[badTicks]++
	to := l.above(at)
	if immediate, _ := s.Action.Params[immediateParam].(bool); immediate && !s.Lifting {
		to = l.Stages[len(l.Stages)-1]
	} else if !relapse && m.Numbers[badTicks] < float64(l.Ticks)/s.gain() {
		m.Why = fmt.Sprintf("trouble on %g of %g ticks: %g %% stay off", m.Numbers[badTicks], float64(l.Ticks)/s.gain(), at)
		return Move{Memory: m}
	}
	if s.Lifting {
		to = max(at, min(to, m.Numbers[peakStage]))
	}
	if to <= at {
		m.Why = fmt.Sprintf("trouble goes on with %g %% off, and there is no higher stage to go to", at)
		return Move{Memory: m}
	}
	why := "trouble goes on"
	if relapse {
		why = "trouble came back while lifting"
	}
	return move(m, s, to, fmt.Sprintf("%s: from %g to %g %% off", why, at, to))
}

// clean stops what went up, and while lifting leads down.
func (l Staged) clean(m sre.Control, s Scene, at float64) Move {
	m.Numbers[badTicks], m.Numbers[wasClean] = 0, 1
	if !s.Lifting {
		m.Numbers[calmSoFar] = 0
		m.Why = fmt.Sprintf("trouble is gone: %g %% stay off until they are wanted back", at)
		return Move{Memory: m}
	}
	floor, _ := s.Before.Float(percentParam)
	if at <= floor {
		m.Done, m.Why = true, fmt.Sprintf("%g %% are off, as before", at)
		return Move{Memory: m}
	}
	calm := l.Calm
	if seconds, ok := s.Action.Params.Float(calmParam); ok && seconds > 0 {
		calm = time.Duration(seconds * float64(time.Second))
	}
	calm = time.Duration(float64(calm) / s.gain())
	m.Numbers[calmSoFar] += s.Every.Seconds()
	if m.Numbers[calmSoFar] < calm.Seconds() {
		m.Why = fmt.Sprintf("clean for %.0f of %.0f s: %g %% stay off", m.Numbers[calmSoFar], calm.Seconds(), at)
		return Move{Memory: m}
	}
	to := max(l.below(at), floor)
	m.Done = to <= floor
	return move(m, s, to, fmt.Sprintf("clean for %.0f s: from %g to %g %% off", m.Numbers[calmSoFar], at, to))
}

// move starts both counts anew: each stage has to show what it does.
func move(m sre.Control, s Scene, to float64, why string) Move {
	m.Numbers[badTicks], m.Numbers[calmSoFar] = 0, 0
	m.Numbers[peakStage] = max(m.Numbers[peakStage], to)
	m.Why = why
	params := make(sre.Params, len(s.Action.Params))
	maps.Copy(params, s.Action.Params)
	params[percentParam] = to
	return Move{Params: params, Memory: m}
}

// above is the first stage that is higher.
func (l Staged) above(at float64) float64 {
	i := slices.IndexFunc(l.Stages, func(stage float64) bool { return stage > at })
	if i < 0 {
		return at
	}
	return l.Stages[i]
}

// below is the last stage that is lower; 0 below the first.
func (l Staged) below(at float64) float64 {
	to := 0.0
	for _, stage := range l.Stages {
		if stage < at {
			to = stage
		}
	}
	return to
}

// seen reports whether anything is known of the action's service at this tick.
func seen(s Scene) bool {
	if s.Snapshot == nil || s.Snapshot.Graph == nil || !s.Snapshot.Health.Up {
		return false
	}
	i, ok := s.Snapshot.Graph.Index(s.Action.Target.Service)
	return ok && s.Snapshot.FreshShare(i) > 0
}
