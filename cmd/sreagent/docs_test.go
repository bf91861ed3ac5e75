package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const repository = "../.."

// pages are the documents for people, by path from the top of the repository.
func pages(t *testing.T) map[string]string {
	t.Helper()
	names := []string{"README.md", "CONTRIBUTING.md", "CHANGELOG.md"}
	err := filepath.WalkDir(filepath.Join(repository, "docs"), func(path string, _ fs.DirEntry, err error) error {
		if strings.HasSuffix(path, ".md") {
			names = append(names, strings.TrimPrefix(filepath.ToSlash(path), repository+"/"))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	for _, name := range names {
		text, err := os.ReadFile(filepath.Join(repository, name))
		if err != nil {
			t.Fatal(err)
		}
		out[name] = string(text)
	}
	return out
}

var (
	linked = regexp.MustCompile(`\]\(([^)#\s]+)(?:#[^)]*)?\)`)
	quoted = regexp.MustCompile("`([^`\n]+)`")
	// ours is a path from the top of the repository, by its first folder.
	ours = regexp.MustCompile(`(?:^|[\s(/])((?:agent|audit|cmd|demo|deploy|detectors|diagnosis|docs|guard|learner|oncall|plugins|remediators|replay|runbooks|sources|sre|\.ci)/[A-Za-z0-9_./-]*)`)
)

// Every file that a document links to or names is there.
func TestTheDocumentsNameFilesThatExist(t *testing.T) {
	for name, text := range pages(t) {
		var missing []string
		look := func(path string) {
			if _, err := os.Stat(path); err != nil {
				missing = append(missing, path)
			}
		}
		for _, hit := range linked.FindAllStringSubmatch(text, -1) {
			if !strings.Contains(hit[1], "://") {
				look(filepath.Join(repository, filepath.Dir(name), hit[1]))
			}
		}
		for _, hit := range quoted.FindAllStringSubmatch(text, -1) {
			for _, path := range ours.FindAllStringSubmatch(hit[1], -1) {
				// The guard's own routes are called like its package.
				if !strings.HasPrefix(path[1], "guard/v1") && !strings.Contains(hit[1], "->") && !isTarget(hit[1]) {
					look(filepath.Join(repository, strings.TrimRight(path[1], ".")))
				}
			}
		}
		for _, path := range missing {
			t.Errorf("%s names %s, which does not exist", name, path)
		}
	}
}

// isTarget tells the target of a lever, such as guard/checkout, from a path.
func isTarget(text string) bool {
	service, ok := strings.CutPrefix(text, "guard/")
	return ok && !strings.Contains(service, ".") && service != "sidecar"
}

// registered finds every metric that the code registers: the names given to
// the options of client_golang, and the build information.
func registered(t *testing.T) map[string]string {
	t.Helper()
	out := map[string]string{"sreagent_build_info": "cmd/sreagent/wire.go", "guard_build_info": "guard/metrics.go"}
	err := filepath.WalkDir(repository, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() && (strings.HasPrefix(entry.Name(), ".") && path != repository || entry.Name() == "testdata") {
			return filepath.SkipDir
		}
		if !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return nil
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		ast.Inspect(file, func(n ast.Node) bool {
			literal, ok := n.(*ast.BasicLit)
			if !ok || literal.Kind != token.STRING {
				return true
			}
			if text, err := strconv.Unquote(literal.Value); err == nil && metricOnly.MatchString(text) && inMetrics(path) {
				out[text] = path
			}
			return true
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// inMetrics reports whether a file registers metrics: others, such as the
// presets and the demo, only ask for them.
func inMetrics(path string) bool {
	text, err := os.ReadFile(path)
	return err == nil && (strings.Contains(string(text), "promauto.With") || strings.Contains(string(text), "prometheus.NewDesc"))
}

var (
	metricOnly = regexp.MustCompile(`^(sreagent|guard)_[a-z0-9_]+$`)
	metricIn   = regexp.MustCompile(`\b(?:sreagent|guard)_[a-z0-9_]+`)
)

// Every metric that a document names is registered, and every one that is
// registered is in a document.
func TestTheDocumentsNameTheMetrics(t *testing.T) {
	have := registered(t)
	if len(have) < 40 {
		t.Fatalf("only %d metrics found in the code", len(have))
	}
	described := map[string]bool{}
	for name, text := range pages(t) {
		for _, metric := range metricIn.FindAllString(text, -1) {
			if strings.HasSuffix(metric, "_") { // a family, such as guard_*
				continue
			}
			described[metric] = true
			if _, ok := have[metric]; !ok && !isSeries(have, metric) {
				t.Errorf("%s names %s, which nothing registers", name, metric)
			}
		}
	}
	var silent []string
	for metric, path := range have {
		if !described[metric] {
			silent = append(silent, metric+" of "+path)
		}
	}
	slices.Sort(silent)
	for _, metric := range silent {
		t.Errorf("no document describes %s", metric)
	}
}

// isSeries reports whether a name is one of the series of a histogram.
func isSeries(have map[string]string, metric string) bool {
	for _, suffix := range []string{"_bucket", "_count", "_sum"} {
		if _, ok := have[strings.TrimSuffix(metric, suffix)]; ok && strings.HasSuffix(metric, suffix) {
			return true
		}
	}
	return false
}

// The page that docs/approvals.md shows is the one that is rendered, with
// "..." where lines are left out.
func TestTheShownQuestionIsTheRenderedOne(t *testing.T) {
	rendered, err := os.ReadFile(filepath.Join(repository, "oncall/testdata/prompt-80.txt"))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(pages(t)["docs/approvals.md"], "```\n")
	shown, _, ok := strings.Cut(rest, "```")
	if !ok {
		t.Fatal("no page is shown")
	}
	left := string(rendered)
	for part := range strings.SplitSeq(shown, "...\n") {
		_, after, ok := strings.Cut(left, part)
		if !ok {
			t.Errorf("not rendered, or not in this order:\n%s", part)
		}
		left = after
	}
}

// Every target of make and every subcommand that a document names is there.
func TestTheDocumentsNameCommandsThatExist(t *testing.T) {
	makefile, err := os.ReadFile(filepath.Join(repository, "Makefile"))
	if err != nil {
		t.Fatal(err)
	}
	code, usage, _ := cli(t, "--help")
	if code != exitOK {
		t.Fatalf("--help: exit %d", code)
	}
	targets := regexp.MustCompile(`(?m)(?:^|` + "`" + `)make ([a-z0-9-]+(?: [a-z0-9-]+)*)`)
	commands := regexp.MustCompile(`(?m)(?:^bin/|` + "`(?:bin/)?" + `)sreagent ([a-z][a-z-]*)(?: ([a-z][a-z-]*))?`)
	parents := []string{"check", "audit", "token"}
	for name, text := range pages(t) {
		for _, hit := range targets.FindAllStringSubmatch(text, -1) {
			for target := range strings.FieldsSeq(hit[1]) {
				if !strings.Contains(string(makefile), "\n"+target+":") {
					t.Errorf("%s names make %s, which does not exist", name, target)
				}
			}
		}
		for _, hit := range commands.FindAllStringSubmatch(text, -1) {
			command := hit[1]
			if slices.Contains(parents, command) && hit[2] != "" {
				command += " " + hit[2]
			}
			if !strings.Contains(usage, "\n"+command) {
				t.Errorf("%s names sreagent %s, which does not exist", name, command)
			}
		}
	}
}
