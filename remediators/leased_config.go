package remediators

import (
	"fmt"

	"github.com/sreagent/sreagent/sre"
)

// validateLeased adds the faults of webhooks and commands; seen are the lever
// names that are taken.
func (c Config) validateLeased(f *sre.Faults, seen map[string]bool) {
	named := func(path, name string, faults sre.Faults) {
		if !leverName.MatchString(name) {
			f.Add(path+".name", "is not a lever name", leverName.String())
		}
		f.Under(path, faults)
		if seen[name] {
			f.Add(path+".name", "is taken by another lever", "a name of its own")
		}
		seen[name] = true
	}
	for i, w := range c.Webhook {
		named(sre.Item("webhook", i), w.Name, w.validate())
	}
	for i, e := range c.Exec {
		named(sre.Item("exec", i), e.Name, e.validate())
	}
	if len(c.Webhook)+len(c.Exec) > 0 && len(c.HAProxy) == 0 && c.StateDir == "" {
		f.Add("state_dir", "is empty", "a folder for the ledgers of webhooks and commands")
	}
}

// leasedLevers builds the webhooks and commands of a valid configuration.
func leasedLevers(cfg Config, o Options, m *metrics) ([]sre.Remediator, error) {
	var out []sre.Remediator
	add := func(name string, c SchemaConfig, reversible bool, d driver, err error) error {
		if err == nil {
			var l *leasedLever
			if l, err = newLeased(name, newSchema(c, reversible), d, cfg.StateDir, o, m); err == nil {
				out = append(out, l)
			}
		}
		if err != nil {
			return fmt.Errorf("open lever %s: %w", name, err)
		}
		return nil
	}
	for _, c := range cfg.Webhook {
		w, err := newWebhook(c, o.Now)
		if err := add(c.Name, c.Schema, c.Revert != nil, w, err); err != nil {
			return nil, err
		}
	}
	for _, c := range cfg.Exec {
		if err := add(c.Name, c.Schema, c.Revert != nil, newCommand(c), nil); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func leasedCapabilities(cfg Config) []sre.Capability {
	var out []sre.Capability
	add := func(name string, c SchemaConfig, reversible bool) {
		s := newSchema(c, reversible)
		out = append(out, sre.Capability{Name: name, Version: leverVersion, Kinds: []sre.KindSpec{s.spec}, Targets: c.Services})
	}
	for _, c := range cfg.Webhook {
		add(c.Name, c.Schema, c.Revert != nil)
	}
	for _, c := range cfg.Exec {
		add(c.Name, c.Schema, c.Revert != nil)
	}
	return out
}
