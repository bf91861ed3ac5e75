// Package redislimit counts a guard's distributed limits in Redis, so that any
// number of processes keep one limit together.
//
// Each decision is one atomic script that runs by the server's clock. The
// package owns the connection, its timeout and its circuit: a decision takes
// the timeout at most, and while Redis is away none at all, because every call
// then says at once that it cannot tell and the guard counts its own share. It
// never decides anything without Redis.
//
// Read store.go first, then scripts.go.
package redislimit
