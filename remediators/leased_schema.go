package remediators

import (
	"encoding/json"
	"math"
	"regexp"
	"slices"
	"strings"

	"github.com/sreagent/sreagent/sre"
)

// actionID is what an action ID may be for a webhook or a command: it becomes a
// header and an argument.
var actionID = regexp.MustCompile(`^[A-Za-z0-9][!-~]{0,254}$`)

var paramName = regexp.MustCompile(`^[a-z][a-z0-9_]{0,62}$`)

// SchemaConfig says what a webhook or a command moves.
type SchemaConfig struct {
	Kind     sre.ActionKind `yaml:"kind"`
	Services []string       `yaml:"services"` // that may be moved; empty for any
	Edge     bool           `yaml:"edge"`     // the target needs a callee
	Params   []ParamConfig  `yaml:"params"`
	// TTL says that the target lets the setting lapse by itself at the expiry
	// that it is told. Renewals are then sent on; else only the ledger extends.
	TTL bool `yaml:"ttl"`
}

// ParamConfig is the schema of one parameter.
type ParamConfig struct {
	Name     string  `yaml:"name"`
	Type     string  `yaml:"type"` // number, string, bool
	Required bool    `yaml:"required"`
	Min      float64 `yaml:"min"` // numbers only
	Max      float64 `yaml:"max"` // numbers only
	Unit     string  `yaml:"unit"`
	Help     string  `yaml:"help"`
	// Pattern is a regular expression that a string has to match as a whole;
	// empty allows letters, digits and _.:/@+- up to 255 characters.
	Pattern string `yaml:"pattern"`
}

func (c SchemaConfig) validate() sre.Faults {
	var f sre.Faults
	if !c.Kind.Valid() {
		f.Add("kind", "is not an action kind", joinKinds())
	}
	for i, s := range c.Services {
		if !serviceName.MatchString(s) {
			f.Add(sre.Item("services", i), "is not a service name", serviceName.String())
		}
	}
	seen := map[string]bool{}
	for i, p := range c.Params {
		path := sre.Item("params", i)
		f.Under(path, p.validate())
		if seen[p.Name] {
			f.Add(path+".name", "appears twice", "a name of its own")
		}
		seen[p.Name] = true
	}
	return f
}

func joinKinds() string {
	var names []string
	for _, k := range sre.ActionKinds() {
		names = append(names, string(k))
	}
	return strings.Join(names, ", ")
}

func (c ParamConfig) validate() sre.Faults {
	var f sre.Faults
	if !paramName.MatchString(c.Name) {
		f.Add("name", "is not a parameter name", paramName.String())
	}
	switch c.Type {
	case "number":
		if !(c.Min < c.Max) || math.IsInf(c.Min, 0) || math.IsInf(c.Max, 0) {
			f.Add("max", "is not above min", "a range with both ends")
		}
		if c.Unit == "" && c.Help == "" {
			f.Add("unit", "is empty", "a unit, or a help that says what the number means")
		}
	case "string", "bool":
	default:
		f.Add("type", "is not a type", "number, string or bool")
	}
	if c.Pattern != "" && c.Type != "string" {
		f.Add("pattern", "stands beside a type that takes none", "a pattern for a string")
	}
	if _, err := c.compile(); err != nil {
		f.Add("pattern", "is not a regular expression: "+err.Error(), "RE2 syntax")
	}
	return f
}

// compile returns the pattern for the whole of a string.
func (c ParamConfig) compile() (*regexp.Regexp, error) {
	if c.Pattern == "" {
		return proxyWord, nil
	}
	if _, err := regexp.Compile(c.Pattern); err != nil {
		return nil, err // as a)|(b, which by itself is none and would leave the group
	}
	return regexp.Compile(`^(?:` + c.Pattern + `)$`)
}

// schema holds actions and answers against a SchemaConfig that is valid.
type schema struct {
	SchemaConfig
	spec     sre.KindSpec
	patterns map[string]*regexp.Regexp
}

func newSchema(c SchemaConfig, reversible bool) schema {
	s := schema{SchemaConfig: c, patterns: map[string]*regexp.Regexp{}}
	s.spec = sre.KindSpec{Kind: c.Kind, Reversible: reversible, TTL: c.TTL, Edge: c.Edge}
	for _, p := range c.Params {
		s.spec.Params = append(s.spec.Params, sre.ParamSpec{
			Name: p.Name, Type: p.Type, Required: p.Required, Min: p.Min, Max: p.Max, Unit: p.Unit, Help: p.Help,
		})
		if re, err := p.compile(); err == nil && p.Type == "string" {
			s.patterns[p.Name] = re
		}
	}
	return s
}

// checkTarget reports whether the action is for this lever at all.
func (s schema) checkTarget(a sre.Action) error {
	t := a.Target
	switch {
	case a.Kind != s.Kind:
		return sre.Invalidf("this lever cannot %s, it is for %s", a.Kind, s.Kind)
	case !actionID.MatchString(a.ID):
		return sre.Invalidf("action id %q is not of the form %s", a.ID, actionID)
	case !serviceName.MatchString(t.Service) || len(s.Services) > 0 && !slices.Contains(s.Services, t.Service):
		return sre.Invalidf("service %q is not among those that may be moved", t.Service)
	case s.Edge && !serviceName.MatchString(t.Callee):
		return sre.Invalidf("%s needs a callee, not %q", a.Kind, t.Callee)
	case !s.Edge && t.Callee != "":
		return sre.Invalidf("%s takes no callee", a.Kind)
	case t.Name != "" && !serviceName.MatchString(t.Name):
		return sre.Invalidf("target name %q is not of the form %s", t.Name, serviceName)
	}
	return nil
}

func (s schema) check(a sre.Action) error {
	if err := s.checkTarget(a); err != nil {
		return err
	}
	if err := s.spec.Check(a.Params); err != nil {
		return err
	}
	return s.checkText(a.Params)
}

// checkText holds strings against their patterns.
func (s schema) checkText(p sre.Params) error {
	for _, spec := range s.spec.Params {
		text, ok := p.Text(spec.Name)
		if ok && !s.patterns[spec.Name].MatchString(text) {
			return sre.Invalidf("%s: parameter %q is %q, want %s", s.Kind, spec.Name, text, s.patterns[spec.Name])
		}
	}
	return nil
}

// read takes the parameters that the schema knows out of what a target says.
// They may lie outside the bounds for actions, but not be of another type:
// they are what a revert sends back.
func (s schema) read(p sre.Params) (sre.Params, error) {
	out := sre.Params{}
	for _, spec := range s.spec.Params {
		v, given := p[spec.Name]
		if !given || v == nil {
			continue
		}
		wide := sre.KindSpec{Kind: s.Kind, Params: []sre.ParamSpec{{Name: spec.Name, Type: spec.Type, Min: -math.MaxFloat64, Max: math.MaxFloat64}}}
		one := sre.Params{spec.Name: v}
		if err := wide.Check(one); err != nil {
			return nil, err
		}
		if err := s.checkText(one); err != nil {
			return nil, err
		}
		out[spec.Name] = v
	}
	return out, nil
}

// encodeParams writes parameters as settings of a ledger, each value as JSON.
func encodeParams(p sre.Params) settings {
	out := settings{}
	for name, v := range p {
		if f, ok := p.Float(name); ok {
			v = f // one spelling for every type of number
		}
		if b, err := json.Marshal(v); err == nil {
			out[name] = string(b)
		}
	}
	return out
}

// decodeParams reads settings that encodeParams has written.
func decodeParams(s settings) sre.Params {
	out := sre.Params{}
	for name, text := range s {
		var v any
		if err := json.Unmarshal([]byte(text), &v); err == nil && v != nil {
			out[name] = v
		}
	}
	return out
}
