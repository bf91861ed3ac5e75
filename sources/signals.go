package sources

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/prometheus/common/model"

	"github.com/sreagent/sreagent/sre"
)

// SignalQuery is one signal and the PromQL that measures it for the whole fleet
// at once. With ClientLabel and ServerLabel it is measured per edge, otherwise
// per service.
type SignalQuery struct {
	Name         string         `yaml:"name"`
	Kind         sre.SignalKind `yaml:"kind"`
	Query        string         `yaml:"query"`
	Unit         sre.Unit       `yaml:"unit"`
	ServiceLabel string         `yaml:"service_label,omitempty"` // default service
	ClientLabel  string         `yaml:"client_label,omitempty"`
	ServerLabel  string         `yaml:"server_label,omitempty"`
}

// Edge reports whether the signal is measured per caller and callee.
func (q SignalQuery) Edge() bool { return q.ClientLabel != "" && q.ServerLabel != "" }

// Signal names the column that the query fills.
func (q SignalQuery) Signal() sre.Signal {
	return sre.Signal{Name: q.Name, Kind: q.Kind, Unit: q.Unit, Edge: q.Edge()}
}

// SignalsConfig says which signals to measure: those of presets, and custom
// ones. A custom signal replaces a preset's signal of the same name.
type SignalsConfig struct {
	Preset    string         `yaml:"preset"`
	Presets   []string       `yaml:"presets"`
	Custom    []SignalQuery  `yaml:"custom"`
	Window    model.Duration `yaml:"window"` // of rates; 0 is the preset's own
	Overrides Overrides      `yaml:"overrides"`
}

// Overrides changes what the presets' queries group by and select.
type Overrides struct {
	ServiceLabel string `yaml:"service_label"`
	ClientLabel  string `yaml:"client_label"`
	ServerLabel  string `yaml:"server_label"`
	Selector     string `yaml:"selector"` // label matchers added to every preset selector, such as namespace="shop"
}

const defaultServiceLabel = "service"

// UnknownUnit is for a signal of which nobody knows what it is measured in, as
// in recordings that others made. No reader asks for a signal by this unit, but
// a change of its values can still be seen.
const UnknownUnit sre.Unit = "unknown"

// Queries returns every query to ask, in column order: the presets' signals in
// the presets' fixed order, then the custom ones. Two presets may fill one
// column; then the one listed first wins where both know a service.
func (c SignalsConfig) Queries() []SignalQuery {
	replaced := make(map[string]bool, len(c.Custom))
	for _, q := range c.Custom {
		replaced[q.Name] = true
	}
	var out []SignalQuery
	for _, column := range columns {
		if replaced[column.Name] {
			continue
		}
		for _, p := range c.presetNames() {
			if q, ok := presets[p].query(column, c.Window, c.Overrides); ok {
				out = append(out, q)
			}
		}
	}
	for _, q := range c.Custom {
		out = append(out, q.withDefaults())
	}
	return out
}

func (c SignalsConfig) presetNames() []string {
	if c.Preset != "" {
		return []string{c.Preset}
	}
	return c.Presets
}

func (q SignalQuery) withDefaults() SignalQuery {
	if q.ServiceLabel == "" && !q.Edge() {
		q.ServiceLabel = defaultServiceLabel
	}
	return q
}

// Validate reports every mistake in the section.
func (c SignalsConfig) Validate() sre.Faults {
	var f sre.Faults
	if c.Preset != "" && len(c.Presets) > 0 {
		f.Add("presets", "stands beside preset", "one of the two")
	}
	allowed := strings.Join(PresetNames(), ", ")
	if c.Preset != "" {
		checkPreset(&f, "preset", c.Preset, allowed)
	}
	for i, name := range c.Presets {
		checkPreset(&f, sre.Item("presets", i), name, allowed)
		for _, earlier := range c.Presets[:i] {
			if earlier == name {
				f.Add(sre.Item("presets", i), strconv.Quote(name)+" stands twice", "each preset once")
			}
		}
	}
	if len(c.presetNames()) == 0 && len(c.Custom) == 0 {
		f.Add("", "names no signal", "a preset ("+allowed+") or custom signals")
	}
	f.Under("custom", validateQueries(c.Custom))
	if c.Window < 0 {
		f.Add("window", "is negative", "a duration such as 1m, at least four scrape intervals")
	}
	checkLabel(&f, "overrides.service_label", c.Overrides.ServiceLabel, false)
	checkLabel(&f, "overrides.client_label", c.Overrides.ClientLabel, false)
	checkLabel(&f, "overrides.server_label", c.Overrides.ServerLabel, false)
	if strings.ContainsAny(c.Overrides.Selector, "{}") {
		f.Add("overrides.selector", "has braces", `label matchers without braces, such as namespace="shop"`)
	}
	return f
}

func checkPreset(f *sre.Faults, path, name, allowed string) {
	if _, ok := presets[name]; !ok {
		f.Add(path, strconv.Quote(name)+" is no preset", allowed)
	}
}

var signalName = regexp.MustCompile(`^[a-zA-Z_][a-zA-Z0-9_]*$`)

// validateQueries gives paths that start with the index, so that Under can put
// the list's name before them.
func validateQueries(queries []SignalQuery) sre.Faults {
	var f sre.Faults
	seen := make(map[string]bool, len(queries))
	for i, q := range queries {
		at := sre.Item("", i)
		switch {
		case !signalName.MatchString(q.Name):
			f.Add(at+".name", "is "+strconv.Quote(q.Name), "letters, digits and underscores, not a digit first")
		case seen[q.Name]:
			f.Add(at+".name", strconv.Quote(q.Name)+" stands twice", "each name once")
		}
		seen[q.Name] = true
		if !q.Kind.Valid() {
			f.Add(at+".kind", "is "+strconv.Quote(string(q.Kind)), join(sre.SignalKinds()))
		}
		if q.Query == "" {
			f.Add(at+".query", "is missing", "PromQL that gives one sample per service or edge")
		}
		if len(q.Query) > maxQuery {
			f.Add(at+".query", fmt.Sprintf("has %d bytes", len(q.Query)), fmt.Sprintf("at most %d", maxQuery))
		}
		if !q.Unit.Valid() && q.Unit != UnknownUnit {
			f.Add(at+".unit", "is "+strconv.Quote(string(q.Unit)), join(append(sre.Units(), UnknownUnit)))
		}
		checkLabel(&f, at+".service_label", q.ServiceLabel, false)
		checkLabel(&f, at+".client_label", q.ClientLabel, false)
		checkLabel(&f, at+".server_label", q.ServerLabel, false)
		switch {
		case (q.ClientLabel == "") != (q.ServerLabel == ""):
			f.Add(at, "has only one of client_label and server_label", "both for an edge signal, none for a service signal")
		case q.Edge() && q.ServiceLabel != "":
			f.Add(at+".service_label", "stands beside client_label", "service_label for a service signal, client_label and server_label for an edge signal")
		case q.Edge() && q.ClientLabel == q.ServerLabel:
			f.Add(at+".server_label", "is the same as client_label", "two labels")
		}
	}
	return f
}

// maxQuery bounds one query in bytes.
const maxQuery = 32 << 10

func join[S ~string](set []S) string {
	words := make([]string, len(set))
	for i, s := range set {
		words[i] = string(s)
	}
	return strings.Join(words, ", ")
}

// signalsFile is the form of a bundle's signals.yaml.
type signalsFile struct {
	Signals []SignalQuery `yaml:"signals"`
}

// ParseSignals reads the signals.yaml of a bundle: a list of queries under
// signals, in the form of custom signals. The error holds every fault as
// file:line:column.
func ParseSignals(content []byte) ([]SignalQuery, error) {
	var file signalsFile
	doc, err := parseDocument("signals.yaml", content, &file)
	if err != nil {
		return nil, err
	}
	faults := sre.Faults{}
	faults.Under("signals", validateQueries(file.Signals))
	if len(file.Signals) == 0 {
		faults.Add("signals", "names no signal", "a list of name, kind, query, unit")
	}
	if len(faults) > 0 {
		return nil, doc.placed(faults)
	}
	for i, q := range file.Signals {
		file.Signals[i] = q.withDefaults()
	}
	return file.Signals, nil
}

// FormatSignals writes queries in the form that ParseSignals reads.
func FormatSignals(queries []SignalQuery) ([]byte, error) {
	return yaml.Marshal(signalsFile{Signals: queries})
}
