package runbooktest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/common/model"
	"go.yaml.in/yaml/v3"

	"github.com/sreagent/sreagent/sre"
)

// File is one file of tests.
type File struct {
	Name     string         `yaml:"-"`
	Runbooks []string       `yaml:"runbooks"` // files and folders, relative to the file; none is the shipped library
	Interval model.Duration `yaml:"interval"` // between two values of a series
	Tests    []Test         `yaml:"tests"`
}

// Test is one situation and what is expected of the runbooks in it.
type Test struct {
	Line     int
	Name     string
	Topology Topology
	Input    []Input
	Given    Given
	Levers   []string // of guard and platform; none named is both
	Expect   []Expectation
	World    *World // instead of all that

	// Of the decision: what stands around the diagnosis.
	Policy     *Policy // nil is the default one with mode act
	Changes    []Change
	Experience []Past
	Approvals  []Answer
}

// Topology is the graph of a test.
type Topology struct {
	Entries []string `yaml:"entries"`
	Edges   []Edge   `yaml:"edges"`
}

// Edge is one call relation. Services come into being by being named.
type Edge struct {
	From    string         `yaml:"from"`
	To      string         `yaml:"to"`
	Timeout model.Duration `yaml:"timeout"`
	Retries int            `yaml:"retries"`
	Hard    bool           `yaml:"hard"`
}

// Input is one series, as promtool writes them.
type Input struct {
	Line   int
	Series string
	Values string
}

// Given is the diagnosis that the runbooks are asked about.
type Given struct {
	Root        string        `yaml:"root"`
	Mechanism   sre.Mechanism `yaml:"mechanism"`
	Probability float64       `yaml:"probability"`
	Affected    []string      `yaml:"affected"`
	Tried       []string      `yaml:"tried"` // runbooks that did not help at the root
	Attempt     int           `yaml:"attempt"`
	Change      *Change       `yaml:"change"`
}

// Change is what the diagnosis suspects.
type Change struct {
	ID      string         `yaml:"id"`
	Kind    sre.ChangeKind `yaml:"kind"`
	Service string         `yaml:"service"`
	Ago     model.Duration `yaml:"ago"` // before the instant that is looked at
}

// Expectation is what must hold at one instant. Empty fields say nothing.
type Expectation struct {
	Line     int
	At       model.Duration
	Runbook  *string // "" expects that none fits
	Steps    []string
	Actions  []string          // "kind target param=value ...", of the step that Step names, else of the first
	Rejected map[string]string // by runbook: words of the reason
	Step     string            // that When, Verify and Actions are about
	When     *sre.Verdict
	Verify   *sre.Verdict
	Relapse  *sre.Verdict
	Decision Decision
}

// Fault is a mistake in a file of tests.
type Fault struct {
	File    string
	Line    int
	Problem string
	Allowed string
	Column  int // 0 where it is not known
}

func (f Fault) Error() string {
	place := fmt.Sprintf("%s:%d", f.File, f.Line)
	if f.Column > 0 {
		place += fmt.Sprintf(":%d", f.Column)
	}
	s := place + ": " + f.Problem
	if f.Allowed != "" {
		s += "; allowed: " + f.Allowed
	}
	return s
}

// The nodes of a file that carry their line are read field by field, so that an
// unknown field is told with its place.

// UnmarshalYAML notes the line.
func (t *Test) UnmarshalYAML(n *yaml.Node) error {
	t.Line = n.Line
	return fields(n, map[string]any{
		"name": &t.Name, "topology": &t.Topology, "input_series": &t.Input, "given": &t.Given, "levers": &t.Levers, "expect": &t.Expect, "world": &t.World,
		"policy": &t.Policy, "changes": &t.Changes, "experience": &t.Experience, "approvals": &t.Approvals,
	})
}

// UnmarshalYAML notes the line.
func (i *Input) UnmarshalYAML(n *yaml.Node) error {
	i.Line = n.Line
	return fields(n, map[string]any{"series": &i.Series, "values": &i.Values})
}

// UnmarshalYAML notes the line.
func (e *Expectation) UnmarshalYAML(n *yaml.Node) error {
	e.Line = n.Line
	return fields(n, map[string]any{
		"at": &e.At, "runbook": &e.Runbook, "steps": &e.Steps, "actions": &e.Actions, "rejected": &e.Rejected, "step": &e.Step,
		"when": &e.When, "verify": &e.Verify, "relapse": &e.Relapse,
		"verdict": &e.Decision.Stance, "guards": &e.Decision.Guards, "reason": &e.Decision.Reason, "confidence": &e.Decision.Confidence, "starts": &e.Decision.Starts,
	})
}

// placed is a mistake at a line of a node.
type placed struct {
	line             int
	problem, allowed string
	column           int
}

func (p *placed) Error() string { return p.problem }

func fields(n *yaml.Node, into map[string]any) error {
	if n.Kind != yaml.MappingNode {
		return &placed{line: n.Line, problem: "this is not a mapping"}
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		at, known := into[key.Value]
		if !known {
			return &placed{line: key.Line, problem: fmt.Sprintf("unknown field %q", key.Value), allowed: names(into)}
		}
		if err := strict(value, at); err != nil {
			return err
		}
	}
	return nil
}

// strict decodes a node and refuses fields that its type does not have.
func strict(n *yaml.Node, at any) error {
	if err := n.Decode(at); err != nil {
		var p *placed
		if errors.As(err, &p) {
			return err
		}
		return &placed{line: n.Line, problem: strings.TrimPrefix(firstLine(err.Error()), "yaml: ")}
	}
	return nil
}

func firstLine(s string) string {
	s = strings.TrimPrefix(s, "yaml: unmarshal errors:\n  ")
	line, _, _ := strings.Cut(s, "\n")
	return line
}

// Parse reads a file of tests. The error lists every mistake that was found,
// each a Fault.
func Parse(name string, text []byte) (*File, error) {
	dec := yaml.NewDecoder(bytes.NewReader(text))
	dec.KnownFields(true)
	f := &File{Name: name}
	if err := dec.Decode(f); err != nil {
		var p *placed
		switch {
		case errors.As(err, &p):
			return nil, Fault{name, p.line, p.problem, p.allowed, p.column}
		case errors.Is(err, io.EOF):
			return nil, Fault{File: name, Line: 1, Problem: "the file is empty", Allowed: "tests: with at least one test"}
		}
		return nil, Fault{File: name, Line: lineIn(err), Problem: firstLine(err.Error())}
	}
	var faults []error
	add := func(line int, allowed, format string, args ...any) {
		faults = append(faults, Fault{File: name, Line: line, Problem: fmt.Sprintf(format, args...), Allowed: allowed})
	}
	if f.Interval == 0 {
		f.Interval = model.Duration(10 * time.Second)
	}
	if len(f.Tests) == 0 {
		add(1, "tests: with at least one test", "there are no tests")
	}
	seen := map[string]bool{}
	for i := range f.Tests {
		t := &f.Tests[i]
		if t.Name == "" || seen[t.Name] {
			add(t.Line, "a name that no other test has", "test name %q is missing or taken", t.Name)
		}
		seen[t.Name] = true
		t.check(add)
		if t.Policy != nil {
			for _, p := range t.Policy.faults {
				faults = append(faults, Fault{name, p.line, p.problem, p.allowed, p.column})
			}
		}
	}
	return f, errors.Join(faults...)
}

// lineIn is the line that a message of the YAML library names; 1 where none.
func lineIn(err error) int {
	var line int
	if _, scanned := fmt.Sscanf(firstLine(err.Error()), "line %d:", &line); scanned == nil && line > 0 {
		return line
	}
	return 1
}

func names(of map[string]any) string {
	return strings.Join(slices.Sorted(maps.Keys(of)), ", ")
}

// check reports what is wrong with a test beyond its shape.
func (t *Test) check(add func(line int, allowed, format string, args ...any)) {
	if t.World != nil {
		t.World.check(t, add)
		return
	}
	if len(t.Topology.Edges) == 0 && len(t.Topology.Entries) == 0 {
		add(t.Line, "edges: [{from, to}] and entries: [service]", "test %q has no topology", t.Name)
	}
	if t.Given.Root == "" && t.Given.Mechanism != sre.Unknown {
		add(t.Line, "given: {root: SERVICE, mechanism: ...}", "test %q does not say what the diagnosis is", t.Name)
	}
	if !t.Given.Mechanism.Valid() {
		add(t.Line, joined(sre.Mechanisms()), "mechanism is %q", t.Given.Mechanism)
	}
	if c := t.Given.Change; c != nil && !c.Kind.Valid() {
		add(t.Line, "deploy, flag, config, scale, other", "change kind is %q", c.Kind)
	}
	for _, name := range t.Levers {
		if name != "guard" && name != "platform" {
			add(t.Line, "guard, platform", "lever is %q", name)
		}
	}
	if len(t.Expect) == 0 {
		add(t.Line, "expect: with at least one instant", "test %q expects nothing", t.Name)
	}
	t.checkDecision(add)
	for _, e := range t.Expect {
		for _, v := range []*sre.Verdict{e.When, e.Verify, e.Relapse} {
			if v != nil && !slices.Contains([]sre.Verdict{sre.Pass, sre.Fail, sre.Inconclusive, noData}, *v) {
				add(e.Line, "pass, fail, no_data", "verdict is %q", *v)
			}
		}
	}
}

// noData is how a file writes the verdict that is empty elsewhere.
const noData sre.Verdict = "no_data"

func joined[T ~string](set []T) string {
	words := make([]string, len(set))
	for i, w := range set {
		words[i] = string(w)
	}
	return strings.Join(words, ", ")
}
