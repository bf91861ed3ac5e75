// Package replay rehearses: it runs the daemon's own agent in virtual time, over
// recorded metrics or in a simulated world, and says how what it decided
// differs from what was recorded.
//
// It owns the only imports of the Prometheus engine and its storage: an embedded
// TSDB that answers PromQL at any instant. It never reads the machine's clock,
// opens no socket, reads no file itself and touches no real lever.
//
// Read rehearsal.go first, then recording.go for the past and store.go for the
// metrics. Below stand bundle (the file format), fluid and world (the
// simulator), scenario, backtest, series and report.
package replay
