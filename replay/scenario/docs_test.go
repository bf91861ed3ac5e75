package scenario

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const (
	manual   = "../../docs/scenarios.md"
	markOpen = "<!-- made from the parser's tables by go test -rewrite ./replay/scenario -->\n"
	markEnd  = "<!-- end of what is made -->\n"
)

// TestReference holds the reference in the manual equal to the parser's tables,
// and its list of scenarios equal to the library.
func TestReference(t *testing.T) {
	text, err := os.ReadFile(manual)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(text), markOpen)
	old, behind, ok2 := strings.Cut(rest, markEnd)
	if !ok || !ok2 {
		t.Fatal("the manual has no place for the reference")
	}
	want := reference(t)
	if *rewrite {
		if err := os.WriteFile(manual, []byte(before+markOpen+want+markEnd+behind), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if diff := cmp.Diff(strings.Split(want, "\n"), strings.Split(old, "\n")); diff != "" {
		t.Errorf("the reference is out of date; go test -rewrite brings it up (-want +got):\n%s", diff)
	}
}

// TestManualExamples holds that every example in the manual parses.
func TestManualExamples(t *testing.T) {
	text, err := os.ReadFile(manual)
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, block := range regexp.MustCompile("(?s)```scenario\n(.*?)```").FindAllStringSubmatch(string(text), -1) {
		n++
		s, err := Parse("example.scenario", []byte(block[1]))
		if err != nil {
			t.Errorf("example %d:\n%v", n, err)
			continue
		}
		for _, on := range []bool{false, true} {
			for _, f := range play(t, s, Options{Agent: on}).Failures {
				t.Errorf("example %d, agent %v: %s", n, on, f)
			}
		}
	}
	if n == 0 {
		t.Error("the manual has no example")
	}
}

func reference(t *testing.T) string {
	t.Helper()
	var b strings.Builder
	b.WriteString("\n## Directives\n\n")
	for _, d := range directives {
		fmt.Fprintf(&b, "`%s`%s  \n%s\n\n", d.usage, map[bool]string{true: "", false: " (any number)"}[d.once], d.help)
		switch d.name {
		case "scrape":
			table(&b, scrapeOptions)
		case "service":
			table(&b, serviceOptions)
		case "call":
			table(&b, callOptions)
		case "client":
			table(&b, clientOptions)
		case "fleet":
			table(&b, fleetOptions)
		case "policy":
			table(&b, policyOptions)
		}
	}
	b.WriteString("## Events\n\n")
	for _, v := range verbs {
		fmt.Fprintf(&b, "`at DURATION %s`  \n%s\n\n", v.usage, v.help)
		switch v.name {
		case verbFault:
			table(&b, faultOptions)
		case verbDeploy:
			table(&b, deployOptions)
		case verbLoad:
			table(&b, loadOptions)
			table(&b, diurnalOptions)
		case verbNet:
			table(&b, netOptions)
		case verbChange:
			table(&b, changeOptions)
		}
	}
	b.WriteString("## Claims\n\n| after `expect`, `expect on` or `expect off` | holds when |\n|---|---|\n")
	for _, c := range claims {
		fmt.Fprintf(&b, "| `%s` | %s |\n", strings.ReplaceAll(c.usage, "|", "\\|"), c.help)
	}
	b.WriteString("\nNumbers are compared with `<`, `<=`, `=`, `>=` or `>`, as in `expect on harmful = 0`:\n\n| number | what it is |\n|---|---|\n")
	for _, m := range measures {
		fmt.Fprintf(&b, "| `%s` | %s |\n", m.name, m.help)
	}
	b.WriteString("\n## The library\n\n| scenario | what happens |\n|---|---|\n")
	for _, name := range Names() {
		s, err := Load(name)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&b, "| `%s` | %s |\n", name, s.Title)
	}
	b.WriteString("\n")
	return b.String()
}

func table[T any](b *strings.Builder, options []option[T]) {
	b.WriteString("| option | what it is |\n|---|---|\n")
	for _, o := range options {
		form := o.name
		if o.form != "" {
			form += "=" + o.form
		}
		fmt.Fprintf(b, "| `%s` | %s |\n", form, strings.ReplaceAll(o.help, "|", "\\|"))
	}
	b.WriteString("\n")
}

// TestFiguresOfTheRunbookPages holds that what the pages of docs/runbooks say a
// runbook showed is what the command beside it shows.
func TestFiguresOfTheRunbookPages(t *testing.T) {
	pages, err := filepath.Glob("../../docs/runbooks/*.md")
	if err != nil {
		t.Fatal(err)
	}
	showed := regexp.MustCompile("(?s)(## What it showed\n\n```\nsreagent scenario run (\\S+) --agent=off\nsreagent scenario run \\S+\n```\n\n)(.*)$")
	n := 0
	for _, path := range pages {
		old, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		m := showed.FindSubmatch(old)
		if m == nil {
			continue
		}
		n++
		s := loaded(t, string(m[2]))
		off, on := play(t, s, Options{}), play(t, s, Options{Agent: true})
		want := fmt.Sprintf("Without the agent: %s. With it: %s, with %d harmful and %d false actions.\n", fared(off), fared(on), on.HarmfulActions, on.FalseActions)
		switch {
		case want == string(m[3]):
		case *rewrite:
			text := showed.ReplaceAll(old, append(append([]byte{}, "${1}"...), want...))
			if err := os.WriteFile(path, text, 0o644); err != nil {
				t.Fatal(err)
			}
		default:
			t.Errorf("%s says %q, and it is %q; go test -rewrite brings it up", path, m[3], want)
		}
	}
	if n == 0 {
		t.Error("no page shows anything")
	}
}

func fared(r *Result) string {
	if r.RecoveredAfterSeconds == nil {
		return fmt.Sprintf("not recovered, goodput %.2f at the end", r.GoodputAfter)
	}
	return fmt.Sprintf("good again %.0f s after the fault began", *r.RecoveredAfterSeconds)
}
