package runbooks

import (
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/goccy/go-yaml/ast"
)

// maxFileBytes and maxDepth keep a hostile file from costing more than it is
// worth.
const (
	maxFileBytes = 256 << 10
	maxDepth     = 24 // of a choice in a choice in a choice, and what its actions hold
)

var (
	targetType   = reflect.TypeFor[targetPart]()
	durationType = reflect.TypeFor[durationText]()
)

// checkShape reports every field that a runbook does not have and every value
// of the wrong shape. Decoding would stop at the first, with a message about Go
// types.
func checkShape(top cursor) []Fault {
	var s shape
	s.walk(top, reflect.TypeFor[document](), "the file", 0)
	return s.faults
}

type shape struct {
	faults []Fault
}

func (s *shape) wrong(c cursor, what string, want string) {
	s.faults = append(s.faults, c.fault(fmt.Sprintf("%s is %s", what, nodeName(c.node)), want))
}

func (s *shape) walk(c cursor, t reflect.Type, what string, depth int) {
	if c.node == nil || c.node.Type() == ast.NullType {
		return // an empty value is a missing one, which validation reports
	}
	if depth > maxDepth {
		s.faults = append(s.faults, c.fault("nested too deep", fmt.Sprintf("at most %d levels", maxDepth)))
		return
	}
	switch c.node.(type) {
	case *ast.AnchorNode, *ast.AliasNode, *ast.TagNode:
		s.wrong(c, what, "plain values: anchors, aliases and tags are not read")
		return
	}
	switch {
	case t == targetType:
		s.target(c, what)
	case t.Kind() == reflect.Struct:
		s.mapping(c, t, what, depth)
	case t.Kind() == reflect.Slice:
		s.list(c, t.Elem(), what, depth)
	case t.Kind() == reflect.Map:
		s.params(c, what)
	case t.Kind() == reflect.String:
		want := "text"
		if t == durationType {
			want = allowedDuration
		}
		if !textual(c.node) {
			s.wrong(c, what, want)
		}
	case t.Kind() == reflect.Int:
		if c.node.Type() != ast.IntegerType {
			s.wrong(c, what, "a whole number")
		}
	case t.Kind() == reflect.Bool:
		if c.node.Type() != ast.BoolType {
			s.wrong(c, what, "true or false")
		}
	}
}

func (s *shape) mapping(c cursor, t reflect.Type, what string, depth int) {
	entries := pairs(c.node)
	if entries == nil {
		if m, empty := c.node.(*ast.MappingNode); !empty || len(m.Values) > 0 {
			s.wrong(c, what, "fields "+strings.Join(fieldNames(t), ", "))
		}
		return
	}
	for _, pair := range entries {
		name := keyOf(pair)
		field, ok := fieldNamed(t, name)
		if !ok {
			s.faults = append(s.faults, c.at(pair.Key).fault(
				fmt.Sprintf("unknown field %q in %s", name, what), strings.Join(fieldNames(t), ", ")))
			continue
		}
		s.walk(c.field(name), field.Type, name, depth+1)
	}
}

func (s *shape) list(c cursor, elem reflect.Type, what string, depth int) {
	list, ok := c.node.(*ast.SequenceNode)
	if !ok {
		s.wrong(c, what, "a list")
		return
	}
	for i := range list.Values {
		s.walk(c.item(i), elem, what+" item", depth+1)
	}
}

func (s *shape) params(c cursor, what string) {
	entries := pairs(c.node)
	if _, ok := c.node.(*ast.MappingNode); !ok && entries == nil {
		s.wrong(c, what, "parameters by name")
	}
	for _, pair := range entries {
		if !slices.Contains(paramShapes, pair.Value.Type()) {
			s.wrong(c.field(keyOf(pair)), "parameter "+keyOf(pair), "a number, text, true or false, or \"${expression}\"")
		}
	}
}

func (s *shape) target(c cursor, what string) {
	if textual(c.node) {
		return
	}
	entries := pairs(c.node)
	if len(entries) != 1 || keyOf(entries[0]) != "service" || !textual(entries[0].Value) {
		s.wrong(c, what, allowedTargets)
	}
}

func textual(n ast.Node) bool {
	return n.Type() == ast.StringType || n.Type() == ast.LiteralType
}

var paramShapes = []ast.NodeType{ast.IntegerType, ast.FloatType, ast.BoolType, ast.StringType, ast.LiteralType}

// nodeNames says what a value is, for people.
var nodeNames = map[ast.NodeType]string{
	ast.MappingType: "a mapping", ast.MappingValueType: "a mapping", ast.SequenceType: "a list",
	ast.IntegerType: "a number", ast.FloatType: "a number", ast.InfinityType: "infinity", ast.NanType: "not a number",
	ast.BoolType: "true or false", ast.StringType: "text", ast.LiteralType: "text", ast.NullType: "empty",
	ast.AliasType: "an alias", ast.AnchorType: "an anchor", ast.TagType: "tagged",
}

func nodeName(n ast.Node) string {
	if name, ok := nodeNames[n.Type()]; ok {
		return name
	}
	return "of another kind"
}

func fieldNamed(t reflect.Type, name string) (reflect.StructField, bool) {
	for field := range t.Fields() {
		if field.Tag.Get("yaml") == name {
			return field, true
		}
	}
	return reflect.StructField{}, false
}

func fieldNames(t reflect.Type) []string {
	var names []string
	for field := range t.Fields() {
		names = append(names, field.Tag.Get("yaml"))
	}
	return names
}
