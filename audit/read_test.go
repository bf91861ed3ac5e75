package audit

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestReadDirStopsAtTheFirstFault(t *testing.T) {
	const good0, good1 = `{"seq":0,"kind":"stop"}` + "\n", `{"seq":1,"kind":"stop"}` + "\n"
	tests := []struct {
		name  string
		files map[uint64]string
		want  int    // records
		err   string // empty for none
	}{
		{"empty folder", nil, 0, ""},
		{"two lines", map[uint64]string{0: good0 + good1}, 2, ""},
		{"half a line at the end", map[uint64]string{0: good0 + `{"seq":1`}, 1, ""},
		{"a whole record without line end at the end", map[uint64]string{0: good0 + strings.TrimSpace(good1)}, 1, ""},
		{"half a line in the middle", map[uint64]string{0: good0 + `{"seq":1`, 2: good1}, 1, "segment-00000000000000000000.jsonl line 2: the line has no end"},
		{"no JSON", map[uint64]string{0: good0 + "hm\n" + good1}, 1, "segment-00000000000000000000.jsonl line 2: parse record 1"},
		{"a gap", map[uint64]string{0: good0, 2: `{"seq":2,"kind":"stop"}` + "\n"}, 1, "segment-00000000000000000002.jsonl line 1: record 2 stands where record 1 belongs"},
		{"no kind", map[uint64]string{0: "{\"seq\":0}\n"}, 0, "record 0 has no kind"},
		{"not from the start", map[uint64]string{1: good1}, 0, "record 1 stands where record 0 belongs"},
		{"two segments", map[uint64]string{0: good0, 1: good1}, 2, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			for first, content := range tt.files {
				write(t, newSegment(dir, first).path, []byte(content))
			}
			write(t, filepath.Join(dir, "segment-00000000000000000000.jsonl.torn-3"), []byte("not read"))
			write(t, filepath.Join(dir, "segment-0.jsonl"), []byte("not read"))
			n, errs := 0, 0
			for r, err := range ReadDir(dir) {
				if err != nil {
					errs++
					var at *LineError
					if !errors.As(err, &at) || tt.err == "" || !strings.Contains(err.Error(), tt.err) {
						t.Fatalf("error %v, want %q", err, tt.err)
					}
					continue
				}
				if errs > 0 || r.Seq != uint64(n) {
					t.Fatalf("record %d after %d errors", r.Seq, errs)
				}
				n++
			}
			if n != tt.want || (errs == 1) != (tt.err != "") {
				t.Fatalf("%d records and %d errors", n, errs)
			}
		})
	}
	for _, err := range ReadDir(filepath.Join(t.TempDir(), "nowhere")) {
		if !errors.Is(err, os.ErrNotExist) {
			t.Fatalf("no folder: %v", err)
		}
	}
}

func TestWideLines(t *testing.T) {
	// Around the reader's buffer of 64 KiB lines take another path.
	o := options(t.TempDir())
	trail := open(t, o)
	for i, width := range []int{10, 64<<10 - 300, 64 << 10, 200 << 10, 5, 128 << 10} {
		r := record(2)
		r.Seq = uint64(i)
		r.Notice.Text = strings.Repeat("ä", width/2)
		mustAppend(t, trail, append(records(0, 0), r))
	}
	want := collect(t, trail.Records())
	mustClose(t, trail)
	if len(want) != 6 || len(want[3].Notice.Text) != 200<<10 {
		t.Fatalf("%d records", len(want))
	}
	if r := verify(t, o.Dir, trail.PublicKey()); !r.OK() {
		t.Fatal(r)
	}
	mustClose(t, open(t, o))
	if diff := cmp.Diff(want, collect(t, ReadDir(o.Dir))); diff != "" {
		t.Fatal(diff)
	}
}

func FuzzReadDir(f *testing.F) {
	f.Add([]byte(`{"seq":0,"kind":"stop"}`+"\n"+`{"seq":1,"kind":"stop"}`+"\n"), 1)
	f.Add([]byte("\x00\n\n{}"), 9)
	f.Add([]byte(`{"seq":0,"kind":"intent","intent":{"action":{"params":{"a":[1e999]}}}}`+"\n"), 0)
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, content []byte, cut int) {
		cut = min(max(cut, 0), len(content))
		lines := uint64(strings.Count(string(content[:cut]), "\n"))
		sub := filepath.Join(dir, fmt.Sprint(os.Getpid()))
		snapshot{newSegment("", 0).name: content[:cut], newSegment("", max(lines, 1)).name: content[cut:]}.restore(t, sub)
		want, failed := uint64(0), false
		for r, err := range ReadDir(sub) {
			if failed || err == nil && r.Seq != want {
				t.Fatalf("record %d where %d comes next, after an error: %v", r.Seq, want, failed)
			}
			if failed = err != nil; !failed {
				want++
			}
		}
	})
}

// A trail whose segment holds anything but what was recorded never passes.
func FuzzVerify(f *testing.F) {
	o := options(f.TempDir())
	key := build(f, o, 12, 12)
	path := newSegment(o.Dir, 0).path
	whole := read(f, path)
	f.Add(whole)
	f.Add(whole[:len(whole)-3])
	f.Add(append([]byte("{}\n"), whole...))
	f.Fuzz(func(t *testing.T, content []byte) {
		write(t, path, content)
		r := verify(t, o.Dir, key)
		if r.OK() != strings.HasPrefix(string(content), string(whole)) && !malformedTail(r) {
			t.Fatalf("passes %v: %s", r.OK(), r)
		}
	})
}

func malformedTail(r Report) bool { return len(r.Findings) == 1 && r.Findings[0].Kind == Malformed }
