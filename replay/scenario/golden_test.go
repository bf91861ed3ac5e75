package scenario

import (
	"bytes"
	"context"
	"flag"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sreagent/sreagent/sre"
)

var rewrite = flag.Bool("rewrite", false, "write golden files and the reference in docs/scenarios.md anew")

// long names the scenarios that -short leaves out.
func long(name string) bool { return strings.HasPrefix(name, "fleet-") }

func play(t *testing.T, s *Scenario, o Options) *Result {
	t.Helper()
	r, err := s.Run(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// TestLibrary runs every shipped scenario with and without the agent, and holds
// its expectations and its transcript.
func TestLibrary(t *testing.T) {
	for _, name := range Names() {
		t.Run(name, func(t *testing.T) {
			if testing.Short() && long(name) {
				t.Skip("a large world takes seconds")
			}
			s, err := Load(name)
			if err != nil {
				t.Fatal(err)
			}
			off, on := play(t, s, Options{}), play(t, s, Options{Agent: true})
			for _, f := range slices.Concat(off.Failures, on.Failures) {
				t.Error(f)
			}
			got := append(append(Transcript(off), "\n----\n\n"...), Transcript(on)...)
			golden(t, filepath.Join("testdata", name+".golden"), got)
		})
	}
}

func golden(t *testing.T, file string, got []byte) {
	t.Helper()
	if *rewrite {
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatalf("%v; go test -rewrite makes it", err)
	}
	if diff := cmp.Diff(strings.Split(string(want), "\n"), strings.Split(string(got), "\n")); diff != "" {
		t.Errorf("the transcript has changed; go test -rewrite accepts it (-want +got):\n%s", diff)
	}
}

// TestNoStrayGolden holds that every golden file has its scenario.
func TestNoStrayGolden(t *testing.T) {
	files, err := filepath.Glob("testdata/*.golden")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if name := strings.TrimSuffix(filepath.Base(f), ".golden"); !slices.Contains(Names(), name) {
			t.Errorf("%s belongs to no scenario", f)
		}
	}
}

// TestLibraryCovers holds what the library promises: its size, every mechanism,
// a header that says what a story shows, and claims about both arms.
func TestLibraryCovers(t *testing.T) {
	names := Names()
	if len(names) < 32 {
		t.Errorf("%d scenarios, want 32 or more", len(names))
	}
	mechanisms, benign, largest := map[sre.Mechanism]bool{}, 0, 0
	for _, name := range names {
		text, err := fs.ReadFile(Library(), name+fileEnding)
		if err != nil {
			t.Fatal(err)
		}
		head, _, _ := strings.Cut(string(text), "\ntitle ")
		if !strings.HasPrefix(head, "# ") || !strings.Contains(head, "# Shows: ") {
			t.Errorf("%s: the header comment does not say what it shows", name)
		}
		s, err := Load(name)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		for _, tr := range s.Truths {
			mechanisms[tr.Mechanism] = true
		}
		if len(s.faults()) == 0 {
			benign++
		}
		largest = max(largest, len(s.Blueprint.Services))
		for _, arm := range []Arm{On, Off} {
			if !slices.ContainsFunc(s.Expect, func(e Expectation) bool { return e.Arm == arm || e.Arm == Both }) {
				t.Errorf("%s: nothing is expected of the run with agent %s", name, arm)
			}
		}
	}
	for _, m := range sre.Mechanisms() {
		if m != sre.Unknown && !mechanisms[m] {
			t.Errorf("no scenario has the mechanism %s", m)
		}
	}
	if benign < 6 {
		t.Errorf("%d scenarios without a fault, want 6 or more", benign)
	}
	if largest < 1000 {
		t.Errorf("the largest world has %d services, want 1000", largest)
	}
}

// TestSameTwice holds that a run is the same to the byte when it is repeated,
// on one processor and on two.
func TestSameTwice(t *testing.T) {
	for _, name := range []string{"retry-storm", "survivor-overload", "benign-scrape-gap", "people-late", "compound-relapse"} {
		t.Run(name, func(t *testing.T) {
			var first []byte
			for _, procs := range []int{1, 2, 2} {
				before := runtime.GOMAXPROCS(procs)
				s, err := Load(name)
				if err != nil {
					t.Fatal(err)
				}
				r := play(t, s, Options{Agent: true})
				runtime.GOMAXPROCS(before)
				text, err := r.JSON()
				if err != nil {
					t.Fatal(err)
				}
				text = append(text, Transcript(r)...)
				if first == nil {
					first = text
				} else if !bytes.Equal(first, text) {
					t.Fatalf("with %d processors it is another story:\n%s", procs, cmp.Diff(string(first), string(text)))
				}
			}
		})
	}
}

// TestSeedMatters holds that another seed gives another world where there is
// noise, so that the test above can fail.
func TestSeedMatters(t *testing.T) {
	s, err := Load("benign-flash-crowd")
	if err != nil {
		t.Fatal(err)
	}
	one, two := play(t, s, Options{}), play(t, s, Options{Seed: 99})
	if one.Story[10].good == two.Story[10].good {
		t.Errorf("both seeds answer %v requests in one tick", one.Story[10].good)
	}
	if two.Seed != 99 || one.Seed != s.Seed {
		t.Errorf("seeds are told as %d and %d", one.Seed, two.Seed)
	}
}
