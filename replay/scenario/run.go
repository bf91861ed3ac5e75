package scenario

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/sreagent/sreagent/agent"
	"github.com/sreagent/sreagent/detectors"
	"github.com/sreagent/sreagent/diagnosis"
	"github.com/sreagent/sreagent/learner"
	"github.com/sreagent/sreagent/replay"
	"github.com/sreagent/sreagent/replay/world"
	"github.com/sreagent/sreagent/runbooks"
	"github.com/sreagent/sreagent/sre"
)

// Judging says how harm done by actions is found out.
type Judging string

// The ways to judge.
const (
	JudgeAuto        Judging = ""             // by twins in worlds of up to 50 services, else by before and after
	JudgeTwins       Judging = "twins"        // the run is repeated for each action with that action without effect
	JudgeBeforeAfter Judging = "before_after" // the minute after the action against the minute before
	JudgeNot         Judging = "not"
)

const (
	// settleFor lets queues and rates of a new world come to rest before anyone
	// looks at it.
	settleFor = time.Minute

	// mostJudged bounds the repetitions of a run; further actions are judged by
	// before and after.
	mostJudged = 40

	twinServices = 50

	// modelServices is the largest world in which the agent asks the model that
	// the daemon asks: a question is several runs of the whole fleet.
	modelServices = 500
)

// Options says how a scenario is run. The zero value runs it without the agent.
type Options struct {
	Agent bool
	// Config is the agent's. Its interval and warm-up are always the scenario's,
	// and so is its policy where that has no mode; what else is zero in it is the
	// daemon's default.
	Config agent.Config
	Seed   uint64 // replaces that of the scenario where it is not 0
	Judge  Judging
	// Hand moves the world where the agent is off, as another way to run it
	// would: one for each play, told which of its moves is to have no effect;
	// empty for none. Nil is nobody.
	Hand func(without string) Hand
	// Through is put between the agent and a lever, by the lever's name: what a
	// lever promises and no longer does. It is used by several goroutines at once.
	// Nil is nothing.
	Through func(name string, lever sre.Remediator) sre.Remediator
	// Watch sees every tick after it is over; without the agent, ticks hold a
	// snapshot only. Its error ends the run.
	Watch func(replay.Tick) error
	// Scraped sees every scrape of the world, for those who record it.
	Scraped func(at time.Time, samples []world.Sample)
}

// Hand is a way to look after a world that is not the agent: a rule, a person.
type Hand interface {
	// Move sees what the agent would see at a tick, and returns what it moved in
	// the world.
	Move(at time.Time, seen *sre.Snapshot, w *world.World) ([]Moved, error)
	// Name is that of the arm in results.
	Name() string
}

// Origin is the instant of the first tick of every scenario.
func Origin() time.Time { return time.Date(2026, 1, 5, 9, 0, 0, 0, time.UTC) }

// Run plays a scenario to its end. With an error, that of ctx included, the
// result holds what was played until then, and its scores are not complete.
func (s *Scenario) Run(ctx context.Context, o Options) (*Result, error) {
	r, _, err := s.run(ctx, o)
	return r, err
}

func (s *Scenario) run(ctx context.Context, o Options) (*Result, *world.World, error) {
	if o.Seed != 0 {
		other := *s
		other.Seed = o.Seed
		s = &other
	}
	if o.Agent {
		config, err := s.agentConfig(o.Config)
		if err != nil {
			return nil, nil, err
		}
		o.Config = config
	}
	st, err := s.stage(o, "")
	if err != nil {
		return nil, nil, err
	}
	if err := st.play(ctx, time.Time{}); err != nil {
		return st.result(), st.world, err
	}
	r := st.result()
	s.score(r, st.meter)
	if o.Agent || o.Hand != nil {
		if err := s.judge(ctx, r, o); err != nil {
			return r, st.world, err
		}
	}
	r.Failures = s.Check(r)
	return r, st.world, nil
}

// agentConfig fills what is zero in c.
func (s *Scenario) agentConfig(c agent.Config) (agent.Config, error) {
	c.Interval = s.Tick
	if c.Policy.Mode == "" {
		c.Policy = s.Policy
	}
	if c.Timing == (agent.Timing{}) {
		c.Timing = agent.DefaultTiming()
	}
	if c.Detection.MinSamples == 0 { // which no valid settings have
		c.Detection = detectors.DefaultConfig()
	}
	if c.Diagnosis == (diagnosis.Config{}) {
		c.Diagnosis = diagnosis.DefaultConfig()
	}
	if c.Learner.Kappa == 0 {
		c.Learner = learner.DefaultConfig()
	}
	if c.Runbooks == nil {
		shipped, err := runbooks.Load(runbooks.Shipped(), ".")
		if err != nil {
			return c, fmt.Errorf("load shipped runbooks: %w", err)
		}
		c.Runbooks = shipped
	}
	c.WarmUp, c.WarmUpStep = s.WarmUp, s.Tick
	return c, nil
}

// stage is one world with a story about to be played in it.
type stage struct {
	s       *Scenario
	o       Options
	world   *world.World
	meter   *meter
	without string // action that has no effect
	records []sre.Record
	hand    Hand // nil for nobody
	moved   []Moved
}

// stage builds the world and writes the script into it.
func (s *Scenario) stage(o Options, without string) (*stage, error) {
	start := Origin()
	b := s.Blueprint
	b.Seed = s.Seed
	past := s.WarmUp + settleFor
	w, err := world.New(b, world.Options{
		Start: start.Add(-past), Interval: s.Tick, Scrape: s.Scrape, Window: s.Window, Seed: s.Seed,
		ScrapeLoss: s.ScrapeLoss, Keep: int(past/s.Tick) + 2, Scraped: o.Scraped,
	})
	if err != nil {
		return nil, fmt.Errorf("build the world of %s: %w", s.Name, err)
	}
	st := &stage{s: s, o: o, world: w, without: without}
	newScript(s, w, start).write()
	w.AdvanceTo(start.Add(-s.WarmUp))
	st.meter = newMeter(s, w)
	if o.Hand != nil && !o.Agent {
		st.hand = o.Hand(without)
	}
	if o.Agent {
		if err := st.rememberPast(start); err != nil {
			return nil, err
		}
	}
	return st, nil
}

// rememberPast has the world keep what is seen until the first tick, since it
// does not run backwards: the agent reads its history only once it sees.
func (st *stage) rememberPast(start time.Time) error {
	for _, err := range st.world.Source().History(context.Background(), start.Add(-st.s.WarmUp), start, st.s.Tick) {
		if err != nil {
			return fmt.Errorf("warm up: %w", err)
		}
	}
	return nil
}

var errEnough = errors.New("played far enough")

// play runs the story to its end, or until an instant.
func (st *stage) play(ctx context.Context, until time.Time) error {
	start, end := Origin(), Origin().Add(st.s.Length)
	if until.IsZero() || until.After(end) {
		until = end
	}
	if !st.o.Agent {
		return st.playAlone(ctx, start, until)
	}
	guard := st.world.Lever()
	platform := st.world.Platform()
	if through := st.o.Through; through != nil {
		guard, platform = through("guard", guard), through("platform", platform)
	}
	if st.without != "" {
		guard, platform = &dud{Remediator: guard, id: st.without}, &dud{Remediator: platform, id: st.without}
	}
	line, err := replay.Rehearsal{
		Agent: st.o.Config, Source: st.world.Source(), Forecaster: st.forecaster(), People: newCrowd(st.s, start), Start: start, End: end,
		Levers: map[string]sre.Remediator{"guard": guard, "platform": platform},
		Watch: func(t replay.Tick) error {
			st.world.AdvanceTo(t.At) // also where the source was not asked or did not answer
			st.meter.tick(t.At)
			if st.o.Watch != nil {
				if err := st.o.Watch(t); err != nil {
					return err
				}
			}
			if !t.At.Before(until) && until.Before(end) {
				return errEnough
			}
			return nil
		},
	}.Run(ctx)
	if line != nil {
		st.records = line.Records
	}
	if errors.Is(err, errEnough) {
		return nil
	}
	return err
}

// forecaster is the daemon's: it knows what the snapshots say, and not the world.
func (st *stage) forecaster() sre.Forecaster {
	if len(st.s.Blueprint.Services) > modelServices {
		return nil
	}
	return world.NewForecaster(world.LiveConfig{})
}

// playAlone runs the story without the agent. Who watches sees what it would
// have seen; looking moves nothing.
func (st *stage) playAlone(ctx context.Context, start, until time.Time) error {
	source := st.world.Source()
	for at := start; !at.After(until); at = at.Add(st.s.Tick) {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		st.world.AdvanceTo(at)
		st.meter.tick(at)
		if st.o.Watch == nil && st.hand == nil {
			continue
		}
		snap, err := source.Observe(ctx, at)
		if err != nil {
			return fmt.Errorf("observe at %s: %w", at.Format(time.RFC3339), err)
		}
		if st.hand != nil {
			moved, err := st.hand.Move(at, snap, st.world)
			if err != nil {
				return fmt.Errorf("%s at %s: %w", st.hand.Name(), at.Format(time.RFC3339), err)
			}
			st.moved = append(st.moved, moved...)
		}
		if st.o.Watch == nil {
			continue
		}
		if err := st.o.Watch(replay.Tick{At: at, Snapshot: snap}); err != nil {
			return err
		}
	}
	return nil
}

func (st *stage) result() *Result {
	r := &Result{
		Scenario: st.s.Name, Title: st.s.Title, Agent: string(Off), Seed: st.s.Seed, Start: Origin(),
		Story: st.meter.story, Marks: st.s.marks(), Records: st.records, Graph: st.world.Graph(),
		Actions: movements(st.records), Affected: map[string]bool{},
	}
	switch {
	case st.o.Agent:
		r.Agent = string(On)
	case st.hand != nil:
		r.Agent, r.Actions = st.hand.Name(), slices.Clone(st.moved)
	}
	return r
}

// marks tells the events of the script.
func (s *Scenario) marks() []Mark {
	out := make([]Mark, 0, len(s.Events))
	for i := range s.Events {
		e := &s.Events[i]
		m := Mark{At: Origin().Add(e.At), Text: e.Text}
		if e.For > 0 {
			m.Ends = m.At.Add(e.For)
		}
		out = append(out, m)
	}
	for _, c := range s.Commands {
		out = append(out, Mark{At: Origin().Add(c.At), Text: verbOperator + " " + string(c.Kind)})
	}
	slices.SortStableFunc(out, func(a, b Mark) int { return cmp.Or(a.At.Compare(b.At), cmp.Compare(a.Text, b.Text)) })
	return out
}
