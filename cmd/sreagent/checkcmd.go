package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/alecthomas/kingpin/v2"
	"github.com/prometheus/exporter-toolkit/web"

	"github.com/sreagent/sreagent/oncall"
	"github.com/sreagent/sreagent/sources"
)

func registerCheck(app *kingpin.Application, commands map[string]command) {
	check := app.Command("check", "Check files before they are used.")

	config := check.Command("config", "Check a configuration file and everything that it names.")
	configFile := config.Arg("file", "Configuration file.").Required().String()
	commands[config.FullCommand()] = func(_ context.Context, std streams) error {
		cfg, err := loadConfig(*configFile)
		if err != nil {
			return failed(err)
		}
		if err := checkNamed(cfg); err != nil {
			return failed(err)
		}
		_, err = fmt.Fprintf(std.out, "%s: good; mode %s, %d runbooks\n", *configFile, cfg.Policy.Mode, cfg.library.Len())
		return err
	}

	registerCheckRunbooks(check, commands)

	recorded := check.Command("bundle", "Check a recorded incident, every file and sample of it.")
	bundlePath := recorded.Arg("bundle", "Folder or archive of the recording.").Required().String()
	bundleOutput := recorded.Flag("output", "text or json.").Short('o').Default("text").Enum("text", "json")
	commands[recorded.FullCommand()] = safely(func(ctx context.Context, std streams) error {
		return checkBundle(ctx, std, *bundlePath, *bundleOutput == "json")
	})

	topology := check.Command("topology", "Check topology files, or those of bundles: mistakes, callers that give up before their callees can answer, circles, services that no entry leads to.")
	topologyFiles := topology.Arg("file", "Topology file, or folder or archive of a recording.").Required().Strings()
	topologyStrict := topology.Flag("strict", "Exit 1 on timeout inversions.").Bool()
	topologyOutput := topology.Flag("output", "text or json.").Short('o').Default("text").Enum("text", "json")
	commands[topology.FullCommand()] = safely(func(_ context.Context, std streams) error {
		return checkTopology(std, *topologyFiles, *topologyStrict, *topologyOutput == "json")
	})

	webConfig := check.Command("web-config", "Check a file with TLS and basic authentication of the API.")
	webFile := webConfig.Arg("file", "Web configuration file.").Required().String()
	commands[webConfig.FullCommand()] = func(_ context.Context, std streams) error {
		if err := web.Validate(*webFile); err != nil {
			return failed(fmt.Errorf("%s: %w", *webFile, err))
		}
		_, err := fmt.Fprintf(std.out, "%s: good\n", *webFile)
		return err
	}

	tokens := check.Command("tokens", "Check a file of API tokens.")
	tokensFile := tokens.Arg("file", "Tokens file.").Required().String()
	commands[tokens.FullCommand()] = func(_ context.Context, std streams) error {
		t, err := readTokens(*tokensFile)
		if err != nil {
			return failed(err)
		}
		_, err = fmt.Fprintf(std.out, "%s: good, %d tokens\n", *tokensFile, t.Len())
		return err
	}
}

// checkNamed reads every file that a configuration names, as the daemon will,
// and reports all that is wrong. Nothing is asked over the network.
func checkNamed(cfg *loaded) error {
	_, tokens := readTokens(cfg.Oncall.TokensFile)
	_, pager := oncall.NewPager(cfg.Oncall, oncall.PagerOptions{})
	source, seeing := sources.New(cfg.Config, sources.Options{Now: time.Now, Interval: time.Duration(cfg.Interval)})
	if seeing == nil {
		source.Close()
	}
	var guard error
	if file := cfg.Remediators.Guard.TokenFile; file != "" {
		if _, err := os.ReadFile(file); err != nil {
			guard = fmt.Errorf("remediators.guard.token_file: %w", err)
		}
	}
	return errors.Join(seeing, guard, checkPluginFiles(cfg.Plugins), tokens, pager)
}
