package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/url"
	"os"
	"time"

	"github.com/alecthomas/kingpin/v2"
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
	check    string
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
// was under way has been drained. It reads its configuration again whenever
// reload says so, and calls ready once both listeners are open.
func run(ctx context.Context, args []string, stdout, stderr io.Writer, reload <-chan os.Signal, ready func(addresses)) int {
	f, code, stop := parseFlags(args, stdout, stderr)
	if stop {
		return code
	}
	if f.check != "" {
		return check(f.check, stdout, stderr)
	}
	log := slog.New(slog.NewTextHandler(stderr, nil))
	cfg, err := loadConfig(f.config)
	if err != nil {
		_, _ = fmt.Fprintln(stderr, err)
		return exitUsage
	}
	if f.upstream == nil && len(cfg.Upstreams[guard.ProxyCallee].Backends) == 0 {
		_, _ = fmt.Fprintln(stderr, "sreguard: nothing to forward to; allowed: --upstream, or backends of the callee upstream in the configuration")
		return exitUsage
	}
	s := sidecar{flags: f, cfg: cfg, log: log, reload: reload, ready: ready}
	if err := s.serve(ctx); err != nil {
		log.Error("sidecar stopped", "err", err)
		return exitFailed
	}
	return exitOK
}

// check reads a configuration file, and those that it names but no other, and
// says what is wrong with it.
func check(path string, stdout, stderr io.Writer) int {
	cfg, err := loadConfig(path)
	if err == nil {
		_, err = cfg.TLS.Server()
	}
	if err == nil {
		var g *guard.Guard
		cfg.StateFile = "" // that file is not the configuration's
		shared, store, failed := sharedLimits(cfg, nil, slog.New(slog.DiscardHandler))
		if err = failed; err == nil {
			if g, err = guard.New(cfg, shared...); err == nil {
				g.Close()
			}
			err = errors.Join(err, store.Close())
		}
	}
	if err != nil {
		_, _ = fmt.Fprintln(stderr, err)
		return exitUsage
	}
	_, _ = fmt.Fprintf(stdout, "%s: ok\n", path)
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
	app.Flag("config.file", "Configuration file of the guard; SIGHUP reads it again.").StringVar(&f.config)
	app.Flag("check", "Check this configuration file, say what is wrong with it, and exit.").StringVar(&f.check)
	app.Flag("listen", "Address for the service's callers.").Default(":8080").StringVar(&f.listen)
	app.Flag("upstream", "URL of the service, where the configuration names no backends.").URLVar(&f.upstream)
	app.Flag("control.listen", "Address for directives, metrics and health; keep callers away from it.").Default("127.0.0.1:9901").StringVar(&f.control)
	app.Flag("drain.timeout", "How long requests under way may take after SIGTERM.").Default("30s").DurationVar(&f.drain)
	_, err := app.Parse(args)
	switch {
	case stop:
		return f, code, true
	case err != nil || f.check != "":
	case f.config == "":
		err = errors.New("required flag --config.file not provided")
	case f.upstream != nil && (f.upstream.Host == "" || f.upstream.Scheme != "http" && f.upstream.Scheme != "https"):
		err = fmt.Errorf("--upstream is %q; allowed: http://host:port or https://host:port", f.upstream)
	}
	if err != nil {
		_, _ = fmt.Fprintf(stderr, "sreguard: %v\n", err)
		return f, exitUsage, true
	}
	return f, exitOK, false
}
