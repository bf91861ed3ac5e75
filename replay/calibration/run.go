package calibration

import (
	"context"
	"fmt"
	"sync"

	"github.com/sreagent/sreagent/agent"
	"github.com/sreagent/sreagent/agent/gate"
	"github.com/sreagent/sreagent/learner"
	"github.com/sreagent/sreagent/replay/scenario"
	"github.com/sreagent/sreagent/replay/suite"
	"github.com/sreagent/sreagent/sre"
)

// Options says what is measured.
type Options struct {
	Incidents int
	Seed      uint64
	Drift     Drift
	Jobs      int    // incidents played at once; at least one
	Done      func() // told of every incident that is over; may be nil
}

// Run plays all days and returns what came of it. With an error there is no
// report.
func Run(ctx context.Context, o Options) (*Report, error) {
	mind := learner.New(experience())
	var all []Observation
	for day := 0; day*perDay < o.Incidents; day++ {
		var todays []happening
		for n := day * perDay; n < min(o.Incidents, (day+1)*perDay); n++ {
			todays = append(todays, draw(o.Seed, n, o.Incidents, o.Drift))
		}
		mind.Age(1)
		plays, err := playDay(ctx, todays, mind.Snapshot(), o)
		if err != nil {
			return nil, err
		}
		for _, p := range plays {
			all = append(all, p.seen...)
			for _, outcome := range p.learned {
				mind.Learn(outcome)
			}
		}
	}
	return newReport(o, all), nil
}

// experience is the shipped one, without what was never simulated here.
func experience() learner.Config {
	c := learner.DefaultConfig()
	c.Untested = neverMet
	return c
}

// mandate lets the agent act alone at the floors of the default policy and ask
// about everything else, so that every plan gets an outcome.
func mandate() gate.Policy {
	p := scenario.Mandate()
	p.Thresholds = gate.DefaultPolicy().Thresholds
	p.Thresholds.Ask = 0
	return p
}

// play is one incident with what came of it.
type play struct {
	seen    []Observation
	learned []sre.OutcomeRecord
}

func playDay(ctx context.Context, todays []happening, morning []byte, o Options) ([]play, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	plays := make([]play, len(todays))
	queue := make(chan int, len(todays))
	for i := range todays {
		queue <- i
	}
	close(queue)
	var workers sync.WaitGroup
	var telling sync.Mutex
	for range max(1, min(o.Jobs, len(todays))) {
		workers.Go(func() {
			for i := range queue {
				if ctx.Err() != nil {
					return
				}
				p, err := playOne(ctx, todays[i], morning)
				if err != nil {
					cancel(fmt.Errorf("incident %d: %w", todays[i].number, err))
					return
				}
				plays[i] = p
				if o.Done != nil {
					telling.Lock()
					o.Done()
					telling.Unlock()
				}
			}
		})
	}
	workers.Wait()
	return plays, context.Cause(ctx)
}

func playOne(ctx context.Context, h happening, morning []byte) (play, error) {
	name := fmt.Sprintf("incident-%d", h.number)
	text, atFault := suite.DrawIn(h.fleet, h.seed, h.kind)
	story, err := scenario.Parse(name+".scenario", []byte(text))
	if err != nil {
		return play{}, err
	}
	how := scenario.Options{Agent: true, Judge: scenario.JudgeNot, Config: agent.Config{
		Policy: mandate(), Learner: experience(), Experience: morning,
	}}
	if h.drifted {
		how.Through = worn(h.fleet)
	}
	with, err := story.Run(ctx, how)
	if err != nil {
		return play{}, err
	}
	without, err := story.Run(ctx, scenario.Options{})
	if err != nil {
		return play{}, err
	}
	return judge(h, atFault, with, without), nil
}
