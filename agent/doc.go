// Package agent is the loop that everything else serves: one tick after
// another it sees, understands, decides, remembers, acts and checks.
//
//	now -> observe  -> Snapshot
//	    -> hear     -> approvals, operator commands
//	    -> detect   -> []Precursor
//	    -> diagnose -> []Finding -> incidents: opened, re-opened, merged, re-keyed
//	    -> foresee  -> the first causes checked in a model, and who will be hit
//	    -> advance  -> per incident: plan, decide, verify, lift, undo -> wants
//	    -> survey   -> what stands at the targets now, read only
//	    -> RECORD   -> decisions, transitions, intents: durable
//	    -> act      -> the executor, with permits
//	    -> RECORD   -> results
//	    -> tell     -> pages, the View for people, answers to their inputs
//
// It owns all incident state, in one goroutine, without a lock. It never does
// I/O but through its Ports, never reads a clock and never lets map order or
// chance into a decision: the same inputs give the same records, byte for byte.
//
// Read Tick in tick.go first, then findings.go (which incident a finding is),
// advance.go (one function per state), gate/ for the mandate, executor/ for the
// order of work on a lever, and lifecycle.go for what may follow what.
package agent
