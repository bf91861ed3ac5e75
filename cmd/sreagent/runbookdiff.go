package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime"

	"github.com/alecthomas/kingpin/v2"

	"github.com/sreagent/sreagent/agent/control"
	"github.com/sreagent/sreagent/replay/backtest"
	"github.com/sreagent/sreagent/runbooks"
)

// shippedWord stands for the shipped library where a file or folder may stand.
const shippedWord = "shipped"

type diffFlags struct {
	old, new string
	back     backtestFlags
	exitCode bool
}

func registerRunbookDiff(books *kingpin.CmdClause, commands map[string]command) {
	cmd := books.Command("diff", "Back-test two versions of runbooks over recorded incidents, and list each decision that would have changed.")
	var f diffFlags
	cmd.Arg("old", `"shipped", a folder that is a whole library, or a file that takes the place of the shipped runbook of its name.`).Required().StringVar(&f.old)
	cmd.Arg("new", "The same for the other version.").Required().StringVar(&f.new)
	cmd.Arg("dir", "Bundles, or folders with bundles in them.").Required().StringsVar(&f.back.dirs)
	cmd.Flag("config", "Configuration whose policy and detection are used; without one the defaults, with mode act.").StringVar(&f.back.config)
	cmd.Flag("jobs", "Bundles at once; 0, and what is more, is the number of processors.").Default("0").IntVar(&f.back.jobs)
	cmd.Flag("exit-code", "Exit with 1 where a decision differs.").BoolVar(&f.exitCode)
	output := cmd.Flag("output", "text or json.").Short('o').Default("text").Enum("text", "json")
	commands[cmd.FullCommand()] = safely(func(ctx context.Context, std streams) error {
		f.back.json = *output == "json"
		return diffRunbooks(ctx, std, f)
	})
}

func diffRunbooks(ctx context.Context, std streams, f diffFlags) error {
	if n := runtime.GOMAXPROCS(0); f.back.jobs <= 0 || f.back.jobs > n {
		f.back.jobs = n
	}
	corpus, err := f.back.corpus()
	if err != nil {
		return err
	}
	var versions [2]*loaded
	for i, which := range []string{f.old, f.new} {
		if versions[i], err = rehearsalConfig(f.back.config); err != nil {
			return failed(err)
		}
		if versions[i].library, err = libraryOf(which); err != nil {
			return failed(err)
		}
	}
	var results [2]*backtest.Result
	for i, cfg := range versions {
		if results[i], _, err = backtestWith(ctx, std, f.back, cfg, "", corpus); err != nil {
			return err
		}
		if results[i].Partial {
			return failed(errors.New("stopped: nothing can be compared"))
		}
	}
	c := backtest.Compare(results[0], results[1]).Decisions()
	if err := tellDiff(std, f, results, c); err != nil {
		return failed(err)
	}
	if f.exitCode && len(c.Differences) > 0 {
		return failed(fmt.Errorf("the two decide differently in %s", count(len(results[0].Bundles)-c.Equal, "recording")))
	}
	return nil
}

func tellDiff(std streams, f diffFlags, results [2]*backtest.Result, c *backtest.Comparison) error {
	broken := 0
	for _, b := range results[0].Bundles {
		if b.Error != "" {
			broken++
			_, _ = fmt.Fprintln(std.err, safe(fmt.Sprintf("sreagent: %s: %s", b.ID, b.Error)))
		}
	}
	var err error
	if f.back.json {
		enc := json.NewEncoder(std.out)
		enc.SetIndent("", "  ")
		enc.SetEscapeHTML(false)
		err = enc.Encode(struct {
			Old         string                `json:"old"`
			New         string                `json:"new"`
			Recordings  int                   `json:"recordings"`
			OldMade     int                   `json:"old_decisions"`
			NewMade     int                   `json:"new_decisions"`
			Differences []backtest.Difference `json:"differences"`
			Equal       int                   `json:"equal"` // recordings without a difference
		}{f.old, f.new, len(results[0].Bundles), results[0].Made(), results[1].Made(), c.Differences, c.Equal})
	} else {
		err = backtest.WriteDecisions(std.out, results[0], results[1], c)
	}
	if err == nil && broken > 0 {
		return fmt.Errorf("%d of %d bundles could not be used", broken, len(results[0].Bundles))
	}
	return err
}

// libraryOf reads a version of runbooks.
func libraryOf(which string) (*runbooks.Library, error) {
	if which == shippedWord {
		return loadRunbooks(runbooksConfig{Shipped: true})
	}
	info, err := os.Stat(which)
	switch {
	case err != nil:
		return nil, fmt.Errorf("%s: %w; allowed: %s, a file or a folder", which, errors.Unwrap(err), shippedWord)
	case info.IsDir():
		return loadRunbooks(runbooksConfig{Dir: which})
	}
	content, err := os.ReadFile(which)
	if err != nil {
		return nil, err
	}
	one := runbooks.Text{File: which, Content: content}
	alone, err := runbooks.LoadTexts(one)
	if err != nil {
		return nil, err
	}
	own := alone.List()[0].Name
	texts := []runbooks.Text{one}
	shipped, err := fs.ReadDir(runbooks.Shipped(), ".")
	if err != nil {
		return nil, err
	}
	for _, entry := range shipped {
		content, err := fs.ReadFile(runbooks.Shipped(), entry.Name())
		if err != nil {
			return nil, err
		}
		if entry.Name() != own+".yaml" {
			texts = append(texts, runbooks.Text{File: entry.Name(), Content: content})
		}
	}
	library, err := runbooks.LoadTexts(texts...)
	if err != nil {
		return nil, err
	}
	return library, library.CheckLaws(control.Names())
}
