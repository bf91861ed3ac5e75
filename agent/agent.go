package agent

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/sreagent/sreagent/agent/control"
	"github.com/sreagent/sreagent/agent/executor"
	"github.com/sreagent/sreagent/agent/gate"
	"github.com/sreagent/sreagent/detectors"
	"github.com/sreagent/sreagent/diagnosis"
	"github.com/sreagent/sreagent/learner"
	"github.com/sreagent/sreagent/runbooks"
	"github.com/sreagent/sreagent/sre"
)

// What the agent asks of the logic below it. The real ones are built by New;
// tests put simpler ones in their place.
type (
	senses interface {
		Detect(s *sre.Snapshot, frozen []bool) []sre.Precursor
		WarmUp() float64
	}
	reasoning interface {
		Diagnose(s *sre.Snapshot, ps []sre.Precursor, open []sre.Incident) []sre.Finding
	}
	library interface {
		Match(f runbooks.Facts) (*sre.Plan, []sre.Rejection)
		Evaluate(c sre.Check, f runbooks.Facts) (sre.Verdict, string)
		Settle(p *sre.Plan, step int, f runbooks.Facts) []sre.Action
	}
	experience interface {
		Confidence(q learner.Question) sre.Confidence
		Learn(o sre.OutcomeRecord)
	}
)

// mind is the logic that the agent thinks with. The functions may be nil: then
// checks change no probability, nothing is told of what the graph implies, and
// no risks are shown.
type mind struct {
	senses     senses
	reasoning  reasoning
	library    library
	experience experience
	reweigh    func(d *sre.Diagnosis, checks map[string]sre.WhatIf) // by service
	spread     func(s *sre.Snapshot, root int) []sre.Impact         // worst first
	risks      func(ps []sre.Precursor) []sre.Risk                  // highest first
}

// Agent is one autonomous SRE. It is not safe for concurrent use: Run owns it.
type Agent struct {
	cfg   Config
	ports Ports
	mind  mind
	gate  *gate.Gate
	exec  *executor.Executor
	caps  []sre.Capability
	log   *slog.Logger
	meter *metrics

	book      *book
	epoch     uint64
	tick      uint64
	last      time.Time // the latest tick
	blind     time.Time // since when no snapshot could be trusted; zero while seeing
	warm      float64
	started   bool
	halted    error // why the trail took no more from this agent: it is over
	warmed    bool  // the past was read, or could not be
	seen      sre.SourceHealth
	fleet     int
	changes   []sre.Change // of late, oldest first
	reload    chan Config
	explained []sre.Explained

	alone      map[string]int       // ticks in a row at which a merged incident had news of its own
	foresights map[string]foresight // by open incident
	foretold   time.Time            // when the model was last asked
}

// New returns an agent that knows nothing yet: Restore gives it its memory, Run
// its life.
func New(cfg Config, ports Ports) (*Agent, error) {
	if cfg.Runbooks == nil {
		return nil, fmt.Errorf("agent: no runbook library")
	}
	experience := learner.New(cfg.Learner)
	if len(cfg.Experience) > 0 {
		if err := experience.Restore(cfg.Experience); err != nil {
			return nil, fmt.Errorf("agent: %w", err)
		}
	}
	return newWith(cfg, ports, mind{
		senses:     detectors.New(cfg.Detection),
		reasoning:  diagnosis.New(cfg.Diagnosis),
		library:    cfg.Runbooks,
		experience: experience,
		reweigh:    diagnosis.Reweigh,
		spread:     diagnosis.Spread,
		risks:      detectors.Risks,
	})
}

func newWith(cfg Config, ports Ports, m mind) (*Agent, error) {
	if err := ports.validate(); err != nil {
		return nil, err
	}
	if ports.Laws == nil {
		ports.Laws = control.Named
	}
	if cfg.Interval <= 0 {
		return nil, fmt.Errorf("agent: interval %s is not positive", cfg.Interval)
	}
	if faults := mandateFaults(cfg.Policy, cfg); len(faults) > 0 {
		return nil, faults
	}
	return &Agent{
		cfg: cfg, ports: ports, mind: m,
		gate:   gate.New(cfg.Policy),
		exec:   executor.New(executor.Config{DryRun: cfg.Policy.DryRun, Timeout: cfg.Timing.Lever, Width: 8}, ports.Levers),
		log:    ports.Log,
		meter:  newMetrics(ports.Registerer),
		book:   newBook(),
		reload: make(chan Config, 1),

		alone:      map[string]int{},
		foresights: map[string]foresight{},
	}, nil
}

// mandateFaults are what is wrong with a policy for an agent of the given pace.
func mandateFaults(p gate.Policy, cfg Config) sre.Faults {
	f := p.Validate()
	f.Under("arbitration.pace", p.Arbitration.Pace.Validate(cfg.Interval, time.Duration(cfg.Learner.HalfLife)))
	return f
}

// Run takes over and ticks until ctx is done or the trail cannot be written.
// Restore must have been called before where there is a trail.
func (a *Agent) Run(ctx context.Context) error {
	for now := range a.ports.Clock.Ticks(ctx, a.cfg.Interval) {
		if err := a.Tick(ctx, now); err != nil {
			return err
		}
	}
	return a.stop(context.WithoutCancel(ctx))
}

// stop notes that the agent ends in good order. Mitigations in force are left
// to their leases and to whoever takes over.
func (a *Agent) stop(ctx context.Context) error {
	if !a.started {
		return nil
	}
	t := &turn{now: a.last}
	a.note(t, sre.Record{Kind: sre.RecordStop})
	return a.record(ctx, t)
}

// Reconfigure hands a new configuration to the running loop. It takes effect
// whole, between two ticks: policy, timing and runbooks change; baselines and
// incidents stay. The interval, the learner and the ports stay as they were.
func (a *Agent) Reconfigure(cfg Config) {
	for {
		select {
		case a.reload <- cfg:
			return
		default:
		}
		select { // only the newest waits
		case <-a.reload:
		default:
		}
	}
}

func (a *Agent) takeReload() {
	select {
	case cfg := <-a.reload:
		if faults := mandateFaults(cfg.Policy, a.cfg); len(faults) > 0 {
			a.log.Error("policy not taken over, the old one holds", "err", faults)
			return
		}
		a.cfg.Policy, a.cfg.Timing, a.cfg.Digest = cfg.Policy, cfg.Timing, cfg.Digest
		a.gate = gate.New(cfg.Policy)
		a.exec = a.exec.With(executor.Config{DryRun: cfg.Policy.DryRun, Timeout: cfg.Timing.Lever, Width: 8})
		a.caps = nil
		if cfg.Runbooks != nil {
			a.cfg.Runbooks = cfg.Runbooks
			a.mind.library = cfg.Runbooks
		}
	default:
	}
}

// warmUp reads the past, once, at the first tick with sight, so that baselines,
// diagnosis and the model have something to compare with when they first need it.
// What it finds is not acted on, and what open incidents look like is not learned
// as normal.
func (a *Agent) warmUp(ctx context.Context, now time.Time) {
	if a.cfg.WarmUp <= 0 {
		return
	}
	step := a.cfg.WarmUpStep
	if step <= 0 {
		step = a.cfg.Interval
	}
	for s, err := range a.ports.Source.History(ctx, now.Add(-a.cfg.WarmUp), now, step) {
		if err != nil {
			a.log.Warn("warm-up stopped early", "err", err)
			return
		}
		frozen := a.frozenAt(s)
		signs := a.mind.senses.Detect(s, frozen)
		if r, learns := a.mind.reasoning.(sre.Rememberer); learns {
			r.Remember(s)
		}
		if frozen == nil {
			a.rememberCalm(s, signs)
		}
	}
}
