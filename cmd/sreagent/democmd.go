package main

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/template"

	"github.com/alecthomas/kingpin/v2"
	"github.com/prometheus/common/promslog"

	"github.com/sreagent/sreagent/audit"
	"github.com/sreagent/sreagent/demo"
	"github.com/sreagent/sreagent/sre"
)

// demoConfig is the agent's configuration in the demo: a plain file, read as
// any other. Its times are short because the demo ticks every second.
var demoConfig = template.Must(template.New("sreagent.yaml").Parse(`interval: 1s
prometheus:
  url: {{.PrometheusURL}}
  warm_up: 5m
  warm_up_step: 1s
signals:
  preset: guard
  window: 5s
topology:
  file: topology.yaml
detection:
  anomaly: {latency_rise: 1}  # the work is timers, and a busy machine stutters
policy:
  mode: act
  evidence_max_age: 15s
  in_force: {percent: 60, number: 5}
  arbitration: {touched: {percent: 60, number: 5}}
  timing: {suspect_for: 2s, subside_after: 20s, close_after: 10s, escalated_for: 10m, lever_timeout: 800ms}
remediators:
  state_dir: levers
  guard:
    token_file: guard.token
    targets:{{range .Targets}}
      - {service: {{.Service}}, url: {{.URL}}}{{end}}
audit:
  dir: audit
`))

func registerDemo(app *kingpin.Application, commands map[string]command) {
	cmd := app.Command("demo", "Run a small shop into a metastable failure, first without the agent, then with it.")
	yes := cmd.Flag("yes", "Approve what the agent asks.").Bool()
	headless := cmd.Flag("headless", "Plain lines, no terminal view.").Bool()
	output := cmd.Flag("output", "text or json.").Short('o').Default("text").Enum("text", "json")
	keep := cmd.Flag("keep", "Keep the agent's files, its audit trail among them, in this folder.").String()
	verbose := cmd.Flag("verbose", "Show the agent's log.").Short('v').Bool()
	commands[cmd.FullCommand()] = func(ctx context.Context, std streams) error {
		log := slog.New(slog.DiscardHandler)
		if *verbose {
			log = promslog.New(&promslog.Config{Writer: std.err})
		}
		_, err := demo.Run(ctx, demo.Options{
			Out: std.out, In: std.in, Progress: std.err, Yes: *yes, Headless: *headless, JSON: *output == "json",
			Width: func() int { return width(std.out) }, Logger: log,
			StartAgent: func(ctx context.Context, env demo.AgentEnv) (demo.Agent, error) {
				if *keep != "" {
					env.Dir = *keep
				}
				return startDemoAgent(ctx, env, log)
			},
		})
		if errors.Is(err, context.Canceled) {
			return failed(errors.New("stopped"))
		}
		if err != nil {
			return failed(err)
		}
		return nil
	}
}

// demoAgent is the daemon, wired as `sreagent run` wires it.
type demoAgent struct {
	process *process
	d       daemon
	dir     string
}

func startDemoAgent(ctx context.Context, env demo.AgentEnv, log *slog.Logger) (demo.Agent, error) {
	path, err := writeDemoConfig(env)
	if err != nil {
		return nil, err
	}
	cfg, err := loadConfig(path)
	if err != nil {
		return nil, err
	}
	a := &demoAgent{dir: cfg.Audit.Dir}
	set := settings{configFile: path, listen: []string{"127.0.0.1:0"}}
	a.process = assemble(set, cfg, log, &a.d)
	if err := a.process.Start(ctx); err != nil {
		return nil, err
	}
	return a, nil
}

// writeDemoConfig writes the files of a deployment: configuration, topology and
// the guards' token.
func writeDemoConfig(env demo.AgentEnv) (string, error) {
	if err := os.MkdirAll(env.Dir, 0o700); err != nil {
		return "", err
	}
	type target struct{ Service, URL string }
	data := struct {
		PrometheusURL string
		Targets       []target
	}{PrometheusURL: env.PrometheusURL}
	for _, name := range slices.Sorted(maps.Keys(env.Guards)) {
		data.Targets = append(data.Targets, target{name, env.Guards[name]})
	}
	var text strings.Builder
	if err := demoConfig.Execute(&text, data); err != nil {
		return "", err
	}
	for name, content := range map[string][]byte{
		"sreagent.yaml": []byte(text.String()), "topology.yaml": env.Topology, "guard.token": []byte(env.Token + "\n"),
	} {
		if err := os.WriteFile(filepath.Join(env.Dir, name), content, 0o600); err != nil {
			return "", err
		}
	}
	return filepath.Join(env.Dir, "sreagent.yaml"), nil
}

func (a *demoAgent) View() *sre.View { return a.d.Desk.View() }

func (a *demoAgent) Submit(ctx context.Context, in sre.Input) (sre.Answer, error) {
	return a.d.Desk.Submit(ctx, in)
}

func (a *demoAgent) Stop(ctx context.Context) error { return a.process.Stop(ctx) }

func (a *demoAgent) VerifyAudit(context.Context) (bool, error) {
	report, err := audit.Verify(a.dir, "")
	if err != nil {
		return false, err
	}
	return report.OK(), nil
}
