package bundle

import (
	"archive/tar"
	"bytes"
	"io"
	"io/fs"
	"maps"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
)

// entry is one thing to put into an archive by hand.
type entry struct {
	name, content string
	kind          byte
}

// tape writes a tar as it is told to, rubbish included.
func tape(t testing.TB, entries ...entry) []byte {
	t.Helper()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, e := range entries {
		h := &tar.Header{Name: e.name, Typeflag: e.kind, Size: int64(len(e.content)), Mode: 0o644}
		if e.kind == 0 {
			h.Typeflag = tar.TypeReg
		}
		if e.kind == tar.TypeSymlink || e.kind == tar.TypeLink {
			h.Linkname = "/etc/passwd"
		}
		if e.kind == tar.TypeXGlobalHeader {
			h = &tar.Header{Typeflag: e.kind, PAXRecords: map[string]string{"comment": "abc"}}
		}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, e.content); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// goodEntries is the good bundle below a folder.
func goodEntries(top string) []entry {
	files := goodFiles()
	var out []entry
	for _, name := range slices.Sorted(maps.Keys(files)) {
		out = append(out, entry{name: top + name, content: files[name]})
	}
	return out
}

func packBytes(t testing.TB, p Packing, text []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	w, err := p.pack(&out)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(text); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func TestOpenArchive(t *testing.T) {
	want, err := Open(memory(goodFiles()))
	if err != nil {
		t.Fatal(err)
	}
	shapes := map[string][]entry{
		"flat":        goodEntries(""),
		"dotted":      goodEntries("./"),
		"folder":      append([]entry{{name: "top/", kind: tar.TypeDir}}, goodEntries("top/")...),
		"git archive": append([]entry{{kind: tar.TypeXGlobalHeader}}, goodEntries("top/")...),
		"with others": append(goodEntries("a/"), entry{name: "a/README", content: "hello"}, entry{name: "a/._incident.yaml", content: "x"}, entry{name: "a/b/incident.yaml", content: "deep"}),
	}
	for name, entries := range shapes {
		for _, p := range []Packing{Plain, Gzip, Zstd} {
			t.Run(name+string(p), func(t *testing.T) {
				b, err := OpenArchive(bytes.NewReader(packBytes(t, p, tape(t, entries...))), Limits{})
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(want.Incident, b.Incident); diff != "" {
					t.Error(diff)
				}
				if !slices.EqualFunc(samplesOf(t, want), samplesOf(t, b), same) {
					t.Error("other samples")
				}
			})
		}
	}
}

func TestReadArchiveRefuses(t *testing.T) {
	good := tape(t, goodEntries("")...)
	zipped := packBytes(t, Zstd, good)
	gzipped := packBytes(t, Gzip, good)
	flipped := bytes.Clone(gzipped)
	flipped[len(flipped)-6] ^= 1 // in the checksum
	small := Limits{Archive: 4 << 10, File: 1 << 10, Entries: 3}
	var many []entry
	for range 4 {
		many = append(many, entry{name: "d/", kind: tar.TypeDir})
	}
	cases := []struct {
		name   string
		text   []byte
		limits Limits
		want   string
	}{
		{"empty", nil, Limits{}, "archive: the file is empty; allowed: a .tar, .tar.gz or .tar.zst"},
		{"not an archive", []byte(goodIncident), Limits{}, "archive: this is no archive; allowed: a .tar, .tar.gz or .tar.zst"},
		{"no tar inside", packBytes(t, Gzip, bytes.Repeat([]byte("x"), 2000)), Limits{}, "archive: the content is no tar archive"},
		{"nothing inside", tape(t, entry{name: "README", content: "x"}), Limits{}, "archive: there is no bundle in it; allowed: incident.yaml and the other files, perhaps in one folder"},
		{"traversal", tape(t, entry{name: "../incident.yaml", content: "x"}), Limits{}, `archive entry "../incident.yaml": the name leads out of the archive; allowed: names below the archive's own folder`},
		{"traversal in the middle", tape(t, entry{name: "a/../../x", content: "x"}), Limits{}, `archive entry "a/../../x": the name leads out of the archive; allowed: names below the archive's own folder`},
		{"absolute", tape(t, entry{name: "/etc/incident.yaml", content: "x"}), Limits{}, `archive entry "/etc/incident.yaml": the name leads out of the archive; allowed: names below the archive's own folder`},
		{"backslash", tape(t, entry{name: `..\incident.yaml`, content: "x"}), Limits{}, `archive entry "..\\incident.yaml": the name leads out of the archive; allowed: names below the archive's own folder`},
		{"symlink", tape(t, entry{name: "incident.yaml", kind: tar.TypeSymlink}), Limits{}, `archive entry "incident.yaml": it is a link; allowed: files and folders`},
		{"hard link", tape(t, entry{name: "x", kind: tar.TypeLink}), Limits{}, `archive entry "x": it is a link; allowed: files and folders`},
		{"device", tape(t, entry{name: "x", kind: tar.TypeChar}), Limits{}, `archive entry "x": it is neither a file nor a folder; allowed: files and folders`},
		{"pipe", tape(t, entry{name: "x", kind: tar.TypeFifo}), Limits{}, `archive entry "x": it is neither a file nor a folder; allowed: files and folders`},
		{"twice", tape(t, entry{name: "incident.yaml", content: "x"}, entry{name: "./incident.yaml", content: "y"}), Limits{}, `archive entry "./incident.yaml": it stands there twice`},
		{"two bundles", tape(t, entry{name: "a/incident.yaml", content: "x"}, entry{name: "b/incident.yaml", content: "x"}), Limits{}, `archive entry "b/incident.yaml": it stands in another folder than "a/incident.yaml"; allowed: one bundle per archive`},
		{"file too large", tape(t, entry{name: "x", content: strings.Repeat("x", 2000)}), small, `archive entry "x": it is larger than 1 KiB`},
		{"archive too large", tape(t, entry{name: "x", content: strings.Repeat("x", 1000)}, entry{name: "y", content: strings.Repeat("x", 1000)}, entry{name: "z", content: strings.Repeat("x", 1000)}),
			Limits{Archive: 2900}, "archive: it is larger than 2900 bytes"},
		{"too much behind the end", append(tape(t, entry{name: "incident.yaml"}), make([]byte, 8<<10)...), small, "archive: it is larger than 4 KiB"},
		{"too many entries", tape(t, many...), small, `archive entry "d/": it is one more than the 3 entries that an archive may have`},
		{"cut tar", good[:700], Limits{}, "archive: the archive is cut"},
		{"cut zst", zipped[:len(zipped)-20], Limits{}, "archive: the archive is cut"},
		{"cut gz", gzipped[:len(gzipped)-20], Limits{}, "archive: the archive is cut"},
		{"cut gz head", gzipped[:5], Limits{}, "archive: the archive is cut"},
		{"checksum", flipped, Limits{}, "archive: the compressed text is damaged: gzip: invalid checksum"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			_, err := ReadArchive(bytes.NewReader(c.text), c.limits)
			if err == nil || err.Error() != c.want {
				t.Errorf("got  %v\nwant %s", err, c.want)
			}
		})
	}
}

// TestReadArchiveBomb unpacks many zeros out of a few kilobytes, and wants
// neither memory nor silence for it.
func TestReadArchiveBomb(t *testing.T) {
	var out bytes.Buffer
	w, err := Zstd.pack(&out)
	if err != nil {
		t.Fatal(err)
	}
	tw := tar.NewWriter(w)
	const n = 256 << 20
	if err := tw.WriteHeader(&tar.Header{Name: IncidentFile, Typeflag: tar.TypeReg, Size: int64(len(goodIncident))}); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(tw, goodIncident); err != nil {
		t.Fatal(err)
	}
	if err := tw.WriteHeader(&tar.Header{Name: MetricsFile, Typeflag: tar.TypeReg, Size: n}); err != nil {
		t.Fatal(err)
	}
	if _, err := io.CopyBuffer(tw, struct{ io.Reader }{io.LimitReader(zeros{}, n)}, make([]byte, 1<<20)); err != nil {
		t.Fatal(err)
	}
	if err := tw.Close(); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d bytes hold %d", out.Len(), n)

	_, err = ReadArchive(bytes.NewReader(out.Bytes()), Limits{File: n / 2})
	if want := `archive entry "metrics.om": it is larger than 128 MiB`; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
	_, err = ReadArchive(bytes.NewReader(out.Bytes()), Limits{Archive: n / 2})
	if want := "archive: the files are larger than 128 MiB"; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	fsys, err := ReadArchive(bytes.NewReader(out.Bytes()), Limits{})
	runtime.ReadMemStats(&after)
	if err != nil {
		t.Fatal(err)
	}
	if grown := after.TotalAlloc - before.TotalAlloc; grown > 64<<20 {
		t.Errorf("%d MiB were allocated", grown>>20)
	}
	b := &Bundle{fsys: fsys, limits: DefaultLimits()}
	err = b.Samples(t.Context(), func(Series, int64, float64) error { return nil })
	if want := `metrics.om:1: the line is longer than 1 MiB in "` + strings.Repeat(`\x00`, 80) + `"...`; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

func TestArchiveIsAFileSystem(t *testing.T) {
	entries := append(goodEntries(""), entry{name: "topology.yaml~", content: "no"})
	for i := range entries {
		if entries[i].name == MetricsFile { // large enough to be held compressed
			entries[i].content = strings.Repeat("# HELP a long\n", packAbove/10) + goodMetrics
		}
	}
	fsys, err := ReadArchive(bytes.NewReader(tape(t, entries...)), Limits{})
	if err != nil {
		t.Fatal(err)
	}
	if err := fstest.TestFS(fsys, IncidentFile, MetricsFile, TopologyFile, SignalsFile, ChangesFile, TrailFile); err != nil {
		t.Fatal(err)
	}
	if _, err := fsys.Open("topology.yaml~"); !errorsIs(err, fs.ErrNotExist) {
		t.Errorf("a file that no bundle has was kept (%v)", err)
	}
}

func FuzzArchive(f *testing.F) {
	good := tape(f, goodEntries("top/")...)
	f.Add(good)
	f.Add(packBytes(f, Zstd, good))
	f.Add(packBytes(f, Gzip, good))
	f.Add(tape(f, entry{name: "../x", content: "x"}, entry{name: "x", kind: tar.TypeSymlink}))
	limits := Limits{Archive: 1 << 20, File: 1 << 18, Entries: 10, Series: 100}
	f.Fuzz(func(t *testing.T, text []byte) {
		fsys, err := ReadArchive(bytes.NewReader(text), limits)
		if err != nil {
			if strings.Contains(err.Error(), "\n") || err.Error() == "" {
				t.Errorf("not one line: %q", err)
			}
			return
		}
		names, err := fs.ReadDir(fsys, ".")
		if err != nil {
			t.Fatal(err)
		}
		for _, n := range names {
			if !slices.Contains(fileNames(), n.Name()) {
				t.Errorf("%q was kept", n.Name())
			}
			content, err := fs.ReadFile(fsys, n.Name())
			if err != nil || int64(len(content)) > limits.File {
				t.Errorf("%s: %d bytes, %v", n.Name(), len(content), err)
			}
		}
		b, err := OpenWithin(fsys, limits)
		if err != nil {
			return
		}
		_ = b.Samples(t.Context(), func(Series, int64, float64) error { return nil })
	})
}
