package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sreagent/sreagent/runbooks"
	"github.com/sreagent/sreagent/sre"
)

// Every draft is a runbook about which nothing is doubtful, and its test holds.
func TestEveryNewRunbookIsGoodAndItsTestHolds(t *testing.T) {
	dir := t.TempDir()
	for _, kind := range runbooks.DraftKinds() {
		for _, m := range sre.Mechanisms() {
			if m == sre.Unknown {
				continue
			}
			name := strings.ReplaceAll(string(kind)+"-"+string(m), "_", "-")
			args := []string{"runbooks", "new", "--name", name, "--kind", string(kind), "--mechanism", string(m), "--owner", "web team", "--out", dir}
			if kind == sre.KillSwitch {
				args = append(args, "--feature", "ads")
			}
			if m == sre.Overload {
				args = append(args, "--service", "cart", "--risk", "high")
			}
			if code, _, errs := cli(t, args...); code != 0 {
				t.Fatalf("%s: %s", name, errs)
			}
			base := filepath.Join(dir, name)
			if code, out, errs := cli(t, "check", "runbooks", base+".yaml"); code != 0 {
				t.Errorf("%s: exit %d, %s%s", name, code, out, errs)
			}
			if code, out, errs := cli(t, "test", "runbooks", base+".test.yaml"); code != 0 || !strings.HasPrefix(out, "SUCCESS") {
				t.Errorf("%s: exit %d, %s%s", name, code, out, errs)
			}
		}
	}
}

func TestNewRunbookAsksWhatNoFlagSays(t *testing.T) {
	dir := t.TempDir()
	var out, errs bytes.Buffer
	answers := "Bad Name\nads-off\n\nstorm\nretry_storm\nkill_switch\nads\n\n"
	code := execute(t.Context(), []string{"runbooks", "new", "--out", dir}, streams{in: strings.NewReader(answers), out: &out, err: &errs})
	if code != 0 {
		t.Fatalf("exit %d, %s%s", code, out.String(), errs.String())
	}
	for _, want := range []string{`"Bad Name" is no name; allowed: 1 to 63`, `Who owns it [sre]: `, `"storm" is none; allowed: retry_storm,`, "ads-off.test.yaml"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("lacks %q:\n%s", want, out.String())
		}
	}
	text, err := os.ReadFile(filepath.Join(dir, "ads-off.yaml"))
	if err != nil || !strings.Contains(string(text), "name: ads\n") || !strings.Contains(string(text), "owner: sre\n") {
		t.Errorf("%v: %s", err, text)
	}
}

func TestNewRunbookLeavesNothingBehindAndOverwritesNothing(t *testing.T) {
	dir := folder(t, map[string]string{"there.test.yaml": "mine"})
	for name, c := range map[string]struct {
		args  []string
		input string
		want  string
	}{
		"the answers end":    {nil, "x\nsre\n", "the answers ended: nothing was written"},
		"a file is there":    {[]string{"--name", "there", "--mechanism", "overload", "--kind", "shed"}, "", "there.test.yaml exists already; --force overwrites it"},
		"no mechanism":       {[]string{"--name", "x", "--kind", "shed"}, "", `--mechanism: "" is none; allowed: retry_storm,`},
		"no such kind":       {[]string{"--name", "x", "--mechanism", "overload", "--kind", "pray"}, "", `--kind: there is no draft of "pray"; allowed:`},
		"no feature":         {[]string{"--name", "x", "--mechanism", "overload", "--kind", "kill_switch"}, "", "--feature:"},
		"no folder":          {[]string{"--name", "x", "--mechanism", "overload", "--kind", "shed", "--out", filepath.Join(dir, "none")}, "", "none"},
		"a name that is not": {[]string{"--name", "../x", "--mechanism", "overload", "--kind", "shed"}, "", "--name:"},
	} {
		var out, errs bytes.Buffer
		args := append([]string{"runbooks", "new"}, c.args...)
		if name != "no folder" {
			args = append(args, "--out", dir)
		}
		code := execute(t.Context(), args, streams{in: strings.NewReader(c.input), out: &out, err: &errs})
		if code == 0 || !strings.Contains(errs.String(), c.want) {
			t.Errorf("%s: exit %d, %s, want %q", name, code, errs.String(), c.want)
		}
	}
	left, err := os.ReadDir(dir)
	if err != nil || len(left) != 1 {
		t.Errorf("%v: left behind: %v", err, left)
	}
	if code, _, errs := cli(t, "runbooks", "new", "--name", "there", "--mechanism", "overload", "--kind", "shed", "--out", dir, "--force"); code != 0 {
		t.Error(errs)
	}
}

// Names are text, also where YAML takes them for something else, and the service may
// be called like the caller of the test.
func TestNewRunbooksHoldWhateverTheNames(t *testing.T) {
	dir := t.TempDir()
	for _, word := range []string{"true", "null", "123", "1.5", "0x1f", "2026-01-05", "no", "web", "Team A", "a@b/c-d"} {
		for _, kind := range []string{"kill_switch", "breaker", "rollback"} {
			args := []string{"runbooks", "new", "--name", "x", "--mechanism", "overload", "--kind", kind, "--owner", word, "--service", word, "--out", dir, "--force"}
			if kind == "kill_switch" {
				args = append(args, "--feature", word)
			}
			if draft := (runbooks.Draft{Name: word, Owner: word, Mechanism: sre.Overload, Kind: sre.Breaker}); len(draft.Validate()) == 0 {
				args[3] = word
			}
			base := filepath.Join(dir, args[3])
			for _, run := range [][]string{args, {"check", "runbooks", base + ".yaml"}, {"test", "runbooks", base + ".test.yaml"}} {
				if code, out, errs := cli(t, run...); code != 0 {
					t.Errorf("%s of %q: %v: exit %d: %s%s", kind, word, run[:2], code, out, errs)
				}
			}
		}
	}
	if code, _, errs := cli(t, "runbooks", "new", "--name", "x", "--mechanism", "overload", "--kind", "shed", "--owner", "x ", "--out", dir); code == 0 || !strings.Contains(errs, "--owner") {
		t.Errorf("a space at the end: exit %d: %s", code, errs)
	}
}
