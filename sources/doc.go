// Package sources turns the outside world into snapshots: it asks Prometheus
// for every configured signal, learns the dependency graph from a topology
// file, from edge signals and from Jaeger, and hears of changes from version
// labels and from the API.
//
// It owns the configuration sections prometheus, signals, topology and changes,
// and the presets, which are the PromQL for metrics that people already have.
// It never judges what it reads: no threshold, no conversion of units, no
// filling of gaps. A missing value is stale or absent, and says so.
//
// Read observe.go for one tick, columns.go for staleness, graph.go for the
// promise that indices never move, and presets.go for the signals.
package sources
