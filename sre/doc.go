// Package sre is the vocabulary of the product: the nouns of site reliability
// engineering as data, and the few interfaces that cross a wall between logic
// and the outside world.
//
// It owns names, shapes and units. It never does I/O, never reads a clock,
// never draws randomness and never logs; it imports the standard library only,
// so that plugin authors can depend on it and on nothing else.
//
// Read signal.go and snapshot.go for what is seen, precursor.go and
// incident.go for what is understood, plan.go, action.go and decision.go for
// what is done about it, and record.go for what is remembered.
package sre
