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
	registerSuite(cmd, commands)

	list := cmd.Command("list", "List the shipped scenarios.")
	commands[list.FullCommand()] = func(_ context.Context, std streams) error { return listScenarios(std.out) }

	show := cmd.Command("show", "Print a shipped scenario, to copy from.")
	showName := show.Arg("name", "Name of a shipped scenario.").Required().String()
	commands[show.FullCommand()] = safely(func(_ context.Context, std streams) error {
		text, _, err := readScenario(*showName)
		if err != nil {
			return failed(err)
		}
		_, err = std.out.Write(text)
		return err
	})

	run := cmd.Command("run", "Run a scenario, with the agent or without, and say what came of it.")
	var f scenarioFlags
	run.Arg("file", "Scenario file, or the name of a shipped one.").Required().StringVar(&f.name)
	run.Flag("agent", "on or off.").Default("on").EnumVar(&f.agent, "on", "off")
	run.Flag("config", "Configuration whose policy, runbooks and detection are used instead of the scenario's.").StringVar(&f.config)
	run.Flag("seed", "Seed of the world, instead of the scenario's.").Uint64Var(&f.seed)
	output := run.Flag("output", "text or json.").Short('o').Default("text").Enum("text", "json")
	run.Flag("html", "Write a report to this file.").StringVar(&f.html)
	run.Flag("record", "Write the run as a recorded incident: a new folder, or a name that ends in .tar.zst.").StringVar(&f.record)
	commands[run.FullCommand()] = safely(func(ctx context.Context, std streams) error {
		f.json = *output == "json"
		return runScenario(ctx, std, f)
	})
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
	text, err = readText(name)
	if err == nil {
		return text, name, nil
	}
	if !errors.Is(err, fs.ErrNotExist) || strings.ContainsRune(name, filepath.Separator) {
		return nil, "", fmt.Errorf("read scenario: %w", err)
	}
	return shippedScenario(name)
}

func shippedScenario(name string) (text []byte, path string, err error) {
	path = strings.TrimSuffix(name, scenarioEnding) + scenarioEnding
	text, err = fs.ReadFile(scenario.Library(), path)
	if err != nil {
		return nil, "", fmt.Errorf("%s is neither a file nor a shipped scenario; sreagent scenario list names those", name)
	}
	return text, path, nil
}

const longestScenario = 1 << 20 // bytes

// readText reads a file that people write. It may be a pipe, but not one without
// end.
func readText(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	text, err := io.ReadAll(io.LimitReader(f, longestScenario+1))
	if err == nil && len(text) > longestScenario {
		err = fmt.Errorf("%s is larger than %d bytes", name, longestScenario)
	}
	return text, errors.Join(err, f.Close())
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
	if err := errors.Join(writable(f.html), creatable(f.record)); err != nil {
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
	told := scenario.Transcript(result)
	if f.json {
		if told, err = result.JSON(); err != nil {
			return err
		}
	}
	if _, err := std.out.Write(told); err != nil {
		return failed(err)
	}
	if f.html != "" {
		if err := reportScenario(ctx, s, f, string(text), recorder, result); err != nil {
			return failed(err)
		}
	}
	if len(result.Failures) > 0 {
		return failed(fmt.Errorf("%s: %d expectations do not hold:\n  %s", path, len(result.Failures), strings.Join(result.Failures, "\n  ")))
	}
	return nil
}

// reportScenario writes the page of a run, beside one without the agent.
func reportScenario(ctx context.Context, s *scenario.Scenario, f scenarioFlags, text string, recorder *report.Recorder, result *scenario.Result) error {
	page := report.ScenarioReport{Title: s.Title, Text: text, Series: recorder.Choose(result.Records)}
	if result.Agent == "on" {
		page.On = result
		var err error
		if page.Off, err = s.Run(ctx, scenario.Options{Seed: f.seed, Judge: scenario.JudgeNot}); err != nil {
			return fmt.Errorf("%s without the agent: %w", f.name, err)
		}
	} else {
		page.Off = result
	}
	return writeFile(f.html, func(w io.Writer) error { return report.Scenario(w, page) })
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

// creatable reports early what would keep a bundle from being written after a
// long run: its name is taken, or has nowhere to be. No name is no bundle.
func creatable(path string) error {
	if path == "" {
		return nil
	}
	if other := otherArchive(path); other != "" {
		return fmt.Errorf("%s: a %s is read but not written; allowed: a new folder, or a name that ends in %s", path, other, archiveSuffix)
	}
	if taken, err := outTaken(path); err != nil {
		return err
	} else if taken {
		return fmt.Errorf("%s exists already", path)
	}
	if strings.HasSuffix(path, archiveSuffix) {
		return writable(path)
	}
	return writable(filepath.Join(filepath.Dir(filepath.Clean(path)), bundle.IncidentFile))
}

// otherArchive returns the ending of an archive that no bundle is written as.
func otherArchive(path string) string {
	for _, end := range archiveEndings {
		if end != archiveSuffix && strings.HasSuffix(path, end) {
			return end
		}
	}
	return ""
}

// writeNewBundle writes a bundle as an archive, or as a folder that must be new
// or empty: whole or not at all.
func writeNewBundle(path string, b *bundle.Bundle, metrics io.WriterTo) error {
	if strings.HasSuffix(path, archiveSuffix) {
		return writeFile(path, func(w io.Writer) error { return bundle.WriteArchive(w, b, metrics) })
	}
	path = filepath.Clean(path)
	dir, err := os.MkdirTemp(filepath.Dir(path), ".sreagent-*")
	if err != nil {
		return err
	}
	err = bundle.Writer{Sink: durable{dir}, Packing: bundle.Zstd}.Write(b, metrics)
	err = errors.Join(err, os.Chmod(dir, 0o755)) //nolint:gosec // a recording is for everybody who may read its parent
	if err == nil {
		if err = os.Remove(path); errors.Is(err, fs.ErrNotExist) {
			err = nil
		}
	}
	if err == nil {
		err = os.Rename(dir, path)
	}
	if err != nil {
		return errors.Join(err, os.RemoveAll(dir))
	}
	return nil
}
