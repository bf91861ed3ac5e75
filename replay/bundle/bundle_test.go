package bundle

import (
	"context"
	"io"
	"io/fs"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/prometheus/common/model"

	"github.com/sreagent/sreagent/sre"
)

const goodIncident = `id: shop-1
title: "checkout: slow"
source: test
licence: MIT
start: 2026-01-01T00:00:00Z
end: 2026-01-01T00:10:00Z
interval: 60s
notes: nothing
alerts:
  - {service: cart, signal: latency, at: 2026-01-01T00:06:00Z}
truth:
  author: somebody
  faults:
    - {services: [cart], mechanism: slow_dependency, fault: delay, injected_at: 2026-01-01T00:05:00Z, change: "", own_word: [1, 2]}
`

const goodMetrics = `# TYPE latency_seconds gauge
latency_seconds{service="cart"} 0.1 1767225600
latency_seconds{service="cart"} 0.2 1767225660.5
latency_seconds{service="shop"} NaN 1767225600
# EOF
`

// goodFiles is a small bundle without fault, which tests break.
func goodFiles() map[string]string {
	return map[string]string{
		IncidentFile: goodIncident,
		TopologyFile: "edges:\n  - {from: shop, to: cart}\n",
		SignalsFile:  "signals: []\n",
		MetricsFile:  goodMetrics,
		ChangesFile: `{"at": "2026-01-01T00:04:00Z", "kind": "deploy", "service": "cart", "id": "c2", "summary": "new cart"}

{"id":"c1","at":"2026-01-01T00:03:00Z","kind":"flag","service":"shop","from":"off","to":"on","by":"ann","note":"why","source":"api"}
`,
		TrailFile: `{"seq":3,"at":"2026-01-01T00:00:00Z","kind":"start","start":{"version":"1","epoch":1,"config":"x","dry_run":true}}
{"seq":5,"at":"2026-01-01T00:10:00Z","kind":"stop","from_the_future":1}
`,
	}
}

func memory(files map[string]string) fstest.MapFS {
	fsys := fstest.MapFS{}
	for name, text := range files {
		fsys[name] = &fstest.MapFile{Data: []byte(text), Mode: 0o644}
	}
	return fsys
}

// broken is the good bundle with some files replaced; an empty name removes.
func broken(changed map[string]string) fstest.MapFS {
	files := goodFiles()
	maps.Copy(files, changed)
	fsys := memory(files)
	for name, text := range changed {
		if text == "" {
			delete(fsys, name)
		}
	}
	return fsys
}

type got struct {
	Series string
	At     int64
	Value  float64
}

func samplesOf(t testing.TB, b *Bundle) []got {
	t.Helper()
	out, err := collect(func(v Visit) error { return b.Samples(t.Context(), v) })
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// collect gathers what a reader hands over.
func collect(read func(Visit) error) ([]got, error) {
	var out []got
	var names []string
	err := read(func(s Series, at int64, v float64) error {
		if s.Index == len(names) {
			names = append(names, s.Labels.String())
		}
		out = append(out, got{names[s.Index], at, v})
		return nil
	})
	return out, err
}

func same(a, b got) bool {
	return a.Series == b.Series && a.At == b.At && math.Float64bits(a.Value) == math.Float64bits(b.Value)
}

func instant(text string) time.Time {
	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		panic(err)
	}
	return t
}

func TestOpen(t *testing.T) {
	b, err := Open(memory(goodFiles()))
	if err != nil {
		t.Fatal(err)
	}
	empty := ""
	want := &Bundle{
		Incident: Incident{
			ID: "shop-1", Title: "checkout: slow", Source: "test", Licence: "MIT", Notes: "nothing",
			Start: instant("2026-01-01T00:00:00Z"), End: instant("2026-01-01T00:10:00Z"), Interval: model.Duration(time.Minute),
			Alerts: []Alert{{Service: "cart", Signal: "latency", At: instant("2026-01-01T00:06:00Z")}},
			Truth: Truth{Faults: []Fault{{
				Services: []string{"cart"}, Mechanism: sre.SlowDependency, Fault: "delay", InjectedAt: instant("2026-01-01T00:05:00Z"), Change: &empty,
			}}},
		},
		Topology: []byte("edges:\n  - {from: shop, to: cart}\n"),
		Signals:  []byte("signals: []\n"),
		Changes: []sre.Change{
			{ID: "c1", At: instant("2026-01-01T00:03:00Z"), Kind: sre.Flag, Service: "shop", From: "off", To: "on", By: "ann", Note: "why", Source: "api"},
			{ID: "c2", At: instant("2026-01-01T00:04:00Z"), Kind: sre.Deploy, Service: "cart", Note: "new cart"},
		},
		Trail: []sre.Record{
			{Seq: 3, At: instant("2026-01-01T00:00:00Z"), Kind: sre.RecordStart, Start: &sre.StartRecord{Version: "1", Epoch: 1, Config: "x", DryRun: true}},
			{Seq: 5, At: instant("2026-01-01T00:10:00Z"), Kind: sre.RecordStop},
		},
		HasTrail: true,
	}
	if diff := cmp.Diff(want, b, cmpopts.IgnoreUnexported(Bundle{})); diff != "" {
		t.Error(diff)
	}
	wantSamples := []got{
		{`{__name__="latency_seconds", service="cart"}`, 1767225600000, 0.1},
		{`{__name__="latency_seconds", service="cart"}`, 1767225660500, 0.2},
		{`{__name__="latency_seconds", service="shop"}`, 1767225600000, nan},
	}
	for range 2 { // a bundle can be read more than once
		if diff := cmp.Diff(wantSamples, samplesOf(t, b), cmpopts.EquateNaNs()); diff != "" {
			t.Error(diff)
		}
	}
}

func TestOpenTellsAbsentFromEmpty(t *testing.T) {
	b, err := Open(broken(map[string]string{ChangesFile: "", TrailFile: "\n", "README.md": "ignored"}))
	if err != nil {
		t.Fatal(err)
	}
	if !b.HasTrail || len(b.Trail) != 0 || b.Changes != nil {
		t.Errorf("trail %v (%d records), changes %v; want a trail without records and no changes", b.HasTrail, len(b.Trail), b.Changes)
	}
}

// TestOpenFolder reads from the disk, where a path may be something else than a
// folder of files.
func TestOpenFolder(t *testing.T) {
	dir := t.TempDir()
	for name, text := range goodFiles() {
		write(t, filepath.Join(dir, name), text)
	}
	if _, err := Open(os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	cases := map[string]struct {
		fsys fs.FS
		want string
	}{
		"file":    {os.DirFS(filepath.Join(dir, IncidentFile)), "this is not a folder; allowed: a folder with incident.yaml, or a .tar, .tar.gz or .tar.zst of one"},
		"missing": {os.DirFS(filepath.Join(dir, "none")), "open bundle: stat .: no such file or directory; allowed: a folder with incident.yaml, or a .tar, .tar.gz or .tar.zst of one"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			if _, err := Open(c.fsys); err == nil || strings.ReplaceAll(err.Error(), dir+"/", "") != c.want {
				t.Errorf("got %v\nwant %s", err, c.want)
			}
		})
	}
	t.Run("folder in place of a file", func(t *testing.T) {
		if err := os.Remove(filepath.Join(dir, ChangesFile)); err != nil {
			t.Fatal(err)
		}
		if err := os.Mkdir(filepath.Join(dir, ChangesFile), 0o755); err != nil {
			t.Fatal(err)
		}
		_, err := Open(os.DirFS(dir))
		if want := "changes.jsonl: this is not a regular file"; err == nil || err.Error() != want {
			t.Errorf("got %v, want %s", err, want)
		}
	})
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// denied refuses to open one file, as a file system does without permission.
type denied struct {
	fstest.MapFS
	name string
}

func (d denied) Open(name string) (fs.File, error) {
	if name == d.name {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrPermission}
	}
	return d.MapFS.Open(name)
}

func TestOpenUnreadable(t *testing.T) {
	for _, name := range []string{IncidentFile, TopologyFile, SignalsFile, ChangesFile, TrailFile} {
		_, err := Open(denied{memory(goodFiles()), name})
		if want := name + ": open " + name + ": permission denied"; err == nil || err.Error() != want {
			t.Errorf("got %v, want %s", err, want)
		}
		if err != nil && !errorsIs(err, fs.ErrPermission) {
			t.Errorf("%v does not tell that it is about permission", err)
		}
	}
}

// corpus lists the recorded incidents, or skips.
func corpus(t testing.TB) []string {
	t.Helper()
	root := os.Getenv("SREAGENT_CORPUS")
	if root == "" {
		t.Skip("SREAGENT_CORPUS is not set: there are no recorded incidents to read")
	}
	dirs, err := filepath.Glob(filepath.Join(root, "bundles", "*"))
	if err != nil || len(dirs) == 0 {
		t.Fatalf("no bundles under %s (%v)", root, err)
	}
	return dirs
}

// TestCorpus opens and checks every recorded incident, and copies each through
// an archive.
func TestCorpus(t *testing.T) {
	for _, dir := range corpus(t) {
		t.Run(filepath.Base(dir), func(t *testing.T) {
			fsys := os.DirFS(dir)
			b, err := Open(fsys)
			if err != nil {
				t.Fatal(err)
			}
			if b.Incident.ID != filepath.Base(dir) {
				t.Errorf("id is %q", b.Incident.ID)
			}
			want := samplesOf(t, b)
			report, err := Check(t.Context(), fsys, Limits{}, Grammar{Signals: queriesOf})
			if err != nil {
				t.Fatal(err)
			}
			if !report.OK() || report.Samples != len(want) || report.Samples == 0 {
				t.Errorf("report %+v, and %d samples", report, len(want))
			}
			t.Logf("%d series, %d samples, warnings %q", report.Series, report.Samples, report.Warnings)
			var archive strings.Builder
			if err := WriteArchive(&archive, b, b.MetricsText()); err != nil {
				t.Fatal(err)
			}
			again, err := OpenArchive(strings.NewReader(archive.String()), Limits{})
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(b, again, cmpopts.IgnoreUnexported(Bundle{}), cmpopts.EquateEmpty()); diff != "" {
				t.Error(diff)
			}
			if !slices.EqualFunc(want, samplesOf(t, again), same) {
				t.Error("samples differ after the archive")
			}
		})
	}
}

// BenchmarkReadMetrics reads a day of a shop with 254,612 samples, unpacked.
func BenchmarkReadMetrics(b *testing.B) {
	var dir string
	for _, d := range corpus(b) {
		if strings.Contains(d, "nezha") {
			dir = d
		}
	}
	bundle, err := Open(os.DirFS(dir))
	if err != nil {
		b.Fatal(err)
	}
	var text strings.Builder
	if _, err := bundle.MetricsText().WriteTo(&text); err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(text.Len()))
	b.ReportAllocs()
	samples := 0
	for b.Loop() {
		samples = 0
		err := ReadMetrics(context.Background(), strings.NewReader(text.String()), MetricsOptions{}, func(Series, int64, float64) error {
			samples++
			return nil
		})
		if err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(samples), "samples")
}

// BenchmarkSamples is the same from the packed file.
func BenchmarkSamples(b *testing.B) {
	for _, dir := range corpus(b) {
		if !strings.Contains(dir, "nezha") {
			continue
		}
		bundle, err := Open(os.DirFS(dir))
		if err != nil {
			b.Fatal(err)
		}
		b.ReportAllocs()
		for b.Loop() {
			if err := bundle.Samples(context.Background(), func(Series, int64, float64) error { return nil }); err != nil {
				b.Fatal(err)
			}
		}
	}
}

// discard is a reader of n bytes of one kind, made as they are read.
type discard struct {
	pattern string
	left    int64
	read    int64
}

func (d *discard) Read(p []byte) (int, error) {
	if d.left <= 0 {
		return 0, io.EOF
	}
	n := min(int64(len(p)), d.left)
	for i := range n {
		p[i] = d.pattern[(d.read+i)%int64(len(d.pattern))]
	}
	d.left -= n
	d.read += n
	return int(n), nil
}
