// Package diagnosis turns the precursors of one tick into findings: one per
// fault, with ranked causes, the way it spread and what stands behind it.
//
// It owns the grouping of signs by time and call graph, and the ranking of
// causes. It never decides what to do, never talks to anybody, and keeps no
// state but the changes of the last hour, how far the trouble of each service has
// grown, which merges and splits the tick before called for, and a few references
// to snapshots. Probabilities are those of the
// ranking; how far they can be trusted is the learner's business.
//
// Read engine.go first (the order of work), then join.go (which signs belong
// together), incidents.go (which incident that is), apart.go (which is two) and
// rank.go (which service is to blame).
package diagnosis
