package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
	"github.com/prometheus/common/model"
	"github.com/sreagent/sreagent/guard"
)

// loadConfig reads a configuration file over the defaults. A key that is not
// known is an error, with its line and column.
func loadConfig(path string) (guard.Config, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return guard.Config{}, fmt.Errorf("read configuration: %w", err)
	}
	cfg, err := parseConfig(data)
	if err != nil {
		return guard.Config{}, inFile(path, err)
	}
	return cfg, nil
}

// inFile puts the file's name before each fault.
func inFile(path string, err error) error {
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		return fmt.Errorf("%s:%w", path, err)
	}
	var all []error
	for _, one := range joined.Unwrap() {
		all = append(all, fmt.Errorf("%s:%w", path, one))
	}
	return errors.Join(all...)
}

func parseConfig(data []byte) (guard.Config, error) {
	cfg := guard.DefaultConfig()
	dec := yaml.NewDecoder(bytes.NewReader(data), yaml.Strict())
	err := dec.Decode(&cfg)
	var at yaml.Error
	switch {
	case errors.As(err, &at) && at.GetToken() != nil:
		pos := at.GetToken().Position
		return guard.Config{}, fmt.Errorf("%d:%d: %s", pos.Line, pos.Column, at.GetMessage())
	case err != nil && !errors.Is(err, io.EOF):
		return guard.Config{}, placed(data, err)
	}
	if err := cfg.Validate(); err != nil {
		return guard.Config{}, located(data, err)
	}
	return cfg, nil
}

// located gives each fault of content the line and column of its key, or of the
// nearest key above one that is missing.
func located(data []byte, err error) error {
	joined, ok := err.(interface{ Unwrap() []error })
	file, parseErr := parser.ParseBytes(data, 0)
	if !ok || parseErr != nil || len(file.Docs) == 0 {
		return fmt.Errorf(" %w", err)
	}
	var all []error
	for _, one := range joined.Unwrap() {
		line, column := 1, 1
		if f := (*guard.Fault)(nil); errors.As(one, &f) {
			line, column = position(file, f.Path)
		}
		all = append(all, fmt.Errorf("%d:%d: %w", line, column, one))
	}
	return errors.Join(all...)
}

// position finds a key by its path, such as upstreams.ledger.backends[0].url.
func position(file *ast.File, path string) (line, column int) {
	line, column = 1, 1
	node := file.Docs[0].Body
	for _, step := range steps(path) {
		switch n := node.(type) {
		case *ast.MappingNode:
			i := slices.IndexFunc(n.Values, func(v *ast.MappingValueNode) bool { return v.Key.GetToken().Value == step })
			if i < 0 {
				return line, column
			}
			at := n.Values[i].Key.GetToken().Position
			line, column, node = at.Line, at.Column, n.Values[i].Value
		case *ast.SequenceNode:
			i, err := strconv.Atoi(step)
			if err != nil || i < 0 || i >= len(n.Values) {
				return line, column
			}
			node = n.Values[i]
			line, column = node.GetToken().Position.Line, node.GetToken().Position.Column
		default:
			return line, column
		}
	}
	return line, column
}

func steps(path string) []string {
	return strings.Split(strings.NewReplacer("[", ".", "]", "").Replace(path), ".")
}

// placed gives a fault its line and column where the decoder did not: it loses
// the place of a value that decodes itself, which here only durations do.
func placed(data []byte, err error) error {
	file, parseErr := parser.ParseBytes(data, 0)
	if parseErr != nil {
		return fmt.Errorf(" %w", err)
	}
	v := &durationVisitor{}
	for _, doc := range file.Docs {
		ast.Walk(v, doc)
	}
	if v.fault != nil {
		return v.fault
	}
	return fmt.Errorf(" %w", err)
}

var durationKeys = map[string]bool{"timeout": true, "every": true, "backoff": true, "open": true, "window": true,
	"max_open": true, "slow_start": true, "interval": true,
}

// durationVisitor finds the first duration that cannot be read.
type durationVisitor struct {
	fault error
}

// Visit looks at one node of the file.
func (v *durationVisitor) Visit(n ast.Node) ast.Visitor {
	kv, ok := n.(*ast.MappingValueNode)
	if !ok || v.fault != nil || !durationKeys[kv.Key.GetToken().Value] {
		return v
	}
	at := kv.Value.GetToken()
	if _, err := model.ParseDuration(at.Value); err != nil {
		v.fault = fmt.Errorf("%d:%d: %s is %q; allowed: a duration such as 250ms, 5s or 1m",
			at.Position.Line, at.Position.Column, kv.Key.GetToken().Value, at.Value)
	}
	return v
}
