package sre

import (
	"slices"
	"time"
)

// Mechanism names how a failure feeds or spreads.
type Mechanism string

// The closed set of mechanisms. The zero value is not valid; what is not
// recognised is Unknown.
const (
	RetryStorm       Mechanism = "retry_storm"
	SlowDependency   Mechanism = "slow_dependency"
	PoolExhaustion   Mechanism = "pool_exhaustion"
	CapacityDecay    Mechanism = "capacity_decay"
	CacheLoss        Mechanism = "cache_loss"
	SurvivorOverload Mechanism = "survivor_overload"
	Oscillation      Mechanism = "oscillation"
	Overload         Mechanism = "overload"
	BadChange        Mechanism = "bad_change"
	TimeoutInversion Mechanism = "timeout_inversion"
	Unknown          Mechanism = "unknown"
)

// Mechanisms lists every mechanism in a fixed order, Unknown last.
func Mechanisms() []Mechanism {
	return []Mechanism{
		RetryStorm, SlowDependency, PoolExhaustion, CapacityDecay, CacheLoss, SurvivorOverload,
		Oscillation, Overload, BadChange, TimeoutInversion, Unknown,
	}
}

// Valid reports whether m is one of the closed set.
func (m Mechanism) Valid() bool {
	return slices.Contains(Mechanisms(), m)
}

// Severity orders how much an incident or a precursor matters.
type Severity string

// The closed set of severities, from least to most.
const (
	Info     Severity = "info"
	Warning  Severity = "warning"
	Critical Severity = "critical"
)

// Rank orders severities: unknown ones lowest.
func (s Severity) Rank() int {
	switch s {
	case Critical:
		return 3
	case Warning:
		return 2
	case Info:
		return 1
	}
	return 0
}

// Evidence is one measured reason: a signal of a subject, what it is now, what
// is normal for it, and how much it weighs in the conclusion.
type Evidence struct {
	Signal  string  `json:"signal"`            // a signal name, or the name of a derived index such as "vulnerability"
	Subject string  `json:"subject"`           // a service, or "caller->callee"
	Now     float64 `json:"now"`               // in Unit
	Normal  float64 `json:"normal"`            // in Unit
	Unit    Unit    `json:"unit"`              // of Now and Normal
	Weight  float64 `json:"weight"`            // share of the conclusion, 0 to 1
	Meaning string  `json:"meaning,omitempty"` // one plain sentence for a tired reader
}

// Precursor is an early sign of a cascade, on a service or on an edge.
type Precursor struct {
	Detector  string     `json:"detector"`
	Mechanism Mechanism  `json:"mechanism"`
	Service   string     `json:"service"`          // the suspect; for an edge sign, the callee
	Caller    string     `json:"caller,omitempty"` // set for a sign on the edge Caller -> Service
	Kind      SignalKind `json:"kind"`             // the family of signal that shows it
	Severity  Severity   `json:"severity"`
	Score     float64    `json:"score"`          // 0 to 1
	Risk      float64    `json:"risk,omitempty"` // probability of a cascade within RiskHorizon by this mechanism, 0 where the detector says nothing of it
	Evidence  []Evidence `json:"evidence"`
	Since     time.Time  `json:"since"` // estimated onset
}

// Detector streams over snapshots and finds precursors. It keeps its own state
// per series, in O(1) per series and tick, and is called from one goroutine, in
// time order.
type Detector interface {
	Name() string
	// Detect appends what it sees at s to found and returns it. Services whose
	// index is set in frozen must not move their baselines (they are part of an
	// open incident, or a deploy has just begun); a nil or short frozen means
	// that the others learn.
	Detect(s *Snapshot, frozen []bool, found []Precursor) []Precursor
}
