package audit

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/goleak"

	"github.com/sreagent/sreagent/sre"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestRoundTrip(t *testing.T) {
	for _, segmentBytes := range []int64{0, 2000} {
		o := options(t.TempDir())
		o.SegmentBytes = segmentBytes
		trail := open(t, o)
		if trail.Next() != 0 {
			t.Fatalf("a new trail begins at %d", trail.Next())
		}
		mustAppend(t, trail, nil)
		for range 10 {
			mustAppend(t, trail, records(trail.Next(), trail.Next()+4))
		}
		if diff := cmp.Diff(records(0, 40), collect(t, trail.Records())); diff != "" {
			t.Fatalf("while open (-want +got):\n%s", diff)
		}
		if diff := cmp.Diff(records(33, 40), collect(t, trail.RecordsFrom(33))); diff != "" {
			t.Fatalf("from 33 (-want +got):\n%s", diff)
		}
		size, root := trail.Root()
		mustClose(t, trail)
		mustClose(t, trail)

		trail = open(t, o)
		if again, rootAgain := trail.Root(); again != size || rootAgain != root {
			t.Fatalf("opened again: %d %s, was %d %s", again, rootAgain, size, root)
		}
		mustAppend(t, trail, records(40, 45))
		mustClose(t, trail)
		if diff := cmp.Diff(records(0, 45), collect(t, ReadDir(o.Dir))); diff != "" {
			t.Fatalf("after a second opening (-want +got):\n%s", diff)
		}
		r := verify(t, o.Dir, trail.PublicKey())
		if !r.OK() || len(r.Notes) > 0 || r.Size != 45 || r.Records != 45 || !r.Signed || !r.CheckpointTime.Equal(epoch) {
			t.Fatalf("verify: %+v", r)
		}
		if segmentBytes > 0 && r.Segments < 4 {
			t.Fatalf("%d segments; rotation did not happen", r.Segments)
		}
	}
}

func TestLinesAreMarshalledRecords(t *testing.T) {
	o := options(t.TempDir())
	build(t, o, 5, 5)
	var want strings.Builder
	for _, r := range records(0, 5) {
		data, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		want.Write(append(data, '\n'))
	}
	if diff := cmp.Diff(want.String(), string(read(t, newSegment(o.Dir, 0).path))); diff != "" {
		t.Fatal(diff)
	}
}

func TestAppendRefusesWithoutHarm(t *testing.T) {
	o := options(t.TempDir())
	trail := open(t, o)
	defer mustClose(t, trail)
	mustAppend(t, trail, records(0, 3))

	var seqErr *SequenceError
	for _, bad := range [][]sre.Record{{record(2)}, {record(4)}, {record(3), record(5)}} {
		if err := trail.Append(t.Context(), bad); !errors.As(err, &seqErr) {
			t.Fatalf("append %d: %v, want a *SequenceError", bad[0].Seq, err)
		}
	}
	if diff := cmp.Diff(&SequenceError{Want: 4, Got: 5}, seqErr); diff != "" {
		t.Fatal(diff)
	}
	nan := record(3)
	nan.Intent.Action.Params["rps"] = math.NaN()
	if err := trail.Append(t.Context(), []sre.Record{nan}); err == nil || errors.Is(err, ErrBroken) {
		t.Fatalf("a number without JSON form: %v", err)
	}
	done, cancel := context.WithCancel(t.Context())
	cancel()
	if err := trail.Append(done, records(3, 4)); !errors.Is(err, context.Canceled) {
		t.Fatalf("cancelled: %v", err)
	}
	mustAppend(t, trail, records(3, 6))
	if diff := cmp.Diff(records(0, 6), collect(t, trail.Records())); diff != "" {
		t.Fatal(diff)
	}
}

func TestFailStop(t *testing.T) {
	tests := map[string]struct {
		breakIt func(*Trail) error
		mend    func(*Trail) error
		next    uint64 // after opening anew: whole records that reached the file are kept
	}{
		"records cannot be written": {func(trail *Trail) error { return trail.lines.Close() }, nil, 3},
		"hashes cannot be written":  {func(trail *Trail) error { return trail.hashes.Close() }, nil, 5},
		"checkpoint cannot be written": {
			func(trail *Trail) error { return os.Mkdir(filepath.Join(trail.o.Dir, checkpointName+".tmp"), 0o700) },
			func(trail *Trail) error { return os.Remove(filepath.Join(trail.o.Dir, checkpointName+".tmp")) },
			5,
		},
		"a new segment cannot be made": {
			func(trail *Trail) error {
				trail.o.SegmentBytes = 1
				return os.Mkdir(newSegment(trail.o.Dir, 3).path, 0o700)
			},
			func(trail *Trail) error { return os.Remove(newSegment(trail.o.Dir, 3).path) },
			3,
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			o := options(t.TempDir())
			o.Registerer = prometheus.NewRegistry()
			trail := open(t, o)
			mustAppend(t, trail, records(0, 3))
			if err := tt.breakIt(trail); err != nil {
				t.Fatal(err)
			}
			if err := trail.Append(t.Context(), records(3, 5)); err == nil || errors.Is(err, ErrBroken) {
				t.Fatalf("first failing append: %v", err)
			}
			if trail.Next() != 3 {
				t.Fatalf("next is %d after a failed append", trail.Next())
			}
			for range 2 {
				if err := trail.Append(t.Context(), records(3, 5)); !errors.Is(err, ErrBroken) {
					t.Fatalf("later append: %v, want ErrBroken", err)
				}
			}
			if got := testutil.ToFloat64(trail.m.failures); got != 3 {
				t.Fatalf("%v failures counted", got)
			}
			mustClose(t, trail)
			if err := trail.Append(t.Context(), records(3, 5)); !errors.Is(err, ErrClosed) {
				t.Fatalf("after close: %v", err)
			}

			if r := verify(t, o.Dir, trail.PublicKey()); !r.OK() || r.Size != 3 {
				t.Fatalf("a failed append was signed: %s", r)
			}
			if tt.mend != nil {
				if err := tt.mend(trail); err != nil {
					t.Fatal(err)
				}
			}
			o.Registerer = nil
			trail = open(t, o)
			defer mustClose(t, trail)
			if trail.Next() != tt.next {
				t.Fatalf("opened anew, next is %d, want %d", trail.Next(), tt.next)
			}
			mustAppend(t, trail, records(tt.next, 8))
			if diff := cmp.Diff(records(0, 8), collect(t, trail.Records())); diff != "" {
				t.Fatal(diff)
			}
		})
	}
}

func TestOneWriter(t *testing.T) {
	o := options(t.TempDir())
	first := open(t, o)
	if _, err := Open(o); !errors.Is(err, ErrLocked) {
		t.Fatalf("second opener: %v, want ErrLocked", err)
	}
	mustAppend(t, first, records(0, 2))
	mustClose(t, first)
	second := open(t, o)
	defer mustClose(t, second)
	if second.Next() != 2 {
		t.Fatalf("next is %d", second.Next())
	}
}

func TestConcurrentReaders(t *testing.T) {
	o := options(t.TempDir())
	o.SegmentBytes = 3000
	trail := open(t, o)
	mustAppend(t, trail, records(0, 1))
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() {
			for more := true; more; {
				select {
				case <-stop:
					more = false // one last round over the finished trail
				default:
				}
				seen := uint64(0)
				for r, err := range ReadDir(o.Dir) {
					if err != nil || r.Seq != seen {
						t.Errorf("record %d, want %d: %v", r.Seq, seen, err)
						return
					}
					seen++
				}
				if report, err := Verify(o.Dir, trail.PublicKey()); err != nil || !report.OK() {
					t.Errorf("a live trail does not verify: %v %v", err, report)
					return
				}
			}
		})
	}
	for range 30 {
		mustAppend(t, trail, records(trail.Next(), trail.Next()+5))
	}
	close(stop)
	wg.Wait()
	mustClose(t, trail)
}

func TestRecordsStopAtDurable(t *testing.T) {
	o := options(t.TempDir())
	trail := open(t, o)
	defer mustClose(t, trail)
	mustAppend(t, trail, records(0, 3))
	then := trail.Records()
	mustAppend(t, trail, records(3, 6))
	if got := collect(t, then); len(got) != 3 {
		t.Fatalf("%d records, want those that were durable at the call", len(got))
	}
	for range trail.Records() {
		break // an early end must not panic
	}
}

func TestSecondPlaceForCheckpoints(t *testing.T) {
	o := options(t.TempDir())
	o.CheckpointOut = filepath.Join(t.TempDir(), "out", "checkpoint")
	o.Registerer = prometheus.NewRegistry()
	trail := open(t, o) // the place is not there yet
	mustAppend(t, trail, records(0, 3))
	if got := testutil.ToFloat64(trail.m.outFailures); got != 1 {
		t.Fatalf("%v failures counted, want 1 (the one at open has no metric yet)", got)
	}
	if err := os.Mkdir(filepath.Dir(o.CheckpointOut), 0o700); err != nil {
		t.Fatal(err)
	}
	mustAppend(t, trail, records(3, 5))
	mustClose(t, trail)
	local := read(t, filepath.Join(o.Dir, checkpointName))
	if diff := cmp.Diff(string(local), string(read(t, o.CheckpointOut))); diff != "" {
		t.Fatal(diff)
	}
	remove(t, o.CheckpointOut)
	o.Registerer = nil
	mustClose(t, open(t, o))
	if diff := cmp.Diff(string(local), string(read(t, o.CheckpointOut))); diff != "" {
		t.Fatalf("opening does not catch up: %s", diff)
	}
}

func TestKeyFile(t *testing.T) {
	o := options(t.TempDir())
	o.KeyFile = filepath.Join(t.TempDir(), "keys", "signing")
	key := build(t, o, 3, 3)
	if info, err := os.Stat(o.KeyFile); err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("key file: %v %v", info, err)
	}
	for _, path := range []string{o.KeyFile + ".pub", filepath.Join(o.Dir, "trail.key.pub")} {
		if got := strings.TrimSpace(string(read(t, path))); got != key {
			t.Fatalf("%s holds %q, want %q", path, got, key)
		}
	}
	if strings.Contains(key, "PRIVATE") {
		t.Fatal("the public key is not public")
	}
	if _, err := os.Stat(filepath.Join(o.Dir, keyName)); !errors.Is(err, os.ErrNotExist) {
		t.Fatal("a signing key lies in the trail's folder")
	}

	other := o
	other.Origin = "another.example/trail"
	if _, err := Open(other); err == nil || !strings.Contains(err.Error(), "belongs to origin") {
		t.Fatalf("another origin: %v", err)
	}
	other = o
	other.KeyFile = filepath.Join(t.TempDir(), "fresh")
	if _, err := Open(other); err == nil || !strings.Contains(err.Error(), "is missing") {
		t.Fatalf("a trail went on with a fresh key: %v", err)
	}
	elsewhere := options(t.TempDir())
	elsewhere.KeyFile = other.KeyFile
	build(t, elsewhere, 1, 1)
	before := take(t, o.Dir)
	var damaged *DamagedError
	if _, err := Open(other); !asError(err, &damaged) || damaged.Report.Findings[0].Kind != BadSignature || !take(t, o.Dir).equal(before) {
		t.Fatalf("another key: %v", err)
	}
	write(t, filepath.Join(o.Dir, "trail.key.pub"), read(t, other.KeyFile+".pub"))
	if _, err := Open(o); err == nil || !strings.Contains(err.Error(), "is not that of the signing key") {
		t.Fatalf("public key exchanged: %v", err)
	}
	other.Dir, other.KeyFile, other.Origin = t.TempDir(), "", "two words"
	if _, err := Open(other); err == nil {
		t.Fatal("an origin with a space was taken")
	}
	write(t, o.KeyFile, []byte("garbage"))
	if _, err := Open(o); err == nil || strings.Contains(err.Error(), "garbage") {
		t.Fatalf("a broken key: %v", err)
	}
}

func TestKeyFileOddities(t *testing.T) {
	var log bytes.Buffer
	o := options(t.TempDir())
	o.Log = slog.New(slog.NewTextHandler(&log, nil))
	o.KeyFile = filepath.Join(t.TempDir(), "key")
	if err := os.MkdirAll(o.KeyFile+".pub", 0o700); err != nil { // no room beside the key
		t.Fatal(err)
	}
	key := build(t, o, 2, 2)
	if !strings.Contains(log.String(), "cannot be put beside") {
		t.Fatalf("log: %s", log.String())
	}
	if r := verify(t, o.Dir, ""); !r.OK() || r.Key != key {
		t.Fatal(r)
	}
	if strings.Contains(log.String(), "read by others") {
		t.Fatalf("log: %s", log.String())
	}
	if err := os.Chmod(o.KeyFile, 0o644); err != nil {
		t.Fatal(err)
	}
	mustClose(t, open(t, o))
	if !strings.Contains(log.String(), "read by others") {
		t.Fatalf("log: %s", log.String())
	}
	private := strings.TrimSpace(string(read(t, o.KeyFile)))
	if strings.Contains(log.String(), private[len(private)-20:]) {
		t.Fatal("the key was logged")
	}
}

func TestMetrics(t *testing.T) {
	reg := prometheus.NewRegistry()
	now := epoch
	o := options(t.TempDir())
	o.Registerer = reg
	o.Now = func() time.Time { now = now.Add(time.Millisecond); return now }
	trail := open(t, o)
	mustAppend(t, trail, records(0, 4))
	mustAppend(t, trail, records(4, 5))
	if err := trail.Append(t.Context(), records(9, 10)); err == nil {
		t.Fatal("a gap was taken")
	}
	mustClose(t, trail)
	want := `
# HELP sreagent_audit_append_failures_total Appends to the trail that failed; the agent does not act after one.
# TYPE sreagent_audit_append_failures_total counter
sreagent_audit_append_failures_total 1
# HELP sreagent_audit_records_total Records made durable in the trail.
# TYPE sreagent_audit_records_total counter
sreagent_audit_records_total 5
# HELP sreagent_audit_tree_size Records that the latest checkpoint covers.
# TYPE sreagent_audit_tree_size gauge
sreagent_audit_tree_size 5
`
	err := testutil.GatherAndCompare(reg, strings.NewReader(want),
		"sreagent_audit_append_failures_total", "sreagent_audit_records_total", "sreagent_audit_tree_size")
	if err != nil {
		t.Fatal(err)
	}
	if n, err := testutil.GatherAndCount(reg, "sreagent_audit_append_duration_seconds"); err != nil || n != 1 {
		t.Fatalf("duration: %d %v", n, err)
	}
	problems, err := testutil.GatherAndLint(reg)
	if err != nil || len(problems) > 0 {
		t.Fatalf("names: %v %v", problems, err)
	}
}

func TestConfig(t *testing.T) {
	if faults := DefaultConfig().Validate(); faults != nil {
		t.Fatalf("defaults: %v", faults)
	}
	bad := Config{Dir: " ", Origin: "a b", SegmentBytes: 12}
	var paths []string
	for _, f := range bad.Validate() {
		paths = append(paths, f.Path)
		if f.Problem == "" || f.Allowed == "" {
			t.Errorf("fault says too little: %+v", f)
		}
	}
	if diff := cmp.Diff([]string{"dir", "origin", "segment_bytes"}, paths); diff != "" {
		t.Fatal(diff)
	}
	loop := DefaultConfig()
	loop.CheckpointOut = "data/audit/checkpoint"
	if faults := loop.Validate(); len(faults) != 1 || faults[0].Path != "checkpoint_out" {
		t.Fatalf("checkpoint onto itself: %v", faults)
	}
	c := Config{Dir: "d", Origin: "o", KeyFile: "k", SegmentBytes: 5000, CheckpointOut: "c"}
	want := Options{Dir: "d", Origin: "o", KeyFile: "k", SegmentBytes: 5000, CheckpointOut: "c"}
	if diff := cmp.Diff(want, c.Options(), cmp.FilterPath(func(p cmp.Path) bool {
		return p.String() == "Now" || p.String() == "Log" || p.String() == "Registerer"
	}, cmp.Ignore())); diff != "" {
		t.Fatal(diff)
	}
	if _, err := Open(Options{}); err == nil {
		t.Fatal("a trail without a folder was opened")
	}
}
