package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promauto"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/sreagent/sreagent/guard"
)

// sidecar is a guard between its listeners.
type sidecar struct {
	flags  flags
	cfg    guard.Config
	log    *slog.Logger
	reload <-chan os.Signal
	ready  func(addresses)

	guard    *guard.Guard
	store    io.Closer
	checks   guard.Checks
	tls      atomic.Pointer[tls.Config] // replaced on reload; nil is none
	draining atomic.Bool
	loaded   prometheus.Gauge
}

// serve listens until ctx is done, then drains: callers first, so that
// directives and metrics work to the end.
func (s *sidecar) serve(ctx context.Context) error {
	reg := prometheus.NewRegistry()
	reg.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	s.loaded = promauto.With(reg).NewGauge(prometheus.GaugeOpts{
		Name: "guard_config_last_reload_successful", Help: "Whether the last reading of the configuration file worked.",
	})
	s.loaded.Set(1)
	if err := s.build(reg); err != nil {
		return err
	}
	defer func() {
		s.guard.Close()
		_ = s.store.Close()
	}()
	front, back, err := s.listen(ctx)
	if err != nil {
		return err
	}
	proxy := &http.Server{Handler: guard.NewProxy(s.guard, s.flags.upstream), ReadHeaderTimeout: 10 * time.Second}
	control := &http.Server{Handler: s.control(reg), ReadHeaderTimeout: 10 * time.Second, ReadTimeout: 10 * time.Second}
	ended := make(chan error, 2)
	go func() { ended <- proxy.Serve(front) }()
	go func() { ended <- control.Serve(back) }()
	s.log.Info("sidecar ready", "listen", front.Addr(), "control", back.Addr(), "service", s.cfg.Service)
	if s.ready != nil {
		s.ready(addresses{front.Addr(), back.Addr()})
	}
	running := 2
	var broken error
	for waiting := true; waiting; {
		select {
		case <-ctx.Done():
			waiting = false
		case broken = <-ended:
			running--
			waiting = false
		case <-s.reload:
			s.read()
		}
	}
	return errors.Join(broken, s.drain(ctx, proxy, control, ended, running))
}

// build makes the guard and its checks.
func (s *sidecar) build(reg prometheus.Registerer) error {
	shared, store, err := sharedLimits(s.cfg, reg, s.log)
	if err != nil {
		return err
	}
	s.store = store
	if s.guard, err = guard.New(s.cfg, append(shared, guard.WithRegisterer(reg), guard.WithLogger(s.log))...); err != nil {
		return errors.Join(err, store.Close())
	}
	cfg, err := s.cfg.TLS.Server()
	if err != nil {
		s.guard.Close()
		return errors.Join(err, store.Close())
	}
	s.tls.Store(cfg)
	return errors.Join(s.guard.RegisterChecks(&s.checks), s.checks.Register(guard.Check{
		Name: "draining", Critical: true, Run: func(context.Context) error {
			if s.draining.Load() {
				return errors.New("no new requests are wanted")
			}
			return nil
		},
	}))
}

func (s *sidecar) listen(ctx context.Context) (front, back net.Listener, err error) {
	var lc net.ListenConfig
	front, err = lc.Listen(ctx, "tcp", s.flags.listen)
	if err != nil {
		return nil, nil, fmt.Errorf("listen for callers: %w", err)
	}
	if s.tls.Load() != nil {
		front = tls.NewListener(front, &tls.Config{
			MinVersion:         tls.VersionTLS12,
			GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) { return s.tls.Load(), nil },
		})
	}
	back, err = lc.Listen(ctx, "tcp", s.flags.control)
	if err != nil {
		return nil, nil, errors.Join(fmt.Errorf("listen for control: %w", err), front.Close())
	}
	return front, back, nil
}

// read goes over to what the configuration file says now. A bad file leaves
// everything as it was.
func (s *sidecar) read() {
	if err := s.adopt(); err != nil {
		s.loaded.Set(0)
		s.log.Error("configuration not reloaded", "err", err)
		return
	}
	s.loaded.Set(1)
	s.log.Info("configuration reloaded")
}

func (s *sidecar) adopt() error {
	cfg, err := loadConfig(s.flags.config)
	if err != nil {
		return err
	}
	if s.flags.upstream == nil && len(cfg.Upstreams[guard.ProxyCallee].Backends) == 0 {
		return errors.New("upstreams.upstream.backends: is empty; allowed: one or more without --upstream")
	}
	secure, err := cfg.TLS.Server()
	if err != nil {
		return err
	}
	if (secure == nil) != (s.tls.Load() == nil) {
		return errors.New("tls: cannot be turned on or off; allowed: another one after a restart")
	}
	if err := s.guard.Reload(cfg); err != nil {
		return err
	}
	s.tls.Store(secure)
	return nil
}

// drain lets what is under way end, then stops both servers.
func (s *sidecar) drain(ctx context.Context, proxy, control *http.Server, ended <-chan error, running int) error {
	s.draining.Store(true)
	s.log.Info("draining")
	limit, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.flags.drain)
	defer cancel()
	var broken error
	if err := proxy.Shutdown(limit); err != nil {
		broken = errors.Join(broken, fmt.Errorf("drain: %w", err), proxy.Close())
	}
	if err := control.Shutdown(limit); err != nil {
		broken = errors.Join(broken, fmt.Errorf("stop control: %w", err), control.Close())
	}
	for range running {
		if err := <-ended; !errors.Is(err, http.ErrServerClosed) {
			broken = errors.Join(broken, err)
		}
	}
	return broken
}

func (s *sidecar) control(reg *prometheus.Registry) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/guard/v1/", s.guard.Control())
	mux.Handle("GET /metrics", promhttp.HandlerFor(reg, promhttp.HandlerOpts{}))
	alive := func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "guard is healthy\n") }
	mux.HandleFunc("GET /-/healthy", alive)
	mux.HandleFunc("GET /healthz", alive)
	mux.Handle("GET /readyz", s.checks.Handler())
	mux.Handle("GET /-/ready", s.checks.Handler())
	return mux
}
