package lessons

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

const root = "../.."

// TestEveryFaultCanBePlanted: the table is about the code as it is.
func TestEveryFaultCanBePlanted(t *testing.T) {
	have := map[int]int{}
	for i, p := range plants {
		s, err := read(p.file)
		if err == nil {
			err = s.plant(i, p)
		}
		if err != nil {
			t.Error(err)
		}
		have[p.lesson]++
	}
	for n := 1; n <= 14; n++ {
		if have[n] == 0 {
			t.Errorf("no fault is planted against lesson %d", n)
		}
	}
}

// TestPlantedFaultsAreFound wants the test of a lesson to fail with each of its
// faults, and to pass in the same build without one. It runs where PLANTS is set:
// it builds the tests of three packages.
func TestPlantedFaultsAreFound(t *testing.T) {
	if os.Getenv("PLANTS") == "" {
		t.Skip("PLANTS is not set: make plants")
	}
	dir := t.TempDir()
	binaries := map[string]string{}
	for n := 1; n <= 14; n++ {
		home := homes[n]
		if binaries[home] == "" {
			binaries[home] = build(t, home, filepath.Join(dir, strings.ReplaceAll(home, "/", "-")))
		}
		t.Run(fmt.Sprintf("lesson %02d without a fault", n), func(t *testing.T) {
			t.Parallel()
			out := run(t, binaries[home], home, n, "")
			if !strings.Contains(out, fmt.Sprintf("--- PASS: TestLesson%02d", n)) {
				t.Errorf("it must pass:\n%s", tail(out))
			}
		})
	}
	for i, p := range plants {
		t.Run(fmt.Sprintf("lesson %02d fault %02d", p.lesson, i), func(t *testing.T) {
			t.Parallel()
			out := run(t, binaries[homes[p.lesson]], homes[p.lesson], p.lesson, fmt.Sprint(i))
			if why := unfound(out, p.lesson); why != "" {
				t.Errorf("%s: with\n%s\nfor\n%s\n%s\n%s", p.file, p.new, p.old, why, tail(out))
			}
		})
	}
}

// build makes the test binary of a package in which all faults against its
// lessons lie ready.
func build(t *testing.T, home, into string) string {
	t.Helper()
	files, packages := map[string]*source{}, map[string]string{}
	for i, p := range plants {
		if homes[p.lesson] != home {
			continue
		}
		if files[p.file] == nil {
			s, err := read(p.file)
			if err != nil {
				t.Fatal(err)
			}
			files[p.file] = s
		}
		if err := files[p.file].plant(i, p); err != nil {
			t.Fatal(err)
		}
		packages[filepath.Dir(p.file)] = files[p.file].tree.Name.Name
	}
	replace := map[string]string{}
	lay := func(at string, text []byte) {
		abs, err := filepath.Abs(filepath.Join(root, at))
		if err != nil {
			t.Fatal(err)
		}
		copied := fmt.Sprintf("%s-%d.go", into, len(replace))
		if err := os.WriteFile(copied, text, 0o600); err != nil {
			t.Fatal(err)
		}
		replace[abs] = copied
	}
	for name, s := range files {
		lay(name, s.planted())
	}
	for at, name := range packages {
		lay(filepath.Join(at, "planted_here.go"), fmt.Appendf(nil, "package %s\n\nimport \"os\"\n\nvar plantedHere = os.Getenv(%q)\n", name, variable))
	}
	text, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(into+".json", text, 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "go", "test", "-c", "-vet=off", "-overlay", into+".json", "-o", into+".test", "./"+home)
	cmd.Dir = root
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("the tests of %s with the faults in it: %v\n%s", home, err, out)
	}
	return into + ".test"
}

// variable names the fault that a process is to have.
const variable = "SREAGENT_PLANTED_FAULT"

// run runs the test of a lesson with one fault in force, or with none.
func run(t *testing.T, binary, home string, lesson int, fault string) string {
	t.Helper()
	args := []string{"-test.v", "-test.timeout=120s", fmt.Sprintf("-test.run=^TestLesson%02d", lesson)}
	if home != homes[12] { // which draws nothing
		args = append(args, "-rapid.shrinktime=0s", "-rapid.nofailfile", "-rapid.seed=1")
	}
	cmd := exec.CommandContext(t.Context(), binary, args...)
	cmd.Dir = filepath.Join(root, home)
	cmd.Env = append(os.Environ(), variable+"="+fault, "PLANTS=")
	out, _ := cmd.CombinedOutput() // with a fault it is meant to fail
	return string(out)
}

// unfound says why what a test printed does not show that it found a fault.
func unfound(out string, lesson int) string {
	switch {
	case strings.Contains(out, "the test shows nothing"):
		return "the test came to nothing with the fault"
	case !strings.Contains(out, fmt.Sprintf("=== RUN   TestLesson%02d", lesson)):
		return "no test ran"
	case !strings.Contains(out, fmt.Sprintf("--- FAIL: TestLesson%02d", lesson)):
		return "the test does not find it"
	}
	return ""
}

func tail(s string) string {
	if len(s) > 1500 {
		return s[len(s)-1500:]
	}
	return s
}
