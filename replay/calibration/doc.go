// Package calibration measures what the agent's probabilities are worth: it lets
// thousands of incidents happen to a few simulated fleets, one virtual day after
// the other, with the real agent and what it learns carried along, and compares
// what was predicted with what came true.
//
// It owns the story of those days, the judgement of each cure against the same
// world without it, and the measures. It never reads a file or a clock: the same
// options give the same report, whatever the number of jobs.
//
// Read days.go for what happens, run.go for how it is played, judge.go for what
// counts as right, then report.go.
package calibration
