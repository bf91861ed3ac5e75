package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/alecthomas/kingpin/v2"

	"github.com/sreagent/sreagent/sources"
)

const archiveSuffix = ".tar.zst"

// Names in the folder of a recording under way.
const (
	planFile       = "plan.json"
	surveyTopology = "topology.yaml"
	surveyChanges  = "changes.jsonl"
	assembledFile  = "assembled" // the bundle is whole and about to get its name
	folderName     = "bundle"
	archiveName    = folderName + archiveSuffix
)

// recordFlags are the flags of record.
type recordFlags struct {
	out        string
	configFile string
	from, to   string
	interval   time.Duration
	chunk      time.Duration
	title      string
	url        string
	trail      string
	noTrail    bool
	memory     bool
}

func registerRecord(app *kingpin.Application, commands map[string]command) {
	cmd := app.Command("record", "Record a span from a live Prometheus into a bundle that can be replayed. Give the same command again to continue one that was cut off.")
	var flags recordFlags
	cmd.Arg("out", "Folder of the bundle, or a file whose name ends in "+archiveSuffix+".").Required().StringVar(&flags.out)
	cmd.Flag("config", "Configuration file of the agent.").Default("sreagent.yaml").StringVar(&flags.configFile)
	cmd.Flag("from", "Begin: a time in RFC 3339, or how long ago, as in --from=-2h.").Required().StringVar(&flags.from)
	cmd.Flag("to", "End, in the same forms; now where it is not given.").StringVar(&flags.to)
	cmd.Flag("interval", "Time between two ticks of a replay; that of the configuration where it is not given.").DurationVar(&flags.interval)
	cmd.Flag("chunk", "How much time one file of the work under way holds, and one query asks for at most.").Default("30m").DurationVar(&flags.chunk)
	cmd.Flag("title", "Title of the bundle.").StringVar(&flags.title)
	cmd.Flag("url", "Prometheus to record from; that of the configuration where it is not given.").StringVar(&flags.url)
	cmd.Flag("trail", "Folder of the audit trail to take the agent's records from; that of the configuration where it is not given.").StringVar(&flags.trail)
	cmd.Flag("no-trail", "Leave the agent's records out.").BoolVar(&flags.noTrail)
	cmd.Flag("memory", "Take the agent's records from before the span too, so that a replay begins with what the agent knew.").BoolVar(&flags.memory)
	commands[cmd.FullCommand()] = safely(func(ctx context.Context, std streams) error {
		return record(ctx, flags, std, time.Now(), sources.RecorderOptions{})
	})
}

// recording is one recording under way.
type recording struct {
	flags  recordFlags
	cfg    *loaded
	plan   *recordPlan
	part   *partial
	std    streams
	source sources.RecorderOptions
}

// record records, or continues to.
func record(ctx context.Context, flags recordFlags, std streams, now time.Time, o sources.RecorderOptions) error {
	cfg, err := loadConfig(flags.configFile)
	if err != nil {
		return failed(err)
	}
	if flags.url != "" {
		cfg.Prometheus.URL = flags.url
		if faults := cfg.Prometheus.Validate(); len(faults) > 0 {
			return fmt.Errorf("--url: %w", faults)
		}
	}
	if flags.trail != "" {
		if flags.noTrail {
			return errors.New("--trail and --no-trail: give one of the two")
		}
		if err := inFolder(flags.trail); err != nil {
			return err
		}
	}
	flags.out = filepath.Clean(flags.out)
	if other := otherArchive(flags.out); other != "" {
		return fmt.Errorf("%s: a %s is read but not written; allowed: a new folder, or a name that ends in %s", flags.out, other, archiveSuffix)
	}
	plan, err := makePlan(flags, cfg, now)
	if err != nil {
		return err
	}
	taken, err := outTaken(flags.out)
	if err != nil {
		return err
	}
	if _, err := os.Stat(flags.out + partialSuffix); taken && err != nil {
		return fmt.Errorf("%s exists already", flags.out)
	}
	part, err := openPartial(flags.out)
	if err != nil {
		return fmt.Errorf("record into %s: %w", flags.out, err)
	}
	defer part.close() //nolint:errcheck // nothing is written to the lock
	r := &recording{flags: flags, cfg: cfg, plan: plan, part: part, std: std, source: o}
	r.source.Log = slog.New(slog.NewTextHandler(std.err, &slog.HandlerOptions{Level: slog.LevelWarn}))
	begun, err := r.begin(taken)
	if err != nil || !begun {
		return err
	}
	if err := r.run(ctx); err != nil {
		return r.stopped(ctx, err)
	}
	return nil
}

// outTaken reports whether there is something at the name already. An empty
// folder is nothing.
func outTaken(out string) (bool, error) {
	entries, err := os.ReadDir(out)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return false, nil
	case err == nil:
		return len(entries) > 0, nil
	}
	if _, statErr := os.Lstat(out); statErr != nil {
		return false, statErr
	}
	return true, nil
}

// begin saves the plan, or continues with that of an earlier attempt. It
// reports false where nothing is left to do.
func (r *recording) begin(taken bool) (bool, error) {
	old, err := r.part.plan()
	if err != nil {
		return false, err
	}
	if old == nil {
		if taken {
			return false, fmt.Errorf("%s exists already", r.flags.out)
		}
		return true, r.part.savePlan(r.plan)
	}
	if different := r.plan.continues(old); len(different) > 0 {
		return false, fmt.Errorf("%s was begun otherwise: %s; give the same command as then to continue, or remove it to begin anew",
			r.part.dir, strings.Join(different, "; "))
	}
	if taken {
		if !r.part.has(assembledFile) || r.part.has(r.assembled()) {
			return false, fmt.Errorf("%s exists already", r.flags.out)
		}
		// Only the cleaning up was cut off.
		_, err := fmt.Fprintf(r.std.out, "%s: is complete\n", r.flags.out)
		return false, errors.Join(err, r.part.remove())
	}
	_, err = fmt.Fprintf(r.std.err, "continuing %s: %s to %s, %d of %d chunks are there\n", r.part.dir,
		r.plan.Start.Format(time.RFC3339), r.plan.End.Format(time.RFC3339), r.have(), r.plan.chunks())
	return true, err
}

// have counts the chunks that are there.
func (r *recording) have() int {
	n := 0
	for i := range r.plan.chunks() {
		if r.part.has(chunkName(i)) {
			n++
		}
	}
	return n
}

// stopped says what is left after an error, and how to go on.
func (r *recording) stopped(ctx context.Context, err error) error {
	var nothing errNothing
	if errors.As(err, &nothing) {
		return failed(errors.Join(err, r.part.remove())) // there is nothing to continue
	}
	if ctx.Err() != nil {
		err = errors.New("interrupted")
	}
	return failed(fmt.Errorf("%w; %d of %d chunks are kept in %s: give the same command again to continue", err, r.have(), r.plan.chunks(), r.part.dir))
}

// errNothing says that there is nothing to record.
type errNothing struct{ why string }

func (e errNothing) Error() string { return e.why }

func (r *recording) run(ctx context.Context) error {
	if err := r.survey(ctx); err != nil {
		return err
	}
	if err := r.read(ctx); err != nil {
		return err
	}
	return r.assemble(ctx)
}

// survey reads the graph and the changes, unless an earlier attempt did. The
// topology is written last, so that its being there means both are.
func (r *recording) survey(ctx context.Context) error {
	if r.part.has(surveyTopology) {
		return nil
	}
	if _, err := fmt.Fprintln(r.std.err, "looking at the dependency graph and at versions"); err != nil {
		return err
	}
	survey, err := sources.Look(ctx, r.cfg.Config, r.source, r.plan.warmFrom(), r.plan.End, time.Duration(r.plan.Interval))
	if err != nil {
		return err
	}
	topology, err := sources.FormatTopology(survey.Topology)
	if err != nil {
		return err
	}
	if err := r.part.write(surveyChanges, func(w io.Writer) error { return writeLines(w, survey.Changes) }); err != nil {
		return err
	}
	return r.part.write(surveyTopology, func(w io.Writer) error {
		_, err := w.Write(topology)
		return err
	})
}

// read fetches the chunks that are missing.
func (r *recording) read(ctx context.Context) error {
	recorder, err := sources.NewRecorder(r.cfg.Prometheus, r.source)
	if err != nil {
		return err
	}
	defer recorder.Close()
	progress := newMeter(r.std.err, "recording", r.have(), r.plan.chunks())
	defer progress.close()
	for i := range r.plan.chunks() {
		if r.part.has(chunkName(i)) {
			continue
		}
		from, to, selectors := r.plan.chunk(i)
		series, err := recorder.Read(ctx, selectors, from, to)
		if err != nil {
			return err
		}
		if err := r.part.saveChunk(i, series); err != nil {
			return err
		}
		progress.step()
	}
	return nil
}
