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
	"slices"
	"time"

	"github.com/sreagent/sreagent/agent"
	"github.com/sreagent/sreagent/remediators"
	"github.com/sreagent/sreagent/replay"
	"github.com/sreagent/sreagent/replay/bundle"
	"github.com/sreagent/sreagent/replay/world"
	"github.com/sreagent/sreagent/sources"
	"github.com/sreagent/sreagent/sre"
)

// rehearsed is a bundle with the agent's ports over it.
type rehearsed struct {
	replay.Rehearsal
	bundle  *bundle.Bundle
	samples int
	trail   []sre.Record // what was recorded from the first tick on
	close   func() error
}

// openBundle reads a bundle from a folder or an archive.
func openBundle(path string) (*bundle.Bundle, error) {
	files, err := bundleFiles(path)
	if err != nil {
		return nil, err
	}
	b, err := bundle.Open(files)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return b, nil
}

// bundleFiles opens the files of a bundle in a folder or an archive.
func bundleFiles(path string) (fs.FS, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("open bundle: %w", err)
	}
	if info.IsDir() {
		return os.DirFS(path), nil
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("open bundle: %s is neither a folder nor a file", path)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("open bundle: %w", err)
	}
	files, err := bundle.ReadArchive(f, bundle.Limits{})
	if err := errors.Join(err, f.Close()); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return files, nil
}

// checkBundle reports everything that is wrong with a bundle.
func checkBundle(ctx context.Context, std streams, path string, asJSON bool) error {
	files, err := bundleFiles(path)
	if err != nil {
		return failed(err)
	}
	r, err := bundle.Check(ctx, files, bundle.Limits{}, bundleGrammar())
	if err != nil {
		return failed(err)
	}
	if asJSON {
		enc := json.NewEncoder(std.out)
		enc.SetIndent("", "  ")
		if err := enc.Encode(r); err != nil {
			return err
		}
	} else {
		for _, w := range r.Warnings {
			_, _ = fmt.Fprintln(std.err, safe(fmt.Sprintf("%s: warning: %s", path, w)))
		}
	}
	if !r.OK() {
		return failed(fmt.Errorf("%s: %w", path, r.Problems))
	}
	if !asJSON {
		_, err = fmt.Fprintf(std.out, "%s: good; %d series, %d samples from %s to %s, %d faults, %d changes, %d records\n", path,
			r.Series, r.Samples, r.From.UTC().Format(time.RFC3339), r.To.UTC().Format(time.RFC3339), r.Faults, r.Changes, r.Records)
	}
	return err
}

// rehearsalConfig is the configuration of a rehearsal: that of a file, or the
// defaults with a policy that may act, as nothing real can come of it.
func rehearsalConfig(file string) (*loaded, error) {
	if file != "" {
		return loadConfig(file)
	}
	cfg := defaultConfig()
	cfg.Policy.Mode = sre.Act
	library, err := loadRunbooks(cfg.Runbooks)
	if err != nil {
		return nil, err
	}
	return &loaded{config: cfg, digest: "defaults", library: library}, nil
}

// rehearse loads a bundle's samples into a store below dir and puts the agent's
// ports around them.
func rehearse(ctx context.Context, b *bundle.Bundle, cfg *loaded, dir string, log *slog.Logger) (*rehearsed, error) {
	signals, err := sources.ParseSignals(b.Signals)
	if err != nil {
		return nil, err
	}
	var read []bundle.Selector
	seen := false // some signal finds a series: a recording of something else must not pass for a quiet system
	for _, q := range signals {
		selectors, err := bundle.Selectors(q.Query)
		if err != nil {
			return nil, fmt.Errorf("signals.yaml: signal %s: %w", q.Name, err)
		}
		read, seen = append(read, selectors...), seen || len(selectors) == 0
	}
	topology, err := sources.ParseTopology("topology.yaml", b.Topology)
	if err != nil {
		return nil, err
	}
	r := &rehearsed{bundle: b}
	store, err := replay.BuildStore(ctx, dir, b.Incident.End.Sub(b.Incident.Start), replay.StoreOptions{}, func(add replay.Add) error {
		var refs []uint64 // by index of the series
		return b.Samples(ctx, func(s bundle.Series, at int64, value float64) error {
			for s.Index >= len(refs) {
				refs = append(refs, 0)
				seen = seen || slices.ContainsFunc(read, func(one bundle.Selector) bool { return one.Selects(s.Labels) })
			}
			r.samples++
			var err error
			refs[s.Index], err = add(refs[s.Index], s.Labels, at, value)
			return err
		})
	})
	if err != nil {
		return nil, err
	}
	if !seen {
		return nil, errors.Join(errors.New("signals.yaml: none of the signals finds a series in the recording"), store.Close())
	}
	return r, r.connect(cfg, store, signals, topology, log)
}

// connect puts the agent's ports around a store, which it closes where it fails.
func (r *rehearsed) connect(cfg *loaded, store *replay.Store, signals []sources.SignalQuery, topology *sources.Topology, log *slog.Logger) error {
	b := r.bundle
	interval := time.Duration(b.Incident.Interval)
	asked := cfg.Config
	asked.Prometheus.URL = "http://recording.invalid" // answered in this process
	asked.Prometheus.MaxQueriesPerTick = max(asked.Prometheus.MaxQueriesPerTick, len(signals))
	asked.Signals = sources.SignalsConfig{Custom: signals}
	asked.Topology.Jaeger.URL = ""
	asked.Changes.VersionLabels = nil // a recording tells its changes itself
	source, err := sources.New(asked, sources.Options{
		Log: log, Now: func() time.Time { return b.Incident.End }, Interval: interval,
		Transport: store.Transport(), Topology: topology,
	})
	if err != nil {
		return errors.Join(err, store.Close())
	}
	levers, err := paperLevers(cfg)
	if err != nil {
		source.Close()
		return errors.Join(err, store.Close())
	}
	recording := replay.NewRecording(source, b.Incident.End, interval, b.Changes, replay.Outages(b.Trail))
	r.Rehearsal = replay.Rehearsal{
		Agent: agentIn(cfg, interval), Source: recording, Levers: levers, Forecaster: world.NewForecaster(world.LiveConfig{}),
		Start: b.Incident.Start, End: b.Incident.End, Log: log,
	}
	before, during := splitTrail(b.Trail, b.Incident.Start)
	r.trail, r.People = during, replay.NewRecordedPeople(during)
	if len(before) > 0 && before[0].Seq == 0 {
		r.Memory = before
	}
	r.close = func() error {
		recording.Close()
		source.Close()
		return store.Close()
	}
	return nil
}

// splitTrail parts what the agent knew at the first tick from what it did then.
func splitTrail(trail []sre.Record, start time.Time) (before, during []sre.Record) {
	n := 0
	for n < len(trail) && trail[n].At.Before(start) {
		n++
	}
	return trail[:n], trail[n:]
}

// agentIn is the daemon's agent at the interval of a recording.
func agentIn(cfg *loaded, interval time.Duration) agent.Config {
	c := agentConfig(cfg)
	c.Interval, c.WarmUpStep = interval, interval
	c.Timing.Lever = min(c.Timing.Lever, interval)
	return c
}

// paperLevers stand for every lever of the configuration, and for the guard
// where none is configured, so that the shipped runbooks find what they move.
func paperLevers(cfg *loaded) (map[string]sre.Remediator, error) {
	described, err := remediators.Capabilities(cfg.Remediators)
	if err != nil {
		return nil, err
	}
	out := make(map[string]sre.Remediator, len(described))
	for _, c := range described {
		out[c.Name] = replay.NewPaperLever(c)
	}
	return out, nil
}

// scratch is a folder for stores, which the caller removes.
func scratch() (dir string, remove func(), err error) {
	dir, err = os.MkdirTemp("", "sreagent-replay-")
	if err != nil {
		return "", nil, fmt.Errorf("make a scratch folder: %w", err)
	}
	return dir, func() { _ = os.RemoveAll(dir) }, nil
}

// writable reports early what would keep a file from being written after a long
// run. No name is no file.
func writable(path string) error {
	if path == "" {
		return nil
	}
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		return fmt.Errorf("write %s: it is a folder", path)
	}
	if info, err := os.Stat(filepath.Dir(path)); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	} else if !info.IsDir() {
		return fmt.Errorf("write %s: %s is no folder", path, filepath.Dir(path))
	}
	return nil
}

// writeFile writes a file whole or not at all.
func writeFile(path string, write func(io.Writer) error) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".sreagent-*")
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	err = write(f)
	err = errors.Join(err, f.Chmod(0o644), f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		_ = os.Remove(f.Name())
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}

// watchedMeter shows progress where a terminal watches and is silent elsewhere.
func watchedMeter(w io.Writer, what string, total int) (step, done func()) {
	if !isTerminal(w) || total <= 0 {
		return func() {}, func() {}
	}
	m := newMeter(w, what, 0, total)
	return m.step, m.close
}
