package audit

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/mod/sumdb/tlog"
)

// recover brings the files and the tree to the state after the last append that
// can be proven, and refuses what a crash cannot have done.
func (t *Trail) recover() error {
	segments, err := listSegments(t.o.Dir)
	if err != nil {
		return err
	}
	outside, err := t.readOutside()
	if err != nil {
		return err
	}
	raw, err := readCheckpoint(filepath.Join(t.o.Dir, checkpointName))
	if errors.Is(err, fs.ErrNotExist) {
		if outside != nil || !empty(segments) {
			return t.damaged(outside)
		}
		return t.begin()
	}
	if err != nil {
		return err
	}
	c, err := openCheckpoint(raw, t.key.verifier)
	if err != nil {
		return t.damaged(outside)
	}
	s, err := t.surveyed(segments, c, outside)
	if err != nil {
		return err
	}
	return t.resume(segments, c, s)
}

// empty reports whether no segment has a byte: the first append has not begun.
func empty(segments []segment) bool {
	return !slices.ContainsFunc(segments, func(s segment) bool {
		info, err := os.Stat(s.path)
		return err != nil || info.Size() > 0
	})
}

// begin starts a new trail with a checkpoint of the empty tree, so that a
// missing checkpoint is a finding ever after.
func (t *Trail) begin() error {
	t.segment = newSegment(t.o.Dir, 0)
	if err := dropHashes(t.segment); err != nil {
		return err
	}
	if err := t.checkpoint(t.tree); err != nil {
		return err
	}
	t.o.Log.Info("trail begun", slog.String("dir", t.o.Dir))
	return nil
}

func (t *Trail) readOutside() ([]byte, error) {
	if t.o.CheckpointOut == "" {
		return nil, nil
	}
	raw, err := readCheckpoint(t.o.CheckpointOut)
	if errors.Is(err, fs.ErrNotExist) || err == nil && len(raw) == 0 {
		return nil, nil
	}
	if err != nil {
		// The place may be down, which must not keep the agent from working.
		t.o.Log.Warn("checkpoint cannot be read from its second place", slog.String("file", t.o.CheckpointOut), slog.Any("err", err))
		return nil, nil
	}
	return raw, nil
}

// damaged tells by a full verification what is wrong.
func (t *Trail) damaged(outside []byte) error {
	report, err := VerifyAgainst(t.o.Dir, t.key.public, outside)
	if err != nil {
		return fmt.Errorf("verify trail: %w", err)
	}
	return &DamagedError{Report: report}
}

// surveyed reads the trail and returns it when it holds all that the
// checkpoints speak for.
func (t *Trail) surveyed(segments []segment, c checkpoint, outside []byte) (*survey, error) {
	var o checkpoint
	whole := true
	if outside != nil {
		var err error
		if o, err = openCheckpoint(outside, t.key.verifier); err != nil {
			whole = false
		}
	}
	store, err := openHashes(t.o.Dir)
	if err != nil {
		return nil, err
	}
	s, err := surveyTrail(segments, store, c.size, c.size, o.size)
	if err = errors.Join(err, store.Close()); err != nil {
		return nil, err
	}
	whole = whole && s.holds(c) && len(s.misnamed) == 0
	whole = whole && (outside == nil || o.size <= c.size && s.holds(o))
	// An append goes into the last segment only, so a crash cannot tear another.
	whole = whole && (s.stop == nil || s.stop.segment == len(segments)-1)
	if !whole {
		return nil, t.damaged(outside)
	}
	return s, nil
}

// resume takes up a trail that holds.
func (t *Trail) resume(segments []segment, c checkpoint, s *survey) error {
	t.tree = s.tree
	if s.stop != nil {
		if err := t.setAside(segments[s.stop.segment], s.stop); err != nil {
			return fmt.Errorf("set aside the torn end of the trail: %w", err)
		}
	}
	if err := t.restoreHashes(segments, s, c.size); err != nil {
		return fmt.Errorf("restore hashes: %w", err)
	}
	t.segment = newSegment(t.o.Dir, 0)
	if len(segments) > 0 {
		t.segment = segments[len(segments)-1]
	}
	if s.tree.size > c.size {
		// The process may have died before it synced what it wrote, and a
		// checkpoint must never speak for what is not durable.
		for _, seg := range segments[holding(segments, c.size):] {
			if err := syncFile(seg.path); err != nil {
				return fmt.Errorf("sync records after the last checkpoint: %w", err)
			}
		}
		t.o.Log.Warn("records after the last checkpoint were kept: an append had been cut short",
			slog.Uint64("first_seq", c.size), slog.Uint64("next_seq", s.tree.size))
		return t.checkpoint(s.tree)
	}
	if raw, err := readCheckpoint(filepath.Join(t.o.Dir, checkpointName)); err == nil {
		t.sendOut(raw)
	}
	return nil
}

func syncFile(path string) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// setAside copies what stands after the last whole record into a file of its
// own, then cuts it off. None of it was ever acknowledged.
func (t *Trail) setAside(seg segment, stop *tail) error {
	f, err := os.OpenFile(seg.path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	copied := fmt.Sprintf("%s.torn-%d", seg.path, stop.offset)
	n, err := copyTail(f, copied, stop.offset)
	if err == nil {
		err = f.Truncate(stop.offset)
	}
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	t.o.Log.Warn("end of the trail was torn and is set aside", slog.String("segment", seg.name), slog.Int("line", stop.line),
		slog.Int64("bytes", n), slog.String("copy", filepath.Base(copied)), slog.Any("err", stop.err))
	return nil
}

// copyTail copies a file from offset on into a new one that never replaces an
// earlier copy, and makes it durable.
func copyTail(f *os.File, path string, offset int64) (int64, error) {
	if _, err := f.Seek(offset, io.SeekStart); err != nil {
		return 0, err
	}
	flags := os.O_WRONLY | os.O_CREATE | os.O_EXCL
	out, err := os.OpenFile(path, flags, 0o640)
	for i := 2; errors.Is(err, fs.ErrExist); i++ {
		out, err = os.OpenFile(fmt.Sprintf("%s-%d", path, i), flags, 0o640)
	}
	if err != nil {
		return 0, err
	}
	n, err := io.Copy(out, f)
	if err == nil {
		err = out.Sync()
	}
	if err = errors.Join(err, out.Close()); err != nil {
		return 0, err
	}
	return n, syncDir(filepath.Dir(path))
}

// restoreHashes writes anew the hash files that are not what the proven records
// give. They only repeat what the records say, so that nothing is lost by it.
func (t *Trail) restoreHashes(segments []segment, s *survey, covered uint64) error {
	if len(segments) == 0 {
		return nil
	}
	last := len(segments) - 1
	stale := map[int]bool{}
	for _, d := range s.hashes.found {
		for i := holding(segments, d.lo); i <= holding(segments, d.hi); i++ {
			stale[i] = true
		}
	}
	if s.hashes.more > 0 {
		for i := range segments {
			stale[i] = true
		}
	}
	want := (tlog.StoredHashCount(int64(s.tree.size)) - tlog.StoredHashCount(int64(segments[last].first))) * tlog.HashSize
	if info, err := os.Stat(segments[last].hashes()); err != nil || info.Size() != want || s.tree.size > covered {
		stale[last] = true
	}
	if len(s.hashes.found) > 0 {
		t.o.Log.Warn("stored hashes were damaged and are restored from the records", slog.Int("places", len(s.hashes.found)))
	}
	if len(stale) == 0 {
		return nil
	}
	return rewriteHashes(segments, stale)
}

// rewriteHashes grows the tree over all records again and writes the hash files
// of the stale segments.
func rewriteHashes(segments []segment, stale map[int]bool) error {
	var (
		tree   frontier
		stored []tlog.Hash
		out    *hashWriter
		at     = -1
	)
	enter := func(upTo int) error {
		for ; at < upTo; at++ {
			if err := out.commit(); err != nil {
				return err
			}
			out = nil
			if !stale[at+1] {
				continue
			}
			var err error
			if out, err = newHashWriter(segments[at+1]); err != nil {
				return err
			}
		}
		return nil
	}
	for l, err := range readLines(segments, 0) {
		if err == nil {
			err = enter(l.segment)
		}
		if err != nil {
			return errors.Join(err, out.close())
		}
		stored = tree.push(tlog.RecordHash(l.data), stored[:0])
		out.add(stored)
	}
	if err := enter(len(segments) - 1); err != nil {
		return err
	}
	return out.commit()
}

// hashWriter writes one hash file beside its name and moves it there when it is
// whole. A nil one does nothing.
type hashWriter struct {
	path string
	file *os.File
	buf  *bufio.Writer
}

func newHashWriter(seg segment) (*hashWriter, error) {
	f, err := os.OpenFile(seg.hashes()+".tmp", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o640)
	if err != nil {
		return nil, err
	}
	return &hashWriter{path: seg.hashes(), file: f, buf: bufio.NewWriter(f)}, nil
}

func (w *hashWriter) add(hashes []tlog.Hash) {
	if w == nil {
		return
	}
	for _, h := range hashes {
		_, _ = w.buf.Write(h[:]) // the buffer keeps the error for commit
	}
}

func (w *hashWriter) commit() error {
	if w == nil {
		return nil
	}
	err := w.buf.Flush()
	if err == nil {
		err = w.file.Sync()
	}
	if err = errors.Join(err, w.file.Close()); err != nil {
		return err
	}
	if err := os.Rename(w.path+".tmp", w.path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(w.path))
}

func (w *hashWriter) close() error {
	if w == nil {
		return nil
	}
	return w.file.Close()
}
