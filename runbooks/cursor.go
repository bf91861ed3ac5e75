package runbooks

import (
	"strconv"

	"github.com/goccy/go-yaml/ast"
)

// cursor is a place in a file. Going to a child that is not there keeps the
// place of the parent, so a fault about a missing field points at what should
// hold it.
type cursor struct {
	file         string
	line, column int
	node         ast.Node // nil where the file has nothing here
}

func (c cursor) fault(problem, allowed string) Fault {
	return Fault{File: c.file, Line: c.line, Column: c.column, Problem: problem, Allowed: allowed}
}

// at moves to a node of the same file.
func (c cursor) at(n ast.Node) cursor {
	c.node = n
	if tok := n.GetToken(); tok != nil && tok.Position != nil {
		c.line, c.column = tok.Position.Line, tok.Position.Column
	}
	return c
}

// field moves to the value of a key.
func (c cursor) field(name string) cursor {
	for _, pair := range pairs(c.node) {
		if keyOf(pair) != name {
			continue
		}
		// The token of a mapping or of a list is its first colon or dash: its
		// key is where a reader looks.
		next := c.at(pair.Key)
		next.node = pair.Value
		if scalar(pair.Value) {
			next = c.at(pair.Value)
		}
		return next
	}
	c.node = nil
	return c
}

// item moves to an element of a list.
func (c cursor) item(i int) cursor {
	list, ok := c.node.(*ast.SequenceNode)
	if !ok || i >= len(list.Values) {
		c.node = nil
		return c
	}
	n := list.Values[i]
	if entries := pairs(n); len(entries) > 0 {
		next := c.at(entries[0].Key)
		next.node = n
		return next
	}
	return c.at(n)
}

// pairs returns the entries of a mapping; nil for anything else.
func pairs(n ast.Node) []*ast.MappingValueNode {
	switch m := n.(type) {
	case *ast.MappingNode:
		return m.Values
	case *ast.MappingValueNode:
		return []*ast.MappingValueNode{m}
	}
	return nil
}

func keyOf(pair *ast.MappingValueNode) string {
	if s, ok := pair.Key.(*ast.StringNode); ok {
		return s.Value
	}
	return pair.Key.String()
}

func scalar(n ast.Node) bool {
	_, ok := n.(ast.ScalarNode)
	return ok
}

// numbered writes "1 step" or "3 steps".
func numbered(n int, noun string) string {
	if n != 1 {
		noun += "s"
	}
	return strconv.Itoa(n) + " " + noun
}
