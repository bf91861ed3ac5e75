package audit

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// bounds builds a trail of several segments and returns where each begins.
func bounds(t testing.TB, o Options, n uint64) (key string, firsts []uint64) {
	t.Helper()
	key = build(t, o, n, 1)
	segments, err := listSegments(o.Dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range segments {
		firsts = append(firsts, s.first)
	}
	return key, firsts
}

func places(findings []Finding) []string {
	var out []string
	for _, f := range findings {
		name := f.Segment
		if first, ok := numbered(f.Segment, segmentSuffix); ok {
			name = fmt.Sprint(first)
		}
		out = append(out, fmt.Sprintf("%s %s:%d #%d", f.Kind, name, f.Line, f.Seq))
	}
	return out
}

func TestEveryTamperingIsNamed(t *testing.T) {
	o := options(t.TempDir())
	o.SegmentBytes = 3300
	key, firsts := bounds(t, o, 38)
	if diff := cmp.Diff([]uint64{0, 12, 24, 36}, firsts); diff != "" {
		t.Fatalf("the table below counts on these segments (-want +got):\n%s", diff)
	}
	whole := take(t, o.Dir)

	for _, tt := range tamperings {
		t.Run(tt.name, func(t *testing.T) {
			whole.restore(t, o.Dir)
			tt.tamper(t, o.Dir)
			before := take(t, o.Dir)
			r := verify(t, o.Dir, key)
			if !take(t, o.Dir).equal(before) {
				t.Fatal("verifying changed the trail")
			}
			if tt.name == "segments exchanged" {
				if r.OK() {
					t.Fatal("not found")
				}
				return
			}
			if diff := cmp.Diff(tt.want, places(r.Findings)); diff != "" {
				t.Fatalf("findings (-want +got):\n%s\n%s", diff, r)
			}
			if r.OK() != (len(tt.want) == 0) || len(r.Notes) > 0 {
				t.Fatalf("report: %s", r)
			}
			if tt.says != "" && !strings.Contains(r.Findings[0].Text, tt.says) {
				t.Fatalf("says %q, want %q in it", r.Findings[0].Text, tt.says)
			}
		})
	}
}

func TestOpenRefusesDamage(t *testing.T) {
	tests := map[string]func(dir string){
		"flipped byte": func(dir string) {
			edit(t, dir, 0, func(l []string) []string { l[2] = strings.Replace(l[2], "a", "b", 1); return l })
		},
		"truncated tail":     func(dir string) { edit(t, dir, 0, func(l []string) []string { return l[:7] }) },
		"truncated line":     func(dir string) { edit(t, dir, 0, func(l []string) []string { l[7] = l[7][:5]; return l }) },
		"checkpoint missing": func(dir string) { remove(t, filepath.Join(dir, checkpointName)) },
		"segment missing":    func(dir string) { remove(t, newSegment(dir, 0).path) },
		"bad signature": func(dir string) {
			path := filepath.Join(dir, checkpointName)
			write(t, path, []byte(strings.Replace(string(read(t, path)), "\n8\n", "\n7\n", 1)))
		},
	}
	for name, tamper := range tests {
		t.Run(name, func(t *testing.T) {
			o := options(t.TempDir())
			build(t, o, 8, 4)
			tamper(o.Dir)
			before := take(t, o.Dir)
			var damaged *DamagedError
			_, err := Open(o)
			if !asError(err, &damaged) || damaged.Report.OK() {
				t.Fatalf("open: %v, want a *DamagedError with findings", err)
			}
			if !strings.Contains(err.Error(), damaged.Report.Findings[0].Text) {
				t.Fatalf("the error does not say what is wrong: %v", err)
			}
			if !take(t, o.Dir).equal(before) {
				t.Fatal("a refused trail was changed")
			}
			if _, err := Open(o); !asError(err, &damaged) {
				t.Fatalf("the lock was not let go: %v", err)
			}
		})
	}
}

func TestKeyBesideTheTrailProvesLess(t *testing.T) {
	o := options(t.TempDir())
	key := build(t, o, 4, 4)
	r := verify(t, o.Dir, "")
	if !r.OK() || !r.KeyFromTrail || r.Key != key || len(r.Notes) != 1 || r.Notes[0].Kind != KeyUnproven {
		t.Fatalf("report: %+v", r)
	}
	if r := verify(t, o.Dir, key+"\n"); r.KeyFromTrail || len(r.Notes) != 0 {
		t.Fatalf("report: %+v", r)
	}
	if _, err := Verify(o.Dir, "no key"); err == nil {
		t.Fatal("a key that is none was taken")
	}
	if _, err := Verify(filepath.Join(o.Dir, "nowhere"), key); err == nil {
		t.Fatal("a folder that is not there was verified")
	}
}

func TestLinesAfterTheCheckpointAreNoted(t *testing.T) {
	o := options(t.TempDir())
	key := build(t, o, 10, 10)
	edit(t, o.Dir, 0, func(l []string) []string {
		return append(l, `{"seq":10,"kind":"stop"}`+"\n", `{"seq":11,"kind":"stop"}`+"\n", `{"seq":12,`)
	})
	r := verify(t, o.Dir, key)
	if diff := cmp.Diff([]string{"uncovered 0:0 #10", "torn_tail 0:13 #12"}, places(r.Notes)); diff != "" || !r.OK() || r.Records != 12 {
		t.Fatalf("%s%s", diff, r)
	}
	// With damage before them they must not be mistaken for insertions.
	edit(t, o.Dir, 0, func(l []string) []string { return slices.Delete(l, 9, 10) })
	if diff := cmp.Diff([]string{"truncated 0:10 #9"}, places(verify(t, o.Dir, key).Findings)); diff != "" {
		t.Fatal(diff)
	}
}

func TestReportIsBounded(t *testing.T) {
	o := options(t.TempDir())
	key := build(t, o, 3000, 1000)
	edit(t, o.Dir, 0, func(l []string) []string {
		for i := range l {
			l[i] = "x\n"
		}
		return l
	})
	r := verify(t, o.Dir, key)
	if len(r.Findings) != maxFindings || uint64(len(r.Findings))+r.Unlisted != 3000 {
		t.Fatalf("%d findings and %d more", len(r.Findings), r.Unlisted)
	}
	if !strings.Contains(r.String(), "and 2000 more") {
		t.Fatal("the text hides that there is more")
	}
}

func TestOverlongLine(t *testing.T) {
	o := options(t.TempDir())
	key := build(t, o, 4, 4)
	edit(t, o.Dir, 0, func(l []string) []string {
		l[1] = strings.Repeat("x", maxLine+1) + "\n"
		return l
	})
	if diff := cmp.Diff([]string{"changed 0:2 #1"}, places(verify(t, o.Dir, key).Findings)); diff != "" {
		t.Fatal(diff)
	}
	var lineErr *LineError
	for _, err := range ReadDir(o.Dir) {
		if err != nil && (!asError(err, &lineErr) || lineErr.Line != 2) {
			t.Fatalf("read: %v", err)
		}
	}
	if lineErr == nil {
		t.Fatal("the reader took the line")
	}
	trail := open(t, options(t.TempDir()))
	defer mustClose(t, trail)
	big := record(2)
	big.Seq, big.Notice.Text = 0, strings.Repeat("x", maxLine)
	if err := trail.Append(t.Context(), append(records(0, 0), big)); err == nil {
		t.Fatal("a line that no reader takes was written")
	}
	mustAppend(t, trail, records(0, 1))
}

func TestAnySingleByteFlipIsFound(t *testing.T) {
	o := options(t.TempDir())
	o.SegmentBytes = 3300
	key, firsts := bounds(t, o, 30)
	rapid.Check(t, func(rt *rapid.T) {
		path := newSegment(o.Dir, rapid.SampledFrom(firsts).Draw(rt, "segment")).path
		was := read(t, path)
		i := rapid.IntRange(0, len(was)-1).Draw(rt, "offset")
		now := slices.Clone(was)
		now[i] ^= byte(rapid.IntRange(1, 255).Draw(rt, "flip"))
		write(t, path, now)
		r := verify(t, o.Dir, key)
		write(t, path, was)
		if r.OK() {
			rt.Fatalf("byte %d of %s was changed unnoticed", i, filepath.Base(path))
		}
		line := 1 + strings.Count(string(was[:i]), "\n")
		if f := r.Findings[0]; f.Segment != filepath.Base(path) || f.Line != line {
			rt.Fatalf("found at %s:%d, was at %s:%d: %s", f.Segment, f.Line, filepath.Base(path), line, r)
		}
	})
}

// Random edits of lines: whatever is done, it is found, unless it undid itself.
func TestAnyEditIsFound(t *testing.T) {
	o := options(t.TempDir())
	key := build(t, o, 40, 40)
	whole := take(t, o.Dir)
	rapid.Check(t, func(rt *rapid.T) {
		whole.restore(t, o.Dir)
		edit(t, o.Dir, 0, func(l []string) []string {
			for range rapid.IntRange(1, 6).Draw(rt, "edits") {
				if len(l) == 0 {
					break
				}
				i := rapid.IntRange(0, len(l)-1).Draw(rt, "i")
				j := rapid.IntRange(0, len(l)-1).Draw(rt, "j")
				switch rapid.SampledFrom([]string{"delete", "swap", "copy", "change", "cut"}).Draw(rt, "what") {
				case "delete":
					l = slices.Delete(l, i, i+1)
				case "swap":
					l[i], l[j] = l[j], l[i]
				case "copy":
					l = slices.Insert(l, i, l[j])
				case "change":
					l[i] = "{\"seq\":" + fmt.Sprint(j) + "}\n"
				case "cut":
					l = l[:max(i, 30)]
				}
			}
			return l
		})
		same := take(t, o.Dir).equal(whole)
		r := verify(t, o.Dir, key)
		if r.OK() != same {
			rt.Fatalf("same %v: %s", same, r)
		}
		for _, f := range r.Findings {
			if f.Kind == RootMismatch {
				rt.Fatalf("no line is named: %s", r)
			}
		}
	})
}

func TestReportText(t *testing.T) {
	o := options(t.TempDir())
	key := build(t, o, 4, 4)
	r := verify(t, o.Dir, key)
	r.Dir = "trail"
	want := "trail trail is whole: 4 records, root " + r.Root + ", checkpoint of 2026-03-01T12:00:00Z\n"
	if diff := cmp.Diff(want, r.String()); diff != "" {
		t.Fatal(diff)
	}
	edit(t, o.Dir, 0, func(l []string) []string { return slices.Delete(l, 1, 2) })
	r = verify(t, o.Dir, key)
	r.Dir = "trail"
	want = "trail trail is NOT whole (findings: 1); the checkpoint covers 4 records, 3 whole lines are there\n" +
		"  deleted: segment-00000000000000000000.jsonl:2: record 1 stood here and is gone\n"
	if diff := cmp.Diff(want, r.String()); diff != "" {
		t.Fatal(diff)
	}
}
