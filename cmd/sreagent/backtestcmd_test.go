package main

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sreagent/sreagent/replay/backtest"
)

func readBacktest(t *testing.T, text string) *backtest.Result {
	t.Helper()
	r, err := backtest.ReadResult(strings.NewReader(text))
	if err != nil {
		t.Fatalf("%v in:\n%.500s", err, text)
	}
	return r
}

func TestBacktestScoresACorpus(t *testing.T) {
	dir := t.TempDir()
	for _, id := range []string{"a", "b", "c"} {
		writeBundle(t, dir, id)
	}
	if err := os.MkdirAll(filepath.Join(dir, "no-bundle"), 0o755); err != nil {
		t.Fatal(err)
	}
	page := filepath.Join(t.TempDir(), "report.html")
	code, one, errs := commandLine(t.Context(), "backtest", dir, "-o", "json", "--jobs", "1", "--html", page)
	if code != 0 {
		t.Fatalf("exit %d: %s", code, errs)
	}
	_, two, _ := commandLine(t.Context(), "backtest", dir, "-o", "json", "--jobs", "2")
	if diff := cmp.Diff(one, two); diff != "" {
		t.Errorf("one job and two differ:\n%s", diff)
	}
	got := readBacktest(t, one)
	if len(got.Bundles) != 3 || got.Partial {
		t.Fatalf("%d bundles, partial %v", len(got.Bundles), got.Partial)
	}
	f := got.Bundles[0].Faults[0]
	if f.DetectedAt == nil || *f.DelaySeconds > 120 || f.OracleRank != 1 || f.OwnRank != 1 || *f.LeadSeconds < 0 || len(f.Decisions) == 0 {
		t.Errorf("the fault: %+v", f)
	}
	if s := got.Summary["test"]; s.Faults != 3 || s.Detected.Value != 1 || s.Oracle.AC1.Value != 1 || s.FalseAlarms != 0 {
		t.Errorf("summary: %+v", s)
	}
	if text, err := os.ReadFile(page); err != nil || !bytes.Contains(text, []byte("AC@1")) {
		t.Errorf("report of %d bytes, %v", len(text), err)
	}
	code, text, _ := commandLine(t.Context(), "backtest", dir)
	if code != 0 || !strings.Contains(text, "AC@1") {
		t.Errorf("exit %d:\n%s", code, text)
	}
}

// The JSON has the names that others read.
func TestBacktestJSONNames(t *testing.T) {
	code, out, errs := commandLine(t.Context(), "backtest", writeBundle(t, t.TempDir(), "a"), "-o", "json")
	if code != 0 {
		t.Fatalf("exit %d: %s", code, errs)
	}
	var got struct {
		Bundles []map[string]any
		Summary map[string]map[string]any
	}
	if err := json.Unmarshal([]byte(out), &got); err != nil {
		t.Fatal(err)
	}
	has := func(what string, m map[string]any, names ...string) {
		for _, n := range names {
			if _, ok := m[n]; !ok {
				t.Errorf("%s lacks %q: %v", what, n, m)
			}
		}
	}
	has("bundle", got.Bundles[0], "id", "source", "fault_free_seconds", "false_alarms", "time_in_alarm_ratio", "faults")
	fault := got.Bundles[0]["faults"].([]any)[0].(map[string]any)
	has("fault", fault, "services", "injected_at", "detected_at", "delay_seconds", "oracle_ranking", "ranking", "decisions")
	has("suspect", fault["oracle_ranking"].([]any)[0].(map[string]any), "service", "probability")
	decision := fault["decisions"].([]any)[0].(map[string]any)
	has("decision", decision, "at", "verdict", "runbook", "confidence", "actions", "reasons")
	has("confidence", decision["confidence"].(map[string]any), "p", "lower")
	has("action", decision["actions"].([]any)[0].(map[string]any), "kind", "target", "params")
	has("summary", got.Summary["test"], "detected", "oracle", "end_to_end", "false_alarms_per_day", "time_in_alarm_ratio", "calibration")
}

func TestBacktestGoesOnAfterABrokenBundle(t *testing.T) {
	dir := t.TempDir()
	writeBundle(t, dir, "a")
	writeBundle(t, dir, "b", "metrics.om", "load{service=\"cart\"} 1 2 3 4\n# EOF\n")
	writeBundle(t, dir, "c")
	code, out, errs := commandLine(t.Context(), "backtest", dir, "-o", "json")
	got := readBacktest(t, out)
	if code != exitFailed || len(got.Bundles) != 3 || got.Bundles[1].Error == "" || got.Bundles[2].Error != "" {
		t.Errorf("exit %d, %d bundles, errors %q", code, len(got.Bundles), errs)
	}
	if !strings.Contains(errs, "metrics.om:1") || !strings.Contains(errs, "1 of 3 bundles could not be used") {
		t.Errorf("errors: %s", errs)
	}
	if got.Summary["test"].Faults != 2 {
		t.Errorf("%d faults are scored, want those of the two good bundles", got.Summary["test"].Faults)
	}
}

func TestBacktestResumes(t *testing.T) {
	dir, state := t.TempDir(), filepath.Join(t.TempDir(), "state.json")
	for _, id := range []string{"a", "b", "c", "d"} {
		writeBundle(t, dir, id)
	}
	_, whole, _ := commandLine(t.Context(), "backtest", dir, "-o", "json", "--jobs", "1")

	code, part, errs := commandLine(stopAfter(t, state), "backtest", dir, "-o", "json", "--jobs", "1", "--resume", state)
	got := readBacktest(t, part)
	if code != exitFailed || !got.Partial || len(got.Bundles) == 0 || len(got.Bundles) == 4 || !strings.Contains(errs, "the same command continues it") {
		t.Fatalf("stopped: exit %d, partial %v, %d bundles: %s", code, got.Partial, len(got.Bundles), errs)
	}
	if got.Summary["test"].Faults != len(got.Bundles) {
		t.Error("the partial report has no scores")
	}
	code, rest, errs := commandLine(t.Context(), "backtest", dir, "-o", "json", "--jobs", "1", "--resume", state)
	if code != 0 {
		t.Fatalf("continued: exit %d: %s", code, errs)
	}
	if diff := cmp.Diff(whole, rest); diff != "" {
		t.Errorf("in two parts the result differs:\n%s", diff)
	}
	config := filepath.Join(t.TempDir(), "sreagent.yaml")
	if err := os.WriteFile(config, []byte("prometheus: {url: http://127.0.0.1:9090}\nsignals: {preset: red}\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	code, _, errs = commandLine(t.Context(), "backtest", dir, "--resume", state, "--config", config)
	if code != exitFailed || !strings.Contains(errs, "another configuration") {
		t.Errorf("with another configuration: exit %d: %s", code, errs)
	}
}

// stopAfter is a context that ends when the first bundle has been kept.
func stopAfter(t *testing.T, state string) context.Context {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	return &untilKept{ctx, state, cancel}
}

// untilKept looks for itself whenever it is asked whether it has ended, so that
// the run cannot get further than that.
type untilKept struct {
	context.Context
	state  string
	cancel context.CancelFunc
}

func (u *untilKept) Err() error {
	if _, err := os.Stat(u.state); err == nil {
		u.cancel()
	}
	return u.Context.Err()
}

func TestBacktestCompares(t *testing.T) {
	dir := t.TempDir()
	writeBundle(t, dir, "a")
	write := func(name, mode string) string {
		path := filepath.Join(dir, name)
		text := "prometheus: {url: http://127.0.0.1:9090}\nsignals: {preset: red}\npolicy: {mode: " + mode + "}\n"
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return path
	}
	watch, act := write("watch.yaml", "watch"), write("act.yaml", "act")
	code, out, errs := commandLine(t.Context(), "backtest", dir, "--config", watch, "--compare", act, "-o", "json")
	if code != 0 {
		t.Fatalf("exit %d: %s", code, errs)
	}
	var got struct{ Comparison *backtest.Comparison }
	if err := json.Unmarshal([]byte(out), &got); err != nil {
		t.Fatal(err)
	}
	if got.Comparison == nil || len(got.Comparison.Differences) == 0 {
		t.Fatalf("watching and acting do not differ: %.300s", out)
	}
	code, out, _ = commandLine(t.Context(), "backtest", dir, "--config", watch, "--compare", watch)
	if code != 0 || !strings.Contains(out, "differ") {
		t.Errorf("a configuration against itself: exit %d:\n%s", code, out)
	}
}

func TestBacktestRefuses(t *testing.T) {
	for _, tc := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"backtest"}, exitUsage, "nothing to run"},
		{[]string{"backtest", t.TempDir()}, exitFailed, "no bundle here"},
		{[]string{"backtest", filepath.Join(t.TempDir(), "gone")}, exitFailed, "no such file"},
		{[]string{"backtest", t.TempDir(), "--jobs=-1"}, exitUsage, "--jobs is -1"},
		{[]string{"backtest", t.TempDir(), "-o", "xml"}, exitUsage, "enum value must be one of"},
	} {
		code, _, errs := commandLine(t.Context(), tc.args...)
		if code != tc.code || !strings.Contains(errs, tc.want) {
			t.Errorf("%v: exit %d, want %d with %q: %s", tc.args, code, tc.code, tc.want, errs)
		}
	}
}

// The recorded incidents load and are scored in minutes: the budget is five for
// all of them, on two cores.
func TestBacktestOfTheCorpus(t *testing.T) {
	corpus := os.Getenv("SREAGENT_CORPUS")
	if corpus == "" {
		t.Skip("SREAGENT_CORPUS names no folder of recorded incidents")
	}
	if testing.Short() {
		t.Skip("takes a while")
	}
	began := time.Now()
	code, out, errs := commandLine(t.Context(), "backtest", filepath.Join(corpus, "bundles"), "-o", "json")
	if code != 0 {
		t.Fatalf("exit %d: %s", code, errs)
	}
	got := readBacktest(t, out)
	if len(got.Bundles) < 45 {
		t.Errorf("%d bundles, want all 45", len(got.Bundles))
	}
	t.Logf("%d bundles in %s", len(got.Bundles), time.Since(began).Round(time.Millisecond))
	for source, s := range got.Summary {
		t.Logf("%s: oracle AC@1 %.2f Avg@5 %.2f, detected %.2f, %.2f false alarms per day", source, s.Oracle.AC1.Value, s.Oracle.Avg5.Value, s.Detected.Value, s.FalseAlarmsPerDay)
	}
}

// What is wrong with the command shows before a bundle runs, and what goes wrong
// with the files beside does not take the result away.
func TestBacktestLosesNoResult(t *testing.T) {
	dir := t.TempDir()
	path := writeBundle(t, dir, "a")
	none := filepath.Join(dir, "none", "x")
	for _, args := range [][]string{{"--html", none}, {"--html", dir}, {"--resume", none}, {"--compare", none}} {
		code, out, errs := commandLine(t.Context(), append([]string{"backtest", path}, args...)...)
		if code != exitFailed || out != "" || strings.Contains(errs, "100 %") {
			t.Errorf("%q: exit %d: %s%s", args, code, out, errs)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	gone := filepath.Join(t.TempDir(), "state")
	if err := os.Mkdir(gone, 0o755); err != nil {
		t.Fatal(err)
	}
	var out, errs bytes.Buffer
	remove := writerFunc(func(p []byte) (int, error) {
		if bytes.Contains(p, []byte("(1 of 2)")) {
			if err := os.RemoveAll(gone); err != nil {
				t.Error(err)
			}
		}
		return errs.Write(p)
	})
	writeBundle(t, dir, "b")
	code := execute(ctx, []string{"backtest", dir, "-o", "json", "--jobs", "1", "--resume", filepath.Join(gone, "r.json"), "--html", filepath.Join(gone, "r.html")},
		streams{out: &out, err: remove})
	if got := readBacktest(t, out.String()); code != exitFailed || len(got.Bundles) != 2 || got.Partial {
		t.Errorf("exit %d, %d bundles", code, len(got.Bundles))
	}
	for _, want := range []string{"r.json: ", "r.html: "} {
		if !strings.Contains(errs.String(), want) {
			t.Errorf("%q is not in %s", want, errs.String())
		}
	}
}

// The state may hold bundles that this run was not asked for.
func TestBacktestCountsItsOwnBundles(t *testing.T) {
	dir, state := t.TempDir(), filepath.Join(t.TempDir(), "state.json")
	for _, id := range []string{"a", "b", "c"} {
		writeBundle(t, dir, id)
	}
	if code, _, errs := commandLine(t.Context(), "backtest", dir, "--resume", state); code != 0 {
		t.Fatal(errs)
	}
	writeBundle(t, dir, "d")
	code, _, errs := commandLine(t.Context(), "backtest", filepath.Join(dir, "c"), filepath.Join(dir, "d"), "--resume", state)
	if code != 0 || errs != "backtest: 100 % (2 of 2)\n" {
		t.Errorf("exit %d: %s", code, errs)
	}
}
