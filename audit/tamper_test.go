package audit

import (
	"crypto/rand"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// rewriteTree makes the hash files fit whatever the lines are now.
func rewriteTree(t testing.TB, dir string) {
	t.Helper()
	segments, err := listSegments(dir)
	if err != nil {
		t.Fatal(err)
	}
	all := map[int]bool{}
	for i := range segments {
		all[i] = true
	}
	if err := rewriteHashes(segments, all); err != nil {
		t.Fatal(err)
	}
}

// tamperings are done to a trail of 38 records in segments that begin with
// records 0, 12, 24 and 36.
var tamperings = []struct {
	name   string
	tamper func(t *testing.T, dir string)
	want   []string
	says   string // part of the first finding's text
}{
	{"nothing", func(*testing.T, string) {}, nil, ""},
	{"flipped byte", func(t *testing.T, dir string) {
		edit(t, dir, 12, func(l []string) []string { l[3] = strings.Replace(l[3], "1", "7", 1); return l })
	}, []string{"changed 12:4 #15"}, "not what was recorded as record 15"},
	{"flipped byte in the sequence number", func(t *testing.T, dir string) {
		edit(t, dir, 12, func(l []string) []string { l[3] = strings.Replace(l[3], `"seq":15`, `"seq":95`, 1); return l })
	}, []string{"changed 12:4 #15"}, ""},
	{"line made unreadable", func(t *testing.T, dir string) {
		edit(t, dir, 0, func(l []string) []string { l[0] = "\x00\xff\n"; return l })
	}, []string{"changed 0:1 #0"}, ""},
	{"two changed lines", func(t *testing.T, dir string) {
		edit(t, dir, 24, func(l []string) []string { l[0], l[5] = "{}\n", "{}\n"; return l })
	}, []string{"changed 24:1 #24", "changed 24:6 #29"}, ""},
	{"line end turned into a letter", func(t *testing.T, dir string) {
		edit(t, dir, 12, func(l []string) []string { l[3] = strings.TrimSuffix(l[3], "\n") + "x"; return l })
	}, []string{"changed 12:4 #15", "deleted 12:5 #16"}, ""},
	{"line split in two", func(t *testing.T, dir string) {
		edit(t, dir, 12, func(l []string) []string { l[3] = l[3][:20] + "\n" + l[3][21:]; return l })
	}, []string{"changed 12:4 #15", "inserted 12:5 #16"}, ""},
	{"deleted line", func(t *testing.T, dir string) {
		edit(t, dir, 12, func(l []string) []string { return slices.Delete(l, 4, 5) })
	}, []string{"deleted 12:5 #16"}, "record 16 stood here"},
	{"deleted lines", func(t *testing.T, dir string) {
		edit(t, dir, 12, func(l []string) []string { return slices.Delete(l, 4, 8) })
	}, []string{"deleted 12:5 #16"}, "records 16 to 19 stood here"},
	{"first line deleted", func(t *testing.T, dir string) {
		edit(t, dir, 0, func(l []string) []string { return l[1:] })
	}, []string{"deleted 0:1 #0"}, ""},
	{"last line of a middle segment deleted", func(t *testing.T, dir string) {
		edit(t, dir, 12, func(l []string) []string { return l[:len(l)-1] })
	}, []string{"deleted 12:12 #23"}, ""},
	{"lines around a segment border deleted", func(t *testing.T, dir string) {
		edit(t, dir, 12, func(l []string) []string { return l[:len(l)-1] })
		edit(t, dir, 24, func(l []string) []string { return l[1:] })
	}, []string{"deleted 12:12 #23", "deleted 24:1 #24"}, ""},
	{"line end of a middle segment deleted", func(t *testing.T, dir string) {
		edit(t, dir, 12, func(l []string) []string { l[11] = strings.TrimSuffix(l[11], "\n"); return l })
	}, []string{"changed 12:12 #23"}, ""},
	{"swapped neighbours", func(t *testing.T, dir string) {
		edit(t, dir, 12, func(l []string) []string { l[4], l[5] = l[5], l[4]; return l })
	}, []string{"swapped 12:5 #16"}, "record 17 stands here in the place of record 16"},
	{"swapped far apart", func(t *testing.T, dir string) {
		edit(t, dir, 12, func(l []string) []string { l[1], l[9] = l[9], l[1]; return l })
	}, []string{"swapped 12:2 #13"}, ""},
	{"swapped across segments", func(t *testing.T, dir string) {
		var a string
		edit(t, dir, 12, func(l []string) []string { a = l[2]; return l })
		edit(t, dir, 24, func(l []string) []string { l[2], a = a, l[2]; return l })
		edit(t, dir, 12, func(l []string) []string { l[2] = a; return l })
	}, []string{"swapped 12:3 #14"}, ""},
	{"two swaps at once", func(t *testing.T, dir string) {
		edit(t, dir, 12, func(l []string) []string {
			l[1], l[2], l[5], l[6] = l[2], l[1], l[6], l[5]
			return l
		})
	}, []string{"swapped 12:2 #13", "swapped 12:6 #17"}, ""},
	{"moved down", func(t *testing.T, dir string) {
		edit(t, dir, 12, func(l []string) []string { l[4], l[5], l[6] = l[5], l[6], l[4]; return l })
	}, []string{"moved 12:7 #16"}, "record 16 stands here, after record 18"},
	{"inserted line", func(t *testing.T, dir string) {
		edit(t, dir, 12, func(l []string) []string { return slices.Insert(l, 4, `{"seq":16,"kind":"stop"}`+"\n") })
	}, []string{"inserted 12:5 #16"}, "never recorded"},
	{"inserted empty line", func(t *testing.T, dir string) {
		edit(t, dir, 12, func(l []string) []string { return slices.Insert(l, 0, "\n") })
	}, []string{"inserted 12:1 #12"}, ""},
	{"inserted copy", func(t *testing.T, dir string) {
		edit(t, dir, 12, func(l []string) []string { return slices.Insert(l, 8, l[2]) })
	}, []string{"inserted 12:9 #14"}, "second copy of record 14"},
	{"replaced by a forged line", func(t *testing.T, dir string) {
		edit(t, dir, 12, func(l []string) []string { l[4] = `{"seq":16,"kind":"stop"}` + "\n"; return l })
	}, []string{"changed 12:5 #16"}, ""},
	{"one deleted and another forged", func(t *testing.T, dir string) {
		edit(t, dir, 12, func(l []string) []string { l[5] = "forged\n"; return slices.Delete(l, 8, 9) })
	}, []string{"changed 12:6 #17", "deleted 12:9 #20"}, ""},
	{"truncated tail", func(t *testing.T, dir string) {
		edit(t, dir, 36, func(l []string) []string { return l[:1] })
	}, []string{"truncated 36:2 #37"}, "covers 38 records, but record 37"},
	{"truncated within a line", func(t *testing.T, dir string) {
		edit(t, dir, 36, func(l []string) []string { l[1] = l[1][:9]; return l })
	}, []string{"truncated 36:2 #37"}, "half line"},
	{"truncated over segments, hashes too", func(t *testing.T, dir string) {
		remove(t, newSegment(dir, 36).path)
		remove(t, newSegment(dir, 36).hashes())
	}, []string{"bad_hashes segment-00000000000000000024.hashes:0 #36", "truncated 24:13 #36"}, ""},
	{"segment emptied", func(t *testing.T, dir string) { write(t, newSegment(dir, 12).path, nil) },
		[]string{"deleted 12:1 #12"}, "records 12 to 23"},
	{"missing segment", func(t *testing.T, dir string) { remove(t, newSegment(dir, 12).path) },
		[]string{"missing_segment 12:0 #12"}, "records 12 to 23"},
	{"missing first segment", func(t *testing.T, dir string) { remove(t, newSegment(dir, 0).path) },
		[]string{"missing_segment 0:0 #0"}, "records 0 to 11"},
	{"missing last segment", func(t *testing.T, dir string) { remove(t, newSegment(dir, 36).path) },
		[]string{"missing_segment 36:0 #36"}, ""},
	{"two missing segments", func(t *testing.T, dir string) {
		remove(t, newSegment(dir, 12).path)
		remove(t, newSegment(dir, 24).path)
	}, []string{"missing_segment 12:0 #12", "missing_segment 24:0 #24"}, ""},
	{"missing segment, hashes too", func(t *testing.T, dir string) {
		remove(t, newSegment(dir, 12).path)
		remove(t, newSegment(dir, 12).hashes())
	}, []string{"bad_hashes segment-00000000000000000000.hashes:0 #12", "missing_segment 12:0 #12"}, ""},
	{"all segments missing", func(t *testing.T, dir string) {
		for _, first := range []uint64{0, 12, 24, 36} {
			remove(t, newSegment(dir, first).path)
		}
	}, []string{"missing_segment 0:0 #0", "missing_segment 12:0 #12", "missing_segment 24:0 #24", "missing_segment 36:0 #36"}, ""},
	{"renamed segment", func(t *testing.T, dir string) {
		if err := os.Rename(newSegment(dir, 12).path, newSegment(dir, 13).path); err != nil {
			t.Fatal(err)
		}
	}, []string{"misnamed_segment 13:0 #12"}, ""},
	{"segments exchanged", func(t *testing.T, dir string) {
		a, b := newSegment(dir, 12).path, newSegment(dir, 24).path
		x, y := read(t, a), read(t, b)
		write(t, a, y)
		write(t, b, x)
	}, nil, ""}, // judged below: many lines
	{"flipped hash", func(t *testing.T, dir string) {
		path := newSegment(dir, 12).hashes()
		b := read(t, path)
		b[0] ^= 1
		write(t, path, b)
	}, []string{"bad_hashes segment-00000000000000000012.hashes:0 #12"}, "proven by the checkpoint"},
	{"missing hashes", func(t *testing.T, dir string) { remove(t, newSegment(dir, 12).hashes()) },
		[]string{"bad_hashes segment-00000000000000000012.hashes:0 #12"}, "records 12 to 23 are missing"},
	{"record and leaf hash rewritten together", func(t *testing.T, dir string) {
		forged := `{"seq":16,"kind":"stop"}`
		edit(t, dir, 12, func(l []string) []string { l[4] = forged + "\n"; return l })
		path := newSegment(dir, 12).hashes()
		b, h := read(t, path), tlog.RecordHash([]byte(forged))
		copy(b[(tlog.StoredHashIndex(0, 16)-tlog.StoredHashIndex(0, 12))*tlog.HashSize:], h[:])
		write(t, path, b)
	}, []string{"bad_hashes segment-00000000000000000012.hashes:0 #16"}, "over records 16 to 17"},
	{"record and whole tree rewritten together", func(t *testing.T, dir string) {
		edit(t, dir, 12, func(l []string) []string { l[4] = `{"seq":16,"kind":"stop"}` + "\n"; return l })
		rewriteTree(t, dir)
	}, []string{"root_mismatch :0 #0"}, "rewritten together"},
	{"checkpoint edited", func(t *testing.T, dir string) {
		path := filepath.Join(dir, checkpointName)
		write(t, path, []byte(strings.Replace(string(read(t, path)), "\n38\n", "\n37\n", 1)))
	}, []string{"bad_signature :0 #0", "root_mismatch :0 #0"}, "signature does not hold"},
	{"checkpoint claims a size beyond reason", func(t *testing.T, dir string) {
		path := filepath.Join(dir, checkpointName)
		write(t, path, []byte(strings.Replace(string(read(t, path)), "\n38\n", "\n2305843009213693951\n", 1)))
	}, []string{"bad_signature :0 #0", "bad_hashes segment-00000000000000000036.hashes:0 #38", "truncated 36:3 #38"}, ""},
	{"checkpoint of another key", func(t *testing.T, dir string) {
		private, _, err := note.GenerateKey(rand.Reader, options(dir).Origin)
		if err != nil {
			t.Fatal(err)
		}
		signer, err := note.NewSigner(private)
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(dir, checkpointName)
		c, err := checkpointBody(read(t, path))
		if err != nil {
			t.Fatal(err)
		}
		msg, err := c.sign(signer)
		if err != nil {
			t.Fatal(err)
		}
		write(t, path, msg)
	}, []string{"bad_signature :0 #0"}, ""},
	{"checkpoint unreadable", func(t *testing.T, dir string) { write(t, filepath.Join(dir, checkpointName), []byte("hm")) },
		[]string{"bad_checkpoint :0 #0"}, ""},
	{"checkpoint missing", func(t *testing.T, dir string) { remove(t, filepath.Join(dir, checkpointName)) },
		[]string{"bad_checkpoint :0 #0"}, "has no checkpoint"},
	{"garbage after the checkpoint", func(t *testing.T, dir string) {
		edit(t, dir, 36, func(l []string) []string { return append(l, "garbage\n") })
	}, []string{"malformed 36:3 #38"}, ""},
	{"wrong record after the checkpoint", func(t *testing.T, dir string) {
		edit(t, dir, 36, func(l []string) []string { return append(l, `{"seq":39,"kind":"stop"}`+"\n") })
	}, []string{"malformed 36:3 #38"}, "record 39 stands where record 38 belongs"},
}
