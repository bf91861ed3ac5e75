package sources

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"github.com/prometheus/common/config"
	"github.com/prometheus/common/model"

	"github.com/sreagent/sreagent/sre"
)

// TopologyConfig says where the dependency graph is learned from.
type TopologyConfig struct {
	File        string         `yaml:"file"`         // a topology file, optional
	FromMetrics bool           `yaml:"from_metrics"` // learn edges from edge signals
	Jaeger      JaegerConfig   `yaml:"jaeger"`
	MaxServices int            `yaml:"max_services"` // services beyond are dropped and counted
	ForgetAfter model.Duration `yaml:"forget_after"` // an edge without traffic for so long counts as forgotten
}

// JaegerConfig says how to ask a Jaeger for its dependency graph. An empty URL
// turns it off.
type JaegerConfig struct {
	URL      string                  `yaml:"url"`
	HTTP     config.HTTPClientConfig `yaml:"http_config"`
	Lookback model.Duration          `yaml:"lookback"` // how far back traces count
	Interval model.Duration          `yaml:"interval"` // between two refreshes
	Timeout  model.Duration          `yaml:"timeout"`
}

// Validate reports every mistake in the section.
func (c TopologyConfig) Validate() sre.Faults {
	var f sre.Faults
	if j := c.Jaeger; j.URL != "" {
		checkURL(&f, "jaeger.url", j.URL)
		if err := j.HTTP.Validate(); err != nil {
			f.Add("jaeger.http_config", err.Error(), "")
		}
		checkPositive(&f, "jaeger.lookback", j.Lookback)
		checkPositive(&f, "jaeger.interval", j.Interval)
		checkPositive(&f, "jaeger.timeout", j.Timeout)
	}
	checkRange(&f, "max_services", c.MaxServices, 1, 1_000_000)
	checkPositive(&f, "forget_after", c.ForgetAfter)
	return f
}

// Topology is what a topology file says of the graph.
type Topology struct {
	Edges      []TopologyEdge     `yaml:"edges"`
	Entries    []string           `yaml:"entries"`    // services that take traffic from outside
	Priorities map[string]float64 `yaml:"priorities"` // business weight by service
}

// TopologyEdge is one dependency in a topology file. Zero fields are unknown.
type TopologyEdge struct {
	From            string    `yaml:"from"`
	To              string    `yaml:"to"`
	CallsPerRequest float64   `yaml:"calls_per_request,omitempty"`
	Timeout         string    `yaml:"timeout,omitempty"` // a duration; text, so that a bad one is shown where it stands
	Retries         *int      `yaml:"retries,omitempty"` // attempts after the first; 0 is known to be none
	Hard            bool      `yaml:"hard,omitempty"`
	ValidFrom       time.Time `yaml:"valid_from,omitempty"`
	ValidTo         time.Time `yaml:"valid_to,omitempty"`
}

// Spec returns what the file says of the call's settings.
func (e TopologyEdge) Spec() sre.EdgeSpec {
	timeout, _ := model.ParseDuration(e.Timeout) // ParseTopology refused what does not parse
	spec := sre.EdgeSpec{CallsPerRequest: e.CallsPerRequest, Timeout: time.Duration(timeout), Hard: e.Hard}
	if e.Retries != nil {
		spec.Retries, spec.HasRetries = *e.Retries, true
	}
	return spec
}

// LoadTopology reads a topology file.
func LoadTopology(path string) (*Topology, error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read topology: %w", err)
	}
	return ParseTopology(filepath.Base(path), content)
}

// ParseTopology reads the content of a topology file called name. The error
// holds every fault as file:line:column.
func ParseTopology(name string, content []byte) (*Topology, error) {
	var t Topology
	doc, err := parseDocument(name, content, &t)
	if err != nil {
		return nil, err
	}
	if faults := t.validate(); len(faults) > 0 {
		return nil, doc.placed(faults)
	}
	return &t, nil
}

func (t *Topology) validate() sre.Faults {
	var f sre.Faults
	seen := make(map[[2]string][]int, len(t.Edges))
	for i, e := range t.Edges {
		at := sre.Item("edges", i)
		f.Under(at, e.validate())
		pair := [2]string{e.From, e.To}
		for _, before := range seen[pair] {
			if overlap(t.Edges[before], e) {
				f.Add(at, "repeats "+sre.Item("edges", before), "each pair once, or at times that do not overlap")
				break
			}
		}
		seen[pair] = append(seen[pair], i)
	}
	for i, name := range t.Entries {
		if name == "" {
			f.Add(sre.Item("entries", i), "is empty", "a service name")
		}
	}
	names := make([]string, 0, len(t.Priorities))
	for name := range t.Priorities {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		if w := t.Priorities[name]; name == "" || !(w > 0 && w <= 1e6) {
			f.Add("priorities."+name, "is "+strconv.FormatFloat(w, 'g', -1, 64), "a service and a weight above 0, at most 1000000")
		}
	}
	return f
}

func (e TopologyEdge) validate() sre.Faults {
	var f sre.Faults
	switch {
	case e.From == "":
		f.Add("from", "is missing", "a service name")
	case e.To == "":
		f.Add("to", "is missing", "a service name")
	case e.From == e.To:
		f.Add("to", "is the caller itself", "another service")
	}
	if !(e.CallsPerRequest >= 0 && e.CallsPerRequest <= 1e6) {
		f.Add("calls_per_request", "is "+strconv.FormatFloat(e.CallsPerRequest, 'g', -1, 64), "0 to 1000000")
	}
	if e.Timeout != "" {
		if d, err := model.ParseDuration(e.Timeout); err != nil || d <= 0 {
			f.Add("timeout", "is "+strconv.Quote(e.Timeout), "a duration above 0, such as 250ms")
		}
	}
	if e.Retries != nil {
		checkRange(&f, "retries", *e.Retries, 0, 100)
	}
	if !e.ValidFrom.IsZero() && !e.ValidTo.IsZero() && !e.ValidFrom.Before(e.ValidTo) {
		f.Add("valid_to", "is not after valid_from", "a later time")
	}
	return f
}

// holds reports whether the edge exists at an instant.
func (e TopologyEdge) holds(at time.Time) bool {
	return (e.ValidFrom.IsZero() || !at.Before(e.ValidFrom)) && (e.ValidTo.IsZero() || at.Before(e.ValidTo))
}

func overlap(a, b TopologyEdge) bool {
	startsBefore := func(x, y TopologyEdge) bool {
		return y.ValidTo.IsZero() || x.ValidFrom.Before(y.ValidTo)
	}
	return startsBefore(a, b) && startsBefore(b, a)
}

// declarations is a topology in the form that every tick needs.
type declarations struct {
	services []string // stated outright, sorted
	edges    []TopologyEdge
	specs    []sre.EdgeSpec // by edge
	entries  map[string]bool
	weights  map[string]float64
}

// declarations prepares a topology; nil declares nothing.
func (t *Topology) declarations() *declarations {
	if t == nil {
		return &declarations{}
	}
	d := &declarations{edges: slices.Clone(t.Edges), entries: make(map[string]bool), weights: t.Priorities}
	for _, name := range t.Entries {
		d.entries[name] = true
		d.services = append(d.services, name)
	}
	for name := range t.Priorities {
		d.services = append(d.services, name)
	}
	slices.Sort(d.services)
	d.services = slices.Compact(d.services)
	slices.SortStableFunc(d.edges, func(a, b TopologyEdge) int {
		return cmp.Or(cmp.Compare(a.From, b.From), cmp.Compare(a.To, b.To), a.ValidFrom.Compare(b.ValidFrom))
	})
	for _, e := range d.edges {
		d.specs = append(d.specs, e.Spec())
	}
	return d
}

// at appends the services and edges that the file declares for an instant.
func (d *declarations) at(at time.Time, names []string, seen []sighting) ([]string, []sighting) {
	for i, e := range d.edges {
		if e.holds(at) {
			seen = append(seen, sighting{from: e.From, to: e.To, spec: d.specs[i], declared: true, at: at})
		}
	}
	return append(names, d.services...), seen
}

// sighting is one reason to believe that an edge exists.
type sighting struct {
	from, to string
	spec     sre.EdgeSpec
	declared bool // from the file, whose spec wins
	at       time.Time
}

func (s sighting) compare(o sighting) int {
	return cmp.Or(cmp.Compare(s.from, o.from), cmp.Compare(s.to, o.to))
}
