package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"math"
	"strings"
	"sync"
	"time"

	"github.com/alecthomas/kingpin/v2"
	"github.com/prometheus/common/promslog"

	"github.com/sreagent/sreagent/audit"
	"github.com/sreagent/sreagent/replay"
	"github.com/sreagent/sreagent/replay/bundle"
	"github.com/sreagent/sreagent/replay/report"
	"github.com/sreagent/sreagent/sre"
)

// replayFlags are what `sreagent replay` was asked for.
type replayFlags struct {
	path, config, html string
	json, step, expect bool
	speed              float64
	verbose            bool
}

func registerReplay(app *kingpin.Application, commands map[string]command) {
	cmd := app.Command("replay", "Run the agent over a recorded incident and show what it decides.")
	var f replayFlags
	cmd.Arg("bundle", "Folder or archive of the recording.").Required().StringVar(&f.path)
	cmd.Flag("config", "Configuration whose policy, runbooks and detection are used; without one the defaults, with mode act.").StringVar(&f.config)
	output := cmd.Flag("output", "text or json.").Short('o').Default("text").Enum("text", "json")
	cmd.Flag("html", "Write a report to this file.").StringVar(&f.html)
	cmd.Flag("speed", "Times real time; 0 is as fast as possible.").Default("0").Float64Var(&f.speed)
	cmd.Flag("step", "Wait for Enter after every tick at which something happened.").BoolVar(&f.step)
	cmd.Flag("expect", "Exit 1 when the decisions differ from those of the recorded trail.").BoolVar(&f.expect)
	cmd.Flag("verbose", "Show the agent's log.").Short('v').BoolVar(&f.verbose)
	commands[cmd.FullCommand()] = safely(func(ctx context.Context, std streams) error {
		f.json = *output == "json"
		return replayBundle(ctx, std, f)
	})
}

// replayed is the JSON of a replay.
type replayed struct {
	Bundle     string             `json:"bundle"`
	Start      time.Time          `json:"start"`
	End        time.Time          `json:"end"`
	Interval   string             `json:"interval"`
	Ticks      int                `json:"ticks"`
	Samples    int                `json:"samples"`
	Config     string             `json:"config"`
	Decisions  []replay.Digest    `json:"decisions"`
	Incidents  []*sre.Incident    `json:"incidents"`
	Comparison *replay.Comparison `json:"comparison,omitempty"` // up to the end
	Stopped    string             `json:"stopped,omitempty"`    // why the replay ended before the recording
}

// slowest is the least speed of a replay: a minute of the recording in 17 hours.
const slowest = 0.001

func replayBundle(ctx context.Context, std streams, f replayFlags) error {
	switch {
	case f.speed != 0 && !(f.speed >= slowest && f.speed <= math.MaxFloat64):
		return fmt.Errorf("--speed is %v, want 0 or more, from %v on", f.speed, slowest)
	case f.step && f.speed > 0:
		return errors.New("--step and --speed exclude each other")
	case f.step && f.json:
		return errors.New("--step is for people, -o json is not")
	}
	cfg, err := rehearsalConfig(f.config)
	if err = errors.Join(err, writable(f.html)); err != nil {
		return failed(err)
	}
	b, err := openBundle(f.path)
	if err != nil {
		return failed(err)
	}
	if f.expect && !b.HasTrail {
		return failed(fmt.Errorf("%s: has no trail.jsonl to compare with", f.path))
	}
	dir, remove, err := scratch()
	if err != nil {
		return err
	}
	defer remove()
	log := slog.New(slog.DiscardHandler)
	if f.verbose {
		log = promslog.New(&promslog.Config{Writer: std.err})
	}
	r, err := rehearse(ctx, b, cfg, dir, log)
	switch {
	case err != nil && ctx.Err() != nil:
		return failed(errors.New("stopped before the first tick"))
	case err != nil:
		return failed(fmt.Errorf("%s: %w", f.path, err))
	}
	return tellReplay(ctx, std, f, cfg, r)
}

// tellReplay runs a rehearsal, shows what came of it and closes it.
func tellReplay(ctx context.Context, std streams, f replayFlags, cfg *loaded, r *rehearsed) error {
	b, recorder := r.bundle, &report.Recorder{}
	line, stopped := play(ctx, std, f, r, recorder)
	if err := r.close(); err != nil {
		return failed(err)
	}
	out := replayed{
		Bundle: b.Incident.ID, Start: line.Start, End: line.End, Interval: b.Incident.Interval.String(), Ticks: line.Ticks,
		Samples: r.samples, Config: cfg.digest, Decisions: replay.Digests(line.Records), Incidents: line.Incidents(),
	}
	if stopped != nil {
		out.Stopped = stopped.Error()
	}
	if b.HasTrail {
		out.Comparison = replay.Compare(replay.Digests(until(r.trail, line.End)), out.Decisions, 3*time.Duration(b.Incident.Interval))
	}
	err := showReplay(std.out, f, out)
	if f.html != "" {
		page := replayPage(b, line, recorder, out.Comparison)
		page.Stopped = out.Stopped
		err = errors.Join(err, writeFile(f.html, func(w io.Writer) error { return report.Replay(w, page) }))
	}
	switch {
	case err != nil:
		return failed(err)
	case stopped != nil:
		return failed(stopped)
	case f.expect && !out.Comparison.Equal():
		return failed(errors.New("the decisions differ from the recorded ones"))
	}
	return nil
}

// until leaves out what was recorded after the last tick of a replay, as it
// cannot come again.
func until(trail []sre.Record, end time.Time) []sre.Record {
	n := 0
	for n < len(trail) && !trail[n].At.After(end) {
		n++
	}
	return trail[:n]
}

// play runs the rehearsal and tells each tick as it comes.
func play(ctx context.Context, std streams, f replayFlags, r *rehearsed, recorder *report.Recorder) (*replay.Timeline, error) {
	if f.speed > 0 {
		began := time.Now()
		r.Pace = func(ctx context.Context, at time.Time) error {
			due := began.Add(time.Duration(min(float64(at.Sub(r.Start))/f.speed, math.MaxInt64/2)))
			select {
			case <-time.After(time.Until(due)):
				return nil
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		}
	}
	keys := pressed(ctx, std.in)
	told := false
	step, done := func() {}, func() {}
	if f.speed == 0 && !f.step {
		step, done = watchedMeter(std.err, "replay", int(r.End.Sub(r.Start)/r.Agent.Interval)+1)
	}
	r.Watch = func(t replay.Tick) error {
		if err := recorder.Watch(t); err != nil {
			return err
		}
		step()
		if f.json {
			return nil
		}
		worth := worthTelling(t.Records)
		if len(worth) == 0 {
			return nil
		}
		told = true
		done()
		if err := audit.Show(std.out, records(worth), audit.ShowOptions{}); err != nil || !f.step {
			return err
		}
		_, _ = fmt.Fprint(std.err, "-- Enter for the next, Ctrl-D to end --")
		return keys()
	}
	line, err := r.Run(ctx)
	done()
	if err == nil && !told && !f.json {
		_, err = fmt.Fprintln(std.out, "nothing happened that the agent thought worth a record")
	}
	if line.Ticks == 0 {
		line.End = line.Start
	}
	switch {
	case (ctx.Err() != nil || errors.Is(err, errEnough)) && line.Ticks == 0:
		err = errors.New("stopped before the first tick")
	case ctx.Err() != nil || errors.Is(err, errEnough):
		err = fmt.Errorf("stopped at %s", line.End.UTC().Format(time.RFC3339))
	}
	return line, err
}

var errEnough = errors.New("enough")

// pressed returns a function that waits for the next Enter, and fails where
// there is none or ctx ends first. Reading cannot be broken off, so that it
// happens beside; it begins at the first call, as nobody else may want to type.
func pressed(ctx context.Context, in io.Reader) func() error {
	lines := make(chan struct{})
	begin := sync.OnceFunc(func() {
		go func() {
			defer close(lines)
			for keys := bufio.NewScanner(in); keys.Scan(); {
				select {
				case lines <- struct{}{}:
				case <-ctx.Done():
					return
				}
			}
		}()
	})
	return func() error {
		begin()
		select {
		case _, more := <-lines:
			if !more {
				return errEnough
			}
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// replayPage gathers what the report of a replay shows.
func replayPage(b *bundle.Bundle, line *replay.Timeline, recorder *report.Recorder, c *replay.Comparison) report.ReplayReport {
	var guilty []string
	for _, f := range b.Incident.Truth.Faults {
		guilty = append(guilty, f.Services...)
	}
	return report.ReplayReport{
		Incident: b.Incident, Timeline: line, Graph: recorder.Graph(), Series: recorder.Choose(line.Records, guilty...), Changes: b.Changes,
		Compared: c,
	}
}

// worthTelling leaves out what only repeats another record.
func worthTelling(all []sre.Record) []sre.Record {
	var out []sre.Record
	for _, r := range all {
		if r.Kind != sre.RecordNotice && r.Kind != sre.RecordStart && r.Kind != sre.RecordStop {
			out = append(out, r)
		}
	}
	return out
}

func records(all []sre.Record) iter.Seq2[sre.Record, error] {
	return func(yield func(sre.Record, error) bool) {
		for _, r := range all {
			if !yield(r, nil) {
				return
			}
		}
	}
}

func showReplay(w io.Writer, f replayFlags, out replayed) error {
	if f.json {
		enc := json.NewEncoder(w)
		enc.SetIndent("", "  ")
		return enc.Encode(out)
	}
	var s strings.Builder
	fmt.Fprintf(&s, "\n%s: %d ticks of %s, %d incidents, %d decisions\n", out.Bundle, out.Ticks, out.Interval, len(out.Incidents), len(out.Decisions))
	if c := out.Comparison; c != nil {
		fmt.Fprintf(&s, "recorded trail: %d decisions, %d the same, %d changed, %d missing, %d extra\n", c.Recorded, c.Same, len(c.Changed), len(c.Missing), len(c.Extra))
		for _, ch := range c.Changed {
			fmt.Fprintf(&s, "  changed  %s %s: %s\n", ch.Recorded.At.UTC().Format(time.RFC3339), ch.Recorded.Cause, strings.Join(ch.What, "; "))
		}
		for _, d := range c.Missing {
			fmt.Fprintf(&s, "  missing  %s %s: %s %s\n", d.At.UTC().Format(time.RFC3339), d.Cause, d.Verdict, d.Runbook)
		}
		for _, d := range c.Extra {
			fmt.Fprintf(&s, "  extra    %s %s: %s %s\n", d.At.UTC().Format(time.RFC3339), d.Cause, d.Verdict, d.Runbook)
		}
	}
	_, err := io.WriteString(w, s.String())
	return err
}
