package main

import (
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sreagent/sreagent/replay/backtest"
	"github.com/sreagent/sreagent/runbooks"
)

// otherOverload writes the shipped runbook overload with some text replaced, and
// records an incident that leads to it.
func otherOverload(t *testing.T, from, to string) (changed, recording string) {
	t.Helper()
	dir := t.TempDir()
	text, err := fs.ReadFile(runbooks.Shipped(), "overload.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(text), from) {
		t.Fatalf("the runbook has no %q", from)
	}
	changed, recording = filepath.Join(dir, "changed.yaml"), filepath.Join(dir, "recording")
	if err := os.WriteFile(changed, []byte(strings.ReplaceAll(string(text), from, to)), 0o600); err != nil {
		t.Fatal(err)
	}
	if code, _, errs := commandLine(t.Context(), "scenario", "run", "overload", "--record", recording); code != 0 {
		t.Fatal(errs)
	}
	return changed, recording
}

func TestRunbooksDiffListsWhatIsDecidedOtherwise(t *testing.T) {
	changed, recording := otherOverload(t, "0.5 * served(root)", "0.4 * served(root)")
	for _, c := range []struct {
		name     string
		args     []string
		code     int
		out, not string
	}{
		{"another setting", []string{"shipped", changed}, 0, "action changed queue_bound", "0 differences"},
		{"an exit code for it", []string{"shipped", changed, "--exit-code"}, 1, "action changed queue_bound", ""},
		{"the same", []string{"shipped", "shipped", "--exit-code"}, 0, "0 differences; 1 bundles without any", "would have been decided"},
		{"backwards", []string{changed, "shipped"}, 0, "action changed queue_bound", ""},
	} {
		code, out, errs := commandLine(t.Context(), append(append([]string{"runbooks", "diff"}, c.args[:2]...), append([]string{recording}, c.args[2:]...)...)...)
		if code != c.code || !strings.Contains(out, c.out) || c.not != "" && strings.Contains(out, c.not) {
			t.Errorf("%s: exit %d, %s%s", c.name, code, out, errs)
		}
	}
}

func TestRunbooksDiffAsData(t *testing.T) {
	changed, recording := otherOverload(t, "mechanisms: [overload, capacity_decay, survivor_overload, cache_loss]", "mechanisms: [oscillation]")
	code, out, errs := commandLine(t.Context(), "runbooks", "diff", "shipped", changed, recording, "-o", "json")
	if code != 0 {
		t.Fatal(errs)
	}
	var got struct {
		Differences []backtest.Difference `json:"differences"`
		Old, New    string
		Recordings  int
	}
	if err := json.Unmarshal([]byte(out), &got); err != nil {
		t.Fatalf("%v in %s", err, out)
	}
	dropped := false
	for _, d := range got.Differences {
		dropped = dropped || d.About == backtest.AboutDecision && d.Change == backtest.Dropped && strings.Contains(d.A, "overload")
		if d.About != backtest.AboutDecision && d.About != backtest.AboutAction {
			t.Errorf("%s is no decision", d.About)
		}
	}
	if !dropped || got.Recordings != 1 || got.New != changed {
		t.Errorf("got %s", out)
	}
}

func TestRunbooksDiffSaysWhatIsWrong(t *testing.T) {
	dir := folder(t, map[string]string{"bad.yaml": "apiVersion: sreagent/v1\nkind: Runbook\nmetadata: {name: x}\n"})
	_, recording := otherOverload(t, "0.5", "0.5")
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"shipped", "nowhere", recording}, "nowhere: no such file or directory; allowed: shipped, a file or a folder"},
		{[]string{filepath.Join(dir, "bad.yaml"), "shipped", recording}, "bad.yaml:"},
		{[]string{"shipped", "shipped", dir}, "no bundle"},
		{[]string{"shipped", "shipped"}, "required argument"},
	} {
		code, out, errs := commandLine(t.Context(), append([]string{"runbooks", "diff"}, c.args...)...)
		if code == 0 || out != "" || !strings.Contains(errs, c.want) {
			t.Errorf("%v: exit %d, %s%s, want %q", c.args, code, out, errs, c.want)
		}
	}
}

// What the corpus of recorded incidents would have seen: the decisions of the shipped
// library beside one in which nothing is done about slow dependencies.
func TestRunbooksDiffOverTheCorpus(t *testing.T) {
	root := os.Getenv("SREAGENT_CORPUS")
	if root == "" || testing.Short() {
		t.Skip("SREAGENT_CORPUS is not set, or the test is to be short")
	}
	few, err := filepath.Glob(filepath.Join(root, "bundles", "petshop-low-*0*"))
	if err != nil || len(few) == 0 {
		t.Skipf("no bundles of the shop in %s", root)
	}
	text, err := fs.ReadFile(runbooks.Shipped(), "slow-dependency.yaml")
	if err != nil {
		t.Fatal(err)
	}
	changed := filepath.Join(t.TempDir(), "changed.yaml")
	if err := os.WriteFile(changed, []byte(strings.Replace(string(text), "mechanisms: [slow_dependency]", "mechanisms: [oscillation]", 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	args := append([]string{"runbooks", "diff", "shipped", changed}, few[:min(4, len(few))]...)
	code, out, errs := commandLine(t.Context(), args...)
	if code != 0 || !strings.Contains(out, "recordings; the old runbooks lead to") {
		t.Fatalf("exit %d, %s%s", code, out, errs)
	}
	t.Log(out)
}
