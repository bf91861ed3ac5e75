package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// testingPage is a folder with the files of docs/testing-runbooks.md, and what the
// page says that the command prints.
func testingPage(t *testing.T) (dir, said string) {
	t.Helper()
	page, err := os.ReadFile("../../docs/testing-runbooks.md")
	if err != nil {
		t.Fatal(err)
	}
	begins, _, _ := strings.Cut(string(page), "\n## ")
	yaml := regexp.MustCompile("(?s)```yaml\n(.*?)```").FindAllStringSubmatch(begins, -1)
	_, rest, found := strings.Cut(string(page), "\nsays\n\n```\n")
	if len(yaml) != 2 || !found {
		t.Fatalf("the page has %d files and an answer: %v", len(yaml), found)
	}
	said, _, _ = strings.Cut(rest, "```")
	return folder(t, map[string]string{"catalogue.test.yaml": yaml[0][1], "catalogue.yaml": yaml[1][1]}), said
}

func TestThePageOfTestsIsRight(t *testing.T) {
	dir, want := testingPage(t)
	code, out, said := cli(t, "test", "runbooks", filepath.Join(dir, "catalogue.test.yaml"))
	if code != exitOK || out != want {
		t.Errorf("exit %d:\n%s%s", code, out, said)
	}
	page, err := os.ReadFile("../../docs/testing-runbooks.md")
	if err != nil {
		t.Fatal(err)
	}
	code, out, said = cli(t, "test", "runbooks", filepath.Join(dir, "catalogue.test.yaml"), "--coverage")
	if code != exitOK || !strings.Contains(string(page), "For the catalogue above:\n\n```\n"+out+"```\n") {
		t.Errorf("the page shows another coverage: exit %d:\n%s%s", code, out, said)
	}
	if code, out, said := cli(t, "check", "runbooks", dir); code != exitOK {
		t.Errorf("a folder with tests beside its runbooks: exit %d\n%s%s", code, out, said)
	}
}

// The decision of the page is the gate's.
func TestThePageOfTestsIsRightAboutDecisions(t *testing.T) {
	dir, _ := testingPage(t)
	page, err := os.ReadFile("../../docs/testing-runbooks.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, found := strings.Cut(string(page), "\n## Decisions\n")
	parts := regexp.MustCompile("(?s)```yaml\n(.*?)```\n\nsays\n\n```\n(.*?)```").FindStringSubmatch(section)
	if !found || parts == nil {
		t.Fatal("the page shows no decision")
	}
	file := filepath.Join(dir, "decision.test.yaml")
	if err := os.WriteFile(file, []byte(parts[1]), 0o600); err != nil {
		t.Fatal(err)
	}
	if code, out, said := cli(t, "test", "runbooks", file); code != exitOK || out != parts[2] {
		t.Errorf("exit %d:\n%s%s", code, out, said)
	}
	broken := strings.Replace(parts[1], "mode: act", "mode: dare", 1)
	if err := os.WriteFile(file, []byte(broken), 0o600); err != nil {
		t.Fatal(err)
	}
	if code, _, said := cli(t, "test", "runbooks", file); code != exitFailed || !strings.Contains(said, "decision.test.yaml:14:13: policy.mode: unknown mode") {
		t.Errorf("exit %d: %s", code, said)
	}
}

// The story of the page is skipped, and played where it is asked for.
func TestThePageOfTestsIsRightAboutWorlds(t *testing.T) {
	page, err := os.ReadFile("../../docs/testing-runbooks.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(page), "\n## Worlds\n")
	_, story, found := strings.Cut(rest, "```yaml\n")
	story, rest, closed := strings.Cut(story, "```")
	if !found || !closed {
		t.Fatal("the page has no story")
	}
	dir := folder(t, map[string]string{"rush.test.yaml": story})
	path := filepath.Join(dir, "rush.test.yaml")
	for _, args := range [][]string{nil, {"--world"}} {
		_, after, _ := strings.Cut(rest, "\n```\n")
		want, left, _ := strings.Cut(after, "```")
		rest = left
		if code, out, said := cli(t, append([]string{"test", "runbooks", path}, args...)...); code != exitOK || out != want {
			t.Errorf("%v: exit %d, want\n%sgot\n%s%s", args, code, want, out, said)
		}
	}
	for _, c := range []struct {
		from, to string
		args     []string
		code     int
		want     string
	}{
		{"recovered within 90s", "not recovered", []string{"--world"}, exitFailed, "rush.test.yaml:6: in the world\n    expected: not recovered\n    found:    recovery after 45 s"},
		{"recovered within 90s", "not recovered", nil, exitOK, "SKIPPED"},
		{"recovered within 90s", "not recovered", []string{"-o", "json"}, exitOK, `"skipped": true`},
		{"scenario: overload", "scenario: overlord", []string{"--world"}, exitFailed, "rush.test.yaml:4: overlord is neither a file nor a shipped scenario"},
		{"scenario: overload", "scenario: own.scenario", []string{"--world"}, exitFailed, "own.scenario: no such file"},
	} {
		if err := os.WriteFile(path, []byte(strings.Replace(story, c.from, c.to, 1)), 0o600); err != nil {
			t.Fatal(err)
		}
		code, out, said := cli(t, append([]string{"test", "runbooks", path}, c.args...)...)
		if code != c.code || !strings.Contains(out+said, c.want) {
			t.Errorf("%s %v: exit %d, want %d with %q in\n%s%s", c.to, c.args, code, c.code, c.want, out, said)
		}
	}
}

// A story in a file is found beside the tests, wherever the command runs.
func TestStoriesAreFoundBesideTheirTests(t *testing.T) {
	code, text, said := cli(t, "scenario", "show", "overload")
	if code != exitOK {
		t.Fatal(said)
	}
	dir := folder(t, map[string]string{
		"own.scenario":   text,
		"rush.test.yaml": "tests:\n  - name: a rush\n    world: {scenario: own.scenario, expect: [recovered]}\n",
	})
	if code, out, said := cli(t, "test", "runbooks", "--world", filepath.Join(dir, "rush.test.yaml")); code != exitOK || out != "SUCCESS  a rush\n" {
		t.Errorf("exit %d: %s%s", code, out, said)
	}
}

func TestTestRunbooksSaysWhatDoesNotHold(t *testing.T) {
	dir, _ := testingPage(t)
	path := filepath.Join(dir, "catalogue.test.yaml")
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		from, to string
		args     []string
		code     int
		want     string
	}{
		{"rps=108", "rps=90", nil, exitFailed, "catalogue.test.yaml:15: at 30s: actions of \"cap the load\"\n    expected: shed guard/catalogue rps=90\n    found:    shed guard/catalogue rps=108"},
		{"rps=108", "rps=90", []string{"-o", "json"}, exitFailed, `"expected": "shed guard/catalogue rps=90"`},
		{"given:", "given: &x", nil, exitOK, "SUCCESS"},
		{"mechanism: overload", "mechanism: overlord", nil, exitFailed, `catalogue.test.yaml:4: mechanism is "overlord"; allowed: retry_storm`},
		{"[catalogue.yaml]", "[other.yaml]", nil, exitFailed, "other.yaml: no such file"},
		{"name", "name", []string{"--coverage"}, exitOK, "COVERAGE  catalogue-cap: of 1 step 1 planned, 1 seen to help, 1 seen to fail\n  planned  helped  failed  cap the load\n"},
		{"verify: pass, ", "", []string{"--coverage", "-o", "json"}, exitOK, `"helped": false`},
		{"[catalogue.yaml]", "[]", []string{"--coverage", "--run", "an"}, exitFailed, "COVERAGE  never chosen: fleet-storm, "},
		{"name", "name", []string{"--run", "nothing"}, exitUsage, `no test matches "nothing"`},
		{"name", "name", []string{"--run", "("}, exitUsage, "--run: error parsing regexp"},
	} {
		changed := filepath.Join(dir, "changed.test.yaml")
		if err := os.WriteFile(changed, []byte(strings.Replace(string(text), c.from, c.to, 1)), 0o600); err != nil {
			t.Fatal(err)
		}
		code, out, said := cli(t, append([]string{"test", "runbooks", changed}, c.args...)...)
		got := strings.ReplaceAll(out+said, "changed.test.yaml", "catalogue.test.yaml")
		if code != c.code || !strings.Contains(got, c.want) {
			t.Errorf("%s %v: exit %d, want %d with %q in\n%s", c.to, c.args, code, c.code, c.want, got)
		}
	}
	if code, _, said := cli(t, "test", "runbooks", filepath.Join(dir, "none.yaml")); code != exitUsage || !strings.Contains(said, "read tests") {
		t.Errorf("a file that is not there: exit %d: %s", code, said)
	}
}
