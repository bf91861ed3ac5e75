// Package learner owns what the agent knows about its own cures: it counts the
// outcomes of runbooks and turns them into the confidence that the next run
// will help.
//
// It never decides, reads a clock or stores anything by itself: outcomes and
// instants arrive as arguments, and Snapshot and Restore hand the counts over.
//
// Counts are kept as whole numbers per day, so the order in which outcomes
// arrive cannot matter, and two agents that learned the same are equal byte for
// byte; calibration, drift and the limit of possible causes depend on the order of
// the trail. Read confidence.go for the arithmetic, experience.go and learner.go
// for the counting, situation.go for what is alike, calibration.go, conformal.go
// and drift.go for what outcomes say of the predictions.
package learner
