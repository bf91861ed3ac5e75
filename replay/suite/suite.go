package suite

import (
	"context"
	"fmt"
	"sync"

	"github.com/sreagent/sreagent/agent"
	"github.com/sreagent/sreagent/replay/scenario"
)

// Arm is a way to look after a fleet.
type Arm string

// The arms, in the order in which they are shown.
const (
	Off    Arm = "off"    // nobody
	Static Arm = "static" // alerts that scale out and restart
	Agent  Arm = "agent"  // sreagent, its shipped runbooks and one mandate
)

// Arms lists every arm in a fixed order.
func Arms() []Arm { return []Arm{Off, Static, Agent} }

// Options says how the stories are played.
type Options struct {
	// Config is the agent's, as in scenario.Options. Where its policy has no mode
	// it is the mandate of scenario.Mandate: what a story says of the policy is
	// part of that story alone.
	Config agent.Config
	Jobs   int    // played at once; at least one
	Done   func() // told of every play that is over; may be nil
}

// played names one play of a story.
type played struct {
	Story int
	Arm   Arm
}

// Play plays every story in every arm. With an error, that of ctx included, there
// is no report.
func Play(ctx context.Context, stories []*scenario.Scenario, o Options) (*Report, error) {
	if o.Config.Policy.Mode == "" {
		o.Config.Policy = scenario.Mandate()
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	rows := make([]Row, len(stories))
	for i, s := range stories {
		rows[i] = Row{Story: s.Name, Title: s.Title, Runs: make([]Run, len(Arms()))}
	}
	queue := make(chan played)
	var workers sync.WaitGroup
	var telling sync.Mutex
	for range max(1, o.Jobs) {
		workers.Go(func() {
			for p := range queue {
				run, err := playOne(ctx, stories[p.Story], p.Arm, o)
				if err != nil {
					cancel(fmt.Errorf("%s, arm %s: %w", stories[p.Story].Name, p.Arm, err))
					continue
				}
				for i, arm := range Arms() {
					if arm == p.Arm {
						rows[p.Story].Runs[i] = run
					}
				}
				if o.Done != nil {
					telling.Lock()
					o.Done()
					telling.Unlock()
				}
			}
		})
	}
	feed(ctx, queue, len(stories))
	close(queue)
	workers.Wait()
	if err := context.Cause(ctx); err != nil {
		return nil, err
	}
	return &Report{Rows: rows, Summary: summarise(rows)}, nil
}

func feed(ctx context.Context, queue chan<- played, stories int) {
	for i := range stories {
		for _, arm := range Arms() {
			select {
			case queue <- played{i, arm}:
			case <-ctx.Done():
				return
			}
		}
	}
}

func playOne(ctx context.Context, s *scenario.Scenario, arm Arm, o Options) (Run, error) {
	how := scenario.Options{}
	switch arm {
	case Agent:
		how.Agent, how.Config = true, o.Config
	case Static:
		how.Hand = func(without string) scenario.Hand { return newStatic(s, without) }
	case Off:
	}
	r, err := s.Run(ctx, how)
	if err != nil {
		return Run{}, err
	}
	return runOf(arm, s, r), nil
}
