// Package arbiter keeps controllers from fighting over a knob.
//
// It owns the ledger of knobs that others have moved and of cures that did not
// help, the lock on paths, the limits on structural and concurrent actions, the
// finding that a knob swings, and the separation of time scales. It never
// touches a lever, never reads a clock, and never stands in the way of an undo
// or of what a person orders: those do not come here.
//
// The rules follow the literature on interacting control loops: one writer per
// knob, separated time scales, freezing instead of fighting (Hellerstein et al.,
// Feedback Control of Computing Systems, 2004, chapters 9 and 11).
//
// Read judge.go first, then ledger.go.
package arbiter
