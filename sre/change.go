package sre

import "time"

// ChangeKind says what kind of change was made.
type ChangeKind string

// The closed set of change kinds.
const (
	OtherChange ChangeKind = "other"
	Deploy      ChangeKind = "deploy"
	Flag        ChangeKind = "flag"
	ConfigEdit  ChangeKind = "config"
	ScaleChange ChangeKind = "scale"
)

// Valid reports whether k is one of the closed set.
func (k ChangeKind) Valid() bool {
	switch k {
	case OtherChange, Deploy, Flag, ConfigEdit, ScaleChange:
		return true
	}
	return false
}

// Change is one thing that somebody changed: what, where, when, by whom.
type Change struct {
	ID      string     `json:"id"`
	At      time.Time  `json:"at"`
	Kind    ChangeKind `json:"kind"`
	Service string     `json:"service"`
	From    string     `json:"from,omitempty"`
	To      string     `json:"to,omitempty"`
	By      string     `json:"by,omitempty"`
	Note    string     `json:"note,omitempty"`
	Source  string     `json:"source,omitempty"` // what told us: version_label, api, ...
}
