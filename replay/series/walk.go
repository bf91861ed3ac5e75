package series

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"

	"github.com/sreagent/sreagent/detectors"
)

// File is what Walk did with one file.
type File struct {
	// Path is relative to the file system, with slashes.
	Path string `json:"path"`
	// Skipped says why the file was left out; empty where it was read.
	Skipped string `json:"skipped,omitempty"`
	// Summary is empty where the file was skipped.
	Summary Summary `json:"summary"`
}

// Walk runs Detect over every series of a file system, in the order of the
// paths, and writes the result of each to what create returns for the same
// path. Files that are no series are skipped and named. Nothing is created for
// a file with a fault: Walk goes on with the others and returns all faults,
// joined, as *FileError with the path in it. It stops early when the context
// ends or when a result cannot be written. The list of files is made before
// the first is written, so results may go below the same folder.
func Walk(ctx context.Context, fsys fs.FS, create func(path string) (io.WriteCloser, error), cfg detectors.StreamConfig) ([]File, error) {
	files, err := list(fsys)
	if err != nil {
		return nil, err
	}
	var faults []error
	for i := range files {
		if files[i].Skipped != "" {
			continue
		}
		if err := ctx.Err(); err != nil {
			return files[:i], errors.Join(append(faults, err)...)
		}
		var scores bytes.Buffer
		err := detectFile(fsys, &files[i], &scores, cfg)
		if fault, ok := errors.AsType[*FileError](err); ok && errors.Is(err, ErrNotSeries) {
			files[i].Skipped = fault.Problem
			continue
		}
		if err != nil {
			files[i].Skipped = "has a fault"
			faults = append(faults, err)
			continue
		}
		if err := save(create, files[i].Path, &scores); err != nil {
			return files[:i], errors.Join(append(faults, err)...)
		}
	}
	return files, errors.Join(faults...)
}

// list returns all files in the order of their paths.
func list(fsys fs.FS) ([]File, error) {
	var files []File
	err := fs.WalkDir(fsys, ".", func(path string, e fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case e.IsDir():
			return nil
		case !e.Type().IsRegular():
			files = append(files, File{Path: path, Skipped: "not a regular file"})
		default:
			files = append(files, File{Path: path})
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("list series: %w", err)
	}
	return files, nil
}

func detectFile(fsys fs.FS, file *File, scores io.Writer, cfg detectors.StreamConfig) error {
	f, err := fsys.Open(file.Path)
	if err != nil {
		return fmt.Errorf("open series: %w", err)
	}
	defer func() { _ = f.Close() }() // it was only read
	sum, err := Detect(f, scores, cfg)
	if err == nil {
		file.Summary = sum
		return nil
	}
	if _, ok := errors.AsType[*FileError](err); ok {
		return Name(err, file.Path)
	}
	return fmt.Errorf("%s: %w", file.Path, err)
}

func save(create func(path string) (io.WriteCloser, error), path string, scores *bytes.Buffer) error {
	w, err := create(path)
	if err != nil {
		return fmt.Errorf("create scores of %s: %w", path, err)
	}
	_, err = scores.WriteTo(w)
	if err = errors.Join(err, w.Close()); err != nil {
		return fmt.Errorf("write scores of %s: %w", path, err)
	}
	return nil
}
