package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"reflect"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/collectors/version"
	"go.uber.org/fx"
	"go.uber.org/fx/fxevent"

	"github.com/sreagent/sreagent/agent"
	"github.com/sreagent/sreagent/audit"
	"github.com/sreagent/sreagent/oncall"
	"github.com/sreagent/sreagent/plugins"
	"github.com/sreagent/sreagent/remediators"
	"github.com/sreagent/sreagent/replay/world"
	"github.com/sreagent/sreagent/sources"
	"github.com/sreagent/sreagent/sre"
)

// daemon is what a caller of the wired graph may hold on to: the demo and the
// tests look at it and talk to it, the daemon itself only runs it.
type daemon struct {
	fx.In

	Desk  *oncall.Desk
	Trail *audit.Trail
	Bound *listeners
}

// process is the wired daemon. Its methods are all that the rest of the program
// knows of the container.
type process struct {
	app *fx.App
}

// assemble wires the daemon and hands out the parts that into points to. A fault
// in the wiring or in a constructor is reported by Start.
func assemble(set settings, cfg *loaded, log *slog.Logger, into ...any) *process {
	return &process{app: fx.New(wire(set, cfg, log, into...))}
}

// Start starts every part. Its error has lost the container's own words.
func (p *process) Start(ctx context.Context) error {
	if err := p.app.Start(ctx); err != nil {
		return fmt.Errorf("start: %w", rootCause(err))
	}
	return nil
}

// Stop ends the parts in the reverse order of their start.
func (p *process) Stop(ctx context.Context) error { return p.app.Stop(ctx) }

// Failed yields the exit code when a part ends the daemon.
func (p *process) Failed() <-chan fx.ShutdownSignal { return p.app.Wait() }

// rootCause drops the container's own words around an error, and keeps those of
// the part that failed, which name the file or the address.
func rootCause(err error) error {
	cause := err
	for e := err; e != nil; e = errors.Unwrap(e) {
		if strings.HasPrefix(typePackage(e), "go.uber.org/") {
			cause = errors.Unwrap(e)
		}
	}
	if cause == nil {
		return err
	}
	return cause
}

// typePackage is the import path of an error's type.
func typePackage(err error) string {
	t := reflect.TypeOf(err)
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	return t.PkgPath()
}

// wire is the whole graph of the daemon.
func wire(set settings, cfg *loaded, log *slog.Logger, into ...any) fx.Option {
	return fx.Options(
		fx.Supply(set, cfg, log),
		fx.WithLogger(func() fxevent.Logger { return fxevent.NopLogger }),
		fx.StartTimeout(time.Minute),
		fx.StopTimeout(30*time.Second),
		fx.Module("adapters", fx.Provide(
			newRegistry, newSource, newLevers, newTrail, newDesk, newPager, newTokenBox, listen,
		)),
		fx.Module("logic", fx.Provide(newAgent)),
		fx.Module("surface", fx.Provide(newReloader, newAPI)),
		fx.Populate(into...),
		// Hooks stop in reverse: the loop first, then the pager that tells of its
		// end, then the server.
		fx.Invoke(serve, runPager, runSweeper, runLoop),
	)
}

func newRegistry() *prometheus.Registry {
	reg := prometheus.NewRegistry()
	reg.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		version.NewCollector("sreagent"))
	return reg
}

func newSource(lc fx.Lifecycle, cfg *loaded, log *slog.Logger, reg *prometheus.Registry) (*sources.Source, error) {
	s, err := sources.New(cfg.Config, sources.Options{
		Log: component(log, "sources"), Registerer: reg, Now: time.Now, Interval: time.Duration(cfg.Interval),
	})
	if err != nil {
		return nil, err
	}
	lc.Append(fx.StopHook(s.Close))
	return s, nil
}

// levers are the remediators by the name that targets use.
type levers struct {
	byName map[string]sre.Remediator
	list   []sre.Remediator
	checks *http.Client // of reactivation checks
}

func newLevers(lc fx.Lifecycle, cfg *loaded, log *slog.Logger, reg *prometheus.Registry) (levers, error) {
	list, err := remediators.New(cfg.Remediators, remediators.Options{Log: component(log, "remediators"), Registerer: reg, Now: time.Now})
	if err != nil {
		return levers{}, err
	}
	out := levers{byName: map[string]sre.Remediator{}, list: list, checks: &http.Client{
		Transport:     &http.Transport{DisableKeepAlives: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
	for _, r := range list {
		c, err := r.Describe(context.Background())
		if err != nil {
			return levers{}, fmt.Errorf("describe lever: %w", err)
		}
		out.byName[c.Name] = r
	}
	host, err := plugins.New(cfg.Plugins, plugins.Options{Log: component(log, "plugins"), Registerer: reg})
	if err != nil {
		return levers{}, err
	}
	for _, p := range host.Plugins() {
		out.byName[p.Name()] = p // a name of its own: config.validate sees to it
	}
	lc.Append(fx.Hook{OnStart: host.Start, OnStop: func(context.Context) error { host.Close(); return nil }})
	return out, nil
}

// flags are the levers whose flags can be read over HTTP.
func (l levers) flags() map[string]http.Handler {
	out := map[string]http.Handler{}
	for name, r := range l.byName {
		if s, ok := r.(remediators.FlagServer); ok {
			out[name] = s.Flags()
		}
	}
	return out
}

func newTrail(lc fx.Lifecycle, cfg *loaded, log *slog.Logger, reg *prometheus.Registry) (*audit.Trail, error) {
	options := cfg.Audit.Options()
	options.Now, options.Log, options.Registerer = time.Now, component(log, "audit"), reg
	trail, err := audit.Open(options)
	if err != nil {
		return nil, err
	}
	lc.Append(fx.StopHook(trail.Close))
	return trail, nil
}

func newDesk(reg *prometheus.Registry) *oncall.Desk {
	return oncall.NewDesk(oncall.DeskOptions{Registerer: reg})
}

func newPager(cfg *loaded, log *slog.Logger, reg *prometheus.Registry) (*oncall.Pager, error) {
	return oncall.NewPager(cfg.Oncall, oncall.PagerOptions{Log: component(log, "pager"), Registerer: reg})
}

func newAgent(cfg *loaded, log *slog.Logger, reg *prometheus.Registry, source *sources.Source, l levers,
	trail *audit.Trail, desk *oncall.Desk, pager *oncall.Pager,
) (*agent.Agent, error) {
	a, err := agent.New(agentConfig(cfg), agent.Ports{
		Clock: newSystemClock(reg), Source: source, Levers: l.byName, Trail: trail, Desk: desk, Pager: pager,
		Forecaster: world.NewForecaster(world.LiveConfig{}),
		Manual:     func(action sre.Action, restore sre.Params) string { return manual(l, action, restore) },
		Reactivation: func(ctx context.Context, action sre.Action) error {
			return cfg.Remediators.KillSwitches.Reactivation(ctx, l.checks, action)
		},
		Log: component(log, "agent"), Registerer: reg,
	})
	if err != nil {
		return nil, err
	}
	if err := a.Restore(trail.Records()); err != nil {
		return nil, err
	}
	return a, nil
}

// shortestAnswer is for how long a command waits at least: where ticks are a
// second apart, one that is late must not leave a person without an answer.
const shortestAnswer = 10 * time.Second

func newAPI(set settings, cfg *loaded, log *slog.Logger, reg *prometheus.Registry, desk *oncall.Desk,
	source *sources.Source, box *tokenBox, r *reloader, l levers,
) http.Handler {
	dir := cfg.Audit.Dir
	return oncall.NewAPI(desk, oncall.APIOptions{
		Tokens: box.get, AllowAnonymous: cfg.Oncall.AnonymousViewer, Changes: source, Reload: r.reload, Flags: l.flags(),
		Gatherer: reg, Version: versionInfo(), RoutePrefix: set.routePrefix,
		Records:       func(ctx context.Context, incident string) ([]sre.Record, error) { return recordsOf(ctx, dir, incident) },
		AnswerTimeout: max(3*time.Duration(cfg.Interval), shortestAnswer), Log: component(log, "api"), Registerer: reg, Now: time.Now,
	})
}

func component(log *slog.Logger, name string) *slog.Logger { return log.With("component", name) }

// background runs one loop for the life of the daemon. Its context is made
// here, because the one of a start hook ends when starting does.
func background(lc fx.Lifecycle, down fx.Shutdowner, log *slog.Logger, loop func(context.Context) error) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	lc.Append(fx.Hook{
		OnStart: func(context.Context) error {
			go func() {
				defer close(done)
				if err := loop(ctx); err != nil && ctx.Err() == nil {
					log.Error("stopping", "err", err)
					_ = down.Shutdown(fx.ExitCode(exitFailed))
				}
			}()
			return nil
		},
		OnStop: func(stop context.Context) error {
			cancel()
			select {
			case <-done:
			case <-stop.Done():
				return stop.Err()
			}
			return nil
		},
	})
}

func runLoop(lc fx.Lifecycle, down fx.Shutdowner, cfg *loaded, log *slog.Logger, a *agent.Agent) {
	log = component(log, "agent")
	path := cfg.Detection.StateFile
	recall(a, path, log)
	background(lc, down, log, func(ctx context.Context) error { return runAndKeep(ctx, a, path, log) })
}

func runPager(lc fx.Lifecycle, down fx.Shutdowner, log *slog.Logger, p *oncall.Pager) {
	background(lc, down, component(log, "pager"), p.Run)
}

func runSweeper(lc fx.Lifecycle, down fx.Shutdowner, log *slog.Logger, l levers) {
	background(lc, down, component(log, "remediators"), func(ctx context.Context) error {
		return remediators.Run(ctx, l.list, sweepEvery, time.Now)
	})
}

func serve(lc fx.Lifecycle, down fx.Shutdowner, set settings, log *slog.Logger, bound *listeners, api http.Handler) {
	server := &http.Server{Handler: api, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute}
	background(lc, down, component(log, "web"), func(context.Context) error { return bound.serve(server, set, component(log, "web")) })
	lc.Append(fx.StopHook(func(ctx context.Context) error {
		bound.closing.Store(true)
		return server.Shutdown(ctx)
	}))
}

func listen(lc fx.Lifecycle, set settings) (*listeners, error) {
	b := &listeners{}
	for _, address := range set.listen {
		l, err := net.Listen("tcp", address)
		if err != nil {
			b.close()
			return nil, fmt.Errorf("listen: %w", err)
		}
		b.all = append(b.all, l)
	}
	lc.Append(fx.StopHook(b.close))
	return b, nil
}
