// Package bundle is the form in which incidents are recorded and passed on: a
// folder, or an archive of it, that anyone can make with public tools.
//
// It owns the files of a bundle: reading them strictly, saying what is wrong
// with them in one clear sentence each, and writing them. It never opens a path
// (files come as fs.FS or io.Reader), never evaluates a query, and does not
// know the grammar of topology.yaml and signals.yaml, which is the daemon's own
// and is passed in as a Grammar. What it reads may come from anywhere, so all
// of it is bounded by Limits.
//
// Read Open first, then ReadMetrics.
package bundle

import (
	"io/fs"
	"time"

	"github.com/prometheus/common/model"

	"github.com/sreagent/sreagent/sre"
)

// Bundle is one recorded incident, all of it but the samples, which are read as
// a stream.
type Bundle struct {
	Incident Incident
	Topology []byte // topology.yaml as it stands; its grammar is that of the daemon
	Signals  []byte // signals.yaml as it stands
	Changes  []sre.Change
	Trail    []sre.Record // what an agent recorded; empty where there is none
	HasTrail bool

	fsys    fs.FS
	limits  Limits
	packing Packing // of the metrics
}

// Incident is the content of incident.yaml.
type Incident struct {
	ID       string         `yaml:"id"`
	Title    string         `yaml:"title"`
	Source   string         `yaml:"source"`
	Licence  string         `yaml:"licence"`
	Start    time.Time      `yaml:"start"`
	End      time.Time      `yaml:"end"`
	Interval model.Duration `yaml:"interval"`
	Notes    string         `yaml:"notes"`
	Alerts   []Alert        `yaml:"alerts"`
	Truth    Truth          `yaml:"truth"`
}

// Alert is what a human would have been woken by.
type Alert struct {
	Service string    `yaml:"service"`
	Signal  string    `yaml:"signal"`
	At      time.Time `yaml:"at"`
}

// Truth is what is known to have happened.
type Truth struct {
	Faults []Fault `yaml:"faults"`
}

// Fault is one thing that went wrong. A Change that is present and empty says
// that no change is to blame, so that a rollback is a wrong action.
type Fault struct {
	Services    []string      `yaml:"services"`
	Mechanism   sre.Mechanism `yaml:"mechanism,omitempty"`
	Fault       string        `yaml:"fault,omitempty"` // in the words of the source
	InjectedAt  time.Time     `yaml:"injected_at"`
	EndsAt      time.Time     `yaml:"ends_at,omitempty"` // zero is the end of the recording
	Change      *string       `yaml:"change,omitempty"`
	Remediation string        `yaml:"remediation,omitempty"`
	BlastRadius []string      `yaml:"blast_radius,omitempty"`
}

// Sample is one measurement of a stream.
type Sample struct {
	Metric model.Metric // with __name__
	At     time.Time
	Value  float64
}
