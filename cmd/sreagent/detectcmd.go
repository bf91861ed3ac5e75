package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/alecthomas/kingpin/v2"

	"github.com/sreagent/sreagent/detectors"
	"github.com/sreagent/sreagent/replay/series"
)

func registerDetect(app *kingpin.Application, commands map[string]command) {
	cmd := app.Command("detect", "Run the streaming detector over time series in CSV files.")
	from := cmd.Arg("path", "A CSV file with the columns timestamp and value, or a folder of them.").Required().String()
	out := cmd.Flag("out", "Folder for the results: timestamp,value,anomaly_score,alarm per row, under the same relative path.").Required().String()
	output := cmd.Flag("output", "text or json.").Short('o').Default("text").Enum("text", "json")
	commands[cmd.FullCommand()] = func(ctx context.Context, std streams) error {
		return detectSeries(ctx, std, *from, *out, *output == "json")
	}
}

// detectSeries scores a file or all files of a folder. Faults in some files do
// not keep it from the others.
func detectSeries(ctx context.Context, std streams, from, out string, asJSON bool) error {
	info, err := os.Stat(from)
	if err != nil {
		return failed(fmt.Errorf("detect: %w", err))
	}
	into := scoreFolder{out}
	var files []series.File
	if info.IsDir() {
		files, err = series.Walk(ctx, os.DirFS(from), into.create, detectors.DefaultStreamConfig())
	} else {
		files, err = detectOne(from, into)
	}
	scored, told := 0, tellSeries(std, files, asJSON)
	for _, f := range files {
		if f.Skipped == "" {
			scored++
		}
	}
	switch {
	case errors.Is(err, context.Canceled):
		return failed(fmt.Errorf("stopped after %d files", scored))
	case err != nil:
		return failed(err)
	case scored == 0:
		return failed(fmt.Errorf("%s: no series found: a CSV file with the columns timestamp and value is wanted", from))
	}
	return told
}

func tellSeries(std streams, files []series.File, asJSON bool) error {
	if asJSON {
		enc := json.NewEncoder(std.out)
		enc.SetIndent("", "  ")
		return enc.Encode(struct {
			Files []series.File `json:"files"`
		}{files})
	}
	for _, f := range files {
		line := fmt.Sprintf("%s: %d rows, %d alarms, highest score %.3f", f.Path, f.Summary.Rows, len(f.Summary.Alarms), f.Summary.Highest)
		if f.Skipped != "" {
			line = fmt.Sprintf("%s: skipped: %s", f.Path, f.Skipped)
		}
		if _, err := fmt.Fprintln(std.out, line); err != nil {
			return err
		}
	}
	return nil
}

// detectOne scores a single file, which must be a series.
func detectOne(path string, into scoreFolder) ([]series.File, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("detect: %w", err)
	}
	var scores bytes.Buffer
	summary, err := series.Detect(f, &scores, detectors.DefaultStreamConfig())
	if err := errors.Join(err, f.Close()); err != nil {
		return nil, series.Name(err, path)
	}
	name := filepath.Base(path)
	w, err := into.create(name)
	if err != nil {
		return nil, err
	}
	_, err = scores.WriteTo(w)
	if err := errors.Join(err, w.Close()); err != nil {
		return nil, fmt.Errorf("write scores of %s: %w", name, err)
	}
	return []series.File{{Path: name, Summary: summary}}, nil
}

// scoreFolder is the folder that the scores go to.
type scoreFolder struct{ dir string }

func (r scoreFolder) create(path string) (io.WriteCloser, error) {
	target := filepath.Join(r.dir, filepath.FromSlash(path))
	if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
		return nil, err
	}
	return os.Create(target)
}
