package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/alecthomas/kingpin/v2"

	"github.com/sreagent/sreagent/replay/backtest"
	"github.com/sreagent/sreagent/replay/bundle"
	"github.com/sreagent/sreagent/replay/incidents"
	"github.com/sreagent/sreagent/replay/report"
)

type backtestFlags struct {
	dirs                  []string
	config, compare, html string
	resume                string
	jobs                  int
	json                  bool
	world                 worldFlags
}

func registerBacktest(app *kingpin.Application, commands map[string]command) {
	cmd := app.Command("backtest", "Run the agent over recorded or simulated incidents and score it.")
	var f backtestFlags
	cmd.Arg("dir", "Bundles, or folders with bundles in them.").StringsVar(&f.dirs)
	cmd.Flag("config", "Configuration whose policy, runbooks and detection are used; without one the defaults, with mode act.").StringVar(&f.config)
	cmd.Flag("compare", "A second configuration: show what would have changed.").StringVar(&f.compare)
	cmd.Flag("jobs", "Bundles at once; 0, and what is more, is the number of processors.").Default("0").IntVar(&f.jobs)
	output := cmd.Flag("output", "text or json.").Short('o').Default("text").Enum("text", "json")
	cmd.Flag("html", "Write a report to this file.").StringVar(&f.html)
	cmd.Flag("resume", "File that keeps the results bundle by bundle; a run that was stopped continues from it.").StringVar(&f.resume)
	f.world.register(cmd)
	commands[cmd.FullCommand()] = safely(func(ctx context.Context, std streams) error {
		f.json = *output == "json"
		return backtestCorpus(ctx, std, f)
	})
}

func backtestCorpus(ctx context.Context, std streams, f backtestFlags) error {
	if f.jobs < 0 {
		return fmt.Errorf("--jobs is %d, want 0 or more", f.jobs)
	}
	// More at once than there are processors takes memory only: all of a
	// recording is held while it runs.
	if n := runtime.GOMAXPROCS(0); f.jobs == 0 || f.jobs > n {
		f.jobs = n
	}
	corpus, err := f.corpus()
	if err != nil {
		return err
	}
	// What is wrong with the command shows before the first bundle runs, which
	// may be hours before the last.
	cfg, err := rehearsalConfig(f.config)
	if err = errors.Join(err, writable(f.html), writable(f.resume)); err != nil {
		return failed(err)
	}
	var against *loaded
	if f.compare != "" {
		if against, err = rehearsalConfig(f.compare); err != nil {
			return failed(err)
		}
	}
	result, unkept, err := backtestWith(ctx, std, f, cfg, f.resume, corpus)
	if err != nil {
		return err
	}
	var comparison *backtest.Comparison
	if against != nil && !result.Partial {
		again := f.resume
		if again != "" {
			again += ".compare"
		}
		other, lost, err := backtestWith(ctx, std, f, against, again, corpus)
		if err != nil {
			return err
		}
		unkept = errors.Join(unkept, lost)
		result.Partial = other.Partial
		comparison = backtest.Compare(result, other)
	}
	err = tellBacktest(std, f, result, comparison)
	if unkept != nil {
		err = failed(errors.Join(err, unkept))
	}
	return err
}

// backtestWith runs the bundles with one configuration. What could not be kept
// for a later run is no reason to throw the result away.
func backtestWith(ctx context.Context, std streams, f backtestFlags, cfg *loaded, resume string, corpus corpus) (_ *backtest.Result, unkept, err error) {
	digest := corpus.digest(cfg)
	o := backtest.Options{Jobs: f.jobs, Config: digest}
	keep := func([]backtest.Bundle) error { return nil }
	if resume != "" {
		if o.Done, err = readPartial(resume, digest); err != nil {
			return nil, nil, failed(err)
		}
		keep = func(kept []backtest.Bundle) error {
			return writeFile(resume, func(w io.Writer) error {
				return backtest.WriteResult(w, &backtest.Result{Bundles: kept, Partial: true, Config: digest})
			})
		}
	}
	kept := slices.Clone(o.Done)
	recordings := corpus.recordings(cfg)
	done := 0
	for _, one := range recordings {
		if slices.ContainsFunc(o.Done, func(b backtest.Bundle) bool { return b.ID == one.ID }) {
			done++
		}
	}
	progress := newMeter(std.err, "backtest", done, len(recordings))
	o.OnBundle = func(b backtest.Bundle) {
		progress.step()
		kept = append(kept, b)
		if unkept == nil {
			unkept = keep(kept)
		}
	}
	result, err := backtest.Run(ctx, recordings, o)
	progress.close()
	if err != nil && !result.Partial {
		return nil, nil, failed(err)
	}
	return result, unkept, nil
}

// corpus is what a back-test runs over.
type corpus struct {
	paths []string
	world *incidents.Options // nil for bundles
}

// corpus finds what the command names: bundles, or simulated incidents.
func (f *backtestFlags) corpus() (corpus, error) {
	if f.world.count > 0 {
		o, err := f.world.options()
		if err == nil && len(f.dirs) > 0 {
			err = errors.New("--world simulates incidents, so there can be no bundles: " + strings.Join(f.dirs, ", "))
		}
		return corpus{world: &o}, err
	}
	if len(f.dirs) == 0 {
		return corpus{}, errors.New("nothing to run: name bundles, or folders with bundles in them, or use --world")
	}
	paths, err := findBundles(f.dirs)
	if err != nil {
		return corpus{}, failed(err)
	}
	return corpus{paths: paths}, nil
}

// digest names what is tested; results of other worlds are not continued.
func (c corpus) digest(cfg *loaded) string {
	if c.world == nil {
		return cfg.digest
	}
	o := *c.world
	o.Count = 0
	return fmt.Sprintf("%s, world %+v", cfg.digest, o)
}

func (c corpus) recordings(cfg *loaded) []backtest.Recording {
	if c.world != nil {
		return incidents.Recordings(*c.world, agentConfig(cfg), nil)
	}
	out := make([]backtest.Recording, len(c.paths))
	for i, path := range c.paths {
		out[i] = recordingOf(path, cfg)
	}
	return out
}

// recordingOf opens a bundle only when its turn comes, so that a large corpus
// does not fill the memory.
func recordingOf(path string, cfg *loaded) backtest.Recording {
	return backtest.Recording{ID: bundleName(path), Open: func(ctx context.Context) (*backtest.Session, error) {
		b, err := openBundle(path)
		if err != nil {
			return nil, err
		}
		dir, remove, err := scratch()
		if err != nil {
			return nil, err
		}
		r, err := rehearse(ctx, b, cfg, dir, slog.New(slog.DiscardHandler))
		if err != nil {
			remove()
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		return &backtest.Session{
			Subject: backtest.Subject{Incident: b.Incident, Changes: b.Changes, Interval: time.Duration(b.Incident.Interval)},
			Samples: r.samples, Rehearsal: r.Rehearsal,
			Close: func() error {
				defer remove()
				return r.close()
			},
		}, nil
	}}
}

// bundleName is the name of a bundle without what an archive's adds to it.
func bundleName(path string) string {
	name := filepath.Base(filepath.Clean(path))
	for _, end := range archiveEndings {
		name = strings.TrimSuffix(name, end)
	}
	return name
}

var archiveEndings = []string{".tar.zst", ".tar.gz", ".tgz", ".tar"}

// readPartial reads what an earlier run left.
func readPartial(path, config string) ([]backtest.Bundle, error) {
	file, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("resume: %w", err)
	}
	result, err := backtest.ReadResult(file)
	if err := errors.Join(err, file.Close()); err != nil {
		return nil, fmt.Errorf("resume %s: %w", path, err)
	}
	done, err := result.Resume(config)
	if err != nil {
		return nil, fmt.Errorf("resume %s: %w; remove the file to start anew", path, err)
	}
	return done, nil
}

// findBundles returns the bundles among the paths and directly below them,
// sorted within each.
func findBundles(paths []string) ([]string, error) {
	var out []string
	for _, path := range paths {
		if isBundle(path) {
			out = append(out, path)
			continue
		}
		entries, err := os.ReadDir(path)
		if err != nil {
			return nil, fmt.Errorf("find bundles: %w", err)
		}
		n := len(out)
		for _, e := range entries {
			if p := filepath.Join(path, e.Name()); isBundle(p) {
				out = append(out, p)
			}
		}
		if len(out) == n {
			return nil, fmt.Errorf("%s: no bundle here: a bundle is a folder with an %s, or a .tar.zst of one", path, bundle.IncidentFile)
		}
	}
	return out, nil
}

func isBundle(path string) bool {
	info, err := os.Stat(path)
	if err != nil {
		return false
	}
	if !info.IsDir() {
		name := filepath.Base(path)
		return slices.ContainsFunc(archiveEndings, func(end string) bool { return strings.HasSuffix(name, end) })
	}
	_, err = os.Stat(filepath.Join(path, bundle.IncidentFile))
	return err == nil
}

func tellBacktest(std streams, f backtestFlags, result *backtest.Result, comparison *backtest.Comparison) error {
	var err error
	switch {
	case f.json:
		enc := json.NewEncoder(std.out)
		enc.SetIndent("", "  ")
		enc.SetEscapeHTML(false)
		err = enc.Encode(struct {
			*backtest.Result
			Comparison *backtest.Comparison `json:"comparison,omitempty"`
		}{result, comparison})
	default:
		err = backtest.WriteText(std.out, result)
		if comparison != nil {
			err = errors.Join(err, backtest.WriteComparison(std.out, comparison))
		}
	}
	if f.html != "" {
		err = errors.Join(err, writeFile(f.html, func(w io.Writer) error { return report.Backtest(w, result, comparison) }))
	}
	if err != nil {
		return failed(err)
	}
	broken := 0
	for _, b := range result.Bundles {
		if b.Error != "" {
			broken++
			_, _ = fmt.Fprintln(std.err, safe(fmt.Sprintf("sreagent: %s: %s", b.ID, b.Error)))
		}
	}
	switch {
	case result.Partial:
		hint := ""
		if f.resume != "" {
			hint = "; the same command continues it"
		}
		return failed(fmt.Errorf("stopped: the report is partial, %d bundles are done%s", len(result.Bundles), hint))
	case broken > 0:
		return failed(fmt.Errorf("%d of %d bundles could not be used", broken, len(result.Bundles)))
	}
	return nil
}
