package audit

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/sreagent/sreagent/sre"
)

// crashed is a trail of which the last append, of two records, may be cut off
// anywhere.
type crashed struct {
	o             Options
	before, after snapshot // of the folder around the last append
}

func newCrashed(t testing.TB) crashed {
	c := crashed{o: options(t.TempDir())}
	trail := open(t, c.o)
	mustAppend(t, trail, records(0, 5))
	c.before = take(t, c.o.Dir)
	mustAppend(t, trail, c.records(5, 7))
	mustClose(t, trail)
	c.after = take(t, c.o.Dir)
	return c
}

// records are short from the fifth on, to have fewer bytes to crash at.
func (c crashed) records(from, to uint64) []sre.Record {
	out := records(from, to)
	for i := range out {
		if out[i].Seq >= 5 {
			out[i] = sre.Record{Seq: out[i].Seq, At: epoch, Kind: sre.RecordStop}
		}
	}
	return out
}

// checkRecovered opens the trail and expects the first n records.
func (c crashed) checkRecovered(t testing.TB, n uint64) *Trail {
	t.Helper()
	trail := open(t, c.o)
	if diff := cmp.Diff(c.records(0, n), collect(t, trail.Records())); diff != "" {
		t.Fatalf("recovered (-want +got):\n%s", diff)
	}
	if r := verify(t, c.o.Dir, trail.PublicKey()); !r.OK() || len(r.Notes) > 0 || r.Size != n {
		t.Fatalf("after recovery: %s", r)
	}
	return trail
}

// checkResumed expects the first n records, too, and works on.
func (c crashed) checkResumed(t testing.TB, n uint64) {
	t.Helper()
	trail := c.checkRecovered(t, n)
	mustAppend(t, trail, c.records(n, n+3))
	mustClose(t, trail)
	if r := verify(t, c.o.Dir, trail.PublicKey()); !r.OK() || len(r.Notes) > 0 || r.Size != n+3 {
		t.Fatalf("after working on: %s", r)
	}
	if _, err := Prove(c.o.Dir, n); err != nil {
		t.Fatalf("hashes after recovery: %v", err)
	}
}

func TestCrashAtEveryByte(t *testing.T) {
	c := newCrashed(t)
	seg := newSegment("", 0)
	name, hashes := seg.name, filepath.Base(seg.hashes())
	full, start := c.after[name], len(c.before[name])
	if bytes.Count(full[start:], []byte{'\n'}) != 2 {
		t.Fatal("the last append is not two lines")
	}
	for cut := start; cut <= len(full); cut++ {
		state := maps.Clone(c.before)
		state[name] = full[:cut]
		// The hashes are written after the lines: only behind all of them can
		// there be more than before.
		if cut == len(full) {
			state[hashes] = c.after[hashes][:len(c.before[hashes])+40]
			state["checkpoint.tmp"] = c.after[checkpointName][:9]
		}
		state.restore(t, c.o.Dir)
		whole := uint64(bytes.Count(full[:cut], []byte{'\n'}))
		if r := verify(t, c.o.Dir, ""); !r.OK() {
			t.Fatalf("cut at byte %d looks like tampering: %s", cut, r)
		}
		if cut%16 == 0 || len(full)-cut < 3 {
			c.checkResumed(t, whole)
		} else {
			mustClose(t, c.checkRecovered(t, whole))
		}

		torn, err := filepath.Glob(filepath.Join(c.o.Dir, name+".torn-*"))
		if err != nil {
			t.Fatal(err)
		}
		rest := full[bytes.LastIndexByte(full[:cut], '\n')+1 : cut]
		if (len(torn) == 1) != (len(rest) > 0) {
			t.Fatalf("cut at byte %d: %d copies of %d bytes", cut, len(torn), len(rest))
		}
		if len(rest) > 0 && !bytes.Equal(read(t, torn[0]), rest) {
			t.Fatalf("cut at byte %d: the copy is not what was cut off", cut)
		}
	}
}

// What a checkpoint speaks for was acknowledged: no cut of it may pass.
func TestLossOfAcknowledgedRecordsIsRefused(t *testing.T) {
	c := newCrashed(t)
	name := newSegment("", 0).name
	for cut := len(c.before[name]); cut < len(c.after[name]); cut++ {
		state := maps.Clone(c.after)
		state[name] = state[name][:cut]
		state.restore(t, c.o.Dir)
		var damaged *DamagedError
		if _, err := Open(c.o); !asError(err, &damaged) {
			t.Fatalf("cut at byte %d: %v", cut, err)
		}
		if f := damaged.Report.Findings[0]; f.Kind != Truncated || f.Seq != uint64(bytes.Count(state[name], []byte{'\n'})) {
			t.Fatalf("cut at byte %d: %s", cut, f)
		}
		if !take(t, c.o.Dir).equal(state) {
			t.Fatalf("cut at byte %d: a refused trail was changed", cut)
		}
	}
}

// After a loss of power blocks may be missing from within what was not yet
// durable, so that the end of the file is garbage with line ends in it.
func TestGarbageAfterTheCheckpointIsSetAside(t *testing.T) {
	for name, garbage := range map[string]string{
		"zeros":             strings.Repeat("\x00", 300),
		"zeros, then lines": strings.Repeat("\x00", 30) + "}\n" + `{"seq":6,"kind":"stop"}` + "\n",
		"another's record":  `{"seq":9,"kind":"stop"}` + "\n",
		"an empty line":     "\n",
	} {
		t.Run(name, func(t *testing.T) {
			c := newCrashed(t)
			c.before.restore(t, c.o.Dir)
			path := newSegment(c.o.Dir, 0).path
			write(t, path, append(read(t, path), garbage...))
			var log bytes.Buffer
			c.o.Log = slog.New(slog.NewTextHandler(&log, nil))
			c.checkResumed(t, 5)
			if !strings.Contains(log.String(), "set aside") {
				t.Fatalf("nobody is told: %s", log.String())
			}
			torn, err := filepath.Glob(path + ".torn-*")
			if err != nil || len(torn) != 1 || string(read(t, torn[0])) != garbage {
				t.Fatalf("copies: %v %v", torn, err)
			}
		})
	}
}

func TestTornCopiesAreNeverReplaced(t *testing.T) {
	c := newCrashed(t)
	path := newSegment(c.o.Dir, 0).path
	whole := c.before[filepath.Base(path)]
	c.before.restore(t, c.o.Dir)
	for i, half := range []string{"one", "two", "three"} {
		write(t, path, append(bytes.Clone(whole), half...))
		mustClose(t, open(t, c.o))
		copied := fmt.Sprintf("%s.torn-%d", path, len(whole))
		if i > 0 {
			copied += fmt.Sprintf("-%d", i+1)
		}
		if got := string(read(t, copied)); got != half {
			t.Fatalf("%s holds %q", copied, got)
		}
	}
}

func TestCrashInFirstAppendAndRotation(t *testing.T) {
	o := options(t.TempDir())
	mustClose(t, open(t, o))
	fresh := take(t, o.Dir)
	if _, ok := fresh[checkpointName]; !ok {
		t.Fatal("a new trail has no checkpoint, so that a missing one could not be told from a new trail")
	}
	c := crashed{o: o}
	path := newSegment(o.Dir, 0).path
	write(t, path, []byte(`{"seq":0,`))
	c.checkResumed(t, 0)

	// Before anything was made but the lock.
	snapshot{}.restore(t, o.Dir)
	write(t, newSegment(o.Dir, 0).hashes(), make([]byte, 64)) // of a trail that was here before
	c.checkResumed(t, 0)

	// Between the making of a new segment and its first line.
	o.SegmentBytes = 1 // every batch begins a segment
	o.Dir = t.TempDir()
	trail := open(t, o)
	mustAppend(t, trail, c.records(0, 3))
	mustAppend(t, trail, c.records(3, 6))
	mustClose(t, trail)
	write(t, newSegment(o.Dir, 6).path, nil)
	write(t, newSegment(o.Dir, 6).hashes(), make([]byte, 32))
	crashed{o: o}.checkResumed(t, 6)
	if segments, err := listSegments(o.Dir); err != nil || len(segments) != 3 || segments[2].first != 6 {
		t.Fatalf("segments: %v %v", segments, err)
	}
}

func TestDamagedHashesAreRestored(t *testing.T) {
	tests := map[string]func(dir string){
		"one file gone": func(dir string) { remove(t, newSegment(dir, 12).hashes()) },
		"a flipped byte in each": func(dir string) {
			segments, err := listSegments(dir)
			if err != nil {
				t.Fatal(err)
			}
			for _, s := range segments {
				b := read(t, s.hashes())
				b[len(b)-1] ^= 4
				write(t, s.hashes(), b)
			}
		},
		"too long": func(dir string) {
			path := newSegment(dir, 36).hashes()
			write(t, path, append(read(t, path), make([]byte, 100)...))
		},
	}
	for name, damage := range tests {
		t.Run(name, func(t *testing.T) {
			o := options(t.TempDir())
			o.SegmentBytes = 3300
			key, _ := bounds(t, o, 38)
			want := take(t, o.Dir)
			damage(o.Dir)
			mustClose(t, open(t, o))
			if !take(t, o.Dir).equal(want) {
				t.Fatal("the hash files are not as they were")
			}
			if r := verify(t, o.Dir, key); !r.OK() {
				t.Fatal(r)
			}
		})
	}
}

// The hashes of unacknowledged records may be anything after a loss of power,
// of the right length too.
func TestGarbageHashesAfterTheCheckpoint(t *testing.T) {
	c := newCrashed(t)
	state := maps.Clone(c.after)
	state[checkpointName] = c.before[checkpointName]
	hashes := filepath.Base(newSegment("", 0).hashes())
	state[hashes] = append(bytes.Clone(c.before[hashes]), make([]byte, len(c.after[hashes])-len(c.before[hashes]))...)
	state.restore(t, c.o.Dir)
	mustClose(t, c.checkRecovered(t, 7))
	if !bytes.Equal(read(t, filepath.Join(c.o.Dir, hashes)), c.after[hashes]) {
		t.Fatal("the hashes are still garbage")
	}
}

func TestAdoptedRecordsAreLogged(t *testing.T) {
	c := newCrashed(t)
	state := c.after
	state[checkpointName] = c.before[checkpointName]
	state.restore(t, c.o.Dir)
	var log bytes.Buffer
	c.o.Log = slog.New(slog.NewTextHandler(&log, nil))
	c.checkResumed(t, 7)
	if !strings.Contains(log.String(), "first_seq=5 next_seq=7") {
		t.Fatalf("nobody is told which records were kept: %s", log.String())
	}
}

func TestFrontierIsTlog(t *testing.T) {
	var (
		tree   frontier
		stored []tlog.Hash
		reader = tlog.HashReaderFunc(func(indexes []int64) ([]tlog.Hash, error) {
			out := make([]tlog.Hash, len(indexes))
			for i, index := range indexes {
				out[i] = stored[index]
			}
			return out, nil
		})
	)
	for n := range int64(300) {
		want, err := tlog.TreeHash(n, reader)
		if err != nil || tree.root() != want || tree.size != uint64(n) {
			t.Fatalf("size %d: root %v, want %v %v", n, tree.root(), want, err)
		}
		data := fmt.Appendf(nil, "leaf %d", n)
		hashes, err := tlog.StoredHashes(n, data, reader)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(hashes, tree.push(tlog.RecordHash(data), nil)); diff != "" {
			t.Fatalf("record %d (-want +got):\n%s", n, diff)
		}
		stored = append(stored, hashes...)
	}
}

func TestHashFilesAreTlogsStorage(t *testing.T) {
	o := options(t.TempDir())
	o.SegmentBytes = 3300
	_, firsts := bounds(t, o, 38)
	var all []byte
	for _, first := range firsts {
		all = append(all, read(t, newSegment(o.Dir, first).hashes())...)
	}
	if got, want := int64(len(all)), tlog.StoredHashCount(38)*tlog.HashSize; got != want {
		t.Fatalf("%d bytes of hashes, want %d", got, want)
	}
	store, err := openHashes(o.Dir)
	if err != nil {
		t.Fatal(err)
	}
	if store.end() != 38 {
		t.Fatalf("end is %d", store.end())
	}
	for i := range tlog.StoredHashCount(38) {
		h, err := store.hash(i)
		if err != nil || !bytes.Equal(h[:], all[i*tlog.HashSize:][:tlog.HashSize]) {
			t.Fatalf("hash %d: %v %v", i, h, err)
		}
	}
	if _, err := store.hash(tlog.StoredHashCount(38)); err == nil {
		t.Fatal("a hash past the end was read")
	}
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := openHashes(filepath.Join(o.Dir, "nowhere")); !errors.Is(err, os.ErrNotExist) {
		t.Fatalf("no folder: %v", err)
	}
}
