package main

import (
	"bufio"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"

	"github.com/prometheus/common/model"
	"golang.org/x/sys/unix"

	"github.com/sreagent/sreagent/sources"
)

const partialSuffix = ".partial"

// partial is the folder beside a recording in which it grows. Every file in it
// is whole or is not there, whenever the process ends.
type partial struct {
	dir  string
	lock *os.File
}

// openPartial makes the folder where it is missing, and takes its lock.
func openPartial(out string) (*partial, error) {
	p := &partial{dir: out + partialSuffix}
	if err := os.MkdirAll(p.dir, 0o750); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(p.path("lock"), os.O_RDWR|os.O_CREATE, 0o640)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		if errors.Is(err, unix.EWOULDBLOCK) {
			err = fmt.Errorf("another process records into %s", p.dir)
		}
		return nil, errors.Join(err, f.Close())
	}
	p.lock = f
	return p, nil
}

func (p *partial) close() error { return p.lock.Close() }

func (p *partial) path(name string) string { return filepath.Join(p.dir, name) }

func (p *partial) has(name string) bool {
	_, err := os.Stat(p.path(name))
	return err == nil
}

// remove deletes the folder with all that is in it. What tells that the
// recording is complete goes last, so that a removal that was cut off is
// finished by the same command.
func (p *partial) remove() error {
	entries, err := os.ReadDir(p.dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if name := e.Name(); name != planFile && name != assembledFile {
			if err := os.RemoveAll(p.path(name)); err != nil {
				return err
			}
		}
	}
	return os.RemoveAll(p.dir)
}

// plan returns the plan of an earlier attempt, nil where there was none.
func (p *partial) plan() (*recordPlan, error) {
	text, err := os.ReadFile(p.path(planFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil //nolint:nilnil // nothing was begun
	}
	if err != nil {
		return nil, err
	}
	var plan recordPlan
	if err := json.Unmarshal(text, &plan); err != nil {
		return nil, fmt.Errorf("read %s: %w", p.path(planFile), err)
	}
	return &plan, nil
}

func (p *partial) savePlan(plan *recordPlan) error {
	return p.write(planFile, func(w io.Writer) error {
		enc := json.NewEncoder(w)
		enc.SetIndent("", "  ")
		return enc.Encode(plan)
	})
}

// write makes a file that is whole and durable when it has its name.
func (p *partial) write(name string, content func(io.Writer) error) error {
	temporary := p.path(name + ".tmp")
	f, err := os.Create(temporary)
	if err != nil {
		return err
	}
	buffered := bufio.NewWriterSize(f, 1<<16)
	err = content(buffered)
	if err == nil {
		err = buffered.Flush()
	}
	if err == nil {
		err = f.Sync()
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return errors.Join(err, os.Remove(temporary))
	}
	if err := os.Rename(temporary, p.path(name)); err != nil {
		return err
	}
	return syncFolder(p.dir)
}

// syncFolder makes the names in a folder durable.
func syncFolder(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

func chunkName(i int) string { return fmt.Sprintf("chunk-%06d.jsonl.gz", i) }

// chunkLine is one series of a chunk. Values are the bits of the numbers, which
// JSON could not hold as they are.
type chunkLine struct {
	Metric model.Metric `json:"metric"`
	Times  []int64      `json:"times"`
	Values []uint64     `json:"values"`
}

func (p *partial) saveChunk(i int, series []sources.Series) error {
	return p.write(chunkName(i), func(w io.Writer) error {
		zipped, err := gzip.NewWriterLevel(w, gzip.BestSpeed)
		if err != nil {
			return err
		}
		enc := json.NewEncoder(zipped)
		for _, s := range series {
			line := chunkLine{Metric: s.Metric, Times: make([]int64, len(s.Samples)), Values: make([]uint64, len(s.Samples))}
			for i, sample := range s.Samples {
				line.Times[i], line.Values[i] = int64(sample.Timestamp), math.Float64bits(float64(sample.Value))
			}
			if err := enc.Encode(line); err != nil {
				return err
			}
		}
		return zipped.Close()
	})
}

// loadChunk calls yield with every series of a chunk, in the order of saving.
func (p *partial) loadChunk(i int, yield func(sources.Series) error) error {
	f, err := os.Open(p.path(chunkName(i)))
	if err != nil {
		return err
	}
	defer f.Close() //nolint:errcheck // only read
	zipped, err := gzip.NewReader(bufio.NewReader(f))
	if err != nil {
		return fmt.Errorf("read %s: %w", f.Name(), err)
	}
	dec := json.NewDecoder(zipped)
	for {
		var line chunkLine
		switch err := dec.Decode(&line); {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return fmt.Errorf("read %s: %w", f.Name(), err)
		case len(line.Times) != len(line.Values):
			return fmt.Errorf("read %s: a series has %d times and %d values", f.Name(), len(line.Times), len(line.Values))
		}
		series := sources.Series{Metric: line.Metric, Samples: make([]model.SamplePair, len(line.Times))}
		for i, at := range line.Times {
			series.Samples[i] = model.SamplePair{Timestamp: model.Time(at), Value: model.SampleValue(math.Float64frombits(line.Values[i]))}
		}
		if err := yield(series); err != nil {
			return err
		}
	}
}
