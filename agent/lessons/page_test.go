package lessons

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// lesson is one line of the page, of the table or of the tests.
type lesson struct {
	Test, Home, File string
	Plants           int
}

var (
	onPage  = regexp.MustCompile("(?m)^`(TestLesson(\\d\\d)\\w+)` in \\[(.+?)\\]\\(\\.\\./(.+?)\\), (\\d+) planted faults\\.$")
	heading = regexp.MustCompile(`(?m)^## (\d+)\. `)
	inTest  = regexp.MustCompile(`(?m)^func (TestLesson(\d\d)\w+)\(t \*testing\.T\) \{$`)
)

// TestThePageTheTableAndTheTestsAgree: every lesson has one section, one test and
// faults, and they name each other.
func TestThePageTheTableAndTheTestsAgree(t *testing.T) {
	page, err := os.ReadFile(filepath.Join(root, "docs/lessons.md"))
	if err != nil {
		t.Fatal(err)
	}
	told, have := map[string]lesson{}, map[string]lesson{}
	for i, m := range heading.FindAllStringSubmatch(string(page), -1) {
		if m[1] != fmt.Sprint(i+1) {
			t.Errorf("section %d is numbered %s", i+1, m[1])
		}
	}
	for i, m := range onPage.FindAllStringSubmatch(string(page), -1) {
		if m[2] != fmt.Sprintf("%02d", i+1) {
			t.Errorf("section %d names lesson %s", i+1, m[2])
		}
		l := lesson{Test: m[1], Home: m[3], File: m[4]}
		_, _ = fmt.Sscan(m[5], &l.Plants)
		told[m[2]] = l
	}
	for n := 1; n <= 14; n++ {
		number := fmt.Sprintf("%02d", n)
		l := lesson{Home: homes[n]}
		for _, p := range plants {
			if p.lesson == n {
				l.Plants++
			}
		}
		have[number] = l
	}
	tests(t, func(file, name, number string) {
		l := have[number]
		if l.Test != "" {
			t.Errorf("lesson %s has two tests, %s and %s", number, l.Test, name)
		}
		if filepath.Dir(file) != l.Home {
			t.Errorf("%s is in %s, the table says %s", name, filepath.Dir(file), l.Home)
		}
		l.Test, l.File = name, file
		have[number] = l
	})
	if diff := cmp.Diff(have, told); diff != "" {
		t.Errorf("docs/lessons.md (-tests and table, +page):\n%s", diff)
	}
}

// tests calls do for every test of a lesson in the tree.
func tests(t *testing.T, do func(file, name, number string)) {
	t.Helper()
	err := fs.WalkDir(os.DirFS(root), ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && path != "." && (strings.HasPrefix(d.Name(), ".") || d.Name() == "testdata" || d.Name() == "node_modules") {
			return fs.SkipDir
		}
		if !strings.HasSuffix(path, "_test.go") {
			return nil
		}
		text, err := os.ReadFile(filepath.Join(root, path))
		for _, m := range inTest.FindAllStringSubmatch(string(text), -1) {
			do(path, m[1], m[2])
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}
