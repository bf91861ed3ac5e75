package main

import (
	"bytes"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var rewalk = flag.Bool("rewalk", false, "write what the walk in docs/runbooks.md prints anew")

const (
	walkPage  = "../../docs/runbooks.md"
	walkBegin = "<!-- walk:begin -->\n"
	walkEnd   = "<!-- walk:end -->"
)

// TestTheWalk does what docs/runbooks.md tells a newcomer to do, command by command in
// one empty folder, and holds what each prints equal to the page.
func TestTheWalk(t *testing.T) {
	content, err := os.ReadFile(walkPage)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, begins := strings.Cut(string(content), walkBegin)
	walk, after, ends := strings.Cut(rest, walkEnd)
	if !begins || !ends {
		t.Fatal("the page has no walk")
	}
	path, err := filepath.Abs(walkPage)
	if err != nil {
		t.Fatal(err)
	}
	t.Chdir(t.TempDir())
	blocks := regexp.MustCompile("(?s)```console\n(.*?)```")
	commands := 0
	done := blocks.ReplaceAllStringFunc(walk, func(block string) string {
		var out strings.Builder
		out.WriteString("```console\n")
		for line := range strings.Lines(blocks.FindStringSubmatch(block)[1]) {
			if command, is := strings.CutPrefix(line, "$ "); is {
				commands++
				out.WriteString(line + step(t, strings.TrimSpace(command)))
			}
		}
		return out.String() + "```"
	})
	if commands < 10 {
		t.Errorf("the walk has %d commands", commands)
	}
	if *rewalk {
		if err := os.WriteFile(path, []byte(before+walkBegin+done+walkEnd+after), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if diff := cmp.Diff(strings.Split(done, "\n"), strings.Split(walk, "\n")); diff != "" {
		t.Errorf("the page says otherwise; go test -run TheWalk -rewalk brings it up (-runs +page):\n%s", diff)
	}
}

// step runs one command of the walk and returns what a terminal would show.
func step(t *testing.T, command string) string {
	t.Helper()
	if args, own := strings.CutPrefix(command, "sreagent "); own {
		var out bytes.Buffer
		execute(t.Context(), strings.Fields(args), streams{in: strings.NewReader(""), out: &out, err: &out})
		return out.String()
	}
	shell := exec.CommandContext(t.Context(), "sh", "-c", command)
	out, err := shell.CombinedOutput()
	if err != nil {
		t.Errorf("%s: %v", command, err)
	}
	return string(out)
}
