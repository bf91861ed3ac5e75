// Package guard is the reference enforcement point: HTTP middleware, an HTTP
// client transport and a small reverse proxy that a service embeds or runs
// beside itself.
//
// It owns the limits that must be kept in microseconds, where an agent that
// sees seconds-old data cannot help: rate caps by priority, a bound on
// concurrency with a first-in first-out queue, retry budgets, circuit breakers,
// timeouts and kill switches. It takes directives over HTTP (absolute values, an
// epoch, an expiry), refuses those of a writer that has been superseded, and
// goes back to its own configuration in steps when a directive lapses or is
// deleted. So it is safe without any agent.
//
// It never decides that a limit should move, calls nobody by itself but the
// backends that it is told to check, and imports nothing else of this module, so
// that embedding it stays cheap.
//
// Read guard.go first, then middleware.go (the server side), transport.go (the
// client side), endpoint.go (where calls go) and ledger.go (directives, fencing,
// lapse and return).
package guard
