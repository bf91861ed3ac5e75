// Package backtest says what the agent would have made of recorded incidents:
// whether it would have noticed each fault, how early, whom it would have blamed
// and what it would have done, and how often it would have cried wolf.
//
// It owns the matching of alarms to faults, the scores with their intervals, and
// the comparison of two back-tests. It never opens a recording by itself, reads
// no file and moves no lever: recordings come ready to run from its caller.
//
// Read result.go first (what is reported), then observe.go (what counts as an
// alarm and whose it is), oracle.go (the ranking with the time given) and run.go.
package backtest
