package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const smallScenario = `title a cart that loses most of its capacity
seed 7
tick 5s
run 6m
service gateway work=2ms rate=400 workers=64 replicas=2
service cart work=5ms rate=150 workers=32 replicas=2
call gateway -> cart calls=1 timeout=1s retries=3 hard
client users -> gateway rate=200 timeout=3s
at 2m fault cart capacity=0.3 for 60s
policy act
`

func writeScenario(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "small.scenario")
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestScenarioRun(t *testing.T) {
	path := writeScenario(t, smallScenario)
	for _, arm := range []string{"on", "off"} {
		page := filepath.Join(t.TempDir(), "report.html")
		code, out, errs := commandLine(t.Context(), "scenario", "run", path, "--agent", arm, "-o", "json", "--html", page)
		if code != 0 || errs != "" {
			t.Fatalf("agent %s: exit %d: %s", arm, code, errs)
		}
		var got map[string]any
		if err := json.Unmarshal([]byte(out), &got); err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{
			"scenario", "agent", "goodput_before", "goodput_min", "goodput_after", "recovered", "recovered_after_seconds",
			"cascade", "services_affected", "actions", "harmful_actions", "false_actions",
		} {
			if _, ok := got[name]; !ok {
				t.Errorf("agent %s: no %q in %s", arm, name, out)
			}
		}
		if got["scenario"] != "small" || got["agent"] != arm || got["goodput_before"].(float64) < .99 || got["goodput_min"].(float64) > .9 {
			t.Errorf("agent %s: %s", arm, out)
		}
		if text, err := os.ReadFile(page); err != nil || !bytes.Contains(text, []byte("<svg")) {
			t.Errorf("agent %s: report of %d bytes, %v", arm, len(text), err)
		}
		_, again, _ := commandLine(t.Context(), "scenario", "run", path, "--agent", arm, "-o", "json")
		if diff := cmp.Diff(out, again); diff != "" {
			t.Errorf("agent %s: two runs differ:\n%s", arm, diff)
		}
	}
	_, first, _ := commandLine(t.Context(), "scenario", "run", path)
	_, other, _ := commandLine(t.Context(), "scenario", "run", path, "--seed", "8")
	if first == other || !strings.Contains(first, "goodput") {
		t.Errorf("another seed tells the same story:\n%s", first)
	}
}

// What was simulated can be replayed: the recording is a bundle like any other,
// and the agent decides on it as it did in the world.
func TestScenarioIsRecorded(t *testing.T) {
	path, dir := writeScenario(t, smallScenario), t.TempDir()
	for _, out := range []string{filepath.Join(dir, "folder"), filepath.Join(dir, "archive.tar.zst")} {
		if code, _, errs := commandLine(t.Context(), "scenario", "run", path, "--record", out); code != 0 {
			t.Fatalf("exit %d: %s", code, errs)
		}
		if code, text, errs := commandLine(t.Context(), "check", "bundle", out); code != 0 || !strings.Contains(text, "1 faults") {
			t.Errorf("check %s: exit %d: %s%s", out, code, text, errs)
		}
		code, text, errs := commandLine(t.Context(), "replay", out)
		if code != 0 || !strings.Contains(text, "recorded trail: ") || !strings.Contains(text, "at cart") {
			t.Errorf("replay %s: exit %d: %s%s", out, code, text, errs)
		}
	}
	code, _, errs := commandLine(t.Context(), "scenario", "run", path, "--record", filepath.Join(dir, "folder"))
	if code != exitFailed || !strings.Contains(errs, "exists already") {
		t.Errorf("over a recording: exit %d: %s", code, errs)
	}
}

func TestScenarioExpectations(t *testing.T) {
	path := writeScenario(t, smallScenario+"expect off goodput_min >= .99\n")
	code, _, errs := commandLine(t.Context(), "scenario", "run", path, "--agent", "off")
	if code != exitFailed || !strings.Contains(errs, "goodput_min") || !strings.Contains(errs, "small.scenario:11") {
		t.Errorf("exit %d: %s", code, errs)
	}
	if code, _, errs := commandLine(t.Context(), "scenario", "run", path, "--agent", "on"); code != 0 {
		t.Errorf("the other arm: exit %d: %s", code, errs)
	}
}

func TestScenarioLibrary(t *testing.T) {
	code, out, errs := commandLine(t.Context(), "scenario", "list")
	if code != 0 || errs != "" {
		t.Fatalf("exit %d: %s", code, errs)
	}
	lines := strings.Split(strings.TrimSpace(out), "\n")
	if len(lines) < 30 {
		t.Errorf("%d shipped scenarios, want at least 30", len(lines))
	}
	name, _, _ := strings.Cut(lines[0], " ")
	code, text, errs := commandLine(t.Context(), "scenario", "show", name)
	if code != 0 || !strings.Contains(text, "title ") {
		t.Errorf("show %s: exit %d: %s%s", name, code, text, errs)
	}
}

func TestScenarioRefuses(t *testing.T) {
	for _, tc := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"scenario", "run"}, exitUsage, "required argument 'file'"},
		{[]string{"scenario", "run", "no-such-story"}, exitFailed, "neither a file nor a shipped scenario"},
		{[]string{"scenario", "run", "./no-such-story"}, exitFailed, "no such file"},
		{[]string{"scenario", "run", writeScenario(t, "service a\nservise b\n")}, exitFailed, "small.scenario:2"},
		{[]string{"scenario", "run", writeScenario(t, smallScenario), "--agent", "maybe"}, exitUsage, "enum value must be one of on,off"},
		{[]string{"scenario", "run", writeScenario(t, smallScenario), "--config", "/no/such.yaml"}, exitFailed, "no/such.yaml"},
	} {
		code, _, errs := commandLine(t.Context(), tc.args...)
		if code != tc.code || !strings.Contains(errs, tc.want) {
			t.Errorf("%v: exit %d, want %d with %q: %s", tc.args, code, tc.code, tc.want, errs)
		}
	}
}

// A name that nothing can be written to shows before the world runs, which the
// long story here would take minutes for.
func TestScenarioRefusesNamesEarly(t *testing.T) {
	long := strings.NewReplacer("run 6m", "run 48h", "tick 5s", "tick 1s").Replace(smallScenario)
	path, dir := writeScenario(t, long), t.TempDir()
	taken := filepath.Join(dir, "taken.tar.zst")
	if err := os.WriteFile(taken, []byte("kept"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, tc := range [][3]string{
		{"--record", dir, "exists already"},
		{"--record", taken, "exists already"},
		{"--record", filepath.Join(dir, "a.tar.gz"), "a .tar.gz is read but not written"},
		{"--record", filepath.Join(dir, "no", "a"), "no such file"},
		{"--record", filepath.Join(dir, "no", "a.tar.zst"), "no such file"},
		{"--record", filepath.Join(taken, "a"), "not a directory"},
		{"--html", filepath.Join(dir, "no", "a.html"), "no such file"},
		{"--html", dir, "it is a folder"},
	} {
		code, out, errs := commandLine(t.Context(), "scenario", "run", path, tc[0], tc[1])
		if code != exitFailed || out != "" || !strings.Contains(errs, tc[2]) {
			t.Errorf("%s %s: exit %d: %s%s", tc[0], tc[1], code, out, errs)
		}
	}
	if text, err := os.ReadFile(taken); string(text) != "kept" {
		t.Errorf("%q, %v", text, err)
	}
	if there, err := os.ReadDir(dir); len(there) != 1 {
		t.Errorf("%v, %v", there, err)
	}
}

type brokenMetrics struct{}

func (brokenMetrics) WriteTo(io.Writer) (int64, error) { return 0, errors.New("disk full") }

// A bundle that cannot be written whole leaves nothing, also not in a folder
// that was there.
func TestBundleIsWrittenWholeOrNotAtAll(t *testing.T) {
	dir := t.TempDir()
	b, err := openBundle(writeBundle(t, t.TempDir(), "cart"))
	if err != nil {
		t.Fatal(err)
	}
	empty := filepath.Join(dir, "empty")
	if err := os.Mkdir(empty, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"new", "empty", "new.tar.zst"} {
		if err := writeNewBundle(filepath.Join(dir, name), b, brokenMetrics{}); err == nil || !strings.Contains(err.Error(), "disk full") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if there, err := os.ReadDir(dir); len(there) != 1 || there[0].Name() != "empty" {
		t.Errorf("%v, %v", there, err)
	}
	if there, err := os.ReadDir(empty); len(there) != 0 {
		t.Errorf("%v, %v", there, err)
	}
	if err := writeNewBundle(empty, b, b.MetricsText()); err != nil {
		t.Error(err)
	}
	if code, _, errs := commandLine(t.Context(), "check", "bundle", empty); code != 0 {
		t.Error(errs)
	}
}

func TestScenarioFileHasAnEnd(t *testing.T) {
	code, _, errs := commandLine(t.Context(), "scenario", "run", "/dev/zero")
	if code != exitFailed || !strings.Contains(errs, "larger than 1048576 bytes") {
		t.Errorf("exit %d: %.200s", code, errs)
	}
}
