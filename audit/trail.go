package audit

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"log/slog"
	"os"
	"path/filepath"
	"sync"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/sreagent/sreagent/sre"
)

var (
	// ErrLocked says that another process, or another Trail in this one, appends
	// to the trail.
	ErrLocked = errors.New("trail is locked by another writer")
	// ErrBroken says that an earlier write to the trail failed, so that nothing
	// more is written. Opening the trail anew recovers it.
	ErrBroken = errors.New("trail is broken by an earlier failed write")
	// ErrClosed says that the trail was closed.
	ErrClosed = errors.New("trail is closed")
)

// SequenceError refuses records that do not follow the last one without a gap.
// Nothing was written.
type SequenceError struct{ Want, Got uint64 }

// Error names both numbers.
func (e *SequenceError) Error() string {
	return fmt.Sprintf("append record %d where %d comes next", e.Got, e.Want)
}

// Trail is a trail open for appending. Its methods may be called from several
// goroutines.
type Trail struct {
	o    Options
	m    *metrics
	key  signingKey
	lock *os.File

	mu      sync.Mutex
	tree    frontier // over the durable records
	segment segment
	size    int64 // bytes in the current segment
	lines   *os.File
	hashes  *os.File
	err     error // why nothing more is written
}

// Open opens a trail for appending, or begins one in a folder that holds none.
// It takes an exclusive lock (ErrLocked), checks every record against the last
// checkpoint (*DamagedError) and recovers what a crash left behind: whole
// records after the checkpoint are kept and signed, and what is not a whole
// record after them is moved aside into a file of its own and logged. An
// acknowledged record is never given up, and a half one never taken.
func Open(o Options) (*Trail, error) {
	if o.Dir == "" {
		return nil, errors.New("open trail: no folder is given")
	}
	o = o.withDefaults()
	if err := os.MkdirAll(o.Dir, 0o750); err != nil {
		return nil, fmt.Errorf("make trail folder: %w", err)
	}
	lock, err := lockDir(o.Dir)
	if err != nil {
		return nil, err
	}
	t := &Trail{o: o, lock: lock}
	if err := t.open(); err != nil {
		return nil, errors.Join(err, t.release())
	}
	// Last, so that a failed Open can be tried again with the same registry.
	t.m = newMetrics(o.Registerer)
	t.m.size.Set(float64(t.tree.size))
	return t, nil
}

func (t *Trail) open() error {
	var err error
	if t.key, err = loadKey(t.o); err != nil {
		return err
	}
	if err = t.recover(); err != nil {
		return err
	}
	if err = publish(t.o, t.key); err != nil {
		return err
	}
	return t.openFiles()
}

// Next returns the sequence number that the next record must have.
func (t *Trail) Next() uint64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.tree.size
}

// Root returns the number of durable records and the root hash of the tree over
// them, base64, for comparing replicas.
func (t *Trail) Root() (size uint64, root string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.tree.size, t.tree.root().String()
}

// PublicKey returns the encoded public key with which the trail is verified.
func (t *Trail) PublicKey() string { return t.key.public }

// Records yields the records that are durable at the time of the call, in
// order. It may run while others append. It yields an error at most once, as
// its last element.
func (t *Trail) Records() iter.Seq2[sre.Record, error] {
	return readDir(t.o.Dir, 0, t.Next())
}

// RecordsFrom yields as Records does, from the given sequence number on.
func (t *Trail) RecordsFrom(seq uint64) iter.Seq2[sre.Record, error] {
	return readDir(t.o.Dir, seq, t.Next())
}

// Append makes the records durable, secrets redacted, and signs a checkpoint
// over them. When it returns nil they survive a crash; when it returns an error
// the caller must not act on them. A *SequenceError, a record that has no JSON
// form and a context that was done before the start leave the trail as it was;
// after any other error every later Append returns ErrBroken.
func (t *Trail) Append(ctx context.Context, records []sre.Record) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	start := t.o.Now()
	err := t.append(ctx, records)
	if err != nil {
		t.m.failures.Inc()
		return err
	}
	t.m.records.Add(float64(len(records)))
	t.m.size.Set(float64(t.tree.size))
	t.m.duration.Observe(t.o.Now().Sub(start).Seconds())
	return nil
}

func (t *Trail) append(ctx context.Context, records []sre.Record) error {
	if t.err != nil {
		return t.err
	}
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("append to trail: %w", err)
	}
	if len(records) == 0 {
		return nil
	}
	b, err := encode(records, t.tree)
	if err != nil {
		return err
	}
	// From here on the context no longer counts: half a write helps nobody.
	if err := t.write(b); err != nil {
		t.err = fmt.Errorf("%w: %w", ErrBroken, err)
		return fmt.Errorf("append to trail: %w", err)
	}
	t.tree = b.tree
	return nil
}

// batch is what one append adds to the files.
type batch struct {
	lines  []byte
	hashes []byte
	tree   frontier // with the batch's records
}

// encode turns records into lines and hashes. The tree is not changed.
func encode(records []sre.Record, tree frontier) (batch, error) {
	b := batch{tree: frontier{size: tree.size, trees: append([]tlog.Hash(nil), tree.trees...)}}
	var stored []tlog.Hash
	for _, rec := range records {
		if rec.Seq != b.tree.size {
			return batch{}, &SequenceError{Want: b.tree.size, Got: rec.Seq}
		}
		data, err := json.Marshal(Redact(rec))
		if err != nil {
			return batch{}, fmt.Errorf("encode record %d: %w", rec.Seq, err)
		}
		if len(data) > maxLine {
			return batch{}, fmt.Errorf("encode record %d: %w", rec.Seq, errLineTooLong)
		}
		stored = b.tree.push(tlog.RecordHash(data), stored[:0])
		for _, h := range stored {
			b.hashes = append(b.hashes, h[:]...)
		}
		b.lines = append(append(b.lines, data...), '\n')
	}
	return b, nil
}

// write makes a batch durable. The order matters: a checkpoint must never speak
// for records that a crash could take away.
func (t *Trail) write(b batch) error {
	if t.size > 0 && t.size+int64(len(b.lines)) > t.o.SegmentBytes {
		if err := t.rotate(); err != nil {
			return err
		}
	}
	if err := writeSync(t.lines, b.lines); err != nil {
		return fmt.Errorf("write records: %w", err)
	}
	t.size += int64(len(b.lines))
	if err := writeSync(t.hashes, b.hashes); err != nil {
		return fmt.Errorf("write hashes: %w", err)
	}
	return t.checkpoint(b.tree)
}

func writeSync(f *os.File, data []byte) error {
	if _, err := f.Write(data); err != nil {
		return err
	}
	return f.Sync()
}

// rotate begins the segment of the next record.
func (t *Trail) rotate() error {
	if err := errors.Join(t.lines.Close(), t.hashes.Close()); err != nil {
		return fmt.Errorf("close segment: %w", err)
	}
	t.segment = newSegment(t.o.Dir, t.tree.size)
	if err := dropHashes(t.segment); err != nil {
		return err
	}
	return t.openFiles()
}

// dropHashes removes hashes that stand beside a segment without records: of a
// trail that was here before, or of an append that a crash took back.
func dropHashes(s segment) error {
	if err := os.Remove(s.hashes()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove stale hashes: %w", err)
	}
	return nil
}

// openFiles opens the current segment and its hashes at their ends.
func (t *Trail) openFiles() error {
	var err error
	const flags = os.O_WRONLY | os.O_CREATE | os.O_APPEND
	if t.lines, err = os.OpenFile(t.segment.path, flags, 0o640); err != nil {
		return fmt.Errorf("open segment: %w", err)
	}
	if t.hashes, err = os.OpenFile(t.segment.hashes(), flags, 0o640); err != nil {
		return fmt.Errorf("open hashes: %w", err)
	}
	info, err := t.lines.Stat()
	if err != nil {
		return fmt.Errorf("open segment: %w", err)
	}
	t.size = info.Size()
	if err := syncDir(t.o.Dir); err != nil {
		return fmt.Errorf("sync trail folder: %w", err)
	}
	return nil
}

// checkpoint signs the tree and writes the checkpoint, here first, so that the
// second place is never ahead of the trail.
func (t *Trail) checkpoint(tree frontier) error {
	c := checkpoint{origin: t.key.signer.Name(), size: tree.size, root: tree.root(), at: t.o.Now()}
	msg, err := c.sign(t.key.signer)
	if err != nil {
		return err
	}
	if err := writeAtomic(filepath.Join(t.o.Dir, checkpointName), msg, 0o640); err != nil {
		return fmt.Errorf("write checkpoint: %w", err)
	}
	t.sendOut(msg)
	return nil
}

// sendOut copies a checkpoint to its second place. That place may be down
// without harm to the records, so that failing is told, not fatal; the next
// checkpoint covers this one.
func (t *Trail) sendOut(msg []byte) {
	if t.o.CheckpointOut == "" {
		return
	}
	if old, err := os.ReadFile(t.o.CheckpointOut); err == nil && bytes.Equal(old, msg) {
		return
	}
	if err := writeAtomic(t.o.CheckpointOut, msg, 0o644); err != nil {
		if t.m != nil {
			t.m.outFailures.Inc()
		}
		t.o.Log.Warn("checkpoint cannot be written to its second place", slog.String("file", t.o.CheckpointOut), slog.Any("err", err))
	}
}

// Close releases the trail. Everything acknowledged is durable already.
func (t *Trail) Close() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if errors.Is(t.err, ErrClosed) {
		return nil
	}
	broken := t.err != nil
	t.err = ErrClosed
	err := t.release()
	if broken {
		return nil // the files may be closed already; the failure was reported
	}
	return err
}

func (t *Trail) release() error {
	var errs []error
	for _, f := range []*os.File{t.lines, t.hashes, t.lock} {
		if f != nil {
			errs = append(errs, f.Close())
		}
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("close trail: %w", err)
	}
	return nil
}
