package runbooks

import (
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// shown is where the part of a page begins that is not drawn from the runbook: its
// figures are held by replay/scenario.
const shown = "\n## What it showed\n"

// Each shipped runbook has a page that says what the runbook says, with when it is
// wrong to use, and what it showed.
func TestPagesSayWhatTheRunbooksSay(t *testing.T) {
	l := shipped(t)
	for _, rb := range l.ordered {
		if rb.NotFor == "" {
			t.Errorf("%s does not say when it is wrong to use", rb.Name)
		}
		path := "../docs/runbooks/" + rb.Name + ".md"
		old, err := os.ReadFile(path)
		if err != nil {
			t.Error(err)
			continue
		}
		text, _ := l.Markdown(rb.Name)
		_, tail, found := strings.Cut(string(old), shown)
		if !found {
			t.Errorf("%s does not say what it showed", path)
		}
		want := text + shown + tail
		if *rewrite {
			if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
				t.Fatal(err)
			}
			continue
		}
		if diff := cmp.Diff(strings.Split(want, "\n"), strings.Split(string(old), "\n")); diff != "" {
			t.Errorf("%s is out of date; go test -rewrite brings it up (-want +got):\n%s", path, diff)
		}
	}
}
