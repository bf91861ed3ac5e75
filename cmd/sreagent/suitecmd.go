package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"runtime"

	"github.com/alecthomas/kingpin/v2"

	"github.com/sreagent/sreagent/replay/report"
	"github.com/sreagent/sreagent/replay/scenario"
	"github.com/sreagent/sreagent/replay/suite"
)

type suiteFlags struct {
	run, config, output string
	drawn               int
	seed                uint64
	jobs                int
	html                string
}

func registerSuite(parent *kingpin.CmdClause, commands map[string]command) {
	cmd := parent.Command("suite", "Play the shipped scenarios without the agent, with a static policy and with the agent, and compare.")
	var f suiteFlags
	cmd.Flag("run", "Only scenarios whose name matches this regular expression.").StringVar(&f.run)
	cmd.Flag("generated", "Play that many stories drawn from --seed instead of the shipped ones.").IntVar(&f.drawn)
	cmd.Flag("seed", "With --generated: seed of the stories.").Default("1").Uint64Var(&f.seed)
	cmd.Flag("config", "Configuration whose policy, runbooks and detection are used instead of the suite's.").StringVar(&f.config)
	cmd.Flag("html", "Write a page to this file.").StringVar(&f.html)
	cmd.Flag("jobs", "Stories played at once; 0 is one per core.").IntVar(&f.jobs)
	cmd.Flag("output", "text or json.").Short('o').Default("text").EnumVar(&f.output, "text", "json")
	commands[cmd.FullCommand()] = safely(func(ctx context.Context, std streams) error { return runSuite(ctx, std, f) })

	draw := parent.Command("draw", "Print one story that scenario suite --generated plays, to look at or to repeat.")
	seed := draw.Arg("seed", "Seed of the stories.").Required().Uint64()
	number := draw.Arg("number", "Which of them, from 0.").Required().Int()
	commands[draw.FullCommand()] = func(_ context.Context, std streams) error {
		text, err := suite.Draw(*seed, *number)
		if err != nil {
			return err
		}
		_, err = fmt.Fprint(std.out, text)
		return err
	}
}

func runSuite(ctx context.Context, std streams, f suiteFlags) error {
	stories, err := suiteStories(f)
	if err != nil {
		return err
	}
	if err := writable(f.html); err != nil { // known before minutes have passed
		return failed(err)
	}
	o := suite.Options{Jobs: f.jobs}
	if f.jobs <= 0 {
		o.Jobs = runtime.NumCPU()
	}
	if f.config != "" {
		cfg, err := loadConfig(f.config)
		if err != nil {
			return failed(err)
		}
		o.Config = agentConfig(cfg)
	}
	step, done := watchedMeter(std.err, "suite", len(stories)*len(suite.Arms()))
	o.Done = step
	played, err := suite.Play(ctx, stories, o)
	done()
	switch {
	case errors.Is(err, context.Canceled):
		return failed(errors.New("stopped"))
	case err != nil:
		return failed(err)
	}
	if f.html != "" {
		if err := writeFile(f.html, func(w io.Writer) error { return report.Suite(w, played, f.command()) }); err != nil {
			return failed(err)
		}
	}
	if f.output == "json" {
		enc := json.NewEncoder(std.out)
		enc.SetIndent("", "  ")
		return enc.Encode(played)
	}
	return played.WriteText(std.out)
}

func suiteStories(f suiteFlags) ([]*scenario.Scenario, error) {
	only, err := regexp.Compile(f.run)
	if err != nil {
		return nil, fmt.Errorf("--run: %w", err)
	}
	if f.drawn < 0 || f.drawn > 100_000 {
		return nil, fmt.Errorf("--generated is %d, want 0 to 100000", f.drawn)
	}
	if f.drawn > 0 {
		return suite.Generate(f.drawn, f.seed)
	}
	var out []*scenario.Scenario
	for _, name := range scenario.Names() {
		if !only.MatchString(name) {
			continue
		}
		s, err := scenario.Load(name)
		if err != nil {
			return nil, err
		}
		out = append(out, s)
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("no scenario is called like %q; sreagent scenario list names them", f.run)
	}
	return out, nil
}

// command is what plays the same stories again.
func (f suiteFlags) command() string {
	out := "sreagent scenario suite"
	if f.run != "" {
		out += " --run '" + f.run + "'"
	}
	if f.drawn > 0 {
		out += fmt.Sprintf(" --generated %d --seed %d", f.drawn, f.seed)
	}
	if f.config != "" {
		out += " --config " + f.config
	}
	return out
}
