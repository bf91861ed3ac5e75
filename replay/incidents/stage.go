package incidents

import (
	"context"
	"fmt"
	"iter"
	"time"

	"github.com/prometheus/common/model"

	"github.com/sreagent/sreagent/agent"
	"github.com/sreagent/sreagent/replay"
	"github.com/sreagent/sreagent/replay/backtest"
	"github.com/sreagent/sreagent/replay/bundle"
	"github.com/sreagent/sreagent/replay/fluid"
	"github.com/sreagent/sreagent/replay/world"
	"github.com/sreagent/sreagent/sre"
)

// Sources of the bundles that come of cases: one per mechanism, and one for
// cases in which nothing goes wrong.
const (
	SourcePrefix = "world/"
	BenignSource = SourcePrefix + "benign"
)

// origin is the first tick of every case.
func origin() time.Time { return time.Date(2026, 1, 5, 9, 0, 0, 0, time.UTC) }

// settleFor lets queues and rates of a new world come to rest before anyone
// looks at it.
const settleFor = time.Minute

// scrapeLoss is the share of scrapes that fail, as some always do.
const scrapeLoss = .002

// Recordings returns the cases as recordings for a back-test. The agent is that
// of cfg at the interval and with the warm-up of the options, and it only
// watches: what is measured is what it sees, and its levers would change that.
// forecaster may be nil. The options must have passed Validate.
func Recordings(o Options, cfg agent.Config, forecaster sre.Forecaster) []backtest.Recording {
	o = o.withDefaults()
	cfg.Interval, cfg.WarmUp, cfg.WarmUpStep = o.Tick, o.WarmUp, o.Tick
	cfg.Timing.Lever = min(cfg.Timing.Lever, o.Tick)
	cfg.Policy.Mode = sre.Watch
	out := make([]backtest.Recording, o.Count)
	for i := range out {
		out[i] = backtest.Recording{ID: fmt.Sprintf("world-%d-%04d", o.Seed, i), Open: func(ctx context.Context) (*backtest.Session, error) {
			s, err := open(ctx, o, Draw(o, i), cfg)
			if err == nil {
				s.Rehearsal.Forecaster = forecaster
			}
			return s, err
		}}
	}
	return out
}

// open builds the world of a case and writes its story into it.
func open(ctx context.Context, o Options, c *Case, cfg agent.Config) (*backtest.Session, error) {
	start := origin()
	past := o.WarmUp + settleFor
	w, err := world.New(c.Blueprint, world.Options{
		Start: start.Add(-past), Interval: o.Tick, Seed: c.Seed, ScrapeLoss: scrapeLoss, Keep: 1,
	})
	if err != nil {
		return nil, fmt.Errorf("build the world of %s: %w", c.ID, err)
	}
	t := newTruth(c, o.Tick)
	c.script(w, start, past, t)
	changes := make([]sre.Change, len(c.Changes))
	for i, change := range c.Changes {
		change.At = start.Add(c.ChangeAt[i])
		changes[i] = change
		w.Announce(change)
	}
	source, err := remember(ctx, o.Disturb.over(w.Source(), c.Seed, o.Tick), start, o)
	if err != nil {
		return nil, err
	}
	s := &backtest.Session{
		Subject: backtest.Subject{Incident: c.incident(o, start), Changes: changes, Interval: o.Tick, Harm: func(int) backtest.Harm { return t.harm(start) }},
		Rehearsal: replay.Rehearsal{
			Agent: cfg, Source: source, Start: start, End: start.Add(c.Ends),
			Levers: map[string]sre.Remediator{"guard": w.Lever(), "platform": w.Platform()},
			Watch: func(tick replay.Tick) error {
				t.watch(w.Model(), tick.At.Sub(start))
				return nil
			},
		},
	}
	return s, nil
}

// script has the world driven from its beginning to the end of the case.
func (c *Case) script(w *world.World, start time.Time, past time.Duration, t *truth) {
	var next func(m *fluid.Model)
	at := -past
	next = func(m *fluid.Model) {
		if c.Service != none && at >= c.Inject && t.fork == nil {
			t.fork = m.Clone()
		}
		c.drive(m, at, c.Service != none && at >= c.Inject && (at < c.Inject+c.Lasts || at == c.Inject))
		if at += step; at <= c.Ends {
			w.At(start.Add(at), next)
		}
	}
	w.At(start.Add(at), next)
	for _, e := range c.quiet {
		if e.service == none {
			continue
		}
		name := c.Blueprint.Services[e.service].Name
		w.At(start.Add(e.at), func(*fluid.Model) {
			if err := w.Silence(name, start.Add(e.at+e.lasts)); err != nil {
				panic("incidents: " + err.Error()) // the name is that of the blueprint
			}
		})
	}
}

// incident is the truth of a case in the words of a recording.
func (c *Case) incident(o Options, start time.Time) bundle.Incident {
	inc := bundle.Incident{
		ID: c.ID, Title: c.Words, Source: BenignSource, Start: start, End: start.Add(c.Ends), Interval: model.Duration(o.Tick),
	}
	if c.Service == none {
		return inc
	}
	inc.Source = SourcePrefix + string(c.Mechanism)
	inc.Truth.Faults = []bundle.Fault{{
		Services: []string{c.Blueprint.Services[c.Service].Name}, Mechanism: c.Mechanism, Fault: string(c.Mechanism),
		InjectedAt: start.Add(c.Inject), Change: &c.Guilty,
	}}
	return inc
}

// remembering is a source that can tell what it saw before the first tick: a
// world does not run backwards.
type remembering struct {
	sre.Source
	past []*sre.Snapshot
}

// remember watches the warm-up of a world.
func remember(ctx context.Context, s sre.Source, start time.Time, o Options) (*remembering, error) {
	r := &remembering{Source: s}
	for at := start.Add(-o.WarmUp); at.Before(start); at = at.Add(o.Tick) {
		snap, err := s.Observe(ctx, at)
		if err != nil {
			return nil, fmt.Errorf("warm up: %w", err)
		}
		r.past = append(r.past, snap)
	}
	return r, nil
}

// History yields what was seen in the warm-up, whatever the step.
func (r *remembering) History(_ context.Context, from, to time.Time, _ time.Duration) iter.Seq2[*sre.Snapshot, error] {
	return func(yield func(*sre.Snapshot, error) bool) {
		for _, s := range r.past {
			if !s.At.Before(from) && s.At.Before(to) && !yield(s, nil) {
				return
			}
		}
	}
}
