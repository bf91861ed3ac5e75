// Package replay rehearses: it keeps measurements in an embedded Prometheus
// TSDB and answers PromQL on them, at any instant, live or long ago.
//
// It owns the only imports of the Prometheus engine and its storage. It never
// reads the machine's clock, opens no socket and touches no lever: time comes
// from its callers, and the HTTP handler is served by whoever asks for it.
//
// Read store.go first, then api.go.
package replay
