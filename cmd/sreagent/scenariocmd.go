package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/alecthomas/kingpin/v2"

	"github.com/sreagent/sreagent/replay"
	"github.com/sreagent/sreagent/replay/bundle"
	"github.com/sreagent/sreagent/replay/report"
	"github.com/sreagent/sreagent/replay/scenario"
)

type scenarioFlags struct {
	name, agent, config, html string
	record                    string
	seed                      uint64
	json                      bool
}

func registerScenario(app *kingpin.Application, commands map[string]command) {
	cmd := app.Command("scenario", "Rehearse failures in a simulated world.")

	list := cmd.Command("list", "List the shipped scenarios.")
	commands[list.FullCommand()] = func(_ context.Context, std streams) error { return listScenarios(std.out) }

	show := cmd.Command("show", "Print a shipped scenario, to copy from.")
	showName := show.Arg("name", "Name of a shipped scenario.").Required().String()
	commands[show.FullCommand()] = func(_ context.Context, std streams) error {
		text, _, err := readScenario(*showName)
		if err != nil {
			return failed(err)
		}
		_, err = std.out.Write(text)
		return err
	}

	run := cmd.Command("run", "Run a scenario, with the agent or without, and say what came of it.")
	var f scenarioFlags
	run.Arg("file", "Scenario file, or the name of a shipped one.").Required().StringVar(&f.name)
	run.Flag("agent", "on or off.").Default("on").EnumVar(&f.agent, "on", "off")
	run.Flag("config", "Configuration whose policy, runbooks and detection are used instead of the scenario's.").StringVar(&f.config)
	run.Flag("seed", "Seed of the world, instead of the scenario's.").Uint64Var(&f.seed)
	output := run.Flag("output", "text or json.").Short('o').Default("text").Enum("text", "json")
	run.Flag("html", "Write a report to this file.").StringVar(&f.html)
	run.Flag("record", "Write the run as a recorded incident: a new folder, or a name that ends in .tar.zst.").StringVar(&f.record)
	commands[run.FullCommand()] = func(ctx context.Context, std streams) error {
		f.json = *output == "json"
		return runScenario(ctx, std, f)
	}
}

const scenarioEnding = ".scenario"

func listScenarios(w io.Writer) error {
	for _, name := range scenario.Names() {
		s, err := scenario.Load(name)
		if err != nil {
			return err
		}
		if _, err := fmt.Fprintf(w, "%-34s %s\n", name, s.Title); err != nil {
			return err
		}
	}
	return nil
}

// readScenario reads a file, or a shipped scenario where no file has the name.
func readScenario(name string) (text []byte, path string, err error) {
	text, err = os.ReadFile(name)
	if err == nil {
		return text, name, nil
	}
	if !errors.Is(err, fs.ErrNotExist) || strings.ContainsRune(name, filepath.Separator) {
		return nil, "", fmt.Errorf("read scenario: %w", err)
	}
	shipped := strings.TrimSuffix(name, scenarioEnding) + scenarioEnding
	text, err = fs.ReadFile(scenario.Library(), shipped)
	if err != nil {
		return nil, "", fmt.Errorf("%s is neither a file nor a shipped scenario; sreagent scenario list names those", name)
	}
	return text, shipped, nil
}

func runScenario(ctx context.Context, std streams, f scenarioFlags) error {
	text, path, err := readScenario(f.name)
	if err != nil {
		return failed(err)
	}
	s, err := scenario.Parse(path, text)
	if err != nil {
		return failed(err)
	}
	o := scenario.Options{Seed: f.seed}
	if f.config != "" {
		cfg, err := loadConfig(f.config)
		if err != nil {
			return failed(err)
		}
		o.Config = agentConfig(cfg)
	}
	recorder := &report.Recorder{}
	result, err := playScenario(ctx, std, s, f, o, recorder)
	switch {
	case errors.Is(err, context.Canceled):
		return failed(errors.New("stopped"))
	case err != nil:
		return failed(fmt.Errorf("%s: %w", path, err))
	}
	if f.html != "" {
		page := report.ScenarioReport{Title: s.Title, Text: string(text), Series: recorder.Choose(result.Records)}
		if result.Agent == "on" {
			page.On = result
			if page.Off, err = s.Run(ctx, scenario.Options{Seed: f.seed, Judge: scenario.JudgeNot}); err != nil {
				return failed(fmt.Errorf("%s without the agent: %w", path, err))
			}
		} else {
			page.Off = result
		}
		if err := writeFile(f.html, func(w io.Writer) error { return report.Scenario(w, page) }); err != nil {
			return failed(err)
		}
	}
	told := scenario.Transcript(result)
	if f.json {
		if told, err = result.JSON(); err != nil {
			return err
		}
	}
	if _, err := std.out.Write(told); err != nil {
		return err
	}
	if len(result.Failures) > 0 {
		return failed(fmt.Errorf("%s: %d expectations do not hold:\n  %s", path, len(result.Failures), strings.Join(result.Failures, "\n  ")))
	}
	return nil
}

// playScenario runs one arm, and records it where that was asked for.
func playScenario(ctx context.Context, std streams, s *scenario.Scenario, f scenarioFlags, o scenario.Options, recorder *report.Recorder) (*scenario.Result, error) {
	o.Agent = f.agent == "on"
	step, done := watchedMeter(std.err, "scenario", int(s.Length/s.Tick)+1)
	defer done()
	o.Watch = func(t replay.Tick) error {
		step()
		return recorder.Watch(t)
	}
	if f.record == "" {
		return s.Run(ctx, o)
	}
	samples := bundle.NewMetricsWriter()
	b, result, err := s.Record(ctx, o, samples.Add)
	if err != nil {
		return result, err
	}
	return result, writeNewBundle(f.record, b, samples)
}

// writeNewBundle writes a bundle as an archive, or into a folder that must be
// new or empty.
func writeNewBundle(path string, b *bundle.Bundle, metrics io.WriterTo) error {
	if strings.HasSuffix(path, ".tar.zst") {
		return writeFile(path, func(w io.Writer) error { return bundle.WriteArchive(w, b, metrics) })
	}
	if err := os.Mkdir(path, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	if there, err := os.ReadDir(path); err != nil {
		return err
	} else if len(there) > 0 {
		return fmt.Errorf("%s: the folder is not empty", path)
	}
	return bundle.Writer{Sink: durable{path}, Packing: bundle.Zstd}.Write(b, metrics)
}
