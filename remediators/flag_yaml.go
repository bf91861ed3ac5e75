package remediators

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"go.yaml.in/yaml/v3"
)

// yamlFlags are flags in a YAML mapping. Lines of other flags are not touched;
// those of a flag that is moved are written anew, without their comments.
type yamlFlags struct{}

func (yamlFlags) root(content []byte) (*yaml.Node, error) {
	var doc yaml.Node
	if err := yaml.Unmarshal(content, &doc); err != nil {
		return nil, err
	}
	if len(doc.Content) != 1 || doc.Content[0].Kind != yaml.MappingNode || doc.Content[0].Style&yaml.FlowStyle != 0 {
		return nil, errors.New("is no YAML mapping of flags, one a block")
	}
	return doc.Content[0], nil
}

func (f yamlFlags) names(content []byte) ([]string, error) {
	root, err := f.root(content)
	if err != nil {
		return nil, err
	}
	var out []string
	for i := 0; i < len(root.Content); i += 2 {
		out = append(out, root.Content[i].Value)
	}
	return out, nil
}

func (f yamlFlags) get(content []byte, flag string) ([]byte, error) {
	root, err := f.root(content)
	if err != nil {
		return nil, err
	}
	for i := 0; i < len(root.Content); i += 2 {
		if root.Content[i].Value != flag {
			continue
		}
		if shared(root.Content[i+1]) {
			return nil, fmt.Errorf("flag %s uses an anchor or an alias, which this lever does not edit", flag)
		}
		var v map[string]any
		if err := root.Content[i+1].Decode(&v); err != nil {
			return nil, err
		}
		return json.Marshal(v)
	}
	return nil, nil
}

func shared(n *yaml.Node) bool {
	if n.Anchor != "" || n.Kind == yaml.AliasNode {
		return true
	}
	return slices.ContainsFunc(n.Content, shared)
}

func (f yamlFlags) put(content []byte, flag string, definition []byte) ([]byte, error) {
	block, err := yamlBlock(flag, definition)
	if err != nil {
		return nil, err
	}
	root, err := f.root(content)
	if err != nil {
		return nil, err
	}
	lines := bytes.SplitAfter(content, []byte("\n"))
	for i := 0; i < len(root.Content); i += 2 {
		if root.Content[i].Value != flag {
			continue
		}
		first, last := root.Content[i].Line-1, lastLine(root.Content[i+1])
		if text := scalarEnd(lines, last); text > last {
			last = text
		}
		out := bytes.Join(lines[:first], nil)
		out = append(out, block...)
		return append(out, bytes.Join(lines[last:], nil)...), nil
	}
	return nil, fmt.Errorf("there is no flag %s", flag)
}

// lastLine is the last line on which a node has something, from 1.
func lastLine(n *yaml.Node) int {
	last := n.Line
	for _, c := range n.Content {
		last = max(last, lastLine(c))
	}
	return last
}

// scalarEnd steps over the indented lines that follow: the rest of a text of
// several lines, of a bracket, or a comment of the flag.
func scalarEnd(lines [][]byte, from int) int {
	end := from
	for i := from; i < len(lines); i++ {
		line := bytes.TrimRight(lines[i], "\r\n")
		switch {
		case len(bytes.TrimSpace(line)) == 0:
		case line[0] == ' ' || line[0] == '}' || line[0] == ']' || line[0] == '\t':
			end = i + 1
		default:
			return end
		}
	}
	return end
}

// yamlBlock writes a flag as a block of lines, in the order of the definition.
func yamlBlock(flag string, definition []byte) ([]byte, error) {
	var doc yaml.Node
	if err := yaml.Unmarshal(definition, &doc); err != nil { // JSON is YAML
		return nil, err
	}
	plain(&doc)
	key := &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: flag}
	var out bytes.Buffer
	enc := yaml.NewEncoder(&out)
	enc.SetIndent(2)
	err := enc.Encode(&yaml.Node{Kind: yaml.MappingNode, Tag: "!!map", Content: []*yaml.Node{key, doc.Content[0]}})
	return out.Bytes(), errors.Join(err, enc.Close())
}

// plain takes the brackets of JSON away.
func plain(n *yaml.Node) {
	n.Style = 0
	for _, c := range n.Content {
		plain(c)
	}
}
