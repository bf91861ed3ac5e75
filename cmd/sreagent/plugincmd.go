package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/alecthomas/kingpin/v2"

	"github.com/sreagent/sreagent/plugins"
	"github.com/sreagent/sreagent/remediators"
	"github.com/sreagent/sreagent/sre"
)

// checkID is the ID of the action with which a plugin is probed. No agent makes
// it, so nothing can be in effect by it.
const checkID = "sreagent-plugins-check"

// pluginFlags are what the plugins commands were asked for.
type pluginFlags struct {
	config, name, path string
	args, env          []string
	json               bool
}

func registerPlugins(app *kingpin.Application, commands map[string]command) {
	parent := app.Command("plugins", "Levers in other processes: list, describe, check.")
	var f pluginFlags
	var output string
	parent.Flag("config.file", "Configuration file.").Default("sreagent.yaml").StringVar(&f.config)
	parent.Flag("output", "text or json.").Short('o').Default("text").EnumVar(&output, "text", "json")
	with := func(run func(context.Context, streams, pluginFlags) error) command {
		return safely(func(ctx context.Context, std streams) error {
			f.json = output == "json"
			return run(ctx, std, f)
		})
	}

	list := parent.Command("list", "List the configured plugins and hold their binaries against their checksums. Starts nothing.")
	commands[list.FullCommand()] = with(listPlugins)

	describe := parent.Command("describe", "Start a configured plugin and show what it can do.")
	describe.Arg("name", "Name of the plugin in the configuration.").Required().StringVar(&f.name)
	commands[describe.FullCommand()] = with(describePlugin)

	check := parent.Command("check", "Start the configured plugins, or one binary, and check each: checksum, handshake, health, description, and a probe of each kind, which touches nothing.")
	check.Arg("path", "A binary to check instead of the configured ones.").StringVar(&f.path)
	check.Flag("arg", "With a path: an argument of the binary; may be given more than once.").StringsVar(&f.args)
	check.Flag("env", "With a path: a variable that the binary gets; may be given more than once.").StringsVar(&f.env)
	commands[check.FullCommand()] = with(checkPlugins)
}

// validatePlugins adds to the plugins' own faults the names that levers of this
// process have already.
func (c config) validatePlugins() sre.Faults {
	f := c.Plugins.Validate()
	taken, err := remediators.Capabilities(c.Remediators)
	if err != nil {
		return f // that section has faults of its own, which are reported
	}
	for i, p := range c.Plugins {
		if slices.ContainsFunc(taken, func(t sre.Capability) bool { return t.Name == p.Name }) {
			f.Add(sre.Item("", i)+".name", fmt.Sprintf("%q is taken by a lever of the remediators section", p.Name), "a name of its own")
		}
	}
	return f
}

// checkPluginFiles holds every binary against its checksum.
func checkPluginFiles(cs plugins.Configs) error {
	var all []error
	for i, c := range cs {
		if err := plugins.CheckBinary(c); err != nil {
			all = append(all, fmt.Errorf("%s: %w", sre.Item("plugins", i), err))
		}
	}
	return errors.Join(all...)
}

// pluginReport is what is known of one plugin.
type pluginReport struct {
	Name       string          `json:"name"`
	Path       string          `json:"path"`
	SHA256     string          `json:"sha256"`
	Good       bool            `json:"good"`
	Problem    string          `json:"problem,omitempty"`
	Started    float64         `json:"started_seconds,omitempty"` // until the first answer
	Capability *sre.Capability `json:"capability,omitempty"`
	Probes     []probeReport   `json:"probes,omitempty"`
}

type probeReport struct {
	Kind   sre.ActionKind `json:"kind"`
	Answer string         `json:"answer"`
}

func configured(f pluginFlags) (plugins.Configs, error) {
	cfg, err := loadConfig(f.config)
	if err != nil {
		return nil, failed(err)
	}
	return cfg.Plugins, nil
}

func listPlugins(_ context.Context, std streams, f pluginFlags) error {
	cs, err := configured(f)
	if err != nil {
		return err
	}
	reports := []pluginReport{}
	for _, c := range cs {
		r := pluginReport{Name: c.Name, Path: c.Path, SHA256: c.SHA256, Good: true}
		if err := plugins.CheckBinary(c); err != nil {
			r.Good, r.Problem = false, err.Error()
		}
		reports = append(reports, r)
	}
	if f.json {
		return writePlugins(std.out, reports)
	}
	if len(reports) == 0 {
		_, err := fmt.Fprintf(std.out, "%s: no plugins\n", f.config)
		return err
	}
	w := tabwriter.NewWriter(std.out, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(w, "NAME\tBINARY\tPATH")
	for _, r := range reports {
		_, _ = fmt.Fprintf(w, "%s\t%s\t%s\n", r.Name, cmp.Or(r.Problem, "good"), r.Path)
	}
	return w.Flush()
}

func describePlugin(ctx context.Context, std streams, f pluginFlags) error {
	cs, err := configured(f)
	if err != nil {
		return err
	}
	var names []string
	for _, c := range cs {
		names = append(names, c.Name)
		if c.Name != f.name {
			continue
		}
		r := inspect(ctx, std, c, false)
		switch {
		case !r.Good:
			return failed(fmt.Errorf("%s: %s", c.Name, r.Problem))
		case f.json:
			return writePlugins(std.out, r.Capability)
		}
		return writeCapability(std.out, *r.Capability)
	}
	return fmt.Errorf("no plugin is named %q in %s; there are: %s", f.name, f.config, cmp.Or(strings.Join(names, ", "), "none"))
}

func checkPlugins(ctx context.Context, std streams, f pluginFlags) error {
	var cs plugins.Configs
	var err error
	if f.path != "" {
		sum, err := plugins.Digest(f.path)
		if err != nil {
			return fmt.Errorf("read the binary: %w", err)
		}
		cs = plugins.Configs{{Path: f.path, SHA256: sum, Args: f.args, Env: f.env}}
	} else if cs, err = configured(f); err != nil {
		return err
	}
	reports := []pluginReport{}
	bad := 0
	for _, c := range cs {
		r := inspect(ctx, std, c, true)
		if !r.Good {
			bad++
		}
		reports = append(reports, r)
		if !f.json {
			if err := writeReport(std.out, r); err != nil {
				return err
			}
		}
	}
	if f.json {
		if err := writePlugins(std.out, reports); err != nil {
			return err
		}
	} else if len(cs) == 0 {
		_, _ = fmt.Fprintf(std.out, "%s: no plugins\n", f.config)
	}
	if bad > 0 {
		return failed(fmt.Errorf("%d of %d plugins are not good", bad, len(reports)))
	}
	return nil
}

// inspect starts the plugin once and asks it everything that touches nothing.
func inspect(ctx context.Context, std streams, c plugins.Config, probe bool) pluginReport {
	r := pluginReport{Name: c.Name, Path: c.Path, SHA256: c.SHA256}
	began := time.Now()
	log := slog.New(slog.NewTextHandler(std.err, &slog.HandlerOptions{Level: slog.LevelInfo}))
	err := plugins.Inspect(ctx, c, plugins.Options{Log: log}, func(ctx context.Context, found sre.Capability, lever sre.Remediator) error {
		r.Started = time.Since(began).Seconds()
		r.Capability, r.Name = &found, found.Name
		if !probe {
			return nil
		}
		var all []error
		for _, kind := range found.Kinds {
			answer, err := probeKind(ctx, c, found, kind, lever)
			r.Probes = append(r.Probes, probeReport{Kind: kind.Kind, Answer: answer})
			all = append(all, err)
		}
		return errors.Join(all...)
	})
	r.Good = err == nil
	if err != nil {
		r.Problem = strings.ReplaceAll(err.Error(), "\n", "; ")
	}
	return r
}

// probeKind asks about an action that nobody made. That the plugin refuses its
// target is a good answer; that it holds is a lie.
func probeKind(ctx context.Context, c plugins.Config, found sre.Capability, kind sre.KindSpec, lever sre.Remediator) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, cmp.Or(time.Duration(c.Timeout), time.Duration(plugins.DefaultConfig().Timeout)))
	defer cancel()
	a := sre.Action{ID: checkID, Kind: kind.Kind, Params: sre.Params{}, TTL: time.Minute}
	a.Target = sre.Target{Lever: found.Name, Service: "sreagent-check", Name: "sreagent-check"}
	if len(found.Targets) > 0 {
		a.Target.Service = found.Targets[0]
	}
	if kind.Edge {
		a.Target.Callee = "sreagent-check"
	}
	for _, p := range kind.Params {
		switch p.Type {
		case "number":
			a.Params[p.Name] = p.Min
		case "string":
			a.Params[p.Name] = "sreagent-check"
		case "bool":
			a.Params[p.Name] = false
		}
	}
	state, err := lever.Probe(ctx, a)
	switch code := sre.CodeOf(err); {
	case code == sre.CodeUnknown:
		return err.Error(), fmt.Errorf("probe of %s: %w", kind.Kind, err)
	case err != nil:
		return err.Error(), nil
	case state.InEffect:
		return "in effect", fmt.Errorf("probe of %s: the plugin says that an action which was never applied is in effect", kind.Kind)
	case state.Current == nil:
		return "unreadable", fmt.Errorf("probe of %s: the plugin gives no current settings, nor an error that says why", kind.Kind)
	}
	return "read, not in effect", nil
}

func writePlugins(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

func writeReport(w io.Writer, r pluginReport) error {
	if !r.Good {
		_, err := fmt.Fprintf(w, "%s: %s\n", cmp.Or(r.Name, r.Path), r.Problem)
		return err
	}
	_, err := fmt.Fprintf(w, "%s: good; version %s, up in %.0f ms, sha256 %s\n", r.Name, cmp.Or(r.Capability.Version, "none"), 1000*r.Started, r.SHA256)
	for _, p := range r.Probes {
		_, _ = fmt.Fprintf(w, "  probe of %s: %s\n", p.Kind, p.Answer)
	}
	return err
}

func writeCapability(w io.Writer, c sre.Capability) error {
	_, err := fmt.Fprintf(w, "%s, version %s; moves %s\n", c.Name, cmp.Or(c.Version, "none"), cmp.Or(strings.Join(c.Targets, ", "), "any service"))
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, k := range c.Kinds {
		var traits []string
		for _, trait := range []struct {
			has  bool
			text string
		}{{k.Reversible, "reversible"}, {!k.Reversible, "irreversible"}, {k.TTL, "lapses by itself"}, {k.Edge, "needs a callee"}} {
			if trait.has {
				traits = append(traits, trait.text)
			}
		}
		_, _ = fmt.Fprintf(t, "%s\t%s\n", k.Kind, strings.Join(traits, ", "))
		for _, p := range k.Params {
			allowed := p.Type
			if p.Type == "number" {
				allowed = fmt.Sprintf("%v to %v %s", p.Min, p.Max, p.Unit)
			}
			if p.Required {
				allowed += ", required"
			}
			_, _ = fmt.Fprintf(t, "  %s\t%s\t%s\n", p.Name, allowed, p.Help)
		}
	}
	return errors.Join(err, t.Flush())
}
