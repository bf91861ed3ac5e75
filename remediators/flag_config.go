package remediators

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	promconfig "github.com/prometheus/common/config"
	"github.com/prometheus/common/model"

	"github.com/sreagent/sreagent/sre"
)

// The flag systems that a lever of flags can move.
const (
	flagdFormat   = "flagd"   // a file that flagd, or an OpenFeature provider of it, reads
	goffFormat    = "goff"    // a file that GO Feature Flag or its relay proxy reads
	unleashFormat = "unleash" // the admin API of an Unleash server
)

// FlagsConfig is one feature flag system. Which of its flags may be moved says
// the tree of kill switches.
type FlagsConfig struct {
	Name   string `yaml:"name"`   // lever name that targets use
	Format string `yaml:"format"` // flagd, goff or unleash
	// File is the flag file of flagd (JSON) or GO Feature Flag (JSON or YAML,
	// by its ending). The folder has to be writable: files are replaced whole.
	File string `yaml:"file"`
	// URL, Project and Environment say where the flags of Unleash are.
	URL         string                      `yaml:"url"`
	Project     string                      `yaml:"project"` // empty is default
	Environment string                      `yaml:"environment"`
	TokenFile   string                      `yaml:"token_file"` // admin API token, read again at each request
	HTTP        promconfig.HTTPClientConfig `yaml:"http_config"`
	Timeout     model.Duration              `yaml:"timeout"` // of one request; 0 is 1s
	// BucketBy is the attribute of the evaluation context by which flagd puts
	// keys into shares; empty is the targeting key.
	BucketBy string `yaml:"bucket_by"`
	// CohortKey is the attribute that holds a user's cohort; empty is cohort.
	CohortKey string `yaml:"cohort_key"`
	// MaxScope is the widest scope that the agent may switch off by itself;
	// empty is feature. What is wider takes a person who approves or orders it.
	MaxScope Scope       `yaml:"max_scope"`
	Drill    DrillConfig `yaml:"drill"`
}

// DrillConfig says how kill switches are rehearsed without users.
type DrillConfig struct {
	Cohort string `yaml:"cohort"` // a cohort that has no users; without one a drill only computes
	Key    string `yaml:"key"`    // targeting key of the evaluation that has to see the flip
	Reader string `yaml:"reader"` // base URL of an OFREP server that reads the same flags
}

func (c FlagsConfig) cohortKey() string {
	if c.CohortKey == "" {
		return "cohort"
	}
	return c.CohortKey
}

func (c FlagsConfig) maxScope() Scope {
	if c.MaxScope == "" {
		return FeatureScope
	}
	return c.MaxScope
}

func (c FlagsConfig) project() string {
	if c.Project == "" {
		return "default"
	}
	return c.Project
}

func (c FlagsConfig) validate() sre.Faults {
	var f sre.Faults
	if !leverName.MatchString(c.Name) {
		f.Add("name", "is not a lever name", leverName.String())
	}
	switch c.Format {
	case flagdFormat, goffFormat:
		if c.File == "" {
			f.Add("file", "is empty", "the flag file")
		}
		ends := []string{".json"}
		if c.Format == goffFormat {
			ends = []string{".json", ".yaml", ".yml"}
		}
		if c.File != "" && !slices.Contains(ends, filepath.Ext(c.File)) {
			f.Add("file", fmt.Sprintf("ends with %q", filepath.Ext(c.File)), strings.Join(ends, ", "))
		}
		if c.URL != "" {
			f.Add("url", "does not belong to the format "+c.Format, "file")
		}
	case unleashFormat:
		if !validURL(c.URL) {
			f.Add("url", "is not the URL of an Unleash server", "http://host:port or https://host:port")
		}
		if c.Environment == "" {
			f.Add("environment", "is empty", "an environment of the Unleash server, such as production")
		}
		if c.File != "" {
			f.Add("file", "does not belong to the format unleash", "url")
		}
		if c.Drill.Cohort != "" {
			f.Add("drill.cohort", "cannot be left out of an Unleash strategy", "empty: a drill then only computes")
		}
	default:
		f.Add("format", fmt.Sprintf("%q is unknown", c.Format), "flagd, goff, unleash")
	}
	if c.Timeout < 0 {
		f.Add("timeout", "is negative", "a duration such as 1s")
	}
	if c.MaxScope != "" && c.MaxScope.reach() < ProductScope.reach() {
		f.Add("max_scope", fmt.Sprintf("%q", c.MaxScope), "product, feature or cohort: a platform always needs a person")
	}
	if c.Drill.Reader != "" && (!validURL(c.Drill.Reader) || c.Drill.Key == "") {
		f.Add("drill.reader", "is not a URL, or there is no drill.key", "http://host:port of an OFREP server, and a key")
	}
	http := c.HTTP // Validate moves fields about
	if err := http.Validate(); err != nil {
		f.Add("http_config", err.Error(), "")
	}
	return f
}

// validateFlags returns the faults of the flag systems and of the tree; taken
// are the lever names of the other sections.
func (c Config) validateFlags(taken map[string]bool) sre.Faults {
	var f sre.Faults
	if len(c.Flags) > 0 && c.StateDir == "" {
		f.Add("state_dir", "is empty", "a folder for the locks of the flag levers")
	}
	levers := map[string]bool{guardName: true}
	for i, l := range c.Flags {
		path := sre.Item("flags", i)
		f.Under(path, l.validate())
		if taken[l.Name] || levers[l.Name] {
			f.Add(path+".name", "is taken by another lever", "a name of its own")
		}
		levers[l.Name] = true
	}
	f.Under("kill_switches", c.KillSwitches.validate(levers))
	return f
}
