package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/sreagent/sreagent/sre"
)

// located is a YAML file with the place of everything in it, so that each
// mistake can be reported as file:line:column.
type located struct {
	name string
	text []byte
	root *yaml.Node
}

// misplaced is one mistake with its place.
type misplaced struct {
	file         string
	line, column int
	fault        sre.Fault
}

// String writes the mistake as file:line:column: what is wrong; allowed.
func (m misplaced) String() string {
	return fmt.Sprintf("%s:%d:%d: %s", m.file, m.line, m.column, m.fault)
}

// fileError is everything that is wrong with one file.
type fileError []misplaced

// Error lists the mistakes, one per line, in the order of the file.
func (e fileError) Error() string {
	lines := make([]string, len(e))
	for i, m := range e {
		lines[i] = m.String()
	}
	return strings.Join(lines, "\n")
}

// decodeLocated reads text strictly into dst, whose present values are the
// defaults. Every unknown key and every wrong type is found at once.
func decodeLocated(name string, text []byte, dst any) (*located, error) {
	f := &located{name: name, text: text, root: &yaml.Node{}}
	if err := yaml.Unmarshal(text, f.root); err != nil {
		return nil, f.errors([]string{err.Error()})
	}
	if len(f.root.Content) == 0 {
		return f, nil // an empty file is all defaults
	}
	var wrong fileError
	f.walk(f.root.Content[0], reflect.TypeOf(dst), "", &wrong)
	if len(wrong) > 0 {
		return nil, wrong
	}
	dec := yaml.NewDecoder(bytes.NewReader(text))
	dec.KnownFields(true)
	err := dec.Decode(dst)
	var typed *yaml.TypeError
	switch {
	case errors.As(err, &typed):
		return nil, f.errors(typed.Errors)
	case err != nil && !errors.Is(err, io.EOF):
		return nil, f.errors([]string{err.Error()})
	}
	if err := dec.Decode(new(yaml.Node)); !errors.Is(err, io.EOF) {
		return nil, fileError{{name, 1, 1, sre.Fault{Problem: "more than one document", Allowed: "one document per file"}}}
	}
	return f, nil
}

// walk goes through the file beside the type that it is read into, and finds
// unknown keys and values that their own types refuse.
func (f *located) walk(n *yaml.Node, t reflect.Type, path string, wrong *fileError) {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	if err := tryDecode(n, t); err != nil {
		*wrong = append(*wrong, misplaced{f.name, n.Line, n.Column, sre.Fault{Path: path, Problem: err.Error()}})
		return
	}
	switch {
	case n.Kind == yaml.SequenceNode && t.Kind() == reflect.Slice:
		for i, item := range n.Content {
			f.walk(item, t.Elem(), sre.Item(path, i), wrong)
		}
	case n.Kind == yaml.MappingNode && t.Kind() == reflect.Map:
		for i := 0; i+1 < len(n.Content); i += 2 {
			f.walk(n.Content[i+1], t.Elem(), join(path, n.Content[i].Value), wrong)
		}
	case n.Kind == yaml.MappingNode && t.Kind() == reflect.Struct:
		known := fields(t)
		for i := 0; i+1 < len(n.Content); i += 2 {
			key := n.Content[i]
			field, ok := known[key.Value]
			if !ok {
				*wrong = append(*wrong, misplaced{f.name, key.Line, key.Column, sre.Fault{
					Path: path, Problem: fmt.Sprintf("unknown key %q", key.Value),
					Allowed: strings.Join(slices.Sorted(maps.Keys(known)), ", "),
				}})
				continue
			}
			f.walk(n.Content[i+1], field, join(path, key.Value), wrong)
		}
	}
}

// tryDecode asks a type that decodes itself what it thinks of a node, since
// such errors come without a place.
func tryDecode(n *yaml.Node, t reflect.Type) error {
	v := reflect.New(t).Interface()
	switch v.(type) {
	case interface{ UnmarshalYAML(func(any) error) error }, yaml.Unmarshaler:
	default:
		return nil
	}
	err := n.Decode(v)
	var typed *yaml.TypeError
	if errors.As(err, &typed) {
		return nil // has a line, and is found again when the whole is decoded
	}
	return err
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

// fields lists a struct's YAML keys and their types, inlined structs included.
func fields(t reflect.Type) map[string]reflect.Type {
	out := map[string]reflect.Type{}
	for i := range t.NumField() {
		field := t.Field(i)
		name, options, _ := strings.Cut(field.Tag.Get("yaml"), ",")
		switch {
		case strings.Contains(options, "inline"):
			maps.Copy(out, fields(field.Type))
		case name == "-" || !field.IsExported():
		case name == "":
			out[strings.ToLower(field.Name)] = field.Type
		default:
			out[name] = field.Type
		}
	}
	return out
}

var (
	lineOf   = regexp.MustCompile(`line (\d+): (.*)`)
	quotedIn = regexp.MustCompile("`([^`]*)`")
)

// errors places the library's messages, which know the line at most.
func (f *located) errors(messages []string) fileError {
	var out fileError
	lines := strings.Split(string(f.text), "\n")
	for _, message := range messages {
		m := misplaced{file: f.name, line: 1, column: 1}
		m.fault.Problem = strings.TrimPrefix(message, "yaml: ")
		if hit := lineOf.FindStringSubmatch(message); hit != nil {
			m.line, _ = strconv.Atoi(hit[1])
			m.fault.Problem = hit[2]
		}
		if m.line >= 1 && m.line <= len(lines) && m.column == 1 {
			m.column = columnOf(lines[m.line-1], m.fault.Problem)
		}
		out = append(out, m)
	}
	return out
}

// columnOf is where the value that a message quotes stands in its line, else
// where the line begins.
func columnOf(line, message string) int {
	if hit := quotedIn.FindStringSubmatch(message); hit != nil {
		if i := strings.Index(line, strings.TrimSuffix(hit[1], "...")); i >= 0 && hit[1] != "" {
			return i + 1
		}
	}
	return len(line) - len(strings.TrimLeft(line, " \t-")) + 1
}

// place finds where faults stand. A path that the file does not contain is
// placed at its nearest parent that it does.
func (f *located) place(faults sre.Faults) error {
	if len(faults) == 0 {
		return nil
	}
	out := make(fileError, 0, len(faults))
	for _, fault := range faults {
		m := misplaced{file: f.name, line: 1, column: 1, fault: fault}
		if n := f.node(fault.Path); n != nil {
			m.line, m.column = n.Line, n.Column
		}
		out = append(out, m)
	}
	slices.SortStableFunc(out, func(x, y misplaced) int { return (x.line-y.line)*10000 + x.column - y.column })
	return out
}

func (f *located) node(path string) *yaml.Node {
	if len(f.root.Content) == 0 {
		return nil
	}
	at := f.root.Content[0]
	for _, part := range strings.FieldsFunc(path, func(r rune) bool { return r == '.' || r == '[' || r == ']' }) {
		next := child(at, part)
		if next == nil {
			break
		}
		at = next
	}
	return at
}

func child(n *yaml.Node, part string) *yaml.Node {
	switch n.Kind {
	case yaml.MappingNode:
		for i := 0; i+1 < len(n.Content); i += 2 {
			if n.Content[i].Value == part {
				return n.Content[i+1]
			}
		}
	case yaml.SequenceNode:
		if i, err := strconv.Atoi(part); err == nil && i >= 0 && i < len(n.Content) {
			return n.Content[i]
		}
	case yaml.DocumentNode, yaml.ScalarNode, yaml.AliasNode:
	}
	return nil
}
