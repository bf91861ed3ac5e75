package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sreagent/sreagent/replay/backtest"
)

func TestBacktestOfTheWorld(t *testing.T) {
	page := filepath.Join(t.TempDir(), "report.html")
	args := []string{"backtest", "--world", "4", "--services", "30-50", "--seed", "2"}
	code, one, errs := commandLine(t.Context(), append(args, "-o", "json", "--jobs", "1", "--html", page)...)
	if code != 0 {
		t.Fatalf("exit %d: %s", code, errs)
	}
	_, two, _ := commandLine(t.Context(), append(args, "-o", "json", "--jobs", "2")...)
	if diff := cmp.Diff(one, two); diff != "" {
		t.Errorf("one job and two differ:\n%.1000s", diff)
	}
	r := readBacktest(t, one)
	if len(r.Bundles) != 4 || r.World == nil || r.World.Foresight == nil || r.World.Actions != 0 {
		t.Fatalf("%d bundles, world %+v", len(r.Bundles), r.World)
	}
	text, err := os.ReadFile(page)
	for _, want := range []string{"world/retry_storm", "world, all", "Lead, where there was room", "Notifications"} {
		if err != nil || !bytes.Contains(text, []byte(want)) {
			t.Errorf("no %q in a report of %d bytes, %v", want, len(text), err)
		}
	}
	code, out, errs := commandLine(t.Context(), append(args, "--benign", "--day", "10m")...)
	if code != 0 || !strings.Contains(out, "simulated world: 4 incidents") || !strings.Contains(out, "per week and 1,000 services") {
		t.Errorf("exit %d: %s\n%s", code, errs, out)
	}
}

// A run that was stopped goes on, but not with the incidents of another world.
func TestBacktestOfTheWorldContinues(t *testing.T) {
	kept := filepath.Join(t.TempDir(), "kept.json")
	args := []string{"backtest", "--services", "30", "-o", "json", "--resume", kept}
	code, whole, errs := commandLine(t.Context(), append(args, "--world", "2")...)
	if code != 0 {
		t.Fatalf("exit %d: %s", code, errs)
	}
	code, again, errs := commandLine(t.Context(), append(args, "--world", "3")...)
	if code != 0 {
		t.Fatalf("exit %d: %s", code, errs)
	}
	var a, b backtest.Result
	if err := json.Unmarshal([]byte(whole), &a); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal([]byte(again), &b); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(a.Bundles, b.Bundles[:2]); diff != "" {
		t.Errorf("the first two differ: %s", diff)
	}
	code, _, errs = commandLine(t.Context(), append(args, "--world", "3", "--missing", "0.2")...)
	if code == 0 || !strings.Contains(errs, "another configuration") {
		t.Errorf("another world continues it: exit %d: %s", code, errs)
	}
}

func TestBacktestOfTheWorldRefuses(t *testing.T) {
	for _, tc := range []struct {
		args []string
		want string
	}{
		{[]string{"--services", "many"}, "want LEAST-MOST"},
		{[]string{"--services", "3-9"}, "services"},
		{[]string{"--missing", "1"}, "missing"},
		{[]string{"--clock-error", "1h"}, "clock_error"},
		{[]string{"--tick", "1500ms"}, "tick"},
		{[]string{t.TempDir()}, "no bundles"},
	} {
		code, _, errs := commandLine(t.Context(), append([]string{"backtest", "--world", "1"}, tc.args...)...)
		if code != exitUsage || !strings.Contains(errs, tc.want) {
			t.Errorf("%v: exit %d, want %d with %q: %s", tc.args, code, exitUsage, tc.want, errs)
		}
	}
}
