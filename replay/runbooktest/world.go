package runbooktest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/sreagent/sreagent/agent"
	"github.com/sreagent/sreagent/replay/scenario"
	"github.com/sreagent/sreagent/runbooks"
	"github.com/sreagent/sreagent/sre"
)

// World is a story that is played to its end by an agent that has the runbooks
// under test and no others.
type World struct {
	Line     int
	Scenario string // a shipped one by its name, or a file
	Story    Story  // instead of it
	Seed     uint64 // of the world; 0 is that of the story
	Expect   []Claim
}

// Story is the text of a scenario within a file of tests.
type Story struct {
	Line int // at which it begins
	Text string
}

// Claim is what is expected of a story, as after "expect on" in a scenario.
type Claim struct {
	Line int
	Text string
}

// UnmarshalYAML notes the line.
func (w *World) UnmarshalYAML(n *yaml.Node) error {
	w.Line = n.Line
	return fields(n, map[string]any{"scenario": &w.Scenario, "text": &w.Story, "seed": &w.Seed, "expect": &w.Expect})
}

// UnmarshalYAML notes the line: a block begins below the sign that announces it.
func (s *Story) UnmarshalYAML(n *yaml.Node) error {
	if n.Kind != yaml.ScalarNode {
		return &placed{line: n.Line, problem: "the story is no text", allowed: "text: | and the lines of a scenario"}
	}
	s.Line, s.Text = n.Line, n.Value
	if n.Style&(yaml.LiteralStyle|yaml.FoldedStyle) != 0 {
		s.Line++
	}
	return nil
}

// UnmarshalYAML notes the line.
func (c *Claim) UnmarshalYAML(n *yaml.Node) error {
	if n.Kind != yaml.ScalarNode || strings.ContainsAny(n.Value, "\r\n") {
		return &placed{line: n.Line, problem: "this is no line of text", allowed: "what a scenario expects, such as recovered within 90s"}
	}
	c.Line, c.Text = n.Line, n.Value
	return nil
}

// check reports what is wrong with a test that plays a story.
func (w *World) check(t *Test, add func(line int, allowed, format string, args ...any)) {
	if (w.Scenario == "") == (w.Story.Text == "") {
		add(w.Line, "scenario: NAME, or text: |", "the world of test %q needs one story", t.Name)
	}
	if len(t.Topology.Edges)+len(t.Topology.Entries)+len(t.Input)+len(t.Levers)+len(t.Expect)+len(t.Changes)+len(t.Experience)+len(t.Approvals) > 0 || t.Policy != nil || t.Given.Root != "" || t.Given.Mechanism != "" {
		add(t.Line, "name and world", "test %q has a world, whose story says all that happens", t.Name)
	}
}

// told is a story that is ready to be played, and what is expected of it.
type told struct {
	story  *scenario.Scenario
	claims []claim
}

type claim struct {
	line int
	scenario.Expectation
}

// tell reads the story. What it expects itself, of a run with the agent, counts
// where the test says nothing: a story of the library is written for the shipped
// runbooks.
func (w *World) tell(file string, read func(name string) (text []byte, path string, err error)) (told, error) {
	// Empty lines before a text bring its mistakes to their place in the file.
	text, path := strings.Repeat("\n", max(w.Story.Line-1, 0))+w.Story.Text, file
	if w.Scenario != "" {
		content, from, err := read(w.Scenario)
		if err != nil {
			return told{}, Fault{File: file, Line: w.Line, Problem: err.Error(), Allowed: "the name of a shipped scenario, or a file that ends in .scenario"}
		}
		text, path = string(content), from
	}
	s, err := scenario.Parse(path, []byte(text))
	if err != nil {
		return told{}, err
	}
	out := told{story: s}
	if len(w.Expect) == 0 {
		for _, e := range s.Expect {
			if e.Arm != scenario.Off {
				out.claims = append(out.claims, claim{w.Line, e})
			}
		}
		if len(out.claims) == 0 {
			return told{}, Fault{File: file, Line: w.Line, Problem: "nothing is expected of the world", Allowed: "expect: [recovered within 90s, harmful = 0]"}
		}
	}
	for _, c := range w.Expect {
		e, err := parseClaim(path, text, c)
		if err != nil {
			return told{}, Fault{File: file, Line: c.Line, Problem: err.Problem, Allowed: err.Allowed}
		}
		out.claims = append(out.claims, claim{c.Line, e})
	}
	s.Expect = nil
	return out, nil
}

// parseClaim reads a claim as a line of the story, since it speaks of the
// services there.
func parseClaim(path, text string, c Claim) (scenario.Expectation, *sre.Fault) {
	s, err := scenario.Parse(path, []byte(text+"\nexpect on "+c.Text+"\n"))
	var faults sre.Faults
	switch {
	case errors.As(err, &faults) && len(faults) > 0:
		return scenario.Expectation{}, &faults[0]
	case err != nil:
		return scenario.Expectation{}, &sre.Fault{Problem: err.Error()}
	}
	return s.Expect[len(s.Expect)-1], nil
}

// play runs the story with the agent and judges what came of it.
func (t told) play(ctx context.Context, l *runbooks.Library, seed uint64) (*scenario.Result, []Failure, error) {
	o := scenario.Options{Agent: true, Config: agent.Config{Runbooks: l}, Seed: seed, Judge: scenario.JudgeNot}
	if slices.ContainsFunc(t.claims, func(c claim) bool { return strings.HasPrefix(c.Text, "harmful") }) {
		o.Judge = scenario.JudgeAuto
	}
	r, err := t.story.Run(ctx, o)
	if err != nil {
		return nil, nil, fmt.Errorf("play %s: %w", t.story.Name, err)
	}
	var out []Failure
	for _, c := range t.claims {
		if ok, found := c.Holds(r); !ok {
			out = append(out, Failure{Line: c.line, What: "in the world", Expected: c.Text, Found: found})
		}
	}
	return r, out, nil
}
