package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/alecthomas/kingpin/v2"

	"github.com/sreagent/sreagent/agent/control"
	"github.com/sreagent/sreagent/remediators"
	"github.com/sreagent/sreagent/runbooks"
	"github.com/sreagent/sreagent/sre"
)

// exitDoubtful is for what holds, with warnings.
const exitDoubtful = 3

// checkRunbooks are the arguments of check runbooks.
type checkRunbooks struct {
	paths  []string
	format string
	strict bool
	levers []string
}

func registerCheckRunbooks(check *kingpin.CmdClause, commands map[string]command) {
	cmd := check.Command("runbooks", "Check runbooks and what can be proven of them. Exits 0 if good, 1 on errors, 2 if it could not be tried, 3 on warnings alone.")
	var c checkRunbooks
	cmd.Arg("path", "Runbook files, or folders of them.").Required().StringsVar(&c.paths)
	cmd.Flag("format", "text, github (annotations of a workflow) or json.").Default("text").EnumVar(&c.format, "text", "github", "json")
	cmd.Flag("strict", "Take warnings for errors.").BoolVar(&c.strict)
	cmd.Flag("lever", "Name of a lever that there is, beside the guard; with it, actions of other levers are errors. Repeatable.").StringsVar(&c.levers)
	commands[cmd.FullCommand()] = safely(func(_ context.Context, std streams) error { return c.run(std) })
}

// checked is one finding as it is printed.
type checked struct {
	File     string         `json:"file"`
	Line     int            `json:"line"`
	Column   int            `json:"column"`
	Severity runbooks.Level `json:"severity"`
	Rule     string         `json:"rule"`
	Problem  string         `json:"problem"`
	Allowed  string         `json:"allowed,omitempty"`
}

func (c checkRunbooks) run(std streams) error {
	texts, err := readRunbooks(c.paths)
	if err != nil {
		return err
	}
	guard, err := guardCapability()
	if err != nil {
		return err
	}
	found, err := c.find(texts, guard)
	if err != nil {
		return err
	}
	if err := printChecked(std.out, c.format, found); err != nil {
		return err
	}
	wrong, doubtful := 0, 0
	for _, f := range found {
		if f.Severity == runbooks.Wrong || c.strict {
			wrong++
		} else {
			doubtful++
		}
	}
	switch {
	case wrong > 0:
		return failed(fmt.Errorf("%s in %s", count(wrong, "error"), count(len(texts), "runbook file")))
	case doubtful > 0:
		return &failure{code: exitDoubtful, err: fmt.Errorf("%s in %s", count(doubtful, "warning"), count(len(texts), "runbook file"))}
	case c.format != "text":
		return nil
	}
	_, err = fmt.Fprintf(std.out, "%s: good, %s\n", strings.Join(c.paths, ", "), count(len(texts), "runbook"))
	return err
}

// find collects what is wrong. Files that do not load are not proven.
func (c checkRunbooks) find(texts []runbooks.Text, guard sre.Capability) (out []checked, err error) {
	faulty := func(rule string, faults []runbooks.Fault) {
		for _, f := range faults {
			out = append(out, checked{f.File, f.Line, f.Column, runbooks.Wrong, rule, f.Problem, f.Allowed})
		}
	}
	library, err := runbooks.LoadTexts(texts...)
	var faults *runbooks.LoadError
	switch {
	case errors.As(err, &faults):
		faulty("load", faults.Faults)
		return out, nil
	case err != nil:
		return nil, err
	}
	if errors.As(library.CheckLaws(control.Names()), &faults) {
		faulty("law", faults.Faults)
	}
	if errors.As(library.CheckLevers([]sre.Capability{guard}), &faults) {
		faulty("lever", faults.Faults)
	}
	if len(c.levers) > 0 {
		known := []sre.Capability{guard}
		for _, name := range c.levers {
			known = append(known, sre.Capability{Name: name})
		}
		faulty("lever", library.UnknownLevers(known))
	}
	for _, f := range library.Prove([]sre.Capability{guard}) {
		out = append(out, checked{f.File, f.Line, f.Column, f.Level, f.Rule, f.Problem, f.Allowed})
	}
	return out, nil
}

// guardCapability is what every guard can do, whichever services have one.
func guardCapability() (sre.Capability, error) {
	cfg := remediators.DefaultConfig()
	cfg.Guard.URLTemplate = "http://{service}:1"
	levers, err := remediators.Capabilities(cfg)
	if err != nil || len(levers) == 0 {
		return sre.Capability{}, fmt.Errorf("describe the guard: %w", err)
	}
	return levers[0], nil
}

// readRunbooks reads files, and the runbook files of folders, in order.
func readRunbooks(paths []string) ([]runbooks.Text, error) {
	var out []runbooks.Text
	for _, path := range paths {
		files := []string{path}
		info, err := os.Stat(path)
		if err != nil {
			return nil, fmt.Errorf("read runbooks: %w", err)
		}
		if info.IsDir() {
			if files, err = runbookFiles(path); err != nil {
				return nil, err
			}
		}
		for _, file := range files {
			content, err := os.ReadFile(file)
			if err != nil {
				return nil, fmt.Errorf("read runbooks: %w", err)
			}
			out = append(out, runbooks.Text{File: file, Content: content})
		}
	}
	return out, nil
}

func runbookFiles(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir) // sorted by name
	if err != nil {
		return nil, fmt.Errorf("read runbooks: %w", err)
	}
	var out []string
	for _, e := range entries {
		name := e.Name()
		ext := filepath.Ext(name)
		if !e.IsDir() && !strings.HasPrefix(name, ".") && !runbooks.IsTest(name) && (ext == ".yaml" || ext == ".yml") {
			out = append(out, filepath.Join(dir, name))
		}
	}
	return out, nil
}

func printChecked(w io.Writer, format string, found []checked) error {
	if format == "json" {
		if found == nil {
			found = []checked{}
		}
		enc := json.NewEncoder(w)
		enc.SetIndent("", "  ")
		return enc.Encode(found)
	}
	for _, f := range found {
		text := f.Problem
		if f.Allowed != "" {
			text += "; allowed: " + f.Allowed
		}
		line := fmt.Sprintf("%s:%d:%d: %s: %s (%s)", f.File, f.Line, f.Column, f.Severity, text, f.Rule)
		if format == "github" {
			line = fmt.Sprintf("::%s file=%s,line=%d,col=%d,title=%s::%s", f.Severity,
				property.Replace(f.File), f.Line, f.Column, f.Rule, message.Replace(text))
		}
		if _, err := fmt.Fprintln(w, line); err != nil {
			return err
		}
	}
	return nil
}

// What a workflow command escapes, in properties and in messages.
var (
	property = strings.NewReplacer("%", "%25", "\r", "%0D", "\n", "%0A", ":", "%3A", ",", "%2C")
	message  = strings.NewReplacer("%", "%25", "\r", "%0D", "\n", "%0A")
)
