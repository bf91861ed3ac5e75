package runbooks

import (
	"encoding/xml"
	"errors"
	"io"
	"os"
	"strings"
	"testing"
)

// tree is a runbook with a choice, escalation and text that must be escaped.
func tree(t *testing.T) *Library {
	t.Helper()
	text, err := os.ReadFile("testdata/tree.yaml")
	if err != nil {
		t.Fatal(err)
	}
	return fromText(t, string(text))
}

func TestShowAndGraph(t *testing.T) {
	l := tree(t)
	for file, draw := range map[string]func(string) (string, bool){"tree.md": l.Markdown, "tree.mmd": l.Mermaid, "tree.svg": l.SVG} {
		got, ok := draw("tree")
		if !ok {
			t.Fatalf("no %s", file)
		}
		golden(t, "testdata/"+file, []byte(got))
		if _, ok := draw("nobody"); ok {
			t.Errorf("%s of a runbook that is not there", file)
		}
	}
}

// Every drawing is well formed, and each transition leads to a state.
func TestDrawingsAreWellFormed(t *testing.T) {
	for _, l := range []*Library{shipped(t), tree(t)} {
		for _, rb := range l.ordered {
			svg, _ := l.SVG(rb.Name)
			d := xml.NewDecoder(strings.NewReader(svg))
			for {
				if _, err := d.Token(); errors.Is(err, io.EOF) {
					break
				} else if err != nil {
					t.Fatalf("%s: %v", rb.Name, err)
				}
			}
			c := rb.chart()
			led := map[int]bool{0: true}
			for _, n := range c.nodes {
				for _, e := range n.out {
					led[e.to] = true
				}
			}
			if len(led) != len(c.nodes) {
				t.Errorf("%s: %d of %d states are led to", rb.Name, len(led), len(c.nodes))
			}
			mermaid, _ := l.Mermaid(rb.Name)
			for line := range strings.SplitSeq(mermaid, "\n") {
				if n := strings.Count(line, `"`); n != 0 && n != 2 {
					t.Errorf("%s: quotes in %s", rb.Name, line)
				}
			}
		}
	}
}
