package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/alecthomas/kingpin/v2"
	"github.com/goccy/go-yaml"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
	"github.com/prometheus/common/promslog"
	promslogflag "github.com/prometheus/common/promslog/flag"
	"github.com/prometheus/common/version"
	"github.com/prometheus/exporter-toolkit/web"

	"github.com/sreagent/sreagent/agent"
	"github.com/sreagent/sreagent/audit"
	"github.com/sreagent/sreagent/oncall"
	"github.com/sreagent/sreagent/remediators"
	"github.com/sreagent/sreagent/sre"
)

const defaultListen = "127.0.0.1:9870"

// settings are the flags of the daemon.
type settings struct {
	configFile  string
	listen      []string
	webConfig   string
	routePrefix string
}

func registerRun(app *kingpin.Application, commands map[string]command) {
	cmd := app.Command("run", "Run the agent.")
	var set settings
	logging := &promslog.Config{}
	cmd.Flag("config.file", "Configuration file.").Default("sreagent.yaml").StringVar(&set.configFile)
	cmd.Flag("web.listen-address", "Address of the API; may be given more than once.").Default(defaultListen).StringsVar(&set.listen)
	cmd.Flag("web.config.file", "TLS and basic authentication of the API, in the format of Prometheus' exporter toolkit.").StringVar(&set.webConfig)
	cmd.Flag("web.route-prefix", "Prefix of every path of the API.").StringVar(&set.routePrefix)
	promslogflag.AddFlags(app, logging)
	commands[cmd.FullCommand()] = func(ctx context.Context, std streams) error {
		logging.Writer = std.err
		return runDaemon(ctx, set, promslog.New(logging))
	}
}

// runDaemon runs until ctx is done or a part fails.
func runDaemon(ctx context.Context, set settings, log *slog.Logger) error {
	cfg, err := loadConfig(set.configFile)
	if err != nil {
		return failed(err)
	}
	if err := web.Validate(set.webConfig); err != nil {
		return failed(fmt.Errorf("web configuration %s: %w", set.webConfig, err))
	}
	log.Info("starting", "version", version.Version, "config", set.configFile, "mode", string(cfg.Policy.Mode), "dry_run", cfg.Policy.DryRun)
	var r *reloader
	p := assemble(set, cfg, log, &r)
	if err := p.Start(ctx); err != nil {
		return failed(err)
	}
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)
	defer signal.Stop(hup)
	code := exitOK
	for waiting := true; waiting; {
		select {
		case <-hup:
			_ = r.reload() // logged and counted there
		case s := <-p.Failed():
			code, waiting = s.ExitCode, false
		case <-ctx.Done():
			waiting = false
		}
	}
	log.Info("stopping")
	stop, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if err := p.Stop(stop); err != nil {
		return failed(fmt.Errorf("stop: %w", err))
	}
	if code != exitOK {
		return &failure{code: code, err: errors.New("a part of the agent failed, see the log")}
	}
	return nil
}

// agentConfig is the logic's part of a configuration.
func agentConfig(cfg *loaded) agent.Config {
	return agent.Config{
		Version: version.Version, Digest: cfg.digest, Interval: time.Duration(cfg.Interval),
		Policy: cfg.Policy.Policy, Timing: cfg.Policy.Timing.timing(),
		Detection: cfg.Detection.Config, Diagnosis: cfg.Detection.Diagnosis,
		Learner: cfg.Runbooks.Confidence, Runbooks: cfg.library,
		Switches: cfg.Remediators.KillSwitches.Switches(),
		WarmUp:   time.Duration(cfg.Prometheus.WarmUp), WarmUpStep: time.Duration(cfg.Prometheus.WarmUpStep),
	}
}

func versionInfo() oncall.VersionInfo {
	return oncall.VersionInfo{Version: version.Version, Revision: version.GetRevision(), GoVersion: version.GoVersion}
}

// reloader reads the configuration again. Everything that can fail comes
// first; then the running agent takes what it can take between two ticks.
type reloader struct {
	mu      sync.Mutex
	path    string
	started *loaded
	agent   *agent.Agent
	tokens  *tokenBox
	log     *slog.Logger
	success prometheus.Gauge
	at      prometheus.Gauge
}

func newReloader(set settings, cfg *loaded, log *slog.Logger, reg *prometheus.Registry, a *agent.Agent, tokens *tokenBox) *reloader {
	f := promauto.With(reg)
	r := &reloader{
		path: set.configFile, started: cfg, agent: a, tokens: tokens, log: component(log, "reload"),
		success: f.NewGauge(prometheus.GaugeOpts{Name: "sreagent_config_last_reload_successful", Help: "Whether the last attempt to read the configuration succeeded."}),
		at:      f.NewGauge(prometheus.GaugeOpts{Name: "sreagent_config_last_reload_success_timestamp_seconds", Help: "Time of the last successful reading of the configuration."}),
	}
	r.succeeded()
	return r
}

func (r *reloader) succeeded() {
	r.success.Set(1)
	r.at.Set(float64(time.Now().Unix()))
}

// reload reads the file. Policy, timing, runbooks and tokens take effect; the
// other sections need a restart, and the log says so.
func (r *reloader) reload() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	cfg, err := loadConfig(r.path)
	var tokens *oncall.Tokens
	if err == nil {
		tokens, err = readTokens(cfg.Oncall.TokensFile)
	}
	if err != nil {
		r.success.Set(0)
		r.log.Error("configuration not reloaded, the old one holds", "err", err)
		return err
	}
	r.agent.Reconfigure(agentConfig(cfg))
	r.tokens.current.Store(tokens)
	r.succeeded()
	r.log.Info("configuration reloaded", "digest", cfg.digest)
	if sections := cfg.needRestart(r.started); len(sections) > 0 {
		r.log.Warn("configuration changed where only a restart takes it over", "sections", sections)
	}
	return nil
}

// tokenBox holds the tokens in force.
type tokenBox struct {
	current atomic.Pointer[oncall.Tokens]
}

func newTokenBox(cfg *loaded) (*tokenBox, error) {
	tokens, err := readTokens(cfg.Oncall.TokensFile)
	if err != nil {
		return nil, err
	}
	box := &tokenBox{}
	box.current.Store(tokens)
	return box, nil
}

func (b *tokenBox) get() *oncall.Tokens { return b.current.Load() }

func readTokens(path string) (*oncall.Tokens, error) {
	if path == "" {
		return nil, nil //nolint:nilnil // no file means that nobody can authenticate
	}
	tokens, err := oncall.LoadTokens(path)
	var syntax yaml.Error
	if errors.As(err, &syntax) && syntax.GetToken() != nil {
		// The library's own text repeats the lines around the mistake, and one of
		// them may be a token that was pasted.
		at := syntax.GetToken().Position
		return nil, fmt.Errorf("%s:%d:%d: %s", path, at.Line, at.Column, syntax.GetMessage())
	}
	return tokens, err
}

// listeners are the bound sockets of the API.
type listeners struct {
	all     []net.Listener
	closing atomic.Bool
}

// URL is where the first listener answers.
func (b *listeners) URL() string { return "http://" + b.all[0].Addr().String() }

func (b *listeners) close() {
	for _, l := range b.all {
		_ = l.Close()
	}
}

func (b *listeners) serve(server *http.Server, set settings, log *slog.Logger) error {
	flags := &web.FlagConfig{WebListenAddresses: &set.listen, WebConfigFile: &set.webConfig, WebSystemdSocket: new(bool)}
	err := web.ServeMultiple(b.all, server, flags, log)
	if b.closing.Load() || errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

// recordsOf reads one incident's records from the trail on disk.
func recordsOf(ctx context.Context, dir, incident string) ([]sre.Record, error) {
	var out []sre.Record
	for r, err := range audit.ReadDir(dir) {
		if err != nil {
			return nil, err
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if r.IncidentID == incident || r.Incident != nil && r.Incident.MergedInto == incident {
			out = append(out, r)
		}
	}
	return out, nil
}

// manual is the command by which a human undoes an action, where its lever
// knows one.
func manual(l levers, a sre.Action, restore sre.Params) string {
	if s, ok := l.byName[a.Target.Lever].(remediators.Undoer); ok {
		return s.Manual(a, restore)
	}
	return ""
}

// sweepEvery is how often levers without an expiry of their own are asked to
// take back what has lapsed.
const sweepEvery = 5 * time.Second

func registerToken(app *kingpin.Application, commands map[string]command) {
	cmd := app.Command("token", "Make API tokens.").Command("new", "Make a token: prints it once, and the line for the tokens file.")
	name := cmd.Arg("name", "Whose token it is.").Required().String()
	role := cmd.Flag("role", "What it may do: viewer, operator, approver, admin.").Default(string(sre.Viewer)).Enum(string(sre.Viewer), string(sre.Operator), string(sre.Approver), string(sre.Admin))
	output := cmd.Flag("output", "text or json.").Short('o').Default("text").Enum("text", "json")
	commands[cmd.FullCommand()] = func(_ context.Context, std streams) error {
		return printToken(std.out, *name, *role, *output == "json")
	}
}

func printToken(w io.Writer, name, role string, asJSON bool) error {
	token, err := oncall.NewToken(rand.Reader)
	if err != nil {
		return err
	}
	hash, err := oncall.HashToken(rand.Reader, token)
	if err != nil {
		return err
	}
	if asJSON {
		return json.NewEncoder(w).Encode(struct {
			Token string `json:"token"`
			Name  string `json:"name"`
			Role  string `json:"role"`
			Hash  string `json:"hash"`
		}{token, name, role, hash})
	}
	_, err = fmt.Fprintf(w, "# token, shown once: %s\n# line for the tokens file:\n  - {name: %q, role: %s, hash: %q}\n", token, name, role, hash)
	return err
}
