package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"

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
		return guard.Config{}, fmt.Errorf("%s:%w", path, err)
	}
	return cfg, nil
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
		return guard.Config{}, fmt.Errorf(" %w", err)
	}
	return cfg, nil
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

var durationKeys = map[string]bool{"timeout": true, "every": true, "backoff": true, "open": true, "window": true}

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
