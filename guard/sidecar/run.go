package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"time"

	"github.com/alecthomas/kingpin/v2"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/prometheus/common/version"
	"github.com/sreagent/sreagent/guard"
)

// Exit codes.
const (
	exitOK     = 0
	exitFailed = 1
	exitUsage  = 2
)

type flags struct {
	config   string
	listen   string
	upstream *url.URL
	control  string
	drain    time.Duration
}

// addresses are where the sidecar listens, once it does.
type addresses struct {
	proxy, control net.Addr
}

// run is the whole program; it returns the exit code when ctx is done and what
// was under way has been drained. It calls ready once both listeners are open.
func run(ctx context.Context, args []string, stdout, stderr io.Writer, ready func(addresses)) int {
	f, code, stop := parseFlags(args, stdout, stderr)
	if stop {
		return code
	}
	log := slog.New(slog.NewTextHandler(stderr, nil))
	cfg, err := loadConfig(f.config)
	if err != nil {
		_, _ = fmt.Fprintln(stderr, err)
		return exitUsage
	}
	if err := serve(ctx, f, cfg, log, ready); err != nil {
		log.Error("sidecar stopped", "err", err)
		return exitFailed
	}
	return exitOK
}

// parseFlags reports stop where there is nothing to run: wrong usage, --help or
// --version.
func parseFlags(args []string, stdout, stderr io.Writer) (f flags, code int, stop bool) {
	app := kingpin.New("sreguard", "Guard a service from beside it.")
	app.UsageWriter(stdout).ErrorWriter(stderr)
	app.Terminate(func(status int) { code, stop = status, true })
	app.Version(version.Print("sreguard"))
	app.HelpFlag.Short('h')
	app.Flag("config.file", "Configuration file of the guard.").Required().StringVar(&f.config)
	app.Flag("listen", "Address for the service's callers.").Default(":8080").StringVar(&f.listen)
	app.Flag("upstream", "URL of the service.").Required().URLVar(&f.upstream)
	app.Flag("control.listen", "Address for directives, metrics and health; keep callers away from it.").Default("127.0.0.1:9901").StringVar(&f.control)
	app.Flag("drain.timeout", "How long requests under way may take after SIGTERM.").Default("30s").DurationVar(&f.drain)
	_, err := app.Parse(args)
	if stop {
		return f, code, true
	}
	if err == nil && (f.upstream.Host == "" || f.upstream.Scheme != "http" && f.upstream.Scheme != "https") {
		err = fmt.Errorf("--upstream is %q; allowed: http://host:port or https://host:port", f.upstream)
	}
	if err != nil {
		_, _ = fmt.Fprintf(stderr, "sreguard: %v\n", err)
		return f, exitUsage, true
	}
	return f, exitOK, false
}

// serve listens until ctx is done, then drains: callers first, so that
// directives and metrics work to the end.
func serve(ctx context.Context, f flags, cfg guard.Config, log *slog.Logger, ready func(addresses)) error {
	reg := prometheus.NewRegistry()
	reg.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	g, err := guard.New(cfg, guard.WithRegisterer(reg), guard.WithLogger(log))
	if err != nil {
		return err
	}
	defer g.Close()
	var lc net.ListenConfig
	front, err := lc.Listen(ctx, "tcp", f.listen)
	if err != nil {
		return fmt.Errorf("listen for callers: %w", err)
	}
	back, err := lc.Listen(ctx, "tcp", f.control)
	if err != nil {
		return errors.Join(fmt.Errorf("listen for control: %w", err), front.Close())
	}
	proxy := &http.Server{Handler: guard.NewProxy(g, f.upstream), ReadHeaderTimeout: 10 * time.Second}
	control := &http.Server{Handler: controlHandler(g, reg), ReadHeaderTimeout: 10 * time.Second, ReadTimeout: 10 * time.Second}
	ended := make(chan error, 2)
	go func() { ended <- proxy.Serve(front) }()
	go func() { ended <- control.Serve(back) }()
	log.Info("sidecar ready", "listen", front.Addr(), "control", back.Addr(), "service", cfg.Service)
	if ready != nil {
		ready(addresses{front.Addr(), back.Addr()})
	}
	running := 2
	var broken error
	select {
	case <-ctx.Done():
	case broken = <-ended:
		running--
	}
	log.Info("draining")
	limit, cancel := context.WithTimeout(context.WithoutCancel(ctx), f.drain)
	defer cancel()
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

func controlHandler(g *guard.Guard, reg *prometheus.Registry) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/guard/v1/", g.Control())
	mux.Handle("GET /metrics", promhttp.HandlerFor(reg, promhttp.HandlerOpts{}))
	mux.HandleFunc("GET /-/healthy", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "guard is healthy\n")
	})
	return mux
}
