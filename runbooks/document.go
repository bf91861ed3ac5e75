package runbooks

import (
	"errors"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
)

// The document types mirror a file. Durations and closed sets stay text here,
// so that every mistake can be reported at its place, and not only the first.
type document struct {
	APIVersion string       `yaml:"apiVersion"`
	Kind       string       `yaml:"kind"`
	Metadata   metadataPart `yaml:"metadata"`
	Spec       specPart     `yaml:"spec"`
}

type metadataPart struct {
	Name        string `yaml:"name"`
	Owner       string `yaml:"owner"`
	Author      string `yaml:"author"`
	Description string `yaml:"description"`
	NotFor      string `yaml:"not_for"`
}

type specPart struct {
	Priority int          `yaml:"priority"`
	Match    matchPart    `yaml:"match"`
	Risk     string       `yaml:"risk"`
	Steps    []stepPart   `yaml:"steps"`
	Hold     durationText `yaml:"hold"`
	LiftGap  durationText `yaml:"lift_gap"`
	Relapse  string       `yaml:"relapse"`
	Escalate escalatePart `yaml:"escalate"`
}

type escalatePart struct {
	After   durationText `yaml:"after"`
	Message string       `yaml:"message"`
}

type matchPart struct {
	Mechanisms []string `yaml:"mechanisms"`
	When       string   `yaml:"when"`
}

// stepPart is a step, or a choice between branches of steps.
type stepPart struct {
	Name    string       `yaml:"name"`
	When    string       `yaml:"when"`
	Actions []actionPart `yaml:"actions"`
	Verify  verifyPart   `yaml:"verify"`
	Lease   durationText `yaml:"lease"`
	OnFail  string       `yaml:"on_fail"`
	Ahead   string       `yaml:"ahead"`
	Choose  []branchPart `yaml:"choose"`
}

// branchPart is one way of a choice. Its condition, or that it takes the rest.
type branchPart struct {
	When      string     `yaml:"when"`
	Otherwise bool       `yaml:"otherwise"`
	Steps     []stepPart `yaml:"steps"`
}

type actionPart struct {
	Kind     string         `yaml:"kind"`
	Lever    string         `yaml:"lever"`
	Target   targetPart     `yaml:"target"`
	Callee   string         `yaml:"callee"`
	Name     string         `yaml:"name"`
	Params   map[string]any `yaml:"params"`
	Law      string         `yaml:"law"`
	TTL      durationText   `yaml:"ttl"`
	Optional bool           `yaml:"optional"`
	Where    string         `yaml:"where"`
	Undo     string         `yaml:"undo"`
}

type verifyPart struct {
	Expr    string       `yaml:"expr"`
	Within  durationText `yaml:"within"`
	HeldFor durationText `yaml:"held_for"`
}

// durationText is a duration as it is written, such as 45s.
type durationText string

// targetPart is a selector word, or a service by name.
type targetPart struct {
	selector string
	service  string
}

// calls reports whether the selector names calls, so that each has its callee.
func (t targetPart) calls() bool {
	return t.selector == selectCallers || t.eachCall()
}

// open reports whether the selector stands for whatever the action's `where`
// holds of in the whole fleet, which is settled when the step starts.
func (t targetPart) open() bool { return t.selector == selectFleet || t.selector == selectFleetCalls }

// eachCall reports whether the selector names calls of many callees, so that a
// kind which is not about calls keeps them apart too.
func (t targetPart) eachCall() bool {
	return t.selector == selectAllCallers || t.selector == selectCallees || t.selector == selectAffectedCalls || t.selector == selectFleetCalls
}

// UnmarshalYAML reads "root", or "service: name". Shapes are checked before.
func (t *targetPart) UnmarshalYAML(unmarshal func(any) error) error {
	if err := unmarshal(&t.selector); err == nil {
		return nil
	}
	t.selector = ""
	var byName struct {
		Service string `yaml:"service"`
	}
	if err := unmarshal(&byName); err != nil {
		return err
	}
	t.service = byName.Service
	return nil
}

// parseDocument reads one file. The cursor stands at the root of the document,
// for the positions of later faults; faults say why there is no document.
func parseDocument(file string, content []byte) (document, cursor, []Fault) {
	top := cursor{file: file, line: 1, column: 1}
	if len(content) > maxFileBytes {
		return document{}, top, []Fault{top.fault("file is too large", "at most 256 KiB")}
	}
	parsed, err := parser.ParseBytes(content, 0)
	if err != nil {
		return document{}, top, []Fault{yamlFault(top, err)}
	}
	var bodies []ast.Node
	for _, d := range parsed.Docs {
		if d.Body != nil && d.Body.Type() != ast.CommentType {
			bodies = append(bodies, d.Body)
		}
	}
	if len(bodies) != 1 {
		return document{}, top, []Fault{top.fault(numbered(len(bodies), "document")+" in one file", "one runbook per file")}
	}
	top = top.at(bodies[0])
	if faults := checkShape(top); len(faults) > 0 {
		return document{}, top, faults
	}
	var doc document
	if err := yaml.NodeToValue(bodies[0], &doc, yaml.Strict()); err != nil {
		return document{}, top, []Fault{yamlFault(top, err)}
	}
	return doc, top, nil
}

// yamlFault takes message and place out of an error of the YAML library.
func yamlFault(top cursor, err error) Fault {
	var positioned yaml.Error
	if !errors.As(err, &positioned) {
		return top.fault(err.Error(), "")
	}
	at := top
	if tok := positioned.GetToken(); tok != nil && tok.Position != nil {
		at.line, at.column = tok.Position.Line, tok.Position.Column
	}
	return at.fault(positioned.GetMessage(), "YAML in which each key stands once and each bracket is closed")
}
