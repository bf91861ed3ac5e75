package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/sreagent/sreagent/replay/bundle"
	"github.com/sreagent/sreagent/sources"
)

// assemble makes the bundle of the finished chunks, reads it as anybody would,
// gives it its name and removes the work under way.
func (r *recording) assemble(ctx context.Context) error {
	b, err := r.words(ctx)
	if err != nil {
		return err
	}
	metrics, err := r.samples(ctx)
	if err != nil {
		return err
	}
	if err := r.write(b, metrics); err != nil {
		return fmt.Errorf("write the bundle: %w", err)
	}
	report, err := bundle.Check(ctx, os.DirFS(r.part.path(folderName)), bundle.Limits{}, bundleGrammar())
	if err != nil {
		return err
	}
	if !report.OK() {
		return fmt.Errorf("read what was written: %w", report.Problems)
	}
	for _, warning := range report.Warnings {
		if _, err := fmt.Fprintln(r.std.err, safe("note: "+warning)); err != nil {
			return err
		}
	}
	if err := r.publish(); err != nil {
		return fmt.Errorf("write the bundle: %w", err)
	}
	_, err = fmt.Fprintf(r.std.out, "%s: %d series, %d samples, %d changes, %d records; %s to %s\n", r.flags.out, report.Series, report.Samples,
		report.Changes, report.Records, r.plan.Start.Format(time.RFC3339), r.plan.End.Format(time.RFC3339))
	return err
}

// bundleGrammar reads the files of a bundle whose form is that of the
// configuration.
func bundleGrammar() bundle.Grammar {
	return bundle.Grammar{
		Topology: func(name string, content []byte) error {
			_, err := sources.ParseTopology(name, content)
			return err
		},
		Signals: func(content []byte) ([]string, error) {
			signals, err := sources.ParseSignals(content)
			queries := make([]string, len(signals))
			for i, s := range signals {
				queries[i] = s.Query
			}
			return queries, err
		},
	}
}

// words is all of the bundle but the samples.
func (r *recording) words(ctx context.Context) (*bundle.Bundle, error) {
	b := &bundle.Bundle{Incident: r.incident()}
	var err error
	if b.Topology, err = os.ReadFile(r.part.path(surveyTopology)); err != nil {
		return nil, err
	}
	if b.Signals, err = sources.FormatSignals(sources.OnePerName(r.cfg.Signals.Queries())); err != nil {
		return nil, err
	}
	if b.Trail, b.HasTrail, err = r.trail(ctx); err != nil {
		return nil, err
	}
	b.Changes, err = r.changes(b.Trail)
	return b, err
}

// samples gathers what the chunks hold.
func (r *recording) samples(ctx context.Context) (*bundle.MetricsWriter, error) {
	metrics := bundle.NewMetricsWriter()
	within := false
	for i := range r.plan.chunks() {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		err := r.part.loadChunk(i, func(s sources.Series) error {
			for _, v := range s.Samples {
				at := v.Timestamp.Time()
				within = within || !at.Before(r.plan.Start)
				if err := metrics.Add(bundle.Sample{Metric: s.Metric, At: at, Value: float64(v.Value)}); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	if !within {
		return nil, errNothing{fmt.Sprintf("the signals select no sample between %s and %s: is this the Prometheus of the configuration, and are its samples that old?",
			r.plan.Start.Format(time.RFC3339), r.plan.End.Format(time.RFC3339))}
	}
	return metrics, nil
}

// write makes the bundle as a folder within that of the work under way.
func (r *recording) write(b *bundle.Bundle, metrics io.WriterTo) error {
	into := r.part.path(folderName)
	for _, name := range []string{folderName, archiveName, assembledFile} {
		if err := os.RemoveAll(r.part.path(name)); err != nil {
			return err
		}
	}
	if err := os.Mkdir(into, 0o750); err != nil {
		return err
	}
	w := bundle.Writer{Sink: durable{into}, Packing: bundle.Zstd}
	if err := w.Write(b, metrics); err != nil {
		return err
	}
	return syncFolder(into)
}

// assembled is what gets the name of the bundle.
func (r *recording) assembled() string {
	if strings.HasSuffix(r.flags.out, archiveSuffix) {
		return archiveName
	}
	return folderName
}

// publish gives the bundle its name. From the mark on, a bundle that is gone
// from the folder is one that has its name.
func (r *recording) publish() error {
	if r.assembled() == archiveName {
		b, err := bundle.Open(os.DirFS(r.part.path(folderName)))
		if err != nil {
			return err
		}
		if err := r.part.write(archiveName, func(w io.Writer) error { return bundle.WriteArchive(w, b, b.MetricsText()) }); err != nil {
			return err
		}
	}
	if err := r.part.write(assembledFile, func(io.Writer) error { return nil }); err != nil {
		return err
	}
	// An empty folder of the name may be there.
	if err := os.Remove(r.flags.out); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if err := os.Rename(r.part.path(r.assembled()), r.flags.out); err != nil {
		return err
	}
	if err := syncFolder(filepath.Dir(r.flags.out)); err != nil {
		return err
	}
	return r.part.remove()
}

// durable makes files in a folder that are on the disk when they are closed.
type durable struct{ dir string }

// Create makes one file.
func (d durable) Create(name string) (io.WriteCloser, error) {
	f, err := os.Create(filepath.Join(d.dir, name))
	if err != nil {
		return nil, err
	}
	return synced{f}, nil
}

type synced struct{ *os.File }

func (s synced) Close() error { return errors.Join(s.Sync(), s.File.Close()) }
