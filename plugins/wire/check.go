package wire

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	pb "github.com/sreagent/sreagent/plugins/proto"
	"github.com/sreagent/sreagent/sre"
)

// MaxMessage is the largest message in bytes that either end takes. An honest
// one has a few hundred.
const MaxMessage = 1 << 20

// The limits on what a plugin may answer. Names go to metrics, records and
// prompts, so they are refused where they are too long; texts are cut.
const (
	maxName    = 253 // bytes of a name, an ID or a text setting's name
	maxText    = 1024
	maxParams  = 64
	maxTargets = 10_000
	maxSetting = 4096 // bytes of a text setting

	maxCommands = 16 << 10 // bytes of the commands of Manual
)

// fault is an answer or a request that breaks the protocol.
type fault struct{ text string }

func (f *fault) Error() string { return f.text }

func faultf(format string, args ...any) error { return &fault{fmt.Sprintf(format, args...)} }

// Clean makes text from another program fit for logs, records and terminals: no
// control characters, no line ends, at most limit bytes.
func Clean(s string, limit int) string {
	s = strings.Map(func(r rune) rune {
		switch {
		case unicode.IsSpace(r):
			return ' '
		case !unicode.IsPrint(r):
			return -1
		}
		return r
	}, s)
	if len(s) <= limit {
		return s
	}
	s = s[:limit]
	for !utf8.ValidString(s) {
		s = s[:len(s)-1]
	}
	return s + "..."
}

// checkName reports whether s may stand as a name: printable and not too long.
func checkName(what, s string) error {
	if len(s) > maxName || Clean(s, maxName) != s {
		return faultf("%s %q is too long or has characters that a name cannot have", what, Clean(s, 64))
	}
	return nil
}

// checkCommands takes commands whole or not at all: half a command is another
// command, and so is one whose escape sequences a terminal hides.
func checkCommands(text string) (string, error) {
	if len(text) > maxCommands {
		return "", faultf("the commands have %d bytes, at most %d are taken", len(text), maxCommands)
	}
	for _, r := range text {
		if r == utf8.RuneError || r != '\n' && r != '\t' && !unicode.IsPrint(r) {
			return "", faultf("the commands hold the character %q, which a terminal would not show", r)
		}
	}
	return text, nil
}

func decodeSettings(what string, p *pb.Params) (sre.Params, error) {
	if n := len(p.GetValues()); n > maxParams {
		return nil, faultf("%s holds %d settings, at most %d are taken", what, n, maxParams)
	}
	params, err := decodeParams(p)
	if err != nil {
		return nil, faultf("%s: %v", what, err)
	}
	for name, v := range params {
		if err := checkName("a setting", name); err != nil {
			return nil, err
		}
		if text, ok := v.(string); ok && len(text) > maxSetting {
			return nil, faultf("%s: setting %q has %d bytes, at most %d are taken", what, name, len(text), maxSetting)
		}
	}
	return params, nil
}

// decodeState reads an answer to Probe about the action with the given ID. One
// that contradicts itself is not taken: the agent would verify a cure by it.
func decodeState(s *pb.TargetState, id string) (sre.TargetState, error) {
	if s == nil {
		return sre.TargetState{}, faultf("the answer has neither a state nor an error")
	}
	current, err := decodeSettings("current", s.GetCurrent())
	if err != nil {
		return sre.TargetState{}, err
	}
	standard, err := decodeSettings("default", s.GetDefault())
	if err != nil {
		return sre.TargetState{}, err
	}
	expires, err := decodeTime(s.GetExpires())
	if err != nil {
		return sre.TargetState{}, err
	}
	if err := checkName("the owner", s.GetOwner()); err != nil {
		return sre.TargetState{}, err
	}
	out := sre.TargetState{
		InEffect: s.GetInEffect(), Current: current, Default: standard, Owner: s.GetOwner(), Foreign: s.GetForeign(),
		Epoch: s.GetEpoch(), Expires: expires, Detail: Clean(s.GetDetail(), maxText),
	}
	switch {
	case out.InEffect && out.Foreign:
		return sre.TargetState{}, faultf("it says that the action holds, and that somebody else moved the target")
	case out.InEffect && out.Owner != "" && out.Owner != id:
		return sre.TargetState{}, faultf("it says that the action holds, and that %s owns the target", out.Owner)
	}
	return out, nil
}

// decodeCapability reads an answer to Describe.
func decodeCapability(c *pb.Capability) (sre.Capability, error) {
	switch {
	case c == nil:
		return sre.Capability{}, faultf("the answer has neither a capability nor an error")
	case c.GetName() == "":
		return sre.Capability{}, faultf("it gives no name")
	case len(c.GetKinds()) == 0:
		return sre.Capability{}, faultf("it names no kind of action")
	case len(c.GetPerson()) > maxTargets:
		return sre.Capability{}, faultf("it names %d targets that take a person, at most %d are taken", len(c.GetPerson()), maxTargets)
	case len(c.GetTargets()) > maxTargets:
		return sre.Capability{}, faultf("it names %d targets, at most %d are taken", len(c.GetTargets()), maxTargets)
	}
	for _, name := range slices.Concat([]string{c.GetName(), c.GetVersion()}, c.GetTargets(), c.GetPerson()) {
		if err := checkName("the name", name); err != nil {
			return sre.Capability{}, err
		}
	}
	out := sre.Capability{Name: c.GetName(), Version: c.GetVersion(), Targets: c.GetTargets(), Person: c.GetPerson()}
	for _, k := range c.GetKinds() {
		kind := sre.ActionKind(k.GetKind())
		if !kind.Valid() {
			return sre.Capability{}, faultf("it names the kind %q; allowed: %v", Clean(k.GetKind(), 64), sre.ActionKinds())
		}
		if _, twice := out.Kind(kind); twice {
			return sre.Capability{}, faultf("it names the kind %s twice", kind)
		}
		params, err := decodeSpecs(kind, k.GetParams())
		if err != nil {
			return sre.Capability{}, err
		}
		out.Kinds = append(out.Kinds, sre.KindSpec{Kind: kind, Reversible: k.GetReversible(), TTL: k.GetTtl(), Edge: k.GetEdge(), Params: params})
	}
	return out, nil
}

func decodeSpecs(kind sre.ActionKind, specs []*pb.ParamSpec) ([]sre.ParamSpec, error) {
	if len(specs) > maxParams {
		return nil, faultf("%s has %d parameters, at most %d are taken", kind, len(specs), maxParams)
	}
	var out []sre.ParamSpec
	seen := map[string]bool{}
	for _, p := range specs {
		name := p.GetName()
		if err := checkName("the parameter", name); err != nil {
			return nil, err
		}
		switch {
		case name == "" || seen[name]:
			return nil, faultf("%s has a parameter %q that is unnamed or named twice", kind, name)
		case !slices.Contains([]string{"number", "string", "bool"}, p.GetType()):
			return nil, faultf("%s: parameter %q is a %q; allowed: number, string, bool", kind, name, Clean(p.GetType(), 64))
		case !finite(p.GetMin()) || !finite(p.GetMax()) || p.GetMin() > p.GetMax():
			return nil, faultf("%s: parameter %q goes from %v to %v", kind, name, p.GetMin(), p.GetMax())
		}
		seen[name] = true
		out = append(out, sre.ParamSpec{
			Name: name, Type: p.GetType(), Required: p.GetRequired(), Min: p.GetMin(), Max: p.GetMax(),
			Unit: Clean(p.GetUnit(), 64), Help: Clean(p.GetHelp(), maxText),
		})
	}
	return out, nil
}

func finite(v float64) bool { return !math.IsNaN(v) && !math.IsInf(v, 0) }
