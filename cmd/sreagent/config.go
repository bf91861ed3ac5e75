package main

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"time"

	"github.com/prometheus/common/model"

	"github.com/sreagent/sreagent/agent"
	"github.com/sreagent/sreagent/agent/control"
	"github.com/sreagent/sreagent/agent/gate"
	"github.com/sreagent/sreagent/audit"
	"github.com/sreagent/sreagent/detectors"
	"github.com/sreagent/sreagent/diagnosis"
	"github.com/sreagent/sreagent/learner"
	"github.com/sreagent/sreagent/oncall"
	"github.com/sreagent/sreagent/plugins"
	"github.com/sreagent/sreagent/remediators"
	"github.com/sreagent/sreagent/runbooks"
	"github.com/sreagent/sreagent/sources"
	"github.com/sreagent/sreagent/sre"
)

// config is the configuration file. Each section belongs to the package that
// it configures; this type only composes them.
type config struct {
	Interval       model.Duration `yaml:"interval"`
	sources.Config `yaml:",inline"`
	Detection      detectionConfig    `yaml:"detection"`
	Runbooks       runbooksConfig     `yaml:"runbooks"`
	Policy         policyConfig       `yaml:"policy"`
	Remediators    remediators.Config `yaml:"remediators"`
	Plugins        plugins.Configs    `yaml:"plugins"`
	Oncall         oncall.Config      `yaml:"oncall"`
	Audit          audit.Config       `yaml:"audit"`
}

type detectionConfig struct {
	detectors.Config `yaml:",inline"`
	Diagnosis        diagnosis.Config `yaml:"diagnosis"`
	// StateFile keeps the baselines across restarts of the daemon; empty for none.
	StateFile string `yaml:"state_file"`
}

type runbooksConfig struct {
	// Dir holds the users' own runbooks; one with the name of a shipped one
	// replaces it.
	Dir string `yaml:"dir"`
	// Shipped says whether the shipped library is used.
	Shipped bool `yaml:"shipped"`
	// Confidence is how outcomes become confidence.
	Confidence learner.Config `yaml:"confidence"`
}

type policyConfig struct {
	gate.Policy `yaml:",inline"`
	Timing      timingConfig `yaml:"timing"`
}

// timingConfig is agent.Timing as it stands in the file.
type timingConfig struct {
	SuspectFor   model.Duration `yaml:"suspect_for"`
	SubsideAfter model.Duration `yaml:"subside_after"`
	CloseAfter   model.Duration `yaml:"close_after"`
	EscalatedFor model.Duration `yaml:"escalated_for"`
	LeverTimeout model.Duration `yaml:"lever_timeout"`
	UndoAttempts int            `yaml:"undo_attempts"`
	UnknownTicks int            `yaml:"unknown_ticks"`
}

func defaultConfig() config {
	t := agent.DefaultTiming()
	return config{
		Interval: model.Duration(10 * time.Second),
		Config:   sources.DefaultConfig(),
		Detection: detectionConfig{
			Config: detectors.DefaultConfig(), Diagnosis: diagnosis.DefaultConfig(), StateFile: "data/baselines",
		},
		Runbooks: runbooksConfig{Shipped: true, Confidence: learner.DefaultConfig()},
		Policy: policyConfig{Policy: gate.DefaultPolicy(), Timing: timingConfig{
			SuspectFor: model.Duration(t.SuspectFor), SubsideAfter: model.Duration(t.SubsideAfter),
			CloseAfter: model.Duration(t.CloseAfter), EscalatedFor: model.Duration(t.EscalatedFor),
			LeverTimeout: model.Duration(t.Lever), UndoAttempts: t.UndoAttempts, UnknownTicks: t.ReapplyProbe,
		}},
		Remediators: remediators.DefaultConfig(),
		Oncall:      oncall.DefaultConfig(),
		Audit:       audit.DefaultConfig(),
	}
}

func (t timingConfig) timing() agent.Timing {
	return agent.Timing{
		SuspectFor: time.Duration(t.SuspectFor), SubsideAfter: time.Duration(t.SubsideAfter),
		CloseAfter: time.Duration(t.CloseAfter), EscalatedFor: time.Duration(t.EscalatedFor),
		Lever: time.Duration(t.LeverTimeout), UndoAttempts: t.UndoAttempts, ReapplyProbe: t.UnknownTicks,
	}
}

func (t timingConfig) validate() sre.Faults {
	var f sre.Faults
	for _, d := range []struct {
		path string
		v    model.Duration
	}{
		{"suspect_for", t.SuspectFor},
		{"subside_after", t.SubsideAfter},
		{"close_after", t.CloseAfter},
		{"escalated_for", t.EscalatedFor},
		{"lever_timeout", t.LeverTimeout},
	} {
		if d.v <= 0 {
			f.Add(d.path, fmt.Sprintf("%s is not positive", d.v), "a duration above 0, such as 20s")
		}
	}
	if t.UndoAttempts < 1 || t.UndoAttempts > 100 {
		f.Add("undo_attempts", fmt.Sprintf("%d attempts", t.UndoAttempts), "1 to 100")
	}
	if t.UnknownTicks < 1 || t.UnknownTicks > 100 {
		f.Add("unknown_ticks", fmt.Sprintf("%d ticks", t.UnknownTicks), "1 to 100")
	}
	return f
}

// validate returns what is wrong, by YAML path.
func (c config) validate() sre.Faults {
	var f sre.Faults
	if c.Interval < model.Duration(time.Second) || c.Interval > model.Duration(10*time.Minute) {
		f.Add("interval", fmt.Sprintf("%s between ticks", c.Interval), "1s to 10m")
	} else if c.Policy.Timing.LeverTimeout > c.Interval {
		f.Add("policy.timing.lever_timeout", fmt.Sprintf("%s is longer than the interval %s", c.Policy.Timing.LeverTimeout, c.Interval), "at most the interval")
	}
	f.Under("", c.Config.Validate())
	f.Under("detection", c.Detection.Config.Validate())
	f.Under("detection.diagnosis", c.Detection.Diagnosis.Validate())
	f.Under("runbooks.confidence", c.Runbooks.Confidence.Validate())
	if !c.Runbooks.Shipped && c.Runbooks.Dir == "" {
		f.Add("runbooks", "no runbooks at all", "shipped: true, or a dir")
	}
	f.Under("policy", c.Policy.Policy.Validate())
	f.Under("policy.arbitration.pace", c.Policy.Arbitration.Pace.Validate(time.Duration(c.Interval), time.Duration(c.Runbooks.Confidence.HalfLife)))
	f.Under("policy.timing", c.Policy.Timing.validate())
	f.Under("remediators", c.Remediators.Validate())
	f.Under("plugins", c.validatePlugins())
	f.Under("oncall", c.Oncall.Validate())
	f.Under("audit", c.Audit.Validate())
	return f
}

// loaded is a configuration file that is whole: parsed, checked, and its
// runbooks read.
type loaded struct {
	config
	digest   string
	library  *runbooks.Library
	sections map[string]any // the file as it was read, by section
}

// needRestart names the sections that differ from those that the agent was
// started with and that a reload does not take over.
func (c *loaded) needRestart(started *loaded) []string {
	var out []string
	fixed := func(sections map[string]any, name string) any {
		section, ok := sections[name].(map[string]any)
		if !ok {
			return sections[name]
		}
		section = maps.Clone(section)
		switch name {
		case "policy":
			clear(section)
		case "runbooks":
			maps.DeleteFunc(section, func(key string, _ any) bool { return key != "confidence" })
		case "oncall":
			delete(section, "tokens_file")
		}
		if len(section) == 0 {
			return nil
		}
		return section
	}
	for name := range fields(reflect.TypeFor[config]()) {
		if !reflect.DeepEqual(fixed(c.sections, name), fixed(started.sections, name)) {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return out
}

// loadConfig reads and checks everything that the file names, and changes
// nothing.
func loadConfig(path string) (*loaded, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read configuration: %w", err)
	}
	cfg := defaultConfig()
	file, err := decodeLocated(path, text, &cfg)
	if err != nil {
		return nil, err
	}
	if err := file.place(cfg.validate()); err != nil {
		return nil, err
	}
	cfg.setDirectory(filepath.Dir(path))
	library, err := loadRunbooks(cfg.Runbooks)
	if err != nil {
		return nil, err
	}
	levers, err := remediators.Capabilities(cfg.Remediators)
	if err != nil {
		return nil, err
	}
	if err := library.CheckLevers(levers); err != nil {
		return nil, fmt.Errorf("runbooks: %w", err)
	}
	sections := map[string]any{}
	if err := file.root.Decode(&sections); err != nil {
		return nil, fmt.Errorf("read configuration: %w", err)
	}
	sum := sha256.Sum256(text)
	return &loaded{config: cfg, digest: hex.EncodeToString(sum[:8]), library: library, sections: sections}, nil
}

// setDirectory makes relative paths relative to the configuration file, as in
// Prometheus.
func (c *config) setDirectory(dir string) {
	under := func(p *string) {
		if *p != "" && !filepath.IsAbs(*p) {
			*p = filepath.Join(dir, *p)
		}
	}
	under(&c.Runbooks.Dir)
	under(&c.Audit.Dir)
	under(&c.Detection.StateFile)
	under(&c.Audit.KeyFile)
	under(&c.Audit.CheckpointOut)
	c.Config.SetDirectory(dir)
	c.Remediators.SetDirectory(dir)
	c.Plugins.SetDirectory(dir)
	c.Oncall.SetDirectory(dir)
}

// loadRunbooks reads the shipped library and the users' folder over it.
func loadRunbooks(c runbooksConfig) (*runbooks.Library, error) {
	layers := []fs.FS{}
	if c.Shipped {
		layers = append(layers, runbooks.Shipped())
	}
	if c.Dir != "" {
		switch info, err := os.Stat(c.Dir); {
		case err != nil:
			return nil, fmt.Errorf("runbooks.dir: %w", err)
		case !info.IsDir():
			return nil, fmt.Errorf("runbooks.dir %s: not a folder", c.Dir)
		}
		layers = append(layers, os.DirFS(c.Dir))
	}
	library, err := runbooks.LoadLayers(layers...)
	if err != nil {
		return nil, err
	}
	if err := library.CheckLaws(control.Names()); err != nil {
		return nil, err
	}
	return library, nil
}
