// Package world is the simulated system as an agent meets it: a source of
// snapshots, levers to move, and a forecaster to ask.
//
// A [World] runs a [fluid.Model] in virtual time. Its services are scraped as a
// Prometheus would scrape them, with offsets, losses and gaps, and every
// column of a snapshot is computed from those scrapes exactly as the PromQL of
// [World.SignalsYAML] computes it. The levers hold leases with fencing tokens
// and expiries as the guards of real services do, and return to their defaults
// step by step.
//
// The package owns no physics, which is fluid's, and no story, which is
// scenario's. It never reads a clock, opens no file and draws no random
// numbers but from its seed: the same blueprint, options and calls give the
// same snapshots, byte for byte.
//
// Read world.go first, then target.go (what is scraped), columns.go (what is
// seen of it), ledger.go (how levers hold) and forecast.go.
package world
