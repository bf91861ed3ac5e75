package sre

import "slices"

// SignalKind says what a measurement tells about a service or an edge: the four
// golden signals (SRE book, chapter 6) and the ones that precede a cascade.
type SignalKind string

// The closed set of signal kinds.
const (
	Traffic    SignalKind = "traffic"    // offered requests
	Errors     SignalKind = "errors"     // failed requests
	Latency    SignalKind = "latency"    // time to answer
	Saturation SignalKind = "saturation" // use of a resource: cpu, memory, disk
	Retries    SignalKind = "retries"    // repeated attempts
	Queue      SignalKind = "queue"      // work that waits: length (count) or delay (seconds)
	Pool       SignalKind = "pool"       // occupancy of a bounded pool
	Cache      SignalKind = "cache"      // hit ratio
	Timeouts   SignalKind = "timeouts"   // requests given up by the caller
	Replicas   SignalKind = "replicas"   // ready instances
)

// SignalKinds lists every kind in a fixed order.
func SignalKinds() []SignalKind {
	return []SignalKind{Traffic, Errors, Latency, Saturation, Retries, Queue, Pool, Cache, Timeouts, Replicas}
}

// Valid reports whether k is one of the closed set.
func (k SignalKind) Valid() bool {
	return slices.Contains(SignalKinds(), k)
}

// Unit is the unit of a signal's values.
type Unit string

// The closed set of units.
const (
	PerSecond Unit = "requests_per_second"
	Ratio     Unit = "ratio"   // 0 to 1
	Percent   Unit = "percent" // 0 to 100
	Seconds   Unit = "seconds"
	Bytes     Unit = "bytes"
	Count     Unit = "count"
)

// Units lists every unit in a fixed order.
func Units() []Unit { return []Unit{PerSecond, Ratio, Percent, Seconds, Bytes, Count} }

// Valid reports whether u is one of the closed set.
func (u Unit) Valid() bool {
	return slices.Contains(Units(), u)
}

// Signal names one measured quantity: one column of a Snapshot, filled by one
// batched query. A signal with Edge set is measured per caller and callee.
type Signal struct {
	Name string     `json:"name"`
	Kind SignalKind `json:"kind"`
	Unit Unit       `json:"unit"`
	Edge bool       `json:"edge,omitempty"`
}

// ReadingState says what is known about one value. The zero value is Absent:
// no data is not zero, and not good news.
type ReadingState uint8

// The closed set of reading states.
const (
	Absent  ReadingState = iota // never seen, or gone for longer than the staleness bound
	Stale                       // seen, but not in this interval; Value is the last one
	Present                     // fresh
)

// String names the state as it is written in records and logs.
func (s ReadingState) String() string {
	switch s {
	case Present:
		return "present"
	case Stale:
		return "stale"
	case Absent:
	}
	return "absent"
}

// Reading is one value with what is known about it. Value is meaningless when
// State is Absent.
type Reading struct {
	Value float64
	State ReadingState
}

// OK reports whether the reading is fresh.
func (r Reading) OK() bool { return r.State == Present }

// Limit bounds a quantity by a share and by a number; the smaller holds. A nil
// or zero Percent or Number allows nothing.
type Limit struct {
	Percent float64 `json:"percent" yaml:"percent"` // of the population, 0 to 100
	Number  int     `json:"number" yaml:"number"`   // absolute
}

// Of returns the largest count that l allows in a population of n: the smaller
// of the two bounds, rounded down, but at least one where both are positive,
// so that a percentage cannot forbid everything in a small fleet.
func (l Limit) Of(n int) int {
	if l.Percent <= 0 || l.Number <= 0 || n <= 0 {
		return 0
	}
	byShare := max(int(l.Percent*float64(n)/100), 1)
	return min(byShare, l.Number)
}
