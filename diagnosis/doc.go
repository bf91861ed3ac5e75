// Package diagnosis turns the precursors of one tick into findings: one per
// fault, with ranked causes, the way it spread and what stands behind it.
//
// It owns the grouping of signs by time and call graph, and the ranking of
// causes. It never decides what to do, never talks to anybody, and keeps no
// state but the changes of the last hour. Probabilities are those of the
// ranking; how far they can be trusted is the learner's business.
//
// Read engine.go first (the order of work), then group.go (which signs belong
// together) and rank.go (which service is to blame).
package diagnosis
