package runbooktest

import (
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/sreagent/sreagent/agent/gate"
)

// Policy is the mandate of a test, in the grammar of the configuration's section
// of that name, with its defaults.
type Policy struct {
	gate.Policy
	faults []placed
}

// UnmarshalYAML reads the section strictly and notes every mistake with its place.
func (p *Policy) UnmarshalYAML(n *yaml.Node) error {
	p.Policy = gate.DefaultPolicy()
	if p.walk(n, reflect.TypeFor[gate.Policy]()); len(p.faults) > 0 {
		return nil
	}
	if err := n.Decode(&p.Policy); err != nil {
		line := n.Line
		if _, scanned := fmt.Sscanf(firstLine(err.Error()), "line %d:", &line); scanned != nil {
			line = n.Line
		}
		return &placed{line: line, problem: strings.TrimPrefix(firstLine(err.Error()), "yaml: ")}
	}
	for _, f := range p.Policy.Validate() {
		at := under(n, f.Path)
		p.faults = append(p.faults, placed{at.Line, "policy." + f.Path + ": " + f.Problem, f.Allowed, at.Column})
	}
	return nil
}

// walk finds keys that the policy does not have, and values that their types
// refuse.
func (p *Policy) walk(n *yaml.Node, t reflect.Type) {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch {
	case n.Kind == yaml.AliasNode:
		p.walk(n.Alias, t)
	case reflect.PointerTo(t).Implements(reflect.TypeFor[yaml.Unmarshaler]()) || t.Kind() != reflect.Struct && t.Kind() != reflect.Slice:
		if err := n.Decode(reflect.New(t).Interface()); err != nil {
			p.faults = append(p.faults, placed{n.Line, strings.TrimPrefix(firstLine(err.Error()), "yaml: "), "", n.Column})
		}
	case n.Kind == yaml.SequenceNode && t.Kind() == reflect.Slice:
		for _, item := range n.Content {
			p.walk(item, t.Elem())
		}
	case n.Kind == yaml.MappingNode && t.Kind() == reflect.Struct:
		known := map[string]any{}
		keysOf(t, known)
		for i := 0; i+1 < len(n.Content); i += 2 {
			key := n.Content[i]
			if in, ok := known[key.Value].(reflect.Type); ok {
				p.walk(n.Content[i+1], in)
				continue
			}
			p.faults = append(p.faults, placed{key.Line, fmt.Sprintf("unknown field %q", key.Value), names(known), key.Column})
		}
	}
}

// keysOf gathers a struct's YAML keys with their types, inlined structs included.
func keysOf(t reflect.Type, into map[string]any) {
	for i := range t.NumField() {
		field := t.Field(i)
		name, options, _ := strings.Cut(field.Tag.Get("yaml"), ",")
		switch {
		case strings.Contains(options, "inline"):
			keysOf(field.Type, into)
		case field.IsExported() && name != "-":
			if name == "" {
				name = strings.ToLower(field.Name)
			}
			into[name] = field.Type
		}
	}
}

// under finds the node at a path such as freezes[0].owner, or the nearest one
// above it that the file has.
func under(n *yaml.Node, path string) *yaml.Node {
	for _, part := range strings.FieldsFunc(path, func(r rune) bool { return r == '.' || r == '[' || r == ']' }) {
		if n.Kind == yaml.AliasNode {
			n = n.Alias
		}
		i, err := strconv.Atoi(part)
		switch {
		case n.Kind == yaml.SequenceNode && err == nil && i < len(n.Content):
			n = n.Content[i]
		case n.Kind == yaml.MappingNode:
			k := slices.IndexFunc(n.Content, func(c *yaml.Node) bool { return c.Value == part })
			if k < 0 || k+1 >= len(n.Content) {
				return n
			}
			n = n.Content[k+1]
		default:
			return n
		}
	}
	return n
}
