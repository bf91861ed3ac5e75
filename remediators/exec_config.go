package remediators

import (
	"encoding/hex"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/common/model"

	"github.com/sreagent/sreagent/sre"
)

// The defaults of a command.
const (
	defaultExecTimeout = 10 * time.Second
	defaultExecOutput  = 64 << 10
	maxExecOutput      = 1 << 20
)

// ExecConfig is one program that may be run, with a fixed form for each of its
// uses. There is no shell.
type ExecConfig struct {
	Name      string            `yaml:"name"` // lever name that targets use
	Schema    SchemaConfig      `yaml:"schema"`
	Dir       string            `yaml:"dir"`        // working directory; empty means /
	Env       map[string]string `yaml:"env"`        // the whole environment of the program
	Timeout   model.Duration    `yaml:"timeout"`    // of one run; 0 means 10s
	MaxOutput int               `yaml:"max_output"` // bytes kept of each stream, from its end; 0 means 64 KiB
	ExitCodes ExecExitCodes     `yaml:"exit_codes"`
	Apply     ExecCommand       `yaml:"apply"`
	Revert    *ExecCommand      `yaml:"revert"` // without one the action cannot be undone
	// Probe prints JSON as {"current": {"param": value}, "epoch": 7, "detail": "words"};
	// without one the ledger stands for the state.
	Probe *ExecCommand `yaml:"probe"`
}

// ExecCommand is one form of the program's command line.
type ExecCommand struct {
	// Argv starts with an absolute path. An argument is either literal or one
	// placeholder: {id} {service} {callee} {name} {epoch} {seq} {expires}
	// {params.x} {restore.x}.
	Argv []string `yaml:"argv"`
	// SHA256 is the checksum of the program in hexadecimal; empty checks none.
	SHA256 string `yaml:"sha256"`
}

// ExecExitCodes are the exit codes with a meaning; 0 is success and every other
// one is unknown.
type ExecExitCodes struct {
	Invalid []int `yaml:"invalid"` // the request makes no sense; nothing was touched
	Refused []int `yaml:"refused"` // the target said no; nothing was touched
	Failed  []int `yaml:"failed"`  // it was tried and did not take effect
}

var (
	placeholder     = regexp.MustCompile(`^\{([a-z]+)(?:\.([a-z][a-z0-9_]{0,62}))?\}$`)
	environmentName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)
	plainHolders    = []string{"id", "service", "callee", "name", "epoch", "seq", "expires"}
)

func (c ExecConfig) timeout() time.Duration {
	if c.Timeout == 0 {
		return defaultExecTimeout
	}
	return time.Duration(c.Timeout)
}

func (c ExecConfig) maxOutput() int {
	if c.MaxOutput == 0 {
		return defaultExecOutput
	}
	return c.MaxOutput
}

func (c ExecConfig) validate() sre.Faults {
	var f sre.Faults
	f.Under("schema", c.Schema.validate())
	if c.Dir != "" && !filepath.IsAbs(c.Dir) {
		f.Add("dir", "is not an absolute path", "a folder such as /var/empty")
	}
	for _, name := range sortedKeys(c.Env) {
		if !environmentName.MatchString(name) || strings.ContainsRune(c.Env[name], 0) {
			f.Add("env."+name, "is not a variable", environmentName.String())
		}
	}
	if c.Timeout < 0 {
		f.Add("timeout", "is negative", "a duration such as 10s")
	}
	if c.MaxOutput < 0 || c.MaxOutput > maxExecOutput {
		f.Add("max_output", "is out of range", "1 to 1048576 bytes")
	}
	f.Under("exit_codes", c.ExitCodes.validate())
	f.Under("apply", c.Apply.validate(c.Schema, true))
	if c.Revert != nil {
		f.Under("revert", c.Revert.validate(c.Schema, c.Probe != nil))
	}
	if c.Probe != nil {
		f.Under("probe", c.Probe.validate(c.Schema, false))
	}
	return f
}

func (c ExecExitCodes) validate() sre.Faults {
	var f sre.Faults
	seen := map[int]bool{0: true}
	check := func(path string, codes []int) {
		for i, code := range codes {
			switch {
			case code < 0 || code > 125:
				f.Add(sre.Item(path, i), "is no exit code of a program", "1 to 125")
			case seen[code]:
				f.Add(sre.Item(path, i), "has a meaning already", "a code of its own; 0 is success")
			}
			seen[code] = true
		}
	}
	check("invalid", c.Invalid)
	check("refused", c.Refused)
	check("failed", c.Failed)
	return f
}

// validate checks one form; restorable tells whether {restore.x} has a source.
func (c ExecCommand) validate(s SchemaConfig, restorable bool) sre.Faults {
	var f sre.Faults
	if len(c.Argv) == 0 || !filepath.IsAbs(c.Argv[0]) || filepath.Clean(c.Argv[0]) != c.Argv[0] {
		f.Add("argv", "does not start with an absolute path", "such as /usr/local/bin/tool, and no ..")
	}
	for i, arg := range c.Argv {
		path := sre.Item("argv", i)
		m := placeholder.FindStringSubmatch(arg)
		switch {
		case strings.ContainsRune(arg, 0):
			f.Add(path, "holds a zero byte", "text")
		case m == nil && i > 0 && strings.Contains(arg, "{") && strings.Contains(arg, "}"):
			f.Add(path, "mixes a placeholder with text", "a placeholder is a whole argument, such as {service}")
		case m == nil:
		case m[2] == "" && !slices.Contains(plainHolders, m[1]), m[2] != "" && m[1] != "params" && m[1] != "restore":
			f.Add(path, "is no placeholder", "{"+strings.Join(plainHolders, "}, {")+"}, {params.x} or {restore.x}")
		case m[2] != "" && !slices.ContainsFunc(s.Params, func(p ParamConfig) bool { return p.Name == m[2] }):
			f.Add(path, "names no parameter of the schema", "the parameters of the schema")
		case m[1] == "restore" && !restorable:
			f.Add(path, "asks for a pre-state that nothing reads", "a probe beside it")
		}
	}
	if b, err := hex.DecodeString(c.SHA256); err != nil || len(b) != 0 && len(b) != 32 {
		f.Add("sha256", "is not a checksum", "64 hexadecimal digits")
	}
	return f
}
