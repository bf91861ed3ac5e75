package audit

import (
	"bytes"
	"errors"
	"fmt"
	"iter"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sreagent/sreagent/sre"
)

var epoch = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// record makes the record with a sequence number; the content follows from it.
func record(seq uint64) sre.Record {
	at := epoch.Add(time.Duration(seq) * 10 * time.Second)
	id := fmt.Sprintf("inc-%d", seq/7)
	r := sre.Record{Seq: seq, At: at, IncidentID: id}
	switch seq % 3 {
	case 0:
		r.Kind = sre.RecordIntent
		r.Intent = &sre.IntentRecord{
			Action: sre.Action{ID: fmt.Sprintf("a%d", seq), Kind: sre.Shed, Target: sre.Target{Lever: "guard", Service: "checkout"},
				Params: sre.Params{"rps": float64(100 + seq)}, TTL: time.Minute},
			Permit: sre.Permit{ID: "p", Purpose: sre.ToApply, By: "policy", ValidUntil: at.Add(time.Minute)},
			Epoch:  3, Expires: at.Add(time.Minute),
		}
	case 1:
		r.Kind = sre.RecordResult
		r.Result = &sre.ResultRecord{Action: fmt.Sprintf("a%d", seq-1), Purpose: sre.ToApply, Phase: sre.InEffect}
	default:
		r.Kind = sre.RecordNotice
		r.Notice = &sre.Notice{Incident: id, Severity: sre.Warning, State: sre.Acting, Title: "checkout sheds load", StartsAt: at}
	}
	return r
}

func records(from, to uint64) []sre.Record {
	var out []sre.Record
	for seq := from; seq < to; seq++ {
		out = append(out, record(seq))
	}
	return out
}

func options(dir string) Options {
	return Options{Dir: dir, Origin: "test.example/trail", Now: func() time.Time { return epoch }}
}

func open(t testing.TB, o Options) *Trail {
	t.Helper()
	trail, err := Open(o)
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	return trail
}

func mustAppend(t testing.TB, trail *Trail, recs []sre.Record) {
	t.Helper()
	if err := trail.Append(t.Context(), recs); err != nil {
		t.Fatalf("append: %v", err)
	}
}

func mustClose(t testing.TB, trail *Trail) {
	t.Helper()
	if err := trail.Close(); err != nil {
		t.Fatalf("close: %v", err)
	}
}

// build makes a trail of n records, appended in batches, and returns its
// public key.
func build(t testing.TB, o Options, n, batch uint64) string {
	t.Helper()
	trail := open(t, o)
	for trail.Next() < n {
		mustAppend(t, trail, records(trail.Next(), min(n, trail.Next()+batch)))
	}
	mustClose(t, trail)
	return trail.PublicKey()
}

func collect(t testing.TB, seq iter.Seq2[sre.Record, error]) []sre.Record {
	t.Helper()
	var out []sre.Record
	for r, err := range seq {
		if err != nil {
			t.Fatalf("read: %v", err)
		}
		out = append(out, r)
	}
	return out
}

func read(t testing.TB, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func write(t testing.TB, path string, b []byte) {
	t.Helper()
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

func remove(t testing.TB, path string) {
	t.Helper()
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
}

// edit changes the lines of the segment that begins at first.
func edit(t testing.TB, dir string, first uint64, change func(lines []string) []string) {
	t.Helper()
	path := newSegment(dir, first).path
	lines := strings.SplitAfter(string(read(t, path)), "\n")
	if lines[len(lines)-1] == "" {
		lines = lines[:len(lines)-1]
	}
	write(t, path, []byte(strings.Join(change(lines), "")))
}

// snapshot is the content of every file in a folder.
type snapshot map[string][]byte

func take(t testing.TB, dir string) snapshot {
	t.Helper()
	s := snapshot{}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		s[e.Name()] = read(t, filepath.Join(dir, e.Name()))
	}
	return s
}

// restore puts the content back into an emptied folder.
func (s snapshot) restore(t testing.TB, dir string) {
	t.Helper()
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	for name, content := range s {
		write(t, filepath.Join(dir, name), content)
	}
}

func (s snapshot) equal(other snapshot) bool {
	if len(s) != len(other) {
		return false
	}
	for name, content := range s {
		if !bytes.Equal(content, other[name]) {
			return false
		}
	}
	return true
}

func verify(t testing.TB, dir, key string) Report {
	t.Helper()
	r, err := Verify(dir, key)
	if err != nil {
		t.Fatalf("verify: %v", err)
	}
	return r
}

func asError[E error](err error, target *E) bool { return errors.As(err, target) }
