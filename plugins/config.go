package plugins

import (
	"encoding/hex"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	promconfig "github.com/prometheus/common/config"
	"github.com/prometheus/common/model"

	"github.com/sreagent/sreagent/sre"
)

// Configs is the plugins section of the configuration file. The zero value has
// no plugin.
type Configs []Config

// Config is one plugin. A duration of zero is the default that DefaultConfig
// returns.
type Config struct {
	Name   string   `yaml:"name"`   // the lever's name in runbooks; the plugin must give the same
	Path   string   `yaml:"path"`   // of the binary, which only its owner may be able to write
	SHA256 string   `yaml:"sha256"` // of the binary, in hex; another binary is not started
	Args   []string `yaml:"args"`
	// Env names the variables of the daemon's environment that the plugin gets.
	// It gets no other.
	Env          []string       `yaml:"env"`
	Timeout      model.Duration `yaml:"timeout"`       // of one call, where the agent does not set less
	StartTimeout model.Duration `yaml:"start_timeout"` // from the start of the process to its description of itself
	PingInterval model.Duration `yaml:"ping_interval"`
	PingTimeout  model.Duration `yaml:"ping_timeout"` // the third ping in a row that is not answered ends the process
	Restart      RestartConfig  `yaml:"restart"`
}

// RestartConfig is how long to wait before a plugin that ended is started
// again: Initial, then twice as long after each failure, at most Max. A process
// that stays up for Max starts the count again.
type RestartConfig struct {
	Initial model.Duration `yaml:"initial"`
	Max     model.Duration `yaml:"max"`
}

// DefaultConfig returns the values that stand where a file gives none.
func DefaultConfig() Config {
	return Config{
		Timeout:      model.Duration(5 * time.Second),
		StartTimeout: model.Duration(10 * time.Second),
		PingInterval: model.Duration(5 * time.Second),
		PingTimeout:  model.Duration(2 * time.Second),
		Restart:      RestartConfig{Initial: model.Duration(time.Second), Max: model.Duration(time.Minute)},
	}
}

// durations are the fields that have a default, in the order of the file.
func (c *Config) durations() []durationField {
	return []durationField{
		{"timeout", &c.Timeout}, {"start_timeout", &c.StartTimeout},
		{"ping_interval", &c.PingInterval}, {"ping_timeout", &c.PingTimeout},
		{"restart.initial", &c.Restart.Initial}, {"restart.max", &c.Restart.Max},
	}
}

type durationField struct {
	path string
	v    *model.Duration
}

func (c Config) withDefaults() Config {
	standard := DefaultConfig()
	from := standard.durations()
	for i, d := range c.durations() {
		if *d.v == 0 {
			*d.v = *from[i].v
		}
	}
	return c
}

var (
	pluginName = regexp.MustCompile(`^[a-z][a-z0-9_-]{0,62}$`)
	envName    = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)
)

// Validate returns every fault of the section. It reads no file.
func (cs Configs) Validate() sre.Faults {
	var f sre.Faults
	seen := map[string]bool{}
	for i, c := range cs {
		path := sre.Item("", i)
		f.Under(path, c.validate())
		if c.Name != "" && seen[c.Name] {
			f.Add(path+".name", fmt.Sprintf("%q is taken by another plugin", c.Name), "a name of its own")
		}
		seen[c.Name] = true
	}
	return f
}

func (c Config) validate() sre.Faults {
	var f sre.Faults
	if !pluginName.MatchString(c.Name) {
		f.Add("name", fmt.Sprintf("%q is not a lever name", c.Name), pluginName.String())
	}
	if c.Path == "" {
		f.Add("path", "is empty", "the path of a binary")
	}
	if sum, err := hex.DecodeString(c.SHA256); err != nil || len(sum) != 32 {
		f.Add("sha256", fmt.Sprintf("%q is not a SHA-256", c.SHA256), "64 hexadecimal digits, as sha256sum or sreagent plugins check PATH prints them")
	}
	for i, name := range c.Env {
		switch {
		case !envName.MatchString(name):
			f.Add(sre.Item("env", i), fmt.Sprintf("%q is not the name of a variable", name), "a name such as KUBECONFIG; values come from the daemon's environment")
		case strings.HasPrefix(name, "PLUGIN_") || strings.HasPrefix(name, "SREAGENT_PLUGIN"):
			f.Add(sre.Item("env", i), name+" belongs to the handshake", "another name")
		case slices.Index(c.Env, name) < i:
			f.Add(sre.Item("env", i), name+" appears twice", "each name once")
		}
	}
	for i, arg := range c.Args {
		if strings.ContainsRune(arg, 0) {
			f.Add(sre.Item("args", i), "holds a zero byte", "text")
		}
	}
	full := c.withDefaults()
	for _, d := range full.durations() {
		if *d.v < model.Duration(time.Millisecond) || *d.v > model.Duration(time.Hour) {
			f.Add(d.path, d.v.String()+" is out of range", "1ms to 1h")
		}
	}
	if full.Restart.Initial > full.Restart.Max {
		f.Add("restart.initial", fmt.Sprintf("%s is longer than max, %s", full.Restart.Initial, full.Restart.Max), "at most restart.max")
	}
	return f
}

// SetDirectory makes relative paths relative to dir, the folder of the
// configuration file.
func (cs Configs) SetDirectory(dir string) {
	for i := range cs {
		cs[i].Path = promconfig.JoinDir(dir, cs[i].Path)
	}
}

// delay is how long to wait before the next start, after so many failures in a
// row. It has no jitter: one host starts its own plugins, and the same failures
// give the same times.
func (r RestartConfig) delay(failures int) time.Duration {
	d := time.Duration(r.Initial)
	for range failures - 1 {
		if d >= time.Duration(r.Max) {
			break
		}
		d *= 2
	}
	return min(d, time.Duration(r.Max))
}
