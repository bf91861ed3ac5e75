package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/alecthomas/kingpin/v2"

	"github.com/sreagent/sreagent/replay/runbooktest"
	"github.com/sreagent/sreagent/replay/world"
	"github.com/sreagent/sreagent/runbooks"
)

// testRunbooks are the arguments of test runbooks.
type testRunbooks struct {
	files       []string
	run, output string
	world       bool
	coverage    bool
}

func registerTest(app *kingpin.Application, commands map[string]command) {
	test := app.Command("test", "Run tests of your own files.")
	cmd := test.Command("runbooks", "Run tests of runbooks: which one is chosen, what it would do, how its checks are judged. Exits 0 if all hold, 1 if not, 2 if they could not be tried.")
	var c testRunbooks
	cmd.Arg("file", "Files of tests.").Required().StringsVar(&c.files)
	cmd.Flag("run", "Only tests whose name matches this regular expression.").StringVar(&c.run)
	cmd.Flag("output", "text or json.").Short('o').Default("text").EnumVar(&c.output, "text", "json")
	cmd.Flag("world", "Run the tests that play a story in a simulated world too.").BoolVar(&c.world)
	cmd.Flag("coverage", "Say which steps of the runbooks the tests went through, and which not.").BoolVar(&c.coverage)
	commands[cmd.FullCommand()] = safely(func(ctx context.Context, std streams) error { return c.test(ctx, std) })
}

func (c testRunbooks) test(ctx context.Context, std streams) error {
	only, err := regexp.Compile(c.run)
	if err != nil {
		return fmt.Errorf("--run: %w", err)
	}
	results, covered := []runbooktest.Result{}, &runbooktest.Coverage{}
	for _, name := range c.files {
		more, err := c.testFile(ctx, name, only, covered)
		if err != nil {
			return err
		}
		results = append(results, more...)
	}
	if len(results) == 0 {
		return fmt.Errorf("no test matches %q", c.run)
	}
	if !c.coverage {
		covered = nil
	}
	if err := printTests(std.out, c.output, results, covered); err != nil {
		return err
	}
	bad := 0
	for _, r := range results {
		if len(r.Failures) > 0 {
			bad++
		}
	}
	if bad > 0 {
		return failed(fmt.Errorf("%d of %s do not hold", bad, count(len(results), "test")))
	}
	return nil
}

// testFile runs the tests of one file. What is wrong with the file does not hold;
// a file that cannot be read could not be tried.
func (c testRunbooks) testFile(ctx context.Context, name string, only *regexp.Regexp, covered *runbooktest.Coverage) ([]runbooktest.Result, error) {
	text, err := os.ReadFile(name)
	if err != nil {
		return nil, fmt.Errorf("read tests: %w", err)
	}
	file, err := runbooktest.Parse(name, text)
	if err != nil {
		return nil, failed(err)
	}
	library, err := testedLibrary(file)
	if err != nil {
		return nil, failed(err)
	}
	bench := runbooktest.Bench{Library: library, Levers: world.Capabilities(), Keep: only.MatchString, Coverage: covered}
	if c.world {
		bench.Scenario = scenarioBeside(name)
	}
	results, err := file.Run(ctx, bench)
	if err != nil {
		return nil, failed(err)
	}
	return results, nil
}

// scenarioBeside reads the stories that a file of tests names: files relative to
// it, and shipped ones by their name.
func scenarioBeside(tests string) func(name string) ([]byte, string, error) {
	return func(name string) ([]byte, string, error) {
		if !strings.HasSuffix(name, scenarioEnding) {
			return shippedScenario(name)
		}
		path := name
		if !filepath.IsAbs(path) {
			path = filepath.Join(filepath.Dir(tests), path)
		}
		text, err := readText(path)
		return text, path, err
	}
}

// testedLibrary is what a file of tests names, relative to itself; the shipped
// runbooks where it names nothing.
func testedLibrary(file *runbooktest.File) (*runbooks.Library, error) {
	if len(file.Runbooks) == 0 {
		return runbooks.Load(runbooks.Shipped(), ".")
	}
	paths := make([]string, len(file.Runbooks))
	for i, p := range file.Runbooks {
		if paths[i] = p; !filepath.IsAbs(p) {
			paths[i] = filepath.Join(filepath.Dir(file.Name), p)
		}
	}
	texts, err := readRunbooks(paths)
	if err != nil {
		return nil, err
	}
	return runbooks.LoadTexts(texts...)
}

func printTests(w io.Writer, format string, results []runbooktest.Result, covered *runbooktest.Coverage) error {
	if format == "json" {
		enc := json.NewEncoder(w)
		enc.SetIndent("", "  ")
		if covered == nil {
			return enc.Encode(results)
		}
		return enc.Encode(struct {
			Tests    []runbooktest.Result  `json:"tests"`
			Coverage []runbooktest.Covered `json:"coverage"`
		}{results, covered.Runbooks()})
	}
	for _, r := range results {
		word, hint := "SUCCESS", ""
		switch {
		case r.Skipped:
			word, hint = "SKIPPED", " (it plays a story: run it with --world)"
		case len(r.Failures) > 0:
			word = "FAILED"
		}
		if _, err := fmt.Fprintf(w, "%s  %s%s\n", word, r.Test, hint); err != nil {
			return err
		}
		for _, f := range r.Failures {
			text := fmt.Sprintf("  %s:%d: %s\n    expected: %s\n    found:    %s\n", r.File, f.Line, f.What, f.Expected, f.Found)
			if f.Why != "" {
				text += "    because:  " + f.Why + "\n"
			}
			if _, err := io.WriteString(w, text); err != nil {
				return err
			}
		}
	}
	if covered == nil {
		return nil
	}
	return printCoverage(w, covered.Runbooks())
}

// printCoverage tells the runbooks that some test led to step by step, and the
// others by name: a file may be about one of a whole library.
func printCoverage(w io.Writer, all []runbooktest.Covered) error {
	var text strings.Builder
	var idle []string
	for _, rb := range all {
		if !rb.Chosen() {
			idle = append(idle, rb.Runbook)
			continue
		}
		var lines strings.Builder
		var seen [3]int
		for _, s := range rb.Steps {
			marks := [3]string{"-", "-", "-"}
			for i, is := range []bool{s.Planned, s.Helped, s.Failed} {
				if is {
					marks[i] = []string{"planned", "helped", "failed"}[i]
					seen[i]++
				}
			}
			fmt.Fprintf(&lines, "  %-8s %-7s %-7s %s\n", marks[0], marks[1], marks[2], s.Name)
		}
		fmt.Fprintf(&text, "COVERAGE  %s: of %s %d planned, %d seen to help, %d seen to fail\n%s", rb.Runbook, count(len(rb.Steps), "step"),
			seen[0], seen[1], seen[2], lines.String())
	}
	if len(idle) > 0 {
		fmt.Fprintf(&text, "COVERAGE  never chosen: %s\n", strings.Join(idle, ", "))
	}
	_, err := io.WriteString(w, text.String())
	return err
}
