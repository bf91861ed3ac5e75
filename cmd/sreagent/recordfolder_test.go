package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/common/model"
	"golang.org/x/sys/unix"

	"github.com/sreagent/sreagent/sources"
)

func newPartial(t *testing.T) *partial {
	t.Helper()
	p, err := openPartial(filepath.Join(t.TempDir(), "out"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.close() })
	return p
}

func TestAChunkIsReadAsItWasSaved(t *testing.T) {
	p := newPartial(t)
	series := []sources.Series{
		{Metric: model.Metric{"__name__": "up", "job": "a\"b\\\nc"}, Samples: []model.SamplePair{{Timestamp: -1, Value: 0.1}, {Timestamp: 1772366400123, Value: 1e300}}},
		{Metric: model.Metric{"__name__": "odd"}, Samples: []model.SamplePair{
			{Timestamp: 1, Value: model.SampleValue(math.NaN())}, {Timestamp: 2, Value: model.SampleValue(math.Inf(1))},
			{Timestamp: 3, Value: model.SampleValue(math.Inf(-1))}, {Timestamp: 4, Value: model.SampleValue(math.Copysign(0, -1))},
		}},
	}
	if err := p.saveChunk(7, series); err != nil {
		t.Fatal(err)
	}
	var got []sources.Series
	if err := p.loadChunk(7, func(s sources.Series) error { got = append(got, s); return nil }); err != nil {
		t.Fatal(err)
	}
	bits := cmp.Transformer("bits", func(v model.SampleValue) uint64 { return math.Float64bits(float64(v)) })
	if diff := cmp.Diff(series, got, bits); diff != "" {
		t.Errorf("(-saved +read):\n%s", diff)
	}
}

func TestADamagedChunkIsAnError(t *testing.T) {
	p := newPartial(t)
	if err := p.saveChunk(0, []sources.Series{{Metric: model.Metric{"__name__": "up"}, Samples: make([]model.SamplePair, 1000)}}); err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(p.path(chunkName(0)))
	if err != nil {
		t.Fatal(err)
	}
	for n := range whole {
		if err := os.WriteFile(p.path(chunkName(0)), whole[:n], 0o600); err != nil {
			t.Fatal(err)
		}
		if err := p.loadChunk(0, func(sources.Series) error { return nil }); err == nil {
			t.Fatalf("cut after %d of %d bytes, and no error", n, len(whole))
		}
	}
}

func TestAFileThatCannotBeWrittenWholeIsNotThere(t *testing.T) {
	p := newPartial(t)
	full := errors.New("no space left on device")
	err := p.write("name", func(w io.Writer) error {
		_, err := w.Write(make([]byte, 1<<20))
		return errors.Join(err, full)
	})
	if !errors.Is(err, full) {
		t.Errorf("err = %v", err)
	}
	entries, err := os.ReadDir(p.dir)
	if err != nil || len(entries) != 1 || entries[0].Name() != "lock" {
		t.Errorf("left behind: %v, %v", entries, err)
	}
}

func TestOneProcessRecordsAtATime(t *testing.T) {
	p := newPartial(t)
	out := strings.TrimSuffix(p.dir, partialSuffix)
	if _, err := openPartial(out); err == nil || !strings.Contains(err.Error(), "another process records into") {
		t.Errorf("err = %v", err)
	}
	if err := p.close(); err != nil {
		t.Fatal(err)
	}
	again, err := openPartial(out)
	if err != nil {
		t.Fatal(err)
	}
	if err := again.close(); err != nil {
		t.Fatal(err)
	}
}

func TestProgressIsALinePerTenth(t *testing.T) {
	for _, c := range []struct{ done, total, lines int }{{0, 1, 1}, {0, 3, 3}, {0, 1000, 10}, {500, 1000, 5}, {7, 10, 3}} {
		var out bytes.Buffer
		m := newMeter(&out, "recording", c.done, c.total)
		for range c.total - c.done {
			m.step()
		}
		m.close()
		lines := strings.SplitAfter(strings.TrimSuffix(out.String(), "\n"), "\n")
		if len(lines) != c.lines || lines[len(lines)-1] != fmt.Sprintf("recording: 100 %% (%d of %d)", c.total, c.total) {
			t.Errorf("%+v:\n%s", c, out.String())
		}
	}
}

func TestProgressIsABarWhereATerminalWatches(t *testing.T) {
	screen, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Skipf("no terminals here: %v", err)
	}
	defer func() { _ = screen.Close() }()
	number, err := unix.IoctlGetInt(int(screen.Fd()), unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(int(screen.Fd()), unix.TIOCSPTLCK, 0)
	}
	if err != nil {
		t.Skipf("no terminals here: %v", err)
	}
	terminal, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skipf("no terminals here: %v", err)
	}
	m := newMeter(terminal, "recording", 1, 4)
	for range 3 {
		m.step()
	}
	m.close()
	if err := terminal.Close(); err != nil {
		t.Fatal(err)
	}
	shown := make([]byte, 1<<12)
	n, err := screen.Read(shown)
	if err != nil {
		t.Fatal(err)
	}
	if text := string(shown[:n]); !strings.Contains(text, "recording  25% |") || strings.Contains(text, "of 4") || strings.Contains(text, "\n") {
		t.Errorf("%q", text)
	}
}
