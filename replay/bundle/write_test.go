package bundle

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"io"
	"slices"
	"testing"
	"testing/fstest"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// disk is a sink in memory.
type disk struct{ files fstest.MapFS }

type diskFile struct {
	bytes.Buffer
	disk *disk
	name string
}

func (d *disk) Create(name string) (io.WriteCloser, error) {
	return &diskFile{disk: d, name: name}, nil
}

func (f *diskFile) Close() error {
	f.disk.files[f.name] = &fstest.MapFile{Data: f.Bytes(), Mode: 0o644}
	return nil
}

func TestWriterRoundTrip(t *testing.T) {
	want, err := Open(memory(goodFiles()))
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range []Packing{Plain, Gzip, Zstd} {
		t.Run("folder"+string(p), func(t *testing.T) {
			d := &disk{files: fstest.MapFS{}}
			if err := (Writer{Sink: d, Packing: p}).Write(want, want.MetricsText()); err != nil {
				t.Fatal(err)
			}
			b, err := Open(d.files)
			if err != nil {
				t.Fatal(err)
			}
			equalBundles(t, want, b)
		})
	}
	var first, second bytes.Buffer
	for _, out := range []*bytes.Buffer{&first, &second} {
		if err := WriteArchive(out, want, want.MetricsText()); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(first.Bytes(), second.Bytes()) {
		t.Error("two archives of one bundle differ")
	}
	b, err := OpenArchive(&first, Limits{})
	if err != nil {
		t.Fatal(err)
	}
	equalBundles(t, want, b)
}

func equalBundles(t *testing.T, want, b *Bundle) {
	t.Helper()
	if diff := gocmp.Diff(want, b, cmpopts.IgnoreUnexported(Bundle{})); diff != "" {
		t.Error(diff)
	}
	if !slices.EqualFunc(samplesOf(t, want), samplesOf(t, b), func(x, y got) bool { return x.Series == y.Series && x.At == y.At }) {
		t.Error("other samples")
	}
}

func TestGzipIsOrdinary(t *testing.T) {
	r, err := gzip.NewReader(bytes.NewReader(packBytes(t, Gzip, []byte("hello"))))
	if err != nil {
		t.Fatal(err)
	}
	if text, err := io.ReadAll(r); err != nil || string(text) != "hello" {
		t.Errorf("%q, %v", text, err)
	}
}

// brokenSink fails at one file, when it is created, written or closed.
type brokenSink struct{ at, when string }

var errDisk = errors.New("no space left")

func (s brokenSink) Create(name string) (io.WriteCloser, error) {
	if name == s.at && s.when == "create" {
		return nil, errDisk
	}
	return brokenFile{s.at == name, s.when}, nil
}

type brokenFile struct {
	bad  bool
	when string
}

func (f brokenFile) Write(p []byte) (int, error) {
	if f.bad && f.when == "write" {
		return 0, errDisk
	}
	return len(p), nil
}

func (f brokenFile) Close() error {
	if f.bad && f.when == "close" {
		return errDisk
	}
	return nil
}

func TestWriterReportsTheSink(t *testing.T) {
	b, err := Open(memory(goodFiles()))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{IncidentFile, TrailFile, MetricsFile} {
		for when, want := range map[string]string{"create": "create " + name, "write": "write " + name, "close": "write " + name} {
			err := Writer{Sink: brokenSink{name, when}}.Write(b, b.MetricsText())
			if !errors.Is(err, errDisk) || err.Error() != want+": no space left" {
				t.Errorf("%s, %s: %v", name, when, err)
			}
		}
	}
}

func TestWriterRefuses(t *testing.T) {
	good := func() *Bundle {
		b, err := Open(memory(goodFiles()))
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	cases := []struct {
		name, want string
		spoil      func(b *Bundle)
	}{
		{"no id", "write incident.yaml: id: is missing; allowed: a name for the incident", func(b *Bundle) { b.Incident.ID = "" }},
		{"no topology", "write topology.yaml: it would be empty", func(b *Bundle) { b.Topology = nil }},
		{"change", `write changes.jsonl: changes.jsonl:1: kind: unknown kind ""; allowed: deploy, flag, config, scale, other`, func(b *Bundle) { b.Changes[0].Kind = "" }},
		{"trail", "write trail.jsonl: trail.jsonl:2: seq: 3 comes after 3; allowed: ascending numbers", func(b *Bundle) { b.Trail[1].Seq = 3 }},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			b := good()
			c.spoil(b)
			for what, err := range map[string]error{
				"folder":  Writer{Sink: &disk{files: fstest.MapFS{}}}.Write(b, b.MetricsText()),
				"archive": WriteArchive(io.Discard, b, b.MetricsText()),
			} {
				if err == nil || err.Error() != c.want {
					t.Errorf("%s: got  %v\nwant %s", what, err, c.want)
				}
			}
		})
	}
	b := &Bundle{}
	if err := b.Samples(context.Background(), nil); !errors.Is(err, errNoFiles) {
		t.Errorf("got %v", err)
	}
}
