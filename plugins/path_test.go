package plugins

import (
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// The binary that was held against the checksum is the one that runs: a name
// without a folder is not looked for elsewhere.
func TestABareNameIsTheFileThatWasChecked(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("links need rights there")
	}
	c := as(t, "honest")
	here, elsewhere := t.TempDir(), t.TempDir()
	if err := os.Symlink(c.Path, filepath.Join(here, "lever")); err != nil {
		t.Fatal(err)
	}
	ran := filepath.Join(elsewhere, "ran")
	if err := os.WriteFile(filepath.Join(elsewhere, "lever"), []byte("#!/bin/sh\n: > '"+ran+"'\n"), 0o700); err != nil { //nolint:gosec // it has to run
		t.Fatal(err)
	}
	t.Chdir(here)
	t.Setenv("PATH", elsewhere)
	c.Path = "lever"
	p := open(t, c, Options{})
	if _, err := os.Stat(ran); err == nil {
		t.Error("a program that nobody checked was started")
	}
	if err := p.Err(); err != nil {
		t.Errorf("the checked one was not: %v", err)
	}
}

// A process may ask for a person more often than when it started, never less.
func TestAPluginDoesNotDropWhomItNeeds(t *testing.T) {
	c := newClock()
	p := up(t, as(t, "needs nobody"), Options{After: c.after})
	c.next(time.Hour).fire <- time.Time{}
	c.next(time.Hour) // the ping is over
	after, err := p.Describe(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if after.Version == "1" {
		t.Fatal("it was not asked again: the test cannot fail")
	}
	if diff := cmp.Diff([]string{"later", "shop"}, after.Person); diff != "" {
		t.Errorf("names that take a person:\n%s", diff)
	}
}
