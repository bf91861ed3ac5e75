// Package detectors turns snapshots into precursors: early signs that a service
// or a call is on its way into a cascade.
//
// It owns the statistics of every series (what is usual, how much it wanders)
// and the physics of overload (capacity, backlog, retries). It never decides
// which service is to blame, never proposes a cure, and never reads a clock:
// all time comes from the snapshots.
//
// Read bank.go first, then vitals.go and usual.go, then one detector per file:
// anomaly.go (golden signals against their own past, over baseline.go, surprise.go
// and calendar.go), retry_storm.go (vulnerability and margin), overload.go,
// exhaustion.go (time until a bounded resource is full), slow.go, pool.go,
// leak.go, decay.go, cache_loss.go, survivor.go, oscillation.go,
// timeout_inversion.go, divergence.go, bad_change.go, and burn.go (error budgets).
// precedence.go says which of several mechanisms leads, risk.go adds them up, and
// timeouts.go checks a topology without any measurement. What is saved across
// restarts stands in bank_state.go, field by field in the files that end in
// _state.go.
package detectors
