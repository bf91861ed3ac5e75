package sources

import (
	"net/url"
	"path/filepath"
	"strconv"
	"time"

	"github.com/prometheus/common/config"
	"github.com/prometheus/common/model"

	"github.com/sreagent/sreagent/sre"
)

// Config is the part of the configuration file that says what to look at.
type Config struct {
	Prometheus PrometheusConfig `yaml:"prometheus"`
	Signals    SignalsConfig    `yaml:"signals"`
	Topology   TopologyConfig   `yaml:"topology"`
	Changes    ChangesConfig    `yaml:"changes"`
}

// PrometheusConfig says how to reach the metric store and how much to ask of it.
type PrometheusConfig struct {
	URL               string                  `yaml:"url"`
	HTTP              config.HTTPClientConfig `yaml:"http_config"`
	Timeout           model.Duration          `yaml:"timeout"`              // of one query
	Concurrency       int                     `yaml:"concurrency"`          // queries at once
	MaxQueriesPerTick int                     `yaml:"max_queries_per_tick"` // the rest waits its turn
	Lookback          model.Duration          `yaml:"lookback"`             // how long a value that is gone stays stale; 0 is five intervals, but at least 5m
	WarmUp            model.Duration          `yaml:"warm_up"`              // history read at start; 0 is none
	WarmUpStep        model.Duration          `yaml:"warm_up_step"`         // 0 is the tick interval
}

// ChangesConfig says where changes are learned from.
type ChangesConfig struct {
	VersionLabels []VersionLabel `yaml:"version_labels"`
	API           bool           `yaml:"api"` // accept changes from Source.Report
}

// VersionLabel is a query whose series carry a service and the version that it
// runs. A version that a service did not run before is a deploy.
type VersionLabel struct {
	Query        string `yaml:"query"`
	ServiceLabel string `yaml:"service_label"`
	VersionLabel string `yaml:"version_label"`
}

// DefaultConfig returns the configuration that a file starts from. It lacks a
// Prometheus URL and a signal, which only the user knows.
func DefaultConfig() Config {
	http := config.DefaultHTTPClientConfig
	return Config{
		Prometheus: PrometheusConfig{
			HTTP:              http,
			Timeout:           model.Duration(5 * time.Second),
			Concurrency:       4,
			MaxQueriesPerTick: 50,
			WarmUp:            model.Duration(time.Hour),
		},
		Topology: TopologyConfig{
			FromMetrics: true,
			MaxServices: 20_000,
			ForgetAfter: model.Duration(48 * time.Hour),
			Jaeger: JaegerConfig{
				HTTP:     http,
				Lookback: model.Duration(time.Hour),
				Interval: model.Duration(time.Minute),
				Timeout:  model.Duration(5 * time.Second),
			},
		},
		Changes: ChangesConfig{API: true},
	}
}

// Validate reports every mistake in the four sections, in the order of their
// fields.
func (c Config) Validate() sre.Faults {
	var f sre.Faults
	f.Under("prometheus", c.Prometheus.Validate())
	f.Under("signals", c.Signals.Validate())
	f.Under("topology", c.Topology.Validate())
	f.Under("changes", c.Changes.Validate())
	return f
}

// SetDirectory makes relative file names relative to dir, the directory of the
// configuration file.
func (c *Config) SetDirectory(dir string) {
	c.Prometheus.HTTP.SetDirectory(dir)
	c.Topology.Jaeger.HTTP.SetDirectory(dir)
	if c.Topology.File != "" && !filepath.IsAbs(c.Topology.File) {
		c.Topology.File = filepath.Join(dir, c.Topology.File)
	}
}

// Validate reports every mistake in the section.
func (p PrometheusConfig) Validate() sre.Faults {
	var f sre.Faults
	if p.URL == "" {
		f.Add("url", "is missing", "the base URL of a Prometheus, such as http://127.0.0.1:9090")
	} else {
		checkURL(&f, "url", p.URL)
	}
	if err := p.HTTP.Validate(); err != nil {
		f.Add("http_config", err.Error(), "")
	}
	checkPositive(&f, "timeout", p.Timeout)
	checkRange(&f, "concurrency", p.Concurrency, 1, 64)
	checkRange(&f, "max_queries_per_tick", p.MaxQueriesPerTick, 1, 10_000)
	return f
}

// Validate reports every mistake in the section.
func (c ChangesConfig) Validate() sre.Faults {
	var f sre.Faults
	for i, v := range c.VersionLabels {
		at := sre.Item("version_labels", i)
		if v.Query == "" {
			f.Add(at+".query", "is missing", "PromQL that gives one series per service and version")
		}
		checkLabel(&f, at+".service_label", v.ServiceLabel, true)
		checkLabel(&f, at+".version_label", v.VersionLabel, true)
	}
	return f
}

func checkURL(f *sre.Faults, path, raw string) {
	const allowed = "http://host:port or https://host:port, with an optional path"
	u, err := url.Parse(raw)
	switch {
	case err != nil:
		// The parser's own message would print the URL, and with it a password.
		f.Add(path, "is not a URL", allowed)
	case (u.Scheme != "http" && u.Scheme != "https") || u.Host == "":
		f.Add(path, "is not an HTTP URL", allowed)
	case u.User != nil:
		f.Add(path, "carries a user name", "credentials belong into http_config.basic_auth")
	}
}

func checkPositive(f *sre.Faults, path string, d model.Duration) {
	if d <= 0 {
		f.Add(path, "is "+d.String(), "a duration above 0, such as 5s")
	}
}

func checkRange(f *sre.Faults, path string, n, low, high int) {
	if n < low || n > high {
		f.Add(path, "is "+strconv.Itoa(n), strconv.Itoa(low)+" to "+strconv.Itoa(high))
	}
}

func checkLabel(f *sre.Faults, path, label string, required bool) {
	if label == "" && !required {
		return
	}
	if !model.LegacyValidation.IsValidLabelName(label) {
		f.Add(path, "is "+strconv.Quote(label), "a label name, such as service")
	}
}
