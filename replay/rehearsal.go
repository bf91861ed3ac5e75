package replay

import (
	"context"
	"fmt"
	"iter"
	"log/slog"
	"time"

	"github.com/sreagent/sreagent/agent"
	"github.com/sreagent/sreagent/sre"
)

// Rehearsal is one run of an agent in virtual time: over a recording or over a
// simulated world. The agent is the daemon's own; what differs is its ports.
type Rehearsal struct {
	Agent      agent.Config // WarmUp is read from Source.History before Start
	Source     sre.Source
	Levers     map[string]sre.Remediator
	Forecaster sre.Forecaster // optional
	People     People         // optional; nobody answers without
	Memory     []sre.Record   // what the agent remembers: a trail from its first record on; not part of the time line
	Start, End time.Time      // the first tick, and the last instant at which one may fall
	Log        *slog.Logger   // nil discards
	// Pace is called before every tick, to make time pass for those who watch.
	// Its error ends the run. Nil runs as fast as it can.
	Pace func(ctx context.Context, at time.Time) error
	// Watch sees every tick after it is over. Its error ends the run.
	Watch func(Tick) error
}

// Tick is what happened at one instant. Snapshot is nil where the source failed.
type Tick struct {
	At       time.Time
	Snapshot *sre.Snapshot
	Records  []sre.Record // of this tick, in order
	View     *sre.View
}

// People answer in a rehearsal, as scripts and recorded trails have them.
type People interface {
	// Inputs returns what people ask at the tick at now, having seen the view of
	// the tick before (nil at the first).
	Inputs(now time.Time, seen *sre.View) []sre.Input
}

// Timeline is all that an agent recorded in a rehearsal.
type Timeline struct {
	Start, End time.Time // first and last tick that was run
	Interval   time.Duration
	Ticks      int
	Records    []sre.Record
	Answers    []sre.Answer // to People, in order
}

// Decisions returns the decisions of the time line, in order.
func (t *Timeline) Decisions() []*sre.Decision {
	var out []*sre.Decision
	for i := range t.Records {
		if d := t.Records[i].Decision; d != nil {
			out = append(out, d)
		}
	}
	return out
}

// Incidents returns every incident as it last stood, in the order of opening.
func (t *Timeline) Incidents() []*sre.Incident {
	last := map[string]*sre.Incident{}
	var order []string
	for i := range t.Records {
		inc := t.Records[i].Incident
		if inc == nil {
			continue
		}
		if _, known := last[inc.ID]; !known {
			order = append(order, inc.ID)
		}
		last[inc.ID] = inc
	}
	out := make([]*sre.Incident, len(order))
	for i, id := range order {
		out[i] = last[id]
	}
	return out
}

// Run runs the agent from Start to End. It returns what was recorded until then
// also where it ends with an error, that of ctx included.
func (r Rehearsal) Run(ctx context.Context) (*Timeline, error) {
	line := &Timeline{Start: r.Start, Interval: r.Agent.Interval}
	seat := &seat{people: r.People, line: line}
	window := &window{Source: r.Source}
	log := r.Log
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	r.Agent.Timing.Lever = 0 // its levers are simulated: the speed of the machine must decide nothing
	a, err := agent.New(r.Agent, agent.Ports{
		Clock: noClock{}, Source: window, Levers: r.Levers, Trail: seat, Desk: seat, Pager: seat,
		Forecaster: r.Forecaster, Log: log,
	})
	if err != nil {
		return line, err
	}
	if err := a.Restore(remembered(r.Memory)); err != nil {
		return line, err
	}
	for at := r.Start; !at.After(r.End); at = at.Add(r.Agent.Interval) {
		if err := ctx.Err(); err != nil {
			return line, context.Cause(ctx)
		}
		if r.Pace != nil {
			if err := r.Pace(ctx, at); err != nil {
				return line, err
			}
		}
		seat.fresh, window.latest = len(line.Records), nil
		for _, lever := range r.Levers {
			if t, ok := lever.(timed); ok {
				t.setTime(at)
			}
		}
		if err := a.Tick(ctx, at); err != nil {
			return line, fmt.Errorf("tick at %s: %w", at.UTC().Format(time.RFC3339), err)
		}
		if err := window.err; err != nil {
			return line, fmt.Errorf("observe at %s: %w", at.UTC().Format(time.RFC3339), err)
		}
		line.End = at
		line.Ticks++
		if r.Watch == nil {
			continue
		}
		t := Tick{At: at, Snapshot: window.latest, Records: line.Records[seat.fresh:], View: seat.view}
		if err := r.Watch(t); err != nil {
			return line, err
		}
	}
	return line, nil
}

func remembered(memory []sre.Record) iter.Seq2[sre.Record, error] {
	return func(yield func(sre.Record, error) bool) {
		for _, r := range memory {
			if !yield(r, nil) {
				return
			}
		}
	}
}

// seat is everybody around the agent in a rehearsal: trail, desk and pager.
type seat struct {
	people People
	line   *Timeline
	view   *sre.View
	fresh  int // records before the tick under way
}

func (s *seat) Append(_ context.Context, records []sre.Record) error {
	s.line.Records = append(s.line.Records, records...)
	return nil
}

func (s *seat) Drain(now time.Time) []sre.Input {
	if s.people == nil {
		return nil
	}
	return s.people.Inputs(now, s.view)
}

func (s *seat) Publish(v *sre.View, answers []sre.Answer) {
	s.view = v
	s.line.Answers = append(s.line.Answers, answers...)
}

func (s *seat) Notify(context.Context, []sre.Notice) error { return nil }

// window keeps the snapshot of the tick for those who watch. In a rehearsal a
// source that cannot say anything is the end, not an outage: a recording that
// cannot be read must not pass for a quiet system.
type window struct {
	sre.Source
	latest *sre.Snapshot
	err    error
}

func (w *window) Observe(ctx context.Context, at time.Time) (*sre.Snapshot, error) {
	s, err := w.Source.Observe(ctx, at)
	w.latest, w.err = s, err
	return s, err
}

// noClock never ticks: a rehearsal calls Tick itself.
type noClock struct{}

func (noClock) Ticks(context.Context, time.Duration) iter.Seq[time.Time] {
	return func(func(time.Time) bool) {}
}
