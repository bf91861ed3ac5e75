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
}

func registerTest(app *kingpin.Application, commands map[string]command) {
	test := app.Command("test", "Run tests of your own files.")
	cmd := test.Command("runbooks", "Run tests of runbooks: which one is chosen, what it would do, how its checks are judged. Exits 0 if all hold, 1 if not, 2 if they could not be tried.")
	var c testRunbooks
	cmd.Arg("file", "Files of tests.").Required().StringsVar(&c.files)
	cmd.Flag("run", "Only tests whose name matches this regular expression.").StringVar(&c.run)
	cmd.Flag("output", "text or json.").Short('o').Default("text").EnumVar(&c.output, "text", "json")
	cmd.Flag("world", "Run the tests that play a story in a simulated world too.").BoolVar(&c.world)
	commands[cmd.FullCommand()] = safely(func(ctx context.Context, std streams) error { return c.test(ctx, std) })
}

func (c testRunbooks) test(ctx context.Context, std streams) error {
	only, err := regexp.Compile(c.run)
	if err != nil {
		return fmt.Errorf("--run: %w", err)
	}
	results := []runbooktest.Result{}
	for _, name := range c.files {
		text, err := os.ReadFile(name)
		if err != nil {
			return fmt.Errorf("read tests: %w", err)
		}
		file, err := runbooktest.Parse(name, text)
		if err != nil {
			return failed(err)
		}
		library, err := testedLibrary(file)
		if err != nil {
			return failed(err)
		}
		bench := runbooktest.Bench{Library: library, Levers: world.Capabilities(), Keep: only.MatchString}
		if c.world {
			bench.Scenario = scenarioBeside(name)
		}
		more, err := file.Run(ctx, bench)
		if err != nil {
			return failed(err)
		}
		results = append(results, more...)
	}
	if len(results) == 0 {
		return fmt.Errorf("no test matches %q", c.run)
	}
	bad := 0
	for _, r := range results {
		if len(r.Failures) > 0 {
			bad++
		}
	}
	if err := printTests(std.out, c.output, results); err != nil {
		return err
	}
	if bad > 0 {
		return failed(fmt.Errorf("%d of %s do not hold", bad, count(len(results), "test")))
	}
	return nil
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

func printTests(w io.Writer, format string, results []runbooktest.Result) error {
	if format == "json" {
		enc := json.NewEncoder(w)
		enc.SetIndent("", "  ")
		return enc.Encode(results)
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
	return nil
}
