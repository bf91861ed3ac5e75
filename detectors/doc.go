// Package detectors turns snapshots into precursors: early signs that a service
// or a call is on its way into a cascade.
//
// It owns the statistics of every series (what is usual, how much it wanders)
// and the physics of overload (capacity, backlog, retries). It never decides
// which service is to blame, never proposes a cure, and never reads a clock:
// all time comes from the snapshots.
//
// Read bank.go first, then vitals.go and usual.go, then one detector per file:
// anomaly.go (golden signals against their own past), retry_storm.go
// (vulnerability and margin), overload.go (occupancy and waiting without
// retries) and exhaustion.go (time until a bounded resource is full).
package detectors
