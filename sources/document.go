package sources

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"

	"github.com/sreagent/sreagent/sre"
)

// document is a YAML file that a person wrote. It is kept after decoding so
// that a mistake found later can be shown where it stands.
type document struct {
	name string
	root ast.Node
}

// parseDocument decodes one YAML document strictly. A mistake is returned as
// sre.Faults whose path is file:line:column.
func parseDocument(name string, content []byte, into any) (*document, error) {
	doc := &document{name: name}
	if faults := doc.decode(content, into); len(faults) > 0 {
		return nil, faults
	}
	return doc, nil
}

func (d *document) decode(content []byte, into any) (faults sre.Faults) {
	// goccy/go-yaml panics on some files that are no YAML, such as a tag with
	// nothing behind it; to the person who wrote the file that is a mistake like
	// any other.
	defer func() {
		if recover() != nil {
			faults = sre.Faults{{Path: d.name, Problem: "is not readable as YAML"}}
		}
	}()
	if line := tooDeep(content); line > 0 {
		return sre.Faults{{Path: fmt.Sprintf("%s:%d", d.name, line), Problem: "is nested too deep", Allowed: fmt.Sprintf("%d levels", maxDepth)}}
	}
	file, err := parser.ParseBytes(content, 0)
	if err != nil {
		return d.syntax(err)
	}
	switch {
	case len(file.Docs) == 0 || file.Docs[0].Body == nil:
		return sre.Faults{{Path: d.name, Problem: "is empty"}}
	case len(file.Docs) > 1:
		return sre.Faults{{Path: d.name, Problem: "holds more than one document", Allowed: "one"}}
	}
	d.root = file.Docs[0].Body
	if err := yaml.NodeToValue(d.root, into, yaml.Strict()); err != nil {
		return d.syntax(err)
	}
	return nil
}

// maxDepth is far more than any file of ours needs. The parser's memory grows
// with the square of the depth, so that three megabytes of brackets would fill
// a machine.
const maxDepth = 64

// tooDeep returns the first line at which a file may be nested deeper than
// maxDepth, and 0 where none is. Brackets count wherever they stand, in text
// too: more than that many open at once are no query either.
func tooDeep(content []byte) int {
	line, open := 0, 0
	for text := range bytes.Lines(content) {
		line++
		indented := len(text) - len(bytes.TrimLeft(text, " -?:"))
		if indented > 8*maxDepth || bytes.Count(text[:indented], []byte("-"))+bytes.Count(text[:indented], []byte("?")) > maxDepth {
			return line
		}
		for _, c := range text {
			switch c {
			case '[', '{', '(':
				open++
			case ']', '}', ')':
				open = max(0, open-1)
			}
			if open > maxDepth {
				return line
			}
		}
	}
	return 0
}

func (d *document) syntax(err error) sre.Faults {
	var placed yaml.Error
	if !errors.As(err, &placed) {
		return sre.Faults{{Path: d.name, Problem: err.Error()}}
	}
	return sre.Faults{{Path: d.position(placed.GetToken()), Problem: placed.GetMessage()}}
}

func (d *document) position(t *token.Token) string {
	if t == nil || t.Position == nil {
		return d.name
	}
	return fmt.Sprintf("%s:%d:%d", d.name, t.Position.Line, t.Position.Column)
}

// placed replaces the YAML path of each fault by its place in the file and
// moves the path into the problem.
func (d *document) placed(faults sre.Faults) sre.Faults {
	out := make(sre.Faults, len(faults))
	for i, f := range faults {
		out[i] = sre.Fault{Path: d.position(d.find(f.Path)), Problem: f.Path + " " + f.Problem, Allowed: f.Allowed}
	}
	return out
}

// find returns the token of the deepest part of path that the file has, so that
// a missing key is shown at the mapping that lacks it.
func (d *document) find(path string) *token.Token {
	node, best := d.root, d.root.GetToken()
	for rest := path; rest != "" && node != nil; {
		var next ast.Node
		next, rest = step(node, rest)
		if next == nil {
			break
		}
		node, best = next, next.GetToken()
		if first := firstToken(node); first != nil {
			best = first
		}
	}
	return best
}

// firstToken gives where a mapping starts: goccy's own token of a mapping is
// its first colon.
func firstToken(n ast.Node) *token.Token {
	switch n := n.(type) {
	case *ast.MappingNode:
		if len(n.Values) > 0 && !n.IsFlowStyle {
			return n.Values[0].Key.GetToken()
		}
	case *ast.MappingValueNode:
		return n.Key.GetToken()
	}
	return nil
}

// step follows the first element of path. Mapping keys are matched by the
// longest prefix, because service names may hold dots.
func step(node ast.Node, path string) (ast.Node, string) {
	switch n := node.(type) {
	case *ast.SequenceNode:
		end := strings.IndexByte(path, ']')
		if !strings.HasPrefix(path, "[") || end < 0 {
			return nil, path
		}
		i, err := strconv.Atoi(path[1:end])
		if err != nil || i < 0 || i >= len(n.Values) {
			return nil, path
		}
		return n.Values[i], strings.TrimPrefix(path[end+1:], ".")
	case *ast.MappingValueNode:
		return stepMapping([]*ast.MappingValueNode{n}, path)
	case *ast.MappingNode:
		return stepMapping(n.Values, path)
	}
	return nil, path
}

func stepMapping(values []*ast.MappingValueNode, path string) (ast.Node, string) {
	var found ast.Node
	longest, rest := -1, path
	for _, v := range values {
		key := v.Key.GetToken().Value
		tail, ok := strings.CutPrefix(path, key)
		if !ok || len(key) <= longest || (tail != "" && tail[0] != '.' && tail[0] != '[') {
			continue
		}
		found, longest, rest = v.Value, len(key), strings.TrimPrefix(tail, ".")
	}
	return found, rest
}
