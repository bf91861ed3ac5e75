// Package scaling runs a law that moves the number of replicas against a
// simulated service under a load that changes, and counts what came of it: how
// often it changed direction, what was answered, what it cost.
//
// It owns the loads and the counting. It has no law of its own but the plain
// formula that laws are compared with, and never decides anything.
//
// Read Run first.
package scaling
