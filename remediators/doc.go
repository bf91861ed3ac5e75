// Package remediators holds the built-in levers behind sre.Remediator: the
// guard (the enforcement point of package guard, over HTTP) and HAProxy (over
// its Runtime API).
//
// It owns the two wire formats, the classification of every answer into
// invalid, refused, failed or unknown, and, for HAProxy, which holds neither a
// lease nor a fencing token, the ledger that stands in for both. It never
// decides whether to act, never retries, never starts a goroutine of its own
// and never writes to a target without reading back what came of it.
//
// Read guard.go first, then haproxy.go (the order of a write), then
// haproxy_ledger.go (what survives a crash). README.md says how to write one
// more lever.
package remediators
