package plugins

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/sreagent/sreagent/sre"
)

// pingsLost is how many pings in a row may stay without an answer.
const pingsLost = 3

// Options are the ports of the plugins. Each may be left out.
type Options struct {
	Log        *slog.Logger
	Registerer prometheus.Registerer
	Now        func() time.Time
	After      func(time.Duration) <-chan time.Time // for pings and restarts
}

func (o Options) withDefaults() Options {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.After == nil {
		o.After = time.After
	}
	return o
}

// Plugin is one configured plugin as a lever. While its process is down the
// lever stays known: Describe gives its last description of itself, and the
// other calls are refused.
type Plugin struct {
	cfg     Config
	o       Options
	log     *slog.Logger
	metrics *metrics
	voice   *voice
	cancel  context.CancelFunc
	done    chan struct{}
	settled chan struct{} // closed after the first start succeeded or failed
	suspect chan struct{} // a call broke: ping now

	mu      sync.Mutex
	session *session // nil while down
	down    error    // why
	known   *sre.Capability
	person  []string // whom it named when it was first up; never forgotten
	starts  int
}

func newPlugin(c Config, o Options, m *metrics) *Plugin {
	c = c.withDefaults()
	log := o.Log.With("plugin", c.Name)
	m.prepare(c.Name)
	return &Plugin{
		cfg: c, o: o, log: log, metrics: m, voice: newVoice(log, m.dropped.WithLabelValues(c.Name)),
		done: make(chan struct{}), settled: make(chan struct{}), suspect: make(chan struct{}, 1),
		down: errors.New("it has not been started"),
	}
}

// Name is the lever's name in the configuration.
func (p *Plugin) Name() string { return p.cfg.Name }

// Err says why the plugin is down; nil while it is up.
func (p *Plugin) Err() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.down
}

// run keeps one process of the plugin up until ctx ends.
func (p *Plugin) run(ctx context.Context) {
	defer close(p.done)
	failures := 0
	for ctx.Err() == nil {
		began := p.o.Now()
		p.once(ctx)
		if p.o.Now().Sub(began) >= time.Duration(p.cfg.Restart.Max) {
			failures = 0
		}
		failures++
		wait := p.cfg.Restart.delay(failures)
		if ctx.Err() == nil {
			p.log.Warn("plugin is down", "err", p.Err(), "next_start_in", wait)
		}
		select {
		case <-ctx.Done():
		case <-p.o.After(wait):
		}
	}
}

// once is one process, from its start to its end.
func (p *Plugin) once(ctx context.Context) {
	s, err := p.start(ctx)
	if err != nil {
		p.setDown(err)
		p.settle()
		return
	}
	p.log.Info("plugin is up", "pid", s.process.ID())
	p.settle()
	err = p.watch(ctx, s)
	p.setDown(err)
	s.close(ctx.Err() != nil)
}

// start launches the binary and has it describe itself.
func (p *Plugin) start(ctx context.Context) (*session, error) {
	p.starts++
	if p.starts > 1 {
		p.metrics.restarts.WithLabelValues(p.cfg.Name).Inc()
	}
	ctx, cancel := context.WithTimeout(ctx, time.Duration(p.cfg.StartTimeout))
	defer cancel()
	s, err := launch(ctx, p.cfg, p.voice)
	if err != nil {
		return nil, err
	}
	c, err := s.describe(ctx, p.cfg.Name)
	if err != nil {
		s.close(false)
		return nil, fmt.Errorf("describe: %w", err)
	}
	p.mu.Lock()
	if p.known == nil {
		p.person = c.Person
	}
	c.Person = p.needs(c.Person)
	p.session, p.down, p.known = s, nil, &c
	p.mu.Unlock()
	p.metrics.up.WithLabelValues(p.cfg.Name).Set(1)
	return s, nil
}

func (p *Plugin) setDown(err error) {
	p.mu.Lock()
	p.session, p.down = nil, err
	p.mu.Unlock()
	p.metrics.up.WithLabelValues(p.cfg.Name).Set(0)
}

func (p *Plugin) settle() {
	select {
	case <-p.settled:
	default:
		close(p.settled)
	}
}

// watch returns when the process has ended, no longer answers, or is to end.
func (p *Plugin) watch(ctx context.Context, s *session) error {
	lost := 0
	for {
		select {
		case <-ctx.Done():
			return errors.New("sreagent is stopping")
		case <-s.process.exited:
			return errors.New(s.process.ended())
		case <-p.o.After(time.Duration(p.cfg.PingInterval)):
		case <-p.suspect:
		}
		err := p.ping(ctx, s)
		if err == nil {
			lost = 0
			continue
		}
		if lost++; lost == pingsLost {
			return fmt.Errorf("it did not answer %d pings: %w", lost, err)
		}
	}
}

// ping asks for the plugin's health and refreshes its description, which is
// kept as it was where the new one is not good. What it can do, and within which
// bounds, is what it said when it started: a process does not widen its own.
func (p *Plugin) ping(ctx context.Context, s *session) error {
	ctx, cancel := context.WithTimeout(ctx, time.Duration(p.cfg.PingTimeout))
	defer cancel()
	if err := s.ping(ctx); err != nil {
		return err
	}
	c, err := s.describe(ctx, p.cfg.Name)
	if err != nil {
		p.log.Warn("plugin no longer describes itself, its last description holds", "err", err)
		return nil
	}
	p.mu.Lock()
	widened := !reflect.DeepEqual(c.Kinds, p.known.Kinds)
	c.Kinds, c.Person = p.known.Kinds, p.needs(c.Person)
	p.known = &c
	p.mu.Unlock()
	if widened && !s.odd {
		p.log.Warn("plugin describes other kinds than when it started, which hold until its next start")
	}
	s.odd = widened
	return nil
}

// needs adds the names that took a person from the first to those that do now, or
// a plugin could rid itself of the person by naming nobody any more.
func (p *Plugin) needs(now []string) []string {
	all := slices.Sorted(slices.Values(slices.Concat(p.person, now)))
	return slices.Compact(all)
}

// Describe returns the plugin's last good description of itself, without asking
// it. Until there is one the error has CodeRefused and says why.
func (p *Plugin) Describe(context.Context) (sre.Capability, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.known == nil {
		return sre.Capability{}, sre.Refusedf("plugin %s is down: %v", p.cfg.Name, p.down)
	}
	return *p.known, nil
}

// Probe asks the plugin, and is refused while it is down.
func (p *Plugin) Probe(ctx context.Context, a sre.Action) (state sre.TargetState, err error) {
	err = p.call(ctx, opProbe, func(ctx context.Context, s *session) (err error) {
		state, err = s.lever.Probe(ctx, a)
		return err
	})
	return state, err
}

// Apply sends the directive to the plugin once its parameters fit what the
// plugin says it takes, and is refused while the plugin is down.
func (p *Plugin) Apply(ctx context.Context, d sre.Directive) error {
	if err := p.fits(d.Action); err != nil {
		return err
	}
	return p.call(ctx, opApply, func(ctx context.Context, s *session) error { return s.lever.Apply(ctx, d) })
}

// Revert sends the directive back, and is refused while the plugin is down. The
// parameters are not held against the schema: undoing is never blocked.
func (p *Plugin) Revert(ctx context.Context, d sre.Directive) error {
	return p.call(ctx, opRevert, func(ctx context.Context, s *session) error { return s.lever.Revert(ctx, d) })
}

// Manual returns the plugin's shell commands for undoing the action by hand. It
// is empty where the plugin gives none, gives ones that cannot be shown, or is
// down.
func (p *Plugin) Manual(a sre.Action, restore sre.Params) (text string) {
	err := p.call(context.Background(), opManual, func(ctx context.Context, s *session) (err error) {
		text, err = s.lever.Commands(ctx, a, restore)
		return err
	})
	if err != nil {
		p.log.Warn("plugin gives no commands for undoing by hand", "action", a.ID, "err", err)
	}
	return text
}

func (p *Plugin) fits(a sre.Action) error {
	c, err := p.Describe(context.Background())
	if err != nil {
		return err
	}
	spec, ok := c.Kind(a.Kind)
	switch {
	case !ok:
		return sre.Invalidf("plugin %s cannot %s", p.cfg.Name, a.Kind)
	case spec.Edge && a.Target.Callee == "":
		return sre.Invalidf("%s needs a callee", a.Kind)
	}
	return spec.Check(a.Params)
}

// call makes one call within the bounds of the caller and of the configuration,
// the shorter of the two.
func (p *Plugin) call(ctx context.Context, op string, do func(context.Context, *session) error) error {
	p.mu.Lock()
	s, down := p.session, p.down
	p.mu.Unlock()
	if s == nil {
		return sre.Refusedf("plugin %s is down: %v", p.cfg.Name, down)
	}
	began := p.o.Now()
	ctx, cancel := context.WithTimeout(ctx, time.Duration(p.cfg.Timeout))
	defer cancel()
	err := do(ctx, s)
	p.metrics.calls.WithLabelValues(p.cfg.Name, op, codeLabel(err)).Observe(p.o.Now().Sub(began).Seconds())
	if sre.CodeOf(err) == sre.CodeUnknown {
		select {
		case p.suspect <- struct{}{}:
		default: // a ping is due already
		}
	}
	return err
}
