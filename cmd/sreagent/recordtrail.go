package main

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"time"

	"github.com/sreagent/sreagent/audit"
	"github.com/sreagent/sreagent/replay/bundle"
	"github.com/sreagent/sreagent/sre"
)

// recordedNotes says what whoever reads the bundle should know of its making.
const recordedNotes = "Raw samples of the series that the signals select, read from a live Prometheus. " +
	"Stale markers and native histograms cannot be kept in this form."

// incident describes the recording. The truth is for people to fill in.
func (r *recording) incident() bundle.Incident {
	const compact = "20060102T150405Z"
	start, end := r.plan.Start, r.plan.End
	title := r.flags.title
	if title == "" {
		title = fmt.Sprintf("Recording from %s to %s", start.Format(time.RFC3339), end.Format(time.RFC3339))
	}
	return bundle.Incident{
		ID: "record-" + start.Format(compact) + "-" + end.Format(compact), Title: title, Source: "record",
		Start: start, End: end, Interval: r.plan.Interval, Notes: recordedNotes,
	}
}

// trail returns what the agent recorded within the span, and before it where
// its memory was asked for, and whether an agent was there to record anything.
func (r *recording) trail(ctx context.Context) ([]sre.Record, bool, error) {
	if r.flags.noTrail {
		return nil, false, nil
	}
	dir := cmp.Or(r.flags.trail, r.cfg.Audit.Dir)
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		_, err := fmt.Fprintf(r.std.err, "no trail in %s, recording without one; --trail names another folder, --no-trail wants none\n", dir)
		return nil, false, err
	}
	var taken []sre.Record
	watching := false
	for rec, err := range audit.ReadDir(dir) {
		switch {
		case err != nil:
			return nil, false, fmt.Errorf("read the trail in %s: %w", dir, err)
		case ctx.Err() != nil:
			return nil, false, ctx.Err()
		case rec.At.Before(r.plan.Start):
			watching = rec.Kind != sre.RecordStop
			if r.flags.memory {
				taken = append(taken, rec)
			}
		case !rec.At.After(r.plan.End):
			watching = true
			taken = append(taken, rec)
		}
	}
	return taken, watching || len(taken) > 0, nil
}

// changes returns those that the version labels told of, and those that the
// trail names: a change that was reported to the agent is kept nowhere but in
// the diagnoses that it took part in.
func (r *recording) changes(trail []sre.Record) ([]sre.Change, error) {
	out, err := readLines[sre.Change](r.part.path(surveyChanges))
	if err != nil {
		return nil, err
	}
	told := len(r.cfg.Changes.VersionLabels) > 0
	for _, rec := range trail {
		if rec.Incident == nil {
			continue
		}
		for _, h := range rec.Incident.Diagnosis.Hypotheses {
			c := h.Change
			if c == nil || c.At.Before(r.plan.earliest()) || c.At.After(r.plan.End) {
				continue
			}
			// What the version labels said was just read: it would be there twice.
			if read := told && c.Source == "version_label"; !read {
				out = append(out, *c)
			}
		}
	}
	slices.SortStableFunc(out, func(a, b sre.Change) int { return cmp.Or(a.At.Compare(b.At), cmp.Compare(a.ID, b.ID)) })
	return slices.CompactFunc(out, func(a, b sre.Change) bool { return a.At.Equal(b.At) && a.ID == b.ID }), nil
}

// writeLines writes one JSON object per line.
func writeLines[T any](w io.Writer, all []T) error {
	enc := json.NewEncoder(w)
	for _, one := range all {
		if err := enc.Encode(one); err != nil {
			return err
		}
	}
	return nil
}

func readLines[T any](path string) ([]T, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close() //nolint:errcheck // only read
	var out []T
	for dec := json.NewDecoder(bufio.NewReader(f)); ; {
		var one T
		switch err := dec.Decode(&one); {
		case errors.Is(err, io.EOF):
			return out, nil
		case err != nil:
			return nil, fmt.Errorf("read %s: %w", path, err)
		}
		out = append(out, one)
	}
}
