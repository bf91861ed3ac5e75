package demo

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/sreagent/sreagent/sre"
)

// scene is one run of the shop, as watched so far.
type scene struct {
	shop    stage
	screen  screen
	began   time.Time
	samples []GoodputSample // every second that is known, in order
	next    time.Time       // start of the second that comes next

	// With an agent: what to do at every look, and with what a person said.
	follow func(context.Context) error
	heard  func(context.Context, answer) error
}

func newScene(shop stage, scr screen) *scene {
	now := time.Now()
	return &scene{shop: shop, screen: scr, began: now, next: now.Truncate(time.Second)}
}

// look takes in the seconds that became known.
func (s *scene) look() {
	fresh := s.shop.Since(s.next)
	if len(fresh) == 0 {
		return
	}
	retries := s.shop.Retries()
	for _, sample := range fresh {
		s.next = sample.Second.Add(time.Second)
		s.samples = append(s.samples, sample)
		s.screen.second(sample, retries)
	}
}

// until looks on until done says so. It fails when ctx ends, or when what is
// waited for does not come within the bound.
func (s *scene) until(ctx context.Context, what string, within time.Duration, done func() bool) error {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	deadline := time.NewTimer(within)
	defer deadline.Stop()
	var said <-chan answer
	if s.heard != nil {
		said = s.screen.answers()
	}
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-deadline.C:
			return broken("%s: not within %v", what, within)
		case a := <-said:
			if err := s.heard(ctx, a); err != nil {
				return err
			}
		case <-tick.C:
			s.look()
			if s.follow != nil {
				if err := s.follow(ctx); err != nil {
					return err
				}
			}
			if done() {
				return nil
			}
		}
	}
}

// from returns the known seconds that start at or after an instant.
func (s *scene) from(at time.Time) []GoodputSample {
	for i, sample := range s.samples {
		if !sample.Second.Before(at) {
			return s.samples[i:]
		}
	}
	return nil
}

// ratio returns the goodput of the last seconds of a span.
func (s *scene) ratio(from, to time.Time) float64 { return round3(Sum(s.samples, from, to).Ratio()) }

// settle waits for a baseline: healthy seconds in a row since an instant.
func (s *scene) settle(ctx context.Context, since time.Time) (from, to time.Time, err error) {
	healthy := 0
	err = s.until(ctx, "a healthy shop before the trigger", startWithin, func() bool {
		healthy = 0
		for _, sample := range s.from(since) {
			if healthy++; sample.Total.Ratio() < healthyAbove {
				healthy = 0
			}
		}
		return healthy >= int(baseline/time.Second)
	})
	return s.next.Add(-baseline), s.next, err
}

// cut triggers the fall and returns when it began and when its cause ends.
func (s *scene) cut() (began, ended time.Time, err error) {
	began = time.Now()
	if err := s.shop.Trigger(cutShare, cutFor); err != nil {
		return began, began, err
	}
	s.screen.tell(fmt.Sprintf("Capacity of %s is cut by %.0f %% for %v.", Leaf, cutShare*100, cutFor))
	return began, began.Add(cutFor), nil
}

// alone is phase 1: the shop falls and stays down.
func (t *teller) alone(ctx context.Context, s *scene) error {
	from, to, err := s.settle(ctx, s.began)
	if err != nil {
		return err
	}
	r := &t.result.WithoutAgent
	r.GoodputBefore = s.ratio(from, to)
	_, ended, err := s.cut()
	if err != nil {
		return err
	}
	told := false
	err = s.until(ctx, "a minute of watching", watchDown+startWithin, func() bool {
		if !told && time.Now().After(ended) {
			told = true
			s.screen.tell(fmt.Sprintf("The capacity of %s is whole again. Nothing else is broken.", Leaf))
		}
		return !s.next.Before(ended.Add(watchDown))
	})
	if err != nil {
		return err
	}
	after := s.from(ended)
	_, r.Recovered = recoveredAt(after)
	r.GoodputAfterTrigger = s.ratio(s.next.Add(-watchAfter), s.next)
	if best := highest(after); best.Total.Ratio() >= downBelow {
		return broken("without the agent goodput was %.2f, %v after the trigger; it should stay below %.2f",
			best.Total.Ratio(), best.Second.Sub(ended).Round(time.Second), downBelow)
	}
	s.screen.tell(fmt.Sprintf("A minute later goodput is %.0f %%: the retries keep the shop down.", r.GoodputAfterTrigger*100))
	return nil
}

// withAgent is phase 2: the agent sees the fall and ends it.
func (t *teller) withAgent(ctx context.Context, s *scene) (err error) {
	env := AgentEnv{
		PrometheusURL: s.shop.PrometheusURL(), Topology: s.shop.TopologyYAML(), Token: s.shop.Token(),
		Guards: map[string]string{}, Dir: filepath.Join(t.dir, "agent"),
	}
	for _, svc := range s.shop.Services() {
		env.Guards[svc.Name] = svc.ControlURL
	}
	agent, err := t.o.StartAgent(ctx, env)
	if err != nil {
		return fmt.Errorf("start the agent: %w", err)
	}
	w := &witness{screen: t.screen, agent: agent, yes: t.o.Yes}
	s.follow, s.heard = w.follow, w.answer
	err = t.fallAndCure(ctx, s, w)
	w.report(&t.result.WithAgent)
	return errors.Join(err, t.stopAgent(ctx, agent))
}

func (t *teller) stopAgent(ctx context.Context, agent Agent) error {
	cut := ctx.Err() != nil
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopWithin)
	defer cancel()
	if err := agent.Stop(ctx); err != nil {
		return fmt.Errorf("stop the agent: %w", err)
	}
	if cut {
		return nil // a story that was cut short proves nothing
	}
	var err error
	t.result.AuditVerified, err = agent.VerifyAudit(ctx)
	switch {
	case err != nil:
		return fmt.Errorf("verify the audit trail: %w", err)
	case !t.result.AuditVerified:
		return broken("the audit trail does not verify")
	}
	t.screen.tell("The audit trail is verified.")
	return nil
}

func (t *teller) fallAndCure(ctx context.Context, s *scene, w *witness) error {
	r := &t.result.WithAgent
	err := s.until(ctx, "an agent that is ready", startWithin, func() bool { return w.ready })
	if err != nil {
		return err
	}
	t.screen.tell("The agent is ready and watches.")
	from, to, err := s.settle(ctx, time.Now().Add(-time.Second))
	if err != nil {
		return err
	}
	r.GoodputBefore = s.ratio(from, to)
	began, ended, err := s.cut()
	if err != nil {
		return err
	}
	w.cutAt = began
	if err := t.cure(ctx, s, w, ended); err != nil {
		return err
	}
	return t.afterwards(ctx, s, w)
}

// cure watches from the cut until the shop has recovered and every mitigation
// is lifted again.
func (t *teller) cure(ctx context.Context, s *scene, w *witness, ended time.Time) error {
	r := &t.result.WithAgent
	var recovered time.Time
	err := s.until(ctx, "recovery and lifting of all mitigations", endWithin, func() bool {
		if at, ok := recoveredAt(s.from(ended)); ok && !r.Recovered {
			recovered, r.Recovered, r.RecoveredAfter = at, true, seconds(w.cutAt, at)
			t.screen.tell(fmt.Sprintf("Goodput is back, %.0f s after the cut.", *r.RecoveredAfter))
		}
		return r.Recovered && w.acted() && w.lifted()
	})
	r.DetectedAfter, r.FirstActionAfter = seconds(w.cutAt, w.detected), seconds(w.cutAt, w.firstAction)
	r.GoodputAfterTrigger = s.ratio(s.next.Add(-watchAfter), s.next)
	if err != nil {
		return err
	}
	if r.DetectedAfter == nil {
		return broken("the agent never saw an incident")
	}
	t.screen.tell("All mitigations are lifted. Does it hold?")
	if took := recovered.Sub(w.free()); took > recoveryWithin {
		return broken("recovery came %v after the detection and the last answer; it should come within %v", took.Round(time.Second), recoveryWithin)
	}
	return nil
}

// afterwards watches for a relapse.
func (t *teller) afterwards(ctx context.Context, s *scene, w *witness) error {
	lifted := time.Now()
	err := s.until(ctx, "a watch for a relapse", watchAfter+startWithin, func() bool {
		return !s.next.Before(lifted.Add(watchAfter))
	})
	if err != nil {
		return err
	}
	r := &t.result.WithAgent
	r.GoodputAfterTrigger = s.ratio(s.next.Add(-watchAfter), s.next)
	switch {
	case r.GoodputAfterTrigger < healthyAbove:
		return broken("after the mitigations were lifted goodput fell to %.2f", r.GoodputAfterTrigger)
	case !w.lifted():
		return broken("a new mitigation was needed after all were lifted")
	}
	t.screen.tell(fmt.Sprintf("It holds: goodput %.0f %% with no mitigation in force.", r.GoodputAfterTrigger*100))
	return nil
}

// closedOrResolved are the states in which an incident needs nothing more.
func closedOrResolved(s sre.State) bool { return s == sre.Closed || s == sre.Resolved }
