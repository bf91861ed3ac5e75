//go:build e2e

package main

import (
	"bytes"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/sreagent/sreagent/sre"
)

// recordedAndReplayed records what a world and its agent have lived through
// since an instant, with a kill -9 on the way, and replays it. The agent need
// not run any more, the Prometheus must.
func recordedAndReplayed(t *testing.T, w *site, a *running, since time.Time) {
	t.Helper()
	out := filepath.Join(w.dir, "recorded")
	command := []string{
		sreagentBinary(t), "record", "--config=" + a.path("sreagent.yaml"),
		"--from=" + since.UTC().Format(time.RFC3339), "--chunk=5s", "--title=The shop", out,
	}
	killed := start(t, "record", nil, command...)
	eventually(t, time.Minute, "the first chunks", func() bool {
		chunks, _ := filepath.Glob(filepath.Join(out+partialSuffix, "chunk-*.gz"))
		return len(chunks) > 4
	})
	killed.kill()
	if _, err := os.Stat(out); err == nil {
		t.Fatal("it was killed too late for anything to be continued")
	}
	code, stdout, stderr := run(t, "", command...)
	if code != exitOK {
		t.Fatalf("record: exit %d\n%s%s", code, stdout, stderr)
	}
	t.Logf("record: %s", strings.TrimSpace(stdout))
	for _, want := range []string{"continuing ", "recording: 100 %"} {
		if !strings.Contains(stderr, want) {
			t.Errorf("record does not say %q:\n%s", want, stderr)
		}
	}
	if _, err := os.Stat(out + partialSuffix); err == nil {
		t.Error("the work under way is still there")
	}
	trailIsWhole(t, filepath.Join(out, "trail.jsonl"), a.records(t), since)
	promtoolTakes(t, w, filepath.Join(out, "metrics.om.zst"))
	replaysAlike(t, a, out)
}

// trailIsWhole wants every record of the agent since an instant in the bundle.
func trailIsWhole(t *testing.T, path string, records []sre.Record, since time.Time) {
	t.Helper()
	text, err := os.ReadFile(path)
	must(t, err)
	want := 0
	for _, r := range records {
		if !r.At.Before(since.Truncate(time.Second)) {
			want++
		}
	}
	if got := bytes.Count(text, []byte("\n")); got != want || want == 0 {
		t.Errorf("the bundle has %d records of the agent, want %d", got, want)
	}
}

// promtoolTakes makes blocks of the recorded samples with Prometheus' own tool.
func promtoolTakes(t *testing.T, w *site, packed string) {
	t.Helper()
	f, err := os.Open(packed)
	must(t, err)
	defer func() { _ = f.Close() }()
	unpacked, err := zstd.NewReader(f)
	must(t, err)
	defer unpacked.Close()
	text, err := io.ReadAll(unpacked)
	must(t, err)
	plain, blocks := filepath.Join(w.dir, "metrics.om"), filepath.Join(w.dir, "blocks")
	must(t, os.WriteFile(plain, text, 0o600))
	must(t, os.MkdirAll(blocks, 0o700))
	code, stdout, stderr := run(t, "", installed(t, "promtool"), "tsdb", "create-blocks-from", "openmetrics", plain, blocks)
	if code != 0 {
		t.Errorf("promtool: exit %d\n%s%s", code, stdout, stderr)
	}
	if made, err := filepath.Glob(filepath.Join(blocks, "*", "meta.json")); err != nil || len(made) == 0 {
		t.Errorf("promtool made no block of %d bytes: %v\n%s", len(text), err, stdout)
	}
}

// replaysAlike replays a bundle on one processor and on two, as the agent was
// configured, and wants the same bytes.
func replaysAlike(t *testing.T, a *running, out string) {
	t.Helper()
	var outputs []string
	for _, processors := range []string{"1", "2"} {
		cmd := exec.CommandContext(t.Context(), sreagentBinary(t), "replay", out, "--config="+a.path("sreagent.yaml"), "-o", "json")
		cmd.Env = append(os.Environ(), "GOMAXPROCS="+processors)
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		text, err := cmd.Output()
		if err != nil {
			t.Fatalf("replay: %v\n%s", err, stderr.String())
		}
		outputs = append(outputs, string(text))
	}
	if outputs[0] != outputs[1] {
		t.Errorf("two replays differ: %d and %d bytes", len(outputs[0]), len(outputs[1]))
	}
	var told struct {
		Decisions  []json.RawMessage `json:"decisions"`
		Comparison struct {
			Recorded int `json:"recorded"`
			Replayed int `json:"replayed"`
			Same     int `json:"same"`
		} `json:"comparison"`
	}
	must(t, json.Unmarshal([]byte(outputs[0]), &told))
	if told.Comparison.Recorded == 0 || len(told.Decisions) == 0 || told.Comparison.Replayed != len(told.Decisions) {
		t.Errorf("%d decisions were replayed, and compared: %+v", len(told.Decisions), told.Comparison)
	}
	t.Logf("replay: %d decisions recorded, %d replayed, %d of them the same", told.Comparison.Recorded, told.Comparison.Replayed, told.Comparison.Same)
}
