// Package lever moves workloads of a Kubernetes cluster: rollback, scale,
// restart, drain, and the breakers, timeouts and retries of an Istio mesh.
//
// What is in force is written on the object that is moved, as an annotation, in
// the same update as the move: owner, fencing token, expiry and the settings
// found. There is therefore no moment at which one is there without the other,
// a crash leaves nothing to guess, and every write is conditional on the
// version that was read. Begin with lease.go, then change.go.
package lever
