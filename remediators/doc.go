// Package remediators holds the built-in levers behind sre.Remediator: the
// guard (the enforcement point of package guard, over HTTP), HAProxy (over its
// Runtime API), webhooks (templated requests) and commands (an allow-listed
// argv).
//
// It owns the wire formats, the classification of every answer into invalid,
// refused, failed or unknown, and, for targets that hold neither a lease nor a
// fencing token, the ledger that stands in for both. It never decides whether
// to act, never sends anything twice that may not be sent twice, and never
// starts a goroutine of its own. What a target lets it read back, it reads back.
//
// Read guard.go first, then haproxy.go (the order of a write), then
// haproxy_ledger.go (what survives a crash). leased.go is the same order for
// any driver; webhook.go and exec.go are its drivers. README.md says how to
// write one more lever.
package remediators
